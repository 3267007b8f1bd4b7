"""One open video in several threads and in forked processes: the right frames, or one clear error.

What else was possible, before there were rules: pixels of another frame without an error, children
that hang, decode processes of the parent that a child stops.
"""

import copy
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import seedvideo
from seedvideo.errors import DecodeError, SeedVideoError
from seedvideo.media import Target, VideoReader, open_video
from seedvideo.media.sharing import SharedLock, SharedSteps
from seedvideo.media.types import ThumbnailSpan, ThumbnailSpec
from tests.fixtures import Clips, read_number
from tests.forks import forked
from tests.resource_checks import children, descriptors, held

ROOT = Path(__file__).resolve().parents[2]
PLACES = [3, 20, 41, 77]


@pytest.fixture
def reader(clips: Clips) -> Iterator[VideoReader]:
    with open_video(clips["plain"], workers=2) as opened:
        assert len(opened.times) == 90
        yield opened


def numbers(reader: VideoReader, places: list[int] = PLACES) -> list[int]:
    """Return the numbers in the pixels of frames, whatever their labels."""
    times = reader.times
    return [
        read_number(f.pixels) for f in reader.frames([Target(times[p], 192, 112) for p in places])
    ]


def every(reader: VideoReader) -> list[Target]:
    return [Target(time, 192, 112) for time in reader.times]


def code_of(step: Callable[[], object]) -> str:
    with pytest.raises(SeedVideoError) as caught:
        step()
    return caught.value.code


# Forks.


def test_forked_processes_decode_for_themselves(reader: VideoReader) -> None:
    assert numbers(reader) == PLACES
    parents = children()
    for start in range(3):
        places = [start, start + 50]
        assert forked(partial(numbers, reader, places)) == places
    # The second of the reader's own two processes may have started meanwhile.
    assert set(parents) <= set(children()) and len(children()) <= 2
    assert numbers(reader) == PLACES


def test_a_forked_process_may_use_all_of_a_reader(reader: VideoReader) -> None:
    def work() -> tuple[int, str, int, int]:
        spans = [ThumbnailSpan(0, 90, "all")]
        thumbnails = reader.thumbnails(spans, ThumbnailSpec(32, 16, interval=reader.times[1]))
        shown = sum(len(each.frame_indices) for each in thumbnails)
        return len(reader.packets.sizes_bytes), reader.digest(), shown, reader.info.width_px

    assert forked(work) == work()


def test_a_pass_goes_on_in_the_parent_alone(reader: VideoReader) -> None:
    frames = reader.frames(every(reader))
    given = [read_number(next(frames).pixels) for _ in range(5)]

    def work() -> tuple[str, str, list[int]]:
        before = code_of(lambda: next(frames))
        frames.close()
        return before, code_of(lambda: next(frames)), numbers(reader)

    result = forked(work)
    assert isinstance(result, str)  # A closed iterator has ended, which is not an error.
    assert result.startswith("StopIteration")
    assert forked(lambda: (code_of(lambda: next(frames)), numbers(reader))) == (
        "decode.stopped",
        PLACES,
    )
    assert given + [read_number(frame.pixels) for frame in frames] == list(range(90))


def test_an_unstarted_iterator_starts_in_either_process(reader: VideoReader) -> None:
    frames = reader.frames(every(reader)[:4])
    assert forked(lambda: [read_number(frame.pixels) for frame in frames]) == [0, 1, 2, 3]
    assert [read_number(frame.pixels) for frame in frames] == [0, 1, 2, 3]


def test_a_fork_while_a_thread_is_inside_a_step(reader: VideoReader) -> None:
    frames = reader.frames(every(reader), strategy="sequential")
    next(frames)
    (decoding,) = children()
    os.kill(decoding, signal.SIGSTOP)
    caught: list[str] = []
    while_stopped = threading.Thread(target=lambda: caught.append(str(len(list(frames)))))
    while_stopped.start()
    time.sleep(0.3)  # What was decoded already is taken, then the thread waits with the lock.
    try:
        work = forked(lambda: (code_of(lambda: next(frames)), numbers(reader)))
    finally:
        os.kill(decoding, signal.SIGCONT)
    while_stopped.join(60)
    assert work == ("decode.stopped", PLACES)
    assert caught == ["89"]


