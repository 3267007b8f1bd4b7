"""Evaluation harness: run a predictor over a benchmark, with a resumable results file.

`run` answers each item once. An item with an answer under the same settings is skipped; a failed
one is tried again. A failure is recorded with its error code and counts as wrong; the run goes on.

`ModelPredictor` answers items with a model of this package. It keeps the video of the last item
open, so that several questions about it use one analysis.

`make_blind` gives the text-only baseline: every frame is replaced by grey of the same size before
the model gets it, so prompts, times and token counts do not change. Answers that the baseline gets
right need no frame. The times of the frames remain: a policy that analyses the video puts frames
where events are, so the fair baseline uses ``uniform``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import numpy as np

from seedvideo.config import SamplingConfig
from seedvideo.environment import __version__
from seedvideo.errors import InputError
from seedvideo.evaluate.results import MISSING_VIDEO, Outcome, Results, Settings
from seedvideo.evaluate.scoring import score_item
from seedvideo.evaluate.types import Item, Prediction, Predictor, SupportsPreparing
from seedvideo.model.backends.base import (
    Backend,
    ImagePart,
    ModelDetails,
    Part,
    SupportsChoice,
    SupportsPointing,
)
from seedvideo.model.batching import BatchingBackend
from seedvideo.model_options import DEFAULT_GENERATION, GenerationOptions, changed_fields
from seedvideo.model_tasks import make_task
from seedvideo.pipeline import prepare
from seedvideo.records import error_record
from seedvideo.sampler.geometry import Geometry
from seedvideo.utils.text import printable
from seedvideo.utils.threads import run_in_threads
from seedvideo.video import Video, open

if TYPE_CHECKING:
    from seedvideo.records import Record


class ModelPredictor:
    """A `Predictor` that runs a model. Close it, or use it in a ``with`` statement.

    Args:
        backend: a loaded model, or a blind one.
        sampling: sampling options; an item's clip becomes their window.
        thinking: whether the model generates reasoning before its answer.
        generation: how the model writes.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        sampling: SamplingConfig,
        thinking: bool = False,
        generation: GenerationOptions = DEFAULT_GENERATION,
    ) -> None:
        self._backend, self._generation = backend, generation
        self._sampling = sampling
        self._thinking = thinking
        self._path: Path | None = None
        self._video: Video | None = None

    def __call__(self, item: Item, path: Path) -> Prediction:
        """Answer one item; see `Predictor`."""
        return self.prepare(item, path)()

    def prepare(self, item: Item, path: Path) -> Callable[[], Prediction]:
        """Prepare one item; see `SupportsPreparing`."""
        video = self._open_video(path)
        task = make_task(
            item.task,
            question=item.question,
            options=item.options,
            query=item.question,
            thinking=self._thinking,
            generation=self._generation,
        )
        sampling = _with_window(self._sampling, item)
        prepared = prepare(video, model=self._backend, dense=task.dense, sampling=sampling)

        def answer() -> Prediction:
            record = task.run(prepared, self._backend)
            prediction = _PREDICTIONS[record.task](record)
            if task.dense:
                return prediction
            frames = prepared.frame_sets[0].frames
            return replace(prediction, frame_times_s=tuple(float(frame.pts) for frame in frames))

        return answer

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

    def _open_video(self, path: Path) -> Video:
        if self._video is None or self._path != path:
            self.close()
            self._video = open(path)
            self._path = path
        return self._video


def make_settings(
    bench: str,
    backend: Backend,
    *,
    sampling: SamplingConfig,
    thinking: bool,
    blind: bool,
    generator: str = "",
    generation: GenerationOptions = DEFAULT_GENERATION,
    plugins: Mapping[str, str] | None = None,
) -> Settings:
    """Return everything that the predictions of a `ModelPredictor` depend on.

    ``plugins`` are the packages that provide the model and the policy (`model.plugin_origins`).
    """
    details = backend.details
    options = {**changed_fields(generation), "quantize": details.quantize}
    options |= {f"{kind} of": origin for kind, origin in (plugins or {}).items()}
    if details.family is not None or details.source == "server":
        options |= {
            "dtype": details.dtype,
            "revision": details.revision,
            "geometry": backend.geometry.name,
            "time_format": details.time_format,
            "pairs": details.pairs or None,
        }
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
            "version": __version__,
            # Only if they are set: earlier results lack them.
            **{name: value for name, value in options.items() if value is not None},
        },
    )


def _with_window(sampling: SamplingConfig, item: Item) -> SamplingConfig:
    """Restrict sampling to an item's clip; decimal seconds are taken exactly as written."""
    if item.clip is None:
        return sampling
    start, end = (Fraction(str(time)) for time in item.clip)
    return sampling.with_window(start_s=start, end_s=end)


