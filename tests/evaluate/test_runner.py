"""The harness with a model that is made up: what is asked, what is kept, what counts as wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from seedvideo.errors import InputError, MediaError, OutputError
from seedvideo.evaluate.reporting import render
from seedvideo.evaluate.results import Outcome, Results, Settings, read_predictions
from seedvideo.evaluate.runner import folder_resolver, run, sort_by_video
from seedvideo.evaluate.scoring import compare, summarise
from seedvideo.evaluate.types import Item, Prediction, Task

SETTINGS = Settings(
    "made-up", {"model": "fake", "policy": "uniform", "budget": 512, "blind": False}
)


def question(name: str, answer: str, *, video: str = "a.mp4", **group: str) -> Item:
    return Item(
        id=name,
        task="ask",
        video=video,
        question=f"what is {name}?",
        options=("red", "blue"),
        answer=answer,
        group=group,
    )


ITEMS = (
    question("1", "red", video="a.mp4", kind="colour"),
    question("2", "blue", video="b.mp4", kind="colour"),
    question("3", "red", video="a.mp4", kind="order"),
    question("4", "blue", video="c.mp4", kind="order"),
)


class Fake:
    """Answers red to everything, and fails on the given items."""

    def __init__(self, *, fails: Callable[[Item], Exception | None] = lambda item: None) -> None:
        self.asked: list[str] = []
        self.fails = fails

    def __call__(self, item: Item, path: Path) -> Prediction:
        self.asked.append(item.id)
        error = self.fails(item)
        if error is not None:
            raise error
        return Prediction(answer="Red.", raw="red", frames=3, tokens=99)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mkv", "c.mp4"):
        (folder / name).touch()
    return folder


def go(
    path: Path,
    predict: Fake,
    videos: Path,
    *,
    items: tuple[Item, ...] = ITEMS,
    settings: Settings = SETTINGS,
) -> dict[str, Outcome]:
    with Results(path) as results:
        return run(
            items,
            predict=predict,
            resolve_path=folder_resolver(videos),
            results=results,
            settings=settings,
        )


def test_every_item_is_asked_once_video_by_video(tmp_path: Path, videos: Path) -> None:
    fake = Fake()
    outcomes = go(tmp_path / "r.jsonl", fake, videos)
    assert fake.asked == ["1", "3", "2", "4"]
    assert {name: one.scores["accuracy"] for name, one in outcomes.items()} == {
        "1": 1,
        "3": 1,
        "2": 0,
        "4": 0,
    }


def test_the_file_has_a_line_an_item_and_reads_back(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    outcomes = go(path, Fake(), videos)
    first, *lines = map(json.loads, path.read_text().splitlines())
    assert first["settings"]["told"]["policy"] == "uniform"
    assert [line["id"] for line in lines] == ["1", "3", "2", "4"]
    assert {line["run"] for line in lines} == {SETTINGS.fingerprint}
    assert lines[0]["prediction"]["tokens"] == 99
    with Results(path) as results:
        assert results.outcomes(SETTINGS) == outcomes
        assert results.settings == {SETTINGS.fingerprint: SETTINGS}


def test_a_second_run_asks_only_what_is_left(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "r.jsonl"
    go(path, Fake(), videos, items=ITEMS[:2])
    fake = Fake()
    outcomes = go(path, fake, videos)
    assert fake.asked == ["3", "4"]
    assert len(outcomes) == 4
    before = path.read_bytes()
    assert go(path, fake, videos) == outcomes
    assert path.read_bytes() == before


def test_other_settings_ask_again_in_the_same_file(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "r.jsonl"
    go(path, Fake(), videos)
    fake = Fake()
    go(path, fake, videos, settings=Settings("made-up", {**SETTINGS.values, "budget": 256}))
    assert len(fake.asked) == 4
    with Results(path) as results:
        assert len(results.settings) == 2


def test_a_changed_item_is_asked_again(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "r.jsonl"
    go(path, Fake(), videos)
    fake = Fake()
    changed = (question("1", "blue", kind="colour"), *ITEMS[1:])
    assert go(path, fake, videos, items=changed)["1"].scores["accuracy"] == 0
    assert fake.asked == ["1"]


def test_a_torn_last_line_is_dropped_and_asked_again(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "r.jsonl"
    go(path, Fake(), videos)
    whole = path.read_bytes()
    torn = whole[:-20]
    path.write_bytes(torn)
    with Results(path) as results:
        assert results.dropped_bytes == len(torn) - torn.rfind(b"\n") - 1
        assert results.outcomes(SETTINGS).keys() == {"1", "2", "3"}
    fake = Fake()
    go(path, fake, videos)
    assert fake.asked == ["4"]
    assert len(path.read_bytes().splitlines()) == len(whole.splitlines())


@pytest.mark.parametrize("line", ["{}", "[]", "nonsense", '{"run": "x", "id": "1", "new": 2}'])
def test_a_complete_line_that_is_not_a_result_stops(
    tmp_path: Path, videos: Path, line: str
) -> None:
    path = tmp_path / "r.jsonl"
    go(path, Fake(), videos)
    path.write_text(f"{path.read_text()}{line}\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match="line 6") as caught:
        Results(path)
    assert caught.value.code == "input.results"
    assert path.read_bytes() == before


def test_failures_are_stored_counted_and_tried_again(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "r.jsonl"

    def fails(item: Item) -> Exception | None:
        return {
            "1": MediaError("media.corrupt", "too damaged"),
            "2": ZeroDivisionError("a bug"),
        }.get(item.id)

    (videos / "c.mp4").unlink()
    outcomes = go(path, Fake(fails=fails), videos)
    assert {name: one.error for name, one in outcomes.items()} == {
        "1": "media.corrupt",
        "2": "internal.error",
        "3": None,
        "4": "input.not_found",
    }
    summary = summarise(ITEMS, outcomes)
    assert summary.counts.failed == {"internal.error": 1, "media.corrupt": 1}
    assert summary.counts.missing_videos == 1
    assert summary.counts.without_answer == 3
    assert summary.tasks[0].overall.scored[0].estimate.value == 0.25
    table = render(summary, settings=SETTINGS)
    assert (
        "**3 without an answer, which count as wrong**; 1 because their video was not found"
        in table
    )
    assert "1 failed with internal.error; 1 failed with media.corrupt." in table

    (videos / "c.mp4").touch()
    fake = Fake()
    assert all(one.error is None for one in go(path, fake, videos).values())
    assert fake.asked == ["1", "2", "4"]


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 10**400])
def test_a_prediction_that_is_none_fails_its_item_alone(
    tmp_path: Path, videos: Path, time: float
) -> None:
    class Odd(Fake):
        def __call__(self, item: Item, path: Path) -> Prediction:
            if item.id == "1":
                return Prediction(spans=((time, 2.0),))
            if item.id == "2":
                # As a careless caller would.
                return Prediction(answer=None)  # type: ignore[arg-type]
            return super().__call__(item, path)

    outcomes = go(tmp_path / "r.jsonl", Odd(), videos)
    assert outcomes["1"].error == outcomes["2"].error == "internal.error"
    assert "not finite" in str(outcomes["1"].message)
    assert outcomes["3"].error is None


@pytest.mark.parametrize("given", [{"scores": (float("nan"),)}, {"frame_times_s": (float("inf"),)}])
def test_every_number_of_a_prediction_is_finite(given: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="finite"):
        Prediction(spans=((0.0, 1.0),), **given)  # type: ignore[arg-type]


def test_ctrl_c_stops_and_keeps_what_was_done(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "r.jsonl"

    class Stopped(Fake):
        def __call__(self, item: Item, path: Path) -> Prediction:
            if item.id == "2":
                raise KeyboardInterrupt
            return super().__call__(item, path)

    with pytest.raises(KeyboardInterrupt):
        go(path, Stopped(), videos)
    fake = Fake()
    go(path, fake, videos)
    assert fake.asked == ["2", "4"]


def test_only_one_process_writes(tmp_path: Path) -> None:
    with Results(tmp_path / "r.jsonl"), pytest.raises(OutputError) as caught:
        Results(tmp_path / "r.jsonl")
    assert (caught.value.code, caught.value.retryable) == ("output.in_use", True)


def test_an_unwritable_results_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        Results(tmp_path / "file" / "r.jsonl")
    assert caught.value.code == "output.unwritable"


def test_ids_must_differ(tmp_path: Path, videos: Path) -> None:
    with pytest.raises(ValueError, match="same id"):
        go(tmp_path / "r.jsonl", Fake(), videos, items=(ITEMS[0], ITEMS[0]))


def test_videos_are_found_inside_the_folder_only(tmp_path: Path, videos: Path) -> None:
    find = folder_resolver(videos)
    (tmp_path / "secret.mp4").touch()
    (videos / "deep").mkdir()
    (videos / "deep" / "d.mp4").touch()

    def found(name: str) -> Path | None:
        return find(question("x", "red", video=name))

    assert found("a.mp4") == videos / "a.mp4"
    assert found("b.mp4") == videos / "b.mkv"  # another container
    assert found("deep/d.mp4") == videos / "deep" / "d.mp4"
    assert found("../secret.mp4") is None
    assert found(str(tmp_path / "secret.mp4")) is None
    assert found("none.mp4") is None
    assert found("deep") is None


def test_order_by_video() -> None:
    assert [item.id for item in sort_by_video(ITEMS)] == ["1", "3", "2", "4"]


def test_silence_is_the_worst_of_all() -> None:
    absent = Item(id="x", task="ground", video="a.mp4", question="a dog")
    present = Item(id="y", task="ground", video="a.mp4", question="a cat", spans=((0, 1), (3, 4)))
    summary = summarise([absent, present], {})
    values = {one.measure.name: one.estimate.value for one in summary.tasks[0].overall.scored}
    assert values["false positives"] == 1
    assert values["mIoU"] == values["mAP"] == 0
    assert summary.counts.not_asked == 2


def test_several_spans_are_one_answer_unless_they_are_ranked() -> None:
    item = Item(id="y", task="ground", video="a.mp4", question="a cat", spans=((0, 1), (3, 4)))

    def matched(prediction: Prediction) -> tuple[float, float]:
        outcome = Outcome(id="y", digest=item.digest, prediction=prediction)
        (task,) = summarise([item], {"y": outcome}).tasks
        values = {one.measure.name: one.estimate.value for one in task.overall.scored}
        return values["mIoU, spans matched"], values["mAP"]

    assert matched(Prediction(spans=((0, 1), (3, 4)))) == (1, 1)
    assert matched(Prediction(spans=((0, 1), (3, 4)), scores=(0.4, 0.6))) == (0.5, 1)


def test_groups_and_intervals_in_the_table(tmp_path: Path, videos: Path) -> None:
    table = render(
        summarise(ITEMS, go(tmp_path / "r.jsonl", Fake(), videos)),
        settings=SETTINGS,
        headline=["accuracy"],
        notes=["The first 4 items only."],
    )
    assert table.startswith("# made-up, model fake, policy uniform, budget 512\n\nThe first 4")
    assert "4 items over 3 videos; all answered." in table
    assert "| ask | items | **accuracy** | chance |" in table
    assert "| all | 4 | 50.0 (0.0 to 100.0) | 50.0 (50.0 to 50.0) |" in table
    assert "| kind: colour | 2 | 50.0 (0.0 to 100.0) |" in table
    assert "accuracy, options" not in table


def test_two_runs_are_compared_on_what_both_were_asked(tmp_path: Path, videos: Path) -> None:
    ours = go(tmp_path / "1.jsonl", Fake(), videos)

    class Blue(Fake):
        def __call__(self, item: Item, path: Path) -> Prediction:
            return Prediction(answer="B")

    theirs = go(tmp_path / "2.jsonl", Blue(), videos, items=ITEMS[:3])
    comparisons, common = compare(ITEMS, ours, theirs)
    assert common == 3
    # Red is right for 1 and 3, blue for 2: two wins, one loss.
    accuracy = comparisons[0]
    assert accuracy.difference.value == pytest.approx(1 / 3)
    assert accuracy.p == 1
    assert compare(ITEMS, ours, {})[1] == 0


def test_predictions_of_others(tmp_path: Path) -> None:
    tasks: dict[str, Task] = {"1": "ask", "2": "ground", "3": "dense"}
    lines = {
        1: {"id": "1", "answer": "B"},
        2: {"id": "2", "spans": [[1, 2]], "scores": [0.5]},
        4: {"id": "of no item"},
    }
    found = read_predictions(tmp_path, lines, tasks=tasks)
    assert found["2"] == Prediction(spans=((1.0, 2.0),), scores=(0.5,))
    for bad in (
        {"answer": "B"},
        {"id": "0", "answer": "B"},
        {"id": "2", "spans": [[1]]},
        {"id": "2", "spans": [[1, 2]], "scores": [1, 2]},
        {"id": "2", "spans": [[1, 2]], "captions": ["a", "b"]},
        {"id": "2", "spans": [[float("nan"), 2]]},
        {"id": "2", "spans": [[10**400, 2]]},
        {"id": "2", "spans": None},
        {"id": "1", "answer": "B", "wrong": 1},
        {"id": "1", "answer": None},
        {"id": "3", "spans": [[1, 2]], "captions": [None]},
        # What would be taken for "not found", or for an answer in which nothing can be read.
        {"id": "2", "answer": "B"},
        {"id": "1", "spans": [[1, 2]]},
        {"id": "3", "spans": [[1, 2]]},
        1,
    ):
        with pytest.raises(InputError, match="line 7: ") as caught:
            read_predictions(tmp_path, {5: {"id": "0"}, 7: bad}, tasks=tasks)
        assert caught.value.code == "input.results"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"answer": "B"}, "line 7: id is missing"),
        ({"id": None, "answer": "B"}, "line 7: id is None, expected a text"),
        ({"id": "1", "answer": "B", "extra": 1}, 'line 7: the key "extra" is unknown, expected'),
        ({"id": "1", "answer": None}, "line 7: answer is None, expected a text"),
        ({"id": "2", "spans": [[1]]}, r"\[1\] is not a pair of start and end"),
        ({"id": "2", "spans": [[1, 2, 3]]}, r"\[1, 2, 3\] is not a pair of start and end"),
        ({"id": "2", "spans": [3]}, "3 is not a pair of start and end"),
        ({"id": "2", "spans": [["a", 2]]}, 'spans.0: "a" is not a number'),
        ({"id": "2", "spans": [[1, None]]}, "spans.0: null is not a number"),
        (
            {"id": "2", "spans": [[10**400, 2]]},
            r"spans.0: 10+\.\.\. is too large",
        ),
        ({"id": "2", "spans": {"start": 1}}, 'spans: {"start": 1} is not a list'),
        ({"id": "2", "spans": [[1, 2]], "scores": ["x"]}, 'scores.0: "x" is not a number'),
        ({"id": "3", "spans": [[1, 2]], "captions": [4]}, "captions.0 is 4, expected a text"),
        ([1], r"line 7: it is not a JSON object: \[1\]"),
    ],
)
def test_errors_of_a_prediction_are_described(tmp_path: Path, line: object, why: str) -> None:
    tasks: dict[str, Task] = {"1": "ask", "2": "ground", "3": "dense"}
    with pytest.raises(InputError, match=why) as caught:
        read_predictions(tmp_path, {7: line}, tasks=tasks)
    assert "Error" not in caught.value.message
