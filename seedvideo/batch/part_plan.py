"""Plan of a job of parts: all rows of its inputs, cut into parts and frozen in its store.

Rows are sorted on the disk, so memory does not grow with their number beyond what `read_inputs`
needs. All rows of one source are in one part, in the order of the inputs. The same inputs give the
same bytes: a plan that was cut off is completed by the same call.

Separate from `seedvideo.batch.parts`, which would exceed 500 lines with it.
"""

import gzip
import hashlib
import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from seedvideo.batch.fingerprint import VerdictKeys
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import DEFAULT_FILTERS, Job
from seedvideo.batch.journal_schema import translate_errors
from seedvideo.batch.parts import (
    JOB_NAME,
    PartedJob,
    PartSet,
    Row,
    line_from_row,
    plan_exists_error,
    read_job,
    row_from_line,
    settings_sha256,
    to_bytes,
)
from seedvideo.batch.stores import PARALLEL_REQUESTS, Store
from seedvideo.utils.files import temporary_folder

DEFAULT_PART_CLIPS: Final = 256
PART_SECONDS: Final = 600.0
"""Expected seconds of work in a part: the loss if its machine dies is half of it on average."""

DEFAULT_CLIP_SECONDS: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class PlanSource:
    """Records of an earlier job that the new one may use again.

    Args:
        job: settings of the earlier job.
        records: id, item, fingerprint and record of each clip that is done there.
    """

    job: PartedJob
    records: Iterable[tuple[Item, str, str]]


