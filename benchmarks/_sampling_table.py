"""Tables of the sampling benchmark: measurements on one file, and their cells as text.

Memory is in MB of 10^6 bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from _sampling_job import TOKEN_AREA_PX
from _sampling_run import Row

Kind: TypeAlias = Literal["plan", "exact", "whole", "cuts", "growth"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Cells: TypeAlias = Sequence[Sequence[str]]
"""Lines of cells; the first is the header."""

MB: Final = 10**6
JOINED: Final[Mapping[Kind, str]] = {
    "plan": "Opening a file, and then planning it by each policy",
    "growth": "seedvideo, the same kinds of scenes in files of increasing length",
}
"""Titles of the kinds whose files share one table."""
LOADERS_HEADER: Final = (
    "loader",
    "wall",
    "CPU",
    "ratio",
    "frames",
    "tokens",
    "right",
    "result",
    "peak",
    "over",
    "libavcodec",
)
GROWTH_HEADER: Final = (
    "loader",
    "file",
    "wall",
    "wall a minute",
    "CPU",
    "frames",
    "right",
    "result",
    "peak",
    "over",
    "rounds",
)


@dataclass(frozen=True)
class Table:
    """Measurements on one file.

    Args:
        kind: kind of the request.
        file: name of the file.
        title: description of the file.
        what: description of the request.
        duration_s: length of the file.
        is_h264: whether its codec is H.264.
        is_calm: whether little moves in it.
        date: date of the measurements.
        rows: one row per loader; the others are compared with the first.
    """

    kind: Kind
    file: str
    title: str
    what: str
    duration_s: int
    is_h264: bool
    is_calm: bool
    date: str
    rows: tuple[Row, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Table":
        """Restore a table from the result of `to_json`."""
        return cls(**{**values, "rows": tuple(Row(**row) for row in values["rows"])})

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return asdict(self)

    @property
    def key(self) -> tuple[str, ...]:
        """Key by which a new table replaces its older version."""
        return (self.kind, self.title, self.what)

    @property
    def name(self) -> str:
        """Title of the table."""
        return f"{self.title}: {self.what}"

    @property
    def short(self) -> str:
        """Short name of the table."""
        if self.kind == "exact":
            return f"{self.file}, {self.what.partition(' of ')[0]}"
        return f"{self.file} {self.duration_s} s" if self.kind == "growth" else self.file

    @property
    def good(self) -> dict[str, Row]:
        """Rows with measurements, by loader."""
        return {row.way: row for row in self.rows if not row.failed}

    @property
    def failed(self) -> dict[str, str]:
        """Reasons of the failures, by loader."""
        return {row.way: row.failed for row in self.rows if row.failed}

    @property
    def rounds_note(self) -> str:
        """Number of rounds, and the date."""
        count = max(len(row.rounds) for row in self.rows)
        return f"{count} round{'' if count == 1 else 's'}, {self.date}"


def loader_cells(table: Table) -> Cells:
    """Return one line per loader."""
    first = table.rows[0]
    lines: list[Sequence[str]] = [LOADERS_HEADER]
    for row in table.rows:
        if row.failed:
            lines.append((row.way, "failed", *[""] * (len(LOADERS_HEADER) - 2)))
            continue
        checked = row.checked
        pixels, result = checked["pixels"], checked["result_bytes"]
        lines.append(
            (
                row.way,
                f"{row.wall_s:.2f} s",
                f"{row.cpu_s:.2f} s",
                "-" if first.failed else f"{row.ratio_to(first):.2f}x",
                f"{checked['given']}",
                f"{pixels // TOKEN_AREA_PX:,}" if pixels else "",
                "" if row.right is None else f"{row.right}",
                f"{result / MB:,.0f} MB" if result else "",
                f"{row.peak_bytes / MB:,.0f} MB",
                f"{row.over_bytes / MB:,.0f} MB",
                " ".join(checked["libraries"]),
            )
        )
    return lines


def plan_cells(tables: Sequence[Table]) -> Cells:
    """Return one line per file: milliseconds of each part."""
    names = list(dict.fromkeys(part for table in tables for part in _parts_s(table)))
    lines = [["file", *names, "rounds"]]
    for table in tables:
        found = _parts_s(table)
        spent = (f"{1000 * found[name]:,.1f} ms" if name in found else "failed" for name in names)
        lines.append(
            [table.title, *spent, " and ".join(str(len(row.rounds)) for row in table.rows)]
        )
    return lines


def growth_cells(tables: Sequence[Table]) -> Cells:
    """Return one line per loader and file."""
    lines = [list(GROWTH_HEADER)]
    for way in dict.fromkeys(row.way for table in tables for row in table.rows):
        for table in sorted(tables, key=lambda each: each.duration_s):
            row = table.good.get(way)
            if row is None:
                lines.append(
                    [way, f"{table.duration_s} s", "failed", *[""] * (len(GROWTH_HEADER) - 3)]
                )
                continue
            lines.append(
                [
                    way,
                    f"{table.duration_s} s",
                    f"{row.wall_s:.2f} s",
                    f"{60 * row.wall_s / table.duration_s:.3f} s",
                    f"{row.cpu_s:.2f} s",
                    f"{row.checked['given']}",
                    f"{row.right}",
                    f"{row.checked['result_bytes'] / MB:,.0f} MB",
                    f"{row.peak_bytes / MB:,.0f} MB",
                    f"{row.over_bytes / MB:,.0f} MB",
                    f"{len(row.rounds)}",
                ]
            )
    return lines


def _parts_s(table: Table) -> dict[str, float]:
    """Return seconds of opening, by the first row that has it, and of each plan."""
    found: dict[str, float] = {}
    for row in table.good.values():
        for name in row.checked["facts"]:
            found.setdefault(name, row.fact_s(name))
    return found
