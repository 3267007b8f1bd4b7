"""Drop-in for ``qwen_vl_utils.process_vision_info``: our frames, with their true times.

Change the import, and leave the rest of a script for Qwen3-VL as it is:

    from seedvideo.integrations.qwen import process_vision_info

Images of a message are resized as by qwen-vl-utils. Videos are sampled by a plan within a budget of
tokens. A clip has one size, as the models need, and its ``video_metadata`` states the times of its
frames with a clock of milliseconds (``fps`` 1000), whatever the rate of the file.

The models merge two frames, and Qwen3-VL reads the mean of their times. If times are requested,
each frame stands twice, so that it keeps its own time and costs as much as an image. With
``repeat=False`` two neighbours are merged, as by qwen-vl-utils: twice the frames for the same
tokens, each up to half their distance off.
"""

import base64
import io
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Unpack

from PIL import Image

from seedvideo.arguments import check_count, check_int, check_number, check_switch
from seedvideo.config import SamplingConfig, SamplingFields, resolve_sampling
from seedvideo.errors import ConfigError, InputError, MediaError, OptionTypeError
from seedvideo.integrations.transformers import CLOCK_FPS, metadata_of
from seedvideo.model.families import FAMILIES
from seedvideo.model.servers import MARKUP_TOKENS, estimate_text_tokens
from seedvideo.pipeline import as_video, plan_window
from seedvideo.sampler.geometry import BUDGET_TOKENS, LEVELS_TOKENS, MAX_ASPECT, TokenGeometry
from seedvideo.sampler.plan import Plan
from seedvideo.utils.text import printable
from seedvideo.video import Video

if TYPE_CHECKING:
    import torch

MERGED: Final = 2
"""Patches per side, and frames, that the models merge."""

FPS: Final = 2.0
"""Default rate, with which the models were trained."""

MIN_FRAMES: Final = 4
"""Default minimum of frames, if the video has them."""

IMAGE_TOKENS: Final = (4, 16_384)
"""Default minimum and maximum tokens of an image."""

FRAME_TOKENS: Final = (128, 768)
"""Default minimum and maximum tokens of a frame; only a higher minimum raises the maximum."""

_COUNT_KEYS: Final = ("nframes", "min_frames", "max_frames")
_PIXEL_KEYS: Final = ("min_pixels", "max_pixels")
_TIME_KEYS: Final = ("video_start", "video_end")
_SIZE_KEYS: Final = ("resized_height", "resized_width")
_TIME: Final = next(each.time for each in FAMILIES if each.name == "qwen3-vl")
_MAX_OFF_S: Final = Fraction(1, 2)
"""Error of a time without a warning: the distance of two positions of Qwen2.5-VL."""


def process_vision_info(
    conversations: Sequence[Any],
    return_video_kwargs: bool = False,  # noqa: FBT001, FBT002  # the call of qwen-vl-utils
    return_video_metadata: bool = False,  # noqa: FBT001, FBT002
    image_patch_size: int = 14,
    *,
    repeat: bool | None = None,
    sampling: SamplingConfig | None = None,
    **overrides: Unpack[SamplingFields],
) -> tuple[Any, ...]:
    """Read the images and videos of a conversation, or of several.

    A video in a message is a path, ``file://...``, bytes, or an open `seedvideo.Video`. Its keys
    ``fps``, ``nframes``, ``min_frames``, ``max_frames``, ``min_pixels``, ``max_pixels``,
    ``total_pixels``, ``video_start`` and ``video_end`` apply to this video and override the
    arguments. ``total_pixels`` is a budget; ``nframes`` is a maximum unless the policy is even.

    Args:
        conversations: one conversation, or a list of them.
        return_video_kwargs: also return the keyword arguments of the processor.
        return_video_metadata: return each video with its ``video_metadata``, which Qwen3-VL needs.
            Without it, as for Qwen2.5-VL, a model takes the frames as evenly spaced: use policy
            ``uniform``, or `seedvideo.integrations.transformers`.
        image_patch_size: 16 for Qwen3-VL, 14 for Qwen2.5-VL.
        repeat: whether each frame stands twice; as ``return_video_metadata`` if None.
        sampling: how frames are sampled; the rate is `FPS` unless it states one.
        overrides: fields of `seedvideo.SamplingConfig`, such as ``budget_tokens`` and ``policy``,
            which override those of ``sampling``. The budget is that of one video.

    Returns:
        ``(images, videos)``, or ``(images, videos, video_kwargs)``, each None if there are none. A
        video is a uint8 tensor ``(frames, 3, height, width)`` with an even number of frames; the
        original has floats of the same range, which take four times the memory.

    Raises:
        ConfigError: ``config.invalid`` if a key of a message is invalid; ``config.type``, which is
            a ``TypeError`` too, if a value has a wrong type.
        InputError: ``input.*`` if an image cannot be opened; a URL counts as a file name.
        MediaError: ``media.unreadable`` if an image is damaged.
        SeedVideoError: if a video cannot be used, or no plan fits the budget.
    """
    repeats = return_video_metadata if repeat is None else repeat
    for name, value in (
        ("return_video_kwargs", return_video_kwargs),
        ("return_video_metadata", return_video_metadata),
        ("repeat", repeats),
    ):
        check_switch(name, value)
    check_count("image_patch_size", image_patch_size)
    if image_patch_size < 1:
        raise ConfigError(
            "config.invalid",
            f"image_patch_size is {image_patch_size}, expected at least 1",
            hint="use 16 for Qwen3-VL, 14 for Qwen2.5-VL",
        )
    config = resolve_sampling(sampling, **overrides)
    unit_px = MERGED * int(image_patch_size)
    images: list[Image.Image] = []
    videos: list[Any] = []
    rates: list[float] = []
    for part in _vision_parts(conversations):
        if "image" in part or "image_url" in part:
            images.append(_read_image(part, unit_px))
        elif "video" in part:
            clip = _read_video(part, config, unit_px=unit_px, repeat=repeats)
            if return_video_metadata:
                videos.append((clip.pixels, metadata_of(list(clip.times_ms))))
            else:
                clip.warn_if_uneven()
                videos.append(clip.pixels)
            rates.append(clip.fps)
        else:
            raise ConfigError(
                "config.invalid",
                f"a part of a message has type {part.get('type')!r} and no image, image_url or"
                " video",
            )
    kwargs: dict[str, Any] = {"do_sample_frames": False}
    if not return_video_metadata:
        kwargs["fps"] = rates
    return (images or None, videos or None, *([kwargs] if return_video_kwargs else []))


