"""A model of this package in the eyes of the harness: one call of ask, ground or caption an item.

The video of the last item stays open, so that several questions about it share one analysis.
"""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import seedvideo
from seedvideo.answers import tell_answer, tell_spans
from seedvideo.evaluate.items import Item, Prediction
from seedvideo.evaluate.results import Settings
from seedvideo.model.backends import Backend
from seedvideo.pipeline import prepare
from seedvideo.sampler.knobs import NO_KNOBS, Knobs
from seedvideo.tasks.ask import Question
from seedvideo.tasks.ground import clean_query
from seedvideo.video import Video

if TYPE_CHECKING:
    from seedvideo.records import Record
    from seedvideo.sampler.policies import PolicyName


class Pipeline:
    """Answers items; a `Predict`. Close it, or use it in a ``with`` statement.

    Args:
        backend: a loaded model, or a blind one.
        policy: how frames are chosen.
        budget_tokens: what one pass may cost; the model's own default when None.
        thinking: whether the model thinks before it answers.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        policy: "PolicyName" = "adaptive",
        budget_tokens: int | None = None,
        thinking: bool = False,
    ) -> None:
        self._backend = backend
        self._shared: dict[str, Any] = {
            "model": backend,
            "policy": policy,
            "budget_tokens": budget_tokens,
        }
        self._thinking = thinking
        self._path: Path | None = None
        self._video: Video | None = None

    def __call__(self, item: Item, path: Path) -> Prediction:
        """Answer one item; see `Predict`."""
        video = self._opened(path)
        shared = {**self._shared, "knobs": _knobs(item)}
        if item.task == "dense":
            return _told(seedvideo.caption(video, dense=True, **shared))
        asked: dict[str, Any] = {"model": self._backend, "thinking": self._thinking}
        prepared = prepare(video, **shared)
        if item.task == "ask":
            question = Question.of(item.question, item.options)
            given = _answered(tell_answer(prepared, question, **asked))
        else:
            query = clean_query(item.question)
            given = _grounded(tell_spans(prepared, query, **asked))
        shown_s = tuple(float(time) for time, _ in prepared.views[0].frames)
        return replace(given, shown_s=shown_s)

    def close(self) -> None:
        """Close the video that is open. Closing twice is fine."""
        if self._video is not None:
            self._video.close()
        self._video = self._path = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _opened(self, path: Path) -> Video:
        if self._video is None or self._path != path:
            self.close()
            self._video = seedvideo.open(path)
            self._path = path
        return self._video


def settings_of(
    bench: str,
    backend: Backend,
    *,
    policy: "PolicyName",
    budget_tokens: int,
    thinking: bool,
    blind: bool,
    generator: str = "",
) -> Settings:
    """Everything that the predictions of a `Pipeline` depend on."""
    return Settings(
        bench,
        {
            "model": backend.name,
            "weights": backend.sha256[:12],
            "policy": policy,
            "budget": budget_tokens,
            "thinking": thinking,
            "blind": blind,
            "generator": generator,
            "version": seedvideo.__version__,
        },
    )


def _knobs(item: Item) -> Knobs:
    """The part of the video that counts, in the seconds that were written."""
    if item.clip is None:
        return NO_KNOBS
    start, end = (Fraction(str(time)) for time in item.clip)
    return Knobs(start=start, end=end)


def _answered(record: Any) -> Prediction:
    return Prediction(answer=record.answer.answer, raw=record.answer.raw, **_costs(record))


def _grounded(record: Any) -> Prediction:
    found = record.grounding.spans if record.grounding.found else ()
    scores = [span.score for span in found]
    return Prediction(
        spans=tuple((span.start_s, span.end_s) for span in found),
        scores=() if None in scores else tuple(scores),
        raw=record.grounding.raw,
        **_costs(record),
    )


def _told(record: "Record") -> Prediction:
    return Prediction(
        spans=tuple((event.start_s, event.end_s) for event in record.events),
        captions=tuple(event.text for event in record.events),
        **_costs(record),
    )


def _costs(record: "Record") -> dict[str, Any]:
    plan = record.plan
    return {
        "confident": record.confident,
        "frames": None if plan is None else plan.frames,
        "tokens": None if plan is None else plan.tokens,
    }
