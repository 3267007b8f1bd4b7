"""Public functions, from `open` and `plan` to `caption` and `run_batch`.

Each function checks its arguments and calls `seedvideo.pipeline`. Times are float seconds in
results, exact fractions in a `Video` and a `Plan`.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from seedvideo import pipeline
from seedvideo.arguments import check_count, check_kind, check_switch, check_text, check_texts
from seedvideo.clips.windows import DEFAULT_SPLIT, SplitOptions, VideoSplit, split_video
from seedvideo.config import (
    AnalysisMethod,
    SamplingConfig,
    SamplingFields,
    SamplingOverrides,
    resolve_sampling,
)
from seedvideo.errors import ConfigError
from seedvideo.media.sharing import SharedLock, SharedSteps
from seedvideo.media.source import VideoInput, display_path, name_of
from seedvideo.model.backends.base import Backend, OnText, TokenCosts
from seedvideo.model.families import published_geometry
from seedvideo.model_options import (
    GenerationOptions,
    ModelFields,
    ModelOptions,
    resolve_generation,
    resolve_model_options,
)
from seedvideo.model_tasks import DEFAULT_TOP, Captioning, Grounding, QuestionAnswering, TaskKind
from seedvideo.pipeline import as_video, check_model, plan_window, run_task
from seedvideo.records import Record
from seedvideo.remote_options import DEFAULT_REMOTE, RemoteOptions
from seedvideo.sampler.geometry import SEED, Geometry, default_text_tokens
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.quality import Quality
from seedvideo.video import Frames, Video, open
from seedvideo.writers import ShotList

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from seedvideo.batch.run_job import BatchResult

__all__ = [
    "ask",
    "caption",
    "frames",
    "frames_at",
    "ground",
    "load",
    "open",
    "plan",
    "quality",
    "run_batch",
    "shots",
    "split",
]


def load(
    name: str = "nano",
    options: ModelOptions | None = None,
    **overrides: Unpack[ModelFields],
) -> Backend:
    """Load a model: a shipped one, a folder, a model on a hub, or one on a server.

    Args:
        name: ``nano``, which comes with the package; a folder with a checkpoint; a name on a hub,
            such as ``Qwen/Qwen3-VL-8B-Instruct``; or ``PRESET:ADDRESS#NAME`` for a server, such as
            ``vllm:http://localhost:8000/v1#NAME``.
        options: how the model is loaded or reached.
        overrides: fields of `seedvideo.ModelOptions`, such as ``dtype`` and ``device``; they
            override those of ``options``.

    Raises:
        ModelError: ``model.unknown``, ``model.not_found``, ``model.not_installed`` or
            ``model.checkpoint_invalid``.
        ConfigError: if the value of an option is invalid, or the model does not support it.
    """
    check_text("model", name)
    from seedvideo.model import load as load_model

    return load_model(name, resolve_model_options(options, **overrides))


def plan(
    video: Video | VideoInput,
    *,
    model: TokenCosts | str | None = None,
    geometry: Geometry | str | None = None,
    sampling: SamplingConfig | None = None,
    **overrides: Unpack[SamplingOverrides],
) -> Plan:
    """Select frames, their times and their sizes within a budget, before they are decoded.

    Args:
        video: an open video, or a path that is opened for this call.
        model: source of the geometry, levels, tokenizer and default budget; the published ones of
            Seed1.5-VL if None.
        geometry: sizes, levels and default budget of another model family, or its name, such as
            ``qwen3-vl``, instead of a model; time texts then cost as many tokens as with the
            published model.
        sampling: how frames are sampled.
        overrides: fields of `seedvideo.SamplingConfig`, such as ``policy``, ``budget_tokens``,
            ``rate_preset``, ``fps``, ``analysis``, ``max_frames``, ``start_s`` and ``end_s``; they
            override those of ``sampling``.

    Raises:
        ConfigError: if both ``model`` and ``geometry`` are given; an `OptionTypeError`, which is a
            ``TypeError`` too, if an option has a wrong type.
        PlanError: if the value of an option is invalid, or no plan fits the budget.
    """
    config = resolve_sampling(sampling, **overrides)
    if isinstance(geometry, str):
        geometry = published_geometry(geometry)
    if geometry is not None:
        check_kind("geometry", geometry, Geometry, "a seedvideo.TokenGeometry")
        if model is not None:
            raise ConfigError(
                "config.invalid",
                "both model and geometry are given, expected at most one of them",
                hint="omit geometry: a model has its own",
            )
    if model is not None:
        check_model(model)
    costs = pipeline.load_costs(model) if isinstance(model, str) else model
    if geometry is None:
        geometry = SEED if costs is None else costs.geometry
    text_tokens = default_text_tokens if costs is None else costs.frame_text_tokens
    with as_video(video) as clip:
        return plan_window(clip, config, geometry=geometry, text_tokens=text_tokens)


def frames(video: Video | VideoInput, plan: Plan) -> Frames:
    """Decode the frames of a plan in order of time; see `Video.frames`.

    Args:
        video: an open video, or a path that is opened for the first frame and closed after the
            last one.
        plan: plan of this video.

    Raises:
        PlanError: ``plan.invalid`` if the plan belongs to another video.
        MediaError: if the file is too damaged.
        DecodeError: if decoding times out or crashes the decode worker.
    """
    check_kind("plan", plan, Plan, "a plan, as seedvideo.plan returns it")
    if isinstance(video, Video):
        lock, display_name = video.reader.lock, display_path(video.source)
    else:
        lock, display_name = SharedLock(), display_path(name_of(video))
    return SharedSteps(_frames(video, plan), lock, display_name)


def _frames(video: Video | VideoInput, plan: Plan) -> Frames:
    with as_video(video) as clip, closing(clip.frames(plan)) as decoded:
        yield from decoded


def frames_at(
    video: Video | VideoInput,
    times: "Sequence[float | Fraction] | npt.NDArray[Any]",
    *,
    width_px: int | None = None,
    height_px: int | None = None,
) -> "npt.NDArray[np.uint8]":
    """Decode the frame that is shown at each time, without a plan; see `Video.frames_at`.

    Args:
        video: an open video, or a path that is opened for this call.
        times: seconds from the start of the video, in any order, also repeatedly.
        width_px: width of the result; that of the video, or after ``height_px``, if None.
        height_px: height of the result; likewise.

    Returns:
        ``(N, height_px, width_px, 3)``, uint8, RGB: a frame for each time, in their order.

    Raises:
        SeedVideoError: as `open` and `Video.frames_at` do.
    """
    with as_video(video) as clip:
        return clip.frames_at(times, width_px=width_px, height_px=height_px)


def caption(
    video: Video | VideoInput,
    *,
    model: Backend | str = "nano",
    dense: bool = False,
    prompt: str | None = None,
    generation: GenerationOptions | None = None,
    on_text: OnText | None = None,
    sampling: SamplingConfig | None = None,
    **overrides: Unpack[SamplingOverrides],
) -> Record:
    """Caption a video in one sentence, and with ``dense`` each of its shots in one more.

    Args:
        video: an open video, or a path that is opened for this call.
        model: a loaded model, or the name of one that is loaded for this call.
        dense: also caption each shot, which analyses every frame. The shots share a second budget
            of the same size; each gets at least a quarter of it.
        prompt: text of the prompt; ``Describe the video.`` if None. The embedded model takes no
            other.
        generation: system prompt, token limit and temperature.
        on_text: receives the caption of the complete clip as it is generated; not for the embedded
            model.
        sampling: how frames are sampled. Shots are sampled by ``adaptive`` too, or uniformly with
            any other policy; all bounds except ``min_fps`` apply to them. With ``dense`` the
            analysis is ``full``, which the shots need.
        overrides: see `plan`.

    Returns:
        A record with ``status: done``. Its ``plan`` is that of the caption of the complete clip;
        its ``usage`` counts all answers.

    Raises:
        SeedVideoError: if the file is unusable, no plan fits the budget, or the model cannot be
            loaded or does not answer. `Record.failed` converts the error to a record.
    """
    config = resolve_sampling(sampling, **overrides)
    check_model(model)
    check_switch("dense", dense)
    if prompt is not None:
        check_text("prompt", prompt)
    task = Captioning.of(dense=dense, prompt=prompt, options=resolve_generation(generation))
    backend = load(model) if isinstance(model, str) else model
    return run_task(video, task, model=backend, sampling=config, on_text=on_text)


def ask(
    video: Video | VideoInput,
    question: str,
    *,
    options: Sequence[str] = (),
    thinking: bool = False,
    model: Backend | str = "nano",
    generation: GenerationOptions | None = None,
    on_text: OnText | None = None,
    sampling: SamplingConfig | None = None,
    **overrides: Unpack[SamplingOverrides],
) -> Record:
    """Answer a question about a video, freely or with one of several options.

    Args:
        video: an open video, or a path that is opened for this call.
        question: text of the question; surrounding white space is removed.
        options: 2 to 26 answers to choose from, or none. A model that supports choices gives each a
            probability; otherwise the choice is parsed from the text of the model.
        thinking: let the model reason before it answers; the record keeps the reasoning.
        model: a loaded model, or the name of one that is loaded for this call.
        generation: see `caption`.
        on_text: receives an open answer as it is generated; not for the embedded model.
        sampling: how frames are sampled.
        overrides: see `plan`.

    Returns:
        A record with ``task: ask``; its ``text`` is the answer, its ``answer`` has the details.

    Raises:
        AskError: if the question is empty, or the options are invalid.
        ModelError: if the answer matches no option (``model.answer_unparsable``), or is empty.
        SeedVideoError: as `caption` does.
    """
    check_text("question", question)
    check_texts("options", options)
    check_switch("thinking", thinking)
    config = resolve_sampling(sampling, **overrides)
    check_model(model)
    task = QuestionAnswering.of(
        question, options, thinking=thinking, generation=resolve_generation(generation)
    )
    backend = load(model) if isinstance(model, str) else model
    return run_task(video, task, model=backend, sampling=config, on_text=on_text)


def ground(
    video: Video | VideoInput,
    query: str,
    *,
    top: int = DEFAULT_TOP,
    thinking: bool = False,
    model: Backend | str = "nano",
    generation: GenerationOptions | None = None,
    on_text: OnText | None = None,
    sampling: SamplingConfig | None = None,
    **overrides: Unpack[SamplingOverrides],
) -> Record:
    """Find when something happens in a video.

    A span is half-open and inside the window. A still image, or a clip of one frame, is found
    completely or not at all. "Not found" is a result, not an error.

    Args:
        video: an open video, or a path that is opened for this call.
        query: text that describes the event, such as "the dog jumps".
        top: maximum number of spans, the best first.
        thinking: see `ask`.
        model: see `ask`.
        generation: see `caption`.
        on_text: see `ask`.
        sampling: how frames are sampled.
        overrides: see `plan`.

    Returns:
        A record with ``task: ground``; its ``text`` is the first span or "not found", its
        ``grounding`` has the details.

    Raises:
        GroundError: ``ground.query_empty`` or ``ground.query_invalid``.
        ModelError: ``model.answer_unparsable`` if the answer contains no time.
        ValueError: if ``top`` is below 1.
        SeedVideoError: as `caption` does.
    """
    check_text("query", query)
    check_count("top", top)
    check_switch("thinking", thinking)
    config = resolve_sampling(sampling, **overrides)
    check_model(model)
    task = Grounding.of(
        query, top=top, thinking=thinking, generation=resolve_generation(generation)
    )
    if top < 1:
        raise ValueError(f"top is {top}, expected at least 1")
    backend = load(model) if isinstance(model, str) else model
    return run_task(video, task, model=backend, sampling=config, on_text=on_text)


def shots(video: Video | VideoInput, *, analysis: AnalysisMethod = "fast") -> ShotList:
    """Find the shots of a video.

    Args:
        video: an open video, or a path that is opened for this call.
        analysis: ``packets`` guesses from sizes in the index, ``fast`` decodes where they are
            inconclusive, ``auto`` does so within a bound and misses most changes of shots of a long
            video, ``full`` decodes every frame.

    Returns:
        The shots: spans with a ``start`` and an ``end`` in exact seconds, one after another. A
        dissolve or fade is divided in its middle.

    Raises:
        ConfigError: if the analysis is none of the four.
        SeedVideoError: if the file cannot be used.
    """
    with as_video(video) as clip:
        found = clip.analysis(analysis)
        return ShotList(clip.source, found.method, found.shots, clip.times, found.notes)


def quality(
    video: Video | VideoInput,
    *,
    analysis: AnalysisMethod = "auto",
    start_s: float | Fraction | None = None,
    end_s: float | Fraction | None = None,
) -> Quality:
    """Measure the signals of a video: its size, motion, detail, shots, stills, brightness and more.

    Args:
        video: an open video, or a path that is opened for this call.
        analysis: as for `shots`; ``packets`` measures the signals of header and packets only.
        start_s: start of a window, in seconds.
        end_s: end of a window, in seconds.

    Raises:
        ConfigError: if the analysis is none of the four.
        PlanError: ``plan.invalid`` if no frame is in the window.
        SeedVideoError: if the file cannot be used.
    """
    config = resolve_sampling(None, analysis=analysis, start_s=start_s, end_s=end_s)
    with as_video(video) as clip:
        return pipeline.measure(clip, config)


def split(video: Video | VideoInput, options: SplitOptions = DEFAULT_SPLIT) -> VideoSplit:
    """Divide a video into clips by its shots.

    Args:
        video: an open video, or a path that is opened for this call.
        options: how shots become clips.

    Returns:
        The clips: ``windows`` with a ``span`` in exact seconds and the indices of its ``frames``.

    Raises:
        SeedVideoError: if the file cannot be used.
    """
    check_kind("options", options, SplitOptions, "a seedvideo.SplitOptions")
    with as_video(video) as clip:
        return split_video(clip, options)


def run_batch(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    task: TaskKind = "caption",
    question: str = "",
    options: Sequence[str] = (),
    query: str = "",
    top: int = DEFAULT_TOP,
    thinking: bool = False,
    prompt: str = "",
    model: str = "nano",
    model_options: ModelOptions | None = None,
    generation: GenerationOptions | None = None,
    batch_size: int = 1,
    concurrency: int | None = None,
    workers: int = 1,
    filters: Mapping[str, Any] | None = None,
    split: SplitOptions | None = None,
    shard: str | None = None,
    timeout_s: float = 120.0,
    limit: int | None = None,
    sampling: SamplingConfig | None = None,
    remote: RemoteOptions = DEFAULT_REMOTE,
    **overrides: Unpack[SamplingFields],
) -> "BatchResult":
    """Run a task on many videos, as ``seedvideo batch run`` does.

    Every clip gets a result or an error, and finished clips are on disk: calling again with the
    same folder processes only the remaining clips. ``seedvideo batch export`` writes the results.

    Args:
        inputs: videos, folders, globs, addresses, lists (``.txt``, ``.csv``, ``.jsonl``,
            ``.parquet``) and containers of clips (``.tar``, ``.parquet`` with video bytes).
        out: folder of the job.
        task: ``caption``, ``dense``, which captions each shot too, ``ask`` or ``ground``.
        question: for ``ask``, for rows of a list without their own.
        options: for ``ask``, answers to choose from.
        query: for ``ground``, for rows without their own.
        top: for ``ground``, maximum number of spans.
        thinking: let the model reason before it answers.
        prompt: for ``caption`` and ``dense``; ``Describe the video.`` if empty.
        model: name of a model, as `load` takes it.
        model_options: how the model is loaded or reached.
        generation: how the model writes.
        batch_size: clips that an open-weight model answers at once.
        concurrency: requests to a server at once; None for 4. Only for a server.
        workers: processes that decode.
        filters: rules that leave clips out, such as ``{"min_duration_s": 2, "black": True}``; the
            keys of the table ``filters`` of a job file.
        split: split the videos into clips by their shots first; None to take them as they are.
        shard: part of the inputs, such as ``"3/16"``; all if None.
        timeout_s: maximum time of a clip in one stage.
        limit: run only the first so many clips.
        sampling: how frames are sampled.
        remote: how addresses are reached.
        overrides: see `plan`.

    Returns:
        The state of the job. Ctrl-C ends the run, not the program: ``is_complete`` is then False.

    Raises:
        SeedVideoError: if an option is invalid, the inputs or the folder are unusable, or the model
            cannot be loaded. A failed clip is counted and does not raise.
    """
    from seedvideo.batch.job import Job
    from seedvideo.batch.run_job import run_job

    config = resolve_sampling(sampling, **overrides)
    named = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    values = {
        "inputs": [os.fspath(name) for name in named],
        "task": task,
        "question": question,
        "options": list(options),
        "query": query,
        "top": top,
        "thinking": thinking,
        "prompt": prompt,
        "model": model,
        "batch_size": batch_size,
        "concurrency": concurrency,
        "workers": workers,
        "filters": dict(filters or {}),
        "shard": shard,
        "timeout_s": timeout_s,
    }
    loading = resolve_model_options(model_options)
    job = replace(
        Job.from_values(values, where="run_batch"),
        sampling=config,
        model_options=loading,
        generation=resolve_generation(generation),
        split=split,
        remote=remote,
    )
    return run_job(job, Path(out), pipeline.load_costs(model, loading), limit=limit)
