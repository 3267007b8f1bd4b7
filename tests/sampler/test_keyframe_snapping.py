"""Frames of calm spans are moved to keyframes: on made analyses, and on real files."""

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import seedvideo
from seedvideo.errors import PlanError
from seedvideo.sampler.keyframe_snapping import MIN_PACKETS_SAVED
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import DecodeCosts, compute_decode_costs
from seedvideo.sampler.types import DecodeEstimate
from seedvideo.sampler.utility import SegmentDemand
from seedvideo.utils.timecode import timestamp_text
from tests.fixtures import Clips, ffmpeg
from tests.sampler.demands import Found, adaptive, demand, founds
from tests.sampler.plans import make_plan
from tests.sampler.videos import text_cost
from tests.tiers import by_tier, examples, slow


def check(
    plain: Plan, plan: Plan, demands: tuple[SegmentDemand, ...], costs: DecodeCosts, rate: int
) -> int:
    """Check what moving frames promises; gives how many were moved.

    Args:
        plain: the plan of the same request without costs.
        plan: the plan.
        demands: of the analysis.
        costs: of the frames, which follow one another at ``rate`` a second.
        rate: frames per second.
    """
    keyframes = set(costs.keyframes.tolist())
    assert plan.charged_tokens <= min(plan.budget_tokens, plain.charged_tokens)
    assert all(earlier.pts < later.pts for earlier, later in pairwise(plan.frames))
    moves = 0
    for number, (was, now) in enumerate(zip(plain.frames, plan.frames, strict=True)):
        assert (was.tokens, was.role) == (now.tokens, now.role)
        if was.pts == now.pts:
            assert was == now
            continue
        moves += 1
        assert now.pts * rate in keyframes
        assert was.role in ("coverage", "spread")
        assert 0 < number < len(plain.frames) - 1
        gaps = [
            was.pts - plain.frames[number - 1].pts,
            plain.frames[number + 1].pts - was.pts,
        ]
        assert abs(now.pts - was.pts) <= min(gaps) / 4
        here, there = (segment_of(demands, pts) for pts in (was.pts, now.pts))
        assert here is there
        assert here.is_calm
        assert abs(now.pts - was.pts) <= here.picture_s / 4
        side = "earlier" if now.pts < was.pts else "later"
        shift = f"{abs(float(now.pts - was.pts)):.2g}"
        assert f", keyframe {shift} s {side}, cheaper to decode; level " in now.reason
    for (was, then), (now, after) in zip(
        pairwise(plain.frames), pairwise(plan.frames), strict=True
    ):
        gap = then.pts - was.pts
        assert gap / 2 <= after.pts - now.pts <= 3 * gap / 2
    assert plain.decision is not None and plan.decision is not None
    before, cost = (costs.cost(int(f.pts * rate) for f in each.frames) for each in (plain, plan))
    assert plan.decision.decoding == DecodeEstimate(cost, len(costs.packets), moves, before - cost)
    assert before - cost >= MIN_PACKETS_SAVED * moves
    assert plain.decision == replace(plan.decision, decoding=None)
    return moves


def segment_of(demands: tuple[SegmentDemand, ...], pts: Fraction) -> SegmentDemand:
    return next(each for each in reversed(demands) if each.start <= pts or each is demands[0])


@st.composite
def stored(draw: st.DrawFn, frames: int) -> DecodeCosts:
    """How frames may be stored: groups of many lengths, in order or with pictures between."""
    keyframes = draw(st.sets(st.integers(0, frames - 1), min_size=1, max_size=40)) | {0}
    places = np.arange(frames)
    if draw(st.booleans()):
        # Every other picture is stored behind the one shown next.
        last = frames - frames % 2
        places[:last] = places[:last].reshape(-1, 2)[:, ::-1].ravel()
        keyframes = {key for key in keyframes if key % 2 or key == frames - 1} or {1}
    return compute_decode_costs(places.tolist(), sorted(keyframes))


@given(
    frames=st.integers(2, 9000),
    budget=st.integers(1000, 60_000),
    share=st.sampled_from([0.0, 0.5, 0.9]),
    data=st.data(),
)
@examples(200)
def test_what_moving_promises(frames: int, budget: int, share: float, data: st.DataObject) -> None:
    found, costs = data.draw(founds(frames)), data.draw(stored(frames))
    options: dict[str, Any] = {
        "budget_tokens": budget,
        "coverage": share,
        "text_tokens": text_cost,
    }
    plain = adaptive(found, frames, **options)
    plan = adaptive(found, frames, costs=costs, **options)
    check(plain, plan, found.demands, costs, 30)
    assert plan == adaptive(found, frames, costs=costs, **options)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@given(gop=st.integers(20, 400), first=st.integers(0, 400), calm_s=st.floats(0.2, 60))
