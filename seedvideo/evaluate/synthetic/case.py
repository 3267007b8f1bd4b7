"""Cases of the synthetic benchmark: a story from a seed, its questions, and its video file.

    plain   a few events of 2 to 5 s in 6 to 49 s, on the test seeds 10 to 38 s
    brief   events of 0.3 to 1.0 s in one to two minutes, where most of the time nothing happens

Test seeds start at `TEST_SEEDS` and are never trained or tuned on. Knows nothing of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, TypeAlias

import av
import numpy as np

from seedvideo.evaluate.items import Item
from seedvideo.evaluate.synthetic.picture import background, show
from seedvideo.evaluate.synthetic.questions import Question, ask_all
from seedvideo.evaluate.synthetic.story import Event, Story, draw_event, draw_things
from seedvideo.evaluate.synthetic.things import HELD_OUT
from seedvideo.media.timeline import Span

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
