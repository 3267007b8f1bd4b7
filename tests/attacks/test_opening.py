"""Hostile names and files that point elsewhere (rows S01, S02 and S06 of the fault list)."""

import ctypes
import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from seedvideo.config import DEFAULT_LIMITS, Limits
from seedvideo.errors import ConfigError, InputError, MediaError, SeedVideoError
from seedvideo.media import open_video, probe
from seedvideo.media.demuxer import SourceSpec, open_container
from tests.fixtures import Clips

_IN_ACCESS, _IN_OPEN = 0x1, 0x20


class Tripwires:
    """A sibling file that records its opening, and a local port that records connections."""

    def __init__(self, folder: Path, clip: Path) -> None:
        self.sibling = folder / "sibling.mp4"
        self.sibling.write_bytes(clip.read_bytes())
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK)
        name = os.fsencode(self.sibling)
        assert libc.inotify_add_watch(self._watch, name, _IN_ACCESS | _IN_OPEN) > 0

    def touched(self) -> list[str]:
        """Returns what was touched since the last call."""
        found = []
        if select.select([self._watch], [], [], 0)[0]:
            os.read(self._watch, 65536)
            found.append("file")
        while select.select([self._server], [], [], 0)[0]:
            self._server.accept()[0].close()
            found.append("network")
        return found

    def close(self) -> None:
        """Takes the wires down."""
        os.close(self._watch)
        self._server.close()


@pytest.fixture
def wires(clips: Clips, tmp_path: Path) -> Iterator[Tripwires]:
    """Wires that have been shown to work."""
    wires = Tripwires(tmp_path, clips["ts"])
    wires.sibling.read_bytes()
    socket.create_connection(("127.0.0.1", wires.port)).close()
    assert wires.touched() == ["file", "network"]
    yield wires
    wires.close()


def payloads(wires: Tripwires) -> dict[str, bytes]:
    """Returns files that make a careless demuxer open the sibling or connect."""
    url = f"http://127.0.0.1:{wires.port}/a.ts"
    segment = "#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"
    playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n" + segment
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT3S"><Period><AdaptationSet mimeType="video/mp4">'
        "<Representation id='1' bandwidth='1'><BaseURL>{}</BaseURL></Representation>"
        "</AdaptationSet></Period></MPD>"
    )
    texts = {
        "concat.mp4": "ffconcat version 1.0\nfile sibling.mp4\n",
        "concat.txt": f"ffconcat version 1.0\nfile '{wires.sibling}'\n",
        "concat-url.mp4": f"ffconcat version 1.0\nfile {url}\n",
        "hls.mp4": playlist.format("sibling.mp4"),
        "hls.m3u8": playlist.format("sibling.mp4"),
        "hls-file.m3u8": playlist.format(f"file://{wires.sibling}"),
        "hls-url.m3u8": playlist.format(url),
        "dash.mpd": dash.format("sibling.mp4"),
        "dash-url.mp4": dash.format(url),
        "stream.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video {wires.port} RTP/AVP 96\n",
        "list.pls": f"[playlist]\nFile1={url}\n",
        "smooth.xml": f"<SmoothStreamingMedia><c src='{url}'/></SmoothStreamingMedia>",
    }
    found = {name: text.encode() for name, text in texts.items()}
    for name in ("concat.mp4", "hls.m3u8", "hls-url.m3u8", "dash.mpd"):
        found[f"bom-{name}"] = b"\xef\xbb\xbf" + found[name]
        found[f"blank-{name}"] = b"\n \t\r\n" + found[name]
        # Bytes that make it look binary, so that only the mark at its start gives it away.
        found[f"binary-{name}"] = found[name] + bytes(range(256)) * 20
        found[f"wide-{name}"] = found[name].decode().encode("utf-16")
    return found


def test_s01_files_that_point_elsewhere(wires: Tripwires, tmp_path: Path) -> None:
    for name, data in payloads(wires).items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(MediaError) as caught:
            probe(path)
        assert caught.value.code == "media.not_video", name
    assert wires.touched() == []


def test_s01_the_second_wall_holds_alone(wires: Tripwires, tmp_path: Path) -> None:
    # The same files without the check of their first bytes: FFmpeg itself may not use such formats.
    for name, data in payloads(wires).items():
        path = tmp_path / name
        path.write_bytes(data)
        descriptor = os.open(path, os.O_RDONLY)
        origin = SourceSpec(descriptor, name, "unknown", len(data), DEFAULT_LIMITS, None)
        with pytest.raises(MediaError) as caught, open_container(origin):
            pass
        os.close(descriptor)
        assert caught.value.code == "media.not_video", name
    assert wires.touched() == []


