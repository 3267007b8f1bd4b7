"""What the model is shown, and what it is asked to answer."""

from collections import Counter

import pytest

from seedvideo.tasks.prompts import SENTENCE_JOINER
from seedvideo.training.data import NAME_PROMPT, PhotoSampler, mirror_text, normalize_caption
from tests.training.sample_data import make_photos, make_views

SIZES = [(64, 64), (64, 128), (64, 128), (64, 128)]


def make_sampler(seed: int = 1) -> PhotoSampler:
    return PhotoSampler(make_photos(30, 4), make_views(34, SIZES), seed=seed)


@pytest.mark.parametrize(
    ("caption", "cleaned"),
    [
        ("A dog runs .", "a dog runs"),
        ("A man , in red , waits", "a man, in red, waits"),
        ('The sign says " stop " .', "the sign says stop"),
        ("A dog 's ball !", "a dog's ball"),
        ("  Two   boys. ", "two boys"),
    ],
)
def test_clean(caption: str, cleaned: str) -> None:
    assert normalize_caption(caption) == cleaned


def test_sides() -> None:
    assert mirror_text("the left boy looks right") == "the right boy looks left"
    assert mirror_text("a leftover") == "a leftover"


def test_rows_of_a_step_have_frames_of_one_size_in_rising_time() -> None:
    sampler = make_sampler()
    for step in range(60):
        rows = sampler.draw(step, photos_per_step=8)
        assert rows
        sizes = {SIZES[view] for row in rows for _, view in row.frames}
        assert len(sizes) == 1
        for row in rows:
            assert len(row.frames) == len(row.times)
            assert all(a < b for a, b in zip(row.times, row.times[1:], strict=False))
            assert row.times[0] >= 0
            assert all(row.answers)


def test_every_kind_occurs() -> None:
    kinds: Counter[str] = Counter()
    sampler = make_sampler()
    for step in range(200):
        for row in sampler.draw(step, photos_per_step=8):
            photos = {photo for photo, _ in row.frames}
            if len(photos) > 1:
                kinds["slideshow"] += 1
                assert all(
                    answer.count(SENTENCE_JOINER) == len(photos) - 1 for answer in row.answers
                )
            elif row.prompt == NAME_PROMPT:
                kinds["name"] += 1
                assert row.answers == ("owl",)
                assert min(photos) >= 30
            else:
                kinds["clip" if len(row.frames) > 1 else "still"] += 1
    assert set(kinds) == {"slideshow", "name", "clip", "still"}


def test_mirrored_stills_swap_sides_and_videos_do_without() -> None:
    sampler = make_sampler()
    for step in range(100):
        for row in sampler.draw(step, photos_per_step=8):
            text = " ".join(row.answers)
            photo, _ = row.frames[0]
            if row.prompt == NAME_PROMPT:
                continue
            if len(row.frames) == 1:
                is_mirrored = photo % 2 == 1
                assert ("right side" in text) == is_mirrored
                assert ("left side" in text) != is_mirrored
            else:
                assert "left" not in text and "right" not in text


def test_the_same_step_is_the_same_and_seeds_differ() -> None:
    assert make_sampler().draw(7, photos_per_step=8) == make_sampler().draw(7, photos_per_step=8)
    assert make_sampler().draw(7, photos_per_step=8) != make_sampler(seed=2).draw(
        7, photos_per_step=8
    )
