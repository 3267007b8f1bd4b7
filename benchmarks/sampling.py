"""Loaders of video frames side by side: time, memory, and whether the frames are the right ones.

    python benchmarks/sampling.py [--quick] [--peers PYTHON] [--folder DIR] [--rounds N]
        [--table-s S] [--only NAME,NAME] [--results FILE] [--markdown FILE]

Makes its own files: ten minutes of 720p in H.264 with keyframes every 60 and every 250 frames, of
mixed, calm and busy content; an hour of 360p; a minute each of HEVC, VP9 and AV1; four, eight and
sixteen minutes that differ in length alone. ``--folder`` keeps them for the next run; ``--quick``
makes short ones, which show that everything works, and no more.

``--only`` makes a part: files by name, tables (plan, exact, whole, cuts, growth), or both.
``--results`` keeps what was measured, and shows what an earlier run kept there beside it, if
machine and versions are the same; that the code is, is up to you. ``--markdown`` writes all of it
as a page, with each goal met or missed.

On two cores all of it takes about an hour, and making the files ten minutes the first time. That is
an estimate from parts: the peers need 10 to 60 s for ten minutes of 720p and some seconds for their
imports each time, and a table has no further round once it took a minute (``--table-s``). With
``--quick`` it is four minutes. The files take 2.5 GB of disk, and qwen-vl-utils was seen to take
14 GB of memory.

The other loaders live in an environment of their own, because they bring other builds of torch and
FFmpeg. Without ``--peers``, those that are installed beside seedvideo are measured. To make it:

    python3.11 -m venv peers
    peers/bin/pip install torch==2.13.0 torchvision==0.28.0 --index-url \
https://download.pytorch.org/whl/cpu
    peers/bin/pip install torchcodec==0.13.0 decord==0.6.0 qwen-vl-utils==0.0.14 \
transformers==5.23.0 opencv-python-headless==5.0.0.93 av==18.1.0 scenedetect-headless==0.7.2

torchcodec 0.13.0 is the last that PyPI has for a CPU build of torch; later ones want CUDA's
libraries. It brings no FFmpeg, and is given the one inside PyAV's wheel.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from _common import machine
from _sampling_files import GROWTH, Made, files, make
from _sampling_job import Job
from _sampling_loaders import LOADERS
from _sampling_page import About, OtherPlaceError, keep, kept, page, print_goals, print_tables
from _sampling_page import replaced as with_table
from _sampling_run import Environment, environment, measure
from _sampling_scenes import FPS
from _sampling_table import JOINED, KINDS, Kind, Table

from seedvideo.sampler.geometry import BUDGET_TOKENS, SEED

METHOD: Final = f"""\
- Each measurement runs in a process of its own. It starts after the imports, with the file in the
  page cache, and covers the way from the file name to frames in memory. seedvideo starts its
  decoding processes inside that time. OpenMP and torchcodec get the number of cores as a setting
  (the eight threads that qwen-vl-utils gives torchcodec are slower on two cores); the others
  choose by themselves.
- Loaders alternate. Wall and CPU (all processes of a loader, seconds) are medians over the
  rounds. A ratio is the median over the rounds of a loader's wall time divided by that of the
  first row in the same round, so above 1 is slower. A table gets further rounds only while its
  total time is short; the line below it states their number.
- Memory (MB of 10^6 bytes) is sampled every 20 ms in the same rounds, from system counters
  (`/proc/PID/statm`) that take less than a hundredth of a core. It is the sum of the private
  memory of all processes of a loader, plus the largest shared part of one of them. It is 10 to 20
  MB above the exact count for seedvideo and decord, and 50 to 60 MB for loaders with torch and
  torchcodec; the exact count is too expensive to sample. "peak" is the maximum of all rounds,
  including Python and imports; "over" is the part beyond the result and the memory before the
  measurement.
