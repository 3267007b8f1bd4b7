"""Locks and generators that threads and forked processes may share.

A forked process has a copy of every object, but only the thread that forked: a lock that another
thread held would stay locked forever, and a generator that another thread ran would stay running.
Both are reset here, in the child, before any other code runs.

In a `stoppable` block a thread waits for locks and decode processes only until another thread stops
it.

No finalizer waits for a lock. Garbage collection runs a finalizer in whatever thread it likes, also
in one that holds another lock, so two finalizers that waited could wait for each other.
"""

import os
import threading
import weakref
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Protocol, TypeVar

from seedvideo.errors import DecodeError, NotPicklableError

_T = TypeVar("_T")


STOP_POLL_S: Final = 0.1
"""Seconds after which a waiting thread looks whether it is to stop."""

_STOP: Final[ContextVar[threading.Event | None]] = ContextVar("seedvideo_stop", default=None)


@contextmanager
def stoppable(stop: threading.Event) -> Iterator[None]:
    """Let another thread stop the decoding in this block.

    Once the event is set, the next wait for a decode process or a lock in this thread ends with
    ``decode.stopped``, and the processes of a pass of this thread are killed. Other threads that
    share the video go on.
    """
    before = _STOP.set(stop)
    try:
        yield
    finally:
        _STOP.reset(before)


def is_stoppable() -> bool:
    """Return whether a wait must be short, as another thread may stop this one."""
    stop = _STOP.get()
    return stop is not None and not stop.is_set()


def is_stopped() -> bool:
    """Return whether another thread has stopped this one."""
    stop = _STOP.get()
    return stop is not None and stop.is_set()


def check_not_stopped() -> None:
    """Raise ``decode.stopped`` if another thread has stopped this one."""
    if is_stopped():
        raise DecodeError(
            "decode.stopped",
            "decoding was stopped: the call that needs it was cancelled",
            retryable=True,
        )


class _ForkAware(Protocol):
    """An object that must change in a forked process."""

    def after_fork(self) -> None:
        """Adapt to the new process; runs once in each child, before any other code."""
        ...


_AT_FORK: Final[weakref.WeakSet[_ForkAware]] = weakref.WeakSet()


def at_fork(thing: _ForkAware) -> None:
    """Call ``thing.after_fork`` in every child that this process forks, while the object exists."""
    _AT_FORK.add(thing)


def _after_fork_in_child() -> None:
    for thing in list(_AT_FORK):
        thing.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


class SharedLock:
    """Re-entrant lock that is released in a forked process.

    Attributes:
        forks: number of forks between the process that made the lock and this one.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.forks = 0
        at_fork(self)

    def acquire(self, *, timeout_s: float = -1) -> bool:
        """Take the lock; wait for it at most ``timeout_s``, without limit if that is negative."""
        return self._lock.acquire(timeout=timeout_s)

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def after_fork(self) -> None:
        """Release the lock if a thread that this process does not have holds it."""
        self.forks += 1
        # Succeeds too if the forking thread holds the lock, which will release it.
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Take the lock.

        Raises:
            DecodeError: ``decode.stopped`` if another thread stops this one meanwhile.
        """
        if _STOP.get() is None:
            self._lock.acquire()
            return
        while not self._lock.acquire(timeout=STOP_POLL_S):
            check_not_stopped()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


class SharedSteps(Generator[_T, None, None]):
    """Generator whose steps several threads may take, one at a time.

    A started generator belongs to its process: in a forked one the next step is an error.

    Args:
        steps: generator, used only through this object from now on.
        lock: lock that is held during each step.
        display_name: name of the video in messages.
    """

    def __init__(
        self, steps: Generator[_T, None, None], lock: SharedLock, display_name: str
    ) -> None:
        self._steps: Generator[_T, None, None] | None = steps
        self._lock = lock
        self._display_name = display_name
        self._forks: int | None = None

    def send(self, value: None, /) -> _T:
        """Take the next step.

        Raises:
            DecodeError: ``decode.stopped`` if it was started before this process was forked.
        """
        steps = self._steps
        if steps is None:
            raise StopIteration
        with self._lock:
            self._check_process()
            return steps.send(value)

    def throw(self, *error: object) -> _T:
        """Raise an error inside the generator, and take the next step."""
        steps = self._steps
        if steps is None:
            raise error[0]  # type: ignore[misc]
        with self._lock:
            self._check_process()
            return steps.throw(*error)  # type: ignore[call-overload, no-any-return]

    def close(self) -> None:
        """End the generator without waiting: a step of another thread is still finished."""
        steps, self._steps = self._steps, None
        if steps is None or not self._lock.acquire(timeout_s=0):
            return  # The thread that takes a step has the last reference.
        try:
            if self._forks in (None, self._lock.forks):
                steps.close()
        finally:
            self._lock.release()

    def __reduce__(self) -> str:
        raise not_picklable_error("an iterator over a video's frames")

    def _check_process(self) -> None:
        if self._forks is None:
            self._forks = self._lock.forks
        elif self._forks != self._lock.forks:
            raise fork_error(self._display_name)


def fork_error(display_name: str) -> DecodeError:
    """Return the error for a pass that is continued in a forked process."""
    return DecodeError(
        "decode.stopped",
        f"{display_name}: this iteration over frames was started before the process was forked",
        hint="start a new iteration in this process",
    )


def not_picklable_error(what: str) -> NotPicklableError:
    """Return the error for an object that is pickled or copied."""
    return NotPicklableError(
        "input.not_picklable",
        f"{what} cannot be pickled or copied: it holds a file descriptor and running processes",
        hint="send the path, and call seedvideo.open(path) in the other process",
    )
