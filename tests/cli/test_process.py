"""The command as a process: what a shell, a pipe and a terminal see."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from shlex import quote

import pytest

from tests.tiers import quick_among, quick_first, slow

COMMAND = [sys.executable, "-m", "seedvideo"]


def run_process(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_version() -> None:
    done = run_process("--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"seedvideo ")


@pytest.mark.parametrize("words", quick_first([(), ("--help",), ("caption", "--help"), ("-h",)], 2))
def test_help(words: tuple[str, ...]) -> None:
    done = run_process(*words)
    assert b"Usage: seedvideo" in done.stdout + done.stderr
    assert done.returncode == (0 if words else 2)


def test_plan_of_a_real_file(clips: Path) -> None:
    done = run_process("plan", clips / "two.mp4")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"160x96" in done.stdout


def test_a_bad_file(clips: Path) -> None:
    done = run_process("plan", clips / "text.mp4")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"[media.not_video]" in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_unknown_model_stops_at_once(clips: Path) -> None:
    done = run_process("caption", clips / "red.mp4", "--model", "no-such-model")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"[model.unknown]" in done.stderr


@pytest.mark.parametrize("encoding", quick_first(["ascii", "utf-8", "latin-1"]))
def test_any_name_prints_in_any_encoding(encoding: str) -> None:
    name = os.fsdecode("видео 👩 ".encode() + b"\xff\x1b[2J.mp4")
    done = run_process("plan", name, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.returncode == 1
    assert b"[input.not_found]" in done.stderr
    assert b"\x1b" not in done.stderr
    assert b"Traceback" not in done.stderr


# The checkout may lie in a path with spaces.
PYTHON = quote(sys.executable)

SLOW_MODEL = """
import signal, sys, time
from seedvideo import api
from seedvideo.cli import main
from tests.synthetic_clips import ColourModel

# Under a shell that runs the tests in its background, Ctrl-C starts out ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

class SlowModel(ColourModel):
    def generate(self, parts, **options):
        print("working", flush=True)
        time.sleep(60)

api.load = lambda name, options=None: SlowModel()
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_while_the_model_works(clips: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_MODEL, "caption", clips / "red.mp4"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"interrupted\n")


INTERRUPTED_IMPORT = """
import os, signal, time

# Under a shell that runs the tests in its background, Ctrl-C starts out ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.kill(os.getpid(), signal.SIGINT)
time.sleep(60)
"""


@pytest.mark.parametrize("module", quick_first(["typer", "shutil"]))
@pytest.mark.parametrize(
    "entry",
    quick_first(["-m seedvideo", "-c 'import sys, seedvideo.cli as c; sys.exit(c.main())'"]),
)
def test_ctrl_c_while_modules_are_loaded(tmp_path: Path, module: str, entry: str) -> None:
    (tmp_path / f"{module}.py").write_text(INTERRUPTED_IMPORT)
    done = in_shell(f"PYTHONPATH={quote(str(tmp_path))} exec {PYTHON} {entry} --version")
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"interrupted\n")


def test_a_closed_pipe_is_no_crash(clips: Path) -> None:
    command = f"{PYTHON} -m seedvideo plan {quote(str(clips / 'two.mp4'))} --explain | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)
    assert done.stderr == b""


@slow
def test_a_closed_pipe_ends_captions_without_a_word_of_error(clips: Path) -> None:
    command = f"{PYTHON} -m seedvideo caption -q --json {quote(str(clips / 'two.mp4'))} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=120, check=False)
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("words", quick_first([("plan",), ("plan", "--json")]))
def test_a_full_disk_is_one_line(clips: Path, words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *words, clips / "two.mp4"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].endswith(b"[output.unwritable]")
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(
    "words", quick_first(["--help", "ask --help", "batch run --help", "--version"])
)
@pytest.mark.parametrize("environment", quick_first(["PYTHONUNBUFFERED=", "PYTHONUNBUFFERED=1"]))
def test_a_full_disk_is_no_bug_of_the_help(words: str, environment: str) -> None:
    done = in_shell(f"{environment} exec {PYTHON} -m seedvideo {words} >/dev/full")
    listed = in_shell(f"exec {PYTHON} -m seedvideo eval list >/dev/full")
    assert b"[output.unwritable]" in done.stderr
    assert (done.returncode, done.stderr) == (listed.returncode, listed.stderr)


def in_shell(command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("closed", quick_among(["<&-", "2>&-", "<&- 2>&-"], ("<&- 2>&-",)))
def test_closed_streams_are_empty(clips: Path, closed: str) -> None:
    done = in_shell(f"exec {PYTHON} -m seedvideo plan {quote(str(clips / 'two.mp4'))} {closed}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"160x96" in done.stdout


@pytest.mark.parametrize(
    "words",
    quick_among(
        [
            "ask CLIP what",
            "ask CLIP what -f json",
            "ground CLIP red",
            "caption CLIP",
            "caption CLIP -o -",
            "plan CLIP",
            "plan CLIP --json",
            "shots CLIP",
            "eval list",
            "--version",
        ],
        ("caption CLIP", "plan CLIP --json"),
    ),
)
def test_a_closed_stdout_is_an_error_if_a_result_would_be_lost(clips: Path, words: str) -> None:
    words = words.replace("CLIP", quote(str(clips / "two.mp4")))
    done = in_shell(f"exec {PYTHON} -m seedvideo {words} >&-")
    assert done.returncode == 3
    assert done.stderr.splitlines()[0].endswith(b"it is closed [output.unwritable]")
    assert len(done.stderr.splitlines()) == 2
    assert in_shell(f"exec {PYTHON} -m seedvideo {words} <&- >&- 2>&-").returncode == 3


def test_a_closed_stdout_is_fine_where_the_result_goes_to_files(
    clips: Path, tmp_path: Path
) -> None:
    words = f"frames {quote(str(clips / 'two.mp4'))} -q -o {quote(str(tmp_path / 'out'))}"
    done = in_shell(f"exec {PYTHON} -m seedvideo {words} <&- >&-")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out" / "contact_sheet.png").exists()


def test_names_from_a_closed_stdin() -> None:
    command = f"exec {PYTHON} -m seedvideo caption - <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no video was named" in done.stderr


def test_a_deleted_current_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && exec {PYTHON} -m seedvideo plan x.mp4"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
