"""Comparison of video frame loaders: time, memory, and correctness of the frames.

    python benchmarks/sampling.py [--quick] [--peers PYTHON] [--folder DIR] [--rounds N]
        [--table-s S] [--only NAME,NAME] [--results FILE] [--markdown FILE]

The script generates its files: ten minutes of 720p in H.264 with keyframes every 60 and every 250
frames, of mixed, calm and busy content; an hour of 360p; two hours of 720p, which repeat the scenes
of the ten minutes; a minute each of HEVC, VP9 and AV1; and
files of four, eight and sixteen minutes that differ only in length. ``--folder`` keeps the files
for the next run. ``--quick`` generates short files, whose numbers only show that everything works.

``--only`` selects files by name, tables (plan, exact, whole, cuts, growth), or both.
``--results`` stores the measurements, and adds those that an earlier run stored there if machine
and versions are the same; whether the code is the same is not checked. ``--markdown`` writes a page
with all tables and the verdict of each goal.

A full run takes about an hour on two cores, and ten more minutes to generate the files. This is an
estimate: the peers need 10 to 60 s for ten minutes of 720p and some seconds for their imports each
time, and a table gets no further round after a minute (``--table-s``). Some loaders need more than
``--limit-s`` for the two hours; give 1200. ``--quick`` takes four minutes. The files take 5 GB of
disk, and qwen-vl-utils took up to 14 GB of memory.

The other loaders need a separate environment, because they require other builds of torch and
FFmpeg. Without ``--peers``, the loaders in seedvideo's environment are measured. To create it:

    python3.11 -m venv peers
    peers/bin/pip install torch==2.13.0 torchvision==0.28.0 --index-url \
https://download.pytorch.org/whl/cpu
    peers/bin/pip install torchcodec==0.13.0 decord==0.6.0 qwen-vl-utils==0.0.14 \
transformers==5.23.0 opencv-python-headless==5.0.0.93 av==18.1.0 scenedetect-headless==0.7.2

torchcodec 0.13.0 is the last version on PyPI for a CPU build of torch; later versions need CUDA's
libraries. Its wheel lacks FFmpeg, so the script gives it the one inside PyAV's wheel.
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
from _sampling_files import GROWTH, VideoSpec, files, make
from _sampling_job import Job
from _sampling_loaders import LOADERS
from _sampling_page import (
    About,
    IncompatibleResultsError,
    load_results,
    page,
    print_goals,
    print_tables,
    replace_table,
    save_results,
)
from _sampling_run import Environment, environment, measure
from _sampling_scenes import FPS
from _sampling_table import JOINED, KINDS, Kind, Table

from seedvideo.sampler.geometry import BUDGET_TOKENS, SEED

METHOD: Final = f"""\
- Each measurement runs in a process of its own. It starts after the imports, with the file in the
  page cache, and covers the way from the file name to frames in memory. seedvideo starts its
  decode processes inside that time. OpenMP and torchcodec get the number of cores as a setting
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
"""Numbers of exact frames to request from each file."""
PLAN_FILES: Final = ("mixed-g250", "calm-g250", "busy-g250", "hour", "two-hours")
END_TO_END_FILES: Final = (*PLAN_FILES, "hevc", "vp9", "av1")
"""Files that are loaded end to end."""
MIXED_NAME: Final = "mixed-g250"
"""File of the measurements that use one file only."""
QUICK_COUNTS: Final = {"mixed-g250": (64, 256), "hour": (64,), "av1": (64,)}
QUICK_END_TO_END_FILES: Final = ("mixed-g250", "calm-g250", "av1")
END_TO_END: Final = (
    "seedvideo, adaptive",
    "seedvideo, adaptive, packets",
    "seedvideo, even, 2 fps",
    "qwen-vl-utils, torchcodec",
    "qwen-vl-utils, decord",
    "transformers, torchcodec",
)
END_TO_END_MIXED: Final = (*END_TO_END, "transformers, PyAV")
SHOTS: Final = (
    "seedvideo, cuts, full",
    "seedvideo, cuts, fast",
    "PySceneDetect, content",
    "PySceneDetect, adaptive",
)
GROWTH_EVERY_S: Final = 2
"""Seconds from one exact frame to the next in the files of increasing length."""
GROWTH_LEVEL: Final = 128


@dataclass(frozen=True)
class Step:
    """A table to make.

    Args:
        kind: kind of the table.
        spec: the file.
        count: number of exact frames.
    """

    kind: Kind
    spec: VideoSpec
    count: int = 0


