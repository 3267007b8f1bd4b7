"""The quick run on videos of some seconds: counted once, compared with uniform and the oracle."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from seedvideo.errors import PlanError
from seedvideo.evaluate.flashbench.quick import (
    BUDGETS,
    Case,
    cases,
    quick_cases,
    render_table,
    run_quick,
)
from seedvideo.evaluate.results import Results
from tests.evaluate.flashbench.small_items import difficulty
from tests.tiers import slow

# Large enough, and print of a size, that the table of legibility knows them.
PRINT = difficulty(cap_heights_px=(30,), width_px=960, height_px=540)
SMALL = (
    Case("T1", "T1", PRINT, 1),
    Case("T1 short", "T1", replace(PRINT, event_s=(Fraction(1, 5),)), 1),
)


def test_a_quick_run_has_every_line_of_the_full_one() -> None:
    quick, full = quick_cases(), cases(quick=False)
    assert [case.name for case in quick] == [case.name for case in full]
    assert {case.difficulty.duration_s for case in quick} == {120}
    assert BUDGETS[-1] == 81_920


@slow
def test_counts_are_stored_and_the_upper_bound_is_one(tmp_path: Path) -> None:
    reported: list[str] = []

    def go(budget_tokens: int) -> str:
        with Results(tmp_path / "results.jsonl") as results:
            found = run_quick(
                SMALL,
                policy="adaptive",
                budget_tokens=budget_tokens,
                results=results,
                progress=lambda name, number: reported.append(name),
            )
        all_cases, first, second = found
        assert (first.questions, second.questions, all_cases.questions) == (2, 2, 4)
        for measure in ("seen", "read"):
            values = {
                name: one.value for (name, of), one in all_cases.kept.items() if of == measure
            }
            assert values.keys() == {"adaptive", "uniform", "oracle"}
            assert max(values.values()) == values["oracle"]
        return render_table(found, budget_tokens=budget_tokens)

    table = go(2000)
    assert reported == ["T1", "T1 short"]
    assert "| case | questions | seen, adaptive | seen, uniform | seen, oracle |" in table
    assert "# flashbench, quick, budget 2,000" in table
    assert go(2000) == table
    assert reported == ["T1", "T1 short"]
    go(1000)
    assert len(reported) == 4


@slow
def test_uniform_is_compared_once_with_the_upper_bound(tmp_path: Path) -> None:
    with Results(tmp_path / "results.jsonl") as results:
        (_, row) = run_quick(
            SMALL[:1],
            policy="uniform",
            budget_tokens=2000,
            results=results,
            progress=lambda name, number: None,
        )
    assert [name for name, measure in row.kept if measure == "seen"] == ["uniform", "oracle"]


def test_a_budget_that_holds_no_frame_is_an_error(tmp_path: Path) -> None:
    with (
        Results(tmp_path / "results.jsonl") as results,
        pytest.raises(PlanError, match="budget"),
    ):
        run_quick(
            SMALL[:1],
            policy="uniform",
            budget_tokens=20,
            results=results,
            progress=lambda name, number: None,
        )
