"""Frames of seedvideo in a request of your own, to a server with the chat interface of OpenAI.

    client.chat.completions.create(
        model=NAME, messages=messages("clip.mp4", "What happens?", model=NAME)
    )

Needs no openai package. The content is that of seedvideo's own backend for servers: one JPEG per
frame, after the text of its time, and the prompt last.
"""

from typing import Any, Final, Unpack

from seedvideo.arguments import check_text
from seedvideo.config import SamplingConfig, SamplingFields, resolve_sampling
from seedvideo.integrations.parts import find_row, make_parts
from seedvideo.media.source import VideoInput
from seedvideo.model.backends.server_content import picture_content
from seedvideo.model.servers import ServerCosts
from seedvideo.model_options import ModelOptions
from seedvideo.sampler.geometry import SEED
from seedvideo.sampler.plan import Plan
from seedvideo.video import Video

_ANY_SERVER: Final = "vllm:http://localhost:8000/v1"
"""A preset and an address: only the name of the model decides what is planned."""


def messages(
    video: Video | VideoInput,
    prompt: str,
    *,
    model: str,
    family: str | None = None,
    system: str | None = None,
    plan: Plan | None = None,
    sampling: SamplingConfig | None = None,
    **overrides: Unpack[SamplingFields],
) -> list[dict[str, Any]]:
    """Plan and decode a video, and return the messages of a request.

    Args:
        video: an open video, or a path that is opened for this call.
        prompt: the user's text.
        model: name of the served model, such as ``Qwen/Qwen3-VL-8B-Instruct``. It decides frame
            sizes and the words of the times, if its family is known.
        family: name of the family, such as ``qwen3-vl``, or ``model_type`` of its checkpoints, if
            the name of the model does not show it.
        system: system prompt.
        plan: plan of this video; frames are sampled by ``sampling`` if None.
        sampling: how frames are sampled.
        overrides: fields of `seedvideo.SamplingConfig`, which override those of ``sampling``.

    Raises:
        ConfigError: ``config.invalid`` if the family does not exist, or the prompt is empty.
        PlanError: ``plan.invalid`` if the plan has frame sizes that the model does not accept.
        SeedVideoError: as `seedvideo.plan` does.
    """
    config = resolve_sampling(sampling, **overrides)
    check_text("model", model)
    known = family if family in (None, SEED.name) else find_row(family).name
    options = ModelOptions(geometry=known)
    costs = ServerCosts.from_name(f"{_ANY_SERVER}#{model}", options)
    parts = make_parts(
        video,
        prompt,
        system=system,
        plan=plan,
        sampling=config,
        geometry=costs.geometry,
        text_tokens=costs.frame_text_tokens,
    )
    content = picture_content(parts, costs.time, costs.family)
    made: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system is not None:
        made.insert(0, {"role": "system", "content": system})
    return made
