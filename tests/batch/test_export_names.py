"""Names of subtitle files, and exports to stdout."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from seedvideo.batch.export import export
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from tests.batch.sample_journal import CONTENT, MODEL, journal_of, record_for
from tests.cli.conftest import Run, run

__all__ = ["run"]


def captioned(folder: Path, rows: list[Item], done: int) -> Path:
    with Journal.open(folder, write=True) as journal:
        journal.plan(rows, Job(), MODEL)
        for taken in journal.claim(done):
            record = record_for("caption", taken.item.source, "A dog.").json_line()
            journal.mark_done(taken.item.id, f"of {taken.item.id}", CONTENT, record)
    return folder


def names(folder: Path, output: Path) -> set[str]:
    with Journal.open(folder, write=False) as journal:
        export(journal, "srt", output)
    return set(os.listdir(output)) - {"names.csv"}


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([("a", "v/a.mp4"), ("b", "v/b.mkv")], {"a.srt", "b.srt"}),
        ([("17", "x/clip.mp4"), ("18", "y/clip.mp4")], {"clip-17.srt", "clip-18.srt"}),
        ([("1", "x/Clip.mp4"), ("2", "clip.webm")], {"Clip-1.srt", "clip-2.srt"}),
        (
            [("x/a.mp4", "x/a.mp4"), ("y/a.mp4", "y/a.mp4")],
            {"a-x_a.mp4.srt", "a-y_a.mp4.srt"},
        ),
        ([("a.mp4", "a.mp4"), ("a.mp4#2", "a.mp4")], {"a-a.mp4.srt", "a-a.mp4#2.srt"}),
        ([("1", "a.mp4"), ("2", "b/a.mp4"), ("3", "a-1.mp4")], {"a-2.srt", "a-1-3.srt"}),
    ],
)
def test_subtitles_are_named_after_their_clips(
    rows: list[tuple[str, str]], wanted: set[str], tmp_path: Path
) -> None:
    items = [Item(id=name, source=source) for name, source in rows]
    found = names(captioned(tmp_path / "job", items, len(items)), tmp_path / "out")
    assert wanted <= found and len(found) == len(items)


def test_names_do_not_change_while_the_job_runs(tmp_path: Path) -> None:
    items = [Item(id=str(number), source=f"{number}/a.mp4") for number in range(3)]
    assert names(captioned(tmp_path / "job", items, 1), tmp_path / "one") == {"a-0.srt"}
    captioned(tmp_path / "job", items, 2)
    assert names(tmp_path / "job", tmp_path / "all") == {"a-0.srt", "a-1.srt", "a-2.srt"}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return journal_of(tmp_path_factory.mktemp("job"))


@pytest.mark.parametrize("form", ["jsonl", "csv", "html"])
@pytest.mark.parametrize("words", [[], ["-o", "-"]])
def test_stdout_gets_the_bytes_of_the_file(
    form: str, words: list[str], job: Path, run: Run, tmp_path: Path
) -> None:
    assert run("batch", "export", job, "-f", form, "-o", tmp_path / "file").code == 0
    result = run("batch", "export", job, "-f", form, *words)
    assert (result.code, result.err) == (0, "")
    assert result.out.encode() == (tmp_path / "file").read_bytes()
    assert form != "jsonl" or len([json.loads(line) for line in result.out.splitlines()]) == 8


def test_parquet_goes_through_a_pipe(job: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "seedvideo", "batch", "export", str(job), "-f", "parquet"]
    made = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    assert pyarrow.parquet.read_table(io.BytesIO(made.stdout)).num_rows == 8


def test_parquet_is_not_for_a_terminal(
    job: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    result = run("batch", "export", job, "-f", "parquet")
    assert (result.code, result.out) == (2, "")
    assert "cannot be written to a terminal" in result.err


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_of_one_clip_alone_go_to_stdout(
    form: str, job: Path, run: Run, tmp_path: Path
) -> None:
    result = run("batch", "export", job, "-f", form)
    assert (result.code, result.out) == (2, "")
    assert "3 clips are done" in result.err and "-o subtitles/" in result.err
    items = [Item(id="a", source="a.mp4"), Item(id="b", source="b.mp4")]
    one = captioned(tmp_path / "one", items, 1)
    result = run("batch", "export", one, "-f", form)
    assert result.code == 0
    assert result.out.count(" --> ") == 2 and "1 is not done and not exported" in result.err
