"""The tasks: what a model is asked about a prepared video, and the record of its answer.

Each has the text of its prompt and runs on a `ModelInput`. The public functions, the command line,
batch jobs and the evaluation share them. Opens no video. Times are float seconds in records.
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
"""Maximum number of spans of a grounding, unless another is asked for."""

TaskKind: TypeAlias = Literal["caption", "dense", "ask", "ground"]


class Task(Protocol):
    """What a model is asked about a video."""

    @property
    def dense(self) -> bool:
        """Whether each shot gets frames of its own too."""
        ...

    def prompt(self, *, duration: Fraction = Fraction(0)) -> str:
        """Return the text that goes with the frames.

        Args:
            duration: of the video. Without it the text still names everything that was asked, as
                the fingerprint of a result needs it.
        """
        ...

    def run(self, prepared: ModelInput, model: Backend) -> Record:
        """Ask a model.

        Args:
            prepared: by `prepare`.
            model: a loaded model, of the token costs that the video was prepared for.

        Raises:
            SeedVideoError: if the model gives no usable answer.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Captioning:
    """A caption of the video, and with ``dense`` one of each shot."""

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
    """An answer to a question about the video; `QuestionAnswering.of` checks the words."""

    question: Question
    thinking: bool = False
    dense: ClassVar[bool] = False

    @classmethod
    def of(cls, question: str, options: Sequence[str] = (), *, thinking: bool = False) -> Self:
        """Make one from a user's words.

        Raises:
            AskError: if there is no question, or the options cannot be chosen from.
        """
        return cls(question=Question.of(question, options), thinking=thinking)

    def prompt(self, *, duration: Fraction = Fraction(0)) -> str:
        """See `Task`."""
        return self.question.prompt(thinking=self.thinking)

    def run(self, prepared: ModelInput, model: Backend) -> Record:
        """See `Task`; an `AskError` if the model cannot tell two options apart."""
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
    """The times at which something happens; `Grounding.of` checks the words."""

    query: str
    top: int = DEFAULT_TOP
    thinking: bool = False
    dense: ClassVar[bool] = False

    @classmethod
    def of(cls, query: str, *, top: int = DEFAULT_TOP, thinking: bool = False) -> Self:
        """Make one from a user's words.

        Raises:
            GroundError: if the query is empty or invalid.
        """
        return cls(query=clean_query(query), top=top, thinking=thinking)

    def prompt(self, *, duration: Fraction = Fraction(0)) -> str:
        """See `Task`."""
        return ground_prompt(self.query, duration=duration, thinking=self.thinking)

    def run(self, prepared: ModelInput, model: Backend) -> Record:
        """See `Task`; a `ModelError` if the answer holds no time."""
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
    """Make a task by name, from the words that it needs; other words are ignored.

    Raises:
        AskError: if there is no question, or its options cannot be chosen from.
        GroundError: if there is no query.
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
    """Return the first span to the hundredth, as frames may be a few of them apart."""
    if not record.spans:
        return NOT_FOUND
    return f"{record.spans[0].start_s:.2f} - {record.spans[0].end_s:.2f} s"
