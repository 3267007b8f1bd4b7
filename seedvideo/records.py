"""The versioned record of one finished video: what every writer, script and log reads.

A record says either what was seen (``status: done``) or why nothing was (``status: failed``); there
is no third state and no half record, and an empty caption is never a success. Built at the edge, so
pydantic checks every field. Knows nothing of files, tensors or formats other than JSON.

Units: seconds in names that end in ``_s`` (float, the edge of the house), tokens, pixels.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from seedvideo import notebook
from seedvideo.errors import InputError
from seedvideo.utils.ipc import error_to_dict
from seedvideo.validation import explain

if TYPE_CHECKING:
    from seedvideo.media.types import MediaInfo, MediaWarning
    from seedvideo.model.backends.base import Usage
    from seedvideo.sampler.plan import Plan

Task: TypeAlias = Literal["caption", "ask", "ground"]
"""What was done with a video."""

AnswerMethod: TypeAlias = Literal["options", "words", "known_answers", "description"]
"""How a question was answered: the given options were weighed; the model's words were read; the
answers that the model knows to such a question were weighed; or what is shown was described."""

SCHEMA_VERSION: Literal[1] = 1
"""Rises when a reader of old records would misread a new one; added keys do not raise it."""


class _Part(BaseModel):
    # Configuration only: no behaviour is inherited. Frozen and closed, so a typo is an error.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Event(_Part):
    """One caption and the half-open span ``[start_s, end_s)`` that it is about."""

    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    text: str = Field(min_length=1)
    confident: bool = True
    """False where the frames of this span look unlike anything the model was trained on."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.end_s < self.start_s:
            raise ValueError(f"an event ends at {self.end_s} s, before its start {self.start_s} s")
        return self


class Option(_Part):
    """One of the answers that could be chosen."""

    label: str
    """The letter that it had: A, B, ..."""
    text: str
    probability: float | None = Field(default=None, ge=0, le=1)
    """Among the options; None where the model does not tell."""


class Warned(_Part):
    """Something odd that did not stop the work, or that a reader of an answer should know."""

    code: str
    """Of an answer's note: where it begins with ``answer.``, the note says why it is unsure."""
    message: str


class AnswerRecord(_Part):
    """A question and its answer."""

    question: str
    answer: str = Field(min_length=1)
    """The text of the option that was chosen, or the open answer."""
    options: tuple[Option, ...] = ()
    """In the order in which they were given; none where the question was open."""
    method: AnswerMethod = "words"
    """How the model answered."""
    probability: float | None = Field(default=None, ge=0, le=1)
    """Of an open answer among those that it could have been; None where the model does not tell."""
    confident: bool
    """False where the frames look unlike anything the model was trained on, or a note says why."""
    thinking: str | None = None
    """What the model thought before it answered, if it was asked to."""
    raw: str
    """The answer as the model gave it."""
    notes: tuple[Warned, ...] = ()


class SpanRecord(_Part):
    """The half-open span ``[start_s, end_s)``; one instant where both are the same."""

    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    score: float | None = Field(default=None, ge=0, le=1)
    """How probable it is among all answers; None where the model does not tell."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.end_s < self.start_s:
            raise ValueError(f"a span ends at {self.end_s} s, before its start {self.start_s} s")
        return self


class GroundingRecord(_Part):
    """What was looked for, and when it happens."""

    query: str
    found: bool
    not_found_probability: float | None = Field(default=None, ge=0, le=1)
    """How probable it is that there is nothing; None where the model does not tell."""
    spans: tuple[SpanRecord, ...] = ()
    """The best first; none where nothing was found."""
    confident: bool
    """False where the frames look unlike anything the model was trained on."""
    thinking: str | None = None
    """What the model thought before it answered, if it was asked to."""
    raw: str
    """The answer as the model gave it."""
    notes: tuple[Warned, ...] = ()

    @model_validator(mode="after")
    def _found_is_there(self) -> Self:
        if self.found != bool(self.spans):
            raise ValueError(f"found is {self.found}, with {len(self.spans)} spans")
        return self


class MediaRecord(_Part):
    """The facts of the file, as the header and the decoded packets told them."""

    duration_s: float
    start_s: float
    width_px: int
    height_px: int
    fps_avg: float | None
    is_vfr: bool
    rotation_deg: int
    codec: str
    pix_fmt: str
    warnings: tuple[Warned, ...] = ()

    @classmethod
    def of(cls, info: "MediaInfo", *, added: Sequence["MediaWarning"] = ()) -> Self:
        """The facts of a probed file, with what decoding met; the last word on a code counts."""
        last = {each.code: each.message for each in (*info.warnings, *added)}
        warnings = tuple(Warned(code=code, message=text) for code, text in last.items())
        return cls.model_validate({**info.to_json(), "warnings": warnings})


class PlanRecord(_Part):
    """Totals of the plan that the clip's own caption, or the answer, was made from."""

    policy: str
    geometry: str
    budget_tokens: int
    charged_tokens: int
    frames: int
    visual_tokens: int
    text_tokens: int
    tokens: int

    @classmethod
    def of(cls, plan: "Plan") -> Self:
        """The totals of a plan; its frames stay in the plan's own JSON."""
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
        )


