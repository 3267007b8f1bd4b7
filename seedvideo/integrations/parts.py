"""Frames of a video as parts of a prompt: what the integrations share."""

from contextlib import closing

from seedvideo.arguments import check_kind, check_text
from seedvideo.config import SamplingConfig
from seedvideo.errors import ConfigError, suggestion
from seedvideo.media.source import VideoInput
from seedvideo.model.backends.base import Part, interleave
from seedvideo.model.families import Family, find_family, find_named_family, list_families
from seedvideo.pipeline import as_video, plan_window
from seedvideo.sampler.geometry import Geometry
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import TextTokenCounter
from seedvideo.video import Video


def make_parts(
    video: Video | VideoInput,
    prompt: str,
    *,
    system: str | None,
    plan: Plan | None,
    sampling: SamplingConfig,
    geometry: Geometry,
    text_tokens: TextTokenCounter,
) -> list[Part]:
    """Decode the frames of a plan, and append the prompt.

    Args:
        video: an open video, or a path that is opened for this call.
        prompt: the user's text.
        system: system prompt, which is only checked here, before decoding.
        plan: plan of this video; it is planned here if None.
        sampling: how frames are sampled, without a plan.
        geometry: frame sizes of the model.
        text_tokens: counts the text tokens of a frame by its time.

    Raises:
        ConfigError: ``config.invalid`` if the prompt is empty; ``config.type`` if a text is none.
        PlanError: ``plan.invalid`` if the plan has frame sizes that the model does not accept.
        SeedVideoError: if the file is unusable, or no plan fits the budget.
    """
    check_text("prompt", prompt)
    if system is not None:
        check_text("system", system)
    if not prompt.strip():
        raise ConfigError("config.invalid", "prompt is empty, expected a text")
    if plan is not None:
        check_kind("plan", plan, Plan, "a plan, as seedvideo.plan returns it")
        for frame in plan.frames:
            geometry.tokens(width_px=frame.width_px, height_px=frame.height_px)
    with as_video(video) as clip:
        if plan is None:
            plan = plan_window(clip, sampling, geometry=geometry, text_tokens=text_tokens)
        # Other threads wait, as a new pass would end this one.
        with clip.reader.lock, closing(clip.frames(plan)) as decoded:
            frames = [(frame.pts, frame.pixels) for _, frame in decoded]
    return interleave(frames, prompt)


def find_row(family: str) -> Family:
    """Return a family by its name, or by the ``model_type`` of a checkpoint.

    Raises:
        ConfigError: ``config.invalid`` if there is none.
    """
    check_text("family", family)
    row = find_named_family(family) or find_family(family)
    if row is None:
        names = sorted(list_families())
        raise ConfigError(
            "config.invalid",
            f"family is {family!r}, expected one of {', '.join(names)}",
            hint=suggestion(family, names),
        )
    return row
