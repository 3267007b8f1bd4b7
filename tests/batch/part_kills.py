"""Kills runners of a job of parts, and processes below them, at random moments.

Used with few kills by a test, and with many by `tests.batch.release`.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedvideo.batch.inputs import Item
from seedvideo.batch.part_attempts import hash_item
from seedvideo.batch.parts import read_job
from seedvideo.batch.stores import Store, open_store
from tests.batch.command import below, finish, start

RUNNERS = 2


@dataclass
class KillReport:
    """What happened in the jobs.

    Args:
        jobs: jobs that were run to their end.
        kills: killed processes by kind.
        executed: clips that a runner reported with an outcome.
        repeated: of these, clips that had been reported before.
        lost: rows that the export lacks.
        twice: rows that the export has twice.
        blamed: clips that were the last of two killed runners.
        loading: runners that ended because their model was killed while it loaded.
    """

    jobs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    executed: int = 0
    repeated: int = 0
    lost: int = 0
    twice: int = 0
    blamed: int = 0
    loading: int = 0


def plan(clips: Path, address: str, *words: str) -> None:
    code, _, err = finish(
        clips, "--job", address, "--part-clips", "2", *words, command="plan", timeout_s=300
    )
    assert code == 0, err


def exported(folder: Path, *words: str | Path) -> list[bytes]:
    """Rows of a job in one folder or of parts, without timings."""
    path = folder / f"rows-{time.monotonic_ns()}.jsonl"
    options = ("-f", "jsonl", "-o", path, "--no-timings", "-q")
    code, _, err = finish(*words, *options, command="export", timeout_s=300)
    assert code == 0, err
    return path.read_bytes().splitlines(keepends=True)


def kill_once(
    clips: Path,
    folder: Path,
    address: str,
    truth: list[bytes],
    rng: random.Random,
    report: KillReport,
    *,
    took_s: float,
    kinds: tuple[str, ...],
    words: tuple[str, ...] = (),
    endpoint: str | None = None,
) -> None:
    """Run one job with several runners, kill processes, and check the rows and commits."""
    plan(clips, address, *words)
    store = open_store(address, endpoint=endpoint)
    logs: list[Path] = []

    def launch(slot: int) -> "subprocess.Popen[str]":
        logs.append(folder / f"log-{len(logs)}")
        with logs[-1].open("w") as log:
            scratch = folder / f"node-{slot}"
            options = [address, *words, "--json-events", "--scratch", str(scratch)]
            return start("--job", *options, stdout=subprocess.DEVNULL, stderr=log)

    runners = [launch(slot) for slot in range(RUNNERS)]
    seen: dict[str, bytes | None] = {}
    for kind in kinds:
        time.sleep(rng.uniform(0, took_s))
        slot = rng.randrange(RUNNERS)
        if _kill(runners[slot], kind, rng):
            report.kills[kind] += 1
        seen |= _commits(store)
        if runners[slot].poll() is not None:
            runners[slot] = launch(slot)
    for slot, runner in enumerate(runners):
        # A model that dies while it loads ends its runner, which is started again.
        while runner.wait(timeout=600) == 3:
            report.loading += 1
            assert report.loading <= report.kills["model"]
            runner = launch(slot)
        runners[slot] = runner
    codes = [runner.returncode for runner in runners]
    ends = "".join(log.read_text()[-1000:] for log in logs)
    assert set(codes) <= {0, 1} and "Traceback" not in ends, ends
    code, _, err = finish("--job", address, *words, "--scratch", folder / "last", timeout_s=300)
    assert code == 0 and "all parts are committed; 0 with" in err, err
    # A commit that was there is there, unchanged: nothing committed was done again.
    now = _commits(store)
    assert {name: now[name] for name in seen} == seen
    _count(logs, report)
    found = exported(folder, "--job", address, *words)
    ids = Counter(json.loads(line)["id"] for line in found)
    report.twice += sum(count - 1 for count in ids.values())
    report.lost += len(truth) - len(ids)
    _compare(found, truth, store, report)
    report.jobs += 1


def _kill(runner: "subprocess.Popen[str]", kind: str, rng: random.Random) -> bool:
    """Kill a runner, or a process below it; False if there is none."""
    if kind == "runner":
        if runner.poll() is not None:
            return False
        runner.kill()
        runner.wait()
        return True
    found = [pid for pid in below(runner.pid) if f"{kind}_main" in _command(pid)]
    if not found:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(found), signal.SIGKILL)
    return True


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    return ""


def _commits(store: Store) -> dict[str, bytes | None]:
    return {name: store.read(name) for name in store.list_names("commits/")}


def _count(logs: list[Path], report: KillReport) -> None:
    seen: set[str] = set()
    for log in logs:
        for line in log.read_text().splitlines():
            event: dict[str, Any] = json.loads(line) if line.endswith("}") else {}
            if event.get("event") == "item":
                report.executed += 1
                report.repeated += event["id"] in seen
                seen.add(event["id"])


def _compare(found: list[bytes], truth: list[bytes], store: Store, report: KillReport) -> None:
    """Compare rows; a clip may differ only if two killed runners had marked it last."""
    job = read_job(store)
    lasts: Counter[str] = Counter()
    for number in job.parts.numbers():
        marks: dict[str, str] = {}
        for name in store.list_names(job.parts.marks_prefix(number)):
            attempt, _, clip = name.rpartition("/")[2].split(".")
            marks[attempt] = clip
        lasts.update(marks.values())
    assert len(found) == len(truth)
    for one, other in zip(found, truth, strict=True):
        if one != other:
            row = json.loads(one)
            assert row.get("error", {}).get("code") == "batch.runner_died", (one, other)
            assert lasts[hash_item(Item(id=row["id"], source="-"))] >= 2, row
            report.blamed += 1
