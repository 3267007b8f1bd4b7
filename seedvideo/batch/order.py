"""Clips that wait until it is settled whether they repeat a clip before them.

A clip is decided once each before it in the job's order has been seen or has failed: so the same
ones stay whatever was decoded first, with any number of processes, and after any resume. Where no
duplicates are left out, every clip is decided at once.
"""

from collections.abc import Iterator

from seedvideo.batch.crew import Clip
from seedvideo.batch.duplicates import Repeat, SeenClip, asked_about
from seedvideo.batch.filters import Refused
from seedvideo.batch.job import NO_FILTERS, Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.likeness import Signature
from seedvideo.batch.signatures import Signatures
from seedvideo.writers.inert import printable


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
