"""Jobs over a server: requests at once, deadlines, outages, and what a kill costs."""

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seedvideo.batch import outage
from seedvideo.batch.asked import count_asked_again
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import JournalEntry
from seedvideo.batch.outage import Outage
from seedvideo.batch.progress import Progress, get_status
from seedvideo.batch.scheduler import Runner
from seedvideo.errors import ConfigError, ModelError
from seedvideo.model.backends.base import TokenCosts
from seedvideo.model_options import GenerationOptions
from tests.batch.command import below, events, export, finish, have_exited, start
from tests.batch.jobs import JOB, Make, record_of
from tests.batch.server_doubles import ENTRYPOINTS, Log, load, server_job
from tests.batch.stage_doubles import load as load_local
from tests.tiers import slow

DOUBLES = "tests.batch.server_doubles"


@pytest.fixture
def server(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    folder.mkdir()
    return folder


def run(folder: Path, items: list[Item], job: Job) -> dict[str, JournalEntry]:
    """Run a job over a server to its end; the entries by id."""
    prices = load(job.model)
    with Journal.open(folder, write=True) as journal:
        journal.plan(items, job, prices.sha256)
        runner = Runner(journal, job, prices, progress=Progress(), entrypoints=ENTRYPOINTS)
        assert runner.run()
        return {entry.item.id: entry for entry in journal.entries()}


def eight(made: Make) -> list[Item]:
    colours = ("red", "blue", "green", "white")
    return made(*(f"{number}-{colours[number % 4]}" for number in range(8)))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_server_is_asked_about_several_clips_at_once(
    tmp_path: Path, made: Make, server: Path, concurrency: int
) -> None:
    entries = run(tmp_path / "out", eight(made), server_job(server, concurrency=concurrency))
    texts = [record.text for entry in entries.values() if (record := record_of(entry))]
    assert texts == ["Red.", "Blue.", "Green.", "White."] * 2
    log = Log(server)
    assert log.max_at_once == concurrency
    assert set(log.asked.values()) == {1}
    assert get_status(tmp_path / "out").asked_again == 0


@slow
def test_a_job_with_other_settings_was_not_cut_off(
    tmp_path: Path, made: Make, server: Path
) -> None:
    items = made("a-red", "b-blue")
    for temperature in (0.0, 1.0):
        job = server_job(server, generation=GenerationOptions(temperature=temperature))
        run(tmp_path / "out", items, job)
    assert set(Log(server).asked.values()) == {2}
    assert get_status(tmp_path / "out").asked_again == 0


@slow
def test_the_deadline_of_a_clip_does_not_count_against_others(
    tmp_path: Path, made: Make, server: Path
) -> None:
    items = made("slow-red", "hang-red", "slow-blue", "a-red", "b-blue", "c-green", "slow-white")
    entries = run(tmp_path / "out", items, server_job(server, timeout_s=2.5))
    verdicts = {name: (e.state, e.code, e.tries) for name, e in entries.items()}
    assert verdicts.pop("hang-red") == ("failed", "model.timeout", 2)
    assert set(verdicts.values()) == {("done", None, 1)}
    log = Log(server)
    assert log.asked["hang-red"] == 2
    status = get_status(tmp_path / "out")
    assert status.restarts["model"] == 2
    assert status.asked_again == sum(log.asked.values()) - len(items)


@slow
def test_a_crash_among_several_requests_is_blamed_on_the_clip_that_crashes_alone(
    tmp_path: Path, made: Make, server: Path
) -> None:
    items = made("slow-red", "death-red", "slow-blue", "a-red", "b-blue")
    entries = run(tmp_path / "out", items, server_job(server))
    verdicts = {name: (e.state, e.code, e.tries) for name, e in entries.items()}
    assert verdicts.pop("death-red") == ("quarantined", "model.crashed", 2)
    assert set(verdicts.values()) == {("done", None, 1)}
    asked = sum(Log(server).asked.values())
    assert get_status(tmp_path / "out").asked_again == asked - len(items)


def test_a_server_that_is_down_for_a_while_fails_no_clip(
    tmp_path: Path, made: Make, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "WAITS_S", (0.1,) * 50)
    (server / "down").touch()

    class Repair(Progress):
        def tick(self, counts: object) -> None:
            if len(Log(server).ended) >= 3:
                (server / "down").unlink(missing_ok=True)

    job = server_job(server)
    with Journal.open(tmp_path / "out", write=True) as journal:
        journal.plan(eight(made), job, load(job.model).sha256)
        prices = load(job.model)
        assert Runner(journal, job, prices, progress=Repair(), entrypoints=ENTRYPOINTS).run()
        assert journal.counts().done == 8
    # No request was cut off.
    assert get_status(tmp_path / "out").asked_again == 0
    assert Log(server).max_at_once == 3


@slow
def test_a_server_that_stays_down_ends_the_run_and_blames_no_clip(
    tmp_path: Path, made: Make, server: Path
) -> None:
    (server / "down").touch()
    made(*(f"{number:02}-red" for number in range(20)))
    words = (str(tmp_path / "*.mp4"), "-o", tmp_path / "out", "--model", server)
    code, _, err = finish(*words, "--concurrency", "2", doubles=DOUBLES)
    assert code == 3
    assert "connection refused" in err
    assert "run the same command to resume" in err
    assert "Traceback" not in err
    counts = get_status(tmp_path / "out").counts
    assert (counts.pending, counts.total) == (20, 20)
    # Two at first, and one after each of three short waits, unless the second one fails after it.
    assert 4 <= sum(Log(server).asked.values()) <= 5
    (server / "down").unlink()
    code, _, err = finish(*words, doubles=DOUBLES)
    assert (code, get_status(tmp_path / "out").counts.done) == (0, 20), err


def test_a_clip_that_the_server_fails_on_is_blamed_once_others_are_answered(
    tmp_path: Path, made: Make, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "WAITS_S", (0.1,) * 50)
    items = made("poison-red", "a-red", "b-blue", "c-green")
    entries = run(tmp_path / "out", items, server_job(server, concurrency=1))
    assert {name: (e.state, e.code, e.tries) for name, e in entries.items()} == {
        "poison-red": ("failed", "model.server_error", 2),
        "a-red": ("done", None, 1),
        "b-blue": ("done", None, 1),
        "c-green": ("done", None, 1),
    }
    assert entries["poison-red"].retryable


def test_a_server_that_refuses_everything_ends_the_run(
    tmp_path: Path, made: Make, server: Path
) -> None:
    (server / "refuses").touch()
    items = made(*(f"{number:02}-red" for number in range(16)))
    with pytest.raises(ModelError, match="the key is wrong") as caught:
        run(tmp_path / "out", items, server_job(server, concurrency=2))
    assert caught.value.code == "model.server_refused"
    counts = get_status(tmp_path / "out").counts
    assert counts.pending >= 5
    assert counts.failed <= 11


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_waits_grow_until_the_server_answers() -> None:
    clock = Clock()
    state = Outage(waits_s=(1.0, 4.0), clock=clock)
    assert state.limit(5) == 5
    # Three requests under way fail together: one sign, not three.
    assert [state.record_failure(name) for name in "abc"] == [False] * 3
    assert (state.limit(5), state.is_final) == (0, False)
    clock.now_s = 1.0
    assert state.limit(5) == 1
    assert not state.record_failure("a")
    clock.now_s = 4.9
    assert state.limit(5) == 0
    clock.now_s = 5.0
    state.record_answer("b")
    assert state.limit(5) == 5
    # The server answered in between: the clip is to blame, and the waits begin again.
    assert state.record_failure("a")
    assert state.limit(5) == 5
    for wait_s in (1.0, 4.0):
        assert not state.record_failure("d")
        assert not state.is_final
        clock.now_s += wait_s
    assert not state.record_failure("d")
    assert state.is_final


def test_only_an_answer_ends_an_outage() -> None:
    state = Outage(waits_s=(1.0,), clock=Clock())
    assert not state.record_failure("a")
    for code in ("model.request_too_large", "ask.question_invalid", "model.server_refused"):
        state.record_response("b", {"code": code, "retryable": False})
        assert state.limit(5) == 0
    state.record_response("b", {"code": "model.empty_answer", "retryable": False})
    assert state.limit(5) == 5
    assert not state.record_failure("c")
    state.record_response("b", {"record": "{}"})
    assert state.limit(5) == 5


def test_a_rejected_key_stops_at_once_and_blames_no_clip() -> None:
    state = Outage()
    state.record_answer("a")
    assert not state.record_failure("b", "model.key_rejected")
    assert state.is_final


def kill_when(
    words: list[str | Path], server: Path, is_time: Callable[[Log], bool]
) -> tuple[set[str], list[int]]:
    """Start a job and kill it with signal 9; the clips reported done, and its processes."""
    process = start(*words, "--json-events", doubles=DOUBLES)
    until_s = time.monotonic() + 60
    while not is_time(Log(server)) and process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.01)
    children = below(process.pid)
    process.kill()
    _, err = process.communicate(timeout=60)
    assert have_exited(children)
    return {each["id"] for each in events(err) if each.get("state") == "done"}, children


