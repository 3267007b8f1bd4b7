"""Awaitable functions: results, a loop that goes on, cancellation, and one thread for a model."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import pytest

import seedvideo
from seedvideo import aio, api
from seedvideo.media.sharing import stoppable
from seedvideo.media.worker_client import DecodeWorker
from seedvideo.model.backends.base import Generation, ModelDetails, Part
from tests.fixtures import Clips, read_number
from tests.forks import forked
from tests.resource_checks import children
from tests.synthetic_clips import ColourChooser, ColourModel, paint

_T = TypeVar("_T")

FREED_S = 2.0
"""A cancelled call has ended its processes after so long, on a busy machine too."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("clips") / "two.mp4", ["red", "green"])


class GatedModel(ColourModel):
    """A model that answers when it is let, and counts the threads that use it.

    Args:
        pieces: texts that it writes before it waits.
    """

    def __init__(self, *pieces: str) -> None:
        super().__init__()
        self.pieces = pieces
        self.started, self.gate = threading.Event(), threading.Event()
        self.users, self.most_users, self.answers = 0, 0, 0

    def generate(self, parts: Sequence[Part], **options: Any) -> Generation:
        self.users += 1
        self.most_users = max(self.most_users, self.users)
        self.started.set()
        try:
            assert self.gate.wait(60)
            for piece in self.pieces:
                options["on_text"](piece)
            made = super().generate(parts)
            self.answers += 1
            return made
        finally:
            self.users -= 1


class ServerModel(GatedModel):
    details = ModelDetails(source="server")


async def until(is_so: Callable[[], object], *, limit_s: float = 30) -> None:
    """Wait in the loop until something is so."""
    deadline_s = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def stopped_processes() -> Iterator[list[int]]:
    """Collect processes that a test stops, so that each goes on at the end, if it still exists."""
    stopped: list[int] = []
    try:
        yield stopped
    finally:
        for process in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def lose_requests(monkeypatch: pytest.MonkeyPatch, kind: str) -> threading.Event:
    """Let requests of a kind never reach a decode process; return an event of the first one."""
    lost, send = threading.Event(), DecodeWorker.send

    def maybe_send(
        worker: DecodeWorker, header: dict[str, Any], *rest: Any, **options: Any
    ) -> None:
        if header["type"] == kind:
            lost.set()
        else:
            send(worker, header, *rest, **options)

    monkeypatch.setattr(DecodeWorker, "send", maybe_send)
    return lost


async def cancelled(task: "asyncio.Task[Any]") -> None:
    """Cancel a task, which must end at once."""
    task.cancel()
    started_s = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started_s < 0.5


# Results.


def test_results_are_those_of_the_functions(clip: Path) -> None:
    model = ColourChooser()

    async def work() -> None:
        with await aio.open(clip, workers=1) as video:
            plan = await aio.plan(video, model=model, max_frames=4)
            assert plan == seedvideo.plan(video, model=model, max_frames=4)
            shown = [frame.pts async for _, frame in aio.frames(video, plan)]
            assert shown == [frame.pts for frame in plan.frames]
            assert (await aio.frames_at(video, [0.5])).shape == (1, 96, 160, 3)
            assert await aio.quality(video, end_s=1) == seedvideo.quality(video, end_s=1)
        record = await aio.caption(clip, model=model, policy="uniform")
        assert record.text == "Red then green."
        asked = await aio.ask(clip, "Which?", options=["red", "blue"], model=model)
        assert (
            asked.text == seedvideo.ask(clip, "Which?", options=["red", "blue"], model=model).text
        )
        found = await aio.ground(clip, "green", model=model)
        assert found.grounding == seedvideo.ground(clip, "green", model=model).grounding

    asyncio.run(work())
    assert children() == []


def test_names_and_texts_are_those_of_the_functions() -> None:
    for name in set(aio.__all__) - {"frames"}:
        function = getattr(aio, name)
        assert asyncio.iscoroutinefunction(function)
        assert (function.__name__, function.__doc__) == (name, getattr(api, name).__doc__)


def test_errors_are_those_of_the_functions(clip: Path) -> None:
    async def code_of(call: Awaitable[object]) -> str:
        with pytest.raises(seedvideo.SeedVideoError) as caught:
            await call
        return caught.value.code

    async def work() -> list[str]:
        return [
            await code_of(aio.plan("none.mp4")),
            await code_of(aio.plan(clip, fps=-1.0)),
            await code_of(aio.caption(clip, model=5)),  # type: ignore[arg-type]
            await code_of(aio.ground(clip, "red", model=None)),  # type: ignore[arg-type]
            await code_of(aio.ask(clip, "", model=ColourModel())),
            await code_of(anext(aio.frames(clip, "plan"))),  # type: ignore[arg-type]
        ]

    assert asyncio.run(work()) == [
        "input.not_found",
        "plan.invalid",
        "config.type",
        "config.type",
        "ask.question_empty",
        "config.type",
    ]


