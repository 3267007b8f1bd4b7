"""``seedvideo shots`` on a painted clip; its CSV is compared with PySceneDetect's own."""

import io
import json
from pathlib import Path

import pytest
from scenedetect import AdaptiveDetector, detect
from scenedetect.output import write_scene_list

from tests.cli.conftest import Run
from tests.synthetic_clips import paint


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return paint(tmp_path / "three.mp4", ["red", "blue", "green"], shot_s=2)


def test_text_names_every_shot(run: Run, three: Path) -> None:
    result = run("shots", three, "--analysis", "full")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].endswith("3 shots (full)")
    assert lines[2] == "   2  00:00:02.000 - 00:00:04.000  2.000 s, 20 frames"


def test_csv_is_the_scene_list_of_pyscenedetect(run: Run, three: Path) -> None:
    theirs = io.StringIO()
    scenes = detect(str(three), AdaptiveDetector())
    cuts = [start.get_timecode() for start, _ in scenes[1:]]  # As its command line does.
    write_scene_list(theirs, scenes, cut_list=cuts)
    assert run("shots", three, "--analysis", "full", "-f", "csv").out == theirs.getvalue()


def test_json_has_positions_and_times(run: Run, three: Path, tmp_path: Path) -> None:
    for _ in range(2):
        result = run("shots", three, "--json", "--analysis", "full", "--cache", tmp_path / "kept")
        shots = json.loads(result.out)["shots"]
        assert [shot["start_s"] for shot in shots] == [0, 2, 4]
        assert [shot["first_frame"] for shot in shots] == [0, 20, 40]
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_a_damaged_cache_entry_is_reported(run: Run, three: Path, tmp_path: Path) -> None:
    run("shots", three, "--cache", tmp_path / "kept")
    next((tmp_path / "kept").iterdir()).write_bytes(b"damaged")
    result = run("shots", three, "--cache", tmp_path / "kept")
    assert result.code == 0
    assert "analysed again" in result.err


def test_a_file_that_is_no_video(run: Run, clips: Path) -> None:
    result = run("shots", clips / "text.mp4")
    assert result.code == 1
    assert "media.not_video" in result.err
