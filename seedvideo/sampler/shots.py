"""Shots: where one take ends and the next begins, found by PySceneDetect on small frames.

Works on frames that someone else decoded, and knows no file, no tokens and no captions. Times are
exact seconds; spans are half-open ``[start, end)``, and a cut is the time of the new shot's first
frame that was looked at, so it is late by less than the spacing of the looks.
"""

from collections.abc import Iterable
from fractions import Fraction
from itertools import islice, pairwise
from typing import Final

import numpy as np

from seedvideo.media.frames import Frame
from seedvideo.media.timeline import Span

MIN_SHOT_S: Final = 0.4
"""A cut sooner than this after another is part of the same change: a flash, a quick blend."""

# Chosen on cuts between real clips, stills and pans, looked at 2 to 6 times a second. A detector
# with a fixed threshold takes motion for cuts at such rates; a wider window or a higher ratio
# misses cuts that lie close together.
_RATIO: Final = 2.0
_WINDOW_LOOKS: Final = 1
_MIN_CHANGE: Final = 15.0
_TICKS_A_SECOND: Final = 1_000_000


def find_shots(thumbnails: Iterable[Frame], *, end: Fraction) -> tuple[Span, ...]:
    """Find hard cuts, and blends that pass between two looks.

    A look starts a shot where its change from the look before, in hue, saturation and brightness,
    is at least twice that of its neighbours. The second look and the last never do, for want of a
    neighbour: a shot of a single look at either end stays with the one beside it.

    Args:
        thumbnails: small frames in order of time, all of one size, 2 to 6 a second. They are
            consumed one by one and not kept.
        end: where the video ends.

    Returns:
        At least one span; together they cover ``[0, end)`` without gaps.

    Raises:
        ValueError: if ``end`` is not above 0.
    """
    # Heavy (OpenCV), and only this function needs it.
    from scenedetect import AdaptiveDetector, FrameTimecode
    from scenedetect.common import Timecode

    detector = AdaptiveDetector(
        adaptive_threshold=_RATIO,
        window_width=_WINDOW_LOOKS,
        min_content_val=_MIN_CHANGE,
        # A float is a number of seconds; a whole number would be a number of frames.
        min_scene_len=MIN_SHOT_S,
    )
    tick = Fraction(1, _TICKS_A_SECOND)
    times: dict[int, Fraction] = {}
    cuts: list[Fraction] = []
    for look in thumbnails:
        ticks = round(look.pts * _TICKS_A_SECOND)
        times[ticks] = look.pts
        # The frame rate is only for frame numbers, which nothing here asks for.
        timecode = FrameTimecode(Timecode(pts=ticks, time_base=tick), fps=Fraction(30))
        bgr = np.ascontiguousarray(look.pixels[:, :, ::-1])
        cuts += [times[cut.pts] for cut in detector.process_frame(timecode, bgr)]
    # The detector takes the change of the first look for none at all, and would find a cut at the
    # second in any motion.
    second = next(islice(times.values(), 1, None), end)
    bounds = [Fraction(0), *(cut for cut in cuts if second < cut < end), end]
    return tuple(Span(start, stop) for start, stop in pairwise(bounds))