- "right" counts the frames with the requested time whose pixels match the true frame about as
  well as the best of the 45 frames before and after it. In still scenes all of them match: of
  frames with an index error of one, the check detects about four in ten in the mixed file, eight
  in the busy one. A loader that returns only patches is not checked. For cuts, "right" counts the
  true ones that were found to within two frames; "frames" is the number of reported cuts.
- Exact frames are evenly spaced, at the size that the published model uses for this count, and
  each loader scales with its own method. OpenCV reads the whole file whatever the count, and is
  measured with 256 only; torchcodec without its scan of the file with 64 only; transformers by
  PyAV, which decodes all frames and holds the selected ones at full size, end to end for one file
  only.
- End to end the budget is {BUDGET_TOKENS:,} squares of 28x28 px in all frames. qwen-vl-utils
  0.0.14 counts a square of two frames as one token, so it gets half of that in its own tokens.
  Its floor of 128 tokens per frame would exceed the budget and is lowered; its 2 frames per
  second, at most 768, stay. seedvideo keeps a part of the budget for timestamp text. Each loader
  returns what its users pass on: bytes (seedvideo), floats (qwen-vl-utils), normalised patches
  (transformers).
"""

EXACT: Final = {
    64: ("seedvideo", "decord get_batch", "torchcodec", "torchcodec, approximate"),
    256: ("seedvideo", "decord get_batch", "torchcodec", "OpenCV, grab all"),
    768: ("seedvideo", "decord get_batch", "torchcodec"),
}
COUNTS: Final = {
    "mixed-g60": (64, 256, 768),
    "mixed-g250": (64, 256, 768),
    "calm-g250": (256,),
    "busy-g250": (256,),
    "hour": (64, 256, 768),
    "hevc": (64, 256),
    "vp9": (64, 256),
    "av1": (64, 256),
}
"""How many exact frames are asked of each file."""
PLANNED: Final = ("mixed-g250", "calm-g250", "busy-g250", "hour")
LOADED: Final = (*PLANNED, "hevc", "vp9", "av1")
"""Files that are loaded end to end."""
MIXED_NAME: Final = "mixed-g250"
"""The file for what is measured on one file only."""
QUICK_COUNTS: Final = {"mixed-g250": (64, 256), "hour": (64,), "av1": (64,)}
QUICK_LOADED: Final = ("mixed-g250", "calm-g250", "av1")
WHOLE: Final = (
    "seedvideo, adaptive",
    "seedvideo, adaptive, packets",
    "seedvideo, even, 2 fps",
    "qwen-vl-utils, torchcodec",
    "qwen-vl-utils, decord",
    "transformers, torchcodec",
)
WHOLE_MIXED: Final = (*WHOLE, "transformers, PyAV")
SHOTS: Final = (
    "seedvideo, cuts, full",
    "seedvideo, cuts, fast",
    "PySceneDetect, content",
    "PySceneDetect, adaptive",
)
GROWTH_EVERY_S: Final = 2
"""From one exact frame to the next in the files that grow."""
GROWTH_LEVEL: Final = 128


@dataclass(frozen=True)
class Step:
    """A table to make.

    Args:
        kind: of table.
        made: the file.
        count: of exact frames.
    """

    kind: Kind
    made: Made
    count: int = 0


def main() -> None:
    """Make the files and the tables."""
    asked = _arguments()
    with TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        homes = {"seedvideo": environment(Path(sys.executable), Path(scratch))}
        if asked.peers is not None:
            links = Path(scratch) / "peers"
            links.mkdir()
            # First, so that all but seedvideo are measured there.
            homes = {"peers": environment(asked.peers, links), **homes}
        versions = {name: home.installed for name, home in homes.items()}
        about = About(machine(), versions, is_quick=asked.quick)
        tables: list[Table] = []
        if asked.results is not None:
            try:
                tables = kept(asked.results, about)
            except OtherPlaceError as error:
                sys.exit(str(error))
        bench = Bench(list(homes.values()), folder, asked)
        chosen = [step for step in steps(is_quick=asked.quick) if is_asked(step, asked.only)]
        for made in dict.fromkeys(step.made for step in chosen):
            print(f"making {made.title}", file=sys.stderr, flush=True)
            make(made, folder)
        for kind in KINDS:
            new = []
            for step in (step for step in chosen if step.kind == kind):
                new.append(bench.table(step))
                tables = with_table(tables, new[-1])
                # Each time: a long run may be ended.
                if asked.results is not None:
                    keep(asked.results, about, tables)
                if asked.markdown is not None:
                    text = page(tables, about, command=_command(asked), method=METHOD)
                    asked.markdown.write_text(text, encoding="utf-8")
                if kind not in JOINED:
                    print_tables(new[-1:])
                    sys.stdout.flush()
            if kind in JOINED and new:
                print_tables(new)
        print_goals(tables)
        _print_about(about)


def steps(*, is_quick: bool) -> Iterator[Step]:
    """All tables, ordered by kind."""
    named = {made.name: made for made in files(is_quick=is_quick) if made.name != GROWTH}
    for name in PLANNED:
        yield Step("plan", named[name])
    for name, counts in (QUICK_COUNTS if is_quick else COUNTS).items():
        for count in counts:
            yield Step("exact", named[name], count)
    for name in QUICK_LOADED if is_quick else LOADED:
        yield Step("whole", named[name])
    yield Step("cuts", named[MIXED_NAME])
    for made in files(is_quick=is_quick):
        if made.name == GROWTH:
            yield Step("growth", made)


def is_asked(step: Step, only: frozenset[str]) -> bool:
    """Whether a table is of the kinds and of the files that were named, if any were."""
    kinds = only.intersection(KINDS)
    return (not kinds or step.kind in kinds) and (only == kinds or step.made.name in only)


class Bench:
    """Makes tables.

    Args:
        homes: environments in which loaders are looked for.
        folder: where the files are.
        asked: how often and how long.
    """

    def __init__(
        self, homes: Sequence[Environment], folder: Path, asked: argparse.Namespace
    ) -> None:
        self._homes = homes
        self._folder = folder
        self._asked = asked

    def table(self, step: Step) -> Table:
        """Measure one table."""
        made = step.made
        print(f"{step.kind} {made.title} {step.count or ''}", file=sys.stderr, flush=True)
        # One file's own plans are not compared with one another: each takes its own turns.
        what, groups = self._asked_for(step)
        rows = [
            row
            for jobs in groups
            for row in measure(
                jobs,
                self._homes,
                truth=made.truth(self._folder),
                rounds=self._asked.rounds,
                table_s=self._asked.table_s / len(groups),
                limit_s=self._asked.limit_s,
            )
        ]
        return Table(
            kind=step.kind,
            file=made.name,
            title=made.title,
            what=what,
            duration_s=made.duration_s,
            is_h264=made.is_h264,
            is_calm=made.is_calm,
            date=datetime.now(UTC).date().isoformat(),
            rows=tuple(rows),
        )

    def _asked_for(self, step: Step) -> tuple[str, list[list[Job]]]:
        """What is asked, for people, and the jobs, by those that take turns with one another."""
        made = step.made
        if step.kind == "plan":
            ways = ("seedvideo, plan", "seedvideo, plan, looks")
            return "plans", [[self._whole(made, way)] for way in ways]
        if step.kind == "exact":
            level = next(
                (each for each in SEED.levels_tokens if each * step.count <= BUDGET_TOKENS),
                SEED.levels_tokens[-1],
            )
            jobs = [self._exact(made, way, step.count, level) for way in EXACT[step.count]]
            size = f"{jobs[0].width_px}x{jobs[0].height_px}"
            return f"{step.count} frames of {size} px", [jobs]
        if step.kind == "whole":
            ways = WHOLE_MIXED if made.name == MIXED_NAME else WHOLE
            jobs = [self._whole(made, way) for way in ways]
            return f"end to end, {BUDGET_TOKENS:,} tokens", [jobs]
        if step.kind == "cuts":
            return f"cuts, {len(made.cuts)} in truth", [[self._cuts(made, way) for way in SHOTS]]
        count = made.duration_s // GROWTH_EVERY_S
        exact = self._exact(made, "seedvideo", count, GROWTH_LEVEL)
        return "growth", [[self._whole(made, "seedvideo, adaptive")], [exact]]

    def _exact(self, made: Made, way: str, count: int, level_tokens: int) -> Job:
        """Frames of given numbers, evenly spread, at a size of the published model."""
        width_px, height_px = SEED.size(
            width_px=made.width_px, height_px=made.height_px, level_tokens=level_tokens
        )
        numbers = tuple((2 * place + 1) * made.frames // (2 * count) for place in range(count))
        path = str(made.path(self._folder))
        return Job(way, path, FPS, made.frames, numbers, width_px, height_px)

    def _whole(self, made: Made, way: str) -> Job:
        """From a file's name to the frames that a loader chooses, within one budget."""
        path = str(made.path(self._folder))
        return Job(way, path, FPS, made.frames, budget_tokens=BUDGET_TOKENS)

    def _cuts(self, made: Made, way: str) -> Job:
        """Finding the cuts."""
        return Job(way, str(made.path(self._folder)), FPS, made.frames, cuts=made.cuts)


