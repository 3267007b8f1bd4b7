"""The reader's side of the decoding process: starts it, waits with deadlines, kills it.

The process is a fresh interpreter, never a fork, and gets this one's module path as an argument, so
it works from scripts, interactive sessions and tests alike. It is killed when a deadline passes,
when it says something that is no message, and when the reader is closed or forgotten. Knows nothing
of what is decoded.

How long one file may be waited for, whichever of its processes is waited for.

Time counts only while somebody waits or reads: a reader that is busy with something else, and takes
no answers, makes nobody late.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

from seedvideo.config import Limits
from seedvideo.errors import DecodeError, InputError, MediaError, SeedVideoError
from seedvideo.media import wire
from seedvideo.media.decoder import out_of_memory
from seedvideo.media.source import Source
from seedvideo.media.worker import EXIT_OUT_OF_MEMORY


class Talker(Protocol):
    """Somebody who is waited for.

    Attributes:
        silent_s: time spent waiting since the last word.
        allowed_s: longest silence.
    """

    silent_s: float
    allowed_s: float

    @property
    def answers(self) -> int:
        """Descriptor that becomes readable when there is something to read."""
        ...


class Patience:
    """Adds up the time spent waiting for a file's processes.

    Args:
        limit_s: for everything together.
    """

    def __init__(self, limit_s: float) -> None:
        self.waited_s = 0.0
        self._limit_s = limit_s

    def wait(self, talkers: Sequence[Talker]) -> None:
        """Waits until one of several has something to say, or is late."""
        left_s = min(self._left_s(each) for each in talkers)
        poll = select.poll()
        for each in talkers:
            poll.register(each.answers, select.POLLIN)
        started_s = time.monotonic()
        # Rounded up: a wait that ends a little early would be followed by one of no time at all.
        poll.poll(1000 * max(left_s, 0.0) + 1)
        spent_s = time.monotonic() - started_s
        self.waited_s += spent_s
        for each in talkers:
            each.silent_s += spent_s

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Counts the time that reading takes: endless talk is not to be listened to without end."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.waited_s += time.monotonic() - started_s

    def is_late(self, talker: Talker) -> bool:
        """Tells whether one has been silent for too long, or the file has taken too long."""
        return self._left_s(talker) <= 0

    def _left_s(self, talker: Talker) -> float:
        return min(talker.allowed_s - talker.silent_s, self._limit_s - self.waited_s)


_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from seedvideo.media.worker import main; main(*map(int, sys.argv[2:]))"
)
_ERRORS: Final[dict[str, type[SeedVideoError]]] = {
    kind.stage: kind for kind in (InputError, MediaError, DecodeError)
}
STOP_GRACE_S: Final = 5.0
"""Time a process has to end, or to take a word that it shall stop, before it is killed."""

ENDINGS: Final = ("done", "untrusted")
"""Types of the last answer to a part of a pass."""


class Child:
    """One decoding process.

    Args:
        source: the open file; stays the caller's to close.
        limits: deadlines, and what the process may use.
        patience: shared by all processes of the file.

    Attributes:
        silent_s: time spent waiting since its last word.
        allowed_s: longest silence.

    Raises:
        InputError: ``input.changed`` if another file is in its place.
        DecodeError: if the file cannot be opened again, or the system has no process left.
    """

    def __init__(self, source: Source, limits: Limits, patience: Patience) -> None:
        self._shown = source.shown
        self._limits = limits
        self._patience = patience
        self.silent_s = 0.0
        self.allowed_s = limits.open_timeout_s
        pipes: list[int] = []
        try:
            # Processes that shared one open file would move each other's place in it.
            pipes.append(file := source.again())
            pipes += os.pipe()
            pipes += os.pipe()
            _, requests, self._requests, self._answers, answers = pipes
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",  # No current folder, no user packages, no PYTHON* variables.
                    "-S",
                    "-c",
                    _BOOT,
                    json.dumps(_module_path()),
                    str(requests),
                    str(answers),
                    str(file),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(requests, answers, file),
                # Ctrl-C is for the reader, which then ends this process in its own way.
                start_new_session=True,
            )
        except BaseException as error:
            for descriptor in pipes:
                os.close(descriptor)
            if isinstance(error, OSError):
                reason = (error.strerror or "unknown reason").lower()
                raise DecodeError(
                    "decode.crashed",
                    f"{self._shown}: the decoding process cannot be started: {reason}",
                    hint="close other videos or programs, then try again",
                    retryable=True,
                ) from error
            raise
        for descriptor in (requests, answers, file):
            os.close(descriptor)
        os.set_blocking(self._answers, False)
        os.set_blocking(self._requests, False)
        self._inbox = wire.Inbox(self._answers)
        self._end = weakref.finalize(self, _end, self._process, self._requests, self._answers)

    @property
    def running(self) -> bool:
        """Whether the process can still be asked."""
        return self._end.alive

    @property
    def answers(self) -> int:
        """Descriptor that becomes readable when it has something to say.

        Raises:
            DecodeError: ``decode.stopped`` if it was closed: the number may be another file's now.
        """
        if not self.running:
            raise DecodeError(
                "decode.stopped",
                f"{self._shown}: the decoding process was stopped",
                hint="begin a new loop over frames",
                retryable=True,
            )
        return self._answers

    def send(
        self, header: dict[str, Any], body: bytes = b"", *, within_s: float | None = None
    ) -> None:
        """Sends a request.

        Args:
            header: of the message.
            body: of the message.
            within_s: time that the process has to take it; ``stall_timeout_s`` if None.

        Raises:
            DecodeError: if the process is dead, or does not take it in time.
        """
        limit_s = self._limits.stall_timeout_s if within_s is None else within_s
        deadline_s = time.monotonic() + limit_s
        try:
            for part in wire.parts(header, body):
                self._write(memoryview(part), deadline_s=deadline_s)
        except BrokenPipeError:
            # It may have said why before it died.
            self.receive()
            raise self._crashed() from None

    def receive(self, *, max_body_bytes: int = 0) -> wire.Message:
        """Waits for an answer other than a sign of life.

        Args:
            max_body_bytes: longest answer to accept.

        Raises:
            SeedVideoError: as the process says.
            DecodeError: if it is late, dies or talks nonsense; it is dead afterwards.
        """
        while (message := self.take(max_body_bytes=max_body_bytes)) is None:
            self._patience.wait([self])
        return message

    def take(self, *, max_body_bytes: int) -> wire.Message | None:
        """Returns an answer if it is there already; None too after a sign of life.

        Raises:
            As `receive` does.
        """
        _ = self.answers  # Raises if it is closed.
        try:
            with self._patience.reading():
                message = self._inbox.take(max_body_bytes=max_body_bytes)
        except wire.WireError as error:
            self.kill()
            raise DecodeError(
                "decode.crashed", f"{self._shown}: the decoding process sent nonsense"
            ) from error
        except EOFError:
            raise self._crashed() from None
        if message is not None:
            self.silent_s, self.allowed_s = 0.0, self._limits.stall_timeout_s
        if message is None or message.type == "alive":
            if self._patience.is_late(self):
                raise self._late()
            return None
        if message.type == "error":
            self.kill()
            raise _rebuild(message.header, self._shown)
        if message.type == "fault":
            self.kill()
            fault = DecodeError("decode.crashed", f"{self._shown}: the decoding process failed")
            # For people who look at a traceback; never part of the message.
            fault.add_note(str(message.header.get("trace")))
            raise fault
        return message

    def tell_to_stop(self) -> None:
        """Tells it that the answers to its task are no longer wanted."""
        try:
            self.send({"type": "stop"}, within_s=STOP_GRACE_S)
        except SeedVideoError:
            self.kill()  # Of a task that nobody waits for.

    def await_stop(self, *, max_body_bytes: int, deadline_s: float) -> None:
        """Waits until it has stopped; kills it if that takes long.

        Args:
            max_body_bytes: longest answer that may still come.
            deadline_s: on the clock of `time.monotonic`.
        """
        try:
            while self.running and (left_s := deadline_s - time.monotonic()) > 0:
                message = self.take(max_body_bytes=max_body_bytes)
                if message is None:
                    self.silent_s, self.allowed_s = 0.0, left_s
                    self._patience.wait([self])
                elif message.type in ENDINGS:
                    return
        except SeedVideoError:
            pass  # Of a task that nobody waits for.
        self.kill()

    def kill(self) -> None:
        """Ends the process at once. Harmless if it has ended."""
        self._end()

    def interrupt(self) -> None:
        """Kill the process from another thread; the one that waits for it cleans up."""
        self._process.kill()

    def abandon(self) -> None:
        """Forget a process that belongs to the parent of this forked one.

        Only the copies of its pipes are closed, so that it still ends with its own reader.
        """
        if self._end.detach() is not None:
            os.close(self._requests)
            os.close(self._answers)
        # Else Popen warns of a process that still runs, and waits for it later.
        self._process.returncode = 0

    def _write(self, view: memoryview, *, deadline_s: float) -> None:
        _ = self.answers  # Raises if it is closed.
        poll = select.poll()
        poll.register(self._requests, select.POLLOUT)
        while view:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not poll.poll(left_s * 1000):
                raise self._late()
            try:
                view = view[os.write(self._requests, view) :]
            except BlockingIOError:
                continue  # Less room than a pipe writes in one piece.

    def _late(self) -> DecodeError:
        self.kill()
        return DecodeError(
            "decode.timeout",
            f"{self._shown}: decoding took longer than allowed and was stopped",
            hint="try again on a calmer machine; report the file if it repeats",
            retryable=True,
        )

    def _crashed(self) -> DecodeError:
        try:
            status = self._process.wait(timeout=STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            status = 0
        self.kill()
        if status == EXIT_OUT_OF_MEMORY:
            return out_of_memory(self._shown)
        if status < 0:
            cause = f"by signal {-status} ({signal.strsignal(-status)})"
        else:
            cause = f"with status {status}"
        return DecodeError(
            "decode.crashed",
            f"{self._shown}: the decoding process ended {cause}",
            hint="report the file",
        )


def start(source: Source, limits: Limits, request: dict[str, Any], patience: Patience) -> Child:
    """Starts a process and asks it to open the file. Raises as `Child` does."""
    child = Child(source, limits, patience)
    child.send(request)
    return child


def open_request(
    source: Source, *, limits: Limits, decoder: str, fps: str | None
) -> dict[str, Any]:
    """Returns the first request to a new process."""
    return {
        "type": "open",
        "shown": source.shown,
        "kind": source.kind,
        "size_bytes": source.size_bytes,
        "limits": asdict(limits),
        "decoder": decoder,
        "fps": fps,
    }


def _module_path() -> list[str]:
    """Returns where this interpreter finds modules, without the current folder."""
    home = str(Path(__file__).resolve().parents[2])  # Of the package, even if it is not installed.
    places = [os.path.abspath(place) for place in sys.path if place]
    return places if home in places else [*places, home]


def _rebuild(header: dict[str, Any], shown: str) -> SeedVideoError:
    code = str(header.get("code"))
    kind = _ERRORS.get(code.split(".")[0])
    if kind is None:
        return DecodeError("decode.crashed", f"{shown}: the decoding process sent nonsense")
    return kind(
        code,
        str(header.get("message")),
        hint=str(header.get("hint", "")),
        retryable=bool(header.get("retryable")),
    )


def _end(process: subprocess.Popen[bytes], requests: int, answers: int) -> None:
    os.close(requests)
    os.close(answers)
    process.kill()
    process.wait()
