"""Cases of flashbench, and its quick run: one two-minute video per case, three frame selectors.

The quick run compares one policy with two baselines at the same budget: ``uniform`` and the oracle.
Scores are those of the full benchmark (`benchmarks/flashbench.py`), which has more and longer
videos and other packages' samplers. Legibility comes from the table. Videos have dev seeds and are
deleted once planned. The result is a Markdown table of percentages.

Separate from `seedvideo.cli.evaluate`, which would exceed 500 lines with it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, TypeAlias, get_args

from seedvideo import api
from seedvideo.config import SHIPPED_POLICIES, PolicyName
from seedvideo.environment import __version__
from seedvideo.errors import PlanError
from seedvideo.evaluate.flashbench.layout import is_null
from seedvideo.evaluate.flashbench.render import GopCache, generate
from seedvideo.evaluate.flashbench.scoring import Score, SelectedFrame, oracle, score, tokens_needed
from seedvideo.evaluate.flashbench.spec import DifficultyConfig, TaskId, seeds
from seedvideo.evaluate.metrics.statistics import Estimate, cluster_bootstrap_mean
from seedvideo.evaluate.reporting import estimate_text
from seedvideo.evaluate.results import Outcome, Results, Settings
from seedvideo.evaluate.types import Prediction
from seedvideo.plugins import find_plugin
from seedvideo.sampler.geometry import FRAME_TEXT_TOKENS, SEED

BUDGETS: Final = (5_120, 10_240, 20_480, 40_960, 81_920)
"""Tokens for twenty minutes."""

QUICK_DIVISOR: Final = 10
"""Factor by which quick videos are shorter and their budgets smaller."""

QUICK_DURATION_S: Final = 120
LENGTHS_S: Final = tuple(Fraction(2**power, 10) for power in range(6))  # 0.1 to 3.2 s

_OTHERS: Final[tuple[TaskId, ...]] = ("T2", "T4", "T5", "T6", "T7", "T8", "T9")


@dataclass(frozen=True)
class Case:
    """One row of the tables.

    Args:
        name: name of the row and of its folder.
        task: name of the task.
        difficulty: settings of its videos.
        seeds: number of test videos in a full run.
    """

    name: str
    task: TaskId
    difficulty: DifficultyConfig
    seeds: int


def cases(*, quick: bool) -> tuple[Case, ...]:
    """Return all cases; the quick ones are a tenth as long and have one video each."""
    half = Fraction(1, 2)
    found = [
        Case("T1", "T1", DifficultyConfig(), 5),
        Case("T1 busy", "T1", DifficultyConfig(distractor_fraction=half), 5),
        Case("T3", "T3", DifficultyConfig(), 5),
        Case("T3 busy", "T3", DifficultyConfig(distractor_fraction=half), 5),
        *(
            Case(f"T1 {style}", "T1", DifficultyConfig(backdrop=style), 3)
            for style in ("pan", "flicker", "grain", "crowd")
        ),
        Case("T1 lengths", "T1", DifficultyConfig(event_s=LENGTHS_S, events=24), 3),
        *(Case(task, task, DifficultyConfig(), 3) for task in get_args(TaskId) if is_null(task)),
        *(Case(task, task, DifficultyConfig(), 3) for task in _OTHERS),
    ]
    return tuple(_quick(case) for case in found) if quick else tuple(found)


def budgets(*, quick: bool) -> tuple[int, ...]:
    """Return the budgets in tokens; a quick run has a tenth, for videos a tenth as long."""
    return tuple(budget // QUICK_DIVISOR for budget in BUDGETS) if quick else BUDGETS


def _quick(case: Case) -> Case:
    events = {"T1 lengths": 6, "T8": 3, "T6": 3, "T2": 4, "T5": 6}.get(case.name, 6)
    difficulty = replace(case.difficulty, duration_s=QUICK_DURATION_S, events=events)
    return Case(case.name, case.task, difficulty, 1)


NAME: Final = "flashbench"
FrameSelector: TypeAlias = PolicyName | Literal["oracle"]
"""A sampling policy, or the oracle, which knows the ground truth."""

BASELINES: Final[tuple[FrameSelector, ...]] = ("uniform", "oracle")
"""Frame selectors with which every policy is compared."""

DEFAULT_BUDGET: Final = budgets(quick=True)[-1]
"""As many tokens per minute as the largest published budget has for 20-minute videos."""

MEASURES: Final = ("seen", "read")
"""``seen``: a frame lies in the event; ``read``: such a frame is large enough to read it."""


@dataclass(frozen=True)
class CaseSummary:
    """Estimates of one case, or of all of them.

    Args:
        name: name of the case, or ``all``.
        questions: number of questions.
        kept: fraction of questions whose evidence was kept, by frame selector and measure.
    """

    name: str
    questions: int
    kept: Mapping[tuple[str, str], Estimate]


def quick_cases() -> tuple[Case, ...]:
    """Return the cases, a tenth as long as those of the full benchmark."""
    return cases(quick=True)


def check_budget(chosen: Sequence[Case], budget_tokens: int) -> None:
    """Check that a budget holds a frame of each case's video, before any video is made.

    Raises:
        PlanError: ``plan.over_budget`` if it does not.
    """
    least = max(min(level_tokens(case.difficulty).values()) for case in chosen) + FRAME_TEXT_TOKENS
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
    progress: Callable[[str, int], None],
) -> list[CaseSummary]:
    """Make each case's video, plan it and count the questions whose evidence is kept.

    Cases that are in the results file are not made again.

    Args:
        chosen: the cases.
        policy: sampling policy to compare with the baselines.
        budget_tokens: maximum visual + text tokens per video.
        results: file of the counts, earlier ones included.
        progress: called before each video, with the case's name and the number of cases before it.

    Returns:
        A summary of all cases, and one per case.

    Raises:
        SeedVideoError: if a plan cannot be made or a result cannot be written.
    """
    names: list[FrameSelector] = list(dict.fromkeys((policy, *BASELINES)))
    settings = {name: make_settings(name, budget_tokens) for name in names}
    for one in settings.values():
        results.start_run(one)
    gop_cache = GopCache()
    for number, case in enumerate(chosen):
        missing = [
            name
            for name in names
            if results.outcomes(settings[name]).get(case.name, _NONE).digest != case_digest(case)
        ]
        if missing:
            progress(case.name, number)
            for name, found in _kept(case, missing, budget_tokens, gop_cache).items():
                results.append(settings[name], _outcome(case, found))
    return summarise_cases(chosen, {name: results.outcomes(settings[name]) for name in names})


def make_settings(name: FrameSelector, budget_tokens: int) -> Settings:
    """Return the settings on which one frame selector's counts depend."""
    is_shipped = name in (*SHIPPED_POLICIES, "oracle")
    plugin = None if is_shipped else find_plugin("policy", name)
    return Settings(
        NAME,
        {
            "policy": name,
            "budget": budget_tokens,
            "geometry": SEED.name,
            "version": __version__,
            **({} if plugin is None else {"policy of": plugin.origin}),
        },
    )


