"""What the machine or the shell does is never called a bug of seedvideo."""

import errno
import json
import os
import resource
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seedvideo.environment import DECODER_BYTES, address_space_left_bytes, resolve_error
from seedvideo.errors import InputError
from seedvideo.media import open_video
from seedvideo.records import error_record
from tests.synthetic_clips import paint
from tests.tiers import exhaustive, slow

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("clips") / "red.mp4"
    paint(path, ["red"])
    return path


def shell(script: str, *, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in which ``seedvideo`` is this package's command."""
    command = f'seedvideo() {{ {shlex.quote(sys.executable)} -m seedvideo "$@"; }}\n{script}'
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )


KINDS: dict[str, Exception] = {
    "system.out_of_memory": MemoryError(),
    "system.too_many_files": OSError(errno.EMFILE, "Too many open files"),
    "system.too_many_processes": RuntimeError("can't start new thread"),
    "system.no_proc": RuntimeError("Failed to initialize cpuinfo!"),
    "output.disk_full": OSError(errno.EFBIG, "File too large", "x.png"),
    "internal.error": RuntimeError("generator raised StopIteration"),
}


@pytest.mark.parametrize("code", KINDS)
def test_errors_of_libraries_get_the_code_of_their_cause(code: str) -> None:
    assert error_record(KINDS[code]).code == code
    if code != "internal.error":
        assert getattr(resolve_error(KINDS[code]), "hint", "")


@pytest.mark.parametrize(
    ("limit_kib", "command", "code", "status"),
    [
        (120_000, "plan", "system.out_of_memory", 1),
        pytest.param(300_000, "plan", "system.out_of_memory", 1, marks=exhaustive),
        pytest.param(300_000, "frames -o out", "system.out_of_memory", 1, marks=exhaustive),
        (400_000, "caption", "model.out_of_memory", 3),
        pytest.param(1_050_000, "caption", "model.out_of_memory", 3, marks=exhaustive),
        pytest.param(600_000, "batch run -o job", "model.out_of_memory", 3, marks=exhaustive),
    ],
)
def test_little_address_space(
    clip: Path, tmp_path: Path, limit_kib: int, command: str, code: str, status: int
) -> None:
    run = shell(f"ulimit -v {limit_kib}; seedvideo {command} {clip}", cwd=tmp_path)
    assert f"[{code}]" in run.stderr and "hint:" in run.stderr
    assert run.returncode == status and "internal" not in run.stderr


def test_a_decode_process_without_address_space_is_an_error(clip: Path, tmp_path: Path) -> None:
    # In Python, where numpy may be loaded long before.
    script = (
        "import resource, sys\n"
        "from seedvideo.media import open_video\n"
        "resource.setrlimit(resource.RLIMIT_AS, (180 << 20, 180 << 20))\n"
        "try: open_video(sys.argv[1]).info\n"
        "except Exception as error: print(error.code)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(clip)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "decode.out_of_memory\n", run.stderr


def test_address_space_left_is_that_of_the_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    assert soft != resource.RLIM_INFINITY or address_space_left_bytes() is None
    resource.setrlimit(resource.RLIMIT_AS, (1 << 42, hard))
    try:
        left_bytes = address_space_left_bytes()
        assert left_bytes is not None and DECODER_BYTES < left_bytes < 1 << 42
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_few_descriptors_and_small_files(clip: Path, tmp_path: Path) -> None:
    few = shell(f"ulimit -n 5; seedvideo plan {clip}", cwd=tmp_path)
    assert few.returncode in (1, 3) and "internal" not in few.stderr and "[" in few.stderr
    small = shell(f"ulimit -f 1; seedvideo frames {clip} -o out", cwd=tmp_path)
    assert small.returncode == 1 and "[output." in small.stderr


def test_a_deleted_working_folder(clip: Path, tmp_path: Path) -> None:
    script = (
        "mkdir gone; cd gone; rmdir ../gone\n"
        f"seedvideo plan {clip} --json; echo $? >&2\n"
        f"seedvideo batch run {clip} -o {tmp_path}/job; echo $? >&2\n"
    )
    run = shell(script, cwd=tmp_path)
    assert json.loads(run.stdout)
    lines = [line for line in run.stderr.splitlines() if "getcwd" not in line]
    assert lines[0] == "0" and "[batch.no_folder]" in lines[1] and lines[-1] == "3"


def test_folders_that_cannot_be_written_and_odd_locales(clip: Path, tmp_path: Path) -> None:
    named = tmp_path / "ünï 影.mp4"
    shutil.copy(clip, named)
    nowhere = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}
    words = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    run = shell(f"seedvideo plan '{named}' <&- 2>&-; echo $?", cwd=tmp_path, **nowhere, **words)
    assert run.stdout.endswith("\n0\n") and run.stderr == ""


def test_a_hidden_proc(clip: Path, tmp_path: Path) -> None:
    if (
        shutil.which("unshare") is None
        or shell("unshare -m mount -t tmpfs none /proc", cwd=tmp_path).returncode
    ):
        pytest.skip("this system lets no process hide /proc from itself")
    python = shlex.quote(sys.executable)
    script = f"mount -t tmpfs none /proc && {python} -m seedvideo plan {clip}"
    run = shell(f"unshare -m bash -c {shlex.quote(script)}", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")


def pipe() -> int:
    return os.pipe()[0]


def socket_end() -> int:
    ours, its = socket.socketpair()
    its.close()
    return ours.detach()


def device() -> int:
    return os.open("/dev/zero", os.O_RDONLY)


@pytest.mark.parametrize("make", [pipe, socket_end, device])
@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"])
def test_streams_are_no_files(make: Callable[[], int], folder: str) -> None:
    descriptor = make()
    try:
        with pytest.raises(InputError) as caught:
            open_video(f"{folder}/{descriptor}")
        assert caught.value.code == "input.not_a_file" and "save" in caught.value.hint
    finally:
        os.close(descriptor)


@slow
def test_stdin_may_be_a_file_and_not_a_pipe(clip: Path, tmp_path: Path) -> None:
    script = (
        f"seedvideo plan /dev/stdin < {clip} > a.txt && cat {clip} | seedvideo plan /dev/stdin;"
        f"seedvideo plan <(cat {clip}); mkfifo fifo; seedvideo plan fifo"
    )
    run = shell(script, cwd=tmp_path)
    assert run.stderr.count("[input.not_a_file]") == 3 and (tmp_path / "a.txt").stat().st_size
    assert "error" not in run.stdout


@pytest.mark.parametrize("name", ["/dev/fd/987", "/proc/self/fd/x", "/dev/stdin/x"])
def test_a_descriptor_that_is_not_open_is_no_file(name: str) -> None:
    with pytest.raises(InputError) as caught:
        open_video(name)
    assert caught.value.code in ("input.not_found", "input.not_a_file")
