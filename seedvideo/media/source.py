"""Safe opening of an input: from a file name, bytes or a binary file to an open regular file.

A name from a user or a manifest is only ever a file name here: it is resolved, checked and opened,
and later steps get a descriptor. So ``concat:a|b``, ``rtsp://...`` and ``-i`` name files, which do
not exist. Remote files are downloaded first (`seedvideo.remote`) and come as an `OpenedInput`. The
first bytes distinguish text (playlists, scripts, SDP, XML) from media before any demuxer reads
them.
"""

import hashlib
import io
import os
import re
import stat
import tempfile
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias

from seedvideo.config import Limits
from seedvideo.errors import InputError, InputTypeError, MediaError
from seedvideo.media.still_images import is_moving_png, moving_webp_error
from seedvideo.utils.addresses import is_address, safe_name


@dataclass(frozen=True)
class OpenedInput:
    """A regular file that is already open, such as a download; it may have no name on the disk.

    Args:
        descriptor: open descriptor; its owner closes it, also while the video is open.
        name: name under which the video is reported, without secrets.
    """

    descriptor: int
    name: str


VideoInput: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | OpenedInput
)
"""Accepted video inputs: a file name or an address, bytes, or a file opened in binary mode."""

DigestName: TypeAlias = Literal["blake2b", "sha256"]

_BYTES: Final = (bytes, bytearray, memoryview)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

HEAD_BYTES: Final = 4096
"""Bytes at the start of a file that `sniff` inspects."""

_HASH_BYTES: Final = 1 << 22
_MAX_DISPLAY_CHARS: Final = 200
_PLAYLISTS: Final = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"<smil", b"v=0", b"[playlist]")
SIGNATURES: Final = (
    # offset, bytes, kind
    (0, rb"\x89PNG\r\n\x1a\n", "png"),
    (0, rb"\xff\xd8\xff", "jpeg"),
    (0, rb"RIFF....WEBP", "webp"),
    (0, rb"BM.{8}....[\x0c-\x7c]\x00\x00\x00", "bmp"),
    (0, rb"GIF8[79]a", "gif"),
    (4, rb"(?:ftyp|moov|mdat|free|skip|wide|pnot|styp|moof|sidx|uuid)", "mov"),
    (0, rb"\x1a\x45\xdf\xa3", "matroska"),
    (0, rb"RIFF....AVI ", "avi"),
    (0, rb"FLV\x01", "flv"),
    (0, rb"OggS", "ogg"),
    (0, rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, rb"DKIF", "ivf"),
    (0, rb"\x00\x00\x01\xba", "mpeg"),
    (0, rb"\x47.{187}\x47.{187}\x47", "mpegts"),
    (4, rb"\x47.{191}\x47.{191}\x47", "mpegts"),
    (0, rb"ID3|fLaC|RIFF....WAVE|FORM....AIF|\xff[\xfb\xf3\xf2\xf1\xf9]", "audio"),
)
_Y4M: Final = b"YUV4MPEG2 "
"""Start of an uncompressed video, whose header and pictures may be taken for text."""

_WEBP_MOVES: Final = 0x02
"""The animation flag of a WebP file (RFC 9649, section 2.7)."""

IMAGE_KINDS: Final = ("png", "jpeg", "webp", "bmp")
"""Kinds of still image, read as a video of one frame."""