@dataclass(frozen=True, eq=False)
class _Clip:
    """Frames of a video.

    Args:
        pixels: ``(frames, 3, height_px, width_px)`` uint8.
        times_ms: the time of each frame.
    """

    pixels: "torch.Tensor"
    times_ms: tuple[int, ...]

    @property
    def merged_s(self) -> list[Fraction]:
        """Mean time of each two frames, in seconds."""
        pairs = zip(self.times_ms[::2], self.times_ms[1::2], strict=True)
        return [Fraction(sum(pair), MERGED * CLOCK_FPS) for pair in pairs]

    @property
    def fps(self) -> float:
        """Rate of the frames, if they were evenly spaced."""
        times_s = self.merged_s
        if len(times_s) == 1:
            return FPS
        return float(MERGED * (len(times_s) - 1) / (times_s[-1] - times_s[0]))

    def warn_if_uneven(self) -> None:
        """Warn if a model that takes the frames as evenly spaced is far from their times."""
        times_s = self.merged_s
        step_s = (times_s[-1] - times_s[0]) / max(1, len(times_s) - 1)
        off_s = max(abs(each - times_s[0] - n * step_s) for n, each in enumerate(times_s))
        if off_s > _MAX_OFF_S:
            warnings.warn(
                "without video_metadata a model takes these frames as evenly spaced, up to"
                f" {float(off_s):.1f} s off: use return_video_metadata=True, or policy='uniform' if"
                " the rate of the clip is even",
                stacklevel=3,
            )


