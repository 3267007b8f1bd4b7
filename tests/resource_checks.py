"""What this process holds, to see that nothing is left behind."""

import gc
import os
import resource
import threading
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path

from seedvideo.utils import fork_server


@dataclass(frozen=True)
class Held:
    """Resources of a process besides memory."""

    processes: int
    descriptors: int
    threads: int


def held() -> Held:
    """Count resources after a garbage collection; unreaped processes count too."""
    gc.collect()
    return Held(len(children()), descriptors(), threading.active_count())


def children() -> list[int]:
    """Returns the process ids of this process's children; of a fork server's, not of the server.

    The helper of `multiprocessing`, which another test may have started, is not counted.
    """
    servers = {server.pid for server in fork_server.servers()}
    helper = vars(resource_tracker._resource_tracker).get("_pid")
    found: list[int] = []
    for pid in direct_children("self"):
        if pid != helper:
            found += direct_children(str(pid)) if pid in servers else [pid]
    return found


def direct_children(process: str) -> list[int]:
    """Returns the process ids of the children that a process has started itself."""
    while True:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        try:
            lists = [(task / "children").read_text() for task in tasks]
        except FileNotFoundError:
            continue  # A thread has ended; another one has its children now.
        return [int(pid) for text in lists for pid in text.split()]


def descriptors() -> int:
    """Counts open descriptors, without the one for each fork server."""
    return len(os.listdir("/proc/self/fd")) - len(fork_server.servers())


def resident_bytes() -> int:
    """Returns how much memory is in use."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
