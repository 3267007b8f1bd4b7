"""The videos: reproducible from a seed, and in agreement with the ground truth."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from seedvideo.evaluate.flashbench import (
    TASKS,
    BenchmarkItem,
    DifficultyConfig,
    Event,
    GopCache,
    TaskId,
    generate,
    make_script,
    seeds,
)
from seedvideo.evaluate.flashbench.codes import (
    ALPHABET,
    draw_text_plate,
    random_code,
    template_match,
)
from seedvideo.evaluate.flashbench.render import box_at, find_illegible
from seedvideo.evaluate.flashbench.scenes import Canvas, Scene, paint
from seedvideo.evaluate.flashbench.spec import DEV_SEEDS, TEST_SEEDS, Style
from seedvideo.media.reader import VideoReader, open_video
from seedvideo.media.types import Target
from tests.evaluate.flashbench.small_items import difficulty
from tests.tiers import quick_first

STYLES: tuple[Style, ...] = get_args(Style)


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    one = generate("T1", 3, tmp_path, difficulty=difficulty())
    two = generate("T1", 3, tmp_path / "again", difficulty=difficulty())
    assert one.item == two.item
    assert one.path.read_bytes() == two.path.read_bytes()


def test_another_seed_gives_other_events() -> None:
    items = [make_script("T1", seed, difficulty())[0] for seed in range(4)]
    assert len({event.answer for item in items for event in item.events}) == 8
    assert len({event.start for item in items for event in item.events}) == 8


def test_seeds_for_tuning_and_for_testing_are_apart() -> None:
    assert set(DEV_SEEDS).isdisjoint(TEST_SEEDS)
    assert list(seeds("dev", 2)) == [0, 1]
    assert list(seeds("test", 2)) == [1_000_000, 1_000_001]
    with pytest.raises(ValueError, match="expected 1 to 1000"):
        seeds("dev", 1001)


@pytest.mark.parametrize(
    "changed",
    quick_first(
        [
            {"vfr": True},
            {},
            {"fps": Fraction(30000, 1001)},
            {"fps": Fraction(60), "gop_frames": 50, "b_frames": 0},
            {"crf": 32, "contrast": "low"},
        ]
    ),
    ids=["vfr", "25 fps", "29.97 fps", "60 fps", "coarse"],
)
def test_decoded_frames_match_the_ground_truth(tmp_path: Path, changed: dict[str, object]) -> None:
    made = generate("T1", 1, tmp_path, difficulty=difficulty(**changed))
    _, script = make_script("T1", 1, difficulty(**changed), attempt=made.attempts - 1)
    with open_video(made.path) as reader:
        assert reader.times == script.times[:-1]
        assert reader.info.duration == script.times[-1]
        assert made.item.events
        for event in made.item.events:
            place = reader.times.index(event.start)
            stop = reader.times.index(event.end)
            assert shows(reader, made.item, event, place)
            assert shows(reader, made.item, event, stop - 1)
            assert not shows(reader, made.item, event, place - 1)
            assert not shows(reader, made.item, event, stop)


def test_moving_print_is_at_its_true_position(tmp_path: Path) -> None:
    made = generate("T8", 0, tmp_path, difficulty=difficulty(duration_s=20, events=1))
    event = made.item.events[0]
    assert event.drift_px != (0, 0)
    with open_video(made.path) as reader:
        first, last = reader.times.index(event.start), reader.times.index(event.end) - 1
        assert all(shows(reader, made.item, event, place) for place in (first, last))
    left, _, wide, _ = box_at(event, event.start, made.item.difficulty.fps)
    assert left >= 0
    end_left = box_at(event, event.end, made.item.difficulty.fps)[0]
    assert end_left + wide > made.item.difficulty.width_px


def test_illegible_events_are_found(tmp_path: Path) -> None:
    made = generate("T1", 2, tmp_path, difficulty=difficulty())
    shifted = tuple(
        Event(
            kind="code",
            start=event.end,
            end=event.end + event.duration,
            answer=event.answer,
            box=event.box,
            cap_height_px=event.cap_height_px,
        )
        for event in made.item.events
    )
    wrong = BenchmarkItem(task="T1", seed=2, difficulty=made.item.difficulty, events=shifted)
    assert find_illegible(made.item, made.path) == ()
    assert find_illegible(wrong, made.path) == shifted


def test_print_too_small_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="can't be read at full size"):
        generate(
            "T1", 0, tmp_path, difficulty=difficulty(duration_s=4, events=1, cap_heights_px=(9,))
        )


def test_a_backdrop_is_encoded_once(tmp_path: Path) -> None:
    gop_cache = GopCache()
    setup = difficulty(duration_s=40, events=1)
    generate("T1", 0, tmp_path, difficulty=setup, gop_cache=gop_cache)
    first = gop_cache.encoded_frames
    generate("T3", 0, tmp_path, difficulty=setup, gop_cache=gop_cache)
    assert first < 40 * 25 // 4
    assert gop_cache.encoded_frames - first <= 2 * setup.gop_frames


@pytest.mark.parametrize("style", STYLES)
def test_any_loop_may_follow_any_other_without_a_jump(style: Style) -> None:
    canvas = Canvas(12, 64, 48)
    loops = [list(paint(Scene(style, 5), canvas, variant=variant)) for variant in range(2)]
    inside = max(change(a, b) for loop in loops for a, b in pairwise(loop))
    across = change(loops[0][-1], loops[1][0])
    # A loop of few frames moves in large steps; a jump would be another picture altogether.
    assert across <= 1.2 * inside + 1


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_script_and_its_truth_is_plain(task: TaskId) -> None:
    setup = DifficultyConfig(duration_s=240, events=3, distractor_fraction=Fraction(1, 5))
    item, script = make_script(task, 7, setup)
    assert script.times[-1] == 240
    assert sum(loop.frames for loop in script.loops) + 1 == len(script.times)
    assert bool(item.events) == (task != "T10")
    assert all(event.end <= 240 for event in item.events)
    assert item.question
    assert item.answers or task.startswith("N")
    assert item.to_json()["events"] == [] or task != "T10"


def test_events_keep_away_from_what_is_busy() -> None:
    item, script = make_script("T1", 4, DifficultyConfig(distractor_fraction=Fraction(1, 2)))
    busy = sum((end - start for start, end in item.busy), Fraction(0))
    assert busy / script.times[-1] == pytest.approx(0.5, abs=0.01)
    for event in item.events:
        assert all(event.end <= start or end <= event.start for start, end in item.busy)
        assert all(not event.start <= cut < event.end for cut in item.cuts)


def test_invalid_difficulties_are_refused() -> None:
    with pytest.raises(ValueError, match="distractor_share"):
        difficulty(distractor_fraction=Fraction(1))
    with pytest.raises(ValueError, match="contrast"):
        difficulty(contrast="none")
    with pytest.raises(ValueError, match="expected one of calm"):
        difficulty(backdrop="sea")


def test_events_can_happen_in_anything() -> None:
    _, script = make_script(
        "T1", 0, DifficultyConfig(backdrop="pan", distractor_fraction=Fraction(1, 2))
    )
    scenes = [loop.scene for loop in script.loops if isinstance(loop.scene, Scene)]
    assert {scene.style for scene in scenes} == {"pan", "crowd"}


def test_template_matching_distinguishes_all_characters() -> None:
    for start in range(len(ALPHABET)):
        code = "".join(ALPHABET[(start + 5 * place) % len(ALPHABET)] for place in range(6))
        plate = draw_text_plate(code, cap_height_px=16, picture_height_px=540)
        assert template_match(plate.luma, length=6, cap_px=plate.cap_px) == code


def test_codes_use_the_alphabet_and_repeat_no_neighbour() -> None:
    chance = np.random.default_rng(0)
    for code in (random_code(chance) for _ in range(200)):
        assert len(code) == 6
        assert set(code) <= set(ALPHABET)
        assert all(a != b for a, b in pairwise(code))


def shows(reader: VideoReader, item: BenchmarkItem, event: Event, place: int) -> bool:
    """Whether the frame of this number has the event's code at the event's place."""
    setup = item.difficulty
    pts = reader.times[place]
    target = Target(pts=pts, width_px=setup.width_px, height_px=setup.height_px)
    (frame,) = reader.frames([target])
    assert frame.pts == pts
    left, top, wide, high = box_at(event, pts, setup.fps)
    luma = frame.pixels.mean(axis=2).astype(np.uint8)[top : top + high, left : left + wide]
    cap_px = (event.cap_height_px or 0) * setup.height_px / 1080
    return template_match(luma, length=6, cap_px=cap_px) == event.answer


def change(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())
