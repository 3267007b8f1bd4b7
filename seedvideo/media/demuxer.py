"""Opening a container in the decoding process: what FFmpeg may read, which stream, how large.

FFmpeg gets the number of an open descriptor, never a name, and may use no protocol but that one.
Only the container formats and codecs listed here are allowed, because the rarely used ones are
where its memory bugs live. Sizes are checked from the header before a picture is decoded. Runs in
the decoding process only. Knows nothing of times or of which frames are wanted.

The packets of one video stream, in file order, with their own facts and nothing decoded.

A file that is damaged or cut still gives every packet that can be read; two readings of one file
give the same packets, so a packet's number is its name everywhere in this package. Runs in the
decoding process only. Times are ticks of the stream's time base.
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
from seedvideo.media.decoder import out_of_memory
from seedvideo.media.interlacing import Field, FieldReader, field_reader
from seedvideo.media.source import IMAGE_KINDS

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
"""Container format of files whose first bytes leave no doubt, by kind; no other is tried."""

RAW_FORMATS: Final = ("h264", "hevc", "m4v", "mpegvideo", "obu")
"""Formats that carry pictures without times."""

CLOCKS_THAT_JUMP: Final = ("mpegts", "mpeg")
"""Formats whose clock may start anew in mid-file; they state no duration."""

NO_DURATION_STATED: Final = (*CLOCKS_THAT_JUMP, "yuv4mpegpipe")
"""Formats that state no duration: what FFmpeg says is a guess, even across a jump of the clock."""

_COMMON_CODECS: Final = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "gif", "png", "webp", "bmp")
_OLDER_CODECS: Final = ("mpeg2video", "mpeg1video", "h263", "flv1", "theora", "vc1")
_WINDOWS_CODECS: Final = ("wmv1", "wmv2", "wmv3", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3")
_STUDIO_CODECS: Final = ("mjpeg", "prores", "dnxhd", "ffv1")
_PINNED_CODECS: Final = {"apng": "apng", "y4m": "rawvideo"}
"""Codecs that are allowed in files of one kind only."""

CODECS: Final = frozenset(_COMMON_CODECS + _OLDER_CODECS + _WINDOWS_CODECS + _STUDIO_CODECS)
"""Codecs that may be decoded, under FFmpeg's names."""

_ENCRYPTED_TAGS: Final = ("encv", "drmi")


@dataclass(frozen=True)
class Origin:
    """Where a container comes from: what the reader says when it starts a decoding process."""

    descriptor: int
    shown: str
    kind: str
    size_bytes: int
    limits: Limits
    fps: Fraction | None


@contextmanager
def open_container(origin: Origin) -> Iterator[InputContainer]:
    """Opens the container from its first byte and closes it at the end.

    Raises:
        MediaError: if it is none of the allowed formats or cannot be read.
    """
    os.lseek(origin.descriptor, 0, os.SEEK_SET)
    pinned = PINNED_FORMATS.get(origin.kind)
    try:
        container = av.open(
            "fd:",
            mode="r",
            format=pinned,
            container_options={
                "fd": str(origin.descriptor),
                "protocol_whitelist": "fd",
                "format_whitelist": pinned or ",".join(FORMATS),
                # A clock that starts anew is ours to mend: FFmpeg takes it for one that ran over.
                "correct_ts_overflow": str(int(origin.kind not in CLOCKS_THAT_JUMP)),
            },
            # Applies while FFmpeg looks into the streams; the decoder gets its own copy later.
            options={"max_pixels": str(origin.limits.max_frame_pixels), "threads": "1"},
            metadata_errors="replace",
        )
    except av.error.MemoryError as error:
        raise out_of_memory(origin.shown) from error
    except av.error.FFmpegError as error:
        raise _unreadable(origin) from error
    with container:
        yield container


