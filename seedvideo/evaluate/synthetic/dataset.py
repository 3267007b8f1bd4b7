"""Cases of the synthetic benchmark: a story from a seed, its questions, and its video file.

Two families of stories:

    plain   a few events of 2 to 5 s in 6 to 49 s, on the test seeds 10 to 38 s
    brief   events of 0.3 to 1.0 s in one to two minutes; most of the time nothing happens

Questions are made by rules, each with its exact answer:

    colour, what, where, direction, count     about one event
    first, last, after, kinds                 about several events
    before, happened                          yes or no, equally often
    when                                      a moment to find, or one that never happens

Wrong options and absent events are near misses: right in colour or shape, and from the same video
if it has enough of them. Test seeds start at `TEST_SEEDS` and are never trained or tuned on.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

import av
import numpy as np

from seedvideo.evaluate.synthetic.world import (
    COLOURS,
    COUNT_WORDS,
    HELD_OUT,
    MOTION_WORDS,
    SHAPES,
    ColouredShape,
    Event,
    Story,
    article,
    background,
    draw_coloured_shapes,
    draw_event,
    plural,
    render_event,
)
from seedvideo.evaluate.types import Item
from seedvideo.utils.timecode import Span

QuestionKind: TypeAlias = Literal[
    "colour",
    "what",
    "where",
    "direction",
    "count",
    "first",
    "last",
    "after",
    "kinds",
    "before",
    "happened",
    "when",
]

POSITIONS: Final = ("left", "right", "top", "bottom", "middle")
DIRECTIONS: Final = ("left", "right", "up", "down")
_OPTIONS: Final = 4

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about a story.

    Args:
        kind: type of the question.
        text: the question; for ``when`` the description of the moment.
        answer: exact answer: ``yes``, ``no``, a word or a shape's name; empty for ``when``.
        options: the answer among wrong ones, in random order; empty for ``when``.
        about: indices in the story of the events that the answer depends on; those named in the
            text come in its order.
        spans: for ``when``, indices in the story of the events to find; empty if it never happens.
        needs_motion: whether the answer needs two frames of the event at different times.
    """

    kind: QuestionKind
    text: str
    answer: str
    options: tuple[str, ...] = ()
    about: tuple[int, ...] = ()
    spans: tuple[int, ...] = ()
    needs_motion: bool = False


