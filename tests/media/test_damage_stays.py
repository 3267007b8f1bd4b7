"""Damage in one group of pictures loses that group only; all others stay the same, bit for bit.

The result of damaged data is not specified: a decoder may drop or conceal pictures, often without a
report. Checked are the frames around the damage, and that every frame has its own time.
"""

import random
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Final, get_args

import av
import numpy as np
import pytest

from seedvideo.media import VideoReader
from seedvideo.media.types import Strategy
from tests.fixtures import Clips, Pixels, coded_video
from tests.frame_reference import WORKERS, choices, is_frame, opened, plain_decode, targets_of
from tests.tiers import quick_first

MADE: Final[dict[str, tuple[str, str]]] = {
    # name: (file name, ffmpeg's options)
    "h264": (
        "damage-h264.mp4",
        "-c:v libx264 -pix_fmt yuv420p -preset veryfast -crf 12 -g 15 -bf 3 "
        "-x264-params scenecut=0:b-adapt=0:b-pyramid=normal",
    ),
    "h264_open": (
        "damage-h264-open.mp4",
        "-c:v libx264 -pix_fmt yuv420p -preset veryfast -crf 12 -g 15 -bf 3 "
        "-x264-params scenecut=0:b-adapt=0:open-gop=1",
    ),
    "hevc": (
        "damage-hevc.mp4",
        "-c:v libx265 -pix_fmt yuv420p -preset ultrafast -crf 12 -x265-params "
        "log-level=none:pools=1:keyint=15:min-keyint=15:scenecut=0:bframes=3:b-adapt=0:open-gop=0",
    ),
    "hevc_open": (
        "damage-hevc-open.mp4",
        "-c:v libx265 -pix_fmt yuv420p -preset ultrafast -crf 12 -x265-params "
        "log-level=none:pools=1:keyint=15:min-keyint=15:scenecut=0:bframes=3:b-adapt=0:open-gop=1",
    ),
}
DAMAGED: Final = 2
"""The group that is damaged, counted from zero."""


@dataclass(frozen=True)
class Sound:
    """An intact file: its packets in order, and its frames."""

    path: Path
    places: list[tuple[int, int]]
    """Where each packet lies: its first byte, and how many."""
    keys: list[int]
    times: list[Fraction]
    pictures: list[Pixels]
    hurt: frozenset[int]
    """Indices of the frames that may refer to the group `DAMAGED`."""

    def packets_of_group(self) -> range:
        return range(self.keys[DAMAGED], self.keys[DAMAGED + 1])


@cache
def sound(clips: Clips, name: str) -> Sound:
    file_name, arguments = MADE[name]
    path = clips.made(file_name, lambda made: coded_video(made, arguments))
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
    assert len(keys) == 6
    shown = sorted(p.pts for p in packets if p.pts is not None)
    next_key = packets[keys[DAMAGED + 1]].pts
    assert next_key is not None
    leaning = [
        p.pts
        for i, p in enumerate(packets)
        # Pictures of the group; and those stored behind the next keyframe but shown before it.
        if p.pts is not None and i >= keys[DAMAGED] and p.pts < next_key
    ]
    with opened(path, None) as reader:
        times, pictures = plain_decode(path, reader.info)
        assert times == list(reader.times)
    return Sound(
        path,
        [(packet.pos or 0, packet.size) for packet in packets],
        keys,
        times,
        pictures,
        frozenset(map(shown.index, leaning)),
    )


