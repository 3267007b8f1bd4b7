"""The libraries that people train with load the datasets: webdataset, datasets and pyarrow."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from pyarrow import dataset as arrow_dataset

import seedvideo
from seedvideo.datasets.schema import COLUMNS
from tests.datasets.clip_jobs import DONE, exported, job_of, source_of
from tests.doc_examples import DOCS, blocks, table_after

GUIDE: Final = DOCS / "guides" / "datasets.md"
EXTENDING: Final = DOCS / "guides" / "extend.md"

WEBDATASET = """
import hashlib, json, sys
import webdataset

loaded = webdataset.WebDataset(sys.argv[1:], shardshuffle=False).decode()
pairs = loaded.to_tuple("json", "txt", "mp4;mkv")
for row, text, data in pairs:
    print(json.dumps([row["id"], text, hashlib.sha256(data).hexdigest(), row["source_sha256"]]))
"""

DATASETS = """
import hashlib, json, os, sys
import datasets

loaded = datasets.load_dataset(sys.argv[1], split="train", streaming=sys.argv[2] == "stream")
print(json.dumps([str(loaded.features["video"]), sorted(loaded.features)]))
for row in loaded.cast_column("video", datasets.Video(decode=False)):
    data = row["video"]["bytes"]
    digest = None if data is None else hashlib.sha256(data).hexdigest()
    print(json.dumps([row["id"], row["caption"], digest, row.get("source_sha256"), row["extra"]]))
# After streaming, threads of datasets abort a process that ends in the usual way.
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_of(tmp_path_factory.mktemp("job"))


def in_child(
    program: str,
    *words: str | Path,
    cache: Path,
    folder: Path | None = None,
    is_json: bool = True,
) -> list[Any]:
    """Run a program without a network, and return its lines, which may be JSON."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "HF_DATASETS_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **offline},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [json.loads(line) for line in lines] if is_json else list(lines)


def test_webdataset_loads_the_shards(job: Path, tmp_path: Path) -> None:
    exported(job, "webdataset", tmp_path / "out", shard_gib=1e-5)
    shards = sorted((tmp_path / "out").glob("train-*.tar"))
    assert len(shards) > 1
    rows = in_child(WEBDATASET, *shards, cache=tmp_path)
    assert [row[0] for row in rows] == list(DONE)
    for name, text, digest, stated in rows:
        assert text == f"This is {name}." and digest == stated


@pytest.mark.parametrize("how", ["whole", "stream"])
def test_datasets_loads_the_folder(job: Path, tmp_path: Path, how: str) -> None:
    exported(job, "hf", tmp_path / "out", shard_gib=1e-5)
    (video, columns), *rows = in_child(DATASETS, tmp_path / "out", how, cache=tmp_path / "cache")
    assert video.startswith("Video(") and {"caption", "video", "extra"} <= set(columns)
    assert [row[0] for row in rows] == list(DONE)
    for name, text, digest, stated, _ in rows:
        assert text == f"This is {name}." and digest == stated
    assert rows[0][4] == {"note": None, "score": "4.5"}


def test_datasets_loads_a_folder_without_bytes(job: Path, tmp_path: Path) -> None:
    exported(job, "hf", tmp_path / "out", with_bytes=False)
    _, *rows = in_child(DATASETS, tmp_path / "out", "whole", cache=tmp_path / "cache")
    assert [row[0] for row in rows] == list(DONE)
    assert {row[2] for row in rows} == {None}


def test_pyarrow_filters_the_table(job: Path, tmp_path: Path) -> None:
    exported(job, "dataset", tmp_path / "out")
    found = arrow_dataset.dataset(tmp_path / "out" / "captions.parquet")
    done = arrow_dataset.field("state") == "done"
    table = found.to_table(columns=["id", "caption", "domain"], filter=done)
    assert table["id"].to_pylist() == list(DONE)
    assert table["domain"].to_pylist() == ["cooking", "sport", None, None]


def test_the_programs_of_the_guide(job: Path, tmp_path: Path) -> None:
    for form, name in (("dataset", "captions"), ("webdataset", "shards"), ("hf", "hub")):
        exported(job, form, tmp_path / name)
    programs = blocks(GUIDE, "python")
    table, tars, hub = (
        in_child(program, cache=tmp_path / "cache", folder=tmp_path, is_json=False)
        for program in programs
    )
    assert table == ["4 This is a/one.mp4."]
    sizes = {name: (job.parent / "clips" / name).stat().st_size for name in DONE}
    lines = [f"{name} This is {name}. {sizes[name]}" for name in DONE]
    assert tars == hub == lines


def test_the_guide_has_every_column() -> None:
    cells = [row[0] for row in table_after(GUIDE, "columns")]
    assert [name for cell in cells for name in re.findall(r"`(\w+)`", cell)] == list(COLUMNS)


def test_the_exporter_of_write_your_own(job: Path, tmp_path: Path) -> None:
    (program,) = (text for text in blocks(EXTENDING, "python") if "def captions" in text)
    names: dict[str, Any] = {"seedvideo": seedvideo}
    exec(compile(program, "extend.md", "exec"), names)  # noqa: S102  # our own page
    with source_of(job) as source:
        assert names["captions"](source, tmp_path / "out") == len(DONE)
    texts = sorted(path.read_text() for path in (tmp_path / "out").glob("*.txt"))
    assert texts == sorted(f"This is {name}." for name in DONE)
    videos = {path.read_bytes() for path in (tmp_path / "out").glob("*.m*")}
    assert videos == {(job.parent / "clips" / name).read_bytes() for name in DONE}
