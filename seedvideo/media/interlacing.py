"""Field pairing: which packets of H.264, MPEG-2 and Motion JPEG hold one field of a picture.

An interlaced picture may be coded as two fields, and most containers can store each in a packet of
its own: two packets, one picture. The container does not mark the second one, so the headers inside
the packets decide. An H.264 stream that holds frames only is read no further than its parameter
sets. Section numbers are those of ITU-T H.264 unless another standard is named. Nothing is decoded.
Separate from `demuxer`, its only user, to stay under 500 lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

Data: TypeAlias = bytes | memoryview

_MARK: Final = re.compile(b"\x00\x00\x01")
_SLICES: Final = (1, 2, 5)
_SPS, _PPS = 7, 8
_HEADER_BYTES: Final = 48
"""Bytes of a slice that contain its header up to the parity of its field."""
_MAX_PARAMETER_BYTES: Final = 4096
_WITH_CHROMA_FORMAT: Final = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""Profiles whose parameter sets state a chroma format (section 7.3.2.1.1)."""


_JPEG_START: Final = re.compile(b"\xff\xd8\xff")
_JPEG_FRAMES: Final = range(0xC0, 0xC3)
_JPEG_WITHOUT_LENGTH: Final = range(0xD0, 0xD9)
_MPEG_HEAD_BYTES: Final = 1024
"""Bytes of an MPEG-2 packet that contain the headers before the first slice."""
_MPEG_PICTURE: Final = re.compile(b"\x00\x00\x01\x00")
_MPEG_PICTURE_EXTENSION: Final = re.compile(b"\x00\x00\x01\xb5[\x80-\x8f]")


@dataclass(frozen=True)
class Field:
    """One field of a picture: a number common to both fields, and its parity."""

    number: int
    is_bottom: bool

    def completes(self, first: "Field") -> bool:
        """Return whether this field and the one before it form a picture (section 3.30)."""
        return self.number == first.number and self.is_bottom != first.is_bottom


class FieldReader(Protocol):
    """Field reader for the packets of one stream, in file order."""

    has_fields: bool
    """Whether any picture so far is coded as two fields, be it in one packet or in two."""

    def read(self, data: Data, *, is_key: bool) -> Field | None:
        """Return the field that a packet holds; None if it holds a complete picture.

        Args:
            data: bytes of the packet.
            is_key: whether decoding may begin there.
        """
        ...


def field_reader(codec: str, extradata: bytes, *, height_px: int) -> FieldReader | None:
    """Return a field reader for a stream; None if its codec has no separate fields.

    Args:
        codec: name of the codec in FFmpeg.
        extradata: codec data of the container's header; may be empty.
        height_px: height of a picture that the header states; 0 if it states none.
    """
    if codec == "h264":
        return _H264Fields(extradata)
    if codec == "mjpeg":
        return _JpegFields(height_px)
    return _Mpeg2Fields() if codec == "mpeg2video" else None


class _JpegFields:
    """A field is a JPEG picture much lower than the stream's; fields pair by order."""

    def __init__(self, height_px: int) -> None:
        self.has_fields = False
        self._height_px = height_px
        self._is_bottom = True

    def read(self, data: Data, *, is_key: bool) -> Field | None:
        offset = _jpeg_frame(data)
        if offset is None:
            return None
        height_px = int.from_bytes(data[offset + 5 : offset + 7], "big")
        if 4 * height_px >= 3 * self._height_px:  # As in FFmpeg.
            return None
        self.has_fields = True
        if _JPEG_START.search(data, offset) is not None:
            return None  # The other field is in the same packet.
        self._is_bottom = not self._is_bottom
        return Field(0, self._is_bottom)


def _jpeg_frame(data: Data) -> int | None:
    """Return the offset of the frame header; preview images before it are skipped."""
    offset = 0
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        kind = data[offset + 1]
        if kind in _JPEG_FRAMES:
            return offset
        length = int.from_bytes(data[offset + 2 : offset + 4], "big")
        offset += 2 if kind in _JPEG_WITHOUT_LENGTH else 2 + length
    return None


class _Mpeg2Fields:
    """Section numbers are those of ITU-T H.262."""

    def __init__(self) -> None:
        self.has_fields = False

    def read(self, data: Data, *, is_key: bool) -> Field | None:
        head = bytes(data[:_MPEG_HEAD_BYTES])
        picture = _MPEG_PICTURE.search(head)
        extension = _MPEG_PICTURE_EXTENSION.search(head)
        if picture is None or extension is None:
            return None
        first, second = picture.end(), extension.end()
        if second + 2 > len(head) or head[second + 1] & 3 in (0, 3):
            return None  # picture_structure (section 6.3.10): not a field.
        self.has_fields = True
        if _MPEG_PICTURE.search(data, second) is not None:
            return None  # The other field is in the same packet.
        return Field(head[first] << 2 | head[first + 1] >> 6, head[second + 1] & 3 == 2)


@dataclass(frozen=True)
class _Sequence:
    """Fields of a sequence parameter set that slice headers depend on."""

    frame_num_bits: int
    has_colour_planes: bool
    frames_only: bool


