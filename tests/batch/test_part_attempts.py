"""Clips that kill their runners: three executions at most, and no other clip is blamed."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from seedvideo.batch.inputs import Item
from seedvideo.batch.part_attempts import (
    Attempt,
    PartCommittedError,
    RunnerIdentity,
    hash_item,
    list_attempts,
)
from seedvideo.batch.parts import PartSet
from seedvideo.errors import ModelError
from tests.object_server import MemoryStore
from tests.tiers import by_tier

PARTS = PartSet(prefix="", parts=1, clips=1, plan_sha256="")
ELSEWHERE = RunnerIdentity(host="other", pid=1)
Wait = Callable[[float], None]


def items(count: int) -> list[Item]:
    return [Item(id=f"c{number}", source="v.mp4") for number in range(count)]


def begin(store: MemoryStore, runner: RunnerIdentity = ELSEWHERE) -> Attempt:
    number = list_attempts(store, PARTS).get(1, 0) + 1
    attempt = Attempt.begin(store, PARTS, 1, number, replace(runner, nonce=os.urandom(8).hex()))
    assert attempt is not None
    return attempt


def poison_of(attempt: Attempt, wait: Wait = lambda spent_s: None) -> frozenset[str]:
    return attempt.find_poison(quiet_s=8, loading_s=8, wait=wait)


def test_two_runners_never_begin_the_same_attempt() -> None:
    store = MemoryStore()
    assert Attempt.begin(store, PARTS, 1, 1, ELSEWHERE) is not None
    assert Attempt.begin(store, PARTS, 1, 1, replace(ELSEWHERE, nonce="other")) is None


def run_part(
    clips: Sequence[Item], poison: set[str], dies: Callable[[], bool]
) -> tuple[Counter[str], set[str], int]:
    """Run attempts at a part whose journals are lost; executions, quarantined, attempts."""
    store, executed = MemoryStore(), Counter[str]()
    for number in range(1, 100):
        attempt = begin(store)
        condemned = poison_of(attempt) if attempt.is_marked else frozenset()
        for item in clips:
            if hash_item(item) in condemned:
                continue
            if attempt.is_marked:
                attempt.mark(item)
            executed[item.id] += 1
            if item.id in poison or dies():
                break
        else:
            return executed, {i.id for i in clips if hash_item(i) in condemned}, number
    raise AssertionError("the part did not end")


def test_a_poison_clip_runs_three_times_and_its_neighbours_are_done() -> None:
    executed, quarantined, attempts = run_part(items(20), {"c7"}, lambda: False)
    assert quarantined == {"c7"}
    assert executed["c7"] == 3
    assert attempts == 4
    assert all(executed[f"c{number}"] >= 1 for number in range(20))


def test_each_further_poison_clip_costs_two_attempts() -> None:
    executed, quarantined, attempts = run_part(items(20), {"c3", "c9", "c15"}, lambda: False)
    assert quarantined == {"c3", "c9", "c15"}
    assert executed["c3"] == 3 and executed["c9"] == executed["c15"] == 2
    assert attempts == 2 + 2 * 3


def test_random_deaths_quarantine_no_innocent_clip() -> None:
    rng = random.Random(7)
    for _ in range(by_tier(200, quick=20)):
        _, quarantined, _ = run_part(items(64), {"c40"}, lambda: rng.random() < 0.001)
        assert quarantined == {"c40"}


def test_a_healthy_part_pays_no_mark() -> None:
    store = MemoryStore()
    assert not begin(store).is_marked
    assert list(store.list_names("marks/")) == []


def test_a_slow_runner_is_not_taken_for_a_dead_one() -> None:
    store, clips = MemoryStore(), items(3)
    begin(store)
    slow, dead = begin(store), begin(store)
    slow.mark(clips[0])
    dead.mark(clips[0])
    waited = []

    def wait(spent_s: float) -> None:
        waited.append(spent_s)
        if len(waited) == 2:
            slow.mark(clips[1])  # It goes on: the first clip has not killed it.

    assert poison_of(begin(store), wait) == frozenset()
    assert sum(waited) < 8
    # Nothing moves any more: both count as dead, with different last clips.
    assert poison_of(begin(store)) == frozenset()


def test_a_runner_that_stopped_by_itself_counts_for_nothing() -> None:
    store, clips = MemoryStore(), items(2)
    begin(store)
    for _ in range(3):
        stopped = begin(store)
        stopped.mark(clips[0])
        stopped.end("stopped")
    assert poison_of(begin(store)) == frozenset()


def test_processes_of_this_machine_are_known_to_be_dead() -> None:
    script = (
        "from seedvideo.batch.part_attempts import *\nfrom dataclasses import asdict\nimport json\n"
        "print(json.dumps(asdict(RunnerIdentity.of_this_process())))"
    )
    from seedvideo.batch.part_attempts import parse_runner

    written = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=120
    ).stdout
    dead = parse_runner(written)
    assert dead is not None and dead.is_known_to_be_dead
    assert not RunnerIdentity.of_this_process().is_known_to_be_dead
    assert not replace(dead, boot="another machine").is_known_to_be_dead
    store, clips = MemoryStore(), items(2)
    begin(store)
    for _ in range(2):
        begin(store, dead).mark(clips[1])

    def never(spent_s: float) -> None:
        raise AssertionError("it need not wait")

    assert poison_of(begin(store), never) == {hash_item(clips[1])}


def test_three_deaths_before_the_first_clip_end_the_run() -> None:
    store = MemoryStore()
    begin(store)
    for _ in range(3):
        assert poison_of(begin(store)) == frozenset()
    with pytest.raises(ModelError, match="3 runners died in part 1") as caught:
        poison_of(begin(store))
    assert caught.value.code == "model.crashed"


def test_runners_that_still_load_their_model_are_waited_for() -> None:
    store, clips = MemoryStore(), items(1)
    begin(store)
    loading = [begin(store) for _ in range(3)]
    assert poison_of(begin(store), lambda spent_s: loading[0].mark(clips[0])) == frozenset()


def test_a_part_that_another_runner_commits_is_left() -> None:
    store, clips = MemoryStore(), items(2)
    begin(store)
    second = begin(store)
    second.mark(clips[0])
    store.put(PARTS.commit_name(1), b"{}")
    with pytest.raises(PartCommittedError):
        second.mark(clips[1])
