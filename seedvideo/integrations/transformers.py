"""Frames of seedvideo in your own transformers script: your processor and your model.

    messages, images, kwargs = chat_inputs("clip.mp4", "What happens?", processor=processor)
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], images=images, return_tensors="pt", **kwargs)

The prompt is the one of seedvideo's own backend: one image per frame, with its time as text beside
it, in one text, so that no chat template can move a time away from its frame. Whether the model
reasons is yours to choose: the backend passes ``enable_thinking=False`` to a chat template with
that switch, unless it is asked to let the model reason.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Unpack

from seedvideo.arguments import check_kind, check_switch
from seedvideo.config import SamplingConfig, SamplingFields, resolve_sampling
from seedvideo.errors import ConfigError
from seedvideo.integrations.parts import find_row, make_parts
from seedvideo.media.source import VideoInput
from seedvideo.model.backends.base import ImagePart
from seedvideo.model.families import CheckpointConfig
from seedvideo.model.processing import PromptProcessor, as_clips
from seedvideo.sampler.plan import Plan
from seedvideo.video import Video

CLOCK_FPS: Final = 1_000
"""Rate of the clock of `video_metadata`: the library only divides, so milliseconds are exact."""


class ChatInputs(NamedTuple):
    """What a processor needs.

    Args:
        messages: the conversation, for ``processor.apply_chat_template``.
        images: for ``processor(images=...)``: the frames of the one prompt, as uint8 arrays
            ``(height, width, 3)``; None for a family that takes frames as videos.
        kwargs: further arguments of the processor, which keep the sizes of the frames.
    """

    messages: list[dict[str, Any]]
    images: list[list[Any]] | None
    kwargs: dict[str, Any]


def chat_inputs(
    video: Video | VideoInput,
    prompt: str,
    *,
    processor: Any,
    family: str | None = None,
    system: str | None = None,
    plan: Plan | None = None,
    sampling: SamplingConfig | None = None,
    **overrides: Unpack[SamplingFields],
) -> ChatInputs:
    """Plan and decode a video, and return what the processor of a checkpoint needs.

    Control tokens in the texts are broken with a space, so that they stay text.

    Args:
        video: an open video, or a path that is opened for this call.
        prompt: the user's text.
        processor: the processor of the checkpoint, as ``AutoProcessor.from_pretrained`` returns it.
        family: name of the family, such as ``qwen3-vl``, or ``model.config.model_type``. If None,
            the processor is asked what sizes cost, which works for any model, with plain words for
            the times.
        system: system prompt.
        plan: plan of this video; frames are sampled by ``sampling`` if None.
        sampling: how frames are sampled.
        overrides: fields of `seedvideo.SamplingConfig`, which override those of ``sampling``.

    Raises:
        ConfigError: ``config.invalid`` if the family does not exist, or the processor takes no
            images.
        ModelError: ``model.checkpoint_invalid`` if the processor or its chat template fails.
        PlanError: ``plan.invalid`` if the plan has frame sizes that the model does not accept.
        SeedVideoError: as `seedvideo.plan` does.
    """
    config = resolve_sampling(sampling, **overrides)
    prompts = read_processor(processor, family)
    parts = make_parts(
        video,
        prompt,
        system=system,
        plan=plan,
        sampling=config,
        geometry=prompts.geometry,
        text_tokens=prompts.frame_text_tokens,
    )
    messages = prompts.messages(parts, system=system)
    text, _ = prompts.render(parts, system=system, thinking=False)
    frames = [[part.pixels for part in parts if isinstance(part, ImagePart)]]
    kwargs = prompts.arguments(text)
    if prompts.family.as_clips:
        return ChatInputs(messages, None, {**kwargs, "videos": as_clips(frames)})
    return ChatInputs(messages, frames, kwargs)


def video_metadata(plan: Plan, *, repeat: bool = False) -> dict[str, Any]:
    """Return the ``video_metadata`` of the frames of a plan, with their times in milliseconds.

    Pass it with ``do_sample_frames=False``. A processor changes its argument, so each call returns
    a new one.

    Args:
        plan: the plan.
        repeat: whether each frame stands twice in the video. A family that merges two frames then
            states the time of each, otherwise the mean of two.

    Raises:
        OptionTypeError: ``config.type`` if an argument has a wrong type.
    """
    check_kind("plan", plan, Plan, "a plan, as seedvideo.plan returns it")
    check_switch("repeat", repeat)
    times = [frame.pts for frame in plan.frames for _ in range(1 + repeat)]
    return metadata_of([round(CLOCK_FPS * pts) for pts in times])


def metadata_of(times_ms: list[int]) -> dict[str, Any]:
    """Return the ``video_metadata`` of frames at these times."""
    total = max(times_ms) + 1
    return {
        "fps": CLOCK_FPS,
        "frames_indices": times_ms,
        "total_num_frames": total,
        "duration": total / CLOCK_FPS,
        "video_backend": "seedvideo",
    }


def read_processor(processor: Any, family: str | None) -> PromptProcessor:
    """Return what is needed of a user's processor.

    Raises:
        ConfigError: ``config.invalid`` if the family does not exist, or the processor takes no
            images.
        ModelError: ``model.checkpoint_invalid`` if the processor has invalid sizes.
    """
    row = None if family is None else find_row(family)
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise ConfigError(
            "config.invalid",
            f"processor is a {type(processor).__name__}, expected one for images and text",
            hint="load it with transformers.AutoProcessor.from_pretrained(...)",
        )
    name = str(getattr(processor.tokenizer, "name_or_path", "")) or type(processor).__name__
    config = CheckpointConfig(
        model={"model_type": "unknown"},
        processor=_values(processor),
        image=_values(processor.image_processor),
        video=_values(getattr(processor, "video_processor", None)),
    )
    return PromptProcessor(processor, Path(name), config, row)


def _values(part: Any) -> Mapping[str, Any]:
    """Return the configuration of a processor, or of a part of one."""
    return {} if part is None else dict(part.to_dict())
