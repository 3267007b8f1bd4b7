"""Files appear whole or not at all, and never under a name that is taken."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import OutputError
from seedvideo.utils.files import output_names, refuse_existing, write_file


def test_writes_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_file(path, b"words")
    assert path.read_bytes() == b"words"
    assert os.listdir(path.parent) == ["b.txt"]


def test_an_existing_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_bytes(b"old")
    with pytest.raises(OutputError) as caught:
        write_file(path, b"new")
    assert caught.value.code == "output.exists"
    assert path.read_bytes() == b"old"
    write_file(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"


def test_a_broken_link_counts_as_there(tmp_path: Path) -> None:
    path = tmp_path / "link.txt"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="already exists"):
        write_file(path, b"new")
    assert not (tmp_path / "nowhere").exists()


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as caught:
        write_file(tmp_path / "b.txt", b"words")
    assert caught.value.code == "output.disk_full"
    assert "No space left" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_file_instead_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(OutputError) as caught:
        write_file(tmp_path / "a" / "b.txt", b"words")
    assert caught.value.code == "output.unwritable"


def test_names_keep_their_stem_when_alone() -> None:
    assert output_names(["a/one.mp4", "b/two.mkv"], extension=".srt") == ["one.srt", "two.srt"]


def test_one_stem_in_two_folders() -> None:
    names = output_names(["a/clip.mp4", "b/clip.mp4", "c/other.mp4"], extension=".srt")
    assert names == ["a-clip.srt", "b-clip.srt", "other.srt"]


def test_case_and_composition_do_not_distinguish_names() -> None:
    names = output_names(
        ["x/Clip.mp4", "y/clip.mp4", "x/e\u0301.mp4", "y/\u00e9.mp4"], extension=""
    )
    assert len({name.casefold() for name in names}) == 4


def test_same_folder_same_stem() -> None:
    names = output_names(["a/clip.mp4", "a/clip.mkv"], extension=".srt")
    assert len(set(names)) == 2
    assert all(name.startswith("clip-") for name in names)


def test_a_made_name_may_meet_a_real_one() -> None:
    names = output_names(["a/clip.mp4", "b/clip.mp4", "c/a-clip.mp4"], extension=".srt")
    assert len(set(names)) == 3


def test_names_do_not_depend_on_order() -> None:
    sources = ["a/clip.mp4", "b/clip.mp4", "a/clip.mkv", "c/x.mp4"]
    forward = dict(zip(sources, output_names(sources, extension=""), strict=True))
    back = dict(zip(sources[::-1], output_names(sources[::-1], extension=""), strict=True))
    assert forward == back


@pytest.mark.parametrize(
    "stem", ["a\nb", "\x1b[2J", "..", ".hidden", "x" * 250, "é" * 120, "a\udcff"]
)
def test_odd_stems_become_plain_names(stem: str, tmp_path: Path) -> None:
    (name,) = output_names([f"dir/{stem}.mp4"], extension=".json")
    assert name.isprintable()
    assert "/" not in name
    assert not name.startswith(".")
    write_file(tmp_path / name, b"")


@given(st.lists(st.text("aA./é", min_size=1, max_size=6), min_size=1, max_size=8, unique=True))
def test_different_files_never_share_a_name(words: list[str]) -> None:
    sources = list({os.path.abspath(word): word for word in words}.values())
    names = output_names(sources, extension=".srt")
    assert len({name.casefold() for name in names}) == len(sources)


def test_only_a_regular_file_is_ever_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OutputError, match="not a regular file") as caught:
            write_file(tmp_path / name, b"new", overwrite=True)
        assert caught.value.code == "output.exists"
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


def test_invalid_names_are_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    refuse_existing(tmp_path / "new" / "newer" / "a.txt", overwrite=False)
    for path in (tmp_path / "file" / "a.txt", tmp_path / ("a" * 300)):
        with pytest.raises(OutputError) as caught:
            refuse_existing(path, overwrite=False)
        assert caught.value.code == "output.unwritable"
    monkeypatch.setattr(os, "access", lambda folder, mode: folder != tmp_path)
    with pytest.raises(OutputError, match="Permission denied"):
        refuse_existing(tmp_path / "new" / "a.txt", overwrite=False)


def test_a_source_that_is_there_again_gets_a_number() -> None:
    sources = ["a/clip.mp4", "a/clip.mp4", "a/clip-2.mp4", "b/clip.mp4", "a/clip.mp4"]
    names = output_names(sources, extension=".srt")
    assert names == ["a-clip.srt", "a-clip-2.srt", "clip-2.srt", "b-clip.srt", "a-clip-3.srt"]
    again = output_names(["clip.mp4", "clip.mp4", "CLIP-2.mp4"], extension="")
    assert again == ["clip", "clip-3", "CLIP-2"]