@example(gop=26, first=0, calm_s=1.2)
@examples(60)
def test_no_choice_of_moves_decodes_less(gop: int, first: int, calm_s: float) -> None:
    frames = 1800
    keyframes = sorted({0, *range(first, frames, gop)})
    costs = compute_decode_costs(range(frames), keyframes)
    found = Found((demand(0, 60, change_s=calm_s),))
    options: dict[str, Any] = {"budget_tokens": 7 * 128, "max_frames": 7}
    plain = adaptive(found, frames, **options)
    plan = adaptive(found, frames, costs=costs, **options)
    check(plain, plan, found.demands, costs, 30)
    frame_indices = [int(frame.pts * 30) for frame in plain.frames]
    choices = []
    for i, frame_index in enumerate(frame_indices):
        gaps = [after - before for before, after in pairwise(frame_indices[max(0, i - 1) : i + 2])]
        # Exact: a keyframe may lie at the very end of what is in reach.
        reach = min(Fraction(calm_s) * 30, *map(Fraction, gaps)) / 4
        may_move = 0 < i < len(frame_indices) - 1 and frame_index not in keyframes
        near = [key for key in keyframes if may_move and abs(key - frame_index) <= reach]
        choices.append([frame_index, *near])

    def cost_of(chosen: tuple[int, ...]) -> int:
        moves = sum(a != b for a, b in zip(chosen, frame_indices, strict=True))
        return costs.cost(chosen) + MIN_PACKETS_SAVED * moves

    assert cost_of(tuple(int(frame.pts * 30) for frame in plan.frames)) == min(
        map(cost_of, product(*choices))
    )


def calm_minutes(length_s: int = 120) -> tuple[Found, DecodeCosts]:
    """A still scene whose groups last eight seconds."""
    costs = compute_decode_costs(range(length_s * 30), range(0, length_s * 30, 240))
    return Found((demand(0, length_s, change_s=60),)), costs


def test_whoever_asks_for_an_even_plan_or_a_rate_gets_it() -> None:
    found, costs = calm_minutes()
    free = adaptive(found, 3600, costs=costs, budget_tokens=3000)
    assert free.decision is not None and free.decision.decoding is not None
    assert free.decision.decoding.moved_frames > 2
    for bound in ({"coverage": 1.0}, {"min_fps": 0.1}):
        plain = adaptive(found, 3600, budget_tokens=3000, **bound)
        plan = adaptive(found, 3600, budget_tokens=3000, **bound, costs=costs)
        assert plan.frames == plain.frames
        assert plan.decision is not None and plan.decision.decoding is not None
        assert plan.decision.decoding.moved_frames == 0
    flooded = replace(found, busy_fraction=1.0)
    plain = adaptive(flooded, 3600, budget_tokens=3000)
    assert adaptive(flooded, 3600, costs=costs, budget_tokens=3000).frames == plain.frames


def test_a_window_counts_what_lies_before_it() -> None:
    found, costs = calm_minutes()
    part = {"start_s": Fraction(50), "end_s": Fraction(100)}
    plain = adaptive(found, 3600, budget_tokens=1500, **part)
    plan = adaptive(found, 3600, costs=costs, budget_tokens=1500, **part)
    assert check(plain, plan, found.demands, costs, 30)
    # The first frame, at 50 s, needs all from the keyframe at 48 s on.
    assert plan.frames[0].pts == 50


def test_where_something_may_be_new_nothing_moves() -> None:
    # Events anywhere, at moments that are not known: the even grid is all there is to meet them.
    _, costs = calm_minutes()
    found = Found((demand(0, 120, change_s=60, events_per_s=0.05),))
    plain = adaptive(found, 3600, budget_tokens=3000)
    assert adaptive(found, 3600, costs=costs, budget_tokens=3000).frames == plain.frames


def test_no_frame_crosses_a_cut_to_reach_a_keyframe() -> None:
    # A keyframe at 56 s; `check` verifies the segment of every frame.
    _, costs = calm_minutes()
    moves = 0
    budgets = range(1400, 3400, by_tier(100, quick=400))
    for tenth, budget in product((553, 557, 559, 561, 563, 567), budgets):
        cut = Fraction(tenth, 10)
        found = Found(
            (demand(0, cut, change_s=60), demand(cut, 120, change_s=60, starts_shot=True))
        )
        plain = adaptive(found, 3600, budget_tokens=budget)
        plan = adaptive(found, 3600, costs=costs, budget_tokens=budget)
        moves += check(plain, plan, found.demands, costs, 30)
    assert moves > by_tier(50, quick=12)


def test_no_frame_moves_to_a_dearer_text() -> None:
    found, costs = calm_minutes()
    keys = {timestamp_text(Fraction(second)) for second in range(0, 120, 8)}
    moves = []
    for dearer in (0, 1):
        token_options: dict[str, Any] = {
            "text_tokens": lambda pts, dearer=dearer: 8 + dearer * (timestamp_text(pts) in keys)
        }
        moves.append(0)
        for budget in range(1500, 3500, 200):
            plain = adaptive(found, 3600, budget_tokens=budget, **token_options)
            plan = adaptive(found, 3600, costs=costs, budget_tokens=budget, **token_options)
            moves[-1] += check(plain, plan, found.demands, costs, 30)
            for was, now in zip(plain.frames, plan.frames, strict=True):
                assert now.text_tokens <= was.text_tokens
    # What rounds to a keyframe's time has its text already.
    assert moves[1] < moves[0]


