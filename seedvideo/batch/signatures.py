"""Signatures of a job's clips, in its journal: duplicates are found by them after a resume too.

Only jobs that leave out duplicates have any. Knows no pictures.
"""

from seedvideo.batch.filters import Duplicates, SeenClip
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import key_of

# What is to be done again will be seen again; a duplicate is none that others are measured by.
_KEPT = (
    "SELECT place, items.id, asked, duration_s, signature FROM signatures JOIN items"
    " ON items.id = signatures.id WHERE place IS NOT NULL AND state NOT IN ('pending', 'running')"
    " AND NOT (state = 'filtered' AND rule = 'duplicates') ORDER BY place"
)


class Signatures:
    """The signatures of one job.

    Duplicates are told in the order of the input, so items that a dead job had under way are not
    left for last here.

    Args:
        journal: of the job, opened to write.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        with journal.transaction() as tables:
            tables.execute("UPDATE items SET interrupted = 0 WHERE state = 'pending'")

    def place(self, item_id: str) -> int:
        """Where an item stands in the input."""
        with self._journal.transaction() as tables:
            row = tables.execute(
                "SELECT place FROM items WHERE id = ?", (key_of(item_id),)
            ).fetchone()
        return int(row[0])

    def kept(self) -> Duplicates:
        """The clips with a verdict that others are measured by."""
        with self._journal.transaction() as tables:
            rows = tables.execute(_KEPT).fetchall()
        return Duplicates(
            [
                SeenClip(place, id_bytes.decode("utf-8", "surrogatepass"), asked, long_s, signature)
                for place, id_bytes, asked, long_s, signature in rows
            ]
        )

    def note(self, clip: SeenClip) -> None:
        """Keep the signature of a clip."""
        with self._journal.transaction() as tables:
            tables.execute(
                "INSERT OR REPLACE INTO signatures VALUES (?, ?, ?, ?)",
                (key_of(clip.id), clip.asked, clip.duration_s, clip.signature),
            )
