"""A job that splits its videos: films in, captioned clips out, and what a resume analyses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from seedvideo.batch import split_inputs
from seedvideo.batch.inputs import BadRow, Item, read_inputs
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.run_job import check_job, make_fetcher
from seedvideo.batch.split_inputs import SPLIT_NAME, split_rows
from seedvideo.clips.windows import SplitOptions
from seedvideo.errors import ConfigError
from tests.batch.command import events, finish
from tests.synthetic_clips import paint

OPTIONS = SplitOptions(min_s=0.5, max_s=1.5, crop_s=0.1)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder with a film of two shots of two seconds, and a file that is not a video."""
    folder = tmp_path / "films"
    paint(folder / "two.mp4", ["red", "blue"], shot_s=2)
    (folder / "bad.mp4").write_text("this is not a video\n")
    return folder


def split(job: Job, folder: Path | None) -> tuple[list[Item | BadRow], list[str]]:
    """Return the rows of a job, and the ids of the videos that were analysed."""
    analysed: list[str] = []
    with make_fetcher(job) as fetcher:
        rows = split_rows(
            read_inputs(job.inputs, folder=job.folder, fetcher=fetcher),
            job,
            fetcher=fetcher,
            folder=folder,
            on_video=lambda name, found: analysed.append(name),
        )
        return list(rows), analysed


def test_a_film_gives_the_items_of_its_clips(films: Path, tmp_path: Path) -> None:
    job = Job(inputs=("films",), folder=str(tmp_path), split=OPTIONS)
    (bad, *clips), analysed = split(job, None)
    assert isinstance(bad, BadRow)
    assert (bad.id, bad.code) == ("films/bad.mp4", "media.not_video")
    assert [clip.id for clip in clips] == [
        "films/two.mp4@0-1.5",
        "films/two.mp4@2.1-3.6",
    ]
    assert analysed == ["films/two.mp4"]


def test_a_resumed_job_analyses_only_what_changed(films: Path, tmp_path: Path) -> None:
    job = Job(inputs=("films/two.mp4",), folder=str(tmp_path), split=OPTIONS)
    first, analysed = split(job, tmp_path)
    assert analysed == ["films/two.mp4"]
    with (tmp_path / SPLIT_NAME).open("ab") as file:
        file.write(b'{"key": "a line of a run that was kil')
    assert split(job, tmp_path) == (first, [])
    assert (tmp_path / SPLIT_NAME).read_bytes().count(b"\n") == 1
    paint(films / "two.mp4", ["red", "blue", "green"], shot_s=2)
    rows, analysed = split(job, tmp_path)
    assert (len(rows), analysed) == (3, ["films/two.mp4"])
    _, analysed = split(
        Job(inputs=job.inputs, folder=job.folder, split=SplitOptions(min_s=0.5)), tmp_path
    )
    assert analysed == ["films/two.mp4"]


def test_a_video_that_is_gone_keeps_its_clips(films: Path, tmp_path: Path) -> None:
    job = Job(inputs=("films/two.mp4",), folder=str(tmp_path), split=OPTIONS)
    split(job, tmp_path)
    paint(films / "two.mp4", ["red", "blue", "green"], shot_s=2)
    longer, analysed = split(job, tmp_path)
    assert len(longer) == 3 and analysed
    data = (films / "two.mp4").read_bytes()
    (films / "two.mp4").unlink()
    assert split(job, tmp_path) == (longer, [])
    other = replace(job, split=replace(OPTIONS, crop_s=0.2))
    ((bad,), _) = split(other, tmp_path)
    assert isinstance(bad, BadRow) and bad.code == "input.not_found"
    (films / "two.mp4").write_bytes(data)
    assert split(job, tmp_path) == (longer, ["films/two.mp4"])


def test_damaged_lines_are_analysed_again(films: Path, tmp_path: Path) -> None:
    job = Job(inputs=("films/two.mp4",), folder=str(tmp_path), split=OPTIONS)
    rows, _ = split(job, tmp_path)
    path = tmp_path / SPLIT_NAME
    (line,) = path.read_bytes().splitlines(keepends=True)
    junk = b'\nno JSON\n[]\n{"key": 5}\n\xff\xfe\n' + bytes(40) + b"\n"
    path.write_bytes(junk + line + line[:30])
    assert split(job, tmp_path) == (rows, [])
    for old, new in ((b'"0"', b'"1/0"'), (b'"0"', b"null"), (b'"windows": [[', b'"windows": [[[[')):
        path.write_bytes(line.replace(old, new, 1))
        assert split(job, tmp_path) == (rows, ["films/two.mp4"])


def test_the_settings_of_a_split_are_part_of_the_job() -> None:
    job = Job(inputs=("a",), split=OPTIONS)
    assert Job.from_json(job.to_json()) == job
    assert job.settings() == Job(inputs=("a",)).settings()  # The windows are in the items.
    assert "split" not in json.loads(Job(inputs=("a",)).to_json())
    with pytest.raises(ConfigError, match="min_s"):
        Job.from_values({"split": {"min_s": -1}}, where="job.toml")
    with pytest.raises(ConfigError, match=r"split\.least"):
        Job.from_values({"split": {"least": 1}}, where="job.toml")


def test_a_shard_is_refused(tmp_path: Path) -> None:
    job = Job.from_values({"split": {}, "shard": "1/2", "folder": str(tmp_path)}, where="x")
    with pytest.raises(ConfigError, match="analyse every video"):
        check_job(job)


def test_films_become_captioned_clips(films: Path, tmp_path: Path) -> None:
    words = (films, "--split", "shots", "--min-s", "0.5", "--max-s", "1.5", "--crop-s", "0.1")
    code, out, err = finish(*words, "-o", tmp_path / "out", "--json-events")
    assert (code, out) == (1, "")  # One file is not a video.
    (found,) = [each for each in events(err) if each["event"] == "split"]
    assert (found["clips"], found["shots"], found["left_out"]) == (2, 2, 2)
    with Journal.open(tmp_path / "out", write=False) as journal:
        entries = list(journal.entries())
    assert [entry.state for entry in entries] == ["failed", "done", "done"]
    records = [json.loads(entry.record) for entry in entries if entry.record]
    assert [record["text"] for record in records] == ["Red.", "Blue."]
    # The job knows its videos and how they are split: a resume has nothing to do.
    code, _, err = finish("-o", tmp_path / "out", "--json-events")
    assert [each for each in events(err) if each["event"] == "split"] == []


def test_parts_are_refused(films: Path, tmp_path: Path) -> None:
    code, _, err = finish("--job", tmp_path / "job", "--split", "shots")
    assert code == 2
    assert "seedvideo split INPUT" in err
    code, _, err = finish(films, "-o", tmp_path / "out", "--max-s", "5")
    assert code == 2
    assert "--max-s can only be used with --split shots" in err


def test_a_dry_run_plans_the_clips(films: Path, tmp_path: Path) -> None:
    options = ("--split", "shots", "--min-s", "0.5", "--crop-s", "0")
    code, out, err = finish(films / "two.mp4", *options, "--dry-run", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["clips"] == 2


def test_the_version_of_shots_counts(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(inputs=("films/two.mp4",), folder=str(tmp_path), split=OPTIONS)
    split(job, tmp_path)
    monkeypatch.setattr(split_inputs, "SHOTS_VERSION", 0)
    assert split(job, tmp_path)[1] == ["films/two.mp4"]
