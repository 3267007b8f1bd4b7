"""Small parts by themselves: detection by first bytes, display names, imports."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import MediaError
from seedvideo.media.source import HEAD_BYTES, display_path, sniff
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
def test_kinds_are_detected_from_the_first_bytes(clips: Clips, name: str, kind: str) -> None:
    assert sniff(clips[name].read_bytes()[:HEAD_BYTES], display_name="clip") == kind


@given(st.binary(max_size=600))
def test_no_bytes_break_the_detection(head: bytes) -> None:
    code = ""
    try:
        assert sniff(head, display_name="clip")
    except MediaError as error:
        code = error.code
    assert code in ("", "media.not_video", "media.no_video")


@given(st.text(min_size=20, max_size=600))
def test_text_is_refused(text: str) -> None:
    head = ("seedvideo " + text.replace("\0", "").replace("\x1a", "")).encode("utf-8", "ignore")
    if sum(c.isprintable() for c in text) >= 0.97 * len(text):
        with pytest.raises(MediaError):
            sniff(head, display_name="clip")


@given(st.text())
def test_shown_names_are_one_printable_line(name: str) -> None:
    shown = display_path(name)
    assert shown.isprintable() and len(shown) <= 2100


def test_shown_names_keep_what_is_harmless() -> None:
    assert display_path("Füße 足 (1).mp4") == "Füße 足 (1).mp4"
    assert display_path("a\n\x1b[31mb\u202e.mp4") == "a\\n\\x1b[31mb\\u202e.mp4"
