"""Plan of a job of parts: its items cut into parts, frozen in the store of the job.

    JOB/job.json                       settings, written last: a job without it has no plan
    JOB/plan/000042.jsonl.gz           items of one part
    JOB/reuse/000042.jsonl.gz          records of another job that may still hold
    JOB/starts/000042/001.json         attempts at a part
    JOB/marks/000042/002.0017.HASH     clips that an attempt has begun, from the second attempt on
    JOB/ends/000042/002.json           attempts that ended without a commit, and without a crash
    JOB/parts/000042.001-NONCE...      records of an attempt, which count only if a commit names them
    JOB/sheets/000042.001-NONCE...     its contact sheets
    JOB/commits/000042.json            the only truth about a part
    JOB/retries/001/...                the same again for clips that are tried again

Rows are sorted on the disk, so memory does not grow with their number beyond what `read_inputs`
needs. All rows of one source are in one part, in the order of the inputs.
"""

import gzip
import hashlib
import json
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from seedvideo.batch.fingerprint import VerdictKeys
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import DEFAULT_FILTERS, Job
from seedvideo.batch.stores import PARALLEL_REQUESTS, Store
from seedvideo.environment import __version__
from seedvideo.errors import BatchError, SeedVideoError
from seedvideo.utils.text import printable

JOB_NAME: Final = "job.json"
FORMAT: Final = 1
"""Version of the layout, stored in `JOB_NAME`."""

DEFAULT_PART_CLIPS: Final = 256
PART_SECONDS: Final = 600.0
"""Expected seconds of work in a part: the loss if its machine dies is half of it on average."""

DEFAULT_CLIP_SECONDS: Final = 2.0

_NUMBERS: Final = "06"

Row: TypeAlias = Item | BadRow


@dataclass(frozen=True, kw_only=True)
class PartSet:
    """Parts that were planned together: those of a job, or those of one retry.

    Args:
        prefix: start of the names of its objects; empty for the job itself.
        parts: number of parts, counted from 1.
        clips: number of rows in them.
        plan_sha256: hash over all objects of the plan.
        replaced: for a retry, the number of its clips by the state that they had before.
        failures: for a retry, their codes, stages and numbers before.
    """

    prefix: str
    parts: int
    clips: int
    plan_sha256: str
    replaced: dict[str, int] = field(default_factory=dict)
    failures: tuple[tuple[str, str, int], ...] = ()

    def numbers(self) -> range:
        """Return the numbers of the parts."""
        return range(1, self.parts + 1)

    def plan_name(self, number: int) -> str:
        """Return the name of the items of a part."""
        return f"{self.prefix}plan/{number:{_NUMBERS}}.jsonl.gz"

    def reuse_name(self, number: int) -> str:
        """Return the name of the records of another job that may still hold."""
        return f"{self.prefix}reuse/{number:{_NUMBERS}}.jsonl.gz"

    def commit_name(self, number: int) -> str:
        """Return the name of the commit of a part."""
        return f"{self.prefix}commits/{number:{_NUMBERS}}.json"

    def attempt_name(self, kind: str, number: int, attempt: int) -> str:
        """Return the name of a note about an attempt; ``kind`` is ``starts`` or ``ends``."""
        return f"{self.prefix}{kind}/{number:{_NUMBERS}}/{attempt:03}.json"

    def marks_prefix(self, number: int) -> str:
        """Return the start of the names of all marks of a part."""
        return f"{self.prefix}marks/{number:{_NUMBERS}}/"

    def data_stem(self, number: int, attempt: int, nonce: str) -> str:
        """Return the name of an attempt's records, without folder and suffix."""
        return f"{number:{_NUMBERS}}.{attempt:03}-{nonce}"


