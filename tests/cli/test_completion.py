"""Completion of a shell: typer's own, for commands, their options and choices, and instant."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_light import HEAVY

PROGRAM = (
    "import atexit, sys\n"
    f"atexit.register(lambda: print([n for n in {HEAVY!r} if n in sys.modules], file=sys.stderr))\n"
    "from seedvideo.cli import main; sys.exit(main())"
)


def in_shell(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("seedvideo pl", ["plan"]),
        ("seedvideo plan --polic", ["--policy"]),
        ("seedvideo batch run --policy ", ["seed1.5", "uniform", "keyframes", "adaptive"]),
    ],
)
def test_words_are_completed_without_loading_anything(line: str, offered: list[str]) -> None:
    done = in_shell(
        _SEEDVIDEO_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(line.split(" ")) - 1),
    )
    assert done.stdout.split() == offered
    assert done.stderr == "[]\n"


def test_the_script_is_printed_and_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without it typer searches the parent processes for a shell, which a test may lack.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = in_shell("--show-completion", "bash")
    assert shown.returncode == 0
    assert "_SEEDVIDEO_COMPLETE=complete_bash" in shown.stdout
    done = in_shell("--install-completion", "bash", HOME=str(tmp_path))
    assert done.returncode == 0
    assert (tmp_path / ".bash_completions" / "seedvideo.sh").exists()
    (tmp_path / "file").touch()
    done = in_shell("--install-completion", "bash", HOME=str(tmp_path / "file"))
    assert done.returncode == 1
    assert "[output.unwritable]" in done.stderr
    assert "seedvideo --show-completion" in done.stderr
