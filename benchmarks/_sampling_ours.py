"""How the sampling benchmark uses seedvideo: each function imports it and returns what is timed."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from time import perf_counter
from typing import Any

from _sampling_job import Got, Job, Work, got_pictures


def seedvideo_exact(job: Job) -> Work:
    """seedvideo, frames of given numbers."""
    from seedvideo.media import Target, open_video

    def work() -> Got:
        with open_video(job.path) as reader:
            times = reader.times
            targets = [Target(times[each], job.width_px, job.height_px) for each in job.numbers]
            frames = list(reader.frames(targets))
        return _got(frames)

    return work


def seedvideo_adaptive(job: Job) -> Work:
    """seedvideo: analysis, plan and frames."""
    return _seedvideo(job, analysis="fast")


def seedvideo_packets(job: Job) -> Work:
    """seedvideo: analysis of packet sizes alone, plan and frames."""
    return _seedvideo(job, analysis="packets")


def _seedvideo(job: Job, *, analysis: Any) -> Work:
    seedvideo = _imported()

    def work() -> Got:
        with seedvideo.open(job.path) as video:
            plan = seedvideo.plan(video, budget_tokens=job.budget_tokens, analysis=analysis)
            frames = [frame for _, frame in video.frames(plan)]
        return _got(frames)

    return work


def seedvideo_even(job: Job) -> Work:
    """seedvideo: as many frames, at the same times, as qwen-vl-utils takes, of one size."""
    import numpy as np

    from seedvideo.media import Target, open_video
    from seedvideo.sampler.geometry import SEED

    def work() -> Got:
        with open_video(job.path) as reader:
            info, times = reader.info, reader.times
            count = min(max(int(2 * info.duration), 4), 768) // 2 * 2
            level = min(job.budget_tokens // count, SEED.levels_tokens[0])
            size = SEED.size(width_px=info.width_px, height_px=info.height_px, level_tokens=level)
            numbers = np.linspace(0, len(times) - 1, count).round().astype(int)
            frames = list(reader.frames([Target(times[each], *size) for each in numbers]))
        return _got(frames)

    return work


def seedvideo_plan(job: Job) -> Work:
    """seedvideo: the published rule, and others that analyse no picture, on an open file."""
    return _seedvideo_plans(
        job,
        {
            "seed1.5": {"policy": "seed1.5"},
            "uniform": {"policy": "uniform"},
            "adaptive, packets": {"analysis": "packets"},
        },
    )


def seedvideo_plan_looks(job: Job) -> Work:
    """seedvideo: the plan with analysis."""
    return _seedvideo_plans(job, {"adaptive, fast": {"analysis": "fast"}})


def _seedvideo_plans(job: Job, plans: Mapping[str, Mapping[str, str]]) -> Work:
    seedvideo = _imported()

    def work() -> Got:
        facts: dict[str, float] = {}
        started = perf_counter()
        with seedvideo.open(job.path) as video:
            facts["open"] = perf_counter() - started
            for name, asked in plans.items():
                started = perf_counter()
                seedvideo.plan(video, budget_tokens=job.budget_tokens, **asked)
                facts[name] = perf_counter() - started
        return Got(facts=facts)

    return work


def seedvideo_shots_fast(job: Job) -> Work:
    """seedvideo: cuts by the analysis that plans use."""
    return _seedvideo_shots(job, "fast")


def seedvideo_shots_full(job: Job) -> Work:
    """seedvideo: cuts, with analysis of every frame."""
    return _seedvideo_shots(job, "full")


def _seedvideo_shots(job: Job, method: Any) -> Work:
    seedvideo = _imported()

    def work() -> Got:
        with seedvideo.open(job.path) as video:
            cuts = video.analysis(method).cuts
        return Got(times_s=[float(cut) for cut in cuts])

    return work


def _imported() -> Any:
    """The package, with all that its analysis imports when it is first used."""
    for name in ("seedvideo.pipeline", "scenedetect"):
        import_module(name)
    return import_module("seedvideo")


def _got(frames: Sequence[Any]) -> Got:
    return got_pictures([frame.pixels for frame in frames], [float(frame.pts) for frame in frames])
