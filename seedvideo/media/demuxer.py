"""Demuxer: opens a container under allow-lists, chooses the stream and tabulates its packets.

FFmpeg gets an open descriptor, never a name, and no other protocol. Only the formats and codecs
listed here are allowed: rarely used ones have most memory bugs. Sizes are checked before decoding.
A damaged file yields every readable packet, each time the same: a packet's number identifies it.
Times are ticks of the stream's time base. Runs in the decode process only.
"""

from __future__ import annotations  # av.Packet is generic for type checkers only

import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, cast

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from seedvideo.config import Limits
from seedvideo.errors import MediaError
from seedvideo.media import heif
from seedvideo.media.interlacing import Field, FieldReader, field_reader
from seedvideo.media.source import IMAGE_KINDS
from seedvideo.media.types import out_of_memory_error

FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "avi",
    "mpegts",
    "mpeg",
    "flv",
    "ogg",
    "asf",
    "gif",
    "ivf",
    "h264",
    "hevc",
    "m4v",
    "mpegvideo",
    "obu",
)
"""Container formats that FFmpeg may try, under its own names."""
PINNED_FORMATS: Final = {
    **{kind: f"{kind}_pipe" for kind in IMAGE_KINDS},
    "apng": "apng",
    "y4m": "yuv4mpegpipe",
}
"""Container format of files with an unambiguous signature, by kind; no other is tried."""

RAW_FORMATS: Final = ("h264", "hevc", "m4v", "mpegvideo", "obu")
"""Formats that store pictures without timestamps."""

FORMATS_WITH_PTS_RESETS: Final = ("mpegts", "mpeg")
"""Formats whose timestamps may restart in mid-file; they state no duration."""

FORMATS_WITHOUT_DURATION: Final = (*FORMATS_WITH_PTS_RESETS, "yuv4mpegpipe")
"""Formats that state no duration: FFmpeg's value is a guess, even across a timestamp reset."""

