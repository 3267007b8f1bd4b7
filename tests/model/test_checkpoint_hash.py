"""The hash of a checkpoint: large files are read once, and again after a change."""

import json
import os
import shutil
from pathlib import Path
from typing import Final

import pytest
from safetensors.torch import load_file, save_file

from seedvideo.model import open_weights
from seedvideo.model.metadata import file_sha256
from seedvideo.model.open_weights import checkpoint_sha256
from tests.model.tiny_checkpoints import make_qwen3_vl


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen3_vl(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of a checkpoint, for a test to change."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names of the files that are read for a hash; every file counts as large."""
    names: list[str] = []

    def note(path: Path) -> str:
        names.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(open_weights, "file_sha256", note)
    monkeypatch.setattr(open_weights, "_LARGE_BYTES", 100_000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return names


WEIGHT_FILE: Final = "model.safetensors"


def test_a_large_file_is_read_once(folder: Path, reads: list[str]) -> None:
    first = checkpoint_sha256(folder)
    assert WEIGHT_FILE in reads
    reads.clear()
    assert checkpoint_sha256(folder) == first
    assert WEIGHT_FILE not in reads
    assert "config.json" in reads  # small files are read each time
    # Another time of change: read again, though the bytes are the same.
    os.utime(folder / WEIGHT_FILE, ns=(1, 1))
    assert checkpoint_sha256(folder) == first
    assert WEIGHT_FILE in reads


def test_changed_weights_have_another_hash(folder: Path, reads: list[str]) -> None:
    first = checkpoint_sha256(folder)
    weights = load_file(folder / WEIGHT_FILE)
    changed = {name: tensor + 1 for name, tensor in weights.items()}
    save_file(changed, folder / WEIGHT_FILE, {"format": "pt"})
    assert checkpoint_sha256(folder) != first
    assert reads.count(WEIGHT_FILE) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"x": 1}', '{"PATH": [1, 2, "short"]}', ""])
def test_a_damaged_cache_of_hashes_is_ignored(
    folder: Path, reads: list[str], tmp_path: Path, content: str
) -> None:
    kept = tmp_path / "cache" / "seedvideo" / "model_hashes.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(content.replace("PATH", str((folder / WEIGHT_FILE).resolve())))
    assert len(checkpoint_sha256(folder)) == 64
    assert WEIGHT_FILE in reads
    assert json.loads(kept.read_text())


def test_a_cache_that_cannot_be_written(
    folder: Path, reads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = checkpoint_sha256(folder)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    reads.clear()
    assert checkpoint_sha256(folder) == checkpoint_sha256(folder) == first
    assert reads.count(WEIGHT_FILE) == 2
