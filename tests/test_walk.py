"""The walk of the guide: films become a balanced dataset, and no clip is lost without a rule."""

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.doc_examples import DOCS, blocks, console_runs, run_session
from tests.tiers import slow
from tests.walk_films import make_films

(SESSION,) = blocks(DOCS / "guides" / "walk.md", "shell-session")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walk")
    make_films(folder / "films")
    run_session(console_runs(SESSION), folder)
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
    assert [row["id"] for row in rows] == [row["id"] for row in lines(walked / "balanced.jsonl")]
    assert sorted(colour for row in rows for colour in row["concepts"]) == ["blue", "green", "red"]
    # The signals of the table and those of the records are of the same window.
    for row in rows:
        assert row["quality"]["duration_s"] == pytest.approx(row["end_s"] - row["start_s"])
