"""Files of clips: encoded again with exact times, or copied from keyframe to keyframe.

Both are MP4 files with video only. The time of the first frame is zero, and the times of the others
differ from it as in the source, exactly.

``exact`` decodes the frames of a window and encodes them: upright, with square pixels and 8 bits,
at a constant quality, with a keyframe at least every two seconds. ``keyframes`` copies packets,
which loses nothing, but begins at a keyframe (`seedvideo.clips.keyframe_ranges`).

There is no third way that encodes only the frames up to the first keyframe and copies the rest: one
track would then hold two sets of parameters, which many readers do not follow.

Separate from `seedvideo.cli.split`: programs cut clips too.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeAlias

from seedvideo.clips.keyframe_ranges import copyable_frames, packet_range
from seedvideo.clips.windows import ClipWindow, SplitOptions, VideoSplit
from seedvideo.errors import ConfigError, DecodeError, MediaError
from seedvideo.media.source import display_path
from seedvideo.media.types import Target
from seedvideo.utils.timecode import Span

if TYPE_CHECKING:
    from seedvideo.video import Video

Cut: TypeAlias = Literal["exact", "keyframes"]
"""How a file of a clip is made: encoded again, or copied."""

_ENCODER: Final = "libx264"
_CRF: Final = 18
"""Constant quality of the encoder: differences are hardly visible."""
_PRESET: Final = "medium"
_THREADS: Final = 4
"""Threads of the encoder; its result depends on their number, but not on that of processors."""
_KEYFRAME_INTERVAL_S: Final = 2
_MP4_OPTIONS: Final = {"movflags": "negative_cts_offsets", "use_editlist": "0"}
"""As in `seedvideo.media.stream_copy`."""

_MAX_TICKS_PER_S: Final = 10**9
"""Maximum ticks per second of a time base, within 31 bits."""

_MAX_TABLE_BYTES_PER_FRAME: Final = 64
"""Maximum bytes of the tables of an MP4 file per frame."""

_MPEG_RANGE, _BT709 = 1, 1
"""Numbers of the range of values and of the matrix (ITU-T H.273)."""
_HDR_TRANSFERS: Final = {"smpte2084": 16, "arib-std-b67": 18}
"""Transfer characteristics that readers must know of, by name; pixels are not converted."""


def require_encoder() -> None:
    """Check that clips can be encoded, before any work.

    Raises:
        ConfigError: ``config.package_missing`` if the build of FFmpeg has no H.264 encoder.
    """
    import av.codec  # Heavy.

    if _ENCODER not in av.codec.codecs_available:
        raise ConfigError(
            "config.package_missing",
            f"encoding clips needs an FFmpeg with {_ENCODER}, which this build of PyAV lacks",
            hint="pip install --force-reinstall av, or copy packets with --cut keyframes",
        )


def encode_clip(video: "Video", window: ClipWindow, file: BinaryIO) -> None:
    """Encode the frames of a window as an MP4 file.

    Frames that are lost to damage are left out; the others keep their times.

    Args:
        video: the open video.
        window: the window.
        file: seekable file, opened to write.

    Raises:
        MediaError: if the file is too damaged, or no frame of the window can be decoded.
        DecodeError: if decoding times out or crashes the decode worker.
    """
    import av  # Heavy; other ways to use clips need no FFmpeg in this process.
    from av.video.frame import VideoFrame

    times = [video.times[index] for index in window.frames]
    tick = _tick(times, window.span.end)
    info = video.info
    width_px, height_px = (max(2, side - side % 2) for side in (info.width_px, info.height_px))
    fps = (info.fps_avg or Fraction(25)).limit_denominator(10_000)
    with av.open(file, "w", format="mp4", options=dict(_MP4_OPTIONS)) as container:
        stream = container.add_stream(_ENCODER, rate=fps)
        context = stream.codec_context
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        stream.time_base = context.time_base = tick
        context.options = {"crf": str(_CRF), "preset": _PRESET, "bf": "0"}
        context.thread_count = _THREADS
        context.gop_size = max(1, round(fps * _KEYFRAME_INTERVAL_S))
        context.color_range, context.colorspace = _MPEG_RANGE, _BT709
        if info.transfer in _HDR_TRANSFERS:
            context.color_trc = _HDR_TRANSFERS[info.transfer]
        durations = dict(_durations(times, times[0], window.span.end, tick))
        count = 0
        targets = [Target(time, width_px, height_px) for time in times]
        with closing(video.reader.frames(targets)) as frames:
            for target, frame in zip(targets, frames, strict=True):
                if frame.pts != target.pts:
                    continue
                picture = VideoFrame.from_ndarray(frame.pixels, format="rgb24").reformat(
                    format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", threads=1
                )
                picture.pts, picture.time_base = int((frame.pts - times[0]) / tick), tick
                _mux(container, stream.encode(picture), durations)
                count += 1
        if not count:
            raise MediaError(
                "media.corrupt",
                f"{display_path(video.source)}: no frame could be decoded from"
                f" {float(window.span.start):.3f} to {float(window.span.end):.3f} s",
                hint="copy it again, or repair it",
            )
        _mux(container, stream.encode(None), durations)


def _tick(times: Sequence[Fraction], end: Fraction) -> Fraction:
    """Return a time base in which the times, and if possible the end, are whole numbers."""
    ticks_per_s = lcm(*((time - times[0]).denominator for time in times))
    with_end = lcm(ticks_per_s, (end - times[0]).denominator)
    return Fraction(1, with_end if with_end <= _MAX_TICKS_PER_S else ticks_per_s)


def _durations(
    times: Sequence[Fraction], start: Fraction, end: Fraction, tick: Fraction
) -> Iterator[tuple[int, int]]:
    """Yield the time of each frame and how long it is shown, in ticks."""
    for time, after in zip(times, [*times[1:], end], strict=True):
        yield int((time - start) / tick), max(1, round((after - time) / tick))


def _mux(container: Any, packets: Any, durations: dict[int, int]) -> None:
    for packet in packets:
        packet.duration = durations[packet.pts]
        container.mux(packet)


@dataclass(frozen=True)
class CopyPlan:
    """The clips of a video that are copied at keyframes.

    Args:
        split: the windows that the files hold, which differ from those asked for.
        without_keyframe: number of windows without a keyframe, which are left out.
    """

    split: VideoSplit
    without_keyframe: int


def plan_copies(video: "Video", split: VideoSplit, options: SplitOptions) -> CopyPlan:
    """Move the windows of a video to frames that can be copied.

    A window that starts before the end of the one before it, less the overlap, starts there.

    Args:
        video: the open video.
        split: its windows.
        options: how shots become windows; windows below the minimum length are left out.

    Raises:
        MediaError: ``media.not_copyable`` if its packets cannot be copied.
        DecodeError: if reading it times out or crashes the decode worker.
    """
    times, positions = video.times, video.reader.packets.positions
    name = display_path(video.source)
    overlap, min_s = Fraction(str(options.overlap_s)), Fraction(str(options.min_s))
    moved: list[ClipWindow] = []
    without = 0
    for window in split.windows:
        shot = window.shot_span
        frames = copyable_frames(
            window,
            video.keyframes,
            positions,
            not_before=bisect_left(times, moved[-1].span.end - overlap) if moved else 0,
            shot_frames=range(bisect_left(times, shot.start), bisect_left(times, shot.end)),
            display_name=name,
        )
        if frames is None:
            without += 1
            continue
        packet_range(frames, positions, display_name=name)
        end = times[frames.stop] if frames.stop < len(times) else shot.end
        span = Span(times[frames.start], end)
        if span.duration >= min_s:
            moved.append(replace(window, span=span, frames=frames))
    short = split.short + len(split.windows) - len(moved) - without
    return CopyPlan(replace(split, windows=tuple(moved), short=short), without)


def copy_clips(video: "Video", windows: Sequence[ClipWindow]) -> Iterator[tuple[bytearray, bool]]:
    """Yield the bytes of an MP4 file for each window, and whether they are the last of a file.

    Args:
        video: the open video.
        windows: windows that `plan_copies` returned, in order.

    Raises:
        MediaError: ``media.not_copyable`` if its packets cannot be copied.
        DecodeError: if it takes too long or crashes the decode worker.
    """
    positions, name = video.reader.packets.positions, display_path(video.source)
    ranges = [packet_range(each.frames, positions, display_name=name) for each in windows]
    done = size_bytes = 0
    most_bytes = len(ranges) * _most_bytes(video)
    with closing(video.reader.copies(ranges)) as parts:
        for data, is_last in parts:
            size_bytes += len(data)
            yield data, is_last
            done += is_last
            if done > len(ranges) or size_bytes > most_bytes:
                break
    if done != len(ranges):
        # The decode process is not trusted: it could fill the disk.
        text = f"{name}: the decode process sent {done} of {len(ranges)} clips"
        raise DecodeError("decode.crashed", text, hint="report the file")


def _most_bytes(video: "Video") -> int:
    """Return a size that no copy exceeds: that of the file, and of the tables of an MP4 file."""
    return video.info.size_bytes + _MAX_TABLE_BYTES_PER_FRAME * len(video.times) + (1 << 20)
