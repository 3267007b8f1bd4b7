"""Opening a container in the decoding process: what FFmpeg may read, which stream, how large.

FFmpeg gets the number of an open descriptor, never a name, and may use no protocol but that one.
Only the container formats and codecs listed here are allowed, because the rarely used ones are
where its memory bugs live. Sizes are checked from the header before a picture is decoded. Runs in
the decoding process only. Knows nothing of times or of which frames are wanted.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from seedvideo.errors import MediaError
from seedvideo.limits import Limits
from seedvideo.media import heif
from seedvideo.media.decoder import out_of_memory as out_of_memory
from seedvideo.media.safety import IMAGE_KINDS

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
