"""Files of clips, read by the real decoder: the frames and times of the source."""

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Final

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

import seedvideo
from seedvideo.clips.cutting import copy_clips, encode_clip, plan_copies
from seedvideo.clips.keyframe_ranges import copyable_frames
from seedvideo.clips.windows import ClipWindow, SplitOptions, VideoSplit, split_shots
from seedvideo.errors import MediaError
from seedvideo.sampler.transitions import ShotChange
from seedvideo.utils.timecode import Span

FPS: Final = 25
OPTIONS: Final = SplitOptions(min_s=0.5, max_s=1.2, crop_s=0)

CODINGS: Final = {
    "h264.mp4": ("libx264", {"g": "20", "bf": "2"}),
    "h264.mkv": ("libx264", {"g": "20", "bf": "2"}),
    "h264.ts": ("libx264", {"g": "20", "bf": "2"}),
    "hevc.mp4": ("libx265", {"x265-params": "keyint=20:bframes=2:open-gop=0:log-level=none"}),
    "vp9.webm": ("libvpx-vp9", {"g": "20", "cpu-used": "8", "deadline": "realtime"}),
    "mpeg4.avi": ("mpeg4", {"g": "20"}),
}


def make(path: Path, codec: str, options: dict[str, str], *, frames: int = 90) -> Path:
    """Write a clip in which a bar moves and the brightness rises; every 7th time is skipped."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.options = options
        irregular = path.suffix in (".mp4", ".mkv")
        for number in range(frames):
            picture = np.full((96, 128, 3), 40 + number, np.uint8)
            picture[20:40, number : number + 20] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if irregular:
                frame.pts = number + number // 7
                frame.time_base = Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def halves(video: seedvideo.Video) -> VideoSplit:
    """Split a clip whose second shot begins at its 26th frame."""
    end = max(video.info.duration, video.times[-1])
    cut = video.times[25]
    return split_shots([ShotChange(cut, cut, cut)], video.times, OPTIONS, duration=end)


def files(parts: Iterator[tuple[bytearray, bool]]) -> list[bytes]:
    """Join the parts of each file."""
    found = [b""]
    for data, is_last in parts:
        found[-1] += data
        if is_last:
            found.append(b"")
    assert found.pop() == b""
    return found


def relative(video: seedvideo.Video, window: ClipWindow) -> list[Fraction]:
    return [video.times[i] - window.span.start for i in window.frames]


@pytest.mark.parametrize("name", CODINGS)
def test_copies_have_the_frames_and_times_of_the_source(tmp_path: Path, name: str) -> None:
    with seedvideo.open(make(tmp_path / name, *CODINGS[name])) as video:
        found = plan_copies(video, halves(video), OPTIONS)
        windows = found.split.windows
        assert windows
        copied = files(copy_clips(video, windows))
        assert len(copied) == len(windows)
        for window, data in zip(windows, copied, strict=True):
            assert window.frames.start in video.keyframes
            assert window.shot_span.start <= window.span.start
            assert window.span.end <= window.shot_span.end
            with seedvideo.open(data) as clip:
                assert list(clip.times) == relative(video, window)
                assert clip.info.start == 0
                assert clip.info.duration == window.span.duration
                ours = clip.frames_at(clip.times)
            theirs = video.frames_at([video.times[i] for i in window.frames])
            assert np.array_equal(ours, theirs)


def test_readers_that_ignore_edit_lists_see_the_same_frames(tmp_path: Path) -> None:
    with seedvideo.open(make(tmp_path / "a.mp4", *CODINGS["h264.mp4"])) as video:
        windows = plan_copies(video, halves(video), OPTIONS).split.windows
        for data in files(copy_clips(video, windows)):
            seen = []
            for options in ({}, {"ignore_editlist": "1"}):
                with av.open(BytesIO(data), "r", options=options) as container:
                    seen.append([frame.pts for frame in container.decode(video=0)])
            assert seen[0] == seen[1]
            assert seen[0][0] == 0


def test_a_pass_reads_on_after_copies(tmp_path: Path) -> None:
    with seedvideo.open(make(tmp_path / "a.mkv", *CODINGS["h264.mkv"]), workers=1) as video:
        every = video.frames_at(video.times)
        first = video.frames_at(video.times[:10])
        windows = plan_copies(video, halves(video), OPTIONS).split.windows
        files(copy_clips(video, windows))
        later = video.frames_at(video.times[10:])
        assert np.array_equal(np.concatenate([first, later]), every)
        assert not video.reader.report.warnings


def test_a_turned_video_stays_turned(tmp_path: Path) -> None:
    path = make(tmp_path / "plain.mp4", *CODINGS["h264.mp4"])
    turned = tmp_path / "turned.mp4"
    with av.open(str(path)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_matrix((0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    with seedvideo.open(turned) as video:
        assert video.info.rotation_deg == 90
        windows = plan_copies(video, halves(video), OPTIONS).split.windows
        data = files(copy_clips(video, windows))[0]
        with seedvideo.open(data) as clip:
            assert clip.info.rotation_deg == 90
            assert (clip.info.width_px, clip.info.height_px) == (96, 128)


def test_windows_of_one_shot_do_not_share_frames(tmp_path: Path) -> None:
    with seedvideo.open(make(tmp_path / "a.mp4", *CODINGS["h264.mp4"])) as video:
        found = plan_copies(video, halves(video), OPTIONS)
        spans = [window.span for window in found.split.windows]
        assert all(a.end <= b.start for a, b in pairwise(spans))
        assert (
            len(found.split.windows) + found.split.short + found.without_keyframe
            == len(halves(video).windows) + halves(video).short
        )


@pytest.mark.parametrize(
    ("name", "coding", "reason"),
    [
        (
            "open.mp4",
            ("libx264", {"g": "20", "bf": "2", "x264-params": "open-gop=1:scenecut=0"}),
            "open GOP",
        ),
        ("vp8.webm", ("libvpx", {"g": "20", "deadline": "realtime"}), "vp8"),
        ("raw.h264", ("libx264", {"g": "20", "bf": "0"}), "timestamps"),
    ],
)
def test_what_cannot_be_copied_is_refused(
    tmp_path: Path, name: str, coding: tuple[str, dict[str, str]], reason: str
) -> None:
    path = make(tmp_path / name, *coding)
    rate = Fraction(FPS) if name == "raw.h264" else None
    with seedvideo.open(path, source_fps=rate) as video:
        with pytest.raises(MediaError, match=reason) as raised:
            list(copy_clips(video, plan_copies(video, halves(video), OPTIONS).split.windows))
        assert raised.value.code == "media.not_copyable"
        assert "--cut exact" in raised.value.hint


def test_a_window_without_a_keyframe_has_no_copy() -> None:
    window = ClipWindow(
        Span(Fraction(3), Fraction(5)), 1, 1, Span(Fraction(3), Fraction(9)), range(3, 5)
    )
    found = copyable_frames(
        window,
        [0, 6],
        list(range(9)),
        not_before=0,
        shot_frames=range(3, 9),
        display_name="a.mp4",
    )
    assert found is None


def test_encoded_clips_have_the_times_of_the_source(tmp_path: Path) -> None:
    with seedvideo.open(make(tmp_path / "a.mkv", *CODINGS["h264.mkv"])) as video:
        for number, window in enumerate(halves(video).windows):
            path = tmp_path / f"{number}.mp4"
            with path.open("wb") as file:
                encode_clip(video, window, file)
            with seedvideo.open(path) as clip:
                assert list(clip.times) == relative(video, window)
                assert clip.info.duration == window.span.duration
                assert (clip.info.width_px, clip.info.height_px) == (128, 96)
                ours = clip.frames_at(clip.times).astype(int)
            theirs = video.frames_at([video.times[i] for i in window.frames]).astype(int)
            assert float(np.abs(ours - theirs).mean()) < 2.0
            assert float(np.abs(ours - theirs).max()) < 60


def test_an_encoded_clip_is_the_same_in_every_run(tmp_path: Path) -> None:
    with seedvideo.open(make(tmp_path / "a.mp4", *CODINGS["h264.mp4"])) as video:
        window = halves(video).windows[0]
        written = []
        for name in ("one.mp4", "two.mp4"):
            with (tmp_path / name).open("wb") as file:
                encode_clip(video, window, file)
            written.append((tmp_path / name).read_bytes())
        assert written[0] == written[1]


def test_odd_sides_become_even(tmp_path: Path) -> None:
    path = tmp_path / "odd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 33, 31, "yuv444p"
        for number in range(30):
            picture = np.full((31, 33, 3), 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    with seedvideo.open(path) as video:
        window = halves(video).windows[0]
        with (tmp_path / "clip.mp4").open("wb") as file:
            encode_clip(video, window, file)
    with seedvideo.open(tmp_path / "clip.mp4") as clip:
        assert (clip.info.width_px, clip.info.height_px) == (32, 30)
