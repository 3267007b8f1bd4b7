"""Semantic duplicates: clips whose embeddings point in nearly the same direction.

The search is exact and needs no index of another package. Embeddings are projected to few
directions. The length of what the projection leaves out bounds its part of the product, so a
product of short vectors is an upper bound of the cosine similarity. Only pairs whose bound reaches
the limit are compared in full.

Embeddings are read from a spool; memory is about 260 bytes for each clip that stays.

Separate from `seedvideo.curation.duplicates`, which would exceed 500 lines with it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

MAX_SEMANTIC_DISTANCE: Final = 0.01
"""Default maximum cosine distance of semantic duplicates, as in cosmos-curate."""

_DIRECTIONS: Final = 64
_SLACK: Final = 1e-4
"""Tolerance for rounding of products in single precision."""

_DIGITS: Final = 12
"""Decimals of a distance: further ones depend on the order of a sum."""

_GROWTH: Final = 1.25
_CHUNK_CLIPS: Final = 1 << 13
"""Kept clips that a block is compared with in one step; bounds the memory."""

Vector = npt.NDArray[np.float32]


class SemanticSearch:
    """Search of clips with similar embeddings, a block of clips at a time.

    Clips have numbers in order of preference: a clip is compared with those before it.

    Args:
        distance: maximum cosine distance (1 minus the cosine) of duplicates.
        get_embedding: returns the embedding of a clip by its number, of length 1; None if it has
            none.
        get_words: returns a number for the question and options of a clip; only clips with the same
            one are compared.
    """

    def __init__(
        self,
        distance: float,
        get_embedding: Callable[[int], Vector | None],
        get_words: Callable[[int], int],
    ) -> None:
        self._distance = distance
        self._get_embedding = get_embedding
        self._get_words = get_words
        self._basis: npt.NDArray[np.float32] | None = None
        self._short = np.empty((0, 0), np.float32)
        self._kept = np.empty(0, np.int64)
        self._count = 0
        self._block = np.empty(0, np.int64)
        self._block_short = np.empty((0, 0), np.float32)
        self._embeddings: dict[int, Vector] = {}
        self._candidates: dict[int, list[npt.NDArray[np.int64]]] = {}

    def begin(self, clips: Sequence[int]) -> None:
        """Search the candidates of a block of clips, given in ascending order."""
        found = ((clip, self._get_embedding(clip)) for clip in clips)
        self._embeddings = {clip: each for clip, each in found if each is not None}
        self._candidates = {}
        self._block = np.array(list(self._embeddings), np.int64)
        if not self._embeddings:
            return
        vectors = np.stack(list(self._embeddings.values()))
        if self._basis is None:
            self._basis = _principal_directions(vectors)
        self._block_short = self._shorten(vectors)
        kept = self._kept[: self._count], self._short[: self._count]
        for numbers, short in (kept, (self._block, self._block_short)):
            for start in range(0, len(numbers), _CHUNK_CLIPS):
                part = slice(start, start + _CHUNK_CLIPS)
                self._note_pairs(numbers[part], short[part])

    def _note_pairs(self, numbers: npt.NDArray[np.int64], short: Vector) -> None:
        """Note the earlier clips of a chunk whose bound of the cosine reaches the limit."""
        bounds = self._block_short @ short.T
        rows, columns = np.nonzero(bounds >= 1 - self._distance - _SLACK)
        ends = np.searchsorted(rows, np.arange(len(self._block) + 1))
        for position in np.unique(rows).tolist():
            clip = int(self._block[position])
            others = numbers[columns[ends[position] : ends[position + 1]]]
            self._candidates.setdefault(clip, []).append(others[others < clip])

    def find(self, clip: int, stays: npt.NDArray[np.bool_]) -> tuple[int, float] | None:
        """Return the first earlier clip that stays and is similar.

        Args:
            clip: number of a clip of the block.
            stays: whether each earlier clip stays.

        Returns:
            Its number and the cosine distance.
        """
        parts = self._candidates.get(clip, ())
        for other in np.sort(np.concatenate(parts)).tolist() if parts else ():
            if not stays[other] or self._get_words(other) != self._get_words(clip):
                continue
            stored = self._embeddings.get(other)
            stored = self._get_embedding(other) if stored is None else stored
            assert stored is not None
            distance = cosine_distance(self._embeddings[clip], stored)
            if distance <= self._distance:
                return other, distance
        return None

    def keep(self, clip: int) -> None:
        """Note a clip that stays; `end` adds it."""

    def end(self, stays: npt.NDArray[np.bool_]) -> None:
        """Add the clips of the block that stay to those that later blocks are compared with."""
        chosen = np.flatnonzero(stays[self._block])
        end = self._count + len(chosen)
        if end > len(self._kept):
            capacity = math.ceil(_GROWTH * end)
            kept = np.zeros(capacity, np.int64)
            short = np.zeros((capacity, self._block_short.shape[1]), np.float32)
            kept[: self._count] = self._kept[: self._count]
            if self._count:
                short[: self._count] = self._short[: self._count]
            self._kept, self._short = kept, short
        if len(chosen):
            self._kept[self._count : end] = self._block[chosen]
            self._short[self._count : end] = self._block_short[chosen]
        self._count = end

    def _shorten(self, vectors: Vector) -> Vector:
        """Return the projections and the length of what they leave out, ``(count, at most 65)``."""
        assert self._basis is not None
        projected = vectors @ self._basis
        rest = np.sqrt(np.maximum(0, 1 - (projected**2).sum(axis=1)))
        short: Vector = np.concatenate([projected, rest[:, None]], axis=1).astype(np.float32)
        return short


def cosine_distance(one: Vector, other: Vector) -> float:
    """Return 1 minus the cosine of two vectors, 0 for equal ones."""
    left, right = one.astype(np.float64), other.astype(np.float64)
    # Single precision holds a length of 1 only to seven digits.
    lengths = math.sqrt(float(left @ left) * float(right @ right))
    return max(0.0, round(1 - float(left @ right) / lengths, _DIGITS))


def normalize(values: npt.ArrayLike) -> Vector | None:
    """Return a vector scaled to length 1; None if it has no direction.

    Raises:
        ValueError: if the values are not a list of numbers.
    """
    try:
        vector = np.asarray(values, np.float64)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    if vector.ndim != 1:
        raise ValueError(f"its shape is {vector.shape}")
    greatest = float(np.abs(vector).max(initial=0.0))
    if not math.isfinite(greatest) or greatest == 0:
        return None
    # Squares of large numbers are not finite.
    vector = vector / greatest
    unit: Vector = (vector / math.sqrt(float(vector @ vector))).astype(np.float32)
    return unit


def _principal_directions(vectors: Vector) -> Vector:
    """Return orthonormal directions along which vectors differ most, ``(size, directions)``.

    Any orthonormal directions give the same result; these leave out the least.
    """
    count = min(_DIRECTIONS, vectors.shape[1])
    double = vectors.astype(np.float64)
    _, directions = np.linalg.eigh(double.T @ double)
    basis: Vector = directions[:, -count:].astype(np.float32)
    return basis
