"""decord as a second decoder, in the decoding process, under the reader's deadline.

Frames keep the times and ranks that the packet index gives, so both decoders answer alike. decord
hands out full-size RGB pictures, one at a time here, which are then scaled; PyAV scales the native
YUV. Pixels differ by rounding and by how chroma is spread, not by content.

What decord 0.6 does wrong decides how it is used here. Its seeks and its skips give other frames
than asked for in open GOPs, HEVC and WMV, so every frame is read in order and none is skipped. From
MPEG streams it loses all before the second keyframe, and edit lists confuse its count, so these are
refused. It does not crop what a container says to crop, cuts less from the left than a stream says
where that is no multiple of its alignment, and does not convert rare colour matrices as we do:
refused too, by the first picture. Its times are 32-bit floats, and nonsense for reordered AVI; a
file where they do not name the same frames as the packets is refused, not guessed at. Its FFmpeg is
from 2021 and has no allow-lists: it only ever gets files that passed ours when PyAV opened them.
Knows nothing of packets.
"""

import importlib.util
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from av.codec.context import Flags
from av.video.frame import VideoFrame

from seedvideo.errors import ConfigError, MediaError
from seedvideo.media.colours import conversion_of
from seedvideo.media.decoder import Picture, Strategy, Tally, Wanted
from seedvideo.media.demuxer import Origin, choose_stream, open_container, prepare_decoder
from seedvideo.media.file_probe import Opened, first_picture
from seedvideo.media.resize import Orientation, Resizer

_TOLERANCE_S: Final = 1e-3
"""How far decord's times may be off: its 32-bit floats resolve an hour to 0.25 ms."""

_MISREAD_CONTAINERS: Final = ("mpegts", "mpeg")


def check_installed() -> None:
    """Makes sure that decord can be imported, without importing it.

    Raises:
        ConfigError: if it is not installed.
    """
    if importlib.util.find_spec("decord") is None:
        raise ConfigError(
            "config.invalid",
            "decoder is 'decord', which is not installed",
            hint="install decord, or use the default decoder pyav",
        )


class DecordDecoder:
    """Decodes frames of one file with decord (see `seedvideo.media.decoder.Decoder`)."""

    def __init__(self, origin: Origin, opened: Opened) -> None:
        self._origin = origin
        self._index = opened.index
        self._info = opened.info
        self._is_cropped = opened.crop is not None

    def pictures(
        self,
        wanted: Sequence[Wanted],
        *,
        strategy: Strategy,
        alive: Callable[[], None],
        tally: Tally,
    ) -> Iterator[Picture]:
        """Yields one picture for each wanted one; see the protocol. Always reads in order."""
        import decord

        if self._info.container in _MISREAD_CONTAINERS:
            raise self._refused("is an MPEG stream, from which decord loses frames")
        if len(self._index.rank_of) != len(self._index.times):
            raise self._refused("has packets that are not shown, which decord gets wrong")
        if self._info.flipped:
            raise self._refused("is stored mirrored, which decord gets wrong")
        if self._is_cropped:
            raise self._refused("is cropped by its container, which decord does not do")
        self._check_first_picture(alive)
        decord.logging.set_level(decord.logging.QUIET)
        try:
            reader = decord.VideoReader(
                f"/proc/self/fd/{self._origin.descriptor}", ctx=decord.cpu(0), num_threads=1
            )
            places = self._places(reader)
            resizer = Resizer(Orientation())  # decord has turned it already.
            position, frame = -1, None
            for want in wanted:
                while position < places[want.rank]:
                    alive()
                    frame = None  # Frees the picture before the next is made.
                    frame = VideoFrame.from_ndarray(reader.next().asnumpy(), format="rgb24")
                    position += 1
                    tally.decoded_frames += 1
                if frame is not None:
                    yield Picture(want.rank, resizer.resize(frame, want.width_px, want.height_px))
        except (decord.DECORDError, StopIteration) as error:
            raise self._refused("cannot be read by decord") from error

    def _check_first_picture(self, alive: Callable[[], None]) -> None:
        """Make sure that decord crops pictures and takes their colours as we do."""
        with open_container(self._origin) as container:
            stream = choose_stream(container, self._origin)
            prepare_decoder(stream, self._origin)
            context = stream.codec_context
            context.flags &= ~Flags.unaligned
            frame = first_picture(container, stream, self._index, self._origin, alive)
            if frame is None or (frame.width, frame.height) != (context.width, context.height):
                raise self._refused("is cropped by its stream in a way that decord gets wrong")
            conversion = conversion_of(frame)
            if conversion.rows is not None or conversion.warning is not None:
                raise self._refused("has a colour matrix or range that decord gets wrong")

    def _places(self, reader: Any) -> list[int]:
        """Returns decord's number of each presented frame, checked by its times."""
        theirs = reader.get_frame_timestamp(list(range(len(reader))))[:, 0].tolist()
        index = self._index
        ours = [float((time - index.start) * index.time_base) for time in index.times]
        if len(theirs) == len(ours):
            # decord's clock may begin elsewhere, for instance at zero or at the container's start.
            shift = ours[0] - theirs[0]
            theirs = [time + shift for time in theirs]
        places: list[int] = []
        for time in ours:
            right = bisect_left(theirs, time)
            near = min(
                range(max(right - 1, 0), min(right + 1, len(theirs))),
                key=lambda place: abs(theirs[place] - time),
                default=-1,
            )
            if near < 0 or not abs(theirs[near] - time) <= _TOLERANCE_S:
                raise self._refused("has other times for decord than its packets say")
            places.append(near)
        if len(set(places)) < len(places):
            raise self._refused("has other frames for decord than its packets say")
        return places

    def _refused(self, what: str) -> MediaError:
        return MediaError(
            "media.unreadable",
            f"{self._origin.shown}: {what}",
            hint="use the default decoder pyav",
        )