def choose_stream(container: InputContainer, origin: Origin) -> VideoStream:
    """Picks the video stream: FFmpeg's best one that is not an attached picture.

    A stream that holds one frame, by the header, gives way to one that holds more.

    Raises:
        MediaError: if there is none, there are too many streams, or they are tiles of a photo.
    """
    shown, limits = origin.shown, origin.limits
    if len(container.streams) > limits.max_streams:
        raise MediaError(
            "media.too_complex",
            f"{shown}: has {len(container.streams)} streams, the limit is {limits.max_streams}",
            hint="keep the video stream only",
        )
    candidates = [s for s in container.streams.video if not is_attached_picture(s)]
    if heif.is_heif(container):
        candidates = heif.colour_streams(candidates, shown=shown)
    if not candidates:
        cover = " but a cover picture" if container.streams.video else ""
        raise MediaError("media.no_video", f"{shown}: has no video stream{cover}")
    best = container.streams.best("video")
    chosen = next((s for s in candidates if s is best), candidates[0])
    if chosen.frames <= 1:
        # A picture beside a video, such as the first one of an image sequence, is not the video.
        chosen = next((s for s in candidates if s.frames > 1), chosen)
    return chosen


def is_attached_picture(stream: VideoStream) -> bool:
    """Tells whether a stream is cover art or a thumbnail, not a video."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def check_stream(stream: VideoStream, origin: Origin) -> None:
    """Checks codec, encryption and size from the header, before anything is decoded.

    Raises:
        MediaError: if the codec is not allowed, the stream is encrypted or it is too big.
    """
    context = stream.codec_context
    allowed = {*CODECS, _PINNED_CODECS.get(origin.kind)}
    if context is None or context.codec.canonical_name not in allowed:
        name = "unknown" if context is None else context.codec.canonical_name
        raise MediaError(
            "media.codec_not_allowed",
            f"{origin.shown}: codec {name} is not on the list of allowed codecs",
            hint="convert the file to H.264, HEVC, AV1 or VP9",
        )
    if context.codec_tag in _ENCRYPTED_TAGS:
        raise encrypted(origin.shown)
    check_size(context.width, context.height, origin)


def check_size(width_px: int, height_px: int, origin: Origin) -> None:
    """Checks the size of a picture against the limits. A size of zero is not yet known.

    Raises:
        MediaError: if a side, the area or the ratio of the sides is over its limit.
    """
    limits = origin.limits
    longer, shorter = max(width_px, height_px), max(1, min(width_px, height_px))
    if (
        longer > limits.max_side_px
        or width_px * height_px > limits.max_frame_pixels
        or longer > shorter * limits.max_aspect
    ):
        raise MediaError(
            "media.too_big",
            f"{origin.shown}: pictures of {width_px}x{height_px} px are over the limits "
            f"({limits.max_frame_pixels} px, side {limits.max_side_px} px, "
            f"ratio of sides {limits.max_aspect:g})",
            hint="scale it down, or raise the limits from Python",
        )


def prepare_decoder(
    stream: VideoStream, origin: Origin, *, is_rough: bool = False, is_strict: bool = False
) -> None:
    """Sets a stream's decoder up: one thread, so that results repeat, and bounded pictures.

    Args:
        stream: the chosen one.
        origin: names the limits.
        is_rough: leave out the filter that smooths the edges of blocks. Some codecs are quicker
            without; pictures drift a little from keyframe to keyframe.
        is_strict: fail at damage that the decoder would otherwise paint over without a word.
    """
    context = stream.codec_context
    context.thread_count = 1
    # Else FFmpeg cuts less from the left than the stream says, or loses the picture, where what is
    # left would not begin at an aligned address. swscale reads from anywhere.
    context.flags |= Flags.unaligned
    context.options = {"max_pixels": str(origin.limits.max_frame_pixels)}
    if is_rough:
        context.options["skip_loop_filter"] = "all"
    if is_strict:
        context.options["err_detect"] = "explode"


def encrypted(shown: str) -> MediaError:
    """Returns the error for protected content."""
    return MediaError("media.encrypted", f"{shown}: is encrypted", hint="decrypt it first")


def _unreadable(origin: Origin) -> MediaError:
    if origin.kind == "unknown":
        return MediaError(
            "media.not_video",
            f"{origin.shown}: is not in a known video format",
            hint="convert it to MP4",
        )
    return MediaError(
        "media.unreadable",
        f"{origin.shown}: looks like {origin.kind} but cannot be read",
        hint="the file may be cut off or damaged",
    )


NO_TIME: Final = -(1 << 63)
"""Stands for a missing time in arrays of ticks, as in FFmpeg."""

_MAX_READ_ERRORS: Final = 16
"""Failed reads in a row after which the rest of a file counts as unreadable."""

_PACKETS_A_BREATH: Final = 64
"""Packets between two looks at whether the reader still wants an answer: about a millisecond."""

_PAUSE_S: Final = 1
"""Between two packets, from which on it is noted how much of other streams lies there."""

_KEY, _HIDDEN, _SECOND = 1, 2, 4


@dataclass
class PacketTable:
    """One row a packet, as parallel arrays: tens of bytes each, for hours of video.

    ``pts`` and ``dts`` hold `NO_TIME` where the file states none. Hidden packets are never shown:
    an edit list cuts them off, the codec keeps them for reference only, they are empty, or they
    hold the second field of a picture whose first field is in the packet before.
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
    last_place: int = 0
    """Offset in the file of the last packet's data."""
    heard_before: dict[int, Fraction] = field(default_factory=dict)
    """How many seconds of another stream lie between a packet and the one before it, by number;
    for packets behind a pause only."""
    has_fields: bool = False
    """Whether any picture is coded as two fields, in one packet or in two."""
    cut_off: bool = False
    """Whether reading ended in an error, not at the end of the file."""

    def __len__(self) -> int:
        return len(self.pts)

    def is_key(self, number: int) -> bool:
        """Tells whether decoding may begin at a packet."""
        return bool(self.flags[number] & _KEY)

    def keep_first(self) -> None:
        """Drop every packet but the first."""
        for column in (self.pts, self.dts, self.duration, self.size, self.payload, self.flags):
            del column[1:]

    def is_hidden(self, number: int) -> bool:
        """Tells whether a packet's picture is never shown."""
        return bool(self.flags[number] & _HIDDEN)

    def is_second_field(self, number: int) -> bool:
        """Tells whether a packet completes the picture of the packet before it."""
        return number < len(self) and bool(self.flags[number] & _SECOND)

    def picture_duration(self, number: int) -> int:
        """Returns how long a picture lasts that begins with a packet; 0 if it is not stated."""
        stated, second = self.duration[number], number + 1
        if not self.is_second_field(second) or NO_TIME in (self.pts[number], self.pts[second]):
            return stated
        # Some containers state the length of a field for it, some that of the picture for both.
        twice = max(0, 2 * (self.pts[second] - self.pts[number]))
        return max(stated, min(twice, 2 * stated)) if stated > 0 else twice


