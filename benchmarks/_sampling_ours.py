"""Use of seedvideo in the sampling benchmark: each function imports it and returns timed work."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from time import perf_counter
from typing import Any

from _sampling_job import Job, LoaderResult, Work, pictures_result


def seedvideo_exact(job: Job) -> Work:
    """seedvideo, frames of given numbers."""
    from seedvideo.media import Target, open_video

    def work() -> LoaderResult:
        with open_video(job.path) as reader:
            times = reader.times
            targets = [Target(times[each], job.width_px, job.height_px) for each in job.numbers]
            frames = list(reader.frames(targets))
        return _result(frames)

    return work


def seedvideo_adaptive(job: Job) -> Work:
    """seedvideo: analysis, plan and frames."""
    return _seedvideo(job, analysis="auto")


def seedvideo_packets(job: Job) -> Work:
    """seedvideo: analysis of packet sizes only, plan and frames."""
    return _seedvideo(job, analysis="packets")


def _seedvideo(job: Job, *, analysis: Any) -> Work:
    seedvideo = _import_package()

    def work() -> LoaderResult:
        with seedvideo.open(job.path) as video:
            plan = seedvideo.plan(video, budget_tokens=job.budget_tokens, analysis=analysis)
            frames = [frame for _, frame in video.frames(plan)]
        return _result(frames)

    return work


def seedvideo_even(job: Job) -> Work:
    """seedvideo: the number of frames and the times of qwen-vl-utils, at one size."""
    import numpy as np

    from seedvideo.media import Target, open_video
    from seedvideo.sampler.geometry import SEED

    def work() -> LoaderResult:
        with open_video(job.path) as reader:
            info, times = reader.info, reader.times
            count = min(max(int(2 * info.duration), 4), 768) // 2 * 2
            level = min(job.budget_tokens // count, SEED.levels_tokens[0])
            size = SEED.size(width_px=info.width_px, height_px=info.height_px, level_tokens=level)
            numbers = np.linspace(0, len(times) - 1, count).round().astype(int)
            frames = list(reader.frames([Target(times[each], *size) for each in numbers]))
        return _result(frames)

    return work


def seedvideo_plan(job: Job) -> Work:
    """seedvideo: plans without decoding on an open file: the published rule and others."""
    return _seedvideo_plans(
        job,
        {
            "seed1.5": {"policy": "seed1.5"},
            "uniform": {"policy": "uniform"},
            "adaptive, packets": {"analysis": "packets"},
        },
    )


def seedvideo_plan_analysis(job: Job) -> Work:
    """seedvideo: the plan with analysis."""
    return _seedvideo_plans(job, {"adaptive, auto": {"analysis": "auto"}})


def _seedvideo_plans(job: Job, plans: Mapping[str, Mapping[str, str]]) -> Work:
    seedvideo = _import_package()

    def work() -> LoaderResult:
        facts: dict[str, float] = {}
        started = perf_counter()
        with seedvideo.open(job.path) as video:
            facts["open"] = perf_counter() - started
            for name, options in plans.items():
                started = perf_counter()
                seedvideo.plan(video, budget_tokens=job.budget_tokens, **options)
                facts[name] = perf_counter() - started
        return LoaderResult(facts=facts)

    return work


def seedvideo_shots_fast(job: Job) -> Work:
    """seedvideo: changes of shots, by the analysis that `shots` uses."""
    return _seedvideo_shots(job, "fast")


def seedvideo_shots_full(job: Job) -> Work:
    """seedvideo: changes of shots, with analysis of every frame."""
    return _seedvideo_shots(job, "full")


def _seedvideo_shots(job: Job, method: Any) -> Work:
    seedvideo = _import_package()

    def work() -> LoaderResult:
        with seedvideo.open(job.path) as video:
            changes = video.analysis(method).changes
        return LoaderResult(times_s=[float(change.time) for change in changes])

    return work


def _import_package() -> Any:
    """Import the package, and the modules that its analysis imports on first use."""
    for name in ("seedvideo.pipeline", "scenedetect"):
        import_module(name)
    return import_module("seedvideo")


def _result(frames: Sequence[Any]) -> LoaderResult:
    return pictures_result(
        [frame.pixels for frame in frames], [float(frame.pts) for frame in frames]
    )
