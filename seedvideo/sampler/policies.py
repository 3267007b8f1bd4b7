"""The policies: rules that turn a video's times into a plan within a budget.

Each policy is a function from a `Request` to a `Plan`, listed in `POLICIES`; `make_plan` is the way
in. They see header facts and frame times, never a picture, and know a model only as its geometry
and the price of a time text. Times are exact seconds; ``_tokens`` are tokens in the sequence.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Final

from seedvideo.config import DEFAULT_LIMITS, Limits, PolicyName, SamplingConfig
from seedvideo.errors import PlanError
from seedvideo.media.types import MediaInfo
from seedvideo.sampler.adaptive import adaptive
from seedvideo.sampler.geometry import SEED, TokenGeometry, assumed_text_tokens
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import (
    Analysis,
    DecodeCosts,
    Request,
    TextPrice,
    assemble,
    wanted_frames,
    whole,
)
from seedvideo.sampler.uniform import fill, fill_evenly, spread, thin
from seedvideo.utils.timecode import Span, seconds


def make_plan(
    info: MediaInfo,
    times: Sequence[Fraction],
    keyframes: Sequence[int] = (),
    *,
    source: str,
    sampling: SamplingConfig,
    geometry: TokenGeometry = SEED,
    analysis: Analysis | None = None,
    costs: DecodeCosts | None = None,
    text_tokens: TextPrice = assumed_text_tokens,
    limits: Limits = DEFAULT_LIMITS,
) -> Plan:
    """Decide which frames of a video are shown, when, how large, and why.

    The same input gives the same plan. No picture is decoded.

    Args:
        info: header facts of the video.
        times: times of all presented frames, strictly increasing.
        keyframes: positions of the keyframes in ``times``; only ``keyframes`` needs them.
        source: name of the video for the plan.
        sampling: policy, budget, rate and bounds. The policy ``seed1.5`` is the published rule,
            ``uniform`` packs the budget tightly with evenly spaced frames, ``keyframes`` takes the
            frames that are cheapest to decode, ``adaptive`` uses the analysis.
        geometry: sizes and tokens of the model family.
        analysis: what happens in the video; only ``adaptive`` needs it, for two frames or more.
        costs: what the frames in ``times`` cost to decode; where they are known, ``adaptive`` says
            what its plan costs, and takes keyframes near by where nothing happens.
        text_tokens: price of a frame's time text and its marks, from the model's tokenizer.
        limits: ``max_sampled_frames`` bounds the frames of a plan; more are thinned evenly.

    Raises:
        PlanError: ``plan.over_budget`` if not even one frame fits; ``plan.invalid`` if no frame is
            in the window, or the geometry has no such level.
    """
    if not times:
        raise PlanError("plan.invalid", f"{source} has no frames to plan")
    inside = _inside(times, sampling, source=source)
    end = whole(info, times).end
    window = Span(sampling.start_s or Fraction(0), min(sampling.end_s or end, end))
    most, budget = int(limits.max_sampled_frames), sampling.budget_tokens
    request = Request(
        source=source,
        info=info if analysis is None else info.with_warnings(analysis.warnings),
        times=times[inside.start : inside.stop],
        keyframes=keyframes if len(inside) == len(times) else _shifted(keyframes, inside),
        window=window,
        geometry=geometry,
        budget_tokens=geometry.default_budget_tokens if budget is None else budget,
        levels_tokens=_levels(sampling, geometry),
        text_tokens=text_tokens,
        max_frames=most if sampling.max_frames is None else min(most, sampling.max_frames),
        analysis=analysis,
        costs=None if costs is None else costs.within(inside),
        sampling=sampling,
    )
    return POLICIES[sampling.policy](request)


def seed15(request: Request) -> Plan:
    """The published rule of Seed1.5-VL, as its official code has it (``SeedVLInfer``).

    One rate, one level and one size for the whole video, evenly spaced over the presented frames.
    The budget is charged with the level's cap for each frame, so text and the difference between a
    cap and a size are left out, as in the official code; the plan's totals state the real count.
    Unlike the official code the plan tells true times, not positions divided by the average rate.
    """
    wanted, why = wanted_frames(request)
    positions = spread(len(request.times), wanted)
    levels, budget = request.geometry.levels_tokens, request.budget_tokens
    count = min(wanted, request.max_frames)
    fitting = [level for level in levels if count * level <= budget]
    level = fitting[0] if fitting else levels[-1]
    if not fitting:
        count = budget // level
    if count < 1:
        raise PlanError(
            "plan.over_budget",
            f"one frame is charged {level:,} tokens at the lowest level, the budget is {budget:,}",
            hint=f"give a budget of at least {level:,} tokens",
        )
    if count < wanted:
        positions, why = thin(positions, count), f"{why}, thinned"
    return assemble(
        request,
        policy="seed1.5",
        positions=positions,
        level_tokens=level,
        why=why,
        charged_tokens=count * level,
    )


def uniform(request: Request) -> Plan:
    """Evenly spaced frames, packed by what they really cost, text included.

    Wants as many frames as the published rule, spaced evenly in time rather than by position, and
    takes the best level at which all of them fit. Where they fit at no level, the lowest is taken
    and the frames are spaced wider.

    A frame that stands for a long while (a screen recording at rest) is taken once. Where that
    would leave fewer than the geometry's `min_frames`, frames are spread by position instead.
    """
    wanted, why = wanted_frames(request)
    return fill_evenly(request, policy="uniform", wanted=wanted, why=why)


def keyframes(request: Request) -> Plan:
    """Every keyframe, the frames that can be decoded without any other.

    Thinned evenly where they do not fit at the lowest level; the level is chosen as in `uniform`.
    A video that marks no keyframe gives its first frame.
    """
    marked = sorted(set(request.keyframes)) or [0]
    if marked[0] < 0 or marked[-1] >= len(request.times):
        raise PlanError(
            "plan.invalid",
            f"keyframes lie between {marked[0]} and {marked[-1]},"
            f" the video has {len(request.times)} frames",
        )
    return fill(
        request,
        policy="keyframes",
        pick=lambda count: thin(marked, count),
        wanted=len(marked),
        why="keyframe",
    )


def _adaptive(request: Request) -> Plan:
    """The policy `adaptive`. A single frame, as of a photo, is shown without any analysis too."""
    if request.analysis is None and len(request.times) == 1:
        return fill_evenly(request, policy="adaptive", wanted=1, why="only frame")
    return adaptive(request)


def _inside(times: Sequence[Fraction], sampling: SamplingConfig, *, source: str) -> range:
    """Positions of the frames in the window that was asked for."""
    first = 0 if sampling.start_s is None else bisect_left(times, sampling.start_s)
    after = len(times) if sampling.end_s is None else bisect_left(times, sampling.end_s)
    if first >= after:
        asked = f"from {seconds(sampling.start_s or Fraction(0)):g} s on"
        if sampling.end_s is not None:
            asked += f" and before {seconds(sampling.end_s):g} s"
        raise PlanError(
            "plan.invalid",
            f"no frame of {source} begins {asked}",
            hint=f"its frames begin at {seconds(times[0]):g} to {seconds(times[-1]):g} s",
        )
    return range(first, after)


def _shifted(keyframes: Sequence[int], inside: range) -> list[int]:
    """The keyframes in a window, as positions in the window."""
    return [position - inside.start for position in keyframes if position in inside]


def _levels(sampling: SamplingConfig, geometry: TokenGeometry) -> tuple[int, ...]:
    """The levels that may be used, best first."""
    if sampling.levels_tokens is None:
        return geometry.levels_tokens
    for level in sampling.levels_tokens:
        if level not in geometry.levels_tokens:
            listed = ", ".join(str(each) for each in geometry.levels_tokens)
            raise PlanError("plan.invalid", f"a level is {level!r}, expected one of {listed}")
    return tuple(sorted(set(sampling.levels_tokens), reverse=True))


POLICIES: Final[Mapping[PolicyName, Callable[[Request], Plan]]] = {
    "seed1.5": seed15,
    "uniform": uniform,
    "keyframes": keyframes,
    "adaptive": _adaptive,
}
"""Every policy by its name."""

SAMPLER_VERSION: Final = "0.1.0-6c363b382e5d5ec2"
"""Name of the rules by which frames are chosen; part of every fingerprint of a batch job.

Raise it whenever the same video, options and analysis may give another plan, or the same video
another analysis: with a new version, a job that goes on does its clips again. Leave it as it is
for changes of comments, names, speed or the wording of reasons. The next version is free text,
such as ``"0.2.0-1"``; it only has to differ from all earlier ones.
"""
