"""JSON form of a plan: parts to JSON values, and back with every value checked by pydantic.

A time is written twice: rounded for people (``pts_s``) and exact for programs (``pts``, a string
``"num/den"``). Reading trusts nothing: a damaged or hostile document gives one `PlanError` that
names the position in it. `plan.Plan` assembles the parts.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Final, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from seedvideo.errors import PlanError
from seedvideo.media.types import MediaInfo, MediaWarning
from seedvideo.sampler.geometry import Geometry, ProbedGeometry, TileGeometry, TokenGeometry
from seedvideo.sampler.types import (
    AllocationReport,
    DecodeEstimate,
    EventReport,
    PlannedFrame,
    Segment,
    SegmentStats,
)
from seedvideo.utils.timecode import seconds
from seedvideo.validation import explain

SCHEMA_VERSION: Final = 1
"""Version of a plan's JSON form."""

MAX_SEGMENTS: Final = 65_536
"""Maximum segments of a plan that is read: three a second in the longest accepted video."""

_EXACT: Final = re.compile(r"(-?[0-9]{1,40})/([0-9]{1,40})")
_MAX_INT: Final = 2**53
_MAX_TEXT: Final = 4096
_MAX_LEVELS: Final = 64
_MAX_SIZES: Final = 4096
_MAX_WARNINGS: Final = 1024
_MAX_NOTES: Final = 256
_TIME_TOLERANCE_S: Final = 1e-5
"""A rounded time may differ from its exact one by its last digit."""

T = TypeVar("T")


def exact(value: Fraction) -> str:
    """Return a rational number as ``"num/den"``."""
    return f"{value.numerator}/{value.denominator}"


def _expected(words: str) -> PydanticCustomError:
    return PydanticCustomError("not_expected", "expected {expected}", {"expected": words})


def _as_text(value: object) -> str:
    # pydantic's own check would refuse the surrogates of undecodable file names.
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise _expected(f"a text of at most {_MAX_TEXT} characters")
    return value


def _as_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _expected("a number")
    # Check the bound first: an integer in JSON may be too long for a float.
    if not (-_MAX_INT <= value <= _MAX_INT and math.isfinite(value)):
        raise _expected("a finite number")
    return float(value)


def _as_fraction(value: object) -> Fraction:
    found = _EXACT.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[2]) == 0:
        raise _expected('an exact number such as "25/2"')
    return Fraction(int(found[1]), int(found[2]))


def _at_most(limit: int | str) -> BeforeValidator:
    """Accept a list with up to ``limit`` entries, or up to the context's value of that name."""

    def check(value: object, info: ValidationInfo) -> tuple[object, ...]:
        if not isinstance(value, list | tuple):
            raise _expected("a list")
        most = limit if isinstance(limit, int) else info.context[limit]  # type: ignore[index]
        if len(value) > most:
            raise ValueError(f"it has {len(value)} entries, expected at most {most}")
        return tuple(value)

    return BeforeValidator(check)


def _check_version(value: int) -> int:
    if value != SCHEMA_VERSION:
        raise ValueError(f"it is {value}, this version reads {SCHEMA_VERSION}")
    return value


_Text: TypeAlias = Annotated[str, PlainValidator(_as_text)]
_Number: TypeAlias = Annotated[float, PlainValidator(_as_number)]
_Fraction: TypeAlias = Annotated[Fraction, PlainValidator(_as_fraction)]
_Count: TypeAlias = Annotated[int, Field(ge=0, le=_MAX_INT)]
_Positive: TypeAlias = Annotated[int, Field(ge=1, le=_MAX_INT)]