def read_packets(
    container: InputContainer, stream: VideoStream, *, shown: str, every_stream: bool = False
) -> Iterator[Packet[VideoStream] | None]:
    """Yields a stream's packets until the file ends, stepping over what cannot be read.

    Args:
        container: positioned where reading shall begin.
        stream: the wanted stream.
        shown: the file's name for messages.
        every_stream: also yield the packets of other streams.

    Yields:
        Packets; None, once and last, if reading ended in an error.
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
            raise out_of_memory(shown) from error
        except av.error.FFmpegError:
            errors += 1
        except IndexError:
            # PyAV 18 ends so, after the last packet, where a stream first appears in mid-file.
            return
    yield None


def tabulate(
    container: InputContainer, stream: VideoStream, origin: Origin, alive: Callable[[], None]
) -> PacketTable:
    """Reads every packet of a stream once and notes its facts.

    Args:
        container: freshly opened.
        stream: the chosen video stream.
        origin: names the file and its limits.
        alive: called often; may raise to stop.

    Raises:
        MediaError: if there are too many packets or they are encrypted.
    """
    table = PacketTable()
    codec = stream.codec_context.codec.canonical_name
    headers_tell_all = origin.kind == "mov"
    if headers_tell_all:
        # Other streams need not be read: the header says how long they are.
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
    fields, others = _FieldPairs(stream, origin), _OtherStreams(container, stream)
    count = 0
    for packet in read_packets(
        container, stream, shown=origin.shown, every_stream=not headers_tell_all
    ):
        if packet is None:
            table.cut_off = True
            break
        if count % _PACKETS_A_BREATH == 0:
            alive()
        count += 1
        if count > origin.limits.max_packets:
            raise MediaError(
                "media.too_complex",
                f"{origin.shown}: has over {origin.limits.max_packets} packets, the limit",
                hint="cut it, or raise the limit from Python",
            )
        if packet.stream_index != stream.index:
            others.note(table, packet)
            continue
        others.note_pause(table, packet)
        if not len(table) and packet.has_sidedata("encryption_info"):
            raise encrypted(origin.shown)
        # An empty packet says "the same picture again"; given to a decoder it would end the stream.
        hidden = packet.is_discard or not packet.size or not _is_shown(codec, packet)
        # A picture of a GIF or PNG paints over the one before, whatever its key flag says.
        key = packet.is_keyframe and (codec not in ("gif", "apng") or not len(table))
        table.pts.append(NO_TIME if packet.pts is None else packet.pts)
        table.dts.append(NO_TIME if packet.dts is None else packet.dts)
        table.duration.append(packet.duration or 0)
        table.size.append(packet.size)
        table.payload.append(packet.size - _padding(codec, packet))
        table.flags.append(_KEY * key | _HIDDEN * hidden)
        table.last_place = packet.pos or 0
        fields.note(table, packet)
    table.has_fields = fields.found
    return table


class _FieldPairs:
    """Joins packets that hold one field each."""

    def __init__(self, stream: VideoStream, origin: Origin) -> None:
        context = stream.codec_context
        extradata = bytes(context.extradata or b"")
        codec = context.codec.canonical_name
        self._reader: FieldReader | None = None
        if origin.kind not in IMAGE_KINDS:  # Small pictures behind a photo are no fields of it.
            self._reader = field_reader(codec, extradata, height_px=context.height)
        self._first: Field | None = None

    @property
    def found(self) -> bool:
        """Whether any picture is coded as two fields."""
        return self._reader is not None and self._reader.has_fields

    def note(self, table: PacketTable, packet: Packet[VideoStream]) -> None:
        """Makes the last packet a part of the picture before it, if it holds its second field."""
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
    """Notes where other streams end, and how much of them lies in pauses of the video."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._bases = {each.index: each.time_base or Fraction(0) for each in container.streams}
        self._pause = int(_PAUSE_S / (stream.time_base or Fraction(1, 1000)))
        self._heard: dict[int, int] = {}

    def note(self, table: PacketTable, packet: Packet[VideoStream]) -> None:
        """Takes a packet of another stream."""
        if packet.pts is not None and packet.time_base:
            duration = packet.duration or 0
            table.other_end = max(table.other_end, (packet.pts + duration) * packet.time_base)
            number = packet.stream_index
            self._heard[number] = self._heard.get(number, 0) + duration

    def note_pause(self, table: PacketTable, packet: Packet[VideoStream]) -> None:
        """Takes the next packet of the video, before it is in the table."""
        if not self._heard:
            return
        if len(table) and packet.dts is not None and packet.dts - table.dts[-1] > self._pause:
            seconds = [n * self._bases.get(i, Fraction(0)) for i, n in self._heard.items()]
            table.heard_before[len(table)] = max(seconds)
        self._heard.clear()