def generate_questions(events: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    """Generate a few questions of every kind that these events, in their order, can answer."""
    asked: list[Question] = []
    for i, event in enumerate(events):
        asked += _ask_about_one(events, i, event, rng)
    asked += _ask_about_order(events, rng)
    asked += _ask_yes_or_no(events, rng)
    asked += _ask_moments(events, rng)
    return asked


def _ask_about_one(
    events: Sequence[Event], i: int, event: Event, rng: np.random.Generator
) -> list[Question]:
    asked: list[Question] = []
    thing = event.thing
    is_several = event.count > 1

    def add(
        kind: QuestionKind,
        text: str,
        answer: str,
        wrong: Sequence[str],
        *,
        needs_motion: bool = False,
    ) -> None:
        options = _shuffled([answer, *_trim_options(wrong, _OPTIONS - 1, rng)], rng)
        asked.append(
            Question(
                kind=kind,
                text=text,
                answer=answer,
                options=options,
                about=(i,),
                needs_motion=needs_motion,
            )
        )

    if sum(other.thing.shape == thing.shape for other in events) == 1:
        text = (
            f"What colour are the {plural(thing.shape)}?"
            if is_several
            else f"What colour is the {thing.shape}?"
        )
        add(
            "colour",
            text,
            thing.colour,
            _near_words([e.thing.colour for e in events], COLOURS, thing.colour, rng),
        )
    if event.motion != "still":
        words = MOTION_WORDS[event.motion]
        text = f"Which way does the {thing.name} move?"
        others = [d for d in DIRECTIONS if d != event.motion]
        add("direction", text, event.motion, others, needs_motion=True)
        if sum(other.motion == event.motion for other in events) == 1:
            names = _near_names(events, thing, rng)
            add("what", f"What moves {words}?", thing.name, names, needs_motion=True)
    if event.position is not None:
        others = [p for p in POSITIONS if p != event.position]
        add("where", f"Where is the {thing.name}?", event.position, others)
    if event.motion == "still":
        others = [COUNT_WORDS[n] for n in range(1, 5) if n != event.count]
        add(
            "count", f"How many {thing.plural} are there at once?", COUNT_WORDS[event.count], others
        )
    return asked


def _ask_about_order(events: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    everything = tuple(range(len(events)))
    if len(events) < 2:
        return []
    asked = []
    for kind, i in (("first", 0), ("last", -1)):
        name = events[i].thing.name
        options = _shuffled([name, *_near_names(events, events[i].thing, rng)[:3]], rng)
        asked.append(
            Question(
                kind="first" if kind == "first" else "last",
                text=f"What appears {kind}?",
                answer=name,
                options=options,
                about=everything,
            )
        )
    i = int(rng.integers(len(events) - 1))
    name = events[i + 1].thing.name
    options = _shuffled([name, *_near_names(events, events[i + 1].thing, rng)[:3]], rng)
    asked.append(
        Question(
            kind="after",
            text=f"What appears right after the {events[i].thing.name}?",
            answer=name,
            options=options,
            about=(i, i + 1),
        )
    )
    answer = COUNT_WORDS[len(events)]
    wrong = [COUNT_WORDS[n] for n in range(1, 7) if n != len(events)]
    asked.append(
        Question(
            kind="kinds",
            text="How many different things appear?",
            answer=answer,
            options=_shuffled([answer, *_trim_options(wrong, _OPTIONS - 1, rng)], rng),
            about=everything,
        )
    )
    return asked


def _ask_yes_or_no(events: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    asked = []
    i = int(rng.integers(len(events)))
    absent = draw_absent_shape([event.thing for event in events], rng)
    for name, answer, about in (
        (events[i].thing.name, "yes", (i,)),
        (absent.name, "no", tuple(range(len(events)))),
    ):
        asked.append(
            Question(
                kind="happened",
                text=f"Does {article(name)} {name} appear?",
                answer=answer,
                options=("yes", "no"),
                about=about,
            )
        )
    if len(events) > 1:
        one, other = sorted(rng.choice(len(events), 2, replace=False).tolist())
        pairs = [(one, other, "yes"), (other, one, "no")]
        first, second, answer = pairs[int(rng.integers(2))]
        asked.append(
            Question(
                kind="before",
                text=(
                    f"Does the {events[first].thing.name} appear before"
                    f" the {events[second].thing.name}?"
                ),
                answer=answer,
                options=("yes", "no"),
                about=(first, second),
            )
        )
    return asked


def _ask_moments(events: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    asked = []
    for i, event in enumerate(events):
        is_sentence = rng.random() < 0.5
        name = event.thing.plural if event.count > 1 else event.thing.name
        text = event.describe() if is_sentence else f"the {name}"
        asked.append(
            Question(
                kind="when",
                text=text,
                answer="",
                about=(i,),
                spans=(i,),
                needs_motion=is_sentence and event.motion != "still",
            )
        )
    for _ in range(1 + len(events) // 3):
        absent = draw_absent_shape([event.thing for event in events], rng)
        a_name = f"{article(absent.name)} {absent.name}"
        text = f"{a_name} appears" if rng.random() < 0.5 else f"the {absent.name}"
        asked.append(
            Question(kind="when", text=text, answer="", about=tuple(range(len(events))), spans=())
        )
    return asked


def draw_absent_shape(there: Sequence[ColouredShape], rng: np.random.Generator) -> ColouredShape:
    """Draw a shape that is absent, but near: mostly with a colour and a form that are present."""
    mixed = [
        ColouredShape(one.colour, other.shape)
        for one in there
        for other in there
        if ColouredShape(one.colour, other.shape) not in there
    ]
    if mixed and rng.random() < 0.6:
        return mixed[int(rng.integers(len(mixed)))]
    while True:
        near = there[int(rng.integers(len(there)))]
        colour = near.colour if rng.random() < 0.5 else _choose(tuple(COLOURS), rng)
        shape = near.shape if rng.random() < 0.5 else _choose(SHAPES, rng)
        thing = ColouredShape(colour, shape)
        if thing not in there:
            return thing


def _near_names(
    events: Sequence[Event], thing: ColouredShape, rng: np.random.Generator
) -> list[str]:
    """Return names of other shapes, those of the same video first, then near misses."""
    there = [event.thing.name for event in events if event.thing != thing]
    names = list(_shuffled(there, rng))
    while len(names) < _OPTIONS:
        name = draw_absent_shape([thing], rng).name
        if name not in names and name not in there:
            names.append(name)
    return names


def _near_words(
    there: Sequence[str], every: Iterable[str], answer: str, rng: np.random.Generator
) -> list[str]:
    """Return wrong words, those of the same video first."""
    first = [word for word in dict.fromkeys(there) if word != answer]
    rest = [word for word in every if word != answer and word not in first]
    return [*_shuffled(first, rng), *_shuffled(rest, rng)]


def _trim_options(words: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Return the first ``count`` words; at random one fewer."""
    return list(words[: count if rng.random() < 0.8 else max(1, count - 1)])


def _shuffled(values: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(values[int(index)] for index in rng.permutation(len(values)))


def _choose(values: Sequence[T], rng: np.random.Generator) -> T:
    return values[int(rng.integers(len(values)))]


Family: TypeAlias = Literal["plain", "brief"]

FAMILIES: Final[tuple[Family, ...]] = ("plain", "brief")
TEST_SEEDS: Final = 1_000_000
"""First seed of the test set; nothing is trained or tuned on it."""

GENERATOR_VERSION: Final = "573ae325e7d6"
"""Version of the generated stories, questions and videos; part of the settings of a run.

Change it to any new text when a seed gives another story, question or picture: videos are then made
again and old results do not count. Leave it for changes of names, comments or speed.
``tests/evaluate/test_synthetic_version.py`` fails when the items change and the version does not.
The first value is the source hash that named the generator before versions were declared.
"""

_DECLARED_WITH_AV: Final = "18.1.0"

HEIGHT_PX, WIDTH_PX = 384, 640
FPS: Final = 15
_CRF = "23"
_QUESTIONS = 8


@dataclass(frozen=True)
class Case:
    """One video and its questions.

    Args:
        seed: seed of everything in it.
        family: family of the story.
        story: its events.
        items: its questions with their answers.
    """

    seed: int
    family: Family
    story: Story
    items: tuple[Item, ...]

    @property
    def video(self) -> str:
        """Name of its file."""
        return f"{self.family}-{self.seed}.mp4"


def name_generator() -> str:
    """Name the generator of videos: its declared version, and PyAV's version unless as declared.

    Another PyAV brings another encoder, so its videos get another name.
    """
    if av.__version__ == _DECLARED_WITH_AV:
        return GENERATOR_VERSION
    return hashlib.sha256(f"{GENERATOR_VERSION} {av.__version__}".encode()).hexdigest()[:12]


def make_case(seed: int, family: Family) -> Case:
    """Draw a story and its questions; the same seed gives the same case on every machine."""
    rng = np.random.default_rng([seed, FAMILIES.index(family), 21])
    story = _draw_story(rng, family)
    questions = generate_questions(story.events, rng)
    if family == "brief":
        # One frame of a brief event does not reveal the direction of motion.
        questions = [question for question in questions if not question.needs_motion]
    chosen = _take_turns(questions, rng)[:_QUESTIONS]
    video = f"{family}-{seed}.mp4"
    items = tuple(
        _make_item(f"{family}-{seed}-{number}", video, story, family, question)
        for number, question in enumerate(chosen)
    )
    return Case(seed, family, story, items)


def write_video(case: Case, path: Path) -> None:
    """Encode a case's video as H.264 in MP4, 640x384 px, 15 frames per second."""
    rng = np.random.default_rng([case.seed, FAMILIES.index(case.family), 22])
    base = background(rng, height_px=HEIGHT_PX, width_px=WIDTH_PX)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": _CRF, "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for index in range(int(case.story.duration * FPS)):
            frame = av.VideoFrame.from_ndarray(
                _render_frame(case.story, base, Fraction(index, FPS))
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _render_frame(story: Story, base: np.ndarray, time: Fraction) -> np.ndarray:
    for event in story.events:
        if time in event.span:
            progress = (time - event.span.start) / event.span.duration
            return render_event(base, event, float(progress))
    return base


def _draw_story(rng: np.random.Generator, family: Family) -> Story:
    """Draw events one after another, with gaps between them, on frame boundaries."""
    count = int(rng.integers(2, 6))
    if family == "plain":
        lengths = rng.uniform(2, 5, count)
        gaps = rng.uniform(0.8, 4, count + 1)
    else:
        lengths = rng.uniform(0.3, 1.0, count)
        total_s = rng.uniform(60, 120)
        gaps = rng.dirichlet(np.full(count + 1, 2.0)) * (total_s - lengths.sum())
        gaps = np.maximum(gaps, 1.0)
    events: list[Event] = []
    frame = 0
    for thing, gap, length in zip(draw_coloured_shapes(rng, count), gaps, lengths, strict=False):
        start = frame + max(1, round(gap * FPS))
        frame = start + max(2, round(length * FPS))
        span = Span(Fraction(start, FPS), Fraction(frame, FPS))
        events.append(draw_event(rng, thing, span, may_move=family == "plain"))
    return Story(Fraction(frame + max(1, round(gaps[-1] * FPS)), FPS), tuple(events))


def _take_turns(questions: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    """Shuffle questions so that kinds take turns; ``when`` and ``happened`` come twice per turn."""
    order = [questions[int(index)] for index in rng.permutation(len(questions))]
    rounds: dict[str, int] = {}
    ranked = []
    for i, question in enumerate(order):
        met = rounds.get(question.kind, 0)
        rounds[question.kind] = met + 1
        turn = met // 2 if question.kind in ("when", "happened") else met
        ranked.append((turn, i, question))
    return [question for _, _, question in sorted(ranked, key=lambda each: each[:2])]


def _make_item(identity: str, video: str, story: Story, family: Family, question: Question) -> Item:
    is_new = any(story.events[i].thing in HELD_OUT for i in question.about)
    indices = question.spans if question.kind == "when" else question.about
    spans = tuple(
        (float(story.events[i].span.start), float(story.events[i].span.end)) for i in indices
    )
    return Item(
        id=identity,
        task="ground" if question.kind == "when" else "ask",
        video=video,
        duration_s=float(story.duration),
        question=question.text,
        options=question.options,
        answer=question.answer,
        spans=spans,
        group={"family": family, "kind": question.kind, "things": "new" if is_new else "known"},
    )
