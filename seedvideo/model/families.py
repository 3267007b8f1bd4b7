"""Families of open-weight models: one row of data each.

A row says what the sampler and the prompt need to know: which frame sizes a model accepts and what
they cost, how the time of a frame is written, and the text around an image. Everything else is read
from the checkpoint. A model without a row works too: its processor is asked (`ProbedGeometry`).

In all families a planned frame becomes one image with its time as text beside it. For Qwen3-VL that
gives the same numbers as a video in which the frame stands twice; the video inputs of the other
families round, drop or invent times (docs/concepts/models.md).
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from seedvideo.arguments import check_texts
from seedvideo.errors import ConfigError, suggestion
from seedvideo.model.time_format import TimeFormat
from seedvideo.plugins import find_plugin, list_plugins
from seedvideo.sampler.geometry import (
    BUDGET_TOKENS,
    LEVELS_TOKENS,
    SEED,
    Geometry,
    TileGeometry,
    TokenGeometry,
)


@dataclass(frozen=True)
class CheckpointConfig:
    """The JSON files of a checkpoint that decide frame sizes; empty for the published values.

    Args:
        model: ``config.json``.
        processor: ``processor_config.json``, without the parts below.
        image: configuration of the image processor.
        video: configuration of the video processor.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)
    image: Mapping[str, Any] = field(default_factory=dict)
    video: Mapping[str, Any] = field(default_factory=dict)

    @property
    def context_tokens(self) -> int | None:
        """Maximum tokens of a sequence; None if the checkpoint does not state it."""
        text = self.model.get("text_config") or {}
        for values in (text, self.model):
            value = values.get("max_position_embeddings")
            if isinstance(value, int):
                return value
        return None

    def budget(self, *, published_context_tokens: int) -> int:
        """Return the default budget: that of Seed1.5-VL, or three quarters of a shorter context."""
        context = self.context_tokens or published_context_tokens
        return max(1, min(BUDGET_TOKENS, context * 3 // 4))


GeometryMaker = Callable[[CheckpointConfig], Geometry]


@dataclass(frozen=True)
class Family:
    """One row.

    Args:
        name: name, as in ``--geometry``.
        model_types: ``model_type`` of the checkpoints.
        time: how times are written.
        make_geometry: returns sizes and costs, from the files of a checkpoint.
        image_text: markup of an image in the chat template; ``{image}`` is its placeholder.
        expanded: what the processor makes of the placeholder: the text before and after the visual
            tokens.
        row_end_tokens: further tokens that count as visual, as they end the rows of an image.
        between: text between two frames.
        separator: text between the last frame and the prompt.
        processor_arguments: arguments of the processor, so that it keeps the sizes of the plan.
        as_clips: whether each image is passed as a video of one frame.
        always_thinks: whether the model reasons unless its chat template can switch it off.
        thought_start: text that opens reasoning.
        thought_end: text that ends reasoning.
        answer_start: text between reasoning and the answer.
        answer_end: text that ends an answer after it.
        merges_pairs: whether two frames of a video cost as much as one image.
    """

    name: str
    model_types: tuple[str, ...]
    time: TimeFormat
    make_geometry: GeometryMaker
    image_text: str
    expanded: tuple[str, str]
    row_end_tokens: tuple[str, ...] = ()
    between: str = ""
    separator: str = "\n"
    processor_arguments: Mapping[str, Any] = field(default_factory=dict)
    as_clips: bool = False
    always_thinks: bool = False
    thought_start: str = "<think>\n"
    thought_end: str = "</think>"
    answer_start: str = "\n\n"
    answer_end: str = ""
    merges_pairs: bool = False

    def __post_init__(self) -> None:
        check_texts("model_types", self.model_types)

    def frame_text(self, pts: Fraction) -> str:
        """Return the text from the visual tokens of one frame to those of the next.

        It begins with what follows the visual tokens of a frame at ``pts`` and ends with what
        precedes those of a frame at the same time, as both are tokenized together.
        """
        lead, trail = self.expanded
        time = self.time
        return trail + time.text_after(pts) + self.between + time.text_before(pts) + lead


def _grid(
    name: str,
    *,
    unit_px: Callable[[CheckpointConfig], int],
    min_pixels: int,
    context_tokens: int,
    frames_of_min: int = 1,
) -> GeometryMaker:
    """Make geometries of a grid; the checkpoint's own minimum of pixels counts.

    Args:
        name: name of the family.
        unit_px: returns the side of a visual token, in pixels.
        min_pixels: published minimum of pixels.
        context_tokens: published length of a sequence.
        frames_of_min: frames that have the minimum of pixels together.
    """

    def make(config: CheckpointConfig) -> Geometry:
        unit = unit_px(config)
        size = config.image.get("size") or {}
        least_px = config.image.get("min_pixels") or size.get("shortest_edge") or min_pixels
        # GLM-5 states the minimum in tokens.
        least_tokens = config.image.get("min_image_tokens") or max(
            1, math.ceil(least_px / frames_of_min / unit**2)
        )
        return TokenGeometry(
            name=name,
            token_px=unit,
            levels_tokens=tuple(n for n in LEVELS_TOKENS if n >= least_tokens) or (least_tokens,),
            min_frame_tokens=least_tokens,
            default_budget_tokens=config.budget(published_context_tokens=context_tokens),
        )

    return make


def _merged_patches(patch_px: int, merge: int = 2) -> Callable[[CheckpointConfig], int]:
    """Return the side of one visual token: patches that are merged."""

    def unit_px(config: CheckpointConfig) -> int:
        patch = config.image.get("patch_size", patch_px)
        side = patch["height"] if isinstance(patch, Mapping) else patch
        return int(side) * int(config.image.get("merge_size", merge))

    return unit_px


def _side(size: object, default_px: int) -> int:
    """Return the side of a square from the ways in which image processors state it."""
    if isinstance(size, int):
        return size
    if isinstance(size, Mapping):
        for name in ("height", "longest_edge", "shortest_edge"):
            if isinstance(size.get(name), int):
                return int(size[name])
    return default_px


def _smolvlm(config: CheckpointConfig) -> Geometry:
    return TileGeometry(
        name="smolvlm",
        tile_px=_side(config.image.get("max_image_size"), 512),
        tile_tokens=int(config.processor.get("image_seq_len", 64)),
        default_budget_tokens=config.budget(published_context_tokens=8_192),
    )


def _internvl(config: CheckpointConfig) -> Geometry:
    return TileGeometry(
        name="internvl",
        tile_px=_side(config.image.get("size"), 448),
        tile_tokens=int(config.processor.get("image_seq_length", 256)),
        max_tiles=int(config.image.get("max_patches", 12)),
        default_budget_tokens=config.budget(published_context_tokens=32_768),
    )


def _llava_onevision(config: CheckpointConfig) -> Geometry:
    side_tokens = math.isqrt(int(config.processor.get("num_image_tokens", 729)))
    return TileGeometry(
        name="llava-onevision",
        tile_px=_side(config.video.get("size"), 384),
        # Pooled 2x2, and one token for the end of the clip.
        tile_tokens=math.ceil(side_tokens / 2) ** 2 + 1,
        default_budget_tokens=config.budget(published_context_tokens=32_768),
    )


def _gemma3(config: CheckpointConfig) -> Geometry:
    return TileGeometry(
        name="gemma3",
        tile_px=_side(config.image.get("size"), 896),
        tile_tokens=int(config.processor.get("image_seq_length", 256)),
        default_budget_tokens=config.budget(published_context_tokens=131_072),
    )


def _gemma4(config: CheckpointConfig) -> Geometry:
    most = int(config.image.get("max_soft_tokens", 280))
    levels = {most, *(n for n in (*LEVELS_TOKENS, 64, 32) if n < most)}
    return TokenGeometry(
        name="gemma4",
        token_px=int(config.image.get("patch_size", 16))
        * int(config.image.get("pooling_kernel_size", 3)),
        levels_tokens=tuple(sorted(levels, reverse=True)),
        min_frame_tokens=1,
        default_budget_tokens=config.budget(published_context_tokens=131_072),
    )


def _mistral3(config: CheckpointConfig) -> Geometry:
    merge = config.processor.get("spatial_merge_size") or config.model.get("spatial_merge_size", 2)
    patch = config.processor.get("patch_size") or config.image.get("patch_size", 14)
    unit = _side(patch, 14) * int(merge)
    return TokenGeometry(
        name="mistral3",
        token_px=unit,
        levels_tokens=LEVELS_TOKENS,
        min_frame_tokens=2,
        default_budget_tokens=config.budget(published_context_tokens=131_072),
        row_tokens=1,
        max_side_px=_side(config.image.get("size"), 1540),
    )


_KEEP_SIZE: Final = MappingProxyType({"do_resize": False})

_QWEN_IMAGE: Final = "<|vision_start|>{image}<|vision_end|>"
_QWEN_MARKS: Final = ("<|vision_start|>", "<|vision_end|>")
_GLM_IMAGE: Final = "<|begin_of_image|>{image}<|end_of_image|>"
_GLM_MARKS: Final = ("<|begin_of_image|>", "<|end_of_image|>")

FAMILIES: Final = (
    Family(
        name="qwen3-vl",
        model_types=("qwen3_vl", "qwen3_vl_moe"),
        time=TimeFormat(before="<{seconds} seconds>"),
        make_geometry=_grid(
            "qwen3-vl", unit_px=_merged_patches(16), min_pixels=65_536, context_tokens=262_144
        ),
        image_text=_QWEN_IMAGE,
        expanded=_QWEN_MARKS,
        separator="",
        processor_arguments=_KEEP_SIZE,
        merges_pairs=True,
    ),
    Family(
        name="qwen3.5",
        model_types=("qwen3_5", "qwen3_5_moe"),
        time=TimeFormat(before="<{seconds} seconds>"),
        make_geometry=_grid(
            "qwen3.5", unit_px=_merged_patches(16), min_pixels=65_536, context_tokens=262_144
        ),
        image_text=_QWEN_IMAGE,
        expanded=_QWEN_MARKS,
        separator="",
        processor_arguments=_KEEP_SIZE,
        merges_pairs=True,
    ),
    Family(
        name="qwen2.5-vl",
        model_types=("qwen2_5_vl", "qwen2_vl"),
        # The family has no text for times: it encodes them as positions, evenly spaced.
        time=TimeFormat(before="<{seconds} seconds>"),
        make_geometry=_grid(
            "qwen2.5-vl", unit_px=_merged_patches(14), min_pixels=3_136, context_tokens=128_000
        ),
        image_text=_QWEN_IMAGE,
        expanded=_QWEN_MARKS,
        processor_arguments=_KEEP_SIZE,
    ),
    Family(
        name="glm-4.6v",
        model_types=("glm46v", "glm5_next", "glmga"),
        time=TimeFormat(after="{seconds} seconds"),
        make_geometry=_grid(
            "glm-4.6v",
            unit_px=_merged_patches(14),
            min_pixels=12_544,
            context_tokens=131_072,
            frames_of_min=2,
        ),
        image_text=_GLM_IMAGE,
        expanded=_GLM_MARKS,
        processor_arguments=_KEEP_SIZE,
        answer_start="\n",
    ),
    Family(
        name="glm-4.1v",
        model_types=("glm4v", "glm4v_moe"),
        # Trained with whole seconds, which lose up to a second; the decimal was not trained.
        time=TimeFormat(after="{seconds}"),
        make_geometry=_grid(
            "glm-4.1v",
            unit_px=_merged_patches(14),
            min_pixels=12_544,
            context_tokens=65_536,
            frames_of_min=2,
        ),
        image_text=_GLM_IMAGE,
        expanded=_GLM_MARKS,
        processor_arguments=_KEEP_SIZE,
        always_thinks=True,
        answer_start="<answer>",
        answer_end="</answer>",
    ),
    Family(
        name="smolvlm",
        model_types=("smolvlm",),
        time=TimeFormat(before="\nFrame from {clock}:"),
        make_geometry=_smolvlm,
        image_text="{image}",
        expanded=("<fake_token_around_image><global-img>", "<fake_token_around_image>"),
        separator="\n\n",
        processor_arguments=MappingProxyType({"do_image_splitting": False}),
    ),
    Family(
        name="internvl",
        model_types=("internvl",),
        time=TimeFormat(before="Frame at {seconds} s: "),
        make_geometry=_internvl,
        image_text="{image}",
        expanded=("<img>", "</img>"),
        between="\n",
    ),
    Family(
        name="llava-onevision",
        model_types=("llava_onevision",),
        time=TimeFormat(before="{seconds}s: "),
        make_geometry=_llava_onevision,
        image_text="{image}",
        expanded=("", ""),
        between="\n",
        as_clips=True,
    ),
    Family(
        name="gemma3",
        model_types=("gemma3",),
        time=TimeFormat(before="{seconds}s:"),
        make_geometry=_gemma3,
        image_text="{image}",
        expanded=("\n\n<start_of_image>", "<end_of_image>\n\n"),
        separator="",
    ),
    Family(
        name="gemma4",
        model_types=("gemma4",),
        time=TimeFormat(before="{clock} "),
        make_geometry=_gemma4,
        image_text="{image}",
        expanded=("<|image>", "<image|>"),
        between=" ",
        processor_arguments=_KEEP_SIZE,
        thought_start="<|channel>thought\n",
        thought_end="<channel|>",
        answer_start="",
    ),
    Family(
        name="video-llama3",
        model_types=("video_llama_3",),
        time=TimeFormat(before="Time {seconds}s:"),
        make_geometry=_grid(
            "video-llama3",
            unit_px=_merged_patches(14, merge=1),
            min_pixels=3_136,
            context_tokens=32_768,
        ),
        image_text="{image}",
        expanded=("", ""),
        between=",",
        processor_arguments=_KEEP_SIZE,
    ),
    Family(
        name="mistral3",
        model_types=("mistral3",),
        time=TimeFormat(before="{seconds}s: "),
        make_geometry=_mistral3,
        image_text="{image}",
        expanded=("", ""),
        row_end_tokens=("[IMG_BREAK]", "[IMG_END]"),
        between="\n",
    ),
)
"""All families with a row."""

UNKNOWN_TIME: Final = TimeFormat(before="{seconds}s: ")
"""How times are written for a model without a row."""


def find_family(model_type: str) -> Family | None:
    """Return the row of a ``model_type``; None if there is none.

    The rows of other packages are read only if no shipped row has the type.

    Raises:
        ConfigError: ``config.plugin_invalid`` if the row of another package is unusable.
    """
    shipped = next((each for each in FAMILIES if model_type in each.model_types), None)
    if shipped is not None:
        return shipped
    others = filter(None, map(find_named_family, (each.name for each in list_plugins("family"))))
    return next((each for each in others if model_type in each.model_types), None)


def find_named_family(name: str) -> Family | None:
    """Return the row of a name, shipped or of another package; None if there is none.

    Raises:
        ConfigError: ``config.plugin_invalid`` if the row of another package is unusable.
    """
    shipped = next((each for each in FAMILIES if each.name == name), None)
    plugin = None if shipped or name == SEED.name else find_plugin("family", name)
    if plugin is None:
        return shipped
    family = plugin.load()
    if not isinstance(family, Family):
        raise plugin.error(f"is {type(family).__name__}, expected a seedvideo.Family")
    if family.name != name:
        raise plugin.error(f"has another name, {family.name!r}, than its entry point")
    return family


def with_family_package(sha256: str, family: Family | None) -> str:
    """Return the hash of a model, changed by name and version of the package of its family.

    The hash of a model of a shipped family stays as it is.
    """
    plugin = None if family is None or family in FAMILIES else find_plugin("family", family.name)
    if plugin is None:
        return sha256
    return hashlib.sha256(f"{sha256}\n{plugin.origin}\n".encode()).hexdigest()


def list_families() -> tuple[str, ...]:
    """Return the names of all families, those of other packages last."""
    own = [family.name for family in FAMILIES]
    return tuple(dict.fromkeys([*own, *(plugin.name for plugin in list_plugins("family"))]))


def published_geometry(name: str) -> Geometry:
    """Return the geometry of a family with its published values, or that of Seed1.5-VL.

    Args:
        name: name of a family, or ``seed``.

    Raises:
        ConfigError: ``config.invalid`` if there is no such family; ``config.plugin_invalid`` if
            the row of another package has no geometry without a checkpoint.

    >>> published_geometry("qwen3-vl").levels_tokens[0]
    640
    """
    if name == SEED.name:
        return SEED
    family = find_named_family(name)
    if family is not None:
        return family_geometry(family)
    names = sorted([SEED.name, *list_families()])
    raise ConfigError(
        "config.invalid",
        f"geometry is {name!r}, expected one of {', '.join(names)}",
        hint=suggestion(name, names),
    )


def family_geometry(family: Family) -> Geometry:
    """Return the published geometry of a family; errors are those of `published_geometry`."""
    plugin = None if family in FAMILIES else find_plugin("family", family.name)
    if plugin is None:
        return family.make_geometry(CheckpointConfig())
    geometry = plugin.call(family.make_geometry, CheckpointConfig())
    if not isinstance(geometry, Geometry):
        raise plugin.error(f"makes {type(geometry).__name__}, expected a geometry")
    return geometry
