"""Status, check and retry of a job of parts.

A clip counts as done only once its part has a commit. Only commits that are new since the last look
are read, so a job can be watched. Wall-clock times are for display only.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from seedvideo.batch.inputs import Item
from seedvideo.batch.journal_rows import Counts
from seedvideo.batch.maintenance import CheckResult
from seedvideo.batch.part_attempts import list_attempts, parse_runner
from seedvideo.batch.part_plan import write_parts
from seedvideo.batch.part_records import (
    Commit,
    list_committed,
    parse_commit,
    parse_row,
    read_commits,
    read_part,
    read_sheets,
)
from seedvideo.batch.parts import (
    JOB_NAME,
    PartSet,
    Row,
    part_set_bytes,
    plan_digest,
    read_job,
    read_part_sets,
    read_plan,
    to_bytes,
)
from seedvideo.batch.progress import FAILED_STATES, describe_settings, union_length_s
from seedvideo.batch.stores import Store, probe, read_many
from seedvideo.errors import BatchError, SeedVideoError
from seedvideo.utils.text import printable

RECENT_PARTS: Final = 100
"""Commits that the pace is averaged over."""


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """Status of a job of parts.

    Args:
        job: description of the job for people.
        counts: clips by state; those of parts without a commit are pending.
        parts: number of parts, retries included.
        committed: parts with a commit.
        open: parts that were begun and have no commit.
        open_clips: clips in these parts: begun, or done on a machine and not committed.
        repeated: attempts beyond the first of each part.
        runners: names of runners that committed a part or have begun an open one.
        failures: code, stage and number of failed clips, the most frequent first.
        restarts: restarts of processes by kind.
        stage_s: seconds by stage, over all records.
        visual_tokens: tokens of frames, over all records.
        output_tokens: tokens that the model wrote, over all records.
        clips_per_min: recent pace of all runners together; None before the first commit.
    """

    job: str
    counts: Counts
    parts: int
    committed: int
    open: int
    open_clips: int
    repeated: int
    runners: Sequence[str]
    failures: Sequence[tuple[str, str, int]]
    restarts: Mapping[str, int]
    stage_s: Mapping[str, float]
    visual_tokens: int
    output_tokens: int
    clips_per_min: float | None

    @property
    def is_complete(self) -> bool:
        """Whether every part has a commit."""
        return self.committed == self.parts

    @property
    def left_s(self) -> float | None:
        """Seconds that the remaining clips take at this pace; None if unknown."""
        if not self.counts.pending:
            return 0.0
        return None if not self.clips_per_min else 60 * self.counts.pending / self.clips_per_min

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        left_s, pace = self.left_s, self.clips_per_min
        return {
            "job": self.job,
            "total": self.counts.total,
            "counts": asdict(self.counts),
            "parts": {
                "total": self.parts,
                "committed": self.committed,
                "open": self.open,
                "repeated": self.repeated,
            },
            "open_clips": self.open_clips,
            "runners": list(self.runners),
            "clips_per_min": None if pace is None else round(pace, 3),
            "left_s": None if left_s is None else round(left_s, 1),
            "failures": [
                {"code": code, "stage": stage, "count": count}
                for code, stage, count in self.failures
            ],
            "restarts": dict(self.restarts),
            "stage_s": {stage: round(spent_s, 2) for stage, spent_s in self.stage_s.items()},
            "visual_tokens": self.visual_tokens,
            "output_tokens": self.output_tokens,
        }


class StatusReader:
    """Reads the status of a job again and again.

    Args:
        store: store of the job.

    Raises:
        BatchError: as `read_job` does.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._job = read_job(store)
        self._commits: dict[str, dict[int, Commit]] = {}

    def read(self) -> JobStatus:
        """Return the status now.

        Raises:
            BatchError: ``batch.part_damaged``; ``batch.no_plan`` if the job was deleted meanwhile.
            StoreError: as `Store` does.
        """
        if self._store.size(JOB_NAME) is None:
            read_job(self._store)
        sets = read_part_sets(self._store, self._job)
        totals = _Totals()
        for parts in sets:
            attempts = list_attempts(self._store, parts)
            commits = self._commits.setdefault(parts.prefix, {})
            committed = list_committed(self._store, parts)
            for number in set(commits) - set(committed):
                del commits[number]  # Removed to be processed again.
            commits.update(read_commits(self._store, parts, known=commits))
            open_parts = sorted(set(attempts) - set(commits))
            totals.add(parts, commits.values(), attempts)
            totals.open += len(open_parts)
            names = [parts.attempt_name("starts", n, attempts[n]) for n in open_parts]
            for _, data in read_many(self._store, names):
                runner = None if data is None else parse_runner(data)
                if runner is not None:
                    totals.runners.add(runner.name)
            totals.open_clips += self._count_clips(parts, open_parts)
        return totals.to_status(describe_settings(self._job.job), sets)

    def _count_clips(self, parts: PartSet, numbers: list[int]) -> int:
        return sum(len(read_plan(self._store, parts, number)) for number in numbers)


