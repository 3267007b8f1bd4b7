"""decord as a second decoder: the same times, the same pictures but for rounding, or a refusal."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from seedvideo.errors import ConfigError, MediaError
from seedvideo.media import Target, open_video
from tests.fixtures import Clips, ffmpeg, read_number
from tests.tiers import quick_first

READ_BY_BOTH = [
    "plain",
    "fragmented",
    "short_gops",
    "open_gop",
    "intra_refresh",
    "hevc",
    "mkv",
    "vfr",
    "vfr_mkv",
    "vp8",
    "vp9",
    "mpeg4_avi",
    "flv",
    "prores",
    "wmv",
    "shifted",
]

MEAN_LEVELS = 3.0
"""Mean difference of 8-bit levels allowed between the decoders.

decord converts to RGB at full size before we scale; PyAV scales YUV first. So chroma,
which is stored at half the size, is spread differently, and both round. Measured: up to 1.6 at half
size on these clips. A neighbouring frame differs by more than 10.
"""


@pytest.mark.parametrize("name", quick_first(READ_BY_BOTH, 4))
def test_both_decoders_give_the_same_frames(clips: Clips, name: str) -> None:
    with open_video(clips[name]) as one, open_video(clips[name], decoder="decord") as other:
        assert one.times == other.times and one.keyframes == other.keyframes
        assert one.info == other.info
        times = sorted(random.Random(name).sample(one.times, 12))
        targets = [Target(time, 96, 56) for time in times]
        for a, b in zip(one.frames(targets), other.frames(targets), strict=True):
            assert a.pts == b.pts
            assert read_number(a.pixels) == read_number(b.pixels)
            assert np.abs(a.pixels.astype(int) - b.pixels.astype(int)).mean() < MEAN_LEVELS


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_decord_gives_upright_pictures_too(clips: Clips, tmp_path: Path, turn: int) -> None:
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(turn), "-i", clips["plain"], "-c", "copy", path)
    with open_video(path) as one, open_video(path, decoder="decord") as other:
        target = Target(one.times[7], one.info.width_px // 2, one.info.height_px // 2)
        (a,), (b,) = one.frames([target]), other.frames([target])
        assert np.abs(a.pixels.astype(int) - b.pixels.astype(int)).mean() < MEAN_LEVELS


@pytest.mark.parametrize("name", ["cut", "ts", "mpeg2_ps", "h264_avi", "av1", "theora", "gif"])
def test_what_decord_gets_wrong_is_refused(clips: Clips, name: str) -> None:
    with open_video(clips[name], decoder="decord") as reader:
        assert reader.times  # Facts come from the packets, whatever decodes the pictures.
        with pytest.raises(MediaError) as caught:
            list(reader.frames([Target(reader.times[3], 96, 56)]))
        assert "pyav" in caught.value.hint


def test_a_mirrored_video_is_refused(clips: Clips, tmp_path: Path) -> None:
    path = tmp_path / "mirrored.mp4"
    ffmpeg("-display_rotation", "0", "-display_hflip", "-i", clips["plain"], "-c", "copy", path)
    with (
        open_video(path, decoder="decord") as reader,
        pytest.raises(MediaError, match="mirrored"),
    ):
        list(reader.frames([Target(reader.times[3], 96, 56)]))


def test_without_decord_there_is_a_clear_error(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(ConfigError) as caught:
        open_video(clips["plain"], decoder="decord")
    assert caught.value.code == "config.invalid" and "pyav" in caught.value.hint
