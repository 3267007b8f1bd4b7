"""Pairs of near frames, for model families that merge two frames of a video.

Such a model charges one frame as much as two. So each planned frame may get a partner for free: a
frame shortly after it. The model gets their mean time, which is at most `MAX_OFFSET_S` from
either. Times are exact seconds.

Separate from `seedvideo.pipeline`, as it decides which frames are shown.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final

from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import TextTokenCounter

MAX_OFFSET_S: Final = Fraction(1, 4)
"""Maximum difference between the time of a frame and their mean. Qwen3-VL was trained
with frames half a second apart."""


def find_partners(
    plan: Plan,
    times: Sequence[Fraction],
    *,
    cuts: Sequence[Fraction],
    text_tokens: TextTokenCounter,
) -> tuple[Fraction | None, ...]:
    """Return the partner of each planned frame: the last near one before the next planned frame.

    A partner lies before the next cut. A frame has no partner if none is near, or if the text of
    the mean time would cost more than planned.

    Args:
        plan: the plan.
        times: presentation times of all frames of the video, strictly increasing.
        cuts: times at which the picture changes, rising; those that the analysis has found.
        text_tokens: counts the text tokens of a frame by its time.
    """
    partners: list[Fraction | None] = []
    ends = [*(frame.pts for frame in plan.frames[1:]), plan.segments[-1].end]
    for frame, end in zip(plan.frames, ends, strict=True):
        next_cut = bisect_right(cuts, frame.pts)
        end = min([end, *cuts[next_cut : next_cut + 1]])
        place = bisect_right(times, frame.pts + 2 * MAX_OFFSET_S) - 1
        while place >= 0 and times[place] >= end:
            place -= 1
        partner = times[place] if place >= 0 else frame.pts
        is_affordable = (
            partner > frame.pts and text_tokens(mean_time(frame.pts, partner)) <= frame.text_tokens
        )
        partners.append(partner if is_affordable else None)
    return tuple(partners)


def mean_time(first: Fraction, second: Fraction) -> Fraction:
    """Return the time of a pair: the mean of its frames."""
    return (first + second) / 2


def with_partners(plan: Plan, partners: Sequence[Fraction | None]) -> Plan:
    """Return a plan with the partners as frames of their own, for decoding only."""
    frames = []
    for frame, partner in zip(plan.frames, partners, strict=True):
        frames.append(frame)
        if partner is not None:
            frames.append(replace(frame, pts=partner, reason="pair"))
    tokens = sum(frame.tokens + frame.text_tokens for frame in frames)
    return replace(
        plan,
        frames=tuple(frames),
        charged_tokens=tokens,
        budget_tokens=max(plan.budget_tokens, tokens),
    )