def test_s01_a_movie_whose_data_lies_elsewhere(
    wires: Tripwires, clips: Clips, tmp_path: Path
) -> None:
    # A QuickTime data reference may name another file; ours must not be followed.
    data = clips["faststart"].read_bytes()
    reference = struct.pack(">I4sI", 0, b"url ", 0) + os.fsencode(wires.sibling) + b"\x00"
    reference = struct.pack(">I", len(reference)) + reference[4:]
    at = data.index(b"url \x00\x00\x00\x01") - 4
    moved = data[:at] + reference + data[at + 12 :]
    growth = len(reference) - 12
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = moved.index(box) - 4
        (size,) = struct.unpack(">I", moved[place : place + 4])
        moved = moved[:place] + struct.pack(">I", size + growth) + moved[place + 4 :]
    path = tmp_path / "elsewhere.mov"
    path.write_bytes(moved)
    code = ""
    try:
        probe(path)
    except SeedVideoError as error:
        code = error.code
    assert code == "" or code.startswith("media.")
    assert wires.touched() == []


@pytest.mark.parametrize(
    "name",
    [
        "concat:sibling.mp4|sibling.mp4",
        "subfile,,start,0,end,9999,,:sibling.mp4",
        "file:sibling.mp4",
        "data:video/mp4;base64,AAAA",
        "http://127.0.0.1:{port}/a.mp4",
        "https://127.0.0.1:{port}/a.mp4",
        "tcp://127.0.0.1:{port}",
        "rtsp://127.0.0.1:{port}/a",
        "pipe:0",
        "fd:",
        "cache:sibling.mp4",
        "async:sibling.mp4",
        "crypto:sibling.mp4",
        "-",
        "-i",
        "-vf x",
        "|touch owned",
        "$(touch owned)",
        "%03d.png",
        "*.mp4",
        "/dev/fd/999",
        "",
        " ",
        "a\x00b",
        "a\nb",
        "\x1b[2J",
        "x" * 5000,
        "\udcff\udcfe.mp4",
    ],
)
def test_s02_names_are_only_names(
    wires: Tripwires, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        probe(name.format(port=wires.port))
    assert caught.value.code == "input.not_found"
    assert caught.value.message.isprintable() and len(caught.value.message) < 1000
    assert wires.touched() == [] and not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "http:__x.mp4", "-i", "%03d.mp4", "a\nb.mp4"])
def test_s02_such_names_may_exist(clips: Clips, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(clips["plain"].read_bytes())
    assert probe(tmp_path / name).duration == 3


def code_of(path: Path | str, root: Path | None = None) -> str:
    with pytest.raises(SeedVideoError) as caught:
        probe(path, root=root)
    return caught.value.code


def test_s06_links_out_of_the_root(clips: Clips, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(clips["plain"].read_bytes())
    (root / "real.mp4").write_bytes(clips["plain"].read_bytes())
    (root / "away.mp4").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    (root / "inside" / "near.mp4").symlink_to("../real.mp4")
    assert code_of(root / "away.mp4", root) == "input.outside_root"
    assert code_of(root / "folder" / "outside.mp4", root) == "input.outside_root"
    assert code_of(root / ".." / "outside.mp4", root) == "input.outside_root"
    assert code_of(outside, root) == "input.outside_root"
    assert code_of(tmp_path / "root-like.mp4", root) == "input.not_found"
    assert probe(root / "inside" / "near.mp4", root=root).duration == 3
    assert probe(root / "away.mp4").duration == 3  # Without a root a link is just a name.


def test_s06_a_folder_that_becomes_a_link_out_of_the_root(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / "root" / "folder", tmp_path / "elsewhere"
    for place in (folder, elsewhere):
        place.mkdir(parents=True)
        (place / "clip.mp4").write_bytes(clips["plain"].read_bytes())
    really = os.path.realpath

    def swap_once_resolved(path: str, *, strict: bool = False) -> str:
        real = really(path, strict=strict)
        if not folder.is_symlink():
            folder.rename(tmp_path / "moved")
            folder.symlink_to(elsewhere)
        return real

    monkeypatch.setattr(os.path, "realpath", swap_once_resolved)
    assert code_of(folder / "clip.mp4", tmp_path / "root") == "input.outside_root"


def test_s06_loops_and_dangling_links(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("b.mp4")
    (tmp_path / "b.mp4").symlink_to("a.mp4")
    (tmp_path / "c.mp4").symlink_to("nothing.mp4")
    assert code_of(tmp_path / "a.mp4") == "input.not_found"
    assert code_of(tmp_path / "c.mp4") == "input.not_found"


def test_s06_what_is_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "s.mp4"))
        places: list[Path | str] = [
            tmp_path,
            tmp_path / "pipe.mp4",
            tmp_path / "s.mp4",
            "/dev/zero",
            "/dev/null",
        ]
        for place in places:
            assert code_of(place) == "input.not_a_file"
    (tmp_path / "link.mp4").symlink_to("pipe.mp4")
    assert code_of(tmp_path / "link.mp4") == "input.not_a_file"


def test_s06_a_file_over_the_size_limit(clips: Clips) -> None:
    with pytest.raises(InputError) as caught:
        open_video(clips["plain"], limits=Limits(max_input_bytes=100))
    assert caught.value.code == "input.too_large"


def test_options_are_checked(clips: Clips) -> None:
    with pytest.raises(ConfigError, match="pyav, decord"):
        open_video(clips["plain"], decoder="ffmpeg")  # type: ignore[arg-type]
