"""Attempts at a part: who begins it, which clips it begins, and which clip kills runners.

An attempt that dies leaves its start without a commit. A first attempt writes nothing else. Each
later one processes its clips one at a time and marks each before it begins. Only the last mark of a
dead attempt counts: all others are of clips that it finished. A clip that was the last of two dead
attempts is quarantined, so it runs at most three times, and no other clip of its part suffers.

A slow runner looks like a dead one. Before a clip is condemned, either the runner is known to be
dead, because it was a process of this machine, or its marks stand still for longer than one clip
may take. This is a length of time, as the time limit of a clip is; no time of day is compared.

Separate from `seedvideo.batch.part_runner`, which runs an attempt.
"""

import hashlib
import json
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from seedvideo.batch.inputs import Item
from seedvideo.batch.parts import PartSet, to_bytes
from seedvideo.batch.stores import Store
from seedvideo.environment import __version__
from seedvideo.errors import ModelError, StoreError

DEATHS_OF_A_CLIP: Final = 2
"""Dead attempts of which a clip was the last, after which it is quarantined."""

DEATHS_BEFORE_A_CLIP: Final = 3
"""Dead attempts without a mark, after which the run ends: no clip is the cause."""

FIRST_MARKED: Final = 2
"""The first attempt that marks its clips."""

_POLL_S: Final = 1.0

# Other names are not ours, such as copies by a person.
_NOTE: Final = re.compile(r"([0-9]+)[.]([0-9]+)[.]json")
_MARK: Final = re.compile(r"([0-9]+)[.][0-9]+[.]([0-9a-f]+)")


@dataclass(frozen=True, kw_only=True)
class RunnerIdentity:
    """A process, such that another one on its machine can find out whether it lives.

    Args:
        host: name of the machine, for people.
        pid: number of the process.
        boot: identity of the machine's start and of its numbering of processes; empty if unknown.
        started: start of the process in ticks since then.
        nonce: a name that no other process has.
        seedvideo: its version.
    """

    host: str
    pid: int
    boot: str = ""
    started: str = ""
    nonce: str = field(default_factory=lambda: os.urandom(8).hex())
    seedvideo: str = __version__

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the identity of this process."""
        pid = os.getpid()
        host = platform.node() or "unknown"
        return cls(host=host, pid=pid, boot=_boot_id(), started=_start_ticks(pid))

    @property
    def name(self) -> str:
        """Name for people."""
        return f"{self.host}:{self.pid}"

    @property
    def is_known_to_be_dead(self) -> bool:
        """Whether it was a process of this machine and does not run any more."""
        if not self.boot or self.boot != _boot_id():
            return False
        return _start_ticks(self.pid) != self.started


def _boot_id() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    return ""


def _start_ticks(pid: int) -> str:
    """Return when a process started; empty if it does not run."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return "" if words[0] in ("Z", "X") else words[19]
    return ""


def hash_item(item: Item) -> str:
    """Return the part of a mark's name that stands for a clip."""
    key = item.id.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(key, digest_size=10).hexdigest()


@dataclass(frozen=True, kw_only=True)
class History:
    """What is known of the attempts at a part.

    Args:
        attempts: numbers of all attempts.
        ended: those that ended without a crash.
        last_marks: the clip that an attempt began last, by its hash.
        is_committed: whether the part has a commit.
    """

    attempts: frozenset[int]
    ended: frozenset[int]
    last_marks: Mapping[int, str]
    is_committed: bool

    def open(self, me: int) -> list[int]:
        """Return attempts that mark their clips and neither ended nor are this one."""
        return sorted(n for n in self.attempts - self.ended - {me} if n >= FIRST_MARKED)

    def suspects(self, me: int) -> dict[str, list[int]]:
        """Return clips that were the last of enough open attempts, with these attempts."""
        lasts = [(self.last_marks[n], n) for n in self.open(me) if n in self.last_marks]
        counts = Counter(clip for clip, _ in lasts)
        found = [clip for clip, count in counts.items() if count >= DEATHS_OF_A_CLIP]
        return {clip: [n for last, n in lasts if last == clip] for clip in found}

    def unmarked(self, me: int) -> list[int]:
        """Return open attempts that have begun no clip."""
        return [n for n in self.open(me) if n not in self.last_marks]


