"""Sampling rules of other packages and papers, for comparison: part of `flashbench.py`.

Each rule spends a budget on one video, counted in measured tokens, text included. Thumbnails are
small frames, five per second, decoded once per video for all rules. Does nothing as a script.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from scenedetect import ContentDetector, FrameTimecode
from scenedetect.common import Timecode

from seedvideo.evaluate.flashbench import SelectedFrame
from seedvideo.sampler.geometry import FRAME_TEXT_TOKENS, SEED

THUMBNAIL_INTERVAL_S: Final = Fraction(1, 5)
THUMBNAIL_PX: Final = (160, 90)
PROPORTIONAL_LEVEL: Final = 256
"""Level of the frames of the proportional rule."""

SIMILAR: Final = 0.95
"""Fraction of unchanged patches above which a frame is a fast one (Keye-VL-1.5)."""
SAME_PATCH: Final = 12.0
"""Mean difference of brightness up to which a patch is unchanged; not stated in the report."""
FAST_FRACTION: Final = 0.3
"""Tokens of a fast frame, as a fraction of a slow one's."""
KEYE_EVERY: Final = Fraction(1, 2)
"""Time between the frames that the rule inspects, in seconds."""


@dataclass(frozen=True)
class ThumbnailStats:
    """Measurements of a video that the rules use besides its times.

    Args:
        times: times of the thumbnails, in seconds.
        spatial: standard deviation of the Sobel magnitude of each thumbnail (SI of ITU-T P.910).
        temporal: standard deviation of the difference to the thumbnail before (TI).
        candidates: frames that the similarity rule inspected.
        slow: which of them are slow frames.
        cuts: first thumbnails of new shots.
    """

    times: tuple[Fraction, ...]
    spatial: npt.NDArray[np.float64]
    temporal: npt.NDArray[np.float64]
    candidates: tuple[Fraction, ...]
    slow: tuple[bool, ...]
    cuts: tuple[Fraction, ...]


