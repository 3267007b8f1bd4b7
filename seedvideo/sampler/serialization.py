"""The parts of a plan as plain JSON values, and back, with every value checked.

A time is written twice: rounded for people (``pts_s``) and exact for programs (``pts``, a string
``"num/den"``). Reading trusts nothing: a damaged or hostile document gives one `PlanError` that
names the place in it. Knows no policy and does not put the parts together; `plan` does.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Final, NoReturn, TypeVar, cast

from seedvideo.errors import PlanError
from seedvideo.media.types import MediaInfo, MediaWarning
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.sampler.types import Decision, Decoding, Needs, PlannedFrame, Role, Segment
from seedvideo.utils.timecode import seconds

_EXACT: Final = re.compile(r"(-?[0-9]{1,40})/([0-9]{1,40})")
_MAX_INT: Final = 2**53
_MAX_TEXT: Final = 4096
_MAX_LEVELS: Final = 64
_MAX_WARNINGS: Final = 1024
_MAX_NOTES: Final = 256
_TIME_TOLERANCE_S: Final = 1e-5
"""A rounded time may differ from its exact one by its last digit."""

T = TypeVar("T")


def exact(value: Fraction) -> str:
    """A rational number as ``"num/den"``."""
    return f"{value.numerator}/{value.denominator}"


@dataclass(frozen=True)
class Place:
    """A JSON object and where it stands in its document, for messages.

    Every reader returns a value of the right type and range, or raises ``plan.invalid``.
    """

    where: str
    values: Mapping[str, Any]

    @classmethod
    def at(cls, where: str, value: object) -> "Place":
        """Take a value as a JSON object."""
        if not isinstance(value, Mapping):
            _fail(where, "an object", value)
        return cls(where, value)

    def get(self, key: str) -> object:
        """The value under a key that must be there."""
        if key not in self.values:
            raise PlanError("plan.invalid", f"{self.where}.{key} is missing")
        return self.values[key]

    def integer(self, key: str, *, least: int = 0) -> int:
        """A whole number of at least ``least``."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MAX_INT:
            _fail(f"{self.where}.{key}", f"a whole number from {least}", value)
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            _fail(f"{self.where}.{key}", "a number", value)
        # The bound comes first: a whole number of JSON may be too long for a float.
        if not (-_MAX_INT <= value <= _MAX_INT and math.isfinite(value)):
            _fail(f"{self.where}.{key}", "a finite number", value)
        return float(value)

    def text(self, key: str) -> str:
        """A string of reasonable length."""
        value = self.get(key)
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            _fail(f"{self.where}.{key}", f"a text of at most {_MAX_TEXT} characters", value)
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.get(key)
        if not isinstance(value, bool):
            _fail(f"{self.where}.{key}", "true or false", value)
        return value

    def rational(self, key: str) -> Fraction:
        """A rational number written as ``"num/den"``."""
        value = self.get(key)
        found = _EXACT.fullmatch(value) if isinstance(value, str) else None
        if found is None or int(found[2]) == 0:
            _fail(f"{self.where}.{key}", 'an exact number such as "25/2"', value)
        return Fraction(int(found[1]), int(found[2]))

    def time(self, key: str) -> Fraction:
        """An exact time, whose rounded twin under ``key + "_s"`` must agree with it."""
        value = self.rational(key)
        rounded = self.number(f"{key}_s")
        if abs(float(value) - rounded) > _TIME_TOLERANCE_S:
            raise PlanError(
                "plan.invalid",
                f"{self.where}.{key}_s is {rounded}, but {self.where}.{key} is {exact(value)}",
                hint=f"{key} is the exact time; {key}_s repeats it for people",
            )
        return value

    def object(self, key: str) -> "Place":
        """The object under a key."""
        return Place.at(f"{self.where}.{key}", self.get(key))

    def objects(self, key: str, *, most: int) -> tuple["Place", ...]:
        """A list of at most ``most`` objects."""
        where = f"{self.where}.{key}"
        items = self._list(key, most=most)
        return tuple(Place.at(f"{where}[{index}]", item) for index, item in enumerate(items))

    def integers(self, key: str, *, most: int) -> tuple[int, ...]:
        """A list of at most ``most`` whole numbers."""
        return self._each(key, Place.integer, most=most)

    def texts(self, key: str, *, most: int) -> tuple[str, ...]:
        """A list of at most ``most`` strings."""
        return self._each(key, Place.text, most=most)

    def optional(self, key: str, read: Callable[["Place"], T]) -> T | None:
        """What ``read`` makes of the object under a key; None where there is none, or null."""
        return None if self.values.get(key) is None else read(self.object(key))

    def _each(self, key: str, read: Callable[["Place", str], T], *, most: int) -> tuple[T, ...]:
        items = enumerate(self._list(key, most=most))
        place = Place(f"{self.where}.{key}", {str(index): value for index, value in items})
        return tuple(read(place, index) for index in place.values)

    def _list(self, key: str, *, most: int) -> list[Any] | tuple[Any, ...]:
        value = self.get(key)
        if not isinstance(value, list | tuple):
            _fail(f"{self.where}.{key}", "a list", value)
        if len(value) > most:
            raise PlanError(
                "plan.invalid", f"{self.where}.{key} has {len(value)} entries, at most {most} go"
            )
        return value

    def build(self, make: Callable[[], T]) -> T:
        """Make a value object; what it refuses is reported with this place's name."""
        try:
            return make()
        except PlanError as error:
            if error.message.startswith(self.where):
                raise
            raise PlanError(
                error.code, f"{self.where}: {error.message}", hint=error.hint
            ) from error
        except ValueError as error:
            raise PlanError("plan.invalid", f"{self.where}: {error}") from error


