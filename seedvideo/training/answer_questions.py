"""Training sequences of the answer branch: frames from the feature cache, and questions about them.

    stories      events of one scene, shown by frames that a sampler might have selected
    slideshows   photos one after the other, with questions from their captions

Times, spacing and number of frames vary as in plans: evenly spread or dense here and sparse there,
at one size or several. Every question can be answered from the frames in the sequence. A moment is
defined by the first and last frame that show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from seedvideo.evaluate.synthetic.dataset import Question, generate_questions
from seedvideo.evaluate.synthetic.world import COUNT_WORDS, HELD_OUT, Event
from seedvideo.model.generation import STEP_SEPARATOR, THINK, THINK_END
from seedvideo.tasks import question_answering
from seedvideo.tasks.grounding import NOT_FOUND, ground_prompt
from seedvideo.training.answer_data import FrameId, PhotoAnnotations, make_photo_questions
from seedvideo.training.auxiliary_tasks import EMPTY_LABELS, FrameLabels, label_frame
from seedvideo.training.feature_cache import FeatureCache
from seedvideo.utils.timecode import format_timestamp

MAX_PAIRS = 12
"""Maximum questions per sequence."""

FOUND_ANSWER = "found"
"""Answer text if a moment exists; the pointer says where."""

_OPTIONS_FRACTION = 0.4


@dataclass(frozen=True)
class TrainingSequence:
    """One training sequence.

    Args:
        frames: frames in time order.
        times: times of the frames in seconds.
        pairs: prompts with their reasoning (often empty) and answers.
        kinds: kind of each pair.
        frame_labels: labels of each frame.
        targets: attention target of each pair.
    """

    frames: tuple[FrameId, ...]
    times: tuple[Fraction, ...]
    pairs: tuple[tuple[str, str, str], ...]
    kinds: tuple[str, ...]
    frame_labels: tuple[FrameLabels, ...]
    targets: tuple["AttentionTarget", ...]


@dataclass(frozen=True)
class AttentionTarget:
    """The frames that answer a question.

    Args:
        hops: first and last frame to attend to in each of two hops; None if a hop has no target.
        pointed_frames: frames that the question is about, possibly none; None if undefined.
    """

    hops: tuple[tuple[int, int] | None, tuple[int, int] | None]
    pointed_frames: frozenset[int] | None


@dataclass(frozen=True)
class FrameRange:
    """Consecutive frames that show one thing.

    Args:
        first: index of the first frame.
        last: index of the last frame.
    """

    first: int
    last: int


class QuestionSampler:
    """Draws training sequences at random.

    Args:
        cache: encoded frames.
        annotations: annotations of the photos in the cache.
        seed: seed of all randomness; together with a sequence's index it determines the sequence.
    """

    def __init__(self, cache: FeatureCache, annotations: Sequence[PhotoAnnotations], *, seed: int):
        self._cache, self._annotations, self._seed = cache, annotations, seed
        shown_things = {entry.event.thing for scene in cache.scenes for entry in scene.events}
        # Things that are never shown would occur in "no" questions only, and be learned as absent.
        self._unshown = frozenset(thing.name for thing in HELD_OUT - shown_things)

    def draw(
        self, number: int, *, max_frames: int, stories: float = 0.62, thinking: float = 0.0
    ) -> TrainingSequence:
        """Draw one sequence.

        Args:
            number: index of the sequence.
            max_frames: maximum number of frames.
            stories: probability of a story.
            thinking: fraction of a story's questions that are answered after reasoning.
        """
        rng = np.random.default_rng([self._seed, number, 9])
        if rng.random() < stories:
            return self._story(rng, max_frames, thinking)
        return self._slideshow(rng, max_frames)

    def _story(
        self, rng: np.random.Generator, max_frames: int, thinking: float
    ) -> TrainingSequence:
        scene = self._cache.scenes[int(rng.integers(len(self._cache.scenes)))]
        wanted = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.12, 0.22, 0.26, 0.2, 0.14, 0.06]))
        count = min(wanted, max(1, (max_frames - 1) // 2))
        chosen = rng.choice(len(scene.events), count, replace=False).tolist()
        longest = 1 if rng.random() < 0.15 else int(rng.integers(2, 8 if max_frames < 40 else 14))
        mixes_sizes = rng.random() < 0.5
        size = int(rng.integers(len(scene.quiet)))
        frames: list[FrameId] = []
        frame_labels: list[FrameLabels] = []
        ranges: list[FrameRange] = []
        room = max_frames
        for i, index in enumerate(chosen):
            left = len(chosen) - i
            gap = _draw_gap(rng, max(0, room // left - 1))
            frames += [scene.quiet[size]] * gap
            frame_labels += [EMPTY_LABELS.in_sequence(i, None)] * gap
            length = min(int(rng.integers(1, longest + 1)), max(1, room // left - gap))
            at = int(rng.integers(len(scene.quiet))) if mixes_sizes else size
            size = int(rng.integers(len(scene.quiet))) if mixes_sizes else size
            phases = scene.events[index].frames[at]
            first = len(frames)
            phase_indices = [(2 * step + 1) * len(phases) // (2 * length) for step in range(length)]
            frames += [phases[phase] for phase in phase_indices]
            event = scene.events[index].event
            frame_labels += [
                label_frame(event, (phase + 0.5) / len(phases)).in_sequence(
                    i + 1, event.motion if step else None
                )
                for step, phase in enumerate(phase_indices)
            ]
            ranges.append(FrameRange(first, len(frames) - 1))
            room = max_frames - len(frames)
        frames += [scene.quiet[size]] * _draw_gap(rng, room)
        frame_labels += [EMPTY_LABELS.in_sequence(len(chosen), None)] * (
            len(frames) - len(frame_labels)
        )
        times, duration = _draw_times(rng, len(frames))
        events = [scene.events[index].event for index in chosen]
        pairs, kinds, targets = [], [], []
        questions = [
            q
            for q in generate_questions(events, rng)
            if not q.needs_motion or _is_shown_twice(q, ranges)
        ]
        known = [
            _drop_options(q, self._unshown)
            for q in questions
            if not _mentions_any(q, self._unshown)
        ]
        for question in _draw_questions(known, rng):
            reasoning = _make_reasoning(events, ranges, times) if rng.random() < thinking else None
            pairs.append(_make_pair(question, reasoning, ranges, times, duration, rng))
            kinds.append(question.kind)
            targets.append(_attention_target(question, ranges))
        return TrainingSequence(
            tuple(frames), times, tuple(pairs), tuple(kinds), tuple(frame_labels), tuple(targets)
        )

    def _slideshow(self, rng: np.random.Generator, max_frames: int) -> TrainingSequence:
        slides = self._cache.slides
        wanted = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.35, 0.15, 0.15, 0.15, 0.1, 0.1]))
        count = min(wanted, max_frames, len(slides))
        longest = max(1, min(int(rng.choice([1, 2, 4, 8])), max_frames // count))
        chosen = [slides[int(index)] for index in rng.choice(len(slides), count, replace=False)]
        frames: list[FrameId] = []
        frame_labels: list[FrameLabels] = []
        ranges: list[FrameRange] = []
        mirrored = []
        for slide in chosen:
            first = len(frames)
            flags = []
            for _ in range(int(rng.integers(1, longest + 1))):
                frame, flag = slide.views[int(rng.integers(len(slide.views)))]
                frames.append(frame)
                flags.append(flag)
            mirrored.append(any(flags))
            labels = FrameLabels(nouns=self._annotations[slide.photo].main_nouns).in_sequence(
                len(ranges) + 1, None
            )
            frame_labels += [labels] * len(flags)
            ranges.append(FrameRange(first, len(frames) - 1))
        times, duration = _draw_times(rng, len(frames))
        annotations = [self._annotations[slide.photo] for slide in chosen]
        distractors = [
            self._annotations[int(index)] for index in rng.integers(len(self._annotations), size=5)
        ]
        questions = make_photo_questions(annotations, mirrored, distractors, rng)
        pairs, kinds, targets = [], [], []
        for question in _draw_questions(questions, rng):
            pairs.append(_make_pair(question, None, ranges, times, duration, rng))
            kinds.append("photo-" + question.kind)
            targets.append(_attention_target(question, ranges))
        return TrainingSequence(
            tuple(frames), times, tuple(pairs), tuple(kinds), tuple(frame_labels), tuple(targets)
        )


def _draw_gap(rng: np.random.Generator, room: int) -> int:
    """Draw the number of quiet frames: mostly few, sometimes as many as in plans of long videos."""
    if rng.random() < 0.75:
        return min(room, int(rng.integers(0, 5)))
    return int(rng.integers(0, room + 1))


def _draw_questions(questions: list[Question], rng: np.random.Generator) -> list[Question]:
    order = rng.permutation(len(questions))[:MAX_PAIRS]
    return [questions[int(index)] for index in order]


def _mentions_any(question: Question, things: frozenset[str]) -> bool:
    return any(name in question.text for name in things)


def _drop_options(question: Question, things: frozenset[str]) -> Question:
    """Remove wrong options in ``things``; remove all if fewer than two remain."""
    options = tuple(option for option in question.options if option not in things)
    return replace(question, options=options if len(options) > 1 else ())


def _attention_target(question: Question, ranges: Sequence[FrameRange]) -> AttentionTarget:
    """Return the target frames: for "what comes after X", first those of X."""
    last = len(ranges) - 1
    hops: tuple[int | None, int | None]
    match question.kind:
        case "first":
            hops = (0, 0)
        case "last" | "kinds":
            hops = (last, last)
        case "after" | "before":
            hops = (question.about[0], question.about[1])
        case _:
            thing_indices = question.spans or question.about
            only = thing_indices[0] if len(thing_indices) == 1 and question.answer != "no" else None
            hops = (only, only)
    is_absent = question.answer == "no" and question.kind == "happened"
    pointed_frames: frozenset[int] | None = None
    if is_absent or question.kind == "when":
        pointed_frames = frozenset(at for i in question.spans for at in _frame_indices(ranges[i]))
    elif question.kind == "happened":
        pointed_frames = frozenset(at for i in question.about for at in _frame_indices(ranges[i]))
    elif hops[1] is not None and question.kind != "kinds":
        pointed_frames = frozenset(_frame_indices(ranges[hops[1]]))
    stretches = [None if at is None else (ranges[at].first, ranges[at].last) for at in hops]
    if question.kind == "when" and not question.spans:
        stretches = [None, None]
    return AttentionTarget((stretches[0], stretches[1]), pointed_frames)


def _frame_indices(span: FrameRange) -> range:
    return range(span.first, span.last + 1)


def _is_shown_twice(question: Question, ranges: Sequence[FrameRange]) -> bool:
    return all(ranges[i].last > ranges[i].first for i in question.about)


def _make_pair(
    question: Question,
    reasoning: str | None,
    ranges: Sequence[FrameRange],
    times: Sequence[Fraction],
    duration: Fraction,
    rng: np.random.Generator,
) -> tuple[str, str, str]:
    """Return the prompt in the wording of the tasks, the reasoning, and the answer."""
    thinks = reasoning is not None
    if question.kind == "when":
        prompt = ground_prompt(question.text, duration=duration, thinking=thinks)
        # The pointer answers when, the text only whether.
        answer = FOUND_ANSWER if question.spans else NOT_FOUND
    else:
        has_options = bool(question.options) and rng.random() < _OPTIONS_FRACTION
        options = question.options if has_options else ()
        prompt = question_answering.Question.of(question.text, options).prompt(thinking=thinks)
        answer = question.answer
    return prompt, f"{THINK}{reasoning}{THINK_END}" if thinks else "", answer


def _make_reasoning(
    events: Sequence[Event], ranges: Sequence[FrameRange], times: Sequence[Fraction]
) -> str:
    """Return all events in order, as notes to take before answering."""
    return STEP_SEPARATOR.join(
        f"{_format_range(span, times)} {_describe_event(event, span)}"
        for event, span in zip(events, ranges, strict=True)
    )


def _describe_event(event: Event, span: FrameRange) -> str:
    if event.count > 1:
        return f"{COUNT_WORDS[event.count]} {event.thing.plural}"
    if event.position is not None:
        return f"{event.thing.name} {event.position}"
    return (
        f"{event.thing.name} moves {event.motion}" if span.last > span.first else event.thing.name
    )


def _format_range(span: FrameRange, times: Sequence[Fraction]) -> str:
    return f"{format_timestamp(times[span.first])} - {format_timestamp(times[span.last])}"


def _draw_times(rng: np.random.Generator, count: int) -> tuple[tuple[Fraction, ...], Fraction]:
    """Draw times that increase by at least 0.1 s, and the duration of the video."""
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
