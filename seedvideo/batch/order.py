"""Clips that wait until it is settled that no clip before them looks the same.

A clip is decided once each before it in the job's order has been seen or has failed: so the same
ones stay whatever was decoded first, with any number of processes, and after any resume. Without
the filter for duplicates every clip is decided at once.
"""

from collections.abc import Iterator

from seedvideo.batch.crew import Clip
from seedvideo.batch.filters import NO_CLIPS, SeenClip, asked_about
from seedvideo.batch.job import NO_FILTERS, Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.signatures import Signatures


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
        self._signatures = Signatures(journal) if job.filters.duplicates else None
        self._kept = NO_CLIPS if self._signatures is None else self._signatures.kept()
        self._places: dict[str, int] = {}
        self._unseen: set[int] = set()
        self._held: dict[int, Clip] = {}

    def begin(self, clip: Clip) -> None:
        """A clip was taken: those after it wait for it."""
        if self._signatures is not None:
            place = self._places[clip.id] = self._signatures.place(clip.id)
            self._unseen.add(place)

    def again(self, clip: Clip) -> None:
        """A clip has failed and is to be taken again: those after it go on waiting."""

    def settle(self, clip: Clip) -> None:
        """A clip has its verdict: nothing waits for it any more."""
        if self._signatures is not None:
            self._unseen.discard(self._places.pop(clip.id))

    def hold(self, clip: Clip) -> None:
        """A clip is prepared, and is to be compared."""
        place = self._places.get(clip.id, len(self._held))
        self._held[place] = clip

    def decided(self) -> Iterator[tuple[Clip, str | None]]:
        """Clips that wait no longer, each with the id of the one before it that it looks like."""
        while self._held:
            place = min(self._held)
            if self._unseen and min(self._unseen) < place:
                return
            clip = self._held.pop(place)
            self._unseen.discard(place)
            yield clip, self._like(clip, place)

    def _like(self, clip: Clip, place: int) -> str | None:
        if self._signatures is None:
            return None
        seen = SeenClip(
            place=place,
            id=clip.id,
            asked=asked_about(self._job, clip.item),
            duration_s=clip.prepared["duration_s"],
            signature=bytes.fromhex(clip.prepared["signature"]),
        )
        self._signatures.note(seen)
        like = self._kept.first_like(seen)
        if like is None:
            self._kept.keep(seen)
            return None
        return like.id
