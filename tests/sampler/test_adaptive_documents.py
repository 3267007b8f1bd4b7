"""An adaptive plan as a document: it reports its inputs, and damage is refused."""

from copy import deepcopy
from typing import Any

import pytest

from seedvideo.errors import PlanError
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import compute_decode_costs
from tests.sampler.demands import adaptive, structured


@pytest.fixture(scope="module")
def whole() -> Any:
    costs = compute_decode_costs(range(60 * 30), range(0, 60 * 30, 250))
    return adaptive(structured(60), 60 * 30, costs=costs, budget_tokens=5000).to_json()


def test_a_plan_reports_its_inputs(whole: Any) -> None:
    data = deepcopy(whole)
    assert Plan.from_json(data).to_json() == data
    assert data["decision"]["analysis"] == "by hand"
    assert data["segments"][0]["needs"]["peaks"] == 2
    assert {frame["role"] for frame in data["frames"]} >= {"coverage", "event"}
    # Documents of a version that knew none of this are read as before.
    old = {key: value for key, value in data.items() if key != "decision"}
    for part in (*old["segments"], *old["frames"]):
        part.pop("needs", None)
        part.pop("role", None)
    plan = Plan.from_json(old)
    assert plan.decision is None
    assert {frame.role for frame in plan.frames} == {None}


PLACES = [("decision",), ("decision", "decoding"), ("segments", 0, "needs")]


LATER: dict[str, Any] = {
    "decoding": None,
    "event_frames": 0,
    "event_tokens": 0,
    "events": [],
    "last_thousand_s": 0.0,
    "full_worth_s": None,
    "inspected_share": 1.0,
}


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_damaged_decision_is_refused(whole: Any, place: tuple[Any, ...]) -> None:
    def at(data: Any) -> Any:
        for key in place:
            data = data[key]
        return data

    for key in at(whole):
        data = deepcopy(whole)
        at(data).pop(key)
        if place == ("decision",) and key in LATER:  # Plans of earlier versions do not have it.
            assert Plan.from_json(data).to_json()["decision"] == data["decision"] | {
                key: LATER[key]
            }
        else:
            with pytest.raises(PlanError, match=f"{key} is missing"):
                Plan.from_json(data)
        for junk in JUNK:
            data = deepcopy(whole)
            at(data)[key] = junk
            read = plan_or_error(data)
            if isinstance(read, Plan):
                assert Plan.from_json(read.to_json()) == read
            else:
                assert read.code == "plan.invalid"
                assert key in read.message or "plan.segments[0].needs" in read.message


JUNK: list[object] = [[], {}, -1, "x", float("nan"), 2**70, 1.5, None]


def plan_or_error(data: Any) -> Plan | PlanError:
    try:
        return Plan.from_json(data)
    except PlanError as error:
        return error


@pytest.mark.parametrize("junk", ["hero", 1, [], True])
def test_an_unknown_role_is_refused(whole: Any, junk: object) -> None:
    data = deepcopy(whole)
    data["frames"][3]["role"] = junk
    with pytest.raises(PlanError, match="role"):
        Plan.from_json(data)