def case_digest(case: Case) -> str:
    """Return a digest of the task and the difficulty, stored with a case's counts.

    The text is the ``repr`` of the first version, whose class was ``Knobs`` with a
    ``distractor_share``: results files of that version stay valid.
    """
    settings = repr(case.difficulty)
    settings = settings.replace(type(case.difficulty).__name__, "Knobs", 1)
    settings = settings.replace("distractor_fraction=", "distractor_share=", 1)
    return hashlib.sha256(f"({case.task!r}, {settings})".encode()).hexdigest()[:16]


def summarise_cases(
    chosen: Sequence[Case], outcomes: Mapping[str, Mapping[str, Outcome]]
) -> list[CaseSummary]:
    """Turn counts into fractions with intervals over videos: all cases first, then each.

    Args:
        chosen: cases, each with an outcome of every frame selector.
        outcomes: outcomes by frame selector and case name.
    """
    groups = [("all", list(chosen)), *((case.name, [case]) for case in chosen)]
    found = []
    for title, among in groups:
        kept = {
            (name, measure): cluster_bootstrap_mean(
                [_truths(by_case[case.name], measure) for case in among]
            )
            for name, by_case in outcomes.items()
            for measure in MEASURES
        }
        found.append(CaseSummary(title, next(iter(kept.values())).units, kept))
    return found