@dataclass(frozen=True)
class Clip:
    """Input of a rule.

    Args:
        times: times of all frames.
        duration: duration of the video.
        width_px: width of the video.
        height_px: height of the video.
        stats: thumbnail statistics; None for rules without analysis.
        seed: seed of random rules.
    """

    times: tuple[Fraction, ...]
    duration: Fraction
    width_px: int
    height_px: int
    stats: ThumbnailStats | None
    seed: int

    def required_stats(self) -> ThumbnailStats:
        """Return the thumbnail statistics, for rules that need them."""
        if self.stats is None:
            raise ValueError("this rule needs thumbnail statistics, but the clip has none")
        return self.stats

    def tokens(self, level: int) -> int:
        """Return the visual tokens of a frame under a cap."""
        width, height = SEED.size(
            width_px=self.width_px, height_px=self.height_px, level_tokens=level
        )
        return SEED.tokens(width_px=width, height_px=height)

    def fitting(self, level: int, budget: int) -> int:
        """Return the number of frames of a level that fit a budget."""
        return min(len(self.times), budget // (self.tokens(level) + FRAME_TEXT_TOKENS))

    def select_frames(
        self, moments: Sequence[Fraction], tokens: Sequence[int]
    ) -> list[SelectedFrame]:
        """Return the frames at these times; of several times in one frame the first counts."""
        chosen: dict[Fraction, int] = {}
        for moment, cost in zip(moments, tokens, strict=True):
            i = max(0, bisect_left(self.times, moment + Fraction(1, 10**9)) - 1)
            chosen.setdefault(self.times[i], cost)
        return [SelectedFrame(pts, chosen[pts], FRAME_TEXT_TOKENS) for pts in sorted(chosen)]


Rule = Callable[[Clip, int], list[SelectedFrame]]


def uniform_at(level: int) -> Rule:
    """Make a rule that takes as many frames of a level as fit, in the middles of equal spans."""

    def rule(clip: Clip, budget: int) -> list[SelectedFrame]:
        return _even(clip, level, budget, Fraction(1, 2))

    return rule


def random_phase(clip: Clip, budget: int) -> list[SelectedFrame]:
    """Take evenly spaced frames of the lowest level, with a random start in the first span."""
    phase = Fraction(int(np.random.default_rng([clip.seed, budget]).integers(0, 10**6)), 10**6)
    return _even(clip, SEED.levels_tokens[-1], budget, phase)


def scene_cuts(clip: Clip, budget: int) -> list[SelectedFrame]:
    """Take the first, middle and last frame of every shot, at the best level that fits."""
    bounds = [Fraction(0), *clip.required_stats().cuts, clip.duration]
    moments = []
    for start, end in pairwise(bounds):
        moments += [start, (start + end) / 2, end - Fraction(1, 5)]
    for level in SEED.levels_tokens:
        if len(moments) <= clip.fitting(level, budget):
            break
    count = clip.fitting(level, budget)
    chosen = (
        moments
        if len(moments) <= count
        else [moments[i * len(moments) // count] for i in range(count)]
    )
    return clip.select_frames(chosen, [clip.tokens(level)] * len(chosen))


def proportional(clip: Clip, budget: int) -> list[SelectedFrame]:
    """Take frames in proportion to SI times TI over 10 s, without regard to the usual state."""
    weight = clip.required_stats().spatial * clip.required_stats().temporal
    at = np.array([float(time) for time in clip.required_stats().times])
    window = (at // 10).astype(int)
    smooth = np.bincount(window, weight) / np.bincount(window)
    mass = np.concatenate([[0], np.cumsum(smooth[window] + 1e-9)])
    count = clip.fitting(PROPORTIONAL_LEVEL, budget)
    targets = (np.arange(count) + 0.5) / count * mass[-1]
    moments = np.interp(targets, mass, np.append(at, float(clip.duration)))
    exact = [Fraction(round(float(moment) * 10**6), 10**6) for moment in moments]
    return clip.select_frames(exact, [clip.tokens(PROPORTIONAL_LEVEL)] * count)


def keye(clip: Clip, budget: int) -> list[SelectedFrame]:
    """Apply the rule of Keye-VL-1.5: frames unlike the last slow one are slow, others get 30%.

    Bisection finds the tokens of a slow frame between the lowest and the best level. If even the
    lowest exceeds the budget, fewer frames are inspected.
    """
    frames = list(zip(clip.required_stats().candidates, clip.required_stats().slow, strict=True))

    def spend(slow_tokens: int, every: int) -> list[SelectedFrame]:
        some = frames[::every]
        small = max(SEED.min_frame_tokens, int(FAST_FRACTION * slow_tokens))
        return clip.select_frames(
            [time for time, _ in some],
            [clip.tokens(slow_tokens if is_slow else small) for _, is_slow in some],
        )

    def cost(selected: list[SelectedFrame]) -> int:
        return sum(frame.tokens + frame.text_tokens for frame in selected)

    lowest, best = SEED.levels_tokens[-1], SEED.levels_tokens[0]
    every = 1
    while cost(spend(lowest, every)) > budget:
        every += 1
    low, high = lowest, best
    while low < high:
        middle = (low + high + 1) // 2
        if cost(spend(middle, every)) <= budget:
            low = middle
        else:
            high = middle - 1
    return spend(low, every)


RULES: Final[Mapping[str, Rule]] = {
    **{f"uniform {level}": uniform_at(level) for level in SEED.levels_tokens},
    "random phase": random_phase,
}
"""Rules that need no analysis of the video, by their names in the tables."""

ANALYSIS_RULES: Final[Mapping[str, Rule]] = {
    "scene cuts": scene_cuts,
    "SI x TI": proportional,
    "Keye 95 %": keye,
}
"""Rules that need an analysis."""


def analyse(path: Path, duration: Fraction) -> ThumbnailStats:
    """Analyse a video once, for all rules."""
    times, spatial, temporal, candidates, slow = [], [], [], [], []
    last: npt.NDArray[np.float32] | None = None
    anchor: npt.NDArray[np.float32] | None = None

    # PySceneDetect's default detector; a float is a number of seconds.
    detector = ContentDetector(min_scene_len=0.4)
    cuts = []
    for pts, pixels in _small_frames(path):
        luma = pixels.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
        times.append(pts)
        spatial.append(_sobel(luma))
        temporal.append(0.0 if last is None else float((luma - last).std()))
        last = luma
        if pts >= len(candidates) * KEYE_EVERY:
            candidates.append(pts)
            slow.append(anchor is None or _similarity(luma, anchor) <= SIMILAR)
            if slow[-1]:
                anchor = luma
        ticks = Timecode(pts=round(pts * 10**6), time_base=Fraction(1, 10**6))
        bgr = np.ascontiguousarray(pixels[:, :, ::-1])
        for cut in detector.process_frame(FrameTimecode(ticks, fps=Fraction(30)), bgr):
            cuts.append(Fraction(cut.pts, 10**6))
    return ThumbnailStats(
        tuple(times),
        np.array(spatial),
        np.array(temporal),
        tuple(candidates),
        tuple(slow),
        tuple(cut for cut in cuts if 0 < cut < duration),
    )


def _small_frames(path: Path) -> Iterator[tuple[Fraction, npt.NDArray[np.uint8]]]:
    """Yield small frames at `THUMBNAIL_INTERVAL_S`, each with its time from the start."""
    due = Fraction(0)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            pts = (frame.pts - stream.start_time) * stream.time_base
            if pts >= due:
                due = pts + THUMBNAIL_INTERVAL_S
                yield pts, frame.reformat(*THUMBNAIL_PX, "rgb24").to_ndarray()


def _even(clip: Clip, level: int, budget: int, phase: Fraction) -> list[SelectedFrame]:
    count = clip.fitting(level, budget)
    moments = [clip.duration * (i + phase) / count for i in range(count)]
    return clip.select_frames(moments, [clip.tokens(level)] * count)


def _sobel(luma: npt.NDArray[np.float32]) -> float:
    across = luma[:, 2:] - luma[:, :-2]
    down = luma[2:] - luma[:-2]
    right = across[:-2] + 2 * across[1:-1] + across[2:]
    below = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return float(np.hypot(right, below).std())


def _similarity(luma: npt.NDArray[np.float32], anchor: npt.NDArray[np.float32]) -> float:
    """Return the fraction of unchanged patches of 10x10 px."""
    height, width = luma.shape
    patches = np.abs(luma - anchor).reshape(height // 10, 10, width // 10, 10).mean(axis=(1, 3))
    return float((patches <= SAME_PATCH).mean())
