"""Messages between the reader and its decode processes: requests, their split, validated replies.

A decode process may be taken over by a hostile file, so no reply is trusted: each parser raises one
of `MALFORMED` for a reply that does not answer the request.

Separate from `seedvideo.media.reader`, which would exceed 500 lines with it.
"""

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

from seedvideo.config import Limits
from seedvideo.errors import ConfigError
from seedvideo.media.types import (
    FRAME_KINDS,
    UNBOUNDED,
    DecodeReport,
    Frame,
    MediaInfo,
    MediaWarning,
    PacketIndex,
    PacketRange,
    Strategy,
    Target,
    ThumbnailBatch,
    ThumbnailSpan,
    ThumbnailSpec,
)
from seedvideo.media.worker_pool import Task
from seedvideo.utils import ipc

MALFORMED: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    ipc.ProtocolError,
)
"""Exceptions raised while parsing a malformed reply."""

_MAX_TICKS: Final = (1 << 63) - 1
"""Maximum number of ticks: FFmpeg's 64-bit integer."""

_MAX_WARNINGS: Final = 32
"""Maximum warnings kept per pass: there are fewer codes."""

_MAX_TEXT_CHARS: Final = 1_000
"""Maximum characters of a warning."""


@dataclass(frozen=True)
class OpenReply:
    """Reply to ``open``."""

    info: MediaInfo
    times: tuple[Fraction, ...]
    keyframes: tuple[int, ...]


def parse_open_reply(message: ipc.Message, *, path: str, limits: Limits) -> OpenReply:
    """Parse the reply to ``open``."""
    header = message.header
    ticks = ipc.unpack_integers(message.body)
    count, start, base = header["frames"], header["start"], exact(header["time_base"])
    times, keyframes = ticks[:count], ticks[count:]
    if message.type != "opened" or not 0 < count <= len(ticks) or base <= 0:
        raise ipc.ProtocolError("invalid reply to open")
    if any(a >= b for a, b in pairwise(times)) or abs(start) > _MAX_TICKS:
        raise ipc.ProtocolError("times are not increasing")
    if any(a >= b for a, b in pairwise([-1, *keyframes, count])):
        raise ipc.ProtocolError("keyframes are not increasing")
    info = parse_info(header["info"], path=path)
    sides = (info.width_px, info.height_px)
    if any(type(side) is not int or not 0 < side <= limits.max_frame_pixels for side in sides):
        raise ipc.ProtocolError("invalid picture size")
    return OpenReply(
        info=info,
        times=tuple((tick - start) * base for tick in times),
        keyframes=tuple(keyframes),
    )


def parse_packet_sizes(message: ipc.Message, *, frames: int) -> PacketIndex:
    """Parse the reply to ``packets``."""
    numbers = ipc.unpack_integers(message.body)
    if message.type != "packets" or len(numbers) != 2 * frames:
        raise ipc.ProtocolError("number of packets differs from number of frames")
    return PacketIndex(array("q", numbers[:frames]), array("q", numbers[frames:]))


def parse_hash(message: ipc.Message) -> str:
    """Parse the reply to ``hash``: 32 bytes in hexadecimal."""
    digest = bytes.fromhex(message.header["sha256"])
    if message.type != "hash" or len(digest) != 32:
        raise ipc.ProtocolError("invalid hash")
    return digest.hex()


def parse_frame(message: ipc.Message, target: Target, times: Sequence[Fraction]) -> Frame:
    """Parse one reply to ``pass``: the picture of a target.

    Args:
        message: the reply.
        target: the target, whose size the picture has.
        times: presentation times of all frames.
    """
    import numpy as np  # Late: the decode process imports this package and needs none.

    frame_index = message.header["frame_index"]
    if type(frame_index) is not int or not 0 <= frame_index < len(times):
        raise ValueError(f"frame index {frame_index!r}")
    pixels = np.frombuffer(message.body, np.uint8)
    return Frame(times[frame_index], pixels.reshape(target.height_px, target.width_px, 3))


