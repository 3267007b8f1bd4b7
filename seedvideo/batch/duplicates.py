"""Which clips repeat an earlier one: by their bytes, or by what they show.

The first of them in the job's order stays, whatever was decoded first. A clip is compared with
those that stay, never with one that was left out: where b is like a, and c is like b but not like
a, both a and c stay.

Clips that wait until it is settled whether they repeat a clip before them.

A clip is decided once each before it in the job's order has been seen or has failed: so the same
ones stay whatever was decoded first, with any number of processes, and after any resume. Where no
duplicates are left out, every clip is decided at once.

Signatures of a job's clips, in its journal: repeats are found by them after a resume too.

Only jobs that leave out duplicates have any. Knows no pictures.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from seedvideo.batch.filters import Refused
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import NO_FILTERS, Filters, Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import key_of
from seedvideo.batch.journal_schema import damaged
from seedvideo.batch.processes import Clip
from seedvideo.batch.similarity import SIGNATURE_VERSION, NearIndex, Signature, near_distance
from seedvideo.utils.text import printable

EXACT: Final = "exact_duplicates"
NEAR: Final = "near_duplicates"
RULES: Final = (EXACT, NEAR, "duplicates")
"""Names of the rules; the last one is of journals before version 2."""


@dataclass(frozen=True, kw_only=True)
class SeenClip:
    """A clip that is compared.

    Args:
        place: in the job's order.
        asked: names what is asked about it: only clips of which the same is asked are compared.
        fingerprint: of its record: the same bytes, the same part, asked the same.
        signature: of its pictures; None where only bytes are compared.
    """

    place: int
    asked: str
    fingerprint: str
    signature: Signature | None = None


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """What a clip repeats.

    Args:
        rule: `EXACT` or `NEAR`.
        place: of the clip that stays, in the job's order.
        distance_levels: between near duplicates; None for the same bytes.
    """

    rule: str
    place: int
    distance_levels: float | None = None

    def told(self, kept_id: str) -> str:
        """For people, with the name of the clip that stays."""
        if self.distance_levels is None:
            return f"the same bytes as {kept_id}"
        return f"differs from {kept_id} by {self.distance_levels:.2f} grey levels on average"


class Duplicates:
    """The clips of a job that stay, so far.

    Args:
        rules: of the job.
        signature_at: gives the signature of a clip that stays by its place in the job's order.
    """

    def __init__(self, rules: Filters, signature_at: Callable[[int], Signature]) -> None:
        self._rules = rules
        self._signature_at = signature_at
        self._by_fingerprint: dict[bytes, int] = {}
        self._index = NearIndex(rules.near_levels)

    def keep(self, clip: SeenClip) -> None:
        """Note a clip that stays."""
        if self._rules.drops_exact:
            key = bytes.fromhex(clip.fingerprint)
            first = self._by_fingerprint.get(key, clip.place)
            self._by_fingerprint[key] = min(first, clip.place)
        if self._rules.drops_near and clip.signature is not None:
            self._index.add(clip.place, clip.asked, clip.signature)

    def first_like(self, clip: SeenClip) -> Repeat | None:
        """What a clip repeats: the first in the job's order, the same bytes before all others."""
        if self._rules.drops_exact:
            place = self._by_fingerprint.get(bytes.fromhex(clip.fingerprint))
            if place is not None and place < clip.place:
                return Repeat(rule=EXACT, place=place)
        if self._rules.drops_near and clip.signature is not None:
            for place in self._index.candidates(clip.asked, clip.signature):
                if place >= clip.place:
                    break
                kept = self._signature_at(place)
                distance = near_distance(clip.signature, kept, self._rules.near_levels)
                if distance is not None:
                    return Repeat(rule=NEAR, place=place, distance_levels=distance)
        return None


def asked_about(job: Job, item: Item) -> str:
    """Names the words that are asked about a clip."""
    told = "\0".join(
        [
            item.question or job.question,
            *(item.options or job.options),
            item.query or job.query,
        ]
    )
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


_REPEATS: Final = f"state = 'filtered' AND rule IN ({', '.join(repr(rule) for rule in RULES)})"

# What is to be done again will be seen again; others are not measured by a clip that is left out
# as a repeat.
_KEPT: Final = (
    "SELECT place, asked, signatures.fingerprint, duration_s, signature FROM signatures JOIN items"
    " ON items.id = signatures.id WHERE place IS NOT NULL AND state NOT IN ('pending', 'running')"
    f" AND NOT ({_REPEATS}) AND version = ? ORDER BY place"
)
_ONE: Final = (
    "SELECT duration_s, signature FROM items JOIN signatures ON items.id = signatures.id"
    " WHERE place = ?"
)
# A record is kept, and used again once its clip is compared.
_NEVER_COMPARED: Final = (
    "UPDATE items SET state = 'pending', tries = 0, interrupted = 0 WHERE place IS NOT NULL AND"
    f" (state = 'done' OR {_REPEATS}) AND id NOT IN (SELECT id FROM signatures WHERE version = ?)"
)


