"""Job of parts: memory of a plan, time to list commits, and what a part costs.

    python benchmarks/batch_parts.py --rows 1000000 --commits 4000 --check

``plan`` cuts so many rows into parts, in a process of its own whose memory is measured. ``list``
reads the status of a job with so many commits in a folder. ``part`` runs clips as parts in a store
that answers in 20 ms, and measures the time that is not spent in the run of their clips, which is
that of a job in one folder. Its share is that of a part of 256 clips at ``--clip-s`` each.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from seedvideo.batch.execution import DEFAULT_ENTRYPOINTS
from seedvideo.batch.inputs import Item, read_inputs
from seedvideo.batch.job import Job
from seedvideo.batch.part_board import PartBoard
from seedvideo.batch.part_plan import write_job
from seedvideo.batch.part_records import Commit
from seedvideo.batch.part_runner import PartRunner, run_pull
from seedvideo.batch.part_status import StatusReader
from seedvideo.batch.progress import Progress
from seedvideo.batch.scheduler import Runner
from seedvideo.batch.stores import FolderStore, Store, open_store
from seedvideo.model import load_costs

MAX_PLAN_MB = 300.0
MAX_LIST_S = 2.0
MAX_PART_S = 0.5
MAX_OVERHEAD = 0.03
REQUEST_S = 0.02


class SlowStore:
    """A folder that answers each request after some time, as a bucket does."""

    def __init__(self, folder: Path) -> None:
        self._store: Store = FolderStore(folder)
        self.requests = 0

    @property
    def address(self) -> str:
        """The folder."""
        return self._store.address

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """See `Store`."""
        self._wait()
        return self._store.put_if_absent(name, data)

    def put(self, name: str, data: bytes) -> None:
        """See `Store`."""
        self._wait()
        self._store.put(name, data)

    def read(self, name: str) -> bytes | None:
        """See `Store`."""
        self._wait()
        return self._store.read(name)

    def size(self, name: str) -> int | None:
        """See `Store`."""
        self._wait()
        return self._store.size(name)

    def list_names(self, prefix: str) -> Iterator[str]:
        """See `Store`; one request for each thousand names."""
        for number, name in enumerate(self._store.list_names(prefix)):
            if number % 1000 == 0:
                self._wait()
            yield name

    def delete(self, name: str) -> None:
        """See `Store`."""
        self._wait()
        self._store.delete(name)

    def _wait(self) -> None:
        self.requests += 1
        time.sleep(REQUEST_S)


def main() -> None:
    """Run every step and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--commits", type=int, default=4_000)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--part-clips", type=int, default=4)
    parser.add_argument("--clip-s", type=float, default=2.0)
    parser.add_argument("--quick", action="store_true", help="leave out the run of clips")
    parser.add_argument("--check", action="store_true", help="exit with 1 above the limits")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        plan_step(Path(args.folder))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {"plan_mb": measure_plan(folder, args.rows)}
        found["list_s"] = measure_list(folder, args.commits)
        if not args.quick:
            found |= measure_part(folder, args.clips, args.part_clips, args.clip_s)
    limits = {"plan_mb": MAX_PLAN_MB, "list_s": MAX_LIST_S}
    limits |= {"part_s": MAX_PART_S, "overhead": MAX_OVERHEAD}
    above = {name: value for name, value in found.items() if value > limits[name]}
    if args.check and above:
        raise SystemExit(f"above the limits: {above}")


def measure_plan(folder: Path, rows: int) -> float:
    """Plan rows in a process of its own; return the growth of its memory in MB."""
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"path": f"clips/{number % 1000:03}/{number:08}.mp4"}) + "\n")
    command = [sys.executable, __file__, "--step", "plan", "--folder", str(folder)]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    print(made.stdout, end="", flush=True)
    return float(json.loads(made.stdout.splitlines()[-1])["grown_mb"])


