"""Damaged copies of sound clips: whatever is changed, the answer is frames or one of our errors.

Each find of a longer search is kept below with what it broke.
"""

import random
from pathlib import Path

import pytest

from seedvideo.config import Limits
from seedvideo.errors import SeedVideoError
from seedvideo.media import Target, open_video, strictly_increasing
from tests.fixtures import Clips
from tests.tiers import quick_first

NAMES = ["plain", "fragmented", "mkv", "ts", "h264_avi", "vp9", "flv", "gif", "theora", "mpeg2_ps"]
LIMITS = Limits(stall_timeout_s=30, item_timeout_s=60)


def mutate(data: bytes, seed: int) -> bytes:
    """Changes bytes near the start, near the end or anywhere, or cuts a piece out."""
    draw, changed = random.Random(seed), bytearray(data)
    kind = draw.choice(["start", "end", "anywhere", "cut"])
    span = {"start": (0, 3000), "end": (len(data) - 3000, len(data))}.get(kind, (0, len(data)))
    for _ in range(draw.choice([1, 5, 20])):
        changed[draw.randrange(*span)] = draw.choice([0, 255, draw.randrange(256)])
    if kind == "cut":
        at = draw.randrange(len(data))
        del changed[at : at + draw.randrange(1, 2000)]
    return bytes(changed)


def outcome(path: Path) -> str:
    """Opens and decodes a file; returns the code of the error, or nothing."""
    code = ""
    try:
        with open_video(path, limits=LIMITS) as reader:
            assert strictly_increasing(reader.times) and reader.info.duration > 0
            targets = [Target(time, 32, 24) for time in reader.times[:100]]
            frames = list(reader.frames(targets))
            assert len(frames) == len(targets)
            assert {frame.pts for frame in frames} <= set(reader.times)
    except SeedVideoError as error:
        code = error.code
    return code


@pytest.mark.parametrize("name", quick_first(NAMES, 5))
@pytest.mark.parametrize("seed", quick_first([1, 2]))
def test_changed_bytes(clips: Clips, tmp_path: Path, name: str, seed: int) -> None:
    path = tmp_path / clips[name].name
    path.write_bytes(mutate(clips[name].read_bytes(), seed))
    code = outcome(path)
    assert code == "" or code.split(".")[0] in ("media", "input") or code == "decode.out_of_memory"


def test_a_stream_of_an_unknown_codec(clips: Clips, tmp_path: Path) -> None:
    # PyAV has no codec context then, and its stream lacks most attributes.
    data = clips["mpeg4_avi"].read_bytes().replace(b"FMP4", b"\x01\x02\x03\x04")
    (tmp_path / "unknown.avi").write_bytes(data)
    assert outcome(tmp_path / "unknown.avi") == "media.codec_not_allowed"


def test_a_stream_that_appears_late(clips: Clips, tmp_path: Path) -> None:
    # Packets of a stream that the header did not announce; PyAV ends its reading with IndexError.
    data = bytearray(clips["ts"].read_bytes())
    at = len(data) - 188 * 10
    while data[at + 1] & 0x40 == 0 or data[at + 3] & 0x10 == 0:
        at -= 188
    for packet in range(at, len(data), 188):
        data[packet + 1 : packet + 3] = bytes([data[packet + 1] & 0xE0 | 0x02, 0x34])
    (tmp_path / "late.ts").write_bytes(data)
    assert outcome(tmp_path / "late.ts") == ""
