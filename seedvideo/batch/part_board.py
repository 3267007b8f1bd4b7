"""Choice of the next part: what one runner knows of a job, and in which order it takes the parts.

First those that a process of this machine left unfinished, whose clips are in a journal here; then
those that were never begun, in an order of the runner's own; then those that were begun and have no
commit. So work is repeated only at the end of a job and after a crash.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from seedvideo.batch.part_attempts import Attempt, RunnerIdentity, list_attempts, parse_runner
from seedvideo.batch.part_records import list_committed
from seedvideo.batch.parts import PartedJob, PartSet, read_part_sets
from seedvideo.batch.stores import Store, read_many

_MISSES_UNTIL_REFRESH: Final = 4


@dataclass(frozen=True, kw_only=True)
class Offer:
    """An attempt at a part that no runner has begun, as far as known."""

    parts: PartSet
    part: int
    number: int

    def begin(self, store: Store, runner: RunnerIdentity) -> Attempt | None:
        """Write its start; None if another runner has written it."""
        return Attempt.begin(store, self.parts, self.part, self.number, runner)


class PartBoard:
    """What one runner knows of the parts of a job; read again when it runs out of work.

    Args:
        store: store of the job.
        job: the job.
        runner: identity that decides the order, so that runners begin at different parts.
        unfinished: names of parts whose journals are on this machine, as `PartSet.local_name`.
    """

    def __init__(
        self,
        store: Store,
        job: PartedJob,
        runner: RunnerIdentity,
        *,
        unfinished: Iterable[str] = (),
    ) -> None:
        self._store, self._job, self._runner = store, job, runner
        self._unfinished = set(unfinished)
        self._sets: list[PartSet] = []
        self._committed: list[set[int]] = []
        self._attempts: list[dict[int, int]] = []
        self._owners: list[dict[int, RunnerIdentity]] = []
        self._misses = 0
        self._seen = {runner.nonce}
        self.refresh()

    def refresh(self) -> None:
        """Read which parts were begun and which are committed."""
        self._sets = read_part_sets(self._store, self._job)
        # Starts first: a part that is committed in between has both.
        self._attempts = [list_attempts(self._store, parts) for parts in self._sets]
        self._committed = [set(list_committed(self._store, parts)) for parts in self._sets]
        self._owners = [self._read_owners(at) for at in range(len(self._sets))]
        self._seen |= {owner.nonce for owners in self._owners for owner in owners.values()}
        self._misses = 0

    def _read_owners(self, at: int) -> dict[int, RunnerIdentity]:
        """Return who began the last attempt at each part without a commit."""
        begun = {n: a for n, a in self._attempts[at].items() if n not in self._committed[at]}
        names = [self._sets[at].attempt_name("starts", *each) for each in begun.items()]
        found = (parse_runner(data or b"") for _, data in read_many(self._store, names))
        pairs = zip(begun, found, strict=True)
        return {part: runner for part, runner in pairs if runner is not None}

    @property
    def parts(self) -> int:
        """Number of parts, retries included."""
        return sum(parts.parts for parts in self._sets)

    @property
    def committed(self) -> int:
        """Number of parts with a commit, as far as known."""
        return sum(map(len, self._committed))

    @property
    def runners(self) -> int:
        """Number of runners that had a part under way at a moment when this one looked."""
        return len(self._seen)

    @property
    def open(self) -> int:
        """Number of parts that were begun and have no commit, as far as known."""
        pairs = zip(self._attempts, self._committed, strict=True)
        return sum(len(set(begun) - committed) for begun, committed in pairs)

    def note_committed(self, attempt: Attempt | Offer) -> None:
        """Note that a part has a commit."""
        self._committed[self._sets.index(attempt.parts)].add(attempt.part)

    def take(self) -> Attempt | None:
        """Begin an attempt at the next part; None if every part has a commit."""
        while (offer := self.choose()) is not None:
            self.note_begun(offer)
            attempt = offer.begin(self._store, self._runner)
            if attempt is not None:
                return attempt
            self._misses += 1
            if self._misses >= _MISSES_UNTIL_REFRESH:
                self.refresh()
        return None

    def choose(self, busy: Collection[Offer] = ()) -> Offer | None:
        """Return the next attempt, without beginning it; None if nothing is left.

        Args:
            busy: attempts under way, at whose parts no other one is wanted.
        """
        for at, part in self._in_order():
            if self._is_left_here(at, part):
                return self._offer(at, part)
        for at, part in self._in_order():
            if part not in self._attempts[at]:
                return Offer(parts=self._sets[at], part=part, number=1)
        self.refresh()
        running = {(self._sets.index(offer.parts), offer.part) for offer in busy}
        # The fewest attempts first.
        begun = sorted(self._in_order(), key=lambda each: self._attempts[each[0]].get(each[1], 0))
        for at, part in begun:
            if (at, part) not in running:
                return self._offer(at, part)
        return None

    def again(self, lost: Offer) -> Offer | None:
        """Return the next attempt at a part whose runner died; None if it has a commit."""
        self.refresh()
        at = self._sets.index(lost.parts)
        return None if lost.part in self._committed[at] else self._offer(at, lost.part)

    def note_begun(self, offer: Offer) -> None:
        """Note that an attempt is begun, by whomever."""
        self._attempts[self._sets.index(offer.parts)][offer.part] = offer.number

    def _is_left_here(self, at: int, part: int) -> bool:
        """Return whether the last attempt at a part died on this machine; True only once."""
        name = self._sets[at].local_name(part)
        owner = self._owners[at].get(part)
        if name not in self._unfinished or owner is None or owner.host != self._runner.host:
            return False
        self._unfinished.remove(name)
        # A process of before a restart of the machine, or of the container, is gone, too.
        return owner.is_known_to_be_dead or owner.boot != self._runner.boot

    def _offer(self, at: int, part: int) -> Offer:
        number = self._attempts[at].get(part, 0) + 1
        return Offer(parts=self._sets[at], part=part, number=number)

    def _in_order(self) -> Iterator[tuple[int, int]]:
        """Yield parts without a commit, in the order of this runner."""
        every = [(at, part) for at, parts in enumerate(self._sets) for part in parts.numbers()]
        hashed = hashlib.blake2b(self._runner.nonce.encode(), digest_size=8).digest()
        start = int.from_bytes(hashed, "big") % max(1, len(every))
        for at, part in (*every[start:], *every[:start]):
            if part not in self._committed[at]:
                yield at, part
