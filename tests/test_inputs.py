"""What a video and the options of public functions may be given as in Python."""

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seedvideo
from seedvideo.config import Limits
from seedvideo.errors import InputTypeError, OptionTypeError
from seedvideo.media.reader import open_video
from seedvideo.media.source import Source
from seedvideo.records import Record
from tests.fixtures import Clips
from tests.sample_records import done_record
from tests.tiers import quick_first

FORMS: dict[str, Callable[[Path], Any]] = {
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "buffered file": lambda path: path.open("rb"),
    "raw file": lambda path: path.open("rb", buffering=0),
}


@pytest.mark.parametrize("form", FORMS)
def test_bytes_and_binary_files_give_the_same_plan_and_frames(clips: Clips, form: str) -> None:
    path = clips["plain"]
    expected = seedvideo.plan(path, budget_tokens=2_000)
    given = FORMS[form](path)
    with seedvideo.open(given) as video:
        plan = seedvideo.plan(video, budget_tokens=2_000)
        assert [(f.pts, f.tokens) for f in plan.frames] == [
            (f.pts, f.tokens) for f in expected.frames
        ]
        shown = list(seedvideo.frames(video, plan))
    right = list(seedvideo.frames(path, expected))
    assert all(
        np.array_equal(a.pixels, b.pixels) for (_, a), (_, b) in zip(shown, right, strict=True)
    )
    name = str(path) if form.endswith("file") else "<file>" if form == "BytesIO" else "<bytes>"
    assert plan.source == name
    if hasattr(given, "close"):
        given.close()


def test_a_copy_is_complete_unnamed_and_removed_with_the_video(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    file = io.BytesIO(b"junk" + clips["plain"].read_bytes())
    file.seek(4)
    with open_video(file, workers=2) as reader:
        # Read from where it stands, before anything is decoded; later changes do no harm.
        file.close()
        assert len(reader.times) == len(open_video(clips["plain"]).times)
        assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("function", quick_first(["open", "caption", "plan", "ask", "ground"], 2))
def test_other_types_are_refused_by_every_function(function: str) -> None:
    more = {"ask": ["What?"], "ground": ["a dog"]}.get(function, [])
    for wrong in (np.zeros((4, 4, 3)), ["a.mp4"], None, 3, io.StringIO("x"), object()):
        with pytest.raises(InputTypeError, match="expected a file name, bytes") as caught:
            getattr(seedvideo, function)(wrong, *more)
        assert caught.value.code == "input.type" and isinstance(caught.value, TypeError)


class Texts(io.RawIOBase):
    """A stream that calls itself binary and is not."""

    def read(self, size: int = -1) -> Any:
        return "text"


def test_a_copy_that_the_system_removed_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_bytes(b"x")
    descriptor = os.open(path, os.O_RDONLY)
    source = Source(descriptor, str(path), "<bytes>", "<bytes>", "mov", 1, owner_pid=os.getpid())
    path.unlink()
    source.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)


class OnlyRead:
    """An object with nothing but a method to read."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._data.read(size)


def test_an_object_needs_nothing_but_read(clips: Clips) -> None:
    with seedvideo.open(OnlyRead(clips["plain"].read_bytes())) as video:  # type: ignore[arg-type]
        assert len(video.times) == len(seedvideo.open(clips["plain"]).times)


def damaged_member(data: bytes) -> Any:
    """Return an open file of a ZIP archive in which one byte has been changed."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("clip.mp4", data)
    damaged = bytearray(archive.getvalue())
    damaged[len(damaged) // 2] ^= 1
    return zipfile.ZipFile(io.BytesIO(damaged)).open("clip.mp4")


def test_unreadable_files_have_a_reason(clips: Clips, tmp_path: Path) -> None:
    written = io.BytesIO()
    data = clips["plain"].read_bytes()
    written.write(data)
    cut = gzip.compress(data)[:-100]
    closed = io.BytesIO(b"x")
    closed.close()
    with (tmp_path / "out").open("wb") as only_written, gzip.open(io.BytesIO(cut)) as archive:
        cases: list[tuple[Any, str, str]] = [
            (written, "input.empty", r"seek\(0\)"),
            (io.BytesIO(), "input.empty", "is empty"),
            (b"", "input.empty", "is empty"),
            (b"clip.mp4", "media.not_video", "text"),
            (closed, "input.unreadable", "closed"),
            (only_written, "input.unreadable", "rb"),
            (Texts(), "input.type", "binary mode"),
            (OnlyRead(b""), "input.empty", "is empty"),
            (archive, "input.unreadable", "ended before"),
            (damaged_member(data), "input.unreadable", "clip.mp4.*bad crc"),
            ("rtsp://example.org/a.mp4", "input.not_found", "download others first"),
            ("http://example.org/a.mp4", "input.address_refused", "--allow-http"),
        ]
        for given, code, words in cases:
            with pytest.raises(seedvideo.SeedVideoError, match=words) as caught:
                seedvideo.open(given)
            assert caught.value.code == code
    with pytest.raises(seedvideo.InputError) as caught:
        seedvideo.open(clips["plain"].read_bytes(), limits=Limits(max_input_bytes=1_000))
    assert caught.value.code == "input.too_large"
    with pytest.raises(seedvideo.InputError) as caught:
        seedvideo.open(clips["plain"].read_bytes(), root=tmp_path)
    assert caught.value.code == "input.outside_root"


def test_a_geometry_in_place_of_a_model(clips: Clips) -> None:
    geometry = seedvideo.TokenGeometry("tiny", 16, (60, 40, 20), 4, 700, min_frames=4)
    plan = seedvideo.plan(clips["plain"], geometry=geometry)
    assert plan.geometry == geometry and plan.budget_tokens == 700
    assert all(frame.width_px % 16 == 0 and frame.tokens <= 60 for frame in plan.frames)
    assert len(list(seedvideo.frames(clips["plain"], plan))) == len(plan.frames)
    with pytest.raises(seedvideo.ConfigError, match="both model and geometry"):
        seedvideo.plan(clips["plain"], geometry=geometry, model="nano")


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [
        ("budget_tokens", "2k", "a whole number"),
        ("budget_tokens", 2e3, "a whole number"),
        ("budget_tokens", True, "a whole number"),
        ("fps", "1", "a number"),
        ("fps", np.zeros((2, 2)), "a number"),
        ("policy", None, "a text"),
        ("rate_preset", 1, "a text"),
        ("analysis", ["fast"], "a text"),
        ("sampling", {"max_frames": 3}, "a seedvideo.SamplingConfig"),
        ("model", 5, "a loaded model or the name of one"),
        ("geometry", 28, "a seedvideo.TokenGeometry"),
    ],
)
def test_options_of_a_wrong_type(clips: Clips, name: str, wrong: object, expected: str) -> None:
    with pytest.raises(OptionTypeError, match=f"{name} is .*expected {expected}") as caught:
        seedvideo.plan(clips["plain"], **{name: wrong})  # type: ignore[arg-type]
    assert caught.value.code == "config.type" and isinstance(caught.value, TypeError)


