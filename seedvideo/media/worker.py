"""Decode process: opens one file, answers requests about it, and may crash at any time.

`seedvideo.media.worker_client` starts it, by a fork server or as a fresh interpreter, with three
descriptors: requests, replies and the file. It writes no file and opens none by name. It may
allocate up to `Limits.worker_memory_bytes` (`seedvideo/config.py`) after its start. It exits when
the reader closes its end of the request pipe. Requests are ``open``, then any number of
``packets``, ``hash``, ``split``, ``pass``, ``thumbnails`` and ``copy``; ``stop`` ends one of the
latter three early.
"""

import os
import resource
import select
import sys
import time
import traceback
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NoReturn

from seedvideo.config import Limits
from seedvideo.environment import (
    DECODER_BYTES,
    address_space_left_bytes,
    is_out_of_memory,
    limit_memory,
    set_limit,
)
from seedvideo.errors import SeedVideoError
from seedvideo.media.types import out_of_memory_error
from seedvideo.utils import ipc

if TYPE_CHECKING:
    from seedvideo.media.demuxer import SourceSpec
    from seedvideo.media.file_probe import ProbeResult
    from seedvideo.media.pyav_decoder import PyavDecoder
    from seedvideo.media.types import (
        Decoder,
        DecodeStats,
        FrameRequest,
        Thumbnail,
        ThumbnailSpan,
        ThumbnailSpec,
    )

HEARTBEAT_INTERVAL_S: Final = 0.5
"""Seconds without a message after which the process sends a heartbeat."""

EXIT_OUT_OF_MEMORY: Final = 87
"""Exit status of a process without memory for an error message."""

MAX_COPY_BYTES_PER_MESSAGE: Final = 1 << 20
"""Maximum bytes of a copied file in one reply."""

_MAX_THUMBNAILS_PER_MESSAGE: Final = 32
_MAX_THUMBNAIL_BYTES_PER_MESSAGE: Final = 2 << 20

_MAX_REQUEST_BYTES: Final = 1 << 26
_MAX_OPEN_FILES: Final = 64
_MAX_TRACE_CHARS: Final = 20_000


