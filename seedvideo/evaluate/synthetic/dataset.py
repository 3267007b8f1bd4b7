"""Questions about a story, each with its exact answer, by rule.

    colour, what, where, direction, count     about one event
    first, last, after, kinds                 about several
    before, happened                          yes or no, as often the one as the other
    when                                      a moment to find, or one that never comes

Wrong options and asked-for things that never come are near misses: right in colour or shape, and
of things that are in the same video wherever there are enough.

Cases of the synthetic benchmark: a story from a seed, its questions, and its video file.

    plain   a few events of 2 to 5 s in 6 to 49 s, on the test seeds 10 to 38 s
    brief   events of 0.3 to 1.0 s in one to two minutes, where most of the time nothing happens

Test seeds start at `TEST_SEEDS` and are never trained or tuned on. Knows nothing of models.
"""

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
    Event,
    Story,
    Thing,
    article,
    background,
    draw_event,
    draw_things,
    plural,
    show,
)
from seedvideo.evaluate.types import Item
from seedvideo.utils.timecode import Span

Kind: TypeAlias = Literal[
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

PLACES: Final = ("left", "right", "top", "bottom", "middle")
DIRECTIONS: Final = ("left", "right", "up", "down")
_OPTIONS: Final = 4

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about a story.

    Args:
        kind: what is asked for.
        text: the question; for ``when`` the moment that is looked for.
        answer: exact; ``yes`` or ``no``, a word, a thing's name; for ``when`` empty.
        options: the answer among wrong ones, in random order; none for ``when``.
        about: events that one must have seen to know, by their places in the story; those that the
            text names come in its order.
        spans: for ``when``, the events' places in the story that are meant; none if it never comes.
        watches: whether one must see the event twice, at different moments.
    """

    kind: Kind
    text: str
    answer: str
    options: tuple[str, ...] = ()
    about: tuple[int, ...] = ()
    spans: tuple[int, ...] = ()
    watches: bool = False


def ask_all(events: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    """Every kind of question that these events, in their order, can answer; a few of each."""
    asked: list[Question] = []
    for place, event in enumerate(events):
        asked += _about_one(events, place, event, rng)
    asked += _about_order(events, rng)
    asked += _yes_or_no(events, rng)
    asked += _moments(events, rng)
    return asked


def _about_one(
    events: Sequence[Event], place: int, event: Event, rng: np.random.Generator
) -> list[Question]:
    asked: list[Question] = []
    thing = event.thing
    is_several = event.count > 1

    def add(
        kind: Kind, text: str, answer: str, wrong: Sequence[str], *, watches: bool = False
    ) -> None:
        options = _shuffled([answer, *_some(wrong, _OPTIONS - 1, rng)], rng)
        asked.append(
            Question(
                kind=kind,
                text=text,
                answer=answer,
                options=options,
                about=(place,),
                watches=watches,
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
            _near([e.thing.colour for e in events], COLOURS, thing.colour, rng),
        )
    if event.motion != "still":
        words = MOTION_WORDS[event.motion]
        text = f"Which way does the {thing.name} move?"
        others = [d for d in DIRECTIONS if d != event.motion]
        add("direction", text, event.motion, others, watches=True)
        if sum(other.motion == event.motion for other in events) == 1:
            names = _near_names(events, thing, rng)
            add("what", f"What moves {words}?", thing.name, names, watches=True)
    if event.place is not None:
        others = [p for p in PLACES if p != event.place]
        add("where", f"Where is the {thing.name}?", event.place, others)
    if event.motion == "still":
        others = [COUNT_WORDS[n] for n in range(1, 5) if n != event.count]
        add(
            "count", f"How many {thing.plural} are there at once?", COUNT_WORDS[event.count], others
        )
    return asked


def _about_order(events: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    everything = tuple(range(len(events)))
    if len(events) < 2:
        return []
    asked = []
    for kind, place in (("first", 0), ("last", -1)):
        name = events[place].thing.name
        options = _shuffled([name, *_near_names(events, events[place].thing, rng)[:3]], rng)
        asked.append(
            Question(
                kind="first" if kind == "first" else "last",
                text=f"What appears {kind}?",
                answer=name,
                options=options,
                about=everything,
            )
        )
    place = int(rng.integers(len(events) - 1))
    name = events[place + 1].thing.name
    options = _shuffled([name, *_near_names(events, events[place + 1].thing, rng)[:3]], rng)
    asked.append(
        Question(
            kind="after",
            text=f"What appears right after the {events[place].thing.name}?",
            answer=name,
            options=options,
            about=(place, place + 1),
        )
    )
    answer = COUNT_WORDS[len(events)]
    wrong = [COUNT_WORDS[n] for n in range(1, 7) if n != len(events)]
    asked.append(
        Question(
            kind="kinds",
            text="How many different things appear?",
            answer=answer,
            options=_shuffled([answer, *_some(wrong, _OPTIONS - 1, rng)], rng),
            about=everything,
        )
    )
    return asked


def _yes_or_no(events: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    asked = []
    place = int(rng.integers(len(events)))
    absent = absent_thing([event.thing for event in events], rng)
    for name, answer, about in (
        (events[place].thing.name, "yes", (place,)),
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


def _moments(events: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    asked = []
    for place, event in enumerate(events):
        is_told = rng.random() < 0.5
        name = event.thing.plural if event.count > 1 else event.thing.name
        text = event.described() if is_told else f"the {name}"
        asked.append(
            Question(
                kind="when",
                text=text,
                answer="",
                about=(place,),
                spans=(place,),
                watches=is_told and event.motion != "still",
            )
        )
    for _ in range(1 + len(events) // 3):
        absent = absent_thing([event.thing for event in events], rng)
        a_name = f"{article(absent.name)} {absent.name}"
        text = f"{a_name} appears" if rng.random() < 0.5 else f"the {absent.name}"
        asked.append(
            Question(kind="when", text=text, answer="", about=tuple(range(len(events))), spans=())
        )
    return asked


def absent_thing(there: Sequence[Thing], rng: np.random.Generator) -> Thing:
    """A thing that is not there, but nearly: mostly a colour and a shape that are there apart."""
    mixed = [
        Thing(one.colour, other.shape)
        for one in there
        for other in there
        if Thing(one.colour, other.shape) not in there
    ]
    if mixed and rng.random() < 0.6:
        return mixed[int(rng.integers(len(mixed)))]
    while True:
        near = there[int(rng.integers(len(there)))]
        colour = near.colour if rng.random() < 0.5 else _pick(tuple(COLOURS), rng)
        shape = near.shape if rng.random() < 0.5 else _pick(SHAPES, rng)
        thing = Thing(colour, shape)
        if thing not in there:
            return thing


def _near_names(events: Sequence[Event], thing: Thing, rng: np.random.Generator) -> list[str]:
    """Names of other things, those of the same video first, then near misses."""
    there = [event.thing.name for event in events if event.thing != thing]
    names = list(_shuffled(there, rng))
    while len(names) < _OPTIONS:
        name = absent_thing([thing], rng).name
        if name not in names and name not in there:
            names.append(name)
    return names


def _near(
    there: Sequence[str], every: Iterable[str], answer: str, rng: np.random.Generator
) -> list[str]:
    """Wrong words, those that are in the same video first."""
    first = [word for word in dict.fromkeys(there) if word != answer]
    rest = [word for word in every if word != answer and word not in first]
    return [*_shuffled(first, rng), *_shuffled(rest, rng)]


def _some(words: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """The first words, or fewer than ``count`` of them now and then."""
    return list(words[: count if rng.random() < 0.8 else max(1, count - 1)])


def _shuffled(values: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(values[int(index)] for index in rng.permutation(len(values)))


def _pick(values: Sequence[T], rng: np.random.Generator) -> T:
    return values[int(rng.integers(len(values)))]


Family: TypeAlias = Literal["plain", "brief"]

FAMILIES: Final[tuple[Family, ...]] = ("plain", "brief")
TEST_SEEDS: Final = 1_000_000
"""First seed that nothing is trained or tuned on."""

HEIGHT_PX, WIDTH_PX = 384, 640
FPS: Final = 15
_CRF = "23"
_QUESTIONS = 8


@dataclass(frozen=True)
class Case:
    """One video and what is asked of it.

    Args:
        seed: that it was made from.
        family: how long its events are.
        story: what happens.
        items: questions with their answers.
    """

    seed: int
    family: Family
    story: Story
    items: tuple[Item, ...]

    @property
    def video(self) -> str:
        """Name of its file."""
        return f"{self.family}-{self.seed}.mp4"


def make_case(seed: int, family: Family) -> Case:
    """Decide a story and its questions; the same for the same seed everywhere."""
    rng = np.random.default_rng([seed, FAMILIES.index(family), 21])
    story = _draw_story(rng, family)
    questions = ask_all(story.events, rng)
    if family == "brief":
        # Which way a thing moves can be seen in a moment by no sampler that shows one frame of it.
        questions = [question for question in questions if not question.watches]
    chosen = _one_of_each(questions, rng)[:_QUESTIONS]
    video = f"{family}-{seed}.mp4"
    items = tuple(
        _item(f"{family}-{seed}-{number}", video, story, family, question)
        for number, question in enumerate(chosen)
    )
    return Case(seed, family, story, items)


def write_video(case: Case, path: Path) -> None:
    """Encode a case's video as H.264 in MP4, 640x384 px, 15 frames a second."""
    rng = np.random.default_rng([case.seed, FAMILIES.index(case.family), 22])
    base = background(rng, height_px=HEIGHT_PX, width_px=WIDTH_PX)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": _CRF, "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for index in range(int(case.story.duration * FPS)):
            frame = av.VideoFrame.from_ndarray(_picture(case.story, base, Fraction(index, FPS)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _picture(story: Story, base: np.ndarray, time: Fraction) -> np.ndarray:
    for event in story.events:
        if time in event.span:
            progress = (time - event.span.start) / event.span.duration
            return show(base, event, float(progress))
    return base


def _draw_story(rng: np.random.Generator, family: Family) -> Story:
    """Events one after the other with quiet between them, on whole frames."""
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
    for thing, gap, length in zip(draw_things(rng, count), gaps, lengths, strict=False):
        start = frame + max(1, round(gap * FPS))
        frame = start + max(2, round(length * FPS))
        span = Span(Fraction(start, FPS), Fraction(frame, FPS))
        events.append(draw_event(rng, thing, span, may_move=family == "plain"))
    return Story(Fraction(frame + max(1, round(gaps[-1] * FPS)), FPS), tuple(events))


def _one_of_each(questions: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    """Questions in random order, no kind twice before every kind was once; moments count double."""
    order = [questions[int(index)] for index in rng.permutation(len(questions))]
    rounds: dict[str, int] = {}
    ranked = []
    for place, question in enumerate(order):
        met = rounds.get(question.kind, 0)
        rounds[question.kind] = met + 1
        turn = met // 2 if question.kind in ("when", "happened") else met
        ranked.append((turn, place, question))
    return [question for _, _, question in sorted(ranked, key=lambda each: each[:2])]


def _item(identity: str, video: str, story: Story, family: Family, question: Question) -> Item:
    is_new = any(story.events[place].thing in HELD_OUT for place in question.about)
    places = question.spans if question.kind == "when" else question.about
    spans = tuple(
        (float(story.events[place].span.start), float(story.events[place].span.end))
        for place in places
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
