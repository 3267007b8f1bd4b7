"""Signatures of a job's clips, in its journal: repeats are found by them after a resume too.

Only jobs that leave out duplicates have any. Knows no pictures.
"""

from typing import Final

from seedvideo.batch.duplicates import RULES, Duplicates, SeenClip
from seedvideo.batch.job import Filters
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import key_of
from seedvideo.batch.journal_schema import damaged
from seedvideo.batch.likeness import SIGNATURE_VERSION, Signature

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
