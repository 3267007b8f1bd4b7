"""Video captioning, question answering and moment retrieval with exact timestamps, locally.

    import seedvideo

    model = seedvideo.load("nano")
    print(seedvideo.caption("clip.mp4", model=model).text)

This package exports the public names. Importing it loads neither torch nor a decoder: each name is
imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from warnings import warn

from seedvideo.config import Limits, SamplingConfig
from seedvideo.environment import __version__
from seedvideo.errors import (
    AskError,
    BatchError,
    ConfigError,
    DecodeError,
    GroundError,
    InputError,
    InputTypeError,
    MediaError,
    ModelError,
    NotPicklableError,
    OptionTypeError,
    OutputError,
    PlanError,
    ResourceError,
    SeedVideoError,
)

if TYPE_CHECKING:
    from seedvideo.api import (
        ask,
        caption,
        frames,
        frames_at,
        ground,
        load,
        plan,
        run_batch,
        shots,
    )
    from seedvideo.batch.run_job import BatchResult
    from seedvideo.media.types import MediaInfo
    from seedvideo.model.backends.base import Backend
    from seedvideo.model_options import GenerationOptions, ModelOptions
    from seedvideo.records import Event, Record
    from seedvideo.sampler.geometry import TokenGeometry
    from seedvideo.sampler.plan import Plan
    from seedvideo.sampler.types import PlannedFrame, Segment
    from seedvideo.video import Video, open
    from seedvideo.writers import ShotList

__all__ = [
    "AskError",
    "Backend",
    "BatchError",
    "BatchResult",
    "ConfigError",
    "DecodeError",
    "Event",
    "GenerationOptions",
    "GroundError",
    "InputError",
    "InputTypeError",
    "Limits",
    "MediaError",
    "MediaInfo",
    "ModelError",
    "ModelOptions",
    "NotPicklableError",
    "OptionTypeError",
    "OutputError",
    "Plan",
    "PlanError",
    "PlannedFrame",
    "Record",
    "ResourceError",
    "SamplingConfig",
    "SeedVideoError",
    "Segment",
    "ShotList",
    "TokenGeometry",
    "Video",
    "__version__",
    "ask",
    "caption",
    "frames",
    "frames_at",
    "ground",
    "load",
    "open",
    "plan",
    "run_batch",
    "shots",
]

_HOMES: Final = {
    "Backend": "model.backends.base",
    "BatchResult": "batch.run_job",
    "Event": "records",
    "GenerationOptions": "model_options",
    "MediaInfo": "media.types",
    "ModelOptions": "model_options",
    "Plan": "sampler.plan",
    "PlannedFrame": "sampler.types",
    "Record": "records",
    "Segment": "sampler.types",
    "ShotList": "writers",
    "TokenGeometry": "sampler.geometry",
    "Video": "video",
    "ask": "api",
    "caption": "api",
    "frames": "api",
    "frames_at": "api",
    "ground": "api",
    "load": "api",
    "open": "api",
    "plan": "api",
    "run_batch": "api",
    "shots": "api",
}
"""Module of each lazily imported name."""


def __getattr__(name: str) -> Any:
    if name == "Knobs":
        warn(
            "seedvideo.Knobs is deprecated and will be removed in the next release: use"
            " seedvideo.SamplingConfig, or pass its fields to the function",
            DeprecationWarning,
            stacklevel=2,
        )
        return import_module(f"{__name__}.config").make_knobs
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
