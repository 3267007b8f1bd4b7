"""Hands decoded frames to those that are wanted; a neighbour stands in for what damage took away.

Frames are named by rank. Runs in the decoding process only. Decodes nothing.
"""

from collections.abc import Callable, Iterator, Sequence

from av.video.frame import VideoFrame

from seedvideo.media.decoder import Picture, Wanted
from seedvideo.media.picture import Resizer


class Matcher:
    """Hands decoded frames, which come by rising rank, to the wanted ones."""

    def __init__(
        self, wanted: Sequence[Wanted], resizer: Resizer, on_loss: Callable[[], None]
    ) -> None:
        self.lost = 0
        """Wanted frames that a neighbour stood in for."""
        self._on_loss = on_loss
        self._wanted = wanted
        self._place = 0
        self._resizer = resizer
        self._before: tuple[int, VideoFrame] | None = None

    @property
    def pending(self) -> Sequence[Wanted]:
        """What has not been delivered yet."""
        return self._wanted[self._place :]

    @property
    def done(self) -> bool:
        """Whether everything has been delivered."""
        return self._place == len(self._wanted)

    def misses(self, rank: int) -> bool:
        """Tells whether a wanted frame has been passed by when this one comes."""
        return not self.done and self._wanted[self._place].rank < rank

    def offer(self, rank: int, frame: VideoFrame) -> Iterator[Picture]:
        """Takes the next frame, and delivers what it settles.

        A wanted frame that was passed by is lost: the frame before stands in for it, or this one if
        there is none before.
        """
        if self._before is not None and rank <= self._before[0]:
            return
        while not self.done and self._wanted[self._place].rank <= rank:
            lost = self._wanted[self._place].rank < rank
            if lost:
                self.lost += 1
                self._on_loss()
            source = self._before if lost and self._before is not None else (rank, frame)
            yield self._deliver(*source)
        self._before = (rank, frame)

    def finish(self) -> Iterator[Picture]:
        """Delivers what lies behind the last frame that could be decoded."""
        while self._before is not None and not self.done:
            self.lost += 1
            yield self._deliver(*self._before)

    def _deliver(self, rank: int, frame: VideoFrame) -> Picture:
        want = self._wanted[self._place]
        self._place += 1
        return Picture(rank, self._resizer.resize(frame, want.width_px, want.height_px))
