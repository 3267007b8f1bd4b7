"""Time of a plan: an hour of video by each policy, and files from their names on.

    python benchmarks/plan.py [CLIP]

The hour is 108,000 frame times at 30 frames per second, without a file. Opening a file starts the
decode process, reads every packet, and decodes one picture for its orientation. Planning by
`adaptive` analyses the video.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter

from _common import best_s, make_clip, print_machine, print_table

import seedvideo
from seedvideo.config import PolicyName, SamplingConfig
from seedvideo.media import MediaInfo
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import make_plan
from seedvideo.sampler.utility import Peak, SegmentDemand

HOUR_S = 3600
FPS = 30
KEYFRAME_EVERY = 60
FILE_POLICIES: tuple[PolicyName, ...] = ("seed1.5", "uniform", "adaptive")


def main() -> None:
    """Print both tables."""
    plan_an_hour()
    with TemporaryDirectory() as folder:
        made = make_clip(Path(folder) / "made.mp4", keyframe_every=KEYFRAME_EVERY)
        clips = {"10 s, 1280x720, made here": made}
        for name in sys.argv[1:]:
            clips[Path(name).name] = Path(name)
        plan_files(clips)
    print_machine("av")


def plan_an_hour() -> None:
    """Plan an hour of frame times by each policy."""
    info = MediaInfo(
        path="hour.mp4",
        size_bytes=1,
        container="mov,mp4,m4a,3gp,3g2,mj2",
        codec="h264",
        pix_fmt="yuv420p",
        width_px=1920,
        height_px=1080,
        coded_width_px=1920,
        coded_height_px=1080,
        rotation_deg=0,
        flipped=False,
        sample_aspect=Fraction(1),
        duration=Fraction(HOUR_S),
        start=Fraction(0),
        fps_avg=Fraction(FPS),
        is_vfr=False,
        is_image=False,
        transfer="bt709",
    )
    times = tuple(Fraction(number, FPS) for number in range(HOUR_S * FPS))
    keyframes = range(0, len(times), KEYFRAME_EVERY)
    planned: dict[str, Callable[[], Plan]] = {
        "seed1.5, general": partial(
            make_plan, info, times, source="hour.mp4", sampling=SamplingConfig(policy="seed1.5")
        ),
        "seed1.5, motion": partial(
            make_plan,
            info,
            times,
            source="hour.mp4",
            sampling=SamplingConfig(policy="seed1.5", rate_preset="motion"),
        ),
        "uniform": partial(
            make_plan, info, times, source="hour.mp4", sampling=SamplingConfig(policy="uniform")
        ),
        "keyframes": partial(
            make_plan,
            info,
            times,
            keyframes,
            source="hour.mp4",
            sampling=SamplingConfig(policy="keyframes"),
        ),
    }
    for shots in (10, 100, 720):
        planned[f"adaptive, {shots} shots"] = partial(
            make_plan,
            info,
            times,
            source="hour.mp4",
            sampling=SamplingConfig(policy="adaptive"),
            analysis=made_analysis(shots),
        )
    rows = []
    first_s = 0.0
    for name, work in planned.items():
        spent_s = best_s(work, times=5)
        first_s = first_s or spent_s
        plan = work()
        rows.append(
            (
                name,
                f"{1000 * spent_s:.1f} ms",
                f"{spent_s / first_s:.1f}x",
                f"{plan.totals.frames}",
                f"{plan.charged_tokens:,}",
                f"{plan.totals.tokens:,}",
            )
        )
    print_table(
        f"Planning an hour of {FPS}-fps video, 1920x1080, budget 81,920, the best of 5",
        ("policy", "time", "ratio", "frames", "charged tokens", "real tokens"),
        rows,
    )


@dataclass(frozen=True)
class MadeAnalysis:
    """A possible analysis of an hour: shots of every kind, an event in every third one."""

    demands: tuple[SegmentDemand, ...]
    busy_fraction: float = 0.0
    inspected_fraction: float = 1.0
    method: str = "made"
    notes: tuple[str, ...] = ()


def made_analysis(shots: int) -> MadeAnalysis:
    """Make the analysis of an hour with this number of shots."""
    rng = Random(shots)
    cuts = sorted(rng.sample(range(1, HOUR_S * FPS), shots - 1))
    demands = []
    for number, (first, after) in enumerate(pairwise([0, *cuts, HOUR_S * FPS])):
        start, end = Fraction(first, FPS), Fraction(after, FPS)
        has_event = number % 3 == 0
        demands.append(
            SegmentDemand(
                start=start,
                end=end,
                base=1.0,
                events_per_s=float(1 / (end - start)) if has_event else 0.0,
                event_s=0.4,
                detail_tokens=rng.uniform(50, 500),
                peaks=(Peak(start, strength=rng.uniform(8, 80)),) if has_event else (),
                starts_shot=True,
                change_s=rng.uniform(0.2, 60),
            )
        )
    return MadeAnalysis(tuple(demands))


def plan_files(clips: dict[str, Path]) -> None:
    """Open and plan files."""
    rows = []
    for (name, path), policy in product(clips.items(), FILE_POLICIES):
        opened, planned = [], []
        for _ in range(5):
            started = perf_counter()
            with seedvideo.open(path) as video:
                opened.append(perf_counter() - started)
                started = perf_counter()
                plan = seedvideo.plan(video, policy=policy)
                planned.append(perf_counter() - started)
                duration_s = float(video.info.duration)
        rows.append(
            (
                name,
                policy,
                f"{duration_s:.1f} s",
                f"{1000 * min(opened):.0f} ms",
                f"{1000 * min(planned):.1f} ms",
                f"{plan.totals.frames}",
                f"{duration_s / (min(opened) + min(planned)):.0f}x",
            )
        )
    print_table(
        "Opening and planning a file, the best of 5",
        ("file", "policy", "duration", "open", "plan", "frames", "speed"),
        rows,
    )


if __name__ == "__main__":
    main()
