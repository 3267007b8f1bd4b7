"""Cached analyses: found by content, computed again when damaged, never half written."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from seedvideo.config import AnalysisMethod
from seedvideo.errors import OutputError
from seedvideo.media.reader import open_video
from seedvideo.sampler import analysis_cache
from seedvideo.sampler.analysis import Analysis, analyze
from seedvideo.sampler.analysis_cache import CACHE_DAMAGED, load_or_analyze
from tests.synthetic_clips import paint


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return paint(tmp_path / "clip.mp4", ["red", "blue"], shot_s=2)


def load_cached(path: Path, folder: Path, method: AnalysisMethod = "fast") -> Analysis:
    with open_video(path) as reader:
        return load_or_analyze(reader, method=method, folder=folder)


def same(first: Analysis, second: Analysis) -> bool:
    arrays = ("frame_indices", "times_s", "novelty", "motion", "detail")
    assert all(
        np.array_equal(getattr(first.signals, name), getattr(second.signals, name))
        for name in arrays
    )
    assert first.pictures is not None and second.pictures is not None
    assert all(
        np.array_equal(each, vars(second.pictures)[name], equal_nan=True)
        for name, each in vars(first.pictures).items()
    )
    assert (first.demands, first.cuts) == (second.demands, second.cuts)
    return (first.method, first.busy_fraction) == (second.method, second.busy_fraction)


def test_a_cached_analysis_decodes_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_cached(clip, tmp_path / "cache")
    monkeypatch.delattr(analysis_cache, "analyze")
    renamed = tmp_path / "other.mp4"
    shutil.copy(clip, renamed)
    again = load_cached(renamed, tmp_path / "cache")
    assert same(first, again)
    assert again.notes == first.notes


def test_methods_and_files_have_entries_of_their_own(clip: Path, tmp_path: Path) -> None:
    other = paint(tmp_path / "green.mp4", ["green"])
    for method in ("packets", "fast", "full"):
        load_cached(clip, tmp_path / "cache", method)
    load_cached(other, tmp_path / "cache")
    names = [path.name for path in (tmp_path / "cache").iterdir()]
    assert len(names) == 4
    assert not [name for name in names if "partial" in name]


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "flipped"])
def test_a_damaged_entry_is_replaced(clip: Path, tmp_path: Path, damage: str) -> None:
    first = load_cached(clip, tmp_path / "cache")
    entry = next((tmp_path / "cache").iterdir())
    data = bytearray(entry.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 99] = bytes(99)
    entry.write_bytes(
        {"empty": b"", "cut": bytes(data[:middle]), "text": b"no archive", "flipped": bytes(data)}[
            damage
        ]
    )
    again = load_cached(clip, tmp_path / "cache")
    assert same(first, again)
    assert CACHE_DAMAGED in again.notes
    assert CACHE_DAMAGED not in load_cached(clip, tmp_path / "cache").notes


def test_an_entry_of_another_video_does_not_fit(clip: Path, tmp_path: Path) -> None:
    longer = paint(tmp_path / "long.mp4", ["red", "blue", "green"], shot_s=4)
    load_cached(clip, tmp_path / "cache", "full")
    entry = next((tmp_path / "cache").iterdir())
    load_cached(longer, tmp_path / "longer", "full")
    shutil.copy(next((tmp_path / "longer").iterdir()), entry)
    assert CACHE_DAMAGED in load_cached(clip, tmp_path / "cache", "full").notes


def test_an_unusable_folder_is_an_error(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        load_cached(clip, tmp_path / "file")
    assert caught.value.code == "output.unwritable"


def test_nothing_is_lost_on_the_way(clip: Path, tmp_path: Path) -> None:
    with open_video(clip) as reader:
        made = analyze(reader, method="full")
    load_cached(clip, tmp_path / "cache", "full")
    assert same(made, load_cached(clip, tmp_path / "cache", "full"))
