"""Clips that are windows of longer videos: cut into files whose rows state what they hold."""

import io
import json
import tarfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from pyarrow import parquet

import seedvideo
from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.datasets.clips import CutFacts
from seedvideo.datasets.rows import cut_row
from seedvideo.datasets.source import DatasetOptions
from seedvideo.errors import BatchError
from seedvideo.utils.timecode import Span
from tests.batch.jobs import run
from tests.batch.sample_journal import record_for
from tests.datasets.clip_jobs import DONE, all_bytes, exported, job_of, source_of
from tests.remote.fault_server import LOCAL, serving
from tests.synthetic_clips import COLOURS, FPS, paint
from tests.walk_films import draw_film


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of three windows of a film of 6 s, run by a model that names colours."""
    folder = tmp_path_factory.mktemp("film")
    film = paint(folder / "film.mp4", ["red", "green", "blue"], shot_s=2)
    whole = paint(folder / "whole.mp4", ["white"])
    windows = [(Fraction(1, 2), Fraction(3, 2)), (Fraction(5, 2), Fraction(5)), (Fraction(4), None)]
    items = [
        Item(id=f"w{number}", source=str(film), start_s=start, end_s=end)
        for number, (start, end) in enumerate(windows)
    ]
    run(folder / "job", [*items, Item(id="whole", source=str(whole))])
    return folder / "job"


def frames_of(data: bytes) -> list[tuple[Fraction, str]]:
    """Return time and colour of each frame of a file."""
    found = []
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(video=0):
            assert frame.pts is not None and frame.time_base is not None
            mean = frame.to_ndarray(format="rgb24").reshape(-1, 3).mean(axis=0)
            near = {name: np.abs(mean - level).sum() for name, level in COLOURS.items()}
            found.append((frame.pts * frame.time_base, min(near, key=lambda name: near[name])))
    return found


def tar_samples(folder: Path) -> list[tuple[dict[str, Any], bytes]]:
    """Return row and MP4 video of each sample."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(folder / "train-000000.tar") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            data = tar.extractfile(member)
            assert data is not None
            found.setdefault(key, {})[suffix] = data.read()
    return [(json.loads(sample["json"]), sample.get("mp4", b"")) for sample in found.values()]


def test_exact_cuts_hold_the_frames_of_their_windows(job: Path, tmp_path: Path) -> None:
    made = exported(job, "webdataset", tmp_path / "out", cut="exact")
    assert (made.clips, made.unreadable) == (4, {})
    samples = tar_samples(tmp_path / "out")
    expected = [["red"] * 10, ["green"] * 15 + ["blue"] * 10, ["blue"] * 20]
    for (row, data), colours in zip(samples, expected, strict=False):
        frames = frames_of(data)
        assert [colour for _, colour in frames] == colours
        assert [time for time, _ in frames] == [Fraction(n, FPS) for n in range(len(colours))]
        assert row["duration_s"] == len(colours) / FPS
        assert row["extra"] == {"cut": "exact", "reencoded": "true"}
        # The caption is about this file: its times begin at zero.
        assert row["captions"][0]["start_s"] == 0.0
        assert row["captions"][-1]["end_s"] == row["duration_s"]
    assert [row["start_frac"] for row, _ in samples[:3]] == ["1/2", "5/2", "4"]
    assert [row["end_frac"] for row, _ in samples[:3]] == ["3/2", "5", "6"]
    row, data = samples[3]
    assert (row["start_s"], row["extra"]) == (None, {})
    assert row["source_size"] == len(data) and row["source_sha256"]


WINDOWS = {
    # Keyframes are at 0, 2 and 4 s.
    "begins-with-one": ("2", "7/2"),
    "begins-before-one": ("9/5", "4"),
    "more-than-half": ("7/2", "47/10"),
    "less-than-half": ("5/2", "5"),
    "without-one": ("1/2", "3/2"),
}


