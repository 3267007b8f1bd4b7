"""``seedvideo split``: rows that other commands take, and files of clips."""

import csv
import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import seedvideo
from seedvideo.batch.inputs import read_inputs
from tests.cli.conftest import Run
from tests.synthetic_clips import paint


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A film of three shots of four seconds, in the working folder."""
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "film.mp4", ["red", "blue", "green"], shot_s=4)
    return Path("film.mp4")


def table(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_go_to_stdout_as_json_lines(run: Run, film: Path) -> None:
    result = run("split", film, "--crop-s", "0.2")
    assert result.code == 0
    assert result.err == "film.mp4: 3 clips from 3 shots\n"
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert [row["id"] for row in rows] == [
        "film.mp4@0-3.8",
        "film.mp4@4.2-7.8",
        "film.mp4@8.2-12",
    ]
    assert rows[1] == {
        "path": "film.mp4",
        "id": "film.mp4@4.2-7.8",
        "start": "4.2",
        "end": "7.8",
        "shot": 2,
        "of_shots": 3,
        "start_s": 4.2,
        "end_s": 7.8,
        "duration_s": 3.6,
    }


def test_rows_are_a_list_of_the_other_commands(run: Run, film: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    assert run("split", film, "-o", "rows/a.csv", "--max-s", "3").code == 0
    items = list(read_inputs(["rows/a.csv"]))
    assert {Path(item.source).resolve() for item in items} == {film.resolve()}  # type: ignore[union-attr]
    result = run("plan", "rows/a.csv", "--budget", "1k", "--json")
    plans = [json.loads(line)["frames"] for line in result.out.splitlines()]
    assert [(each[0]["pts_s"] // 4, each[-1]["pts_s"] // 4) for each in plans] == [
        (0, 0), (1, 1), (2, 2),
    ]  # fmt: skip


def test_the_columns_of_a_list_stay(run: Run, film: Path, tmp_path: Path) -> None:
    rows = [
        {"path": "film.mp4", "id": "a", "start": 1, "end": 7, "topic": "colours", "shot": "mine"},
        {"path": "film.mp4", "id": "b", "query": "it is blue", "start": "10"},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("split", "list.jsonl", "-o", "rows.jsonl", "--crop-s", "0").code == 0
    found = table(tmp_path / "rows.jsonl")
    assert [(row["id"], row["shot"], row.get("topic"), row.get("query")) for row in found] == [
        ("a@1-4", 1, "colours", None),
        ("a@4-7", 2, "colours", None),
        ("b@10-12", 3, None, "it is blue"),
    ]


def test_a_failed_video_does_not_stop_the_others(run: Run, film: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("this is not a video\n")
    result = run("split", "bad.mp4", film, "-o", "rows.csv")
    assert result.code == 1
    assert "media.not_video" in result.err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text())))
    assert [row["path"] for row in rows] == ["film.mp4"] * 3


@pytest.mark.parametrize("cut", ["exact", "keyframes"])
def test_clips_are_files_of_their_own(run: Run, film: Path, tmp_path: Path, cut: str) -> None:
    words = ("split", film, "-o", "rows.jsonl", "--clips", "clips", "--cut", cut)
    assert run(*words).code == 0
    rows = table(tmp_path / "rows.jsonl")
    assert rows
    for row in rows:
        assert (row["film"], row["cut"]) == ("film.mp4", cut)
        assert row["reencoded"] is (cut == "exact")
        assert len(row["film_sha256"]) == 64
        assert "start" not in row and "end" not in row
        with seedvideo.open(tmp_path / row["path"]) as clip:
            assert float(clip.info.duration) == row["duration_s"]
            span_s = Fraction(row["film_end"]) - Fraction(row["film_start"])
            assert clip.info.duration == span_s
    assert len(list((tmp_path / "clips").iterdir())) == len(rows)
    # A second run replaces nothing, unless it is allowed to.
    again = run("split", film, "-o", "more.jsonl", *words[4:])
    assert again.code == 1
    assert "output.exists" in again.err
    assert run(*words, "--overwrite").code == 0


def test_clips_without_a_keyframe_are_counted(run: Run, film: Path) -> None:
    result = run("split", film, "--clips", "clips", "--cut", "keyframes", "--max-s", "2")
    assert result.code == 0
    assert "left out: no keyframe inside" in result.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--min-s", "20"), 2, "above max_s"),
        (("--cut", "exact"), 2, "--clips"),
        (("-o", "rows.txt"), 2, ".jsonl"),
        (("-o", "film.mp4"), 3, "is one of the videos"),
        (("-o", "no/rows.csv"), 3, "does not exist"),
        (("-o", "rows.csv", "--clips", "no/clips"), 3, "does not exist"),
    ],
)
def test_wrong_usage_is_refused_first(
    run: Run, film: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    result = run("split", film, *words)
    assert (result.code, result.out) == (code, "")
    assert message in result.err


def test_names_that_a_spreadsheet_would_run_are_written_as_paths(
    run: Run, film: Path, tmp_path: Path
) -> None:
    film.rename("=film.mp4")
    assert run("split", "=film.mp4", "-o", "rows.csv").code == 0
    for row in csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text())):
        assert row["path"] == "./=film.mp4"
        assert row["id"].startswith("./=film.mp4@")


def test_an_address_with_a_query_is_refused(run: Run) -> None:
    result = run("split", "https://localhost/a.mp4?token=1")
    assert result.code == 2
    assert "--split shots" in result.err