def _predict_answer(record: Any) -> Prediction:
    return Prediction(answer=record.answer.answer, raw=record.answer.raw, **_usage_fields(record))


def _predict_spans(record: Any) -> Prediction:
    found = record.grounding.spans if record.grounding.found else ()
    scores = [span.score for span in found]
    return Prediction(
        spans=tuple((span.start_s, span.end_s) for span in found),
        scores=() if None in scores else tuple(scores),
        raw=record.grounding.raw,
        **_usage_fields(record),
    )


def _predict_events(record: "Record") -> Prediction:
    return Prediction(
        spans=tuple((event.start_s, event.end_s) for event in record.events),
        captions=tuple(event.text for event in record.events),
        **_usage_fields(record),
    )


def _usage_fields(record: "Record") -> dict[str, Any]:
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
"""From a record to a prediction, by the task of the record."""


SUFFIXES: Final = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".MP4", ".m4v")
"""Extensions tried for a video, whatever extension its item names."""

PathResolver: TypeAlias = Callable[[Item], Path | None]
"""Returns the path of an item's video, or None if it does not exist. It may generate the video."""

ProgressCallback: TypeAlias = Callable[[Item, Outcome, int], None]
"""Called with an item, its new outcome, and its number in the run, from 1."""


Answer: TypeAlias = Callable[[], Outcome]
"""Answers one item whose video is prepared; raises only what must stop the run."""

AnswerAll: TypeAlias = Callable[[Iterable[Answer]], Iterable[Outcome]]
"""Runs answers and yields their outcomes, in any order."""


def answer_one_by_one(answers: Iterable[Answer]) -> Iterator[Outcome]:
    """Answer one item after another."""
    return (answer() for answer in answers)


def answer_in_threads(count: int) -> AnswerAll:
    """Return a function that answers up to ``count`` items at once, for a server."""
    return partial(run_in_threads, count=count)


def answer_in_batches(backend: BatchingBackend, size: int) -> AnswerAll:
    """Return a function that answers ``size`` items at once.

    Args:
        backend: backend of the predictor, or what its backend wraps.
        size: number of items.
    """

    def answer_all(answers: Iterable[Answer]) -> Iterator[Outcome]:
        rest = iter(answers)
        while batch := list(islice(rest, size)):
            for outcome in backend.run_together(batch):
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome

    return answer_all


def run(
    items: Sequence[Item],
    *,
    predict: Predictor,
    resolve_path: PathResolver,
    results: Results,
    settings: Settings,
    progress: ProgressCallback | None = None,
    answer_all: AnswerAll = answer_one_by_one,
) -> dict[str, Outcome]:
    """Answer every item that has no answer yet.

    Args:
        items: items of one benchmark.
        predict: answers one item; an exception is recorded as that item's failure.
        resolve_path: finds an item's video.
        results: results file for new outcomes, with earlier ones.
        settings: settings of this run.
        progress: called after each item that is answered now.
        answer_all: how items are answered: one by one, in threads or in batches. Videos are
            prepared one by one.

    Returns:
        The outcome of each item, by its id, in the order of the run.

    Raises:
        ValueError: if two items have the same id.
        OutputError: if a result cannot be written.
    """
    if len({item.id for item in items}) != len(items):
        raise ValueError("two items have the same id")
    results.start_run(settings)
    before = results.outcomes(settings)
    ordered = sort_by_video(items)
    numbers = {item.id: number for number, item in enumerate(ordered, start=1)}
    kept = {
        item.id: outcome
        for item in ordered
        if (outcome := before.get(item.id)) is not None
        and outcome.matches(item)
        and outcome.error is None
    }
    answers = (
        _prepare_answer(item, predict=predict, resolve_path=resolve_path)
        for item in ordered
        if item.id not in kept
    )
    outcomes = dict(kept)
    for outcome in answer_all(answers):
        results.append(settings, outcome)
        outcomes[outcome.id] = outcome
        if progress is not None:
            number = numbers[outcome.id]
            progress(ordered[number - 1], outcome, number)
    return {item.id: outcomes[item.id] for item in ordered}


def sort_by_video(items: Iterable[Item]) -> list[Item]:
    """Group items by video, in order of first appearance, so that each video is analysed once."""
    first: dict[str, int] = {}
    return sorted(items, key=lambda item: first.setdefault(item.video, len(first)))


def find_videos_folder(name: str) -> Path:
    """Return the path of a folder of videos.

    Raises:
        InputError: ``input.not_found`` if the folder does not exist.
    """
    folder = Path(name)
    if not folder.is_dir():
        raise InputError(
            MISSING_VIDEO, f"{printable(name)}: no such folder", hint="check the name of the folder"
        )
    return folder