def main() -> None:
    """Generate the files and print the tables."""
    options = _arguments()
    with TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        environments = {"seedvideo": environment(Path(sys.executable), Path(scratch))}
        if options.peers is not None:
            links = Path(scratch) / "peers"
            links.mkdir()
            # First, so that all loaders except seedvideo run there.
            environments = {"peers": environment(options.peers, links), **environments}
        versions = {name: each.installed for name, each in environments.items()}
        about = About(machine(), versions, is_quick=options.quick)
        tables: list[Table] = []
        if options.results is not None:
            try:
                tables = load_results(options.results, about)
            except IncompatibleResultsError as error:
                sys.exit(str(error))
        bench = Bench(list(environments.values()), folder, options)
        chosen = [step for step in steps(is_quick=options.quick) if is_selected(step, options.only)]
        for spec in dict.fromkeys(step.spec for step in chosen):
            print(f"making {spec.title}", file=sys.stderr, flush=True)
            make(spec, folder)
        for kind in KINDS:
            new = []
            for step in (step for step in chosen if step.kind == kind):
                new.append(bench.table(step))
                tables = replace_table(tables, new[-1])
                # After every table, as a long run may be stopped.
                if options.results is not None:
                    save_results(options.results, about, tables)
                if options.markdown is not None:
                    text = page(tables, about, command=_command(options), method=METHOD)
                    options.markdown.write_text(text, encoding="utf-8")
                if kind not in JOINED:
                    print_tables(new[-1:])
                    sys.stdout.flush()
            if kind in JOINED and new:
                print_tables(new)
        print_goals(tables)
        _print_about(about)


def steps(*, is_quick: bool) -> Iterator[Step]:
    """Yield all tables, ordered by kind."""
    named = {spec.name: spec for spec in files(is_quick=is_quick) if spec.name != GROWTH}
    for name in PLAN_FILES:
        yield Step("plan", named[name])
    for name, counts in (QUICK_COUNTS if is_quick else COUNTS).items():
        for count in counts:
            yield Step("exact", named[name], count)
    for name in QUICK_END_TO_END_FILES if is_quick else END_TO_END_FILES:
        yield Step("whole", named[name])
    yield Step("cuts", named[MIXED_NAME])
    for spec in files(is_quick=is_quick):
        if spec.name == GROWTH:
            yield Step("growth", spec)


def is_selected(step: Step, only: frozenset[str]) -> bool:
    """Return whether a table is of the selected kinds and files; all if none are selected."""
    kinds = only.intersection(KINDS)
    return (not kinds or step.kind in kinds) and (only == kinds or step.spec.name in only)