class _Totals:
    """Sums over the commits of a job and its retries."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.restarts: Counter[str] = Counter()
        self.stage_s: dict[str, float] = {}
        self.runners: set[str] = set()
        self.spans: list[tuple[float, float, int]] = []
        self.committed = self.open = self.open_clips = self.repeated = 0
        self.visual_tokens = self.output_tokens = 0

    def add(self, parts: PartSet, commits: Iterable[Commit], attempts: Mapping[int, int]) -> None:
        pending = parts.clips
        self.states.subtract(parts.replaced)
        for code, stage, count in parts.failures:
            self.failures[code, stage] -= count
        for commit in commits:
            pending -= commit.rows
            self.committed += 1
            self.states.update(commit.counts)
            for code, stage, count in commit.failures:
                self.failures[code, stage] += count
            self.restarts.update(commit.restarts)
            for kind, spent_s in commit.stage_s.items():
                self.stage_s[kind] = self.stage_s.get(kind, 0.0) + spent_s
            self.visual_tokens += commit.visual_tokens
            self.output_tokens += commit.output_tokens
            self.runners.add(commit.runner)
            if commit.finished_at > commit.started_at > 0:
                self.spans.append((commit.started_at, commit.finished_at, commit.rows))
        self.states["pending"] += pending
        self.repeated += sum(attempts.values()) - len(attempts)

    def to_status(self, job: str, sets: Sequence[PartSet]) -> JobStatus:
        recent = sorted(self.spans, key=lambda span: span[1])[-RECENT_PARTS:]
        busy_s = union_length_s([span[:2] for span in recent])
        failures = [(code, stage, n) for (code, stage), n in self.failures.items() if n > 0]
        return JobStatus(
            job=job,
            counts=Counts.from_states(self.states),
            parts=sum(parts.parts for parts in sets),
            committed=self.committed,
            open=self.open,
            open_clips=self.open_clips,
            repeated=self.repeated,
            runners=sorted(self.runners),
            failures=sorted(failures, key=lambda each: (-each[2], each[0])),
            restarts={"decode": 0, "model": 0, **self.restarts},
            stage_s=dict(self.stage_s),
            visual_tokens=self.visual_tokens,
            output_tokens=self.output_tokens,
            clips_per_min=60 * sum(span[2] for span in recent) / busy_s if busy_s > 0 else None,
        )


def watch(
    store: Store,
    show: Callable[[JobStatus], None],
    *,
    interval_s: float,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Show the status of a job repeatedly until every part has a commit."""
    reader = StatusReader(store)
    while True:
        status = reader.read()
        show(status)
        if status.is_complete:
            return
        wait(interval_s)


def retry(store: Store, *, code: str | None = None) -> int:
    """Plan failed and quarantined clips again, as parts of their own over those of the job.

    Args:
        store: store of the job.
        code: only failures with this code.

    Returns:
        The number of clips.

    Raises:
        BatchError: ``batch.plan_exists`` if another process plans a retry at the same time.
    """
    job = read_job(store)
    sets = read_part_sets(store, job)
    found = {
        item_id: failed
        for item_id, failed in _find_failed(store, sets).items()
        if code is None or failed.code == code
    }
    chosen: list[tuple[int, Row]] = [(each.position, each.item) for each in found.values()]
    replaced = Counter(each.state for each in found.values())
    failures = Counter((each.code, each.stage) for each in found.values())
    if not chosen:
        return 0
    name = f"retries/{len(sets):03}"
    # In a folder of its own: an earlier retry may have been cut off in the middle of its plan.
    prefix = f"{name}/{secrets.token_hex(6)}/"
    whole = replace(
        write_parts(store, prefix, chosen, max_clips=job.part_clips),
        replaced=dict(replaced),
        failures=tuple((c, stage, count) for (c, stage), count in failures.items()),
    )
    if not store.put_if_absent(f"{name}/{JOB_NAME}", part_set_bytes(whole)):
        raise BatchError(
            "batch.plan_exists",
            f"another process has planned a retry of {printable(store.address)}",
            hint=f"see what is left: seedvideo batch status {printable(store.words)}",
        )
    return len(chosen)