class ModelRecord(_Part):
    """Which weights answered."""

    name: str
    sha256: str


class UsageRecord(_Part):
    """Tokens that the model really read and wrote, over all its answers for this video."""

    visual_tokens: int = Field(ge=0)
    prompt_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)

    @classmethod
    def total(cls, usages: Sequence["Usage"]) -> Self:
        """The sums over several answers."""
        return cls(
            visual_tokens=sum(usage.visual_tokens for usage in usages),
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
        )


class ErrorRecord(_Part):
    """Why a video has no result. ``code`` is stable, ``message`` is for people."""

    code: str
    stage: str
    message: str
    retryable: bool


class Record(_Part):
    """One finished video, done or failed.

    A done record has everything but ``error``; a failed one has ``error`` and whatever was already
    known when it failed.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    source: str
    """The path as it was given."""
    task: Task = "caption"
    status: Literal["done", "failed"]
    text: str | None = None
    """One caption of the whole clip, the answer, or the first span that was found."""
    confident: bool | None = None
    """False where the clip looks unlike anything the model was trained on, or a note of the answer
    says why it is unsure."""
    events: tuple[Event, ...] = ()
    """Captions with their spans; only of the task ``caption``."""
    answer: AnswerRecord | None = None
    grounding: GroundingRecord | None = None
    media: MediaRecord | None = None
    plan: PlanRecord | None = None
    model: ModelRecord | None = None
    usage: UsageRecord | None = None
    timing_s: dict[str, float] = Field(default_factory=dict)
    error: ErrorRecord | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.status == "failed":
            if self.error is None:
                raise ValueError("a failed record must say why (error)")
            return self
        if self.error is not None:
            raise ValueError("a done record cannot carry an error")
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
        task: Task = "caption",
    ) -> Self:
        """The record of a video that gave no result.

        Args:
            source: the path as it was given.
            error: why. An error that is not ours becomes ``internal.error``: a bug to report.
            timing_s: seconds spent, by stage.
            task: what was to be done.
        """
        return cls(
            source=source,
            task=task,
            status="failed",
            error=error_record(error),
            timing_s=dict(timing_s),
        )

    def __repr__(self) -> str:
        said = self.text if self.error is None else self.error.code
        return f"Record({self.source!r}, {self.task}, {self.status}, {said!r})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Show the record in a notebook: what was said, when, and what it cost."""
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
        said = self.text
        if self.error is not None:
            said = f"{self.error.code}: {self.error.message}"
        parts.append(f"<p><strong>{notebook.text(said)}</strong></p>")
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
        """Plain JSON values, every key present. `json_line` makes the text of it."""
        return self.model_dump(mode="json")

    def json_line(self) -> str:
        """One line of ASCII JSON without the line end.

        ASCII because a file name may hold bytes that are no text, and a caption could hold
        characters that drive a terminal: escaped, both are inert and still round-trip.
        """
        return json.dumps(self.to_json(), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` made.

        Raises:
            InputError: ``input.results`` naming the key, if it is not a record of this version.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError(
                "input.results",
                f"not a record of version {SCHEMA_VERSION}: {explain(error)}",
                hint="docs/reference/formats.md lists the keys of a record",
            ) from error


def error_record(error: Exception) -> ErrorRecord:
    """The JSON face of an error; one that was not raised on purpose becomes ``internal.error``."""
    values = error_to_dict(error)
    del values["hint"]
    return ErrorRecord(**values)
