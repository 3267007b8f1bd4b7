"""Tasks (captioning, question answering, grounding) that run a model on a prepared video.

Each task has the text of its prompt, runs on a `ModelInput` and returns a `Record`. The public
functions, the command line, batch jobs and the evaluation share them. Times are float seconds in
records.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from time import perf_counter
from typing import ClassVar, Final, Literal, Protocol, Self, TypeAlias

from seedvideo import inference
from seedvideo.inference import FrameSet, ModelInput
from seedvideo.model.backends.base import Backend, Generation, Usage
from seedvideo.records import AnswerRecord, Event, GroundingRecord, ModelRecord, Record, UsageRecord
from seedvideo.tasks.grounding import NOT_FOUND, clean_query, ground_prompt
from seedvideo.tasks.prompts import CAPTION_PROMPT, parse_caption
from seedvideo.tasks.question_answering import Question
from seedvideo.utils.timecode import seconds

DEFAULT_TOP: Final = 3
"""Default maximum number of spans of a grounding."""

TaskKind: TypeAlias = Literal["caption", "dense", "ask", "ground"]


class Task(Protocol):
    """A task of a model on a video."""

    @property
    def dense(self) -> bool:
        """Whether each shot gets its own frames too."""
        ...

    def prompt(self, *, duration: Fraction = Fraction(0)) -> str:
        """Return the prompt text.

        Args:
            duration: duration of the video, in seconds. Without it the text still contains the
                complete request, which the fingerprint of a result needs.
        """
        ...

    def run(self, prepared: ModelInput, model: Backend) -> Record:
        """Run a model on a prepared video.

        Args:
            prepared: result of `prepare`.
            model: loaded model, with the token costs that the video was prepared for.

        Raises:
            SeedVideoError: if the model gives no usable answer.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Captioning:
    """Caption the video, and with ``dense`` each shot too."""

    dense: bool = False

    def prompt(self, *, duration: Fraction = Fraction(0)) -> str:
        """See `Task`."""
        return CAPTION_PROMPT

    def run(self, prepared: ModelInput, model: Backend) -> Record:
        """See `Task`; a `ModelError` if an answer is empty."""
        started = perf_counter()
        first, *rest = prepared.frame_sets
        answer = self._generate(first, model)
        text = parse_caption(answer.text)
        shots = [(shot, self._generate(shot, model)) for shot in rest]
        return _build_record(
            prepared,
            model,
            started,
            text=text,
            confident=answer.confident,
            events=tuple(_event(*each) for each in shots or [(first, answer)]),
            usages=[answer.usage, *(shot_answer.usage for _, shot_answer in shots)],
        )

    def _generate(self, frame_set: FrameSet, model: Backend) -> Generation:
        return model.generate(frame_set.with_prompt(self.prompt()))


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering:
    """Answer a question about the video; `QuestionAnswering.of` checks user text."""

    question: Question
    thinking: bool = False
    dense: ClassVar[bool] = False

    @classmethod
    def of(cls, question: str, options: Sequence[str] = (), *, thinking: bool = False) -> Self:
        """Build the task from user text.

        Raises:
            AskError: if the question is empty, or the options are invalid.
        """
        return cls(question=Question.of(question, options), thinking=thinking)

    def prompt(self, *, duration: Fraction = Fraction(0)) -> str:
        """See `Task`."""
        return self.question.prompt(thinking=self.thinking)

    def run(self, prepared: ModelInput, model: Backend) -> Record:
        """See `Task`; an `AskError` if the model cannot distinguish two options."""
        started = perf_counter()
        answer, usage = inference.answer(
            model, prepared.frame_sets[0], self.question, thinking=self.thinking
        )
        return _build_record(
            prepared,
            model,
            started,
            text=answer.answer,
            confident=answer.confident,
            answer=answer,
            usages=[usage],
        )


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """Find when something happens in the video; `Grounding.of` checks user text."""

    query: str
    top: int = DEFAULT_TOP
    thinking: bool = False
    dense: ClassVar[bool] = False

    @classmethod
    def of(cls, query: str, *, top: int = DEFAULT_TOP, thinking: bool = False) -> Self:
        """Build the task from user text.

        Raises:
            GroundError: if the query is empty or invalid.
        """
        return cls(query=clean_query(query), top=top, thinking=thinking)

    def prompt(self, *, duration: Fraction = Fraction(0)) -> str:
        """See `Task`."""
        return ground_prompt(self.query, duration=duration, thinking=self.thinking)

    def run(self, prepared: ModelInput, model: Backend) -> Record:
        """See `Task`; a `ModelError` if the answer contains no time."""
        started = perf_counter()
        found = inference.locate(
            model,
            prepared.frame_sets[0],
            self.query,
            top=self.top,
            thinking=self.thinking,
        )
        grounding = found.record(self.query, thinking=self.thinking)
        return _build_record(
            prepared,
            model,
            started,
            text=_span_text(grounding),
            confident=grounding.confident,
            grounding=grounding,
            usages=[found.usage],
        )


def make_task(
    kind: TaskKind,
    *,
    question: str = "",
    options: Sequence[str] = (),
    query: str = "",
    top: int = DEFAULT_TOP,
    thinking: bool = False,
) -> Task:
    """Build a task by name; arguments that it does not need are ignored.

    Raises:
        AskError: if the question is empty, or its options are invalid.
        GroundError: if the query is empty.
    """
    if kind == "ask":
        return QuestionAnswering.of(question, options, thinking=thinking)
    if kind == "ground":
        return Grounding.of(query, top=top, thinking=thinking)
    return Captioning(dense=kind == "dense")


def _build_record(
    prepared: ModelInput,
    model: Backend,
    started: float,
    *,
    text: str,
    confident: bool | None,
    usages: Sequence[Usage],
    events: tuple[Event, ...] = (),
    answer: AnswerRecord | None = None,
    grounding: GroundingRecord | None = None,
) -> Record:
    return Record(
        source=prepared.source,
        task="ask" if answer is not None else "caption" if grounding is None else "ground",
        status="done",
        text=text,
        confident=confident,
        events=events,
        answer=answer,
        grounding=grounding,
        media=prepared.media,
        plan=prepared.plan,
        model=ModelRecord(name=model.name, sha256=model.sha256),
        usage=UsageRecord.total(usages),
        timing_s=prepared.timing_s(model_s=perf_counter() - started),
    )


def _event(frame_set: FrameSet, answer: Generation) -> Event:
    return Event(
        start_s=seconds(frame_set.window.start),
        end_s=seconds(frame_set.window.end),
        text=parse_caption(answer.text),
        confident=answer.confident,
    )


def _span_text(record: GroundingRecord) -> str:
    """Format the first span to 0.01 s, as frames may be a few hundredths apart."""
    if not record.spans:
        return NOT_FOUND
    return f"{record.spans[0].start_s:.2f} - {record.spans[0].end_s:.2f} s"
