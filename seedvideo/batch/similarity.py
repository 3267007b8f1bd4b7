"""Signatures of clips, the rule for near-duplicates, and an index to search them.

A signature is a sequence of exposures. Each is the mean frame of an eighth of a second, so that
another frame rate or container changes it little. In clips below 16 s exposures follow one another
without a gap; longer clips have 64 to 127 of them, evenly spaced.

Two clips are near-duplicates if their durations are nearly the same and

- their distance, the mean difference of grey levels over cells and exposures, is at most the
  allowed number of levels, and
- no cell shows anything that the other clip does not show there within a quarter of a second: no
  grey level or color differs by more than `MAX_CELL_RATIO` times the allowed distance from all
  that the other clip shows around that time. Only a cell that moves in both clips at that time may
  differ more, by `MOTION_FRACTION` of the smaller movement: two frame rates show fast objects at
  different positions. So motion in only one clip always separates the two, however small its part
  of the mean.

`NearIndex` finds the candidates of a clip without comparing it with all others. Every mean of grey
levels, signed or not, differs between two clips by at most the mean of the differences. So clips
are kept in boxes by four signed means of their first exposures, and near-duplicates are in boxes
nearby. Candidates must also be close in the means of sixteen regions, and reach the other clip's
maximum and minimum in every cell. `near_distance` implies each of these: no pair that it accepts
is missed.

Clips are grouped by octaves of their duration, ``[2^n, 2^(n+1))`` seconds, within which exposures
have one step and a minimum number. A clip that may have partners in the next octave is in both.
Memory is about 1 KiB per clip; the signatures stay in the journal.
"""

import math
import zlib
from array import array
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from seedvideo.media.types import Target
from seedvideo.utils.timecode import Span, seconds
from seedvideo.video import Video

SIGNATURE_VERSION: Final = 2
"""Version of signatures and rule; clips compared by another version are compared again."""

NEAR_LEVELS: Final = 4.0
"""Default maximum distance in grey levels; empirical, see benchmarks/duplicates.py."""

MAX_CELL_RATIO: Final = 1.5
"""Maximum difference of a single cell, as a multiple of the allowed distance; empirical."""

MOTION_FRACTION: Final = 0.75
"""Fraction of the movement in both clips by which a cell may differ beyond that; empirical."""

TIME_TOLERANCE_S: Final = 0.25
"""Seconds before and after, in which the other clip may show the same."""

MAX_DURATION_DIFF_FRACTION: Final = 0.05
"""Maximum difference of durations, as a fraction of the longer clip."""

MIN_DURATION_TOLERANCE_S: Final = 0.25
"""Difference of durations that is always allowed: another frame rate may move the end."""

EXPOSURE_S: Final = 0.125
"""Duration of an exposure, in seconds."""

_MIN_EXPOSURES: Final = 64
"""Minimum exposures of clips that are long enough to have gaps between them."""

_MAX_FRAMES_PER_EXPOSURE: Final = 8
"""Maximum frames that are averaged for one exposure."""

_SIDE_PX: Final = 32
GREY_CELLS: Final = 16
"""Rows and columns of mean grey levels."""
COLOUR_CELLS: Final = 8
"""Rows and columns of mean colours."""
_VALUES: Final = GREY_CELLS**2 + 2 * COLOUR_CELLS**2


