"""Client of a decode process: starts it, waits with deadlines, kills it.

The process is forked by a clean interpreter that has loaded the decoder (`utils.fork_server`), or
is a fresh interpreter where that is not possible; never a fork of this one. It is killed when a
deadline passes, when it sends a malformed message, and when the reader is closed or garbage
collected.

`TimeBudget` limits the wait for one file over all of its processes. Time counts only while the
reader waits or reads: a busy reader that takes no replies makes no process late.
"""

import os
import select
import subprocess
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final, Protocol, TypeAlias

from seedvideo.config import Limits
from seedvideo.errors import DecodeError, InputError, MediaError, SeedVideoError
from seedvideo.media.sharing import STOP_POLL_S, check_not_stopped, is_stoppable, is_stopped
from seedvideo.media.source import Source
from seedvideo.media.types import out_of_memory_error
from seedvideo.media.worker import EXIT_OUT_OF_MEMORY
from seedvideo.utils import ipc
from seedvideo.utils.fork_server import ForkedProcess, ServerUnavailableError, fork_process


class HasReplies(Protocol):
    """A process whose replies are awaited.

    Attributes:
        silent_s: seconds of waiting since the last message.
        allowed_s: maximum seconds of silence.
    """

    silent_s: float
    allowed_s: float

    @property
    def answers(self) -> int:
        """Descriptor that becomes readable when there is something to read."""
        ...


