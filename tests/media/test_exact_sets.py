"""Any set of frames, reached in any way, is bit for bit that of a plain decode of the whole file.

Codecs, containers and structures that `test_frame_selection` and `test_exact_pixels` do not have:
temporal layers, refresh without keyframes, fields in open groups, rates that change, lists of
edits, joined recordings, and files that lie about where decoding may begin.
"""

import random
import struct
from fractions import Fraction
from pathlib import Path
from typing import Final, get_args

import av
import pytest

from seedvideo.media.types import Strategy
from tests.fixtures import FRAMES, Clips, coded_video, ffmpeg
from tests.frame_reference import WORKERS, choices, is_frame, opened, plain_decode, targets_of
from tests.tiers import by_tier, quick_among

X264: Final = "-c:v libx264 -pix_fmt yuv420p -preset veryfast"
X265: Final = (
    "-c:v libx265 -pix_fmt yuv420p -preset ultrafast "
    "-x265-params log-level=none:pools=1:rc-lookahead=20"
)
VP9: Final = "-c:v libvpx-vp9 -deadline good -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 25"
AV1: Final = "-c:v libsvtav1 -preset 12"
TWO_RATES: Final = "-vf setpts='if(lt(N,30),N,N*4)/30/TB' -fps_mode vfr"
THREE_LAYERS: Final = (
    "ts_number_layers=3:ts_target_bitrate=100,200,300:ts_rate_decimator=4,2,1:"
    "ts_periodicity=4:ts_layer_id=0,2,1,2"
)
MADE: Final[dict[str, tuple[str, str]]] = {
    # name: (file name, ffmpeg's options)
    "refresh_ts": ("sets-refresh.ts", f"{X264} -g 25 -x264-params intra-refresh=1:bframes=2"),
    "refresh_mkv": ("sets-refresh.mkv", f"{X264} -g 25 -x264-params intra-refresh=1:bframes=2"),
    "strict": (
        "sets-strict.mp4",
        f"{X264} -x264-params keyint=40:bframes=7:b-adapt=0:b-pyramid=strict:ref=4:scenecut=0",
    ),
    "disc": (
        "sets-disc.ts",
        f"{X264} -b:v 1M -maxrate 1M -bufsize 1M -x264-params bluray-compat=1:keyint=24:"
        "open-gop=1:slices=4:bframes=3:b-adapt=0:level=4.1",
    ),
    "fields_open": (
        "sets-fields.ts",
        f"{X264} -g 20 -bf 3 -flags +ildct+ilme "
        "-x264-params tff=1:b-adapt=0:b-pyramid=normal:open-gop=1",
    ),
    "weighted": (
        "sets-weighted.mp4",
        f"-vf fade=in:0:30,fade=out:50:30 {X264} -g 60 -bf 5 "
        "-x264-params weightp=2:weightb=1:b-adapt=0:b-pyramid=normal",
    ),
    "ten_bits": (
        "sets-ten.mkv",
        "-c:v libx264 -pix_fmt yuv420p10le -preset veryfast -g 30 -bf 5",
    ),
    "hevc_open_layers": (
        "sets-layers.mp4",
        f"{X265}:keyint=20:bframes=7:b-adapt=0:b-pyramid=1:open-gop=1:temporal-layers=3",
    ),
    "hevc_layers_mkv": (
        "sets-layers.mkv",
        f"{X265}:keyint=20:bframes=7:b-adapt=0:b-pyramid=1:open-gop=1:temporal-layers=3",
    ),
    "hevc_radl": (
        "sets-radl.mp4",
        f"{X265}:keyint=20:bframes=6:b-adapt=0:radl=2:open-gop=0",
    ),
    "hevc_refresh": ("sets-refresh.mp4", f"{X265}:keyint=25:intra-refresh=1:bframes=3"),
    "vp9_mp4": ("sets-vp9.mp4", f"{VP9} -g 25"),
    "vp9_layers": (
        "sets-layers.webm",
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 15 -error-resilient 1 -b:v 300k "
        f"-ts-parameters {THREE_LAYERS}",
    ),
    "av1_open": (
        "sets-av1-open.mkv",
        f"{AV1} -g 32 -svtav1-params lp=1:irefresh-type=1:hierarchical-levels=4",
    ),
    "av1_low_delay": ("sets-av1.mp4", f"{AV1} -g 32 -svtav1-params lp=1:pred-struct=1"),
    "mpeg2_mkv": ("sets-mpeg2.mkv", "-c:v mpeg2video -q:v 3 -g 12 -bf 2"),
    "mpeg4_mp4": ("sets-mpeg4.mp4", "-c:v mpeg4 -q:v 3 -g 12 -bf 2"),
    "vfr_ts": ("sets-vfr.ts", f"{TWO_RATES} {X264} -g 30 -bf 3"),
    "vfr_hevc": ("sets-vfr-hevc.mp4", f"{TWO_RATES} {X265}:keyint=20:bframes=4:open-gop=1"),
    "vfr_vp9": ("sets-vfr.webm", f"{TWO_RATES} {VP9} -g 30"),
    "vfr_av1": ("sets-vfr-av1.mkv", f"{TWO_RATES} {AV1} -g 30 -svtav1-params lp=1"),
    "late_mkv": ("sets-late.mkv", f"{X264} -g 30 -bf 3 -output_ts_offset 7.77"),
    "oblong": ("sets-oblong.mkv", f"-vf setsar=16/11 {X264} -g 30 -bf 3"),
}
KNOWN: Final = (
    *("plain", "one_gop", "open_gop", "open_gop_ts", "cut_open_gop", "fragmented", "mkv", "ts"),
    *("hevc", "hevc_mkv", "cut_hevc", "vfr", "vp8", "vp9", "av1", "av1_mp4"),
)


