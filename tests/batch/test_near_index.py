"""The index finds exactly what a comparison of all pairs finds."""

import time

import numpy as np
import pytest

from seedvideo.batch.duplicates import EXACT, NEAR, ComparedClip, DuplicateIndex, DuplicateMatch
from seedvideo.batch.job import Filters
from seedvideo.batch.similarity import (
    NearIndex,
    Signature,
    count_exposures,
    exposure_step_s,
    near_distance,
)

LENGTHS_S = (
    0.3,
    0.9,
    1.0,
    1.15,
    1.9,
    2.0,
    2.01,
    3.8,
    4.0,
    7.7,
    7.99,
    8.0,
    8.3,
    15.9,
    16.5,
    63.0,
    65.0,
)


def made(chance: np.random.Generator, long_s: float, like: Signature | None = None) -> Signature:
    """A random clip, or one near another."""
    count = count_exposures(long_s, exposure_step_s(long_s))
    if like is None:
        # Smooth in time, and much the same brightness: many are close by their means.
        start = chance.normal(120, 12, 384)
        values = start + np.cumsum(chance.normal(0, 1.5, (count, 384)), axis=0)
    else:
        step = max(like.step_s, exposure_step_s(long_s))
        values = like.subsample(step).astype(float)
        values = np.repeat(values, int(step / exposure_step_s(long_s)), axis=0)
        values = np.pad(values, ((0, count), (0, 0)), mode="edge")[:count]
        values = values + chance.normal(0, chance.choice([0.1, 0.3, 2, 4]), values.shape)
        values = values + chance.choice([0, 0, 1, 3, 6])
    return Signature(long_s, values.clip(0, 255).astype(np.uint8))


def crowd(seed: int, count: int) -> list[Signature]:
    chance = np.random.default_rng(seed)
    found: list[Signature] = []
    for _ in range(count):
        if found and chance.random() < 0.6:
            like = found[chance.integers(len(found))]
            long_s = like.duration_s * chance.uniform(0.94, 1.06) + chance.uniform(-0.2, 0.2)
            found.append(made(chance, max(0.05, round(long_s, 6)), like))
        else:
            found.append(made(chance, float(chance.choice(LENGTHS_S))))
    return found


@pytest.mark.parametrize("levels", [1.0, 4.0, 9.0])
def test_no_pair_is_missed(levels: float) -> None:
    clips = crowd(int(levels), 80)
    index = NearIndex(levels)
    for position, clip in enumerate(clips):
        index.add(position, "", clip)
    pairs = compared = 0
    for position, clip in enumerate(clips):
        truth = {p for p, o in enumerate(clips) if near_distance(clip, o, levels) is not None}
        found = index.candidates("", clip)
        assert truth <= set(found)
        assert position in truth
        pairs, compared = pairs + len(truth) - 1, compared + len(found) - 1
    assert pairs > 8
    assert compared < 0.5 * len(clips) ** 2


def test_only_clips_with_the_same_question_are_found() -> None:
    (clip,) = crowd(1, 1)
    index = NearIndex(4.0)
    index.add(7, "what?", clip)
    assert index.candidates("what?", clip) == [7]
    assert index.candidates("who?", clip) == []


def walked(
    clips: list[ComparedClip], order: list[int], rules: Filters
) -> dict[int, DuplicateMatch | None]:
    """Decide clips in the job's order while those of other places are there already."""
    signatures = {clip.position: clip.signature for clip in clips}

    def at(position: int) -> Signature:
        found = signatures[position]
        assert found is not None
        return found

    kept = DuplicateIndex(rules, at)
    matches: dict[int, DuplicateMatch | None] = {}
    for position in order:
        matches[position] = kept.find_duplicate(clips[position])
        if matches[position] is None:
            kept.add(clips[position])
    return matches


def test_the_first_in_the_order_is_named_as_by_brute_force() -> None:
    clips = [
        ComparedClip(
            position=position, task_key="", fingerprint=f"{position % 70:064x}", signature=signature
        )
        for position, signature in enumerate(crowd(3, 90))
    ]
    matches = walked(clips, list(range(len(clips))), Filters(duplicates=True))
    kept: list[ComparedClip] = []
    for clip in clips:
        same = [each for each in kept if each.fingerprint == clip.fingerprint]
        near = [
            (each, near_distance(each.signature, clip.signature, 4.0))
            for each in kept
            if each.signature and clip.signature
        ]
        near = [(each, levels) for each, levels in near if levels is not None]
        expected = None
        if same:
            expected = DuplicateMatch(rule=EXACT, position=same[0].position)
        elif near:
            expected = DuplicateMatch(
                rule=NEAR, position=near[0][0].position, distance_levels=near[0][1]
            )
        else:
            kept.append(clip)
        assert matches[clip.position] == expected
    rules = [repeat.rule for repeat in matches.values() if repeat is not None]
    assert rules.count(EXACT) > 5 < rules.count(NEAR)
    alone = walked(clips, list(range(len(clips))), Filters(exact_duplicates=True))
    assert {repeat.rule for repeat in alone.values() if repeat} == {EXACT}
    near_alone = walked(clips, list(range(len(clips))), Filters(near_duplicates=True))
    assert {repeat.rule for repeat in near_alone.values() if repeat} == {NEAR}


def test_a_later_clip_is_never_the_one_that_stays() -> None:
    (clip,) = crowd(4, 1)
    two = [
        ComparedClip(position=n, task_key="", fingerprint="ab" * 32, signature=clip) for n in (0, 1)
    ]
    assert walked(two, [1, 0], Filters(duplicates=True)) == {1: None, 0: None}


def test_the_search_is_not_quadratic() -> None:
    chance = np.random.default_rng(8)
    starts = chance.uniform(20, 235, (3_000, 4, 4)).repeat(4, axis=1).repeat(4, axis=2)
    index, compared = NearIndex(4.0), []
    began_s = time.process_time()
    for position, start in enumerate(starts):
        values = np.full((16, 384), 128, np.uint8)
        values[:, :256] = start.reshape(-1)
        clip = Signature(2.0, values)
        compared.append(len(index.candidates("", clip)))
        index.add(position, "", clip)
    spent_s = time.process_time() - began_s
    assert sum(compared) < 30
    assert spent_s < 15
