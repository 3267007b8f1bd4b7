"""Header facts and frame times made by hand, so that no file is needed."""

from collections.abc import Sequence
from fractions import Fraction

from seedvideo.media.types import MediaInfo, MediaWarning
from seedvideo.utils.timecode import timestamp_text


def info(
    *,
    duration: Fraction | int = 10,
    fps_avg: Fraction | int | None = 30,
    width_px: int = 1280,
    height_px: int = 720,
    is_image: bool = False,
    warnings: tuple[MediaWarning, ...] = (),
) -> MediaInfo:
    return MediaInfo(
        path="clips/bikes.mp4",
        size_bytes=1_234_567,
        container="mov,mp4,m4a,3gp,3g2,mj2",
        codec="h264",
        pix_fmt="yuv420p",
        width_px=width_px,
        height_px=height_px,
        coded_width_px=width_px,
        coded_height_px=height_px,
        rotation_deg=0,
        flipped=False,
        sample_aspect=Fraction(1),
        duration=Fraction(duration),
        start=Fraction(0),
        fps_avg=None if fps_avg is None else Fraction(fps_avg),
        is_vfr=False,
        is_image=is_image,
        transfer="bt709",
        warnings=warnings,
    )


def even_times(count: int, fps: Fraction | int = 30) -> tuple[Fraction, ...]:
    return tuple(Fraction(index) / fps for index in range(count))


def video(
    count: int, fps: Fraction | int = 30, *, width_px: int = 1280, height_px: int = 720
) -> tuple[MediaInfo, Sequence[Fraction]]:
    """A clip of ``count`` frames at a constant rate."""
    facts = info(
        duration=count / Fraction(fps), fps_avg=fps, width_px=width_px, height_px=height_px
    )
    return facts, even_times(count, fps)


def text_cost(pts: Fraction) -> int:
    """A token cost that grows with the digits, as that of a tokenizer does."""
    return 2 + len(timestamp_text(pts)) // 3
