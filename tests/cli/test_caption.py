"""``seedvideo caption``: data on stdout, notes on stderr, and an exit code."""

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from seedvideo import api
from seedvideo.errors import ModelError
from seedvideo.model.backends.base import Generation, Part
from tests.cli.conftest import Run
from tests.synthetic_clips import ColourModel, paint

pytestmark = pytest.mark.usefixtures("model")


def test_one_video(run: Run, clips: Path) -> None:
    code, out, err = run("caption", clips / "red.mp4")
    assert (code, err) == (0, "")
    assert out == f"{clips / 'red.mp4'}  (1.0 s)\n  0.0 - 1.0 s  Red.\n"


def test_dense(run: Run, clips: Path) -> None:
    code, out, _ = run("caption", "--dense", clips / "two.mp4")
    assert code == 0
    assert out.splitlines() == [
        f"{clips / 'two.mp4'}  (4.0 s)  Red then blue.",
        "  0.0 - 2.0 s  Red.",
        "  2.0 - 4.0 s  Blue.",
    ]


def test_several_videos_one_of_them_bad(run: Run, clips: Path) -> None:
    code, out, err = run("caption", clips / "red.mp4", clips / "text.mp4", clips / "two.mp4")
    assert code == 1
    assert [line for line in out.splitlines() if line.startswith("/")] == [
        f"{clips / 'red.mp4'}  (1.0 s)",
        f"{clips / 'two.mp4'}  (4.0 s)",
    ]
    assert f"[2/3] {clips / 'text.mp4'}" in err
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert "text.mp4" in line
    assert line.endswith("[media.not_video]")
    assert err.endswith("1 of 3 videos failed\n")
    assert "Traceback" not in err


def test_json_lines_hold_failures_too(run: Run, clips: Path) -> None:
    code, out, _ = run("caption", "--json", clips / "two.mp4", clips / "none.mp4")
    assert code == 1
    done, failed = (json.loads(line) for line in out.splitlines())
    assert (done["status"], done["text"]) == ("done", "Red then blue.")
    assert done["media"]["duration_s"] == 4.0
    assert done["plan"]["charged_tokens"] <= done["plan"]["budget_tokens"] == 512
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "input.not_found"
    assert failed["error"]["stage"] == "input"
    assert failed["source"] == str(clips / "none.mp4")


def test_budget_and_policy_reach_the_plan(run: Run, clips: Path) -> None:
    words = ("caption", clips / "two.mp4", "-f", "json", "--budget", "200", "--policy", "seed1.5")
    _, out, _ = run(*words, "--fps", "2")
    plan = json.loads(out)["plan"]
    assert (plan["policy"], plan["budget_tokens"]) == ("seed1.5", 200)


def test_subtitles(run: Run, clips: Path) -> None:
    _, srt, _ = run("caption", "--dense", "-f", "srt", clips / "two.mp4")
    assert srt.startswith("1\n00:00:00,000 --> 00:00:02,000\nRed.\n\n2\n")
    _, vtt, _ = run("caption", "--dense", "-f", "vtt", clips / "two.mp4")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nRed.\n")


def test_subtitles_of_several_need_a_folder(run: Run, clips: Path) -> None:
    code, _, err = run("caption", "-f", "srt", clips / "two.mp4", clips / "red.mp4")
    assert code == 2
    assert "name a folder with -o" in err


