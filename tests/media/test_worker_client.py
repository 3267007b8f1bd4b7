"""The decode process: it may hang, crash, run out of memory or be left alone, at any time."""

import errno
import gc
import os
import resource
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from seedvideo.config import Limits
from seedvideo.errors import DecodeError
from seedvideo.media import Target, VideoReader, open_video
from seedvideo.utils import fork_server
from tests.fixtures import Clips, coded_video, ffmpeg, read_number
from tests.resource_checks import children, descriptors

ROOT = Path(__file__).resolve().parents[2]


def all_targets(reader: VideoReader) -> list[Target]:
    return [Target(time, 64, 40) for time in reader.times]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_names_the_signal_and_the_reader_lives_on(
    clips: Clips, number: signal.Signals
) -> None:
    with open_video(clips["plain"]) as reader:
        frames = reader.frames(all_targets(reader), strategy="sequential")
        next(frames)
        (pid,) = children()
        os.kill(pid, number)
        with pytest.raises(DecodeError) as caught:
            list(frames)
        assert caught.value.code == "decode.crashed"
        assert f"signal {int(number)}" in caught.value.message
        assert len(list(reader.frames(all_targets(reader)))) == 90


def test_a_process_that_hangs_is_killed(clips: Clips) -> None:
    # Long enough for a busy machine to deliver the first frame.
    with open_video(clips["plain"], limits=Limits(stall_timeout_s=3.0)) as reader:
        frames = reader.frames(all_targets(reader))
        next(frames)
        (pid,) = children()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DecodeError) as caught:
            list(frames)
        assert caught.value.code == "decode.timeout" and caught.value.retryable
        assert children() == []


def test_opening_has_a_deadline(clips: Clips) -> None:
    with open_video(clips["plain"], limits=Limits(open_timeout_s=0.001)) as reader:
        with pytest.raises(DecodeError) as caught:
            assert reader.info
        assert caught.value.code == "decode.timeout"
        assert children() == []


def test_a_video_has_a_deadline_of_its_own(clips: Clips) -> None:
    # Nothing stalls here: each pass is quick, and all of them together take too long.
    with open_video(clips["plain"]) as reader:
        targets = all_targets(reader)
    with open_video(clips["plain"], limits=Limits(item_timeout_s=1.5)) as reader:
        with pytest.raises(DecodeError) as caught:
            any(list(reader.frames(targets)) == [] for _ in range(2_000))
        assert caught.value.code == "decode.timeout"


