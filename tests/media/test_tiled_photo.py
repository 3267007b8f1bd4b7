"""Photos as phones store them: one picture cut into tiles, each a stream of its own."""

from io import BytesIO
from pathlib import Path
from struct import pack, unpack_from

import pytest
from PIL import Image

from seedvideo.errors import MediaError
from seedvideo.media import probe

TILE_PX = 64
TILES = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def box(kind: bytes, body: bytes) -> bytes:
    return pack(">I4s", len(body) + 8, kind) + body


def full_box(kind: bytes, body: bytes, *, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, pack(">I", version << 24 | flags) + body)


def inside(data: bytes, *path: bytes) -> bytes:
    """Returns what a box holds that lies in other boxes."""
    place, end = 0, len(data)
    for kind in path:
        while data[place + 4 : place + 8] != kind:
            place += unpack_from(">I", data, place)[0]
        end = place + unpack_from(">I", data, place)[0]
        place += 8 + 4 * (kind == b"meta")
    return data[place:end]


def tiled_photo(path: Path) -> Path:
    """Writes a picture of four tiles (ISO/IEC 23008-12, section 6.6.2.3)."""
    single: list[bytes] = []
    for colour in TILES:
        file = BytesIO()
        Image.new("RGB", (TILE_PX, TILE_PX), colour).save(file, "AVIF")
        single.append(file.getvalue())
    tiles = [inside(data, b"mdat") for data in single]
    codec = box(b"av1C", inside(single[0], b"meta", b"iprp", b"ipco", b"av1C"))
    numbers = range(2, 6)

    entries = full_box(b"infe", pack(">HH4sx", 1, 0, b"grid"), version=2)
    for number in numbers:
        entries += full_box(b"infe", pack(">HH4sx", number, 0, b"av01"), version=2, flags=1)
    sizes = [full_box(b"ispe", pack(">II", side, side)) for side in (TILE_PX, 2 * TILE_PX)]
    uses = pack(">IHBB", 5, 1, 1, 3)
    uses += b"".join(pack(">HBBB", number, 2, 1, 0x82) for number in numbers)
    properties = box(b"ipco", sizes[0] + codec + sizes[1]) + full_box(b"ipma", uses)
    grid = pack(">BBBBHH", 0, 0, 1, 1, 2 * TILE_PX, 2 * TILE_PX)

    def meta(place: int) -> bytes:
        places = pack(">BBHHHHHII", 0x44, 0, 5, 1, 1, 0, 1, 0, len(grid))
        for number, tile in zip(numbers, tiles, strict=True):
            places += pack(">HHHHII", number, 0, 0, 1, place, len(tile))
            place += len(tile)
        return full_box(
            b"meta",
            full_box(b"hdlr", pack(">I4s13x", 0, b"pict"))
            + full_box(b"pitm", pack(">H", 1))
            + full_box(b"iloc", places, version=1)
            + full_box(b"iinf", pack(">H", 5) + entries)
            + full_box(b"iref", box(b"dimg", pack(">6H", 1, 4, *numbers)))
            + box(b"iprp", properties)
            + box(b"idat", grid),
        )

    start = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")
    data = start + meta(len(start) + len(meta(0)) + 8) + box(b"mdat", b"".join(tiles))
    path.write_bytes(data)
    return path


def test_a_tile_is_never_taken_for_the_photo(tmp_path: Path) -> None:
    path = tiled_photo(tmp_path / "phone.avif")
    with Image.open(path) as photo:
        assert photo.size == (2 * TILE_PX, 2 * TILE_PX)
        assert photo.convert("RGB").getpixel((100, 10)) == pytest.approx(TILES[1], abs=3)
    with pytest.raises(MediaError, match="tiles") as caught:
        probe(path)
    assert caught.value.code == "media.codec_not_allowed" and "JPEG" in caught.value.hint
