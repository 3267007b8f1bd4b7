"""Unneeded pictures are skipped, and the requested ones stay the same, bit for bit.

Reference frames come from decoding every packet of the file in order; of the package only the
scaler is used.
"""

import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from seedvideo.config import Limits
from seedvideo.media import Target, open_video
from seedvideo.media.resize import Orientation, Resizer
from tests.fixtures import FRAMES, Clips, Pixels, coded_video, ffmpeg
from tests.tiers import quick_among

SIZE = (96, 56)
X264 = "-c:v libx264 -pix_fmt yuv420p -preset veryfast"
X265 = "-c:v libx265 -pix_fmt yuv420p -preset ultrafast"
QUIET = "log-level=none:pools=1:rc-lookahead=20"
MADE = {
    # name: (file name, ffmpeg's options)
    "pyramid": ("pyramid.mp4", f"{X264} -g 40 -bf 7 -b_strategy 0 -refs 4 -sc_threshold 0"),
    "pyramid_ts": ("pyramid.ts", f"{X264} -g 40 -bf 7 -b_strategy 0 -refs 4 -sc_threshold 0"),
    "fields": ("fields.mp4", f"{X264} -g 30 -bf 2 -flags +ildct+ilme -x264-params tff=1"),
    "fields_ts": ("fields.ts", f"{X264} -g 30 -bf 2 -flags +ildct+ilme -x264-params tff=1"),
    "hevc_deep": (
        "deep.mp4",
        f"{X265} -x265-params {QUIET}:keyint=30:bframes=6:b-adapt=0:b-pyramid=1:open-gop=1",
    ),
    "hevc_ts": (
        "deep.ts",
        f"{X265} -x265-params {QUIET}:keyint=30:bframes=6:b-adapt=0:b-pyramid=1:open-gop=1",
    ),
    "hevc_layers": (
        "layers.mp4",
        f"{X265} -x265-params {QUIET}:keyint=30:bframes=7:b-adapt=0:b-pyramid=1:temporal-layers=3",
    ),
}
SAVES = ["pyramid", "pyramid_ts", "plain", "one_gop", "open_gop", "vfr", "mkv", "ts"]
SAVES += ["hevc", "hevc_deep", "hevc_ts", "hevc_layers"]
SAVES_NOTHING = ["no_b_frames", "fields", "fields_ts", "vp8", "vp9", "av1", "av1_mp4", "mpeg2_ts"]
OTHERS = ["b_pyramid", "open_gop_ts", "intra_refresh", "hevc_mkv", "vfr_mkv", "ts_late"]
OTHERS += ["cut", "cut_open_gop", "cut_hevc", "fragmented", "flv", "h264_avi"]


FEW = [*MADE, "open_gop", "hevc", "vp9", "mpeg2_ts", "cut_open_gop"]
"""Those of the quick tier."""


def clip(clips: Clips, name: str) -> Path:
    if name not in MADE:
        return clips[name]
    file_name, arguments = MADE[name]
    return clips.made(file_name, lambda path: coded_video(path, arguments))


def every_picture(path: Path) -> list[Pixels]:
    """Decodes all of a file in order, leaving nothing out."""
    resizer = Resizer(Orientation())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        shape = (SIZE[1], SIZE[0], 3)
        return [
            np.frombuffer(resizer.resize(frame, *SIZE), np.uint8).reshape(shape)
            for frame in container.decode(stream)
        ]


@pytest.mark.parametrize("name", quick_among([*SAVES, *SAVES_NOTHING, *OTHERS], FEW))
def test_any_choice_of_frames_is_as_in_a_full_decode(clips: Clips, name: str) -> None:
    path, draw = clip(clips, name), random.Random(name)
    whole = every_picture(path)
    with open_video(path) as reader:
        assert len(reader.times) == len(whole)
        for count in (1, 1, 2, 3, 5, 8, 13, 30):
            frame_indices = sorted(draw.choices(range(len(whole)), k=count))
            targets = [Target(reader.times[frame_index], *SIZE) for frame_index in frame_indices]
            for frame_index, frame in zip(frame_indices, reader.frames(targets), strict=True):
                assert frame.pts == reader.times[frame_index]
                assert np.array_equal(frame.pixels, whole[frame_index])


@pytest.mark.parametrize("name", quick_among([*SAVES, *SAVES_NOTHING], FEW))
def test_unneeded_frames_are_skipped_if_the_stream_marks_them(clips: Clips, name: str) -> None:
    with open_video(clip(clips, name)) as reader:
        targets = [Target(reader.times[frame_index], *SIZE) for frame_index in (3, FRAMES - 4)]
        list(reader.frames(targets, strategy="sequential"))
        if name in SAVES:
            assert reader.report.decoded_frames < 0.8 * FRAMES
        else:
            assert reader.report.decoded_frames >= FRAMES - 8
        assert not reader.report.warnings