def clip(clips: Clips, name: str) -> Path:
    if name not in MADE:
        return clips[name]
    file_name, arguments = MADE[name]
    return clips.made(file_name, lambda path: coded_video(path, arguments))


def check_sets(path: Path, workers: int | None, *, sets: int = 8, clock_jumps: bool = False) -> int:
    """Compares random sets of frames, by every way of reaching them; returns how many there are."""
    draw = random.Random(path.name)
    with opened(path, workers) as reader:
        times, pictures = plain_decode(path, reader.info)
        assert len(times) == len(reader.times)
        if not clock_jumps:
            assert times == list(reader.times)
        for frame_indices in choices(draw, len(times), sets=by_tier(sets, quick=3)):
            for strategy in get_args(Strategy):
                frames = list(reader.frames(targets_of(reader, frame_indices), strategy=strategy))
                assert len(frames) == len(frame_indices)
                for frame_index, frame in zip(frame_indices, frames, strict=True):
                    assert is_frame(frame, reader.times[frame_index], pictures[frame_index]), (
                        strategy,
                        frame_index,
                    )
                assert not any(w.code == "media.damaged" for w in reader.report.warnings)
        return len(times)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("name", quick_among([*MADE, *KNOWN], [*MADE][::2]))
def test_any_set_reached_in_any_way_is_as_in_a_plain_decode(
    clips: Clips, name: str, workers: int | None
) -> None:
    assert check_sets(clip(clips, name), workers) >= FRAMES // 2


@pytest.mark.parametrize("workers", WORKERS)
def test_a_turned_video(clips: Clips, tmp_path: Path, workers: int | None) -> None:
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", clips["open_gop"], "-c", "copy", path)
    check_sets(path, workers)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2"])
