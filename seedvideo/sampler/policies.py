"""Registry of sampling policies: rules that turn the frame times of a video into a plan.

Each `Policy` is a function from a `Request` to a `Plan`, listed in `POLICIES` or registered by
another package; `make_plan` is the entry point. Times are exact seconds; ``_tokens`` are tokens in
the sequence.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final, Protocol

from seedvideo.config import DEFAULT_LIMITS, Limits, PolicyName, SamplingConfig
from seedvideo.errors import PlanError
from seedvideo.media.types import MediaInfo
from seedvideo.plugins import Plugin, find_plugin
from seedvideo.sampler.adaptive import adaptive
from seedvideo.sampler.geometry import SEED, Geometry, default_text_tokens
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import (
    AnalysisResult,
    DecodeCosts,
    Request,
    TextTokenCounter,
    build_plan,
    full_span,
    target_frame_count,
)
from seedvideo.sampler.uniform import fill, fill_uniformly, linspace_indices, subsample
from seedvideo.utils.timecode import Span, seconds


class Policy(Protocol):
    """A sampling policy: a function that selects the frames of a video.

    A function with the attribute ``needs_analysis = True`` gets the analysis of the video and the
    decode costs of its frames in the request; otherwise both are None.
    """

    def __call__(self, request: Request, /) -> Plan:
        """Return the plan of a request.

        Raises:
            PlanError: if the request has no plan.
        """
        ...


def make_plan(
    info: MediaInfo,
    times: Sequence[Fraction],
    keyframes: Sequence[int] = (),
    *,
    source: str,
    sampling: SamplingConfig,
    geometry: Geometry = SEED,
    analysis: AnalysisResult | None = None,
    costs: DecodeCosts | None = None,
    text_tokens: TextTokenCounter = default_text_tokens,
    limits: Limits = DEFAULT_LIMITS,
) -> Plan:
    """Decide which frames of a video are shown, at which size, and why.

    The same input yields the same plan. No picture is decoded.

    Args:
        info: header facts of the video.
        times: times of all presented frames, strictly increasing.
        keyframes: positions of the keyframes in ``times``; required by ``keyframes`` only.
        source: name of the video for the plan.
        sampling: policy, budget, rate and bounds. ``seed1.5`` is the published rule, ``uniform``
            fills the budget with evenly spaced frames, ``keyframes`` takes the frames that are
            cheapest to decode, ``adaptive`` uses the analysis.
        geometry: token geometry of the model family.
        analysis: analysis of the video; required by ``adaptive`` for two frames or more.
        costs: decode costs of the frames in ``times``. With them, ``adaptive`` reports the cost of
            its plan, and moves frames of calm segments to nearby keyframes.
        text_tokens: counts the tokens of a timestamp text with its markers.
        limits: ``max_sampled_frames`` limits the frames of a plan; more are subsampled evenly.

    Raises:
        PlanError: ``plan.over_budget`` if not even one frame fits; ``plan.invalid`` if no frame is
            in the window, or the geometry lacks a requested level.
    """
    if not times:
        raise PlanError("plan.invalid", f"{source} has no frames to plan")
    inside = frames_in_window(times, sampling, source=source)
    end = full_span(info, times).end
    window = Span(sampling.start_s or Fraction(0), min(sampling.end_s or end, end))
    most, budget = int(limits.max_sampled_frames), sampling.budget_tokens
    request = Request(
        source=source,
        info=info if analysis is None else info.with_warnings(analysis.warnings),
        times=times[inside.start : inside.stop],
        keyframes=keyframes if len(inside) == len(times) else _rebased_keyframes(keyframes, inside),
        window=window,
        geometry=geometry,
        budget_tokens=geometry.default_budget_tokens if budget is None else budget,
        levels_tokens=_levels(sampling, geometry),
        text_tokens=text_tokens,
        max_frames=most if sampling.max_frames is None else min(most, sampling.max_frames),
        analysis=analysis,
        costs=None if costs is None else costs.restrict(inside),
        sampling=sampling,
    )
    shipped = POLICIES.get(sampling.policy)
    return _plan_of_plugin(request) if shipped is None else shipped(request)


def needs_analysis(policy: PolicyName) -> bool:
    """Return whether a policy needs the analysis of a video.

    Raises:
        ConfigError: ``config.plugin_invalid`` if it belongs to another package and is unusable.
    """
    if policy in POLICIES:
        return policy == "adaptive"
    plugin = _plugin(policy)
    return bool(plugin.call(getattr, plugin.load(), "needs_analysis", False))


def _plugin(policy: PolicyName) -> Plugin:
    plugin = find_plugin("policy", policy)
    if plugin is None:
        raise PlanError(
            "plan.invalid",
            f"policy {policy!r} does not exist here",
            hint="install the package that adds it",
        )
    return plugin


def _plan_of_plugin(request: Request) -> Plan:
    """Apply the policy of another package, and check what it returns."""
    plugin = _plugin(request.sampling.policy)
    plan = plugin.call(plugin.load(), request)
    if not isinstance(plan, Plan):
        raise plugin.error(f"returned {type(plan).__name__}, expected a seedvideo.Plan")
    problem = _difference(plan, request)
    if problem:
        raise plugin.error(f"returned a plan {problem}")
    return plan


def _difference(plan: Plan, request: Request) -> str | None:
    """Return how a plan departs from its request; None if it is a plan of that request."""
    if plan.geometry != request.geometry:
        return f"for the geometry {plan.geometry.name}, expected {request.geometry.name}"
    if plan.budget_tokens != request.budget_tokens:
        return f"with a budget of {plan.budget_tokens:,} tokens, expected {request.budget_tokens:,}"
    if len(plan.frames) > request.max_frames:
        return f"of {len(plan.frames):,} frames, expected at most {request.max_frames:,}"
    times = frozenset(request.times)
    for frame in plan.frames:
        if not isinstance(frame.pts, Fraction) or frame.pts not in times:
            return f"with a frame at {frame.pts} s, which is not one of the request's times"
    return None


def seed15(request: Request) -> Plan:
    """Apply the published rule of Seed1.5-VL, as in its official code (``SeedVLInfer``).

    One rate, one level and one size for the complete video, evenly spaced by frame index. As in the
    official code, the budget is charged with the cap of the level per frame, without text; the
    totals of the plan state the real count. Unlike the official code, the plan has exact times
    instead of indices divided by the average rate.
    """
    wanted, why = target_frame_count(request)
    positions = linspace_indices(len(request.times), wanted)
    levels, budget = request.geometry.levels_tokens, request.budget_tokens
    count = min(wanted, request.max_frames)
    fitting = [level for level in levels if count * level <= budget]
    level = fitting[0] if fitting else levels[-1]
    if not fitting:
        count = budget // level
    if count < 1:
        raise PlanError(
            "plan.over_budget",
            f"one frame at the lowest level charges {level:,} tokens,"
            f" above the budget of {budget:,}",
            hint=f"raise the budget to at least {level:,} tokens",
        )
    if count < wanted:
        positions, why = subsample(positions, count), f"{why}, thinned"
    return build_plan(
        request,
        policy="seed1.5",
        positions=positions,
        level_tokens=level,
        why=why,
        charged_tokens=count * level,
    )


def uniform(request: Request) -> Plan:
    """Select evenly spaced frames, charged with their real cost including text.

    The target is the frame count of the published rule, spaced evenly in time rather than by index,
    at the best level at which all frames fit. If they fit at no level, the lowest is taken with
    wider spacing.

    A frame that is shown for long (a screen recording at rest) is taken once. If that leaves fewer
    than the geometry's `min_frames`, frames are spaced by index instead.
    """
    wanted, why = target_frame_count(request)
    return fill_uniformly(request, policy="uniform", wanted=wanted, why=why)


def keyframes(request: Request) -> Plan:
    """Select every keyframe: the frames that can be decoded independently.

    If they do not fit at the lowest level, they are subsampled evenly; the level is chosen as in
    `uniform`. A video without marked keyframes yields its first frame.
    """
    marked = sorted(set(request.keyframes)) or [0]
    if marked[0] < 0 or marked[-1] >= len(request.times):
        raise PlanError(
            "plan.invalid",
            f"keyframes are {marked[0]} to {marked[-1]},"
            f" expected indices of {len(request.times)} frames",
        )
    return fill(
        request,
        policy="keyframes",
        select=lambda count: subsample(marked, count),
        wanted=len(marked),
        why="keyframe",
    )


def _adaptive(request: Request) -> Plan:
    """Apply the policy `adaptive`; a single frame, as of a photo, needs no analysis."""
    if request.analysis is None and len(request.times) == 1:
        return fill_uniformly(request, policy="adaptive", wanted=1, why="only frame")
    return adaptive(request)


def frames_in_window(times: Sequence[Fraction], sampling: SamplingConfig, *, source: str) -> range:
    """Return the positions of the frames in the requested window."""
    first = 0 if sampling.start_s is None else bisect_left(times, sampling.start_s)
    after = len(times) if sampling.end_s is None else bisect_left(times, sampling.end_s)
    if first >= after:
        asked = f"at {seconds(sampling.start_s or Fraction(0)):g} s or later"
        if sampling.end_s is not None:
            asked += f" and before {seconds(sampling.end_s):g} s"
        raise PlanError(
            "plan.invalid",
            f"no frame of {source} begins {asked}",
            hint=f"its frames begin at {seconds(times[0]):g} to {seconds(times[-1]):g} s",
        )
    return range(first, after)


def _rebased_keyframes(keyframes: Sequence[int], inside: range) -> list[int]:
    """Return the keyframes in a window, as positions in the window."""
    return [position - inside.start for position in keyframes if position in inside]


def _levels(sampling: SamplingConfig, geometry: Geometry) -> tuple[int, ...]:
    """Return the levels that may be used, best first."""
    if sampling.levels_tokens is None:
        return geometry.levels_tokens
    for level in sampling.levels_tokens:
        if level not in geometry.levels_tokens:
            listed = ", ".join(str(each) for each in geometry.levels_tokens)
            raise PlanError("plan.invalid", f"a level is {level!r}, expected one of {listed}")
    return tuple(sorted(set(sampling.levels_tokens), reverse=True))


POLICIES: Final[Mapping[PolicyName, Policy]] = {
    "seed1.5": seed15,
    "uniform": uniform,
    "keyframes": keyframes,
    "adaptive": _adaptive,
}
"""Policies by name."""

SAMPLER_VERSION: Final = "0.2.1"
"""Version of the selection rules; part of every fingerprint of a batch job.

Raise it whenever the same video, options and analysis may yield another plan, or the same video
another analysis: with a new version, a resumed job processes its clips again. Keep it for changes
of comments, names, speed or the wording of reasons. It is free text, such as ``"0.2.0-1"``, and
must differ from all earlier versions.
"""
