"""Several processes decode one video: the result is that of one, and nothing is left."""

import gc
import os
import random
import signal
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedvideo.config import Limits
from seedvideo.errors import ConfigError, DecodeError, InputError, MediaError
from seedvideo.media import Frame, Target, VideoReader, open_video, worker_client, worker_pool
from seedvideo.media.types import FrameKinds, ThumbnailSpan, ThumbnailSpec
from seedvideo.utils import fork_server
from tests.fixtures import coded_video
from tests.resource_checks import children, descriptors
from tests.tiers import by_tier, quick_among, quick_first, slow

SIZE = ThumbnailSpec(32, 24, interval=Fraction(1, 10))
CODECS = {
    "h264.mp4": "-c:v libx264 -pix_fmt yuv420p -preset veryfast -g 30",
    "h264.ts": "-c:v libx264 -pix_fmt yuv420p -preset veryfast -g 30",
    "open.mp4": "-c:v libx264 -pix_fmt yuv420p -preset veryfast -x264-params open-gop=1:keyint=40",
    "hevc.mkv": "-c:v libx265 -pix_fmt yuv420p -preset ultrafast"
    " -x265-params keyint=40:min-keyint=40:bframes=4:log-level=error",
    "vp9.webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 40 -pix_fmt yuv420p",
    "mjpeg.avi": "-c:v mjpeg -pix_fmt yuvj420p",
    "mpeg4.avi": "-c:v mpeg4 -bf 2 -g 30 -pix_fmt yuv420p",
    "one.mp4": "-c:v libx264 -pix_fmt yuv420p -preset veryfast -g 1000",
    "refresh.mp4": "-c:v libx264 -pix_fmt yuv420p -preset veryfast"
    " -x264-params intra-refresh=1:keyint=40",
    "false.mp4": "-c:v mpeg4 -bf 2 -g 30 -pix_fmt yuv420p",
}

MORE = (2, 8)[: by_tier(2, quick=1)]
"""Numbers of processes that are compared with one."""


@pytest.fixture(scope="module", params=quick_among(CODECS, ("open.mp4", "false.mp4")))
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("workers") / request.param
    coded_video(path, CODECS[request.param], frames=600, size=(64, 48))
    if path.name == "false.mp4":
        # Without the box that lists them, every picture is called a keyframe.
        path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
    return path


