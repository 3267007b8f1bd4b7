"""The reader's side of the decoding process: starts it, waits with deadlines, kills it.

The process is a fresh interpreter, never a fork, and gets this one's module path as an argument, so
it works from scripts, interactive sessions and tests alike. It is killed when a deadline passes,
when it says something that is no message, and when the reader is closed or forgotten. Knows nothing
of what is decoded.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from seedvideo.errors import DecodeError, InputError, MediaError, SeedVideoError
from seedvideo.limits import Limits
from seedvideo.media import wire
from seedvideo.media.safety import Source
from seedvideo.media.worker import EXIT_OUT_OF_MEMORY

_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from seedvideo.media.worker import main; main(*map(int, sys.argv[2:]))"
)
_ERRORS: Final[dict[str, type[SeedVideoError]]] = {
    kind.stage: kind for kind in (InputError, MediaError, DecodeError)
}
_STOP_GRACE_S: Final = 5.0
"""Time a process has to end a pass when told to, before it is killed."""


class Child:
    """One decoding process.

    Args:
        source: the open file; stays the caller's to close.
        limits: deadlines, and what the process may use.

    Raises:
        DecodeError: if the system has no process or descriptors left.
    """

    def __init__(self, source: Source, limits: Limits) -> None:
        self._shown = source.shown
        self._limits = limits
        self.waited_s = 0.0
        """Time spent waiting for this process so far."""
        pipes: list[int] = []
        try:
            pipes += os.pipe()
            pipes += os.pipe()
            requests, self._requests, self._answers, answers = pipes
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
                    str(source.descriptor),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(requests, answers, source.descriptor),
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
        os.close(requests)
        os.close(answers)
        os.set_blocking(self._answers, False)
        self._end = weakref.finalize(self, _end, self._process, self._requests, self._answers)

    @property
    def running(self) -> bool:
        """Whether the process can still be asked."""
        return self._end.alive

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Sends a request.

        Raises:
            DecodeError: if the process is dead.
        """
        try:
            wire.send(self._requests, header, body)
        except BrokenPipeError:
            # It may have said why before it died.
            self.receive(within_s=self._limits.stall_timeout_s)
            raise self._crashed() from None

    def receive(self, *, within_s: float, max_body_bytes: int = 0) -> wire.Message:
        """Waits for an answer other than a sign of life.

        Args:
            within_s: time until the next answer or sign of life.
            max_body_bytes: longest answer to accept.

        Raises:
            SeedVideoError: as the process says.
            DecodeError: if it is late, dies or talks nonsense; it is dead afterwards.
        """
        while True:
            started_s = time.monotonic()
            try:
                message = wire.receive(
                    partial(self._read_into, deadline_s=started_s + within_s),
                    max_body_bytes=max_body_bytes,
                )
            except wire.WireError as error:
                self.kill()
                raise DecodeError(
                    "decode.crashed", f"{self._shown}: the decoding process sent nonsense"
                ) from error
            finally:
                self.waited_s += time.monotonic() - started_s
            if message is None:
                raise self._crashed()
            if message.type == "error":
                self.kill()
                raise _rebuild(message.header, self._shown)
            if message.type == "fault":
                self.kill()
                fault = DecodeError("decode.crashed", f"{self._shown}: the decoding process failed")
                # For people who look at a traceback; never part of the message.
                fault.add_note(str(message.header.get("trace")))
                raise fault
            if message.type != "alive":
                return message
            within_s = self._limits.stall_timeout_s

    def stop_pass(self, *, max_body_bytes: int) -> None:
        """Ends a pass whose answers are no longer wanted; kills the process if that takes long."""
        deadline_s = time.monotonic() + _STOP_GRACE_S
        try:
            self.send({"type": "stop"})
            while True:
                left_s = deadline_s - time.monotonic()
                message = self.receive(within_s=max(left_s, 0.0), max_body_bytes=max_body_bytes)
                if message.type == "done":
                    return
        except SeedVideoError:
            self.kill()

    def kill(self) -> None:
        """Ends the process at once. Harmless if it has ended."""
        self._end()

    def _read_into(self, buffer: memoryview, deadline_s: float) -> bool:
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        while buffer:
            left_s = min(deadline_s - time.monotonic(), self._limits.item_timeout_s - self.waited_s)
            if left_s <= 0 or not poll.poll(left_s * 1000):
                self.kill()
                raise DecodeError(
                    "decode.timeout",
                    f"{self._shown}: decoding took longer than allowed and was stopped",
                    hint="try again on a calmer machine; report the file if it repeats",
                    retryable=True,
                )
            count = os.readv(self._answers, [buffer])
            if not count:
                return False
            buffer = buffer[count:]
        return True

    def _crashed(self) -> DecodeError:
        try:
            status = self._process.wait(timeout=_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            status = 0
        self.kill()
        if status == EXIT_OUT_OF_MEMORY:
            return DecodeError(
                "decode.out_of_memory",
                f"{self._shown}: decoding needs more memory than allowed",
                hint="scale the video down, or raise the limit from Python",
            )
        if status < 0:
            cause = f"by signal {-status} ({signal.strsignal(-status)})"
        else:
            cause = f"with status {status}"
        return DecodeError(
            "decode.crashed",
            f"{self._shown}: the decoding process ended {cause}",
            hint="report the file",
        )


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