_NONE: Final = Outcome(id="", digest="")


def _kept(
    case: Case, names: Sequence[FrameSelector], budget_tokens: int, gop_cache: GopCache
) -> dict[FrameSelector, Score]:
    """Make one case's video and score these frame selectors on it."""
    with TemporaryDirectory(prefix="seedvideo-") as folder:
        seed = seeds("dev", 1)[0]
        made = generate(
            case.task, seed, Path(folder), difficulty=case.difficulty, gop_cache=gop_cache
        )
        tokens_of_level = level_tokens(case.difficulty)
        needs = tokens_needed(made.item, tokens_of_level=tokens_of_level)
        found: dict[FrameSelector, Score] = {}
        with api.open(made.path) as video:
            for name in names:
                if name == "oracle":
                    selected = oracle(
                        made.item,
                        needs,
                        times=video.times,
                        tokens=list(tokens_of_level.values()),
                        text_tokens=FRAME_TEXT_TOKENS,
                        budget_tokens=budget_tokens,
                    )
                else:
                    plan = api.plan(video, policy=name, budget_tokens=budget_tokens)
                    selected = [SelectedFrame(f.pts, f.tokens, f.text_tokens) for f in plan.frames]
                found[name] = score(made.item, selected, needs)
    return found


def level_tokens(difficulty: DifficultyConfig) -> dict[int, int]:
    """Return the visual tokens of a frame of these videos at each level."""
    found = {}
    for level in SEED.levels_tokens:
        width, height = SEED.size(
            width_px=difficulty.width_px, height_px=difficulty.height_px, level_tokens=level
        )
        found[level] = SEED.tokens(width_px=width, height_px=height)
    return found


def _outcome(case: Case, found: Score) -> Outcome:
    return Outcome(
        id=case.name,
        digest=case_digest(case),
        prediction=Prediction(frames=found.frames, tokens=found.tokens),
        scores={
            "questions": len(found.units),
            "seen": sum(unit.hit for unit in found.units),
            "read": sum(unit.legible for unit in found.units),
        },
    )


def _truths(outcome: Outcome, measure: str) -> list[float]:
    """Return one number per question, 1 or 0; their order is lost."""
    right, questions = int(outcome.scores[measure]), int(outcome.scores["questions"])
    return [1.0] * right + [0.0] * (questions - right)


def render_table(found: Sequence[CaseSummary], *, budget_tokens: int) -> str:
    """Render the table of a quick run.

    Args:
        found: summaries with the same frame selectors.
        budget_tokens: budget of every video.
    """
    columns = [
        (name, measure) for measure in MEASURES for name, of in found[0].kept if of == measure
    ]
    titles = " | ".join(f"{measure}, {name}" for name, measure in columns)
    lines = [
        f"# flashbench, quick, budget {budget_tokens:,}",
        "",
        f"One video of two minutes per case, {found[0].questions:,} questions in all.",
        "",
        f"| case | questions | {titles} |",
        f"| --- {'| ---: ' * (len(columns) + 1)}|",
    ]
    for row in found:
        cells = " | ".join(estimate_text(row.kept[column]) for column in columns)
        lines.append(f"| {row.name} | {row.questions} | {cells} |")
    return "\n".join(lines) + "\n"
