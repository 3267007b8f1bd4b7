"""Small frames of spans: which come, what they show, and how a pass ends."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from seedvideo.errors import ConfigError, DecodeError
from seedvideo.media.reader import VideoReader, open_video
from seedvideo.media.types import Target, ThumbnailBatch, ThumbnailSpan, ThumbnailSpec
from seedvideo.media.worker import thumbnails_per_message
from tests.fixtures import FRAMES, HEIGHT_PX, WIDTH_PX, X264_CBR, Clips, coded_video

SIZE = ThumbnailSpec(96, 56)
NAMES = ["plain", "open_gop", "hevc", "vp9", "av1", "ts", "vfr", "cut", "mpeg4_b_avi", "b_pyramid"]


def decode_thumbnails(
    reader: VideoReader, *spans: ThumbnailSpan, size: ThumbnailSpec = SIZE
) -> list[int]:
    return [
        frame_index
        for batch in reader.thumbnails(spans, size)
        for frame_index in batch.frame_indices
    ]


def luma_of(batch: ThumbnailBatch, i: int) -> np.ndarray:
    return batch.planes[i, : batch.planes.shape[1] * 2 // 3].astype(float)


@pytest.mark.parametrize("name", NAMES)
def test_all_gives_every_frame_and_what_it_shows(clips: Clips, name: str) -> None:
    with open_video(clips[name]) as reader:
        count = len(reader.times)
        seen: list[int] = []
        for batch in reader.thumbnails([ThumbnailSpan(0, count, "all")], SIZE):
            assert len(batch.frame_indices) <= thumbnails_per_message(SIZE.width_px, SIZE.height_px)
            seen += batch.frame_indices
            first = luma_of(batch, 0)
        assert seen == list(range(count))
        frame_index = seen[-len(batch.frame_indices)]
        frame = next(reader.frames([Target(reader.times[frame_index], 96, 56)]))
        gray = frame.pixels.astype(float) @ [0.299, 0.587, 0.114]
        assert np.corrcoef(first.ravel(), gray.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_given_alone(clips: Clips, name: str) -> None:
    with open_video(clips[name]) as reader:
        frame_indices = decode_thumbnails(reader, ThumbnailSpan(0, len(reader.times), "keys"))
        if name != "mpeg4_b_avi":  # Its frames are known by counting them all.
            assert frame_indices == list(reader.keyframes)
        assert set(reader.keyframes) <= set(frame_indices)


def test_references_are_fewer_and_keep_their_distance(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader:
        span = ThumbnailSpan(0, FRAMES, "references")
        every = decode_thumbnails(reader, span)
        thin = decode_thumbnails(reader, span, size=ThumbnailSpec(96, 56, Fraction(1, 4)))
        times = [
            reader.times[frame_index] for frame_index in thin if frame_index not in reader.keyframes
        ]
    assert FRAMES / 4 < len(every) < 0.8 * FRAMES
    assert set(thin) <= set(every)
    assert all(b - a >= Fraction(1, 4) for a, b in pairwise(times))


def test_spans_give_what_lies_in_them_and_on_the_way(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader:
        frame_indices = decode_thumbnails(
            reader, ThumbnailSpan(40, 44, "all"), ThumbnailSpan(75, 76, "all")
        )
    assert set(frame_indices) >= {40, 41, 42, 43, 75}
    assert frame_indices == sorted(set(frame_indices))
    assert min(frame_indices) == 30  # Its keyframe.
    assert not set(frame_indices) & {50, 55}


def test_a_pass_left_early_makes_room_for_the_next(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader:
        span = ThumbnailSpan(0, FRAMES, "all")
        for batch in reader.thumbnails([span], SIZE):
            assert batch.frame_indices[0] == 0
            break
        started = reader.thumbnails([span], SIZE)
        next(started)
        assert len(decode_thumbnails(reader, span)) == FRAMES
        with pytest.raises(DecodeError, match="new pass"):
            next(started)
        assert len(list(reader.frames([Target(Fraction(1), 8, 8)]))) == 1


def test_wrong_spans_and_sizes_are_refused(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader:
        for spans in (
            [ThumbnailSpan(10, 20, "all"), ThumbnailSpan(15, 30, "all")],
            [ThumbnailSpan(0, FRAMES + 1, "all")],
        ):
            with pytest.raises(ConfigError, match="spans"):
                reader.thumbnails(spans, SIZE)
        assert decode_thumbnails(reader) == []
    with pytest.raises(ValueError, match="even"):
        ThumbnailSpec(95, 56)
    with pytest.raises(ValueError, match="empty"):
        ThumbnailSpan(5, 5, "all")


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_padding_is_no_payload(tmp_path_factory: pytest.TempPathFactory, suffix: str) -> None:
    path = coded_video(tmp_path_factory.mktemp("cbr") / f"cbr.{suffix}", X264_CBR)
    with open_video(path) as reader:
        sizes = np.asarray(reader.packets.sizes_bytes)
        assert len(sizes) == FRAMES
        assert sizes.sum() < 0.7 * path.stat().st_size


def test_packet_sizes_are_in_order_of_time(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader:
        packets = reader.packets
        assert sorted(packets.positions) == list(range(FRAMES))
        assert list(packets.positions) != list(range(FRAMES))  # It has B-frames.
        key, other = (
            np.mean([packets.sizes_bytes[frame_index] for frame_index in frame_indices])
            for frame_indices in (reader.keyframes, set(range(FRAMES)) - set(reader.keyframes))
        )
        assert key > 2 * other
    assert key < WIDTH_PX * HEIGHT_PX
