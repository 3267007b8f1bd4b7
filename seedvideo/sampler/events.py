"""Brief events in a video: new content that appears in a part of the picture, and its end.

In each thumbnail, blocks of high novelty (`seedvideo.sampler.novelty`) that touch each other are
one event. Several events may begin at one moment in different parts of the picture.

Separate from `seedvideo.sampler.novelty`, which would exceed 500 lines with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.block_features import Floats

EVENT_THRESHOLD: Final = 8.0
"""Minimum novelty of an event, in robust deviations."""

_MAX_EVENTS_AT_ONCE: Final = 4
"""Maximum number of events that begin in one thumbnail; the strongest are kept."""

_RETURN_FRACTION: Final = 0.3
"""Fraction of a change up to which a block counts as restored."""

_MERGE_S: Final = 0.25
"""Time within which new content at one place belongs to one event."""

_MERGE_BLOCKS: Final = 3
"""Maximum distance of the blocks of one event, in rows and columns."""

_MAX_SEARCH_S: Final = 10.0
"""Maximum time to search for the end of an event; empirical."""


@dataclass(frozen=True)
class NoveltyEvent:
    """New content in part of the picture.

    Args:
        frame_index: first thumbnail that shows it.
        strength: novelty of that thumbnail.
        end_index: first thumbnail without it, if the end was observed.
        area_fraction: fraction of the picture area that it covers; 1 for a flash.
        last_index: last thumbnail that shows it, if the end was observed.
    """

    frame_index: int
    strength: float
    end_index: int | None
    area_fraction: float
    last_index: int | None = None


@dataclass(frozen=True)
class _Place:
    """Where and when an event was last seen to begin: its block, and its index among the events."""

    row: int
    column: int
    time_s: float
    event: int

    def is_near(self, row: int, column: int) -> bool:
        return max(abs(self.row - row), abs(self.column - column)) <= _MERGE_BLOCKS


class EventRecorder:
    """Recorder of events; `events` grows in order of time.

    Args:
        grid: rows and columns of blocks of a thumbnail.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        self.events: list[NoveltyEvent] = []
        self._grid = grid
        self._recent: list[_Place] = []
        self._ends: dict[int, list[int]] = {}

    def record(
        self,
        i: int,
        scores: Floats,
        *,
        frame_indices: Sequence[int],
        times: npt.NDArray[np.float64],
        features: Floats,
        changes: Floats,
    ) -> None:
        """Record the events that begin in one thumbnail.

        Args:
            i: row of the thumbnail in the tables below.
            scores: novelty of each feature of its blocks, ``(B,)``.
            frame_indices: frame of each thumbnail.
            times: time of each thumbnail in seconds.
            features: block features, ``(N, B)``.
            changes: their changes since the previous thumbnail, without those of the light.
        """
        ended = self._ends.pop(frame_indices[i], [])
        if float(scores.max()) < EVENT_THRESHOLD:
            return
        time_s = float(times[i])
        self._recent = [each for each in self._recent if time_s - each.time_s < _MERGE_S]
        for blocks, feature in self._parts(scores):
            if any(blocks[cell] for cell in ended):
                continue  # The end of an event is not another event.
            strength = float(scores[feature])
            strong = scores.reshape(2, -1)[:, blocks] > max(EVENT_THRESHOLD, strength / 4)
            area_fraction = float(strong.sum()) / len(scores)
            row, column = divmod(feature % len(blocks), self._grid[1])
            before = next((each for each in self._recent if each.is_near(row, column)), None)
            if before is not None:
                # Encoders sharpen new content over a few frames.
                last = self.events[before.event]
                self.events[before.event] = replace(
                    last,
                    strength=max(last.strength, strength),
                    area_fraction=max(last.area_fraction, area_fraction),
                )
                continue
            end = _find_end(i, feature, times=times, features=features, change=changes[i])
            if end is not None:
                self._ends.setdefault(frame_indices[end], []).append(feature % len(blocks))
            self._recent.append(_Place(row, column, time_s, len(self.events)))
            self.events.append(
                NoveltyEvent(
                    frame_indices[i],
                    strength,
                    None if end is None else frame_indices[end],
                    area_fraction,
                    None if end is None else frame_indices[end - 1],
                )
            )

    def _parts(self, scores: Floats) -> list[tuple[npt.NDArray[np.bool_], int]]:
        """Return the strongest connected parts of high novelty.

        Returns:
            ``(blocks, feature)`` of each, strongest first: a mask ``(B / 2,)`` of its blocks, and
            its feature of the highest novelty.
        """
        import cv2  # Heavy; only needed for decoded pictures.

        both = scores.reshape(2, -1)
        highest = both.max(axis=0)
        mask = (highest >= EVENT_THRESHOLD).astype(np.uint8).reshape(self._grid)
        count, labels = cv2.connectedComponents(mask, connectivity=8)
        flat = labels.reshape(-1)
        parts = []
        for label in range(1, count):
            blocks = flat == label
            cell = int(np.where(blocks, highest, -1.0).argmax())
            half = int(both[1, cell] > both[0, cell])
            parts.append((blocks, half * len(highest) + cell))
        parts.sort(key=lambda part: (-scores[part[1]], part[1]))
        return parts[:_MAX_EVENTS_AT_ONCE]


def _find_end(
    i: int,
    feature: int,
    *,
    times: npt.NDArray[np.float64],
    features: Floats,
    change: Floats,
) -> int | None:
    """Find the thumbnail at which the change of a block is reverted."""
    size = float(change[feature])
    before = float(features[i][feature]) - size
    last = int(np.searchsorted(times, times[i] + _MAX_SEARCH_S, side="right"))
    restored = np.abs(features[i + 1 : last, feature] - before) < _RETURN_FRACTION * abs(size)
    return i + 1 + int(restored.argmax()) if restored.any() else None