def parse_thumbnails(
    message: ipc.Message, size: ThumbnailSpec, *, after_frame: int, frames: int
) -> ThumbnailBatch:
    """Parse one reply to ``thumbnails``: frame indices rise, above ``after_frame``."""
    import numpy as np  # Late: the decode process imports this package and needs none.

    count = int(message.header["count"])
    width_px, height_px = size.width_px, size.height_px
    shape = (count, height_px * 3 // 2, width_px)
    if count < 1 or len(message.body) != count * (8 + width_px * height_px * 3 // 2):
        raise ipc.ProtocolError("thumbnails have an unexpected size")
    frame_indices = ipc.unpack_integers(message.body[: 8 * count])
    if any(a >= b for a, b in pairwise([after_frame, *frame_indices, frames])):
        raise ipc.ProtocolError("thumbnails are not increasing")
    planes = np.frombuffer(message.body, np.uint8, offset=8 * count).reshape(shape)
    return ThumbnailBatch(tuple(frame_indices), planes)


@dataclass(frozen=True)
class WorkChunks:
    """Reply to ``split``: the chunks into which a pass can be split.

    Args:
        ends: number of requests that each chunk and those before it serve.
        end_frames: frame index from which the next chunk yields frames.
        packets: packets to decode in total.
        spans: thumbnail spans to request.
    """

    ends: tuple[int, ...]
    end_frames: tuple[int, ...]
    packets: int
    spans: tuple[ThumbnailSpan, ...]


def parse_chunks(message: ipc.Message, *, asked: int | None) -> WorkChunks:
    """Parse the reply to ``split``.

    Args:
        message: reply.
        asked: number of requested frames; None for thumbnails, whose spans the reply contains.
    """
    numbers = ipc.unpack_integers(message.body)
    end = 3 * int(message.header["count"])
    ends, end_frames, packets = numbers[0:end:3], numbers[1:end:3], numbers[2:end:3]
    spans = tuple(
        ThumbnailSpan(first, last, FRAME_KINDS[frame_kinds])
        for first, last, frame_kinds in zip(*(numbers[end + i :: 3] for i in range(3)), strict=True)
    )
    last = len(spans) if asked is None else asked
    if message.type != "chunks" or [0, *ends][-1] != last:
        raise ipc.ProtocolError("chunks do not match the request")
    if any(a >= b for a, b in pairwise([0, *ends])) or any(each < 0 for each in packets):
        raise ipc.ProtocolError("chunks are not increasing")
    return WorkChunks(tuple(ends), tuple(end_frames), sum(packets), spans)


@dataclass
class PassStats:
    """Statistics of the parts of a pass so far."""

    decoded_frames: int = 0
    damaged_packets: int = 0
    patched_frames: int = 0
    lost_frames: int = 0
    warnings: dict[str, MediaWarning] = field(default_factory=dict)
    is_trusted: bool = True
    """Whether all seeks reached their targets."""

    def add(self, message: ipc.Message) -> None:
        """Add the final reply to a part of a pass."""
        header = message.header
        self.decoded_frames += int(header["decoded_frames"])
        if message.type == "untrusted":
            # A pass from the start of the file follows, which counts all damage again.
            self.is_trusted = False
            self.damaged_packets = self.patched_frames = 0
            return
        self.damaged_packets += int(header["damaged_packets"])
        self.patched_frames += int(header["patched_frames"])
        self.lost_frames += int(header["lost_frames"])
        for code, text in header["warnings"]:
            if len(self.warnings) < _MAX_WARNINGS:
                self.warnings.setdefault(
                    _parse_text(code), MediaWarning(_parse_text(code), _parse_text(text))
                )

    def result(self) -> DecodeReport:
        """Return the report of the pass for users."""
        warnings = list(self.warnings.values())
        if self.damaged_packets or self.patched_frames or self.lost_frames:
            text = (
                f"{self.damaged_packets} damaged packets, "
                f"{self.patched_frames} frames concealed by the decoder, "
                f"{self.lost_frames} requested frames lost (replaced by a neighbour)"
            )
            warnings.append(MediaWarning("media.damaged", text))
        return DecodeReport(self.decoded_frames, self.damaged_packets, tuple(warnings))


def exact(text: str) -> Fraction:
    """Parse a fraction as ``str`` formats it, nothing else: "1e999999999" would fill memory."""
    numerator, denominator = (int(part) for part in (*text.split("/"), "1")[:2])
    if abs(numerator) > _MAX_TICKS or not 0 < denominator <= _MAX_TICKS:
        raise ipc.ProtocolError("number exceeds 63 bits")
    return Fraction(numerator, denominator)


def _parse_text(text: Any) -> str:
    if not isinstance(text, str):
        raise ipc.ProtocolError("warning is not a string")
    return text[:_MAX_TEXT_CHARS]


def parse_info(plain: dict[str, Any], *, path: str) -> MediaInfo:
    """Parse media info."""
    values = {**plain, "path": path}
    for name in ("sample_aspect", "duration", "start"):
        values[name] = exact(values[name])
    if values["fps_avg"] is not None:
        values["fps_avg"] = exact(values["fps_avg"])
    values["warnings"] = tuple(MediaWarning(code, text) for code, text in values["warnings"])
    return MediaInfo(**values)


_MAX_DEFAULT_WORKERS: Final = 8
"""Maximum processes for one video by default; each needs some tens of megabytes."""

_MIN_PIXELS_PER_WORKER: Final = 200_000_000
"""Minimum pixels to decode per extra process: about half a second of work."""

_BYTES_PER_ENTRY: Final = 24
"""Bytes of a requested frame or span: three 64-bit integers."""


def available_cpus() -> int:
    """Return the default number of processes that may decode at the same time."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # Not on every system.
        usable = os.cpu_count() or 1
    return min(usable, _MAX_DEFAULT_WORKERS)


def useful_workers(packets: int, *, frame_pixels: int) -> int:
    """Return the number of processes that pay off for decoding so many packets."""
    return 1 + packets * frame_pixels // _MIN_PIXELS_PER_WORKER


def check_targets(targets: Sequence[Target], limits: Limits) -> None:
    """Validate frame requests: order and size limits.

    Raises:
        ConfigError: if they are not sorted, or too large.
    """
    if any(a.pts > b.pts for a, b in pairwise(targets)):
        raise ConfigError("config.invalid", "targets are not sorted by time")
    for target in targets:
        pixels = target.width_px * target.height_px
        if max(target.width_px, target.height_px) > limits.max_side_px or (
            pixels > limits.max_frame_pixels
        ):
            raise ConfigError(
                "config.invalid",
                f"a frame is to have {target.width_px}x{target.height_px} px, expected at most"
                f" {limits.max_frame_pixels:,} pixels and {limits.max_side_px:,} px a side",
                hint="ask for smaller frames, or raise max_frame_pixels and max_side_px of the"
                " limits",
            )


def check_spans(
    spans: Sequence[ThumbnailSpan], size: ThumbnailSpec, *, frames: int, limits: Limits
) -> None:
    """Validate thumbnail requests: order, last frame and size limits.

    Raises:
        ConfigError: if spans are not sorted or end after the last frame, or thumbnails are too
            large.
    """
    if any(a.end > b.first for a, b in pairwise(spans)) or (spans and spans[-1].end > frames):
        raise ConfigError(
            "config.invalid", "thumbnail spans overlap, are not sorted, or end after the last frame"
        )
    if size.width_px * size.height_px > limits.max_frame_pixels:
        raise ConfigError("config.invalid", "thumbnail size exceeds the limits")


def frames_request(wanted: Sequence[tuple[int, int, int]], strategy: Strategy) -> Task:
    """Return the request for frames: frame index, width and height of each."""
    numbers = [number for each in wanted for number in each]
    header = {"type": "pass", "strategy": strategy, "planned_packets": 0}
    return Task(header, ipc.pack_integers(numbers))


def thumbnails_request(
    spans: Sequence[ThumbnailSpan],
    size: ThumbnailSpec,
    strategy: Strategy,
    *,
    after_frame: int = -1,
) -> Task:
    """Return the request for thumbnails behind the frame index ``after_frame``."""
    header = {
        "type": "thumbnails",
        "width_px": size.width_px,
        "height_px": size.height_px,
        "interval": str(size.interval),
        "strategy": strategy,
        "skip_loop_filter": any(span.frame_kinds == "references" for span in spans),
        "after_frame": after_frame,
        "end_frame": UNBOUNDED,
        "planned_packets": 0,
    }
    return Task(header, ipc.pack_integers(_span_numbers(spans)))


def copy_request(ranges: Sequence[PacketRange]) -> Task:
    """Return the request for copies of ranges of packets."""
    numbers = [number for each in ranges for number in (each.first, each.end)]
    return Task({"type": "copy", "planned_packets": 0}, ipc.pack_integers(numbers))


def parse_copied(message: ipc.Message) -> tuple[bytearray, bool]:
    """Parse one reply to ``copy``: bytes of a file, and whether they are its last."""
    is_last = message.header["is_last"]
    if type(is_last) is not bool or not message.body:
        raise ipc.ProtocolError("invalid reply to copy")
    return message.body, is_last


def chunks_request(task: Task) -> Task:
    """Return the request for the chunks of a pass."""
    return Task({**task.header, "type": "split", "of": task.header["type"]}, task.body)


def count(task: Task) -> int:
    """Return the number of frames or thumbnail spans in a request."""
    return len(task.body) // _BYTES_PER_ENTRY


def split_task(task: Task, chunks: WorkChunks) -> Iterator[Task]:
    """Split the request for a pass; the parts together yield the same frames."""
    whole = _span_numbers(chunks.spans) if chunks.spans else ipc.unpack_integers(task.body)
    starts = (0, *chunks.ends)
    for first, end, end_frame in zip(starts, chunks.ends, chunks.end_frames, strict=False):
        header: dict[str, Any] = {**task.header, "planned_packets": chunks.packets}
        if "end_frame" in header:
            header["end_frame"] = end_frame
        yield Task(header, ipc.pack_integers(whole[3 * first : 3 * end]))


def _span_numbers(spans: Sequence[ThumbnailSpan]) -> list[int]:
    """Return spans as integers of requests and replies."""
    numbers: list[int] = []
    for span in spans:
        numbers += (span.first, span.end, FRAME_KINDS.index(span.frame_kinds))
    return numbers
