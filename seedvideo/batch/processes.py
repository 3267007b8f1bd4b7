"""The processes of a job as the supervisor knows them: who works on which clip, and until when.

Knows no journal. Times are those of `time.monotonic`, in seconds.

Ctrl-C and SIGTERM while a job runs: counted, and seen by a loop that waits on descriptors.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import FrameType, TracebackType
from typing import Any, Final, Self

from seedvideo.batch.execution import Entrypoints
from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal_rows import ClaimedItem
from seedvideo.utils.ipc import ChildProcess

START_TIMEOUT_S: Final = 300.0
"""Time for a process to load what it needs: a model on a slow disk takes minutes."""

_ALLOCATOR_VARIABLES: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),  # bytes; older ones take no more
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

PREFETCH: Final = 2
"""Clips that the model has: the one that it answers about, and the next."""


def allocator_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for a model's process in this environment: glibc keeps the memory that it frees.

    By default glibc gives the memory of a large tensor back and gets it anew, as empty pages, for
    the next: a fifth of the time of an answer on a CPU. Who has set anything of the allocator knows
    better. Other systems do not read them.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environment):
        return {}
    return dict(_ALLOCATOR_VARIABLES)


@dataclass(eq=False)
class InFlightItem:
    """One item under way.

    Args:
        taken: from the journal.
        began_s: when.
        content: of its file, once it is known.
        fingerprint: of its record, likewise.
        file: descriptor of what was prepared; closed with `drop`.
        prepared: what the decoding process said about it.
    """

    claimed: ClaimedItem
    started_s: float = field(default_factory=time.monotonic)
    content: Content | None = None
    fingerprint: str | None = None
    file: int | None = None
    prepared: dict[str, Any] = field(default_factory=dict)

    @property
    def item(self) -> Item:
        """What to do."""
        return self.claimed.item

    @property
    def id(self) -> str:
        """Of its item."""
        return self.claimed.item.id

    def release(self) -> None:
        """Let go of what was prepared. Twice is fine."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


class DecodeProcess:
    """A decoding process.

    Args:
        job: what is asked.
        hands: who does it.
    """

    def __init__(self, job: Job, entrypoints: Entrypoints) -> None:
        setup = {"job": job.to_json(), **asdict(entrypoints)}
        self.process = ChildProcess("seedvideo.batch.workers:decode_main", setup)
        self.is_ready = False
        self.clip: InFlightItem | None = None
        self.deadline_s = time.monotonic() + START_TIMEOUT_S

    @property
    def is_idle(self) -> bool:
        """Whether it may be given a clip."""
        return self.is_ready and self.clip is None

    def assign(self, clip: InFlightItem, *, timeout_s: float) -> None:
        """Give it a clip."""
        self.clip, self.deadline_s = clip, time.monotonic() + timeout_s
        self.process.send("item", id=clip.id, spec=clip.item.to_json())

    def finish(self) -> InFlightItem:
        """It has nothing to do; returns the clip that it had."""
        assert self.clip is not None
        clip, self.clip, self.deadline_s = self.clip, None, float("inf")
        return clip


class ModelProcess:
    """The model's process.

    Args:
        job: what is asked.
        hands: who does it.

    Attributes:
        clips: that it has, in order; the first is the one that it works on.
        idle_s: time in which it could have worked and had nothing to do.
    """

    def __init__(self, job: Job, entrypoints: Entrypoints) -> None:
        setup = {"job": job.to_json(), **asdict(entrypoints)}
        environment = allocator_variables(os.environ)
        self.process = ChildProcess(
            "seedvideo.batch.workers:model_main", setup, environment=environment
        )
        self.is_ready = False
        self.clips: deque[InFlightItem] = deque()
        self.deadline_s = time.monotonic() + START_TIMEOUT_S
        self.idle_s = 0.0
        self._idle_since_s: float | None = None

    @property
    def has_room(self) -> bool:
        """Whether it may be given a clip."""
        return self.is_ready and len(self.clips) < PREFETCH

    def mark_ready(self) -> None:
        """It has loaded the model."""
        self.is_ready, self.deadline_s = True, float("inf")

    def assign(self, clip: InFlightItem, *, timeout_s: float) -> None:
        """Give it a clip."""
        now_s = time.monotonic()
        if not self.clips:
            self.deadline_s = now_s + timeout_s
            self.idle_s += 0.0 if self._idle_since_s is None else now_s - self._idle_since_s
        self.clips.append(clip)
        self.process.send("item", file=clip.file, id=clip.id, spec=clip.item.to_json())

    def finish(self, *, timeout_s: float) -> InFlightItem:
        """It is done with the first clip, which is returned."""
        now_s = time.monotonic()
        clip = self.clips.popleft()
        self.deadline_s = now_s + timeout_s if self.clips else float("inf")
        self._idle_since_s = now_s
        return clip


class SignalCounter:
    """How often this process was asked to stop; use it in a ``with`` statement.

    In a thread that is not the main one nothing is caught: only that one gets signals.
    """

    def __init__(self) -> None:
        self.count = 0
        self._read_end, self._write_end = -1, -1
        self._old_handlers: dict[int, Any] = {}
        self._old_wakeup_fd = -1

    def fileno(self) -> int:
        """Becomes readable when a stop is asked for."""
        return self._read_end

    def drain(self) -> None:
        """Take note of what was readable."""
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