def plan_step(folder: Path) -> None:
    """Plan the rows of a folder and print the time and the growth of memory."""
    before = rss_mb()
    began_s, used_s = time.perf_counter(), time.process_time()
    manifest = str(folder / "rows.jsonl")
    store = open_store(str(folder / "planned"), create=True)
    job = write_job(store, read_inputs([manifest]), Job(inputs=(manifest,)), "0" * 64)
    values = {
        "step": "plan",
        "rows": job.parts.clips,
        "parts": job.parts.parts,
        "wall_s": round(time.perf_counter() - began_s, 1),
        "cpu_s": round(time.process_time() - used_s, 1),
        "grown_mb": round(rss_mb() - before, 1),
    }
    print(json.dumps(values))


def measure_list(folder: Path, commits: int) -> float:
    """Return the seconds to read the status of a job with so many commits."""
    store = open_store(str(folder / "listed"), create=True)
    rows = (Item(id=f"c{number}", source=f"{number}.mp4") for number in range(commits))
    job = write_job(store, rows, Job(), "0" * 64, part_clips=1)
    for number in job.parts.numbers():
        commit = Commit(
            part=number,
            attempt=1,
            data=f"parts/{number}",
            size=1,
            sha256="0" * 64,
            rows=1,
            digest="0" * 64,
            counts={"done": 1},
            failures=(),
            restarts={"decode": 0, "model": 0},
            stage_s={"decode": 1.0},
            visual_tokens=1,
            output_tokens=1,
            runner="r",
        )
        # Without waiting for the disk, which is not what is measured.
        for name, data in (
            (job.parts.commit_name(number), json.dumps(asdict(commit)).encode()),
            (job.parts.attempt_name("starts", number, 1), b"{}"),
        ):
            path = folder / "listed" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    began_s = time.perf_counter()
    status = StatusReader(store).read()
    spent_s = time.perf_counter() - began_s
    assert status.committed == commits
    print(json.dumps({"step": "list", "commits": commits, "wall_s": round(spent_s, 2)}), flush=True)
    return spent_s


def measure_part(folder: Path, clips: int, part_clips: int, clip_s: float) -> dict[str, float]:
    """Run clips as parts; return what a part costs besides its clips, and its share of the time."""
    items = make_clips(folder / "clips", clips)
    costs = load_costs("nano")
    job = Job(folder=str(folder), sheets=False)
    (folder / "parts").mkdir()
    store = SlowStore(folder / "parts")
    planned = write_job(store, items, job, costs.sha256, part_clips=part_clips)
    inside_s = 0.0
    run = Runner.run

    def timed(runner: Runner) -> bool:
        nonlocal inside_s
        began_s = time.perf_counter()
        is_complete = run(runner)
        inside_s += time.perf_counter() - began_s
        return is_complete

    store.requests, began_s = 0, time.perf_counter()
    with (
        patch.object(Runner, "run", timed),
        PartRunner(
            store,
            planned,
            replace(job, inputs=()),
            costs,
            scratch=folder / "scratch",
            progress=Progress(),
            entrypoints=DEFAULT_ENTRYPOINTS,
        ) as runner,
    ):
        result = run_pull(runner, PartBoard(store, planned, runner.identity), Progress())
        assert result.is_complete
        outside_s = time.perf_counter() - began_s - inside_s
    part_s = outside_s / planned.parts.parts
    values = {
        "step": "part",
        "clips": clips,
        "parts": planned.parts.parts,
        "clips_s": round(inside_s, 1),
        "requests": store.requests,
        "ms_per_part": round(1000 * part_s),
        "overhead_of_256_clips": round(part_s / (256 * clip_s), 5),
    }
    print(json.dumps(values), flush=True)
    return {"part_s": part_s, "overhead": part_s / (256 * clip_s)}


def make_clips(folder: Path, count: int) -> list[Item]:
    """Write so many short clips of noise."""
    import av

    folder.mkdir()
    items = []
    for number in range(count):
        path = folder / f"{number:03}.mp4"
        rng = np.random.default_rng(number)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for _ in range(10):
                pixels = rng.integers(0, 255, (96, 128, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
            container.mux(stream.encode())
        items.append(Item(id=path.name, source=str(path)))
    return items


def rss_mb() -> float:
    """Return the largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
