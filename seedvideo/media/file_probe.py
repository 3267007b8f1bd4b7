"""File probe: header, packet table, index and first picture of one file.

One picture is decoded, because FFmpeg reports rotation, interlacing and transparency only with
decoded frames. Where header and packets disagree, the packets are right. Runs in the decode
process only.
"""

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from seedvideo.errors import MediaError
from seedvideo.media import heif
from seedvideo.media.colours import choose_conversion
from seedvideo.media.cropping import Crop, VisibleArea, find_visible_area
from seedvideo.media.demuxer import (
    FORMATS_WITH_PTS_RESETS,
    FORMATS_WITHOUT_DURATION,
    RAW_FORMATS,
    PacketTable,
    SourceSpec,
    check_size,
    check_stream,
    choose_stream,
    is_attached_picture,
    open_container,
    prepare_decoder,
    read_packet_table,
    read_packets,
)
from seedvideo.media.duration import (
    last_byte,
    longest_other_stream,
    stated_bytes,
    stated_duration,
    stated_end,
)
from seedvideo.media.index import Index, build_index
from seedvideo.media.resize import (
    Orientation,
    has_transparency,
    read_orientation,
    read_photo_orientation,
    read_photo_size,
    read_rotation,
)
from seedvideo.media.source import IMAGE_KINDS
from seedvideo.media.still_images import StillLayout, inspect_still, is_gif_truncated
from seedvideo.media.types import MediaInfo, MediaWarning, out_of_memory_error

_HEADER_BYTES: Final = 256
_RATE: Final = re.compile(rb" F([1-9]\d*):([1-9]\d*)(?= |$)")


def states_frame_rate(descriptor: int) -> bool:
    """Return whether a YUV4MPEG2 header states a frame rate; FFmpeg assumes 25 otherwise."""
    header, _, _ = os.pread(descriptor, _HEADER_BYTES, 0).partition(b"\n")
    return _RATE.search(header) is not None


_TRANSFERS: Final = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "srgb",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "pq",
    17: "smpte428",
    18: "hlg",
}
"""Transfer characteristics by number (ITU-T H.273)."""

_PROGRESSIVE_FIELD_ORDERS: Final = (0, 1)
_MAX_PACKETS_BEFORE_FIRST_FRAME: Final = 600
"""Packets to decode before the search for a first picture ends: 20 s at 30 fps; empirical."""


@dataclass(frozen=True)
class ProbeResult:
    """Result of a probe: everything that a decoder needs."""

    info: MediaInfo
    index: Index
    table: PacketTable
    orientation: Orientation
    crop: Crop | None


def probe_file(spec: SourceSpec, heartbeat: Callable[[], None]) -> ProbeResult:
    """Open a file and read its packets and its first picture.

    Args:
        spec: open input and its limits.
        heartbeat: callback that is called often; may raise to stop.

    Raises:
        MediaError: if the file is not a usable video.
    """
    layout = StillLayout()
    if spec.kind in (*IMAGE_KINDS, "apng"):
        # FFmpeg reports nothing of an oversized picture, not even the size.
        check_size(*read_photo_size(spec.descriptor), spec)
        layout = inspect_still(
            spec.descriptor,
            kind=spec.kind,
            size_bytes=spec.size_bytes,
            display_name=spec.display_name,
            heartbeat=heartbeat,
        )
    with open_container(spec) as container:
        stream = choose_stream(container, spec)
        check_stream(stream, spec)
        _check_stated_duration(container, spec)
        heartbeat()
        table = read_packet_table(container, stream, spec, heartbeat)
        index = _index(container, stream, table, spec, is_sequence=layout.is_sequence)
        _check_duration(index.duration, spec)
        header = _Header.read(container, stream, spec)
    is_cut = layout.is_cut or _is_file_truncated(header, table, spec)
    is_image = len(index.times) == 1 and (
        spec.kind in (*IMAGE_KINDS, "gif", "apng") or header.is_heif
    )
    # Without strict error detection, the decoder conceals damage in a JPEG file silently.
    is_strict = is_image and spec.kind == "jpeg"
    with ExitStack() as stack:
        stream, first = _decode_first(stack, index, spec, heartbeat, is_strict=is_strict)
        is_concealed = first is None and is_strict
        if is_concealed:
            stream, first = _decode_first(stack, index, spec, heartbeat)
        if is_image and first is None:
            raise _no_picture_error(spec, is_cut=is_cut)
        orientation = _orientation(stream, first, spec)
        found = [
            *_header_warnings(header, index, table, is_cut=is_cut, is_image=is_image),
            *header.warnings,
            *layout.warnings,
        ]
        if is_image:
            found += _damage_warnings(first, is_concealed=is_concealed, is_cut=is_cut)
        part = find_visible_area(stream, first, spec, is_item=header.is_heif and is_image)
        found += part.warnings
        info = _info(
            header, stream, first, index, orientation, part, spec, found, is_image=is_image
        )
    check_size(info.width_px, info.height_px, spec)
    return ProbeResult(info, index, table, orientation, part.crop)


