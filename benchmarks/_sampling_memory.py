"""Memory of a process and its descendants, sampled cheaply enough to run during a timing.

Reading the counts in ``/proc/PID/statm`` takes the same time for a process of any size; the exact
value of ``smaps_rollup`` needs a walk through all pages, during which the process waits. The result
is the sum of the private memory of all processes, plus the largest shareable part (files,
libraries, shared memory) of one of them. So memory that several processes share is counted once; a
library that only a process with a smaller shareable part has loaded is missing. Linux only.
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
        resident: pages in memory.
        shared: resident pages that other processes may share.
    """

    resident: int
    shared: int

    @classmethod
    def read(cls, statm: str) -> "Size":
        """Parse the text of ``/proc/PID/statm``."""
        _, resident, shared, *_ = map(int, statm.split())
        return cls(resident, shared)


def combined_bytes(sizes: Sequence[Size]) -> int:
    """Return the memory of several processes, with shareable memory counted once."""
    own = sum(size.resident - size.shared for size in sizes)
    return PAGE_BYTES * (own + max((size.shared for size in sizes), default=0))


def processes(root: int) -> list[int]:
    """Return the ids of a process and its running descendants."""
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                below = Path(f"/proc/{process}/task/{thread}/children")
                waiting += map(int, below.read_text(encoding="ascii").split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it exited meanwhile
        found.append(process)
    return found


def watch(root: int, notices: int, answers: int, *, end_s: float) -> tuple[int, int]:
    """Sample the memory of a process between its two notices, and answer each.

    The process sends a byte before and after its work, and waits for a byte each time. So memory of
    the work and its result is counted, and memory used before and afterwards is not.

    Args:
        root: id of the process.
        notices: descriptor of its bytes.
        answers: descriptor of our bytes.
        end_s: deadline, in seconds of `monotonic`.

    Returns:
        Memory before the work, and maximum memory during the work, with all descendants; zeros if
        the process exited early.

    Raises:
        TimeoutError: if the work is not done in time.
    """
    if not _noticed(notices, max(end_s - monotonic(), 0)):
        raise TimeoutError
    if not os.read(notices, 1):
        return 0, 0
    idle_bytes = _held_bytes(processes(root))
    os.write(answers, b".")
    peak_bytes, samples, pids = 0, 0, [root]
    while not _noticed(notices, WATCH_EVERY_S):
        if samples % COUNT_EVERY == 0:
            pids = processes(root)
        samples += 1
        peak_bytes = max(peak_bytes, _held_bytes(pids))
        if monotonic() > end_s:
            raise TimeoutError
    if not os.read(notices, 1):
        return 0, 0
    peak_bytes = max(peak_bytes, _held_bytes(processes(root)))
    os.write(answers, b".")
    return idle_bytes, peak_bytes


def _noticed(notices: int, wait_s: float) -> bool:
    return bool(select([notices], [], [], wait_s)[0])


def _held_bytes(pids: Sequence[int]) -> int:
    sizes = []
    for process in pids:
        try:
            text = Path(f"/proc/{process}/statm").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has exited since the listing
        sizes.append(Size.read(text))
    return combined_bytes(sizes)
