"""Stream copy: packets of a file as MP4 files of their own, without decoding.

The file is read once for any number of parts. A part's first frame has the time zero, and the times
of the others differ from it as in the source. The MP4 has no edit list: reordered pictures get
negative offsets instead, so that readers that ignore edit lists show the same frames at the same
times. Audio is not copied. Runs in the decode process only, which writes no file: a part waits in
memory until it is complete.

Separate from `seedvideo.media.worker`, which would exceed 500 lines with it.
"""

from __future__ import annotations  # av.Packet is generic for type checkers only

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from seedvideo.errors import MediaError
from seedvideo.media.demuxer import (
    PacketTable,
    SourceSpec,
    choose_stream,
    open_container,
    read_packets,
)
from seedvideo.media.index import Index
from seedvideo.media.types import PacketRange, not_copyable_error

_MAX_PART_BYTES: Final = 1 << 30
"""Maximum bytes of the packets of a part, which wait in memory."""

_MP4_OPTIONS: Final = {"movflags": "negative_cts_offsets", "use_editlist": "0"}


def copy_parts(
    spec: SourceSpec,
    index: Index,
    table: PacketTable,
    ranges: Sequence[PacketRange],
    heartbeat: Callable[[], None],
) -> Iterator[bytes]:
    """Yield an MP4 file for each range of packets, in order.

    Args:
        spec: open input and its limits.
        index: index of its stream.
        table: packets of its stream.
        ranges: ranges of packets in storage order; neither their first nor their last packets go
            backwards. Each begins with a keyframe and holds complete, consecutive frames.
        heartbeat: callback that is called often; may raise to stop.

    Raises:
        MediaError: ``media.not_copyable`` if MP4 cannot hold the stream, it has no timestamps, its
            parameters change, or a range is too large.
    """
    if index.has_no_timestamps:
        raise not_copyable_error(spec.display_name, "its pictures have no timestamps")
    waiting = list(ranges)
    for each in waiting:
        if sum(table.size[each.first : each.end]) > _MAX_PART_BYTES:
            raise not_copyable_error(spec.display_name, "a clip has more than 1 GiB")
    with _position_kept(spec.descriptor), open_container(spec) as container:
        stream = choose_stream(container, spec)
        running: list[_Part] = []
        for number, packet in enumerate(
            read_packets(container, stream, display_name=spec.display_name)
        ):
            heartbeat()
            while waiting and waiting[0].first == number:
                running.append(_Part(stream, index, waiting.pop(0), spec.display_name))
            if packet is None or number >= len(table) or packet.size != table.size[number]:
                break
            if number and packet.has_sidedata("new_extradata"):
                raise not_copyable_error(spec.display_name, "its parameters change")
            for part in running:
                part.add(number, packet)
            while running and running[0].end == number + 1:
                yield running.pop(0).finish()
            if not (waiting or running):
                return
    if waiting or running:
        raise not_copyable_error(spec.display_name, "it cannot be read to the end of the clip")


@contextmanager
def _position_kept(descriptor: int) -> Iterator[None]:
    """Restore the position of a file, from which the decoder's own container reads on."""
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        yield
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)


class _Part:
    """One MP4 file in the making.

    Decoding times are the sorted presentation times, moved back so far that no picture is decoded
    after it is presented.
    """

    def __init__(
        self, stream: VideoStream, index: Index, packets: PacketRange, display_name: str
    ) -> None:
        self.end = packets.end
        self._display_name = display_name
        self._codec = stream.codec_context.codec.canonical_name
        self._index = index
        self._first = packets.first
        self._frames = index.frame_of_packet[packets.first : packets.end]
        times = [index.times[frame] for frame in self._frames]
        self._start = min(times)
        self._decoding = sorted(times)
        self._delay = max(a - b for a, b in zip(self._decoding, times, strict=True))
        self._data = io.BytesIO()
        self._time_base = index.time_base
        try:
            self._container: OutputContainer = av.open(
                self._data, "w", format="mp4", options=dict(_MP4_OPTIONS)
            )
            self._stream = self._container.add_stream_from_template(stream, opaque=True)
            self._stream.time_base = index.time_base
        except (ValueError, av.error.FFmpegError) as error:
            raise self._refusal() from error

    def add(self, number: int, packet: Packet[VideoStream]) -> None:
        """Add a packet; another part may take it too."""
        place = number - self._first
        frame = self._frames[place]
        copied = Packet(bytes(packet))
        copied.stream = self._stream
        copied.time_base = self._time_base
        copied.pts = self._index.times[frame] - self._start
        copied.dts = self._decoding[place] - self._start - self._delay
        # The length of the track is that of its last packet in decoding order.
        is_last = number + 1 == self.end
        copied.duration = self._duration(max(self._frames) if is_last else frame)
        copied.is_keyframe = packet.is_keyframe
        try:
            self._container.mux(copied)
        except (ValueError, av.error.FFmpegError) as error:
            raise self._refusal() from error

    def finish(self) -> bytes:
        """Return the complete file."""
        self._container.close()
        return self._data.getvalue()

    def _duration(self, frame: int) -> int:
        """Return the ticks for which a frame is presented."""
        times = self._index.times
        if frame + 1 < len(times):
            return times[frame + 1] - times[frame]
        end = self._index.start + self._index.duration / self._time_base
        return max(1, round(end - times[frame]))

    def _refusal(self) -> MediaError:
        return not_copyable_error(self._display_name, f"MP4 cannot hold its codec, {self._codec}")
