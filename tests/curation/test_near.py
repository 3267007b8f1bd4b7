"""The searches find exactly what a comparison of all pairs finds, in order of preference."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest

from seedvideo.batch.similarity import Signature, near_distance
from seedvideo.curation import captions, near
from seedvideo.curation.boxes import BoxIndex
from seedvideo.curation.captions import CaptionSearch, RunCounts, caption_runs, jaccard
from seedvideo.curation.near import NearSearch
from seedvideo.curation.semantic import SemanticSearch, cosine_distance, normalize
from tests.batch.test_near_index import crowd
from tests.tiers import quick_first

Find = Callable[[int, int], float | None]
Search = NearSearch | SemanticSearch | CaptionSearch


def search_all(search: Search, count: int, block: int) -> dict[int, tuple[int, float]]:
    """Return the duplicates that a search finds, as the table of duplicates does it."""
    stays = np.zeros(count, bool)
    found = {}
    for start in range(0, count, block):
        clips = range(start, min(start + block, count))
        search.begin(clips)
        for clip in clips:
            match = search.find(clip, stays)
            if match is not None:
                found[clip] = match
            else:
                stays[clip] = True
                search.keep(clip)
        search.end(stays)
    return found


def compare_all(count: int, distance: Find) -> dict[int, tuple[int, float]]:
    """Return the duplicates by a comparison of each clip with all earlier ones that stay."""
    kept: list[int] = []
    found = {}
    for clip in range(count):
        match = next(
            ((other, d) for other in kept if (d := distance(clip, other)) is not None), None
        )
        if match is None:
            kept.append(clip)
        else:
            found[clip] = match
    return found


@pytest.mark.parametrize("block", [7, 64])
@pytest.mark.parametrize("levels", quick_first([4.0, 1.0, 9.0], 2))
def test_near_search_is_exact(levels: float, block: int) -> None:
    clips = crowd(int(10 * levels), 160)
    words = [number % 3 == 0 for number in range(len(clips))]

    def distance(one: int, other: int) -> float | None:
        same = words[one] == words[other]
        return near_distance(clips[one], clips[other], levels) if same else None

    truth = compare_all(len(clips), distance)
    search = NearSearch(levels, lambda clip: clips[clip], lambda clip: int(words[clip]))
    assert search_all(search, len(clips), block) == truth
    assert len(truth) >= 10


def test_near_search_compares_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips that differ are not compared in full, and those without a signature never."""
    clips: list[Signature | None] = list(crowd(3, 150))
    clips[5] = clips[9] = None
    compared = []

    def count(one: Signature, other: Signature, levels: float) -> float | None:
        compared.append((one, other))
        return near_distance(one, other, levels)

    monkeypatch.setattr(near, "near_distance", count)
    found = search_all(NearSearch(4.0, lambda clip: clips[clip], lambda clip: 0), 150, 64)
    assert not {5, 9} & found.keys()
    assert len(found) <= len(compared) < 0.03 * 150**2 / 2


def test_boxes_propose_all_neighbours() -> None:
    rng = np.random.default_rng(5)
    points = rng.uniform(-3, 3, (400, 4)).astype(np.float32)
    groups = rng.integers(0, 2, 400)
    index = BoxIndex(1.0)
    for start in range(0, 400, 37):
        rows = np.arange(start, min(start + 37, 400))
        index.add(rows, groups[rows], points[rows])
    proposed = {
        (int(one), int(other))
        for ones, others in index.pairs(groups, points)
        for one, other in zip(ones, others, strict=True)
    }
    close = (np.abs(points[:, None] - points).max(axis=-1) <= 1) & (groups[:, None] == groups)
    assert set(zip(*(each.tolist() for each in np.nonzero(close)), strict=True)) <= proposed


