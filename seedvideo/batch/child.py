"""The worker side of a job's processes: how they listen, and how they report errors.

A thread reads the supervisor's messages. It ends the process at once when the supervisor is gone,
whatever the process is stuck in, so that a killed job leaves no process behind.
"""

import os
import queue
import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from seedvideo.environment import is_out_of_memory
from seedvideo.errors import SeedVideoError
from seedvideo.utils.ipc import Message, MessageSocket, ProtocolError, error_to_dict

_MAX_TRACE_CHARS: Final = 20_000
_EXIT_NO_SUPERVISOR: Final = 3
"""Exit status of a process whose supervisor is gone."""


class SupervisorChannel:
    """The worker's end of its connection to the supervisor.

    Args:
        descriptor: of the socket that it was given.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = MessageSocket(socket.socket(fileno=descriptor))
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Message:
        """Wait for the next message."""
        return self._messages.get()

    def send(self, type: str, *, file: int | None = None, **values: Any) -> None:  # noqa: A002
        """Send a message."""
        try:
            self._socket.send(type, file=file, **values)
        except OSError:
            os._exit(_EXIT_NO_SUPERVISOR)

    def _listen(self) -> None:
        while True:
            try:
                for message in self._socket.read():
                    self._messages.put(message)
            except (EOFError, OSError, ProtocolError):
                os._exit(_EXIT_NO_SUPERVISOR)


@contextmanager
def report_errors(
    channel: SupervisorChannel, *, out_of_memory: str, **values: Any
) -> Iterator[None]:
    """Report the errors of the block to the supervisor, with the values; the process goes on.

    Args:
        channel: to the supervisor.
        out_of_memory: the code of an error for lack of memory.
        values: go with the error.
    """
    try:
        yield
    except MemoryError:
        _report_out_of_memory(channel, out_of_memory, values)
    except SeedVideoError as error:
        channel.send("error", **error_to_dict(error), **values)
    except Exception as error:  # noqa: BLE001
        # A bug, or a library's: of this clip, and reported with it.
        if is_out_of_memory(error):
            _report_out_of_memory(channel, out_of_memory, values)
            return
        trace = "".join(traceback.format_exception(error))[-_MAX_TRACE_CHARS:]
        hint = "a bug of seedvideo: report it with the file"
        channel.send("error", **{**error_to_dict(error), "hint": hint}, trace=trace, **values)


def _report_out_of_memory(channel: SupervisorChannel, code: str, values: dict[str, Any]) -> None:
    channel.send(
        "error",
        code=code,
        stage=code.partition(".")[0],
        message="more memory is needed than there is, or is allowed",
        hint="use fewer workers, a smaller budget or smaller videos",
        retryable=False,
        **values,
    )


def silence_stderr() -> None:
    """Write nothing to stderr from now on: errors are reported in messages."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
