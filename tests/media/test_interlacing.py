"""Pictures of two fields, whichever way they are packed: each is shown once, at its own time."""

import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seedvideo
from seedvideo.media import Target, open_video
from seedvideo.media.interlacing import field_reader
from seedvideo.media.types import ThumbnailSpan, ThumbnailSpec
from tests.fixtures import coded_video
from tests.interlaced_streams import (
    Coded,
    group,
    jpeg,
    mpeg2_units,
    mux,
    read_shade,
    shade,
    write,
    write_avi,
)

CONTAINERS = ["ts", "mp4", "mkv", "avi"]
MIXED = [
    Coded(n, ("fields", "frame", "mbaff", "fields")[n % 4], is_key=n % 8 == 0) for n in range(24)
]
REORDERED = [*group(0, 7), *group(7, 7), *group(14, 9)]


def check(path: Path, frames: int, *, keyframes: list[int] | None = None) -> None:
    """Checks times and pixels of a file of pictures of 1/25 s, in one pass and by seeks."""
    with open_video(path, workers=1) as reader:
        times = reader.times
        assert len(times) == frames
        for number, time in enumerate(times):
            assert abs(time - Fraction(number, 25)) <= Fraction(1, 1000)
        assert abs(reader.info.duration - Fraction(frames, 25)) <= Fraction(2, 1000)
        assert not reader.info.is_vfr
        if keyframes is not None:
            assert list(reader.keyframes) == keyframes
        targets = [Target(time, 32, 64) for time in times]
        shades = [read_shade(frame.pixels[:1]) for frame in reader.frames(targets)]
        assert shades == [number % 40 for number in range(frames)]
        whole = list(reader.frames(targets, strategy="sequential"))
        assert not reader.report.warnings and not reader.report.damaged_packets
        draw = random.Random(path.name)
        for _ in range(3):
            frame_indices = sorted(draw.sample(range(frames), min(3, frames)))
            found = list(
                reader.frames(
                    [targets[frame_index] for frame_index in frame_indices], strategy="seek"
                )
            )
            for frame_index, frame in zip(frame_indices, found, strict=True):
                assert frame.pts == times[frame_index]
                assert (frame.pixels == whole[frame_index].pixels).all()
        assert {warning.code for warning in reader.info.warnings} == {"media.interlaced"}


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("together", [False, True])
def test_fields_of_h264(tmp_path: Path, suffix: str, *, together: bool) -> None:
    check(
        write(tmp_path / f"fields.{suffix}", REORDERED, together=together),
        23,
        keyframes=[0, 7, 14],
    )


@pytest.mark.parametrize(("suffix", "together"), [("ts", False), ("mkv", False), ("mp4", True)])
def test_fields_frames_and_pairs_of_macroblocks_in_one_stream(
    tmp_path: Path, suffix: str, *, together: bool
) -> None:
    check(write(tmp_path / f"mixed.{suffix}", MIXED, together=together), 24, keyframes=[0, 8, 16])


def test_a_second_field_that_needs_others(tmp_path: Path) -> None:
    # Bottom lines repeat those of the keyframe: what is decoded with one field missing differs.
    coded = [Coded(n, is_key=n % 6 == 0, repeats=n % 6 > 0) for n in range(24)]
    path = write(tmp_path / "needs.mp4", coded, together=False)
    check(path, 24, keyframes=[0, 6, 12, 18])
    with open_video(path, workers=1) as reader:
        (frame,) = reader.frames([Target(reader.times[9], 32, 64)])
        assert [read_shade(frame.pixels[row : row + 1]) for row in (0, 1)] == [9, 6]
        # What lies before its keyframe is not decoded.
        assert reader.report.decoded_frames == 4


def test_keyframes_alone_are_complete_pictures(tmp_path: Path) -> None:
    path = write(tmp_path / "keys.mkv", REORDERED, together=False)
    with open_video(path, workers=1) as reader:
        spans = [ThumbnailSpan(0, 23, "keys")]
        batches = list(reader.thumbnails(spans, ThumbnailSpec(32, 64)))
        assert [frame_index for each in batches for frame_index in each.frame_indices] == [0, 7, 14]
        luma = [planes[:64] for each in batches for planes in each.planes]
        assert [int(each.min()) for each in luma] == [int(each.max()) for each in luma]


