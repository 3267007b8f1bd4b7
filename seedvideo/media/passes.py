"""What is asked of the decoding processes in one pass over frames or looks, and who is asked.

Knows requests, not answers.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from seedvideo.errors import ConfigError
from seedvideo.limits import Limits
from seedvideo.media import wire
from seedvideo.media.answers import Shares
from seedvideo.media.decoder import DEPTHS, NO_END, LookSize, LookSpan, Strategy
from seedvideo.media.frames import Target
from seedvideo.media.team import Task

_MOST_BY_DEFAULT: Final = 8
"""Processes for one video where nobody says how many; each needs some tens of megabytes."""

_WORTH_A_PROCESS_PIXELS: Final = 200_000_000
"""Pixels to decode for which another process pays: about half a second, its start a quarter."""

_BYTES_EACH: Final = 24
"""Of the three numbers by which a frame or a span is asked for."""


def processors() -> int:
    """How many processes may decode at the same time where nobody says how many."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # Not on every system.
        usable = os.cpu_count() or 1
    return min(usable, _MOST_BY_DEFAULT)


def worth_processes(packets: int, *, frame_pixels: int) -> int:
    """How many processes pay for decoding so many packets."""
    return 1 + packets * frame_pixels // _WORTH_A_PROCESS_PIXELS


def check_targets(targets: Sequence[Target], limits: Limits) -> None:
    """Sees to it that frames can be asked for.

    Raises:
        ConfigError: if they are out of order, or too large.
    """
    if any(a.pts > b.pts for a, b in pairwise(targets)):
        raise ConfigError("config.invalid", "targets are not in order of time")
    for target in targets:
        pixels = target.width_px * target.height_px
        if max(target.width_px, target.height_px) > limits.max_side_px or (
            pixels > limits.max_frame_pixels
        ):
            size = f"{target.width_px}x{target.height_px}"
            raise ConfigError("config.invalid", f"target size {size} is over the limits")


def check_spans(spans: Sequence[LookSpan], size: LookSize, *, frames: int, limits: Limits) -> None:
    """Sees to it that looks can be asked for.

    Raises:
        ConfigError: if spans are out of order or go beyond the last frame, or looks are too large.
    """
    if any(a.end > b.first for a, b in pairwise(spans)) or (spans and spans[-1].end > frames):
        raise ConfigError("config.invalid", "spans of looks are not in order of time")
    if size.width_px * size.height_px > limits.max_frame_pixels:
        raise ConfigError("config.invalid", "size of looks is over the limits")


def ask_frames(wanted: Sequence[tuple[int, int, int]], strategy: Strategy) -> Task:
    """The request for frames: rank and size of each."""
    numbers = [number for each in wanted for number in each]
    header = {"type": "pass", "strategy": strategy, "planned_packets": 0}
    return Task(header, wire.pack_integers(numbers))


def ask_looks(
    spans: Sequence[LookSpan], size: LookSize, strategy: Strategy, *, after: int = -1
) -> Task:
    """The request for looks; ``after`` is the rank of the last one that is known already."""
    header = {
        "type": "looks",
        "width_px": size.width_px,
        "height_px": size.height_px,
        "every": str(size.every),
        "strategy": strategy,
        "is_rough": any(span.depth == "references" for span in spans),
        "after": after,
        "until": NO_END,
        "planned_packets": 0,
    }
    return Task(header, wire.pack_integers(_numbers(spans)))


def ask_shares(task: Task) -> Task:
    """The request for how a pass can be cut."""
    return Task({**task.header, "type": "share", "of": task.header["type"]}, task.body)


def count(task: Task) -> int:
    """How many frames, or spans of looks, a request is for."""
    return len(task.body) // _BYTES_EACH


def share(task: Task, shares: Shares) -> Iterator[Task]:
    """Cuts the request for a pass; the parts together give what the whole would."""
    whole = _numbers(shares.spans) if shares.spans else wire.unpack_integers(task.body)
    starts = (0, *shares.ends)
    for first, end, until in zip(starts, shares.ends, shares.untils, strict=False):
        header: dict[str, Any] = {**task.header, "planned_packets": shares.packets}
        if "until" in header:
            header["until"] = until
        yield Task(header, wire.pack_integers(whole[3 * first : 3 * end]))


def _numbers(spans: Sequence[LookSpan]) -> list[int]:
    """Spans as they are written in requests and answers."""
    numbers: list[int] = []
    for span in spans:
        numbers += (span.first, span.end, DEPTHS.index(span.depth))
    return numbers