_COMMON_CODECS: Final = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "gif", "png", "webp", "bmp")
_OLDER_CODECS: Final = ("mpeg2video", "mpeg1video", "h263", "flv1", "theora", "vc1")
_WINDOWS_CODECS: Final = ("wmv1", "wmv2", "wmv3", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3")
_STUDIO_CODECS: Final = ("mjpeg", "prores", "dnxhd", "ffv1")
_PINNED_CODECS: Final = {"apng": "apng", "y4m": "rawvideo"}
"""Codecs that are allowed in files of one kind only."""

ALLOWED_CODECS: Final = frozenset(_COMMON_CODECS + _OLDER_CODECS + _WINDOWS_CODECS + _STUDIO_CODECS)
"""Codecs that may be decoded, under FFmpeg's names."""

_ENCRYPTED_TAGS: Final = ("encv", "drmi")


@dataclass(frozen=True)
class SourceSpec:
    """An open input and its limits, as the reader describes it to a decode process."""

    descriptor: int
    display_name: str
    kind: str
    size_bytes: int
    limits: Limits
    fps: Fraction | None


@contextmanager
def open_container(spec: SourceSpec) -> Iterator[InputContainer]:
    """Open the container from its first byte, and close it at the end.

    Raises:
        MediaError: if its format is not allowed or it cannot be read.
    """
    os.lseek(spec.descriptor, 0, os.SEEK_SET)
    pinned = PINNED_FORMATS.get(spec.kind)
    try:
        container = av.open(
            "fd:",
            mode="r",
            format=pinned,
            container_options={
                "fd": str(spec.descriptor),
                "protocol_whitelist": "fd",
                "format_whitelist": pinned or ",".join(FORMATS),
                # `index` handles timestamp resets: FFmpeg takes them for an overflow.
                "correct_ts_overflow": str(int(spec.kind not in FORMATS_WITH_PTS_RESETS)),
            },
            # Applies while FFmpeg probes the streams; the decoder gets its own copy later.
            options={"max_pixels": str(spec.limits.max_frame_pixels), "threads": "1"},
            metadata_errors="replace",
        )
    except av.error.MemoryError as error:
        raise out_of_memory_error(spec.display_name) from error
    except av.error.FFmpegError as error:
        raise _unreadable_error(spec) from error
    with container:
        yield container


def choose_stream(container: InputContainer, spec: SourceSpec) -> VideoStream:
    """Choose the video stream: FFmpeg's best one that is not an attached picture.

    A stream with one frame, by the header, yields to one with more.

    Raises:
        MediaError: if no stream is found, there are too many, or they are tiles of a photo.
    """
    display_name, limits = spec.display_name, spec.limits
    if len(container.streams) > limits.max_streams:
        raise MediaError(
            "media.too_complex",
            f"{display_name}: has {len(container.streams)} streams, "
            f"the limit is {limits.max_streams}",
            hint="keep the video stream only",
        )
    candidates = [s for s in container.streams.video if not is_attached_picture(s)]
    if heif.is_heif(container):
        candidates = heif.colour_streams(candidates, display_name=display_name)
    if not candidates:
        cover = " but a cover picture" if container.streams.video else ""
        raise MediaError("media.no_video", f"{display_name}: has no video stream{cover}")
    best = container.streams.best("video")
    chosen = next((s for s in candidates if s is best), candidates[0])
    if chosen.frames <= 1:
        # A single picture, such as the first one of an image sequence, is not the video.
        chosen = next((s for s in candidates if s.frames > 1), chosen)
    return chosen


def is_attached_picture(stream: VideoStream) -> bool:
    """Return whether a stream is cover art or a preview image, not a video."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def check_stream(stream: VideoStream, spec: SourceSpec) -> None:
    """Check codec, encryption and size by the header, before anything is decoded.

    Raises:
        MediaError: if the codec is not allowed, the stream is encrypted or it is too big.
    """
    context = stream.codec_context
    allowed = {*ALLOWED_CODECS, _PINNED_CODECS.get(spec.kind)}
    if context is None or context.codec.canonical_name not in allowed:
        name = "unknown" if context is None else context.codec.canonical_name
        raise MediaError(
            "media.codec_not_allowed",
            f"{spec.display_name}: codec {name} is not on the list of allowed codecs",
            hint="convert the file to H.264, HEVC, AV1 or VP9",
        )
    if context.codec_tag in _ENCRYPTED_TAGS:
        raise encrypted_error(spec.display_name)
    check_size(context.width, context.height, spec)


def check_size(width_px: int, height_px: int, spec: SourceSpec) -> None:
    """Check a picture size against the limits; a size of zero is unknown.

    Raises:
        MediaError: if a side, the area or the ratio of the sides exceeds its limit.
    """
    limits = spec.limits
    longer, shorter = max(width_px, height_px), max(1, min(width_px, height_px))
    if (
        longer > limits.max_side_px
        or width_px * height_px > limits.max_frame_pixels
        or longer > shorter * limits.max_aspect
    ):
        raise MediaError(
            "media.too_big",
            f"{spec.display_name}: picture size {width_px}x{height_px} px exceeds the limits "
            f"({limits.max_frame_pixels} px, side {limits.max_side_px} px, "
            f"ratio of sides {limits.max_aspect:g})",
            hint="scale it down, or raise the limits from Python",
        )


def prepare_decoder(
    stream: VideoStream,
    spec: SourceSpec,
    *,
    skip_loop_filter: bool = False,
    is_strict: bool = False,
) -> None:
    """Configure a stream's decoder: one thread, for reproducible results, and bounded pictures.

    Args:
        stream: chosen stream.
        spec: open input and its limits.
        skip_loop_filter: whether to skip the deblocking filter. Some codecs are faster without it;
            pictures drift a little from keyframe to keyframe.
        is_strict: whether to fail at damage that the decoder would otherwise conceal silently.
    """
    context = stream.codec_context
    context.thread_count = 1
    # Otherwise FFmpeg crops less from the left than the stream states, or loses the picture, where
    # the remaining part does not begin at an aligned address. swscale reads unaligned data.
    context.flags |= Flags.unaligned
    context.options = {"max_pixels": str(spec.limits.max_frame_pixels)}
    if skip_loop_filter:
        context.options["skip_loop_filter"] = "all"
    if is_strict:
        context.options["err_detect"] = "explode"


def encrypted_error(display_name: str) -> MediaError:
    """Return the error for protected content."""
    return MediaError("media.encrypted", f"{display_name}: is encrypted", hint="decrypt it first")


def _unreadable_error(spec: SourceSpec) -> MediaError:
    if spec.kind == "unknown":
        return MediaError(
            "media.not_video",
            f"{spec.display_name}: is not in a supported video format",
            hint="convert it to MP4",
        )
    return MediaError(
        "media.unreadable",
        f"{spec.display_name}: has the signature of {spec.kind} but cannot be read",
        hint="copy it again: the file may be truncated or damaged",
    )


NO_TIME: Final = -(1 << 63)
"""Missing timestamp in arrays of ticks, as in FFmpeg."""

_MAX_READ_ERRORS: Final = 16
"""Consecutive failed reads after which the rest of a file counts as unreadable."""

_PACKETS_PER_HEARTBEAT: Final = 64
"""Packets read between two heartbeats: about a millisecond."""

_MIN_GAP_S: Final = 1
"""Minimum gap between two packets, in seconds, for which the data of other streams is recorded."""

_KEY, _HIDDEN, _SECOND = 1, 2, 4


@dataclass
class PacketTable:
    """One row per packet, as parallel arrays: tens of bytes each, for hours of video.

    ``pts`` and ``dts`` hold `NO_TIME` where the file states none. Hidden packets are never
    displayed: an edit list removes them, they are for reference only, they are empty, or they hold
    the second field of a picture whose first field is in the packet before.
    """

    pts: array[int] = field(default_factory=lambda: array("q"))
    dts: array[int] = field(default_factory=lambda: array("q"))
    duration: array[int] = field(default_factory=lambda: array("q"))
    size: array[int] = field(default_factory=lambda: array("q"))
    payload: array[int] = field(default_factory=lambda: array("q"))
    """Bytes of each packet that are not padding."""
    flags: array[int] = field(default_factory=lambda: array("b"))
    other_end: Fraction = Fraction(0)
    """Latest end among the packets of other streams, in seconds of the container's clock."""
    last_offset: int = 0
    """Offset in the file of the last packet's data."""
    others_before: dict[int, Fraction] = field(default_factory=dict)
    """Seconds of other streams between a packet and the one before it, by packet number; only for
    packets after a gap."""
    has_fields: bool = False
    """Whether any picture is coded as two fields, in one packet or in two."""
    is_truncated: bool = False
    """Whether reading ended in an error, not at the end of the file."""

    def __len__(self) -> int:
        return len(self.pts)

    def is_key(self, number: int) -> bool:
        """Return whether decoding may begin at a packet."""
        return bool(self.flags[number] & _KEY)

    def keep_first(self) -> None:
        """Drop every packet but the first."""
        for column in (self.pts, self.dts, self.duration, self.size, self.payload, self.flags):
            del column[1:]

    def is_hidden(self, number: int) -> bool:
        """Return whether a packet's picture is never displayed."""
        return bool(self.flags[number] & _HIDDEN)

    def is_second_field(self, number: int) -> bool:
        """Return whether a packet completes the picture of the packet before it."""
        return number < len(self) and bool(self.flags[number] & _SECOND)

    def picture_duration(self, number: int) -> int:
        """Return the duration of the picture that begins with a packet; 0 if it is not stated."""
        stated, second = self.duration[number], number + 1
        if not self.is_second_field(second) or NO_TIME in (self.pts[number], self.pts[second]):
            return stated
        # Some containers state the length of a field for it, some that of the picture for both.
        twice = max(0, 2 * (self.pts[second] - self.pts[number]))
        return max(stated, min(twice, 2 * stated)) if stated > 0 else twice


def read_packets(
    container: InputContainer, stream: VideoStream, *, display_name: str, every_stream: bool = False
) -> Iterator[Packet[VideoStream] | None]:
    """Yield a stream's packets until the file ends, skipping unreadable data.

    Args:
        container: container, positioned at the first packet to read.
        stream: stream to read.
        display_name: name of the file in messages.
        every_stream: whether to yield the packets of other streams too.

    Yields:
        Packets; finally None if reading ended in an error.
    """
    errors = 0
    while errors < _MAX_READ_ERRORS:
        demuxer = container.demux() if every_stream else container.demux(stream)
        try:
            for packet in demuxer:
                errors = 0
                if packet.size or packet.dts is not None or packet.pts is not None:
                    yield cast("Packet[VideoStream]", packet)
            return
        except av.error.MemoryError as error:
            raise out_of_memory_error(display_name) from error
        except av.error.FFmpegError:
            errors += 1
        except IndexError:
            # PyAV 18 raises this after the last packet if a stream first appears in mid-file.
            return
    yield None


def read_packet_table(
    container: InputContainer, stream: VideoStream, spec: SourceSpec, heartbeat: Callable[[], None]
) -> PacketTable:
    """Read every packet of a stream once and tabulate its properties.

    Args:
        container: freshly opened container.
        stream: chosen video stream.
        spec: open input and its limits.
        heartbeat: callback that is called often; may raise to stop.

    Raises:
        MediaError: if there are too many packets or they are encrypted.
    """
    table = PacketTable()
    codec = stream.codec_context.codec.canonical_name
    has_full_header = spec.kind == "mov"
    if has_full_header:
        # Other streams need not be read: the header states their durations.
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
    fields, others = _FieldPairs(stream, spec), _OtherStreams(container, stream)
    count = 0
    for packet in read_packets(
        container, stream, display_name=spec.display_name, every_stream=not has_full_header
    ):
        if packet is None:
            table.is_truncated = True
            break
        if count % _PACKETS_PER_HEARTBEAT == 0:
            heartbeat()
        count += 1
        if count > spec.limits.max_packets:
            raise MediaError(
                "media.too_complex",
                f"{spec.display_name}: has more than {spec.limits.max_packets} packets, the limit",
                hint="cut it, or raise the limit from Python",
            )
        if packet.stream_index != stream.index:
            others.note(table, packet)
            continue
        others.note_gap(table, packet)
        if not len(table) and packet.has_sidedata("encryption_info"):
            raise encrypted_error(spec.display_name)
        # An empty packet repeats the picture; given to a decoder it would end the stream.
        hidden = packet.is_discard or not packet.size or not _is_displayed(codec, packet)
        # A picture of a GIF or PNG paints over the one before, whatever its key flag is.
        key = packet.is_keyframe and (codec not in ("gif", "apng") or not len(table))
        table.pts.append(NO_TIME if packet.pts is None else packet.pts)
        table.dts.append(NO_TIME if packet.dts is None else packet.dts)
        table.duration.append(packet.duration or 0)
        table.size.append(packet.size)
        table.payload.append(packet.size - _padding(codec, packet))
        table.flags.append(_KEY * key | _HIDDEN * hidden)
        table.last_offset = packet.pos or 0
        fields.note(table, packet)
    table.has_fields = fields.found
    return table


class _FieldPairs:
    """Pairing of packets that hold one field each."""

    def __init__(self, stream: VideoStream, spec: SourceSpec) -> None:
        context = stream.codec_context
        extradata = bytes(context.extradata or b"")
        codec = context.codec.canonical_name
        self._reader: FieldReader | None = None
        if spec.kind not in IMAGE_KINDS:  # Small pictures after a photo are not fields of it.
            self._reader = field_reader(codec, extradata, height_px=context.height)
        self._first: Field | None = None

    @property
    def found(self) -> bool:
        """Whether any picture is coded as two fields."""
        return self._reader is not None and self._reader.has_fields

    def note(self, table: PacketTable, packet: Packet[VideoStream]) -> None:
        """Merge the last packet into the picture before it if it holds its second field."""
        if self._reader is None or not packet.size:
            return
        field = self._reader.read(memoryview(packet), is_key=packet.is_keyframe)
        if field is not None and self._first is not None and field.completes(self._first):
            table.flags[-1] = _HIDDEN | _SECOND
            table.payload[-2] += table.payload[-1]
            table.payload[-1] = 0
            field = None
        self._first = field


class _OtherStreams:
    """Record where other streams end, and how much of them lies in gaps of the video."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._bases = {each.index: each.time_base or Fraction(0) for each in container.streams}
        self._min_gap = int(_MIN_GAP_S / (stream.time_base or Fraction(1, 1000)))
        self._covered: dict[int, int] = {}

    def note(self, table: PacketTable, packet: Packet[VideoStream]) -> None:
        """Record a packet of another stream."""
        if packet.pts is not None and packet.time_base:
            duration = packet.duration or 0
            table.other_end = max(table.other_end, (packet.pts + duration) * packet.time_base)
            number = packet.stream_index
            self._covered[number] = self._covered.get(number, 0) + duration

    def note_gap(self, table: PacketTable, packet: Packet[VideoStream]) -> None:
        """Record a gap before the next packet of the video, which is not in the table yet."""
        if not self._covered:
            return
        if len(table) and packet.dts is not None and packet.dts - table.dts[-1] > self._min_gap:
            seconds = [n * self._bases.get(i, Fraction(0)) for i, n in self._covered.items()]
            table.others_before[len(table)] = max(seconds)
        self._covered.clear()


def _padding(codec: str, packet: Packet[VideoStream]) -> int:
    """Return the number of filler bytes at the end of a packet.

    Streams of a constant bit rate are padded with them (ITU-T H.264, section 7.3.2.7; H.265,
    section 7.3.2.8): bytes of ones, and a last one that ends the unit. No picture data ends so,
    but for a byte or two.
    """
    if codec not in ("h264", "hevc") or packet.size < 8:
        return 0
    data = memoryview(packet)
    if bytes(data[-5:]) != b"\xff\xff\xff\xff\x80":
        return 0
    return packet.size - len(bytes(data[:-1]).rstrip(b"\xff"))


def _is_displayed(codec: str, packet: Packet[VideoStream]) -> bool:
    """Return whether a VP8 or VP9 packet displays a picture, not only stores one."""
    if codec not in ("vp8", "vp9") or packet.size < 2:
        return True
    data = memoryview(packet)
    first = data[0]
    if codec == "vp8":
        return bool(first & 0x10)  # RFC 6386, section 9.1: show_frame
    if data[-1] & 0xE0 == 0xC0:
        return True  # A superframe: hidden pictures and the displayed one in one packet.
    # VP9 bitstream, section 6.2: marker (2 bits), profile (2, one more for profile 3),
    # show_existing_frame, frame_type, show_frame; the highest bit comes first.
    bits = f"{first:08b}{data[1]:08b}"[5 if first & 0x30 == 0x30 else 4 :]
    return bits[0] == "1" or bits[2] == "1"
