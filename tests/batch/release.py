"""Checks that take too long for every change: `make release-check`.

    python -m tests.batch.release kills --trials 200
    python -m tests.batch.release disk
    python -m tests.batch.release parts --trials 200

``kills`` runs a job of small clips with a model without weights, kills it with signal 9 at a random
moment, repeatedly, and then lets it finish: its export must be, byte for byte, that of an
undisturbed run, and nothing that was reported done may be lost. ``disk`` limits the supervisor's
files to every n-th page. ``parts`` kills runners, decode and model processes of jobs of parts, on a
real S3 server and in a folder. Exits with 1 at the first violation.
"""

import argparse
import itertools
import os
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import State
from seedvideo.errors import BatchError
from tests.batch.command import below, events, export, finish, have_exited, start
from tests.batch.part_kills import RUNNERS, KillReport, exported, kill_once
from tests.object_server import Server, credentials
from tests.synthetic_clips import COLOURS, paint

CLIPS: Final = 20
PART_CLIPS: Final = 12
PAGE_BYTES: Final = 4096
FULL: Final = "[output.disk_full]"
_DONE: Final[tuple[State, ...]] = ("done",)
_KILLS_OF_A_JOB: Final = 3
"""Maximum kills of one job before it may finish."""


def main() -> None:
    """Run one check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("check", choices=("kills", "disk", "parts"))
    parser.add_argument("--trials", type=int, default=200, help="kills")
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--step", type=int, default=1, help="pages between two full disks")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.check == "parts":
            check_part_kills(folder, trials=args.trials, rng=random.Random(args.seed))
        elif args.check == "kills":
            check_kills(folder, trials=args.trials, rng=random.Random(args.seed))
        else:
            check_disk(folder, step=args.step)


def make_clips(folder: Path, count: int) -> Path:
    """Make a folder of clips, most of them valid; one is text, and one kills its process."""
    colours = list(COLOURS)
    for number in range(count - 2):
        names = [colours[number % 5], colours[number // 5 % 5]]
        paint(folder / f"{number:02}-{'-'.join(names)}.mp4", names, shot_s=0.4 + number / 100)
    (folder / "05-text.mp4").write_text("no video\n")
    # Different bytes: a clip with the bytes of another would reuse its record, unopened.
    paint(folder / "poison.mp4", ["red"], shot_s=3)
    return folder


def expect(is_true: bool, what: str) -> None:  # noqa: FBT001  # reads like an assertion
    """Exit with 1 if a condition fails; unlike an assertion, also under ``python -O``."""
    if not is_true:
        raise SystemExit(f"broken: {what}")


def check_kills(folder: Path, *, trials: int, rng: random.Random) -> None:
    """Kill a job repeatedly; the result must be that of an undisturbed job."""
    clips = make_clips(folder / "clips", CLIPS)
    began_s = time.monotonic()
    code, _, err = finish(clips, "-o", folder / "whole", "--json-events", timeout_s=600)
    took_s = time.monotonic() - began_s
    expect(code == 1, f"the undisturbed run ended with {code}: {err[-400:]}")
    truth = export(folder / "whole", "jsonl", folder / "whole.jsonl")
    expect(truth.count(b"\n") == CLIPS, "every clip has a line")
    print(f"{CLIPS} clips in {took_s:.1f} s, {len(truth):,} bytes", flush=True)
    kills = jobs = reported_in_all = 0
    while kills < trials:
        out = folder / f"job-{jobs}"
        reported: set[str] = set()
        for _ in range(min(rng.randint(1, _KILLS_OF_A_JOB), trials - kills)):
            reported_now, ended = _kill_one(clips, out, wait_s=rng.uniform(0, took_s))
            reported |= reported_now
            kills += 1
            lost = reported - _done_in(out)
            expect(not lost, f"lost: {lost}")
            if ended:
                break
        code, _, err = finish(clips, "-o", out, timeout_s=600)
        expect(code == 1, f"a resumed run ended with {code}: {err[-400:]}")
        with Journal.open(out, write=False) as journal:
            expect(journal.find_problems() == [], "the journal is sound")
        found = export(out, "jsonl", folder / "found.jsonl")
        expect(found == truth, f"after kill {kills} these lines differ: {_differ(truth, found)}")
        (folder / "found.jsonl").unlink()
        shutil.rmtree(out)
        jobs += 1
        reported_in_all += len(reported)
        print(f"{kills} kills, {jobs} jobs: same bytes", flush=True)
    print(f"kills: {kills} in {jobs} jobs, {reported_in_all} clips reported done before, none lost")


def check_part_kills(folder: Path, *, trials: int, rng: random.Random) -> None:
    """Kill runners of jobs of parts, and processes below them; rows must be those of one job."""
    clips = make_clips(folder / "clips", PART_CLIPS)
    began_s = time.monotonic()
    code, _, err = finish(clips, "-o", folder / "whole", timeout_s=600)
    took_s = time.monotonic() - began_s
    expect(code == 1, f"the undisturbed run ended with {code}: {err[-400:]}")
    truth, report = exported(folder, folder / "whole"), KillReport()
    os.environ |= credentials()
    with Server() as server:
        server.make_bucket("jobs")
        while sum(report.kills.values()) < trials:
            is_folder = report.jobs % 2 == 1
            work = folder / f"job-{report.jobs}"
            work.mkdir()
            kill_once(
                clips,
                work,
                str(work / "job") if is_folder else f"s3://jobs/{report.jobs}",
                truth,
                rng,
                report,
                took_s=took_s / RUNNERS,
                kinds=tuple(rng.choices(("runner", "decode", "model"), k=_KILLS_OF_A_JOB)),
                words=() if is_folder else ("--store-endpoint", server.endpoint),
                endpoint=None if is_folder else server.endpoint,
            )
            shutil.rmtree(work)
            print(report, flush=True)
    expect((report.lost, report.twice) == (0, 0), f"each row once: {report}")


def _done_in(out: Path) -> set[str]:
    """Return the clips that are done in the journal; none without a journal."""
    try:
        with Journal.open(out, write=False) as journal:
            return {entry.item.id for entry in journal.entries(states=_DONE)}
    except BatchError as error:
        if error.code != "batch.journal_missing":
            raise
        return set()


def _differ(one: bytes, other: bytes) -> list[tuple[bytes, bytes]]:
    lines = itertools.zip_longest(one.splitlines(), other.splitlines(), fillvalue=b"")
    return [pair for pair in lines if pair[0] != pair[1]][:1]


def _kill_one(clips: Path, out: Path, *, wait_s: float) -> tuple[set[str], bool]:
    """Start a run and kill it; return the clips reported done, and whether it had finished."""
    process = start(clips, "-o", out, "--json-events")
    try:
        out_text, err = process.communicate(timeout=wait_s)
    except subprocess.TimeoutExpired:
        children = below(process.pid)
        process.kill()
        out_text, err = process.communicate(timeout=60)
        expect(have_exited(children), "a killed job leaves no process behind")
    ended = process.returncode >= 0
    expect(out_text == "" and "Traceback" not in err, f"a clean stderr: {err[-400:]}")
    return {each["id"] for each in events(err) if each.get("state") == "done"}, ended


def check_disk(folder: Path, *, step: int) -> None:
    """Limit the job's files to every n-th page, then resume it without a limit."""
    clips = make_clips(folder / "clips", 5)
    finish(clips, "-o", folder / "whole")
    truth = export(folder / "whole", "jsonl", folder / "whole.jsonl")
    full = 0
    for pages in itertools.count(1, step):
        out, size = folder / f"job-{pages}", pages * PAGE_BYTES
        code, _, err = finish(clips, "-o", out, "--json-events", file_bytes=size)
        reported = {each["id"] for each in events(err) if each.get("state") == "done"}
        expect("Traceback" not in err, f"a clean stderr at {pages} pages: {err[-400:]}")
        if code == 1 and FULL not in err:
            break
        expect(code == 3 and FULL in err, f"{pages} pages: exit {code}: {err[-400:]}")
        full += 1
        lost = reported - _done_in(out)
        expect(not lost, f"lost at {pages} pages: {lost}")
        code, _, err = finish(clips, "-o", out)
        expect(code == 1, f"resumed after {pages} pages it ended with {code}: {err[-400:]}")
        found = export(out, "jsonl", folder / "found.jsonl")
        expect(found == truth, f"resumed after {pages} pages the export differs")
        (folder / "found.jsonl").unlink()
        shutil.rmtree(out)
        print(f"full at {pages} pages: resumed, same bytes", flush=True)
    expect(full > 0, "the disk was full at least once")
    print(f"disk: full at {full} sizes up to {pages} pages, each resumed to the same bytes")


if __name__ == "__main__":
    main()
