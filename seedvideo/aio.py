"""Awaitable forms of the public functions, for programs with an event loop.

    from seedvideo import aio

    record = await aio.caption("clip.mp4", model=model)

Arguments, results and errors are those of the functions of the same names in `seedvideo`. They run
in worker threads, so the loop goes on. Those without a model share some threads; each model has its
own, of which one at a time uses it while others prepare videos. A model on a server may be used by
several at a time. A model that is given by name is loaded for each call, one call after the other.

A cancelled call raises ``CancelledError`` at once. Its thread stops decoding within moments and
ends the decode processes; an open `Video` stays usable. A model that is answering finishes its
answer first, and then serves the next call; one with an ``on_text`` ends at the next piece of text.

An open `Video` decodes for one at a time: another call ends `frames` of the same video with
``decode.stopped``. Give the path to each of them instead.

The loop calls ``on_text``, so an error in it goes to the exception handler of the loop and ends no
call.

Separate from `seedvideo.api`, whose users need no event loop.
"""

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial, wraps
from typing import Any, Final, ParamSpec, TypeVar

from seedvideo import api
from seedvideo.media.sharing import SharedLock, at_fork, check_not_stopped, stoppable
from seedvideo.media.source import VideoInput
from seedvideo.media.types import Frame
from seedvideo.model.backends.base import OnText
from seedvideo.pipeline import MODEL_TURN, check_model
from seedvideo.records import Record
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.types import PlannedFrame
from seedvideo.video import Video

__all__ = [
    *(
        "ask",
        "caption",
        "frames",
        "frames_at",
        "ground",
        "open",
        "plan",
        "quality",
        "shots",
        "split",
    )
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_FILE_THREADS: Final = 8
"""Calls without a model that run at a time."""

_MODEL_THREADS: Final = 3
"""Calls of a model on this machine at a time: one answers, the others prepare their videos."""

_SERVER_THREADS: Final = 16
"""Calls of a model on a server at a time."""


class _ModelThreads:
    """Threads for the calls of one model.

    Args:
        threads: maximum number of calls at a time.
        lock: lock that a call holds while it uses the model; None if several may use it.
    """

    def __init__(self, threads: int, lock: SharedLock | None) -> None:
        self.executor = ThreadPoolExecutor(threads, "seedvideo-model")
        self.lock = lock


class _Threads:
    """All worker threads. A forked process, which has none of them, starts its own."""

    def __init__(self) -> None:
        self.after_fork()
        at_fork(self)

    def after_fork(self) -> None:
        """Forget the threads of the parent."""
        self.files = ThreadPoolExecutor(_FILE_THREADS, "seedvideo-file")
        self._models: dict[object, _ModelThreads] = {}
        self._lock = threading.Lock()

    def of_model(self, model: object) -> _ModelThreads:
        """Return the threads of a model, which live as long as it, or of a name of one."""
        key = model if isinstance(model, str) else id(model)
        with self._lock:
            if key not in self._models:
                self._models[key] = _make_model_threads(model)
                if not isinstance(model, str):
                    with suppress(TypeError):  # A class with slots may allow no references.
                        weakref.finalize(model, self._forget, key).atexit = False
            return self._models[key]

    def _forget(self, key: object) -> None:
        # Without the lock, as garbage collection may run this in any thread.
        threads = self._models.pop(key, None)
        if threads is not None:
            threads.executor.shutdown(wait=False)


def _make_model_threads(model: object) -> _ModelThreads:
    if isinstance(model, str):
        return _ModelThreads(1, None)
    if getattr(getattr(model, "details", None), "source", None) == "server":
        return _ModelThreads(_SERVER_THREADS, None)
    return _ModelThreads(_MODEL_THREADS, SharedLock())


_THREADS: Final = _Threads()


async def _call(executor: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
    """Run work in a thread; when this is cancelled, let it stop."""
    stop = threading.Event()

    def run() -> _T:
        with stoppable(stop):
            check_not_stopped()
            return work()

    try:
        return await asyncio.wrap_future(executor.submit(copy_context().run, run))
    finally:
        stop.set()


def _awaitable(function: Callable[_P, _T]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Return the awaitable form of a function that uses no model."""

    @wraps(function)
    async def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await _call(_THREADS.files, partial(function, *args, **kwargs))

    return run


def _awaitable_task(function: Callable[_P, Record]) -> Callable[_P, Coroutine[Any, Any, Record]]:
    """Return the awaitable form of a task; the loop's thread calls its ``on_text``."""

    @wraps(function)
    async def run(*args: _P.args, **kwargs: _P.kwargs) -> Record:
        options: dict[str, Any] = dict(kwargs)
        model = options.get("model", "nano")
        check_model(model)
        threads = _THREADS.of_model(model)
        if options.get("on_text") is not None:
            options["on_text"] = _in_loop(options["on_text"])
        call: Callable[..., Record] = function

        def work() -> Record:
            MODEL_TURN.set(threads.lock)  # In the context of this call alone.
            return call(*args, **options)

        return await _call(threads.executor, work)

    return run


def _in_loop(on_text: OnText) -> OnText:
    """Return a receiver for a worker thread: it ends a cancelled answer, and calls ``on_text``."""
    loop = asyncio.get_running_loop()

    def receive(text: str) -> None:
        check_not_stopped()
        loop.call_soon_threadsafe(on_text, text)

    return receive


open = _awaitable(api.open)
plan = _awaitable(api.plan)
frames_at = _awaitable(api.frames_at)
shots = _awaitable(api.shots)
quality = _awaitable(api.quality)
split = _awaitable(api.split)
caption = _awaitable_task(api.caption)
ask = _awaitable_task(api.ask)
ground = _awaitable_task(api.ground)


async def frames(
    video: Video | VideoInput, plan: Plan
) -> AsyncGenerator[tuple[PlannedFrame, Frame], None]:
    """Decode the frames of a plan in order of time; see `seedvideo.frames`.

    Leaving the loop stops decoding once the iterator is closed: at once by ``contextlib.aclosing``,
    otherwise when the loop collects it.
    """
    steps = api.frames(video, plan)
    try:
        while (shown := await _call(_THREADS.files, partial(next, steps, None))) is not None:
            yield shown
    finally:
        # In a thread, as it may wait for a process. A cancelled step is stopped by its own thread.
        _THREADS.files.submit(steps.close)
