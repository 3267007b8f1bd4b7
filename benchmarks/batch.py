"""Speed of a batch compared with a loop and with one process per file, and cost of its safety.

    python benchmarks/batch.py [--clips N] [--quick] [--model NAME_OR_FOLDER] [--folder DIR]

Short, different clips are generated. The model captions all of them in four ways, one after
another: a loop over `seedvideo.caption` with one loaded model, `seedvideo batch` with one and with
two decode processes, and, for a few clips, `seedvideo caption` with one process per file. Each time
is that of a complete fresh process, with torch, the weights and, for a batch, its journal and one
export. The model process of a batch keeps the memory that it frees. To separate this effect, the
loop is also run with the same settings of the allocator.

Goals: the model waits less than 5% of the time between its first and its last answer; commits and
the export take less than 2% of the total time. The captions must be the same in all ways.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from _common import in_child, machine, print_machine

from seedvideo.batch.journal import Journal
from seedvideo.batch.processes import allocator_variables

CLIPS = 500
QUICK_CLIPS = 24
FILES = 10
"""Number of clips that are captioned by one process each."""

WAIT_GOAL = 0.05
SAFETY_GOAL = 0.02
WORKERS = (1, 2)
KEEPS_MEMORY = "the loop, memory kept"
CLIP_S, FPS, WIDTH_PX, HEIGHT_PX = 4, 15, 480, 270


def main() -> None:
    """Generate the clips, caption them in every way, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=int)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CLIPS} clips")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--folder", type=Path, help="keep the clips in this folder for another run")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.model, *args.measure)))
        return
    count = args.clips or (QUICK_CLIPS if args.quick else CLIPS)
    with TemporaryDirectory() as name:
        work = Path(name)
        folder = (args.folder or work) / f"clips-{count}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = folder / f"{number:04}.mp4"
            if not path.exists():
                paint(path, number)
        ways = {"a plain loop": ["loop", str(folder), str(work / "loop.jsonl")]}
        ways[KEEPS_MEMORY] = ["loop", str(folder), str(work / "loop-keeps.jsonl")]
        for workers in WORKERS:
            out = str(work / f"out-{workers}")
            ways[f"batch, {workers} decoding"] = ["batch", str(folder), out, str(workers)]
        rows = {way: time_in_child(args.model, way, arguments) for way, arguments in ways.items()}
        rows["one process per file"] = run_processes(args.model, sorted(folder.iterdir())[:FILES])
        lists = [work / "loop.jsonl", *(work / f"out-{n}" / "clips.jsonl" for n in WORKERS)]
        same = count_equal_texts(lists)
    print(table(rows))
    print(f"\n{same} of {count} clips have the same caption in the loop and in all batches.")
    print(f"{machine()}, model {args.model}, clips of {CLIP_S} s, {WIDTH_PX}x{HEIGHT_PX} px")
    print_machine("torch", "av")