@pytest.mark.parametrize("block", [5, 100])
@pytest.mark.parametrize("size", [3, 100])
def test_semantic_search_is_exact(size: int, block: int) -> None:
    rng = np.random.default_rng(size)
    centres = rng.normal(size=(12, size))
    vectors = [
        normalize(centres[rng.integers(12)] + rng.normal(0, rng.choice([0.02, 0.1]), size))
        for _ in range(150)
    ]
    vectors[3] = None

    def distance(one: int, other: int) -> float | None:
        first, second = vectors[one], vectors[other]
        if first is None or second is None:
            return None
        found = cosine_distance(first, second)
        return found if found <= 0.01 else None

    truth = compare_all(len(vectors), distance)
    search = SemanticSearch(0.01, lambda clip: vectors[clip], lambda clip: 0)
    assert search_all(search, len(vectors), block) == truth
    assert 20 < len(truth) < 145


def test_vectors_without_direction_have_none() -> None:
    assert normalize([0.0, 0.0]) is None
    assert normalize([float("nan"), 1.0]) is None
    found = normalize([3.0, 4.0])
    assert found is not None and found.tolist() == pytest.approx([0.6, 0.8])


def texts(rng: np.random.Generator, count: int) -> list[str]:
    words = [f"word{number}" for number in range(60)]
    found: list[str] = []
    for _ in range(count):
        if found and rng.random() < 0.5:
            parts = found[rng.integers(len(found))].split()
            for _ in range(rng.integers(0, 3)):
                parts[rng.integers(len(parts))] = str(rng.choice(words))
        else:
            parts = [str(word) for word in rng.choice(words, rng.integers(2, 40))]
        found.append(" ".join(parts))
    return found


@pytest.mark.parametrize("limit", [0.05, 0.3, 0.5, 2 / 3, 0.8, 1.0])
def test_caption_search_is_exact(limit: float) -> None:
    runs = [caption_runs(text) for text in texts(np.random.default_rng(2), 150)]
    counts = RunCounts()
    for each in runs:
        counts.add(each)

    def distance(one: int, other: int) -> float | None:
        similarity = jaccard(runs[one], runs[other])
        return 1 - similarity if similarity >= limit else None

    truth = compare_all(len(runs), distance)
    search = CaptionSearch(limit, runs.__getitem__, lambda clip: 0, counts)
    assert search_all(search, len(runs), 50) == truth
    assert len(truth) > 25


def test_captions_of_one_form_are_not_compared_with_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They have most runs in common, but fewer than the limit."""
    runs = [caption_runs(f"a video of a person who rides number{n}") for n in range(500)]
    counts = RunCounts()
    for each in runs:
        counts.add(each)
    compared = []

    def counted(one: Any, other: Any) -> float:
        compared.append(1)
        return jaccard(one, other)

    monkeypatch.setattr(captions, "jaccard", counted)
    search = CaptionSearch(0.8, runs.__getitem__, lambda clip: 0, counts)
    assert search_all(search, len(runs), 100) == {} and not compared


@pytest.mark.parametrize(
    ("one", "other", "similarity"),
    [
        ("A dog runs.", "a DOG, runs!", 1.0),
        ("A dog runs home", "a dog runs away", 1 / 3),
        ("dog", "Dog", 1.0),
        ("dog", "cat", 0.0),
        ("一个男人正在公园里跑步", "一个男人正在公园里跑步。", 1.0),
        ("一个男人正在公园里跑步", "一个男人正在公园里走路", 7 / 11),
        ("caf\u00e9 by the sea", "cafe\u0301 by the Sea", 1.0),
        ("แมวดำ", "แมวขาว", 1 / 7),
    ],
)
def test_similarity_of_captions(one: str, other: str, similarity: float) -> None:
    assert jaccard(caption_runs(one), caption_runs(other)) == pytest.approx(similarity)
    assert len(caption_runs("...")) == 0


def test_hashes_do_not_depend_on_the_process() -> None:
    """Bands are the same in every run: Python's own hashes are not."""
    # The first eight bytes of BLAKE2b-64, as little-endian numbers.
    expected = sorted(
        int.from_bytes(blake2b(run, digest_size=8).digest(), "little")
        for run in (b"a dog runs", b"dog runs home")
    )
    runs: Sequence[int] = caption_runs("a dog runs home").tolist()
    assert runs == expected
