"""Layout of a job of parts in its store: names, settings and the items of a part.

    JOB/job.json                       settings, written last: a job without it has no plan
    JOB/plan/000042.jsonl.gz           items of one part
    JOB/reuse/000042.jsonl.gz          records of another job that may still hold
    JOB/starts/000042.001.json         attempts at a part
    JOB/marks/000042/002.00017.HASH    clips that an attempt has begun, from the second attempt on
    JOB/ends/000042.002.json           attempts that ended without a commit, and without a crash
    JOB/parts/000042.001-NONCE...      records of an attempt, which count if a commit names them
    JOB/sheets/000042.001-NONCE...     its contact sheets
    JOB/commits/000042.json            the only truth about a part
    JOB/retries/001/job.json           written last; names the folder of a retry
    JOB/retries/001/NONCE/...          the same again for clips that are tried again

`seedvideo.batch.part_plan` writes a plan, `seedvideo.batch.part_records` the records.
"""

import gzip
import hashlib
import json
import os
import platform
import secrets
import zlib
from dataclasses import asdict, dataclass, field, replace
from shlex import quote
from typing import Any, Final, Self, TypeAlias

from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job
from seedvideo.batch.stores import Store
from seedvideo.environment import __version__
from seedvideo.errors import BatchError, SeedVideoError
from seedvideo.utils.text import printable

JOB_NAME: Final = "job.json"
FORMAT: Final = 1
"""Version of the layout, stored in `JOB_NAME`."""

