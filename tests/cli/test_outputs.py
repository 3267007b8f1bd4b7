"""``-o`` of every command: whole files, no folder made by surprise, refused before any work."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import seedvideo.model
from seedvideo import api
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.errors import OutputError
from seedvideo.utils.files import make_folder, refuse_unwritable
from tests.cli.conftest import Run

FILES = (
    "caption CLIP -o NOPE/x.srt",
    "caption CLIP -o NOPE/x/",
    "ask CLIP what -o NOPE/x.txt",
    "ground CLIP red -o NOPE/x.json --json",
    "plan CLIP -o NOPE/x.txt",
    "plan CLIP -o NOPE/x/",
    "plan CLIP --plot NOPE/x.png",
    "plan CLIP --cache NOPE/x",
    "shots CLIP -o NOPE/x.csv -f csv",
    "shots CLIP --cache NOPE/x",
    "inspect CLIP -o NOPE/x.csv",
    "inspect CLIP --cache NOPE/x",
    "frames CLIP -o NOPE/x",
    "models -o NOPE/x.txt",
    "doctor -o NOPE/x.txt",
    "eval flashbench -o NOPE/x",
    "batch run CLIP -o NOPE/x",
    "batch status JOB -o NOPE/x.txt",
    "batch doctor JOB -o NOPE/x.txt",
    "batch merge JOB -o NOPE/x",
    "batch export JOB -f jsonl -o NOPE/x.jsonl",
    "batch export JOB -f srt -o NOPE/x",
    "batch export JOB -f html -o NOPE/x.html",
    "batch export JOB -f html -o NOPE/x/",
)


@pytest.fixture
def places(clips: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """The words of a line, with a clip, an empty job and a folder that is missing."""
    Journal.open(tmp_path / "job", write=True).close()
    with Journal.open(tmp_path / "job", write=True) as journal:
        journal.plan([], Job(inputs=("x",)), "0" * 64)
    names = {"CLIP": clips / "red.mp4", "JOB": tmp_path / "job", "NOPE": tmp_path / "nope"}

    def words(line: str) -> list[str]:
        for name, path in names.items():
            line = line.replace(name, str(path))
        return line.split()

    return words


@pytest.mark.parametrize("line", FILES)
def test_a_missing_folder_is_refused_before_any_work(
    run: Run,
    places: Callable[[str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
) -> None:
    monkeypatch.setattr(api, "load", lambda name, options=None: pytest.fail("loaded"))
    monkeypatch.setattr(api, "open", lambda *_, **__: pytest.fail("opened"))
    done = run(*places(line))
    assert (done.code, done.out) == (3, "")
    assert "[output.unwritable]" in done.err.splitlines()[0]
    assert "does not exist" in done.err
    assert f"mkdir -p {tmp_path / 'nope'}" in done.err
    assert not (tmp_path / "nope").exists()


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    "line",
    ["caption CLIP -o OUT", "plan CLIP -o OUT", "frames CLIP -o OUT", "batch run CLIP -o OUT"],
)
def test_a_folder_that_cannot_be_written_ends_with_one_code(
    run: Run, clips: Path, line: str, slash: str
) -> None:
    # Root may write anywhere but here.
    for out in ("/proc/x", "/proc/self"):
        words = line.replace("CLIP", str(clips / "red.mp4")).replace("OUT", out + slash)
        done = run(*words.split())
        assert (done.code, done.out) == (3, "")
        assert "[output.unwritable]" in done.err or "[output.exists]" in done.err


@pytest.mark.usefixtures("model")
def test_results_go_to_files(run: Run, clips: Path, tmp_path: Path) -> None:
    clip = str(clips / "red.mp4")
    lines = (
        ("plan", clip, "--json", "--policy", "uniform"),
        ("shots", clip, "--json", "--analysis", "packets"),
        ("models", "--json"),
        ("ask", clip, "Which?", "--json", "--policy", "uniform"),
    )
    for number, words in enumerate(lines):
        path = tmp_path / f"{number}.json"
        done = run(*words, "-o", path, "-q")
        assert (done.code, done.out, done.err) == (0, "", "")
        texts = path.read_text(encoding="utf-8").splitlines()
        assert texts and all(isinstance(json.loads(text), dict) for text in texts)
        again = run(*words, "-o", path, "-q")
        assert (again.code, "[output.exists]" in again.err) == (3, True)
        assert run(*words, "-o", path, "--overwrite").code == 0
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_folder_of_results_may_be_made_but_none_above_it(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path / "new", is_folder=True)
    assert os.listdir(tmp_path) == []
    make_folder(tmp_path / "new")
    make_folder(tmp_path / "new")
    assert os.listdir(tmp_path) == ["new"]
    for path in (tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"):
        with pytest.raises(OutputError, match="does not exist"):
            make_folder(path)
    (tmp_path / "file").touch()
    for path, code in (
        (tmp_path / "file", "output.exists"),
        (tmp_path / "file" / "below", "output.unwritable"),
    ):
        with pytest.raises(OutputError) as caught:
            make_folder(path)
        assert caught.value.code == code
    assert sorted(os.listdir(tmp_path)) == ["file", "new"]


@pytest.mark.parametrize("command", ["caption", "ask", "ground", "plan", "frames"])
def test_levels_of_no_model_are_wrong_usage(
    run: Run, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(api, "load", lambda name, options=None: pytest.fail("loaded"))
    monkeypatch.setattr(api, "open", lambda *_, **__: pytest.fail("opened"))
    more = {"ask": ["what"], "ground": ["red"], "frames": ["-o", str(tmp_path / "out")]}
    words = [str(clips / "red.mp4"), *more.get(command, []), "--levels", "5"]
    done = run(command, *words, "--model", "nano")
    assert (done.code, done.out) == (2, "")
    assert "a level is 5, expected one of " in done.err.splitlines()[0]
    assert not (tmp_path / "out").exists()


def test_levels_of_a_job_are_wrong_usage(run: Run, clips: Path, tmp_path: Path) -> None:
    done = run("batch", "run", clips / "red.mp4", "-o", tmp_path / "out", "--levels", "5")
    assert done.code == 2
    assert "a level is 5" in done.err
    assert not (tmp_path / "out").exists()
    assert 5 not in seedvideo.model.load_costs("nano").geometry.levels_tokens


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "0001_0.000s.png", "--plot", "0001_0.000s.png"),
        ("plan", "0001_0.000s.png", "--plot", "./"),
        ("plan", "0001_0.000s.png", "-o", "link"),
        ("shots", "0001_0.000s.png", "-o", "link"),
        ("frames", "0001_0.000s.png", "-o", "."),
        ("shots", "still.json", "-f", "json", "-o", "./"),
    ],
    ids=" ".join,
)
def test_no_result_replaces_a_video(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    still = Path("0001_0.000s.png")
    Image.new("RGB", (64, 64), "red").save(still)
    Path("still.json").hardlink_to(still)
    Path("link").symlink_to(still)
    data = still.read_bytes()
    done = run(*words, "--overwrite")
    assert (done.code, "[output.is_input]" in done.err) == (3, True)
    assert still.read_bytes() == data
