"""No command loads anything heavy before it needs it: asking for help or mistyping is instant."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiers import quick_first

HEAVY = ("torch", "av", "cv2", "decord", "scenedetect", "numpy", "PIL", "jinja2")


@pytest.mark.parametrize(
    "command",
    quick_first(
        [
            *("caption", "ask", "ground", "plan", "frames", "shots", "split", "inspect"),
            *("curate", "models", "doctor", "eval", "batch"),
        ]
    ),
)
def test_help_of_a_command_is_light(command: str) -> None:
    assert heavy_after([command, "--help"]) == "[]"


@pytest.mark.parametrize(
    "words",
    quick_first(
        [
            ["plan", "x", "--policy", "none"],
            ["caption", "x", "--budget", "much"],
            ["ask", "x", ""],
            ["capton"],
        ]
    ),
)
def test_wrong_usage_is_light(words: list[str]) -> None:
    assert heavy_after(words) == "[]"


def test_version_is_light() -> None:
    assert heavy_after(["--version"]) == "[]"


@pytest.mark.parametrize(
    "words",
    quick_first(
        [
            ["plan", "CLIP", "--model", "nano"],
            ["models"],
            ["models", "--json"],
            ["plan", "CLIP", "--model", "nanoo"],
            ["caption", "CLIP", "--model", "nanoo"],
            ["frames", "CLIP", "--model", "nano", "-o", "OUT"],
            ["shots", "CLIP"],
            ["inspect", "CLIP"],
        ],
        2,
    ),
    ids=" ".join,
)
def test_no_torch_without_a_model_at_work(clips: Path, tmp_path: Path, words: list[str]) -> None:
    places = {"CLIP": str(clips / "two.mp4"), "OUT": str(tmp_path / "out")}
    assert "'torch'" not in heavy_after([places.get(word, word) for word in words])


def test_a_plan_in_python_for_a_named_model_loads_no_torch(clips: Path) -> None:
    code = (
        "import sys, seedvideo\n"
        f"plan = seedvideo.plan({str(clips / 'two.mp4')!r}, model='nano')\n"
        "print(plan.geometry.name, 'torch' in sys.modules)"
    )
    assert last_line(code) == "nano False"


def heavy_after(words: list[str]) -> str:
    """Which heavy packages a command line leaves loaded, as the last line of its output."""
    code = (
        f"import sys; from seedvideo.cli import main; main({words!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    return last_line(code)


def last_line(code: str) -> str:
    """What a Python process prints at the end."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()[-1]
