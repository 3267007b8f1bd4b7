"""Tables that the tests of curation write and read."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from seedvideo.curation.balance import BalanceRule
from seedvideo.curation.curate import curate
from seedvideo.curation.expression import parse_expression
from seedvideo.curation.options import CurationOptions
from seedvideo.curation.results import CurationResult

Row = Mapping[str, Any]


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as CSV, JSON lines or parquet, by the suffix."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)
    elif path.suffix == ".csv":
        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a table."""
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        return [json.loads(line) for line in file]


def read_ids(path: Path) -> list[str]:
    """Read the ids of a table."""
    return [str(row["id"]) for row in read_rows(path)]


def filter_by(text: str) -> CurationOptions:
    """Return options with one filter."""
    return CurationOptions(filters=[("keep", parse_expression(text))])


def balance_by(rule: str, *, by: str = "domain", seed: int = 0) -> CurationOptions:
    """Return options that only balance."""
    return CurationOptions(balance=BalanceRule.parse(rule), by=by, seed=seed)


def run(
    folder: Path, rows: Sequence[Row], options: CurationOptions, *, output: str = "out.jsonl"
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], CurationResult]:
    """Curate rows: return those that stay, those that are dropped, and the result."""
    table = write_rows(folder / "table.jsonl", rows)
    kept, dropped = folder / output, folder / "dropped.jsonl"
    result = curate([str(table)], kept, options, dropped=dropped, overwrite=True)
    return read_rows(kept), read_rows(dropped), result