class Bench:
    """Runner of the measurements of tables.

    Args:
        environments: environments in which loaders are searched.
        folder: folder of the files.
        options: options of the command line: numbers of rounds and time limits.
    """

    def __init__(
        self, environments: Sequence[Environment], folder: Path, options: argparse.Namespace
    ) -> None:
        self._environments = environments
        self._folder = folder
        self._options = options

    def table(self, step: Step) -> Table:
        """Measure one table."""
        spec = step.spec
        print(f"{step.kind} {spec.title} {step.count or ''}", file=sys.stderr, flush=True)
        # The plans of a file are not compared with one another, so they do not alternate.
        what, groups = self._make_jobs(step)
        rows = [
            row
            for jobs in groups
            for row in measure(
                jobs,
                self._environments,
                truth=spec.truth(self._folder),
                rounds=self._options.rounds,
                table_s=self._options.table_s / len(groups),
                limit_s=self._options.limit_s,
            )
        ]
        return Table(
            kind=step.kind,
            file=spec.name,
            title=spec.title,
            what=what,
            duration_s=spec.duration_s,
            is_h264=spec.is_h264,
            is_calm=spec.is_calm,
            date=datetime.now(UTC).date().isoformat(),
            rows=tuple(rows),
        )

    def _make_jobs(self, step: Step) -> tuple[str, list[list[Job]]]:
        """Return a description of the request, and groups of jobs that alternate."""
        spec = step.spec
        if step.kind == "plan":
            loaders = ("seedvideo, plan", "seedvideo, plan, analysis")
            return "plans", [[self._end_to_end_job(spec, loader)] for loader in loaders]
        if step.kind == "exact":
            level = next(
                (each for each in SEED.levels_tokens if each * step.count <= BUDGET_TOKENS),
                SEED.levels_tokens[-1],
            )
            jobs = [
                self._exact_job(spec, loader, step.count, level) for loader in EXACT[step.count]
            ]
            size = f"{jobs[0].width_px}x{jobs[0].height_px}"
            return f"{step.count} frames of {size} px", [jobs]
        if step.kind == "whole":
            loaders = END_TO_END_MIXED if spec.name == MIXED_NAME else END_TO_END
            jobs = [self._end_to_end_job(spec, loader) for loader in loaders]
            return f"end to end, {BUDGET_TOKENS:,} tokens", [jobs]
        if step.kind == "cuts":
            return f"cuts, {len(spec.cuts)} in truth", [
                [self._cuts_job(spec, loader) for loader in SHOTS]
            ]
        count = spec.duration_s // GROWTH_EVERY_S
        exact = self._exact_job(spec, "seedvideo", count, GROWTH_LEVEL)
        return "growth", [[self._end_to_end_job(spec, "seedvideo, adaptive")], [exact]]

    def _exact_job(self, spec: VideoSpec, loader: str, count: int, level_tokens: int) -> Job:
        """Make a job for evenly spaced frames at a size of the published model."""
        width_px, height_px = SEED.size(
            width_px=spec.width_px, height_px=spec.height_px, level_tokens=level_tokens
        )
        numbers = tuple((2 * i + 1) * spec.frames // (2 * count) for i in range(count))
        path = str(spec.path(self._folder))
        return Job(loader, path, FPS, spec.frames, numbers, width_px, height_px)

    def _end_to_end_job(self, spec: VideoSpec, loader: str) -> Job:
        """Make a job from a file name to the frames that a loader selects within the budget."""
        path = str(spec.path(self._folder))
        return Job(loader, path, FPS, spec.frames, budget_tokens=BUDGET_TOKENS)

    def _cuts_job(self, spec: VideoSpec, loader: str) -> Job:
        """Make a job that detects the cuts."""
        return Job(loader, str(spec.path(self._folder)), FPS, spec.frames, cuts=spec.cuts)


def _print_about(about: About) -> None:
    """Print the installed versions, and the packages that are missing."""
    print(f"\n  machine    {about.machine}")
    for name, installed in about.versions.items():
        listed = ", ".join(f"{package} {version}" for package, version in installed.items())
        print(f"\n  {name:<9}  {listed}")
    missing = {loader.package for loader in LOADERS.values()}.difference(*about.versions.values())
    if missing:
        print(f"\n  not installed, so not measured: {', '.join(sorted(missing))}")


def _command(options: argparse.Namespace) -> str:
    """Return the command line that writes the complete page, with placeholders for paths."""
    words = ["python benchmarks/sampling.py"]
    if options.quick:
        words.append("--quick")
    for name, word in (("peers", "PYTHON"), ("folder", "DIR"), ("results", "FILE")):
        if getattr(options, name) is not None:
            words.append(f"--{name} {word}")
    words.append("--markdown FILE")
    words += [
        f"--{name.replace('_', '-')} {getattr(options, name):g}" for name in ("rounds", "table_s")
    ]
    return " ".join(words)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Loaders of video frames side by side.")
    parser.add_argument("--quick", action="store_true", help="short files, one round")
    parser.add_argument("--peers", type=Path, help="Python of the other loaders' environment")
    parser.add_argument("--folder", type=Path, help="keep the files in this folder")
    parser.add_argument("--rounds", type=int, help="maximum number of rounds; 3, or 1 with --quick")
    parser.add_argument(
        "--table-s",
        type=float,
        default=60,
        help="start no further round of a table after this time",
    )
    parser.add_argument("--limit-s", type=float, default=300, help="time limit of one measurement")
    parser.add_argument("--only", default="", help="names of tables and files, separated by commas")
    parser.add_argument("--results", type=Path, help="store the measurements in this JSON file")
    parser.add_argument("--markdown", type=Path, help="write the page to this file")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 1 if options.quick else 3
    if options.rounds < 1:
        parser.error("--rounds is below 1")
    options.only = frozenset(filter(None, options.only.split(",")))
    choices = {*KINDS, *(spec.name for spec in files(is_quick=options.quick))}
    if options.only - choices:
        unknown = ", ".join(sorted(options.only - choices))
        parser.error(f"--only is {unknown}, expected names among {', '.join(sorted(choices))}")
    return options


if __name__ == "__main__":
    main()
