"""Datasets of a job that is stopped, or replaces another one: whole or not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seedvideo.datasets.export import DATASET_FORMATS
from seedvideo.datasets.folder import UNFINISHED_NAME
from seedvideo.errors import OutputError
from seedvideo.utils import files
from tests.batch.test_export import FullDisk
from tests.datasets.clip_jobs import (
    all_bytes,
    exported,
    job_of,
)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_of(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("form", DATASET_FORMATS)
def test_a_full_disk_tears_no_file(
    form: str, job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(job, form, tmp_path / "whole", shard_gib=1e-5)
    whole = all_bytes(tmp_path / "whole")
    for most in range(0, 2_000, 3 if form == "webdataset" else 41):
        left, out = [most], tmp_path / f"out{most}"
        with monkeypatch.context() as patch:
            patch.setattr(files, "_create", lambda path, left=left: FullDisk(path.open("xb"), left))
            code = stopped_by(job, form, out)
        if code is None:
            break
        assert code == "output.disk_full"
        found = {name: data for name, data in all_bytes(out).items() if name != UNFINISHED_NAME}
        assert found.items() <= whole.items() and "dataset.json" not in found
    else:
        pytest.fail("it never succeeded")
    assert most > 40
    assert all_bytes(out) == whole


def stopped_by(job: Path, form: str, out: Path) -> str | None:
    """Export, and return the code of the error that stops it."""
    try:
        exported(job, form, out, shard_gib=1e-5)
    except OutputError as error:
        return error.code
    return None


KILLED = """
import os, signal, sys
from pathlib import Path
from seedvideo.utils import files
from tests.datasets.clip_jobs import exported

count, real = int(sys.argv[4]), files._create

class Killer:
    def __init__(self, file):
        self.file = file
    def __getattr__(self, name):
        return getattr(self.file, name)
    def write(self, data):
        global count
        count -= 1
        if count < 0:
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.file.write(data)
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.file.close()

files._create = lambda path: Killer(real(path))
exported(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), shard_gib=1e-5)
"""


@pytest.mark.parametrize(("form", "writes"), [("webdataset", 30), ("hf", 90)])
def test_a_killed_export_leaves_no_torn_file(
    job: Path, tmp_path: Path, form: str, writes: int
) -> None:
    exported(job, form, tmp_path / "whole", shard_gib=1e-5)
    whole, out = all_bytes(tmp_path / "whole"), tmp_path / "out"
    words = [sys.executable, "-c", KILLED, str(job), form, str(out), str(writes)]
    done = subprocess.run(words, check=False, timeout=120, env={**os.environ})
    assert done.returncode == -signal.SIGKILL
    found = all_bytes(out)
    hidden = {name for name in found if Path(name).name.startswith(".")}
    named = {name: found[name] for name in found.keys() - hidden}
    assert hidden and "dataset.json" not in found
    assert named.items() <= whole.items() and bool(named) == (form == "webdataset")
    if named:
        with pytest.raises(OutputError, match="is not empty"):
            exported(job, form, out, shard_gib=1e-5)
    exported(job, form, out, shard_gib=1e-5, overwrite=True)
    assert all_bytes(out) == whole


def test_a_smaller_dataset_leaves_nothing_of_the_larger_one(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(job, "webdataset", out, shard_gib=1e-9)
    with pytest.raises(OutputError) as caught:
        exported(job, "webdataset", out)
    assert caught.value.code == "output.exists" and "--overwrite" in caught.value.hint
    exported(job, "hf", out, overwrite=True)
    assert set(all_bytes(out)) == {
        *("README.md", "rest.jsonl", "dataset.json", "data/train-00000-of-00001.parquet"),
    }
    exported(job, "dataset", out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["captions.parquet", "dataset.json"]


NAMES_OF_OTHERS = (
    *("notes.txt", "data/photo.jpg", "train-1.tar"),
    # Names as ours, in a folder that no export made.
    *("README.md", "train-000000.tar", "data/train-00000-of-00001.parquet"),
)


@pytest.mark.parametrize("name", NAMES_OF_OTHERS)
def test_files_of_others_are_never_removed(job: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError) as caught:
        exported(job, "webdataset", tmp_path, overwrite=True)
    assert "--overwrite" not in caught.value.hint
    assert caught.value.code == "output.exists" and name in caught.value.message
    assert all_bytes(tmp_path) == {name: b"mine"}


def test_an_output_that_is_a_file(job: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="not a folder"):
        exported(job, "dataset", tmp_path / "out", overwrite=True)
