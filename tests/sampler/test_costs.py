"""What frames cost to decode, against what decoders really need."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.media.reader import VideoReader, open_video
from seedvideo.media.types import Target
from seedvideo.sampler.request import DecodeCosts, decode_costs
from tests.fixtures import FRAMES, Clips


def costs_of(reader: VideoReader) -> DecodeCosts:
    return decode_costs(reader.packets.places, reader.keyframes)


def test_a_frame_costs_what_the_decoder_gives_on_the_way_to_it(clips: Clips) -> None:
    # Without B-frames no picture can be left out and none comes out late.
    with open_video(clips["no_b_frames"]) as reader:
        costs = costs_of(reader)
        for rank, time in enumerate(reader.times):
            list(reader.frames([Target(time, 32, 32)], strategy="seek"))
            assert reader.report.decoded_frames == costs.of([rank]) == rank % 20 + 1


NAMES = ["plain", "no_b_frames", "b_pyramid", "open_gop", "open_gop_ts", "hevc", "vp9", "av1"]


@pytest.mark.parametrize("name", [*NAMES, "one_gop", "vfr_mkv"])
def test_the_packets_of_a_span_are_enough(clips: Clips, name: str) -> None:
    with open_video(clips[name]) as reader:
        costs, keyframes = costs_of(reader), reader.keyframes
    assert costs.keyframes.tolist() == list(keyframes)
    whole = decoded(clips, name, 0, FRAMES * 2)
    times = sorted(whole)
    assert len(times) == FRAMES
    for rank in {0, 1, 13, 14, 15, 29, 30, 44, 61, FRAMES - 1, *keyframes}:
        first, after = costs.span(rank)
        pixels = decoded(clips, name, first, after).get(times[rank])
        assert pixels is not None
        assert (pixels == whole[times[rank]]).all()
        assert (after - first == 1) == (rank in keyframes)


@pytest.mark.parametrize("name", ["open_gop", "hevc"])
def test_a_leading_picture_needs_the_group_before(clips: Clips, name: str) -> None:
    with open_video(clips[name]) as reader:
        costs, keyframes = costs_of(reader), reader.keyframes
    places, found = costs.places, 0
    for before, key in pairwise(keyframes):
        for rank in range(before, key):
            if places[rank] > places[key]:
                found += 1
                assert costs.span(rank) == (places[before], places[rank] + 1)
    assert found, "the clip has no open group of pictures"


def decoded(clips: Clips, name: str, first: int, after: int) -> dict[int, npt.NDArray[np.uint8]]:
    """Pictures that some packets of a clip give to a fresh decoder, by their times."""
    with av.open(clips[name]) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        packets = [packet for packet in container.demux(stream) if packet.size]
        frames = [
            frame
            for packet in [*packets[first:after], None]
            for frame in stream.codec_context.decode(packet)
        ]
    return {
        frame.pts: np.asarray(frame.to_ndarray(), np.uint8)
        for frame in frames
        if frame.pts is not None
    }


@st.composite
def streams(draw: st.DrawFn) -> DecodeCosts:
    """Costs of up to sixty frames, some of them stored after later ones."""
    count = draw(st.integers(1, 60))
    keyframes = sorted(draw(st.sets(st.integers(0, count - 1), max_size=9)))
    places = list(range(count))
    for rank in range(0, count - 1, 3):
        if draw(st.booleans()):
            places[rank], places[rank + 1] = places[rank + 1], places[rank]
    return decode_costs(places, keyframes)


@given(streams(), st.data())
def test_frames_of_one_group_share_their_packets(costs: DecodeCosts, data: st.DataObject) -> None:
    some = data.draw(st.lists(st.integers(0, len(costs.places) - 1)))
    assert costs.of(some) == len({place for rank in some for place in range(*costs.span(rank))})


@given(streams(), st.data())
def test_a_window_costs_what_it_costs_in_the_whole(costs: DecodeCosts, data: st.DataObject) -> None:
    count = len(costs.places)
    first = data.draw(st.integers(0, count - 1))
    window = range(first, data.draw(st.integers(first + 1, count)))
    part = costs.within(window)
    assert part.video_frames == count
    assert part.of(range(len(window))) == costs.of(window)
    assert [rank + first for rank in part.keyframes] == [
        rank for rank in costs.keyframes if rank in window
    ]


def test_a_stream_that_marks_no_keyframe_is_decoded_from_its_start() -> None:
    costs = decode_costs(range(7, 27), [])
    assert [costs.of([rank]) for rank in (0, 1, 19)] == [1, 2, 20]


@pytest.mark.parametrize(("frames", "keyframes"), [(0, []), (3, [3]), (3, [-1])])
def test_keyframes_must_be_frames(frames: int, keyframes: list[int]) -> None:
    with pytest.raises(ValueError, match="no ranks"):
        decode_costs(range(frames), keyframes)


def test_costs_follow_times_not_positions(clips: Clips) -> None:
    # A rate that changes moves times, not packets.
    with open_video(clips["vfr"]) as reader, open_video(clips["plain"]) as even:
        assert reader.times[-1] > even.times[-1] + Fraction(3)
        assert costs_of(reader).of([45, 80]) == costs_of(even).of([45, 80])