def test_into_one_file(run: Run, clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    code, out, _ = run("caption", clips / "two.mp4", clips / "red.mp4", "--json", "-o", path)
    assert (code, out) == (0, "")
    assert [json.loads(line)["status"] for line in path.read_text().splitlines()] == ["done"] * 2


def test_an_existing_file_stops_before_the_model_loads(
    run: Run, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.txt"
    path.write_text("precious")
    monkeypatch.setattr(api, "load", lambda name, options=None: pytest.fail("loaded"))
    code, _, err = run("caption", clips / "two.mp4", "-o", path)
    assert code == 3
    assert "[output.exists]" in err
    assert "--overwrite" in err
    assert path.read_text() == "precious"


def test_overwrite(run: Run, clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.txt"
    path.write_text("old")
    assert run("caption", clips / "red.mp4", "-o", path, "--overwrite").code == 0
    assert "Red." in path.read_text()


@pytest.mark.parametrize("output_name", ["clip.mp4", "link"])
def test_a_video_is_never_overwritten_by_its_caption(
    run: Run, clips: Path, tmp_path: Path, output_name: str
) -> None:
    video, output = tmp_path / "clip.mp4", tmp_path / output_name
    video.write_bytes((clips / "red.mp4").read_bytes())
    if output_name == "link":
        output.symlink_to(video)
    code, _, err = run("caption", video, "-o", output, "--overwrite")
    assert code == 3
    assert "[output.is_input]" in err
    assert video.read_bytes() == (clips / "red.mp4").read_bytes()


def test_unusable_outputs_stop_before_the_model_loads(
    run: Run, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "load", lambda name, options=None: pytest.fail("loaded"))
    (tmp_path / "file").write_text("precious")
    code, _, err = run("caption", clips / "red.mp4", "-o", f"{tmp_path}/file/", "--overwrite")
    assert (code, "is not a folder" in err) == (3, True)
    assert run("caption", clips / "red.mp4", "-o", "").code == 2


def test_same_names_in_a_folder_stay_apart(run: Run, tmp_path: Path) -> None:
    one = paint(tmp_path / "a" / "clip.mp4", ["red"])
    two = paint(tmp_path / "b" / "Clip.mp4", ["blue"])
    out = tmp_path / "out"
    assert run("caption", one, two, "-f", "srt", "-o", f"{out}/").code == 0
    assert sorted(os.listdir(out)) == ["a-clip.srt", "b-Clip.srt"]
    assert "Blue." in (out / "b-Clip.srt").read_text()


def test_a_taken_name_in_a_folder_fails_that_video_alone(
    run: Run, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "red.txt").write_text("precious")
    code, _, err = run("caption", clips / "red.mp4", clips / "two.mp4", "-o", tmp_path)
    assert code == 1
    assert "[output.exists]" in err
    assert (tmp_path / "red.txt").read_text() == "precious"
    assert "Red then blue." in (tmp_path / "two.txt").read_text()


def test_a_failed_video_leaves_no_file(run: Run, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("caption", clips / "text.mp4", "--json", "-o", f"{out}/").code == 1
    assert not out.exists()


def test_unsure(run: Run, clips: Path) -> None:
    code, out, err = run("caption", clips / "dark.mp4")
    assert code == 0
    assert "Black." in out
    assert err.startswith("not sure: ")
    assert "unlike anything that the model was trained on" in err
    assert run("caption", "-q", clips / "dark.mp4").err == ""


def test_verbose_prints_tokens_and_times(run: Run, clips: Path) -> None:
    _, _, err = run("caption", "-v", clips / "red.mp4")
    assert "of 512 tokens" in err
    assert "decode" in err


def test_a_model_that_cannot_load(run: Run, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, options: object = None) -> None:
        raise ModelError("model.unknown", f"there is no model {name}", hint="seedvideo models")

    monkeypatch.setattr(api, "load", refuse)
    code, out, err = run("caption", clips / "red.mp4", "--model", "none\x1b[2J")
    assert (code, out) == (3, "")
    assert err == (
        "error: there is no model none\\x1b[2J [model.unknown]\n  hint: seedvideo models\n"
    )


def test_a_bug_fails_its_video_in_one_line(
    run: Run, clips: Path, model: ColourModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(model, "generate", broken)
    code, out, err = run("caption", "--json", clips / "red.mp4")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "internal.error"
    first, second = err.splitlines()
    assert first.endswith("internal error: ZeroDivisionError: oh\\nno [internal.error]")
    assert "-v" in second
    assert "Traceback" in run("caption", "-v", clips / "red.mp4").err


def test_interrupted(
    run: Run, clips: Path, model: ColourModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = model.generate

    def interrupt_second(parts: Sequence[Part], **options: Any) -> Generation:
        if model.seen:
            raise KeyboardInterrupt
        return answer(parts, **options)

    monkeypatch.setattr(model, "generate", interrupt_second)
    path = tmp_path / "all.txt"
    code, _, err = run("caption", clips / "red.mp4", clips / "two.mp4", "-o", path)
    assert code == 130
    assert err.splitlines()[-1] == "interrupted"
    assert path.read_text().count("Red.") == 1


@pytest.mark.parametrize(
    "name", [b"\x1b[2J.mp4", b"\xff\xfe.mp4", "\u202eevil.mp4".encode(), b"a\nb.mp4", b"[red].mp4"]
)
def test_odd_file_names(run: Run, tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    made = paint(tmp_path / "made.mp4", ["red"])
    made.rename(path)
    code, out, err = run("caption", path)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out
    code, out, _ = run("caption", "--json", path)
    assert json.loads(out)["source"] == str(path)
    bad = tmp_path / os.fsdecode(b"no" + name)
    code, _, err = run("caption", bad)
    assert code == 1
    assert "\x1b" not in err
    assert len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("empty", "input.empty"),
        ("folder", "input.not_a_file"),
        ("pipe", "input.not_a_file"),
        ("loop", "input.not_found"),
        ("device", "input.not_a_file"),
        ("playlist", "media.not_video"),
        ("noise", "media."),
        ("torn", "media."),
    ],
)
@pytest.mark.parametrize("command", ["caption", "plan"])
def test_bad_files_are_one_line_with_a_code(
    run: Run, clips: Path, tmp_path: Path, command: str, kind: str, code: str
) -> None:
    path = tmp_path / "bad.mp4"
    match kind:
        case "empty":
            path.touch()
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "playlist":
            path.write_text("#EXTM3U\n/etc/passwd\n")
        case "noise":
            path.write_bytes(random.Random(0).randbytes(5000))
        case "torn":
            path.write_bytes((clips / "two.mp4").read_bytes()[:600])
    done = run(command, path)
    assert (done.code, done.out) == (1, "")
    first, *hints = done.err.splitlines()
    assert first.startswith("error: ")
    assert f"[{code}" in first
    assert all(line.startswith("  hint: ") for line in hints)


@pytest.mark.parametrize("name", ["concat:a|b", "subfile,,:x", "data:video/mp4,x", "-vf x"])
def test_a_name_is_only_a_name(run: Run, name: str) -> None:
    code, _, err = run("caption", "--", name)
    assert code == 1
    assert "[input.not_found]" in err


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_address_of_this_machine_is_opened(run: Run, scheme: str) -> None:
    code, _, err = run("caption", f"{scheme}://127.0.0.1/x.mp4")
    assert code == 1
    assert "[input.address_refused]" in err


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (("--policy", "best"), "'uniform'"),
        (("--rate-preset", "x"), "'motion'"),
        (("-f", "xml"), "'vtt'"),
        (("--decoder", "x"), "'decord'"),
        (("--budget", "lots"), "8k"),
        (("--json", "-f", "srt"), "different formats"),
        (("--policy", "keyframes", "--fps", "2"), "--fps cannot be used with"),
    ],
)
def test_wrong_usage_lists_the_choices(run: Run, words: tuple[str, ...], allowed: str) -> None:
    code, out, err = run("caption", "x.mp4", *words)
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert allowed in first
    assert second == "  hint: see seedvideo caption --help"