class Signatures:
    """The signatures of one job.

    Clips that were never compared by signatures of this version become pending: those of a journal
    that an older version wrote. Repeats are found in the order of the input, so items that a dead
    job had under way are not left for last here.

    Args:
        journal: of the job, opened to write.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        with journal.transaction() as tables:
            tables.execute("UPDATE items SET interrupted = 0 WHERE state = 'pending'")
            tables.execute(_NEVER_COMPARED, (SIGNATURE_VERSION,))
        journal.count_again()

    def begin(self, item_id: str) -> int:
        """Forget what an item showed before; returns where it stands in the input."""
        key = (key_of(item_id),)
        with self._journal.transaction() as tables:
            tables.execute("DELETE FROM signatures WHERE id = ?", key)
            row = tables.execute("SELECT place FROM items WHERE id = ?", key).fetchone()
        return int(row[0])

    def id_at(self, place: int) -> str:
        """The item that stands at a place."""
        with self._journal.transaction() as tables:
            row = tables.execute("SELECT id FROM items WHERE place = ?", (place,)).fetchone()
        return bytes(row[0]).decode("utf-8", "surrogatepass")

    def at(self, place: int) -> Signature:
        """The signature of the clip at a place."""
        with self._journal.transaction() as tables:
            duration_s, packed = tables.execute(_ONE, (place,)).fetchone()
        return self._read(duration_s, packed)

    def kept(self, rules: Filters) -> Duplicates:
        """The clips with a verdict that others are measured by."""
        found = Duplicates(rules, self.at)
        with self._journal.transaction() as tables:
            for place, asked, fingerprint, duration_s, packed in tables.execute(
                _KEPT, (SIGNATURE_VERSION,)
            ):
                signature = None if packed is None else self._read(duration_s, packed)
                found.keep(
                    SeenClip(place=place, asked=asked, fingerprint=fingerprint, signature=signature)
                )
        return found

    def _read(self, duration_s: float, packed: bytes) -> Signature:
        try:
            return Signature.from_bytes(duration_s, packed)
        except (ValueError, TypeError) as error:
            raise damaged(self._journal.folder, str(error)) from error

    def note(self, item_id: str, clip: SeenClip) -> None:
        """Keep the signature of a clip."""
        signature = clip.signature
        with self._journal.transaction() as tables:
            tables.execute(
                "INSERT OR REPLACE INTO signatures VALUES (?, ?, ?, ?, ?, ?)",
                (
                    key_of(item_id),
                    clip.fingerprint,
                    clip.asked,
                    0.0 if signature is None else signature.duration_s,
                    SIGNATURE_VERSION,
                    None if signature is None else signature.to_bytes(),
                ),
            )


class Order:
    """The clips of one run.

    Args:
        journal: of the job, opened to write.
        job: what is asked.

    Attributes:
        takes_all: whether the job leaves nothing out.
    """

    def __init__(self, journal: Journal, job: Job) -> None:
        self.takes_all = job.filters == NO_FILTERS
        self._job = job
        compares = job.filters.drops_exact or job.filters.drops_near
        self._signatures = Signatures(journal) if compares else None
        self._kept = None if self._signatures is None else self._signatures.kept(job.filters)
        self._places: dict[str, int] = {}
        self._unseen: set[int] = set()
        self._held: dict[int, Clip] = {}

    def begin(self, clip: Clip) -> None:
        """A clip was taken: those after it wait for it."""
        if self._signatures is not None:
            place = self._places[clip.id] = self._signatures.begin(clip.id)
            self._unseen.add(place)

    def again(self, clip: Clip) -> None:
        """A clip has failed and is to be taken again: those after it go on waiting."""

    def settle(self, clip: Clip) -> None:
        """A clip has its verdict: nothing waits for it any more."""
        if self._signatures is not None:
            self._unseen.discard(self._places.pop(clip.id))

    def repeats_bytes(self, clip: Clip) -> Refused | None:
        """Why a clip is left out before it is opened, once its fingerprint is known.

        Another clip with the same bytes stays, so everything seen in this one was judged there.
        Where that is not settled yet, `decided` finds it later, with the same outcome.
        """
        if self._signatures is None or self._kept is None:
            return None
        seen = self._seen(clip, self._places[clip.id], None)
        repeat = self._kept.first_like(seen)
        if repeat is None:
            return None
        self._signatures.note(clip.id, seen)
        return self._refused(repeat, self._signatures)

    def hold(self, clip: Clip) -> None:
        """A clip is prepared, and is to be compared."""
        place = self._places.get(clip.id, len(self._held))
        self._held[place] = clip

    def decided(self) -> Iterator[tuple[Clip, Refused | None]]:
        """Clips that wait no longer, each with why it is left out if it repeats one before it."""
        while self._held:
            place = min(self._held)
            if self._unseen and min(self._unseen) < place:
                return
            clip = self._held.pop(place)
            self._unseen.discard(place)
            yield clip, self._repeats(clip, place)

    def _repeats(self, clip: Clip, place: int) -> Refused | None:
        if self._signatures is None or self._kept is None:
            return None
        values = clip.prepared["signature"]
        signature = None if values is None else Signature.from_values(values)
        seen = self._seen(clip, place, signature)
        self._signatures.note(clip.id, seen)
        repeat = self._kept.first_like(seen)
        if repeat is None:
            self._kept.keep(seen)
            return None
        return self._refused(repeat, self._signatures)

    def _seen(self, clip: Clip, place: int, signature: Signature | None) -> SeenClip:
        assert clip.fingerprint is not None
        return SeenClip(
            place=place,
            asked=asked_about(self._job, clip.item),
            fingerprint=clip.fingerprint,
            signature=signature,
        )

    @staticmethod
    def _refused(repeat: Repeat, signatures: Signatures) -> Refused:
        return Refused(repeat.rule, repeat.told(printable(signatures.id_at(repeat.place))))
