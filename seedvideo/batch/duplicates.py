"""Which clips repeat an earlier one: by their bytes, or by what they show.

The first of them in the job's order stays, whatever was decoded first. A clip is compared with
those that stay, never with one that was left out: where b is like a, and c is like b but not like
a, both a and c stay.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from seedvideo.batch.item import Item
from seedvideo.batch.job import Filters, Job
from seedvideo.batch.likeness import Signature, near_distance
from seedvideo.batch.near_index import NearIndex

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
