"""Items of the clips of a video: the windows of its shots, each with the values of the video's row.

An item of a clip is a row like any other: ``seedvideo split`` writes it to a table, and a job that
splits its inputs takes it as it is. Its id is that of the video and the window, so that it stays
the same while the window does: ``film.mp4@12.5-20``.
"""

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from seedvideo.batch.extra_columns import format_extra, parse_extra
from seedvideo.batch.inputs import Item
from seedvideo.batch.journal_rows import window_texts
from seedvideo.clips.windows import ClipWindow
from seedvideo.utils.timecode import Span, format_exact, seconds

CLIP_COLUMNS: Final = ("shot", "of_shots", "start_s", "end_s", "duration_s")
"""Columns about a clip; they replace columns of the same names in the row of its video."""


def clip_id(item_id: str, span: Span) -> str:
    """Return the id of a clip: that of its video and the window, rounded to microseconds."""
    return f"{item_id}@{_short(span.start)}-{_short(span.end)}"


def clip_items(item: Item, windows: Iterable[ClipWindow]) -> list[Item]:
    """Return the items of the clips of a video, in order of time.

    Args:
        item: item of the video.
        windows: windows of its clips.
    """
    extra = {
        name: value for name, value in parse_extra(item.extra).items() if name not in CLIP_COLUMNS
    }
    return [
        replace(
            item,
            id=clip_id(item.id, window.span),
            start_s=window.span.start,
            end_s=window.span.end,
            extra=format_extra({**extra, **_clip_values(window)}),
        )
        for window in windows
    ]


def item_columns(item: Item, *, path: str) -> dict[str, Any]:
    """Return an item as the columns of a list; those without a value are left out.

    Args:
        item: the item.
        path: path of its video, as the list names it.
    """
    values: dict[str, Any] = {"path": path, "id": item.id, **window_texts(item)}
    if item.question:
        values["question"] = item.question
    if item.options:
        values["options"] = list(item.options)
    if item.query:
        values["query"] = item.query
    return {**values, **parse_extra(item.extra)}


def _clip_values(window: ClipWindow) -> dict[str, Any]:
    span = window.span
    return {
        "shot": window.shot,
        "of_shots": window.shots,
        "start_s": seconds(span.start),
        "end_s": seconds(span.end),
        "duration_s": seconds(span.duration),
    }


def _short(time: Fraction) -> str:
    return format_exact(Fraction(round(time * 10**6), 10**6))
