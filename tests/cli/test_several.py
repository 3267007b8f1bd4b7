"""Several videos in one command: folders, globs and lists; a bad one does not stop the others."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from seedvideo import api
from seedvideo.cli.console import Console
from seedvideo.cli.remote_options import SourceOptions
from seedvideo.cli.sources import read_rows, row_name
from tests.cli.conftest import Result, Run
from tests.synthetic_clips import paint

LIGHT = ("--policy", "uniform", "--budget", "300")


@pytest.fixture
def tree(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with ``v/red.mp4``, ``v/sub/two.mp4`` and the bad ``v/text.mp4``."""
    for name in ("red.mp4", "sub/two.mp4", "text.mp4"):
        path = tmp_path / "v" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(clips / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*words: str) -> list[str]:
    return [row_name(row) for row in read_rows(words, console=Console(), remote=SourceOptions())]


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_each_video_once_in_order(tree: Path) -> None:
    assert names("b.mp4", "a.mp4", "./b.mp4", "a.mp4") == ["b.mp4", "a.mp4"]
    assert names("v", "v/*.mp4", "v/red.mp4") == ["v/red.mp4", "v/sub/two.mp4", "v/text.mp4"]


def test_windows_of_one_video_are_several(tree: Path) -> None:
    Path("m.csv").write_text("path,start,end\na.mp4,0,1\na.mp4,1,2\na.mp4,1,2\na.mp4,,\n")
    assert names("m.csv") == ["a.mp4"] * 3


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"a.mp4\nb c.mp4\r\n\n", ["a.mp4", "b c.mp4"]),
        (b"a\nb.mp4\0c.mp4\0", ["a\nb.mp4", "c.mp4"]),
        (b"a.mp4\r\0 \0", ["a.mp4\r", " "]),
        (b"\xff.mp4\n", [os.fsdecode(b"\xff.mp4")]),
    ],
)
def test_names_from_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes, found: list[str]) -> None:
    give_stdin(monkeypatch, data)
    assert names("first.mp4", "-") == ["first.mp4", *found]


