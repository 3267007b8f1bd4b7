"""decord as an optional second decoder, in the decode process, under the reader's deadline.

Frames keep the times and indices of the packet index, so both decoders reply alike. decord returns
full-size RGB pictures, one at a time here, which are then scaled; PyAV scales the native YUV.
Pixels differ by rounding and by chroma upsampling, not by content.

Limitations of decord 0.6 decide how it is used. Its seeks and skips return wrong frames in open
GOPs, HEVC and WMV, so every frame is read in order and none is skipped. From MPEG streams it loses
all before the second keyframe, and edit lists confuse its count, so these are refused. It ignores
the cropping of the container, crops less from the left than a stream states where that is not a
multiple of its alignment, and does not convert rare colour matrices as seedvideo does: refused too,
by the first picture. Its times are 32-bit floats, and wrong for reordered AVI; a file whose times
do not match the packet index is refused. Its FFmpeg is from 2021 and has no allow-lists: it only
gets files that passed the allow-lists of `demuxer`.
"""

import importlib.util
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from av.codec.context import Flags
from av.video.frame import VideoFrame

from seedvideo.errors import ConfigError, MediaError
from seedvideo.media.colours import choose_conversion
from seedvideo.media.demuxer import SourceSpec, choose_stream, open_container, prepare_decoder
from seedvideo.media.file_probe import ProbeResult, first_picture
from seedvideo.media.resize import Orientation, Resizer
from seedvideo.media.types import DecodeStats, FrameRequest, Picture, Strategy

_TOLERANCE_S: Final = 1e-3
"""Maximum error of decord's times: its 32-bit floats resolve an hour to 0.25 ms."""

_MISREAD_CONTAINERS: Final = ("mpegts", "mpeg")


def check_installed() -> None:
    """Check that decord is installed, without importing it.

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
    """Decoder of one file with decord (see `seedvideo.media.types.Decoder`)."""

    def __init__(self, spec: SourceSpec, opened: ProbeResult) -> None:
        self._spec = spec
        self._index = opened.index
        self._info = opened.info
        self._is_cropped = opened.crop is not None

    def pictures(
        self,
        wanted: Sequence[FrameRequest],
        *,
        strategy: Strategy,
        heartbeat: Callable[[], None],
        stats: DecodeStats,
    ) -> Iterator[Picture]:
        """Yield one picture for each request; see `Decoder`. Frames are always read in order."""
        import decord

        if self._info.container in _MISREAD_CONTAINERS:
            raise self._unsupported_error("is an MPEG stream, from which decord loses frames")
        if len(self._index.frame_of_packet) != len(self._index.times):
            raise self._unsupported_error(
                "has packets that are not displayed, which decord gets wrong"
            )
        if self._info.flipped:
            raise self._unsupported_error("is stored mirrored, which decord gets wrong")
        if self._is_cropped:
            raise self._unsupported_error("is cropped by its container, which decord does not do")
        self._check_first_picture(heartbeat)
        decord.logging.set_level(decord.logging.QUIET)
        try:
            reader = decord.VideoReader(
                f"/proc/self/fd/{self._spec.descriptor}", ctx=decord.cpu(0), num_threads=1
            )
            decord_indices = self._decord_indices(reader)
            resizer = Resizer(Orientation())  # decord has rotated it already.
            position, frame = -1, None
            for want in wanted:
                while position < decord_indices[want.frame_index]:
                    heartbeat()
                    frame = None  # Frees the picture before the next is made.
                    frame = VideoFrame.from_ndarray(reader.next().asnumpy(), format="rgb24")
                    position += 1
                    stats.decoded_frames += 1
                if frame is not None:
                    yield Picture(
                        want.frame_index, resizer.resize(frame, want.width_px, want.height_px)
                    )
        except (decord.DECORDError, StopIteration) as error:
            raise self._unsupported_error("cannot be read by decord") from error

    def _check_first_picture(self, heartbeat: Callable[[], None]) -> None:
        """Check that decord crops pictures and converts their colours as seedvideo does."""
        with open_container(self._spec) as container:
            stream = choose_stream(container, self._spec)
            prepare_decoder(stream, self._spec)
            context = stream.codec_context
            context.flags &= ~Flags.unaligned
            frame = first_picture(container, stream, self._index, self._spec, heartbeat)
            if frame is None or (frame.width, frame.height) != (context.width, context.height):
                raise self._unsupported_error(
                    "is cropped by its stream in a way that decord gets wrong"
                )
            conversion = choose_conversion(frame)
            if conversion.rows is not None or conversion.warning is not None:
                raise self._unsupported_error("has a colour matrix or range that decord gets wrong")

    def _decord_indices(self, reader: Any) -> list[int]:
        """Return decord's index of each presented frame, checked by its times."""
        theirs = reader.get_frame_timestamp(list(range(len(reader))))[:, 0].tolist()
        index = self._index
        ours = [float((time - index.start) * index.time_base) for time in index.times]
        if len(theirs) == len(ours):
            # decord's clock may begin elsewhere, for instance at zero or at the container's start.
            shift = ours[0] - theirs[0]
            theirs = [time + shift for time in theirs]
        decord_indices: list[int] = []
        for time in ours:
            right = bisect_left(theirs, time)
            near = min(
                range(max(right - 1, 0), min(right + 1, len(theirs))),
                key=lambda i: abs(theirs[i] - time),
                default=-1,
            )
            if near < 0 or not abs(theirs[near] - time) <= _TOLERANCE_S:
                raise self._unsupported_error("has other times in decord than in its packets")
            decord_indices.append(near)
        if len(set(decord_indices)) < len(decord_indices):
            raise self._unsupported_error("has other frames in decord than in its packets")
        return decord_indices

    def _unsupported_error(self, what: str) -> MediaError:
        return MediaError(
            "media.unreadable",
            f"{self._spec.display_name}: {what}",
            hint="use the default decoder pyav",
        )
