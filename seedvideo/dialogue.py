"""One exchange with a model: frames and a question go in, a checked answer comes out.

A `Chooser` chooses among the options and says how probable each is, a `Pointer` says of each frame
how likely it is the one; what any other model writes is read by the task's parser. Knows no file
and no plan. Times are exact seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from seedvideo.errors import AskError, GroundError
from seedvideo.model.backends.base import (
    Backend,
    Chooser,
    Chosen,
    Note,
    OpenMethod,
    Pointer,
    Skill,
    Usage,
    pack,
)
from seedvideo.prepared import View
from seedvideo.records import (
    AnswerMethod,
    AnswerRecord,
    GroundingRecord,
    Option,
    SpanRecord,
    Warned,
)
from seedvideo.tasks.grounding import NOT_FOUND, Moment, ground_prompt, read_spans, weigh_spans
from seedvideo.tasks.option_labels import LETTERS
from seedvideo.tasks.prompts import parse_caption, split_thought
from seedvideo.tasks.question_answering import Question, read_open, read_option
from seedvideo.utils.timecode import seconds

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
class Sighting:
    """When a model says that something happens.

    Args:
        moments: the best first; none where it says that there are none.
        scores: how probable each is; none where the model does not tell.
        not_found_probability: None where the model does not tell.
        confident: as in `Generation`.
        thinking: what it thought.
        raw: the answer as the model gave it.
        usage: tokens spent.
        notes: as in `Generation`.
    """

    moments: tuple[Moment, ...]
    scores: tuple[float, ...]
    not_found_probability: float | None
    confident: bool
    thinking: str | None
    raw: str
    usage: Usage
    notes: tuple[Note, ...] = ()

    def record(self, query: str, *, thinking: bool) -> GroundingRecord:
        """The record of it, with the thought if it was asked for."""
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
            notes=_noted(self.notes),
        )


def answer(
    backend: Backend, view: View, question: Question, *, thinking: bool
) -> tuple[AnswerRecord, Usage]:
    """Ask a question about what is shown.

    Raises:
        AskError: ``ask.options_unfit`` if the model cannot tell two options apart;
            ``ask.question_invalid`` if the question takes too many of the model's tokens.
        ModelError: ``model.answer_unparsable`` if the answer means none of the options;
            ``model.empty_answer`` if an open one is empty; ``model.no_answer`` if the model has
            none to such a question.
    """
    prompt = question.prompt(thinking=thinking)
    options = question.options
    fault = _too_long(backend, prompt)
    if fault is not None:
        whole = "the question with its options" if options else "the question"
        raise AskError("ask.question_invalid", f"{whole} {fault}", hint=_SHORTER)
    probabilities: dict[int, float] = {}
    probability: float | None = None
    method: AnswerMethod = "words"
    if options and isinstance(backend, Chooser):
        chosen = _choose_option(backend, view, prompt, options, thinking=thinking)
        probabilities = {choice.index: _share(choice.probability) for choice in chosen.ranked}
        text = raw = options[chosen.ranked[0].index]
        thought, confident, usage = chosen.thinking, chosen.confident, chosen.usage
        notes, method = chosen.notes, "options"
    else:
        written = _write(backend, view, prompt, skill="ask", thinking=thinking)
        raw, thought = written.raw, written.thinking
        confident, usage, notes = written.confident, written.usage, written.notes
        probability = written.probability
        if options:
            text = options[read_option(raw, options)]
        else:
            method = written.method
            text = parse_caption(raw) if method == "description" else read_open(raw)
    record = AnswerRecord(
        question=question.text,
        answer=text,
        options=tuple(
            Option(label=LETTERS[place], text=option, probability=probabilities.get(place))
            for place, option in enumerate(options)
        ),
        confident=confident,
        method=method,
        probability=None if probability is None else _share(probability),
        thinking=thought if thinking else None,
        raw=raw,
        notes=_noted(notes),
    )
    return record, usage


def _choose_option(
    backend: Chooser, view: View, prompt: str, options: Sequence[str], *, thinking: bool
) -> Chosen:
    parts = pack(view.frames, prompt)
    try:
        return backend.choose(
            parts,
            options,
            skill="ask",
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


def sight(backend: Backend, view: View, query: str, *, top: int, thinking: bool) -> Sighting:
    """Ask when something happens in what is shown.

    Args:
        backend: the model.
        view: what is shown.
        query: what is looked for.
        top: most spans that are wanted.
        thinking: whether the model shall think first.

    Raises:
        GroundError: ``ground.query_invalid`` if the query takes too many of the model's tokens.
        ModelError: ``model.answer_unparsable`` if no span can be read from what it wrote.
    """
    prompt = ground_prompt(query, duration=view.duration, thinking=thinking)
    fault = _too_long(backend, prompt)
    if fault is not None:
        raise GroundError("ground.query_invalid", f"the query {fault}", hint=_SHORTER)
    if isinstance(backend, Pointer) and backend.points:
        return _point_at_spans(backend, view, prompt, top=top, thinking=thinking)
    written = _write(backend, view, prompt, skill="ground", thinking=thinking)
    return Sighting(
        moments=read_spans(written.raw, window=view.window)[:top],
        scores=(),
        not_found_probability=None,
        confident=written.confident,
        thinking=written.thinking,
        raw=written.raw,
        usage=written.usage,
        notes=written.notes,
    )


def _too_long(backend: Backend, prompt: str) -> str | None:
    """What is wrong with a prompt, as the end of a sentence; None where nothing is."""
    tokens = backend.count_text_tokens(prompt)
    if tokens <= PROMPT_TOKENS:
        return None
    return f"takes {tokens:,} tokens of {backend.name}, expected at most {PROMPT_TOKENS:,}"


def _point_at_spans(
    backend: Pointer, view: View, prompt: str, *, top: int, thinking: bool
) -> Sighting:
    """Spans by the probabilities of frames; "not found" where no frame is likelier than not."""
    pointed = backend.point(
        pack(view.frames, prompt),
        skill="ground",
        thinking=thinking,
        max_thinking_tokens=THINKING_TOKENS,
    )
    times = [time for time, _ in view.frames]
    weighed = weigh_spans(times, pointed.probabilities, bounds=view.bounds, top=top)
    is_found = weighed.not_found < 0.5
    return Sighting(
        moments=weighed.moments if is_found else (),
        scores=tuple(round(min(score, 1.0), 6) for score in weighed.scores) if is_found else (),
        not_found_probability=round(weighed.not_found, 6),
        confident=pointed.confident,
        thinking=pointed.thinking,
        raw=weighed.texts[0] if is_found else NOT_FOUND,
        usage=pointed.usage,
        notes=pointed.notes,
    )


def _share(probability: float) -> float:
    """A probability as a record keeps it: sums of floats may end a hair above 1."""
    return round(min(max(probability, 0.0), 1.0), 6)


def _noted(notes: Sequence[Note]) -> tuple[Warned, ...]:
    return tuple(Warned(code=note.code, message=note.message) for note in notes)


@dataclass(frozen=True)
class _Written:
    """What a model wrote freely, its thought apart."""

    raw: str
    thinking: str | None
    confident: bool
    usage: Usage
    probability: float | None
    method: OpenMethod
    notes: tuple[Note, ...]


def _write(backend: Backend, view: View, prompt: str, *, skill: Skill, thinking: bool) -> _Written:
    made = backend.generate(
        pack(view.frames, prompt),
        skill=skill,
        thinking=thinking,
        max_new_tokens=ANSWER_TOKENS,
    )
    # A model may think unasked, and a backend may leave the marks where they are.
    thought, text = split_thought(made.text)
    return _Written(
        raw=text,
        thinking=made.thinking if made.thinking is not None else thought,
        confident=made.confident,
        usage=made.usage,
        probability=made.probability,
        method=made.method,
        notes=made.notes,
    )
