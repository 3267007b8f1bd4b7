"""What every benchmark gives and every model answers: items, predictions, and the way to read one.

Value objects without behaviour. Times are float seconds of the video, spans ``(start_s, end_s)``,
half-open. Knows neither files of annotations nor how answers are scored.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from seedvideo.evaluate.metrics.temporal import Span

Task: TypeAlias = Literal["ask", "ground", "dense"]
"""A question; the moment of a description; everything that happens, with times."""


@dataclass(frozen=True)
class Reference:
    """What one more annotator told of the same video.

    Args:
        spans: when things happen.
        captions: what they are, one a span.

    Raises:
        ValueError: if a time is not finite.
    """

    spans: tuple[Span, ...]
    captions: tuple[str, ...]

    def __post_init__(self) -> None:
        if not _are_finite(time for span in self.spans for time in span):
            raise ValueError("a time is not finite")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question of a benchmark, with its true answer.

    Args:
        id: unlike all others of the benchmark, and the same whenever its files are read.
        task: what is asked for.
        video: file name or path below the folder of videos, with extension.
        duration_s: of the video, where the benchmark says; changes no score.
        question: the question; for grounding the description.
        options: texts to choose from, without letters; none for an open question.
        answer: the text of the right option, or the open answer.
        spans: when it happens; none with the task ``ground`` means: it never does. Of a question,
            all that must be seen to answer it, where that is known.
        captions: for dense captions one a span.
        others: what further annotators told, for dense captions.
        group: by what scores are told apart, such as ``{"duration": "short"}``.
        clip: the part of the video that counts.

    Raises:
        ValueError: if it could never be answered right.
    """

    id: str
    task: Task
    video: str
    duration_s: float | None = None
    question: str = ""
    options: tuple[str, ...] = ()
    answer: str = ""
    spans: tuple[Span, ...] = ()
    captions: tuple[str, ...] = ()
    others: tuple[Reference, ...] = ()
    group: Mapping[str, str] = field(default_factory=dict)
    clip: Span | None = None

    def __post_init__(self) -> None:
        if wrong := self._wrong():
            raise ValueError(f"item {self.id!r} {wrong}")

    def _wrong(self) -> str:
        spans = (*self.spans, *([self.clip] if self.clip else []))
        times = [time for span in spans for time in span]
        if not _are_finite([*times, *([] if self.duration_s is None else [self.duration_s])]):
            return "has a time that is not finite"
        if self.task != "dense" and not self.question.strip():
            return "asks nothing"
        if self.task == "ask" and not self.answer.strip():
            return "has no answer"
        if self.options and self.answer not in self.options:
            return f"has an answer that is no option: {self.answer!r}"
        if self.task == "dense" and len(self.captions) != len(self.spans):
            return f"has {len(self.captions)} captions for {len(self.spans)} spans"
        if self.task == "dense" and not self.spans:
            return "has no event to find"
        return ""

    @property
    def digest(self) -> str:
        """Names its content: changes when anything of it does."""
        told = asdict(self) | {"group": dict(self.group)}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model answered to one item.

    Args:
        answer: of a question, as text: an option's, a letter, or free words.
        spans: of a grounding, best first, none for "not found"; of dense captions in order of time.
        scores: one a span where the model ranks alternatives; none where it names several spans at
            once, which are then one answer together.
        captions: of dense captions, one a span.
        raw: what the model wrote, where that says more.
        confident: false where the frames look unlike what the model was trained on.
        frames: how many it was shown.
        tokens: what they cost, text included.
        shown_s: their times; None where they are not known.

    Raises:
        ValueError: if a number is not finite, or there is not one score or caption a span.
    """

    answer: str = ""
    spans: tuple[Span, ...] = ()
    scores: tuple[float, ...] = ()
    captions: tuple[str, ...] = ()
    raw: str | None = None
    confident: bool | None = None
    frames: int | None = None
    tokens: int | None = None
    shown_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.scores and len(self.scores) != len(self.spans):
            raise ValueError(f"{len(self.scores)} scores for {len(self.spans)} spans")
        if self.captions and len(self.captions) != len(self.spans):
            raise ValueError(f"{len(self.captions)} captions for {len(self.spans)} spans")
        times = [time for span in self.spans for time in span]
        if not _are_finite([*times, *self.scores, *(self.shown_s or ())]):
            raise ValueError("a time or a score is not finite")


def _are_finite(numbers: Iterable[float]) -> bool:
    try:
        return all(map(math.isfinite, numbers))
    except OverflowError:
        return False  # an integer that no float can hold


class Predict(Protocol):
    """A model in the eyes of the harness."""

    def __call__(self, item: Item, path: Path) -> Prediction:
        """Answer one item about the video at a path.

        Raises:
            Exception: whatever went wrong; the item counts as wrong and the others go on.
        """
        ...


class Adapter(Protocol):
    """Reads the files of one benchmark as they are published.

    The next benchmark is a class with these four names and ``items``.
    """

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def about(self) -> str:
        """One line for people: what is asked, and which files."""
        ...

    @property
    def task(self) -> Task:
        """Of its items."""
        ...

    @property
    def headline(self) -> Sequence[str]:
        """The measures that its papers print first, by their names in `measures.MEASURES`."""
        ...

    def items(self, annotations: Path, *more: Path) -> list[Item]:
        """Every item, in the order of the file.

        Args:
            annotations: the benchmark's file.
            more: further files that it is published with, where the adapter knows any.

        Raises:
            InputError: if a file is missing or is not in the published form.
        """
        ...
