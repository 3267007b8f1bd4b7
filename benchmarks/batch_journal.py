"""Journal of a batch: time to take in a manifest, to scan it again, and memory, for many rows.

    python benchmarks/batch_journal.py --rows 1000000

Each step runs in a process of its own, so its memory is too. ``start`` reads a manifest of
JSON lines into a new journal, ``finish`` settles some items singly, ``resume`` opens the journal
and reads the manifest again, ``scan`` reads every entry as an export does. The files that the rows
name do not exist: a resumed job looks for those that are done, and no more.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import read_inputs
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal

GOALS = {"start": (20.0, 300.0), "resume": (30.0, 300.0), "scan": (float("inf"), 300.0)}
"""For a million rows: most wall seconds of a step, and most MB that it may grow by."""

CONTENT = Content(size=1, mtime_ns=1, sha256="0" * 64)
MODEL = "0" * 64


def main() -> None:
    """Run every step and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--finished", type=int, default=2_000, help="items settled one by one")
    parser.add_argument("--check", action="store_true", help="end with 1 above the goals")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        run_step(args.step, args.folder, args.finished, check=args.check)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "rows.jsonl").open("w") as file:
            for number in range(args.rows):
                file.write(json.dumps({"path": f"clips/{number % 1000:03}/{number:08}.mp4"}) + "\n")
        print(f"{args.rows:,} rows", flush=True)
        for step in ("start", "finish", "resume", "scan"):
            words = ["--step", step, "--folder", name, "--finished", str(args.finished)]
            words += ["--check"] * args.check
            code = subprocess.run([sys.executable, __file__, *words], check=False).returncode
            if code:
                sys.exit(code)
        size = sum(path.stat().st_size for path in (folder / "out").iterdir())
        print(f"journal  {size / 1e6:,.0f} MB on disk")


def run_step(step: str, folder: Path, finished: int, *, check: bool) -> None:
    """One step, its wall and processor seconds, and by how much the process grew.

    Raises:
        SystemExit: with ``check``, if it is above the goals.
    """
    before = rss_mb()
    began, used = time.perf_counter(), time.process_time()
    manifest = str(folder / "rows.jsonl")
    with Journal.open(folder / "out", write=step != "scan") as journal:
        if step in ("start", "resume"):
            report = f"{journal.plan(read_inputs([manifest]), Job(inputs=(manifest,)), MODEL)}"
        elif step == "finish":
            for each in journal.claim(finished):
                journal.mark_done(each.item.id, each.item.id, CONTENT, "{}", None)
            report = f"{finished / (time.perf_counter() - began):,.0f} items/s, a commit each"
        else:
            report = f"{sum(1 for _ in journal.entries()):,} entries"
    wall_s, used_s = time.perf_counter() - began, time.process_time() - used
    grown = rss_mb() - before
    print(f"{step:8} {wall_s:6.1f} s wall {used_s:6.1f} s CPU  +{grown:4.0f} MB  {report}")
    most_s, most_mb = GOALS.get(step, (float("inf"), float("inf")))
    if check and (wall_s > most_s or grown > most_mb):
        sys.exit(f"{step}: above the goals of {most_s:g} s and {most_mb:g} MB")


def rss_mb() -> float:
    """The most memory that the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
