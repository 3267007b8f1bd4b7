"""docs/guides/evaluate.md is correct: its code runs and its predictions are valid."""

import json
import re
import shutil
from pathlib import Path

import pytest

from seedvideo.evaluate.registry import describe_benchmarks
from seedvideo.evaluate.results import read_predictions
from seedvideo.evaluate.scoring import MEASURES, UNPARSED
from seedvideo.evaluate.types import Task
from tests.doc_examples import DOCS, blocks

GUIDE = DOCS / "guides" / "evaluate.md"
TEXT = GUIDE.read_text(encoding="utf-8")
FIXTURES = Path(__file__).parent / "fixtures"


def test_its_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(FIXTURES / "charades_sta.txt", tmp_path / "charades_sta_test.txt")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "SOFA1.mp4").touch()
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(GUIDE, "python")
    exec(compile(code, GUIDE.name, "exec"), {"__name__": "guide"})  # noqa: S102  # our own page
    # 0-10 against 0-8 is .8, against 24.3-30.4 nothing; three items have no video.
    assert "R@1 IoU 0.7" in capsys.readouterr().out
    errors = [
        json.loads(line).get("error")
        for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()[1:]
    ]
    assert sorted(str(error) for error in errors) == ["None"] * 2 + ["input.not_found"] * 3


def test_its_predictions_are_read() -> None:
    lines = [json.loads(block) for block in blocks(GUIDE, "json")]
    tasks: dict[str, Task] = {"3MSZA#1": "ground", "001-1": "ask", "v_NAME": "dense"}
    read = read_predictions(GUIDE, dict(enumerate(lines)), tasks=tasks)
    assert read.keys() == tasks.keys()


def test_it_names_every_benchmark_and_every_measure() -> None:
    named = set(re.findall(r"`([^`\n]+)`", TEXT))
    assert {name for name, _ in describe_benchmarks()} <= named
    measures = {measure.name for task in MEASURES for measure in MEASURES[task]}
    assert measures - {UNPARSED} <= named