def test_a_model_by_name_is_loaded_for_one_call_after_the_other(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading: list[int] = []

    def load(name: str) -> ColourModel:
        loading.append(1)
        time.sleep(0.1)
        assert len(loading) == 1
        loading.clear()
        return ColourModel()

    monkeypatch.setattr(api, "load", load)

    async def work() -> list[seedvideo.Record]:
        return await asyncio.gather(*(aio.caption(clip, model="nano") for _ in range(3)))

    assert [record.text for record in asyncio.run(work())] == ["Red then green."] * 3


# The loop and the model.


def test_the_loop_goes_on_while_a_caption_runs(clip: Path) -> None:
    model = GatedModel()

    async def work() -> tuple[int, str | None]:
        task = asyncio.create_task(aio.caption(clip, model=model))
        ticks = 0
        while not model.started.is_set() or ticks < 10:
            await asyncio.sleep(0.01)
            ticks += 1
        model.gate.set()
        return ticks, (await task).text

    ticks, text = asyncio.run(work())
    assert ticks >= 10 and text == "Red then green."


@pytest.mark.parametrize(("kind", "most"), [(GatedModel, 1), (ServerModel, 2)])
def test_one_thread_uses_a_model_and_several_a_server(
    clip: Path, kind: type[GatedModel], most: int
) -> None:
    model = kind()

    async def work() -> list[seedvideo.Record]:
        tasks = [asyncio.create_task(aio.caption(clip, model=model)) for _ in range(2)]
        await until(lambda: model.users == most)
        await asyncio.sleep(0.5)
        model.gate.set()
        return await asyncio.gather(*tasks)

    assert [record.text for record in asyncio.run(work())] == ["Red then green."] * 2
    assert (model.most_users, model.answers) == (most, 2)


def test_plans_do_not_wait_for_models(clip: Path) -> None:
    model = GatedModel()

    async def work() -> None:
        tasks = [asyncio.create_task(aio.caption(clip, model=model)) for _ in range(12)]
        await until(model.started.is_set)
        plan = await aio.plan(clip, policy="uniform")
        assert plan.frames and not any(task.done() for task in tasks)
        model.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(work())


def test_text_arrives_in_the_thread_of_the_loop(clip: Path) -> None:
    model = GatedModel("Red", " then")
    model.gate.set()
    texts: list[tuple[str, int]] = []

    def on_text(text: str) -> None:
        texts.append((text, threading.get_ident()))

    asyncio.run(aio.caption(clip, model=model, on_text=on_text))
    assert texts == [("Red", threading.get_ident()), (" then", threading.get_ident())]


def test_several_loops_share_a_model(clip: Path) -> None:
    model = ColourModel()
    for _ in range(2):
        assert asyncio.run(aio.caption(clip, model=model)).text == "Red then green."


def test_threads_end_with_their_model(clip: Path) -> None:
    model = ColourModel()
    before = {*threading.enumerate()}
    asyncio.run(aio.caption(clip, model=model))
    (thread,) = (t for t in {*threading.enumerate()} - before if "seedvideo-model" in t.name)
    assert thread.is_alive()
    del model
    thread.join(10)
    assert not thread.is_alive()


def test_a_forked_process_has_threads_of_its_own(clip: Path) -> None:
    model = ColourModel()
    asyncio.run(aio.caption(clip, model=model))
    assert forked(lambda: asyncio.run(aio.caption(clip, model=model)).text) == "Red then green."


# Cancellation.


def open_video(path: Path) -> Awaitable[object]:
    return aio.open(path)


def make_plan(path: Path) -> Awaitable[object]:
    return aio.plan(path)


def make_caption(path: Path) -> Awaitable[object]:
    return aio.caption(path, model=ColourModel())


def read_frames(path: Path) -> Awaitable[object]:
    return _last(aio.frames(path, seedvideo.plan(path, policy="uniform")))


def read_frames_at(path: Path) -> Awaitable[object]:
    return aio.frames_at(path, [0.5])


@pytest.mark.parametrize(
    ("call", "request_kind"),
    [
        (open_video, "open"),
        (make_plan, "packets"),
        (make_plan, "thumbnails"),
        (make_caption, "pass"),
        (read_frames, "pass"),
        (read_frames_at, "pass"),
    ],
)
def test_a_cancelled_call_ends_its_processes(
    clips: Clips,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Path], Awaitable[object]],
    request_kind: str,
) -> None:
    async def work() -> None:
        with monkeypatch.context() as patch:
            waiting = call(clips["plain"])
            lost = lose_requests(patch, request_kind)
            task = asyncio.ensure_future(waiting)
            await until(lost.is_set)
            await asyncio.sleep(0.05)
            assert children()
            await cancelled(task)
            await until(lambda: not children(), limit_s=FREED_S)
        assert (await aio.plan(clips["plain"], policy="uniform")).frames

    assert children() == []
    asyncio.run(work())
    assert children() == []