@slow
@pytest.mark.parametrize("ended", [0, 1, 4, 7])
def test_a_killed_job_asks_only_what_was_under_way_again(
    tmp_path: Path, made: Make, server: Path, ended: int
) -> None:
    eight(made)
    words: list[str | Path] = [tmp_path / "*.mp4", "--model", server]
    code, _, err = finish(*words, "-o", tmp_path / "whole", doubles=DOUBLES)
    assert code == 0, err
    (server / "log").unlink()
    words += ["-o", tmp_path / "out", "--concurrency", "3"]

    def is_time(log: Log) -> bool:
        return sum(log.ended.values()) >= ended and len(log.asked) > len(log.ended)

    reported, _ = kill_when(words, server, is_time)
    before = Log(server)
    # Shown before the job is resumed, and not counted twice after.
    shown = get_status(tmp_path / "out").asked_again
    code, _, err = finish(*words, doubles=DOUBLES)
    assert code == 0, err
    after = Log(server)
    twice = {name for name, count in after.asked.items() if count > 1}
    assert max(after.asked.values()) <= 2
    assert len(twice) <= 3
    assert twice <= set(before.asked)
    assert not twice & reported
    assert get_status(tmp_path / "out").asked_again == shown
    # A clip that was handed over an instant before the kill may not have been asked.
    assert len(twice) <= shown <= 3
    outputs = [
        export(tmp_path / name, "jsonl", tmp_path / f"{name}.jsonl").splitlines()
        for name in ("whole", "out")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 8


@slow
def test_ctrl_c_waits_for_the_requests_under_way(tmp_path: Path, made: Make, server: Path) -> None:
    made(*(f"slow{number}-red" for number in range(6)))
    words: list[str | Path] = [tmp_path / "*.mp4", "--model", server, "-o", tmp_path / "out"]
    process = start(*words, "--concurrency", "2", doubles=DOUBLES)
    until_s = time.monotonic() + 60
    while len(Log(server).asked) < 2 and time.monotonic() < until_s:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(Log(server).asked) == len(Log(server).ended) == 2
    status = get_status(tmp_path / "out")
    assert (status.counts.done, status.counts.pending, status.asked_again) == (2, 4, 0)


def test_a_local_job_counts_nothing_as_asked_again(tmp_path: Path, made: Make) -> None:
    with Journal.open(tmp_path / "out", write=True) as journal:
        journal.plan(made("a-red"), JOB, load_local("colours").sha256)
        assert journal.claim(1)
    with Journal.open(tmp_path / "out", write=True) as journal:
        assert count_asked_again(journal, is_running=False) == 0


@pytest.mark.parametrize(
    ("changes", "make_prices", "words"),
    [
        ({"batch_size": 2}, load, "use --concurrency"),
        ({"batch_size": 2}, load_local, "answers one clip at a time"),
        ({"concurrency": 4}, load_local, "is not on a server"),
    ],
)
def test_what_a_model_cannot_use_is_refused(
    tmp_path: Path, changes: dict[str, Any], make_prices: Callable[[str], TokenCosts], words: str
) -> None:
    job = replace(JOB, **changes)
    with (
        Journal.open(tmp_path / "out", write=True) as journal,
        pytest.raises(ConfigError) as caught,
    ):
        Runner(journal, job, make_prices("colours"), progress=Progress())
    assert caught.value.code == "config.invalid"
    assert words in str(caught.value)


def test_the_command_refuses_it_before_the_folder_is_made(tmp_path: Path, made: Make) -> None:
    made("a-red")
    words = (tmp_path / "a-red.mp4", "-o", tmp_path / "out", "--concurrency", "4")
    code, _, err = finish(*words)
    assert code == 2, err
    assert "--concurrency" in err
    assert not (tmp_path / "out").exists()