def _fail(where: str, expected: str, value: object) -> NoReturn:
    # Only plain values are shown: the text of a nested one may be as long as the document.
    shown = type(value).__name__
    is_short = not isinstance(value, int) or abs(value) <= _MAX_INT
    if value is None or (isinstance(value, int | float | str) and is_short):
        shown = repr(value[:40] if isinstance(value, str) else value)
    raise PlanError("plan.invalid", f"{where} is {shown}, expected {expected}")


def frame_to_json(frame: PlannedFrame) -> dict[str, Any]:
    """One planned frame."""
    return {
        "pts_s": seconds(frame.pts),
        "pts": exact(frame.pts),
        "width_px": frame.width_px,
        "height_px": frame.height_px,
        "tokens": frame.tokens,
        "text_tokens": frame.text_tokens,
        "reason": frame.reason,
        "role": frame.role,
    }


def frame_from_json(at: Place) -> PlannedFrame:
    """One planned frame, checked."""
    return at.build(
        lambda: PlannedFrame(
            pts=at.time("pts"),
            width_px=at.integer("width_px", least=1),
            height_px=at.integer("height_px", least=1),
            tokens=at.integer("tokens", least=1),
            text_tokens=at.integer("text_tokens"),
            reason=at.text("reason"),
            # The frame itself knows which roles there are.
            role=None if at.values.get("role") is None else cast(Role, at.text("role")),
        )
    )


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """One segment."""
    return {
        "start_s": seconds(segment.start),
        "end_s": seconds(segment.end),
        "start": exact(segment.start),
        "end": exact(segment.end),
        "fps": segment.fps,
        "level_tokens": segment.level_tokens,
        "needs": None if segment.needs is None else asdict(segment.needs),
    }


def segment_from_json(at: Place) -> Segment:
    """One segment, checked."""
    return at.build(
        lambda: Segment(
            start=at.time("start"),
            end=at.time("end"),
            fps=at.number("fps"),
            level_tokens=at.integer("level_tokens", least=1),
            needs=at.optional("needs", _needs_from_json),
        )
    )


def _needs_from_json(at: Place) -> Needs:
    return at.build(
        lambda: Needs(
            events_per_s=at.number("events_per_s"),
            event_s=at.number("event_s"),
            change_s=at.number("change_s"),
            detail_tokens=at.number("detail_tokens"),
            peaks=at.integer("peaks"),
            starts_shot=at.flag("starts_shot"),
        )
    )


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """How a plan came about."""
    return asdict(decision) | {"notes": list(decision.notes)}


