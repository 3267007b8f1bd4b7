"""What the tests of the command line share: painted clips and a model without weights."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from seedvideo import api, pipeline
from seedvideo.cli import main
from tests.synthetic_clips import ColourModel, paint


class Result(NamedTuple):
    """What one command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process."""

    def run_words(*words: str | Path) -> Result:
        code = main([str(word) for word in words])
        return Result(code, *capsys.readouterr())

    return run_words


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ColourModel:
    """Every name of a model gives the one that names colours."""
    loaded = ColourModel()
    monkeypatch.setattr(api, "load", lambda name="nano", options=None: loaded)
    monkeypatch.setattr(pipeline, "load_costs", lambda name="nano", options=None: loaded)
    return loaded


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``red.mp4``, ``two.mp4`` (red, blue), ``dark.mp4`` and ``text.mp4``."""
    folder = tmp_path_factory.mktemp("clips")
    paint(folder / "red.mp4", ["red"])
    paint(folder / "two.mp4", ["red", "blue"], shot_s=2)
    paint(folder / "dark.mp4", ["black"])
    (folder / "text.mp4").write_text("this is no video\n")
    return folder