def folder_resolver(folder: Path) -> PathResolver:
    """Make a resolver of videos in a folder: by name, or with another extension.

    A name that leads out of the folder is not found: annotations are untrusted.
    """

    def find(item: Item) -> Path | None:
        name = PurePosixPath(item.video)
        if name.is_absolute() or ".." in name.parts:
            return None
        path = folder / name
        others = (path.with_suffix(suffix) for suffix in SUFFIXES)
        return next((one for one in (path, *others) if one.is_file()), None)

    return find


def _prepare_answer(item: Item, *, predict: Predictor, resolve_path: PathResolver) -> Answer:
    """Prepare an item as far as the predictor can; the rest is left to the returned function."""
    started = perf_counter()
    answer: Callable[[], Prediction]
    try:
        path = resolve_path(item)
        if path is None:
            raise InputError(MISSING_VIDEO, f"{printable(item.video)}: no such video")
        if isinstance(predict, SupportsPreparing):
            answer = predict.prepare(item, path)
        else:
            answer = partial(predict, item, path)
    except Exception as error:  # noqa: BLE001
        # One bad video, or a bug that it triggers, must not stop the run.
        return partial(_make_failure, item, error, perf_counter() - started)
    return partial(_answer_item, item, answer, perf_counter() - started)


def _answer_item(item: Item, answer: Callable[[], Prediction], prepared_s: float) -> Outcome:
    started = perf_counter() - prepared_s
    try:
        prediction = answer()
        scores = score_item(item, prediction)
    except Exception as error:  # noqa: BLE001
        # As above: a failed answer is an outcome.
        return _make_failure(item, error, perf_counter() - started)
    return Outcome(
        id=item.id,
        digest=item.digest,
        prediction=prediction,
        scores=scores,
        spent_s=round(perf_counter() - started, 3),
    )


def _make_failure(item: Item, error: Exception, spent_s: float) -> Outcome:
    failure = error_record(error)
    return Outcome(
        id=item.id,
        digest=item.digest,
        error=failure.code,
        message=failure.message,
        scores=score_item(item, None),
        spent_s=round(spent_s, 3),
    )


GREY: Final = 128
"""Brightness of every pixel."""


def replace_with_grey(parts: Sequence[Part]) -> list[Part]:
    """Replace every picture of a prompt by grey of the same size."""
    return [
        ImagePart(np.full_like(part.pixels, GREY)) if isinstance(part, ImagePart) else part
        for part in parts
    ]


class BlindBackend:
    """A backend whose model gets grey frames; `make_blind` makes the right class.

    Args:
        backend: backend of the model; names, sizes and token counts are its own.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._backend.name

    @property
    def sha256(self) -> str:
        """Hash of the model."""
        return self._backend.sha256

    @property
    def geometry(self) -> Geometry:
        """Token geometry of the model."""
        return self._backend.geometry

    @property
    def details(self) -> ModelDetails:
        """Facts about the model."""
        return self._backend.details

    def count_text_tokens(self, text: str) -> int:
        """Count the tokens of a text."""
        return self._backend.count_text_tokens(text)

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Count the tokens of a frame's timestamp text and markup."""
        return self._backend.frame_text_tokens(pts)

    def generate(self, parts: Sequence[Part], **options: Any) -> Any:
        """Generate text without pictures; see `Backend.generate`."""
        return self._backend.generate(replace_with_grey(parts), **options)


class _BlindChooser(BlindBackend):
    """A blind backend whose model can choose among candidates."""

    def choose(self, parts: Sequence[Part], candidates: Sequence[str], **options: Any) -> Any:
        """Choose without pictures; see `SupportsChoice.choose`."""
        chooser: Any = self._backend
        return chooser.choose(replace_with_grey(parts), candidates, **options)


class _BlindPointer(_BlindChooser):
    """A blind backend whose model can also point at frames."""

    @property
    def can_point(self) -> bool:
        """Whether the model can point at frames."""
        pointer: Any = self._backend
        return bool(pointer.can_point)

    def point(self, parts: Sequence[Part], **options: Any) -> Any:
        """Point at frames without pictures; see `SupportsPointing.point`."""
        pointer: Any = self._backend
        return pointer.point(replace_with_grey(parts), **options)


def make_blind(backend: Backend) -> Backend:
    """Make the text-only baseline of a backend."""
    if not isinstance(backend, SupportsChoice):
        return BlindBackend(backend)
    can_point = isinstance(backend, SupportsPointing)
    return _BlindPointer(backend) if can_point else _BlindChooser(backend)