@pytest.fixture(scope="module")
def h264(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("workers") / "clip.mp4"
    return coded_video(path, CODECS["h264.mp4"], frames=600, size=(64, 48))


def fetch(path: Path, workers: int, numbers: list[int]) -> list[tuple[Fraction, bytes]]:
    with open_video(path, workers=workers) as reader:
        times = reader.times
        targets = [Target(times[each], 40 + each % 3, 32) for each in numbers]
        return [(frame.pts, frame.pixels.tobytes()) for frame in reader.frames(targets)]


def decode_thumbnails(
    path: Path, workers: int, spans: list[ThumbnailSpan]
) -> list[tuple[int, bytes]]:
    with open_video(path, workers=workers) as reader:
        return [
            (frame_index, planes.tobytes())
            for batch in reader.thumbnails(spans, SIZE)
            for frame_index, planes in zip(batch.frame_indices, batch.planes, strict=True)
        ]


def some_spans(dice: random.Random, frames: int) -> list[ThumbnailSpan]:
    places = sorted(dice.sample(range(frames), 16))
    depths: tuple[FrameKinds, ...] = ("keys", "references", "all")
    return [
        ThumbnailSpan(first, end, dice.choice(depths))
        for first, end in pairwise([0, *places, frames])
        if first < end and dice.random() < 0.8
    ]


@pytest.mark.parametrize("seed", quick_first(range(3)))
def test_frames_are_the_same_from_any_number_of_processes(clip: Path, seed: int) -> None:
    dice = random.Random(seed)
    numbers = sorted(dice.sample(range(600), (500, 90, 12)[seed]))
    one = fetch(clip, 1, numbers)
    assert len(one) == len(numbers)
    for workers in MORE:
        assert fetch(clip, workers, numbers) == one


@pytest.mark.parametrize("seed", quick_first(range(2)))
def test_thumbnails_are_the_same_from_any_number_of_processes(clip: Path, seed: int) -> None:
    spans = some_spans(random.Random(seed), 600)
    one = decode_thumbnails(clip, 1, spans)
    assert one
    for workers in MORE:
        assert decode_thumbnails(clip, workers, spans) == one


def test_every_frame_has_one_thumbnail(clip: Path) -> None:
    frame_indices = [
        frame_index for frame_index, _ in decode_thumbnails(clip, 2, [ThumbnailSpan(0, 600, "all")])
    ]
    assert frame_indices == list(range(600))


def outcome_of_frames(path: Path, workers: int, numbers: list[int]) -> object:
    """All that a pass gives: frames and warnings, or the error that ends it."""
    given: list[object] = []
    with open_video(path, workers=workers) as reader:
        try:
            times = reader.times
            targets = [Target(times[each], 40, 32) for each in numbers if each < len(times)]
            for frame in reader.frames(targets):
                given.append((frame.pts, frame.pixels.tobytes()))
        except MediaError as error:
            return error.code
        return given, {warning.message for warning in reader.report.warnings}


def outcome_of_thumbnails(path: Path, workers: int) -> object:
    """All that looking at a file gives, or the error that ends it."""
    try:
        with open_video(path) as reader:
            frames = len(reader.times)
        return decode_thumbnails(path, workers, [ThumbnailSpan(0, frames, "references")])
    except MediaError as error:
        return error.code


@pytest.mark.parametrize("name", quick_first(["h264.mp4", "open.mp4", "hevc.mkv", "vp9.webm"]))
def test_damaged_files_too(name: str, tmp_path: Path) -> None:
    whole = coded_video(tmp_path / name, CODECS[name], frames=600, size=(64, 48)).read_bytes()
    sound = 0
    for seed in range(by_tier(4, quick=1)):
        dice, data = random.Random(f"{name} {seed}"), bytearray(whole)
        for _ in range(4):
            place = dice.randrange(len(data) // 8, len(data) * 7 // 8)
            data[place : place + 40] = dice.randbytes(40)
        path = tmp_path / f"bad{seed}-{name}"
        path.write_bytes(data)
        numbers = sorted(dice.sample(range(600), 200))
        one = outcome_of_frames(path, 1, numbers)
        for workers in MORE:
            assert outcome_of_frames(path, workers, numbers) == one
        sound += isinstance(one, tuple)
        assert outcome_of_thumbnails(path, 2) == outcome_of_thumbnails(path, 1)
    assert sound  # Some at least could be decoded.


def test_as_many_processes_as_asked_for_and_all_go(h264: Path) -> None:
    before = descriptors()
    with open_video(h264, workers=3) as reader:
        targets = [Target(time, 64, 48) for time in reader.times]
        assert len(children()) == 1
        assert len(list(reader.frames(targets))) == 600
        assert len(children()) == 3
        assert len(list(reader.frames(targets))) == 600
        assert len(children()) == 3
    assert children() == [] and descriptors() == before


def test_little_work_starts_no_second_process(h264: Path) -> None:
    with open_video(h264) as reader:
        assert len(list(reader.frames([Target(time, 64, 48) for time in reader.times]))) == 600
        assert len(children()) == 1


def test_a_pass_left_early_leaves_nothing(h264: Path) -> None:
    before = descriptors()
    for _ in range(3):
        reader = open_video(h264, workers=3)
        frames = reader.frames([Target(time, 64, 48) for time in reader.times])
        for _ in range(130):
            next(frames)
        assert len(children()) == 3
        frames.close()
        # All of them are ready for another pass.
        assert len(list(reader.frames([Target(time, 64, 48) for time in reader.times]))) == 600
        del frames, reader
        gc.collect()
        assert children() == [] and descriptors() == before


def test_a_new_pass_ends_the_one_before(h264: Path) -> None:
    with open_video(h264, workers=2) as reader:
        targets = [Target(time, 64, 48) for time in reader.times]
        old = reader.frames(targets)
        next(old)
        assert len(list(reader.frames(targets))) == 600
        with pytest.raises(DecodeError) as caught:
            next(old)
        assert caught.value.code == "decode.stopped"


def working(reader: VideoReader) -> Iterator[Frame]:
    """Begins a pass that two processes work at."""
    targets = [Target(time, 320, 240) for time in reader.times]
    assert len(list(reader.frames(targets[:500]))) == 500  # Both have opened the file.
    frames = reader.frames(targets)
    next(frames)
    assert len(children()) == 2
    return frames


@pytest.mark.parametrize("which", quick_first([0, 1]))
def test_a_dead_process_is_reported_in_its_turn(h264: Path, which: int) -> None:
    with open_video(h264, workers=2) as reader:
        frames = working(reader)
        os.kill(sorted(children())[which], signal.SIGKILL)
        times = [reader.times[0]]
        with pytest.raises(DecodeError) as caught:
            times += [frame.pts for frame in frames]
        assert caught.value.code == "decode.crashed"
        assert times == list(reader.times[: len(times)])
        assert len(list(working(reader))) == 599  # It is started again.


@slow
def test_a_process_that_hangs_is_killed(h264: Path) -> None:
    with open_video(h264, workers=2, limits=Limits(stall_timeout_s=3.0)) as reader:
        frames = working(reader)
        os.kill(max(children()), signal.SIGSTOP)
        with pytest.raises(DecodeError) as caught:
            list(frames)
        assert caught.value.code == "decode.timeout"
        assert len(children()) < 2


def test_a_process_that_dies_early_is_not_needed(
    h264: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    start = fork_server.fork_process

    def stop_second(*arguments: Any, **options: Any) -> Any:
        process = start(*arguments, **options)
        while not (new := set(children()) - set(started)):
            pass
        started.extend(new)
        if len(started) == 2:
            os.kill(started[1], signal.SIGSTOP)  # before it is asked to open the file
        return process

    monkeypatch.setattr(worker_client, "fork_process", stop_second)
    with open_video(h264, workers=2) as reader:
        frames = reader.frames([Target(time, 320, 240) for time in reader.times])
        next(frames)
        first, second = started
        os.kill(second, signal.SIGKILL)
        assert len(list(frames)) == 599
        assert children() == [first]


def test_what_waits_for_its_turn_is_bounded(h264: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "MAX_WAITING_BYTES", 1)
    with open_video(h264, workers=8) as reader:
        frames = list(reader.frames([Target(time, 64, 48) for time in reader.times]))
    assert [frame.pts for frame in frames] == list(reader.times)


def test_a_file_replaced_meanwhile_is_still_the_one_that_was_opened(
    h264: Path, tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(h264.read_bytes())
    with open_video(path, workers=2) as reader:
        targets = [Target(time, 64, 48) for time in reader.times]
        path.unlink()
        path.write_bytes(b"something else")
        assert len(list(reader.frames(targets))) == 600


def test_a_file_that_changes_is_noticed(h264: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(h264.read_bytes())
    shorter = coded_video(tmp_path / "other.mp4", CODECS["h264.mp4"], frames=300, size=(64, 48))
    with open_video(path, workers=2) as reader:
        targets = [Target(time, 64, 48) for time in reader.times]
        path.write_bytes(shorter.read_bytes())
        with pytest.raises((InputError, DecodeError)):
            list(reader.frames(targets))


def test_workers_must_be_some(h264: Path) -> None:
    with pytest.raises(ConfigError):
        open_video(h264, workers=0)


def test_sizes_and_times_survive(h264: Path) -> None:
    with open_video(h264, workers=2) as reader:
        sizes = [(16 + number % 50, 16 + number % 30) for number in range(600)]
        targets = [Target(t, *size) for t, size in zip(reader.times, sizes, strict=True)]
        shapes = [np.shape(frame.pixels)[1::-1] for frame in reader.frames(targets)]
    assert shapes == sizes
