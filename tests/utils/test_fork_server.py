"""The fork server of decode processes: what it isolates, what ends it, what it leaves behind."""

import contextlib
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seedvideo.config import Limits
from seedvideo.errors import DecodeError
from seedvideo.media import Target, open_video
from seedvideo.media.worker_client import WORKER
from seedvideo.utils import fork_server
from tests.fixtures import Clips
from tests.forks import forked
from tests.resource_checks import children, direct_children, held
from tests.tiers import slow

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30.0


@pytest.fixture(autouse=True)
def own_servers() -> Iterator[None]:
    """Each test begins and ends without a server."""
    for server in fork_server.servers():
        server.kill()
    yield
    for server in fork_server.servers():
        server.kill()


def eventually(holds: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def start(
    module: str = "tests.utils.forked_module", descriptors: tuple[int, ...] = ()
) -> fork_server.ForkedProcess:
    process = fork_server.fork_process(module, descriptors, timeout_s=WAIT_S)
    assert process is not None
    return process


def only_server() -> fork_server.ForkServer:
    (server,) = fork_server.servers()
    return server


def open_once(clips: Clips) -> int:
    with open_video(clips["plain"]) as reader:
        return len(reader.times)


def test_it_starts_with_the_first_video_and_serves_the_others(clips: Clips) -> None:
    assert fork_server.servers() == []
    with open_video(clips["plain"]):
        assert fork_server.servers() == []
    assert open_once(clips) == 90
    server = only_server()
    assert open_once(clips) == 90
    assert only_server() is server


def test_it_can_be_started_before_it_is_needed(clips: Clips) -> None:
    fork_server.start_server(WORKER)
    server = only_server()
    assert open_once(clips) == 90
    assert only_server() is server
    fork_server.start_server(WORKER)
    assert only_server() is server


def test_it_has_one_thread_and_nothing_of_ours(clips: Clips, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        open_once(clips)
        server = only_server()
        assert len(os.listdir(f"/proc/{server.pid}/task")) == 1
        files = {os.readlink(each) for each in Path(f"/proc/{server.pid}/fd").iterdir()}
    assert {file.partition(":")[0] for file in files} == {"/dev/null", "socket", "pipe"}


def test_a_child_has_what_was_passed_and_its_own_session(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader, open_video(clips["plain"]) as other:
        assert reader.info and other.info
        pids = children()
        for pid in pids:
            assert os.getsid(pid) == pid
            files = sorted(os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir())
            kinds = [file.partition(":")[0] for file in files]
            video = str(clips["plain"])
            # FFmpeg may hold the file once more.
            assert set(kinds) == {"/dev/null", video, "pipe"} and kinds.count("pipe") == 2
        assert len(set(pids)) == 2


def test_the_bounds_of_a_child_are_its_own(clips: Clips) -> None:
    with open_video(clips["plain"], limits=Limits(worker_memory_bytes=1 << 28)) as reader:
        assert reader.info
        (pid,) = children()
        soft, hard = resource.prlimit(pid, resource.RLIMIT_AS)
        assert soft == hard < 1 << 30
        assert resource.prlimit(pid, resource.RLIMIT_FSIZE) == (0, 0)
        server = only_server()
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
            assert resource.prlimit(server.pid, kind) == resource.getrlimit(kind)


def test_a_bound_that_is_set_later_holds_for_the_children_after_it(clips: Clips) -> None:
    open_once(clips)
    first = only_server().pid
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (3600, hard))
    try:
        with open_video(clips["plain"]) as reader:
            assert reader.info
            (pid,) = children()
            assert resource.prlimit(pid, resource.RLIMIT_CPU)[0] == 3600
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    gc.collect()
    assert first not in direct_children("self")


def test_a_killed_server_takes_its_children_and_is_replaced(clips: Clips) -> None:
    reader = open_video(clips["plain"])
    frames = reader.frames([Target(time, 600, 350) for time in reader.times])
    next(frames)
    (pid,) = children()
    server = only_server()
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(DecodeError) as caught:
        list(frames)
    assert caught.value.code == "decode.crashed"
    assert eventually(lambda: not is_running(pid))
    assert len(reader.times) == 90 and open_once(clips) == 90
    assert only_server() is not server
    reader.close()
    assert server.pid not in direct_children("self")


@slow
def test_a_server_that_hangs_is_replaced(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "_REPLY_TIMEOUT_S", 1.0)
    open_once(clips)
    server = only_server()
    os.kill(server.pid, signal.SIGSTOP)
    limits = Limits(open_timeout_s=1.0)
    with open_video(clips["plain"], limits=limits) as reader, pytest.raises(DecodeError) as caught:
        assert reader.info
    assert caught.value.code == "decode.timeout"
    assert open_once(clips) == 90
    assert server.pid not in direct_children("self")


def test_opening_while_it_starts_has_a_deadline(clips: Clips) -> None:
    with open_video(clips["plain"], limits=Limits(open_timeout_s=0.001)) as reader:
        with pytest.raises(DecodeError) as caught:
            assert reader.info
        assert caught.value.code == "decode.timeout"
        assert children() == []
    server = only_server()
    assert open_once(clips) == 90
    assert only_server() is server  # The next reader has waited for it.


def test_how_a_child_ended_is_reported() -> None:
    process = start()
    assert process.wait(WAIT_S) == 0
    process.end()
    for what, status in (("exit", 7), ("raise", 1), ("abort", -signal.SIGABRT)):
        reading, writing = os.pipe()
        os.write(writing, what.encode())
        os.close(writing)
        process = start(descriptors=(reading,))
        os.close(reading)
        assert process.wait(WAIT_S) == status
        process.end()
    hangs, writing = os.pipe()
    process = start(descriptors=(hangs,))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    process.end()
    assert process.returncode == -signal.SIGKILL
    os.close(hangs)
    os.close(writing)
    assert direct_children(str(only_server().pid)) == []


def test_a_child_that_cannot_be_started_has_a_reason() -> None:
    start().end()
    server = only_server()
    taken = {int(each.name) for each in Path(f"/proc/{server.pid}/fd").iterdir()}
    least = min(set(range(len(taken) + 1)) - taken)
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (least + 1, hard))
    process = start(descriptors=(0, 1))  # One free descriptor remains, for its lifeline.
    process.wait(WAIT_S)
    assert process.start_error is not None and process.start_error.strerror == "Too many open files"
    process.end()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
    process = start()
    assert process.wait(WAIT_S) == 0 and process.start_error is None
    process.end()


@slow
def test_a_module_that_cannot_be_served_is_tried_twice() -> None:
    before = held()
    for _ in range(4):
        with pytest.raises(fork_server.ServerUnavailableError):
            start("tests.utils.no_such_module")
    assert held() == before
    with pytest.raises(fork_server.ServerUnavailableError):
        start("tests.utils.threaded_module")
    assert held() == before


def test_decoding_goes_on_without_it(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "is_supported", lambda: False)
    with open_video(clips["plain"]) as reader:
        assert len(reader.times) == 90 and len(children()) == 1
        assert fork_server.servers() == []
    assert children() == []


def test_it_ends_with_its_caller_and_takes_the_children_along(clips: Clips) -> None:
    script = f"""
import os, signal
from seedvideo.media import open_video
from seedvideo.utils import fork_server
reader = open_video({str(clips["plain"])!r})
assert reader.info
(server,) = fork_server.servers()
decoding = open(f"/proc/{{server.pid}}/task/{{server.pid}}/children").read()
os.kill(int(decoding), signal.SIGSTOP)  # It cannot notice anything by itself.
print(server.pid, decoding, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    pids = [int(pid) for pid in run.stdout.split()]
    assert len(pids) == 2, run.stderr
    assert eventually(lambda: not any(map(is_running, pids)))


def test_a_forked_process_starts_its_own(clips: Clips) -> None:
    open_once(clips)
    server = only_server()

    def work() -> tuple[list[int], int, list[int]]:
        before = [each.pid for each in fork_server.servers()]
        return before, open_once(clips), [each.pid for each in fork_server.servers()]

    result = forked(work)
    assert isinstance(result, tuple), result
    before, frames, after = result
    assert before == [] and frames == 90
    assert len(after) == 1 and after != [server.pid]
    assert eventually(lambda: not is_running(after[0]))
    assert only_server() is server and open_once(clips) == 90


def test_threads_share_it(clips: Clips) -> None:
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(open_once(clips))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert results == [90] * 6
    assert len(fork_server.servers()) == 1


@slow
def test_many_children_leave_nothing_behind(clips: Clips) -> None:
    open_once(clips)
    before, server = held(), only_server()
    files = len(os.listdir(f"/proc/{server.pid}/fd"))
    for turn in range(60):
        process = start(WORKER, (0, 1, 2)) if turn % 2 else start(WORKER)
        process.end() if turn % 3 else process.kill()
        if turn % 3 == 0:
            process.wait(WAIT_S)
            process.end()
    del process
    assert eventually(lambda: direct_children(str(server.pid)) == [])
    # The server closes its end of a child's pipes only after it has waited for the child.
    assert eventually(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) == files)
    assert held() == before


def test_a_request_without_descriptors_left_is_an_error() -> None:
    start().end()
    taken: list[socket.socket] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(socket.socket())
        with pytest.raises(OSError, match="Too many open files"):
            only_server().fork(())
    finally:
        for each in taken:
            each.close()
