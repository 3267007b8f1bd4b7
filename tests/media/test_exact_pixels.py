"""Frames reached by seeks are bit-equal to those of one pass, for every codec and container."""

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from seedvideo.config import DEFAULT_LIMITS
from seedvideo.media import Frame, Target, VideoReader, gop_decoder, open_video, pyav_decoder
from seedvideo.media.demuxer import SourceSpec
from seedvideo.media.file_probe import probe_file
from seedvideo.media.gop_decoder import PacketCursor, UnreliableSeek
from seedvideo.media.source import open_source
from seedvideo.media.types import DecodeStats, FrameRequest, Strategy
from tests.fixtures import DERIVED, KINDS, RECIPES, Clips, coded_video
from tests.tiers import quick_among

SIZE = (80, 48)


def every_frame(reader: VideoReader) -> dict[Fraction, Frame]:
    targets = [Target(time, *SIZE) for time in reader.times]
    return {frame.pts: frame for frame in reader.frames(targets, strategy="sequential")}


@pytest.mark.parametrize("name", quick_among([*RECIPES, *DERIVED], [*KINDS][::2]))
def test_seeks_give_the_same_frames_as_one_pass(clips: Clips, name: str) -> None:
    draw = random.Random(name)
    with open_video(clips[name]) as reader:
        whole = every_frame(reader)
        for count in (1, 1, 2, 3, 5, 9):
            times = sorted(draw.sample(reader.times, count))
            for strategy in ("seek", "auto", "sequential"):
                frames = list(reader.frames([Target(t, *SIZE) for t in times], strategy=strategy))
                assert [frame.pts for frame in frames] == times
                for frame in frames:
                    assert np.array_equal(frame.pixels, whole[frame.pts].pixels)


@pytest.mark.parametrize(
    "name",
    quick_among(
        ["open_gop", "open_gop_ts", "hevc", "hevc_mkv", "cut_hevc"], ("open_gop", "cut_hevc")
    ),
)
def test_every_single_frame_can_be_reached_by_a_seek(clips: Clips, name: str) -> None:
    # Leading pictures of open GOPs come before their keyframe in time and after it in the file.
    with open_video(clips[name]) as reader:
        whole = every_frame(reader)
        for time in reader.times[::2]:
            (frame,) = reader.frames([Target(time, *SIZE)], strategy="seek")
            assert frame.pts == time
            assert np.array_equal(frame.pixels, whole[time].pixels)


def test_auto_decodes_no_more_than_it_needs(clips: Clips) -> None:
    with open_video(clips["short_gops"]) as reader:
        far = [Target(reader.times[i], *SIZE) for i in (1, 45, 89)]
        list(reader.frames(far, strategy="sequential"))
        in_one_pass = reader.report.decoded_frames
        list(reader.frames(far, strategy="auto"))
        assert reader.report.decoded_frames <= 3 * 8
        assert in_one_pass >= 45  # Half of its pictures are not referenced.


def test_a_pass_stops_after_the_last_wanted_frame(clips: Clips) -> None:
    with open_video(clips["one_gop"]) as reader:
        list(reader.frames([Target(reader.times[5], *SIZE)]))
        assert reader.report.decoded_frames < 20


def test_one_pass_never_seeks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It is what is left when seeks cannot be trusted, however far away the first keyframe is.
    whole = coded_video(
        tmp_path / "whole.ts",
        "-c:v libx264 -pix_fmt yuv420p -preset ultrafast -g 210 -sc_threshold 0",
        frames=240,
        size=(64, 48),
    )
    data, path = whole.read_bytes(), tmp_path / "cut.ts"
    path.write_bytes(data[: 188 * 3] + data[188 * 8 :])
    monkeypatch.setattr(gop_decoder, "PacketCursor", Unseekable)
    source = open_source(path, limits=DEFAULT_LIMITS, root=None)
    try:
        spec = SourceSpec(
            source.descriptor,
            source.display_name,
            source.kind,
            source.size_bytes,
            DEFAULT_LIMITS,
            None,
        )
        opened = probe_file(spec, lambda: None)
        assert opened.index.keyframe_packets[0] > 200
        decoder = pyav_decoder.PyavDecoder(spec, opened.index, opened.table, opened.orientation)
        wanted = [FrameRequest(frame_index, 8, 8) for frame_index in range(len(opened.index.times))]

        def pictures(strategy: Strategy) -> int:
            given = decoder.pictures(
                wanted, strategy=strategy, heartbeat=lambda: None, stats=DecodeStats()
            )
            return len(list(given))

        assert pictures("sequential") == len(wanted)
        for strategy in ("auto", "seek"):
            with pytest.raises(UnreliableSeek):  # The reader asks for one pass then.
                pictures(strategy)
    finally:
        source.close()


class Unseekable(PacketCursor):
    """A file in which no seek leads to where it should."""

    def _seek(self, number: int, heartbeat: Callable[[], None]) -> None:
        raise UnreliableSeek


def test_each_target_has_a_size_of_its_own(clips: Clips) -> None:
    sizes = [(28, 28), (192, 112), (56, 28), (300, 7), (1, 1)]
    with open_video(clips["plain"]) as reader:
        time = reader.times[40]
        frames = list(reader.frames([Target(time, *size) for size in sizes]))
    assert [frame.pixels.shape for frame in frames] == [(h, w, 3) for w, h in sizes]
    assert all(frame.pixels.dtype == np.uint8 and frame.pts == time for frame in frames)


def test_colours_follow_the_stated_matrix(clips: Clips) -> None:
    # The same colours stored as BT.601 and as BT.709 must come back as the same colours.
    def make(matrix: str) -> Frame:
        options = f"-vf scale=out_color_matrix={matrix} -colorspace {matrix} -c:v libx264 -qp 1"
        path = clips.made(
            f"{matrix}.mp4", lambda p: coded_video(p, f"{options} -pix_fmt yuv444p", frames=2)
        )
        with open_video(path) as reader:
            return next(reader.frames([Target(Fraction(0), 192, 112)]))

    old, new = make("smpte170m"), make("bt709")
    # Within rounding of 8-bit YUV; taking one matrix for the other is off by over 10.
    assert np.abs(old.pixels.astype(int) - new.pixels.astype(int)).max() <= 6
