"""Calls in several threads at once.

Separate from the evaluation, its only user: it knows nothing about items and models.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def run_in_threads(calls: Iterable[Callable[[], T]], count: int) -> Iterator[T]:
    """Run calls in up to ``count`` threads and yield what they return, in the order they end.

    The next call is taken, in the caller's thread, only when a thread is free, so few calls exist
    at a time. The threads do not keep the program alive: one that waits for a server does not
    delay its end.

    Args:
        calls: the calls. An exception that one raises is raised here.
        count: maximum number of calls at once.
    """
    ended: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
    running = 0
    for call in calls:
        threading.Thread(target=lambda call=call: ended.put(_run(call)), daemon=True).start()
        running += 1
        while running == count or not ended.empty():
            running -= 1
            yield ended.get().result()
    for _ in range(running):
        yield ended.get().result()


def _run(call: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001  # raised in the caller's thread
        future.set_exception(error)
    return future