@dataclass(frozen=True, kw_only=True)
class PartedJob:
    """Settings of a job of parts, as `JOB_NAME` holds them.

    Args:
        job: settings; its inputs are for people, the plan holds the rows.
        model_sha256: hash of the weights.
        settings_sha256: hash of settings and weights.
        parts: the parts of the job itself.
        seedvideo: version that planned it, which must run it.
    """

    job: Job
    model_sha256: str
    settings_sha256: str
    parts: PartSet
    seedvideo: str = __version__

    @property
    def id(self) -> str:
        """A name that only this plan under these settings has."""
        text = f"{self.settings_sha256} {self.parts.plan_sha256}"
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def to_json(self) -> bytes:
        """Return the bytes of `JOB_NAME`."""
        values = {
            "format": FORMAT,
            "seedvideo": self.seedvideo,
            "settings_sha256": self.settings_sha256,
            "model_sha256": self.model_sha256,
            **_part_set_to_dict(self.parts),
            "job": json.loads(self.job.to_json()),
        }
        return _to_bytes(values)

    @classmethod
    def from_json(cls, data: bytes, *, where: str) -> Self:
        """Parse the bytes of `JOB_NAME`.

        Raises:
            BatchError: ``batch.plan_damaged`` or ``batch.version_differs``.
        """
        try:
            values = json.loads(data)
            if values["format"] != FORMAT:
                raise version_error(where, str(values["seedvideo"]))
            return cls(
                job=Job.from_values(values["job"], where=where),
                model_sha256=values["model_sha256"],
                settings_sha256=values["settings_sha256"],
                parts=_part_set_from_dict("", values),
                seedvideo=values["seedvideo"],
            )
        except BatchError:
            raise
        except (ValueError, KeyError, TypeError, SeedVideoError) as error:
            raise damaged_plan_error(where, f"{JOB_NAME}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class PlanSource:
    """Records of an earlier job that the new one may use again.

    Args:
        job: settings of the earlier job.
        records: id, item, fingerprint and record of each clip that is done there.
    """

    job: PartedJob
    records: Iterable[tuple[Item, str, str]]


def read_job(store: Store) -> PartedJob:
    """Return the job of a store.

    Raises:
        BatchError: ``batch.no_plan`` if there is none; as `PartedJob.from_json` does.
        StoreError: as `Store` does.
    """
    data = store.read(JOB_NAME)
    if data is None:
        address = printable(store.address)
        raise BatchError(
            "batch.no_plan",
            f"{address} does not contain a job of parts",
            hint=f"plan it: seedvideo batch plan INPUT... --job {address}",
        )
    return PartedJob.from_json(data, where=store.address)


def read_part_sets(store: Store, job: PartedJob) -> list[PartSet]:
    """Return the parts of a job and those of its retries, in order."""
    found = [job.parts]
    for name in store.list_names("retries/"):
        if name.endswith(f"/{JOB_NAME}") and name.count("/") == 2:
            data = store.read(name)
            if data is not None:
                prefix = name.removesuffix(JOB_NAME)
                found.append(_part_set_from_dict(prefix, json.loads(data)))
    return found


def read_plan(store: Store, parts: PartSet, number: int) -> list[tuple[int, Row]]:
    """Return positions in the inputs and rows of one part.

    Raises:
        BatchError: ``batch.plan_damaged``.
    """
    name = parts.plan_name(number)
    data = store.read(name)
    try:
        if data is None:
            raise ValueError("it is missing")
        return [_row_from_line(line) for line in gzip.decompress(data).splitlines()]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise damaged_plan_error(store.address, f"{name}: {error}") from error


def read_reusable(store: Store, parts: PartSet, number: int) -> list[tuple[str, str]]:
    """Return fingerprints and records of another job that may still hold."""
    data = store.read(parts.reuse_name(number))
    if data is None:
        return []
    lines = map(json.loads, gzip.decompress(data).splitlines())
    return [(line["fingerprint"], line["record"]) for line in lines]


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
    numbered = enumerate(rows)
    parts = write_parts(
        store,
        "",
        numbered,
        max_clips=max(1, min(part_clips, int(PART_SECONDS / clip_s))),
        reuse=None if earlier is None else _Reuse(earlier, job, model_sha256),
        on_progress=on_progress,
    )
    settings = _to_bytes([job.settings(), model_sha256])
    made = PartedJob(
        job=job,
        model_sha256=model_sha256,
        settings_sha256=hashlib.sha256(settings).hexdigest(),
        parts=parts,
    )
    if not store.put_if_absent(JOB_NAME, made.to_json()):
        there = read_job(store)
        if (there.id, there.seedvideo) != (made.id, made.seedvideo):
            raise _plan_exists_error(store)
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
    """
    empty = PartSet(prefix=prefix, parts=0, clips=0, plan_sha256="")
    hashed, clips, number = hashlib.sha256(), 0, 0
    with (
        tempfile.TemporaryDirectory(prefix="seedvideo-plan-") as folder,
        closing(_connect(Path(folder) / "rows.sqlite")) as database,
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
                uploads.add(empty.reuse_name(number), gzip.compress(records, 6, mtime=0))
            uploads.add(empty.plan_name(number), data)
    return replace(empty, parts=number, clips=clips, plan_sha256=hashed.hexdigest())


def part_set_bytes(parts: PartSet) -> bytes:
    """Return the bytes of the `JOB_NAME` of a retry."""
    return _to_bytes({"format": FORMAT, "seedvideo": __version__, **_part_set_to_dict(parts)})


def plan_digest(store: Store, parts: PartSet) -> str:
    """Return the hash over all objects of a plan, to be compared with `PartSet.plan_sha256`.

    Raises:
        BatchError: ``batch.plan_damaged`` if one is missing.
    """
    hashed = hashlib.sha256()
    for number in parts.numbers():
        data = store.read(parts.plan_name(number))
        if data is None:
            raise damaged_plan_error(store.address, f"{parts.plan_name(number)} is missing")
        hashed.update(hashlib.sha256(data).digest())
    return hashed.hexdigest()


def damaged_plan_error(address: str, why: str) -> BatchError:
    """Return the error of a plan that cannot be read."""
    return BatchError(
        "batch.plan_damaged",
        f"the plan in {printable(address)} is damaged: {printable(why[:300])}",
        hint="plan the job again in another place, with --from and this address to keep results",
    )


def version_error(address: str, version: str) -> BatchError:
    """Return the error of a job that another version planned."""
    return BatchError(
        "batch.version_differs",
        f"{printable(address)} was planned by seedvideo {printable(version[:40])},"
        f" and this is {__version__}",
        hint="install the same version on all machines, or plan a new job with --from",
    )


def _plan_exists_error(store: Store) -> BatchError:
    address = printable(store.address)
    return BatchError(
        "batch.plan_exists",
        f"{address} already holds another plan",
        hint=f"choose another address, with --from {address} to keep results that still hold",
    )


class _Uploads:
    """Conditional writes of a plan, several at once; use it in a ``with`` statement."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(PARALLEL_REQUESTS)
        self._pending: deque[Future[bool]] = deque()

    def add(self, name: str, data: bytes) -> None:
        """Write an object; wait if too many are under way."""
        self._pending.append(self._pool.submit(self._store.put_if_absent, name, data))
        while len(self._pending) > PARALLEL_REQUESTS:
            self._check(self._pending.popleft())

    def _check(self, done: "Future[bool]") -> None:
        if not done.result():
            raise _plan_exists_error(self._store)

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
            _, row = _row_from_line(line)
            if not isinstance(row, Item):
                continue
            kept = database.execute(
                "SELECT fingerprint, record FROM earlier WHERE id = ? AND key = ?",
                (json.dumps(row.id), self._new.key_for(row)),
            ).fetchone()
            if kept is not None:
                found.append(_to_bytes({"fingerprint": kept[0], "record": kept[1]}))
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
    count = 0
    for position, row in rows:
        source = row.where if isinstance(row, BadRow) else row.source
        hashed = hashlib.blake2b(source.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        # Two sources of one hash would only share a part.
        key = int.from_bytes(hashed, "big", signed=True)
        database.execute("INSERT OR IGNORE INTO sources VALUES (?, ?)", (key, position))
        database.execute(
            "INSERT INTO rows SELECT ?, first, ? FROM sources WHERE key = ?",
            (position, _line_from_row(position, row), key),
        )
        count += 1
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


def _line_from_row(position: int, row: Row) -> bytes:
    if isinstance(row, BadRow):
        return json.dumps({"position": position, "bad_row": asdict(row)}).encode("ascii")
    values: dict[str, Any] = {"position": position, "id": row.id, "item": row.to_json()}
    values |= {name: getattr(row, name) for name in ("origin", "extra") if getattr(row, name)}
    return json.dumps(values).encode("ascii")


def _row_from_line(line: bytes) -> tuple[int, Row]:
    values = json.loads(line)
    if "bad_row" in values:
        return values["position"], BadRow(**values["bad_row"])
    item = Item.from_json(values["id"], values["item"])
    carried = {name: values[name] for name in ("origin", "extra") if name in values}
    return values["position"], replace(item, **carried)


def _part_set_to_dict(parts: PartSet) -> dict[str, Any]:
    values = {"parts": parts.parts, "clips": parts.clips, "plan_sha256": parts.plan_sha256}
    if parts.prefix:
        values |= {"replaced": parts.replaced, "failures": [list(each) for each in parts.failures]}
    return values


def _part_set_from_dict(prefix: str, values: dict[str, Any]) -> PartSet:
    return PartSet(
        prefix=prefix,
        parts=int(values["parts"]),
        clips=int(values["clips"]),
        plan_sha256=values["plan_sha256"],
        replaced=dict(values.get("replaced", {})),
        failures=tuple((str(c), str(s), int(n)) for c, s, n in values.get("failures", ())),
    )


def _to_bytes(values: object) -> bytes:
    return json.dumps(values, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
