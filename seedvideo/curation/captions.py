"""Captions that say nearly the same: MinHash of their words, confirmed exactly.

A caption is the set of its runs of three words, in small letters and without punctuation; one of
fewer words is one run. Two captions are the same if their sets overlap by `SAME_CAPTION` of their
union (Jaccard similarity). Candidates share one of sixteen bands of four minimal hashes: a pair at
the limit is missed with a probability of 0.02%, equal captions never.

Separate from `seedvideo.curation.duplicates`, which would exceed 500 lines with it.
"""

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

SAME_CAPTION: Final = 0.8
"""Default minimum Jaccard similarity of captions that are the same."""

_RUN_WORDS: Final = 3
_BANDS: Final = 16
_BAND_HASHES: Final = 4
_WORD: Final = re.compile(r"\w+")

Hashes = npt.NDArray[np.uint64]


def _multipliers() -> Hashes:
    """Return odd factors, one for each hash function, the same in every run."""
    count = _BANDS * _BAND_HASHES
    data = b"".join(blake2b(b"%d" % number, digest_size=8).digest() for number in range(count))
    return np.frombuffer(data, "<u8").astype(np.uint64) | np.uint64(1)


_FACTORS: Final = _multipliers()


def caption_runs(caption: str) -> Hashes:
    """Return the hashes of the runs of words of a caption, sorted; none without a word."""
    words = _WORD.findall(caption.casefold())
    if not words:
        return np.empty(0, np.uint64)
    count = max(1, len(words) - _RUN_WORDS + 1)
    runs = {" ".join(words[start : start + _RUN_WORDS]) for start in range(count)}
    data = b"".join(
        blake2b(run.encode("utf-8", "surrogatepass"), digest_size=8).digest() for run in runs
    )
    return np.unique(np.frombuffer(data, "<u8").astype(np.uint64))


def jaccard(one: Hashes, other: Hashes) -> float:
    """Return the size of the intersection of two sets by that of their union."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


class CaptionSearch:
    """Search of captions that say nearly the same.

    Args:
        similarity: minimum Jaccard similarity.
        get_caption: returns the caption of a clip by its number; empty if it has none.
        get_words: returns a number for its question and options; only clips with the same one are
            compared.
    """

    def __init__(
        self,
        similarity: float,
        get_caption: Callable[[int], str],
        get_words: Callable[[int], int],
    ) -> None:
        self._similarity = similarity
        self._get_caption = get_caption
        self._get_words = get_words
        self._bands: dict[int, list[int]] = {}
        self._runs: dict[int, Hashes] = {}
        self._keys: dict[int, list[int]] = {}

    def begin(self, clips: Sequence[int]) -> None:
        """Compute the hashes of a block of clips, given in ascending order."""
        self._runs = {clip: caption_runs(self._get_caption(clip)) for clip in clips}
        self._keys = {
            clip: self._band_keys(clip, runs) for clip, runs in self._runs.items() if len(runs)
        }

    def find(self, clip: int, stays: npt.NDArray[np.bool_]) -> tuple[int, float] | None:
        """Return the first clip that stays whose caption says nearly the same.

        Args:
            clip: number of a clip of the block.
            stays: whether each earlier clip stays; only clips that stay were added.

        Returns:
            Its number, and 1 minus the similarity.
        """
        keys = self._keys.get(clip, ())
        for other in sorted({each for key in keys for each in self._bands.get(key, ())}):
            runs = self._runs.get(other)
            if runs is None:
                runs = caption_runs(self._get_caption(other))
            similarity = jaccard(self._runs[clip], runs)
            if similarity >= self._similarity:
                return other, 1 - similarity
        return None

    def keep(self, clip: int) -> None:
        """Add a clip of the block that stays."""
        for key in self._keys.get(clip, ()):
            self._bands.setdefault(key, []).append(clip)

    def end(self, stays: npt.NDArray[np.bool_]) -> None:
        """End the block; its clips were added one at a time."""

    def _band_keys(self, clip: int, runs: Hashes) -> list[int]:
        minima = (runs[:, None] * _FACTORS).min(axis=0).reshape(_BANDS, _BAND_HASHES)
        words = self._get_words(clip)
        # A number takes less memory than bytes; two bands that share one add candidates only.
        return [hash((band, words, minima[band].tobytes())) for band in range(_BANDS)]