def _padding(codec: str, packet: Packet[VideoStream]) -> int:
    """Counts the bytes of filler data at the end of a packet.

    Streams of a constant bit rate are filled up with it (ITU-T H.264, section 7.3.2.7; H.265,
    section 7.3.2.8): bytes of ones, and a last one that ends the unit. No picture data ends so,
    but for a byte or two.
    """
    if codec not in ("h264", "hevc") or packet.size < 8:
        return 0
    data = memoryview(packet)
    if bytes(data[-5:]) != b"\xff\xff\xff\xff\x80":
        return 0
    return packet.size - len(bytes(data[:-1]).rstrip(b"\xff"))


def _is_shown(codec: str, packet: Packet[VideoStream]) -> bool:
    """Reads from VP8 and VP9 data whether the packet shows a picture or only stores one."""
    if codec not in ("vp8", "vp9") or packet.size < 2:
        return True
    data = memoryview(packet)
    first = data[0]
    if codec == "vp8":
        return bool(first & 0x10)  # RFC 6386, section 9.1: show_frame
    if data[-1] & 0xE0 == 0xC0:
        return True  # A superframe: hidden pictures and the shown one travel together.
    # VP9 bitstream, section 6.2: marker (2 bits), profile (2, one more for profile 3),
    # show_existing_frame, frame_type, show_frame; the highest bit comes first.
    bits = f"{first:08b}{data[1]:08b}"[5 if first & 0x30 == 0x30 else 4 :]
    return bits[0] == "1" or bits[2] == "1"
