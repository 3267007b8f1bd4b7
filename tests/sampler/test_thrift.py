"""Plans of fewest tokens: enough utility, and found events keep their frames."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.config import SamplingConfig
from seedvideo.errors import PlanError
from seedvideo.sampler.plan import Plan
from tests.sampler.demands import Found, adaptive, demand, founds
from tests.sampler.test_event_frames import sign, with_signs
from tests.tiers import examples


@given(founds(1500), st.integers(3000, 60_000), st.lists(st.floats(0.5, 1), min_size=2, max_size=2))
@examples(60)
def test_fewer_tokens_have_enough_utility(
    found: Found, budget: int, fractions: list[float]
) -> None:
    complete = adaptive(found, 1500, budget_tokens=budget)
    assert complete.decision is not None and complete.decision.full_worth_s is None
    for fraction in fractions:
        plan = adaptive(found, 1500, budget_tokens=budget, min_utility=fraction)
        decision = plan.decision
        assert decision is not None and decision.full_worth_s is not None
        assert decision.worth_s >= fraction * decision.full_worth_s * (1 - 1e-9)
        assert plan.totals.tokens <= plan.budget_tokens == budget
        assert [event.frame for event in decision.events] == [
            event.frame for event in complete.decision.events
        ]
        assert Plan.from_json(plan.to_json()) == plan


@given(founds(900), st.integers(1000, 60_000))
@examples(60)
def test_rest_and_texture_change_no_plan_of_a_complete_budget(found: Found, budget: int) -> None:
    unmeasured = replace(found, demands=tuple(each.without_rest() for each in found.demands))
    assert adaptive(found, 900, budget_tokens=budget) == adaptive(
        unmeasured, 900, budget_tokens=budget
    )


def test_what_rests_needs_few_tokens_and_signs_keep_their_frames() -> None:
    found = with_signs([sign(at) for at in range(7, 240, 20)], 240)
    resting = replace(
        found, demands=tuple(replace(each, rest_fraction=0.97) for each in found.demands)
    )
    complete = adaptive(resting, 240 * 30)
    thrift = adaptive(resting, 240 * 30, min_utility=0.95)
    assert complete.totals.tokens > 0.95 * 81_920
    assert thrift.totals.tokens < 0.4 * 81_920
    assert thrift.decision is not None and complete.decision is not None
    assert thrift.decision.event_frames == complete.decision.event_frames == 12
    summary = thrift.summary()
    assert "of the complete budget" in summary
    assert "the last 1,000 tokens bought" in summary


def test_further_tokens_buy_less() -> None:
    found = Found((demand(0, 600, change_s=20), demand(600, 900, change_s=1)))
    gains = []
    for budget in (5_000, 20_000, 60_000):
        decision = adaptive(found, 900 * 30, budget_tokens=budget).decision
        assert decision is not None
        gains.append(decision.last_thousand_s)
    assert gains[0] > gains[1] > gains[2] > 0


@pytest.mark.parametrize("wrong", [0.0, -0.5, 1.01, float("nan")])
def test_a_wrong_fraction_is_refused(wrong: float) -> None:
    with pytest.raises(PlanError, match="min_utility is"):
        SamplingConfig(min_utility=wrong)


@pytest.mark.parametrize("policy", ["uniform", "seed1.5", "keyframes"])
def test_other_policies_refuse_it(policy: str) -> None:
    with pytest.raises(PlanError, match=f"policy {policy} does not support min_utility"):
        SamplingConfig(policy=policy, min_utility=0.95)
