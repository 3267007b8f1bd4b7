"""Signals of clips as the rows of a table: what ``seedvideo inspect`` writes and curation reads.

A row has ``path``, ``start``, ``end`` and ``id``, the other columns of its list, the signals
(`seedvideo.sampler.quality.Quality`), and

    sha256           hash of the file
    packets_sha256   hash of the packets of the clip's frames, the same in another container
    signature        signature of the clip (`seedvideo.batch.similarity`), in hexadecimal
    error            code and message of a clip without signals

A signal that was not measured is empty. Columns of the list with the name of one of ours are
replaced, so a table can be inspected again. The table is a list, and can be given wherever one is
taken: relative paths start from its folder.

Separate from `seedvideo.cli.inspect`, which knows files but no columns.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from fractions import Fraction
from functools import cached_property
from typing import Any, BinaryIO, Final, get_args

from seedvideo.batch.extra_columns import parse_extra
from seedvideo.batch.inputs import Item
from seedvideo.batch.similarity import compute_signature
from seedvideo.batch.table_writer import ColumnSurvey
from seedvideo.config import SamplingConfig
from seedvideo.pipeline import clip_window, measure
from seedvideo.records import QualityRecord
from seedvideo.utils.addresses import is_address
from seedvideo.utils.text import printable
from seedvideo.utils.timecode import format_exact
from seedvideo.video import Video

Row = dict[str, Any]
"""One row: names of columns and JSON values; None for an empty cell."""

PLACE_COLUMNS: Final = ("path", "start", "end", "id")
WORD_COLUMNS: Final = ("question", "options", "query")
"""Columns of a list for a task; they stay if any row has them."""

_UNITS: Final = {
    "duration_s": "s",
    "width_px": "px",
    "height_px": "px",
    "fps": "frames/s",
    "motion_mean": "grey levels/s",
    "motion_max": "grey levels/s",
    "detail_mean": "grey levels",
    "novelty_max": "deviations",
}
"""Units in the text, of signals that have one."""

_SIGNAL_KINDS: Final = {
    **{
        name: "integer" if int in (kind.annotation, *get_args(kind.annotation)) else "number"
        for name, kind in QualityRecord.model_fields.items()
    },
    **dict.fromkeys(("sha256", "packets_sha256", "signature", "error"), "text"),
}
SIGNAL_COLUMNS: Final = tuple(_SIGNAL_KINDS)

_NAME_CHARS: Final = max(len(name) for name in QualityRecord.model_fields)


class SignalReader:
    """Measurement of the windows of one open video.

    Args:
        clip: the open video.
    """

    def __init__(self, clip: Video) -> None:
        self._clip = clip

    def measure(self, sampling: SamplingConfig) -> Row:
        """Return the signals of a window; decodes no more than the analysis.

        Args:
            sampling: analysis and window.

        Raises:
            PlanError: ``plan.invalid`` if no frame is in the window.
            SeedVideoError: if the file cannot be used.
        """
        return asdict(measure(self._clip, sampling))

    def identify(self, sampling: SamplingConfig, *, with_signature: bool) -> Row:
        """Return the hashes of the file and of the packets of a window, and its signature.

        Args:
            sampling: window, with at least one frame.
            with_signature: whether to compute the signature, which decodes the window once more.

        Raises:
            SeedVideoError: if the file cannot be used.
        """
        clip, window = self._clip, clip_window(self._clip, sampling)
        first, end = (bisect_left(clip.times, time) for time in (window.start, window.end))
        row = {"sha256": self._sha256, "packets_sha256": clip.reader.packets_sha256(first, end)}
        if with_signature:
            row["signature"] = compute_signature(clip, window).to_bytes().hex()
        return row

    @cached_property
    def _sha256(self) -> str:
        return self._clip.reader.digest("sha256")


def place_row(item: Item, *, folder: str | None) -> Row:
    """Return the columns of a clip that are known before it is opened.

    Args:
        item: the clip.
        folder: folder of the table, from which relative paths start; None for the working folder.
    """
    # Ids that a list of paths gets depend on its other rows. Without one, a row of the table is
    # known by its path and window, in any order and with the rows of other tables.
    is_derived = item.id == item.source or _is_numbered(item.id, item.source)
    path = item.source
    if folder is not None and not is_address(path) and not os.path.isabs(path):
        parent, name = os.path.split(path)
        # Links are resolved: ".." after one would lead elsewhere.
        path = os.path.relpath(os.path.join(os.path.realpath(parent), name), folder)
    extra = parse_extra(item.extra)
    words = {"question": item.question, "options": list(item.options), "query": item.query}
    return {
        "path": path,
        "start": _seconds(item.start_s),
        "end": _seconds(item.end_s),
        "id": None if is_derived else item.id,
        **{name: value for name, value in words.items() if value},
        # Of a table that is inspected again, not even an error stays.
        **{name: value for name, value in extra.items() if name not in _SIGNAL_KINDS},
    }


def _is_numbered(name: str, source: str) -> bool:
    rest = name.removeprefix(f"{source}#")
    return rest != name and rest.isdecimal()


def _seconds(time: Fraction | None) -> float | str | None:
    """Return a time of a list as a number, or as exact text if its decimals are not exact."""
    if time is None:
        return None
    number = float(time)
    return number if Fraction(repr(number)) == time else format_exact(time)


def columns_of(places: Iterable[Row], *, types: bool) -> dict[str, str]:
    """Return the columns of a table, in order, each with its kind.

    Args:
        places: known columns of each row.
        types: whether kinds are needed, as for parquet; else that of any column may be ``text``.
    """
    survey = ColumnSurvey(types=types)
    for row in places:
        survey.add(row, is_text=False)
    # Times are numbers, except where one has no exact decimals.
    own = {"start": "number", "end": "number"} | survey.columns
    ours = {*PLACE_COLUMNS, *SIGNAL_COLUMNS}
    return {
        **{name: own.get(name, "text") for name in PLACE_COLUMNS},
        **{name: kind for name, kind in own.items() if name not in ours},
        **_SIGNAL_KINDS,
    }


def _name_of(row: Mapping[str, Any]) -> str:
    if row["id"] is not None or row["start"] is row["end"] is None:
        return str(row["id"] or row["path"])
    start, end = ("" if row[name] is None else row[name] for name in ("start", "end"))
    return f"{row['path']}@{start}-{end}"


class TextTable:
    """For people: a line with the name of each clip, then one for each signal with its unit.

    Args:
        file: receives the text.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._is_first = True

    def write(self, row: Mapping[str, Any]) -> None:
        """Write the lines of a clip; one without signals has none, its error is on stderr."""
        if row.get("error") is not None:
            return
        lines = [] if self._is_first else [""]
        self._is_first = False
        lines.append(printable(_name_of(row)))
        for name in QualityRecord.model_fields:
            value = row.get(name)
            if value is not None:
                unit = _UNITS.get(name, "")
                lines.append(f"  {name:{_NAME_CHARS}}  {value} {unit}".rstrip())
        self._file.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))

    def finish(self) -> None:
        """Write nothing."""

    def abandon(self) -> None:
        """Release nothing."""
