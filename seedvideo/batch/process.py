"""The supervisor's side of a process of its job: starts it, talks with it, kills it with its own.

The process is a fresh interpreter, never a fork: a fork would copy the journal's lock and database,
and `multiprocessing` would import the caller's main module again. It gets this one's module path,
so it works from scripts, interactive sessions and tests alike.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

from seedvideo.batch.line import Line, Said

_BOOT: Final = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "importlib.import_module(sys.argv[2]).main(int(sys.argv[3]))"
)
NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})
SEND_TIMEOUT_S: Final = 10.0
"""A process has a thread that only listens: one that takes nothing for so long is no more."""

_END_S: Final = 10.0
_LAST_BYTES: Final = 4096


class Process:
    """One process.

    Args:
        module: whose ``main`` it runs.
        setup: the first line that it is told.
        environment: variables that it has beside this process's.

    Raises:
        OSError: if the system has no process left.
    """

    last_words: str = ""
    """The last line of what a killed one had written to stderr before it was ready."""

    def __init__(
        self, module: str, setup: dict[str, Any], *, environment: Mapping[str, str] = NO_VARIABLES
    ) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._said_at_start = _paper()
        with its:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",  # No current folder, no user packages, no PYTHON* variables.
                    "-S",
                    "-c",
                    _BOOT,
                    json.dumps(_module_path()),
                    module,
                    str(its.fileno()),
                ],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Until it is ready: from then on it tells of errors in lines.
                stderr=self._said_at_start,
                pass_fds=(its.fileno(),),
                # Ctrl-C is for the supervisor, which ends its processes in its own way.
                start_new_session=True,
            )
        ours.settimeout(SEND_TIMEOUT_S)
        self._line = Line(ours)
        # One that is dead already is found so by reading.
        with contextlib.suppress(OSError):
            self._line.send("setup", **setup)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def fileno(self) -> int:
        """Becomes readable when it has said something, or is gone."""
        return self._line.end.fileno()

    def send(self, type: str, *, file: int | None = None, **values: Any) -> None:  # noqa: A002
        """Tell it a line. One that is gone takes nothing: reading finds that out."""
        with contextlib.suppress(OSError):
            self._line.send(type, file=file, **values)

    def read(self) -> list[Said]:
        """What it has said.

        Raises:
            EOFError: if it is gone.
            LineError: if it said nonsense.
        """
        return self._line.read()

    def kill(self, *, is_gone: bool = False) -> str:
        """End it and everything that it started, at once; says how it ended.

        Args:
            is_gone: it has ended by itself, or is about to.
        """
        if is_gone:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_END_S)
        status = self._process.poll()
        if status is None:
            for pid in [*_descendants(self._process.pid), self._process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._line.close()
        self.last_words = _last_line(self._said_at_start)
        self._said_at_start.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            # One that sleeps in a dead disk cannot be ended; it is not waited for.
            self._process.wait(timeout=_END_S)
        if status is None:
            return "was killed"
        if status < 0:
            return f"ended by signal {-status} ({signal.strsignal(-status)})"
        return f"ended with status {status}"


def _paper() -> IO[bytes]:
    """A file that has no name: in memory where the system can, as the disk may be full."""
    if sys.platform != "linux":
        return tempfile.TemporaryFile("a+b", buffering=0)
    paper = os.fdopen(os.memfd_create("stderr"), "w+b", buffering=0)
    fcntl.fcntl(paper, fcntl.F_SETFL, fcntl.fcntl(paper, fcntl.F_GETFL) | os.O_APPEND)
    return paper


def _last_line(paper: IO[bytes]) -> str:
    paper.seek(max(paper.seek(0, os.SEEK_END) - _LAST_BYTES, 0))
    lines = paper.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _module_path() -> list[str]:
    home = str(Path(__file__).resolve().parents[2])  # Of the package, even if not installed.
    places = [os.path.abspath(place) for place in sys.path if place]
    return places if home in places else [*places, home]


def _descendants(pid: int) -> list[int]:
    """Processes that a process has started, theirs too; none where the system does not tell."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, listed.read_text(encoding="ascii").split()):
                found += [*_descendants(child), child]
    return found