def test_recordings_of_one_camera_joined(tmp_path: Path, codec: str, workers: int | None) -> None:
    # The clock restarts each time, so every keyframe has the times and sizes of two others.
    options = {
        "h264": f"{X264} -g 25 -bf 3",
        "hevc": f"{X265}:keyint=25:bframes=3:open-gop=1",
        "mpeg2": "-c:v mpeg2video -q:v 3 -g 12 -bf 2",
    }
    part = coded_video(tmp_path / "part.ts", options[codec], frames=60)
    (tmp_path / "joined.ts").write_bytes(part.read_bytes() * 3)
    assert check_sets(tmp_path / "joined.ts", workers, clock_jumps=True) == 180


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_size_changes(tmp_path: Path, codec: str, workers: int | None) -> None:
    options = {"h264": f"{X264} -g 25 -bf 3", "hevc": f"{X265}:keyint=25:bframes=3:open-gop=1"}
    small = coded_video(tmp_path / "small.ts", options[codec], frames=60)
    large = coded_video(tmp_path / "large.ts", options[codec], frames=60, size=(256, 160))
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    assert check_sets(tmp_path / "both.ts", workers, clock_jumps=True) == 120


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(
    ("name", "frames", "edits"),
    [
        ("a part is left out", 36, [(500, 10), (700, 50)]),
        ("later comes first", 36, [(500, 50), (700, 10)]),
        ("three times the same", 54, [(600, 5), (600, 5), (600, 5)]),
        ("the end alone", 45, [(1500, 33)]),
    ],
)
def test_lists_of_edits(
    tmp_path: Path, name: str, frames: int, edits: list[tuple[int, int]], workers: int | None
) -> None:
    path = coded_video(tmp_path / "edited.mp4", f"{X264} -g 15 -bf 3 -video_track_timescale 15360")
    _edit(path, edits)
    assert check_sets(path, workers) == frames, name


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(
    "codec",
    [
        f"{X264} -bf 3",
        f"{X265}:bframes=3",
        f"{AV1} -svtav1-params lp=1",
        "-c:v mpeg4 -q:v 3 -bf 0",
        "-c:v mpeg4 -q:v 3 -bf 2",
    ],
)
def test_a_file_that_calls_every_picture_a_keyframe(
    tmp_path: Path, codec: str, workers: int | None
) -> None:
    # Without the box that lists the keyframes, decoding may begin anywhere (ISO/IEC 14496-12,
    # section 8.6.2); some writers leave it out of files for which that is not so.
    path = coded_video(tmp_path / "every.mp4", f"{codec} -g 25")
    data = path.read_bytes()
    assert data.count(b"stss") == 1
    path.write_bytes(data.replace(b"stss", b"free"))
    check_sets(path, workers, sets=12)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("seconds", [2, 1000])
def test_one_time_that_is_wrong(
    clips: Clips, tmp_path: Path, seconds: int, workers: int | None
) -> None:
    path = tmp_path / "wrong.mkv"
    with av.open(str(clips["plain"])) as right, av.open(str(path), "w") as wrong:
        stream = right.streams.video[0]
        to = wrong.add_stream_from_template(stream, opaque=True)
        for number, packet in enumerate(p for p in right.demux(stream) if p.size):
            if number == 7 and packet.pts is not None and packet.time_base is not None:
                packet.pts += int((seconds + Fraction(1, 100)) / packet.time_base)
            packet.stream = to
            wrong.mux(packet)
    draw = random.Random(seconds)
    with opened(path, workers) as reader:
        times, pictures = plain_decode(path, reader.info)
        whole = dict(zip(times, pictures, strict=True))
        assert sorted(whole) == list(reader.times)
        for frame_indices in choices(draw, len(times), sets=8):
            targets = targets_of(reader, frame_indices)
            for target, frame in zip(targets, reader.frames(targets), strict=True):
                assert is_frame(frame, target.pts, whole[target.pts])


def _edit(path: Path, edits: list[tuple[int, int]]) -> None:
    """Gives an MP4 file another list of edits: milliseconds, and the frame where each begins.

    The movie's clock is FFmpeg's: 1000 ticks a second; the track's has 512 ticks a frame, and
    reordering delays the first picture by two.
    """
    data = bytearray(path.read_bytes())
    begin = data.index(b"elst") - 4
    end = begin + int.from_bytes(data[begin : begin + 4], "big")
    rows = [struct.pack(">IiI", length, 512 * (2 + frame), 1 << 16) for length, frame in edits]
    body = b"elst" + bytes(4) + struct.pack(">I", len(edits)) + b"".join(rows)
    box = struct.pack(">I", 4 + len(body)) + body
    assert data.index(b"mdat") < data.index(b"moov") < begin
    for outer in (b"moov", b"trak", b"edts"):
        place = data.index(outer) - 4
        length = int.from_bytes(data[place : place + 4], "big") + len(box) - (end - begin)
        data[place : place + 4] = length.to_bytes(4, "big")
    data[begin:end] = box
    path.write_bytes(data)
