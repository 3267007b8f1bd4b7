"""Captions of videos, answers about them and moments in them, with true times, on your machine.

    import seedvideo

    model = seedvideo.load("nano")
    print(seedvideo.caption("clip.mp4", model=model).text)

The public names, and nothing else. Importing this loads neither torch nor a decoder: a name is
imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

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
from seedvideo.limits import Limits

if TYPE_CHECKING:
    from seedvideo.answers import ask, ground
    from seedvideo.media.types import MediaInfo
    from seedvideo.model.backends.base import Backend
    from seedvideo.pipeline import caption, frames, load, plan
    from seedvideo.records import Event, Record
    from seedvideo.sampler.geometry import TokenGeometry
    from seedvideo.sampler.knobs import Knobs
    from seedvideo.sampler.plan import Plan
    from seedvideo.sampler.types import PlannedFrame, Segment
    from seedvideo.video import Video, open

__version__ = "0.1.0"

__all__ = [
    "AskError",
    "Backend",
    "BatchError",
    "ConfigError",
    "DecodeError",
    "Event",
    "GroundError",
    "InputError",
    "InputTypeError",
    "Knobs",
    "Limits",
    "MediaError",
    "MediaInfo",
    "ModelError",
    "NotPicklableError",
    "OptionTypeError",
    "OutputError",
    "Plan",
    "PlanError",
    "PlannedFrame",
    "Record",
    "ResourceError",
    "SeedVideoError",
    "Segment",
    "TokenGeometry",
    "Video",
    "__version__",
    "ask",
    "caption",
    "frames",
    "ground",
    "load",
    "open",
    "plan",
]

_HOMES: Final = {
    "Backend": "model.backends.base",
    "Event": "records",
    "Knobs": "sampler.knobs",
    "MediaInfo": "media.types",
    "Plan": "sampler.plan",
    "PlannedFrame": "sampler.types",
    "Record": "records",
    "Segment": "sampler.types",
    "TokenGeometry": "sampler.geometry",
    "Video": "video",
    "ask": "answers",
    "caption": "pipeline",
    "frames": "pipeline",
    "ground": "answers",
    "load": "pipeline",
    "open": "video",
    "plan": "pipeline",
}
"""Where each lazily imported name lives."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