_NUMBERS: Final = "06"
_DAMAGE: Final = (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError)
"""Errors of an object that is not what was written."""

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
        return f"{self.prefix}{kind}/{number:{_NUMBERS}}.{attempt:03}.json"

    def marks_prefix(self, number: int) -> str:
        """Return the start of the names of all marks of a part."""
        return f"{self.prefix}marks/{number:{_NUMBERS}}/"

    def local_name(self, number: int) -> str:
        """Return the name of the journal of a part on a machine."""
        return f"{self.prefix.replace('/', '-')}{number:{_NUMBERS}}"

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
        part_clips: maximum clips of a part.
        seedvideo: version that planned it, which must run it.
        key: a random name: a machine uses nothing that an earlier job of the same plan left.
    """

    job: Job
    model_sha256: str
    settings_sha256: str
    parts: PartSet
    part_clips: int
    seedvideo: str = __version__
    key: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def id(self) -> str:
        """A name that only this plan under these settings, from this folder, has."""
        text = f"{self.settings_sha256} {self.parts.plan_sha256} {self.job.folder}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]

    def to_json(self) -> bytes:
        """Return the bytes of `JOB_NAME`."""
        values = {
            "format": FORMAT,
            "seedvideo": self.seedvideo,
            "settings_sha256": self.settings_sha256,
            "model_sha256": self.model_sha256,
            "part_clips": self.part_clips,
            "key": self.key,
            **_part_set_to_dict(self.parts),
            "job": json.loads(self.job.to_json()),
        }
        return to_bytes(values)

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
                parts=_part_set_from_dict(values),
                part_clips=int(values["part_clips"]),
                seedvideo=values["seedvideo"],
                key=values["key"],
            )
        except BatchError:
            raise
        except (ValueError, KeyError, TypeError, SeedVideoError) as error:
            why = f"{JOB_NAME}: {error}"
            raise damaged_plan_error(where, why, keeps_results=False) from error


def read_job(store: Store) -> PartedJob:
    """Return the job of a store.

    Raises:
        BatchError: ``batch.no_plan`` if there is none; as `PartedJob.from_json` does.
        StoreError: as `Store` does.
    """
    data = store.read(JOB_NAME)
    if data is None:
        raise BatchError(
            "batch.no_plan",
            f"{printable(store.address)} does not contain a job of parts",
            hint=f"plan it: seedvideo batch plan INPUT... {printable(store.words)}",
        )
    return PartedJob.from_json(data, where=store.address)


def read_part_sets(store: Store, job: PartedJob) -> list[PartSet]:
    """Return the parts of a job and those of its retries, in order.

    Raises:
        BatchError: ``batch.plan_damaged``.
    """
    found = [job.parts]
    for name in store.list_names("retries/"):
        if name.endswith(f"/{JOB_NAME}") and name.count("/") == 2:
            data = store.read(name)
            if data is not None:
                found.append(_read_part_set(store, name, data))
    return found


def _read_part_set(store: Store, name: str, data: bytes) -> PartSet:
    """Return the parts of a retry."""
    try:
        return _part_set_from_dict(json.loads(data))
    except _DAMAGE as error:
        raise damaged_plan_error(store.address, f"{name}: {error}") from error


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
        return [row_from_line(line) for line in gzip.decompress(data).splitlines()]
    except _DAMAGE as error:
        raise damaged_plan_error(store.address, f"{name}: {error}") from error


def read_reusable(store: Store, parts: PartSet, number: int) -> list[tuple[str, str]]:
    """Return fingerprints and records of another job that may still hold.

    Raises:
        BatchError: ``batch.plan_damaged``.
    """
    name = parts.reuse_name(number)
    data = store.read(name)
    if data is None:
        return []
    try:
        lines = map(json.loads, gzip.decompress(data).splitlines())
        return [(line["fingerprint"], line["record"]) for line in lines]
    except _DAMAGE as error:
        raise damaged_plan_error(store.address, f"{name}: {error}") from error


def part_set_bytes(parts: PartSet) -> bytes:
    """Return the bytes of the `JOB_NAME` of a retry."""
    return to_bytes({"format": FORMAT, "seedvideo": __version__, **_part_set_to_dict(parts)})


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


def damaged_plan_error(address: str, why: str, *, keeps_results: bool = True) -> BatchError:
    """Return the error of a plan that cannot be read; whether its results can still be."""
    return BatchError(
        "batch.plan_damaged",
        f"the plan in {printable(address)} is damaged: {printable(why[:300])}",
        hint="plan the job again in another place"
        + (", with --from and this address to keep results" if keeps_results else ""),
    )


def version_error(address: str, version: str) -> BatchError:
    """Return the error of a job that another version planned."""
    return BatchError(
        "batch.version_differs",
        f"{printable(address)} was planned by seedvideo {printable(version[:40])},"
        f" and this is {__version__}",
        hint="install the same version on all machines, or plan a new job with --from",
    )


def check_version(job: PartedJob, address: str) -> None:
    """Check that this version planned the job.

    Raises:
        BatchError: ``batch.version_differs``.
    """
    if job.seedvideo != __version__:
        raise version_error(address, job.seedvideo)


def check_folder(folder: str) -> None:
    """Check that the working folder of a plan exists on this machine.

    Raises:
        BatchError: ``batch.no_folder``.
    """
    if not os.path.isdir(folder):
        raise BatchError(
            "batch.no_folder",
            f"the plan's working folder {printable(folder)} does not exist on {platform.node()}",
            hint="mount it at the same path, or plan with absolute names in a folder that exists"
            " everywhere: cd / and seedvideo batch plan ...",
        )


def plan_exists_error(store: Store, *, folder: str = "") -> BatchError:
    """Return the error of a store that holds another plan; ``folder`` is where that was made."""
    address = printable(store.address)
    return BatchError(
        "batch.plan_exists",
        f"{address} already holds another plan"
        + (f", whose names are relative to {printable(folder)}" if folder else ""),
        hint=f"choose another address, with --from {quote(address)} to keep results that still"
        " hold",
    )


def line_from_row(position: int, row: Row) -> bytes:
    """Return a row of a plan as JSON."""
    if isinstance(row, BadRow):
        return json.dumps({"position": position, "bad_row": asdict(row)}).encode("ascii")
    values: dict[str, Any] = {"position": position, "id": row.id, "item": row.to_json()}
    values |= {name: getattr(row, name) for name in ("origin", "extra") if getattr(row, name)}
    return json.dumps(values).encode("ascii")


def row_from_line(line: bytes) -> tuple[int, Row]:
    """Parse a line that `line_from_row` returned."""
    values = json.loads(line)
    if "bad_row" in values:
        return values["position"], BadRow(**values["bad_row"])
    item = Item.from_json(values["id"], values["item"])
    carried = {name: values[name] for name in ("origin", "extra") if name in values}
    return values["position"], replace(item, **carried)


def _part_set_to_dict(parts: PartSet) -> dict[str, Any]:
    values = {"parts": parts.parts, "clips": parts.clips, "plan_sha256": parts.plan_sha256}
    if parts.prefix:
        values |= {"prefix": parts.prefix, "replaced": parts.replaced}
        values["failures"] = [list(each) for each in parts.failures]
    return values


def _part_set_from_dict(values: dict[str, Any]) -> PartSet:
    return PartSet(
        prefix=str(values.get("prefix", "")),
        parts=int(values["parts"]),
        clips=int(values["clips"]),
        plan_sha256=values["plan_sha256"],
        replaced=dict(values.get("replaced", {})),
        failures=tuple((str(c), str(s), int(n)) for c, s, n in values.get("failures", ())),
    )


def settings_sha256(job: Job, model_sha256: str) -> str:
    """Return a hash of everything in a job that changes its results."""
    return hashlib.sha256(to_bytes([job.settings(), model_sha256])).hexdigest()


def to_bytes(values: object) -> bytes:
    """Return values as one line of ASCII JSON."""
    return json.dumps(values, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
