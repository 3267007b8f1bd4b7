"""Model input (`ModelInput`), and single queries of a model: `answer` and `locate`.

`ModelInput` separates the two halves of every task. The first half opens, plans and decodes a video
and needs only the token costs of a model; the second needs a model and no file. They may run in two
processes, as a `ModelInput` has no open resources.

A `SupportsChoice` gives each option a probability, a `SupportsPointing` gives each frame one; a
`SupportsLimitedAnswers` writes one of the options. The text of any other model is parsed. Times are
exact seconds, ``_s`` float seconds.
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
    OnText,
    OpenMethod,
    Part,
    SupportsChoice,
    SupportsLimitedAnswers,
    SupportsPointing,
    TaskName,
    Usage,
    interleave,
)
from seedvideo.model_options import DEFAULT_GENERATION, GenerationOptions
from seedvideo.records import (
    AnswerMethod,
    AnswerRecord,
    GroundingRecord,
    MediaRecord,
    NoticeRecord,
    Option,
    PlanRecord,
    QualityRecord,
    SpanRecord,
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

MAX_PROMPT_TOKENS: Final = 4_096
"""Maximum tokens of a prompt. `seedvideo.tasks.prompts` limits its characters before a model is
loaded, but a character of a script that the vocabulary lacks can take four tokens, and attention
time grows with their square.
"""

_SHORTEN_HINT: Final = "shorten the text"


@dataclass(frozen=True)
class FrameSet:
    """Frames of a window, with the time span that each represents.

    Args:
        frames: decoded frames, in order of time.
        window: time span that the frames represent.
        duration: duration of the complete video, in seconds.
        bounds: times that split the window among the frames, one more than frames: frame ``i``
            represents ``[bounds[i], bounds[i + 1])`` (`seedvideo.sampler.boundaries`).
        partners: the second frame of each pair, None for a single frame; empty without pairs.
    """

    frames: Sequence[Frame]
    window: Span
    duration: Fraction
    bounds: tuple[Fraction, ...]
    partners: tuple[Frame | None, ...] = ()

    def with_prompt(self, prompt: str) -> list[Part]:
        """Interleave the frames with their times and append the prompt."""
        return interleave(
            [(frame.pts, frame.pixels) for frame in self.frames],
            prompt,
            partners=[None if each is None else (each.pts, each.pixels) for each in self.partners],
        )

    @property
    def pairs_s(self) -> tuple[tuple[float, float], ...]:
        """Times of both frames of each pair."""
        return tuple(
            (seconds(frame.pts), seconds(partner.pts))
            for frame, partner in zip(self.frames, self.partners, strict=bool(self.partners))
            if partner is not None
        )


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """Decoded frames of one video, ready for a model.

    Args:
        source: path as it was given.
        media: facts of the file and the warnings of decoding.
        quality: signals of the clip.
        plan: totals of the plan of the first frame set.
        frame_sets: the frame set of the window, then one per shot for a dense caption.
        spent_s: wall-clock seconds by stage; ``total`` is their sum.
    """

    source: str
    media: MediaRecord
    quality: QualityRecord
    plan: PlanRecord
    frame_sets: tuple[FrameSet, ...]
    spent_s: Mapping[str, float]

    def timing_s(self, *, model_s: float) -> dict[str, float]:
        """Return wall-clock seconds by stage, including the model."""
        stages = dict(self.spent_s)
        total_s = stages.pop("total")
        stages["model"] = round(stages.get("model", 0.0) + model_s, 4)
        return {**stages, "total": round(total_s + model_s, 4)}


@dataclass(frozen=True)
class GroundingResult:
    """Spans found by a model.

    Args:
        moments: spans, the best first; empty if the event was not found.
        scores: probability of each span; empty if the model gives none.
        not_found_probability: probability that the event does not happen; None if the model gives
            none.
        confident: see `Generation`.
        thinking: reasoning before the answer.
        raw: unparsed answer of the model.
        usage: tokens read and written.
        notes: see `Generation`.
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
        """Build the record, with the reasoning if ``thinking`` is set."""
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
            notes=note_records(self.notes),
        )


