"""Items answered at once: requests to a server in threads, prompts of an open model in batches."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import seedvideo
from seedvideo.config import SamplingConfig
from seedvideo.errors import ModelError
from seedvideo.evaluate import runner
from seedvideo.evaluate.results import Outcome, Results, Settings
from seedvideo.evaluate.runner import (
    AnswerAll,
    ModelPredictor,
    answer_in_batches,
    answer_in_threads,
    answer_one_by_one,
    folder_resolver,
    make_blind,
    run,
)
from seedvideo.evaluate.types import Item, Prediction
from seedvideo.model.backends.base import Backend, Generation, ModelDetails, Part
from seedvideo.model.batching import BatchingBackend
from seedvideo.utils.threads import run_in_threads
from tests.model.test_batching import BatchModel
from tests.synthetic_clips import ColourModel, paint

SETTINGS = Settings("made-up", {"model": "colours"})
SAMPLING = SamplingConfig(policy="uniform", budget_tokens=256)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in ("red", "green", "blue"):
        paint(folder / f"{name}.mp4", [name])
    return folder


def item(name: str, video: str, **values: Any) -> Item:
    asked = {
        "question": "which colour?",
        "options": ("Red", "Green", "Blue", "White"),
        "answer": "Red",
    }
    return Item(id=name, task="ask", video=f"{video}.mp4", **{**asked, **values})


ITEMS = [
    *(item(f"{video}-{number}", video) for video in ("red", "green") for number in range(3)),
    item("blue-0", "blue"),
    item("gone", "gone"),
]


def evaluate(
    path: Path,
    videos: Path,
    backend: Backend,
    answer_all: AnswerAll,
    *,
    items: Sequence[Item] = ITEMS,
) -> dict[str, Outcome]:
    """The outcomes without their times."""
    with Results(path) as results, ModelPredictor(backend, sampling=SAMPLING) as predict:
        outcomes = run(
            items,
            predict=predict,
            resolve_path=folder_resolver(videos),
            results=results,
            settings=SETTINGS,
            answer_all=answer_all,
        )
    return {name: replace(outcome, spent_s=None) for name, outcome in outcomes.items()}


class AtOnce(ColourModel):
    """A server that answers only while so many ask at once, until all did."""

    details = ModelDetails(source="server")

    def __init__(self, count: int) -> None:
        super().__init__()
        self.barrier = threading.Barrier(count, timeout=20)

    def generate(self, parts: Sequence[Part], **settings: Any) -> Generation:
        self.barrier.wait()
        return super().generate(parts)


def test_a_server_is_asked_about_several_items_at_once(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, int]] = []
    real = seedvideo.open

    def spy(path: Path) -> seedvideo.Video:
        opened.append((path.stem, threading.get_ident()))
        return real(path)

    monkeypatch.setattr(runner, "open", spy)
    one = evaluate(tmp_path / "1.jsonl", videos, ColourModel(), answer_one_by_one, items=ITEMS[:6])
    opened.clear()
    many = evaluate(tmp_path / "3.jsonl", videos, AtOnce(3), answer_in_threads(3), items=ITEMS[:6])
    assert many == one
    assert list(many) == list(one)
    # Each video is opened and analysed once, in the caller's thread.
    assert opened == [(name, threading.get_ident()) for name in ("red", "green")]


def test_an_outcome_is_on_disk_as_soon_as_it_is_there(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "r.jsonl"
    turn = threading.Event()

    class FirstIsSlow:
        def prepare(self, item: Item, path: Path) -> Callable[[], Prediction]:
            return lambda: self(item, path)

        def __call__(self, item: Item, path: Path) -> Prediction:
            if item.id == ITEMS[0].id:
                assert turn.wait(20)
            return Prediction(answer="Red", raw="red")

    finished: list[tuple[str, int]] = []

    def progress(item: Item, outcome: Outcome, number: int) -> None:
        finished.append((item.id, number))
        lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
        assert [line["id"] for line in lines] == [name for name, _ in finished]
        if len(finished) == 4:
            turn.set()

    with Results(path) as results:
        outcomes = run(
            ITEMS[:6],
            predict=FirstIsSlow(),
            resolve_path=folder_resolver(videos),
            results=results,
            settings=SETTINGS,
            progress=progress,
            answer_all=answer_in_threads(2),
        )
    assert finished.index((ITEMS[0].id, 1)) >= 4
    assert sorted(finished, key=lambda each: each[1]) == [
        (item.id, number) for number, item in enumerate(ITEMS[:6], start=1)
    ]
    assert list(outcomes) == [item.id for item in ITEMS[:6]]


@pytest.mark.parametrize("blind", [False, True], ids=["seeing", "blind"])
def test_batches_give_the_outcomes_of_single_items(
    tmp_path: Path, videos: Path, *, blind: bool
) -> None:
    items = [replace(each, options=()) if each.id.endswith("1") else each for each in ITEMS]
    captions = [replace(each, id=f"{each.id}-open", options=(), answer="Red.") for each in ITEMS]

    def view(backend: Backend) -> Backend:
        return make_blind(backend) if blind else backend

    single, batched = BatchModel(), BatchModel()
    backend = BatchingBackend(batched)
    one = evaluate(
        tmp_path / "1.jsonl", videos, view(single), answer_one_by_one, items=[*items, *captions]
    )
    many = evaluate(
        tmp_path / "3.jsonl",
        videos,
        view(backend),
        answer_in_batches(backend, 3),
        items=[*items, *captions],
    )
    assert many == one
    assert {len(batch) for batch in single.batches} == {1}
    assert max(len(batch) for batch in batched.batches) > 1
    assert one["gone"].error == "input.not_found"


def test_a_run_in_threads_resumes(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "r.jsonl"

    class Down(ColourModel):
        def generate(self, parts: Sequence[Part], **settings: Any) -> Generation:
            raise ModelError("model.server_unreachable", "connection refused", retryable=True)

    before = evaluate(path, videos, ColourModel(), answer_in_threads(2), items=ITEMS[:3])
    failed = evaluate(path, videos, Down(), answer_in_threads(2), items=ITEMS[:6])
    assert [one.error for one in failed.values()] == [None] * 3 + ["model.server_unreachable"] * 3
    model = ColourModel()
    after = evaluate(path, videos, model, answer_in_threads(2), items=ITEMS[:6])
    assert len(model.seen) == 3
    assert {name: after[name] for name in before} == before
    assert not any(one.error for one in after.values())


def interrupt() -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize("count", [1, 2])
def test_ctrl_c_in_an_answer_stops_the_run(count: int) -> None:
    calls: Iterable[Callable[[], int]] = [lambda: 1, interrupt, lambda: 2]
    with pytest.raises(KeyboardInterrupt):
        list(run_in_threads(calls, count))


def test_calls_are_taken_when_a_thread_is_free() -> None:
    taken: list[int] = []
    ended: list[int] = []

    def calls() -> Iterator[Callable[[], int]]:
        for number in range(5):
            assert len(taken) - len(ended) < 2
            taken.append(number)
            yield partial(int, number)

    for number in run_in_threads(calls(), 2):
        ended.append(number)
    assert sorted(ended) == list(range(5))
    assert list(run_in_threads([], 3)) == []
