"""Interlaced streams written bit by bit: no free encoder makes pictures of two fields.

Macroblocks of H.264 are stored as they are (I_PCM) or repeat what the reference shows (P_Skip), so
what a decoder must give is known without one. Clause numbers are those of ITU-T H.264.
"""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import av
import numpy as np
from PIL import Image

from tests.fixtures import Pixels

Structure = Literal["fields", "frame", "mbaff"]
AUD: Final = b"\0\0\0\1\x09\xf0"
_POC_BITS: Final = 8


class _Bits:
    def __init__(self) -> None:
        self._text: list[str] = []

    def fixed(self, count: int, value: int) -> None:
        self._text.append(f"{value:0{count}b}")

    def flags(self, *values: int) -> None:
        self._text += (str(int(value)) for value in values)

    def text(self, bits: str) -> None:
        self._text.append(bits)

    def exp(self, *values: int) -> None:
        """Writes unsigned numbers (clause 9.1)."""
        for value in values:
            code = f"{value + 1:b}"
            self._text.append("0" * (len(code) - 1) + code)

    def aligned(self, *, stop: bool = False) -> bytes:
        text = "".join(self._text) + ("1" if stop else "")
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


@dataclass(frozen=True)
class Coded:
    """A picture in the order of storage.

    Args:
        shown: its position in presentation order; also its shade, by which a test identifies it.
        structure: two fields, a frame, or a frame of pairs of macroblocks.
        is_key: decoding can begin here.
        is_reference: others may refer to it; else it is put back in order without being kept.
        repeats: its second field, or all of a frame, repeats what was shown before.
    """

    shown: int
    structure: Structure = "fields"
    is_key: bool = False
    is_reference: bool = True
    repeats: bool = False


def shade(shown: int) -> int:
    """The luma of a picture: no two of 40 are alike."""
    return 30 + 5 * (shown % 40)


