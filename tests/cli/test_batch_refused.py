"""Jobs that can only fail are refused before anything starts."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"no video")
    (tmp_path / "mere.txt").write_text("a.mp4\n")
    (tmp_path / "empty.csv").write_text("path,question,query\na.mp4,,\n")
    (tmp_path / "none.jsonl").write_text(json.dumps({"path": "a.mp4", "options": ["x", "y"]}))
    (tmp_path / "nothing.csv").write_text("")
    return tmp_path


@pytest.mark.parametrize("task", ["ask", "ground"])
@pytest.mark.parametrize("given", [["a.mp4"], ["."], ["mere.txt", "empty.csv"], ["none.jsonl"]])
def test_a_job_without_a_question_anywhere(
    folder: Path, run: Run, task: str, given: list[str]
) -> None:
    code = "ask.question_empty" if task == "ask" else "ground.query_empty"
    for words in (["-o", "out"], ["--dry-run"]):
        result = run("batch", "run", *given, "--task", task, *words)
        assert (result.code, result.out) == (2, "")
        assert f"[{code}]" in result.err and "hint: " in result.err
    assert not os.path.exists("out")


def test_one_row_that_asks_is_enough(folder: Path, run: Run) -> None:
    Path("late.csv").write_text("path,question\n" + "a.mp4,\n" * 3 + "a.mp4,What is it?\n")
    words = ["mere.txt", "nothing.csv", "late.csv", "--task", "ask", "--dry-run", "--json"]
    result = run("batch", "run", *words)
    # The file is not a video, but it has a question.
    assert result.code == 0
    assert json.loads(result.out)["failed"] == {
        "ask.question_empty": 1,
        "batch.id_repeated": 3,
        "media.not_video": 1,
    }


def test_a_job_file_counts_too(folder: Path, run: Run) -> None:
    Path("job.toml").write_text('inputs = ["a.mp4"]\ntask = "ask"\n')
    assert run("batch", "run", "job.toml", "-o", "out").code == 2
    assert run("batch", "run", "job.toml", "--dry-run", "--question", "What?").code == 0


@pytest.mark.parametrize(
    ("words", "rules"),
    [
        (["--drop-black"], []),
        (["--drop-exact"], ["exact_duplicates"]),
        (["--drop-near"], ["near_duplicates"]),
        (["--drop-duplicates"], ["exact_duplicates", "near_duplicates"]),
    ],
)
def test_a_dry_run_names_what_it_does_not_count(
    folder: Path, run: Run, words: list[str], rules: list[str]
) -> None:
    result = run("batch", "run", "a.mp4", "--dry-run", *words)
    assert result.out.count("not counted ") == len(rules)
    assert all(f"not counted {rule}: " in result.out for rule in rules)
    found = json.loads(run("batch", "run", "a.mp4", "--dry-run", "--json", *words).out)
    assert found["not_counted"] == rules


def test_a_dry_run_with_a_limit_plans_the_first_clips(folder: Path, run: Run) -> None:
    words = ["empty.csv", "a.mp4", "b.mp4", "--dry-run", "--json", "--limit", "2"]
    found = json.loads(run("batch", "run", *words).out)
    assert found["failed"] == {"media.not_video": 1, "batch.id_repeated": 1, "input.not_found": 1}
