"""How alike two clips are: signatures of their pictures, and the rule for near duplicates.

A signature is a row of exposures. Each is the mean picture of an eighth of a second, so that
another frame rate or another container changes it little. In clips below 16 s exposures follow one
another without a gap; longer clips have 64 to 127 of them, evenly spaced.

Two clips are near duplicates where their lengths are nearly the same and

- their distance, the mean difference of grey levels over cells and exposures, is at most so many
  levels, and
- nothing is seen in a cell of one clip that is not seen there in the other within a quarter of a
  second: no grey level and no colour is further than `CELL_SHARE` times the allowed distance from
  all that the other clip shows around that time. Only where a cell moves in both clips at that time
  may it differ more, by `MOVED_SHARE` of the smaller movement: two frame rates show fast things at
  other places. So what moves in one clip alone always tells the two apart, however small its part
  in the mean.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from seedvideo.media.frames import Target
from seedvideo.media.timeline import Span, seconds
from seedvideo.video import Video

SIGNATURE_VERSION: Final = 2
"""Of the signatures and of the rule; clips that an older one has compared are compared again."""

NEAR_LEVELS: Final = 4.0
"""Distance up to which clips are near duplicates, where nothing else is asked."""

CELL_SHARE: Final = 1.5
"""Times the allowed distance: what a single cell may differ by at any time."""

MOVED_SHARE: Final = 0.75
"""Share of the movement in both clips by which a cell may differ beyond that."""

AROUND_S: Final = 0.25
"""Time before and after, in which the other clip may show the same."""

SAME_DURATION: Final = 0.05
"""Share of the longer clip by which the lengths of near duplicates may differ."""

SAME_DURATION_S: Final = 0.25
"""Difference that is allowed in any case: another frame rate may move the end by some frames."""

EXPOSURE_S: Final = 0.125
"""Time of which a picture is the mean."""

_LEAST_EXPOSURES: Final = 64
"""Of clips that are long enough to have gaps between exposures."""

_MOST_FRAMES: Final = 8
"""Frames that are looked at for one exposure."""

_SIDE_PX: Final = 32
GREY_CELLS: Final = 16
"""Rows and columns of mean grey levels."""
COLOUR_CELLS: Final = 8
"""Rows and columns of mean colours."""
_VALUES: Final = GREY_CELLS**2 + 2 * COLOUR_CELLS**2


@dataclass(frozen=True, eq=False)
class Signature:
    """What is seen in a clip.

    Args:
        duration_s: of the time that is looked at.
        values: of each exposure, 0 to 255: grey levels of the cells, then two colours of larger
            cells, ``(exposures, 384)``.
    """

    duration_s: float
    values: npt.NDArray[np.uint8]

    @property
    def step_s(self) -> float:
        """Time from the start of one exposure to that of the next."""
        return step_of(self.duration_s)

    def at(self, step_s: float) -> npt.NDArray[np.uint8]:
        """The exposures at a step that is the own one or a multiple of it."""
        return self.values[:: int(step_s / self.step_s)]

    def to_bytes(self) -> bytes:
        """Packed, the values as differences from one exposure to the next."""
        change = np.diff(self.values, axis=0, prepend=np.zeros((1, _VALUES), np.uint8))
        return zlib.compress(change.tobytes(), 1)

    def to_values(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"duration_s": self.duration_s, "packed": self.to_bytes().hex()}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Read what `to_values` made."""
        return cls.from_bytes(values["duration_s"], bytes.fromhex(values["packed"]))

    @classmethod
    def from_bytes(cls, duration_s: float, packed: bytes) -> Self:
        """Read what `to_bytes` made.

        Raises:
            ValueError: if it is none.
        """
        try:
            plain = zlib.decompress(packed)
        except zlib.error as error:
            raise ValueError(f"not a signature: {error}") from error
        change = np.frombuffer(plain, np.uint8).reshape(-1, _VALUES)
        return cls(duration_s, np.cumsum(change, axis=0, dtype=np.uint8))


def step_of(duration_s: float) -> float:
    """Time between exposures in clips of some length: a power of two, so that grids coincide."""
    if duration_s < 2 * _LEAST_EXPOSURES * EXPOSURE_S:
        return EXPOSURE_S
    return math.ldexp(1.0, math.frexp(duration_s / _LEAST_EXPOSURES)[1] - 1)


def exposures_in(duration_s: float, step_s: float) -> int:
    """How many whole exposures there are in so much time, but at least one."""
    return max(1, 1 + math.floor((duration_s - EXPOSURE_S) / step_s))