@pytest.mark.parametrize("word", ["-", "empty.txt", "empty.csv", "empty.jsonl"])
def test_no_video_at_all(tree: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    give_stdin(monkeypatch, b"\n")
    Path(word).write_text("\n")
    with pytest.raises(typer.BadParameter, match="no video was named"):
        names(word)


@pytest.mark.parametrize(
    ("word", "code"),
    [("*.none", "input.not_found"), ("empty", "input.not_a_file"), ("[x].mp4", "input.not_found")],
)
def test_a_word_that_names_no_video_fails_alone(tree: Path, run: Run, word: str, code: str) -> None:
    Path("empty").mkdir()
    done = plan_json(run, word, "v/red.mp4")
    assert (done.code, as_lines(done.out)) == (1, ["v/red.mp4"])
    assert f"error: {word}: " in done.err and f"[{code}]" in done.err


def test_a_url_is_not_a_glob() -> None:
    assert names("https://example.org/a.mp4?X-Amz-Signature=1") == ["https://example.org/a.mp4"]


def as_lines(out: str) -> list[str]:
    return [json.loads(line)["source"] for line in out.splitlines()]


def plan_json(run: Run, *words: str) -> Result:
    return run("plan", *words, *LIGHT, "--json")


def shots_json(run: Run, *words: str) -> Result:
    return run("shots", *words, "--analysis", "packets", "--json")


def caption_json(run: Run, *words: str) -> Result:
    done = run("caption", *words, *LIGHT, "--json")
    lines = [line for line in done.out.splitlines() if json.loads(line)["status"] == "done"]
    return done._replace(out="\n".join(lines))


def ask_json(run: Run, *words: str) -> Result:
    done = run("ask", *words, "Which colour?", *LIGHT, "--json")
    lines = [line for line in done.out.splitlines() if json.loads(line)["status"] == "done"]
    return done._replace(out="\n".join(lines))


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("command", [plan_json, shots_json, caption_json, ask_json])
def test_a_folder_with_a_bad_video(tree: Path, run: Run, command: Callable[..., Result]) -> None:
    done = command(run, "v")
    assert done.code == 1
    assert as_lines(done.out) == ["v/red.mp4", "v/sub/two.mp4"]
    assert done.err.count("[media.not_video]") == 1
    assert done.err.endswith("1 of 3 videos failed\n")
    assert command(run, "v/**/t*o.mp4").code == 0


def test_lists_of_all_kinds(tree: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("v/l.txt").write_text("red.mp4\nsub/two.mp4\n")
    Path("m.csv").write_text("path,id\nv/red.mp4,a\nv/sub/two.mp4,b\n")
    Path("m.jsonl").write_text('{"video": "v/red.mp4"}\n{"video": "v/sub/two.mp4"}\n')
    give_stdin(monkeypatch, b"v/red.mp4\0v/sub/two.mp4\0")
    for word in ("v/l.txt", "m.csv", "m.jsonl", "-"):
        done = plan_json(run, word)
        assert (done.code, as_lines(done.out)) == (0, ["v/red.mp4", "v/sub/two.mp4"]), word


def test_a_row_that_is_none_fails_alone(tree: Path, run: Run) -> None:
    Path("m.jsonl").write_text('{"path": 3}\n{"path": "v/red.mp4"}\n')
    done = plan_json(run, "m.jsonl")
    assert (done.code, as_lines(done.out)) == (1, ["v/red.mp4"])
    assert "error: m.jsonl line 1: path is not a text [batch.row_invalid]" in done.err


@pytest.mark.parametrize(("name", "code"), [("none.csv", 3), ("bad.parquet", 2)])
def test_a_list_that_cannot_be_read_stops_all(tree: Path, run: Run, name: str, code: int) -> None:
    Path("bad.parquet").write_bytes(b"PAR1 not")
    assert plan_json(run, "v/red.mp4", name).code == code


def test_the_window_of_a_row_counts(tree: Path, run: Run) -> None:
    Path("m.csv").write_text("path,start,end\nv/sub/two.mp4,2,\nv/sub/two.mp4,,2\n")
    done = plan_json(run, "m.csv", "--end", "3")
    spans = [json.loads(line)["frames"] for line in done.out.splitlines()]
    times = [[frame["pts_s"] for frame in frames] for frames in spans]
    assert times[0][0] == 2 and 2 < times[0][-1] < 3
    assert times[1][0] == 0 and times[1][-1] < 2
    assert "not for the window" in run("shots", "m.csv", "--analysis", "packets").err


@pytest.mark.usefixtures("model")
def test_rows_have_their_own_questions(tree: Path, run: Run) -> None:
    Path("m.jsonl").write_text(
        '{"path": "v/red.mp4", "question": "Which?"}\n{"path": "v/sub/two.mp4"}\n'
    )
    code, _, err = run("ask", "m.jsonl")
    assert code == 2
    assert "'QUESTION'" in err
    done = run("ask", "m.jsonl", "What else?", *LIGHT, "--json")
    asked = [json.loads(line)["answer"]["question"] for line in done.out.splitlines()]
    assert asked == ["Which?", "What else?"]
    text = run("ask", "m.jsonl", "What else?", *LIGHT).out
    assert text == "v/red.mp4\nred\n\nv/sub/two.mp4\nred then blue\n"


def test_wrong_settings_alone_are_wrong_usage(
    tree: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert plan_json(run, "v/red.mp4", "--decoder", "decord").code == 2
    assert plan_json(run, "v/red.mp4", "none.mp4", "--decoder", "decord").code == 2


def test_frames_of_several_have_folders_of_their_own(tree: Path, run: Run) -> None:
    paint(tree / "v" / "sub" / "RED.mp4", ["blue"])
    words = ("frames", "v", "-o", "out", *LIGHT, "--no-sheets")
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert "[media.not_video]" in err and "text.mp4" in err
    assert sorted(os.listdir("out")) == ["sub-RED", "two", "v-red"]
    for name, source in (("sub-RED", "v/sub/RED.mp4"), ("two", "v/sub/two.mp4")):
        assert json.loads(Path("out", name, "plan.json").read_text())["source"] == source
    assert run(*words).code == 3
    assert run(*words, "--overwrite").code == 1
    assert sorted(os.listdir("out")) == ["sub-RED", "two", "v-red"]


def test_where_frames_go_depends_on_the_words_alone(tree: Path, run: Run) -> None:
    words = (*LIGHT, "--no-sheets", "-q")
    assert run("frames", "v/red.mp4", "-o", "one", *words).code == 0
    assert Path("one/plan.json").exists()
    assert run("frames", "v/r*.mp4", "-o", "many", *words).code == 0
    assert os.listdir("many") == ["red"]
    Path("m.csv").write_text("path,start,end\nv/red.mp4,0,0.5\nv/red.mp4,0.5,\n")
    assert run("frames", "m.csv", "-o", "parts", *words).code == 0
    assert sorted(os.listdir("parts")) == ["red", "red-2"]


def test_files_of_several_in_a_folder(tree: Path, run: Run) -> None:
    code, out, _ = run("plan", "v", *LIGHT, "-o", "plans/", "--plot", "plots/")
    assert (code, out) == (1, "")
    assert sorted(os.listdir("plans")) == ["red.txt", "two.txt"]
    assert sorted(os.listdir("plots")) == ["red.png", "two.png"]
    assert run("plan", "v", *LIGHT, "--plot", "one.png").code == 2
    assert run("shots", "v", "--analysis", "packets", "-f", "csv").code == 2
    run("shots", "v", "--analysis", "packets", "-f", "csv", "-o", "cuts/")
    assert sorted(os.listdir("cuts")) == ["red.csv", "two.csv"]
    assert Path("cuts/two.csv").read_text().startswith("Timecode List:")


def test_nothing_is_loaded_for_a_list_that_cannot_be_read(
    tree: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "load", lambda name, options=None: pytest.fail("loaded"))
    assert run("caption", "none.csv").code == 3
    assert run("ask", "none.csv", "What?").code == 3
    assert run("ground", "m.txt", "a dog").code == 3
