"""``seedvideo batch``: reports about the folder of a job, and exit codes."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from seedvideo.batch import maintenance as checking
from seedvideo.batch.job import Filters, Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.progress import union_length_s
from seedvideo.batch.similarity import NEAR_LEVELS
from tests.batch.sample_journal import CONTENT, journal_of, record_for
from tests.cli.conftest import Run


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return journal_of(tmp_path / "job")


def test_status_prints_counts_and_failures(run: Run, job: Path) -> None:
    result = run("batch", "status", job)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "job       captions by nano, policy adaptive"
    assert lines[1] == ("clips     8: 3 done, 1 filtered, 2 failed, 1 quarantined, 1 pending")
    assert lines[2] == f"at work   no process; resume with: seedvideo batch run -o {job}"
    assert "failed    1 with media.corrupt (stage media)" in lines


def test_status_as_json(run: Run, job: Path) -> None:
    found = json.loads(run("batch", "status", job, "--json").out)
    assert (found["total"], found["counts"]["done"], found["holder"]) == (8, 3, None)
    assert {"code": "decode.crashed", "stage": "decode", "count": 1} in found["failures"]
    assert found["clips_per_min"] > 0 and found["left_s"] >= 0


def test_status_names_the_process_at_work(run: Run, job: Path) -> None:
    with Journal.open(job, write=True):
        result = run("batch", "status", job)
    assert f"at work   process {os.getpid()} on " in result.out


def test_time_in_which_nothing_ran_does_not_slow_the_pace() -> None:
    assert union_length_s([(0, 60), (30, 90), (1000, 1030)]) == 120


@pytest.mark.parametrize("command", ["status", "retry", "doctor"])
def test_a_folder_without_a_job(run: Run, tmp_path: Path, command: str) -> None:
    result = run("batch", command, tmp_path)
    assert result.code == (1 if command == "doctor" else 3)
    assert "batch.journal_missing" in result.out + result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "filters"),
    [
        (["--drop-exact"], Filters(exact_duplicates=True)),
        (["--drop-near"], Filters(near_duplicates=True)),
        (
            ["--drop-near", "--near-distance", "2.5"],
            Filters(near_duplicates=True, near_distance_levels=2.5),
        ),
        (
            ["--drop-duplicates", "--near-distance", "9"],
            Filters(duplicates=True, near_distance_levels=9),
        ),
    ],
)
def test_rules_for_duplicates_are_options(
    words: list[str], filters: Filters, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NothingDone:
        def __init__(self, journal: Journal, job: Job, *_: object, **__: object) -> None:
            assert journal.job() == job

        def run(self) -> bool:
            return True

    monkeypatch.setattr("seedvideo.batch.scheduler.Runner", NothingDone)
    (tmp_path / "clips.txt").write_text("gone.mp4\n")
    found = run("batch", "run", tmp_path / "clips.txt", "-o", tmp_path / "out", *words)
    assert (found.code, found.out) == (0, ""), found.err
    with Journal.open(tmp_path / "out", write=False) as journal:
        job = journal.job()
    assert job is not None
    assert job.filters == filters


def test_a_distance_needs_its_rule(run: Run, tmp_path: Path) -> None:
    words = ("batch", "run", "x.mp4", "-o", tmp_path / "out", "--near-distance", "3")
    for more in ((), ("--drop-exact",)):
        found = run(*words, *more)
        assert (found.code, found.out) == (2, "")
        assert "(--near-distance) is given without near_duplicates" in found.err
    assert f"[default: {NEAR_LEVELS:g}]" in " ".join(run("batch", "run", "--help").out.split())


def test_retry_by_code_and_all(run: Run, job: Path) -> None:
    assert run("batch", "retry", job, "--code", "media.corrupt").out == "1 clip to retry\n"
    # Only the quarantined clip: an unreadable row cannot be tried again.
    assert run("batch", "retry", job).out == "1 clip to retry\n"
    result = run("batch", "retry", job)
    assert (result.code, result.out) == (0, "0 clips to retry\n")
    assert json.loads(run("batch", "status", job, "--json").out)["counts"]["pending"] == 3


def test_retry_while_the_job_runs_is_refused(run: Run, job: Path) -> None:
    with Journal.open(job, write=True):
        result = run("batch", "retry", job)
    assert result.code == 3 and "batch.locked" in result.err


def test_export_reports_its_output(run: Run, job: Path, tmp_path: Path) -> None:
    result = run("batch", "export", job, "-f", "jsonl", "-o", tmp_path / "a.jsonl")
    assert (result.code, result.out) == (0, "")
    assert result.err == f"8 clips: {tmp_path / 'a.jsonl'}\n"
    result = run("batch", "export", job, "-f", "vtt", "-o", tmp_path / "vtt")
    assert (
        result.err == f"3 clips in 4 files: {tmp_path / 'vtt'}; 5 are not done and not exported\n"
    )
    result = run("batch", "export", job, "-f", "html", "-o", f"{tmp_path / 'pages'}/")
    assert (tmp_path / "pages" / "index.html").exists()


def test_export_refuses_to_replace(run: Run, job: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"mine")
    result = run("batch", "export", job, "-f", "csv", "-o", tmp_path / "a.csv")
    assert result.code == 1 and "output.exists" in result.err
    assert (
        run("batch", "export", job, "-f", "csv", "-o", tmp_path / "a.csv", "--overwrite").code == 0
    )


def test_export_of_answers_as_subtitles_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    job = journal_of(tmp_path / "job", task="ask")
    result = run("batch", "export", job, "-f", "srt", "-o", tmp_path / "srt")
    assert result.code == 2 and "config.invalid" in result.err


def test_doctor_of_a_sound_folder(run: Run, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "MIN_FREE_BYTES", 0)
    result = run("batch", "doctor", job)
    assert result.code == 0, result.out
    assert {line.split()[0] for line in result.out.splitlines()} == {"ok"}
    assert "every page, item and record is intact" in result.out


def test_doctor_finds_problems(run: Run, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(job / "journal.sqlite") as connection:
        connection.execute("UPDATE records SET record = replace(record, 'dog', 'cat')")
        connection.execute("UPDATE items SET state = 'running' WHERE state = 'pending'")
    connection.close()
    monkeypatch.setattr(checking, "MIN_FREE_BYTES", 1 << 62)
    monkeypatch.setattr(checking, "_file_system", lambda folder: "nfs4")
    result = run("batch", "doctor", job)
    assert result.code == 1
    wrong = [line.split()[1] for line in result.out.splitlines() if line.startswith("wrong")]
    assert set(wrong) == {"integrity", "under", "space", "place"}
    assert "1 items were in progress in a process" in result.out
    assert f"seedvideo batch run -o {job}" in result.out
    assert "seedvideo batch merge" in result.out and "--no-sheets" in result.out


def test_doctor_of_an_invalid_journal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"no database at all " * 100)
    result = run("batch", "doctor", tmp_path)
    assert result.code == 1 and "batch.journal_damaged" in result.out


def test_merge_reports_its_result(run: Run, tmp_path: Path) -> None:
    one, two = (journal_of(tmp_path / name) for name in ("one", "two"))
    with Journal.open(two, write=True) as journal:
        (taken,) = journal.claim(1)
        record = record_for("caption", taken.item.source, "A cat.")
        journal.mark_done(taken.item.id, "late", CONTENT, record.json_line(), None)
    result = run("batch", "merge", one, two, "-o", tmp_path / "whole")
    assert result.code == 0, result.err
    assert result.err.endswith("4 done, 1 filtered, 2 failed, 1 quarantined\n")
    again = run("batch", "merge", one, two, "-o", tmp_path / "whole")
    assert again.code == 3 and "output.exists" in again.err


def test_hostile_names_stay_inert_in_a_terminal(run: Run, tmp_path: Path) -> None:
    job = tmp_path / "a\x1b[2J"
    journal_of(job, hostile=True)
    result = run("batch", "status", job)
    assert "\x1b" not in result.out and "\\x1b[2J" in result.out
    assert "\x1b" not in run("batch", "doctor", job).out
