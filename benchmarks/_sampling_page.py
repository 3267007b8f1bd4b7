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
"""Which FFmpeg a libavcodec belongs to, by their first numbers."""
GOALS_HEADER: Final = ("goal", "wanted", "measured", "")


class OtherPlaceError(Exception):
    """Kept tables cannot be combined with new ones; the message says which."""


@dataclass(frozen=True)
class About:
    """Where tables were made.

    Args:
        machine: in a line.
        versions: of packages by name, for each environment by name.
        is_quick: whether of the short files.
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
    """Print each goal with what was measured of it."""
    print_table("Goals", GOALS_HEADER, _goal_cells(goals(tables)))


def keep(path: Path, about: About, tables: Sequence[Table]) -> None:
    """Keep tables in a file."""
    plain = {"about": asdict(about), "tables": [table.to_json() for table in tables]}
    path.write_text(json.dumps(plain, indent=1), encoding="utf-8")


def kept(path: Path, about: About) -> list[Table]:
    """Tables that were kept in a file; none if there is no file.

    Raises:
        OtherPlaceError: if they were made elsewhere, with other versions or of other files.
    """
    if not path.exists():
        return []
    plain = json.loads(path.read_text(encoding="utf-8"))
    if plain["about"] != asdict(about):
        raise OtherPlaceError(f"{path}: made on another machine, with other versions or files")
    return [Table.from_json(each) for each in plain["tables"]]


def replaced(tables: Iterable[Table], new: Table) -> list[Table]:
    """Tables with one more, instead of its older version if there was one."""
    found = {table.key: table for table in tables} | {new.key: new}
    return sorted(found.values(), key=lambda table: KINDS.index(table.kind))


def page(tables: Sequence[Table], about: About, *, command: str, method: str) -> str:
    """All as a page of Markdown.

    Args:
        tables: ordered by kind.
        about: where they were made.
        command: that makes them.
        method: what is measured and how, in Markdown.
    """
    dates = sorted({table.date for table in tables})
    parts = [
        "# Loaders of video frames side by side",
        f"Made {' to '.join(dict.fromkeys([dates[0], dates[-1]]))} by `benchmarks/sampling.py`,"
        " which writes this whole page.",
        f"```text\n{command}\n```",
        f"Machine: {about.machine}."
        + (" Short files: these numbers show that everything works, and no more." * about.is_quick),
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
    """Of each table, or of those that go into one: its title, its cells, and its notes."""
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
                notes = [f"{table.told_rounds}.", *_failures(table)]
                found.append((table.name, loader_cells(table), notes))
    return found


def _failures(table: Table) -> list[str]:
    return [f"{way} failed: {why}" for way, why in table.failed.items()]


def _goal_cells(found: Sequence[Goal]) -> list[Sequence[str]]:
    return [(goal.what, goal.wanted, goal.measured, goal.verdict) for goal in found]


def _version_cells(tables: Sequence[Table], about: About) -> Cells:
    """A line for each package: its versions, and the FFmpeg that its loaders were seen to use."""
    codecs: dict[str, set[str]] = {}
    for table in tables:
        for way, row in table.good.items():
            codecs.setdefault(LOADERS[way].package, set()).update(row.checked["libraries"])
    lines: list[Sequence[str]] = [("package", *about.versions, "libavcodec")]
    for name in dict.fromkeys(name for found in about.versions.values() for name in found):
        seen = [
            f"{each} (FFmpeg {FFMPEG.get(each.split('.')[0], '?')})"
            for each in sorted(codecs.get(name, ()))
        ]
        versions = (found.get(name, "") for found in about.versions.values())
        lines.append((name, *versions, ", ".join(seen)))
    return lines


def _markdown(cells: Cells) -> str:
    """A table of Markdown: the first column to the left, the others to the right."""
    header, *lines = [[cell.replace("|", "\\|") for cell in line] for line in cells]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))
