"""``seedvideo eval`` on files in the published forms, with painted clips and a colour model."""

import json
from pathlib import Path
from typing import Any

import pytest

import seedvideo
from seedvideo import api
from seedvideo.evaluate.flashbench import DifficultyConfig, quick
from seedvideo.evaluate.flashbench.quick import Case
from seedvideo.model.backends.base import TextPart
from tests.cli.conftest import Run
from tests.synthetic_clips import ColourChooser, ColourModel, FixedAnswerModel

FIXTURES = Path(__file__).parent.parent / "evaluate" / "fixtures"


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    """Annotations of two painted clips and of one that is not there."""
    path = tmp_path / "val.json"
    row = {
        "two": {"duration": 4.0, "timestamps": [[0, 2], [2, 4]], "sentences": ["red", "blue"]},
        "red": {"duration": 1.0, "timestamps": [[0, 1]], "sentences": ["green"]},
        "none": {"duration": 1.0, "timestamps": [[0, 1]], "sentences": ["red"]},
    }
    path.write_text(json.dumps(row))
    return path


def words(clips: Path, annotations: Path, output: Path) -> tuple[str | Path, ...]:
    shared = ("--videos", clips, "--annotations", annotations, "-o", output)
    return ("eval", "activitynet-captions", *shared)


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_list(run: Run) -> None:
    code, out, err = run("eval", "list")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()][:3] == [
        "charades-sta",
        "video-mme",
        "activitynet-captions",
    ]