def check_damaged(whole: Sound, reader: VideoReader, draw: random.Random, *, sets: int) -> int:
    """Fetches random sets from a damaged copy; returns how many frames were other than they were.

    Each set holds a frame behind the damage, so that something is left to be delivered.
    """
    assert list(reader.times) == whole.times
    last, others = len(whole.times) - 1, 0
    near = range(min(whole.hurt) - 5, max(whole.hurt) + 6)
    crowds = [sorted(draw.choices(near, k=6)) for _ in range(sets)]
    for frame_indices in [*choices(draw, last, sets=sets), *crowds, list(range(last))]:
        frame_indices.append(last)
        for strategy in get_args(Strategy):
            frames = list(reader.frames(targets_of(reader, frame_indices), strategy=strategy))
            assert len(frames) == len(frame_indices)
            for frame_index, frame in zip(frame_indices, frames, strict=True):
                if frame_index not in whole.hurt:
                    assert is_frame(frame, whole.times[frame_index], whole.pictures[frame_index]), (
                        frame_index
                    )
                    continue
                # Right, concealed, or a stand-in; the pixels of a stand-in are known.
                shown = whole.times.index(frame.pts)
                is_right = np.array_equal(frame.pixels, whole.pictures[shown])
                assert is_right or shown in whole.hurt
                others += not is_right or shown != frame_index
    return others


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("seed", quick_first(range(4)))
@pytest.mark.parametrize("where", ["keyframe", "between", "headers"])
@pytest.mark.parametrize("name", quick_first(MADE, 2))
def test_all_other_groups_are_as_they_were(
    clips: Clips, tmp_path: Path, name: str, where: str, seed: int, workers: int | None
) -> None:
    whole, draw = sound(clips, name), random.Random(f"{name} {where} {seed}")
    data, group = bytearray(whole.path.read_bytes()), whole.packets_of_group()
    for number in {"keyframe": group[:1], "between": group[1:6], "headers": group[1:]}[where]:
        place, size = whole.places[number]
        length = min(size, 8 if where == "headers" else draw.randrange(20, 400))
        begin = place + (0 if where == "headers" else draw.randrange(size - length + 1))
        data[begin : begin + length] = draw.randbytes(length)
    path = tmp_path / whole.path.name
    path.write_bytes(data)
    with opened(path, workers) as reader:
        assert check_damaged(whole, reader, draw, sets=3) > 0


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("name", quick_first(["h264", "h264_open", "hevc", "hevc_open"], 2))
def test_a_missing_group_of_pictures(
    clips: Clips, tmp_path: Path, name: str, workers: int | None
) -> None:
    whole, draw = sound(clips, name), random.Random(name)
    data, group = bytearray(whole.path.read_bytes()), whole.packets_of_group()
    for place, size in (whole.places[number] for number in group):
        data[place : place + size] = bytes(size)
    path = tmp_path / whole.path.name
    path.write_bytes(data)
    with opened(path, workers) as reader:
        assert check_damaged(whole, reader, draw, sets=6) > 0


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("name", ["h264", "hevc"])
def test_a_frame_of_a_missing_group_has_a_stand_in_even_if_requested_alone(
    clips: Clips, tmp_path: Path, name: str, workers: int | None
) -> None:
    whole = sound(clips, name)
    data, group = bytearray(whole.path.read_bytes()), whole.packets_of_group()
    for place, size in (whole.places[number] for number in group):
        data[place : place + size] = bytes(size)
    path = tmp_path / whole.path.name
    path.write_bytes(data)
    before = min(whole.hurt) - 1
    with opened(path, workers) as reader:
        for strategy in get_args(Strategy):
            for frame_index in (min(whole.hurt), max(whole.hurt)):
                (frame,) = reader.frames(targets_of(reader, [frame_index]), strategy=strategy)
                assert is_frame(frame, whole.times[before], whole.pictures[before])
                assert any(w.code == "media.damaged" for w in reader.report.warnings)


@pytest.mark.parametrize("workers", WORKERS)
def test_damage_that_looks_like_new_parameters(
    clips: Clips, tmp_path: Path, workers: int | None
) -> None:
    # A picture turns into a parameter set of the number that all pictures go by. Its own group is
    # lost; those behind it begin with parameters that the file's header still states.
    whole, draw = sound(clips, "h264"), random.Random("parameters")
    data, group = bytearray(whole.path.read_bytes()), whole.packets_of_group()
    parameters = data.index(b"avcC") + 4
    parameters += 8 + int.from_bytes(data[parameters + 6 : parameters + 8], "big")
    length = int.from_bytes(data[parameters + 1 : parameters + 3], "big")
    unit = bytearray(data[parameters + 3 : parameters + 3 + length])
    # ITU-T H.264, section 7.3.2.2: two numbers, both 0 and so a bit each; how entropy is coded.
    assert unit[0] & 0x1F == 8 and unit[1] & 0xC0 == 0xC0
    unit[1] ^= 0x20
    place, size = whole.places[group[5]]
    filler = size - 4 - length - 4
    new = length.to_bytes(4, "big") + unit + filler.to_bytes(4, "big") + bytes(filler)
    assert len(new) == size
    data[place : place + size] = new
    path = tmp_path / "parameters.mp4"
    path.write_bytes(data)
    with opened(path, workers) as reader:
        assert check_damaged(whole, reader, draw, sets=3) > 0
