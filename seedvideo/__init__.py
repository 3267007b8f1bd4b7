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
        quality,
        run_batch,
        shots,
        split,
    )
    from seedvideo.batch.run_job import BatchResult
    from seedvideo.clips.windows import ClipWindow, SplitOptions, VideoSplit
    from seedvideo.datasets.source import DatasetClip, DatasetOptions, DatasetSource
    from seedvideo.evaluate.types import Prediction, Scorer
    from seedvideo.media.types import MediaInfo
    from seedvideo.model.backends.base import (
        Backend,
        Choice,
        ChoiceResult,
        Generation,
        ImagePart,
        ModelDetails,
        Part,
        PointingResult,
        SupportsBatches,
        SupportsChoice,
        SupportsLimitedAnswers,
        SupportsPointing,
        TextPart,
        TimePart,
        TokenCosts,
        Usage,
    )
    from seedvideo.model.families import CheckpointConfig, Family
    from seedvideo.model.time_format import TimeFormat
    from seedvideo.model_options import GenerationOptions, ModelOptions
    from seedvideo.records import Event, Record
    from seedvideo.remote_options import RemoteOptions
    from seedvideo.sampler.geometry import Geometry, TileGeometry, TokenGeometry
    from seedvideo.sampler.plan import Plan
    from seedvideo.sampler.policies import Policy
    from seedvideo.sampler.quality import Quality
    from seedvideo.sampler.request import AnalysisResult, Request, build_plan
    from seedvideo.sampler.types import PlannedFrame, Segment
    from seedvideo.video import Video, open
    from seedvideo.writers import ShotList

__all__ = [
    "AnalysisResult",
    "AskError",
    "Backend",
    "BatchError",
    "BatchResult",
    "CheckpointConfig",
    "Choice",
    "ChoiceResult",
    "ClipWindow",
    "ConfigError",
    "DatasetClip",
    "DatasetOptions",
    "DatasetSource",
    "DecodeError",
    "Event",
    "Family",
    "Generation",
    "GenerationOptions",
    "Geometry",
    "GroundError",
    "ImagePart",
    "InputError",
    "InputTypeError",
    "Limits",
    "MediaError",
    "MediaInfo",
    "ModelDetails",
    "ModelError",
    "ModelOptions",
    "NotPicklableError",
    "OptionTypeError",
    "OutputError",
    "Part",
    "Plan",
    "PlanError",
    "PlannedFrame",
    "PointingResult",
    "Policy",
    "Prediction",
    "Quality",
    "Record",
    "RemoteOptions",
    "Request",
    "ResourceError",
    "SamplingConfig",
    "Scorer",
    "SeedVideoError",
    "Segment",
    "ShotList",
    "SplitOptions",
    "SupportsBatches",
    "SupportsChoice",
    "SupportsLimitedAnswers",
    "SupportsPointing",
    "TextPart",
    "TileGeometry",
    "TimeFormat",
    "TimePart",
    "TokenCosts",
    "TokenGeometry",
    "Usage",
    "Video",
    "VideoSplit",
    "__version__",
    "ask",
    "build_plan",
    "caption",
    "frames",
    "frames_at",
    "ground",
    "load",
    "open",
    "plan",
    "quality",
    "run_batch",
    "shots",
    "split",
]

_HOMES: Final = {
    "AnalysisResult": "sampler.request",
    "Backend": "model.backends.base",
    "BatchResult": "batch.run_job",
    "CheckpointConfig": "model.families",
    "Choice": "model.backends.base",
    "ChoiceResult": "model.backends.base",
    "ClipWindow": "clips.windows",
    "DatasetClip": "datasets.source",
    "DatasetOptions": "datasets.source",
    "DatasetSource": "datasets.source",
    "Event": "records",
    "Family": "model.families",
    "Generation": "model.backends.base",
    "GenerationOptions": "model_options",
    "Geometry": "sampler.geometry",
    "ImagePart": "model.backends.base",
    "MediaInfo": "media.types",
    "ModelDetails": "model.backends.base",
    "ModelOptions": "model_options",
    "Part": "model.backends.base",
    "Plan": "sampler.plan",
    "PlannedFrame": "sampler.types",
    "PointingResult": "model.backends.base",
    "Policy": "sampler.policies",
    "Quality": "sampler.quality",
    "Prediction": "evaluate.types",
    "Record": "records",
    "RemoteOptions": "remote_options",
    "Request": "sampler.request",
    "Scorer": "evaluate.types",
    "Segment": "sampler.types",
    "ShotList": "writers",
    "SplitOptions": "clips.windows",
    "SupportsBatches": "model.backends.base",
    "SupportsChoice": "model.backends.base",
    "SupportsLimitedAnswers": "model.backends.base",
    "SupportsPointing": "model.backends.base",
    "TextPart": "model.backends.base",
    "TileGeometry": "sampler.geometry",
    "TimeFormat": "model.time_format",
    "TimePart": "model.backends.base",
    "TokenCosts": "model.backends.base",
    "TokenGeometry": "sampler.geometry",
    "Usage": "model.backends.base",
    "Video": "video",
    "VideoSplit": "clips.windows",
    "ask": "api",
    "build_plan": "sampler.request",
    "caption": "api",
    "frames": "api",
    "frames_at": "api",
    "ground": "api",
    "load": "api",
    "open": "api",
    "plan": "api",
    "quality": "api",
    "run_batch": "api",
    "shots": "api",
    "split": "api",
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
