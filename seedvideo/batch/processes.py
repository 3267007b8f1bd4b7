"""The supervisor's handles of decode and model processes, and its signal handling.

Deadlines are those of `time.monotonic`, in seconds.
"""

import os
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import FrameType, TracebackType
from typing import Any, Final, Protocol, Self

from seedvideo.batch.execution import Entrypoints
from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal_rows import ClaimedItem
from seedvideo.remote.fetching import Lease
from seedvideo.remote.spool import SpooledFile
from seedvideo.utils.ipc import ChildProcess
from seedvideo.utils.text import printable

START_TIMEOUT_S: Final = 300.0
"""Maximum seconds until a decode process is ready."""

MODEL_START_TIMEOUT_S: Final = 1_800.0
"""Maximum seconds until a model is loaded: 100 GB from a slow disk take a quarter of an hour."""

_ALLOCATOR_VARIABLES: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),  # bytes; older ones take no more
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


class HasFileno(Protocol):
    """A thing with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


PREFETCH: Final = 2
"""Maximum groups of clips assigned to a local model: the current one and the next."""


def allocator_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables that make glibc keep freed memory in a model process.

    By default glibc returns the memory of a large tensor and requests it again, as empty pages, for
    the next one. This takes a fifth of the time of an answer on a CPU. Variables of the allocator
    that are already set take precedence. Other systems ignore them.

    Args:
        environment: environment variables of this process.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environment):
        return {}
    return dict(_ALLOCATOR_VARIABLES)


def thread_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables that make waiting OpenMP threads of a model process sleep.

    By default they spin, which takes the cores from the decode processes and from other programs.
    A policy that is already set takes precedence.

    Args:
        environment: environment variables of this process.
    """
    return {} if "OMP_WAIT_POLICY" in environment else {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(eq=False)
class InFlightItem:
    """One item in flight.

    Args:
        claimed: item claimed from the journal.
        started_s: start of its processing.
        content: content of its file, once known.
        fingerprint: cache key of its record, once known.
        file: descriptor of the prepared clip; closed by `release`.
        prepared: header of the decode process's message.
        runs_alone: whether no other clip may be in the model process, which died while it worked on
            this one.
        lease: its file in the spool; None for a file with a name.
    """

    claimed: ClaimedItem
    started_s: float = field(default_factory=time.monotonic)
    content: Content | None = None
    fingerprint: str | None = None
    file: int | None = None
    prepared: dict[str, Any] = field(default_factory=dict)
    runs_alone: bool = False
    lease: Lease | None = None

    @property
    def item(self) -> Item:
        """The item."""
        return self.claimed.item

    @property
    def id(self) -> str:
        """Id of the item."""
        return self.claimed.item.id

    def release_source(self) -> None:
        """Give back its file in the spool. May be called twice."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None

    def release(self) -> None:
        """Close the files of the clip. May be called twice."""
        self.release_source()
        if self.file is not None:
            os.close(self.file)
            self.file = None


def content_of(file: SpooledFile) -> Content:
    """Return the content of a file in the spool.

    Size and modification time are those of the file that it comes from, so that a later run sees
    whether a local container was replaced.
    """
    origin = file.origin
    size_bytes = file.size_bytes if origin is None else origin.size_bytes or file.size_bytes
    mtime_ns = 0 if origin is None else origin.mtime_ns
    return Content(size=size_bytes, mtime_ns=mtime_ns, sha256=file.sha256)


class DecodeProcess:
    """Handle of a decode process.

    Args:
        job: settings of the job.
        entrypoints: functions that the process calls.
    """

    def __init__(self, job: Job, entrypoints: Entrypoints) -> None:
        setup = {"job": job.to_json(), **asdict(entrypoints)}
        self.process = ChildProcess("seedvideo.batch.workers:decode_main", setup)
        self.is_ready = False
        self.clip: InFlightItem | None = None
        self.deadline_s = time.monotonic() + START_TIMEOUT_S

    @property
    def is_idle(self) -> bool:
        """Whether a clip may be assigned."""
        return self.is_ready and self.clip is None

    def assign(self, clip: InFlightItem, *, timeout_s: float) -> None:
        """Send a clip to the process."""
        self.clip, self.deadline_s = clip, time.monotonic() + timeout_s
        if clip.lease is None:
            self.process.send("item", id=clip.id, spec=clip.item.to_json())
        else:
            self.process.send(
                "item",
                file=clip.lease.file.descriptor,
                id=clip.id,
                spec=clip.item.to_json(),
                content=asdict(content_of(clip.lease.file)),
            )

    def finish(self) -> InFlightItem:
        """Mark the process as idle and return its clip."""
        assert self.clip is not None
        clip, self.clip, self.deadline_s = self.clip, None, float("inf")
        clip.release_source()
        return clip


@dataclass(eq=False)
class Group:
    """Clips that the model process answers together.

    Args:
        clips: those without an answer yet, in order.
        deadline_s: when all must have one; infinite until the process begins with the group.
    """

    clips: list[InFlightItem]
    deadline_s: float = float("inf")


class ModelProcess:
    """Handle of the model process.

    A local model answers one group of clips after another, and gets the next one in advance. A
    server answers several at once, each a group of its own; none is sent in advance, so a clip that
    is assigned is one that is being asked.

    Args:
        job: settings of the job.
        entrypoints: functions that the process calls.
        concurrency: clips that a server answers at once; 1 for a local model.

    Attributes:
        groups: assigned clips without an answer, in order.
        idle_s: seconds in which the process was ready and had no clip.
    """

    def __init__(self, job: Job, entrypoints: Entrypoints, *, concurrency: int = 1) -> None:
        setup = {"job": job.to_json(), "concurrency": concurrency, **asdict(entrypoints)}
        environment = allocator_variables(os.environ) | thread_variables(os.environ)
        self.process = ChildProcess(
            "seedvideo.batch.workers:model_main", setup, environment=environment
        )
        self.is_ready = False
        self.groups: list[Group] = []
        self.idle_s = 0.0
        self._batch_size, self._timeout_s = job.batch_size, job.timeout_s
        self._concurrency = concurrency
        self._start_deadline_s = time.monotonic() + MODEL_START_TIMEOUT_S
        self._idle_since_s: float | None = None

    @property
    def clips(self) -> list[InFlightItem]:
        """Assigned clips without an answer, in order."""
        return [clip for group in self.groups for clip in group.clips]

    @property
    def running(self) -> list[Group]:
        """Groups that the process works on."""
        return self.groups[: self._concurrency]

    @property
    def is_late(self) -> bool:
        """Whether the process has not loaded the model in time, or a group is late."""
        return bool(self.late) or self._start_deadline_s <= time.monotonic()

    @property
    def late(self) -> list[Group]:
        """Groups that are past their deadline."""
        now_s = time.monotonic()
        return [group for group in self.groups if group.deadline_s <= now_s]

    def mark_ready(self) -> None:
        """Record that the model is loaded."""
        self.is_ready, self._start_deadline_s = True, float("inf")

    def take(self, ready: deque[InFlightItem], *, limit: int | None = None) -> list[InFlightItem]:
        """Remove from the ready clips those to be assigned now, as one group; none if too early.

        An idle process gets what is there, up to a full group; a local one that works gets only a
        full group in advance. A clip that must run alone is assigned only to an idle process.

        Args:
            ready: clips to be answered, in order.
            limit: maximum clips that a server may be asked about; None for a local model.
        """
        if not self.is_ready or not ready or limit == 0:
            return []
        is_idle = not self.groups
        if ready[0].runs_alone:
            return [ready.popleft()] if is_idle else []
        if any(clip.runs_alone for clip in self.clips):
            return []
        if len(self.groups) >= (PREFETCH if limit is None else limit):
            return []
        count = next((at for at, clip in enumerate(ready) if clip.runs_alone), len(ready))
        count = min(count, self._batch_size)
        if count < self._batch_size and not is_idle:
            return []
        return [ready.popleft() for _ in range(count)]

    def assign(self, clips: list[InFlightItem]) -> None:
        """Send a group of clips to the process."""
        if not self.groups and self._idle_since_s is not None:
            self.idle_s += time.monotonic() - self._idle_since_s
        self.groups.append(Group(clips))
        self._set_deadlines()
        for clip in clips:
            self.process.send(
                "item",
                file=clip.file,
                id=clip.id,
                spec=clip.item.to_json(),
                group_size=len(clips),
            )

    def finish(self, item_id: str) -> InFlightItem:
        """Remove a clip that has an answer, and return it."""
        clip = next(clip for clip in self.clips if clip.id == item_id)
        group = next(group for group in self.groups if clip in group.clips)
        group.clips.remove(clip)
        if not group.clips:
            self.groups.remove(group)
            self._set_deadlines()
        self._idle_since_s = time.monotonic()
        return clip

    def _set_deadlines(self) -> None:
        """Set the deadline of each group that the process begins with: the time of its clips."""
        for group in self.running:
            if group.deadline_s == float("inf"):
                group.deadline_s = time.monotonic() + self._timeout_s * len(group.clips)


def format_stderr(stderr_tail: str) -> str:
    """Return the end of a process's stderr, as the end of a sentence."""
    return f": {printable(stderr_tail[:300])}" if stderr_tail else ""


class ProcessSet:
    """The decode processes and the model process of a run; a later run may use them again.

    Args:
        job: settings of the job.
        entrypoints: functions that the processes call.

    Attributes:
        workers: the decode processes.
        model: the model process, once started.
    """

    def __init__(self, job: Job, entrypoints: Entrypoints) -> None:
        self.workers: list[DecodeProcess] = []
        self.model: ModelProcess | None = None
        self._job, self._entrypoints = job, entrypoints
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._signals: SignalCounter | None = None
        self._is_stopping = False

    def start_workers(self, count: int) -> None:
        """Start decode processes until there are so many."""
        while len(self.workers) < count:
            worker = DecodeProcess(self._job, self._entrypoints)
            self.workers.append(worker)
            self._selector.register(worker.process, selectors.EVENT_READ, worker)

    def start_model(self, *, concurrency: int) -> None:
        """Start the model process."""
        self.model = ModelProcess(self._job, self._entrypoints, concurrency=concurrency)
        self._selector.register(self.model.process, selectors.EVENT_READ, self.model)

    def remove(self, handle: DecodeProcess | ModelProcess, *, has_exited: bool) -> str:
        """Remove a process, kill it if it still runs, and return how it ended."""
        self._selector.unregister(handle.process)
        if isinstance(handle, DecodeProcess):
            self.workers.remove(handle)
        else:
            self.model = None
        return handle.process.kill(has_exited=has_exited)

    def stop(self) -> None:
        """Count a signal for the run that uses the processes, now or next; from any thread."""
        with self._lock:
            self._is_stopping = True
            if self._signals is not None:
                self._signals.add()

    def register(self, signals: "SignalCounter", other: HasFileno) -> None:
        """Wake up when a signal arrives or another descriptor is readable, until `unregister`."""
        with self._lock:
            self._signals = signals
            if self._is_stopping:
                signals.add()
        for each in (signals, other):
            self._selector.register(each, selectors.EVENT_READ, each)

    def unregister(self, signals: "SignalCounter", other: HasFileno) -> None:
        """Undo `register`."""
        with self._lock:
            self._signals = None
        for each in (signals, other):
            self._selector.unregister(each)

    def poll(self, timeout_s: float) -> list[object]:
        """Return what has something to read, after waiting at most so long."""
        return [key.data for key, _ in self._selector.select(timeout_s)]

    def take_idle_s(self) -> float:
        """Return the seconds that the model has waited for clips since the last call."""
        if self.model is None:
            return 0.0
        idle_s, self.model.idle_s = self.model.idle_s, 0.0
        return idle_s

    def kill_workers(self) -> None:
        """Kill the decode processes."""
        for worker in list(self.workers):
            self.remove(worker, has_exited=False)

    def close(self) -> None:
        """Kill all processes. May be called twice."""
        self.kill_workers()
        if self.model is not None:
            self.remove(self.model, has_exited=False)
        self._selector.close()


class SignalCounter:
    """Counter of SIGINT and SIGTERM; use it in a ``with`` statement.

    It catches nothing outside the main thread, which is the only one that receives signals.
    """

    def __init__(self) -> None:
        self.count = 0
        self._read_end, self._write_end = -1, -1
        self._old_handlers: dict[int, Any] = {}
        self._old_wakeup_fd = -1

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when a signal arrives."""
        return self._read_end

    def add(self) -> None:
        """Count a signal that did not arrive."""
        self.count += 1
        os.write(self._write_end, b"\0")

    def drain(self) -> None:
        """Discard the bytes that made the descriptor readable."""
        try:
            os.read(self._read_end, 64)
        except BlockingIOError:
            return

    def __enter__(self) -> Self:
        self._read_end, self._write_end = os.pipe()
        for descriptor in (self._read_end, self._write_end):
            os.set_blocking(descriptor, False)
        try:
            self._old_wakeup_fd = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        except ValueError:
            return self  # Not the main thread.
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        if self._old_handlers:
            signal.set_wakeup_fd(self._old_wakeup_fd)
        os.close(self._read_end)
        os.close(self._write_end)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