@dataclass(frozen=True)
class _Header:
    """Values that the header states, for comparison with the packets."""

    container: str
    is_heif: bool
    stream_duration: Fraction | None
    file_duration: Fraction | None
    others_duration: Fraction
    last_byte: int
    video_streams: int
    pictures: int
    warnings: tuple[MediaWarning, ...]

    @classmethod
    def read(cls, container: InputContainer, stream: VideoStream, spec: SourceSpec) -> "_Header":
        file_duration = None
        if container.duration is not None:
            file_duration = Fraction(container.duration, av.time_base)
        attached = sum(is_attached_picture(s) for s in container.streams.video)
        is_heif = heif.is_heif(container)
        warnings: list[MediaWarning] = []
        if is_heif:
            warnings += heif.check_boxes(
                spec.descriptor, spec.size_bytes, display_name=spec.display_name
            )
            warnings += heif.stream_warnings(container, stream)
        return cls(
            container=container.format.name,
            is_heif=is_heif,
            stream_duration=stated_duration(stream),
            file_duration=file_duration,
            others_duration=longest_other_stream(container, stream),
            last_byte=last_byte(stream),
            video_streams=1 if is_heif else len(container.streams.video) - attached,
            pictures=attached,
            warnings=tuple(warnings),
        )


def _index(
    container: InputContainer,
    stream: VideoStream,
    table: PacketTable,
    spec: SourceSpec,
    *,
    is_sequence: bool,
) -> Index:
    raw, fps = container.format.name in RAW_FORMATS, spec.fps
    if spec.kind == "y4m":
        raw = not states_frame_rate(spec.descriptor)
    is_still = spec.kind in IMAGE_KINDS and not (is_sequence and len(table) > 1)
    if is_still:
        table.keep_first()  # Data after the picture is not part of it.
    elif spec.kind in IMAGE_KINDS:
        raw = True
    return build_index(
        table,
        time_base=stream.time_base or Fraction(1, 1000),
        display_name=spec.display_name,
        reorders=bool(stream.codec_context.has_b_frames),
        clock_may_jump=container.format.name in FORMATS_WITH_PTS_RESETS,
        raw=raw,
        pts_guessed=container.format.name == "avi",
        numbered=is_still or spec.kind == "y4m",
        fps=fps,
        stated_end=stated_end(container, stream, table, spec),
    )


def _is_file_truncated(header: _Header, table: PacketTable, spec: SourceSpec) -> bool:
    """Return whether the file ends inside its last frame."""
    if table.is_truncated:
        return True
    if spec.kind == "mov":
        return header.last_byte > spec.size_bytes
    if spec.kind == "gif":
        return is_gif_truncated(spec.descriptor, table.last_offset)
    if spec.kind == "y4m":
        return table.last_offset + table.size[-1] < spec.size_bytes
    return stated_bytes(spec.descriptor, spec.kind) > spec.size_bytes


def _decode_first(
    stack: ExitStack,
    index: Index,
    spec: SourceSpec,
    heartbeat: Callable[[], None],
    *,
    is_strict: bool = False,
) -> tuple[VideoStream, VideoFrame | None]:
    """Open the file until the stack closes it; return its stream and first picture, if any."""
    container = stack.enter_context(open_container(spec))
    stream = choose_stream(container, spec)
    prepare_decoder(stream, spec, is_strict=is_strict)
    return stream, first_picture(container, stream, index, spec, heartbeat)