def test_a_child_that_closes_or_forgets_a_reader_leaves_the_parents_alone(clips: Clips) -> None:
    reader = open_video(clips["plain"])
    frames = reader.frames(every(reader))
    next(frames)
    before = children()

    def forget() -> int:
        nonlocal reader, frames
        del reader, frames
        gc.collect()
        return descriptors()

    def close() -> int:
        reader.close()
        return descriptors()

    held_before = descriptors()
    # Both ends of the answer's pipe, and neither the file, nor what leads to the decode process
    # and to the fork server, which `descriptors` does not count here and does not find there.
    assert forked(forget) == forked(close) == held_before + 2 - 4
    assert children() == before
    assert [read_number(frame.pixels) for frame in frames] == list(range(1, 90))
    reader.close()


SCRIPT = """
import os, sys
from seedvideo.media import Target, open_video
reader = open_video({path!r})
frames = reader.frames([Target(t, 32, 32) for t in reader.times])
next(frames)
pid = os.fork()
if pid == 0:
    sys.exit(0)  # With exit handlers, finalizers and all.
assert os.waitpid(pid, 0)[1] == 0
print(len(list(frames)))
"""


def test_exit_handlers_of_a_child_leave_the_parents_alone(clips: Clips) -> None:
    script = SCRIPT.format(path=str(clips["plain"]))
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert (run.stdout, run.stderr) == ("89\n", "")


def test_the_decoding_process_does_not_wait_for_children_of_its_reader(clips: Clips) -> None:
    reader = open_video(clips["plain"])
    assert reader.info
    (decoding,) = children()
    ours, its = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(its)
        os.read(ours, 1)  # Lives until the parent lets go.
        os._exit(0)
    try:
        # As if the parent had been killed: its end of the pipe closes, without a message to any
        # process.
        child = reader._pool.first
        assert child is not None
        os.close(child._requests)
        child._requests = os.open(os.devnull, os.O_WRONLY)
        child._process.wait(timeout=20)
    finally:
        os.close(its)
        os.close(ours)
        os.waitpid(pid, 0)
    assert decoding not in children()
    reader.close()


def _pooled(place: int) -> int:
    assert _POOLED is not None
    return numbers(_POOLED, [place])[0]


_POOLED: VideoReader | None = None


def test_a_pool_of_forked_workers(reader: VideoReader) -> None:
    global _POOLED
    _POOLED = reader
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_pooled, range(0, 90, 9), chunksize=1) == list(range(0, 90, 9))
    assert numbers(reader) == PLACES


class Dataset:
    """As people write it: opened once, read in the workers."""

    def __init__(self, path: Path) -> None:
        self.video = seedvideo.open(path)

    def __len__(self) -> int:
        return 12

    def __getitem__(self, place: int) -> int:
        return numbers(self.video.reader, [place * 7])[0]


def test_workers_of_a_data_loader(clips: Clips) -> None:
    from torch.utils.data import DataLoader

    dataset = Dataset(clips["plain"])
    loader: DataLoader[int] = DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size=3,
        num_workers=2,
        multiprocessing_context="fork",
    )
    assert [number for batch in loader for number in batch.tolist()] == list(range(0, 84, 7))
    assert dataset[5] == 35
    dataset.video.close()


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_an_open_video_is_not_pickled(clips: Clips, way: Callable[[object], object]) -> None:
    with seedvideo.open(clips["plain"]) as video:
        plan = seedvideo.plan(video, budget_tokens=2000)
        for thing in (video, video.reader, video.frames(plan), seedvideo.frames(video, plan)):
            with pytest.raises(TypeError) as caught:
                way(thing)
            assert isinstance(caught.value, SeedVideoError)
            assert caught.value.code == "input.not_picklable" and "path" in caught.value.hint
        assert pickle.loads(pickle.dumps(plan)) == plan  # The plan is sent instead.


# Threads.


def in_threads(works: list[Callable[[], object]]) -> list[object]:
    """Run functions at the same time; what each returned or raised."""
    results: list[object] = [None] * len(works)

    def run(place: int) -> None:
        try:
            results[place] = works[place]()
        except BaseException as error:  # noqa: BLE001  # Compared below.
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


@pytest.mark.parametrize("workers", [1, 3])
def test_passes_of_several_threads_end_or_are_right(clips: Clips, workers: int) -> None:
    before = descriptors()
    for _ in range(4):
        with open_video(clips["plain"], workers=workers) as reader:
            for result in in_threads([lambda: numbers(reader, list(range(0, 90, 2)))] * 3):
                if isinstance(result, DecodeError):
                    assert result.code == "decode.stopped"
                else:
                    assert result == list(range(0, 90, 2))
    assert children() == [] and descriptors() == before