@pytest.mark.parametrize("suffix", ["ts", "mp4"])
def test_one_picture_of_two_packets(tmp_path: Path, suffix: str) -> None:
    check(write(tmp_path / f"one.{suffix}", [Coded(0, is_key=True)], together=False), 1)


def test_every_policy_and_analysis_shows_only_true_times(tmp_path: Path) -> None:
    path = write(tmp_path / "plans.ts", [*group(0, 13), *group(13, 13)], together=False)
    for policy in ("adaptive", "uniform", "seed1.5", "keyframes"):
        plan = seedvideo.plan(path, policy=policy, budget_tokens=2000)
        assert {frame.pts for frame in plan.frames} <= {Fraction(n, 25) for n in range(26)}
    for analysis in ("packets", "full"):
        assert seedvideo.plan(path, analysis=analysis, budget_tokens=2000).frames


@pytest.mark.parametrize(
    ("suffix", "frames_at", "together"),
    [("mp4", (), False), ("mkv", (2, 3, 9), False), ("avi", (), False), ("ts", (4,), True)],
)
def test_fields_of_mpeg2(
    tmp_path: Path, suffix: str, frames_at: tuple[int, ...], *, together: bool
) -> None:
    stored = mpeg2_units(24, frames_at=frames_at)
    keys = [number % 6 == 0 for number in range(24)]
    path = tmp_path / f"fields.{suffix}"
    check(mux(path, stored, range(24), keys, together=together, raw=".m2v"), 24)


@pytest.mark.parametrize("together", [False, True])
def test_fields_of_motion_jpeg(tmp_path: Path, *, together: bool) -> None:
    fields = [jpeg(number, height_px=32) for number in range(12)]
    chunks = [2 * each for each in fields] if together else [x for x in fields for _ in (0, 1)]
    path = write_avi(tmp_path / "fields.avi", chunks, rate=25 if together else 50)
    with open_video(path, workers=1) as reader:
        assert list(reader.times) == [Fraction(n, 25) for n in range(12)]
        assert (reader.info.height_px, reader.info.duration) == (64, Fraction(12, 25))
        targets = [Target(time, 32, 64) for time in reader.times]
        for strategy in ("sequential", "seek"):
            found = list(reader.frames(targets, strategy=strategy))
            levels = [int(frame.pixels.mean()) for frame in found]
            assert levels == [shade(number) for number in range(12)]
            assert not reader.report.warnings
        assert [warning.code for warning in reader.info.warnings] == ["media.interlaced"]


def test_fields_of_hevc_are_pictures_of_their_own(tmp_path: Path) -> None:
    # FFmpeg gives each by itself, and so do players: half as high, twice as many.
    options = "log-level=none:interlace=tff:pools=1"
    path = coded_video(
        tmp_path / "fields.mkv",
        f"-c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params {options}",
        frames=12,
        size=(192, 256),
    )
    with open_video(path, workers=1) as reader:
        assert len(reader.times) == 12 and reader.info.height_px == 256
        assert (
            "of half the height"
            in {w.code: w.message for w in reader.info.warnings}["media.interlaced"]
        )


@pytest.mark.parametrize("matrices", ["flat", "jvt"])
def test_interlaced_frames_are_not_taken_for_fields(tmp_path: Path, matrices: str) -> None:
    # The parameter sets of both allow fields; those with matrices are long ones.
    path = coded_video(
        tmp_path / "mbaff.mkv",
        f"-c:v libx264 -pix_fmt yuv420p -bf 2 -x264-params tff=1:cqm={matrices}",
        frames=20,
    )
    with open_video(path, workers=1) as reader:
        assert len(reader.times) == 20


@given(data=st.binary(max_size=80), codec=st.sampled_from(["h264", "mpeg2video", "mjpeg"]))
def test_nonsense_holds_no_field_or_one(data: bytes, codec: str) -> None:
    heads = {
        "h264": b"\0\0\1\x67\x4d\0\x1e",
        "mpeg2video": b"\0\0\1\0\0\0\0\1\xb5\x8f",
        "mjpeg": b"\xff\xd8\xff\xc0\0",
    }
    reader = field_reader(codec, data, height_px=64)
    assert reader is not None
    field = reader.read(heads[codec] + data, is_key=True)
    assert field is None or reader.has_fields