def thumbnails_per_message(width_px: int, height_px: int) -> int:
    """Return the maximum number of thumbnails in one reply: few, so that it takes little memory."""
    thumbnail_bytes = width_px * height_px * 3 // 2
    return max(
        1, min(_MAX_THUMBNAILS_PER_MESSAGE, _MAX_THUMBNAIL_BYTES_PER_MESSAGE // thumbnail_bytes)
    )


class _Stopped(Exception):
    """The reader requested to stop this pass."""


class _Channel:
    """Request and reply pipes to the reader."""

    def __init__(self, requests: int, answers: int) -> None:
        self._answers = answers
        self._last_message_s = time.monotonic()
        # Not select(), which fails for descriptors of 1024 or more.
        self._waiting = select.poll()
        self._waiting.register(requests, select.POLLIN)
        self._reader = ipc.MessageReader.from_descriptor(requests)

    def receive(self) -> ipc.Message | None:
        """Wait for the next request; return None once the reader has closed its end."""
        try:
            return self._reader.poll(max_body_bytes=_MAX_REQUEST_BYTES)
        except EOFError:
            return None

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send a reply; wait until the reader takes it."""
        ipc.send(self._answers, header, body)
        self._last_message_s = time.monotonic()

    def heartbeat(self) -> None:
        """Stop if the reader requests it; send a heartbeat at intervals."""
        if self._waiting.poll(0):
            message = self.receive()
            if message is None:
                sys.exit(0)
            raise _Stopped
        if time.monotonic() - self._last_message_s > HEARTBEAT_INTERVAL_S:
            self.send({"type": "alive"})


def preload() -> None:
    """Import the decoder in a fork server, once for all decode processes.

    Does nothing if the address space may be too small: each process then reports that itself.
    """
    if not _has_room():
        return
    import av.logging

    from seedvideo.media import demuxer, file_probe, gop_decoder, pyav_decoder  # noqa: F401

    av.logging.set_level(None)


def _has_room() -> bool:
    """Return whether the libraries fit or are loaded; with less address space they may crash."""
    left_bytes = address_space_left_bytes()
    return left_bytes is None or left_bytes >= DECODER_BYTES // 2 or "av.logging" in sys.modules


def main(requests: int, answers: int, file: int) -> None:
    """Serve one reader until it closes its end."""
    channel = _Channel(requests, answers)
    try:
        _serve(channel, file)
    except BrokenPipeError:
        return
    except MemoryError:
        _exit_out_of_memory()
    except SeedVideoError as error:
        channel.send(
            {
                "type": "error",
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "retryable": error.retryable,
            }
        )
    except Exception:  # noqa: BLE001  # A bug: report any exception to the reader.
        channel.send({"type": "fault", "trace": traceback.format_exc()[-_MAX_TRACE_CHARS:]})


def _serve(channel: _Channel, file: int) -> None:
    request = channel.receive()
    if request is None:
        return
    display_name = str(request.header["display_name"])
    try:
        if not _has_room():
            raise MemoryError
        _serve_file(channel, file, request.header)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_error(display_name) from error


def _serve_file(channel: _Channel, file: int, request: dict[str, Any]) -> None:
    # Late, so that the reader's timeout covers these imports if they are not preloaded.
    import av.logging

    from seedvideo.media.demuxer import SourceSpec
    from seedvideo.media.file_probe import probe_file
    from seedvideo.media.gop_decoder import UnreliableSeek
    from seedvideo.media.pyav_decoder import PyavDecoder
    from seedvideo.media.types import DecodeStats

    av.logging.set_level(None)
    limits = Limits(**request["limits"])
    use_decord = request["decoder"] == "decord"
    if use_decord:
        import decord  # noqa: F401  # Its libraries must be loaded before memory is limited.
    _limit_resources(limits)
    spec = SourceSpec(
        descriptor=file,
        display_name=str(request["display_name"]),
        kind=str(request["kind"]),
        size_bytes=int(request["size_bytes"]),
        limits=limits,
        fps=None if request["fps"] is None else Fraction(request["fps"]),
    )
    opened = probe_file(spec, channel.heartbeat)
    pyav = PyavDecoder(spec, opened.index, opened.table, opened.orientation, opened.crop)
    decoder: Decoder = pyav
    if use_decord:
        from seedvideo.media.decord_decoder import DecordDecoder

        decoder = DecordDecoder(spec, opened)
    index = opened.index
    channel.send(
        {
            "type": "opened",
            "info": _to_json(opened.info),
            "time_base": str(index.time_base),
            "start": index.start,
            "frames": len(index.times),
        },
        ipc.pack_integers([*index.times, *index.keyframes]),
    )
    while (message := channel.receive()) is not None:
        if message.type == "packets":
            _answer_packets(channel, opened)
        if message.type == "hash":
            _answer_hash(channel, spec, opened, pyav, message)
        if message.type == "split":
            _answer_split(channel, pyav, message)
        if message.type not in ("pass", "thumbnails", "copy"):
            continue
        stats, ending = DecodeStats(planned_packets=int(message.header["planned_packets"])), "done"
        try:
            if message.type == "pass":
                _answer_pass(channel, decoder, message, stats)
            elif message.type == "copy":
                _answer_copy(channel, spec, opened, message)
            else:
                _answer_thumbnails(channel, pyav, message, stats)
        except _Stopped:
            pass  # Its generator closes what must not be used again.
        except UnreliableSeek:
            ending = "untrusted"
        channel.send(
            {
                "type": ending,
                "decoded_frames": stats.decoded_frames,
                "damaged_packets": stats.damaged_packets,
                "patched_frames": stats.patched_frames,
                "lost_frames": stats.lost_frames,
                "warnings": [[w.code, w.message] for w in stats.warnings],
            }
        )


def _answer_pass(
    channel: _Channel, decoder: "Decoder", message: ipc.Message, stats: "DecodeStats"
) -> None:
    wanted, strategy = _wanted(message), message.header["strategy"]
    for picture in decoder.pictures(
        wanted, strategy=strategy, heartbeat=channel.heartbeat, stats=stats
    ):
        channel.send({"type": "picture", "frame_index": picture.frame_index}, picture.rgb)
        channel.heartbeat()


def _answer_copy(
    channel: _Channel, spec: "SourceSpec", opened: "ProbeResult", message: ipc.Message
) -> None:
    from seedvideo.media.stream_copy import copy_parts
    from seedvideo.media.types import PacketRange

    numbers = ipc.unpack_integers(message.body)
    ranges = [PacketRange(*numbers[i : i + 2]) for i in range(0, len(numbers), 2)]
    for data in copy_parts(spec, opened.index, opened.table, ranges, channel.heartbeat):
        for start in range(0, len(data), MAX_COPY_BYTES_PER_MESSAGE):
            piece = data[start : start + MAX_COPY_BYTES_PER_MESSAGE]
            is_last = start + len(piece) == len(data)
            channel.send({"type": "copied", "is_last": is_last}, piece)
            channel.heartbeat()


def _answer_split(channel: _Channel, pyav: "PyavDecoder", message: ipc.Message) -> None:
    from seedvideo.media.types import FRAME_KINDS

    if message.header["of"] == "pass":
        chunks = pyav.split(_wanted(message), strategy=message.header["strategy"])
        spans: list[ThumbnailSpan] = []
    else:
        spans, chunks = pyav.split_thumbnails(*_spans(message))
    numbers = [number for each in chunks for number in (each.end, each.end_frame, each.packets)]
    for span in spans:
        numbers += (span.first, span.end, FRAME_KINDS.index(span.frame_kinds))
    channel.send({"type": "chunks", "count": len(chunks)}, ipc.pack_integers(numbers))


def _answer_packets(channel: _Channel, opened: "ProbeResult") -> None:
    index, payload = opened.index, opened.table.payload
    sizes = [payload[number] for number in index.packet_of_frame]
    channel.send({"type": "packets"}, ipc.pack_integers([*sizes, *index.packet_of_frame]))


def _answer_hash(
    channel: _Channel,
    spec: "SourceSpec",
    opened: "ProbeResult",
    pyav: "PyavDecoder",
    message: ipc.Message,
) -> None:
    from seedvideo.media.packet_hash import hash_packets

    pyav.close()
    digest = hash_packets(
        spec,
        opened.index,
        opened.table,
        first=int(message.header["first"]),
        end=int(message.header["end"]),
        heartbeat=channel.heartbeat,
    )
    channel.send({"type": "hash", "sha256": digest})


def _answer_thumbnails(
    channel: _Channel, pyav: "PyavDecoder", message: ipc.Message, stats: "DecodeStats"
) -> None:
    header, (spans, size) = message.header, _spans(message)
    thumbnails = pyav.thumbnails(
        spans,
        size,
        strategy=header["strategy"],
        skip_loop_filter=header["skip_loop_filter"],
        after_frame=header["after_frame"],
        end_frame=header["end_frame"],
        heartbeat=channel.heartbeat,
        stats=stats,
    )
    most = thumbnails_per_message(size.width_px, size.height_px)
    batch: list[Thumbnail] = []
    try:
        for thumbnail in thumbnails:
            batch.append(thumbnail)
            if len(batch) == most:
                _send_thumbnails(channel, batch)
                batch.clear()
    finally:
        # Also after an unreliable seek: thumbnails decoded before it are valid.
        if batch:
            _send_thumbnails(channel, batch)


def _send_thumbnails(channel: _Channel, batch: list["Thumbnail"]) -> None:
    frame_indices = ipc.pack_integers([thumbnail.frame_index for thumbnail in batch])
    planes = b"".join(thumbnail.planes for thumbnail in batch)
    channel.send({"type": "thumbnails", "count": len(batch)}, frame_indices + planes)
    channel.heartbeat()


def _wanted(message: ipc.Message) -> list["FrameRequest"]:
    from seedvideo.media.types import FrameRequest

    numbers = ipc.unpack_integers(message.body)
    return [FrameRequest(*numbers[i : i + 3]) for i in range(0, len(numbers), 3)]


def _spans(message: ipc.Message) -> tuple[list["ThumbnailSpan"], "ThumbnailSpec"]:
    from seedvideo.media.types import FRAME_KINDS, ThumbnailSpan, ThumbnailSpec

    header, numbers = message.header, ipc.unpack_integers(message.body)
    spans = [
        ThumbnailSpan(numbers[i], numbers[i + 1], FRAME_KINDS[numbers[i + 2]])
        for i in range(0, len(numbers), 3)
    ]
    return spans, ThumbnailSpec(
        header["width_px"], header["height_px"], Fraction(header["interval"])
    )


def _to_json(info: Any) -> dict[str, Any]:
    """Return the fields of a value object as JSON values, fractions as strings."""
    plain: dict[str, Any] = {}
    for name in info.__dataclass_fields__:
        value = getattr(info, name)
        plain[name] = str(value) if isinstance(value, Fraction) else value
    plain["warnings"] = [[w.code, w.message] for w in info.warnings]
    return plain


def _limit_resources(limits: Limits) -> None:
    """Limit the memory and open files of this process, and forbid writing."""
    set_limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    set_limit(resource.RLIMIT_FSIZE, 0)
    set_limit(resource.RLIMIT_CORE, 0)
    limit_memory(int(limits.worker_memory_bytes))


def _exit_out_of_memory() -> NoReturn:
    os._exit(EXIT_OUT_OF_MEMORY)