class _Document(BaseModel):
    """A JSON object; keys that are not read are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    makes: ClassVar[Callable[..., Any]]

    @model_validator(mode="before")
    @classmethod
    def _from_mapping(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            raise _expected("an object")
        return dict(value)

    def build(self, where: str) -> Any:
        """Return the value object that this document describes, an instance of ``makes``."""
        return built(where, lambda: self.makes(**self.parts(where)))

    def parts(self, where: str) -> dict[str, Any]:
        """Return the values by name: inner documents built, rounded times checked and left out."""
        parts = {}
        for name, value in self:
            exact_name = name.removesuffix("_s")
            if exact_name != name and exact_name in type(self).model_fields:
                _check_times(where, name, value, getattr(self, exact_name))
            else:
                parts[name] = _built_inside(f"{where}.{name}", value)
        return parts


def _check_times(where: str, name: str, rounded: float, value: Fraction) -> None:
    if abs(float(value) - rounded) > _TIME_TOLERANCE_S:
        key = name.removesuffix("_s")
        raise PlanError(
            "plan.invalid",
            f"{where}.{name} is {rounded}, but {where}.{key} is {exact(value)}",
            hint=f"{key} is the exact time; {name} repeats it for people",
        )


def _built_inside(where: str, value: Any) -> Any:
    if isinstance(value, _Document):
        return value.build(where)
    if isinstance(value, tuple):
        return tuple(_built_inside(f"{where}[{index}]", one) for index, one in enumerate(value))
    return value


class _Frame(_Document):
    makes = PlannedFrame
    pts: _Fraction
    pts_s: _Number
    width_px: _Positive
    height_px: _Positive
    tokens: _Positive
    text_tokens: _Count
    reason: _Text
    role: _Text | None = None  # The frame itself checks which roles exist.


class _Needs(_Document):
    makes = SegmentStats
    events_per_s: _Number
    event_s: _Number
    change_s: _Number
    detail_tokens: _Number
    peaks: _Count
    starts_shot: bool


class _Segment(_Document):
    makes = Segment
    start: _Fraction
    start_s: _Number
    end: _Fraction
    end_s: _Number
    fps: _Number
    level_tokens: _Positive
    needs: _Needs | None = None


class _Decoding(_Document):
    makes = DecodeEstimate
    pictures: _Positive
    video_pictures: _Positive
    moved_frames: _Count
    saved_pictures: _Count


class _Event(_Document):
    makes = EventReport
    time: _Fraction
    time_s: _Number
    strength: _Number
    probability: _Number
    in_busy_time: bool
    frame: _Fraction | None
    tokens: _Count
    total_tokens: _Count
    share: _Number
    outcome: _Text  # The event itself checks which outcomes exist.


class _Decision(_Document):
    makes = AllocationReport
    analysis: _Text
    notes: Annotated[tuple[_Text, ...], _at_most(_MAX_NOTES)]
    busy_share: _Number
    coverage_share: _Number
    coverage_frames: _Positive
    coverage_level_tokens: _Positive
    is_even: bool
    worth_s: _Number
    bound_s: _Number
    even_worth_s: _Number
    is_exact: bool
    decoding: _Decoding | None = None
    inspected_share: _Number = 1.0
    event_frames: _Count = 0
    event_tokens: _Count = 0
    events: Annotated[tuple[_Event, ...], _at_most(MAX_SEGMENTS)] = ()
    last_thousand_s: _Number = 0.0
    full_worth_s: _Number | None = None


class _Geometry(_Document):
    makes = TokenGeometry
    name: _Text
    token_px: _Positive
    levels_tokens: Annotated[tuple[_Count, ...], _at_most(_MAX_LEVELS)]
    min_frame_tokens: _Positive
    default_budget_tokens: _Positive
    min_frames: _Positive
    row_tokens: _Count = 0
    max_side_px: _Positive | None = None


class _Tiles(_Document):
    makes = TileGeometry
    name: _Text
    tile_px: _Positive
    tile_tokens: _Positive
    max_tiles: Annotated[int, Field(ge=1, le=_MAX_LEVELS)]
    default_budget_tokens: _Positive
    min_frames: _Positive


_Size: TypeAlias = Annotated[tuple[_Count, ...], Field(min_length=3, max_length=3), _at_most(3)]


class _Probed(_Document):
    makes = ProbedGeometry
    name: _Text
    levels_tokens: Annotated[tuple[_Count, ...], _at_most(_MAX_LEVELS)]
    sides_px: Annotated[tuple[_Positive, ...], _at_most(_MAX_LEVELS)]
    measured: Annotated[tuple[_Size, ...], _at_most(_MAX_SIZES)]
    default_budget_tokens: _Positive
    min_frames: _Positive


def _geometry_kind(value: object) -> str:
    return str(value.get("kind", "grid")) if isinstance(value, Mapping) else "grid"


_AnyGeometry: TypeAlias = Annotated[
    Annotated[_Geometry, Tag("grid")]
    | Annotated[_Tiles, Tag("tiles")]
    | Annotated[_Probed, Tag("probed")],
    Discriminator(_geometry_kind),
]


class _Warning(_Document):
    makes = MediaWarning
    code: _Text
    message: _Text


class _Media(_Document):
    makes = MediaInfo
    path: _Text
    size_bytes: _Count
    container: _Text
    codec: _Text
    pix_fmt: _Text
    width_px: _Positive
    height_px: _Positive
    coded_width_px: _Positive
    coded_height_px: _Positive
    rotation_deg: _Count
    flipped: bool
    sample_aspect: _Fraction
    duration: _Fraction
    duration_s: _Number
    start: _Fraction
    start_s: _Number
    # The key ``fps_avg`` repeats it, rounded, and is not read.
    fps_avg: _Fraction | None = Field(validation_alias="fps_avg_exact")
    is_vfr: bool
    is_image: bool
    transfer: _Text
    warnings: Annotated[tuple[_Warning, ...], _at_most(_MAX_WARNINGS)]


class _Totals(_Document):
    makes = dict
    frames: _Count
    visual_tokens: _Count
    text_tokens: _Count
    tokens: _Count


class PlanDocument(_Document):
    """A plan's JSON form; `parts` returns the fields of a plan, its totals and its version."""

    schema_version: Annotated[_Count, AfterValidator(_check_version)]
    source: _Text
    policy: _Text
    geometry: _AnyGeometry
    budget_tokens: _Positive
    charged_tokens: _Count
    media: _Media
    segments: Annotated[tuple[_Segment, ...], _at_most(MAX_SEGMENTS)]
    frames: Annotated[tuple[_Frame, ...], _at_most("max_frames")]
    decision: _Decision | None = None
    totals: _Totals

    @classmethod
    def read(cls, data: object, *, max_frames: int) -> "PlanDocument":
        """Check types and ranges of a document.

        Raises:
            PlanError: ``plan.invalid``, naming the position in the document.
        """
        try:
            return cls.model_validate(data, context={"max_frames": max_frames})
        except ValidationError as error:
            raise PlanError("plan.invalid", explain(error, root="plan")) from error


