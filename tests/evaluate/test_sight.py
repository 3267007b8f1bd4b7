"""Measures split by whether a frame of the event was selected, or where that is unknown."""

from dataclasses import replace
from typing import Literal

import pytest

from seedvideo.evaluate.reporting import render
from seedvideo.evaluate.results import Outcome, Settings
from seedvideo.evaluate.scoring import compare, summarise
from seedvideo.evaluate.types import Item, Prediction

SETTINGS = Settings("made-up", {"model": "fake"})


def test_what_the_sampler_loses_and_what_the_model_loses() -> None:
    """Two events are asked about: a frame lies in both, in one, or it is unknown."""
    items = [
        Item(
            id=str(number),
            task="ask",
            video=f"{number}.mp4",
            question="what came first?",
            answer="red",
            spans=((1.0, 2.0), (5.0, 6.0)),
        )
        for number in range(4)
    ]
    shown = [(0.0, 1.0, 5.9), (1.5, 1.9, 6.0), None, (1.0, 5.0)]
    answers = ["red", "red", "red", "blue"]
    outcomes = {
        item.id: Outcome(
            id=item.id,
            digest=item.digest,
            prediction=Prediction(answer=answer, frame_times_s=times),
        )
        for item, answer, times in zip(items, answers, shown, strict=True)
    }
    (task,) = summarise(items, outcomes).tasks
    values = {one.measure.name: one.estimate.value for one in task.overall.scored}
    assert values["event seen"] == pytest.approx(2 / 3)
    assert values["accuracy, event seen"] == 0.5
    assert values["accuracy, event not seen"] == 1
    assert values["accuracy"] == 0.75
    assert summarise(items, outcomes).counts.event_seen_unknown == 1
    # A run that does not know its frames is compared in the rest.
    unknown = {
        name: Outcome(id=name, digest=one.digest, prediction=Prediction(answer="red"))
        for name, one in outcomes.items()
    }
    names = [one.measure.name for one in compare(items, outcomes, unknown)[0]]
    assert names == ["accuracy", "accuracy, open"]
    assert summarise(items, unknown).counts.event_seen_unknown == 0  # no measure leaves any out


def seen_by(kind: Literal["ask", "ground"], number: int, *, is_seen: bool) -> tuple[Item, Outcome]:
    """An item about an event, and an outcome that shows it or not."""
    item = Item(
        id=f"{kind} {number}",
        task=kind,
        video=f"{number}.mp4",
        question="when?",
        answer="red",
        spans=((1.0, 2.0),),
    )
    prediction = Prediction(answer="red", frame_times_s=(1.5 if is_seen else 3.0,))
    return item, Outcome(id=item.id, digest=item.digest, prediction=prediction)


def test_failed_items_leave_the_measures_by_sight_with_a_note() -> None:
    made = [seen_by("ask", number, is_seen=True) for number in range(3)]
    items = [item for item, _ in made]
    outcomes = {item.id: outcome for item, outcome in made}
    assert "not known" not in render(summarise(items, outcomes), settings=SETTINGS)
    outcomes["ask 0"] = Outcome(id="ask 0", digest=items[0].digest, error="media.corrupt")
    del outcomes["ask 1"]
    summary = summarise(items, outcomes)
    values = {one.measure.name: one.estimate.value for one in summary.tasks[0].overall.scored}
    assert values["event seen"] == values["accuracy, event seen"] == 1
    assert values["accuracy"] == pytest.approx(1 / 3)
    table = render(summary, settings=SETTINGS)
    assert "for 2 the selected frames are unknown" in table


def test_a_measure_of_two_tasks_is_compared_in_each() -> None:
    ours = [seen_by("ask", n, is_seen=True) for n in range(2)]
    ours += [seen_by("ground", n, is_seen=False) for n in range(2)]
    theirs = [seen_by("ask", n, is_seen=False) for n in range(2)]
    theirs += [seen_by("ground", n, is_seen=False) for n in range(2)]
    items = [item for item, _ in ours]
    found, common = compare(items, *({o.id: o for _, o in side} for side in (ours, theirs)))
    assert common == 4
    seen = [one for one in found if one.measure.name == "event seen"]
    assert [(one.task, one.difference.value) for one in seen] == [("ask", 1), ("ground", 0)]
    summary = summarise(items, {o.id: o for _, o in ours})
    table = render(summary, settings=SETTINGS, others=[(SETTINGS, found, common)])
    assert "| ask: event seen | +100.0" in table
    assert "| ground: event seen | +0.0" in table


def test_runs_that_know_other_items_are_not_paired() -> None:
    made = [seen_by("ask", number, is_seen=True) for number in range(2)]
    made = [(replace(item, video="a.mp4"), outcome) for item, outcome in made]
    items = [item for item, _ in made]
    sides = []
    for known in range(2):
        side = {}
        for number, (item, outcome) in enumerate(made):
            prediction = outcome.prediction if number == known else None
            side[item.id] = replace(outcome, digest=item.digest, prediction=prediction)
        sides.append(side)
    names = [one.measure.name for one in compare(items, *sides)[0]]
    assert names == ["accuracy", "accuracy, open"]


def test_one_of_several_occurrences_is_enough_to_ground() -> None:
    item = Item(id="y", task="ground", video="a", question="a cat", spans=((0, 1), (3, 4)))
    given = Prediction(spans=((3.0, 4.0),), frame_times_s=(3.5,))
    outcome = Outcome(id="y", digest=item.digest, prediction=given)
    (task,) = summarise([item], {"y": outcome}).tasks
    values = {one.measure.name: one.estimate.value for one in task.overall.scored}
    assert values["event seen"] == values["R@1 IoU 0.5, event seen"] == 1
    assert "R@1 IoU 0.5, event not seen" not in values
