"""A prepared video on its way from one process to another: what arrives is what was sent."""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedvideo import DecodeError, Video, pipeline
from seedvideo import video as video_module
from seedvideo.batch import execution, fingerprint
from seedvideo.batch.execution import (
    PreparedItem,
    from_memfd,
    prepare_item,
    read_contact_sheet,
    to_memfd,
)
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.errors import PlanError
from seedvideo.media.reader import VideoReader
from seedvideo.sampler.analysis import Analysis, analyze
from tests.synthetic_clips import ColourModel, paint


def test_clips_of_one_file_share_its_analysis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed: list[str] = []

    def counted(reader: VideoReader, **options: Any) -> Analysis:
        analysed.append(Path(reader.name).name)
        return analyze(reader, **options)

    opened: list[str] = []

    def open_counted(path: str, **options: Any) -> Video:
        opened.append(Path(path).name)
        return video_module.open(path, **options)

    monkeypatch.setattr(video_module, "analyze", counted)
    monkeypatch.setattr(execution, "open", open_counted)
    for name in ("a.mp4", "b.mp4"):
        paint(tmp_path / name, ["red", "blue"], shot_s=2)
    job = Job(folder=str(tmp_path), sheets=False)

    def prepare(name: str, start: int) -> object:
        item = Item(
            id=f"{name}{start}",
            source=str(tmp_path / name),
            start_s=Fraction(start),
            end_s=Fraction(start + 1),
        )
        made = prepare_item(job, item, ColourModel())
        assert isinstance(made, PreparedItem)
        return made.prepared.plan

    alone = prepare("b.mp4", 2)
    plans = [prepare(name, start) for name, start in (("a.mp4", 0), ("a.mp4", 2), ("b.mp4", 2))]
    assert analysed == opened == ["b.mp4", "a.mp4", "b.mp4"]
    assert plans[2] == alone
    assert prepare("b.mp4", 2) == alone and len(opened) == 3
    # The same name, but another file.
    paint(tmp_path / "b.mp4", ["green", "white"], shot_s=2)
    prepare("b.mp4", 2)
    assert analysed[3:] == opened[3:] == ["b.mp4"]
    # The same file, rewritten in place, with the time that it had.
    facts = (tmp_path / "b.mp4").stat()
    (tmp_path / "b.mp4").write_bytes(Path(tmp_path / "b.mp4").read_bytes())
    os.utime(tmp_path / "b.mp4", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    prepare("b.mp4", 2)
    assert opened[4:] == ["b.mp4"]


def test_a_clip_that_fails_closes_its_file(tmp_path: Path) -> None:
    paint(tmp_path / "a.mp4", ["red", "blue"], shot_s=2)
    job = Job(folder=str(tmp_path))
    item = Item(id="a", source=str(tmp_path / "a.mp4"), start_s=Fraction(0), end_s=Fraction(1))
    with pytest.raises(RuntimeError), execution.open_clip(job, item) as clip:
        raise RuntimeError
    with pytest.raises(DecodeError, match="closed"):
        _ = clip.reader.digest()
    with execution.open_clip(job, item) as clip:
        pass
    with execution.open_clip(job, replace(item, start_s=None, end_s=None)) as again:
        assert again is clip
    # A clip without a window is the only one of its file.
    with pytest.raises(DecodeError, match="closed"):
        _ = clip.reader.digest()


def test_a_film_is_hashed_once_for_its_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def counted(path: str) -> fingerprint.Content:
        hashed.append(path)
        return read_content(path)

    read_content = fingerprint.read_content
    monkeypatch.setattr(fingerprint, "read_content", counted)
    film = tmp_path / "a.mp4"
    paint(film, ["red"], shot_s=1)
    contents = fingerprint.ContentReader()
    first = contents.read(str(film))
    assert contents.read(str(film)) == first == read_content(str(film))
    assert len(hashed) == 1
    data = film.read_bytes()
    film.write_bytes(data[:-1] + b"!")
    os.utime(film, ns=(first.mtime_ns, first.mtime_ns))
    assert contents.read(str(film)) == read_content(str(film)) != first
    assert len(hashed) == 2


def test_a_window_after_the_end_of_its_video(tmp_path: Path) -> None:
    path = paint(tmp_path / "a.mp4", ["red"], shot_s=2)
    item = Item(id="a", source=str(path), start_s=Fraction(50), end_s=Fraction(60))
    with pytest.raises(PlanError) as caught:
        prepare_item(Job(folder=str(tmp_path)), item, ColourModel())
    assert caught.value.code == "plan.invalid" and "50 s" in caught.value.message


@pytest.mark.parametrize("sheet", [b"", b"a picture"])
def test_a_prepared_clip_survives_the_transfer(tmp_path: Path, sheet: bytes) -> None:
    clip = paint(tmp_path / "clip.mp4", ["red", "green", "blue"], shot_s=2.0)
    sent = pipeline.prepare(clip, model=ColourModel(), dense=True)
    assert len(sent.frame_sets) > 2
    descriptor = to_memfd(sent, sheet=sheet)
    try:
        assert read_contact_sheet(descriptor) == (sheet or None)
        received = from_memfd(descriptor)
    finally:
        os.close(descriptor)
    come = received.prepared
    assert received.sheet == sheet
    assert (come.source, come.media, come.plan) == (sent.source, sent.media, sent.plan)
    assert come.spent_s == sent.spent_s
    for one, other in zip(come.frame_sets, sent.frame_sets, strict=True):
        assert (one.window, one.duration, one.bounds) == (
            other.window,
            other.duration,
            other.bounds,
        )
        for frame, sent_frame in zip(one.frames, other.frames, strict=True):
            assert frame.pts == sent_frame.pts
            assert np.array_equal(frame.pixels, sent_frame.pixels)
