"""A place in a file, counted in packets, that moves by reading on or by a seek.

A seek is trusted only after the keyframe it was meant for has been found by its own facts. Each
packet is given its number as its time, so that a decoded frame says which packet it came from. Runs
in the decoding process only. Decodes nothing.
"""

from __future__ import annotations  # av.Packet is generic for type checkers only

from collections.abc import Callable, Iterator
from typing import Final, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from seedvideo.media.decoder import NO_END, Strategy
from seedvideo.media.packets import NO_TIME, PacketTable, read_packets

_WORTH_A_SEEK: Final = 200
"""Packets to step over from which a seek in the file is quicker than reading on."""


class SeekNotTrusted(Exception):
    """A seek did not lead to where it should; the frames must be reached in another way."""


class Cursor:
    """A place in the file, counted in packets."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, table: PacketTable, shown: str
    ) -> None:
        self.stream = stream
        self._container = container
        self._table = table
        self._shown = shown
        self._position = 0
        self._held: Packet[VideoStream] | None = None
        # FFmpeg calls a packet damaged that holds half a picture; two in one are as good.
        self._joins_fields = stream.codec_context.codec.canonical_name == "mjpeg"
        self._reader = read_packets(container, stream, shown=shown)

    def go_to(self, number: int, *, strategy: Strategy, alive: Callable[[], None]) -> None:
        """Moves to a packet; back only by a seek.

        Raises:
            SeekNotTrusted: if it is not found.
        """
        distance = number - self._position
        least = {"seek": 1, "auto": _WORTH_A_SEEK, "sequential": NO_END}[strategy]
        if distance >= least or distance < 0:
            self._seek(number, alive)
        if self._position > number:
            raise SeekNotTrusted
        while self._position < number:
            alive()
            if self._next() is None:
                raise SeekNotTrusted

    def packets(self, end: int) -> Iterator[Packet[VideoStream] | None]:
        """Yields packets up to a number, numbered, then None to drain the decoder."""
        while self._position < end:
            number = self._position
            packet = self._next()
            if packet is None:
                break
            if self._joins_fields and self._table.is_second_field(number + 1):
                second = self._next()
                if second is not None:
                    packet = cast("Packet[VideoStream]", Packet(bytes(packet) + bytes(second)))
            if packet.size:
                packet.pts = packet.dts = number
                yield packet
        yield None

    def _next(self) -> Packet[VideoStream] | None:
        packet, self._held = self._held, None
        if packet is None:
            packet = next(self._reader, None)
        if packet is not None:
            if not self._is(packet, self._position):
                raise SeekNotTrusted
            self._position += 1
        return packet

    def _is(self, packet: Packet[VideoStream], number: int) -> bool:
        table = self._table
        pts = NO_TIME if packet.pts is None else packet.pts
        return number < len(table) and (pts, packet.size) == (table.pts[number], table.size[number])

    def _seek(self, number: int, alive: Callable[[], None]) -> None:
        """Seeks to a keyframe, so that this very packet is read next.

        Raises:
            SeekNotTrusted: if it is not found.
        """
        table = self._table
        if table.pts[number] == NO_TIME:
            return
        aim = table.pts[number]
        if table.dts[number] != NO_TIME:
            aim = min(aim, table.dts[number])
        try:
            self._container.seek(aim, stream=self.stream)
        except av.error.FFmpegError as error:
            raise SeekNotTrusted from error
        self._reader = read_packets(self._container, self.stream, shown=self._shown)
        for packet in self._reader:
            alive()  # Some containers can only be read on from far before.
            if packet is None:
                break
            if packet.is_keyframe and self._is(packet, number):
                self._held, self._position = packet, number
                return
            if packet.pts is not None and packet.is_keyframe and packet.pts > table.pts[number]:
                break
        raise SeekNotTrusted
