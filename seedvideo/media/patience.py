"""How long one file may be waited for, whichever of its processes is waited for.

Time counts only while somebody waits or reads: a reader that is busy with something else, and takes
no answers, makes nobody late.
"""

import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


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
