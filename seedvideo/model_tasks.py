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
from seedvideo.errors import ConfigError
from seedvideo.inference import FrameSet, ModelInput, note_records
from seedvideo.model.backends.base import Backend, Generation, OnText, TokenCosts, Usage
from seedvideo.model_options import DEFAULT_GENERATION, GenerationOptions, refuse_unsupported
from seedvideo.records import (
    AnswerRecord,
    Event,
    GroundingRecord,
    ModelRecord,
    NoticeRecord,
    Record,
    UsageRecord,
)
from seedvideo.tasks.grounding import NOT_FOUND, clean_query, ground_prompt
from seedvideo.tasks.prompts import CAPTION_PROMPT, parse_caption
from seedvideo.tasks.question_answering import Question
from seedvideo.utils.text import find_problem
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

    def run(self, prepared: ModelInput, model: Backend, *, on_text: OnText | None = None) -> Record:
        """Run a model on a prepared video.

        Args:
            prepared: result of `prepare`.
            model: loaded model, with the token costs that the video was prepared for.
            on_text: receives the answer as it is generated.

        Raises:
            SeedVideoError: if the model gives no usable answer.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Captioning:
    """Caption the video, and with ``dense`` each shot too; `Captioning.of` checks user text.

    Args:
        dense: also caption each shot.
        wording: text of the prompt.
        options: how the model writes.
    """

    dense: bool = False
    wording: str = CAPTION_PROMPT
    options: GenerationOptions = DEFAULT_GENERATION

    @classmethod
    def of(
        cls,
        *,
        dense: bool = False,
        prompt: str | None = None,
        options: GenerationOptions = DEFAULT_GENERATION,
    ) -> Self:
        """Build the task from user text.

        Raises:
            ConfigError: ``config.invalid`` if the prompt is empty, too long or not text.
        """
        wording = CAPTION_PROMPT if prompt is None else prompt.strip()
        problem = find_problem([wording]) if wording else "is empty, expected a text"
        if problem is not None:
            raise ConfigError("config.invalid", f"the prompt {problem}")
        return cls(dense=dense, wording=wording, options=options)

    def prompt(self, *, duration: Fraction = Fraction(0)) -> str:
        """See `Task`."""
        return self.wording

    def run(self, prepared: ModelInput, model: Backend, *, on_text: OnText | None = None) -> Record:
        """See `Task`; a `ModelError` if an answer is empty."""
        own_prompt = self.wording if self.wording != CAPTION_PROMPT else ""
        check_supported(model, self.options, prompt=own_prompt, streams=on_text is not None)
        started = perf_counter()
        first, *rest = prepared.frame_sets
        answer = self._generate(first, model, on_text)
        text = parse_caption(answer.text)
        shots = [(shot, self._generate(shot, model)) for shot in rest]
        return _build_record(
            prepared,
            model,
            started,
            text=text,
            confident=answer.confident,
            notes=note_records(answer.notes),
            events=tuple(_event(*each) for each in shots or [(first, answer)]),
            usages=[answer.usage, *(shot_answer.usage for _, shot_answer in shots)],
        )

    def _generate(
        self, frame_set: FrameSet, model: Backend, on_text: OnText | None = None
    ) -> Generation:
        return model.generate(
            frame_set.with_prompt(self.prompt()), options=self.options, on_text=on_text
        )


def check_supported(
    model: TokenCosts, options: GenerationOptions, *, prompt: str = "", streams: bool = False
) -> None:
    """Refuse what a model does not support of how an answer is written.

    Args:
        model: the model, or its token costs.
        options: how the model writes.
        prompt: another caption prompt than the usual one; empty for none.
        streams: whether the text is wanted as it is generated.

    Raises:
        ConfigError: ``config.invalid``, naming the option.
    """
    supports = model.details.supports
    refuse_unsupported(options, supported=supports, model=model.name)
    for name, is_given, why in (
        ("prompt", bool(prompt), "it was trained with one prompt only"),
        ("stream", streams, "it writes several answers and takes the best"),
    ):
        if is_given and name not in supports:
            raise ConfigError(
                "config.invalid",
                f"{model.name} does not support --{name}: {why}",
                hint="leave the option out, or use another --model",
            )


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering:
    """Answer a question about the video; `QuestionAnswering.of` checks user text."""

    question: Question
    thinking: bool = False
    options: GenerationOptions = DEFAULT_GENERATION
    dense: ClassVar[bool] = False

    @classmethod
    def of(
        cls,
        question: str,
        options: Sequence[str] = (),
        *,
        thinking: bool = False,
        generation: GenerationOptions = DEFAULT_GENERATION,
    ) -> Self:
        """Build the task from user text.

        Raises:
            AskError: if the question is empty, or the options are invalid.
        """
        return cls(question=Question.of(question, options), thinking=thinking, options=generation)

    def prompt(self, *, duration: Fraction = Fraction(0)) -> str:
        """See `Task`."""
        return self.question.prompt(thinking=self.thinking)

    def run(self, prepared: ModelInput, model: Backend, *, on_text: OnText | None = None) -> Record:
        """See `Task`; an `AskError` if the model cannot distinguish two options."""
        started = perf_counter()
        answer, usage = inference.answer(
            model,
            prepared.frame_sets[0],
            self.question,
            thinking=self.thinking,
            options=self.options,
            on_text=on_text,
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
    options: GenerationOptions = DEFAULT_GENERATION
    dense: ClassVar[bool] = False

    @classmethod
    def of(
        cls,
        query: str,
        *,
        top: int = DEFAULT_TOP,
        thinking: bool = False,
        generation: GenerationOptions = DEFAULT_GENERATION,
    ) -> Self:
        """Build the task from user text.

        Raises:
            GroundError: if the query is empty or invalid.
        """
        return cls(query=clean_query(query), top=top, thinking=thinking, options=generation)

    def prompt(self, *, duration: Fraction = Fraction(0)) -> str:
        """See `Task`."""
        return ground_prompt(self.query, duration=duration, thinking=self.thinking)

    def run(self, prepared: ModelInput, model: Backend, *, on_text: OnText | None = None) -> Record:
        """See `Task`; a `ModelError` if the answer contains no time."""
        started = perf_counter()
        found = inference.locate(
            model,
            prepared.frame_sets[0],
            self.query,
            top=self.top,
            thinking=self.thinking,
            options=self.options,
            on_text=on_text,
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
    prompt: str | None = None,
    generation: GenerationOptions = DEFAULT_GENERATION,
) -> Task:
    """Build a task by name; arguments that it does not need are ignored.

    Raises:
        AskError: if the question is empty, or its options are invalid.
        ConfigError: if the prompt is empty.
        GroundError: if the query is empty.
    """
    if kind == "ask":
        return QuestionAnswering.of(question, options, thinking=thinking, generation=generation)
    if kind == "ground":
        return Grounding.of(query, top=top, thinking=thinking, generation=generation)
    return Captioning.of(dense=kind == "dense", prompt=prompt, options=generation)


def _build_record(
    prepared: ModelInput,
    model: Backend,
    started: float,
    *,
    text: str,
    confident: bool | None,
    usages: Sequence[Usage],
    notes: tuple[NoticeRecord, ...] = (),
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
        notes=notes,
        events=events,
        answer=answer,
        grounding=grounding,
        media=prepared.media,
        quality=prepared.quality,
        plan=prepared.plan,
        model=ModelRecord.of(model),
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
