"""Output of the sampling benchmark's tables: on the terminal, as a page of the docs, and stored.

Stored tables can be printed next to new ones, if all were made on the same machine, with the same
versions, of the same files.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from _common import print_table
from _sampling_goals import Goal, goals
from _sampling_loaders import LOADERS
from _sampling_table import JOINED, KINDS, Cells, Table, growth_cells, loader_cells, plan_cells

FFMPEG: Final = {"58": "4", "59": "5", "60": "6", "61": "7", "62": "8"}
"""Major version of FFmpeg by major version of libavcodec."""
GOALS_HEADER: Final = ("goal", "wanted", "measured", "")


class IncompatibleResultsError(Exception):
    """Stored tables cannot be combined with new ones; the message names the file."""


@dataclass(frozen=True)
class About:
    """Conditions of a run.

    Args:
        machine: description of the machine in one line.
        versions: versions of packages by name, for each environment by name.
        is_quick: whether the files are short.
    """

    machine: str
    versions: Mapping[str, Mapping[str, str]]
    is_quick: bool


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables of one kind."""
    for title, cells, notes in _parts(tables):
        print_table(title, cells[0], cells[1:])
        print()
        for note in notes:
            print(f"  {note}")


def print_goals(tables: Sequence[Table]) -> None:
    """Print each goal with the measured value."""
    print_table("Goals", GOALS_HEADER, _goal_cells(goals(tables)))


def save_results(path: Path, about: About, tables: Sequence[Table]) -> None:
    """Store tables in a file."""
    values = {"about": asdict(about), "tables": [table.to_json() for table in tables]}
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")


def load_results(path: Path, about: About) -> list[Table]:
    """Load the tables of a file; none if it does not exist.

    Raises:
        IncompatibleResultsError: if the machine, the versions or the files were different.
    """
    if not path.exists():
        return []
    values = json.loads(path.read_text(encoding="utf-8"))
    if values["about"] != asdict(about):
        raise IncompatibleResultsError(
            f"{path}: made on another machine, with other versions or files"
        )
    return [Table.from_json(each) for each in values["tables"]]


def replace_table(tables: Iterable[Table], new: Table) -> list[Table]:
    """Add a table, or replace its older version."""
    found = {table.key: table for table in tables} | {new.key: new}
    return sorted(found.values(), key=lambda table: KINDS.index(table.kind))


def page(tables: Sequence[Table], about: About, *, command: str, method: str) -> str:
    """Render everything as a page of Markdown.

    Args:
        tables: tables, ordered by kind.
        about: conditions of the run.
        command: command line that makes the page.
        method: description of the measurements, in Markdown.
    """
    dates = sorted({table.date for table in tables})
    parts = [
        "# Loaders of video frames side by side",
        f"Made {' to '.join(dict.fromkeys([dates[0], dates[-1]]))} by `benchmarks/sampling.py`,"
        " which writes this complete page.",
        f"```text\n{command}\n```",
        f"Machine: {about.machine}."
        + (" Short files: these numbers only show that everything works." * about.is_quick),
        _markdown(_version_cells(tables, about)),
        "## How it is measured",
        method,
        "## Tables",
    ]
    for title, cells, notes in _parts(tables):
        parts += [f"**{title}**", _markdown(cells), *notes]
    parts += ["## Goals", _markdown([GOALS_HEADER, *_goal_cells(goals(tables))])]
    return "\n\n".join(parts) + "\n"


def _parts(tables: Sequence[Table]) -> list[tuple[str, Cells, list[str]]]:
    """Return title, cells and notes of each table; some kinds are joined into one table."""
    found: list[tuple[str, Cells, list[str]]] = []
    for kind, group in groupby(tables, key=lambda table: table.kind):
        same = list(group)
        if kind in JOINED:
            cells = plan_cells(same) if kind == "plan" else growth_cells(same)
            dates = dict.fromkeys(f"{table.date}." for table in same)
            failed = [f"{table.title}, {note}" for table in same for note in _failures(table)]
            found.append((JOINED[kind], cells, [" ".join(dates), *failed]))
        else:
            for table in same:
                notes = [f"{table.rounds_note}.", *_failures(table)]
                found.append((table.name, loader_cells(table), notes))
    return found


def _failures(table: Table) -> list[str]:
    return [f"{way} failed: {why}" for way, why in table.failed.items()]


def _goal_cells(found: Sequence[Goal]) -> list[Sequence[str]]:
    return [(goal.what, goal.target, goal.measured, goal.verdict) for goal in found]


def _version_cells(tables: Sequence[Table], about: About) -> Cells:
    """Return one line per package: its versions, and the FFmpeg that its loaders used."""
    codecs: dict[str, set[str]] = {}
    for table in tables:
        for way, row in table.good.items():
            codecs.setdefault(LOADERS[way].package, set()).update(row.checked["libraries"])
    lines: list[Sequence[str]] = [("package", *about.versions, "libavcodec")]
    for name in dict.fromkeys(name for found in about.versions.values() for name in found):
        libraries = [
            f"{each} (FFmpeg {FFMPEG.get(each.split('.')[0], '?')})"
            for each in sorted(codecs.get(name, ()))
        ]
        versions = (found.get(name, "") for found in about.versions.values())
        lines.append((name, *versions, ", ".join(libraries)))
    return lines


def _markdown(cells: Cells) -> str:
    """Render a Markdown table: the first column left-aligned, the others right-aligned."""
    header, *lines = [[cell.replace("|", "\\|") for cell in line] for line in cells]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))