def answer(
    backend: Backend,
    frame_set: FrameSet,
    question: Question,
    *,
    thinking: bool,
    options: GenerationOptions = DEFAULT_GENERATION,
    on_text: OnText | None = None,
) -> tuple[AnswerRecord, Usage]:
    """Query a model for the answer to a question about frames.

    Args:
        backend: model to query.
        frame_set: frames of the window.
        question: the question, with its options.
        thinking: let the model reason first.
        options: how the model writes.
        on_text: receives an open answer as it is generated.

    Raises:
        AskError: ``ask.options_unfit`` if the model cannot distinguish two options;
            ``ask.question_invalid`` if the question has too many tokens.
        ModelError: ``model.answer_unparsable`` if the answer matches no option;
            ``model.empty_answer`` if an open answer is empty; ``model.no_answer`` if the model does
            not support such a question.
    """
    prompt = question.prompt(thinking=thinking)
    choices = question.options
    excess = _find_excess(backend, prompt)
    if excess is not None:
        subject = "the question with its options" if choices else "the question"
        raise AskError("ask.question_invalid", f"{subject} {excess}", hint=_SHORTEN_HINT)
    probabilities: dict[int, float] = {}
    probability: float | None = None
    method: AnswerMethod = "words"
    if choices and isinstance(backend, SupportsChoice):
        chosen = _choose_option(
            backend, frame_set, prompt, choices, thinking=thinking, options=options
        )
        probabilities = {
            choice.index: _clamp_probability(choice.probability) for choice in chosen.ranked
        }
        text = raw = choices[chosen.ranked[0].index]
        thought, confident, usage = chosen.thinking, chosen.confident, chosen.usage
        notes, method = chosen.notes, "options"
    else:
        written = _generate(
            backend,
            frame_set,
            prompt,
            task="ask",
            thinking=thinking,
            options=options,
            on_text=on_text,
            answers=[f"{OPTION_LABELS[index]}. {text}" for index, text in enumerate(choices)],
        )
        raw, thought = written.raw, written.thinking
        confident, usage, notes = written.confident, written.usage, written.notes
        probability = written.probability
        if choices:
            text = choices[require_choice(raw, choices)]
        else:
            method = written.method
            text = parse_caption(raw) if method == "description" else parse_open_answer(raw)
    record = AnswerRecord(
        question=question.text,
        answer=text,
        options=tuple(
            Option(label=OPTION_LABELS[index], text=option, probability=probabilities.get(index))
            for index, option in enumerate(choices)
        ),
        confident=confident,
        method=method,
        probability=None if probability is None else _clamp_probability(probability),
        thinking=thought if thinking else None,
        raw=raw,
        notes=note_records(notes),
    )
    return record, usage


def _choose_option(
    backend: SupportsChoice,
    frame_set: FrameSet,
    prompt: str,
    choices: Sequence[str],
    *,
    thinking: bool,
    options: GenerationOptions,
) -> ChoiceResult:
    parts = frame_set.with_prompt(prompt)
    try:
        return backend.choose(
            parts,
            choices,
            task="ask",
            thinking=thinking,
            top=len(choices),
            options=options,
        )
    except ValueError as error:
        # The frames were planned for the model and fit it, so the options are the cause: a small
        # vocabulary may encode two of them identically.
        raise AskError(
            "ask.options_unfit",
            f"the model cannot choose among these options: {error}",
            hint="rephrase the options",
        ) from error


def locate(
    backend: Backend,
    frame_set: FrameSet,
    query: str,
    *,
    top: int,
    thinking: bool,
    options: GenerationOptions = DEFAULT_GENERATION,
    on_text: OnText | None = None,
) -> GroundingResult:
    """Query a model for the times of an event in frames.

    Args:
        backend: model to query.
        frame_set: frames of the window.
        query: text that describes the event.
        top: maximum number of spans.
        thinking: let the model reason first.
        options: how the model writes.
        on_text: receives the answer as it is generated.

    Raises:
        GroundError: ``ground.query_invalid`` if the query has too many tokens.
        ModelError: ``model.answer_unparsable`` if the text of the model contains no span.
    """
    prompt = ground_prompt(query, duration=frame_set.duration, thinking=thinking)
    excess = _find_excess(backend, prompt)
    if excess is not None:
        raise GroundError("ground.query_invalid", f"the query {excess}", hint=_SHORTEN_HINT)
    if isinstance(backend, SupportsPointing) and backend.can_point:
        return _point_at_spans(backend, frame_set, prompt, top=top, thinking=thinking)
    written = _generate(
        backend,
        frame_set,
        prompt,
        task="ground",
        thinking=thinking,
        options=options,
        on_text=on_text,
    )
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
    """Return how a prompt is too long, as the end of a sentence; None if it is not."""
    tokens = backend.count_text_tokens(prompt)
    if tokens <= MAX_PROMPT_TOKENS:
        return None
    return f"takes {tokens:,} tokens of {backend.name}, expected at most {MAX_PROMPT_TOKENS:,}"


def _point_at_spans(
    backend: SupportsPointing, frame_set: FrameSet, prompt: str, *, top: int, thinking: bool
) -> GroundingResult:
    """Find spans by frame probabilities; none if "not found" has a probability of 0.5 or more."""
    pointed = backend.point(
        frame_set.with_prompt(prompt),
        task="ground",
        thinking=thinking,
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
    """Round and clamp a probability, as sums of floats can exceed 1 slightly."""
    return round(min(max(probability, 0.0), 1.0), 6)


def note_records(notes: Sequence[Note]) -> tuple[NoticeRecord, ...]:
    """Convert the notes of a model."""
    return tuple(NoticeRecord(code=note.code, message=note.message) for note in notes)


@dataclass(frozen=True)
class _FreeText:
    """An open answer, separated from its reasoning."""

    raw: str
    thinking: str | None
    confident: bool
    usage: Usage
    probability: float | None
    method: OpenMethod
    notes: tuple[Note, ...]


def _generate(
    backend: Backend,
    frame_set: FrameSet,
    prompt: str,
    *,
    task: TaskName,
    thinking: bool,
    options: GenerationOptions,
    on_text: OnText | None,
    answers: Sequence[str] = (),
) -> _FreeText:
    parts = frame_set.with_prompt(prompt)
    # A limit would apply to the reasoning too.
    is_limited = answers and not thinking
    if is_limited and isinstance(backend, SupportsLimitedAnswers) and backend.can_limit_answers:
        made = backend.generate_one_of(parts, answers, task=task, options=options, on_text=on_text)
    else:
        made = backend.generate(
            parts, task=task, thinking=thinking, options=options, on_text=on_text
        )
    # A model may reason unrequested, and a backend may leave the reasoning tags in the text.
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
