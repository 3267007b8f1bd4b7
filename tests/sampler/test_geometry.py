import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from seedvideo.errors import PlanError
from seedvideo.sampler.geometry import LEVELS_TOKENS, SEED, TokenGeometry
from seedvideo.sampler.plan import Plan
from tests.sampler.plans import make_plan
from tests.sampler.videos import video

NANO = TokenGeometry("nano", 64, (64, 48, 32, 16), 1, 2048)

# Sizes that the official code gives for the six levels, best first.
GOLDEN = {
    (1920, 1080): ["924x504", "840x448", "728x392", "588x336", "448x252", "420x224"],
    (1280, 720): ["924x504", "840x448", "728x392", "588x336", "448x252", "420x224"],
    (640, 480): ["644x476", "644x476", "616x448", "504x364", "392x280", "364x252"],
    (320, 240): ["308x252"] * 6,
    (480, 480): ["476x476", "476x476", "476x476", "448x448", "336x336", "308x308"],
}
GOLDEN_TOKENS = {
    (1920, 1080): [594, 480, 364, 252, 144, 120],
    (1280, 720): [594, 480, 364, 252, 144, 120],
    (640, 480): [391, 391, 352, 234, 140, 117],
    (320, 240): [99] * 6,
    (480, 480): [289, 289, 289, 256, 144, 121],
}

sides = st.integers(1, 20_000)
geometries = st.builds(
    lambda unit, floor, levels: TokenGeometry(
        "any", unit, tuple(sorted({floor + level for level in levels}, reverse=True)), floor, 1000
    ),
    unit=st.integers(1, 100),
    floor=st.integers(1, 16),
    levels=st.sets(st.integers(0, 1000), min_size=1, max_size=6),
)