def decision_from_json(at: Place) -> Decision:
    """How a plan came about, checked."""
    return at.build(
        lambda: Decision(
            analysis=at.text("analysis"),
            notes=at.texts("notes", most=_MAX_NOTES),
            busy_share=at.number("busy_share"),
            coverage_share=at.number("coverage_share"),
            coverage_frames=at.integer("coverage_frames", least=1),
            coverage_level_tokens=at.integer("coverage_level_tokens", least=1),
            is_even=at.flag("is_even"),
            worth_s=at.number("worth_s"),
            bound_s=at.number("bound_s"),
            even_worth_s=at.number("even_worth_s"),
            is_exact=at.flag("is_exact"),
            decoding=at.optional("decoding", _decoding_from_json),
        )
    )


def _decoding_from_json(at: Place) -> Decoding:
    return at.build(
        lambda: Decoding(
            pictures=at.integer("pictures", least=1),
            video_pictures=at.integer("video_pictures", least=1),
            moved_frames=at.integer("moved_frames"),
            saved_pictures=at.integer("saved_pictures"),
        )
    )


def geometry_to_json(geometry: TokenGeometry) -> dict[str, Any]:
    """A token geometry."""
    return {
        "name": geometry.name,
        "token_px": geometry.token_px,
        "levels_tokens": list(geometry.levels_tokens),
        "min_frame_tokens": geometry.min_frame_tokens,
        "default_budget_tokens": geometry.default_budget_tokens,
        "min_frames": geometry.min_frames,
    }


def geometry_from_json(at: Place) -> TokenGeometry:
    """A token geometry, checked."""
    return at.build(
        lambda: TokenGeometry(
            name=at.text("name"),
            token_px=at.integer("token_px", least=1),
            levels_tokens=at.integers("levels_tokens", most=_MAX_LEVELS),
            min_frame_tokens=at.integer("min_frame_tokens", least=1),
            default_budget_tokens=at.integer("default_budget_tokens", least=1),
            min_frames=at.integer("min_frames", least=1),
        )
    )


def media_to_json(media: MediaInfo) -> dict[str, Any]:
    """The header facts, as `MediaInfo.to_json` gives them, and the exact values beside them."""
    return media.to_json() | {
        "path": media.path,
        "size_bytes": media.size_bytes,
        "container": media.container,
        "coded_width_px": media.coded_width_px,
        "coded_height_px": media.coded_height_px,
        "flipped": media.flipped,
        "is_image": media.is_image,
        "transfer": media.transfer,
        "sample_aspect": exact(media.sample_aspect),
        "duration": exact(media.duration),
        "start": exact(media.start),
        "fps_avg_exact": None if media.fps_avg is None else exact(media.fps_avg),
    }


def media_from_json(at: Place) -> MediaInfo:
    """The header facts, checked."""
    return at.build(
        lambda: MediaInfo(
            path=at.text("path"),
            size_bytes=at.integer("size_bytes"),
            container=at.text("container"),
            codec=at.text("codec"),
            pix_fmt=at.text("pix_fmt"),
            width_px=at.integer("width_px", least=1),
            height_px=at.integer("height_px", least=1),
            coded_width_px=at.integer("coded_width_px", least=1),
            coded_height_px=at.integer("coded_height_px", least=1),
            rotation_deg=at.integer("rotation_deg"),
            flipped=at.flag("flipped"),
            sample_aspect=at.rational("sample_aspect"),
            duration=at.time("duration"),
            start=at.time("start"),
            fps_avg=(None if at.get("fps_avg_exact") is None else at.rational("fps_avg_exact")),
            is_vfr=at.flag("is_vfr"),
            is_image=at.flag("is_image"),
            transfer=at.text("transfer"),
            warnings=tuple(
                MediaWarning(code=warning.text("code"), message=warning.text("message"))
                for warning in at.objects("warnings", most=_MAX_WARNINGS)
            ),
        )
    )