def test_a_timeout_ends_a_call(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        lose_requests(monkeypatch, "thumbnails")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await aio.caption(clips["plain"], model=ColourModel())
        await until(lambda: not children(), limit_s=FREED_S)

    asyncio.run(work())


def test_cancelled_frames_of_an_open_video_leave_it_usable(clips: Clips) -> None:
    async def work() -> None:
        with await aio.open(clips["plain"], workers=1) as video, stopped_processes() as stopped:
            plan = await aio.plan(video, policy="uniform", fps=30, budget_tokens=80_000)
            frames = aio.frames(video, plan)
            assert read_number((await anext(frames))[1].pixels) == 0
            os.kill(children()[0], signal.SIGSTOP)
            stopped += children()
            task = asyncio.create_task(_last(frames))
            await asyncio.sleep(0.3)
            await cancelled(task)
            shown = [frame.pts async for _, frame in aio.frames(video, plan)]
            assert shown == [frame.pts for frame in plan.frames]

    asyncio.run(work())


async def _last(items: Any) -> object:
    last = None
    async for item in items:
        last = item
    return last


def test_frames_that_are_left_early_end_their_processes(clips: Clips) -> None:
    async def work() -> None:
        plan = await aio.plan(clips["plain"], policy="uniform", fps=30, budget_tokens=80_000)
        async with contextlib.aclosing(aio.frames(clips["plain"], plan)) as frames:
            async for _ in frames:
                break
        await until(lambda: not children(), limit_s=FREED_S)

    asyncio.run(work())


def test_a_cancelled_call_leaves_others_of_the_same_video_alone(clips: Clips) -> None:
    async def work() -> None:
        with await aio.open(clips["plain"], workers=1) as video, stopped_processes() as stopped:
            os.kill(children()[0], signal.SIGSTOP)
            stopped += children()
            first = asyncio.create_task(aio.frames_at(video, [0.5, 1.5]))
            await asyncio.sleep(0.3)
            second = asyncio.create_task(aio.frames_at(video, [2.5]))  # Waits for the first.
            await asyncio.sleep(0.3)
            await cancelled(second)
            await asyncio.sleep(0.3)
            os.kill(stopped[0], signal.SIGCONT)
            assert [read_number(pixels) for pixels in await first] == [15, 45]
            assert children() == stopped

    asyncio.run(work())


def test_a_cancelled_answer_leaves_the_model_usable(clip: Path) -> None:
    model = GatedModel()

    async def work() -> str | None:
        task = asyncio.create_task(aio.caption(clip, model=model))
        await until(model.started.is_set)
        await cancelled(task)
        waiting = asyncio.create_task(aio.caption(clip, model=model))
        await asyncio.sleep(0.3)
        assert model.users == 1
        model.gate.set()
        return (await waiting).text

    assert asyncio.run(work()) == "Red then green."
    assert (model.most_users, model.answers) == (1, 2)


def test_calls_that_wait_for_a_model_are_cancelled(clip: Path) -> None:
    model = GatedModel()

    async def work() -> None:
        first = asyncio.create_task(aio.caption(clip, model=model))
        await until(model.started.is_set)
        others = [asyncio.create_task(aio.caption(clip, model=model)) for _ in range(6)]
        await asyncio.sleep(0.5)
        for task in others:
            await cancelled(task)
        model.gate.set()
        assert (await first).text == "Red then green."
        assert (await aio.caption(clip, model=model)).text == "Red then green."

    asyncio.run(work())
    assert model.answers == 2


def test_a_cancelled_answer_ends_at_its_next_text(clip: Path) -> None:
    model = GatedModel("Red")
    texts: list[str] = []

    async def work() -> None:
        task = asyncio.create_task(aio.caption(clip, model=model, on_text=texts.append))
        await until(model.started.is_set)
        await cancelled(task)
        model.gate.set()
        await until(lambda: model.users == 0)

    asyncio.run(work())
    assert (texts, model.answers) == ([], 0)


# Below it: a thread that another one stops.


def test_a_stopped_thread_keeps_the_reader_usable(clips: Clips) -> None:
    stop = threading.Event()
    with seedvideo.open(clips["plain"], workers=2) as video:
        with stoppable(stop):
            assert video.frames_at([0.5]).shape[0] == 1
            stop.set()
            with pytest.raises(seedvideo.DecodeError) as caught:
                video.frames_at([0.5])
            assert caught.value.code == "decode.stopped" and "cancelled" in str(caught.value)
        assert [read_number(each) for each in video.frames_at([Fraction(1, 2)])] == [15]