def write_job(
    store: Store,
    rows: Iterable[Row],
    job: Job,
    model_sha256: str,
    *,
    part_clips: int = DEFAULT_PART_CLIPS,
    clip_s: float = DEFAULT_CLIP_SECONDS,
    earlier: PlanSource | None = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> PartedJob:
    """Cut rows into parts and write them; the same call after a crash completes the plan.

    Args:
        store: store of the job.
        rows: all rows of the inputs, with unique ids.
        job: settings of the job.
        model_sha256: hash of the weights.
        part_clips: maximum clips of a part; one source with more clips stays together.
        clip_s: expected seconds of work for a clip: parts take ten minutes.
        earlier: records that may be used again.
        on_progress: called with the number of rows read.

    Raises:
        BatchError: ``batch.plan_exists`` if the store holds another plan.
        StoreError: as `Store` does.
    """
    max_clips = max(1, min(part_clips, int(PART_SECONDS / clip_s)))
    parts = write_parts(
        store,
        "",
        enumerate(rows),
        max_clips=max_clips,
        reuse=None if earlier is None else _Reuse(earlier, job, model_sha256),
        on_progress=on_progress,
    )
    made = PartedJob(
        job=job,
        model_sha256=model_sha256,
        settings_sha256=settings_sha256(job, model_sha256),
        parts=parts,
        part_clips=max_clips,
    )
    if not store.put_if_absent(JOB_NAME, made.to_json()):
        there = read_job(store)
        if (there.id, there.seedvideo) != (made.id, made.seedvideo):
            is_elsewhere = there.job.folder != job.folder
            raise plan_exists_error(store, folder=there.job.folder if is_elsewhere else "")
        return there
    return made


def write_parts(
    store: Store,
    prefix: str,
    rows: Iterable[tuple[int, Row]],
    *,
    max_clips: int,
    reuse: "_Reuse | None" = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> PartSet:
    """Write the plan of all parts, without `JOB_NAME`.

    Args:
        store: store of the job.
        prefix: start of the names.
        rows: positions in the inputs and rows.
        max_clips: maximum clips of a part, unless one source has more.
        reuse: records that may be used again.
        on_progress: called with the number of rows read.

    Raises:
        BatchError: ``batch.plan_exists`` if another plan is there.
        OutputError: ``output.disk_full`` if the rows do not fit into the temporary folder.
    """
    empty = PartSet(prefix=prefix, parts=0, clips=0, plan_sha256="")
    hashed, clips, number = hashlib.sha256(), 0, 0
    with (
        temporary_folder("seedvideo-plan-") as folder,
        translate_errors(folder),
        closing(_connect(folder / "rows.sqlite")) as database,
        _Uploads(store) as uploads,
    ):
        _sort_rows(database, rows, on_progress)
        if reuse is not None:
            reuse.load(database)
        for number, lines in enumerate(_cut(database, max_clips), start=1):
            data = gzip.compress(b"".join(line + b"\n" for line in lines), 6, mtime=0)
            hashed.update(hashlib.sha256(data).digest())
            clips += len(lines)
            if reuse is not None and (records := reuse.select(database, lines)):
                # The earlier job may have gone on since this plan was begun: either are valid.
                reused = gzip.compress(records, 6, mtime=0)
                uploads.add(empty.reuse_name(number), reused, may_differ=True)
            uploads.add(empty.plan_name(number), data)
    return replace(empty, parts=number, clips=clips, plan_sha256=hashed.hexdigest())


class _Uploads:
    """Conditional writes of a plan, several at once; use it in a ``with`` statement."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(PARALLEL_REQUESTS)
        self._pending: deque[Future[bool]] = deque()

    def add(self, name: str, data: bytes, *, may_differ: bool = False) -> None:
        """Write an object; wait if too many are under way.

        Args:
            name: its name.
            data: its bytes.
            may_differ: whether other bytes that are there are kept without an error.
        """

        def write() -> bool:
            return self._store.put_if_absent(name, data) or may_differ

        self._pending.append(self._pool.submit(write))
        while len(self._pending) > PARALLEL_REQUESTS:
            self._check(self._pending.popleft())

    def _check(self, done: "Future[bool]") -> None:
        if not done.result():
            raise plan_exists_error(self._store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                for each in self._pending:
                    self._check(each)
        finally:
            self._pool.shutdown(cancel_futures=True)


class _Reuse:
    """Records of an earlier job whose settings are those of the new one, clip by clip."""

    def __init__(self, earlier: PlanSource, job: Job, model_sha256: str) -> None:
        self._records = earlier.records
        # Filters decide whether there is a record, not what is in it.
        self._old = VerdictKeys(
            replace(earlier.job.job, filters=DEFAULT_FILTERS).settings(),
            model_sha256=earlier.job.model_sha256,
        )
        self._new = VerdictKeys(
            replace(job, filters=DEFAULT_FILTERS).settings(), model_sha256=model_sha256
        )

    def load(self, database: sqlite3.Connection) -> None:
        """Read the earlier records into a table."""
        database.execute(
            "CREATE TABLE earlier (id TEXT PRIMARY KEY, key TEXT, fingerprint TEXT, record TEXT)"
        )
        database.executemany(
            "INSERT OR IGNORE INTO earlier VALUES (?, ?, ?, ?)",
            (
                (json.dumps(item.id), self._old.key_for(item), fingerprint, record)
                for item, fingerprint, record in self._records
            ),
        )

    def select(self, database: sqlite3.Connection, lines: Iterable[bytes]) -> bytes:
        """Return the records for the rows of a part as JSON lines."""
        found = []
        for line in lines:
            _, row = row_from_line(line)
            if not isinstance(row, Item):
                continue
            kept = database.execute(
                "SELECT fingerprint, record FROM earlier WHERE id = ? AND key = ?",
                (json.dumps(row.id), self._new.key_for(row)),
            ).fetchone()
            if kept is not None:
                found.append(to_bytes({"fingerprint": kept[0], "record": kept[1]}))
        return b"".join(found)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    # A plan that is cut off is written again.
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("CREATE TABLE sources (key INTEGER PRIMARY KEY, first INTEGER)")
    database.execute("CREATE TABLE rows (position INTEGER PRIMARY KEY, first INTEGER, line BLOB)")
    return database


def _sort_rows(
    database: sqlite3.Connection,
    rows: Iterable[tuple[int, Row]],
    on_progress: Callable[[int], None],
) -> None:
    """Store the rows, each with the first position of its source."""
    database.execute("BEGIN")
    for count, (position, row) in enumerate(rows, start=1):
        source = row.where if isinstance(row, BadRow) else row.source
        hashed = hashlib.blake2b(source.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        # Two sources of one hash would only share a part.
        key = int.from_bytes(hashed, "big", signed=True)
        database.execute("INSERT OR IGNORE INTO sources VALUES (?, ?)", (key, position))
        database.execute(
            "INSERT INTO rows SELECT ?, first, ? FROM sources WHERE key = ?",
            (position, line_from_row(position, row), key),
        )
        if count % 10_000 == 0:
            on_progress(count)
    database.execute("CREATE INDEX in_order ON rows (first, position)")
    database.execute("COMMIT")


def _cut(database: sqlite3.Connection, max_clips: int) -> Iterator[list[bytes]]:
    """Yield the lines of each part."""
    part: list[bytes] = []
    source: list[bytes] = []
    last = None
    for first, line in database.execute("SELECT first, line FROM rows ORDER BY first, position"):
        if first != last:
            if part and len(part) + len(source) > max_clips:
                yield part
                part = []
            part += source
            source, last = [], first
        source.append(line)
    if part and len(part) + len(source) > max_clips:
        yield part
        part = []
    if part or source:
        yield part + source