class TimeBudget:
    """Time budget of one file, over all of its processes.

    Args:
        limit_s: maximum total waiting time in seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self.waited_s = 0.0
        self._limit_s = limit_s

    def wait(self, processes: Sequence[HasReplies]) -> None:
        """Wait until one of several processes has sent something, or is late.

        In a block that another thread may stop, wait only shortly.
        """
        left_s = min(self._left_s(each) for each in processes)
        if is_stoppable():
            left_s = min(left_s, STOP_POLL_S)
        poll = select.poll()
        for each in processes:
            poll.register(each.answers, select.POLLIN)
        started_s = time.monotonic()
        # Rounded up: a wait that ends a little early would be followed by one of no time at all.
        poll.poll(1000 * max(left_s, 0.0) + 1)
        spent_s = time.monotonic() - started_s
        self.waited_s += spent_s
        for each in processes:
            each.silent_s += spent_s

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the time of the block, so that endless messages are not read forever."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.waited_s += time.monotonic() - started_s

    def is_expired(self, process: HasReplies) -> bool:
        """Return whether a process has been silent for too long, or the file has taken too long."""
        return self._left_s(process) <= 0

    def _left_s(self, process: HasReplies) -> float:
        return min(process.allowed_s - process.silent_s, self._limit_s - self.waited_s)


WORKER: Final = "seedvideo.media.worker"
"""Module that decode processes run."""

STOP_GRACE_S: Final = 5.0
"""Seconds a process has to end, or to take a stop request, before it is killed."""

FINAL_MESSAGES: Final = ("done", "untrusted")
"""Types of the final reply to a task."""

_ERRORS: Final = (InputError, MediaError, DecodeError)
"""Errors that a decode process may send."""

_Process: TypeAlias = subprocess.Popen[bytes] | ForkedProcess


class DecodeWorker:
    """One decode process.

    Args:
        source: open file; the caller closes it.
        limits: deadlines and resource limits.
        budget: time budget that all processes of the file share.

    Attributes:
        silent_s: seconds of waiting since its last message.
        allowed_s: maximum seconds of silence.

    Raises:
        InputError: ``input.changed`` if the path names another file now.
        DecodeError: if the file cannot be reopened, or the process cannot be started in time.
    """

    def __init__(self, source: Source, limits: Limits, budget: TimeBudget) -> None:
        self._display_name = source.display_name
        self._limits = limits
        self._budget = budget
        self.silent_s = 0.0
        self.allowed_s = limits.open_timeout_s
        pipes: list[int] = []
        try:
            # Processes that shared one open file would move each other's position.
            pipes.append(file := source.reopen())
            pipes += os.pipe()
            pipes += os.pipe()
            _, requests, self._requests, self._answers, answers = pipes
            self._process = self._start([requests, answers, file])
        except BaseException as error:
            for descriptor in pipes:
                os.close(descriptor)
            if isinstance(error, OSError):
                raise self._start_error(error) from error
            raise
        for descriptor in (requests, answers, file):
            os.close(descriptor)
        os.set_blocking(self._answers, False)
        os.set_blocking(self._requests, False)
        self._reader = ipc.MessageReader.from_descriptor(self._answers)
        self._end = weakref.finalize(self, _terminate, self._process, self._requests, self._answers)

    @property
    def is_alive(self) -> bool:
        """Whether the process is usable."""
        return self._end.alive

    @property
    def answers(self) -> int:
        """Descriptor that becomes readable when the process has sent something.

        Raises:
            DecodeError: ``decode.stopped`` if it was closed: the number may be reused.
        """
        if not self.is_alive:
            raise DecodeError(
                "decode.stopped",
                f"{self._display_name}: the decode process was stopped",
                hint="start a new iteration over frames",
                retryable=True,
            )
        return self._answers

    def send(
        self, header: dict[str, Any], body: bytes = b"", *, within_s: float | None = None
    ) -> None:
        """Send a request.

        Args:
            header: header of the message.
            body: body of the message.
            within_s: seconds that the process has to take it; None for ``stall_timeout_s``.

        Raises:
            DecodeError: if the process is dead, or does not take it in time.
        """
        limit_s = self._limits.stall_timeout_s if within_s is None else within_s
        deadline_s = time.monotonic() + limit_s
        try:
            for part in ipc.encode(header, body):
                self._write(memoryview(part), deadline_s=deadline_s)
        except BrokenPipeError:
            # It may have sent an error before it died.
            self.receive()
            raise self._crash_error() from None

    def receive(self, *, max_body_bytes: int = 0) -> ipc.Message:
        """Wait for a reply other than a heartbeat.

        Args:
            max_body_bytes: maximum accepted body size.

        Raises:
            SeedVideoError: error that the process reports.
            DecodeError: if it is late, dies or sends an invalid message, or another thread stops
                this one; it is killed then.
        """
        while (message := self.poll(max_body_bytes=max_body_bytes)) is None:
            if is_stopped():
                self.kill()
                check_not_stopped()
            self._budget.wait([self])
        return message

    def poll(self, *, max_body_bytes: int) -> ipc.Message | None:
        """Return a reply if one has arrived; None also after a heartbeat.

        Raises:
            As `receive` does.
        """
        _ = self.answers  # Raises if it is closed.
        try:
            with self._budget.counting():
                message = self._reader.poll(max_body_bytes=max_body_bytes)
        except ipc.ProtocolError as error:
            self.kill()
            raise self._protocol_error() from error
        except EOFError:
            raise self._crash_error() from None
        if message is not None:
            self.silent_s, self.allowed_s = 0.0, self._limits.stall_timeout_s
        if message is None or message.type == "alive":
            if self._budget.is_expired(self):
                raise self._timeout_error()
            return None
        if message.type == "error":
            self.kill()
            try:
                raise ipc.error_from_dict(message.header, allowed=_ERRORS)
            except ipc.ProtocolError as error:
                raise self._protocol_error() from error
        if message.type == "fault":
            self.kill()
            fault = DecodeError(
                "decode.crashed", f"{self._display_name}: the decode process failed"
            )
            # For tracebacks only; never part of the message.
            fault.add_note(str(message.header.get("trace")))
            raise fault
        return message

    def request_stop(self) -> None:
        """Request the process to stop its task, whose replies are no longer needed."""
        try:
            self.send({"type": "stop"}, within_s=STOP_GRACE_S)
        except SeedVideoError:
            self.kill()  # An error of a task whose replies are not needed.

    def wait_stopped(self, *, max_body_bytes: int, deadline_s: float) -> None:
        """Wait until the process has stopped its task; kill it at the deadline.

        Args:
            max_body_bytes: maximum body size of replies that may still come.
            deadline_s: deadline in seconds of `time.monotonic`.
        """
        try:
            while self.is_alive and (left_s := deadline_s - time.monotonic()) > 0:
                message = self.poll(max_body_bytes=max_body_bytes)
                if message is None:
                    self.silent_s, self.allowed_s = 0.0, left_s
                    self._budget.wait([self])
                elif message.type in FINAL_MESSAGES:
                    return
        except SeedVideoError:
            pass  # An error of a task whose replies are not needed.
        self.kill()

    def kill(self) -> None:
        """Kill the process; do nothing if it has ended."""
        self._end()

    def interrupt(self) -> None:
        """Kill the process from another thread; the thread that waits for it cleans up."""
        self._process.kill()

    def abandon(self) -> None:
        """Abandon a process that belongs to the parent of this forked one.

        Only the copies of its pipes are closed, so that it still ends with its reader.
        """
        if self._end.detach() is not None:
            os.close(self._requests)
            os.close(self._answers)
        if isinstance(self._process, ForkedProcess):
            self._process.abandon()
        else:
            # Otherwise Popen warns of a running process, and waits for it later.
            self._process.returncode = 0

    def _start(self, descriptors: Sequence[int]) -> _Process:
        """Start the process; waiting for a new fork server counts as its silence."""
        began_s = time.monotonic()
        try:
            with self._budget.counting():
                process = fork_process(WORKER, descriptors, timeout_s=self.allowed_s)
        except ServerUnavailableError:
            return ipc.start_interpreter(WORKER, descriptors)
        self.silent_s = time.monotonic() - began_s
        if process is None:
            raise self._late_error()
        return process

    def _write(self, view: memoryview, *, deadline_s: float) -> None:
        _ = self.answers  # Raises if it is closed.
        poll = select.poll()
        poll.register(self._requests, select.POLLOUT)
        while view:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not poll.poll(left_s * 1000):
                raise self._timeout_error()
            try:
                view = view[os.write(self._requests, view) :]
            except BlockingIOError:
                continue  # Less space than a pipe writes at once.

    def _timeout_error(self) -> DecodeError:
        self.kill()
        return self._late_error()

    def _late_error(self) -> DecodeError:
        return DecodeError(
            "decode.timeout",
            f"{self._display_name}: decoding took longer than allowed and was stopped",
            hint="retry when the machine is less loaded; if it happens again, report the file",
            retryable=True,
        )

    def _start_error(self, error: OSError) -> DecodeError:
        reason = (error.strerror or "unknown reason").lower()
        return DecodeError(
            "decode.crashed",
            f"{self._display_name}: the decode process cannot be started: {reason}",
            hint="close other videos or programs, then retry",
            retryable=True,
        )

    def _protocol_error(self) -> DecodeError:
        return DecodeError(
            "decode.crashed", f"{self._display_name}: the decode process sent an invalid message"
        )

    def _crash_error(self) -> DecodeError:
        try:
            status = self._process.wait(timeout=STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            status = 0
        self.kill()
        if isinstance(self._process, ForkedProcess) and self._process.start_error is not None:
            return self._start_error(self._process.start_error)
        if status == EXIT_OUT_OF_MEMORY:
            return out_of_memory_error(self._display_name)
        return DecodeError(
            "decode.crashed",
            f"{self._display_name}: the decode process ended {ipc.describe_status(status)}",
            hint="report the file",
        )


def start(
    source: Source, limits: Limits, request: dict[str, Any], budget: TimeBudget
) -> DecodeWorker:
    """Start a process and request it to open the file. Raises as `DecodeWorker` does."""
    worker = DecodeWorker(source, limits, budget)
    worker.send(request)
    return worker


def open_request(
    source: Source, *, limits: Limits, decoder: str, fps: str | None
) -> dict[str, Any]:
    """Return the first request to a new process."""
    return {
        "type": "open",
        "display_name": source.display_name,
        "kind": source.kind,
        "size_bytes": source.size_bytes,
        "limits": asdict(limits),
        "decoder": decoder,
        "fps": fps,
    }


def _terminate(process: _Process, requests: int, answers: int) -> None:
    os.close(requests)
    os.close(answers)
    if isinstance(process, ForkedProcess):
        process.end()
    else:
        process.kill()
        process.wait()
