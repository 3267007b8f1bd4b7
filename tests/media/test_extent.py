"""Cut video files of formats whose header states how many bytes the file has."""

from pathlib import Path

import pytest

from tests.fixtures import Clips, ffmpeg
from tests.media.still_files import facts


def codes(path: Path) -> set[str]:
    return {warning.code for warning in facts(path).warnings}


@pytest.mark.parametrize("name", ["mkv", "vp9", "h264_avi", "mjpeg_avi", "wmv"])
def test_a_truncated_file_has_a_warning(clips: Clips, tmp_path: Path, name: str) -> None:
    assert "media.truncated" not in codes(clips[name])
    data = clips[name].read_bytes()
    for missing in (1, len(data) // 10, len(data) // 2):
        path = tmp_path / clips[name].name
        path.write_bytes(data[:-missing])
        assert "media.truncated" in codes(path), missing


@pytest.mark.parametrize("name", ["mkv", "vp9"])
def test_a_live_recording_states_no_size(clips: Clips, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"live{clips[name].suffix}"
    ffmpeg("-i", clips[name], "-c", "copy", "-live", "1", path)
    assert codes(path) <= {"media.duration_differs", "media.vfr"}


def test_bytes_behind_a_file_are_not_missed(clips: Clips, tmp_path: Path) -> None:
    for name in ("mkv", "mjpeg_avi", "wmv"):
        path = tmp_path / clips[name].name
        path.write_bytes(clips[name].read_bytes() + bytes(5000))
        assert "media.truncated" not in codes(path), name