def _print_about(about: About) -> None:
    """Say what was installed where, and what could not be measured for want of it."""
    print(f"\n  machine    {about.machine}")
    for name, installed in about.versions.items():
        told = ", ".join(f"{package} {version}" for package, version in installed.items())
        print(f"\n  {name:<9}  {told}")
    lacking = {loader.package for loader in LOADERS.values()}.difference(*about.versions.values())
    if lacking:
        print(f"\n  not installed, so not measured: {', '.join(sorted(lacking))}")


def _command(asked: argparse.Namespace) -> str:
    """The command line that makes the whole page, with words in the place of paths."""
    words = ["python benchmarks/sampling.py"]
    if asked.quick:
        words.append("--quick")
    for name, word in (("peers", "PYTHON"), ("folder", "DIR"), ("results", "FILE")):
        if getattr(asked, name) is not None:
            words.append(f"--{name} {word}")
    words.append("--markdown FILE")
    words += [
        f"--{name.replace('_', '-')} {getattr(asked, name):g}" for name in ("rounds", "table_s")
    ]
    return " ".join(words)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Loaders of video frames side by side.")
    parser.add_argument("--quick", action="store_true", help="short files, one round")
    parser.add_argument("--peers", type=Path, help="Python of the other loaders' environment")
    parser.add_argument("--folder", type=Path, help="where files are kept")
    parser.add_argument("--rounds", type=int, help="at most; 3, or 1 with --quick")
    parser.add_argument(
        "--table-s", type=float, default=60, help="a table that took this long has no more rounds"
    )
    parser.add_argument("--limit-s", type=float, default=300, help="for one measurement")
    parser.add_argument("--only", default="", help="names of tables and of files, with commas")
    parser.add_argument("--results", type=Path, help="where what was measured is kept, as JSON")
    parser.add_argument("--markdown", type=Path, help="where a page is written")
    asked = parser.parse_args()
    if asked.rounds is None:
        asked.rounds = 1 if asked.quick else 3
    if asked.rounds < 1:
        parser.error("--rounds is below 1")
    asked.only = frozenset(filter(None, asked.only.split(",")))
    known = {*KINDS, *(made.name for made in files(is_quick=asked.quick))}
    if asked.only - known:
        unknown = ", ".join(sorted(asked.only - known))
        parser.error(f"--only knows no {unknown}, but {', '.join(sorted(known))}")
    return asked


if __name__ == "__main__":
    main()
