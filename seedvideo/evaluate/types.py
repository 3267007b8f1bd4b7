"""Types of the evaluation: items, predictions, and the protocols of adapters and predictors.

Value objects without behaviour. Times are float seconds of the video, spans ``(start_s, end_s)``,
half-open.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from seedvideo.evaluate.metrics.temporal import Span

Task: TypeAlias = Literal["ask", "ground", "dense"]
"""Answer a question; find the moment of a description; caption all events with times."""


@dataclass(frozen=True)
class Reference:
    """Events of one more annotator of the same video.

    Args:
        spans: spans of the events.
        captions: captions of the events, one per span.

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
        id: unique id in the benchmark, the same whenever its files are read.
        task: task of the item.
        video: file name or path below the folder of videos, with extension.
        duration_s: length of the video, if the benchmark has it; changes no score.
        question: the question; for grounding the description.
        options: texts of the options, without letters; empty for an open question.
        answer: the text of the right option, or the open answer.
        spans: spans of the event; empty with the task ``ground`` means that it never happens. For
            a question, all spans that the answer depends on, if they are known.
        captions: for dense captioning, one per span.
        others: events of further annotators, for dense captioning.
        group: properties by which scores are reported, for example ``{"duration": "short"}``.
        clip: the part of the video that counts.

    Raises:
        ValueError: if no answer could be right.
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
        if problem := self._find_problem():
            raise ValueError(f"item {self.id!r} {problem}")

    def _find_problem(self) -> str:
        spans = (*self.spans, *([self.clip] if self.clip else []))
        times = [time for span in spans for time in span]
        if not _are_finite([*times, *([] if self.duration_s is None else [self.duration_s])]):
            return "has a time that is not finite"
        if self.task != "dense" and not self.question.strip():
            return "has no question"
        if self.task == "ask" and not self.answer.strip():
            return "has no answer"
        if self.options and self.answer not in self.options:
            return f"has an answer that is not an option: {self.answer!r}"
        if self.task == "dense" and len(self.captions) != len(self.spans):
            return f"has {len(self.captions)} captions for {len(self.spans)} spans"
        if self.task == "dense" and not self.spans:
            return "has no event to find"
        return ""

    @property
    def digest(self) -> str:
        """Hash of its content; stored with its outcome."""
        content = asdict(self) | {"group": dict(self.group)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A model's answer to one item.

    Args:
        answer: answer to a question: an option's text, a letter, or free text.
        spans: for grounding, best first, empty for "not found"; for dense captioning, by time.
        scores: one per span if the model ranks alternatives; empty if several spans are one answer
            together.
        captions: for dense captioning, one per span.
        raw: the generated text, if it differs from the answer.
        confident: false if the frames are unlike the model's training data.
        frames: number of frames in the prompt.
        tokens: their token cost, text included.
        frame_times_s: times of the frames in the prompt, in seconds; None if unknown. The key in
            results files is ``shown_s``.

    Raises:
        ValueError: if a number is not finite, or scores or captions are not one per span.
    """

    answer: str = ""
    spans: tuple[Span, ...] = ()
    scores: tuple[float, ...] = ()
    captions: tuple[str, ...] = ()
    raw: str | None = None
    confident: bool | None = None
    frames: int | None = None
    tokens: int | None = None
    frame_times_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.scores and len(self.scores) != len(self.spans):
            raise ValueError(f"{len(self.scores)} scores for {len(self.spans)} spans")
        if self.captions and len(self.captions) != len(self.spans):
            raise ValueError(f"{len(self.captions)} captions for {len(self.spans)} spans")
        times = [time for span in self.spans for time in span]
        if not _are_finite([*times, *self.scores, *(self.frame_times_s or ())]):
            raise ValueError("a time or a score is not finite")


def _are_finite(numbers: Iterable[float]) -> bool:
    try:
        return all(map(math.isfinite, numbers))
    except OverflowError:
        return False  # an integer that no float can hold


class Scorer(Protocol):
    """A function of another package that scores the items of any benchmark."""

    def __call__(self, item: Item, prediction: Prediction, /) -> float | None:
        """Score one item.

        Args:
            item: the item with its true answer.
            prediction: its prediction; an empty one if there is none.

        Returns:
            The score, of which the table has the mean; None if the scorer is not for this item.
        """
        ...


class Predictor(Protocol):
    """Protocol of a model in the harness."""

    def __call__(self, item: Item, path: Path) -> Prediction:
        """Answer one item about the video at a path.

        Raises:
            Exception: any failure; the item counts as wrong and the run continues.
        """
        ...


@runtime_checkable
class SupportsPreparing(Protocol):
    """A predictor that prepares an item apart from its answer, so that answers can overlap."""

    def prepare(self, item: Item, path: Path) -> Callable[[], Prediction]:
        """Read what an item needs from the video at a path.

        Returns:
            A function that answers the item; it reads no file and may run in another thread.

        Raises:
            Exception: as `Predictor` does.
        """
        ...


class Adapter(Protocol):
    """Protocol of a reader of one benchmark's published files.

    A new benchmark is a class with these four properties and ``items``.
    """

    @property
    def name(self) -> str:
        """Name on the command line."""
        ...

    @property
    def about(self) -> str:
        """One line for `seedvideo eval list`: the task, and the files."""
        ...

    @property
    def task(self) -> Task:
        """Task of its items."""
        ...

    @property
    def headline(self) -> Sequence[str]:
        """Names in `scoring.MEASURES` of the measures that its papers report first."""
        ...

    def items(self, annotations: Path, *more: Path) -> list[Item]:
        """Read all items, in the order of the file.

        Args:
            annotations: the benchmark's file.
            more: further files that it is published with, if there are any.

        Raises:
            InputError: if a file is missing or is not in the published form.
        """
        ...