@dataclass(frozen=True, eq=False)
class Signature:
    """Signature of a clip.

    Args:
        duration_s: duration of the window.
        values: values of each exposure, 0 to 255: grey levels of the cells, then two color
            differences of larger cells, ``(exposures, 384)``.
    """

    duration_s: float
    values: npt.NDArray[np.uint8]

    @property
    def step_s(self) -> float:
        """Seconds from the start of one exposure to the start of the next."""
        return exposure_step_s(self.duration_s)

    def subsample(self, step_s: float) -> npt.NDArray[np.uint8]:
        """Return the exposures at a step that is a multiple of the own one."""
        return self.values[:: int(step_s / self.step_s)]

    def to_bytes(self) -> bytes:
        """Return the values compressed, as differences between consecutive exposures."""
        change = np.diff(self.values, axis=0, prepend=np.zeros((1, _VALUES), np.uint8))
        return zlib.compress(change.tobytes(), 1)

    def to_values(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"duration_s": self.duration_s, "packed": self.to_bytes().hex()}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Parse values that `to_values` returned."""
        return cls.from_bytes(values["duration_s"], bytes.fromhex(values["packed"]))

    @classmethod
    def from_bytes(cls, duration_s: float, packed: bytes) -> Self:
        """Parse bytes that `to_bytes` returned.

        Raises:
            ValueError: if they are not a signature.
        """
        try:
            plain = zlib.decompress(packed)
        except zlib.error as error:
            raise ValueError(f"not a signature: {error}") from error
        change = np.frombuffer(plain, np.uint8).reshape(-1, _VALUES)
        return cls(duration_s, np.cumsum(change, axis=0, dtype=np.uint8))


def exposure_step_s(duration_s: float) -> float:
    """Return the seconds between exposures: a power of two, so that grids coincide."""
    if duration_s < 2 * _MIN_EXPOSURES * EXPOSURE_S:
        return EXPOSURE_S
    return math.ldexp(1.0, math.frexp(duration_s / _MIN_EXPOSURES)[1] - 1)


def count_exposures(duration_s: float, step_s: float) -> int:
    """Return the number of complete exposures in a duration, at least one."""
    return max(1, 1 + math.floor((duration_s - EXPOSURE_S) / step_s))


def compute_signature(clip: Video, window: Span) -> Signature:
    """Compute the signature of a window; decodes the clip at most once."""
    duration_s = seconds(window.end - window.start)
    gap_s = exposure_step_s(duration_s)
    count = count_exposures(duration_s, gap_s)
    times = [each for each in clip.times if each < window.end]
    starts = np.array([float(each) for each in times])
    ends = np.append(starts[1:], float(window.end))
    weights: dict[int, list[tuple[int, float]]] = {}
    for number in range(count):
        begin = float(window.start) + number * gap_s
        end = min(begin + EXPOSURE_S, float(window.end))
        first = max(0, int(np.searchsorted(starts, begin, "right")) - 1)
        last = max(first + 1, int(np.searchsorted(starts, end, "left")))
        shown = np.unique(
            np.linspace(first, last - 1, _MAX_FRAMES_PER_EXPOSURE).round().astype(int)
        )
        spent = np.minimum(ends[shown], end) - np.maximum(starts[shown], begin)
        spent = np.maximum(spent, 1e-6)
        for frame_index, weight in zip(shown.tolist(), (spent / spent.sum()).tolist(), strict=True):
            weights.setdefault(frame_index, []).append((number, weight))
    sums = np.zeros((count, _VALUES))
    frame_indices = sorted(weights)
    targets = [Target(times[frame_index], _SIDE_PX, _SIDE_PX) for frame_index in frame_indices]
    for frame_index, frame in zip(frame_indices, clip.reader.frames(targets), strict=True):
        frame_values = _frame_values(frame.pixels)
        for number, weight in weights[frame_index]:
            sums[number] += weight * frame_values
    return Signature(duration_s, np.rint(sums).clip(0, 255).astype(np.uint8))


def _frame_values(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the means of the cells of one frame."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    # Half the difference fits into a byte around 128.
    colours = [128 + _means(each - grey, COLOUR_CELLS) / 2 for each in (red, blue)]
    return np.concatenate([_means(grey, GREY_CELLS), *colours])


def _means(plane: npt.NDArray[np.float64], cells: int) -> npt.NDArray[np.float64]:
    side = _SIDE_PX // cells
    means: npt.NDArray[np.float64] = plane.reshape(cells, side, cells, side).mean(axis=(1, 3))
    return means.reshape(-1)


def min_partner_s(duration_s: float) -> float:
    """Return the shortest duration of a near-duplicate of a clip."""
    return duration_s - max(MAX_DURATION_DIFF_FRACTION * duration_s, MIN_DURATION_TOLERANCE_S)


def max_partner_s(duration_s: float) -> float:
    """Return the longest duration of a near-duplicate of a clip."""
    return max(duration_s / (1 - MAX_DURATION_DIFF_FRACTION), duration_s + MIN_DURATION_TOLERANCE_S)


def near_distance(one: Signature, other: Signature, levels: float) -> float | None:
    """Return the distance of two near-duplicates; None if they are not near-duplicates.

    Args:
        one: signature of a clip.
        other: signature of another clip; the order does not matter.
        levels: maximum distance of near-duplicates, in grey levels.
    """
    shorter_s, longer_s = sorted((one.duration_s, other.duration_s))
    if shorter_s < min_partner_s(longer_s):
        return None
    step_s = max(one.step_s, other.step_s)
    first, second = (each.subsample(step_s).astype(np.int16) for each in (one, other))
    count = min(len(first), len(second))
    grey = GREY_CELLS**2
    distance = float(np.abs(first[:count, :grey] - second[:count, :grey]).mean())
    if distance > levels or _max_unmatched_levels(first, second, step_s) > MAX_CELL_RATIO * levels:
        return None
    return distance


def _tolerance_exposures(step_s: float) -> int:
    """Return the number of exposures within `TIME_TOLERANCE_S`, at least one."""
    return max(1, int(TIME_TOLERANCE_S / step_s))


def _max_unmatched_levels(
    one: npt.NDArray[np.int16], other: npt.NDArray[np.int16], step_s: float
) -> float:
    """Return the maximum difference of a cell to all that the other clip shows nearby."""
    count = min(len(one), len(other))
    high, low = _extremes(one, _tolerance_exposures(step_s), count)
    other_high, other_low = _extremes(other, _tolerance_exposures(step_s), count)
    one, other = one[:count], other[:count]
    beyond = np.maximum.reduce([one - other_high, other_low - one, other - high, low - other])
    moved = np.minimum(high - low, other_high - other_low)
    return float((beyond - MOTION_FRACTION * moved).max())


def _extremes(
    values: npt.NDArray[np.int16], reach: int, count: int
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Return maximum and minimum of the cells around each of the first exposures."""
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    windows = np.stack([padded[start : start + count] for start in range(2 * reach + 1)])
    return windows.max(axis=0), windows.min(axis=0)


