"""No command loads anything heavy before it needs it: asking for help or mistyping is instant."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "av", "cv2", "decord", "scenedetect", "numpy", "PIL")


@pytest.mark.parametrize(
    "command",
    ["caption", "ask", "ground", "plan", "frames", "shots", "models", "doctor", "eval", "batch"],
)
def test_help_of_a_command_is_light(command: str) -> None:
    assert heavy_after([command, "--help"]) == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "x", "--policy", "none"],
        ["caption", "x", "--budget", "much"],
        ["ask", "x", ""],
        ["capton"],
    ],
)
def test_wrong_usage_is_light(words: list[str]) -> None:
    assert heavy_after(words) == "[]"


def test_version_is_light() -> None:
    assert heavy_after(["--version"]) == "[]"


def heavy_after(words: list[str]) -> str:
    """Which heavy packages a command line leaves loaded, as the last line of its output."""
    code = (
        f"import sys; from seedvideo.cli import main; main({words!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()[-1]
