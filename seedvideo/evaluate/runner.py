"""A model of this package in the eyes of the harness: one call of ask, ground or caption an item.

The video of the last item stays open, so that several questions about it share one analysis.

Going over a benchmark: each item once, whatever happens to it, and the results file as it goes.

An item that was answered before under the same settings is not asked again; one that failed is.
What fails is recorded with its code, counts as wrong and does not stop the others. Knows nothing of
models: it is given something that answers.

A model with its eyes shut: what do the words alone give away?

Every frame is replaced by grey of the same size before the model sees it, so prompts, times and
token counts stay as they are. What a blind model gets right, no frame was needed for: its score
belongs beside every other. One thing is left to it: the times of the frames. A policy that looks at
the video puts frames where something happens, so the fair blind run uses ``uniform``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import numpy as np

import seedvideo
from seedvideo.config import SamplingConfig
from seedvideo.errors import InputError
from seedvideo.evaluate.results import MISSING_VIDEO, Outcome, Results, Settings
from seedvideo.evaluate.scoring import score_item
from seedvideo.evaluate.types import Item, Prediction, Predictor
from seedvideo.model.backends.base import Backend, Chooser, ImagePart, Part, Pointer
from seedvideo.model_tasks import make_task
from seedvideo.pipeline import prepare
from seedvideo.records import error_record
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.utils.text import printable
from seedvideo.video import Video

if TYPE_CHECKING:
    from seedvideo.records import Record


class ModelPredictor:
    """Answers items; a `Predictor`. Close it, or use it in a ``with`` statement.

    Args:
        backend: a loaded model, or a blind one.
        sampling: how frames are sampled; the part of a video that an item is about is its window.
        thinking: whether the model thinks before it answers.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        sampling: SamplingConfig,
        thinking: bool = False,
    ) -> None:
        self._backend = backend
        self._sampling = sampling
        self._thinking = thinking
        self._path: Path | None = None
        self._video: Video | None = None

    def __call__(self, item: Item, path: Path) -> Prediction:
        """Answer one item; see `Predictor`."""
        video = self._opened(path)
        task = make_task(
            item.task,
            question=item.question,
            options=item.options,
            query=item.question,
            thinking=self._thinking,
        )
        sampling = _with_window(self._sampling, item)
        prepared = prepare(video, model=self._backend, dense=task.dense, sampling=sampling)
        record = task.run(prepared, self._backend)
        prediction = _PREDICTIONS[record.task](record)
        if task.dense:
            return prediction
        frames = prepared.frame_sets[0].frames
        return replace(prediction, shown_s=tuple(float(frame.pts) for frame in frames))

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
    sampling: SamplingConfig,
    thinking: bool,
    blind: bool,
    generator: str = "",
) -> Settings:
    """Everything that the predictions of a `ModelPredictor` depend on."""
    return Settings(
        bench,
        {
            "model": backend.name,
            "weights": backend.sha256[:12],
            "policy": sampling.policy,
            "budget": sampling.budget_tokens,
            "thinking": thinking,
            "blind": blind,
            "generator": generator,
            "version": seedvideo.__version__,
        },
    )


def _with_window(sampling: SamplingConfig, item: Item) -> SamplingConfig:
    """The config for the part of the video that counts, in the seconds that were written."""
    if item.clip is None:
        return sampling
    start, end = (Fraction(str(time)) for time in item.clip)
    return sampling.with_window(start_s=start, end_s=end)


def _predict_answer(record: Any) -> Prediction:
    return Prediction(answer=record.answer.answer, raw=record.answer.raw, **_costs(record))


def _predict_spans(record: Any) -> Prediction:
    found = record.grounding.spans if record.grounding.found else ()
    scores = [span.score for span in found]
    return Prediction(
        spans=tuple((span.start_s, span.end_s) for span in found),
        scores=() if None in scores else tuple(scores),
        raw=record.grounding.raw,
        **_costs(record),
    )


def _predict_events(record: "Record") -> Prediction:
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


_PREDICTIONS: Final[Mapping[str, Callable[["Record"], Prediction]]] = {
    "caption": _predict_events,
    "ask": _predict_answer,
    "ground": _predict_spans,
}
"""What becomes a prediction, by the task of the record."""


SUFFIXES: Final = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".MP4", ".m4v")
"""Containers in which a video of a benchmark may lie, whatever extension its item names."""

PathResolver: TypeAlias = Callable[[Item], Path | None]
"""Where an item's video lies; None if it is not there. It may be made now."""

Tell: TypeAlias = Callable[[Item, Outcome, int], None]
"""Told each new outcome, and how many items are behind it."""


