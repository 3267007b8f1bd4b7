"""Each adapter reads a file in its benchmark's form; its predictions score as worked out by hand.

The fixtures are made up: form and oddities are those of the published files, the words are not.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from seedvideo.errors import ConfigError, InputError
from seedvideo.evaluate.annotations import read_json_lines
from seedvideo.evaluate.datasets import ADAPTERS, ActivityNetCaptions, CharadesSta, VideoMme
from seedvideo.evaluate.registry import load_published
from seedvideo.evaluate.results import Outcome, read_predictions
from seedvideo.evaluate.scoring import MEASURES, Summary, score_item, summarise
from seedvideo.evaluate.types import Adapter, Item, Prediction, Reference

FIXTURES = Path(__file__).parent / "fixtures"


def scored(items: list[Item], name: str) -> tuple[Summary, dict[str, float]]:
    """The summary of a file of predictions, and the value of each measure over all items."""
    path = FIXTURES / name
    tasks = {item.id: item.task for item in items}
    given = read_predictions(path, read_json_lines(path), tasks=tasks)
    outcomes = {
        item.id: Outcome(id=item.id, digest=item.digest, prediction=given[item.id])
        for item in items
        if item.id in given
    }
    summary = summarise(items, outcomes)
    (task,) = summary.tasks
    return summary, {each.measure.name: each.estimate.value for each in task.overall.scored}


def test_charades_sta_is_read() -> None:
    items = CharadesSta().items(FIXTURES / "charades_sta.txt", FIXTURES / "charades.csv")
    assert [item.id for item in items] == ["KITCH#1", "KITCH#2", "SOFA1#1", "SOFA1#2", "DOOR7#1"]
    assert items[0] == Item(
        id="KITCH#1",
        task="ground",
        video="KITCH.mp4",
        duration_s=12.0,
        question="a person opens the fridge.",
        spans=((2.0, 6.0),),
    )
    assert items[2].question == "the person is watching ## on a screen."
    assert items[4].spans == ((9.0, 7.0),)  # as published
    alone = CharadesSta().items(FIXTURES / "charades_sta.txt")
    assert {item.duration_s for item in alone} == {None}


def test_charades_sta_is_scored_exactly() -> None:
    items = CharadesSta().items(FIXTURES / "charades_sta.txt", FIXTURES / "charades.csv")
    summary, values = scored(items, "charades_predictions.jsonl")
    # KITCH#1: 1. KITCH#2: 8-20 and 4-12.5 share 4.5 of 16 s, .28125: the video ends at 12, but
    # neither is cut.
    # SOFA1#1: "not found", 0. SOFA1#2: no prediction, 0. DOOR7#1: the truth runs backward, 0.
    assert values["mIoU"] == pytest.approx(1.28125 / 5)
    assert [values[f"R@1 IoU {t}"] for t in (0.3, 0.5, 0.7)] == pytest.approx([0.2, 0.2, 0.2])
    assert values["mAP"] == pytest.approx(1 / 5)
    assert "false positives" not in values
    assert (summary.counts.items, summary.counts.videos) == (5, 3)
    assert (summary.counts.answered, summary.counts.not_asked) == (4, 1)


def test_video_mme_is_read_in_all_its_forms(tmp_path: Path) -> None:
    items = VideoMme().items(FIXTURES / "video_mme.json")
    assert items[0] == Item(
        id="001-1",
        task="ask",
        video="aaaa.mp4",
        question="How many boats pass the bridge?",
        options=("One.", "Two.", "Three.", "Four."),
        answer="Three.",
        group={
            "duration": "short",
            "domain": "Knowledge",
            "sub_category": "Geography",
            "task_type": "Counting Problem",
        },
    )
    rows = json.loads((FIXTURES / "video_mme.json").read_text())
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert VideoMme().items(lines) == items
    table = tmp_path / "test-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    assert VideoMme().items(table) == items
    (nested,) = VideoMme().items(FIXTURES / "video_mme_leaderboard.json")
    assert (nested.id, nested.answer, nested.video) == ("001-1", "Three.", "001.mp4")
    assert nested.group == items[0].group


def test_video_mme_is_scored_exactly() -> None:
    items = VideoMme().items(FIXTURES / "video_mme.json")
    summary, values = scored(items, "video_mme_predictions.jsonl")
    # Right, wrong, no letter (wrong, not drawn at random), no prediction (wrong).
    assert values["accuracy"] == 0.25
    assert values["chance"] == 0.25
    assert summary.counts.unparsed == 1
    groups = {(g.by, g.name): g.scored[0].estimate.value for g in summary.tasks[0].groups}
    assert groups["duration", "short"] == 0.5
    assert groups["duration", "long"] == 0
    assert groups["task_type", "Counting Problem"] == 1


def test_activitynet_captions_is_read() -> None:
    files = FIXTURES / "activitynet_val_1.json", FIXTURES / "activitynet_val_2.json"
    swim, cook, _ = ActivityNetCaptions().items(*files)
    assert swim == Item(
        id="v_swim",
        task="dense",
        video="v_swim.mp4",
        duration_s=40.0,
        spans=((0.0, 10.0), (10.0, 40.0)),
        captions=("A man stands at a pool.", "He swims to the other side."),
        others=(Reference(((0.0, 40.0),), ("A man swims in a pool.",)),),
    )
    assert cook.spans == ((0.0, 22.5),)  # longer than the video, as some are
    assert len(ActivityNetCaptions().items(files[1])) == 1


def test_activitynet_captions_is_scored_exactly() -> None:
    files = FIXTURES / "activitynet_val_1.json", FIXTURES / "activitynet_val_2.json"
    summary, values = scored(ActivityNetCaptions().items(*files), "activitynet_predictions.jsonl")
    # v_swim against the first annotator: IoU .8 with 0-10 and .5 with 10-40, so both events pass at
    # .3 and .5, one at .7, none at .9: precision and recall (1 + 1 + .5 + 0) / 4. Against the other
    # one (0-40): .2 and .375: precision .5 and recall 1 at .3 only. Best of each: recall and
    # precision as with the first. v_cook: 20 of 22.5 s, though the video ends at 20: all but .9 are
    # met. v_dance: 0.
    assert values["precision"] == pytest.approx((0.625 + 0.75 + 0) / 3)
    assert values["recall"] == pytest.approx((0.625 + 0.75 + 0) / 3)
    assert values["F1"] == pytest.approx((0.625 + 0.75 + 0) / 3)
    # In order: (.8 + .5) over two and two. Against the other annotator: .375 over two and one, so
    # F1 is 2 * .375 / 3.
    assert values["SODA_d"] == pytest.approx((1.3 / 2 + 8 / 9 + 0) / 3)
    mean = (1.3 / 2 + 0.25) / 2
    assert values["SODA_d, mean of annotators"] == pytest.approx((mean + 8 / 9 + 0) / 3)
    # v_swim: the first caption is the same, "Water." shares no word. v_cook: 3 of 3 tokens are
    # right, 3 of 4 are found: F1 6 / 7, times the overlap.
    cook = 8 / 9 * 6 / 7
    assert values["SODA_c ROUGE-L"] == pytest.approx((0.8 / 2 + cook + 0) / 3)
    # The other annotator: 4 of 6 tokens in order, times .2, over two and one.
    mean = (0.8 / 2 + 2 * (0.2 * 4 / 6) / 3) / 2
    assert values["SODA_c ROUGE-L, mean of annotators"] == pytest.approx((mean + cook + 0) / 3)
    assert summary.counts.not_asked == 1


MOMENT = Item(
    id="a", task="ground", video="a.mp4", question="x", spans=((0.0, 20.0),), duration_s=30.0
)
STORY = Item(
    id="a", task="dense", video="a.mp4", spans=((0.0, 20.0),), captions=("x",), duration_s=30.0
)


@pytest.mark.parametrize(
    ("span", "overlap"),
    [
        ((0.0, 1000.0), 0.02),  # endless: cut to the video it would be 2 / 3
        ((-980.0, 20.0), 0.02),  # begins long before
        ((-10.0, 40.0), 0.4),  # both
        ((0.0, 30.0), 2 / 3),  # just the video
        ((30.0, 50.0), 0.0),  # behind it
        ((5.0, 15.0), 0.5),  # within
    ],
)
@pytest.mark.parametrize("duration_s", [None, 30.0, 10.0])
def test_predictions_are_never_cut_to_the_video(
    span: tuple[float, float], overlap: float, duration_s: float | None
) -> None:
    moment = score_item(replace(MOMENT, duration_s=duration_s), Prediction(spans=(span,)))
    assert moment["IoU"] == pytest.approx(overlap)
    assert moment["IoU, spans matched"] == pytest.approx(overlap)
    assert moment["R@1 IoU 0.5"] == (overlap >= 0.5)
    assert moment["AP"] == pytest.approx(sum(overlap >= t / 100 for t in range(50, 100, 5)) / 10)
    predicted = Prediction(spans=(span,), captions=("x",))
    story = score_item(replace(STORY, duration_s=duration_s), predicted)
    assert story["SODA_d"] == story["SODA_c ROUGE-L"] == pytest.approx(overlap)
    passed = sum(overlap >= threshold for threshold in (0.3, 0.5, 0.7, 0.9)) / 4
    assert story["precision"] == story["recall"] == passed


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_headlines_are_measures(adapter: Adapter) -> None:
    assert set(adapter.headline) <= {measure.name for measure in MEASURES[adapter.task]}


@pytest.mark.parametrize(
    ("adapter", "name", "text", "why"),
    [
        (CharadesSta(), "a.txt", "KITCH 2.0 6.0 a person\n", "line 1"),
        (
            CharadesSta(),
            "a.txt",
            "KITCH 2.0 6.0##ok\nKITCH 2..0 6.0##x\n",
            'line 2: start: "2..0" is not a number',
        ),
        (CharadesSta(), "a.txt", "KITCH 2.0 6.0##  \n", "line 1"),
        (CharadesSta(), "a.txt", "\n", "no line"),
        (VideoMme(), "a.json", "{", "not valid JSON"),
        (VideoMme(), "a.json", "{}", "not a list"),
        (VideoMme(), "a.json", "[]", "no question"),
        (
            VideoMme(),
            "a.json",
            '[{"question_id": "1"}]',
            "question 1: options is missing",
        ),
        (VideoMme(), "a.json", '[{"a": 1, "a": 2}]', 'it has the key "a" twice'),
        (VideoMme(), "a.json", "[" * 100_000, "nested too deeply"),
        (VideoMme(), "a.json", f"[{'9' * 5000}]", "a number of 5,000 digits"),
        (
            VideoMme(),
            "a.json",
            "[1,\n 2,,]",
            "it is not valid JSON: expecting value, at line 2, column 4",
        ),
        (VideoMme(), "a.jsonl", "{}\n[", "line 2"),
        (VideoMme(), "a.json", '[{"questions": null}]', "questions is not a list"),
        (VideoMme(), "a.json", '[{"questions": [3]}]', "questions is not a list"),
        (VideoMme(), "a.parquet", "PAR?", "is not a readable parquet file"),
        (ActivityNetCaptions(), "a.json", "[1]", "not a JSON object"),
        (
            ActivityNetCaptions(),
            "a.json",
            '{"v_a": {"duration": 1}}',
            "timestamps is missing",
        ),
        (ActivityNetCaptions(), "a.json", '{"v_a": 1}', "'v_a': it is not a JSON object: 1"),
        (ActivityNetCaptions(), "a.json", '{"v_a": {}, "v_a": {}}', 'the key "v_a" twice'),
        (
            ActivityNetCaptions(),
            "a.json",
            '{"v_a": {"duration": 1, "timestamps": [[0]], "sentences": ["a"]}}',
            r"timestamps.0: \[0\] is not a pair of start and end",
        ),
        (
            ActivityNetCaptions(),
            "a.json",
            '{"v_a": {"duration": 1, "timestamps": [[0, 1]], "sentences": []}}',
            "0 sentences for 1",
        ),
        (
            ActivityNetCaptions(),
            "a.json",
            '{"v_a": {"duration": 1, "timestamps": [], "sentences": []}}',
            "no event",
        ),
        (
            ActivityNetCaptions(),
            "a.json",
            '{"v_a": {"duration": NaN, "timestamps": [[0, 1]], "sentences": ["a"]}}',
            "finite",
        ),
        (
            ActivityNetCaptions(),
            "a.json",
            f'{{"v_a": {{"duration": 1, "timestamps": [[0, 1{"0" * 400}]], "sentences": ["a"]}}}}',
            "v_a",
        ),
        (
            ActivityNetCaptions(),
            "a.json",
            '{"v_a": {"duration": 1, "timestamps": [[0, 1]], "sentences": [null]}}',
            "v_a",
        ),
    ],
)
def test_a_file_of_another_form_is_refused(
    tmp_path: Path, adapter: Adapter, name: str, text: str, why: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=why) as caught:
        adapter.items(path)
    assert caught.value.code == "input.annotations"
    assert "Error" not in caught.value.message


@pytest.mark.parametrize("name", list(ADAPTERS))
def test_two_items_with_one_id_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = type(ADAPTERS[name])

    def twice(self: Adapter, annotations: Path, *more: Path) -> list[Item]:
        return [broken(id="a")(), broken(id="b")(), broken(id="b")()]

    monkeypatch.setattr(adapter, "items", twice)
    with pytest.raises(InputError, match="2 items have the id 'b'") as caught:
        load_published(name, [tmp_path / "a.json"], tmp_path)
    assert caught.value.code == "input.annotations"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"answer": "E"}, "letter"),
        ({"answer": "AB"}, "letter"),
        ({"options": []}, "letter"),
        ({"options": "A. red"}, "options: .* is not a list"),
        ({"options": {"A": "red"}}, "options: .* is not a list"),
        ({"options": None}, "options: null is not a list"),
        ({"options": ["a", 2]}, "options.1 is 2, expected a text"),
        ({"question": None}, "question is None, expected a text"),
        ({"videoID": None}, "videoID is None, expected a text"),
    ],
)
def test_a_question_that_can_not_be_answered_is_refused(
    tmp_path: Path, change: dict[str, object], why: str
) -> None:
    row = json.loads((FIXTURES / "video_mme.json").read_text())[0]
    path = tmp_path / "a.json"
    path.write_text(json.dumps([row | change]))
    with pytest.raises(InputError, match=why) as caught:
        VideoMme().items(path)
    assert caught.value.code == "input.annotations"


def test_a_second_annotator_whose_times_are_no_times(tmp_path: Path) -> None:
    second = tmp_path / "val_2.json"
    predicted = {
        "v_swim": {"duration": 40.0, "timestamps": [[float("nan"), 2]], "sentences": ["a"]}
    }
    second.write_text(json.dumps(predicted))
    with pytest.raises(InputError, match=r"val_2\.json .* finite"):
        ActivityNetCaptions().items(FIXTURES / "activitynet_val_1.json", second)


def test_lines_end_where_json_lines_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"id": "1", "answer": "a\u2028b"}\r\n\n{"id": "2"}\n'.encode())
    assert read_json_lines(path) == {1: {"id": "1", "answer": "a\u2028b"}, 3: {"id": "2"}}
    path = tmp_path / "a.txt"
    path.write_bytes("KITCH 2.0 6.0##a\u2028b\r\n".encode())
    assert [item.question for item in CharadesSta().items(path)] == ["a\u2028b"]


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_a_file_that_is_not_there(adapter: Adapter, tmp_path: Path) -> None:
    for name in ("none.json", "none.parquet"):
        with pytest.raises(InputError) as caught:
            adapter.items(tmp_path / name)
        assert caught.value.code == "input.not_found"
    with pytest.raises(InputError) as caught:
        adapter.items(tmp_path)
    assert caught.value.code in ("input.unreadable", "input.annotations")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="not UTF-8 text"):
        CharadesSta().items(path)


def test_a_wrong_second_file(tmp_path: Path) -> None:
    lines = FIXTURES / "charades_sta.txt"
    with pytest.raises(InputError, match="id and length"):
        CharadesSta().items(lines, lines)
    huge = tmp_path / "huge.csv"
    huge.write_text(f"id,length\nKITCH,{'1' * 140_000}\n")
    with pytest.raises(InputError, match=r"is not valid CSV.*limit"):
        CharadesSta().items(lines, huge)
    with pytest.raises(InputError, match="too many"):
        CharadesSta().items(lines, FIXTURES / "charades.csv", lines)
    with pytest.raises(InputError, match="too many"):
        VideoMme().items(FIXTURES / "video_mme.json", lines)


def test_parquet_without_its_package_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError) as caught:
        VideoMme().items(tmp_path / "a.parquet")
    assert caught.value.code == "config.package_missing"


def broken(**changes: object) -> Callable[[], Item]:
    good = {"id": "x", "task": "ask", "video": "x.mp4", "question": "what?", "answer": "a dog"}
    return lambda: Item(**(good | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (broken(question=" "), "has no question"),
        (broken(answer=""), "no answer"),
        (broken(options=("a cat", "a cow")), "not an option"),
        (broken(task="dense"), "no event"),
        (broken(task="dense", spans=((0, 1),)), "captions"),
        (broken(task="ground", spans=((0, float("nan")),)), "finite"),
        (broken(clip=(0, float("inf"))), "finite"),
        (broken(duration_s=float("nan")), "finite"),
        (lambda: broken(others=(Reference(((0, float("nan")),), ("a",)),))(), "finite"),
    ],
)
def test_items_that_could_never_be_right(make: Callable[[], Item], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make()
