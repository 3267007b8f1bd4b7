"""Many openings and many passes leave nothing behind (row B15 of the fault list).

The row asks for 2,000 openings, which takes minutes: set ``SEEDVIDEO_LEAK_OPENS=2000`` for them.
"""

import os
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Final

import pytest

from seedvideo.errors import SeedVideoError
from seedvideo.media import Target, VideoReader
from tests.fixtures import Clips, read_number
from tests.frame_reference import WORKERS, opened
from tests.resource_checks import children, held, resident_bytes
from tests.tiers import by_tier, quick_first

OPENS: Final = int(os.environ.get("SEEDVIDEO_LEAK_OPENS", by_tier(40, quick=8)))
WARM_UP: Final = 10
"""Openings until caches are filled."""

SLACK_BYTES: Final = 6_000_000
"""By how much memory may differ: what an allocator keeps for later, far below the pictures that
even the fewest openings hand out."""


def broken(clips: Clips, path: Path) -> Path:
    data = bytearray(clips["no_b_frames"].read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    return path


def use(reader: VideoReader, turn: int) -> None:
    """Uses a reader in one of the ways in which people do."""
    targets = [Target(Fraction(i, 4), 384, 224) for i in range(12)]
    frames = reader.frames(targets)
    if turn % 4 == 0:
        assert len(list(frames)) == 12
    elif turn % 4 == 1:
        next(frames)  # The rest is never asked for, and the reader closes first.
    elif turn % 4 == 2:
        next(frames)
        assert isinstance(frames, Generator)
        frames.close()
    else:
        assert reader.info.duration > 2 and len(reader.packets.positions) == len(reader.times)


@pytest.mark.parametrize("workers", WORKERS)
def test_openings_leave_nothing_behind(clips: Clips, tmp_path: Path, workers: int | None) -> None:
    text = tmp_path / "text.mp4"
    text.write_bytes(b"\0\0\0\x18ftypmp42 and no more")
    files = [
        clips["plain"],
        clips["hevc"],
        clips["ts"],
        broken(clips, tmp_path / "broken.mp4"),
        text,
    ]
    before, memory = held(), 0
    for turn in range(WARM_UP + OPENS):
        if turn == WARM_UP:
            memory = resident_bytes()
        path = files[turn % len(files)]
        if path is text:
            with pytest.raises(SeedVideoError), opened(path, workers) as reader:
                use(reader, turn)
        elif turn % 7 == 3:
            reader = opened(path, workers)  # Forgotten, not closed.
            use(reader, turn)
            del reader
        else:
            with opened(path, workers) as reader:
                use(reader, turn)
    grown = resident_bytes() - memory
    assert held() == before
    assert grown < SLACK_BYTES, f"{grown / OPENS:.0f} bytes an opening"


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("way", quick_first(["error", "dropped", "closed", "new pass"]))
def test_a_pass_left_early_frees_what_it_holds(clips: Clips, way: str, workers: int | None) -> None:
    # Pictures far larger than a pipe holds: what decodes is in the midst of writing one.
    before = held()
    with opened(clips["plain"], workers) as reader:
        targets = [Target(time, 600, 350) for time in reader.times]
        running, memory = 0, 0
        for turn in range(by_tier(25, quick=6)):
            frames = reader.frames(targets[turn % 3 :])
            first = next(frames)
            assert read_number(first.pixels) == turn % 3
            if way == "closed":
                assert isinstance(frames, Generator)
                frames.close()
            elif way == "error":
                with pytest.raises(ZeroDivisionError):
                    next(1 // 0 for _ in frames)
            if way == "dropped":
                frames = reader.frames([])
            last = targets[-1 - turn]
            assert [frame.pts for frame in reader.frames([last])] == [last.pts]
            if turn == 3:
                running, memory = len(children()), resident_bytes()
        assert len(children()) == running
        assert resident_bytes() - memory < SLACK_BYTES
    del frames, reader
    assert held() == before


@pytest.mark.parametrize("workers", WORKERS)
def test_a_reader_closed_in_mid_pass_leaves_nothing_behind(
    clips: Clips, workers: int | None
) -> None:
    before = held()
    for _ in range(by_tier(15, quick=4)):
        reader = opened(clips["plain"], workers)
        frames = reader.frames([Target(time, 600, 350) for time in reader.times])
        next(frames)
        reader.close()
        assert children() == []
    del frames, reader
    assert held() == before