def test_more_options_of_a_wrong_type(clips: Clips) -> None:
    path: Any = clips["plain"]
    wrong: Any = "3"
    calls: list[Callable[[], object]] = [
        lambda: seedvideo.ask(path, 5),  # type: ignore[arg-type]
        lambda: seedvideo.ask(path, "Which?", options="ab"),
        lambda: seedvideo.ask(path, "Which?", options=[1, 2]),  # type: ignore[list-item]
        lambda: seedvideo.ground(path, None),  # type: ignore[arg-type]
        lambda: seedvideo.ground(path, "red", top=wrong),
        lambda: seedvideo.ground(path, "red", top=None),  # type: ignore[arg-type]
        lambda: seedvideo.ground(path, "red", thinking=wrong),
        lambda: seedvideo.ask(path, "Which?", thinking=1),  # type: ignore[arg-type]
        lambda: seedvideo.caption(path, dense=wrong),
        lambda: seedvideo.open(path, cache=3),  # type: ignore[arg-type]
        lambda: seedvideo.open(path, root=3),  # type: ignore[arg-type]
        lambda: seedvideo.Limits(max_side_px=wrong),
        lambda: list(seedvideo.frames(path, path)),
        lambda: seedvideo.load(7),  # type: ignore[arg-type]
        lambda: seedvideo.SamplingConfig(max_frames=wrong),
        lambda: seedvideo.SamplingConfig(levels_tokens=wrong),
        lambda: seedvideo.SamplingConfig(start_s=wrong),
        lambda: seedvideo.TokenGeometry("x", wrong, (60,), 4, 700),
        lambda: seedvideo.open(path, workers=wrong),
        lambda: seedvideo.open(path, limits=wrong),
    ]
    for call in calls:
        with pytest.raises(OptionTypeError):
            call()
    with pytest.raises(OptionTypeError, match=r"^source_fps is"):
        seedvideo.open(path, source_fps=wrong)
    with seedvideo.open(path) as video:
        with pytest.raises(OptionTypeError, match=r"^plan is"):
            video.frames(wrong)
        with pytest.raises(OptionTypeError, match=r"^method is"):
            video.analysis(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("fps", [float("nan"), float("inf"), 0, -1.5])
def test_a_frame_rate_is_above_zero_and_finite(clips: Clips, fps: Any) -> None:
    with pytest.raises(seedvideo.ConfigError, match="a finite number above 0"):
        seedvideo.open(clips["plain"], source_fps=fps)


def test_a_record_of_others_is_refused_in_our_words() -> None:
    good = done_record().to_json()
    changes: list[tuple[dict[str, Any], str]] = [
        ({"text": 5}, "text is 5, expected a text"),
        ({"media": 1}, "media is 1, expected a table"),
        ({"colour": 1}, "colour is not a known key"),
        ({"status": "maybe"}, "status is 'maybe', expected 'done' or 'failed'"),
        ({"usage": {**good["usage"], "prompt_tokens": -1}}, "prompt_tokens is -1, expected 0 or"),
    ]
    for change, words in changes:
        with pytest.raises(seedvideo.InputError, match=words) as caught:
            Record.from_json({**good, **change})
        assert caught.value.code == "input.results" and "pydantic" not in str(caught.value)
    with pytest.raises(seedvideo.InputError, match="source is missing"):
        Record.from_json({name: value for name, value in good.items() if name != "source"})
