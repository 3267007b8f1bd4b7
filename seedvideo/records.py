"""Versioned record of one finished video: the schema of all results, checked by pydantic.

A record has either a result (``status: done``) or an error (``status: failed``); there is no other
state, and an empty caption is never a success.

Units: ``_s`` are float seconds, ``_px`` pixels, ``_tokens`` tokens.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from seedvideo import notebook
from seedvideo.errors import InputError
from seedvideo.utils.ipc import error_to_dict
from seedvideo.validation import explain

if TYPE_CHECKING:
    from seedvideo.media.types import MediaInfo, MediaWarning
    from seedvideo.model.backends.base import TokenCosts, Usage
    from seedvideo.sampler.plan import Plan
    from seedvideo.sampler.quality import Quality

__all__ = [
    "SCHEMA_VERSION",
    "AnswerMethod",
    "AnswerRecord",
    "ErrorRecord",
    "Event",
    "GroundingRecord",
    "MediaRecord",
    "ModelRecord",
    "NoticeRecord",
    "Option",
    "PlanRecord",
    "QualityRecord",
    "Record",
    "RecordTask",
    "SpanRecord",
    "UsageRecord",
    "error_record",
]

RecordTask: TypeAlias = Literal["caption", "ask", "ground"]
"""Task of a record."""

AnswerMethod: TypeAlias = Literal["options", "words", "known_answers", "description"]
"""How an answer was found: by probabilities of the given options; by parsing the model's text; by
probabilities of the answers that the model knows for such a question; or by a description."""

SchemaVersion: TypeAlias = Literal[1, 2]

SCHEMA_VERSION: SchemaVersion = 2
"""Version of the schema: 2 added ``quality``, which is None in records of version 1. It rises if
readers of old records would misread or refuse a new one."""


class _Schema(BaseModel):
    # Configuration only: no behaviour is inherited. Frozen and closed, so a typo is an error.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Event(_Schema):
    """A caption and its half-open span ``[start_s, end_s)``."""

    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    text: str = Field(min_length=1)
    confident: bool = True
    """False if the frames of this span are unlike the training data of the model."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.end_s < self.start_s:
            raise ValueError(f"an event ends at {self.end_s} s, before its start {self.start_s} s")
        return self


class Option(_Schema):
    """One of the answers to choose from."""

    label: str
    """Letter of the option: A, B, ..."""
    text: str
    probability: float | None = Field(default=None, ge=0, le=1)
    """Probability among the options; None if the model gives none."""


class NoticeRecord(_Schema):
    """A warning about a file, or a note about an answer."""

    code: str
    """Code of the notice. In notes of an answer, ``answer.*`` is a reason for low confidence."""
    message: str


class AnswerRecord(_Schema):
    """A question and its answer."""

    question: str
    answer: str = Field(min_length=1)
    """Text of the chosen option, or the open answer."""
    options: tuple[Option, ...] = ()
    """Options in the given order; empty for an open question."""
    method: AnswerMethod = "words"
    """How the answer was found."""
    probability: float | None = Field(default=None, ge=0, le=1)
    """Probability of an open answer among its candidates; None if the model gives none."""
    confident: bool
    """False if the frames are unlike the training data of the model, or a note gives a reason."""
    thinking: str | None = None
    """Reasoning of the model before its answer, if requested."""
    raw: str
    """Unparsed answer of the model."""
    notes: tuple[NoticeRecord, ...] = ()


