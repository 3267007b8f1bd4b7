"""Ctrl-C and SIGTERM while a job runs: counted, and seen by a loop that waits on descriptors."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Stops:
    """How often this process was asked to stop; use it in a ``with`` statement.

    In a thread that is not the main one nothing is caught: only that one gets signals.
    """

    def __init__(self) -> None:
        self.count = 0
        self._awake, self._wake = -1, -1
        self._before: dict[int, Any] = {}
        self._before_wakeup = -1

    def fileno(self) -> int:
        """Becomes readable when a stop is asked for."""
        return self._awake

    def drain(self) -> None:
        """Take note of what was readable."""
        try:
            os.read(self._awake, 64)
        except BlockingIOError:
            return

    def __enter__(self) -> Self:
        self._awake, self._wake = os.pipe()
        for descriptor in (self._awake, self._wake):
            os.set_blocking(descriptor, False)
        try:
            self._before_wakeup = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        except ValueError:
            return self  # Not the main thread.
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._before_wakeup)
        os.close(self._awake)
        os.close(self._wake)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