def official_resize(
    height: int, width: int, *, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """The official rule with its own names and operations, for sizes that it can do."""
    factor = 28
    h_bar = max(factor, round(height / factor) * factor)
    w_bar = max(factor, round(width / factor) * factor)
    if h_bar * w_bar > max_pixels:
        beta = math.sqrt((height * width) / max_pixels)
        h_bar = math.floor(height / beta / factor) * factor
        w_bar = math.floor(width / beta / factor) * factor
    elif h_bar * w_bar < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        h_bar = math.ceil(height * beta / factor) * factor
        w_bar = math.ceil(width * beta / factor) * factor
    return h_bar, w_bar


@pytest.mark.parametrize("source", GOLDEN)
@pytest.mark.parametrize("i", range(6))
def test_sizes_equal_the_published_table(source: tuple[int, int], i: int) -> None:
    width_px, height_px = SEED.size(
        width_px=source[0], height_px=source[1], level_tokens=LEVELS_TOKENS[i]
    )
    assert f"{width_px}x{height_px}" == GOLDEN[source][i]
    tokens = SEED.tokens(width_px=width_px, height_px=height_px)
    assert tokens == GOLDEN_TOKENS[source][i]


@given(width=sides, height=sides, level=st.sampled_from(LEVELS_TOKENS))
def test_sizes_equal_the_official_rule(width: int, height: int, level: int) -> None:
    assume(max(width, height) <= 200 * min(width, height))
    rows, columns = official_resize(height, width, min_pixels=4 * 784, max_pixels=level * 784)
    assume(rows and columns)  # the official code lets a sliver's short side become 0
    assert SEED.size(width_px=width, height_px=height, level_tokens=level) == (columns, rows)


@pytest.mark.parametrize(
    ("side_px", "squares"), [(42, 2), (70, 2), (98, 4), (126, 4), (41, 1), (43, 2), (99, 4)]
)
def test_halves_of_a_square_go_to_the_even_neighbour(side_px: int, squares: int) -> None:
    width_px, _ = SEED.size(width_px=side_px, height_px=280, level_tokens=640)
    assert width_px == squares * 28


@given(geometry=geometries, width=sides, height=sides)
def test_every_size_is_whole_and_within_its_level(
    geometry: TokenGeometry, width: int, height: int
) -> None:
    assume(max(width, height) <= 200 * min(width, height))
    costs = []
    for level in geometry.levels_tokens:
        size = geometry.size(width_px=width, height_px=height, level_tokens=level)
        assert all(side > 0 and side % geometry.token_px == 0 for side in size)
        costs.append(geometry.tokens(width_px=size[0], height_px=size[1]))
        assert costs[-1] <= level
    assert costs == sorted(costs, reverse=True), "a lower level must not cost more"


@given(geometry=geometries, width=sides, height=sides)
def test_the_aspect_is_kept_within_one_square(
    geometry: TokenGeometry, width: int, height: int
) -> None:
    assume(max(width, height) <= 200 * min(width, height))
    level, unit = geometry.levels_tokens[0], geometry.token_px
    size = geometry.size(width_px=width, height_px=height, level_tokens=level)
    scales = {
        1.0,
        math.sqrt(level * unit * unit / (width * height)),
        math.sqrt(geometry.min_frame_tokens * unit * unit / (width * height)),
    }
    near = [
        abs(width * scale - size[0]) <= unit * (1 + 1e-9)
        and abs(height * scale - size[1]) <= unit * (1 + 1e-9)
        for scale in scales
    ]
    sliver = math.sqrt(level * min(width, height) / max(width, height)) < 1
    tiny_cap = geometry.min_frame_tokens * 4 > level
    assert any(near) or sliver or tiny_cap


@pytest.mark.parametrize(
    ("width", "height", "level", "size"),
    [
        (1, 1, 640, (56, 56)),  # scaled up to four squares
        (3584, 28, 128, (3584, 28)),  # exactly the cap
        (4000, 20, 640, (4004, 28)),
        (20, 4000, 640, (28, 4004)),
        (2**20, 2**20, 128, (308, 308)),
    ],
)
def test_extreme_shapes(width: int, height: int, level: int, size: tuple[int, int]) -> None:
    assert SEED.size(width_px=width, height_px=height, level_tokens=level) == size


def test_a_sliver_is_clamped_to_the_cap_and_one_square() -> None:
    assert SEED.size(width_px=19_000, height_px=100, level_tokens=128) == (128 * 28, 28)
    assert SEED.size(width_px=100, height_px=19_000, level_tokens=128) == (28, 128 * 28)


def test_an_aspect_of_200_is_the_last() -> None:
    SEED.size(width_px=2000, height_px=10, level_tokens=640)
    with pytest.raises(PlanError, match="200 times") as caught:
        SEED.size(width_px=2001, height_px=10, level_tokens=640)
    assert caught.value.code == "plan.invalid"


@pytest.mark.parametrize(
    ("width", "height", "level"), [(0, 10, 640), (10, 0, 640), (-5, 5, 640), (10, 10, 3)]
)
def test_impossible_sizes_are_refused(width: int, height: int, level: int) -> None:
    with pytest.raises(PlanError):
        SEED.size(width_px=width, height_px=height, level_tokens=level)


def test_another_square() -> None:
    assert NANO.size(width_px=1280, height_px=720, level_tokens=64) == (640, 384)
    assert NANO.tokens(width_px=640, height_px=384) == 60
    assert NANO.size(width_px=20, height_px=20, level_tokens=16) == (64, 64)


@pytest.mark.parametrize(("width", "height"), [(0, 28), (28, 0), (27, 28), (28, 30), (-28, -28)])
def test_tokens_need_whole_squares(width: int, height: int) -> None:
    with pytest.raises(PlanError, match="multiples of 28"):
        SEED.tokens(width_px=width, height_px=height)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"token_px": 0},
        {"levels_tokens": ()},
        {"levels_tokens": (128, 640)},
        {"levels_tokens": (128, 128)},
        {"levels_tokens": (640, 3)},
        {"min_frame_tokens": 0},
        {"default_budget_tokens": 0},
    ],
)
def test_a_geometry_checks_itself(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "name": "g",
        "token_px": 28,
        "levels_tokens": (640, 128),
        "min_frame_tokens": 4,
        "default_budget_tokens": 100,
    }
    TokenGeometry(**good)
    with pytest.raises(ValueError, match=r"is|empty"):
        TokenGeometry(**(good | change))


class HalfFrames:
    """A geometry that is none of ours: every frame is half as wide and high, for 10 tokens."""

    name = "half"
    levels_tokens = (10,)
    default_budget_tokens = 400
    min_frames = 2
    token_area_px = 100.0

    def size(self, *, width_px: int, height_px: int, level_tokens: int) -> tuple[int, int]:
        return width_px // 2, height_px // 2

    def tokens(self, *, width_px: int, height_px: int) -> int:
        return 10


def test_a_geometry_of_another_package_is_planned_and_saved() -> None:
    facts, times = video(60)
    plan = make_plan(facts, times, source="x.mp4", policy="uniform", geometry=HalfFrames())
    frame = plan.frames[0]
    assert (frame.width_px, frame.height_px) == (facts.width_px // 2, facts.height_px // 2)
    read = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert read.frames == plan.frames
    assert read.geometry.name == "half" and read.geometry.levels_tokens == (10,)
