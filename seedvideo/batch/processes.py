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

from seedvideo.batch.execution import Hands
from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal_rows import Taken
from seedvideo.utils.ipc import ChildProcess

START_TIMEOUT_S: Final = 300.0
"""Time for a process to load what it needs: a model on a slow disk takes minutes."""

_ALLOCATOR: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),  # bytes; older ones take no more
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

AHEAD: Final = 2
"""Clips that the model has: the one that it answers about, and the next."""


def allocator_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for a model's process in this environment: glibc keeps the memory that it frees.

    By default glibc gives the memory of a large tensor back and gets it anew, as empty pages, for
    the next: a fifth of the time of an answer on a CPU. Who has set anything of the allocator knows
    better. Other systems do not read them.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environment):
        return {}
    return dict(_ALLOCATOR)


@dataclass(eq=False)
class Clip:
    """One item under way.

    Args:
        taken: from the journal.
        began_s: when.
        content: of its file, once it is known.
        fingerprint: of its record, likewise.
        file: descriptor of what was prepared; closed with `drop`.
        prepared: what the decoding process said about it.
    """

    taken: Taken
    began_s: float = field(default_factory=time.monotonic)
    content: Content | None = None
    fingerprint: str | None = None
    file: int | None = None
    prepared: dict[str, Any] = field(default_factory=dict)

    @property
    def item(self) -> Item:
        """What to do."""
        return self.taken.item

    @property
    def id(self) -> str:
        """Of its item."""
        return self.taken.item.id

    def drop(self) -> None:
        """Let go of what was prepared. Twice is fine."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


class Worker:
    """A decoding process.

    Args:
        job: what is asked.
        hands: who does it.
    """

    def __init__(self, job: Job, hands: Hands) -> None:
        setup = {"job": job.to_json(), **asdict(hands)}
        self.process = ChildProcess("seedvideo.batch.workers", setup)
        self.is_ready = False
        self.clip: Clip | None = None
        self.deadline_s = time.monotonic() + START_TIMEOUT_S

    @property
    def is_idle(self) -> bool:
        """Whether it may be given a clip."""
        return self.is_ready and self.clip is None

    def begin(self, clip: Clip, *, timeout_s: float) -> None:
        """Give it a clip."""
        self.clip, self.deadline_s = clip, time.monotonic() + timeout_s
        self.process.send("item", id=clip.id, spec=clip.item.to_json())

    def rest(self) -> Clip:
        """It has nothing to do; returns the clip that it had."""
        assert self.clip is not None
        clip, self.clip, self.deadline_s = self.clip, None, float("inf")
        return clip


class Model:
    """The model's process.

    Args:
        job: what is asked.
        hands: who does it.

    Attributes:
        clips: that it has, in order; the first is the one that it works on.
        idle_s: time in which it could have worked and had nothing to do.
    """

    def __init__(self, job: Job, hands: Hands) -> None:
        setup = {"job": job.to_json(), **asdict(hands)}
        environment = allocator_variables(os.environ)
        self.process = ChildProcess("seedvideo.batch.model_process", setup, environment=environment)
        self.is_ready = False
        self.clips: deque[Clip] = deque()
        self.deadline_s = time.monotonic() + START_TIMEOUT_S
        self.idle_s = 0.0
        self._idle_since_s: float | None = None

    @property
    def has_room(self) -> bool:
        """Whether it may be given a clip."""
        return self.is_ready and len(self.clips) < AHEAD

    def ready(self) -> None:
        """It has loaded the model."""
        self.is_ready, self.deadline_s = True, float("inf")

    def begin(self, clip: Clip, *, timeout_s: float) -> None:
        """Give it a clip."""
        now_s = time.monotonic()
        if not self.clips:
            self.deadline_s = now_s + timeout_s
            self.idle_s += 0.0 if self._idle_since_s is None else now_s - self._idle_since_s
        self.clips.append(clip)
        self.process.send("item", file=clip.file, id=clip.id, spec=clip.item.to_json())

    def end(self, *, timeout_s: float) -> Clip:
        """It is done with the first clip, which is returned."""
        now_s = time.monotonic()
        clip = self.clips.popleft()
        self.deadline_s = now_s + timeout_s if self.clips else float("inf")
        self._idle_since_s = now_s
        return clip


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