def test_threads_share_one_iterator(reader: VideoReader) -> None:
    frames = reader.frames(every(reader))
    parts = in_threads([lambda: [read_number(frame.pixels) for frame in frames]] * 3)
    assert sorted(n for part in parts for n in part) == list(range(90))  # type: ignore[attr-defined]


def test_threads_share_the_iterator_of_a_plan(clips: Clips) -> None:
    with seedvideo.open(clips["plain"]) as video:
        plan = seedvideo.plan(video, policy="uniform", fps=10, budget_tokens=80_000)
        frames = seedvideo.frames(video, plan)
        parts = in_threads([lambda: [frame.pts for _, frame in frames]] * 3)
        shown = sorted(pts for part in parts for pts in part)  # type: ignore[attr-defined]
        assert shown == [planned.pts for planned in plan.frames] and len(shown) > 20


def test_facts_packets_and_analyses_are_made_once(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader:
        sizes = in_threads([lambda: (reader.info, len(reader.times), reader.packets)] * 3)
        assert sizes[0] == sizes[1] == sizes[2] and len(children()) == 1
    with seedvideo.open(clips["plain"]) as video:
        first, *others = in_threads([lambda: video.analysis("full")] * 3)
        assert all(each is first for each in others)


def test_close_wakes_a_thread_that_waits(clips: Clips) -> None:
    before = held()
    reader = open_video(clips["plain"])
    frames = reader.frames(every(reader), strategy="sequential")
    next(frames)
    os.kill(children()[0], signal.SIGSTOP)
    threading.Timer(0.3, reader.close).start()
    with pytest.raises(DecodeError) as caught:
        list(frames)
    # Had it waited for the process, the code would be that of a stall.
    assert caught.value.code == "decode.stopped"
    del frames, reader
    time.sleep(0.05)
    assert held() == before


@pytest.mark.parametrize("step", ["info", "packets", "thumbnails", "frames", "digest"])
def test_a_closed_reader_touches_no_descriptor(clips: Clips, tmp_path: Path, step: str) -> None:
    reader = open_video(clips["plain"])
    assert reader.times
    thumbnails = reader.thumbnails(
        [ThumbnailSpan(0, 90, "all")], ThumbnailSpec(32, 16, interval=reader.times[1])
    )
    frames = reader.frames(every(reader))
    next(frames)
    reader.close()
    others = [os.open(tmp_path, os.O_RDONLY) for _ in range(8)]  # They take the numbers.
    try:
        if step == "info":
            assert reader.info.width_px == 192  # It is known.
            return
        steps: dict[str, Callable[[], object]] = {
            "packets": lambda: reader.packets,
            "thumbnails": lambda: next(thumbnails),
            "frames": lambda: next(frames),
            "digest": reader.digest,
        }
        assert code_of(steps[step]) == "decode.stopped"
        thumbnails.close()
        frames.close()
        reader.close()
        assert all(os.fstat(each) for each in others)
    finally:
        for each in others:
            os.close(each)


def test_a_reader_is_forgotten_in_another_thread(clips: Clips) -> None:
    before = held()
    kept = [open_video(clips["plain"])]
    frames = [kept[0].frames(every(kept[0]))]
    next(frames[0])

    def forget() -> None:
        frames.clear()
        kept.clear()
        gc.collect()

    assert in_threads([forget]) == [None]
    assert held() == before


def test_finalizers_do_not_wait_for_a_lock(reader: VideoReader) -> None:
    frames = reader.frames(every(reader))
    next(frames)
    with reader.lock:  # As a thread that waits for a decode process holds it.
        (result,) = in_threads([frames.close])
    assert result is None
    assert numbers(reader) == PLACES


def test_a_lock_is_free_in_a_child_and_kept_by_the_thread_that_forks() -> None:
    lock = SharedLock()

    def give_back() -> tuple[int, bool]:
        lock.release()
        return lock.forks, lock.acquire(timeout_s=0)

    with lock:
        assert forked(give_back) == (1, True)
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(60)
    assert not lock.acquire(timeout_s=0)
    assert forked(lambda: lock.acquire(timeout_s=0)) is True
    done.set()
    holder.join(60)


def test_what_is_thrown_into_steps_reaches_the_generator() -> None:
    def count() -> Iterator[int]:
        try:
            yield 1
        except KeyError:
            yield 2

    steps: SharedSteps[int] = SharedSteps(count(), SharedLock(), "x")  # type: ignore[arg-type]
    assert next(steps) == 1 and steps.throw(KeyError("k")) == 2
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)
    with pytest.raises(KeyError):
        steps.throw(KeyError("k"))
