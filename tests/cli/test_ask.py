"""``seedvideo ask`` and ``ground``: short answers on stdout, everything else on stderr."""

import json
import os
from pathlib import Path

import pytest

from seedvideo import api
from seedvideo.cli.answer_list import parse_options
from tests.cli.conftest import Run
from tests.synthetic_clips import ColourChooser, ColourModel, FixedAnswerModel


@pytest.fixture
def chooser(monkeypatch: pytest.MonkeyPatch) -> ColourChooser:
    """Every name of a model gives the one that chooses among colours."""
    loaded = ColourChooser()
    monkeypatch.setattr(api, "load", lambda name="nano", options=None: loaded)
    return loaded


def answer_with(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(api, "load", lambda name="nano", options=None: FixedAnswerModel(text))


@pytest.mark.usefixtures("chooser")
def test_an_answer_and_its_options(run: Run, clips: Path) -> None:
    done = run("ask", clips / "red.mp4", "Which colour?", "--options", "blue, red,green")
    assert done.code == 0
    assert done.out == "red\n  A  0.12  blue\n  B  0.75  red\n  C  0.12  green\n"
    assert done.err == ""


@pytest.mark.usefixtures("chooser")
def test_options_one_by_one_may_hold_commas(run: Run, clips: Path) -> None:
    words = ("ask", clips / "red.mp4", "Which?", "--option", "red, or so", "--option", "blue")
    assert "  A  0.75  red, or so\n" in run(*words).out
    escaped = ("ask", clips / "red.mp4", "Which?", "--options", "red\\, or so,blue")
    assert run(*escaped).out == run(*words).out


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a,b", ["a", "b"]),
        ("a\\,b,c", ["a,b", "c"]),
        ("a\\\\,b", ["a\\", "b"]),
        ("a\\n,b\\", ["a\\n", "b\\"]),
        ("a,,b", ["a", "", "b"]),
        ("", [""]),
    ],
)
def test_how_options_are_split(text: str, options: list[str]) -> None:
    assert parse_options(text) == options


def test_an_open_answer(run: Run, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "red,\n\x1b[31mvery red.")
    assert run("ask", clips / "red.mp4", "Which colour?").out == "red, [31mvery red\n"


@pytest.mark.usefixtures("chooser")
def test_json_is_the_complete_record_on_one_line(run: Run, clips: Path) -> None:
    done = run("ask", clips / "red.mp4", "Which?", "--options", "red,blue", "--json", "--think")
    assert done.out.count("\n") == 1
    record = json.loads(done.out)
    assert (record["task"], record["text"]) == ("ask", "red")
    assert record["answer"]["thinking"] == "I see red."
    assert record["answer"]["options"][0] == {"label": "A", "text": "red", "probability": 0.75}
    assert done.err == ""
    found = json.loads(run("ground", clips / "two.mp4", "blue", "-f", "json").out)
    assert (found["task"], found["grounding"]["found"]) == ("ground", True)
    assert found["grounding"]["spans"][0]["end_s"] == 4.0


@pytest.mark.usefixtures("chooser")
def test_reasoning_is_printed_only_if_requested(run: Run, clips: Path) -> None:
    words = ("ask", clips / "red.mp4", "Which?", "--options", "red,blue")
    assert run(*words).err == ""
    assert run(*words, "--think").err == "reasoning: I see red.\n"
    assert run(*words, "--think").out == run(*words).out
    assert run(*words, "--think", "-q").err == ""
    assert run("ground", clips / "red.mp4", "red", "--think").err == "reasoning: I see red.\n"


def test_spans(run: Run, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "0:00.5 - 0:01; 2.0 - 3.25")
    done = run("ground", clips / "two.mp4", "it happens")
    assert (done.code, done.out, done.err) == (0, "0.50 - 1.00 s\n2.00 - 3.25 s\n", "")
    assert run("ground", clips / "two.mp4", "it happens", "--top", "1").out == "0.50 - 1.00 s\n"


