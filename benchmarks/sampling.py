"""Loaders of video frames side by side: time, memory, and whether the frames are the right ones.

    python benchmarks/sampling.py [--quick] [--peers PYTHON] [--folder DIR] [--rounds N]

Makes its own files: ten minutes of 720p in H.264 with keyframes every 60 and every 250 frames, of
mixed, calm and busy content; an hour of 360p; a minute each of HEVC, VP9 and AV1. ``--folder``
keeps them for the next run; ``--quick`` makes short ones, which show that everything works, and no
more.

The other loaders live in an environment of their own, because they bring other builds of torch and
FFmpeg. Without ``--peers``, those that are installed beside seedvideo are measured. To make it:

    python3.11 -m venv peers
    peers/bin/pip install torch==2.13.0 torchvision==0.28.0 --index-url \
https://download.pytorch.org/whl/cpu
    peers/bin/pip install torchcodec==0.13.0 decord==0.6.0 qwen-vl-utils==0.0.14 \
transformers==5.23.0 opencv-python-headless==5.0.0.93 av==18.1.0 scenedetect-headless==0.7.2

torchcodec 0.13.0 is the last that PyPI has for a CPU build of torch; later ones want CUDA's
libraries. It brings no FFmpeg, and is given the one inside PyAV's wheel.

Each measurement is a process of its own, begun after its imports and with the file in the page
cache; it reaches from the file's name to frames in memory. Loaders take turns; a ratio is the
median over the rounds of one loader's wall time over seedvideo's in the same round. Memory is
watched in a round that is not timed: the peak of all of a loader's processes together, "over" being
what that leaves beyond the result and the imports. "right" counts the frames that have the time
that was asked for and match the frame as it was painted no worse than any of its neighbours do.

The budget is the same for all that choose frames: that many squares of 28x28 px in all frames.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from _common import print_machine, print_table
from _sampling_files import FPS, Made, files, make
from _sampling_job import TOKEN_AREA_PX, Job
from _sampling_loaders import LOADERS
from _sampling_run import Environment, Row, environment, measure

from seedvideo.sampler.geometry import SEED
from seedvideo.units import BUDGET_TOKENS

COUNTS = (64, 256, 768)
EXACT = (
    "seedvideo",
    "decord get_batch",
    "torchcodec",
    "torchcodec, approximate",
    "OpenCV, grab all",
)
WHOLE = (
    "seedvideo, adaptive",
    "seedvideo, adaptive, packets",
    "seedvideo, even, 2 fps",
    "qwen-vl-utils, torchcodec",
    "qwen-vl-utils, decord",
    "transformers, torchcodec",
    "transformers, PyAV",
)
SHOTS = (
    "seedvideo, cuts, full",
    "seedvideo, cuts, fast",
    "PySceneDetect, content",
    "PySceneDetect, adaptive",
)
QUICK_WHOLE = ("mixed-g250", "av1")
"""Files that are loaded end to end when there is little time."""
HEADER = (
    "loader",
    "wall",
    "CPU",
    "ratio",
    "frames",
    "tokens",
    "right",
    "result",
    "peak",
    "over",
    "libavcodec",
)


def main() -> None:
    """Make the files and print the tables."""
    asked = _arguments()
    with TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        homes = [environment(Path(sys.executable), Path(scratch))]
        if asked.peers is not None:
            links = Path(scratch) / "peers"
            links.mkdir()
            # First, so that all but seedvideo are measured there.
            homes.insert(0, environment(asked.peers, links))
        bench = Bench(homes, folder, rounds=asked.rounds, limit_s=asked.limit_s)
        made = []
        for each in files(is_quick=asked.quick):
            print(f"making {each.name}", file=sys.stderr, flush=True)
            make(each, folder)
            made.append(each)
        bench.plans([each for each in made if not each.is_short])
        for each in made:
            for count in COUNTS[:1] if asked.quick else COUNTS:
                if count <= each.frames:
                    bench.exact(each, count)
        for each in made:
            if not asked.quick or each.name in QUICK_WHOLE:
                bench.whole(each)
        bench.shots(next(each for each in made if each.name == "mixed-g250"))
        _print_environments(homes)
    print_machine("av")


class Bench:
    """The tables of one run.

    Args:
        homes: environments in which loaders are looked for.
        folder: where the files are.
        rounds: of timing.
        limit_s: for one measurement.
    """

    def __init__(
        self, homes: Sequence[Environment], folder: Path, *, rounds: int, limit_s: float
    ) -> None:
        self._homes = homes
        self._folder = folder
        self._rounds = rounds
        self._limit_s = limit_s

    def plans(self, made: Sequence[Made]) -> None:
        """How long seedvideo needs to open a file and to plan it."""
        table: list[tuple[str, ...]] = []
        names: tuple[str, ...] = ()
        for each in made:
            (row,) = self._measure(each, ("seedvideo, plan",))
            names = tuple(row.last["facts"])
            spent = (f"{1000 * row.last['facts'][name]:.0f} ms" for name in names)
            table.append((_title(each), *spent))
        print_table("Opening a file, then planning it by each policy", ("file", *names), table)

    def exact(self, made: Made, count: int) -> None:
        """Frames of given numbers, evenly spread, at the size of the published model."""
        level = next(
            (each for each in SEED.levels_tokens if each * count <= BUDGET_TOKENS),
            SEED.levels_tokens[-1],
        )
        width_px, height_px = SEED.size(
            width_px=made.width_px, height_px=made.height_px, level_tokens=level
        )
        numbers = tuple((2 * place + 1) * made.frames // (2 * count) for place in range(count))
        rows = self._measure(made, EXACT, numbers=numbers, width_px=width_px, height_px=height_px)
        _print_rows(f"{_title(made)}: {count} frames of {width_px}x{height_px} px", rows)

    def whole(self, made: Made) -> None:
        """From a file's name to the frames that each loader chooses, within one budget."""
        rows = self._measure(made, WHOLE, budget_tokens=BUDGET_TOKENS)
        _print_rows(f"{_title(made)}: end to end, budget {BUDGET_TOKENS:,} tokens", rows)

    def shots(self, made: Made) -> None:
        """Finding the cuts."""
        rows = self._measure(made, SHOTS)
        _print_rows(f"{_title(made)}: cuts (counted as frames)", rows)

    def _measure(
        self,
        made: Made,
        ways: Sequence[str],
        *,
        numbers: tuple[int, ...] = (),
        width_px: int = 0,
        height_px: int = 0,
        budget_tokens: int = 0,
    ) -> list[Row]:
        path = str(made.path(self._folder))
        jobs = [
            Job(way, path, FPS, made.frames, numbers, width_px, height_px, budget_tokens)
            for way in ways
        ]
        return measure(
            jobs,
            self._homes,
            truth=made.truth(self._folder),
            rounds=self._rounds,
            limit_s=self._limit_s,
        )


