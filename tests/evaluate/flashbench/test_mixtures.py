"""The mixed settings: reproducible, true to their names, and in agreement with the files."""

import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from seedvideo.evaluate.flashbench.mixture_scenes import (
    LOOP_FRAMES,
    paint_shots,
    restless_boxes,
)
from seedvideo.evaluate.flashbench.mixtures import (
    MIN_CAP_PX,
    SETTINGS,
    Setting,
    make_mixture,
    tokens_for_cap_height,
)
from seedvideo.evaluate.flashbench.render import generate_drawn
from seedvideo.evaluate.flashbench.scenes import Canvas, MixedScene, Picture, ShotList
from seedvideo.evaluate.flashbench.spec import MIXTURE_VERSION, MixedStyle
from seedvideo.media.reader import open_video
from seedvideo.media.types import Target
from seedvideo.sampler.geometry import SEED
from tests.evaluate.flashbench.small_items import difficulty

KEPT = Path(__file__).with_name("mixture_version.json")
STYLES: tuple[MixedStyle, ...] = get_args(MixedStyle)
SMALL_PX = 160, 90


def small(name: str, *, duration_s: int = 20) -> Setting:
    """A setting with short and small videos."""
    setting = SETTINGS[name]
    return replace(
        setting,
        difficulty=difficulty(
            duration_s=duration_s, event_s=setting.difficulty.event_s, gop_frames=LOOP_FRAMES
        ),
        crowd_events=min(setting.crowd_events, 1),
    )


def frames(scene: MixedScene, variant: int, count: int) -> list[Picture]:
    canvas = Canvas(count, *SMALL_PX)
    return list(paint_shots(ShotList(((count, scene),)), canvas, variant=variant))


def change(one: Picture, other: Picture) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize("name", SETTINGS)
def test_events_lie_where_the_setting_wants_them(name: str) -> None:
    setting = SETTINGS[name]
    item, script = make_mixture(setting, 3)
    assert script.times[-1] == setting.difficulty.duration_s
    assert sum(loop.frames for loop in script.loops) + 1 == len(script.times)
    in_crowd = [any(a <= e.start and e.end <= b for a, b in item.busy) for e in item.events]
    assert len(in_crowd) == setting.difficulty.events + setting.crowd_events
    if not setting.anywhere:
        assert sum(in_crowd) == setting.crowd_events
    assert {e.duration for e in item.events} == {*setting.difficulty.event_s}
    assert all(not event.start <= cut < event.end for event in item.events for cut in item.cuts)
    assert all(a.end + 1 <= b.start for a, b in pairwise(item.events))
    scene = script.loops[0].scene
    assert isinstance(scene, ShotList)
    _, first = scene.shots[0]
    for x, y, w, h in restless_boxes(first.style, first.seed, item.difficulty.width_px, 540):
        for left, top, wide, high in (e.box for e in item.events if e.box):
            assert left + wide <= x or x + w <= left or top + high <= y or y + h <= top


def test_the_seed_decides_everything() -> None:
    setting = SETTINGS["alternating random"]
    assert make_mixture(setting, 5)[0] == make_mixture(setting, 5)[0]
    other = make_mixture(setting, 6)[0]
    assert other.busy != make_mixture(setting, 5)[0].busy
    again = make_mixture(setting, 5, attempt=1)[0]
    assert again.busy == make_mixture(setting, 5)[0].busy
    assert again.events != make_mixture(setting, 5)[0].events


@pytest.mark.parametrize("period_s", [5, 10, 30])
def test_crowd_and_calm_take_turns_of_the_period(period_s: int) -> None:
    for seed in range(4):
        item, script = make_mixture(SETTINGS[f"alternating {period_s}"], seed)
        inner = [b - a for a, b in pairwise(item.cuts)]
        assert {*inner} == {period_s}
        busy = sum((end - start for start, end in item.busy), Fraction(0))
        assert busy / script.times[-1] == pytest.approx(0.5, abs=0.13)


def test_most_turns_begin_within_a_gop() -> None:
    keyframes = Fraction(LOOP_FRAMES, 25)
    cuts = [
        cut for seed in range(6) for cut in make_mixture(SETTINGS["alternating 10"], seed)[0].cuts
    ]
    assert sum(cut % keyframes != 0 for cut in cuts) > 0.9 * len(cuts)


def test_random_turns_are_busy_for_half_of_the_time() -> None:
    for name in ("alternating random", "half busy 600"):
        item, script = make_mixture(SETTINGS[name], 1)
        busy = sum((end - start for start, end in item.busy), Fraction(0))
        assert busy / script.times[-1] == pytest.approx(0.5, abs=0.01)


