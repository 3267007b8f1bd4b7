"""Rows that the answer branch learns from: frames of the bank, and questions about them.

    stories      events of one scene, told by the frames that a sampler might have chosen
    slideshows   photos one after the other, asked about by what people wrote of them

Times, spacing and number of frames vary as plans do: evenly spread or dense here and sparse there,
at one size or at several. What is asked has its answer in the frames that are shown: a moment is
named by the first and the last frame that show it. Knows nothing of tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from seedvideo.evaluate.synthetic.dataset import Question, generate_questions
from seedvideo.evaluate.synthetic.world import COUNT_WORDS, HELD_OUT, Event
from seedvideo.model.generation import STEP, THINK, THINK_END
from seedvideo.sampler.geometry import format_timestamp
from seedvideo.tasks import question_answering
from seedvideo.tasks.grounding import NOT_FOUND, ground_prompt
from seedvideo.training.answer_data import FrameId, Told, ask_photos
from seedvideo.training.auxiliary_tasks import NOTHING, Sight, sight_of
from seedvideo.training.feature_cache import Bank

MOST_PAIRS = 12
"""Questions of one row."""

FOUND = "found"
"""What is answered where a moment is there; the pointer tells which."""

_OPTIONS_SHARE = 0.4


@dataclass(frozen=True)
class QuizRow:
    """One sequence to learn.

    Args:
        frames: in time order.
        times: of the frames.
        pairs: prompts with their thoughts, mostly empty, and their answers.
        kinds: what each pair asks for, beside them.
        sights: what each frame shows, beside the frames.
        looks: for each pair, where one must look.
    """

    frames: tuple[FrameId, ...]
    times: tuple[Fraction, ...]
    pairs: tuple[tuple[str, str, str], ...]
    kinds: tuple[str, ...]
    sights: tuple[Sight, ...]
    looks: tuple["Look", ...]


@dataclass(frozen=True)
class Look:
    """Where the answer to a question is to be seen, as far as frames tell.

    Args:
        hops: stretches of frames, by their first and last, that are looked at one after the other;
            None where a look has no stretch of its own.
        points: frames that the question is about, maybe none; None where that has no meaning.
    """

    hops: tuple[tuple[int, int] | None, tuple[int, int] | None]
    points: frozenset[int] | None


@dataclass(frozen=True)
class Shown:
    """One thing that some frames in a row show.

    Args:
        first: place of the first of these frames.
        last: place of the last.
    """

    first: int
    last: int


class Quiz:
    """Draws rows at random.

    Args:
        bank: seen frames.
        told: what people wrote of the photos of the bank's slides.
        seed: start of all randomness; together with the number of a row it fixes it.
    """

    def __init__(self, bank: Bank, told: Sequence[Told], *, seed: int):
        self._bank, self._told, self._seed = bank, told, seed
        shown = {entry.event.thing for scene in bank.scenes for entry in scene.events}
        # What is never shown would be asked for in vain only, and be learned as what is not there.
        self._unshown = frozenset(thing.name for thing in HELD_OUT - shown)

    def draw(
        self, number: int, *, most_frames: int, stories: float = 0.62, thinking: float = 0.0
    ) -> QuizRow:
        """One row.

        Args:
            number: fixes it, together with the seed.
            most_frames: that it may have.
            stories: how likely it tells a story.
            thinking: share of a story's questions that are thought about first.
        """
        rng = np.random.default_rng([self._seed, number, 9])
        if rng.random() < stories:
            return self._story(rng, most_frames, thinking)
        return self._slideshow(rng, most_frames)

    def _story(self, rng: np.random.Generator, most_frames: int, thinking: float) -> QuizRow:
        scene = self._bank.scenes[int(rng.integers(len(self._bank.scenes)))]
        wanted = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.12, 0.22, 0.26, 0.2, 0.14, 0.06]))
        count = min(wanted, max(1, (most_frames - 1) // 2))
        chosen = rng.choice(len(scene.events), count, replace=False).tolist()
        longest = 1 if rng.random() < 0.15 else int(rng.integers(2, 8 if most_frames < 40 else 14))
        mixes_sizes = rng.random() < 0.5
        size = int(rng.integers(len(scene.quiet)))
        frames: list[FrameId] = []
        sights: list[Sight] = []
        shown: list[Shown] = []
        room = most_frames
        for place, index in enumerate(chosen):
            left = len(chosen) - place
            gap = _gap(rng, max(0, room // left - 1))
            frames += [scene.quiet[size]] * gap
            sights += [NOTHING.told_in(place, None)] * gap
            length = min(int(rng.integers(1, longest + 1)), max(1, room // left - gap))
            at = int(rng.integers(len(scene.quiet))) if mixes_sizes else size
            size = int(rng.integers(len(scene.quiet))) if mixes_sizes else size
            phases = scene.events[index].frames[at]
            first = len(frames)
            taken = [(2 * step + 1) * len(phases) // (2 * length) for step in range(length)]
            frames += [phases[phase] for phase in taken]
            event = scene.events[index].event
            sights += [
                sight_of(event, (phase + 0.5) / len(phases)).told_in(
                    place + 1, event.motion if step else None
                )
                for step, phase in enumerate(taken)
            ]
            shown.append(Shown(first, len(frames) - 1))
            room = most_frames - len(frames)
        frames += [scene.quiet[size]] * _gap(rng, room)
        sights += [NOTHING.told_in(len(chosen), None)] * (len(frames) - len(sights))
        times, duration = _times(rng, len(frames))
        events = [scene.events[index].event for index in chosen]
        pairs, kinds, looks = [], [], []
        questions = [
            q
            for q in generate_questions(events, rng)
            if not q.needs_motion or _seen_twice(q, shown)
        ]
        known = [_without(q, self._unshown) for q in questions if not _names(q, self._unshown)]
        for question in _chosen(known, rng):
            thought = _thought(events, shown, times) if rng.random() < thinking else None
            pairs.append(_pair(question, thought, shown, times, duration, rng))
            kinds.append(question.kind)
            looks.append(_look(question, shown))
        return QuizRow(
            tuple(frames), times, tuple(pairs), tuple(kinds), tuple(sights), tuple(looks)
        )

    def _slideshow(self, rng: np.random.Generator, most_frames: int) -> QuizRow:
        slides = self._bank.slides
        wanted = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.35, 0.15, 0.15, 0.15, 0.1, 0.1]))
        count = min(wanted, most_frames, len(slides))
        longest = max(1, min(int(rng.choice([1, 2, 4, 8])), most_frames // count))
        chosen = [slides[int(index)] for index in rng.choice(len(slides), count, replace=False)]
        frames: list[FrameId] = []
        sights: list[Sight] = []
        shown: list[Shown] = []
        mirrored = []
        for slide in chosen:
            first = len(frames)
            flags = []
            for _ in range(int(rng.integers(1, longest + 1))):
                frame, flag = slide.views[int(rng.integers(len(slide.views)))]
                frames.append(frame)
                flags.append(flag)
            mirrored.append(any(flags))
            seen = Sight(nouns=self._told[slide.photo].main).told_in(len(shown) + 1, None)
            sights += [seen] * len(flags)
            shown.append(Shown(first, len(frames) - 1))
        times, duration = _times(rng, len(frames))
        told = [self._told[slide.photo] for slide in chosen]
        elsewhere = [self._told[int(index)] for index in rng.integers(len(self._told), size=5)]
        questions = ask_photos(told, mirrored, elsewhere, rng)
        pairs, kinds, looks = [], [], []
        for question in _chosen(questions, rng):
            pairs.append(_pair(question, None, shown, times, duration, rng))
            kinds.append("photo-" + question.kind)
            looks.append(_look(question, shown))
        return QuizRow(
            tuple(frames), times, tuple(pairs), tuple(kinds), tuple(sights), tuple(looks)
        )


def _gap(rng: np.random.Generator, room: int) -> int:
    """Quiet frames in a row: mostly few, now and then as many as plans of long videos have."""
    if rng.random() < 0.75:
        return min(room, int(rng.integers(0, 5)))
    return int(rng.integers(0, room + 1))


def _chosen(questions: list[Question], rng: np.random.Generator) -> list[Question]:
    order = rng.permutation(len(questions))[:MOST_PAIRS]
    return [questions[int(index)] for index in order]


def _names(question: Question, things: frozenset[str]) -> bool:
    return any(name in question.text for name in things)


def _without(question: Question, things: frozenset[str]) -> Question:
    """The question without wrong options that are among some things, if two are left."""
    options = tuple(option for option in question.options if option not in things)
    return replace(question, options=options if len(options) > 1 else ())


def _look(question: Question, shown: Sequence[Shown]) -> Look:
    """Where one must look: for what comes after something, first at this something."""
    last = len(shown) - 1
    hops: tuple[int | None, int | None]
    match question.kind:
        case "first":
            hops = (0, 0)
        case "last" | "kinds":
            hops = (last, last)
        case "after" | "before":
            hops = (question.about[0], question.about[1])
        case _:
            places = question.spans or question.about
            only = places[0] if len(places) == 1 and question.answer != "no" else None
            hops = (only, only)
    is_absent = question.answer == "no" and question.kind == "happened"
    points: frozenset[int] | None = None
    if is_absent or question.kind == "when":
        points = frozenset(at for place in question.spans for at in _frames_of(shown[place]))
    elif question.kind == "happened":
        points = frozenset(at for place in question.about for at in _frames_of(shown[place]))
    elif hops[1] is not None and question.kind != "kinds":
        points = frozenset(_frames_of(shown[hops[1]]))
    stretches = [None if at is None else (shown[at].first, shown[at].last) for at in hops]
    if question.kind == "when" and not question.spans:
        stretches = [None, None]
    return Look((stretches[0], stretches[1]), points)


def _frames_of(span: Shown) -> range:
    return range(span.first, span.last + 1)


def _seen_twice(question: Question, shown: Sequence[Shown]) -> bool:
    return all(shown[place].last > shown[place].first for place in question.about)


def _pair(
    question: Question,
    thought: str | None,
    shown: Sequence[Shown],
    times: Sequence[Fraction],
    duration: Fraction,
    rng: np.random.Generator,
) -> tuple[str, str, str]:
    """What is asked, in the words of the tasks, what is thought, and what should be answered."""
    thinks = thought is not None
    if question.kind == "when":
        prompt = ground_prompt(question.text, duration=duration, thinking=thinks)
        # The pointer says when; words only whether.
        answer = FOUND if question.spans else NOT_FOUND
    else:
        has_options = bool(question.options) and rng.random() < _OPTIONS_SHARE
        options = question.options if has_options else ()
        prompt = question_answering.Question.of(question.text, options).prompt(thinking=thinks)
        answer = question.answer
    return prompt, f"{THINK}{thought}{THINK_END}" if thinks else "", answer


def _thought(events: Sequence[Event], shown: Sequence[Shown], times: Sequence[Fraction]) -> str:
    """All that happens, in order: what one would note down before answering."""
    return STEP.join(
        f"{_span_text(span, times)} {_noted(event, span)}"
        for event, span in zip(events, shown, strict=True)
    )


def _noted(event: Event, span: Shown) -> str:
    if event.count > 1:
        return f"{COUNT_WORDS[event.count]} {event.thing.plural}"
    if event.position is not None:
        return f"{event.thing.name} {event.position}"
    return (
        f"{event.thing.name} moves {event.motion}" if span.last > span.first else event.thing.name
    )


def _span_text(span: Shown, times: Sequence[Fraction]) -> str:
    return f"{format_timestamp(times[span.first])} - {format_timestamp(times[span.last])}"


def _times(rng: np.random.Generator, count: int) -> tuple[tuple[Fraction, ...], Fraction]:
    """Times that rise by a tenth at least, and the duration of the video."""
    spacing = 10 ** rng.uniform(-0.4, 0.8)
    steps = np.full(count, spacing)
    if rng.random() < 0.5:
        steps *= rng.choice([0.2, 0.4, 1.0, 2.0], count)
    tenths = np.maximum(1, np.rint(steps * 10).astype(int))
    start = 0 if rng.random() < 0.7 else int(rng.integers(0, 30))
    ends = start + np.cumsum(tenths)
    times = tuple(Fraction(int(end - step), 10) for end, step in zip(ends, tenths, strict=True))
    assert all(a < b for a, b in pairwise(times))
    return times, Fraction(int(ends[-1]), 10)
