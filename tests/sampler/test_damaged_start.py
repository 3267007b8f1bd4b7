"""Videos whose only keyframe is damaged: a plan of what decodes with a warning, or a code."""

import shutil
from pathlib import Path

import av
import pytest

from seedvideo.config import AnalysisMethod
from seedvideo.errors import MediaError
from seedvideo.media import open_video
from seedvideo.media.types import ThumbnailSpan, ThumbnailSpec
from seedvideo.sampler.analysis import analyze
from seedvideo.sampler.analysis_cache import load_or_analyze
from tests.fixtures import Clips, coded_video
from tests.sampler.plans import make_plan

_X264 = "-c:v libx264 -preset veryfast -g 600 -bf 2 -pix_fmt yuv420p"
_X265 = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params"
_VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -g 600"
KINDS = {
    # name: (file, ffmpeg's options, whether frames behind the keyframe decode without it)
    "hevc": ("h.mp4", f"{_X265} log-level=none:keyint=600:pools=1", False),
    "mpeg4": ("m.mp4", "-c:v mpeg4 -q:v 2 -bf 2 -g 600", True),
    "h264": ("h.mkv", _X264, None),
    "vp9": ("w.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 600", None),
    "av1": ("a.mp4", "-c:v libsvtav1 -preset 12 -g 600 -svtav1-params lp=1", None),
    "mpeg2": ("m.mkv", "-c:v mpeg2video -q:v 3 -g 600 -bf 2", None),
}


def damaged(clips: Clips, name: str) -> Path:
    """Return a clip of one keyframe, whose first 40 bytes are zeros."""
    file, options, _ = KINDS[name]
    path = clips.made(f"start-{file}", lambda path: coded_video(path, options, frames=40))
    with av.open(str(path)) as container:
        first = bytes(next(iter(container.demux(video=0))))
    data = path.read_bytes()
    at = data.index(first[:60])
    broken = path.with_name(f"broken-{path.name}")
    broken.write_bytes(data[:at] + bytes(40) + data[at + 40 :])
    return broken


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_only_keyframe(clips: Clips, name: str) -> None:
    with open_video(damaged(clips, name)) as reader:
        methods: tuple[AnalysisMethod, ...] = ("fast", "full", "packets")
        outcomes: set[str] = set()
        for method in methods:
            try:
                found = analyze(reader, method=method)
            except MediaError as error:
                outcomes.add(error.code)
                continue
            plan = make_plan(
                reader.info,
                reader.times,
                reader.keyframes,
                policy="adaptive",
                budget_tokens=2000,
                analysis=found,
                source=name,
            )
            codes = [warning.code for warning in plan.media.warnings]
            assert len(codes) == len(set(codes))
            if method == "packets":
                assert found.warnings == ()
                continue
            assert "media.damaged" in codes or "media.late_start" in codes
            outcomes.add("a plan")
            frames = list(reader.frames(plan.targets()))
            assert len(frames) == len(plan.frames)
        # Both analyses agree on whether anything can be decoded.
        assert len(outcomes) == 1
        assert outcomes <= {"a plan", "media.corrupt", "media.no_frames"}
        decodes = KINDS[name][2]
        if decodes is not None:
            assert outcomes == ({"a plan"} if decodes else {"media.corrupt"})


def test_a_file_without_keyframes_is_analysed(clips: Clips) -> None:
    # The container calls the keyframe a frame that needs others, which is wrong: it decodes.
    path = clips.made("start-k.webm", lambda path: coded_video(path, _VP8, frames=40))
    with av.open(str(path)) as container:
        first = bytes(next(iter(container.demux(video=0))))
    data = bytearray(path.read_bytes())
    flags = data.index(first[:60]) - 1  # A block's header ends with its flags; 0x80 is a keyframe.
    assert data[flags] & 0x80
    data[flags] &= 0x7F
    broken = path.with_name("unmarked.webm")
    broken.write_bytes(bytes(data))
    with open_video(broken) as reader:
        assert reader.keyframes == (0,) or reader.keyframes == ()
        for method in ("fast", "full"):
            found = analyze(reader, method=method)
            assert len(found.signals) > 0 and found.demands[0].detail_tokens > 0


def test_one_damaged_frame_alone(clips: Clips) -> None:
    path = clips.made("start-one.mp4", lambda path: coded_video(path, KINDS["hevc"][1], frames=1))
    data = path.read_bytes()
    at = data.index(b"mdat") + 4
    broken = path.with_name("broken-one.mp4")
    broken.write_bytes(data[:at] + bytes(200) + data[at + 200 :])
    with open_video(broken) as reader:
        assert list(reader.thumbnails([ThumbnailSpan(0, 1, "all")], ThumbnailSpec(16, 16))) == []
        with pytest.raises(MediaError) as caught:
            analyze(reader)
    assert caught.value.code in ("media.corrupt", "media.no_frames")
    assert "broken-one.mp4" in caught.value.message


def test_a_kept_analysis_keeps_its_warnings(clips: Clips, tmp_path: Path) -> None:
    path = shutil.copy(damaged(clips, "mpeg4"), tmp_path / "clip.mp4")
    with open_video(path) as reader:
        first, second = (load_or_analyze(reader, method="fast", folder=tmp_path) for _ in range(2))
    assert first.warnings == second.warnings
    assert [warning.code for warning in first.warnings] == ["media.damaged"]