_REPLACED_MESSAGE: Final = "was replaced while being opened"
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""NONBLOCK: opening must not hang if the file has become a pipe since it was checked."""


@dataclass(frozen=True)
class Source:
    """An open, regular file with a media signature.

    Args:
        descriptor: open descriptor; `close` closes it.
        real: path with every link followed.
        name: name as given by the caller.
        display_name: name that is safe to print.
        kind: kind by the signature: a container, a still image, ``audio`` or ``unknown``.
        size_bytes: size of the file.
        owner_pid: id of the process that removes ``real``, a temporary copy, on `close`; 0 if
            nothing is to be removed.
    """

    descriptor: int
    real: str
    name: str
    display_name: str
    kind: str
    size_bytes: int
    owner_pid: int = 0

    def reopen(self) -> int:
        """Open the same file again, with a separate position.

        Returns:
            A descriptor that the caller must close.

        Raises:
            OSError: if the file cannot be opened.
            InputError: ``input.changed`` if the path names another file now.
        """
        same = f"/proc/self/fd/{self.descriptor}"
        if os.path.exists(same):  # On Linux this is the file itself, even if it was moved.
            return os.open(same, os.O_RDONLY | os.O_CLOEXEC)
        descriptor = os.open(self.real, _FLAGS)
        mine, its = os.fstat(self.descriptor), os.fstat(descriptor)
        if (mine.st_dev, mine.st_ino) != (its.st_dev, its.st_ino):
            os.close(descriptor)
            raise changed_error(self.display_name, _REPLACED_MESSAGE)
        return descriptor

    def close(self) -> None:
        """Close the descriptor, and remove the file if it is a temporary copy."""
        os.close(self.descriptor)
        if self.owner_pid == os.getpid():
            with suppress(FileNotFoundError):  # The system may have cleared its temporary folder.
                os.unlink(self.real)


def name_of(video: object) -> str:
    """Return the name under which a video is opened and reported.

    Args:
        video: file name, bytes of a video file, or a file opened in binary mode.

    Raises:
        InputTypeError: ``input.type`` for any other type.
    """
    if isinstance(video, str | os.PathLike):
        return safe_name(os.fsdecode(video))
    if isinstance(video, OpenedInput):
        return video.name
    if isinstance(video, _BYTES):
        return "<bytes>"
    if callable(getattr(video, "read", None)) and not isinstance(video, io.TextIOBase):
        name = getattr(video, "name", None)
        return name if isinstance(name, str) and name else "<file>"
    kind = type(video)
    raise InputTypeError(
        "input.type",
        f"video is of type {kind.__module__}.{kind.__qualname__}, expected a file name, bytes,"
        " io.BytesIO or a file opened in binary mode",
        hint="write arrays and tensors to a video file first, for example with PyAV or ffmpeg",
    )


def open_source(video: VideoInput, *, limits: Limits, root: Path | None) -> Source:
    """Open a file for decoding.

    Args:
        video: file name, bytes of a video file, or a binary file, which is read from its current
            position to its end. Bytes are first copied to a temporary file without a name.
        limits: limits that bound the size.
        root: folder that must contain the file after links are followed, so bytes are refused; None
            for any.

    Raises:
        InputError: if the name is not that of a regular, non-empty file inside the bounds, or
            ``input.type`` for other types.
        MediaError: if the file is text, such as a playlist, or audio.
    """
    name = name_of(video)
    display_name = display_path(name)
    if isinstance(video, OpenedInput):
        return _open_again(video, limits=limits, root=root)
    if not isinstance(video, str | os.PathLike):
        return _open_spooled(video, name, limits=limits, root=root)
    if is_address(name):
        _check_inside("/", root, display_name)
    try:
        # An empty name would resolve to the current folder.
        real = os.path.realpath(name or "\0", strict=True)
        facts = os.stat(real)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        if _is_stream(name):
            raise _not_a_file_error(display_name, "a pipe, socket or device") from error
        hint = "check the name and the folder"
        if _URL.match(name):
            hint = "addresses are s3://, gs://, az://, https:// and hf://; download others first"
        raise InputError("input.not_found", f"{display_name}: no such file", hint=hint) from error
    except OSError as error:
        # Link loops, names that are too long, folders without search permission.
        raise InputError("input.not_found", f"{display_name}: {_reason(error)}") from error
    _check_inside(real, root, display_name)
    _check_regular(facts, display_name)
    try:
        descriptor = os.open(real, _FLAGS)
    except OSError as error:
        raise InputError("input.unreadable", f"{display_name}: {_reason(error)}") from error
    try:
        opened = os.fstat(descriptor)
        _check_regular(opened, display_name)
        if (opened.st_dev, opened.st_ino) != (facts.st_dev, facts.st_ino):
            raise changed_error(display_name, _REPLACED_MESSAGE)
        _check_size(opened.st_size, display_name, limits)
        # A folder on the way may have become a link since the first check.
        _check_inside(_resolved_path(descriptor, real), root, display_name)
        return Source(
            descriptor, real, name, display_name, _kind_of(descriptor, display_name), opened.st_size
        )
    except BaseException:
        os.close(descriptor)
        raise


def _open_again(video: OpenedInput, *, limits: Limits, root: Path | None) -> Source:
    """Open a file that is already open, with a separate descriptor."""
    display_name = display_path(video.name)
    if root is not None:
        _check_inside("/", root, display_name)
    descriptor = os.dup(video.descriptor)
    try:
        facts = os.fstat(descriptor)
        _check_regular(facts, display_name)
        _check_size(facts.st_size, display_name, limits)
        real = _resolved_path(descriptor, "")
        kind = _kind_of(descriptor, display_name)
        return Source(descriptor, real, video.name, display_name, kind, facts.st_size)
    except BaseException:
        os.close(descriptor)
        raise


def _open_spooled(
    video: bytes | bytearray | memoryview | BinaryIO,
    name: str,
    *,
    limits: Limits,
    root: Path | None,
) -> Source:
    """Copy bytes to a private temporary file and open it."""
    display_name = display_path(name)
    if root is not None:
        _check_inside("/", root, display_name)
    stream = io.BytesIO(video) if isinstance(video, _BYTES) else video
    try:
        descriptor, real = tempfile.mkstemp(prefix="seedvideo-")
    except OSError as error:
        raise _spool_error(display_name, error) from error
    # Without /proc another process can open the file by its name only.
    owner_pid = 0 if os.path.exists("/proc/self/fd") else os.getpid()
    if not owner_pid:
        os.unlink(real)
    try:
        size_bytes = _copy(stream, descriptor, display_name, limits)
        _check_size(size_bytes, display_name, limits)
        kind = _kind_of(descriptor, display_name)
        return Source(descriptor, real, name, display_name, kind, size_bytes, owner_pid)
    except BaseException:
        os.close(descriptor)
        if owner_pid:
            os.unlink(real)
        raise


def _copy(stream: BinaryIO, descriptor: int, display_name: str, limits: Limits) -> int:
    """Copy the rest of a stream, up to one byte beyond the limit; return the number of bytes."""
    size_bytes = 0
    while size_bytes <= limits.max_input_bytes:
        try:
            data = stream.read(min(_HASH_BYTES, limits.max_input_bytes + 1 - size_bytes))
        except Exception as error:
            # A closed file, a write-only file, a damaged archive: the caller's object may raise
            # anything.
            raise InputError(
                "input.unreadable",
                f"{display_name}: the file object cannot be read: {str(error).lower()}",
                hint="open it with open(name, 'rb'), and check that all of it can be read",
            ) from error
        if not isinstance(data, _BYTES):
            raise InputTypeError(
                "input.type",
                f"{display_name}: its read() returned {type(data).__name__}, expected bytes",
                hint="open the file in binary mode: open(name, 'rb')",
            )
        if not data:
            break
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError as error:
            raise _spool_error(display_name, error) from error
        size_bytes += memoryview(data).nbytes
    if size_bytes == 0 and (position := _position_in(stream)) > 0:
        raise InputError(
            "input.empty",
            f"{display_name}: no bytes are left to read at position {position:,}",
            hint="rewind it first: file.seek(0)",
        )
    return size_bytes


def _position_in(stream: BinaryIO) -> int:
    """Return the position of a stream in bytes; 0 if it is unknown."""
    try:
        return stream.tell()
    except (AttributeError, OSError):
        return 0  # Only `read` is required.


def _spool_error(display_name: str, error: OSError) -> InputError:
    return InputError(
        "input.unreadable",
        f"{display_name}: cannot be copied to a temporary file in {tempfile.gettempdir()}:"
        f" {_reason(error)}",
        hint="set TMPDIR to a folder with free space, or give a file name",
    )


def _kind_of(descriptor: int, display_name: str) -> str:
    kind = sniff(os.pread(descriptor, HEAD_BYTES, 0), display_name=display_name)
    return "apng" if kind == "png" and is_moving_png(descriptor) else kind


def digest(descriptor: int, algorithm: DigestName = "blake2b") -> str:
    """Hash all bytes of an open file, in hexadecimal: of 32 bytes."""
    done = 0
    hashed = hashlib.sha256() if algorithm == "sha256" else hashlib.blake2b(digest_size=32)
    while data := os.pread(descriptor, _HASH_BYTES, done):
        hashed.update(data)
        done += len(data)
    return hashed.hexdigest()


def sniff(head: bytes, *, display_name: str) -> str:
    """Detect the kind of a file from its first bytes.

    Args:
        head: first `HEAD_BYTES` of the file, or all of it.
        display_name: name of the file in messages.

    Raises:
        MediaError: if it is text, or audio in a format without video.
    """
    if head.startswith(_Y4M):
        return "y4m"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:12].lower().startswith(tuple(mark.lower() for mark in _PLAYLISTS)):
        raise MediaError(
            "media.not_video",
            f"{display_name}: is a playlist or a description, not a video",
            hint="give the video file itself; lists that point to other files are never followed",
        )
    if _is_text(head):
        raise MediaError("media.not_video", f"{display_name}: is a text file, not a video")
    if head[8:16] == b"WEBPVP8X" and len(head) > 20 and head[20] & _WEBP_MOVES:
        raise moving_webp_error(display_name)
    for offset, pattern, kind in SIGNATURES:
        if re.compile(pattern, re.DOTALL).match(head, offset):
            if kind == "audio":
                raise MediaError("media.no_video", f"{display_name}: is an audio file")
            return kind
    return "unknown"


def display_path(name: str) -> str:
    """Return a file name that is safe to print: one line, no control characters, bounded length.

    An address loses its secrets.
    """
    text = safe_name(name)
    if len(text) > _MAX_DISPLAY_CHARS:
        half = _MAX_DISPLAY_CHARS // 2
        text = f"{text[:half]}...{text[-half:]}"
    return "".join(
        c if unicodedata.category(c)[0] not in "CZ" or c == " " else ascii(c)[1:-1] for c in text
    )


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and not head.startswith(b"\xff\xfe\x00"):
        return True
    part = head[:512]
    if b"\x00" in part:
        return False
    try:
        text = part.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(part) - 3:
            return False
        text = part[: error.start].decode("utf-8")
    printable = sum(c.isprintable() or c in "\t\r\n\f\x1b" for c in text)
    return printable >= 0.95 * len(text)


def _check_inside(real: str, root: Path | None, display_name: str) -> None:
    if root is not None and not Path(real).is_relative_to(os.path.realpath(root)):
        raise InputError(
            "input.outside_root",
            f"{display_name}: lies outside the allowed folder",
            hint="move the file, or allow another folder",
        )


def changed_error(display_name: str, how: str) -> InputError:
    """Return the error for a file that changed since it was opened."""
    return InputError(
        "input.changed",
        f"{display_name}: {how}",
        hint="wait until the file is complete, then retry",
        retryable=True,
    )


def _resolved_path(descriptor: int, real: str) -> str:
    """Return the path of an open file: from the descriptor on Linux, else resolved again."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return os.path.realpath(real)


