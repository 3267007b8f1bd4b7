"""A plan's lines for people: aligned plain text, safe to print.

Knows the parts of a plan, not their meaning. Names and reasons may come from a file that nobody
checked, so characters that could steer a terminal are replaced before they are printed.
"""

from collections.abc import Sequence
from typing import Literal

from seedvideo.media.info import MediaInfo
from seedvideo.media.timeline import seconds
from seedvideo.sampler.parts import PlannedFrame, Segment


def printable(text: str) -> str:
    """The text with every control or formatting character replaced by ``?``."""
    return "".join(char if char.isprintable() else "?" for char in text)


def share(part: int, whole: int) -> str:
    """``part of whole (percent)``."""
    return f"{part:,} of {whole:,} ({100 * part / whole:.1f} %)"


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Name and value, one pair a line, the values aligned."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {printable(value)}".rstrip() for name, value in rows)


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, align: Sequence[Literal["<", ">"]]
) -> str:
    """A header, a rule and the rows, in columns two spaces apart."""
    lines = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(line, align, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def media_line(media: MediaInfo) -> str:
    """Size, duration, rate and codec of a video in one line."""
    words = [f"{media.width_px}x{media.height_px} px", media.codec]
    if media.is_image:
        return ", ".join(["still image", *words])
    words.insert(0, f"{seconds(media.duration):.3f} s")
    if media.fps_avg is not None:
        words.append(f"{float(media.fps_avg):.4g} fps" + (", variable" if media.is_vfr else ""))
    if media.rotation_deg:
        words.append(f"turned by {media.rotation_deg} degrees")
    return ", ".join(words)


def sizes_line(frames: Sequence[PlannedFrame]) -> str:
    """How many frames there are, of which sizes."""
    counts: dict[tuple[int, int, int], int] = {}
    for frame in frames:
        key = (frame.width_px, frame.height_px, frame.tokens)
        counts[key] = counts.get(key, 0) + 1
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    sizes = [f"{w}x{h} px ({tokens} tokens)" for (w, h, tokens), _ in most]
    if len(most) == 1:
        return f"{len(frames):,} of {sizes[0]}"
    listed = ", ".join(
        f"{count:,} of {size}" for size, (_, count) in zip(sizes[:3], most[:3], strict=True)
    )
    more = f" and {len(most) - 3} more sizes" if len(most) > 3 else ""
    return f"{len(frames):,}: {listed}{more}"


def segment_line(segment: Segment) -> str:
    """Span, rate and level of a segment."""
    return (
        f"{seconds(segment.start):.3f} to {seconds(segment.end):.3f} s"
        f"  {segment.fps:.3g} fps  level {segment.level_tokens}"
    )


def frame_table(frames: Sequence[PlannedFrame]) -> str:
    """One row a frame: number, time, size, tokens, text tokens, reason."""
    return table(
        ("#", "time", "size", "tokens", "text", "reason"),
        [
            (
                f"{number}",
                f"{seconds(frame.pts):.3f} s",
                f"{frame.width_px}x{frame.height_px}",
                f"{frame.tokens}",
                f"{frame.text_tokens}",
                frame.reason,
            )
            for number, frame in enumerate(frames, start=1)
        ],
        align=(">", ">", ">", ">", ">", "<"),
    )