def signature_of(clip: Video, window: Span) -> Signature:
    """Look at a part of a clip; decodes it up to once."""
    duration_s = seconds(window.end - window.start)
    gap_s = step_of(duration_s)
    count = exposures_in(duration_s, gap_s)
    times = [each for each in clip.times if each < window.end]
    starts = np.array([float(each) for each in times])
    ends = np.append(starts[1:], float(window.end))
    shares: dict[int, list[tuple[int, float]]] = {}
    for number in range(count):
        begin = float(window.start) + number * gap_s
        end = min(begin + EXPOSURE_S, float(window.end))
        first = max(0, int(np.searchsorted(starts, begin, "right")) - 1)
        last = max(first + 1, int(np.searchsorted(starts, end, "left")))
        shown = np.unique(np.linspace(first, last - 1, _MOST_FRAMES).round().astype(int))
        spent = np.minimum(ends[shown], end) - np.maximum(starts[shown], begin)
        spent = np.maximum(spent, 1e-6)
        for rank, share in zip(shown.tolist(), (spent / spent.sum()).tolist(), strict=True):
            shares.setdefault(rank, []).append((number, share))
    sums = np.zeros((count, _VALUES))
    ranks = sorted(shares)
    targets = [Target(times[rank], _SIDE_PX, _SIDE_PX) for rank in ranks]
    for rank, frame in zip(ranks, clip.reader.frames(targets), strict=True):
        seen = _values(frame.pixels)
        for number, share in shares[rank]:
            sums[number] += share * seen
    return Signature(duration_s, np.rint(sums).clip(0, 255).astype(np.uint8))


def _values(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Means of the cells of one picture."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    # Half the difference fits into a byte around 128.
    colours = [128 + _means(each - grey, COLOUR_CELLS) / 2 for each in (red, blue)]
    return np.concatenate([_means(grey, GREY_CELLS), *colours])


def _means(plane: npt.NDArray[np.float64], cells: int) -> npt.NDArray[np.float64]:
    side = _SIDE_PX // cells
    means: npt.NDArray[np.float64] = plane.reshape(cells, side, cells, side).mean(axis=(1, 3))
    return means.reshape(-1)


def shortest_partner_s(duration_s: float) -> float:
    """Length of the shortest clip that can be a near duplicate of one of this length."""
    return duration_s - max(SAME_DURATION * duration_s, SAME_DURATION_S)


def longest_partner_s(duration_s: float) -> float:
    """Length of the longest clip that can be a near duplicate of one of this length."""
    return max(duration_s / (1 - SAME_DURATION), duration_s + SAME_DURATION_S)


def near_distance(one: Signature, other: Signature, levels: float) -> float | None:
    """The distance of near duplicates; None where two clips are none.

    Args:
        one: a clip.
        other: another one; the order does not matter.
        levels: largest distance of near duplicates.
    """
    shorter_s, longer_s = sorted((one.duration_s, other.duration_s))
    if shorter_s < shortest_partner_s(longer_s):
        return None
    step_s = max(one.step_s, other.step_s)
    first, second = (each.at(step_s).astype(np.int16) for each in (one, other))
    count = min(len(first), len(second))
    grey = GREY_CELLS**2
    distance = float(np.abs(first[:count, :grey] - second[:count, :grey]).mean())
    if distance > levels or _unlike_levels(first, second, step_s) > CELL_SHARE * levels:
        return None
    return distance


def _around(step_s: float) -> int:
    """Exposures before and after one that are within `AROUND_S` of it, but at least one."""
    return max(1, int(AROUND_S / step_s))


def _unlike_levels(
    one: npt.NDArray[np.int16], other: npt.NDArray[np.int16], step_s: float
) -> float:
    """How far a cell is at most from all that it shows around that time in the other clip."""
    count = min(len(one), len(other))
    high, low = _extremes(one, _around(step_s), count)
    other_high, other_low = _extremes(other, _around(step_s), count)
    one, other = one[:count], other[:count]
    beyond = np.maximum.reduce([one - other_high, other_low - one, other - high, low - other])
    moved = np.minimum(high - low, other_high - other_low)
    return float((beyond - MOVED_SHARE * moved).max())


def _extremes(
    values: npt.NDArray[np.int16], reach: int, count: int
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """What cells show at most and at least around each of the first exposures."""
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    windows = np.stack([padded[start : start + count] for start in range(2 * reach + 1)])
    return windows.max(axis=0), windows.min(axis=0)