def run(
    items: Sequence[Item],
    *,
    predict: Predictor,
    resolve_path: PathResolver,
    results: Results,
    settings: Settings,
    tell: Tell | None = None,
) -> dict[str, Outcome]:
    """Answer every item that has no answer yet.

    Args:
        items: of one benchmark.
        predict: answers one; what it raises is recorded as that item's failure.
        resolve_path: finds an item's video.
        results: where outcomes go, and where earlier ones come from.
        settings: of this run.
        tell: called after each item that was asked now.

    Returns:
        The outcome of each item, by its id.

    Raises:
        ValueError: if two items have the same id.
        OutputError: if a result cannot be written.
    """
    if len({item.id for item in items}) != len(items):
        raise ValueError("two items have the same id")
    results.begin(settings)
    before = results.outcomes(settings)
    outcomes: dict[str, Outcome] = {}
    for number, item in enumerate(sort_by_video(items), start=1):
        kept = before.get(item.id)
        if kept is not None and kept.is_of(item) and kept.error is None:
            outcomes[item.id] = kept
            continue
        outcome = _ask(item, predict=predict, resolve_path=resolve_path)
        results.add(settings, outcome)
        outcomes[item.id] = outcome
        if tell is not None:
            tell(item, outcome, number)
    return outcomes


def sort_by_video(items: Iterable[Item]) -> list[Item]:
    """Items in the order of their videos' first, so that a video is opened and looked at once."""
    first: dict[str, int] = {}
    return sorted(items, key=lambda item: first.setdefault(item.video, len(first)))


def find_videos_folder(name: str) -> Path:
    """A folder of videos.

    Raises:
        InputError: ``input.not_found`` if there is none of that name.
    """
    folder = Path(name)
    if not folder.is_dir():
        raise InputError(
            MISSING_VIDEO, f"{printable(name)}: no such folder", hint="check the name of the folder"
        )
    return folder


def folder_resolver(folder: Path) -> PathResolver:
    """Finds videos below a folder: by name, or with another extension.

    A name that leads out of the folder is not there: annotations come from elsewhere.
    """

    def find(item: Item) -> Path | None:
        name = PurePosixPath(item.video)
        if name.is_absolute() or ".." in name.parts:
            return None
        path = folder / name
        others = (path.with_suffix(suffix) for suffix in SUFFIXES)
        return next((one for one in (path, *others) if one.is_file()), None)

    return find


def _ask(item: Item, *, predict: Predictor, resolve_path: PathResolver) -> Outcome:
    started = perf_counter()
    try:
        path = resolve_path(item)
        if path is None:
            raise InputError(MISSING_VIDEO, f"{printable(item.video)}: no such video")
        prediction = predict(item, path)
        scores = score_item(item, prediction)
    except Exception as error:  # noqa: BLE001
        # One bad video, or a bug that it wakes, must not take the others with it.
        told = error_record(error)
        return Outcome(
            id=item.id,
            digest=item.digest,
            error=told.code,
            message=told.message,
            scores=score_item(item, None),
            spent_s=round(perf_counter() - started, 3),
        )
    return Outcome(
        id=item.id,
        digest=item.digest,
        prediction=prediction,
        scores=scores,
        spent_s=round(perf_counter() - started, 3),
    )


GREY: Final = 128
"""Brightness of every pixel."""


def blindfold(parts: Sequence[Part]) -> list[Part]:
    """The same parts with every picture grey."""
    return [
        ImagePart(np.full_like(part.pixels, GREY)) if isinstance(part, ImagePart) else part
        for part in parts
    ]


class Blind:
    """A backend that sees nothing; `blind` makes the right kind.

    Args:
        backend: whose words, sizes and costs these are.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        """Of the model behind."""
        return self._backend.name

    @property
    def sha256(self) -> str:
        """Of the model behind."""
        return self._backend.sha256

    @property
    def geometry(self) -> TokenGeometry:
        """Of the model behind."""
        return self._backend.geometry

    def count_text_tokens(self, text: str) -> int:
        """As the model behind counts."""
        return self._backend.count_text_tokens(text)

    def frame_text_tokens(self, time_text: str) -> int:
        """As the model behind counts."""
        return self._backend.frame_text_tokens(time_text)

    def generate(self, parts: Sequence[Part], **options: Any) -> Any:
        """Let the model behind answer without pictures; see `Backend.generate`."""
        return self._backend.generate(blindfold(parts), **options)


class BlindNative(Blind):
    """A blind backend whose model can choose among candidates and point at frames.

    Args:
        backend: one with both abilities.
    """

    @property
    def points(self) -> bool:
        """As the model behind does."""
        pointer: Any = self._backend
        return bool(pointer.points)

    def choose(self, parts: Sequence[Part], candidates: Sequence[str], **options: Any) -> Any:
        """Let the model behind choose without pictures; see `Chooser.choose`."""
        chooser: Any = self._backend
        return chooser.choose(blindfold(parts), candidates, **options)

    def point(self, parts: Sequence[Part], **options: Any) -> Any:
        """Let the model behind point without pictures; see `Pointer.point`."""
        pointer: Any = self._backend
        return pointer.point(blindfold(parts), **options)


def blind(backend: Backend) -> Backend:
    """A backend that answers as this one does with its eyes shut."""
    is_able = isinstance(backend, Chooser) and isinstance(backend, Pointer)
    return BlindNative(backend) if is_able else Blind(backend)
