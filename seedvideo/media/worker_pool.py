"""Pool of decode processes for one file; they share a pass, and its replies come in order.

The first process opens the file and reports its facts. The others are started when there is enough
work; they open the same file and must report the same facts. Tasks go out in order, to idle
processes. Replies to later tasks wait here, within bounds, until earlier ones have been taken; a
process whose replies find no room waits too.

Threads take turns: a lock is held during the wait for a reply, not between replies. A forked
process abandons these processes, which belong to its parent, and starts its own when needed.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from seedvideo.config import Limits
from seedvideo.errors import DecodeError, InputError, SeedVideoError
from seedvideo.media.sharing import SharedLock, at_fork, check_not_stopped, is_stopped
from seedvideo.media.source import changed_error
from seedvideo.media.worker_client import FINAL_MESSAGES, STOP_GRACE_S, DecodeWorker, TimeBudget
from seedvideo.utils import ipc

MAX_WAITING_BYTES: Final = 8 << 20
"""Maximum bytes of waiting replies, plus one reply per process."""


@dataclass(frozen=True)
class Task:
    """Request for a part of a pass that one process does."""

    header: dict[str, Any]
    body: bytes


@dataclass
class _Slot:
    """One task and its replies that were not taken yet."""

    child: DecodeWorker
    answers: deque[ipc.Message] = field(default_factory=deque)
    failure: SeedVideoError | None = None
    is_done: bool = False


class WorkerPool:
    """The processes of one file.

    Args:
        start: starts a process and requests it to open the file.
        release: closes the file; called after the pool is closed.
        limits: limits of time.
        max_opening_bytes: maximum body size of the reply to ``open``.
        display_name: name of the file in messages.

    Attributes:
        lock: lock that is held during requests and waits.
        is_closed: whether the pool is closed.
    """

    def __init__(
        self,
        start: Callable[[TimeBudget], DecodeWorker],
        release: Callable[[], object],
        *,
        limits: Limits,
        max_opening_bytes: int,
        display_name: str,
    ) -> None:
        self.lock = SharedLock()
        self.is_closed = False
        self.budget = TimeBudget(limits.item_timeout_s)
        self._limits = limits
        self._start = start
        self._release = release
        self._max_opening_bytes = max_opening_bytes
        self._display_name = display_name
        self._children: list[DecodeWorker] = []
        self._opening: set[DecodeWorker] = set()
        self._facts = b""
        self._slots: deque[_Slot] = deque()
        self._workers = 1
        self._max_body_bytes = 0
        self._pass = 0
        at_fork(self)

    @property
    def first(self) -> DecodeWorker | None:
        """A running process that has opened the file; None without one."""
        return next((c for c in self._children if c.is_alive and c not in self._opening), None)

    def open(self) -> ipc.Message:
        """Restart the first process and return its reply to ``open``.

        Raises:
            SeedVideoError: error that it reports, or if it cannot be started, is late or dies.
        """
        with self._turn():
            self.reset()
            child = self._start(self.budget)
            self._children = [child]
            self._opening = {child}
            self._check_open()
            answer = child.receive(max_body_bytes=self._max_opening_bytes)
            self._opening.clear()
            facts = _digest(answer)
            if self._facts and facts != self._facts:
                raise self._changed_error()
            self._facts = facts
            return answer

    def ask(self, task: Task, *, max_body_bytes: int) -> ipc.Message:
        """Send one request and return the reply; end a running pass.

        Raises:
            As `run` does.
        """
        with self._turn():
            self.stop()
            child = self.first
            if child is None:
                raise self._stopped_error()
            child.silent_s = 0.0
            child.send(task.header, task.body)
            return child.receive(max_body_bytes=max_body_bytes)

    def run(
        self, tasks: Sequence[Task], *, workers: int, max_body_bytes: int
    ) -> Generator[ipc.Message, None, None]:
        """Run tasks, and yield their replies in order; the last of each is of `FINAL_MESSAGES`.

        A pass that is left early, by an error or because another one begins, is stopped.

        Args:
            tasks: tasks in order.
            workers: maximum number of processes.
            max_body_bytes: maximum accepted body size.

        Raises:
            SeedVideoError: error that a process reports, or if one is late or dies.
            DecodeError: ``decode.stopped`` if another pass was started, the file was closed, or
                another thread stops this one.
        """
        with self._turn():
            self.stop()
            self._pass += 1
            number, self._workers, self._max_body_bytes = self._pass, workers, max_body_bytes
        waiting = deque(tasks)
        try:
            while True:
                with self._turn():
                    answer = self._next(number, waiting)
                if answer is None:
                    return
                yield answer
        finally:
            # Without waiting, as garbage collection may run this: the thread with the lock ends the
            # pass when it begins another one or closes.
            if self.lock.acquire(timeout_s=0):
                try:
                    if number == self._pass:
                        self.stop()
                finally:
                    self.lock.release()

    def stop(self) -> None:
        """Stop the running pass, if any."""
        self._pass += 1
        working = [slot.child for slot in self._slots if not slot.is_done and slot.child.is_alive]
        self._slots.clear()
        for child in working:
            child.request_stop()
        deadline_s = time.monotonic() + STOP_GRACE_S
        for child in working:
            child.wait_stopped(max_body_bytes=self._max_body_bytes, deadline_s=deadline_s)

    def reset(self) -> None:
        """Kill every process; another one can be started."""
        with self.lock:
            self._pass += 1
            self._slots.clear()
            self._opening.clear()
            for child in self._children:
                child.kill()
            self._children.clear()

    def close(self) -> None:
        """Close the pool: kill every process, and close the file.

        A thread that waits for a reply gets ``decode.stopped``, and cleans up itself if it is slow
        to notice.
        """
        self.is_closed = True
        for child in list(self._children):
            child.interrupt()
        if self.lock.acquire(timeout_s=STOP_GRACE_S):
            try:
                self._finish()
            finally:
                self.lock.release()

    def after_fork(self) -> None:
        """Abandon the parent's processes in a forked process."""
        self._pass += 1
        self._slots.clear()
        self._opening.clear()
        for child in self._children:
            child.abandon()
        self._children = []
        self.budget = TimeBudget(self._limits.item_timeout_s)

    def _finish(self) -> None:
        self.reset()
        self._release()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the lock; report errors after a close by another thread as ``decode.stopped``."""
        with self.lock:
            try:
                self._check_open()
                yield
            except SeedVideoError as error:
                if self.is_closed:
                    raise self._stopped_error() from error
                raise
            finally:
                if self.is_closed:
                    self._finish()

    def _check_open(self) -> None:
        if self.is_closed:
            raise self._stopped_error()

    def _next(self, number: int, waiting: deque[Task]) -> ipc.Message | None:
        """Wait for the next reply of a pass; return None after the last one."""
        slots = self._slots
        while True:
            if number != self._pass:
                raise self._stopped_error()
            if not (waiting or slots):
                return None
            if is_stopped():
                self.reset()  # At once: a request to stop may wait for a long step.
                check_not_stopped()
            self._dispatch(waiting)
            self._check_open()
            if not slots or not (slots[0].answers or slots[0].failure):
                self.budget.wait(self._readable_workers())
            self._receive()
            self._check_open()
            if slots and slots[0].answers:
                answer = slots[0].answers.popleft()
                if answer.type in FINAL_MESSAGES:
                    slots.popleft()
                return answer
            if slots and slots[0].failure is not None:
                raise slots[0].failure

    def _dispatch(self, waiting: deque[Task]) -> None:
        """Send tasks to idle processes, and start more processes while tasks remain."""
        if any(slot.failure for slot in self._slots):
            return  # Later replies will not be taken.
        self._drop_dead()
        busy = {slot.child for slot in self._slots if not slot.is_done}
        for child in self._children:
            if waiting and child not in busy and child not in self._opening:
                if len(busy) == self._workers:
                    break
                child.silent_s = 0.0
                try:
                    child.send(waiting[0].header, waiting[0].body)
                except SeedVideoError:
                    continue  # It died while it was idle.
                waiting.popleft()
                self._slots.append(_Slot(child))
                busy.add(child)
        self._drop_dead()
        coming = len(self._opening)
        while len(waiting) > coming and len(self._children) < self._workers:
            try:
                child = self._start(self.budget)
            except DecodeError:
                if not self._children:
                    raise
                self._workers = len(self._children)  # The system cannot start more.
                return
            self._children.append(child)
            self._opening.add(child)
            coming += 1

    def _drop_dead(self) -> None:
        self._children = [child for child in self._children if child.is_alive]
        self._opening.intersection_update(self._children)

    def _readable_workers(self) -> list[DecodeWorker]:
        """Return the processes whose replies fit into memory: always that of the first slot."""
        slots = list(self._slots)
        waiting_bytes = sum(answer.memory_bytes for slot in slots for answer in slot.answers)
        heard = slots if waiting_bytes < MAX_WAITING_BYTES else slots[:1]
        return [*(slot.child for slot in heard if not slot.is_done), *self._opening]

    def _receive(self) -> None:
        """Take the messages that have arrived."""
        slot_of = {slot.child: slot for slot in self._slots if not slot.is_done}
        for child in self._readable_workers():
            if child in self._opening:
                self._receive_opening(child)
                continue
            slot = slot_of[child]
            try:
                answer = child.poll(max_body_bytes=self._max_body_bytes)
            except SeedVideoError as error:
                slot.failure, slot.is_done = error, True  # Raised in its turn.
                continue
            if answer is not None:
                slot.answers.append(answer)
                slot.is_done = answer.type in FINAL_MESSAGES

    def _receive_opening(self, child: DecodeWorker) -> None:
        try:
            answer = child.poll(max_body_bytes=self._max_opening_bytes)
        except SeedVideoError:
            self._drop_dead()
            if not self._children:
                raise
            self._workers -= 1  # It had no task yet: the others go on.
            return
        if answer is not None:
            self._opening.discard(child)
            if _digest(answer) != self._facts:
                raise self._changed_error()

    def _changed_error(self) -> InputError:
        self.reset()
        return changed_error(self._display_name, "changed while it was read")

    def _stopped_error(self) -> DecodeError:
        return DecodeError(
            "decode.stopped",
            f"{self._display_name}: decoding was stopped: a new pass began or the video was closed",
            hint="finish one iteration over frames before starting the next",
            retryable=True,
        )


def _digest(answer: ipc.Message) -> bytes:
    words = json.dumps(answer.header, sort_keys=True).encode("ascii")
    return hashlib.blake2b(words + answer.body).digest()
