"""README.md tells the truth: its Python runs, its commands print what it shows, its tree exists."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import seedvideo
from seedvideo import api
from seedvideo.cli import main
from seedvideo.cli.console import COULD_NOT_START, INTERRUPTED, SOME_FAILED, WRONG_USAGE
from seedvideo.writers import WRITERS
from tests.doc_examples import README, ROOT, blocks, console_runs, documented_clip
from tests.synthetic_clips import ColourModel
from tests.tiers import slow

PYTHON = blocks(README, "python")
SHELL = [console_runs(block) for block in blocks(README, "shell-session")]
CONSOLE = [run for block in blocks(README, "console") for run in console_runs(block)]
TEXT = README.read_text(encoding="utf-8")
PACKAGE = ROOT / "seedvideo"
MAX_LINES = 5
MAX_SHELL_LINES = 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return documented_clip(tmp_path_factory.mktemp("readme") / "clip.mp4")


@pytest.fixture
def beside_the_clip(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / clip.name).symlink_to(clip)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ColourModel:
    """Every name of a model gives one that needs no weights."""
    loaded = ColourModel()
    # This order: the package takes its lazy name from the api, which must still have its own.
    for home in (seedvideo, api):
        monkeypatch.setattr(home, "load", lambda name="nano": loaded)
    return loaded


def test_each_of_the_four_functions_is_shown() -> None:
    shown = "".join(PYTHON)
    assert all(f"seedvideo.{name}(" in shown for name in ("open", "plan", "load", "caption"))


@pytest.mark.parametrize("code", PYTHON)
def test_python_runs(
    code: str,
    beside_the_clip: Path,
    model: ColourModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [line for line in code.splitlines() if line and line != "import seedvideo"]
    assert len(lines) <= MAX_LINES
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102  # our own page
    assert capsys.readouterr().out


@pytest.mark.parametrize(("command", "output"), CONSOLE)
def test_commands_print_what_is_shown(
    command: str, output: str, beside_the_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = shlex.split(command)
    assert program == "seedvideo"
    assert main(words) == 0
    printed = capsys.readouterr()
    assert (printed.out or printed.err) == output


@slow
@pytest.mark.parametrize("runs", SHELL)
def test_a_session_in_a_shell(
    runs: list[tuple[str, str]], beside_the_clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One shell for all its lines; the command's jobs have a model that needs no weights."""
    assert len(runs) + sum(shown.count("\n") for _, shown in runs) <= MAX_SHELL_LINES
    program = tmp_path_factory.mktemp("bin") / "seedvideo"
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tests.batch.command "$@"\n'
    )
    program.chmod(0o755)
    script = "".join(
        f"{{ {command}\n}} >{beside_the_clip}/{place}.out 2>{beside_the_clip}/{place}.err\n"
        for place, (command, _) in enumerate(runs)
    )
    path = f"{program.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=beside_the_clip,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0
    for place, (_, shown) in enumerate(runs):
        printed, said = (
            (beside_the_clip / f"{place}.{end}").read_text(encoding="utf-8")
            for end in ("out", "err")
        )
        # What is not shown may be talk: progress, or the shell's word on what was killed.
        assert "Traceback" not in said
        assert (printed or (said if shown else "")) == shown


def test_the_tree_names_every_folder_and_no_other() -> None:
    lines = TEXT.partition("<!-- tree -->")[2].partition("```text\n")[2].partition("```")[0]
    named, path = set(), ROOT
    depths: dict[int, Path] = {0: ROOT}
    for line in lines.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        path = depths[depth] / line.split()[0]
        depths[depth + 1] = path
        named.add(path)
        assert len(line.split()) > 1 or path == PACKAGE, f"{path} is not explained"
    assert {path for path in named if not path.is_dir()} == set()
    rooms = {path.parent for path in PACKAGE.rglob("__init__.py")}
    assert rooms - named == set()


def test_every_format_and_exit_code_is_told() -> None:
    assert all(f"`{name}`" in TEXT for name in WRITERS)
    for code in (0, SOME_FAILED, WRONG_USAGE, COULD_NOT_START, INTERRUPTED):
        assert f"| {code} |" in TEXT


def test_every_benchmark_is_named() -> None:
    named = set(re.findall(r"`benchmarks/(\w+\.py)`", TEXT))
    scripts = {path.name for path in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert named == scripts
