"""Scores of selected frames against the ground truth, the table of legibility, and the oracle.

A sampler's selection is a list of times and sizes. An event is hit if a frame lies in its span; it
is legible if such a frame has at least the tokens that its print needs. Questions are counted, not
frames: a question is about one event, or about a complete group. Times are exact seconds.

The table of legibility holds how often an OCR program read a code in decoded frames of the
benchmark's videos, resized as for a model. `benchmarks/flashbench.py --table` makes it; it is used
where no OCR program is installed.

The oracle is a sampler that knows the ground truth, under the same budget: again and again it takes
the frames that answer most questions per token. It spreads the rest of the budget evenly at the
lowest level. It is greedy, so it is a strong upper bound but not a proven one.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from itertools import groupby, pairwise
from typing import Final

from seedvideo.evaluate.flashbench.spec import BenchmarkItem, Event, TaskId

ALL_OF_GROUP: Final[frozenset[TaskId]] = frozenset({"T4"})
"""Tasks in which a group counts only if every event of it is seen."""
COUNTED: Final[frozenset[TaskId]] = frozenset({"T5"})
"""Tasks in which the events of a group must be counted correctly."""


@dataclass(frozen=True)
class SelectedFrame:
    """One selected frame.

    Args:
        pts: its presentation time, in seconds.
        tokens: its visual tokens.
        text_tokens: tokens of its timestamp text and frame markup.
    """

    pts: Fraction
    tokens: int
    text_tokens: int


@dataclass(frozen=True)
class QuestionScore:
    """Score of one question.

    Args:
        duration_s: length of its shortest event.
        hit: whether its events are in the selected frames, or counted correctly from them.
        legible: whether their print is legible too; equals ``hit`` where nothing is to be read.
        cap_height_px: cap height of the smallest print, or None.
    """

    duration_s: float
    hit: bool
    legible: bool
    cap_height_px: int | None


@dataclass(frozen=True)
class Score:
    """Evidence that selected frames keep of one item.

    Args:
        units: one score per question; in order of time, or of groups.
        frames: number of selected frames.
        tokens: their token cost, text included.
        longest_gap_s: longest span without a frame, from the start to the end of the video.
        mean_distance_s: mean time from the middle of an event to the nearest frame.
    """

    units: tuple[QuestionScore, ...]
    frames: int
    tokens: int
    longest_gap_s: float
    mean_distance_s: float | None


def score(
    item: BenchmarkItem, selected: Sequence[SelectedFrame], needs: Mapping[Event, int | None]
) -> Score:
    """Score selected frames.

    Args:
        item: the ground truth.
        selected: the frames, in order of time; empty if the budget holds none.
        needs: minimum visual tokens at which each event is legible; None if it never is. Events
            without print may be missing.

    Raises:
        ValueError: if the frames are out of order.
        KeyError: if an event with print has no entry in ``needs``.
    """
    times = [frame.pts for frame in selected]
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise ValueError("frames must be in order of time")
    units = []
    by_group = sorted(item.events, key=lambda event: event.group)
    joint = item.task in ALL_OF_GROUP or item.task in COUNTED
    parts = (
        [list(events) for _, events in groupby(by_group, key=lambda event: event.group)]
        if joint
        else [[event] for event in item.events]
    )
    for events in parts:
        inside = [selected[bisect_left(times, e.start) : bisect_left(times, e.end)] for e in events]
        hit = count_blinks(events, selected) == len(events) if item.task in COUNTED else all(inside)
        legible = hit and all(
            event.cap_height_px is None or _readable(frames, needs[event])
            for event, frames in zip(events, inside, strict=True)
        )
        heights = [e.cap_height_px for e in events if e.cap_height_px is not None]
        units.append(
            QuestionScore(
                float(min(event.duration for event in events)),
                hit,
                legible,
                min(heights, default=None),
            )
        )
    return Score(
        units=tuple(units),
        frames=len(selected),
        tokens=sum(frame.tokens + frame.text_tokens for frame in selected),
        longest_gap_s=longest_gap_between(times, Fraction(item.difficulty.duration_s)),
        mean_distance_s=_mean_distance(item.events, times),
    )


def count_blinks(blinks: Sequence[Event], selected: Sequence[SelectedFrame]) -> int:
    """Count the blinks in these frames: bright frames with a dark one between them."""
    begin = min(event.start for event in blinks)
    end = max(event.end for event in blinks)
    times = [frame.pts for frame in selected]
    among = times[bisect_left(times, begin) : bisect_left(times, end)]
    bright = [any(event.start <= time < event.end for event in blinks) for time in among]
    return sum(is_bright for is_bright, _ in groupby(bright))


def longest_gap_between(times: Sequence[Fraction], duration: Fraction) -> float:
    """Return the longest span without a frame, from the start to the end of the video."""
    bounds = [Fraction(0), *times, duration]
    return float(max(later - earlier for earlier, later in pairwise(bounds)))


def _readable(frames: Sequence[SelectedFrame], need: int | None) -> bool:
    return need is not None and any(frame.tokens >= need for frame in frames)


def _mean_distance(events: Sequence[Event], times: Sequence[Fraction]) -> float | None:
    if not events or not times:
        return None
    total = Fraction(0)
    for event in events:
        centre = (event.start + event.end) / 2
        i = bisect_left(times, centre)
        total += min(abs(time - centre) for time in times[max(0, i - 1) : i + 1])
    return float(total / len(events))


_TABLE: Final = "legibility.json"


@dataclass(frozen=True)
class OcrStats:
    """How often the OCR program read codes of one size.

    Args:
        read: number of codes that were read exactly.
        total: number of codes.
    """

    read: int
    total: int

    @property
    def read_rate(self) -> float:
        """Fraction of the codes that were read."""
        return self.read / self.total


TableKey = tuple[str, int, int]
"""Contrast, cap height at 1,080 px, level in tokens."""


@cache
def load_table() -> Mapping[TableKey, OcrStats]:
    """Load the table of the package."""
    text = files("seedvideo.evaluate.flashbench").joinpath(_TABLE).read_text(encoding="utf-8")
    return parse_table(text)


def parse_table(text: str) -> Mapping[TableKey, OcrStats]:
    """Parse a table from JSON."""
    return {
        (row["contrast"], row["cap_height_px"], row["level_tokens"]): OcrStats(
            row["read"], row["shown"]
        )
        for row in json.loads(text)["rows"]
    }


def level_needed(
    table: Mapping[TableKey, OcrStats], *, cap_height_px: int, contrast: str, levels: Sequence[int]
) -> int | None:
    """Return the lowest level from which on at least half of the codes of a size are read, or None.

    Raises:
        KeyError: if the table has no row for this size and contrast.
    """
    need: int | None = None
    for level in sorted(levels, reverse=True):
        if table[contrast, cap_height_px, level].read_rate < 0.5:
            break
        need = level
    return need


def tokens_needed(
    item: BenchmarkItem,
    *,
    tokens_of_level: Mapping[int, int],
    table: Mapping[TableKey, OcrStats] | None = None,
) -> dict[Event, int | None]:
    """Return the visual tokens that every event with print needs, by the table; None if illegible.

    Args:
        item: the ground truth.
        tokens_of_level: visual tokens of a frame of this video at each level.
        table: a table to use instead of the package's.
    """
    table = load_table() if table is None else table
    needs: dict[Event, int | None] = {}
    for event in item.events:
        if event.cap_height_px is not None:
            level = level_needed(
                table,
                cap_height_px=event.cap_height_px,
                contrast=event.contrast,
                levels=list(tokens_of_level),
            )
            needs[event] = None if level is None else tokens_of_level[level]
    return needs


@dataclass(frozen=True)
class _FrameBundle:
    """Frames to add together: tokens by time, and the numbers of the questions they answer."""

    frames: Mapping[Fraction, int]
    answers: frozenset[int]


def oracle(
    item: BenchmarkItem,
    needs: Mapping[Event, int | None],
    *,
    times: Sequence[Fraction],
    tokens: Sequence[int],
    text_tokens: int,
    budget_tokens: int,
) -> list[SelectedFrame]:
    """Select frames by the ground truth, as an upper bound for samplers.

    Args:
        item: the ground truth.
        needs: minimum visual tokens at which each event is legible; None if it never is.
        times: presentation times of all frames of the video, in seconds.
        tokens: visual tokens of a frame at each level, in any order.
        text_tokens: tokens of a frame's timestamp text.
        budget_tokens: maximum visual + text tokens.
    """
    lowest = min(tokens)

    def frame_tokens(event: Event) -> int:
        need = None if event.cap_height_px is None else needs[event]
        return lowest if need is None else max(lowest, need)

    joint = item.task in ALL_OF_GROUP or item.task in COUNTED
    bundles = (
        _bundles_of_groups(item, frame_tokens, times)
        if joint
        else _bundles_of_events(item, frame_tokens, times)
    )
    chosen: dict[Fraction, int] = {}
    open_questions = {answer for bundle in bundles for answer in bundle.answers}
    left = budget_tokens

    def added_tokens(bundle: _FrameBundle) -> int:
        return sum(
            max(0, cost - chosen.get(time, 0)) + text_tokens * (time not in chosen)
            for time, cost in bundle.frames.items()
        )

    while open_questions:
        candidates = [
            (len(bundle.answers & open_questions) / max(1, added_tokens(bundle)), -number)
            for number, bundle in enumerate(bundles)
            if bundle.answers & open_questions and added_tokens(bundle) <= left
        ]
        if not candidates:
            break
        best = bundles[-max(candidates)[1]]
        left -= added_tokens(best)
        chosen |= {time: max(cost, chosen.get(time, 0)) for time, cost in best.frames.items()}
        open_questions -= best.answers
    count = left // (lowest + text_tokens)
    for i in range(count):
        chosen.setdefault(times[(2 * i + 1) * len(times) // (2 * count)], lowest)
    return [SelectedFrame(time, chosen[time], text_tokens) for time in sorted(chosen)]


def _bundles_of_events(
    item: BenchmarkItem, frame_tokens: Callable[[Event], int], times: Sequence[Fraction]
) -> list[_FrameBundle]:
    """Return bundles of one frame each: an event's last or middle frame.

    Each frame comes at every token count that some event at its time needs.
    """
    bundles = []
    spans = [(event.start, event.end, frame_tokens(event)) for event in item.events]
    for event in item.events:
        first, stop = bisect_left(times, event.start), bisect_left(times, event.end)
        if first == stop:
            continue
        # Some best choice of points in intervals uses only their last points.
        for time in {times[stop - 1], times[(first + stop) // 2]}:
            there = [(n, cost) for n, (a, b, cost) in enumerate(spans) if a <= time < b]
            for cost in {cost for _, cost in there}:
                answers = frozenset(number for number, asked in there if asked <= cost)
                bundles.append(_FrameBundle({time: cost}, answers))
    return sorted(bundles, key=lambda bundle: sorted(bundle.frames.items()))


def _bundles_of_groups(
    item: BenchmarkItem, frame_tokens: Callable[[Event], int], times: Sequence[Fraction]
) -> list[_FrameBundle]:
    """Return one bundle per group: all frames that its question needs.

    Counting also needs a dark frame between two blinks.
    """
    ordered = sorted(item.events, key=lambda event: (event.group, event.start))
    bundles = []
    for number, (_, found) in enumerate(groupby(ordered, key=lambda event: event.group)):
        events = list(found)
        wanted = [(event.start, event.end, frame_tokens(event)) for event in events]
        if item.task in COUNTED:
            dark = frame_tokens(events[0])
            wanted += [(before.end, after.start, dark) for before, after in pairwise(events)]
        frames = {}
        for start, end, cost in wanted:
            first, stop = bisect_left(times, start), bisect_left(times, end)
            if first < stop:
                frames[times[(first + stop) // 2]] = cost
        bundles.append(_FrameBundle(frames, frozenset([number])))
    return bundles
