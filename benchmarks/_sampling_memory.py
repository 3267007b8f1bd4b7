"""Memory of a process and of all below it, watched so cheaply that the clock may run meanwhile.

Linux keeps three counts of each process in ``/proc/PID/statm``, which cost the same to read however
large it is; the exact value of ``smaps_rollup`` costs a walk through all pages, in which the
process has to wait. Of those counts is made: what each process has for itself, added up, and the
largest share that one of them has in what may be shared (files, libraries, shared memory). So what
several hold together is counted once; a library that only a smaller one has loaded is left out.
Knows nothing of loaders. Linux only.
"""

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from select import select
from time import monotonic
from typing import Final

WATCH_EVERY_S: Final = 0.02
COUNT_EVERY: Final = 5
"""Memory samples per listing of the processes."""
PAGE_BYTES: Final = resource.getpagesize()


@dataclass(frozen=True)
class Size:
    """Pages of one process.

    Args:
        resident: all that are in memory.
        shared: those of them that others may have too.
    """

    resident: int
    shared: int

    @classmethod
    def read(cls, statm: str) -> "Size":
        """From the text of ``/proc/PID/statm``."""
        _, resident, shared, *_ = map(int, statm.split())
        return cls(resident, shared)


def together_bytes(sizes: Sequence[Size]) -> int:
    """Memory of several processes, what they may share counted once."""
    own = sum(size.resident - size.shared for size in sizes)
    return PAGE_BYTES * (own + max((size.shared for size in sizes), default=0))


def processes(root: int) -> list[int]:
    """A process and all below it that run now."""
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                below = Path(f"/proc/{process}/task/{thread}/children")
                waiting += map(int, below.read_text(encoding="ascii").split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while it was read
        found.append(process)
    return found


def watch(root: int, notices: int, answers: int, *, end_s: float) -> tuple[int, int]:
    """Watch a process between its two notices, and answer each.

    It sends a byte when it is about to begin and one when it is done, and waits for a byte each
    time; so what it does before and after is not counted, and its result is.

    Args:
        root: the process.
        notices: where its bytes come from.
        answers: where it waits for ours.
        end_s: of `monotonic`, when to stop waiting.

    Returns:
        What it held when it was about to begin, and the most that it held with all below it until
        it was done; zeros if it ended early.

    Raises:
        TimeoutError: if it is not done in time.
    """
    if not _noticed(notices, max(end_s - monotonic(), 0)):
        raise TimeoutError
    if not os.read(notices, 1):
        return 0, 0
    idle_bytes = _held_bytes(processes(root))
    os.write(answers, b".")
    peak_bytes, samples, known = 0, 0, [root]
    while not _noticed(notices, WATCH_EVERY_S):
        if samples % COUNT_EVERY == 0:
            known = processes(root)
        samples += 1
        peak_bytes = max(peak_bytes, _held_bytes(known))
        if monotonic() > end_s:
            raise TimeoutError
    if not os.read(notices, 1):
        return 0, 0
    peak_bytes = max(peak_bytes, _held_bytes(processes(root)))
    os.write(answers, b".")
    return idle_bytes, peak_bytes


def _noticed(notices: int, wait_s: float) -> bool:
    return bool(select([notices], [], [], wait_s)[0])


def _held_bytes(known: Sequence[int]) -> int:
    sizes = []
    for process in known:
        try:
            text = Path(f"/proc/{process}/statm").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended since it was counted
        sizes.append(Size.read(text))
    return together_bytes(sizes)
