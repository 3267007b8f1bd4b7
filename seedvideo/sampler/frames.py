"""From a plan to its pictures: each planned frame beside the frame that was really decoded.

Knows an open video only as something that gives a frame for each target. Times are exact seconds.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

from seedvideo.media.reader import StrategyName
from seedvideo.media.types import Frame, Target
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.types import PlannedFrame


class FrameSource(Protocol):
    """An open video, such as a `seedvideo.media.VideoReader`."""

    def frames(
        self, targets: Sequence[Target], *, strategy: StrategyName = "auto"
    ) -> Generator[Frame, None, None]:
        """Decode one frame for each target, in order."""
        ...


def planned_frames(
    reader: FrameSource, plan: Plan, *, strategy: StrategyName = "auto"
) -> Generator[tuple[PlannedFrame, Frame], None, None]:
    """Decode a plan's frames, in order of time.

    The frame's own ``pts`` is the truth: it differs from the planned one where damage took the
    planned frame and a neighbour stands in. A neighbour that already stood in for another is not
    given again, so the times that come out are strictly increasing and there may be fewer than
    planned, never more.

    Args:
        reader: an open video.
        plan: the plan of that video.
        strategy: how the reader reaches the frames; the result is the same.

    Yields:
        The planned frame and the decoded one.
    """
    shown: Frame | None = None
    with closing(reader.frames(plan.targets(), strategy=strategy)) as decoded:
        for planned, frame in zip(plan.frames, decoded, strict=True):
            if shown is None or frame.pts > shown.pts:
                shown = frame
                yield planned, frame
