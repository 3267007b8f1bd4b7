"""Journal of a batch: time and memory to read a manifest, and to read it again, for many rows.

    python benchmarks/batch_journal.py --rows 1000000

Each step runs in a process of its own, whose memory is measured. ``start`` reads a manifest of JSON
lines into a new journal, ``finish`` marks some items as done one by one, ``resume`` opens the
journal and reads the manifest again, ``scan`` reads every entry as an export does. The files that
the rows name do not exist: a resumed job only checks the files of done items.
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
"""Limits for a million rows: wall seconds of a step, and MB by which its memory may grow."""

CONTENT = Content(size=1, mtime_ns=1, sha256="0" * 64)
MODEL = "0" * 64


def main() -> None:
    """Run every step and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument(
        "--finished", type=int, default=2_000, help="items marked as done one by one"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 above the limits")
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
            command = ["--step", step, "--folder", name, "--finished", str(args.finished)]
            command += ["--check"] * args.check
            code = subprocess.run([sys.executable, __file__, *command], check=False).returncode
            if code:
                sys.exit(code)
        size = sum(path.stat().st_size for path in (folder / "out").iterdir())
        print(f"journal  {size / 1e6:,.0f} MB on disk")


def run_step(step: str, folder: Path, finished: int, *, check: bool) -> None:
    """Run one step; print its wall and processor seconds and the growth of its memory.

    Raises:
        SystemExit: with ``check``, if it exceeds the limits.
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
    max_s, max_mb = GOALS.get(step, (float("inf"), float("inf")))
    if check and (wall_s > max_s or grown > max_mb):
        sys.exit(f"{step}: above the goals of {max_s:g} s and {max_mb:g} MB")


def rss_mb() -> float:
    """Return the peak memory of the process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