def _title(made: Made) -> str:
    return f"{made.shown}, {made.duration_s} s"


def _print_rows(title: str, rows: Sequence[Row]) -> None:
    """Print rows of loaders; the first is the one that the others are compared with."""
    first = rows[0]
    table: list[tuple[str, ...]] = []
    for row in rows:
        if row.failed:
            table.append((row.way, "failed", *[""] * (len(HEADER) - 2)))
            continue
        last = row.last
        result, idle = last["result_bytes"], last["idle_bytes"]
        table.append(
            (
                row.way,
                f"{row.wall_s:.2f} s",
                f"{row.cpu_s:.2f} s",
                "-" if first.failed else f"{row.ratio_to(first):.2f}x",
                f"{last['given']}",
                f"{last['pixels'] // TOKEN_AREA_PX:,}" if last["pixels"] else "",
                _right(last),
                f"{result / 2**20:.0f} MiB" if result else "",
                f"{row.peak_bytes / 2**20:.0f} MiB",
                f"{(row.peak_bytes - result - idle) / 2**20:.0f} MiB",
                " ".join(last["libraries"]),
            )
        )
    print_table(title, HEADER, table)
    for row in rows:
        if row.failed:
            print(f"\n  {row.way} failed: {row.failed}")
    sys.stdout.flush()


def _right(last: dict[str, int]) -> str:
    """The least of the counts of frames right in one way."""
    counts = [
        last[name] for name in ("right_times", "right_pictures", "right_sizes") if name in last
    ]
    return f"{min(counts)}" if counts else ""


def _print_environments(homes: Sequence[Environment]) -> None:
    """Say what was installed where, and what could not be measured for want of it."""
    for home in homes:
        told = ", ".join(f"{name} {version}" for name, version in home.installed.items())
        print(f"\n  {'seedvideo' if 'seedvideo' in home.installed else 'peers'}  {told}")
    lacking = {
        package
        for package, _ in LOADERS.values()
        if not any(package in home.installed for home in homes)
    }
    if lacking:
        print(f"\n  not installed, so not measured: {', '.join(sorted(lacking))}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Loaders of video frames side by side.")
    parser.add_argument("--quick", action="store_true", help="short files, one round")
    parser.add_argument("--peers", type=Path, help="Python of the other loaders' environment")
    parser.add_argument("--folder", type=Path, help="where files are kept")
    parser.add_argument("--rounds", type=int, help="rounds of timing; 3, or 1 with --quick")
    parser.add_argument("--limit-s", type=float, default=900, help="for one measurement")
    asked = parser.parse_args()
    if asked.rounds is None:
        asked.rounds = 1 if asked.quick else 3
    if asked.rounds < 1:
        parser.error("--rounds is below 1")
    return asked


if __name__ == "__main__":
    main()
