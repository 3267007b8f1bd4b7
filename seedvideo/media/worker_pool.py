"""The decoding processes of one file, and how they share a pass; its answers come in order.

The first process opens the file and says what is in it; the others are started when there is enough
to do, open the same file, and must say the same. Shares go out in order, to whoever is free.
Answers to later shares wait here, within bounds, until those before have been taken: a process
whose answers find no room waits with them. Knows nothing of what is asked or answered.

Threads take turns: a lock is held while answers are waited for, not between them. A forked process
lets go of these processes, which are its parent's, and starts its own when it needs them.
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
from seedvideo.media import wire
from seedvideo.media.sharing import SharedLock, at_fork
from seedvideo.media.source import changed
from seedvideo.media.worker_client import ENDINGS, STOP_GRACE_S, Child, Patience

MAX_WAITING_BYTES: Final = 8 << 20
"""Answers that may wait to be taken; one answer more for each process."""


@dataclass(frozen=True)
class Task:
    """A part of a pass that one process does: the request for it."""

    header: dict[str, Any]
    body: bytes


@dataclass
class _Lane:
    """One task, and what it has given that was not taken yet."""

    child: Child
    answers: deque[wire.Message] = field(default_factory=deque)
    failure: SeedVideoError | None = None
    is_done: bool = False


class Team:
    """The processes of one file.

    Args:
        start: starts one, and asks it to open the file.
        release: closes the file; called once the processes have ended for good.
        limits: bounds on what they say.
        max_opening_bytes: longest answer to that.
        shown: the file's name for messages.

    Attributes:
        lock: held while a process is asked or waited for.
        is_closed: whether the processes have ended for good.
    """

    def __init__(
        self,
        start: Callable[[Patience], Child],
        release: Callable[[], object],
        *,
        limits: Limits,
        max_opening_bytes: int,
        shown: str,
    ) -> None:
        self.lock = SharedLock()
        self.is_closed = False
        self.patience = Patience(limits.item_timeout_s)
        self._limits = limits
        self._start = start
        self._release = release
        self._max_opening_bytes = max_opening_bytes
        self._shown = shown
        self._children: list[Child] = []
        self._opening: set[Child] = set()
        self._facts = b""
        self._lanes: deque[_Lane] = deque()
        self._workers = 1
        self._max_body_bytes = 0
        self._pass = 0
        at_fork(self)

    @property
    def first(self) -> Child | None:
        """A process that has opened the file and still runs, if there is one."""
        return next((c for c in self._children if c.running and c not in self._opening), None)

    def open(self) -> wire.Message:
        """Starts the first process anew and returns what it says of the file.

        Raises:
            SeedVideoError: as it says, or if it cannot be started, is late or dies.
        """
        with self._turn():
            self.reset()
            child = self._start(self.patience)
            self._children = [child]
            self._opening = {child}
            self._check_open()
            answer = child.receive(max_body_bytes=self._max_opening_bytes)
            self._opening.clear()
            facts = _digest(answer)
            if self._facts and facts != self._facts:
                raise self._changed()
            self._facts = facts
            return answer

    def ask(self, task: Task, *, max_body_bytes: int) -> wire.Message:
        """Has one question answered; ends a pass that is going on.

        Raises:
            As `run` does.
        """
        with self._turn():
            self.stop()
            child = self.first
            if child is None:
                raise self._stopped()
            child.silent_s = 0.0
            child.send(task.header, task.body)
            return child.receive(max_body_bytes=max_body_bytes)

    def run(
        self, tasks: Sequence[Task], *, workers: int, max_body_bytes: int
    ) -> Generator[wire.Message, None, None]:
        """Has tasks done, and yields their answers in order; each task's last is of `ENDINGS`.

        A pass that is left early, by an error or because another one begins, is stopped.

        Args:
            tasks: in order.
            workers: processes to do them, at most.
            max_body_bytes: longest answer to accept.

        Raises:
            SeedVideoError: as a process says, or if one is late or dies.
            DecodeError: ``decode.stopped`` if another pass was begun, or the file was closed.
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
            # Without waiting, as garbage collection may do this: whoever has the lock ends the
            # pass that was left, by beginning another or by closing.
            if self.lock.acquire(timeout_s=0):
                try:
                    if number == self._pass:
                        self.stop()
                finally:
                    self.lock.release()

    def stop(self) -> None:
        """Ends the pass that is going on, if any."""
        self._pass += 1
        working = [lane.child for lane in self._lanes if not lane.is_done and lane.child.running]
        self._lanes.clear()
        for child in working:
            child.tell_to_stop()
        deadline_s = time.monotonic() + STOP_GRACE_S
        for child in working:
            child.await_stop(max_body_bytes=self._max_body_bytes, deadline_s=deadline_s)

    def reset(self) -> None:
        """Ends every process, whatever it is doing; another one can be started."""
        with self.lock:
            self._pass += 1
            self._lanes.clear()
            self._opening.clear()
            for child in self._children:
                child.kill()
            self._children.clear()

    def close(self) -> None:
        """End every process for good, and close the file.

        A thread that waits for an answer meanwhile gets ``decode.stopped``, and cleans up itself
        if it takes long to notice.
        """
        self.is_closed = True
        for child in list(self._children):
            child.interrupt()
        if self.lock.acquire(timeout_s=STOP_GRACE_S):
            try:
                self._finish()
            finally:
                self.lock.release()

    def forked(self) -> None:
        """Let go of the parent's processes, in a forked one."""
        self._pass += 1
        self._lanes.clear()
        self._opening.clear()
        for child in self._children:
            child.abandon()
        self._children = []
        self.patience = Patience(self._limits.item_timeout_s)

    def _finish(self) -> None:
        self.reset()
        self._release()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the lock; what goes wrong because another thread closes the file says so."""
        with self.lock:
            try:
                self._check_open()
                yield
            except SeedVideoError as error:
                if self.is_closed:
                    raise self._stopped() from error
                raise
            finally:
                if self.is_closed:
                    self._finish()

    def _check_open(self) -> None:
        if self.is_closed:
            raise self._stopped()

    def _next(self, number: int, waiting: deque[Task]) -> wire.Message | None:
        """Wait for the next answer of a pass; None after the last one."""
        lanes = self._lanes
        while True:
            if number != self._pass:
                raise self._stopped()
            if not (waiting or lanes):
                return None
            self._hand_out(waiting)
            self._check_open()
            if not lanes or not (lanes[0].answers or lanes[0].failure):
                self.patience.wait(self._talkers())
            self._hear()
            self._check_open()
            if lanes and lanes[0].answers:
                answer = lanes[0].answers.popleft()
                if answer.type in ENDINGS:
                    lanes.popleft()
                return answer
            if lanes and lanes[0].failure is not None:
                raise lanes[0].failure

    def _hand_out(self, waiting: deque[Task]) -> None:
        """Gives tasks to those who are free, and starts others while there is more to do."""
        if any(lane.failure for lane in self._lanes):
            return  # What comes behind it will not be taken.
        self._forget_the_dead()
        busy = {lane.child for lane in self._lanes if not lane.is_done}
        for child in self._children:
            if waiting and child not in busy and child not in self._opening:
                if len(busy) == self._workers:
                    break
                child.silent_s = 0.0
                try:
                    child.send(waiting[0].header, waiting[0].body)
                except SeedVideoError:
                    continue  # It died while nobody asked it anything.
                waiting.popleft()
                self._lanes.append(_Lane(child))
                busy.add(child)
        self._forget_the_dead()
        coming = len(self._opening)
        while len(waiting) > coming and len(self._children) < self._workers:
            try:
                child = self._start(self.patience)
            except DecodeError:
                if not self._children:
                    raise
                self._workers = len(self._children)  # The system has none left: these will do.
                return
            self._children.append(child)
            self._opening.add(child)
            coming += 1

    def _forget_the_dead(self) -> None:
        self._children = [child for child in self._children if child.running]
        self._opening.intersection_update(self._children)

    def _talkers(self) -> list[Child]:
        """Those whose words there is room for; the first lane's are always taken."""
        lanes = list(self._lanes)
        waiting_bytes = sum(answer.memory_bytes for lane in lanes for answer in lane.answers)
        heard = lanes if waiting_bytes < MAX_WAITING_BYTES else lanes[:1]
        return [*(lane.child for lane in heard if not lane.is_done), *self._opening]

    def _hear(self) -> None:
        """Takes what has been said."""
        lane_of = {lane.child: lane for lane in self._lanes if not lane.is_done}
        for child in self._talkers():
            if child in self._opening:
                self._hear_opening(child)
                continue
            lane = lane_of[child]
            try:
                answer = child.take(max_body_bytes=self._max_body_bytes)
            except SeedVideoError as error:
                lane.failure, lane.is_done = error, True  # Its turn to be told of will come.
                continue
            if answer is not None:
                lane.answers.append(answer)
                lane.is_done = answer.type in ENDINGS

    def _hear_opening(self, child: Child) -> None:
        try:
            answer = child.take(max_body_bytes=self._max_opening_bytes)
        except SeedVideoError:
            self._forget_the_dead()
            if not self._children:
                raise
            self._workers -= 1  # Nothing was asked of it yet: the others will do.
            return
        if answer is not None:
            self._opening.discard(child)
            if _digest(answer) != self._facts:
                raise self._changed()

    def _changed(self) -> InputError:
        self.reset()
        return changed(self._shown, "changed while it was read")

    def _stopped(self) -> DecodeError:
        return DecodeError(
            "decode.stopped",
            f"{self._shown}: decoding was stopped by a new pass or by closing",
            hint="finish one loop over frames before the next",
            retryable=True,
        )


def _digest(answer: wire.Message) -> bytes:
    words = json.dumps(answer.header, sort_keys=True).encode("ascii")
    return hashlib.blake2b(words + answer.body).digest()