class Attempt:
    """One attempt at a part; made by `begin`.

    Args:
        store: store of the job.
        parts: parts that it belongs to.
        part: number of the part.
        number: number of the attempt, from 1.
    """

    def __init__(self, store: Store, parts: PartSet, part: int, number: int) -> None:
        self.parts, self.part, self.number = parts, part, number
        self._store, self._marks = store, 0

    @classmethod
    def begin(
        cls, store: Store, parts: PartSet, part: int, number: int, runner: RunnerIdentity
    ) -> Self | None:
        """Write the start of an attempt; None if another runner has written it."""
        data = to_bytes(asdict(runner))
        if not store.put_if_absent(parts.attempt_name("starts", part, number), data):
            return None
        return cls(store, parts, part, number)

    @property
    def is_marked(self) -> bool:
        """Whether it marks its clips."""
        return self.number >= FIRST_MARKED

    def mark(self, item: Item) -> None:
        """Note that a clip begins.

        Raises:
            PartCommittedError: if the part is committed, so that the rest would be wasted.
        """
        self._marks += 1
        name = f"{self.number:03}.{self._marks:05}.{hash_item(item)}"
        self._store.put(f"{self.parts.marks_prefix(self.part)}{name}", b"")
        if self._store.size(self.parts.commit_name(self.part)) is not None:
            raise PartCommittedError

    def end(self, reason: str) -> None:
        """Note that the attempt ended without a crash; a store that does not answer is ignored."""
        with suppress(StoreError):
            name = self.parts.attempt_name("ends", self.part, self.number)
            self._store.put(name, to_bytes({"reason": reason}))

    def history(self) -> History:
        """Read what is known of all attempts at the part."""
        last_marks: dict[int, str] = {}
        prefix = self.parts.marks_prefix(self.part)
        for name in self._store.list_names(prefix):
            found = _MARK.fullmatch(name, len(prefix))
            if found is not None:
                last_marks[int(found[1])] = found[2]
        return History(
            attempts=frozenset(_numbers(self._store, self.parts, "starts", self.part)),
            ended=frozenset(_numbers(self._store, self.parts, "ends", self.part)),
            last_marks=last_marks,
            is_committed=self._store.size(self.parts.commit_name(self.part)) is not None,
        )

    def find_poison(
        self,
        *,
        quiet_s: float,
        loading_s: float,
        wait: Callable[[float], None] = time.sleep,
    ) -> frozenset[str]:
        """Return the clips to quarantine, by their hashes.

        Args:
            quiet_s: seconds without a new mark after which a runner counts as dead.
            loading_s: the same before its first mark, when it loads the model.
            wait: sleeps so many seconds.

        Raises:
            ModelError: ``model.crashed`` if runners die before their first clip.
        """
        history = self.history()
        while not history.is_committed:
            suspects, unmarked = history.suspects(self.number), history.unmarked(self.number)
            if suspects:
                watched, limit_s = sorted({n for each in suspects.values() for n in each}), quiet_s
            elif len(unmarked) >= DEATHS_BEFORE_A_CLIP:
                watched, limit_s = unmarked, loading_s
            else:
                return frozenset()
            newer = self._watch(history, watched, limit_s, wait)
            if newer is not None:
                history = newer
            elif suspects:
                return frozenset(suspects)
            else:
                raise ModelError(
                    "model.crashed",
                    f"{len(unmarked)} runners died in part {self.part} before their first clip,"
                    " while they loaded the model",
                    hint="check the memory of the machines: a killed process leaves no message",
                )
        return frozenset()

    def _watch(
        self, before: History, watched: list[int], limit_s: float, wait: Callable[[float], None]
    ) -> History | None:
        """Return the history once one of these attempts goes on; None if none does."""
        if all(self._is_known_to_be_dead(number) for number in watched):
            return None
        waited_s = 0.0
        while waited_s < limit_s:
            step_s = min(_POLL_S, limit_s / 4)
            wait(step_s)
            waited_s += step_s
            now = self.history()
            has_moved = any(now.last_marks.get(n) != before.last_marks.get(n) for n in watched)
            if has_moved or now.is_committed or now.ended & set(watched):
                return now
        return None

    def _is_known_to_be_dead(self, number: int) -> bool:
        data = self._store.read(self.parts.attempt_name("starts", self.part, number))
        runner = None if data is None else parse_runner(data)
        return runner is not None and runner.is_known_to_be_dead


class PartCommittedError(Exception):
    """Another runner has committed the part meanwhile."""


def parse_runner(data: bytes) -> RunnerIdentity | None:
    """Return the runner of a start; None if it cannot be read."""
    try:
        values: dict[str, Any] = json.loads(data)
        return RunnerIdentity(**values)
    except (ValueError, TypeError):
        return None


def list_attempts(store: Store, parts: PartSet) -> dict[int, int]:
    """Return the number of the last attempt at each part that was begun."""
    last: dict[int, int] = {}
    prefix = f"{parts.prefix}starts/"
    for name in store.list_names(prefix):
        found = _NOTE.fullmatch(name, len(prefix))
        if found is not None:
            part, attempt = int(found[1]), int(found[2])
            last[part] = max(last.get(part, 0), attempt)
    return last


def _numbers(store: Store, parts: PartSet, kind: str, part: int) -> list[int]:
    prefix, start = f"{parts.prefix}{kind}/", parts.attempt_name(kind, part, 0)
    names = store.list_names(start.removesuffix("000.json"))
    found = (_NOTE.fullmatch(name, len(prefix)) for name in names)
    return [int(each[2]) for each in found if each is not None]