class SpanRecord(_Schema):
    """The half-open span ``[start_s, end_s)``; an instant if both are equal."""

    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    score: float | None = Field(default=None, ge=0, le=1)
    """Probability of the span among all answers; None if the model gives none."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.end_s < self.start_s:
            raise ValueError(f"a span ends at {self.end_s} s, before its start {self.start_s} s")
        return self


class GroundingRecord(_Schema):
    """A query and the spans in which it happens."""

    query: str
    found: bool
    not_found_probability: float | None = Field(default=None, ge=0, le=1)
    """Probability that the event does not happen; None if the model gives none."""
    spans: tuple[SpanRecord, ...] = ()
    """Spans, the best first; empty if not found."""
    confident: bool
    """False if the frames are unlike the training data of the model."""
    thinking: str | None = None
    """Reasoning of the model before its answer, if requested."""
    raw: str
    """Unparsed answer of the model."""
    notes: tuple[NoticeRecord, ...] = ()

    @model_validator(mode="after")
    def _check_found(self) -> Self:
        if self.found != bool(self.spans):
            raise ValueError(f"found is {self.found}, with {len(self.spans)} spans")
        return self


class MediaRecord(_Schema):
    """Facts of the file, from its header and its decoded packets."""

    duration_s: float
    start_s: float
    width_px: int
    height_px: int
    fps_avg: float | None
    is_vfr: bool
    rotation_deg: int
    codec: str
    pix_fmt: str
    warnings: tuple[NoticeRecord, ...] = ()

    @classmethod
    def of(cls, info: "MediaInfo", *, added: Sequence["MediaWarning"] = ()) -> Self:
        """Build the record of a file and its warnings; the last message of a code counts.

        Args:
            info: facts of the probed file.
            added: warnings of decoding.
        """
        last = {each.code: each.message for each in (*info.warnings, *added)}
        warnings = tuple(NoticeRecord(code=code, message=text) for code, text in last.items())
        return cls.model_validate({**info.to_json(), "warnings": warnings})


class PlanRecord(_Schema):
    """Totals of the plan of the clip caption, or of the answer."""

    policy: str
    geometry: str
    budget_tokens: int
    charged_tokens: int
    frames: int
    visual_tokens: int
    text_tokens: int
    tokens: int
    pairs_s: tuple[tuple[float, float], ...] = ()
    """Times of both frames of each pair, if the model was shown pairs."""

    @classmethod
    def of(cls, plan: "Plan", *, pairs_s: Sequence[tuple[float, float]] = ()) -> Self:
        """Build the record of a plan; its other frames are only in the JSON of the plan."""
        totals = plan.totals
        return cls(
            policy=plan.policy,
            geometry=plan.geometry.name,
            budget_tokens=plan.budget_tokens,
            charged_tokens=plan.charged_tokens,
            frames=totals.frames,
            visual_tokens=totals.visual_tokens,
            text_tokens=totals.text_tokens,
            tokens=totals.tokens,
            pairs_s=tuple(pairs_s),
        )


class QualityRecord(_Schema):
    """Signals of the clip; `seedvideo.sampler.quality.Quality` describes each with its unit.

    A value is None if it was not measured: without an analysis, as with ``uniform``, only those of
    the header and the packets are.
    """

    duration_s: float
    width_px: int
    height_px: int
    aspect: float
    fps: float | None
    bits_per_px: float | None
    motion_mean: float | None
    motion_max: float | None
    detail_mean: float | None
    novelty_max: float | None
    events: int | None
    shots: int | None
    black_share: float | None
    still_share: float | None
    letterbox_share: float | None
    flashes: int | None
    brightness: float | None
    colour: float | None

    @classmethod
    def of(cls, quality: "Quality") -> Self:
        """Build the record of measured signals."""
        return cls(**asdict(quality))


class ModelRecord(_Schema):
    """Name, weights and origin of the model."""

    name: str
    sha256: str
    """Hash of the weights; of a server, of its address and the name of its model."""
    source: Literal["shipped", "folder", "hub", "server"] | None = None
    """Where the model comes from; None in records of older versions."""
    family: str | None = None
    """Family of an open model, which decides sizes of frames and the text of their times."""
    time_format: str | None = None
    """How the time of a frame is written in the prompt, with 12.5 s as the example."""
    time_precision_s: float | None = None
    """Maximum difference between the time of a frame and its text; None if unknown."""
    revision: str | None = None
    """Commit of a model from a hub."""
    dtype: str | None = None
    quantize: str | None = None
    pairs: bool = False
    """Whether two near frames were shown for the price of one, with the mean of their times."""
    server: str | None = None
    """Base URL, without credentials."""
    server_version: str | None = None
    jpeg_quality: int | None = None
    """Quality of the JPEG pictures that a server was sent."""

    @classmethod
    def of(cls, model: "TokenCosts") -> Self:
        """Build the record of a model."""
        return cls(name=model.name, sha256=model.sha256, **model.details.to_record())


class UsageRecord(_Schema):
    """Tokens that the model read and wrote, over all answers for this video."""

    visual_tokens: int = Field(ge=0)
    prompt_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)

    @classmethod
    def total(cls, usages: Sequence["Usage"]) -> Self:
        """Sum the tokens of several answers."""
        return cls(
            visual_tokens=sum(usage.visual_tokens for usage in usages),
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
        )


class ErrorRecord(_Schema):
    """Error of a failed video. ``code`` is stable, ``message`` is for people."""

    code: str
    stage: str
    message: str
    retryable: bool


class Record(_Schema):
    """One finished video, done or failed.

    A done record has all fields except ``error``; a failed one has ``error`` and the fields known
    before the failure.
    """

    schema_version: SchemaVersion = SCHEMA_VERSION
    source: str
    """Path as it was given."""
    task: RecordTask = "caption"
    status: Literal["done", "failed"]
    text: str | None = None
    """Caption of the complete clip, the answer, or the first span."""
    confident: bool | None = None
    """False if the clip is unlike the training data of the model, or a note of the answer gives a
    reason."""
    notes: tuple[NoticeRecord, ...] = ()
    """Remarks about the caption of the complete clip; other tasks have them in their answer."""
    events: tuple[Event, ...] = ()
    """Captions with their spans, for the task ``caption`` only."""
    answer: AnswerRecord | None = None
    grounding: GroundingRecord | None = None
    media: MediaRecord | None = None
    quality: QualityRecord | None = None
    """Signals of the clip; None in records of version 1."""
    plan: PlanRecord | None = None
    model: ModelRecord | None = None
    usage: UsageRecord | None = None
    timing_s: dict[str, float] = Field(default_factory=dict)
    error: ErrorRecord | None = None

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        if self.status == "failed":
            if self.error is None:
                raise ValueError("error is missing, a failed record needs it")
            return self
        if self.error is not None:
            raise ValueError("error is set, a done record cannot have one")
        result = {"caption": "events", "ask": "answer", "ground": "grounding"}
        needed = ("text", "confident", result[self.task], "media", "plan", "model", "usage")
        missing = [name for name in needed if getattr(self, name) in (None, "", ())]
        if missing:
            raise ValueError(f"a done record needs {', '.join(missing)}")
        others = [
            name
            for task, name in result.items()
            if task != self.task and getattr(self, name) not in (None, ())
        ]
        if others:
            raise ValueError(f"a record of the task {self.task} cannot have {', '.join(others)}")
        return self

    @classmethod
    def failed(
        cls,
        source: str,
        error: Exception,
        *,
        timing_s: dict[str, float],
        task: RecordTask = "caption",
    ) -> Self:
        """Build the record of a failed video.

        Args:
            source: path as it was given.
            error: cause. Any exception but a `SeedVideoError` becomes ``internal.error``, a bug.
            timing_s: seconds spent, by stage.
            task: task that failed.
        """
        return cls(
            source=source,
            task=task,
            status="failed",
            error=error_record(error),
            timing_s=dict(timing_s),
        )

    def __repr__(self) -> str:
        result = self.text if self.error is None else self.error.code
        return f"Record({self.source!r}, {self.task}, {self.status}, {result!r})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Render text, times and token usage for a notebook."""
        facts: list[str] = [self.task, self.status]
        if self.confident is False:
            facts.append("not confident")
        if self.usage is not None:
            usage = self.usage
            facts.append(f"{usage.visual_tokens:,} visual tokens, {usage.output_tokens:,} written")
        parts = []
        if self.answer is not None:
            parts.append(f"<p>{notebook.text(self.answer.question)}</p>")
        if self.grounding is not None:
            parts.append(f"<p>{notebook.text(self.grounding.query)}</p>")
        result = self.text
        if self.error is not None:
            result = f"{self.error.code}: {self.error.message}"
        parts.append(f"<p><strong>{notebook.text(result)}</strong></p>")
        if self.events:
            rows = [(f"{e.start_s:.3f} s", f"{e.end_s:.3f} s", e.text) for e in self.events]
            parts.append(notebook.table(("from", "to", "caption"), rows))
        if self.grounding is not None:
            found = [
                (
                    f"{s.start_s:.3f} s",
                    f"{s.end_s:.3f} s",
                    "" if s.score is None else f"{s.score:.2f}",
                )
                for s in self.grounding.spans
            ]
            parts.append(notebook.table(("from", "to", "score"), found))
        return notebook.card(self.source, facts, *parts)

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON values with all keys present; `json_line` is the same as text."""
        return self.model_dump(mode="json")

    def json_line(self) -> str:
        """Convert to one line of ASCII JSON, without the line end.

        ASCII, because file names may contain undecodable bytes, and captions control characters of
        a terminal. Escaped, both are harmless and still round-trip.
        """
        return json.dumps(self.to_json(), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Validate the JSON values of `to_json`.

        Raises:
            InputError: ``input.results``, naming the key, if they are not a record of this version.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError(
                "input.results",
                f"not a record of version {SCHEMA_VERSION} or earlier: {explain(error)}",
                hint="docs/reference/formats.md lists the keys of a record",
            ) from error


def error_record(error: Exception) -> ErrorRecord:
    """Convert an exception; any other than a `SeedVideoError` becomes ``internal.error``."""
    values = error_to_dict(error)
    del values["hint"]
    return ErrorRecord(**values)