def test_the_crowd_appears_in_the_calm_room_or_elsewhere() -> None:
    rooms = []
    for seed in range(2):
        _, script = make_mixture(SETTINGS["alternating 5"], seed)
        lists = [loop.scene for loop in script.loops if isinstance(loop.scene, ShotList)]
        scenes = {scene for each in lists for _, scene in each.shots}
        rooms.append(len({scene.seed for scene in scenes}))
        assert {scene.style for scene in scenes} == {"calm", "crowd"}
    assert rooms == [1, 2]


@pytest.mark.parametrize("style", STYLES)
def test_a_loop_leads_to_the_next_one_without_a_jump(style: MixedStyle) -> None:
    scene = MixedScene(style, 300)
    first = frames(scene, 0, LOOP_FRAMES)
    inside = max(change(a, b) for a, b in pairwise(first))
    across = change(first[-1], frames(scene, 1, 1)[0])
    assert across <= 1.2 * inside + 1


@pytest.mark.parametrize("style", ["corner", "band", "ticker"])
def test_only_the_restless_part_moves(style: MixedStyle) -> None:
    scene = MixedScene(style, 300)
    one, other = (frames(scene, 0, 31)[number].astype(int) for number in (0, 30))
    moved = np.abs(one - other)[: SMALL_PX[1]] > 20
    assert moved.any()
    for left, top, wide, high in restless_boxes(style, 300, *SMALL_PX):
        assert moved[top : top + high, left : left + wide].any()
        moved[top : top + high, left : left + wide] = False
    assert not moved.any()


def test_a_crowd_begins_in_the_file_when_the_truth_says_so(tmp_path: Path) -> None:
    setting = small("alternating 5")
    made = generate_drawn(lambda attempt: make_mixture(setting, 1, attempt=attempt), tmp_path)
    assert made.item.cuts
    with open_video(made.path) as reader:
        _, script = make_mixture(setting, 1, attempt=made.attempts - 1)
        assert reader.times == script.times[:-1]
        for cut in made.item.cuts:
            number = reader.times.index(cut)
            around = [reader.times[number + i] for i in (-2, -1, 0)]
            targets = [Target(pts=pts, width_px=320, height_px=180) for pts in around]
            two, one, here = (frame.pixels for frame in reader.frames(targets))
            assert change(one, here) > 3 * change(two, one) + 3


def test_legibility_is_decided_by_the_size_of_the_print() -> None:
    for name in ("calm", "half busy 600"):
        item, _ = make_mixture(SETTINGS[name], 0)
        setup = item.difficulty
        (need,) = {*tokens_for_cap_height(item).values()}
        assert need is not None
        legible = set()
        for cap in range(SEED.min_frame_tokens, SEED.levels_tokens[0] + 1):
            size = SEED.size(width_px=setup.width_px, height_px=setup.height_px, level_tokens=cap)
            cap_px = setup.cap_heights_px[0] / 1080 * size[1]
            is_large = SEED.tokens(width_px=size[0], height_px=size[1]) >= need
            assert (cap_px >= MIN_CAP_PX) == is_large
            legible.add(is_large)
        assert legible == {False, True}


def test_events_without_room_are_refused() -> None:
    with pytest.raises(ValueError, match="no room for"):
        make_mixture(small("calm 2 s", duration_s=4), 0)


def digests() -> dict[str, str]:
    """One digest per setting: truth, loops and overlays; one per style: its pixels."""
    found: dict[str, str] = {}
    for name, setting in SETTINGS.items():
        item, script = make_mixture(setting, 1_000_000, attempt=1)
        hashed = hashlib.sha256(json.dumps(item.to_json(), sort_keys=True).encode())
        for loop in script.loops:
            assert isinstance(loop.scene, ShotList)
            hashed.update(repr((loop.scene.shots, loop.variant, loop.frames)).encode())
        for each in script.overlays:
            hashed.update(repr((each.first, each.stop, each.left, each.top)).encode())
            hashed.update(each.luma.tobytes())
        found[name] = hashed.hexdigest()[:16]
    for style in STYLES:
        pixels = b"".join(frame.tobytes() for frame in frames(MixedScene(style, 700), 2, 4))
        found[f"style {style}"] = hashlib.sha256(pixels).hexdigest()[:16]
    return found


def test_other_videos_need_another_version() -> None:
    kept = json.loads(KEPT.read_text())
    hint = "run `python -m tests.evaluate.flashbench.test_mixtures`"
    assert kept["version"] == MIXTURE_VERSION, f"the version is new: {hint}"
    assert digests() == kept["digests"], (
        f"the videos have changed: give MIXTURE_VERSION in flashbench/spec.py new text, then {hint}"
    )


if __name__ == "__main__":
    content = {"version": MIXTURE_VERSION, "digests": digests()}
    KEPT.write_text(json.dumps(content, indent=1) + "\n")