_GREY: Final = GREY_CELLS**2
_REGIONS: Final = 4
"""Rows and columns of regions."""

_BOX_SIDE_RATIO: Final = 3.0
"""Side of a box as a multiple of the allowed distance."""

_SLACK_LEVELS: Final = 1e-3
"""Tolerance for rounding; far more than the rounding error of sums of some thousand bytes."""

_FIRST_ROWS: Final = 64
_GROWTH: Final = 1.25

_Box: TypeAlias = tuple[str, int, tuple[int, ...]]
_Floats: TypeAlias = npt.NDArray[np.float32]

# Signs of the sixteen regions: all, left against right, above against below, and both.
_LEFT: Final = np.repeat([[1.0, 1.0, -1.0, -1.0]], _REGIONS, axis=0)
_SIGNS: Final = np.stack([_LEFT**2, _LEFT, _LEFT.T, _LEFT * _LEFT.T]).reshape(4, -1) / _LEFT.size


class NearIndex:
    """Index of clips for the search of near-duplicates.

    Args:
        levels: maximum distance of near-duplicates, in grey levels.
    """

    def __init__(self, levels: float) -> None:
        self._levels = levels
        self._boxes: dict[_Box, array[int]] = {}
        self._count = 0
        self._positions = np.zeros(_FIRST_ROWS, np.int64)
        self._durations_s = np.zeros(_FIRST_ROWS)
        self._regions = np.zeros((_FIRST_ROWS, _REGIONS**2), np.float32)
        self._high = np.zeros((_FIRST_ROWS, _GREY), np.uint8)
        self._low = np.zeros((_FIRST_ROWS, _GREY), np.uint8)

    def add(self, position: int, task_key: str, signature: Signature) -> None:
        """Add a clip.

        Args:
            position: position of the clip in the job's order.
            task_key: only clips with the same key are found.
            signature: signature of the clip.
        """
        grey = signature.values[:, :_GREY]
        high, low = grey.max(axis=0), grey.min(axis=0)
        for octave in _octaves(signature.duration_s):
            if self._count == len(self._positions):
                self._grow()
            row, self._count = self._count, self._count + 1
            self._positions[row], self._durations_s[row] = position, signature.duration_s
            self._high[row], self._low[row] = high, low
            self._regions[row] = regions = _region_means(signature, octave)
            box = tuple(math.floor(mean / self._box_side) for mean in _SIGNS @ regions)
            self._boxes.setdefault((task_key, octave, box), array("q")).append(row)

    def candidates(self, task_key: str, signature: Signature) -> list[int]:
        """Return the positions of all clips that may be near-duplicates, in ascending order."""
        found: set[int] = set()
        for octave in _octaves(signature.duration_s):
            # The mean over the guaranteed exposures exceeds the mean over all compared exposures
            # at most by the ratio of their numbers.
            compared = len(signature.subsample(_step_s(octave)))
            reach = self._levels * compared / _common_exposures(octave) + _SLACK_LEVELS
            regions = _region_means(signature, octave)
            rows = self._rows_near(task_key, octave, _SIGNS @ regions, reach)
            found.update(
                self._positions[self._filter_rows(rows, signature, regions, reach)].tolist()
            )
        return sorted(found)

    @property
    def _box_side(self) -> float:
        return _BOX_SIDE_RATIO * self._levels

    def _rows_near(
        self, task_key: str, octave: int, means: npt.NDArray[np.float64], reach: float
    ) -> npt.NDArray[np.int64]:
        """Return the rows of all boxes that may hold a near-duplicate."""
        ranges = [
            range(
                math.floor((mean - reach) / self._box_side),
                math.floor((mean + reach) / self._box_side) + 1,
            )
            for mean in means.tolist()
        ]
        boxes = (self._boxes.get((task_key, octave, box)) for box in product(*ranges))
        found = [np.frombuffer(rows, np.int64) for rows in boxes if rows]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _filter_rows(
        self, rows: npt.NDArray[np.int64], signature: Signature, regions: _Floats, reach: float
    ) -> npt.NDArray[np.int64]:
        """Return the rows that pass the conditions that every near-duplicate passes."""
        duration_s = signature.duration_s
        shortest_s, longest_s = min_partner_s(duration_s), max_partner_s(duration_s)
        lengths_s = self._durations_s[rows]
        rows = rows[(lengths_s >= shortest_s - 1e-6) & (lengths_s <= longest_s + 1e-6)]
        rows = rows[np.abs(self._regions[rows] - regions).mean(axis=1) <= reach]
        if not len(rows):
            return rows
        # Values of this clip in the exposures that are always compared.
        step_s = _step_s(_octaves(duration_s)[-1])
        shown = signature.subsample(step_s)[: count_exposures(shortest_s - 2e-6, step_s), :_GREY]
        highest, lowest = shown.max(axis=0).astype(np.float32), shown.min(axis=0).astype(np.float32)
        high, low = self._high[rows].astype(np.float32), self._low[rows].astype(np.float32)
        allowed = MAX_CELL_RATIO * self._levels + MOTION_FRACTION * (high - low) + _SLACK_LEVELS
        beyond = np.maximum(highest - high, low - lowest)
        kept: npt.NDArray[np.int64] = rows[(beyond <= allowed).all(axis=1)]
        return kept

    def _grow(self) -> None:
        more = math.ceil(self._count * _GROWTH) - self._count
        for name in ("_positions", "_durations_s", "_regions", "_high", "_low"):
            old = getattr(self, name)
            added = np.zeros((more, *old.shape[1:]), old.dtype)
            setattr(self, name, np.concatenate([old, added]))