def _vision_parts(conversations: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the images and videos of all messages, in order."""
    _check_list("conversations", conversations)
    nested = conversations and not isinstance(conversations[0], Mapping)
    for conversation in conversations if nested else [conversations]:
        _check_list("a conversation", conversation)
        for message in conversation:
            if not isinstance(message, Mapping):
                raise _type_error("a message", message, "a dict with role and content")
            content = message.get("content")
            for part in content if isinstance(content, list | tuple) else []:
                if not isinstance(part, Mapping):
                    raise _type_error("a part of a message", part, "a dict with a type")
                has_media = any(name in part for name in ("image", "image_url", "video"))
                if has_media or part.get("type") in ("image", "image_url", "video"):
                    yield part


def _read_image(part: Mapping[str, Any], unit_px: int) -> Image.Image:
    """Read an image and resize it to whole tokens."""
    keys = _read_numbers(part, (*_PIXEL_KEYS, *_SIZE_KEYS))
    picture = _open_image(part["image"] if "image" in part else part["image_url"])
    size_px: tuple[float, float] = picture.size
    least_px, most_px = (float(tokens * unit_px**2) for tokens in IMAGE_TOKENS)
    if all(name in keys for name in _SIZE_KEYS):
        size_px = float(keys["resized_width"]), float(keys["resized_height"])
    else:
        least_px = float(keys.get("min_pixels", least_px))
        most_px = float(keys.get("max_pixels", most_px))
    return picture.resize(fit_size(*size_px, unit_px=unit_px, least_px=least_px, most_px=most_px))


def fit_size(
    width_px: float, height_px: float, *, unit_px: int, least_px: float, most_px: float
) -> tuple[int, int]:
    """Return the size of an image in whole tokens, as the Qwen processors choose it.

    Args:
        width_px: width of the image.
        height_px: height of the image.
        unit_px: side of the square of a token.
        least_px: minimum of pixels.
        most_px: maximum of pixels.

    Raises:
        ConfigError: ``config.invalid`` if the bounds exclude each other, or one side is more than
            200 times the other.
    """
    if least_px > most_px:
        raise ConfigError(
            "config.invalid", f"min_pixels is {least_px:g}, above max_pixels {most_px:g}"
        )
    if max(width_px, height_px) > MAX_ASPECT * min(width_px, height_px):
        raise ConfigError(
            "config.invalid",
            f"an image of {width_px:g}x{height_px:g} px has sides of more than {MAX_ASPECT}:1",
        )
    columns, rows = (max(1, round(side / unit_px)) for side in (width_px, height_px))
    pixels = columns * rows * unit_px**2
    if pixels > most_px:
        scale = math.sqrt(width_px * height_px / most_px)
        columns, rows = (math.floor(side / scale / unit_px) for side in (width_px, height_px))
    elif pixels < least_px:
        scale = math.sqrt(least_px / (width_px * height_px))
        columns, rows = (math.ceil(side * scale / unit_px) for side in (width_px, height_px))
    return max(1, columns) * unit_px, max(1, rows) * unit_px


def _open_image(given: object) -> Image.Image:
    """Return an image in RGB, of which all pixels are read."""
    if not isinstance(given, str | os.PathLike | Image.Image):
        raise _type_error("image", given, "a path, a data: URL or a PIL image")
    name = repr(given) if isinstance(given, Image.Image) else os.fspath(given)
    if name.startswith(("http://", "https://")):
        raise InputError(
            "input.not_found",
            f"image {printable(name)[:200]} is a URL, expected a file",
            hint="download it first: seedvideo opens no connection",
        )
    try:
        if isinstance(given, Image.Image):
            return _to_rgb(given)  # The pixels of an open file are read here.
        if name.startswith("data:image"):
            data = base64.b64decode(name.partition("base64,")[2])
            return _to_rgb(Image.open(io.BytesIO(data)))
        with Image.open(name.removeprefix("file://")) as picture:
            return _to_rgb(picture)
    except FileNotFoundError as error:
        raise InputError("input.not_found", f"no such image: {printable(name)[:200]}") from error
    except PermissionError as error:
        message = f"image {printable(name)[:200]} cannot be opened: permission denied"
        raise InputError("input.unreadable", message) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow raises any of these for a damaged file; binascii.Error is a ValueError.
        message = f"image {printable(name)[:200]} cannot be read"
        raise MediaError("media.unreadable", message, hint="convert it to PNG") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Return an image in RGB, on white where it is transparent."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _read_video(
    part: Mapping[str, Any], config: SamplingConfig, *, unit_px: int, repeat: bool
) -> _Clip:
    """Plan and decode one video of a message."""
    import torch

    names = ("fps", *_COUNT_KEYS, *_PIXEL_KEYS, "total_pixels", *_TIME_KEYS)
    keys = _read_numbers(part, names)
    refused = [name for name in _SIZE_KEYS if part.get(name) is not None]
    if refused:
        raise ConfigError(
            "config.invalid",
            f"a video has {' and '.join(refused)}, expected bounds: the size follows the budget",
            hint="use min_pixels and max_pixels; equal ones give one size",
        )
    video = part["video"]
    if isinstance(video, list | tuple):
        raise _type_error("video", video, "a file: frames of a list have no times")
    if isinstance(video, str):
        video = video.removeprefix("file://")
    geometry = _make_geometry(keys, unit_px)
    config = _make_sampling(keys, config, geometry)
    with as_video(video) as clip:
        plan = _plan_clip(clip, config, geometry, repeat=repeat)
        first, copies = plan.frames[0], MERGED if repeat else 1
        count = MERGED * math.ceil(copies * len(plan.frames) / MERGED)
        pixels = torch.empty((count, 3, first.height_px, first.width_px), dtype=torch.uint8)
        times_ms: list[int] = []
        # Other threads wait, as a new pass would end this one.
        with clip.reader.lock, closing(clip.frames(plan)) as decoded:
            for _, frame in decoded:
                after = len(times_ms) + copies
                pixels[len(times_ms) : after] = torch.from_numpy(frame.pixels).permute(2, 0, 1)
                times_ms += [round(CLOCK_FPS * frame.pts)] * copies
    if len(times_ms) % MERGED:
        pixels[len(times_ms)] = pixels[len(times_ms) - 1]
        times_ms.append(times_ms[-1])
    return _Clip(pixels[: len(times_ms)], tuple(times_ms))


def _make_geometry(keys: Mapping[str, Any], unit_px: int) -> TokenGeometry:
    """Return the sizes of a video, from the keys of its message."""
    least, most = FRAME_TOKENS
    if "min_pixels" in keys:
        least = math.ceil(keys["min_pixels"] / unit_px**2)
        most = max(most, least)
    if "max_pixels" in keys:
        most = min(most, math.floor(keys["max_pixels"] / unit_px**2))
    if most < 1:
        raise ConfigError(
            "config.invalid",
            f"max_pixels is {keys['max_pixels']}, expected at least {unit_px**2}",
        )
    if least > most and keys.get("min_pixels", 0) > keys["max_pixels"]:
        raise ConfigError(
            "config.invalid",
            f"min_pixels is {keys['min_pixels']}, above max_pixels {keys['max_pixels']}",
        )
    # The default minimum gives way to a given maximum, and bounds in one token are that token.
    least = min(least, most)
    return TokenGeometry(
        name="qwen-video",
        token_px=unit_px,
        levels_tokens=(most, *(n for n in LEVELS_TOKENS if least <= n < most)),
        min_frame_tokens=least,
        default_budget_tokens=BUDGET_TOKENS,
        min_frames=int(keys.get("nframes", keys.get("min_frames", MIN_FRAMES))),
    )


def _make_sampling(
    keys: Mapping[str, Any], config: SamplingConfig, geometry: TokenGeometry
) -> SamplingConfig:
    """Return how a video is sampled, from the keys of its message."""
    if "fps" in keys and "nframes" in keys:
        raise ConfigError("config.invalid", "a video has fps and nframes, expected one of them")
    given: dict[str, Any] = {
        "fps": keys.get("fps"),
        "max_frames": keys.get("nframes", keys.get("max_frames")),
        "start_s": keys.get("video_start"),
        "end_s": keys.get("video_end"),
    }
    if "total_pixels" in keys:
        given["budget_tokens"] = max(1, math.floor(keys["total_pixels"] / geometry.token_px**2))
    given = {name: value for name, value in given.items() if value is not None}
    if config.policy != "keyframes" and config.fps is None and config.rate_preset == "general":
        given = {"fps": FPS, **given}
    return replace(config, **given)


def _plan_clip(
    clip: Video, config: SamplingConfig, geometry: TokenGeometry, *, repeat: bool
) -> Plan:
    """Plan a video at one size, and for merged neighbours with an even number of frames."""
    if not repeat:
        # Two frames cost as much as one of a plan.
        budget = config.budget_tokens or geometry.default_budget_tokens
        config = replace(config, budget_tokens=MERGED * budget)
    plan = _plan(clip, config, geometry)
    sizes = {(frame.width_px, frame.height_px) for frame in plan.frames}
    if len(sizes) > 1:
        mean = sum(frame.tokens for frame in plan.frames) / len(plan.frames)
        nearest = min(
            config.levels_tokens or geometry.levels_tokens, key=lambda each: abs(each - mean)
        )
        config = replace(config, levels_tokens=(nearest,))
        plan = _plan(clip, config, geometry)
    if not repeat and len(plan.frames) % MERGED and len(plan.frames) > 1:
        plan = _plan(clip, replace(config, max_frames=len(plan.frames) - 1), geometry)
    return plan


def _plan(clip: Video, config: SamplingConfig, geometry: TokenGeometry) -> Plan:
    return plan_window(clip, config, geometry=geometry, text_tokens=_frame_text_tokens)


def _frame_text_tokens(pts: Fraction) -> int:
    """Estimate the text tokens of a frame: its time in the words of Qwen3-VL, and two marks."""
    return estimate_text_tokens(_TIME.text_before(pts)) + MARKUP_TOKENS


def _read_numbers(part: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the given ones of these keys of a part; None counts as not given."""
    keys = {name: part[name] for name in names if part.get(name) is not None}
    for name, value in keys.items():
        check_number(name, value)
        if name in _COUNT_KEYS:
            check_int(name, value)
        if name not in _TIME_KEYS and not 0 < value <= sys.float_info.max:
            raise ConfigError(
                "config.invalid", f"{name} is {value}, expected a finite number above 0"
            )
    return keys


def _check_list(name: str, value: object) -> None:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise _type_error(name, value, "a list of messages")


def _type_error(name: str, value: object, expected: str) -> OptionTypeError:
    return OptionTypeError(
        "config.type", f"{name} is of type {type(value).__name__}, expected {expected}"
    )
