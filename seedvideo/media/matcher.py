"""Hands decoded frames to those that are wanted; a neighbour stands in for what damage took away.

Frames are named by rank. Runs in the decoding process only. Decodes nothing.
"""

from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Final, TypeAlias

from av.video.frame import VideoFrame

from seedvideo.media.decoder import Picture, Wanted
from seedvideo.media.picture import Resizer

Ranked: TypeAlias = tuple[int, VideoFrame]

_MOST_REORDERED: Final = 16
"""Frames for which a missing one is waited for: more are never put in another order."""


class NothingBefore(Exception):
    """A wanted frame is lost, and its run gave none before it; one must be looked for."""


class Matcher:
    """Hands decoded frames, a run of them after another, to the wanted ones.

    A wanted frame that was passed by is lost: the frame before it in its run stands in.

    Args:
        wanted: by rising rank.
        resizer: makes pictures of frames.
        on_loss: called before a frame counts as lost; may raise.
    """

    def __init__(
        self, wanted: Sequence[Wanted], resizer: Resizer, on_loss: Callable[[], None]
    ) -> None:
        self.lost = 0
        """Wanted frames that a neighbour stood in for."""
        self._on_loss = on_loss
        self._wanted = wanted
        self._place = 0
        self._run_end = 0
        self._resizer = resizer
        self._held: list[Ranked] = []
        self._before: Ranked | None = None
        self._found: Ranked | None = None
        self._substitute: Ranked | None = None

    @property
    def pending(self) -> Sequence[Wanted]:
        """What has not been delivered yet."""
        return self._wanted[self._place :]

    @property
    def done(self) -> bool:
        """Whether everything has been delivered."""
        return self._place == len(self._wanted)

    @property
    def run_done(self) -> bool:
        """Whether everything that the run was for has been delivered."""
        return self._place == self._run_end

    def substitute(self, found: Ranked) -> None:
        """Takes the frame that stands in where the run gives none before a lost one."""
        self._found = found

    def expect(self, asked: int) -> None:
        """Says for how many of the next wanted frames the run is."""
        self._run_end = self._place + asked

    def begin(self) -> None:
        """Begins the run, or begins it again for what is left of it."""
        self._before = None
        self._held.clear()
        self._substitute, self._found = self._found, None

    def misses(self, rank: int) -> bool:
        """Tells whether a wanted frame has been passed by when this one comes."""
        return not self.run_done and self._wanted[self._place].rank < rank

    def offer(self, rank: int, frame: VideoFrame) -> Iterator[Picture]:
        """Takes the next frame of the run, and delivers what it settles.

        Raises:
            NothingBefore: as it says.
        """
        insort(self._held, (rank, frame), key=itemgetter(0))
        while self._held and (not self._waits() or len(self._held) > _MOST_REORDERED):
            yield from self._settle(*self._held.pop(0))

    def finish(self) -> Iterator[Picture]:
        """Delivers what lies behind the last frame of the run that could be decoded.

        Raises:
            NothingBefore: as it says.
        """
        while self._held:
            yield from self._settle(*self._held.pop(0))
        while not self.run_done:
            yield self._deliver_lost()

    def _waits(self) -> bool:
        """Whether a wanted frame is missing that may still come.

        Frames come by rising rank but where times are wrong, and then not far from their places.
        """
        return self.misses(self._held[0][0])

    def _settle(self, rank: int, frame: VideoFrame) -> Iterator[Picture]:
        if self._before is not None and rank <= self._before[0]:
            return
        while not self.run_done and self._wanted[self._place].rank <= rank:
            if self._wanted[self._place].rank < rank:
                yield self._deliver_lost()
            else:
                yield self._deliver(rank, frame)
        self._before = (rank, frame)

    def _deliver_lost(self) -> Picture:
        self._on_loss()
        source = self._before or self._substitute
        if source is None:
            raise NothingBefore
        self.lost += 1
        return self._deliver(*source)

    def _deliver(self, rank: int, frame: VideoFrame) -> Picture:
        want = self._wanted[self._place]
        self._place += 1
        return Picture(rank, self._resizer.resize(frame, want.width_px, want.height_px))
