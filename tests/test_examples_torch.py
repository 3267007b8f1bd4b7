"""Run the examples of PyTorch and asyncio, and the Python of their guide."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import seedvideo
from seedvideo import api
from seedvideo.integrations import torch as tensors
from tests.doc_examples import DOCS, ROOT, blocks, documented_clip
from tests.synthetic_clips import ColourModel, paint
from tests.tiers import slow

EXAMPLES = ROOT / "examples"
GUIDE = DOCS / "guides" / "pytorch.md"
MIGRATION = DOCS / "guides" / "migrate.md"
NAMES = ["async_captions", "dataloader"]
MAX_LINES = 40


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two videos, and a file that is not one."""
    folder = tmp_path_factory.mktemp("examples")
    broken = folder / "broken.mp4"
    broken.write_text("not a video")
    return [str(paint(folder / f"{name}.mp4", [name])) for name in ("red", "blue")] + [str(broken)]


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return documented_clip(tmp_path_factory.mktemp("guide") / "clip.mp4")


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
    code: str,
    documented: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(documented.parent)
    for home in (seedvideo, api):
        monkeypatch.setattr(home, "load", lambda name="nano", options=None: ColourModel())
    exec(compile(code, "pytorch.md", "exec"), {"__name__": "guide"})  # noqa: S102  # our own page
    assert capfd.readouterr().out


def calls_of_the_migration_page() -> list[str]:
    """Return our expressions: the inline code of the second column that has a call or a dot."""
    rows = re.findall(r"^\| .+ \| (.+) \|$", MIGRATION.read_text(encoding="utf-8"), re.M)
    code = [part.rpartition(" = ")[2] for row in rows for part in re.findall(r"`([^`]+)`", row)]
    ours = re.compile(r"(?:video|tensors|seedvideo|shots|shot|group|float)[.(]")
    return [part for part in code if ours.match(part) and "integrations" not in part]


def test_calls_of_the_migration_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = paint(tmp_path / "clip.mp4", ["red", "blue"])
    monkeypatch.chdir(tmp_path)
    calls = calls_of_the_migration_page()
    assert len(calls) > 20
    with seedvideo.open(path) as video:
        plan = seedvideo.plan(video, policy="uniform", max_frames=2)
        shots = seedvideo.shots(video)
        names = {"seedvideo": seedvideo, "tensors": tensors, "video": video, "path": path}
        names |= {"plan": plan, "shots": shots, "shot": shots.shots[0], "i": 3, "n": 2_000}
        names |= {"indices": [5, 1], "times": [0.5, 0.1], "a": 0.2, "b": 0.5}
        names |= {"group": tensors.frames_tensor(video, plan)[0]}
        for call in calls:
            eval(call.partition("; ")[0], names)  # noqa: S307  # our own page
