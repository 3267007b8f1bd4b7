"""The grounding task: when does something happen, and how an answer becomes half-open spans.

Knows the times of the frames that were shown, never a picture. The prompt is part of how a model
was trained: changing it changes what a model says. Times are exact seconds from the video's start.

A model that chooses among answers gets one candidate for each pair of shown frames, and names the
first and the last frame in which it sees the event; `Candidates` turns the pair into a span. The
free text of any other model is read by `tasks.spans`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

from seedvideo.errors import GroundError
from seedvideo.media.timeline import Span
from seedvideo.sampler.spacing import thin
from seedvideo.sampler.stamps import stamp
from seedvideo.tasks.spans import Moment
from seedvideo.tasks.think import with_thinking
from seedvideo.tasks.words import fault_of

NOT_FOUND: Final = "not found"
"""The answer where nothing of the kind is seen."""

MAX_STAMPS: Final = 96
"""Most times that candidates are made of: 4,656 spans. Of more frames an even part is used, since
the candidates, and the time to weigh them, grow with their square."""


def clean_query(query: str) -> str:
    """The user's words, without white space around them.

    Raises:
        GroundError: ``ground.query_empty`` or ``ground.query_invalid``.
    """
    clean = query.strip()
    if not clean:
        raise GroundError(
            "ground.query_empty", "the query is empty", hint="describe what happens in the video"
        )
    fault = fault_of([clean])
    if fault is not None:
        raise GroundError("ground.query_invalid", f"the query {fault}")
    return clean


def ground_prompt(query: str, *, duration: Fraction, thinking: bool = False) -> str:
    """The user's text, last in the sequence.

    Args:
        query: what is looked for, as `clean_query` made it.
        duration: of the whole video, in seconds; told as the stamps of frames are.
        thinking: whether the model shall think first.
    """
    asked = (
        f'The video lasts {stamp(duration)} seconds. When does this happen: "{query}"?'
        f" Answer with start - end in seconds, or {NOT_FOUND}."
    )
    return with_thinking(asked, thinking=thinking)


@dataclass(frozen=True)
class Candidates:
    """The answers that a model may choose from, and the spans that they stand for.

    Args:
        stamps: times as the model reads them, all different, in order.
        edges: where the frame of each stamp gives way to the next: one more than there are stamps,
            from the start of what was looked at to its end.
    """

    stamps: tuple[str, ...]
    edges: tuple[Fraction, ...]

    @classmethod
    def of(cls, times: Sequence[Fraction], *, window: Span) -> "Candidates":
        """Candidates for shown frames.

        A frame whose time rounds to that of the frame before is left out: a model cannot tell the
        two by their stamps. Each frame stands for the time up to half way to its neighbours.

        Args:
            times: of the shown frames, strictly increasing, at least one, all in the window.
            window: what was looked at.
        """
        firsts: dict[str, Fraction] = {}
        for time in times:
            firsts.setdefault(stamp(time), time)
        kept = thin(list(firsts.items()), MAX_STAMPS)
        moments = [time for _, time in kept]
        halves = [(a + b) / 2 for a, b in pairwise(moments)]
        return cls(tuple(text for text, _ in kept), (window.start, *halves, window.end))

    @property
    def texts(self) -> tuple[str, ...]:
        """``"4.0 - 8.0"`` for each pair, the last one `NOT_FOUND`."""
        pairs = [f"{a} - {b}" for i, a in enumerate(self.stamps) for b in self.stamps[i:]]
        return (*pairs, NOT_FOUND)

    def span(self, place: int) -> Moment | None:
        """The span of a candidate in `texts`, by its place; None where it is `NOT_FOUND`.

        It reaches from half way to the frame before its first one to half way to the frame after
        its last one.
        """
        count = len(self.stamps)
        for first in range(count):
            if place < count - first:
                return Moment(self.edges[first], self.edges[first + place + 1])
            place -= count - first
        return None
