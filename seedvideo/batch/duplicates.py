"""Exact and near-duplicate clips of a job, decided in the order of its input.

The first clip of a group stays, whichever was decoded first. A clip is compared with clips that
stay, never with one that was left out: if b is like a, and c is like b but not like a, both a and
c stay. A clip is decided once each clip before it in the job's order has been compared or has
failed. So the same clips stay with any number of processes and after any resume. A job that leaves
out no duplicates decides every clip at once.

The signatures are stored in the journal, so that duplicates are found after a resume, too.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from seedvideo.batch.filters import Rejection
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import DEFAULT_FILTERS, Filters, Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import encode_id
from seedvideo.batch.journal_schema import damaged_error
from seedvideo.batch.processes import InFlightItem
from seedvideo.batch.similarity import SIGNATURE_VERSION, NearIndex, Signature, near_distance
from seedvideo.utils.text import printable

EXACT: Final = "exact_duplicates"
NEAR: Final = "near_duplicates"
RULES: Final = (EXACT, NEAR, "duplicates")
"""Names of the rules; the last one is of journals before version 2."""


@dataclass(frozen=True, kw_only=True)
class ComparedClip:
    """A clip to compare.

    Args:
        position: position in the job's order.
        task_key: key of its question, options and query: only clips with the same key are compared.
        fingerprint: cache key of its record: same bytes, same window, same task.
        signature: signature of its frames; None if only bytes are compared.
    """

    position: int
    task_key: str
    fingerprint: str
    signature: Signature | None = None


@dataclass(frozen=True, kw_only=True)
class DuplicateMatch:
    """An earlier clip that a clip duplicates.

    Args:
        rule: `EXACT` or `NEAR`.
        position: position of the clip that stays, in the job's order.
        distance_levels: distance of near-duplicates in grey levels; None for the same bytes.
    """

    rule: str
    position: int
    distance_levels: float | None = None

    def describe(self, kept_id: str) -> str:
        """Return a message for people with the id of the clip that stays."""
        if self.distance_levels is None:
            return f"the same bytes as {kept_id}"
        return f"differs from {kept_id} by {self.distance_levels:.2f} grey levels on average"


_SAME_BYTES: Final = re.compile("the same bytes as (?P<kept>.*)", re.DOTALL)
_DIFFERS: Final = re.compile(
    r"differs from (?P<kept>.*) by (?P<levels>\d+\.\d\d) grey levels on average", re.DOTALL
)


def parse_duplicate(rule: str, message: str) -> tuple[str, float] | None:
    """Parse the verdict of a duplicate, which `DuplicateMatch.describe` wrote.

    Returns:
        Id of the clip that stays, in printable form, and the distance in grey levels, 0 for the
        same bytes; None for the verdict of another rule.
    """
    if rule not in RULES:
        return None
    if found := _SAME_BYTES.fullmatch(message):
        return found["kept"], 0.0
    found = _DIFFERS.fullmatch(message)
    return None if found is None else (found["kept"], float(found["levels"]))


class DuplicateIndex:
    """The clips of a job that stay, so far.

    Args:
        rules: filters of the job.
        get_signature: returns the signature of a clip that stays, by its position.
    """

    def __init__(self, rules: Filters, get_signature: Callable[[int], Signature]) -> None:
        self._rules = rules
        self._get_signature = get_signature
        self._by_fingerprint: dict[bytes, int] = {}
        self._index = NearIndex(rules.near_levels)

    def add(self, clip: ComparedClip) -> None:
        """Add a clip that stays."""
        if self._rules.drops_exact:
            key = bytes.fromhex(clip.fingerprint)
            first = self._by_fingerprint.get(key, clip.position)
            self._by_fingerprint[key] = min(first, clip.position)
        if self._rules.drops_near and clip.signature is not None:
            self._index.add(clip.position, clip.task_key, clip.signature)

    def find_duplicate(self, clip: ComparedClip) -> DuplicateMatch | None:
        """Return the first clip that a clip duplicates; the same bytes take precedence."""
        if self._rules.drops_exact:
            position = self._by_fingerprint.get(bytes.fromhex(clip.fingerprint))
            if position is not None and position < clip.position:
                return DuplicateMatch(rule=EXACT, position=position)
        if self._rules.drops_near and clip.signature is not None:
            for position in self._index.candidates(clip.task_key, clip.signature):
                if position >= clip.position:
                    break
                stored = self._get_signature(position)
                distance = near_distance(clip.signature, stored, self._rules.near_levels)
                if distance is not None:
                    return DuplicateMatch(rule=NEAR, position=position, distance_levels=distance)
        return None


def task_key(job: Job, item: Item) -> str:
    """Return a key of the question, options and query of a clip."""
    text = "\0".join(
        [
            item.question or job.question,
            *(item.options or job.options),
            item.query or job.query,
        ]
    )
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


_IS_DUPLICATE: Final = f"state = 'filtered' AND rule IN ({', '.join(repr(rule) for rule in RULES)})"

# Pending clips will be compared again; clips that were left out as duplicates are not compared with
# others.
_SELECT_KEPT: Final = (
    "SELECT place, asked, signatures.fingerprint, duration_s, signature FROM signatures JOIN items"
    " ON items.id = signatures.id WHERE place IS NOT NULL AND state NOT IN ('pending', 'running')"
    f" AND NOT ({_IS_DUPLICATE}) AND version = ? ORDER BY place"
)
_SELECT_SIGNATURE: Final = (
    "SELECT duration_s, signature FROM items JOIN signatures ON items.id = signatures.id"
    " WHERE place = ?"
)
# The records are kept, and reused once their clips have been compared.
_RESET_UNCOMPARED: Final = (
    "UPDATE items SET state = 'pending', tries = 0, interrupted = 0 WHERE place IS NOT NULL AND"
    f" (state = 'done' OR {_IS_DUPLICATE})"
    " AND id NOT IN (SELECT id FROM signatures WHERE version = ?)"
)


class SignatureStore:
    """Stored signatures of one job.

    Clips without a signature of this version, as in the journal of an older seedvideo, become
    pending. Duplicates are decided in the order of the input, so items in flight at the death of a
    job are not claimed last here.

    Args:
        journal: journal of the job, opened to write.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        with journal.transaction() as tables:
            tables.execute("UPDATE items SET interrupted = 0 WHERE state = 'pending'")
            tables.execute(_RESET_UNCOMPARED, (SIGNATURE_VERSION,))
        journal.recount()

    def reset(self, item_id: str) -> int:
        """Delete the signature of an item and return its position in the input."""
        key = (encode_id(item_id),)
        with self._journal.transaction() as tables:
            tables.execute("DELETE FROM signatures WHERE id = ?", key)
            row = tables.execute("SELECT place FROM items WHERE id = ?", key).fetchone()
        return int(row[0])

    def id_at(self, position: int) -> str:
        """Return the id of the item at a position."""
        with self._journal.transaction() as tables:
            row = tables.execute("SELECT id FROM items WHERE place = ?", (position,)).fetchone()
        return bytes(row[0]).decode("utf-8", "surrogatepass")

    def get(self, position: int) -> Signature:
        """Return the signature of the clip at a position."""
        with self._journal.transaction() as tables:
            duration_s, packed = tables.execute(_SELECT_SIGNATURE, (position,)).fetchone()
        return self._read(duration_s, packed)

    def load_index(self, rules: Filters) -> DuplicateIndex:
        """Return the index of the clips that stay."""
        found = DuplicateIndex(rules, self.get)
        with self._journal.transaction() as tables:
            for position, key_text, fingerprint, duration_s, packed in tables.execute(
                _SELECT_KEPT, (SIGNATURE_VERSION,)
            ):
                signature = None if packed is None else self._read(duration_s, packed)
                found.add(
                    ComparedClip(
                        position=position,
                        task_key=key_text,
                        fingerprint=fingerprint,
                        signature=signature,
                    )
                )
        return found

    def _read(self, duration_s: float, packed: bytes) -> Signature:
        try:
            return Signature.from_bytes(duration_s, packed)
        except (ValueError, TypeError) as error:
            raise damaged_error(self._journal.folder, str(error)) from error

    def save(self, item_id: str, clip: ComparedClip) -> None:
        """Store the signature of a clip."""
        signature = clip.signature
        with self._journal.transaction() as tables:
            tables.execute(
                "INSERT OR REPLACE INTO signatures VALUES (?, ?, ?, ?, ?, ?)",
                (
                    encode_id(item_id),
                    clip.fingerprint,
                    clip.task_key,
                    0.0 if signature is None else signature.duration_s,
                    SIGNATURE_VERSION,
                    None if signature is None else signature.to_bytes(),
                ),
            )


