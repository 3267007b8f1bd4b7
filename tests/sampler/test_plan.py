import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedvideo.config import Limits
from seedvideo.errors import PlanError
from seedvideo.media.types import MediaWarning, Target
from seedvideo.sampler.geometry import SEED
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.types import PlannedFrame, Segment
from tests.sampler.plans import make_plan
from tests.sampler.videos import even_times, info, video


def example() -> Plan:
    """Two seconds at 30000/1001 fps, planned by the published rule."""
    facts, times = video(60, Fraction(30_000, 1001))
    warning = MediaWarning("media.vfr", "the frame rate changes")
    facts = replace(facts, warnings=(warning,), start=Fraction(-1, 3))
    return make_plan(facts, times, source="clips/bikes.mp4", policy="seed1.5")


def frame(**change: Any) -> PlannedFrame:
    good: dict[str, Any] = {
        "pts": Fraction(1),
        "width_px": 56,
        "height_px": 28,
        "tokens": 2,
        "text_tokens": 8,
        "reason": "because",
    }
    return PlannedFrame(**(good | change))


# What a plan refuses


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"frames": ()}, "plan.invalid", "no frames"),
        ({"frames": (frame(), frame())}, "plan.invalid", "follows"),
        ({"frames": (frame(pts=Fraction(2)), frame())}, "plan.invalid", "follows"),
        ({"frames": (frame(tokens=3),)}, "plan.invalid", "states 3 tokens"),
        ({"frames": (frame(width_px=57),)}, "plan.invalid", "multiples of 28"),
        (
            {"frames": (frame(width_px=28 * 641, tokens=641),)},
            "plan.invalid",
            "above the highest level",
        ),
        ({"charged_tokens": 81_921}, "plan.over_budget", "81,921 tokens"),
        ({"charged_tokens": 100}, "plan.invalid", "visual tokens"),
        (
            {"segments": (Segment(Fraction(0), Fraction(2), 1.0, 640),) * 2},
            "plan.invalid",
            "inside the one before",
        ),
    ],
)
def test_a_plan_checks_itself(change: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        replace(example(), **change)
    assert caught.value.code == code


@pytest.mark.parametrize("change", [{"pts": Fraction(-1)}, {"tokens": 0}, {"text_tokens": -1}])
def test_a_frame_checks_itself(change: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        frame(**change)


@pytest.mark.parametrize(
    ("start", "end", "fps", "level"),
    [(0, 0, 1.0, 640), (2, 1, 1.0, 640), (-1, 1, 1.0, 640), (0, 1, math.nan, 640), (0, 1, 1.0, 0)],
)
def test_a_segment_checks_itself(start: int, end: int, fps: float, level: int) -> None:
    with pytest.raises(PlanError):
        Segment(Fraction(start), Fraction(end), fps, level)


# Its text forms


def test_totals_and_targets() -> None:
    plan = example()
    assert plan.totals.frames == 16
    assert plan.totals.visual_tokens == 16 * 594
    assert plan.totals.text_tokens == 16 * 8
    assert plan.totals.tokens == 16 * 602
    assert plan.targets()[1] == Target(plan.frames[1].pts, 924, 504)


def test_summary_of_the_published_rule() -> None:
    assert example().summary().splitlines() == [
        "source   clips/bikes.mp4",
        "media    2.002 s, 1280x720 px, h264, 29.97 fps",
        "policy   seed1.5, seed geometry",
        "frames   16 of 924x504 px (594 tokens)",
        "charged  10,240 of 81,920 (12.5%): level caps, without text",
        "tokens   9,632 in the sequence: 9,504 visual + 128 text",
        "segment  0.000 to 2.002 s  7.99 fps  level 640",
        "warning  the frame rate changes (media.vfr)",
    ]


def test_summary_of_a_packed_plan() -> None:
    facts, times = video(300)
    plan = make_plan(facts, times, source="a.mp4", policy="uniform")
    assert "tokens   9,632 of 81,920 (11.8%): 9,504 visual + 128 text" in plan.summary()
    assert "charged" not in plan.summary()


def test_summary_of_a_still_image() -> None:
    facts = info(duration=1, fps_avg=None, is_image=True)
    plan = make_plan(facts, [Fraction(0)], source="photo.jpg", policy="uniform")
    assert "media    still image, 1280x720 px, h264" in plan.summary()


def test_explain_is_an_aligned_table() -> None:
    facts, times = video(3600 * 2, 2)
    plan = make_plan(facts, times, source="a.mp4", policy="uniform", budget_tokens=384)
    assert plan.explain().split("\n\n")[1].splitlines() == [
        "#        time     size  tokens  text  reason",
        "-  ----------  -------  ------  ----  ------------------------------",
        "1     0.000 s  420x224     120     8  first frame, level 128",
        "2  1799.500 s  420x224     120     8  1 fps grid, thinned, level 128",
        "3  3599.500 s  420x224     120     8  last frame, level 128",
    ]


def test_nothing_printed_steers_a_terminal() -> None:
    facts, times = video(3)
    plan = make_plan(facts, times, source="a\x1b[31m\nb\u202e.mp4", policy="uniform")
    plan = replace(plan, frames=(replace(plan.frames[0], reason="x\x1b]0;y\x07"),))
    text = plan.explain()
    assert "a\\x1b[31m\\nb\\u202e.mp4" in text
    assert "x\\x1b]0;y\\x07" in text
    assert all(char == "\n" or char.isprintable() for char in text)


# JSON


def test_json_has_the_published_keys() -> None:
    data = example().to_json()
    assert data["schema_version"] == 1
    assert list(data) == [
        "schema_version",
        "source",
        "policy",
        "geometry",
        "budget_tokens",
        "charged_tokens",
        "media",
        "segments",
        "frames",
        "totals",
        "decision",
    ]
    assert data["geometry"]["levels_tokens"] == [640, 512, 384, 256, 160, 128]
    assert data["totals"] == {
        "frames": 16,
        "visual_tokens": 9504,
        "text_tokens": 128,
        "tokens": 9632,
    }
    assert {"start_s", "end_s", "fps", "level_tokens"} <= set(data["segments"][0])
    assert data["frames"][1]["pts"] == "1001/7500"
    assert data["frames"][1]["pts_s"] == 0.133467
    media = {"duration_s", "width_px", "height_px", "fps_avg", "is_vfr", "rotation_deg", "codec"}
    assert media | {"warnings"} <= set(data["media"])


def test_json_round_trip_is_exact() -> None:
    plan = example()
    text = json.dumps(plan.to_json(), allow_nan=False)
    assert Plan.from_json(json.loads(text)) == plan


@given(
    st.lists(st.fractions(0, 10**5, max_denominator=10**9), min_size=1, unique=True),
    st.text(max_size=40),
)
@settings(deadline=None)
def test_any_times_and_names_survive_json(times: list[Fraction], name: str) -> None:
    facts = info(duration=max(times) + 1, fps_avg=None)
    plan = make_plan(facts, sorted(times), source=name, policy="uniform", geometry=SEED)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


Keys: TypeAlias = tuple[str | int, ...]


def paths(value: Any, here: Keys = ()) -> Iterator[Keys]:
    """Every place in a JSON document."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*here, key)
            yield from paths(item, (*here, key))
    elif isinstance(value, list) and value:
        yield (*here, 0)
        yield from paths(value[0], (*here, 0))


def damaged(path: Keys, change: Callable[[Any, Any], object]) -> dict[str, Any]:
    data = copy.deepcopy(example().to_json())
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    change(place, path[-1])
    return data


def plan_or_error(data: Any) -> Plan | PlanError:
    try:
        return Plan.from_json(data)
    except PlanError as error:
        return error


# One value for people, and what plans of earlier versions lack: a plan is whole without them.
REPEATED = {
    ("media", "fps_avg"),
    ("decision",),
    ("segments", 0, "needs"),
    ("frames", 0, "role"),
}
PLACES = sorted(paths(example().to_json()), key=str)
NAMES = [path for path in PLACES if isinstance(path[-1], str)]
JUNK: list[object] = [
    None,
    [],
    {},
    [[]],
    "",
    "x",
    -1,
    2**70,
    10**400,
    math.nan,
    math.inf,
    True,
    0.5,
    "1/0",
]


@pytest.mark.parametrize("path", NAMES, ids=str)
def test_a_missing_key_is_named(path: Keys) -> None:
    data = damaged(path, lambda place, key: place.pop(key))
    if path in REPEATED:
        assert Plan.from_json(data) == example()
        return
    with pytest.raises(PlanError) as caught:
        Plan.from_json(data)
    assert caught.value.code == "plan.invalid"
    assert f"{path[-1]} is missing" in caught.value.message


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:12])
def test_junk_anywhere_gives_a_plan_error_or_a_valid_plan(junk: object) -> None:
    for path in PLACES:
        data = damaged(path, lambda place, key: place.__setitem__(key, junk))
        read = plan_or_error(data)
        if isinstance(read, Plan):
            assert Plan.from_json(read.to_json()) == read
        else:
            assert read.code in ("plan.invalid", "plan.over_budget")
            assert read.message.startswith("plan")
            assert len(read.message) < 300


@pytest.mark.parametrize("data", [None, [], "plan", 5, {}])
def test_what_is_no_plan_at_all(data: Any) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(data)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("schema_version",), 2, "this version reads 1"),
        (("budget_tokens",), 10, "charges 10,240"),
        (("budget_tokens",), "81920", "plan.budget_tokens is '81920', expected a whole number"),
        (("frames", 0, "pts"), "0.5", 'an exact number such as "25/2"'),
        (("frames", 0, "pts"), "1e9/1", "exact number"),
        (("frames", 0, "pts"), f"{'9' * 41}/1", "exact number"),
        (("frames", 0, "pts"), "-1/2", "plan.frames[0].pts_s is 0.0, but"),
        (("frames", 0, "pts_s"), 7.0, "plan.frames[0].pts_s is 7.0, but"),
        (("frames", 0, "tokens"), 593, "states 593 tokens"),
        (("frames", 0), 3, "plan.frames[0] is 3, expected an object"),
        (("segments", 0, "fps"), math.nan, "plan.segments[0].fps is nan"),
        (("geometry", "levels_tokens"), [640, 640], "plan.geometry: levels_tokens"),
        (("totals", "tokens"), 1, "plan.totals.tokens is 1, its frames give 9632"),
        (("source",), "x" * 5000, "at most 4096 characters"),
        (("media", "is_vfr"), 1, "true or false"),
    ],
)
def test_damage_is_named(path: Keys, value: object, words: str) -> None:
    data = damaged(path, lambda place, key: place.__setitem__(key, value))
    with pytest.raises(PlanError) as caught:
        Plan.from_json(data)
    assert words in caught.value.message


def test_a_huge_list_is_refused_before_it_is_read() -> None:
    data = example().to_json()
    data["frames"] = [None] * 5000
    with pytest.raises(PlanError, match="has 5000 entries, expected at most 4096"):
        Plan.from_json(data)
    with pytest.raises(PlanError, match="expected at most 3"):
        Plan.from_json(example().to_json(), limits=Limits(max_sampled_frames=3))


def test_a_users_own_limit_is_read_back() -> None:
    facts, times = info(duration=200), even_times(6000)
    wide = Limits(max_sampled_frames=6000)
    plan = make_plan(
        facts, times, source="x", policy="uniform", fps=30, budget_tokens=10**9, limits=wide
    )
    assert plan.totals.frames == 6000
    assert Plan.from_json(plan.to_json(), limits=wide) == plan
