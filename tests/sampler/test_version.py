"""Plans stay the same as long as `SAMPLER_VERSION` does, or jobs would mix old and new ones.

The plans' times, sizes, tokens, roles, rates and levels are kept as digests in `version.json`; what
is only prose, as reasons and notes, is left out. After an intended change of plans:
raise `SAMPLER_VERSION`, then write the digests again:

    python -m tests.sampler.test_version

Times, analyses and costs are made by hand; where the analysis itself is tested, the clips are
stored files, so that no encoder matters.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

from seedvideo.config import AnalysisMethod
from seedvideo.media.reader import open_video
from seedvideo.sampler.analysis import analyze
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import POLICIES, SAMPLER_VERSION
from seedvideo.sampler.request import DecodeCosts, compute_decode_costs
from seedvideo.sampler.utility import Peak, StillPicture
from seedvideo.utils.timecode import Span
from tests.sampler.demands import Found, adaptive, demand, flash, structured
from tests.sampler.plans import make_plan
from tests.sampler.videos import info, text_cost, video

KEPT: Final = Path(__file__).with_name("version.json")
CLIPS: Final = Path(__file__).parents[1] / "batch" / "old_job" / "clips"
COMMAND: Final = "python -m tests.sampler.test_version"
NANO: Final = TokenGeometry("nano", 64, (48, 30, 16), 12, 384, min_frames=8)


def test_plans_are_those_of_the_version() -> None:
    kept = json.loads(KEPT.read_text())
    assert kept["sampler_version"] == SAMPLER_VERSION, (
        f"{KEPT.name} is of version {kept['sampler_version']}, the sampler of {SAMPLER_VERSION};"
        f" if plans were changed on purpose, write it again: {COMMAND}"
    )
    now = digests()
    other = sorted(name for name in kept["plans"] | now if kept["plans"].get(name) != now.get(name))
    assert not other, (
        f"other plans than before: {', '.join(other)}; if that is meant, raise SAMPLER_VERSION in"
        f" seedvideo.sampler.policies, then write {KEPT.name} again: {COMMAND}"
    )


def digests() -> dict[str, str]:
    """What is kept of each plan, by its name."""
    return {name: summarize(make()) for name, make in cases().items()}


def summarize(plan: Plan) -> str:
    """Counts for people, then a digest of everything that a plan decides."""
    frames = [
        (str(f.pts), f.width_px, f.height_px, f.tokens, f.text_tokens, f.role) for f in plan.frames
    ]
    spans = [(str(s.start), str(s.end), f"{s.fps:.6g}", s.level_tokens) for s in plan.segments]
    text = json.dumps([plan.policy, plan.budget_tokens, plan.charged_tokens, frames, spans])
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    return f"{len(frames)} frames, {plan.totals.tokens} tokens, {digest}"


def cases() -> dict[str, Callable[[], Plan]]:
    """Return videos, policies and options by name."""
    made: dict[str, Callable[[], Plan]] = {}
    for policy in ("seed1.5", "uniform", "keyframes"):
        made |= {
            f"{policy}, half a minute": partial(even, policy, 900),
            f"{policy}, an hour": partial(even, policy, 90_000, fps=25, every=250),
            f"{policy}, a tight budget": partial(even, policy, 3_000, budget_tokens=4_000),
            f"{policy}, a window": partial(
                even, policy, 900, start_s=Fraction(7, 2), end_s=Fraction(12)
            ),
            f"{policy}, a portrait for a small model": partial(
                even, policy, 400, fps=Fraction(30_000, 1001), size=(360, 640), geometry=NANO
            ),
            f"{policy}, a screen at rest": partial(at_rest, policy),
        }
    made |= {
        "uniform, motion": partial(
            even, "uniform", 900, rate_preset="motion", budget_tokens=20_000
        ),
        "seed1.5, at most 20": partial(even, "seed1.5", 900, rate_preset="motion", max_frames=20),
        "adaptive, a photo": partial(even, "adaptive", 1),
        "adaptive, flashes, then detail": partial(adaptive, structured(), 18_000),
        "adaptive, tight": partial(adaptive, structured(60), 1_800, budget_tokens=3_000),
        "adaptive, known costs": partial(
            adaptive, structured(60), 1_800, budget_tokens=6_000, costs=costs(1_800)
        ),
        "adaptive, no coverage": partial(
            adaptive, structured(60), 1_800, budget_tokens=5_000, coverage=0
        ),
        "adaptive, rates": partial(
            adaptive, structured(60), 1_800, min_fps=0.5, max_fps=2, max_frames=60
        ),
        "adaptive, a window": partial(
            adaptive, structured(60), 1_800, start_s=Fraction(10), end_s=Fraction(45)
        ),
        "adaptive, levels": partial(adaptive, structured(60), 1_800, levels_tokens=(384, 128)),
        "adaptive, a small model": partial(
            adaptive, structured(60), 1_800, geometry=NANO, text_tokens=text_cost
        ),
        "adaptive, shots with stills": partial(adaptive, shots(), 1_500, budget_tokens=12_000),
        "adaptive, shots with stills, tight": partial(
            adaptive, shots(), 1_500, budget_tokens=4_000, costs=costs(1_500, every=60)
        ),
        "adaptive, everything busy": partial(
            adaptive, replace(shots(), busy_fraction=1.0), 1_500, budget_tokens=8_000
        ),
    }
    for clip in ("two", "three", "black"):
        for method in get_args(AnalysisMethod):
            made[f"adaptive, clip {clip}, {method}"] = partial(analysed, f"{clip}.mp4", method)
    assert {name.partition(",")[0] for name in made} == set(POLICIES)
    return made


def even(
    policy: Any,
    count: int,
    *,
    fps: Fraction | int = 30,
    every: int = 90,
    size: tuple[int, int] = (1280, 720),
    **options: Any,
) -> Plan:
    """A plan of a clip of ``count`` frames of which nothing but the times is known."""
    facts, times = video(count, fps, width_px=size[0], height_px=size[1])
    keyframes = range(0, count, every)
    return make_plan(facts, times, keyframes, source="x.mp4", policy=policy, **options)


def at_rest(policy: Any) -> Plan:
    """A plan of a recording of a screen that stands still for most of a minute."""
    times = [Fraction(n, 25) for n in (*range(50), 500, *range(1_000, 1_030), 1_400)]
    facts = info(duration=60, fps_avg=Fraction(len(times), 60), width_px=1920, height_px=1080)
    return make_plan(facts, times, [0, 50, 60], source="x.mp4", policy=policy)


def shots() -> Found:
    """Fifty seconds: a title that stands, a busy shot, a black stretch, a calm one with a flash."""
    title, black = Span(Fraction(1), Fraction(9)), Span(Fraction(30), Fraction(34))
    busy = tuple(Peak(Fraction(10 + 2 * n), 8.0 + n, Fraction(21 + 4 * n, 2)) for n in range(9))
    weights = tuple((Fraction(10 + n), 0.2 + (n * 7 % 5)) for n in range(20))
    return Found(
        (
            replace(demand(0, 10, change_s=30), still=StillPicture(is_blank=False, core=title)),
            replace(
                demand(10, 30, events_per_s=0.5, event_s=0.6, detail_tokens=300, starts_shot=True),
                peaks=busy,
                density=weights,
            ),
            replace(
                demand(30, 34, starts_shot=True), still=StillPicture(is_blank=True, core=black)
            ),
            demand(34, 50, change_s=12, peaks=(flash(41),), events_per_s=0.1, starts_shot=True),
        ),
        busy_fraction=0.2,
    )


def costs(count: int, *, every: int = 100) -> DecodeCosts:
    """Costs of frames that are stored in the order in which they are shown."""
    return compute_decode_costs(range(count), range(0, count, every))


def analysed(name: str, method: AnalysisMethod) -> Plan:
    """A plan of a clip that is there as a file, for the small model."""
    with open_video(CLIPS / name) as reader:
        return make_plan(
            reader.info,
            reader.times,
            reader.keyframes,
            source=name,
            policy="adaptive",
            geometry=NANO,
            analysis=analyze(reader, method=method),
            costs=compute_decode_costs(reader.packets.positions, reader.keyframes),
            text_tokens=text_cost,
        )


def write() -> None:
    """Write the digests; under a version that has some, no plan may be another one."""
    now = digests()
    if KEPT.exists():
        kept = json.loads(KEPT.read_text())
        changed = [name for name, text in kept["plans"].items() if now.get(name, text) != text]
        if changed and kept["sampler_version"] == SAMPLER_VERSION:
            sys.exit(f"raise SAMPLER_VERSION first: plans have changed: {', '.join(changed)}")
    text = json.dumps({"sampler_version": SAMPLER_VERSION, "plans": now}, indent=1)
    KEPT.write_text(f"{text}\n")


if __name__ == "__main__":
    write()