def test_copies_hold_frames_of_their_windows_only(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    draw_film(film, [(colour, 2, 9) for colour in ("red", "green", "blue")], seed=1)
    items = [
        Item(id=name, source=str(film), start_s=Fraction(start), end_s=Fraction(end))
        for name, (start, end) in WINDOWS.items()
    ]
    run(tmp_path / "job", items)
    made = exported(tmp_path / "job", "webdataset", tmp_path / "out", cut="keyframes")
    assert {name: error.code for name, error in made.unreadable.items()} == {
        "less-than-half": "media.not_copyable",
        "without-one": "media.not_copyable",
    }
    frames = frames_of(film.read_bytes())
    samples = tar_samples(tmp_path / "out")
    spans = [(row["start_s"], row["end_s"]) for row, _ in samples]
    # A picture that is stored before 4.7 s is shown after it, so the last one is left out.
    assert spans == [(2.0, 3.5), (2.0, 4.0), (4.0, 4.6)]
    for row, data in samples:
        start, end = Fraction(row["start_frac"]), Fraction(row["end_frac"])
        inside = [(time - start, colour) for time, colour in frames if start <= time < end]
        assert frames_of(data) == inside
        assert row["extra"] == {"cut": "keyframes", "reencoded": "false"}
        assert row["captions"][0]["start_s"] >= 0
        assert row["captions"][-1]["end_s"] <= row["duration_s"]


def test_the_hub_gets_the_same_cuts(job: Path, tmp_path: Path) -> None:
    exported(job, "webdataset", tmp_path / "tars", cut="exact")
    exported(job, "hf", tmp_path / "hub", cut="exact")
    (path,) = (tmp_path / "hub" / "data").iterdir()
    rows = parquet.read_table(path).to_pylist()
    for row, (other, data) in zip(rows, tar_samples(tmp_path / "tars"), strict=True):
        assert row["video"]["bytes"] == data
        assert (row["start_s"], row["end_frac"]) == (other["start_s"], other["end_frac"])
        assert row["extra"]["cut"] == other["extra"].get("cut")
        assert row["source_sha256"] == other["source_sha256"]


@pytest.mark.parametrize("cut", ["exact", "keyframes"])
def test_the_same_windows_give_the_same_bytes(job: Path, tmp_path: Path, cut: str) -> None:
    for name in "ab":
        exported(job, "webdataset", tmp_path / name, cut=cut)
    assert all_bytes(tmp_path / "a") == all_bytes(tmp_path / "b")


def test_a_film_is_opened_once_for_its_clips(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    real = seedvideo.open

    def counting(*arguments: Any, **options: Any) -> Any:
        opened.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr("seedvideo.datasets.clips.open", counting)
    exported(job, "webdataset", tmp_path / "out", cut="keyframes")
    assert len(opened) == 1


def test_windows_that_cannot_be_cut_are_listed(tmp_path: Path) -> None:
    # Frames are a tenth of a second apart.
    gap = Item(id="gap", source=DONE[0], start_s=Fraction(41, 100), end_s=Fraction(42, 100))
    job = job_of(tmp_path, first=gap)
    made = exported(job, "webdataset", tmp_path / "out", cut="exact")
    assert made.clips == 3
    assert {name: error.code for name, error in made.unreadable.items()} == {
        "gap": "media.no_frames"
    }
    with (tmp_path / "clips" / DONE[0]).open("ab") as file:
        file.write(b"\0\0\0\x08free")
    made = exported(job, "webdataset", tmp_path / "two", cut="exact")
    assert {error.code for error in made.unreadable.values()} == {"input.changed"}


def test_an_exporter_cuts_only_if_it_may(job: Path) -> None:
    with source_of(job, DatasetOptions()) as source:
        clip = next(source.clips())
        assert clip.is_window
        with pytest.raises(BatchError, match="is a window"), clip.open():
            pytest.fail("it was opened")


def test_times_outside_a_copy_are_left_out() -> None:
    row = {
        "captions": [
            {"start_s": 1.0, "end_s": 2.0, "text": "before"},
            {"start_s": 1.0, "end_s": 4.0, "text": "into"},
            {"start_s": 4.0, "end_s": 9.0, "text": "out of"},
        ],
        "spans": [{"start_s": 3.5, "end_s": 3.5, "score": None}],
        "extra": {},
    }
    facts = CutFacts(cut="keyframes", span=Span(Fraction(3), Fraction(5)))
    found = cut_row(row, facts)
    assert found["captions"] == [
        {"start_s": 0.0, "end_s": 1.0, "text": "into"},
        {"start_s": 1.0, "end_s": 2.0, "text": "out of"},
    ]
    assert found["spans"] == [{"start_s": 0.5, "end_s": 0.5, "score": None}]


def test_a_remote_film_is_downloaded_once(tmp_path: Path) -> None:
    data = paint(tmp_path / "film.mp4", ["red", "green"], shot_s=1).read_bytes()
    with serving({"/film.mp4": data}) as server:
        url = f"{server.url}/film.mp4"
        items = [
            Item(id="whole", source=url),
            Item(id="first", source=url, end_s=Fraction(1)),
            Item(id="second", source=url, start_s=Fraction(1)),
        ]
        with Journal.open(tmp_path / "job", write=True) as journal:
            journal.plan(items, Job(remote=LOCAL), "a" * 64)
            for number, taken in enumerate(journal.claim(3)):
                content = Content(size=len(data), mtime_ns=0, sha256="")
                record = record_for("caption", url, "words").json_line()
                journal.mark_done(taken.item.id, f"{number:064x}", content, record)
        made = exported(tmp_path / "job", "webdataset", tmp_path / "out", cut="exact")
        assert (made.clips, made.unreadable) == (3, {})
        assert server.requests == ["/film.mp4"]
        videos = [video for _, video in tar_samples(tmp_path / "out")]
        assert videos[0] == data
        assert [{colour for _, colour in frames_of(video)} for video in videos[1:]] == [
            {"red"},
            {"green"},
        ]
        server.files["/film.mp4"] = data + b"\0\0\0\x08free"
        made = exported(tmp_path / "job", "webdataset", tmp_path / "two", cut="exact")
        assert {error.code for error in made.unreadable.values()} == {"input.changed"}
