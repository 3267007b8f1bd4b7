"""Run the examples of PyTorch and asyncio, and the Python of their guide."""

import subprocess
import sys
from pathlib import Path

import pytest

import seedvideo
from seedvideo import api
from tests.doc_examples import DOCS, ROOT, blocks, documented_clip
from tests.synthetic_clips import ColourModel, paint
from tests.tiers import slow

EXAMPLES = ROOT / "examples"
GUIDE = DOCS / "guides" / "pytorch.md"
NAMES = ["async_captions", "dataloader"]
MAX_LINES = 40


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two videos, and a file that is not one."""
    folder = tmp_path_factory.mktemp("examples")
    broken = folder / "broken.mp4"
    broken.write_text("not a video")
    return [str(paint(folder / f"{name}.mp4", [name])) for name in ("red", "blue")] + [str(broken)]


def output(name: str, arguments: list[str]) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return sorted(run.stdout.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_short(name: str) -> None:
    lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < MAX_LINES


def test_data_loader(clips: list[str]) -> None:
    *_, broken = clips
    lines = output("dataloader", clips)
    assert [line.partition(": ")[0] for line in lines] == sorted(clips)
    failed, *shown = sorted(lines, key=lambda line: broken not in line)
    assert failed == f"{broken}: {broken}: is a text file, not a video"
    assert all(line.endswith(" px") and " frames of " in line for line in shown)


@slow
def test_async_captions(clips: list[str]) -> None:
    lines = output("async_captions", clips)
    assert [line.partition(": ")[0] for line in lines] == sorted(clips)
    assert all(len(line.partition(": ")[2]) > 4 for line in lines)


@pytest.mark.parametrize(
    "code", blocks(GUIDE, "python"), ids=["times", "tensors", "dataset", "aio"]
)
def test_python_of_the_guide_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    documented_clip(tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    for home in (seedvideo, api):
        monkeypatch.setattr(home, "load", lambda name="nano", options=None: ColourModel())
    exec(compile(code, "pytorch.md", "exec"), {"__name__": "guide"})  # noqa: S102  # our own page
    assert capfd.readouterr().out