def _octave(duration_s: float) -> int:
    """Return the octave of a duration, from 0 for 1 s; -1 for all shorter ones."""
    return max(-1, math.frexp(duration_s)[1] - 1)


def _octaves(duration_s: float) -> range:
    """Return the octave of a duration, and the next one if it may hold partners."""
    return range(_octave(duration_s), _octave(max_partner_s(duration_s) + 1e-6) + 1)


@cache
def _step_s(octave: int) -> float:
    """Return the step of exposures in an octave."""
    return exposure_step_s(2.0**octave)


@cache
def _common_exposures(octave: int) -> int:
    """Return the number of exposures that all clips of an octave have."""
    return count_exposures(min_partner_s(2.0**octave) - 2e-6, _step_s(octave)) if octave >= 0 else 1


def _region_means(signature: Signature, octave: int) -> _Floats:
    """Return the means of the regions over the exposures that all clips of an octave have."""
    grey = signature.subsample(_step_s(octave))[: _common_exposures(octave), :_GREY]
    side = GREY_CELLS // _REGIONS
    cells = grey.sum(axis=0, dtype=np.uint32).reshape(_REGIONS, side, _REGIONS, side)
    sums = cells.sum(axis=(1, 3)).reshape(-1)
    means: _Floats = (sums / (len(grey) * side**2)).astype(np.float32)
    return means
