"""What this process holds, to see that nothing is left behind."""

import gc
import os
import resource
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Held:
    """What a process holds besides memory."""

    processes: int
    descriptors: int
    threads: int


def held() -> Held:
    """Counts what is held once garbage is gone; a process that nobody waited for counts too."""
    gc.collect()
    return Held(len(children()), descriptors(), threading.active_count())


def children() -> list[int]:
    """Returns the process ids of this process's children."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def descriptors() -> int:
    """Counts open descriptors."""
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    """Returns how much memory is in use."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
