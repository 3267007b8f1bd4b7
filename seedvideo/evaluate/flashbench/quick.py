"""flashbench from nothing in some minutes: one short video a case, one policy beside two marks.

The marks are ``uniform`` of this package and the oracle, both at the same budget. What counts is as
in the full benchmark (`benchmarks/flashbench.py`), which has longer videos, more of them and all
rivals; legibility comes from the table. Videos are of dev seeds and are thrown away once planned.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, TypeAlias

import seedvideo
from seedvideo.errors import PlanError
from seedvideo.evaluate.flashbench.cases import Case, budgets, cases
from seedvideo.evaluate.flashbench.encode import Groups
from seedvideo.evaluate.flashbench.generate import generate
from seedvideo.evaluate.flashbench.legibility import needs_by_table
from seedvideo.evaluate.flashbench.oracle import oracle
from seedvideo.evaluate.flashbench.score import Score, Shown, score
from seedvideo.evaluate.flashbench.truth import Knobs, seeds
from seedvideo.evaluate.items import Prediction
from seedvideo.evaluate.results import Outcome, Results, Settings
from seedvideo.evaluate.statistics import Estimate, share
from seedvideo.sampler.geometry import SEED
from seedvideo.sampler.policies import PolicyName
from seedvideo.units import FRAME_TEXT_TOKENS

NAME: Final = "flashbench"
Chooser: TypeAlias = PolicyName | Literal["oracle"]
"""What chooses frames: a policy, or the ceiling that knows the truth."""

MARKS: Final[tuple[Chooser, ...]] = ("uniform", "oracle")
"""What every policy is shown beside."""

DEFAULT_BUDGET: Final = budgets(quick=True)[-1]
"""As many tokens a minute as the published budget is for twenty minutes."""

MEASURES: Final = ("seen", "read")
"""Whether a frame lies in the event, and whether one there is large enough to read it."""


@dataclass(frozen=True)
class Row:
    """One case, or all of them: what each chooser of frames kept.

    Args:
        name: of the case.
        questions: how many there are.
        kept: by chooser and measure.
    """

    name: str
    questions: int
    kept: Mapping[tuple[str, str], Estimate]


def quick_cases() -> tuple[Case, ...]:
    """The cases, a tenth as long as those of the full benchmark."""
    return cases(quick=True)


def refuse_too_little(chosen: Sequence[Case], budget_tokens: int) -> None:
    """Say that a budget holds no frame of these videos, before one is made.

    Raises:
        PlanError: ``plan.over_budget``.
    """
    least = max(min(level_tokens(case.knobs).values()) for case in chosen) + FRAME_TEXT_TOKENS
    if budget_tokens < least:
        raise PlanError(
            "plan.over_budget",
            f"one frame costs at least {least:,} tokens, the budget is {budget_tokens:,}",
            hint=f"give a budget of at least {least:,} tokens",
        )


def run_quick(
    chosen: Sequence[Case],
    *,
    policy: PolicyName,
    budget_tokens: int,
    results: Results,
    tell: Callable[[str, int], None],
) -> list[Row]:
    """Make each case's video, plan it and count what was kept.

    Cases that stand in the results file are not made again.

    Args:
        chosen: cases.
        policy: whose plans are scored.
        budget_tokens: for each video.
        results: where counts go, and where earlier ones come from.
        tell: called before each case that is made, with its name and how many are behind it.

    Returns:
        A row for all cases, and one a case.

    Raises:
        SeedVideoError: if a plan cannot be made or a result cannot be written.
    """
    names: list[Chooser] = list(dict.fromkeys((policy, *MARKS)))
    settings = {name: settings_of(name, budget_tokens) for name in names}
    for one in settings.values():
        results.begin(one)
    groups = Groups()
    for number, case in enumerate(chosen):
        missing = [
            name
            for name in names
            if results.outcomes(settings[name]).get(case.name, _NONE).digest != digest_of(case)
        ]
        if missing:
            tell(case.name, number)
            for name, found in _kept(case, missing, budget_tokens, groups).items():
                results.add(settings[name], _outcome(case, found))
    return rows(chosen, {name: results.outcomes(settings[name]) for name in names})


def settings_of(name: Chooser, budget_tokens: int) -> Settings:
    """What one chooser's counts depend on."""
    return Settings(
        NAME,
        {
            "policy": name,
            "budget": budget_tokens,
            "geometry": SEED.name,
            "version": seedvideo.__version__,
        },
    )


def digest_of(case: Case) -> str:
    """Names what makes a case's video."""
    return hashlib.sha256(repr((case.task, case.knobs)).encode()).hexdigest()[:16]


def rows(chosen: Sequence[Case], outcomes: Mapping[str, Mapping[str, Outcome]]) -> list[Row]:
    """Counts as shares, with intervals over videos: first of all cases, then of each.

    Args:
        chosen: cases, each with an outcome by every chooser.
        outcomes: by chooser and case.
    """
    groups = [("all", list(chosen)), *((case.name, [case]) for case in chosen)]
    found = []
    for title, among in groups:
        kept = {
            (name, measure): share([_truths(by_case[case.name], measure) for case in among])
            for name, by_case in outcomes.items()
            for measure in MEASURES
        }
        found.append(Row(title, next(iter(kept.values())).units, kept))
    return found


_NONE: Final = Outcome(id="", digest="")


def _kept(
    case: Case, names: Sequence[Chooser], budget_tokens: int, groups: Groups
) -> dict[Chooser, Score]:
    """What choosers keep of one video, which is made for it."""
    with TemporaryDirectory(prefix="seedvideo-") as folder:
        seed = seeds("dev", 1)[0]
        made = generate(case.task, seed, Path(folder), knobs=case.knobs, groups=groups)
        tokens_of_level = level_tokens(case.knobs)
        needs = needs_by_table(made.item, tokens_of_level=tokens_of_level)
        found: dict[Chooser, Score] = {}
        with seedvideo.open(made.path) as video:
            for name in names:
                if name == "oracle":
                    shown = oracle(
                        made.item,
                        needs,
                        times=video.times,
                        tokens=list(tokens_of_level.values()),
                        text_tokens=FRAME_TEXT_TOKENS,
                        budget_tokens=budget_tokens,
                    )
                else:
                    plan = seedvideo.plan(video, policy=name, budget_tokens=budget_tokens)
                    shown = [Shown(f.pts, f.tokens, f.text_tokens) for f in plan.frames]
                found[name] = score(made.item, shown, needs)
    return found


def level_tokens(knobs: Knobs) -> dict[int, int]:
    """Visual tokens of a frame of these videos at each level."""
    found = {}
    for level in SEED.levels_tokens:
        width, height = SEED.size(
            width_px=knobs.width_px, height_px=knobs.height_px, level_tokens=level
        )
        found[level] = SEED.tokens(width_px=width, height_px=height)
    return found


def _outcome(case: Case, found: Score) -> Outcome:
    return Outcome(
        id=case.name,
        digest=digest_of(case),
        prediction=Prediction(frames=found.frames, tokens=found.tokens),
        scores={
            "questions": len(found.units),
            "seen": sum(unit.hit for unit in found.units),
            "read": sum(unit.legible for unit in found.units),
        },
    )


def _truths(outcome: Outcome, measure: str) -> list[float]:
    """Counts as one number a question; which question it was does not matter here."""
    right, questions = int(outcome.scores[measure]), int(outcome.scores["questions"])
    return [1.0] * right + [0.0] * (questions - right)
