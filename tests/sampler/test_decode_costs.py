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
from seedvideo.sampler.request import DecodeCosts, compute_decode_costs
from tests.fixtures import FRAMES, Clips


def costs_of(reader: VideoReader) -> DecodeCosts:
    return compute_decode_costs(reader.packets.positions, reader.keyframes)


def test_a_frame_costs_what_the_decoder_gives_on_the_way_to_it(clips: Clips) -> None:
    # Without B-frames no picture can be left out and none comes out late.
    with open_video(clips["no_b_frames"]) as reader:
        costs = costs_of(reader)
        for frame_index, time in enumerate(reader.times):
            list(reader.frames([Target(time, 32, 32)], strategy="seek"))
            assert reader.report.decoded_frames == costs.cost([frame_index]) == frame_index % 20 + 1


NAMES = ["plain", "no_b_frames", "b_pyramid", "open_gop", "open_gop_ts", "hevc", "vp9", "av1"]


@pytest.mark.parametrize("name", [*NAMES, "one_gop", "vfr_mkv"])
def test_the_packets_of_a_span_are_enough(clips: Clips, name: str) -> None:
    with open_video(clips[name]) as reader:
        costs, keyframes = costs_of(reader), reader.keyframes
    assert costs.keyframes.tolist() == list(keyframes)
    whole = decoded(clips, name, 0, FRAMES * 2)
    times = sorted(whole)
    assert len(times) == FRAMES
    for frame_index in {0, 1, 13, 14, 15, 29, 30, 44, 61, FRAMES - 1, *keyframes}:
        first, after = costs.span(frame_index)
        pixels = decoded(clips, name, first, after).get(times[frame_index])
        assert pixels is not None
        assert (pixels == whole[times[frame_index]]).all()
        assert (after - first == 1) == (frame_index in keyframes)


@pytest.mark.parametrize("name", ["open_gop", "hevc"])
def test_a_leading_picture_needs_the_group_before(clips: Clips, name: str) -> None:
    with open_video(clips[name]) as reader:
        costs, keyframes = costs_of(reader), reader.keyframes
    packets, found = costs.packets, 0
    for before, key in pairwise(keyframes):
        for frame_index in range(before, key):
            if packets[frame_index] > packets[key]:
                found += 1
                assert costs.span(frame_index) == (packets[before], packets[frame_index] + 1)
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
    packets = list(range(count))
    for frame_index in range(0, count - 1, 3):
        if draw(st.booleans()):
            packets[frame_index], packets[frame_index + 1] = (
                packets[frame_index + 1],
                packets[frame_index],
            )
    return compute_decode_costs(packets, keyframes)


@given(streams(), st.data())
def test_frames_of_one_group_share_their_packets(costs: DecodeCosts, data: st.DataObject) -> None:
    some = data.draw(st.lists(st.integers(0, len(costs.packets) - 1)))
    assert costs.cost(some) == len(
        {packet for frame_index in some for packet in range(*costs.span(frame_index))}
    )


@given(streams(), st.data())
def test_a_window_costs_what_it_costs_in_the_complete_video(
    costs: DecodeCosts, data: st.DataObject
) -> None:
    count = len(costs.packets)
    first = data.draw(st.integers(0, count - 1))
    window = range(first, data.draw(st.integers(first + 1, count)))
    part = costs.restrict(window)
    assert part.video_frames == count
    assert part.cost(range(len(window))) == costs.cost(window)
    assert [frame_index + first for frame_index in part.keyframes] == [
        frame_index for frame_index in costs.keyframes if frame_index in window
    ]


def test_a_stream_that_marks_no_keyframe_is_decoded_from_its_start() -> None:
    costs = compute_decode_costs(range(7, 27), [])
    assert [costs.cost([frame_index]) for frame_index in (0, 1, 19)] == [1, 2, 20]


@pytest.mark.parametrize(("frames", "keyframes"), [(0, []), (3, [3]), (3, [-1])])
def test_keyframes_must_be_frames(frames: int, keyframes: list[int]) -> None:
    with pytest.raises(ValueError, match="expected indices"):
        compute_decode_costs(range(frames), keyframes)


def test_costs_follow_times_not_positions(clips: Clips) -> None:
    # A rate that changes moves times, not packets.
    with open_video(clips["vfr"]) as reader, open_video(clips["plain"]) as even:
        assert reader.times[-1] > even.times[-1] + Fraction(3)
        assert costs_of(reader).cost([45, 80]) == costs_of(even).cost([45, 80])
