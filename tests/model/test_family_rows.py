"""Rows of families without a checkpoint: published sizes, and how times are written."""

from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import pytest

from seedvideo.errors import ConfigError, OptionTypeError
from seedvideo.model.families import (
    FAMILIES,
    CheckpointConfig,
    find_family,
    published_geometry,
)
from seedvideo.model.time_format import TimeFormat
from seedvideo.sampler.geometry import BUDGET_TOKENS, SEED, TileGeometry, TokenGeometry

PUBLISHED: Final = {
    "qwen3-vl": ((1024, 640), 64, 640, 640),
    "qwen3.5": ((1024, 640), 64, 640, 640),
    "qwen2.5-vl": ((896, 560), 4, 640, 640),
    "glm-4.6v": ((896, 560), 8, 640, 640),
    "glm-4.1v": ((896, 560), 8, 640, 640),
    "smolvlm": ((512, 512), 64, 64, 64),
    "internvl": ((1344, 896), 256, 1792, 3328),
    "llava-onevision": ((384, 384), 197, 197, 197),
    "gemma3": ((896, 896), 256, 256, 256),
    "gemma4": ((1008, 624), 1, 273, 280),
    "video-llama3": ((448, 280), 16, 640, 640),
    "mistral3": ((868, 560), 2, 640, 640),
}
"""Largest size of a 1280x800 frame and what it costs, least and best level."""


@pytest.mark.parametrize("family", [row.name for row in FAMILIES])
def test_published_sizes(family: str) -> None:
    geometry = published_geometry(family)
    assert geometry.name == family
    best = geometry.levels_tokens[0]
    size = geometry.size(width_px=1280, height_px=800, level_tokens=best)
    tokens = geometry.tokens(width_px=size[0], height_px=size[1])
    least = getattr(geometry, "min_frame_tokens", geometry.levels_tokens[-1])
    assert (size, least, tokens, best) == PUBLISHED[family]
    assert geometry.default_budget_tokens > 6_000


def test_published_geometry_of_other_names() -> None:
    assert published_geometry("seed") is SEED
    with pytest.raises(ConfigError) as caught:
        published_geometry("qwen3vl")
    assert caught.value.code == "config.invalid"
    assert caught.value.hint == "did you mean 'qwen3-vl'?"


def grid_of(model_type: str, **files: dict[str, Any]) -> TokenGeometry:
    row = find_family(model_type)
    assert row is not None
    geometry = row.make_geometry(CheckpointConfig(**files))
    assert isinstance(geometry, TokenGeometry)
    return geometry


@pytest.mark.parametrize(
    ("model_type", "image", "tokens"),
    [
        ("qwen3_vl", {"patch_size": 16, "size": {"shortest_edge": 65_536}}, 64),
        ("qwen3_vl", {"patch_size": 16, "size": {"shortest_edge": 4_096}}, 4),
        ("qwen2_5_vl", {"min_pixels": 200_704}, 256),
        ("qwen2_vl", {"min_pixels": 1}, 1),
        # Of GLM, two frames have the minimum together; an image counts as two.
        ("glm46v", {"size": {"shortest_edge": 12_544}}, 8),
        ("glm4v", {"size": {"shortest_edge": 25_088}}, 16),
        ("glm5_next", {"size": {"longest_edge": 1}, "min_image_tokens": 20}, 20),
    ],
)
def test_the_minimum_is_that_of_the_checkpoint(
    model_type: str, image: dict[str, Any], tokens: int
) -> None:
    geometry = grid_of(model_type, image=image)
    assert geometry.min_frame_tokens == tokens
    width_px, height_px = geometry.size(width_px=30, height_px=30, level_tokens=256)
    assert geometry.tokens(width_px=width_px, height_px=height_px) >= tokens


def test_a_minimum_above_all_levels_is_the_only_level() -> None:
    geometry = grid_of("qwen2_5_vl", image={"min_pixels": 1_000 * 784})
    assert geometry.levels_tokens == (1_000,)


def test_sizes_are_those_of_the_checkpoint() -> None:
    assert grid_of("qwen2_5_vl", image={"patch_size": 16, "merge_size": 3}).token_px == 48
    gemma = grid_of("gemma4", image={"max_soft_tokens": 1_120})
    assert gemma.levels_tokens == (1_120, 640, 512, 384, 256, 160, 128, 64, 32)
    mistral = grid_of("mistral3", processor={"patch_size": 16, "spatial_merge_size": 1})
    assert (mistral.token_px, mistral.row_tokens) == (16, 1)
    row = find_family("smolvlm")
    assert row is not None
    large = row.make_geometry(
        CheckpointConfig(
            image={"max_image_size": {"longest_edge": 384}}, processor={"image_seq_len": 81}
        )
    )
    assert isinstance(large, TileGeometry)
    assert (large.tile_px, large.levels_tokens) == (384, (81,))


@pytest.mark.parametrize(
    ("model", "budget"),
    [
        ({}, BUDGET_TOKENS),
        ({"max_position_embeddings": 40_000}, 30_000),
        ({"text_config": {"max_position_embeddings": 8_000}, "max_position_embeddings": 9}, 6_000),
        ({"text_config": None}, BUDGET_TOKENS),
    ],
)
def test_the_budget_leaves_a_quarter_of_the_context(model: dict[str, Any], budget: int) -> None:
    assert grid_of("qwen3_vl", model=model).default_budget_tokens == budget


@pytest.mark.parametrize(
    ("pts", "seconds", "clock"),
    [
        (Fraction(0), "0.0", "00:00.0"),
        (Fraction(29, 4), "7.3", "00:07.3"),  # an exact half is rounded up
        (Fraction(1799, 30), "60.0", "01:00.0"),
        (Fraction(7_325), "7325.0", "122:05.0"),
    ],
)
def test_times_are_rounded_exactly(pts: Fraction, seconds: str, clock: str) -> None:
    form = TimeFormat(before="<{seconds}>", after="[{clock}]")
    assert (form.text_before(pts), form.text_after(pts)) == (f"<{seconds}>", f"[{clock}]")
    assert form.precision_s == 0.05
    whole = TimeFormat(before="{clock}", decimals=0)
    assert whole.text_before(Fraction(119, 2)) == "01:00"
    assert whole.precision_s == 0.5


@pytest.mark.parametrize("wrong", [{"before": "{second}"}, {"after": "{0}"}, {"decimals": -1}])
def test_a_time_that_cannot_be_written_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        TimeFormat(**wrong)


def test_model_types_are_several_texts() -> None:
    row = find_family("qwen3_vl")
    assert row is not None
    with pytest.raises(OptionTypeError, match="model_types is 'qwen3_vl'"):
        # A comma is missing: parts of the name would fit.
        replace(row, model_types="qwen3_vl")  # type: ignore[arg-type]