def _check_regular(facts: os.stat_result, display_name: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        is_folder = stat.S_ISDIR(facts.st_mode)
        raise _not_a_file_error(
            display_name, "a folder" if is_folder else "a pipe, socket or device"
        )


def _is_stream(name: str) -> bool:
    """Return whether a name is that of a pipe, socket or device: `/dev/stdin`, `/dev/fd/3`, a FIFO.

    `/proc` links pipes and sockets to names that no file has, so they cannot be resolved.
    """
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _not_a_file_error(display_name: str, what: str) -> InputError:
    hint = "give the video file itself"
    if what != "a folder":
        hint = f"save its output first: cat {display_name} > video.mp4"
    return InputError(
        "input.not_a_file", f"{display_name}: is {what}, not a regular file", hint=hint
    )


def _check_size(size_bytes: int, display_name: str, limits: Limits) -> None:
    if size_bytes == 0:
        raise InputError("input.empty", f"{display_name}: is empty", hint="copy it again")
    if size_bytes > limits.max_input_bytes:
        raise InputError(
            "input.too_large",
            f"{display_name}: has {size_bytes} bytes, the limit is {limits.max_input_bytes}",
            hint="cut the file, or raise the limit from Python",
        )


def _reason(error: OSError) -> str:
    return (error.strerror or "cannot be opened").lower()
