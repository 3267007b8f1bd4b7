"""The walk of the guide: films become a balanced dataset, and no clip is lost without a rule."""

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.doc_examples import DOCS, ROOT, blocks, console_runs, run_session
from tests.tiers import slow
from tests.walk_films import make_films

(SESSION,) = blocks(DOCS / "guides" / "walk.md", "shell-session")


REAL = ROOT.parent / "shared" / "videos"
REAL_FILMS = ("cosmos_test_video_30s.mp4", "pyscenedetect_counter.mp4", "torchcodec_nasa_13013.mp4")


@pytest.fixture(scope="module", params=["made", "real"])
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the session was run, with the films of the page or with real ones."""
    folder = tmp_path_factory.mktemp("walk")
    runs = console_runs(SESSION)
    if request.param == "made":
        make_films(folder / "films")
        # Captions may differ between processors, and with them all later counts.
        captioned = next(i for i, (line, _) in enumerate(runs) if "batch run" in line)
        later = [(line, None) for line, _ in runs[captioned:]]
        run_session([*runs[:captioned], *later], folder, module="seedvideo")
        return folder
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    (folder / "films").mkdir()
    for name in REAL_FILMS:
        (folder / "films" / name).symlink_to(REAL / name)
    run_session([(command, None) for command, _ in runs], folder, module="seedvideo")
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def reasons(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@slow
def test_every_clip_stays_or_has_a_rule(walked: Path) -> None:
    clips = [row["id"] for row in lines(walked / "clips.jsonl")]
    curated = [row["id"] for row in lines(walked / "curated.jsonl")]
    balanced = [row["id"] for row in lines(walked / "balanced.jsonl")]
    dropped, unbalanced = reasons(walked / "dropped.csv"), reasons(walked / "unbalanced.csv")
    assert sorted([*curated, *dropped]) == sorted(clips)
    assert sorted([*balanced, *unbalanced]) == sorted(curated)
    assert all(row["rule"] and row["message"] for row in (*dropped.values(), *unbalanced.values()))
    assert {row["kept"] for row in dropped.values() if row["kept"]} <= set(curated)


@slow
def test_the_tar_has_the_balanced_clips(walked: Path) -> None:
    with tarfile.open(walked / "shards" / "train-000000.tar") as tar:
        files = {name: tar.extractfile(name) for name in tar.getnames() if name.endswith(".json")}
        rows = [json.loads(file.read()) for file in files.values() if file is not None]
    balanced = {row["id"]: row for row in lines(walked / "balanced.jsonl")}
    assert [row["id"] for row in rows] == list(balanced)
    for row in rows:
        table = balanced[row["id"]]
        assert (row["caption"], row["concepts"]) == (table["text"], table["concepts"])
        assert row["model"] == "nano"
        # The signals of the table and those of the records are of the same window.
        assert row["quality"]["duration_s"] == pytest.approx(row["end_s"] - row["start_s"])