def test_the_summary_states_the_decoding_cost() -> None:
    found, costs = calm_minutes()
    plan = adaptive(found, 3600, costs=costs, budget_tokens=3000)
    assert plan.decision is not None
    decoding = plan.decision.decoding
    assert decoding is not None
    (line,) = [line for line in plan.summary().splitlines() if line.startswith("decodes ")]
    assert line.split(maxsplit=1)[1] == (
        f"about {decoding.pictures:,} of 3,600 pictures, {decoding.saved_pictures:,} fewer with"
        f" {decoding.moved_frames} frames moved to keyframes"
    )
    assert "decodes" not in adaptive(found, 3600, budget_tokens=3000).summary()


def test_a_plan_of_an_earlier_version_has_no_decoding_cost() -> None:
    found, costs = calm_minutes()
    data = adaptive(found, 3600, costs=costs, budget_tokens=3000).to_json()
    del data["decision"]["decoding"]
    old = Plan.from_json(data)
    assert old.decision is not None and old.decision.decoding is None
    data["decision"]["decoding"] = {"pictures": 0, "video_pictures": 9}
    with pytest.raises(PlanError, match=r"plan\.decision\.decoding\.pictures is 0"):
        Plan.from_json(data)


# Real files

RATE, FLASH, CUT = 25, (Fraction(31), Fraction(31) + Fraction(2, 5)), Fraction(95, 2)


def two_calm_shots(path: Path) -> Path:
    """Ninety seconds of two still, grainy pictures; a plate for 0.4 s, a cut between keyframes."""
    dice = np.random.default_rng(3)
    y, x = np.mgrid[0:180, 0:320]
    stills = [
        light + 50 * np.sin(x / wave) * np.cos(y / 23) + dice.normal(0, 6, (180, 320))
        for light, wave in ((80, 37), (170, 11))
    ]
    raw = bytearray()
    for number in range(90 * RATE):
        picture = stills[number >= CUT * RATE] + dice.normal(0, 1.5, (180, 320))
        if FLASH[0] <= Fraction(number, RATE) < FLASH[1]:
            picture[100:120, 200:250] = 20
            picture[106:114, 204:246:5] = 235
        raw += np.clip(picture, 0, 255).astype(np.uint8).tobytes()
    source = f"-f rawvideo -pix_fmt gray -s 320x180 -r {RATE} -i -"
    target = "-c:v libx264 -preset veryfast -crf 26 -pix_fmt yuv420p -g 75 -sc_threshold 0"
    ffmpeg(*source.split(), *target.split(), path, stdin=bytes(raw))
    return path


@pytest.fixture(scope="module")
def calm(clips: Clips) -> Iterator[seedvideo.Video]:
    with seedvideo.open(clips.made("two_calm_shots.mp4", two_calm_shots)) as video:
        yield video


@slow
@pytest.mark.parametrize("method", ["fast", "packets"])
@pytest.mark.parametrize("budget", [1500, 2500, 5000])
def test_a_calm_file_is_decoded_with_less(calm: seedvideo.Video, budget: int, method: Any) -> None:
    found = calm.analysis(method)
    options: dict[str, Any] = {"policy": "adaptive", "budget_tokens": budget}
    plan = seedvideo.plan(calm, analysis=method, **options)
    plain = make_plan(calm.info, calm.times, source=calm.source, analysis=found, **options)
    costs = compute_decode_costs(calm.reader.packets.positions, calm.keyframes)
    assert check(plain, plan, found.demands, costs, RATE) > 2
    if method == "fast":  # Packets alone reveal neither.
        (cut,) = found.cuts
        assert 0 <= cut - CUT <= Fraction(1, 5)
        for was, now in zip(plain.frames, plan.frames, strict=True):
            assert (was.pts < cut) == (now.pts < cut)
        assert any(FLASH[0] <= frame.pts < FLASH[1] for frame in plan.frames)
    spent = []
    for each in (plain, plan):
        shown = list(calm.frames(each))
        assert [decoded.pts for _, decoded in shown] == [frame.pts for frame in each.frames]
        spent.append(calm.reader.report.decoded_frames)
    assert plan.decision is not None and plan.decision.decoding is not None
    # Frames of events stay, and packets alone name more of them.
    assert spent[1] < (0.9 if method == "fast" else 0.95) * spent[0]
    # One packet more may be read of each run, in case that a picture is stored in two.
    assert spent[1] <= plan.decision.decoding.pictures + len(plan.frames)


@slow
def test_other_policies_do_not_ask_for_packets(
    calm: seedvideo.Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(_: object) -> None:
        raise AssertionError("packets were read")

    monkeypatch.setattr(type(calm.reader), "packets", property(unread))
    for policy in ("uniform", "seed1.5", "keyframes"):
        plan = seedvideo.plan(calm, policy=policy)
        assert plan.decision is None
        assert "decodes" not in plan.summary()
