"""Jobs of real clips with every verdict, for tests of datasets; no model runs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from seedvideo.batch.extra_columns import format_extra
from seedvideo.batch.fingerprint import read_content
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.datasets.clips import ClipOpener
from seedvideo.datasets.export import DatasetResult, export_dataset
from seedvideo.datasets.source import DatasetOptions, DatasetSource
from seedvideo.remote.fetching import Fetcher
from tests.batch.sample_journal import MODEL, record_for, sheet
from tests.synthetic_clips import paint

DONE: Final = ("a/one.mp4", "b/one.mp4", "two words.mkv", "long.mp4")
"""Clips that are done, in order; two have the same name."""

EXTRA: Final[Mapping[str, Mapping[str, Any]]] = {
    "a/one.mp4": {"domain": "cooking", "concepts": ["pan", "hob"], "repeats": 3, "score": 4.5},
    "b/one.mp4": {"domain": "sport", "repeats": "2", "note": "=1+1"},
}
"""Other columns of the list; CSV gives every value as text."""


def paint_clips(folder: Path) -> None:
    """Write the clips of `DONE` as files."""
    for name, colours in zip(DONE, (["red"], ["green"], ["blue"], ["red", "white"]), strict=True):
        paint(folder / name, colours, shot_s=1 if len(colours) == 1 else 3)


def job_of(
    folder: Path,
    *,
    task: str = "caption",
    job: Job | None = None,
    first: Item | None = None,
    with_old: bool = False,
) -> Path:
    """Return the folder of a job of the clips in ``folder / "clips"``: four are done.

    Args:
        folder: folder to work in.
        task: task of the job.
        job: settings of the job, instead of the usual ones.
        first: item in place of the first clip.
        with_old: whether the record of ``long.mp4`` is of version 1, without measurements.
    """
    clips, out = folder / "clips", folder / "job"
    if not clips.exists():
        paint_clips(clips)
    words = {"ask": {"question": "Which colour?"}, "ground": {"query": "a dog"}}.get(task, {})
    settings = job or Job(task=task, folder=str(clips), **words)  # type: ignore[arg-type]
    rows: list[Item | BadRow] = [
        Item(id=name, source=name, extra=format_extra(EXTRA.get(name, {}))) for name in DONE
    ]
    if first is not None:
        rows[0] = first
    rows += [Item(id=name, source=name) for name in ("near.mp4", "short.mp4", "bad.mp4", "later")]
    rows.append(BadRow(id="l:7", where="l line 7", code="batch.row_invalid", message="no path"))
    with Journal.open(out, write=True) as journal:
        journal.plan(rows, settings, MODEL)
        for taken in journal.claim(len(rows) - 2):
            match taken.item.id:
                case "near.mp4":
                    message = "differs from long.mp4 by 1.25 grey levels on average"
                    journal.mark_filtered("near.mp4", "near_duplicates", message, None)
                case "short.mp4":
                    journal.mark_filtered("short.mp4", "min_duration", "0.4 s is short", None)
                case "bad.mp4":
                    journal.mark_failed("bad.mp4", "media.corrupt", "media", "damaged", "copy it")
                case name:
                    _mark_done(
                        journal,
                        settings,
                        taken.item,
                        task,
                        is_old=with_old and name == "long.mp4",
                    )
    return out


def _mark_done(journal: Journal, job: Job, item: Item, task: str, *, is_old: bool) -> None:
    """Mark a clip as done; an old record has no measurements."""
    record = json.loads(record_for(task, item.source, f"This is {item.source}.").json_line())
    if is_old:
        del record["quality"]
        record["schema_version"] = 1
    text = json.dumps(record)
    content = read_content(job.resolve_path(item.source))
    journal.mark_done(item.id, fingerprint_of(item.id), content, text, sheet())


def fingerprint_of(item_id: str) -> str:
    """Return the fingerprint of the record of a clip."""
    return hashlib.sha256(item_id.encode()).hexdigest()


@contextmanager
def source_of(folder: Path, options: DatasetOptions | None = None) -> Iterator[DatasetSource]:
    """Open the clips of a job."""
    with Journal.open(folder, write=False) as journal, Fetcher() as fetcher, journal.snapshot():
        job = journal.job()
        assert job is not None
        opener = ClipOpener(job, fetcher)  # Without windows it has nothing to close.
        yield DatasetSource(journal, job, opener, options or DatasetOptions())


def exported(folder: Path, form: str, output: Path, **options: Any) -> DatasetResult:
    """Export the job of a folder as a dataset."""
    with Journal.open(folder, write=False) as journal:
        return export_dataset(journal, form, output, DatasetOptions(**options))


def all_bytes(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder by name."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def manifest(folder: Path) -> dict[str, Any]:
    """Return the content of `dataset.json`."""
    values: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    return values