def test_spans_with_scores(run: Run, clips: Path, chooser: ColourChooser) -> None:
    done = run("ground", clips / "two.mp4", "blue", "--top", "1")
    assert done.code == 0
    assert done.out == "2.00 - 4.00 s  0.90\n"
    assert len(chooser.seen) == 1


@pytest.mark.usefixtures("chooser")
def test_not_found_is_a_result(run: Run, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("ground", clips / "two.mp4", "green")
    assert (done.code, done.out, done.err) == (0, "not found  0.99\n", "")
    answer_with(monkeypatch, "no such moment")
    assert run("ground", clips / "two.mp4", "green").out == "not found\n"


def test_an_answer_that_cannot_be_read(
    run: Run, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, "a red\x1b[2J screen")
    done = run("ground", clips / "two.mp4", "green")
    assert (done.code, done.out) == (1, "")
    assert "[model.answer_unparsable]" in done.err
    assert "a red\\x1b[2J screen" in done.err
    assert "\x1b" not in done.err
    record = json.loads(run("ground", clips / "two.mp4", "green", "--json").out)
    assert (record["task"], record["status"]) == ("ground", "failed")
    assert record["error"]["code"] == "model.answer_unparsable"


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("ask", "x.mp4", " "), "[ask.question_empty]", "the question is empty"),
        (("ask", "x.mp4", "Which?", "--options", "a"), "[ask.options_count]", "1 option is given"),
        (
            ("ask", "x.mp4", "Which?", "--options", ",".join(map(str, range(300)))),
            "[ask.options_count]",
            "300 options are given, expected none or 2 to 26",
        ),
        (("ask", "x.mp4", "Which?", "--options", "a,,b"), "[ask.option_empty]", "option B"),
        (("ask", "x.mp4", "Which?", "--options", ""), "[ask.options_count]", "1 option"),
        (
            ("ask", "x.mp4", "Which?", "--option", "a", "--option", "A"),
            "[ask.option_repeated]",
            "options A and B",
        ),
        (("ask", "x.mp4", "W?", "--options", "a,b", "--option", "c"), "[usage]", "use one"),
        (("ask", "x.mp4"), "[usage]", "QUESTION"),
        (("ground", "x.mp4", ""), "[ground.query_empty]", "the query is empty"),
        (("ground", "x.mp4", "a", "--top", "0"), "[usage]", "--top"),
        (("ground", "x.mp4", "a", "-f", "srt"), "[usage]", "'json'"),
        (("ask", "x.mp4", "a", "--start", "5", "--end", "3"), "[usage]", "ends at 3 s"),
    ],
)
def test_wrong_usage_stops_before_the_model_loads(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: str, expected: str
) -> None:
    monkeypatch.setattr(api, "load", lambda name, options=None: pytest.fail("loaded"))
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert code in done.err
    assert expected in done.err


def test_a_bad_file_and_a_taken_name(
    run: Run, clips: Path, tmp_path: Path, chooser: ColourModel
) -> None:
    done = run("ask", clips / "text.mp4", "What?")
    assert (done.code, done.out) == (1, "")
    assert "[media.not_video]" in done.err
    taken = tmp_path / "answer.txt"
    taken.write_text("precious")
    assert run("ask", clips / "red.mp4", "What?", "-o", taken).code == 3
    assert chooser.seen == []
    assert run("ask", clips / "red.mp4", "What?", "-o", taken, "--overwrite").code == 0
    assert taken.read_text() == "red\n"


@pytest.mark.usefixtures("chooser")
def test_an_unsure_answer_is_marked(run: Run, clips: Path) -> None:
    assert "not sure" in run("ask", clips / "dark.mp4", "What?").err


@pytest.mark.usefixtures("chooser")
@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_leave_the_cores_to_others(
    run: Run, clips: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, used: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that what the command sets is undone
    monkeypatch.delenv("OMP_WAIT_POLICY")
    if given is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    assert run("ask", clips / "red.mp4", "What?").code == 0
    assert os.environ["OMP_WAIT_POLICY"] == used
