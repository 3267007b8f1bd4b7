"""What the processes of a job share on their own side: how they listen, and how they tell errors.

A thread reads the supervisor's lines. It ends the process at once when the supervisor is gone, in
whatever the process is stuck, so that a killed job leaves nobody behind.
"""

import os
import queue
import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from seedvideo.batch.faults import told_of
from seedvideo.batch.line import Line, LineError, Said
from seedvideo.environment import is_out_of_memory
from seedvideo.errors import SeedVideoError

_MAX_TRACE_CHARS: Final = 20_000
_GONE: Final = 3
"""Exit status of a process whose supervisor is gone."""


class Listener:
    """The process's end of its line.

    Args:
        descriptor: of the socket that it was given.
    """

    def __init__(self, descriptor: int) -> None:
        self._line = Line(socket.socket(fileno=descriptor))
        self._lines: queue.SimpleQueue[Said] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Said:
        """The next line, waited for."""
        return self._lines.get()

    def say(self, type: str, *, file: int | None = None, **values: Any) -> None:  # noqa: A002
        """Say a line."""
        try:
            self._line.send(type, file=file, **values)
        except OSError:
            os._exit(_GONE)

    def _listen(self) -> None:
        while True:
            try:
                for said in self._line.read():
                    self._lines.put(said)
            except (EOFError, OSError, LineError):
                os._exit(_GONE)


@contextmanager
def told(listener: Listener, *, out_of_memory: str, **values: Any) -> Iterator[None]:
    """Tell the supervisor what goes wrong inside, with the values; the process goes on.

    Args:
        listener: whom to tell.
        out_of_memory: the code of an error for want of memory.
        values: go with the error.
    """
    try:
        yield
    except MemoryError:
        _say_memory(listener, out_of_memory, values)
    except SeedVideoError as error:
        listener.say("error", **told_of(error), **values)
    except Exception as error:  # noqa: BLE001
        # A bug, or a library's: of this clip, and told with it.
        if is_out_of_memory(error):
            _say_memory(listener, out_of_memory, values)
            return
        trace = "".join(traceback.format_exception(error))[-_MAX_TRACE_CHARS:]
        hint = "a bug of seedvideo: report it with the file"
        listener.say("error", **{**told_of(error), "hint": hint}, trace=trace, **values)


def _say_memory(listener: Listener, code: str, told: dict[str, Any]) -> None:
    listener.say(
        "error",
        code=code,
        stage=code.partition(".")[0],
        message="more memory is needed than there is, or is allowed",
        hint="use fewer workers, a smaller budget or smaller videos",
        retryable=False,
        **told,
    )


def be_quiet() -> None:
    """Write nothing to stderr any more: what goes wrong from now on is told in lines."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