class DuplicateGate:
    """Gate that holds each clip until all clips before it are decided.

    Args:
        journal: journal of the job, opened to write.
        job: settings of the job.

    Attributes:
        accepts_all: whether the job has no filters.
    """

    def __init__(self, journal: Journal, job: Job) -> None:
        self.accepts_all = job.filters == DEFAULT_FILTERS
        self._job = job
        compares = job.filters.drops_exact or job.filters.drops_near
        self._signatures = SignatureStore(journal) if compares else None
        self._index = None if self._signatures is None else self._signatures.load_index(job.filters)
        self._positions: dict[str, int] = {}
        self._undecided: set[int] = set()
        self._held: dict[int, InFlightItem] = {}

    def begin(self, clip: InFlightItem) -> None:
        """Register a claimed clip: later ones wait for it, also while it is retried."""
        if self._signatures is not None:
            position = self._positions[clip.id] = self._signatures.reset(clip.id)
            self._undecided.add(position)

    def finish(self, clip: InFlightItem) -> None:
        """Remove a clip that has an outcome: no clip waits for it."""
        if self._signatures is not None:
            self._undecided.discard(self._positions.pop(clip.id))

    def find_exact_duplicate(self, clip: InFlightItem) -> Rejection | None:
        """Return a rejection if a clip's bytes are those of a clip that stays.

        Its frames need not be inspected: they were inspected there. If the other clip is not
        decided yet, `pop_decided` finds the duplicate later, with the same outcome.
        """
        if self._signatures is None or self._index is None:
            return None
        seen = self._to_compared_clip(clip, self._positions[clip.id], None)
        match = self._index.find_duplicate(seen)
        if match is None:
            return None
        self._signatures.save(clip.id, seen)
        return self._reject(match, self._signatures)

    def hold(self, clip: InFlightItem) -> None:
        """Hold a prepared clip until it can be compared."""
        position = self._positions.get(clip.id, len(self._held))
        self._held[position] = clip

    def pop_decided(self) -> Iterator[tuple[InFlightItem, Rejection | None]]:
        """Yield the clips that can be decided, each with a rejection if it is a duplicate."""
        while self._held:
            position = min(self._held)
            if self._undecided and min(self._undecided) < position:
                return
            clip = self._held.pop(position)
            self._undecided.discard(position)
            yield clip, self._find_duplicate(clip, position)

    def _find_duplicate(self, clip: InFlightItem, position: int) -> Rejection | None:
        if self._signatures is None or self._index is None:
            return None
        values = clip.prepared["signature"]
        signature = None if values is None else Signature.from_values(values)
        seen = self._to_compared_clip(clip, position, signature)
        self._signatures.save(clip.id, seen)
        match = self._index.find_duplicate(seen)
        if match is None:
            self._index.add(seen)
            return None
        return self._reject(match, self._signatures)

    def _to_compared_clip(
        self, clip: InFlightItem, position: int, signature: Signature | None
    ) -> ComparedClip:
        assert clip.fingerprint is not None
        return ComparedClip(
            position=position,
            task_key=task_key(self._job, clip.item),
            fingerprint=clip.fingerprint,
            signature=signature,
        )

    @staticmethod
    def _reject(match: DuplicateMatch, signatures: SignatureStore) -> Rejection:
        return Rejection(match.rule, match.describe(printable(signatures.id_at(match.position))))