def test_a_layer_of_hevc_is_needed_by_those_above(clips: Clips, tmp_path: Path) -> None:
    # A picture is marked as unreferenced within its layer only. The encoder marks the top layer;
    # here the middle one is marked as well, which is also true: only the top layer refers to it.
    source = clip(clips, "hevc_layers")
    data, changed = bytearray(source.read_bytes()), 0
    with av.open(str(source)) as container:
        for packet in container.demux(video=0):
            place, end = packet.pos or 0, (packet.pos or 0) + packet.size
            while place + 6 < end:
                kind, layer = data[place + 4] >> 1 & 0x3F, (data[place + 5] & 7) - 1
                if (kind, layer) == (3, 1):
                    data[place + 4] ^= 2
                    changed += 1
                place += 4 + int.from_bytes(data[place : place + 4], "big")
    assert changed > 10
    path = tmp_path / "layers.mp4"
    path.write_bytes(data)
    whole = every_picture(source)
    with open_video(path) as reader:
        for frame_index in range(2, FRAMES, 5):
            (frame,) = reader.frames([Target(reader.times[frame_index], *SIZE)])
            assert np.array_equal(frame.pixels, whole[frame_index])
        # What is known of the layers by now spares the second beginning.
        last = Target(reader.times[FRAMES - 5], *SIZE)
        list(reader.frames([last], strategy="sequential"))
        assert reader.report.decoded_frames < 0.7 * FRAMES


@pytest.mark.parametrize("name", ["pyramid", "one_gop", "hevc_deep"])
def test_in_a_damaged_file_nothing_is_left_out(clips: Clips, tmp_path: Path, name: str) -> None:
    # What mends a hole is what was decoded before it, so leaving something out would show.
    draw = random.Random(name)
    data = bytearray(clip(clips, name).read_bytes())
    at_its_head = name == "hevc_deep"  # FFmpeg does not report other damage there.
    with av.open(str(clip(clips, name))) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    middle = max(packets[30:60], key=lambda packet: packet.size)
    assert middle.pos is not None
    begin = middle.pos + (0 if at_its_head else middle.size // 2)
    data[begin : begin + 40] = bytes(draw.randrange(128, 256) for _ in range(40))
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with open_video(path) as reader:
        every = [Target(time, *SIZE) for time in reader.times]
        whole = list(reader.frames(every, strategy="sequential"))
        assert any(w.code == "media.damaged" for w in reader.report.warnings)
        for strategy in ("sequential", "auto"):
            for count in (1, 2, 5, 20):
                frame_indices = sorted(draw.sample(range(len(every)), count))
                chosen = [every[frame_index] for frame_index in frame_indices]
                for frame_index, frame in zip(
                    frame_indices, reader.frames(chosen, strategy=strategy), strict=True
                ):
                    if strategy == "sequential":
                        assert frame.pts == whole[frame_index].pts
                    if frame.pts == whole[frame_index].pts:
                        assert np.array_equal(frame.pixels, whole[frame_index].pixels)


def test_damage_is_counted_once(clips: Clips, tmp_path: Path) -> None:
    data = bytearray(clips["no_b_frames"].read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with open_video(path) as reader:
        every = [Target(time, *SIZE) for time in reader.times]
        list(reader.frames(every, strategy="sequential"))
        counted = reader.report.damaged_packets
        assert counted > 0
        list(reader.frames([every[2], every[-1]], strategy="sequential"))
        assert reader.report.damaged_packets == counted


def test_a_frame_between_those_that_are_left_out_has_its_own_time(clips: Clips) -> None:
    with open_video(clip(clips, "pyramid")) as reader:
        for frame_index in range(20, 40):
            (frame,) = reader.frames([Target(reader.times[frame_index] + Fraction(1, 90), *SIZE)])
            assert frame.pts == reader.times[frame_index]


def test_parameters_inside_a_picture_that_is_left_out_are_kept(
    clips: Clips, tmp_path: Path
) -> None:
    # The second half has other parameters under the same number, sent with its first picture only.
    one = coded_video(tmp_path / "one.ts", f"{X264} -g 60 -bf 3 -refs 1", frames=30)
    two = coded_video(tmp_path / "two.ts", f"{X264} -g 60 -bf 3 -refs 4 -x264-params cabac=0")
    path = tmp_path / "joined.ts"
    ffmpeg("-i", f"concat:{one}|{two}", "-c", "copy", path)
    whole = every_picture(path)
    with open_video(path) as reader:
        assert len(reader.times) == len(whole)
        for frame_index in (10, 35, 70, 110):
            (frame,) = reader.frames(
                [Target(reader.times[frame_index], *SIZE)], strategy="sequential"
            )
            assert np.array_equal(frame.pixels, whole[frame_index])


def test_memory_stays_bounded_where_a_time_is_far_off(tmp_path: Path) -> None:
    # An unreferenced picture has the last time of all, so it is skipped, and those stored behind it
    # must not wait for it. All of them together are four times the memory that there is.
    source, path = tmp_path / "right.mp4", tmp_path / "wrong.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=640x360:r=30:d=30"),
        *f"{X264} -preset ultrafast -g 9999 -bf 3 -x264-params b-adapt=0:scenecut=0".split(),
        source,
    )
    with av.open(str(source)) as right, av.open(str(path), "w") as wrong:
        stream = right.streams.video[0]
        to = wrong.add_stream_from_template(stream, opaque=True)
        for number, packet in enumerate(p for p in right.demux(stream) if p.size):
            if number == 11 and packet.pts is not None and packet.time_base is not None:
                assert not bytes(packet)[4] & 0x60  # nal_ref_idc: no other refers to it.
                packet.pts += int(1000 / packet.time_base)
            packet.stream = to
            wrong.mux(packet)
    with open_video(path, limits=Limits(worker_memory_bytes=60_000_000)) as reader:
        targets = [Target(reader.times[frame_index], *SIZE) for frame_index in (3, 400, 850)]
        assert [frame.pts for frame in reader.frames(targets)] == [t.pts for t in targets]
