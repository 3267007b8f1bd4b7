"""What frames cost to decode, counted in packets, before any of them is decoded.

A frame is decoded from a keyframe on: every packet from there to its own, in the order in which
they are stored. Frames of one group of pictures share what they have in common. Decoders may leave
out pictures that no other refers to, so this is what sound streams need at most; it is too low
where a keyframe is none (intra refresh), or nothing can be sought (AVI with reordered pictures).
Knows ranks of frames and places of packets; no file, no times and no plan.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DecodeCosts:
    """Costs of the frames of a video, or of a window of it; `decode_costs` makes them.

    Args:
        entries: ``(N,)``, place of the packet at which decoding must begin for each frame.
        places: ``(N,)``, place of its own packet among those of the stream.
        keyframes: ``(K,)``, the frames from which decoding may begin, rising.
        video_frames: frames of the whole video.
    """

    entries: Integers
    places: Integers
    keyframes: Integers
    video_frames: int

    def within(self, frames: range) -> "DecodeCosts":
        """The costs of consecutive frames, counted from 0. What they need may lie before them."""
        keys = self.keyframes
        return replace(
            self,
            entries=self.entries[frames.start : frames.stop],
            places=self.places[frames.start : frames.stop],
            keyframes=keys[(keys >= frames.start) & (keys < frames.stop)] - frames.start,
        )

    def span(self, frame: int) -> tuple[int, int]:
        """Places ``[first, after)`` of the packets that a frame needs."""
        return int(self.entries[frame]), int(self.places[frame]) + 1

    def of(self, frames: Iterable[int]) -> int:
        """Packets that must be decoded for all of these frames."""
        total, reached = 0, 0
        for first, after in sorted(self.span(frame) for frame in frames):
            total += max(0, after - max(first, reached))
            reached = max(reached, after)
        return total


def decode_costs(places: Sequence[int], keyframes: Sequence[int]) -> DecodeCosts:
    """The costs of all frames of a video.

    Args:
        places: of each frame's packet among those of the stream, by rising time of the frames.
        keyframes: ranks of the frames from which decoding may begin, rising.

    Raises:
        ValueError: if there are no frames, or a keyframe is none of them.
    """
    stored = np.asarray(places, np.int64)
    keys = np.asarray(keyframes, np.int64)
    if not len(stored) or (len(keys) and not 0 <= keys.min() <= keys.max() < len(stored)):
        raise ValueError(f"{len(keys)} keyframes are no ranks of {len(stored)} frames")
    return DecodeCosts(_entries(stored, keys), stored, keys, len(stored))


def _entries(places: Integers, keys: Integers) -> Integers:
    """Place of the packet at which decoding must begin for each frame.

    A leading picture of an open group is stored after its keyframe, is shown before it, and refers
    to the group before: it takes one keyframe more. What no keyframe precedes, as where the stream
    marks none, is decoded from the first packet on.
    """
    if not len(keys):
        return np.full_like(places, places.min())
    keys = keys[np.argsort(places[keys])]
    group = np.searchsorted(places[keys], places, side="right") - 1
    shown = np.arange(len(places))
    while (leading := (group > 0) & (keys[group] > shown)).any():
        group = group - leading
    starts = np.concatenate([places[keys], [places.min()]])
    return starts[group]  # The last of the starts belongs to -1, no group.
