"""What a model is given of a video (`ModelInput`), and one exchange with it.

`ModelInput` is the seam between the two halves of every task. The first half opens, plans and
decodes, and needs of a model only its token costs; the second needs a model, and no file. They may
run in two processes: a `ModelInput` holds nothing that is open.

A `SupportsChoice` gives each option a probability, a `SupportsPointing` gives each frame one; what
any other model writes is parsed. Times are exact seconds, ``_s`` float seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from seedvideo.errors import AskError, GroundError
from seedvideo.media.types import Frame
from seedvideo.model.backends.base import (
    Backend,
    ChoiceResult,
    Note,
    OpenMethod,
    Part,
    SupportsChoice,
    SupportsPointing,
    TaskName,
    Usage,
    interleave,
)
from seedvideo.records import (
    AnswerMethod,
    AnswerRecord,
    GroundingRecord,
    MediaRecord,
    Option,
    PlanRecord,
    SpanRecord,
    Warned,
)
from seedvideo.tasks.grounding import (
    NOT_FOUND,
    TimeSpan,
    ground_prompt,
    parse_spans,
    spans_from_probabilities,
)
from seedvideo.tasks.option_labels import OPTION_LABELS
from seedvideo.tasks.prompts import parse_caption, split_reasoning
from seedvideo.tasks.question_answering import Question, parse_open_answer, require_choice
from seedvideo.utils.timecode import Span, seconds

ANSWER_TOKENS: Final = 96
"""Most tokens of an answer that is written freely."""

THINKING_TOKENS: Final = 256
"""Most tokens of the thought before an answer."""

PROMPT_TOKENS: Final = 4_096
"""Most tokens of a question. Characters are counted before there is a model (`tasks.words`), but
where a vocabulary lacks a script, one of them may be four tokens, and time grows with their square.
"""

_SHORTER: Final = "ask in fewer words"


@dataclass(frozen=True)
class FrameSet:
    """The frames of a window, as a model is given them.

    Args:
        frames: decoded, in order of time.
        window: the part of the video that they stand for.
        duration: of the whole video.
        bounds: times that split the window among the frames, one more than there are frames: frame
            ``i`` stands for ``[bounds[i], bounds[i + 1])`` (`seedvideo.sampler.boundaries`).
    """

    frames: Sequence[Frame]
    window: Span
    duration: Fraction
    bounds: tuple[Fraction, ...]

    def with_prompt(self, prompt: str) -> list[Part]:
        """Interleave the frames with their times, then the prompt."""
        return interleave([(frame.pts, frame.pixels) for frame in self.frames], prompt)


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """One video, decoded and ready for a model.

    Args:
        source: the path as it was given.
        media: the facts of the file, with what decoding met.
        plan: totals of the plan of the first frame set.
        frame_sets: that of the window first, then one per shot where shots are captioned too.
        spent_s: wall seconds by stage; ``total`` is of them all.
    """

    source: str
    media: MediaRecord
    plan: PlanRecord
    frame_sets: tuple[FrameSet, ...]
    spent_s: Mapping[str, float]

    def timing_s(self, *, model_s: float) -> dict[str, float]:
        """Return wall seconds by stage, those of the model included."""
        stages = dict(self.spent_s)
        total_s = stages.pop("total")
        stages["model"] = round(stages.get("model", 0.0) + model_s, 4)
        return {**stages, "total": round(total_s + model_s, 4)}


@dataclass(frozen=True)
class GroundingResult:
    """The spans that a model found.

    Args:
        moments: the best first; empty if it found none.
        scores: probability of each; empty if the model gives none.
        not_found_probability: None if the model gives none.
        confident: as in `Generation`.
        thinking: the reasoning before the answer.
        raw: the answer as the model gave it.
        usage: tokens spent.
        notes: as in `Generation`.
    """

    moments: tuple[TimeSpan, ...]
    scores: tuple[float, ...]
    not_found_probability: float | None
    confident: bool
    thinking: str | None
    raw: str
    usage: Usage
    notes: tuple[Note, ...] = ()

    def record(self, query: str, *, thinking: bool) -> GroundingRecord:
        """Make the record, with the reasoning if it was asked for."""
        scores = self.scores or (None,) * len(self.moments)
        return GroundingRecord(
            query=query,
            found=bool(self.moments),
            not_found_probability=self.not_found_probability,
            spans=tuple(
                SpanRecord(start_s=seconds(each.start), end_s=seconds(each.end), score=score)
                for each, score in zip(self.moments, scores, strict=True)
            ),
            confident=self.confident,
            thinking=self.thinking if thinking else None,
            raw=self.raw,
            notes=_note_records(self.notes),
        )


def answer(
    backend: Backend, frame_set: FrameSet, question: Question, *, thinking: bool
) -> tuple[AnswerRecord, Usage]:
    """Ask a model a question about frames.

    Raises:
        AskError: ``ask.options_unfit`` if the model cannot tell two options apart;
            ``ask.question_invalid`` if the question takes too many of the model's tokens.
        ModelError: ``model.answer_unparsable`` if the answer means none of the options;
            ``model.empty_answer`` if an open one is empty; ``model.no_answer`` if the model has
            none to such a question.
    """
    prompt = question.prompt(thinking=thinking)
    options = question.options
    fault = _find_excess(backend, prompt)
    if fault is not None:
        whole = "the question with its options" if options else "the question"
        raise AskError("ask.question_invalid", f"{whole} {fault}", hint=_SHORTER)
    probabilities: dict[int, float] = {}
    probability: float | None = None
    method: AnswerMethod = "words"
    if options and isinstance(backend, SupportsChoice):
        chosen = _choose_option(backend, frame_set, prompt, options, thinking=thinking)
        probabilities = {
            choice.index: _clamp_probability(choice.probability) for choice in chosen.ranked
        }
        text = raw = options[chosen.ranked[0].index]
        thought, confident, usage = chosen.thinking, chosen.confident, chosen.usage
        notes, method = chosen.notes, "options"
    else:
        written = _generate(backend, frame_set, prompt, task="ask", thinking=thinking)
        raw, thought = written.raw, written.thinking
        confident, usage, notes = written.confident, written.usage, written.notes
        probability = written.probability
        if options:
            text = options[require_choice(raw, options)]
        else:
            method = written.method
            text = parse_caption(raw) if method == "description" else parse_open_answer(raw)
    record = AnswerRecord(
        question=question.text,
        answer=text,
        options=tuple(
            Option(label=OPTION_LABELS[place], text=option, probability=probabilities.get(place))
            for place, option in enumerate(options)
        ),
        confident=confident,
        method=method,
        probability=None if probability is None else _clamp_probability(probability),
        thinking=thought if thinking else None,
        raw=raw,
        notes=_note_records(notes),
    )
    return record, usage


def _choose_option(
    backend: SupportsChoice,
    frame_set: FrameSet,
    prompt: str,
    options: Sequence[str],
    *,
    thinking: bool,
) -> ChoiceResult:
    parts = frame_set.with_prompt(prompt)
    try:
        return backend.choose(
            parts,
            options,
            task="ask",
            thinking=thinking,
            top=len(options),
            max_thinking_tokens=THINKING_TOKENS,
        )
    except ValueError as error:
        # Frames that were planned for the model fit it, so it is the options that do not: a small
        # vocabulary may write two of them alike.
        raise AskError(
            "ask.options_unfit",
            f"the model cannot choose among these options: {error}",
            hint="put them in other words",
        ) from error


def locate(
    backend: Backend, frame_set: FrameSet, query: str, *, top: int, thinking: bool
) -> GroundingResult:
    """Ask a model when something happens in frames.

    Args:
        backend: the model.
        frame_set: the frames.
        query: text that describes the event.
        top: maximum number of spans.
        thinking: whether the model reasons first.

    Raises:
        GroundError: ``ground.query_invalid`` if the query takes too many of the model's tokens.
        ModelError: ``model.answer_unparsable`` if no span can be read from what it wrote.
    """
    prompt = ground_prompt(query, duration=frame_set.duration, thinking=thinking)
    fault = _find_excess(backend, prompt)
    if fault is not None:
        raise GroundError("ground.query_invalid", f"the query {fault}", hint=_SHORTER)
    if isinstance(backend, SupportsPointing) and backend.can_point:
        return _point_at_spans(backend, frame_set, prompt, top=top, thinking=thinking)
    written = _generate(backend, frame_set, prompt, task="ground", thinking=thinking)
    return GroundingResult(
        moments=parse_spans(written.raw, window=frame_set.window)[:top],
        scores=(),
        not_found_probability=None,
        confident=written.confident,
        thinking=written.thinking,
        raw=written.raw,
        usage=written.usage,
        notes=written.notes,
    )


def _find_excess(backend: Backend, prompt: str) -> str | None:
    """Return why a prompt is too long, as the end of a sentence; None if it is not."""
    tokens = backend.count_text_tokens(prompt)
    if tokens <= PROMPT_TOKENS:
        return None
    return f"takes {tokens:,} tokens of {backend.name}, expected at most {PROMPT_TOKENS:,}"


def _point_at_spans(
    backend: SupportsPointing, frame_set: FrameSet, prompt: str, *, top: int, thinking: bool
) -> GroundingResult:
    """Find spans by the probabilities of frames; none where no frame is likelier than not."""
    pointed = backend.point(
        frame_set.with_prompt(prompt),
        task="ground",
        thinking=thinking,
        max_thinking_tokens=THINKING_TOKENS,
    )
    times = [frame.pts for frame in frame_set.frames]
    scored = spans_from_probabilities(
        times, pointed.probabilities, bounds=frame_set.bounds, top=top
    )
    is_found = scored.not_found_probability < 0.5
    return GroundingResult(
        moments=scored.spans if is_found else (),
        scores=tuple(round(min(score, 1.0), 6) for score in scored.scores) if is_found else (),
        not_found_probability=round(scored.not_found_probability, 6),
        confident=pointed.confident,
        thinking=pointed.thinking,
        raw=scored.texts[0] if is_found else NOT_FOUND,
        usage=pointed.usage,
        notes=pointed.notes,
    )


def _clamp_probability(probability: float) -> float:
    """Round a probability for a record: sums of floats may end a hair above 1."""
    return round(min(max(probability, 0.0), 1.0), 6)


def _note_records(notes: Sequence[Note]) -> tuple[Warned, ...]:
    return tuple(Warned(code=note.code, message=note.message) for note in notes)


@dataclass(frozen=True)
class _FreeText:
    """A freely written answer, its reasoning apart."""

    raw: str
    thinking: str | None
    confident: bool
    usage: Usage
    probability: float | None
    method: OpenMethod
    notes: tuple[Note, ...]


def _generate(
    backend: Backend, frame_set: FrameSet, prompt: str, *, task: TaskName, thinking: bool
) -> _FreeText:
    made = backend.generate(
        frame_set.with_prompt(prompt),
        task=task,
        thinking=thinking,
        max_new_tokens=ANSWER_TOKENS,
    )
    # A model may think unasked, and a backend may leave the marks where they are.
    thought, text = split_reasoning(made.text)
    return _FreeText(
        raw=text,
        thinking=made.thinking if made.thinking is not None else thought,
        confident=made.confident,
        usage=made.usage,
        probability=made.probability,
        method=made.method,
        notes=made.notes,
    )
