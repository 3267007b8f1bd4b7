"""Cost estimate of a job without a model: plan every clip and decode the first few.

Decoding time is measured on the clips themselves. The model's time is known only from an earlier
run of the same weights and task in the same journal; without one it is not estimated.

Separate from `seedvideo.cli.batch_run`, which would exceed 500 lines with it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Final

from seedvideo.batch.duplicates import EXACT, NEAR
from seedvideo.batch.execution import make_item_task, open_clip
from seedvideo.batch.filters import check_frames, check_metadata
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job, in_shard
from seedvideo.config import resolve_sampling
from seedvideo.errors import SeedVideoError
from seedvideo.model.backends.base import TokenCosts
from seedvideo.pipeline import clip_window, plan_for_model
from seedvideo.remote.fetching import Fetcher, needs_fetch
from seedvideo.utils.timecode import seconds

CALIBRATION_CLIPS: Final = 5
"""Number of clips that are decoded to measure the decoding time."""


@dataclass
class Estimate:
    """Totals over the planned clips.

    Args:
        clips: number of planned clips.
        filtered: number of clips per filter rule; duplicates are not counted, see
            `unestimated_rules`.
        failures: number of clips per error code.
        video_s: seconds of video inside the windows.
        frames: planned frames.
        visual_tokens: visual tokens of the plans; for ``dense``, of the whole video only.
        tokens: visual tokens and text of the timestamps.
        plan_s: seconds spent on opening, analysing and planning.
        decoded_frames: frames of the clips that were decoded.
        decode_s: seconds spent on decoding them.
    """

    clips: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    video_s: float = 0.0
    frames: int = 0
    visual_tokens: int = 0
    tokens: int = 0
    plan_s: float = 0.0
    decoded_frames: int = 0
    decode_s: float = 0.0

    def prepare_s(self, workers: int) -> float:
        """Return the seconds that a number of processes need to prepare all clips."""
        seconds_per_frame = self.decode_s / self.decoded_frames if self.decoded_frames else 0.0
        return (self.plan_s + seconds_per_frame * self.frames) / workers

    def model_s(self, visual_tokens_per_s: float | None) -> float | None:
        """Return the seconds that the model needs; None if its speed is unknown."""
        return None if visual_tokens_per_s is None else self.visual_tokens / visual_tokens_per_s

    def to_json(
        self, job: Job, speed: float | None, *, usd_per_mtok: float | None
    ) -> dict[str, Any]:
        """Return all values as JSON values; unknown ones are None."""
        model_s = self.model_s(speed)
        prepare_s = self.prepare_s(job.workers)
        return {
            "clips": self.clips,
            "filtered": dict(self.filtered),
            "not_counted": unestimated_rules(job),
            "failed": dict(self.failures),
            "video_s": round(self.video_s, 3),
            "frames": self.frames,
            "visual_tokens": self.visual_tokens,
            "tokens": self.tokens,
            "prepare_s": round(prepare_s, 1),
            "model_s": None if model_s is None else round(model_s, 1),
            # Both run in parallel: the slower one counts.
            "total_s": None if model_s is None else round(max(prepare_s, model_s), 1),
            "usd": None if usd_per_mtok is None else round(self.tokens * usd_per_mtok / 1e6, 4),
        }


def estimate(
    rows: Iterable[Item | BadRow],
    job: Job,
    prices: TokenCosts,
    *,
    limit: int | None = None,
    fetcher: Fetcher,
    on_progress: Callable[[int], None],
) -> Estimate:
    """Plan every clip of a job.

    Args:
        rows: rows of its inputs.
        job: settings of the job.
        prices: token costs of its model.
        limit: plan only the first ``limit`` clips, without bad rows; None for all.
        fetcher: fetches remote clips.
        on_progress: called after each row with the number of rows so far.
    """
    total = Estimate()
    seen = 0
    for number, row in enumerate(rows, start=1):
        if isinstance(row, BadRow):
            total.failures[row.code] += 1
        elif job.shard is None or in_shard(row.id, job.shard):
            seen += 1
            try:
                with fetched_item(row, fetcher) as item:
                    _add_clip(total, job, item, prices)
            except SeedVideoError as error:
                total.failures[error.code] += 1
        on_progress(number)
        if seen == limit:
            break
    return total


@contextmanager
def fetched_item(item: Item, fetcher: Fetcher) -> Iterator[Item]:
    """Yield an item whose file is on this machine."""
    if not needs_fetch(item.source):
        yield item
        return
    with fetcher.lease(item.source) as lease:
        yield replace(item, located=lease.opened)


def unestimated_rules(job: Job) -> list[str]:
    """Return the rules that a dry run does not apply: it compares no clips."""
    rules = []
    if job.filters.drops_exact:
        rules.append(EXACT)
    if job.filters.drops_near:
        rules.append(NEAR)
    return rules


def last_throughput(stored: str | None, job: Job, prices: TokenCosts) -> float | None:
    """Return visual tokens per second of an earlier run, if it had the same weights and task."""
    if stored is None:
        return None
    speed = json.loads(stored)
    if (speed["model_sha256"], speed["task"]) != (prices.sha256, job.task):
        return None
    return float(speed["visual_tokens_per_s"])


def _add_clip(total: Estimate, job: Job, item: Item, prices: TokenCosts) -> None:
    task = make_item_task(job, item)
    started = perf_counter()
    sampling = job.sampling_for(item)
    if task.dense:
        sampling = resolve_sampling(sampling, analysis="full")
    with open_clip(job, item) as clip:
        window = clip_window(clip, sampling)
        rejection = check_metadata(clip, window, job.filters)
        if rejection is None:
            rejection = check_frames(clip, window, job.filters)
        if rejection is not None:
            total.filtered[rejection.rule] += 1
            return
        plan = plan_for_model(clip, sampling, prices)
        total.plan_s += perf_counter() - started
        if total.clips < CALIBRATION_CLIPS:
            started = perf_counter()
            total.decoded_frames += sum(1 for _ in clip.frames(plan))
            total.decode_s += perf_counter() - started
        total.clips += 1
        total.video_s += seconds(window.end - window.start)
        total.frames += plan.totals.frames
        total.visual_tokens += plan.totals.visual_tokens
        total.tokens += plan.totals.tokens