class _H264Fields:
    def __init__(self, extradata: bytes) -> None:
        self._sequences: dict[int, _Sequence] = {}
        self._pictures: dict[int, int] = {}
        self._length_bytes = 0
        self.has_fields = False
        # ISO/IEC 14496-15, section 5.3.3.1: the box begins with version 1; a start code with 0.
        if len(extradata) > 6 and extradata[0] == 1:
            self._length_bytes = (extradata[4] & 3) + 1
            units: Iterator[Data] = _boxed_parameter_sets(extradata)
        else:
            units = _units(extradata, 0)
        for unit in units:
            self._note_parameters(unit)
        self._may_have_fields = self._allows_fields()

    def read(self, data: Data, *, is_key: bool) -> Field | None:
        # Parameter sets come with keyframes, if not in the container's header.
        if not self._may_have_fields and self._sequences and not is_key:
            return None
        first: Field | None = None
        for unit in _units(data, self._length_bytes):
            kind = unit[0] & 31
            if kind in (_SPS, _PPS):
                self._note_parameters(unit)
                self._may_have_fields = self._allows_fields()
            elif kind in _SLICES:
                field = self._field(unit) if self._may_have_fields else None
                if field is None:
                    return None
                self.has_fields = True
                if first is not None and field.completes(first):
                    return None
                first = first or field
        return first

    def _allows_fields(self) -> bool:
        return any(not each.frames_only for each in self._sequences.values())

    def _note_parameters(self, unit: Data) -> None:
        plain = bytes(unit[:_MAX_PARAMETER_BYTES])
        mark = _MARK.search(plain)
        plain = plain[1 : mark.start() if mark else None]
        try:
            if unit[0] & 31 == _SPS:
                number, sequence = _read_sequence(plain)
                self._sequences[number] = sequence
            elif unit[0] & 31 == _PPS:
                bits = _Bits(plain)
                number = bits.exp()
                self._pictures[number] = bits.exp()
        except EOFError:
            return  # Damaged: the decoder will not use it either.

    def _field(self, unit: Data) -> Field | None:
        bits = _Bits(bytes(unit[1:_HEADER_BYTES]))
        try:
            bits.exp()  # first_mb_in_slice
            bits.exp()  # slice_type
            sequence = self._sequences.get(self._pictures.get(bits.exp(), -1))
            if sequence is None or sequence.frames_only:
                return None
            if sequence.has_colour_planes:
                bits.fixed(2)
            frame_num = bits.fixed(sequence.frame_num_bits)
            return Field(frame_num, bool(bits.fixed(1))) if bits.fixed(1) else None
        except EOFError:
            return None


class _Bits:
    """Bits of a unit without its emulation prevention bytes (section 7.4.1)."""

    def __init__(self, data: bytes) -> None:
        plain = data.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(plain, "big")
        self._left = 8 * len(plain)

    def fixed(self, count: int) -> int:
        """Read an unsigned integer of a fixed length.

        Raises:
            EOFError: if the data ends before.
        """
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & ((1 << count) - 1)

    def exp(self) -> int:
        """Read an unsigned Exp-Golomb integer (section 9.1).

        Raises:
            EOFError: if the data ends before.
        """
        rest = self._value & ((1 << self._left) - 1)
        zeros = self._left - rest.bit_length()
        self._left -= zeros
        return self.fixed(zeros + 1) - 1


@lru_cache(maxsize=64)
def _read_sequence(data: bytes) -> tuple[int, _Sequence]:
    """Parse a sequence parameter set as far as slices need it (section 7.3.2.1.1)."""
    bits = _Bits(data)
    profile = bits.fixed(8)
    bits.fixed(16)
    number = bits.exp()
    has_colour_planes = False
    if profile in _WITH_CHROMA_FORMAT:
        chroma = bits.exp()
        if chroma == 3:  # 4:4:4
            has_colour_planes = bool(bits.fixed(1))
        bits.exp()
        bits.exp()
        bits.fixed(1)
        if bits.fixed(1):
            for i in range(12 if chroma == 3 else 8):
                if bits.fixed(1):
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
    frame_num_bits = bits.exp() + 4
    order_kind = bits.exp()
    if order_kind == 0:
        bits.exp()
    elif order_kind == 1:
        bits.fixed(1)
        bits.exp()
        bits.exp()
        for _ in range(bits.exp()):
            bits.exp()
    bits.exp()
    bits.fixed(1)
    bits.exp()
    bits.exp()
    return number, _Sequence(frame_num_bits, has_colour_planes, bool(bits.fixed(1)))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    scale = 8
    for _ in range(size):
        code = bits.exp()
        scale = (scale + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        if not scale:
            return


def _boxed_parameter_sets(extradata: bytes) -> Iterator[bytes]:
    offset = 5
    for mask in (31, 255):
        if offset >= len(extradata):
            return
        count, offset = extradata[offset] & mask, offset + 1
        for _ in range(count):
            length = int.from_bytes(extradata[offset : offset + 2], "big")
            if length:
                yield extradata[offset + 2 : offset + 2 + length]
            offset += 2 + length


def _units(data: Data, length_bytes: int) -> Iterator[Data]:
    """Yield the units of a packet, none of them empty."""
    offset = 0
    if length_bytes:
        while offset + length_bytes < len(data):
            length = int.from_bytes(data[offset : offset + length_bytes], "big")
            offset += length_bytes
            if length:
                yield data[offset : offset + length]
            offset += length
        return
    mark = _MARK.search(data)
    while mark is not None:
        offset = mark.end()
        # A unit ends where the next one begins, but its head is all that is ever read.
        if offset < len(data):
            yield data[offset:]
        mark = _MARK.search(data, offset)
