"""Small parts by themselves: the look at first bytes, shown names, messages, importing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import MediaError
from seedvideo.media import wire
from seedvideo.media.source import HEAD_BYTES, show_path, sniff
from tests.fixtures import Clips

ROOT = Path(__file__).resolve().parents[2]


def test_importing_media_loads_no_decoder() -> None:
    script = (
        "import sys; import seedvideo.media; "
        "print([m for m in ('av', 'cv2', 'decord', 'torch', 'numpy', 'PIL') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("plain", "mov"),
        ("fragmented", "mov"),
        ("mkv", "matroska"),
        ("vp9", "matroska"),
        ("ts", "mpegts"),
        ("mpeg2_ps", "mpeg"),
        ("h264_avi", "avi"),
        ("flv", "flv"),
        ("theora", "ogg"),
        ("wmv", "asf"),
        ("gif", "gif"),
    ],
)
def test_kinds_are_told_from_the_first_bytes(clips: Clips, name: str, kind: str) -> None:
    assert sniff(clips[name].read_bytes()[:HEAD_BYTES], shown="clip") == kind


@given(st.binary(max_size=600))
def test_no_bytes_break_the_look_at_them(head: bytes) -> None:
    code = ""
    try:
        assert sniff(head, shown="clip")
    except MediaError as error:
        code = error.code
    assert code in ("", "media.not_video", "media.no_video")


@given(st.text(min_size=20, max_size=600))
def test_text_is_refused(text: str) -> None:
    head = ("seedvideo " + text.replace("\0", "").replace("\x1a", "")).encode("utf-8", "ignore")
    if sum(c.isprintable() for c in text) >= 0.97 * len(text):
        with pytest.raises(MediaError):
            sniff(head, shown="clip")


@given(st.text())
def test_shown_names_are_one_printable_line(name: str) -> None:
    shown = show_path(name)
    assert shown.isprintable() and len(shown) <= 2100


def test_shown_names_keep_what_is_harmless() -> None:
    assert show_path("Füße 足 (1).mp4") == "Füße 足 (1).mp4"
    assert show_path("a\n\x1b[31mb\u202e.mp4") == "a\\n\\x1b[31mb\\u202e.mp4"


def through_a_pipe(data: bytes, *, max_body_bytes: int) -> wire.Message | None:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)

    def read_into(buffer: memoryview) -> bool:
        while buffer:
            count = os.readv(reading, [buffer])
            if not count:
                return False
            buffer = buffer[count:]
        return True

    try:
        return wire.receive(read_into, max_body_bytes=max_body_bytes)
    finally:
        os.close(reading)


def test_messages_arrive_as_they_were_sent() -> None:
    reading, writing = os.pipe()
    wire.send(writing, {"type": "picture", "rank": 7}, b"pixels")
    message = through_a_pipe(os.read(reading, 1000), max_body_bytes=6)
    assert message is not None and message.type == "picture"
    assert message.header["rank"] == 7 and message.body == b"pixels"
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "data",
    [
        wire.PREFIX.pack(2, 7) + b"{}" + b"x" * 7,
        wire.PREFIX.pack(2**31, 0),
        wire.PREFIX.pack(2, 2**62) + b"{}",
        wire.PREFIX.pack(2, 0) + b"[]",
        wire.PREFIX.pack(2, 0) + b"\xff\xfe",
        wire.PREFIX.pack(5000, 0) + b"[" * 5000,
    ],
)
def test_nonsense_is_refused_before_there_is_room_made_for_it(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        through_a_pipe(data, max_body_bytes=6)


@given(st.binary(max_size=40))
def test_no_bytes_break_the_reading_of_messages(data: bytes) -> None:
    try:
        message = through_a_pipe(data, max_body_bytes=100)
    except wire.WireError:
        return
    assert message is None or isinstance(message.header, dict)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_survive(values: list[int]) -> None:
    assert wire.unpack_integers(wire.pack_integers(values)) == values
