"""Tables of clips: the same rows in every form, and read back as a list."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from seedvideo.batch.inputs import read_inputs
from seedvideo.batch.table_writer import RowWriter, SpooledTable
from seedvideo.errors import ConfigError, OutputError

ROWS: list[dict[str, Any]] = [
    {"path": "a.mp4", "id": "a.mp4@0-2", "start": "0", "end": "1001/500", "shot": 1, "score": 1},
    {"path": "b,\n.mp4", "id": "=b", "start": "1", "end": "3", "shot": 2, "score": 0.5, "tag": "x"},
]


def write(path: Path, rows: list[dict[str, Any]], *, overwrite: bool = False) -> Path:
    with SpooledTable(path, overwrite=overwrite) as table:
        for row in rows:
            table.add(row)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_is_a_list(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"rows{suffix}", ROWS)
    items = list(read_inputs([str(path)]))
    assert [each.id for each in items] == ["a.mp4@0-2", "'=b" if suffix == ".csv" else "=b"]
    (first, second) = items
    assert (str(first.end_s), first.source) == ("1001/500", str(tmp_path / "a.mp4"))  # type: ignore[union-attr]
    extra = json.loads(second.extra)
    # CSV has texts only.
    assert {name: str(value) for name, value in extra.items()} == {
        "shot": "2",
        "score": "0.5",
        "tag": "x",
    }


def test_names_that_are_not_utf_8_survive(tmp_path: Path) -> None:
    rows = [{"path": "\udcff.mp4", "id": "x"}]
    for suffix in (".csv", ".jsonl"):
        path = write(tmp_path / f"rows{suffix}", rows)
        (item,) = read_inputs([str(path)])
        assert item.source.endswith("\udcff.mp4")  # type: ignore[union-attr]
    (item,) = read_inputs([str(write(tmp_path / "rows.parquet", rows))])
    assert item.source.endswith("\\udcff.mp4")  # type: ignore[union-attr]


def interrupted(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows, then end as Ctrl-C does."""
    with SpooledTable(path, overwrite=False) as table:
        for row in rows:
            table.add(row)
        raise KeyboardInterrupt


def test_finished_rows_are_written_after_an_error(tmp_path: Path) -> None:
    path, none = tmp_path / "rows.csv", tmp_path / "none.csv"
    with pytest.raises(KeyboardInterrupt):
        interrupted(path, [{"path": "a.mp4"}])
    assert path.read_text() == "path\na.mp4\n"
    with pytest.raises(KeyboardInterrupt):
        interrupted(none, [])
    assert not none.exists()


def test_wrong_names_are_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.csv, \.jsonl or \.parquet"):
        SpooledTable(tmp_path / "rows.xlsx", overwrite=False)
    path = write(tmp_path / "rows.csv", ROWS)
    with pytest.raises(OutputError, match="exists"):
        SpooledTable(path, overwrite=False)
    assert write(path, ROWS[:1], overwrite=True).read_text().count("\n") == 2


def test_no_cell_of_csv_is_a_formula_and_numbers_stay() -> None:
    cells = {"a": "=1", "b": "-0.5", "c": "-cmd", "d": -2, "path": "@x", "f": True, "g": None}
    file = io.BytesIO()
    table = RowWriter(file, ".csv", dict.fromkeys(cells, "text"))
    table.write(cells)
    table.write(cells, kept=cells)
    table.finish()
    assert file.getvalue().decode().splitlines()[1:] == [
        "'=1,-0.5,'-cmd,-2,./@x,true,",
        "=1,-0.5,-cmd,-2,@x,True,",
    ]