@dataclass(frozen=True, kw_only=True)
class _Failed:
    """A clip whose last outcome is a failure."""

    position: int
    item: Item
    state: str
    code: str
    stage: str


def _find_failed(store: Store, sets: Sequence[PartSet]) -> dict[str, _Failed]:
    """Return failed clips by id; unreadable rows are not among them."""
    found: dict[str, _Failed] = {}
    for parts in sets:
        commits = dict(read_commits(store, parts))
        for number in parts.numbers():
            commit = commits.get(number)
            if commit is None:
                for _, row in read_plan(store, parts, number) if parts.prefix else ():
                    found.pop(row.id, None)  # It waits for its retry.
                continue
            if not parts.prefix and not commit.failures:
                continue
            for values in read_part(store, commit):
                found.pop(values["id"], None)
                if values["state"] in FAILED_STATES and not values.get("is_bad_row"):
                    found[values["id"]] = _Failed(
                        position=values["position"],
                        item=parse_row(values),
                        state=values["state"],
                        code=values.get("code", ""),
                        stage=values.get("stage", ""),
                    )
    return found


def reopen_damaged(store: Store) -> list[str]:
    """Remove the commits whose records are missing or damaged; return their names."""
    removed = []
    for parts, number, problem in _check_parts(store):
        if problem:
            for attempt in range(1, list_attempts(store, parts).get(number, 0) + 1):
                # None of them died of a clip.
                store.put(
                    parts.attempt_name("ends", number, attempt), to_bytes({"reason": "again"})
                )
            store.delete(parts.commit_name(number))
            removed.append(parts.commit_name(number))
    return removed


def check_job(store: Store) -> Iterator[CheckResult]:
    """Run all checks of a job of parts; nothing is changed, except a probe that is removed."""
    try:
        probe(store)
        yield CheckResult(state="ok", name="store", detail="of two writers only one succeeds")
        job = read_job(store)
        sets = read_part_sets(store, job)
        for parts in sets:
            digest = plan_digest(store, parts)
            is_same = digest == parts.plan_sha256
            kind = printable(parts.prefix or "the job")
            yield CheckResult(
                state="ok" if is_same else "wrong",
                name="plan",
                detail=f"{kind}: {parts.parts:,} parts, {parts.clips:,} clips"
                if is_same
                else f"{kind}: the plan does not match its hash [batch.plan_damaged]",
                next_step="" if is_same else "plan the job again in another place, with --from",
            )
        checked = damaged = 0
        for _, _, problem in _check_parts(store):
            checked += 1
            if problem:
                damaged += 1
                yield CheckResult(
                    state="wrong",
                    name="part",
                    detail=f"{problem} [batch.part_damaged]",
                    next_step=f"process it again: seedvideo batch retry {store.words} --damaged",
                )
        yield CheckResult(
            state="ok", name="parts", detail=f"{checked - damaged:,} committed parts are intact"
        )
        yield _check_orphans(store, sets)
        status = StatusReader(store).read()
        detail = f"{status.open:,} parts begun, {status.parts - status.committed:,} to do"
        yield CheckResult(state="ok", name="under way", detail=detail)
    except SeedVideoError as error:
        detail = f"{error.message} [{error.code}]"
        yield CheckResult(state="wrong", name="job", detail=detail, next_step=error.hint)


def _check_parts(store: Store) -> Iterator[tuple[PartSet, int, str]]:
    """Yield each committed part with what is wrong with it; empty if nothing is."""
    for parts in read_part_sets(store, read_job(store)):
        for number in list_committed(store, parts):
            problem, name = "", parts.commit_name(number)
            try:
                data = store.read(name)
                if data is not None:
                    commit = parse_commit(data, where=name)
                    rows = sum(1 for _ in read_part(store, commit))
                    read_sheets(store, commit)
                    if rows != commit.rows:
                        problem = f"{commit.data} has {rows:,} rows, expected {commit.rows:,}"
            except BatchError as error:
                problem = error.message
            yield parts, number, problem


def _check_orphans(store: Store, sets: Sequence[PartSet]) -> CheckResult:
    named: set[str] = set()
    there: set[str] = set()
    for parts in sets:
        for _, commit in read_commits(store, parts):
            named |= {commit.data, commit.sheets}
        for kind in ("parts", "sheets"):
            there |= set(store.list_names(f"{parts.prefix}{kind}/"))
    detail = (
        f"{len(there - named):,} objects of runners that came second or died; nothing reads them"
    )
    return CheckResult(state="ok", name="unused", detail=detail)
