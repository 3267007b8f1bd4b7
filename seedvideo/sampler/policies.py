"""The policies: rules that turn a video's times into a plan within a budget.

Each policy is a function from a `Request` to a `Plan`, listed in `POLICIES`; `make_plan` is the way
in. They see header facts and frame times, never a picture, and know a model only as its geometry
and the price of a time text. Times are exact seconds; ``_tokens`` are tokens in the sequence.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Final, Literal, NoReturn, get_args

from seedvideo.errors import PlanError, suggestion
from seedvideo.limits import DEFAULT_LIMITS, Limits
from seedvideo.media.types import MediaInfo
from seedvideo.sampler.adaptive import adaptive
from seedvideo.sampler.geometry import SEED, TASK_FPS, TokenGeometry, assumed_text_tokens
from seedvideo.sampler.knobs import COVERAGE, NO_KNOBS, Knobs
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

PolicyName = Literal["seed1.5", "uniform", "keyframes", "adaptive"]


def make_plan(
    info: MediaInfo,
    times: Sequence[Fraction],
    keyframes: Sequence[int] = (),
    *,
    source: str,
    policy: PolicyName = "uniform",
    geometry: TokenGeometry = SEED,
    budget_tokens: int | None = None,
    task: str = "general",
    fps: float | Fraction | None = None,
    knobs: Knobs = NO_KNOBS,
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
        policy: ``seed1.5`` is the published rule, ``uniform`` packs the budget tightly with evenly
            spaced frames, ``keyframes`` takes the frames that are cheapest to decode, ``adaptive``
            looks at the analysis.
        geometry: sizes and tokens of the model family.
        budget_tokens: what the plan may charge; the geometry's default where none is given.
        task: ``general``, ``detail`` or ``motion``: 1, 2 or 5 frames a second.
        fps: frames a second; overrides the task's.
        knobs: levels, window, rates and other wishes.
        analysis: what happens in the video; only ``adaptive`` needs it, for two frames or more.
        costs: what the frames in ``times`` cost to decode; where they are known, ``adaptive`` says
            what its plan costs, and takes keyframes near by where nothing happens.
        text_tokens: price of a frame's time text and its marks, from the model's tokenizer.
        limits: ``max_sampled_frames`` bounds the frames of a plan; more are thinned evenly.

    Raises:
        PlanError: ``plan.over_budget`` if not even one frame fits; ``plan.invalid`` if an option
            has a value that it cannot have or that the policy does not take.
    """
    if policy not in POLICIES:
        _refuse("policy", policy, get_args(PolicyName))
    if task not in TASK_FPS:
        _refuse("task", task, tuple(TASK_FPS))
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise PlanError("plan.invalid", f"fps is {fps}, expected a finite value above 0")
    if policy != "adaptive" and knobs.only_adaptive():
        raise PlanError(
            "plan.invalid",
            f"policy {policy} takes no {' and no '.join(knobs.only_adaptive())}",
            hint="only the policy adaptive does",
        )
    if not times:
        raise PlanError("plan.invalid", f"{source} has no frames to plan")
    inside = _inside(times, knobs, source=source)
    end = whole(info, times).end
    window = Span(knobs.start or Fraction(0), min(knobs.end or end, end))
    most = int(limits.max_sampled_frames)
    request = Request(
        source=source,
        info=info if analysis is None else info.with_warnings(analysis.warnings),
        times=times[inside.start : inside.stop],
        keyframes=keyframes if len(inside) == len(times) else _shifted(keyframes, inside),
        window=window,
        geometry=geometry,
        budget_tokens=geometry.default_budget_tokens if budget_tokens is None else budget_tokens,
        task=task,
        fps=None if fps is None else float(fps),
        levels_tokens=_levels(knobs, geometry),
        text_tokens=text_tokens,
        max_frames=most if knobs.max_frames is None else min(most, knobs.max_frames),
        analysis=analysis,
        costs=None if costs is None else costs.within(inside),
        coverage=COVERAGE if knobs.coverage is None else knobs.coverage,
        min_fps=knobs.min_fps,
        max_fps=knobs.max_fps,
    )
    return POLICIES[policy](request)


def seed15(request: Request) -> Plan:
    """The published rule of Seed1.5-VL, as its official code has it (``SeedVLInfer``).

    One rate, one level and one size for the whole video, evenly spaced over the presented frames.
    The budget is charged with the level's cap for each frame, so text and the difference between a
    cap and a size are left out, as in the official code; the plan's totals state the real count.
    Unlike the official code the plan tells true times, not positions divided by the average rate.
    """
    if request.levels_tokens != request.geometry.levels_tokens:
        raise PlanError("plan.invalid", "policy seed1.5 chooses its level itself")
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
    if request.fps is not None:
        raise PlanError("plan.invalid", "policy keyframes takes no fps")
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


def _inside(times: Sequence[Fraction], knobs: Knobs, *, source: str) -> range:
    """Positions of the frames in the window that was asked for."""
    first = 0 if knobs.start is None else bisect_left(times, knobs.start)
    after = len(times) if knobs.end is None else bisect_left(times, knobs.end)
    if first >= after:
        asked = f"from {seconds(knobs.start or Fraction(0)):g} s on"
        if knobs.end is not None:
            asked += f" and before {seconds(knobs.end):g} s"
        raise PlanError(
            "plan.invalid",
            f"no frame of {source} begins {asked}",
            hint=f"its frames begin at {seconds(times[0]):g} to {seconds(times[-1]):g} s",
        )
    return range(first, after)


def _shifted(keyframes: Sequence[int], inside: range) -> list[int]:
    """The keyframes in a window, as positions in the window."""
    return [position - inside.start for position in keyframes if position in inside]


def _levels(knobs: Knobs, geometry: TokenGeometry) -> tuple[int, ...]:
    """The levels that may be used, best first."""
    if knobs.levels_tokens is None:
        return geometry.levels_tokens
    for level in knobs.levels_tokens:
        if level not in geometry.levels_tokens:
            _refuse("a level", level, geometry.levels_tokens)
    return tuple(sorted(set(knobs.levels_tokens), reverse=True))


POLICIES: Final[Mapping[str, Callable[[Request], Plan]]] = {
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


def _refuse(option: str, value: object, allowed: Sequence[object]) -> NoReturn:
    listed = ", ".join(str(each) for each in allowed)
    raise PlanError(
        "plan.invalid",
        f"{option} is {value!r}, expected one of {listed}",
        hint=suggestion(value, allowed),
    )
