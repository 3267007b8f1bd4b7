"""flashbench from nothing in some minutes: one short video a case, one policy beside two marks.

The marks are ``uniform`` of this package and the oracle, both at the same budget. What counts is as
in the full benchmark (`benchmarks/flashbench.py`), which has longer videos, more of them and all
rivals; legibility comes from the table. Videos are of dev seeds and are thrown away once planned.

The lines of flashbench's tables: which tasks with which knobs, at full or quick length.

What choosers of frames kept, as a Markdown table. Shares are printed times 100.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, TypeAlias, get_args

import seedvideo
from seedvideo.config import PolicyName
from seedvideo.errors import PlanError
from seedvideo.evaluate.flashbench.layout import is_null
from seedvideo.evaluate.flashbench.render import Groups, generate
from seedvideo.evaluate.flashbench.scoring import Score, Shown, needs_by_table, oracle, score
from seedvideo.evaluate.flashbench.spec import Knobs, TaskId, seeds
from seedvideo.evaluate.metrics.statistics import Estimate, share
from seedvideo.evaluate.reporting import estimate_text
from seedvideo.evaluate.results import Outcome, Results, Settings
from seedvideo.evaluate.types import Prediction
from seedvideo.sampler.geometry import FRAME_TEXT_TOKENS, SEED

BUDGETS: Final = (5_120, 10_240, 20_480, 40_960, 81_920)
"""Tokens for twenty minutes."""

QUICK_SHARE: Final = 10
"""Quick videos and their budgets are so many times smaller."""

QUICK_DURATION_S: Final = 120
LENGTHS_S: Final = tuple(Fraction(2**power, 10) for power in range(6))  # 0.1 to 3.2 s

_OTHERS: Final[tuple[TaskId, ...]] = ("T2", "T4", "T5", "T6", "T7", "T8", "T9")


@dataclass(frozen=True)
class Case:
    """A line of the tables.

    Args:
        name: of the line and of its folder.
        task: which task.
        knobs: how hard it is.
        seeds: how many test videos a full run makes.
    """

    name: str
    task: TaskId
    knobs: Knobs
    seeds: int


def cases(*, quick: bool) -> tuple[Case, ...]:
    """All cases; the quick ones are a tenth as long and have one video each."""
    half = Fraction(1, 2)
    found = [
        Case("T1", "T1", Knobs(), 5),
        Case("T1 busy", "T1", Knobs(distractor_share=half), 5),
        Case("T3", "T3", Knobs(), 5),
        Case("T3 busy", "T3", Knobs(distractor_share=half), 5),
        *(
            Case(f"T1 {style}", "T1", Knobs(backdrop=style), 2)
            for style in ("pan", "flicker", "grain", "crowd")
        ),
        Case("T1 lengths", "T1", Knobs(event_s=LENGTHS_S, events=24), 3),
        *(Case(task, task, Knobs(), 3) for task in get_args(TaskId) if is_null(task)),
        *(Case(task, task, Knobs(), 2) for task in _OTHERS),
    ]
    return tuple(_quick(case) for case in found) if quick else tuple(found)


def budgets(*, quick: bool) -> tuple[int, ...]:
    """The budgets; those of a quick run are a tenth, for videos a tenth as long."""
    return tuple(budget // QUICK_SHARE for budget in BUDGETS) if quick else BUDGETS


def _quick(case: Case) -> Case:
    events = {"T1 lengths": 6, "T8": 3, "T6": 3, "T2": 4, "T5": 6}.get(case.name, 6)
    knobs = replace(case.knobs, duration_s=QUICK_DURATION_S, events=events)
    return Case(case.name, case.task, knobs, 1)


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


def render(found: Sequence[Row], *, budget_tokens: int) -> str:
    """The table of a quick run.

    Args:
        found: rows with the same choosers.
        budget_tokens: of every video.
    """
    columns = [
        (name, measure) for measure in MEASURES for name, of in found[0].kept if of == measure
    ]
    titles = " | ".join(f"{measure}, {name}" for name, measure in columns)
    lines = [
        f"# flashbench, quick, budget {budget_tokens:,}",
        "",
        f"One video of two minutes a case, {found[0].questions:,} questions in all.",
        "",
        f"| case | questions | {titles} |",
        f"| --- {'| ---: ' * (len(columns) + 1)}|",
    ]
    for row in found:
        cells = " | ".join(estimate_text(row.kept[column]) for column in columns)
        lines.append(f"| {row.name} | {row.questions} | {cells} |")
    return "\n".join(lines) + "\n"
