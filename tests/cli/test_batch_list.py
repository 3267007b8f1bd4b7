"""Which clips failed: ``status --failed``, ``list`` and codes that do not exist."""

import json
import re
from pathlib import Path

import pytest

from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.maintenance import ERROR_CODES
from seedvideo.batch.progress import prefix_id
from tests.batch.sample_journal import MODEL, journal_of
from tests.cli.conftest import Run
from tests.test_docs import ERRORS


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return journal_of(tmp_path / "job")


@pytest.fixture
def from_a_list(tmp_path: Path) -> Path:
    """A job of a list: one clip failed, one is pending, one row is invalid."""
    folder = tmp_path / "listed"
    rows: list[Item | BadRow] = [
        Item(id="7", source="a\tb\n.mp4", origin="m.csv line 2"),
        Item(id="8", source="c.mp4", origin="m.csv line 3"),
        BadRow(id="m.csv line 4", where="m.csv line 4", code="batch.row_invalid", message="bad"),
    ]
    with Journal.open(folder, write=True) as journal:
        journal.plan(rows, Job(), MODEL)
        journal.claim(1)
        journal.mark_failed("7", "media.corrupt", "media", "a\tb\n.mp4: damaged", "copy it again")
    return folder


def test_status_names_the_clips_that_failed(run: Run, job: Path, from_a_list: Path) -> None:
    assert run("batch", "status", job, "--failed").out.splitlines()[-3:] == [
        "failed      in/bad.mp4: damaged [media.corrupt]",
        "quarantined in/poison.mp4: SIGSEGV [decode.crashed]",
        "failed      list.csv line 7: start is 'soon' [batch.row_invalid]",
    ]
    assert run("batch", "status", from_a_list, "--failed").out.splitlines()[-2:] == [
        "failed      7: a\\tb\\n.mp4: damaged [media.corrupt] (m.csv line 2)",
        "failed      m.csv line 4: bad [batch.row_invalid]",
    ]


def test_status_as_json_has_them_only_where_asked(run: Run, from_a_list: Path) -> None:
    assert "failed_clips" not in json.loads(run("batch", "status", from_a_list, "--json").out)
    found = json.loads(run("batch", "status", from_a_list, "--json", "--failed").out)
    first, second = found["failed_clips"]
    assert first == {
        "id": "7",
        "state": "failed",
        "source": "a\tb\n.mp4",
        "line": "m.csv line 2",
        "code": "media.corrupt",
        "rule": None,
        "message": "a\tb\n.mp4: damaged",
        "hint": "copy it again",
        "stage": "media",
        "retryable": False,
        "tries": 1,
    }
    assert (second["code"], second["line"]) == ("batch.row_invalid", "m.csv line 4")


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ([], ["one.mp4", "two.mp4", "three.mp4", "short.mp4", "bad.mp4", "poison.mp4"]),
        (["--state", "done"], ["one.mp4", "two.mp4", "three.mp4"]),
        (["--state", "filtered", "--state", "pending"], ["short.mp4", "later.mp4"]),
        (["--state", "failed", "--code", "media.corrupt"], ["bad.mp4"]),
        (["--code", "decode.timeout"], []),
    ],
)
def test_list_by_state_and_code(run: Run, job: Path, words: list[str], ids: list[str]) -> None:
    result = run("batch", "list", job, *words)
    assert result.code == 0
    found = [line.split("\t")[1] for line in result.out.splitlines()]
    assert found[: len(ids)] == ids and (words == [] or len(found) == len(ids))
    lines = run("batch", "list", job, *words, "--json").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == found


def test_a_list_without_a_clip_replaces_that_of_an_earlier_run(
    run: Run, job: Path, tmp_path: Path
) -> None:
    output = tmp_path / "failed.tsv"
    words = ("batch", "list", job, "--code", "decode.timeout", "-o", output)
    assert run(*words).code == 0 and output.read_bytes() == b""
    output.write_text("old")
    assert run(*words).code == 3 and output.read_text() == "old"
    assert run(*words, "--overwrite").code == 0 and output.read_bytes() == b""


def test_a_line_of_the_list_has_five_cells_whatever_the_names(run: Run, from_a_list: Path) -> None:
    rows = [line.split("\t") for line in run("batch", "list", from_a_list).out.splitlines()]
    assert rows == [
        ["failed", "7", "media.corrupt", "m.csv line 2", "a\\tb\\n.mp4: damaged"],
        ["pending", "8", "", "m.csv line 3", ""],
        ["failed", "m.csv line 4", "batch.row_invalid", "m.csv line 4", "m.csv line 4: bad"],
    ]


@pytest.mark.parametrize(
    ("code", "nearest"),
    [
        ("media.corupt", "media.corrupt"),
        ("decode.crash", "decode.crashed"),
        ("Decode.Timeout", "decode.timeout"),
        ("model.crash", "model.crashed"),
        ("wat", ""),
    ],
)
def test_a_code_that_does_not_exist_is_refused(
    run: Run, job: Path, code: str, nearest: str
) -> None:
    for command in ("retry", "list"):
        result = run("batch", command, job, "--code", code)
        assert (result.code, result.out) == (2, "")
        assert ("did you mean" in result.err) == bool(nearest)
        assert f"{nearest!r}" in result.err if nearest else True
    with Journal.open(job, write=False) as journal:
        assert journal.counts().failed == 2


def test_a_valid_code_without_clips_is_accepted(run: Run, job: Path) -> None:
    result = run("batch", "retry", job, "--code", "model.out_of_memory")
    assert (result.code, result.out) == (0, "0 clips to retry\n")


def test_the_codes_are_those_of_the_page() -> None:
    page = ERRORS.read_text(encoding="utf-8").partition("## Warnings")[0]
    assert set(ERROR_CODES) == set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", page, re.M))


@pytest.mark.parametrize(
    ("item_id", "message", "named"),
    [
        ("a.mp4", "dir/a.mp4: no such file", "dir/a.mp4: no such file"),
        ("1", "none1.mp4: no such file", "1: none1.mp4: no such file"),
        ("clip", "clip.mp4: is empty", "clip: clip.mp4: is empty"),
        ("a+b", "the row 'a+b' repeats an id", "the row 'a+b' repeats an id"),
    ],
)
def test_a_failure_names_its_clip(item_id: str, message: str, named: str) -> None:
    assert prefix_id(item_id, message) == named
