"""Captions that say nearly the same, by the words that they have in common.

A caption is the set of its runs of three words; one of fewer words is one run. Two captions are the
same if the intersection of their sets is at least `SAME_CAPTION` of their union (Jaccard
similarity).

The search is exact. Runs have one order for all captions, the rarest first. Two captions that are
similar enough share one of their first runs, as too few are left otherwise, and the number of runs
after that one bounds what they can have in common (prefix and position filters: Xiao et al.,
Efficient similarity joins for near-duplicate detection, 2008). So only the first runs are looked
up, and most of them are in few captions.

Separate from `seedvideo.curation.duplicates`, which would exceed 500 lines with it.
"""

import math
from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.curation.words import split_words

SAME_CAPTION: Final = 0.8
"""Default minimum Jaccard similarity of captions that are the same."""

_RUN_WORDS: Final = 3
_COUNTER_BITS: Final = 20
"""Bits of a hash that select a counter."""

_POSITION_BITS: Final = 20
"""Bits of the position of a run in its caption: a row of a table has at most 2 ** 20 bytes."""

_POSITIONS: Final = (1 << _POSITION_BITS) - 1
_ROUNDING: Final = 1e-9

Runs = npt.NDArray[np.uint64]


def caption_runs(caption: str) -> Runs:
    """Return the hashes of the runs of words of a caption, sorted; none without a word."""
    words = split_words(caption)
    if not words:
        return np.empty(0, np.uint64)
    count = max(1, len(words) - _RUN_WORDS + 1)
    runs = {" ".join(words[start : start + _RUN_WORDS]) for start in range(count)}
    data = b"".join(
        blake2b(run.encode("utf-8", "surrogatepass"), digest_size=8).digest() for run in runs
    )
    return np.unique(np.frombuffer(data, "<u8").astype(np.uint64))


def jaccard(one: Runs, other: Runs) -> float:
    """Return the size of the intersection of two sets by that of their union."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


class RunCounts:
    """In how many captions a run occurs, about: the same for any order of the captions.

    A run has two counters, which it may share with other runs, and the lower one holds (count-min
    sketch). A frequent run that was taken for a rare one would cost many comparisons.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((2, 1 << _COUNTER_BITS), np.uint32)

    def add(self, runs: Runs) -> None:
        """Count the runs of a caption."""
        self._counts[_counters(runs)] += 1

    def rarest_first(self, runs: Runs) -> Runs:
        """Return the runs of a caption in the order that all captions have."""
        return runs[np.lexsort((runs, self._counts[_counters(runs)].min(axis=0)))]


def _counters(runs: Runs) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of the counters of runs, ``(2, runs)``."""
    shift = np.uint64(64 - _COUNTER_BITS)
    places = (np.stack([runs << shift, runs]) >> shift).astype(np.int64)
    return np.arange(2)[:, None], places


class CaptionSearch:
    """Search of captions that say nearly the same.

    Args:
        similarity: minimum Jaccard similarity, above 0.
        get_runs: returns the runs of a clip's caption by its number; none without a caption.
        get_words: returns a number for its question and options; only clips with the same one are
            compared.
        counts: counts of all runs.
    """

    def __init__(
        self,
        similarity: float,
        get_runs: Callable[[int], Runs],
        get_words: Callable[[int], int],
        counts: RunCounts,
    ) -> None:
        self._similarity = similarity
        self._get_runs = get_runs
        self._get_words = get_words
        self._counts = counts
        self._places: dict[int, array[int]] = {}
        self._sizes = array("i")
        self._last: tuple[int, Runs, list[int]] = (-1, np.empty(0, np.uint64), [])

    def begin(self, clips: Sequence[int]) -> None:
        """Do nothing: each clip is searched on its own."""

    def find(self, clip: int, stays: npt.NDArray[np.bool_]) -> tuple[int, float] | None:
        """Return the first clip that stays whose caption says nearly the same.

        Args:
            clip: number of a clip of the block.
            stays: whether each earlier clip stays; only clips that stay were added.

        Returns:
            Its number, and 1 minus the similarity.
        """
        runs, keys = self._read(clip)
        for other in self._candidates(runs, keys):
            similarity = jaccard(runs, self._get_runs(other))
            if similarity >= self._similarity:
                return other, 1 - similarity
        return None

    def _candidates(self, runs: Runs, keys: Sequence[int]) -> list[int]:
        """Return the kept clips, ascending, that may have enough in common with a caption."""
        found = []
        for position, key in enumerate(keys):
            places = self._places.get(key)
            # The best that a caption of any size with the run at this position can reach.
            if (
                places is None
                or len(runs) - position
                < self._similarity * (len(runs) + (places[0] & _POSITIONS)) - _ROUNDING
            ):
                continue
            sizes = np.frombuffer(self._sizes, np.int32)
            packed = np.frombuffer(places, np.int64)
            others, positions = packed >> _POSITION_BITS, packed & _POSITIONS
            counts = sizes[others]
            possible = np.minimum(len(runs) - position, counts - positions)
            union = len(runs) + counts - possible
            found.append(others[possible >= self._similarity * union - _ROUNDING])
        numbers: list[int] = np.unique(np.concatenate(found)).tolist() if found else []
        return numbers

    def keep(self, clip: int) -> None:
        """Add a clip of the block that stays."""
        runs, keys = self._read(clip)
        self._sizes.extend([0] * (clip - len(self._sizes)))
        self._sizes.append(len(runs))
        for position, key in enumerate(keys):
            places = self._places.setdefault(key, array("q"))
            places.append(clip << _POSITION_BITS | position)
            # The first has the least position.
            if position < places[0] & _POSITIONS:
                places[0], places[-1] = places[-1], places[0]

    def end(self, stays: npt.NDArray[np.bool_]) -> None:
        """End the block; its clips were added one at a time."""

    def _read(self, clip: int) -> tuple[Runs, list[int]]:
        """Return the runs of a clip, and keys of those of which a similar caption has one."""
        number, runs, keys = self._last
        if number != clip:
            runs = self._get_runs(clip)
            # With only as many others in common as are left out here, the similarity is too small.
            count = len(runs) - math.ceil(self._similarity * len(runs) - _ROUNDING) + 1
            first = self._counts.rarest_first(runs)[:count] if len(runs) else runs
            words = self._get_words(clip)
            # Two runs that share a key only add candidates.
            keys = [hash((words, run)) for run in first.tolist()]
            self._last = clip, runs, keys
        return runs, keys