def test_dense_captions_end_to_end(
    run: Run, model: ColourModel, clips: Path, dense: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    code, out, err = run(*words(clips, dense, folder))
    assert code == 1
    assert "none: none.mp4: no such video [input.not_found]" in err
    assert "1 of 3 items have no answer and count as wrong" in err
    assert (folder / "table.md").read_text() == out
    # Every shot is found and named in two.mp4; in red.mp4 the words are wrong; one is missing.
    assert "3 items over 3 videos; **1 without an answer, which count as wrong**" in out
    (row,) = [line for line in out.splitlines() if line.startswith("| all")]
    assert [cell.split()[0] for cell in row.strip("| ").split(" | ")][2:] == [
        "66.7",  # precision
        "66.7",  # recall
        "66.7",  # F1
        "66.7",  # SODA_d
        "33.3",  # SODA_c
    ]
    settings, *lines = results(folder)
    assert settings["settings"]["told"]["budget"] == 512  # the model's own
    assert lines[0]["prediction"]["captions"] == ["Red.", "Blue."]
    assert lines[0]["prediction"]["tokens"] <= 512


def test_a_second_run_resumes(
    run: Run, model: ColourModel, clips: Path, dense: Path, tmp_path: Path
) -> None:
    command = words(clips, dense, tmp_path / "out")
    first = run(*command, "--limit", "1")
    assert (first.code, first.err) == (0, "")
    assert "First 1 of 3 items." in first.out
    asked = len(model.seen)
    assert run(*command).code == 1
    again = len(model.seen)
    assert again > asked
    run(*command)
    assert len(model.seen) == again
    # Only what failed was tried again.
    ids = [line["id"] for line in results(tmp_path / "out")[1:]]
    assert ids == ["two", "red", "none", "none"]


def test_a_truncated_line_is_reported(
    run: Run, model: ColourModel, clips: Path, dense: Path, tmp_path: Path
) -> None:
    command = words(clips, dense, tmp_path / "out")
    run(*command, "--limit", "1")
    with (tmp_path / "out" / "results.jsonl").open("a") as file:
        file.write('{"run": "')
    result = run(*command, "--limit", "1")
    assert result.code == 0
    assert "dropped the truncated last line of " in result.err and ": 9 bytes" in result.err


def test_a_blind_run_is_compared_with_the_other(
    run: Run, model: ColourModel, clips: Path, dense: Path, tmp_path: Path
) -> None:
    command = words(clips, dense, tmp_path / "out")
    run(*command, "--limit", "2")
    _, out, _ = run(*command, "--limit", "2", "--blind")
    assert ", blind, " in out.splitlines()[0]
    blind = [line for line in results(tmp_path / "out") if "prediction" in line][2:]
    assert len({caption for line in blind for caption in line["prediction"]["captions"]}) == 1
    assert "## Runs in this folder" in out
    rows = [line for line in out.splitlines() if line.startswith("| activitynet-captions, model")]
    assert [", blind, " in row for row in rows] == [True, False]
    assert "| 100.0 (100.0 to 100.0) |" in rows[1]
    assert "## Minus activitynet-captions, model colours" in out
    assert "On the 2 items that both runs have asked" in out


def test_questions_and_moments_reach_the_model(
    run: Run,
    model: ColourModel,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = FixedAnswerModel("<think>Boats.</think> C")
    monkeypatch.setattr(api, "load", lambda name, options=None: model)
    rows = json.loads((FIXTURES / "video_mme.json").read_text())[:1]
    rows[0]["videoID"] = "two"
    (tmp_path / "q.json").write_text(json.dumps(rows))
    arguments = ("--annotations", tmp_path / "q.json", "--videos", clips, "-o", tmp_path / "q")
    code, out, _ = run(
        "eval", "video-mme", *arguments, "--think", "--budget", "300", "--policy", "uniform"
    )
    assert code == 0
    assert "| all | 1 | 100.0 |" in out
    prompt = model.seen[0][-1]
    assert isinstance(prompt, TextPart)
    assert prompt.text.startswith("How many boats pass the bridge? Options: A. One.; B. Two.;")
    assert prompt.text.endswith("between <think> and </think>.")
    given = results(tmp_path / "q")[1]["prediction"]
    assert given["answer"] == "Three."
    assert given["tokens"] <= 300
    assert len(given["shown_s"]) == given["frames"] and given["shown_s"][0] == 0

    monkeypatch.setattr(api, "load", lambda name, options=None: ColourChooser())
    (tmp_path / "m.txt").write_text("two 0.0 2.0##red\ntwo 0.0 2.0##blue\n")
    arguments = ("--annotations", tmp_path / "m.txt", "--videos", clips, "-o", tmp_path / "m")
    code, out, _ = run("eval", "charades-sta", *arguments)
    first, second = (line["prediction"] for line in results(tmp_path / "m")[1:])
    assert (first["spans"][0], second["spans"][0]) == ([0.0, 2.0], [2.0, 4.0])
    assert first["shown_s"][0] == 0 and 2 <= first["shown_s"][-1] < 4
    assert "| all | 2 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | 100.0 | 50.0 |" in out


def test_predictions_of_others_need_no_model(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(seedvideo.api, "load", lambda name, options=None: pytest.fail("loaded"))
    annotations = ("--annotations", FIXTURES / "charades_sta.txt")
    lengths = ("--annotations", FIXTURES / "charades.csv")
    given = ("--predictions", FIXTURES / "charades_predictions.jsonl")
    code, out, err = run("eval", "charades-sta", *annotations, *lengths, *given)
    assert code == 1
    assert err == "1 of 5 items have no answer and count as wrong\n"
    assert "# charades-sta, predictions charades_predictions.jsonl" in out
    (row,) = [line for line in out.splitlines() if line.startswith("| all")]
    # Worked out in tests/evaluate/test_datasets.py: R@1 at .3, .5, .7, mIoU, mAP.
    assert [cell.split()[0] for cell in row.strip("| ").split(" | ")] == [
        "all",
        "5",
        "20.0",
        "20.0",
        "20.0",
        "25.6",
        "20.0",
    ]
    assert list(tmp_path.iterdir()) == []
    again = run("eval", "charades-sta", *annotations, *lengths, *given, "-o", "out")
    assert again == (code, out, err)
    assert Path("out", "table.md").read_text() == out


def test_an_invalid_prediction_is_reported_with_its_line(run: Run, tmp_path: Path) -> None:
    annotations = ("--annotations", FIXTURES / "charades_sta.txt")
    path = tmp_path / "theirs.jsonl"
    for odd in ('"spans": [[NaN, 2]]', f'"spans": [[{"9" * 400}, 2]]', '"answer": "A"'):
        path.write_text(f'\n{{"id": "KITCH#1", {odd}}}\n')
        code, out, err = run("eval", "charades-sta", *annotations, "--predictions", path)
        assert (code, out) == (3, "")
        assert "line 2: " in err and "[input.results]" in err


def test_invalid_json_of_predictions_is_not_called_annotations(run: Run, tmp_path: Path) -> None:
    annotations = ("--annotations", FIXTURES / "charades_sta.txt")
    path = tmp_path / "theirs.jsonl"
    for data, why in (
        (
            b'\n{"id": "KITCH#1", "spans": [}\n',
            "line 2 is not valid JSON: expecting value, at column 29",
        ),
        (b"\xff\xfe\xff", "it is not UTF-8 text"),
    ):
        path.write_bytes(data)
        code, out, err = run("eval", "charades-sta", *annotations, "--predictions", path)
        assert (code, out) == (3, "")
        assert f"theirs.jsonl is not a file of predictions: {why} [input.results]" in err
        assert "benchmark's own file" not in err


def test_two_questions_with_one_id_stop_before_the_model(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(seedvideo.api, "load", lambda name, options=None: pytest.fail("loaded"))
    rows = json.loads((FIXTURES / "video_mme.json").read_text())
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([rows[0], rows[0]]))
    given = ("--predictions", FIXTURES / "video_mme_predictions.jsonl")
    for how in (given, ("--videos", tmp_path, "-o", tmp_path / "out")):
        code, out, err = run("eval", "video-mme", "--annotations", path, *how)
        assert (code, out) == (3, "")
        assert "2 items have the id '001-1' [input.annotations]" in err


@pytest.mark.parametrize(
    ("bench", "text", "counts"),
    [
        ("charades-sta", "b1 1.0 2.0##x\nb2 0.0 9.0##y\n", (0, 0)),
        ("charades-sta", "b1 1.0 2.0##x\nb3 2.0 1.0##y\nb4 2.0 2.0##z\n", (2, 0)),
        (
            "activitynet-captions",
            json.dumps(
                {
                    "v_a": {"duration": -3.0, "timestamps": [[0, 1]], "sentences": ["x"]},
                    "v_b": {
                        "duration": 3.0,
                        "timestamps": [[0, 1], [2, 1]],
                        "sentences": ["x", "y"],
                    },
                    "v_c": {"duration": 3.0, "timestamps": [[0, 4]], "sentences": ["x"]},
                }
            ),
            (1, 2),
        ),
    ],
)
def test_odd_truths_are_counted_above_the_table(
    run: Run, tmp_path: Path, bench: str, text: str, counts: tuple[int, int]
) -> None:
    (tmp_path / "truth").write_text(text)
    (tmp_path / "none.jsonl").touch()
    given = ("--annotations", tmp_path / "truth", "--predictions", tmp_path / "none.jsonl")
    code, out, _ = run("eval", bench, *given)
    assert code == 1
    for count, expected in zip(
        counts,
        ("is reversed or has no length, which no answer matches", "that extends beyond the video"),
        strict=True,
    ):
        assert (expected in out) is (count > 0)
        assert not count or f"{expected}: {count}." in out


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        (None, "not known"),
        ("id,length\nKITCH,12\n", "known for 2 of 5 items"),
        ("id,length\nKITCH,12\nSOFA1,30\nDOOR7,20.5\n", "known"),
    ],
)
def test_the_table_states_whether_lengths_are_known(
    run: Run, tmp_path: Path, lengths: str | None, expected: str
) -> None:
    given = ["--annotations", FIXTURES / "charades_sta.txt"]
    given += ["--predictions", FIXTURES / "charades_predictions.jsonl"]
    _, without, _ = run("eval", "charades-sta", *given)
    if lengths is not None:
        (tmp_path / "lengths.csv").write_text(lengths)
        given += ["--annotations", tmp_path / "lengths.csv"]
    _, out, _ = run("eval", "charades-sta", *given)
    assert f"Lengths of the videos: {expected}. Spans are scored as written" in out
    assert [line for line in out.splitlines() if line.startswith("|")] == [
        line for line in without.splitlines() if line.startswith("|")
    ]


@pytest.mark.parametrize("annotators", [1, 2])
def test_the_table_states_how_several_annotators_count(run: Run, annotators: int) -> None:
    given = [f"activitynet_val_{number}.json" for number in range(1, annotators + 1)]
    annotations = [word for name in given for word in ("--annotations", FIXTURES / name)]
    predictions = FIXTURES / "activitynet_predictions.jsonl"
    _, out, _ = run("eval", "activitynet-captions", *annotations, "--predictions", predictions)
    (head,) = [line for line in out.splitlines() if line.startswith("| dense")]
    several = annotators > 1
    assert ("SODA_d, mean of annotators" in head) is several
    assert ("SODA_c ROUGE-L, mean of annotators" in head) is several
    assert ("SODA the annotator with the best F1" in out) is several


def test_a_table_of_questions_does_not_mention_spans(run: Run) -> None:
    given = ("--annotations", FIXTURES / "video_mme.json")
    _, out, _ = run(
        "eval", "video-mme", *given, "--predictions", FIXTURES / "video_mme_predictions.jsonl"
    )
    assert "Lengths of the videos" not in out


@pytest.mark.parametrize(
    ("given", "code", "expected"),
    [
        (("nothing",), 2, "nothing"),
        (("charades-sta",), 2, "--annotations"),
        (("charades-sta", "--annotations", "none.txt"), 2, "--videos"),
        (("charades-sta", "--annotations", "none.txt", "--videos", "nowhere"), 3, "no such folder"),
        (("charades-sta", "--annotations", "none.txt", "--videos", "."), 3, "input.not_found"),
        (("video-mme", "--annotations", "none", "--predictions", "none"), 3, "input.not_found"),
        (("video-mme", "--limit", "0"), 2, "limit"),
        (("activitynet-captions", "--think"), 2, "--think cannot be used"),
        (
            ("video-mme", "--predictions", "x", "--model", "nano", "--policy", "adaptive"),
            2,
            "--model, --policy cannot be used: --predictions runs no model",
        ),
        (
            ("synthetic", "--predictions", "x", "--blind", "--budget", "2k", "--think"),
            2,
            "--budget, --blind, --think cannot be used",
        ),
    ],
)
def test_missing_options_are_reported(
    run: Run, model: ColourModel, given: tuple[str, ...], code: int, expected: str
) -> None:
    result = run("eval", *given)
    assert result.code == code
    assert expected in result.err
    assert result.out == ""


def test_flashbench_makes_its_own_videos(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = DifficultyConfig(
        duration_s=6,
        events=1,
        cap_heights_px=(30,),
        shots=1,
        width_px=960,
        height_px=540,
        gop_frames=25,
    )
    cases = (Case("T1", "T1", small, 1), Case("T3", "T3", small, 1))
    monkeypatch.setattr(quick, "quick_cases", lambda: cases)
    command = ("eval", "flashbench", "-o", tmp_path, "--policy", "keyframes", "--budget", "2k")
    code, out, err = run(*command, "--limit", "1")
    assert (code, err) == (0, "")
    assert "seen, keyframes | seen, uniform | seen, oracle" in out
    assert out.splitlines()[-1].startswith("| T1 | 1 |")
    assert (tmp_path / "table.md").read_text() == out
    assert run(*command, "--limit", "1").out == out
    assert len(results(tmp_path)) == 6  # settings and one case, for each of three


def test_flashbench_refuses_a_budget_below_one_frame_before_it_makes_a_video(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick, "generate", lambda *args, **options: pytest.fail("made"))
    code, out, err = run("eval", "flashbench", "--budget", "127", "-o", tmp_path / "out")
    assert (code, out) == (3, "")
    assert "one frame costs at least 128 tokens, the budget is 127 [plan.over_budget]" in err
    assert not (tmp_path / "out").exists()


def test_flashbench_takes_no_model(run: Run) -> None:
    code, _, err = run("eval", "flashbench", "--model", "nano", "--blind")
    assert code == 2
    assert "--model, --blind cannot be used" in err


def test_synthetic_makes_its_own_videos(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "load", lambda name, options=None: ColourChooser())
    command = ("eval", "synthetic", "-o", tmp_path / "out", "--policy", "uniform")
    code, out, err = run(*command, "--limit", "8")
    assert (code, err) == (0, "")
    assert "8 items over 1 videos; all answered." in out
    assert "| kind: " in out
    (video,) = (tmp_path / "out" / "videos").rglob("*.mp4")
    made = video.stat().st_mtime_ns
    settings = results(tmp_path / "out")[0]["settings"]["told"]
    assert video.parent.name == f"synthetic-{settings['generator']}"
    # Another run finds the video again.
    assert run(*command, "--limit", "8", "--blind").code == 0
    assert video.stat().st_mtime_ns == made


def test_synthetic_takes_no_annotations(run: Run) -> None:
    code, _, err = run("eval", "synthetic", "--annotations", "x")
    assert code == 2
    assert "generates its own questions" in err