def paint(path: Path, seed: int) -> None:
    """Write a clip: two soft backgrounds with a cut between them, and moving discs."""
    import av
    import numpy as np

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    colours = rng.integers(0, 256, (2, 4, 3))
    discs = rng.uniform(0, 1, (3, 5))
    paints = rng.integers(0, 256, (3, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.options = {"preset": "veryfast"}
        down, right = (y / HEIGHT_PX)[..., None], (x / WIDTH_PX)[..., None]
        grounds = [
            (one * (1 - right) + two * right) * (1 - down)
            + (three * (1 - right) + four * right) * down
            for one, two, three, four in colours
        ]
        for number in range(CLIP_S * FPS):
            fraction = number / (CLIP_S * FPS)
            picture = grounds[fraction >= 0.5].copy()
            for (left, top, to_left, to_top, size), paint_of in zip(discs, paints, strict=True):
                middle_x = (left + (to_left - left) * fraction) * WIDTH_PX
                middle_y = (top + (to_top - top) * fraction) * HEIGHT_PX
                inside = (x - middle_x) ** 2 + (y - middle_y) ** 2 < (15 + 40 * size) ** 2
                picture[inside] = paint_of
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def time_in_child(model: str, way: str, arguments: list[str]) -> dict[str, float]:
    """Run one way in a fresh process."""
    print(f"{way} ...", file=sys.stderr)
    variables = allocator_variables(os.environ) if way == KEEPS_MEMORY else {}
    os.environ.update(variables)
    try:
        started = perf_counter()
        measured = in_child(__file__, "--model", model, "--measure", *arguments)
        return {**measured, "wall_s": perf_counter() - started}
    finally:
        for name in variables:
            del os.environ[name]


def run_processes(model: str, paths: list[Path]) -> dict[str, float]:
    """Run `seedvideo caption` for each file."""
    print("one process per file ...", file=sys.stderr)
    command = [sys.executable, "-m", "seedvideo", "caption", "--model", model, "-f", "json", "-q"]
    tokens = 0
    started = perf_counter()
    for path in paths:
        done = subprocess.run([*command, str(path)], check=True, capture_output=True, text=True)
        tokens += json.loads(done.stdout)["usage"]["visual_tokens"]
    return {"clips": len(paths), "visual_tokens": tokens, "wall_s": perf_counter() - started}


def measure(model: str, way: str, folder: str, output: str, workers: str = "1") -> dict[str, Any]:
    """Run one way in this process."""
    if way == "loop":
        return run_loop(model, Path(folder), Path(output))
    return run_batch(model, folder, Path(output), int(workers))


def run_loop(name: str, folder: Path, output: Path) -> dict[str, Any]:
    """Caption all clips in a simple loop."""
    import seedvideo

    model = seedvideo.load(name)
    tokens = clips = 0
    with output.open("w") as file:
        for path in sorted(folder.iterdir()):
            record = seedvideo.caption(str(path), model=model)
            file.write(record.json_line() + "\n")
            clips, tokens = clips + 1, tokens + record.usage.visual_tokens
    return {"clips": clips, "visual_tokens": tokens}


class TimedJournal(Journal):
    """A journal that measures the time of its transactions, commits included."""

    spent_s = 0.0

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """See `Journal.transaction`."""
        started = perf_counter()
        try:
            with super().transaction() as tables:
                yield tables
        finally:
            self.spent_s += perf_counter() - started


def run_batch(name: str, folder: str, output: Path, workers: int) -> dict[str, Any]:
    """Do the work of `seedvideo batch run` and one `batch export`."""
    from seedvideo.batch import inputs
    from seedvideo.batch.export import export
    from seedvideo.batch.job import Job
    from seedvideo.batch.progress import Progress
    from seedvideo.batch.scheduler import Runner
    from seedvideo.model import load_costs

    job = Job(inputs=(folder,), model=name, workers=workers)
    costs = load_costs(name)
    events: list[dict[str, Any]] = []
    progress = Progress(event=lambda line: events.append(json.loads(line)))
    with TimedJournal.open(output, write=True) as journal:
        started = perf_counter()
        journal.plan(inputs.read_inputs(job.inputs), job, costs.sha256)
        planned_s = perf_counter() - started
        assert Runner(journal, job, costs, progress=progress).run()
        commits_s = journal.spent_s
        assert journal.counts().done == journal.counts().total
    started = perf_counter()
    with Journal.open(output, write=False) as journal:
        made = export(journal, "jsonl", output / "clips.jsonl")
    exported_s = perf_counter() - started
    return {
        "clips": made.clips,
        "visual_tokens": sum(e["visual_tokens"] for e in events if e["event"] == "item"),
        "wait_share": events[-1]["model_wait_share"],
        "safety_s": planned_s + commits_s + exported_s,
        "supervisor_s": process_time(),
    }


def count_equal_texts(lists: list[Path]) -> int:
    """Count the clips that have the same text in all of these files."""
    texts: dict[str, set[str]] = {}
    for path in lists:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            texts.setdefault(row["source"], set()).add(row["text"])
    return sum(len(found) == 1 for found in texts.values())


def table(rows: dict[str, dict[str, float]]) -> str:
    """Render the rows as a Markdown table."""
    lines = [
        "| way | clips | wall | clips per minute | against the loop | visual tokens per second |"
        " model waits | journal and export | supervisor's processor time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    loop = rows["a plain loop"]
    for way, row in rows.items():
        pace = row["clips"] / row["wall_s"]
        cells = [
            way,
            f"{row['clips']:,.0f}",
            f"{row['wall_s']:.1f} s",
            f"{60 * pace:.1f}",
            f"{pace * loop['wall_s'] / loop['clips']:.2f}x",
            f"{row['visual_tokens'] / row['wall_s']:,.0f}",
        ]
        if "wait_share" in row:
            safety = row["safety_s"] / row["wall_s"]
            cells.append(f"{row['wait_share']:.2%} ({verdict(row['wait_share'], WAIT_GOAL)})")
            cells.append(f"{safety:.2%} ({verdict(safety, SAFETY_GOAL)})")
            cells.append(f"{row['supervisor_s'] / row['wall_s']:.2%}")
        else:
            cells += ["", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(fraction: float, goal: float) -> str:
    """Format whether a goal was met."""
    return f"goal {goal:.0%} {'met' if fraction < goal else 'MISSED'}"


if __name__ == "__main__":
    main()