def built(where: str, make: Callable[[], T]) -> T:
    """Make a value object; prefix errors of its own checks with the position in the document."""
    try:
        return make()
    except PlanError as error:
        if error.message.startswith(where):
            raise
        raise PlanError(error.code, f"{where}: {error.message}", hint=error.hint) from error
    except ValueError as error:
        raise PlanError("plan.invalid", f"{where}: {error}") from error


def frame_to_json(frame: PlannedFrame) -> dict[str, Any]:
    """Return one planned frame as JSON values."""
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


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """Return one segment as JSON values."""
    return {
        "start_s": seconds(segment.start),
        "end_s": seconds(segment.end),
        "start": exact(segment.start),
        "end": exact(segment.end),
        "fps": segment.fps,
        "level_tokens": segment.level_tokens,
        "needs": None if segment.needs is None else asdict(segment.needs),
    }


def decision_to_json(decision: AllocationReport) -> dict[str, Any]:
    """Return an allocation report as JSON values."""
    return asdict(decision) | {
        "notes": list(decision.notes),
        "events": [_event_to_json(event) for event in decision.events],
    }


def _event_to_json(event: EventReport) -> dict[str, Any]:
    frame = None if event.frame is None else exact(event.frame)
    times = {"time_s": seconds(event.time), "time": exact(event.time)}
    return times | asdict(event) | times | {"frame": frame}


def geometry_to_json(geometry: Geometry, sizes: Iterable[tuple[int, int]] = ()) -> dict[str, Any]:
    """Return a geometry as JSON values; a grid has no ``kind``.

    A geometry of another package is written as a probed one, with the costs of the plan's frames.

    Args:
        geometry: the geometry of a plan.
        sizes: width and height of the plan's frames, whose measured costs a probed geometry states.
    """
    if isinstance(geometry, TileGeometry):
        return {"kind": "tiles", **asdict(geometry)}
    if not isinstance(geometry, TokenGeometry):
        probed = _as_probed(geometry)
        values = {each.name: getattr(probed, each.name) for each in fields(probed)}
        del values["measure"]
        values["measured"] = [
            [width_px, height_px, geometry.tokens(width_px=width_px, height_px=height_px)]
            for width_px, height_px in sorted(set(sizes))
        ]
        lists = {name: list(values[name]) for name in ("levels_tokens", "sides_px")}
        return {"kind": "probed", **values, **lists}
    values = asdict(geometry) | {"levels_tokens": list(geometry.levels_tokens)}
    # Of some families only: plans of the others stay as they were.
    optional = {"row_tokens": 0, "max_side_px": None}
    return {name: v for name, v in values.items() if name not in optional or v != optional[name]}


def _as_probed(geometry: Geometry) -> ProbedGeometry:
    if isinstance(geometry, ProbedGeometry):
        return geometry
    return ProbedGeometry(
        geometry.name,
        tuple(geometry.levels_tokens),
        tuple(round(math.sqrt(n * geometry.token_area_px)) for n in geometry.levels_tokens),
        geometry.default_budget_tokens,
        min_frames=geometry.min_frames,
    )


def media_to_json(media: MediaInfo) -> dict[str, Any]:
    """Return the header facts, as `MediaInfo.to_json` does, with their exact values added."""
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
