"""The command that runs a job: exit codes, stops of every kind, and what a resume finds."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from shlex import quote
from typing import Any, Final

import pytest

from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import State
from seedvideo.batch.progress import get_status
from tests.batch.command import below, events, finish, have_exited, start
from tests.batch.jobs import Make, outcomes
from tests.media.still_files import pictures, saved
from tests.tiers import by_tier, exhaustive, quick_first, slow

PENDING: Final[tuple[State, ...]] = ("pending",)
TEN: Final = [f"{number}-{colour}" for number in range(5) for colour in ("red", "two")]


def verdicts(folder: Path) -> dict[str, Any]:
    with Journal.open(folder, write=False) as journal:
        return outcomes({entry.item.id: entry for entry in journal.entries()})


def wait_for(process: "subprocess.Popen[str]", event: str, count: int = 1) -> list[dict[str, Any]]:
    """Read the events of a run until one has occurred so often."""
    assert process.stderr is not None
    seen: list[dict[str, Any]] = []
    while sum(each["event"] == event for each in seen) < count:
        seen.append(json.loads(process.stderr.readline()))
    return seen


def test_a_job_from_its_start_to_its_end(tmp_path: Path, made: Make) -> None:
    made("a-red", "b-two")
    code, out, err = finish(tmp_path, "-o", tmp_path / "out", "--json-events")
    assert (code, out) == (0, "")
    run_events = events(err)
    assert [each["event"] for each in run_events if each["event"] != "progress"] == [
        "started", "item", "item", "finished",
    ]  # fmt: skip
    assert {each["state"] for each in run_events if each["event"] == "item"} == {"done"}
    assert run_events[-1]["counts"]["done"] == 2
    assert run_events[-1]["is_whole"] is True
    # Run again, nothing is left to do: no process is started.
    code, out, err = finish("-o", tmp_path / "out")
    assert (code, out) == (0, "")
    assert "2 of 2 clips" in err


@slow
def test_some_failed(tmp_path: Path, made: Make) -> None:
    made("a-red", "bug-red")
    # The first half of a photo, which is shown, and of a drawing, which shows nothing.
    for name, kind in (("photo", "JPEG"), ("drawing", "PNG")):
        data = saved(pictures(77, 1), kind)
        (tmp_path / f"{name}.mp4").write_bytes(data[: len(data) // 2])
    code, _, err = finish(tmp_path, "-o", tmp_path / "out")
    assert code == 1
    assert "[internal.error]" in err
    assert "1 failed with internal.error" in err and "1 failed with media.corrupt" in err
    with Journal.open(tmp_path / "out", write=False) as journal:
        entries = {Path(entry.item.id).stem: str(entry) for entry in journal.entries()}
    assert "media.truncated" in entries["photo"] and "done" in entries["photo"]
    assert "media.corrupt" in entries["drawing"]


@exhaustive
def test_each_failure_is_printed_once(tmp_path: Path, made: Make) -> None:
    made("a-red", "bug-red")
    rows = [{"path": "a-red.mp4"}, {"path": 3}, {"path": "bug-red.mp4", "label": "x"}]
    path, out = tmp_path / "m.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = finish(path, "-o", out)
    assert code == 1
    assert err.count("[batch.row_invalid]") == err.count("[internal.error]") == 1
    assert f"failed: {path} line 2: path is not a text [batch.row_invalid]\n" in err
    assert f"list them with: seedvideo batch status {out} --failed\n" in err
    # Known from then on: the next run counts it, and prints only what is new.
    with path.open("a") as file:
        file.write('{"path": 4}\n')
    code, _, err = finish("-o", out, "--json-events")
    items = [each for each in events(err) if each["event"] == "item"]
    assert code == 1
    assert [(each["id"], each["code"]) for each in items] == [
        (f"{path} line 4", "batch.row_invalid")
    ]


@exhaustive
def test_a_bound_on_memory_is_for_each_run(tmp_path: Path, made: Make) -> None:
    made("a-red", "huge-red")
    out = tmp_path / "out"
    code, _, err = finish(tmp_path, "-o", out, "--memory", "8")
    assert code == 1
    assert "1 failed with decode.out_of_memory" in err
    # Another limit reprocesses no done clip.
    with Journal.open(out, write=True) as journal:
        assert journal.retry(code="decode.out_of_memory") == 1
    code, _, err = finish("-o", out, "--memory", "9", "--json-events")
    assert code == 1
    assert sum(each["event"] == "item" for each in events(err)) == 1


CANNOT_START = [
    (["x.mp4"], 2),
    (["-o", "out"], 3),
    (["none.toml", "-o", "out"], 3),
]
CANNOT_START_EITHER = [
    (["x.mp4", "-o", "out", "--task", "ground", "--question", "Why?"], 2),
    (["x.mp4", "-o", "out", "--price", "1"], 2),
    (["x.mp4", "-o", "out", "--memory", "0"], 2),
    (["x.mp4", "-o", "out", "--shard", "4/3"], 2),
    (["none.txt", "-o", "out"], 3),
    (["-", "-o", "out"], 3),
]


@pytest.mark.parametrize(
    ("words", "code"),
    [*CANNOT_START, *(pytest.param(*row, marks=exhaustive) for row in CANNOT_START_EITHER)],
)
def test_what_cannot_be_started(tmp_path: Path, words: list[str], code: int) -> None:
    words = [str(tmp_path / word) if word == "out" else word for word in words]
    found, out, err = finish(*words, cwd=tmp_path)
    assert (found, out) == (code, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err


@slow
def test_a_full_disk_ends_the_job(tmp_path: Path, made: Make) -> None:
    made(*TEN)
    begun = 0
    for pages in (36, 24, 12)[: by_tier(3, quick=1)]:
        out = tmp_path / f"out-{pages}"
        code, out_text, err = finish(tmp_path, "-o", out, "--json-events", file_bytes=4096 * pages)
        assert (code, out_text) == (3, "")
        assert "[output.disk_full]" in err and "Traceback" not in err
        begun += any(each["event"] == "started" for each in events(err))
    assert begun


def test_a_killed_job_resumes(tmp_path: Path, made: Make) -> None:
    made(*TEN[: by_tier(10, quick=4)])
    code, _, err = finish(tmp_path, "-o", tmp_path / "whole", "--json-events")
    assert code == 0
    truth = verdicts(tmp_path / "whole")
    took_s = sum(each["seconds"] for each in events(err) if each["event"] == "item")
    for trial in range(by_tier(3, quick=1)):
        out = tmp_path / f"out-{trial}"
        chance = random.Random(trial)
        reported: set[str] = set()
        for words in ([tmp_path], list[Path]())[: by_tier(2, quick=1)]:
            process = start(*words, "-o", out, "--json-events", "--workers", "2")
            wait_for(process, "started")
            time.sleep(chance.uniform(0, took_s / 3))
            children = below(process.pid)
            process.kill()
            _, err = process.communicate(timeout=60)
            assert have_exited(children)
            reported |= {e["id"] for e in events(err) if e.get("state") == "done"}
            now = verdicts(out)
            assert {name for name in reported if now[name][0] != "done"} == set()
        code, _, _ = finish("-o", out)
        assert code == 0
        assert verdicts(out) == truth


@pytest.mark.parametrize("number", quick_first([signal.SIGINT, signal.SIGTERM]))
@slow
def test_a_stop_finishes_running_clips(tmp_path: Path, made: Make, number: signal.Signals) -> None:
    clips = by_tier(10, quick=6)
    made(*(f"slow{name}" for name in TEN[:clips]))
    process = start(tmp_path, "-o", tmp_path / "out", "--json-events")
    seen = wait_for(process, "item")
    children = below(process.pid)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped; resume with: seedvideo batch run -o" in err
    assert have_exited(children)
    reported = [each["id"] for each in [*seen, *events(err)] if each.get("state") == "done"]
    with Journal.open(tmp_path / "out", write=True) as journal:
        counts = journal.counts()
        assert (counts.done, counts.running) == (len(reported), 0)
        assert counts.pending == clips - len(reported) > 0
        assert {each.tries for each in journal.entries(states=PENDING)} == {0}
        assert {each.interrupted for each in journal.entries()} == {0}
    assert finish("-o", tmp_path / "out")[0] == 0


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, made: Make) -> None:
    made("a-red", "modelhang-red", "z-red")
    # The first one alone would be waited for longer than the test waits.
    process = start(tmp_path, "-o", tmp_path / "out", "--json-events", grace_s=600)
    wait_for(process, "item")
    time.sleep(0.5)
    children = below(process.pid)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "resume with" in err
    assert have_exited(children)


@exhaustive
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, made: Make) -> None:
    made(*TEN)
    process = start(tmp_path, "-o", tmp_path / "out", "--json-events")
    wait_for(process, "started")
    time.sleep(1.5)
    for pid in below(process.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
            continue
        if b"batch.workers:decode_main" in command:
            subprocess.run(["kill", "-9", str(pid)], check=True)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert events(err)[-1]["counts"]["done"] == 10


@exhaustive
def test_a_changed_option_runs_the_affected_clips_again(tmp_path: Path, made: Make) -> None:
    made("a-red", "b-two")
    out = tmp_path / "out"
    assert finish(tmp_path, "-o", out)[0] == 0
    before = verdicts(out)
    code, _, err = finish("-o", out, "--max-frames", "2", "--json-events")
    assert code == 0
    assert sum(each["event"] == "item" for each in events(err)) == 2
    after = verdicts(out)
    assert all(after[name][4].plan.frames == 2 for name in after)
    # The old records are still there: to go back costs no model.
    assert finish("-o", out, tmp_path)[0] == 0
    assert verdicts(out) == before


@exhaustive
def test_relative_inputs_are_found_from_another_folder(tmp_path: Path, made: Make) -> None:
    made("a-red", "b-two")
    there, elsewhere = tmp_path / "videos", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    for video in sorted(tmp_path.glob("*.mp4")):
        video.rename(there / video.name)
    code, _, err = finish("videos", "-o", tmp_path / "out", cwd=tmp_path)
    assert code == 0, err
    assert list(verdicts(tmp_path / "out")) == ["videos/a-red.mp4", "videos/b-two.mp4"]
    os.utime(there / "b-two.mp4", (1, 1))
    code, _, err = finish("-o", tmp_path / "out", "--json-events", cwd=elsewhere)
    assert code == 0, err
    assert events(err)[-1]["counts"]["done"] == 2
    estimated = finish("-o", tmp_path / "out", "--dry-run", cwd=elsewhere)
    assert estimated[0] == 0 and "clips       2" in estimated[1]


@exhaustive
def test_a_list_on_stdin_is_kept(tmp_path: Path, made: Make) -> None:
    items = made("a-red", "bug-red")
    listed = tmp_path / "names"
    listed.write_text("".join(f"{item.source}\n" for item in items))
    with listed.open() as stdin:
        assert finish("-", "-o", tmp_path / "out", stdin=stdin)[0] == 1
    code, _, err = finish("-o", tmp_path / "out")
    assert code == 1
    assert "2 of 2 clips" in err


@slow
def test_closed_streams(tmp_path: Path, made: Make) -> None:
    made("a-red")
    command = (
        f"exec {quote(sys.executable)} -m tests.batch.command batch run {quote(str(tmp_path))}"
        f" -o {quote(str(tmp_path / 'out'))} <&- >&- 2>&-"
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=Path(__file__).parents[2], timeout=60, check=False
    )
    assert done.returncode == 0
    assert verdicts(tmp_path / "out")[str(tmp_path / "a-red.mp4")][0] == "done"


@exhaustive
def test_a_dry_run_loads_no_model(tmp_path: Path, made: Make) -> None:
    made("a-red", "b-two", "c-black")
    (tmp_path / "text.mp4").write_text("no video\n")
    words: list[str | Path] = [tmp_path, "--dry-run", "--price", "2", "--json", "--drop-black"]
    code, out, err = finish(*words, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    estimate = json.loads(out)
    assert estimate["clips"] == 2
    assert estimate["filtered"] == {"black": 1}
    assert estimate["failed"] == {"media.not_video": 1}
    assert estimate["model_s"] is None
    assert estimate["usd"] == round(estimate["tokens"] * 2e-6, 4)
    assert not (tmp_path / "out").exists()
    # After a run the speed of its model is known, and the frames are those of the records.
    finish(tmp_path, "-o", tmp_path / "out", "--drop-black")
    estimate = json.loads(finish(*words, "-o", tmp_path / "out")[1])
    records = [
        verdict[4] for verdict in verdicts(tmp_path / "out").values() if verdict[4] is not None
    ]
    assert estimate["frames"] == sum(record.plan.frames for record in records)
    assert estimate["model_s"] is not None


@exhaustive
def test_a_job_resumes_from_any_folder(tmp_path: Path, made: Make) -> None:
    made("a-red")
    (tmp_path / "elsewhere").mkdir()
    assert finish("a-red.mp4", "-o", "out", cwd=tmp_path)[0] == 0
    before = verdicts(tmp_path / "out")
    assert finish("-o", "../out", cwd=tmp_path / "elsewhere")[0] == 0
    assert verdicts(tmp_path / "out") == before
    assert list((tmp_path / "elsewhere").iterdir()) == []


@exhaustive
def test_a_job_in_a_deleted_folder_is_an_error(tmp_path: Path, made: Make) -> None:
    made("a-red")
    (tmp_path / "then").mkdir()
    assert finish("../a-red.mp4", "-o", tmp_path / "out", cwd=tmp_path / "then")[0] == 0
    (tmp_path / "then").rmdir()
    code, _, err = finish("-o", "out", cwd=tmp_path)
    assert code == 3
    assert "[batch.no_input]" in err
    assert list(verdicts(tmp_path / "out")) == ["../a-red.mp4"]


@exhaustive
def test_a_failed_file_is_tried_again_when_replaced(tmp_path: Path, made: Make) -> None:
    made("a-red")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not yet\n")
    assert finish(tmp_path, "-o", tmp_path / "out")[0] == 1
    assert finish("-o", tmp_path / "out")[0] == 1
    for name in ("empty", "text"):
        (tmp_path / f"{name}.mp4").write_bytes((tmp_path / "a-red.mp4").read_bytes())
    code, _, err = finish("-o", tmp_path / "out", "--json-events")
    assert code == 0
    again = [Path(each["id"]).stem for each in events(err) if each["event"] == "item"]
    assert sorted(again) == ["empty", "text"]


@exhaustive
def test_changed_settings_are_reported(tmp_path: Path, made: Make) -> None:
    made("a-red")
    assert finish(tmp_path, "-o", tmp_path / "out", "--budget", "400")[0] == 0
    assert "other settings" not in finish("-o", tmp_path / "out")[2]
    _, _, err = finish(tmp_path, "-o", tmp_path / "out")
    assert "settings changed since the last run: budget_tokens;" in err


@exhaustive
def test_top_belongs_to_ground(tmp_path: Path, made: Make) -> None:
    made("a-red")
    code, _, err = finish(tmp_path, "-o", tmp_path / "out", "--top", "5")
    assert code == 2
    assert "the task caption does not take top" in err
    assert not (tmp_path / "out").exists()


@exhaustive
def test_a_limit_tries_the_first_clips_and_the_rest_comes_later(tmp_path: Path, made: Make) -> None:
    made("a-red", "b-two", "c-red", "d-blue")
    path, out = tmp_path / "m.jsonl", tmp_path / "out"
    rows = [{"path": 1}, *({"path": f"{name}.mp4"} for name in ("c-red", "a-red", "b-two"))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = finish(path, "-o", out, "--limit", "2", "--workers", "3")
    assert code == 1  # the invalid row
    assert f"1 clip left; resume with: seedvideo batch run -o {out}" in err
    first = verdicts(out)
    states = [(Path(name).name, outcome[0]) for name, outcome in first.items()]
    assert states[1:] == [("c-red.mp4", "done"), ("a-red.mp4", "done"), ("b-two.mp4", "pending")]
    # The same first clips: nothing more is done, and a larger limit does what is missing.
    code, _, err = finish("-o", out, "--limit", "2", "--json-events")
    assert [each["event"] for each in events(err)] == ["started", "finished"]
    assert verdicts(out) == first
    assert finish("-o", out, "--limit", "9")[0] == 1
    whole = tmp_path / "whole"
    finish(path, "-o", whole)
    assert verdicts(out) == verdicts(whole)


@exhaustive
def test_a_restarted_process_is_reported_and_counted(tmp_path: Path, made: Make) -> None:
    made("a-red", "poison-red", "modeldeath-two", "once-blue")
    code, _, err = finish(tmp_path, "-o", tmp_path / "out")
    assert code == 1
    lines = [line for line in err.splitlines() if line.endswith("; started again")]
    path = tmp_path / "poison-red.mp4"
    one = f"a decode process ended by signal 9 (Killed) while it worked on {path}; started again"
    assert lines.count(one) == 2
    assert sum("the model process" in line for line in lines) == 2
    assert len(lines) == 5
    found = get_status(tmp_path / "out")
    assert found.restarts == {"decode": 3, "model": 2}
    assert found.to_json()["restarts"] == {"decode": 3, "model": 2}