def _orientation(stream: VideoStream, first: VideoFrame | None, spec: SourceSpec) -> Orientation:
    if spec.kind in (*IMAGE_KINDS, "apng"):
        return read_photo_orientation(spec.descriptor)
    if first is None:
        return Orientation()
    is_png = stream.codec_context.codec.canonical_name == "png"
    return read_rotation(first) if is_png else read_orientation(first)


def _no_picture_error(spec: SourceSpec, *, is_cut: bool) -> MediaError:
    why = "the file is truncated" if is_cut else "the file is damaged"
    return MediaError(
        "media.corrupt",
        f"{spec.display_name}: its picture cannot be decoded: {why}",
        hint="copy it again",
    )


def _damage_warnings(
    first: VideoFrame | None, *, is_concealed: bool, is_cut: bool
) -> list[MediaWarning]:
    if is_cut or not (is_concealed or (first is not None and first.is_corrupt)):
        return []
    message = "parts of the picture could not be decoded and were filled in"
    return [MediaWarning("media.damaged", message)]


def first_picture(
    container: InputContainer,
    stream: VideoStream,
    index: Index,
    spec: SourceSpec,
    heartbeat: Callable[[], None],
) -> VideoFrame | None:
    """Decode the first picture of a stream; return None if none can be decoded.

    Args:
        container: freshly opened container.
        stream: chosen stream with a configured decoder.
        index: index of the stream.
        spec: open input.
        heartbeat: callback that is called often; may raise to stop.
    """
    first_key = index.keyframe_packets[0]
    # The index of a still image holds the first packet only.
    end = min(len(index.frame_of_packet), first_key + _MAX_PACKETS_BEFORE_FIRST_FRAME + 1)
    for number, packet in enumerate(
        read_packets(container, stream, display_name=spec.display_name)
    ):
        heartbeat()
        if number < first_key:
            continue
        if packet is None or number >= end:
            break
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.MemoryError as error:
            raise out_of_memory_error(spec.display_name) from error
        except av.error.FFmpegError:
            continue
        if frames:
            return frames[0]
    try:
        return next(iter(stream.codec_context.decode(None)), None)
    except av.error.FFmpegError:
        return None


def _info(
    header: _Header,
    stream: VideoStream,
    first: VideoFrame | None,
    index: Index,
    orientation: Orientation,
    part: VisibleArea,
    spec: SourceSpec,
    found: list[MediaWarning],
    *,
    is_image: bool,
) -> MediaInfo:
    context = stream.codec_context
    width_px, height_px = max(1, round(part.width_px * part.aspect)), part.height_px
    if orientation.swaps_axes:
        width_px, height_px = height_px, width_px
    is_vfr = index.is_variable
    transfer = _TRANSFERS.get(context.color_trc, "")
    if not transfer and first is not None:
        transfer = _TRANSFERS.get(first.color_trc, "")
    warnings = (
        *found,
        *([] if is_image else index.warnings),
        *_picture_warnings(stream, first, orientation, transfer, has_fields=index.has_fields),
    )
    if is_vfr:
        message = "variable frame rate; frames are selected by their exact times"
        warnings += (MediaWarning("media.vfr", message),)
    return MediaInfo(
        path=spec.display_name,
        size_bytes=spec.size_bytes,
        container=header.container,
        codec=context.codec.canonical_name,
        pix_fmt=context.pix_fmt or (first.format.name if first else ""),
        width_px=width_px,
        height_px=height_px,
        coded_width_px=part.width_px,
        coded_height_px=part.height_px,
        rotation_deg=orientation.rotation_deg,
        flipped=orientation.flipped,
        sample_aspect=part.aspect,
        duration=index.duration,
        start=index.start * index.time_base,
        fps_avg=_average_rate(stream, index, is_vfr=is_vfr),
        is_vfr=is_vfr,
        is_image=is_image,
        transfer=transfer,
        warnings=warnings,
    )