def units(
    pictures: Sequence[Coded],
    *,
    width_px: int = 32,
    height_px: int = 64,
    bottom_first: bool = False,
) -> list[list[bytes]]:
    """Returns for each picture its access units: two for one of two fields."""
    result: list[list[bytes]] = []
    frame_num, poc_base, idr_id = 0, 0, 0
    was_reference = False
    for picture in pictures:
        if picture.is_key:
            frame_num, poc_base, idr_id = 0, picture.shown, idr_id ^ 1
        elif was_reference:
            frame_num = (frame_num + 1) % 16
        was_reference = picture.is_reference
        head = b""
        if picture.is_key:
            head = _sps(width_px // 16, height_px // 32) + _pps()
        writer = _Slice(picture, frame_num, 2 * (picture.shown - poc_base), idr_id)
        if picture.structure == "fields":
            first, second = (1, 0) if bottom_first else (0, 1)
            count = (width_px // 16) * (height_px // 32)
            result.append(
                [
                    AUD + head + writer.field(first, count, is_second=False),
                    AUD + writer.field(second, count, is_second=True),
                ]
            )
        else:
            count = (width_px // 16) * (height_px // 16)
            result.append([AUD + head + writer.frame(count)])
    return result


def group(first: int, count: int) -> list[Coded]:
    """Returns a group of pictures of two fields, each second one put back behind the next."""
    coded = [Coded(first, is_key=True)]
    for shown in range(first + 1, first + count - 1, 2):
        coded += [Coded(shown + 1), Coded(shown, is_reference=False)]
    return coded + [Coded(first + n) for n in range(len(coded), count)]


def mux(
    path: Path,
    stored: Sequence[Sequence[bytes]],
    shown: Sequence[int],
    keys: Sequence[bool],
    *,
    together: bool,
    raw: str,
) -> Path:
    """Writes pictures of 1/25 s into a container.

    Args:
        path: of the result.
        stored: the units of each picture, in the order of storage.
        shown: place of each picture.
        keys: whether decoding can begin with it.
        together: write both fields of a picture into one packet.
        raw: suffix of a bare stream of the codec.
    """
    bare = path.with_name(path.name + raw)
    bare.write_bytes(b"".join(unit for each in stored for unit in each))
    late = any(place != number for number, place in enumerate(shown))
    with av.open(str(bare)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        # In AVI a packet takes a tick, so a packet for each field needs twice as many.
        ticks = 25 if together else 50
        stream.time_base = Fraction(1, ticks if path.suffix == ".avi" else 90_000)
        for number, (each, place) in enumerate(zip(stored, shown, strict=True)):
            parts = [b"".join(each)] if together else each
            for part, data in enumerate(parts):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, 90_000)
                field = part * 1800
                packet.dts, packet.pts = number * 3600 + field, (place + late) * 3600 + field
                packet.duration = 3600 // len(parts)
                packet.is_keyframe = keys[number] and part == 0
                container.mux(packet)
    return path


def write(path: Path, pictures: Sequence[Coded], *, together: bool) -> Path:
    """Writes H.264 pictures into a container; see `mux`."""
    shown, keys = [each.shown for each in pictures], [each.is_key for each in pictures]
    return mux(path, units(pictures), shown, keys, together=together, raw=".h264")


class _Slice:
    def __init__(self, picture: Coded, frame_num: int, poc: int, idr_id: int) -> None:
        self._picture = picture
        self._frame_num, self._poc, self._idr_id = frame_num, poc, idr_id

    def field(self, is_bottom: int, count: int, *, is_second: bool) -> bytes:
        repeats = is_second and self._picture.repeats
        key = self._picture.is_key and not is_second
        bits = self._header(key=key, repeats=repeats, field=is_bottom, poc=self._poc + is_second)
        return self._unit(bits, count, key=key, repeats=repeats, mbaff=False)

    def frame(self, count: int) -> bytes:
        picture = self._picture
        bits = self._header(key=picture.is_key, repeats=picture.repeats, field=None, poc=self._poc)
        mbaff = picture.structure == "mbaff"
        return self._unit(bits, count, key=picture.is_key, repeats=picture.repeats, mbaff=mbaff)

    def _header(self, *, key: bool, repeats: bool, field: int | None, poc: int) -> _Bits:
        bits = _Bits()
        bits.exp(0, 5 if repeats else 7, int(self._picture.structure == "mbaff"))
        bits.fixed(4, self._frame_num)
        bits.flags(*((0,) if field is None else (1, field)))
        if key:
            bits.exp(self._idr_id)
        bits.fixed(_POC_BITS, poc % (1 << _POC_BITS))
        if repeats:
            bits.flags(0, 0)  # The default number of references, in the default order.
        if key:
            bits.flags(0, 0)
        elif self._picture.is_reference:
            bits.flags(0)
        bits.exp(0, 1)  # The quantiser as before; edges are not smoothed.
        return bits

    def _unit(self, bits: _Bits, count: int, *, key: bool, repeats: bool, mbaff: bool) -> bytes:
        kind = (3 if self._picture.is_reference else 0) << 5 | (5 if key else 1)
        if repeats:
            bits.exp(count)  # mb_skip_run
            return _nal(kind, bits.aligned(stop=True))
        out = b""
        samples = bytes([shade(self._picture.shown)]) * 256 + bytes([128]) * 128
        for number in range(count):
            if mbaff and number % 2 == 0:
                bits.flags(number // 2 % 2)  # Every second pair is one of fields.
            bits.exp(25)  # I_PCM
            out += bits.aligned() + samples
            bits = _Bits()
        return _nal(kind, out + b"\x80")


def _sps(width_mb: int, height_map_units: int) -> bytes:
    # Both parameter sets of frames and of pairs of macroblocks: numbers 0 and 1.
    result = b""
    for number in (0, 1):
        bits = _Bits()
        bits.fixed(8, 77)
        bits.fixed(8, 0)
        bits.fixed(8, 30)
        bits.exp(number, 0, 0, _POC_BITS - 4, 2)
        bits.flags(0)
        bits.exp(width_mb - 1, height_map_units - 1)
        bits.flags(0, number, 1, 0, 1)  # Not frames only; pairs of macroblocks; details follow.
        bits.flags(*(0,) * 8)
        bits.flags(1, 1)
        bits.exp(0, 0, 16, 16, 1, 2)  # Of which the last two: reordered by one, two are kept.
        result += _nal(0x67, bits.aligned(stop=True))
    return result


def _pps() -> bytes:
    result = b""
    for number in (0, 1):
        bits = _Bits()
        bits.exp(number, number)
        bits.flags(0, 0)
        bits.exp(0, 0, 0)
        bits.flags(0, 0, 0)
        bits.exp(0, 0, 0)
        bits.flags(1, 0, 0)
        result += _nal(0x68, bits.aligned(stop=True))
    return result


def _nal(head: int, payload: bytes) -> bytes:
    out, zeros = bytearray([head]), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\0\0\0\1" + bytes(out)


def read_shade(pixels: Pixels) -> int:
    """Reads a picture's place from its pixels, by 40."""
    levels = float(np.median(pixels)) * 219 / 255 + 16
    return round((levels - 30) / 5)


_DC_SIZES: Final = ("100", "00", "01", "101", "110", "1110", "11110", "111110")
"""Codes of how many bits the step of a block's mean has (ITU-T H.262, table B.12)."""


def mpeg2_units(count: int, *, frames_at: Sequence[int] = ()) -> list[list[bytes]]:
    """Returns the units of MPEG-2 pictures of 32 x 64 px, every sixth a keyframe.

    The second field of each repeats the one before. Clauses: ITU-T H.262.

    Args:
        count: how many.
        frames_at: which of them are frames, not two fields.
    """
    result: list[list[bytes]] = []
    for number in range(count):
        head = _mpeg2_sequence() if number % 6 == 0 else b""
        structures = (3,) if number in frames_at else (1, 2)
        parts = [_mpeg2_picture(number, number % 6, each) for each in structures]
        result.append([head + parts[0], *parts[1:]])
    return result


def _start(code: int, bits: _Bits) -> bytes:
    return b"\0\0\1" + bytes([code]) + bits.aligned()


def _mpeg2_sequence() -> bytes:
    head, extension, group_head = _Bits(), _Bits(), _Bits()
    for count, value in (
        (12, 32),
        (12, 64),
        (4, 1),
        (4, 3),
        (18, 10_000),
        (1, 1),
        (10, 20),
        (3, 0),
    ):
        head.fixed(count, value)
    for count, value in ((4, 1), (8, 0x48), (1, 0), (2, 1), (4, 0), (12, 0), (1, 1), (16, 0)):
        extension.fixed(count, value)
    for count, value in ((25, 1 << 12), (1, 1), (1, 0)):
        group_head.fixed(count, value)
    return _start(0xB3, head) + _start(0xB5, extension) + _start(0xB8, group_head)


def _mpeg2_picture(shown: int, place: int, structure: int) -> bytes:
    intra, frame = structure != 2, structure == 3
    head, extension = _Bits(), _Bits()
    for count, value in ((10, place), (3, 1 if intra else 2), (16, 0xFFFF)):
        head.fixed(count, value)
    head.flags(*(() if intra else (0, 1, 1, 1)), 0)
    for value in (8, *(2 * (15 if intra else 1,)), 15, 15):
        extension.fixed(4, value)
    extension.fixed(2, 0)
    extension.fixed(2, structure)
    extension.flags(frame, frame, 0, 0, 0, 0, 0, frame, 0)
    out = _start(0, head) + _start(0xB5, extension)
    for row in range(64 // 16 // (1 if frame else 2)):
        bits = _Bits()
        bits.fixed(5, 2)
        bits.flags(0)
        for column in range(2):
            bits.flags(*((1, 1) if intra else (1, 0, 0, 1, 0, 1, 0, 1, 1)))
            if intra:
                _mpeg2_blocks(bits, shade(shown) - 128 if column == 0 else 0)
        out += _start(row + 1, bits)
    return out


def _mpeg2_blocks(bits: _Bits, step: int) -> None:
    size = abs(step).bit_length()
    bits.text(_DC_SIZES[size])
    if size:
        bits.fixed(size, step if step > 0 else step + (1 << size) - 1)
    bits.text("10" + 3 * (_DC_SIZES[0] + "10") + 2 * ("00" + "10"))


def jpeg(shown: int, *, height_px: int) -> bytes:
    """Returns a JPEG picture of 32 px width; those half as high as the stream's are fields."""
    picture, file = np.full((height_px, 32, 3), shade(shown), np.uint8), io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG")
    return file.getvalue()


def write_avi(path: Path, chunks: Sequence[bytes], *, rate: int, codec: bytes = b"MJPG") -> Path:
    """Writes an AVI file of 32 x 64 px; an empty chunk repeats the picture."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    main = struct.pack("<14I", 10**6 // rate, 0, 0, 16, len(chunks), 0, 1, 0, 32, 64, 0, 0, 0, 0)
    numbers = (0, 0, 0, 1, rate, 0, len(chunks), 1 << 16, 0xFFFFFFFF, 0)
    stream = b"vids" + codec + struct.pack("<10I4H", *numbers, 0, 0, 32, 64)
    picture = struct.pack("<IiiHH4sIiiII", 40, 32, 64, 1, 24, codec, 32 * 64 * 3, 0, 0, 0, 0)
    streams = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", picture))
    head = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + streams)
    index, place = b"", 4
    for each in chunks:
        index += b"00dc" + struct.pack("<III", 16, place, len(each))
        place += 8 + len(each) + len(each) % 2
    movie = chunk(b"LIST", b"movi" + b"".join(chunk(b"00dc", each) for each in chunks))
    path.write_bytes(chunk(b"RIFF", b"AVI " + head + movie + chunk(b"idx1", index)))
    return path