def test_memory_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    source = ("-f", "lavfi", "-i", "testsrc2=s=3840x2160:r=5:d=1")
    ffmpeg(*source, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", path)
    with (
        open_video(path, limits=Limits(worker_memory_bytes=24_000_000)) as reader,
        pytest.raises(DecodeError) as caught,
    ):
        list(reader.frames(all_targets(reader)))
    assert caught.value.code == "decode.out_of_memory"
    with open_video(path, limits=Limits(worker_memory_bytes=1_000_000_000)) as reader:
        assert len(list(reader.frames(all_targets(reader)))) == 5


def test_nothing_starts_before_it_is_needed(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader:
        assert children() == []
        assert reader.info and len(children()) == 1
    assert children() == []


def test_readers_leave_nothing_behind(clips: Clips) -> None:
    before = descriptors()
    for turn in range(6):
        with open_video(clips["plain"]) as reader:
            frames = reader.frames(all_targets(reader))
            for _ in range(turn):
                next(frames)
    assert children() == []
    del frames, reader
    gc.collect()
    assert descriptors() == before


def test_a_forgotten_reader_ends_its_process(clips: Clips) -> None:
    before = descriptors()
    reader = open_video(clips["plain"])
    assert reader.info
    assert len(children()) == 1
    del reader
    gc.collect()
    assert children() == []
    assert descriptors() == before


def test_a_busy_program_has_descriptors_with_high_numbers(clips: Clips) -> None:
    # select() cannot watch number 1024 and above.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while taken[-1] < 1030:
            taken.append(os.dup(taken[0]))
        with open_video(clips["plain"]) as reader:
            assert len(list(reader.frames([Target(Fraction(1), 8, 8)]))) == 1
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_that_cannot_be_started_is_an_error_of_ours(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    for server in fork_server.servers():
        server.kill()

    with open_video(clips["plain"]) as reader:
        before = descriptors()
        monkeypatch.setattr(subprocess, "Popen", no_process)
        with pytest.raises(DecodeError) as caught:
            assert reader.info
        assert caught.value.code == "decode.crashed" and caught.value.retryable
        assert descriptors() == before


def test_an_iterator_left_early_frees_the_process_for_the_next(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader:
        for number, frame in enumerate(reader.frames(all_targets(reader))):
            if number == 3:
                assert read_number(frame.pixels) == 3
                break
        (pid,) = children()
        assert [f.pts for f in reader.frames([Target(Fraction(1), 8, 8)])] == [1]
        assert children() == [pid]


def test_a_new_pass_ends_the_one_before(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader:
        old = reader.frames(all_targets(reader))
        next(old)
        assert len(list(reader.frames(all_targets(reader)))) == 90
        with pytest.raises(DecodeError) as caught:
            next(old)
        assert caught.value.code == "decode.stopped"


def test_a_closed_reader_is_an_error(clips: Clips) -> None:
    reader = open_video(clips["plain"])
    frames = reader.frames(all_targets(reader))
    next(frames)
    reader.close()
    reader.close()
    with pytest.raises(DecodeError) as caught:
        next(frames)
    assert caught.value.code == "decode.stopped"
    with pytest.raises(DecodeError):
        list(reader.frames([Target(Fraction(0), 8, 8)]))


def test_no_noise_reaches_the_terminal(
    clips: Clips, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(clips["no_b_frames"].read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with open_video(path) as reader:
        list(reader.frames(all_targets(reader)))
        assert reader.report.damaged_packets
    assert capfd.readouterr() == ("", "")


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from fractions import Fraction
from seedvideo.media import Target, open_video
with open_video({path!r}) as reader:
    frames = list(reader.frames([Target(Fraction(1), 28, 28)]))
    print(frames, len(reader.times), "av" in sys.modules)
"""


@pytest.mark.parametrize("way", ["file", "argument", "stdin", "interactive"])
def test_it_works_however_python_was_started(clips: Clips, tmp_path: Path, way: str) -> None:
    # No ``if __name__ == "__main__"``; and a module of the same name in the current folder, which
    # must not be taken for PyAV.
    script = SCRIPT.format(root=str(ROOT), path=str(clips["plain"]))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "av.py").write_text("raise SystemExit('the wrong av')")
    (tmp_path / "script.py").write_text(script)
    command = {
        "file": [sys.executable, str(tmp_path / "script.py")],
        "argument": [sys.executable, "-c", script],
        "stdin": [sys.executable, "-"],
        "interactive": [sys.executable, "-i", "-q"],
    }[way]
    run = subprocess.run(
        command, input=script + "\n", capture_output=True, text=True, cwd=elsewhere, check=False
    )
    assert "[Frame(pts=1, pixels=(28, 28, 3) uint8)] 90 False" in run.stdout, run.stderr


def test_the_process_ends_when_its_reader_is_killed(clips: Clips, tmp_path: Path) -> None:
    script = SCRIPT.format(root=str(ROOT), path=str(clips["plain"])) + (
        "reader = open_video({path!r}); reader.info\n"
        "import os, pathlib, signal\n"
        "print(pathlib.Path(f'/proc/self/task/{{os.getpid()}}/children').read_text(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    ).format(path=str(clips["plain"]))
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    pid = int(run.stdout.split()[-1])
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        signal.sigtimedwait([], 0.05)
    raise AssertionError("the decode process outlived its reader")


def test_targets_are_checked(clips: Clips) -> None:
    from seedvideo.errors import ConfigError

    with open_video(clips["plain"]) as reader:
        with pytest.raises(ConfigError, match="sorted"):
            reader.frames([Target(Fraction(2), 8, 8), Target(Fraction(1), 8, 8)])
        with pytest.raises(ConfigError, match="auto, sequential, seek"):
            reader.frames([], strategy="fast")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="limits"):
            reader.frames([Target(Fraction(0), 100_000, 8)])
        with pytest.raises(ValueError, match="1x1"):
            Target(Fraction(0), 0, 8)
        assert list(reader.frames([])) == []


def test_many_targets_on_one_frame(clips: Clips, tmp_path: Path) -> None:
    path = coded_video(tmp_path / "one.mp4", "-c:v libx264 -pix_fmt yuv420p", frames=1)
    with open_video(path) as reader:
        frames = list(reader.frames([Target(Fraction(i), 8, 8) for i in range(500)]))
    assert len(frames) == 500 and {frame.pts for frame in frames} == {Fraction(0)}
