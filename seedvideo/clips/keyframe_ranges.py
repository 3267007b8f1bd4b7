"""Frames that can be copied for a window: from a keyframe on, complete and consecutive.

A copy begins with a keyframe, and its pictures may be stored in another order than they are shown.
So it rarely holds exactly the frames of a window: `copyable_frames` selects those nearest to it
inside the shot. A copy never shows another shot.

Separate from `seedvideo.clips.cutting`, which writes files.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

from seedvideo.clips.windows import ClipWindow
from seedvideo.media.types import PacketRange, not_copyable_error

_MAX_REORDERED: Final = 64
"""Frames around a keyframe that may be stored on its other side; codecs allow up to 32."""


def copyable_frames(
    window: ClipWindow,
    keyframes: Sequence[int],
    positions: Sequence[int],
    *,
    not_before: int,
    shot_frames: range,
    display_name: str,
) -> range | None:
    """Return the frames that a copy for a window holds; None if no keyframe is inside.

    It begins at the last keyframe at or before the start of the window, but not before the shot and
    ``not_before``; else at the first keyframe in the window. It ends with the window, or a few
    frames later if these are stored before the last frame of the window; if that would leave the
    shot, a few frames earlier.

    Args:
        window: the window.
        keyframes: indices of the keyframes, rising.
        positions: position of each frame's packet in storage order.
        not_before: first frame that the copy may hold.
        shot_frames: frames of the shot of the window.
        display_name: name of the video in messages.

    Raises:
        MediaError: ``media.not_copyable`` if pictures after the keyframe refer to pictures before
            it (an open GOP).
    """
    lowest = max(shot_frames.start, not_before)
    place = bisect_right(keyframes, window.frames.start) - 1
    if place < 0 or keyframes[place] < lowest:
        place = bisect_left(keyframes, max(lowest, window.frames.start))
    if place == len(keyframes) or keyframes[place] >= window.frames.stop:
        return None
    first = keyframes[place]
    before = positions[max(0, first - _MAX_REORDERED) : first]
    if any(position > positions[first] for position in before):
        raise not_copyable_error(
            display_name, "pictures after a keyframe refer to pictures before it (open GOP)"
        )
    end = window.frames.stop
    while end < shot_frames.stop and not _is_complete(positions, first, end):
        end += 1
    while end > first and not _is_complete(positions, first, end):
        end -= 1
    return range(first, end) if end > first else None


def packet_range(frames: range, positions: Sequence[int], *, display_name: str) -> PacketRange:
    """Return the packets of the frames of a copy.

    Args:
        frames: frames as `copyable_frames` returns them.
        positions: position of each frame's packet in storage order.
        display_name: name of the video in messages.

    Raises:
        MediaError: ``media.not_copyable`` if there are packets between them that no frame is shown
            for.
    """
    own = positions[frames.start : frames.stop]
    packets = PacketRange(min(own), max(own) + 1)
    if packets.end - packets.first != len(frames):
        raise not_copyable_error(
            display_name, "some packets hold no frame of their own (fields or hidden pictures)"
        )
    return packets


def _is_complete(positions: Sequence[int], first: int, end: int) -> bool:
    """Return whether the frames ``[first, end)`` are stored before all later ones."""
    later = positions[end : end + _MAX_REORDERED]
    own = positions[max(first, end - _MAX_REORDERED) : end]
    return not later or max(own, default=-1) < min(later)
