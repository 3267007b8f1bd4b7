"""Frames of seedvideo for vLLM in your own process: inputs of ``vllm.LLM.generate``.

    llm = vllm.LLM(NAME, limit_mm_per_prompt={"image": 256})
    llm.generate(inputs("clip.mp4", "What happens?", processor=processor, family="qwen3-vl"))

Does not import vllm. vLLM resizes frames below the minimum or above the maximum of its model; the
sizes of a plan lie between them.
"""

from typing import Any, Unpack

from PIL import Image

from seedvideo.config import SamplingConfig, SamplingFields, resolve_sampling
from seedvideo.errors import ConfigError
from seedvideo.integrations.parts import make_parts
from seedvideo.integrations.transformers import read_processor
from seedvideo.media.source import VideoInput
from seedvideo.model.backends.base import ImagePart
from seedvideo.sampler.plan import Plan
from seedvideo.video import Video


def inputs(
    video: Video | VideoInput,
    prompt: str,
    *,
    processor: Any,
    family: str | None = None,
    system: str | None = None,
    plan: Plan | None = None,
    sampling: SamplingConfig | None = None,
    **overrides: Unpack[SamplingFields],
) -> dict[str, Any]:
    """Plan and decode a video, and return one prompt with its images.

    Args:
        video: an open video, or a path that is opened for this call.
        prompt: the user's text.
        processor: the processor of the checkpoint, as ``AutoProcessor.from_pretrained`` returns it.
        family: see `seedvideo.integrations.transformers.chat_inputs`.
        system: system prompt.
        plan: plan of this video; frames are sampled by ``sampling`` if None.
        sampling: how frames are sampled.
        overrides: fields of `seedvideo.SamplingConfig`, which override those of ``sampling``.

    Raises:
        ConfigError: ``config.invalid`` as ``chat_inputs`` does, and for a family that takes frames
            as videos.
        ModelError: as ``chat_inputs`` does.
        SeedVideoError: as `seedvideo.plan` does.
    """
    config = resolve_sampling(sampling, **overrides)
    prompts = read_processor(processor, family)
    if prompts.family.as_clips:
        raise ConfigError(
            "config.invalid",
            f"family {prompts.family.name} takes frames as videos, which vLLM samples itself",
            hint="use seedvideo.integrations.transformers",
        )
    parts = make_parts(
        video,
        prompt,
        system=system,
        plan=plan,
        sampling=config,
        geometry=prompts.geometry,
        text_tokens=prompts.frame_text_tokens,
    )
    text, _ = prompts.render(parts, system=system, thinking=False)
    images = [Image.fromarray(part.pixels) for part in parts if isinstance(part, ImagePart)]
    return {"prompt": text, "multi_modal_data": {"image": images}}
