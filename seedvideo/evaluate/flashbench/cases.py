"""The lines of flashbench's tables: which tasks with which knobs, at full or quick length."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, get_args

from seedvideo.evaluate.flashbench.stage import is_null
from seedvideo.evaluate.flashbench.truth import Knobs, TaskId

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
