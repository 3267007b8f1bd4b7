"""Going over a benchmark: each item once, whatever happens to it, and the results file as it goes.

An item that was answered before under the same settings is not asked again; one that failed is.
What fails is recorded with its code, counts as wrong and does not stop the others. Knows nothing of
models: it is given something that answers.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Final, TypeAlias

from seedvideo.errors import InputError
from seedvideo.evaluate.items import Item, Predict
from seedvideo.evaluate.measures import scores_of
from seedvideo.evaluate.results import MISSING_VIDEO, Outcome, Results, Settings
from seedvideo.records import error_record
from seedvideo.writers.inert import printable

SUFFIXES: Final = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".MP4", ".m4v")
"""Containers in which a video of a benchmark may lie, whatever extension its item names."""

PathOf: TypeAlias = Callable[[Item], Path | None]
"""Where an item's video lies; None if it is not there. It may be made now."""

Tell: TypeAlias = Callable[[Item, Outcome, int], None]
"""Told each new outcome, and how many items are behind it."""


def run(
    items: Sequence[Item],
    *,
    predict: Predict,
    path_of: PathOf,
    results: Results,
    settings: Settings,
    tell: Tell | None = None,
) -> dict[str, Outcome]:
    """Answer every item that has no answer yet.

    Args:
        items: of one benchmark.
        predict: answers one; what it raises is recorded as that item's failure.
        path_of: finds an item's video.
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
    for number, item in enumerate(by_video(items), start=1):
        kept = before.get(item.id)
        if kept is not None and kept.is_of(item) and kept.error is None:
            outcomes[item.id] = kept
            continue
        outcome = _ask(item, predict=predict, path_of=path_of)
        results.add(settings, outcome)
        outcomes[item.id] = outcome
        if tell is not None:
            tell(item, outcome, number)
    return outcomes


def by_video(items: Iterable[Item]) -> list[Item]:
    """Items in the order of their videos' first, so that a video is opened and looked at once."""
    first: dict[str, int] = {}
    return sorted(items, key=lambda item: first.setdefault(item.video, len(first)))


def videos_folder(name: str) -> Path:
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


def in_folder(folder: Path) -> PathOf:
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


def _ask(item: Item, *, predict: Predict, path_of: PathOf) -> Outcome:
    started = perf_counter()
    try:
        path = path_of(item)
        if path is None:
            raise InputError(MISSING_VIDEO, f"{printable(item.video)}: no such video")
        prediction = predict(item, path)
        scores = scores_of(item, prediction)
    except Exception as error:  # noqa: BLE001
        # One bad video, or a bug that it wakes, must not take the others with it.
        told = error_record(error)
        return Outcome(
            id=item.id,
            digest=item.digest,
            error=told.code,
            message=told.message,
            scores=scores_of(item, None),
            spent_s=round(perf_counter() - started, 3),
        )
    return Outcome(
        id=item.id,
        digest=item.digest,
        prediction=prediction,
        scores=scores,
        spent_s=round(perf_counter() - started, 3),
    )