def _average_rate(stream: VideoStream, index: Index, *, is_vfr: bool) -> Fraction | None:
    if len(index.times) < 2:
        return None
    span = (index.times[-1] - index.times[0]) * index.time_base
    measured = (len(index.times) - 1) / span
    stated = stream.average_rate
    # Rounded times hide the exact rate (30000/1001), which the header may still state.
    if not is_vfr and stated and abs(measured / stated - 1) < Fraction(1, 100):
        return stated
    return measured


def _header_warnings(
    header: _Header, index: Index, table: PacketTable, *, is_cut: bool, is_image: bool
) -> list[MediaWarning]:
    found: list[MediaWarning] = []
    if header.pictures:
        found.append(MediaWarning("media.cover_art", "cover art is ignored"))
    if header.video_streams > 1:
        message = f"{header.video_streams} video streams; the best one by FFmpeg's rule is used"
        found.append(MediaWarning("media.several_video_streams", message))
    if is_cut:
        left = (
            "part of the picture is missing" if is_image else f"{len(index.times)} frames are left"
        )
        found.append(MediaWarning("media.truncated", f"the file is truncated; {left}"))
    if is_image or header.container in FORMATS_WITHOUT_DURATION:
        return found
    # A file lasts as long as its longest stream, even one without pictures.
    others_end = table.other_end - index.start * index.time_base
    longest = max(index.duration, header.others_duration, others_end)
    # Headers often count by decoding times, which lag by a few frames, or estimate.
    step = (index.times[-1] - index.times[-2]) * index.time_base if len(index.times) > 1 else 0
    slack = max(Fraction(1, 4), 4 * step, 4 * index.duration / len(index.times))
    for claim, truth in (
        (header.stream_duration, index.duration),
        (header.file_duration, longest),
    ):
        if claim is not None and abs(claim - truth) > slack:
            message = (
                f"the header states {float(claim):.3f} s, "
                f"the frames last {float(index.duration):.3f} s"
            )
            found.append(MediaWarning("media.duration_differs", message))
            break
    return found


def _picture_warnings(
    stream: VideoStream,
    first: VideoFrame | None,
    orientation: Orientation,
    transfer: str,
    *,
    has_fields: bool,
) -> list[MediaWarning]:
    found: list[MediaWarning] = []
    if orientation != Orientation():
        mirrored = " and mirrored" if orientation.flipped else ""
        message = (
            f"stored rotated by {orientation.rotation_deg} degrees{mirrored}; displayed upright"
        )
        found.append(MediaWarning("media.rotated", message))
    if transfer in ("pq", "hlg"):
        message = (
            f"high dynamic range ({transfer}); converted without tone mapping, colours look flat"
        )
        found.append(MediaWarning("media.hdr", message))
    order = stream.codec_context.field_order
    codec = stream.codec_context.codec.canonical_name
    # A PNG picture in seven passes is called interlaced too, but has no fields.
    is_png = codec in ("png", "apng")
    is_interlaced = first is not None and first.interlaced_frame and not is_png
    if is_interlaced and codec == "hevc":
        # FFmpeg does not call an HEVC frame of two fields interlaced.
        message = "interlaced; each field is a separate picture of half the height"
        found.append(MediaWarning("media.interlaced", message))
    elif is_interlaced or has_fields or order not in _PROGRESSIVE_FIELD_ORDERS:
        message = "interlaced; the two fields are not separated, moving edges look combed"
        found.append(MediaWarning("media.interlaced", message))
    conversion = None if first is None else choose_conversion(first)
    if conversion is not None and conversion.warning is not None:
        found.append(conversion.warning)
    alpha_track = stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
    if alpha_track or (first is not None and has_transparency(first)):
        found.append(MediaWarning("media.alpha", "transparency is ignored"))
    return found


def _check_stated_duration(container: InputContainer, spec: SourceSpec) -> None:
    if container.duration is not None and container.format.name not in FORMATS_WITHOUT_DURATION:
        _check_duration(Fraction(container.duration, av.time_base), spec)


def _check_duration(duration: Fraction, spec: SourceSpec) -> None:
    if duration > spec.limits.max_duration_s:
        raise MediaError(
            "media.too_long",
            f"{spec.display_name}: lasts {float(duration):.0f} s, "
            f"the limit is {spec.limits.max_duration_s:.0f} s",
            hint="cut it, or raise the limit from Python",
        )
