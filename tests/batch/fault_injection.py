"""A folder with every kind of bad clip in it, and what must become of each.

The files of tests/media/test_faults_*.py, made again under names that a folder is searched for, as
a job meets them: all at once, with sound clips among them.
"""

import os
import random
import shutil
import stat
from pathlib import Path
from typing import Final

from PIL import Image

from tests.batch.sample_journal import HOSTILE
from tests.fixtures import Clips, coded_frame, coded_video, ffmpeg

DONE: Final = "done"
X264: Final = "-c:v libx264 -pix_fmt yuv420p -preset veryfast"
_MAX_NAME_BYTES: Final = 255
_BINARY: Final = bytes(range(256)) * 20


def make_faults(folder: Path, clips: Clips) -> dict[str, str]:
    """Fill a folder. Returns what must become of each path in it: a code, or done."""
    folder.mkdir()
    return {
        **_broken(folder, clips),
        **_odd(folder, clips),
        **_no_files(folder, clips),
        **_names(folder, clips["plain"]),
    }


def _broken(folder: Path, clips: Clips) -> dict[str, str]:
    """Empty, cut, damaged, or no video at all (M01-M08, S01)."""
    plain, fast = clips["plain"].read_bytes(), clips["faststart"].read_bytes()
    middle = len(plain) // 2
    noise = random.Random(1).randbytes(20_000)
    data = {
        "empty.mp4": (b"", "input.empty"),
        "text.mp4": (b"<html></html>\n", "media.not_video"),
        "wide-text.mp4": ("text".encode("utf-16"), "media.not_video"),
        "random.mp4": (noise, "media.not_video"),
        "random-behind-a-start.mp4": (b"\0\0\0\x18ftypmp42" + noise, "media.unreadable"),
        "cut-before-the-index.mp4": (plain[: len(plain) * 6 // 10], "media.unreadable"),
        "cut-behind-the-index.mp4": (fast[: len(fast) * 6 // 10], DONE),
        "cut.ts": (clips["ts"].read_bytes()[:-20_000], DONE),
        "damaged.mp4": (plain[:middle] + bytes(1_000) + plain[middle + 1_000 :], DONE),
        "playlist.mp4": (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:3,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
            "media.not_video",
        ),
        "binary-playlist.mp4": (b"#EXTM3U\n#EXTINF:3,\nplain.mp4\n" + _BINARY, "media.not_video"),
        "concat.mp4": (b"ffconcat version 1.0\nfile plain.mp4\n", "media.not_video"),
    }
    for name, (content, _) in data.items():
        (folder / name).write_bytes(content)
    empty_moov = "-c copy -frames:v 0 -movflags empty_moov"
    ffmpeg("-i", clips["plain"], *empty_moov.split(), folder / "no-frames.mp4")
    coded_video(folder / "one-frame.mp4", X264, frames=1)
    huge = "color=s=8000x8000:r=5:d=0.2"
    ultra = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
    ffmpeg("-f", "lavfi", "-i", huge, *ultra.split(), folder / "large.mp4")
    Image.new("1", (14_000, 14_000)).save(folder / "large-photo.mp4", "png")
    parts = [
        coded_video(folder / f"part-{side}.ts", f"{X264} -bf 0", frames=30, size=(side, 112))
        for side in (192, 384)
    ]
    (folder / "size-changes.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    return {
        **{name: verdict for name, (_, verdict) in data.items()},
        "no-frames.mp4": "media.no_frames",
        "one-frame.mp4": DONE,
        "large.mp4": "media.too_big",
        "large-photo.mp4": "media.too_big",
        **{part.name: DONE for part in parts},
        "size-changes.ts": DONE,
    }


def _odd(folder: Path, clips: Clips) -> dict[str, str]:
    """Sound, but unlike most files (M10-M22)."""
    for name in ("vfr", "gif", "cut_open_gop", "shifted", "ts_late"):
        shutil.copy(clips[name], folder)
    coded_video(folder / "bare.mp4", f"{X264} -f h264")
    for name, width, height, codec in (
        ("odd-sides.mkv", 193, 113, "-c:v libx264 -pix_fmt yuv444p"),
        ("tall.mkv", 16, 1024, X264),
        ("dot.mkv", 1, 1, "-c:v ffv1 -pix_fmt bgr0"),
        ("sliver.mkv", 16, 4096, X264),
    ):
        coded_video(folder / name, codec, frames=5, size=(width, height))
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", folder / "audio-only.mp4")
    ffmpeg("-display_rotation", "90", "-i", clips["plain"], "-c", "copy", folder / "turned.mp4")
    Image.fromarray(coded_frame(77)).save(folder / "photo.mp4", "jpeg")
    Image.fromarray(coded_frame(77)).save(folder / "still.gif")
    key = "76a6c65c5ea762046bd749a2e632ccbb"
    scheme = f"-encryption_scheme cenc-aes-ctr -encryption_key {key} -encryption_kid {key}"
    ffmpeg("-i", clips["plain"], "-c", "copy", *scheme.split(), folder / "locked.mp4")
    coded_video(folder / "rare-codec.mkv", "-c:v magicyuv", frames=3)
    return {
        **dict.fromkeys(("vfr.mp4", "moving.gif", "cut_open_gop.mp4", "shifted.mp4"), DONE),
        **dict.fromkeys(("late.ts", "odd-sides.mkv", "tall.mkv", "dot.mkv", "turned.mp4"), DONE),
        **dict.fromkeys(("photo.mp4", "still.gif"), DONE),
        "bare.mp4": "media.no_timestamps",
        "sliver.mkv": "media.too_big",
        "audio-only.mp4": "media.no_video",
        "locked.mp4": "media.encrypted",
        "rare-codec.mkv": "media.codec_not_allowed",
    }


def _no_files(folder: Path, clips: Clips) -> dict[str, str]:
    """Files with the name of a video that are not videos; and clips of one name (S06, S12)."""
    os.mkfifo(folder / "pipe.mp4")
    os.mknod(folder / "socket.mp4", stat.S_IFSOCK | 0o600)
    (folder / "dangling.mp4").symlink_to("nothing.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "link.mp4").symlink_to(clips["plain"])
    for place in ("folder.mp4/clip.mp4", "a/clip.mp4", "a/CLIP.mp4", "b/clip.mp4"):
        (folder / place).parent.mkdir(exist_ok=True)
        shutil.copy(clips["no_b_frames"], folder / place)
    return {
        "pipe.mp4": "input.not_a_file",
        "socket.mp4": "input.not_a_file",
        "dangling.mp4": "input.not_found",
        "loop.mp4": "input.not_found",
        "link.mp4": DONE,
        "folder.mp4/clip.mp4": DONE,
        "a/clip.mp4": DONE,
        "a/CLIP.mp4": DONE,
        "b/clip.mp4": DONE,
    }


def _names(folder: Path, clip: Path) -> dict[str, str]:
    """Sound clips under names that mean something to a terminal, a page or a table (S07)."""
    files = [f"{name.replace('/', '_').replace(chr(0), '_')}.mp4" for name in HOSTILE]
    # Python sees no suffix after nothing but dots: such a file is not found in a folder.
    files = [name for name in files if os.path.splitext(name)[1]]
    names = [f"names/{name}" for name in files if len(os.fsencode(name)) <= _MAX_NAME_BYTES]
    (folder / "names").mkdir()
    for name in names:
        shutil.copy(clip, folder / name)
    return dict.fromkeys(names, DONE)
