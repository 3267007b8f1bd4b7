"""A plan's lines for people: aligned plain text, safe to print.

Knows the parts of a plan, not their meaning. Names and reasons may come from a file that nobody
checked, so characters that could steer a terminal are replaced before they are printed.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Literal

from seedvideo.media.types import MediaInfo
from seedvideo.sampler.types import Decision, Decoding, PlannedFrame, Segment
from seedvideo.utils.timecode import seconds

MAX_SEGMENT_ROWS: Final = 8
"""Segments that a summary lists."""


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


def segment_rows(segments: Sequence[Segment]) -> list[tuple[str, str]]:
    """Span, rate and level of the first segments, and how many more there are."""
    rows = [
        (
            "segment",
            f"{seconds(segment.start):.3f} to {seconds(segment.end):.3f} s"
            f"  {segment.fps:.3g} fps  level {segment.level_tokens}",
        )
        for segment in segments[:MAX_SEGMENT_ROWS]
    ]
    if len(segments) > MAX_SEGMENT_ROWS:
        rows.append(("", f"and {len(segments) - MAX_SEGMENT_ROWS:,} more segments"))
    return rows


def decision_rows(decision: Decision) -> list[tuple[str, str]]:
    """What an adaptive plan rests on, and how good it is under its own model."""
    kept = f"{decision.coverage_frames:,} frames at level {decision.coverage_level_tokens}"
    rows = [
        ("analysis", f"{decision.analysis}, {100 * decision.busy_share:.0f} % of the time busy"),
        ("coverage", f"{kept}, for at most {100 * decision.coverage_share:.0f} % of the budget"),
    ]
    even = ""
    if decision.even_worth_s:
        gain = decision.worth_s / decision.even_worth_s - 1
        even = f", {100 * gain:+.0f} % over the best even plan"
    best = "the best there is over this coverage"
    if not decision.is_exact:
        best = f"within {max(0.01, 100 * decision.within):.2f} % of the best over this coverage"
    if decision.is_even:
        even, best = "", "evenly spread: nothing else is worth more"
    rows.append(("worth", f"{decision.worth_s:,.1f} s of ordinary content{even}; {best}"))
    if decision.decoding is not None:
        rows.append(("decodes", _decoding_line(decision.decoding)))
    return rows + [("note", note) for note in decision.notes]


def _decoding_line(decoding: Decoding) -> str:
    line = f"about {decoding.pictures:,} of {decoding.video_pictures:,} pictures"
    if not decoding.moved_frames:
        return line
    frames = "1 frame" if decoding.moved_frames == 1 else f"{decoding.moved_frames:,} frames"
    return f"{line}, {decoding.saved_pictures:,} fewer with {frames} moved to keyframes"


def segment_table(segments: Sequence[Segment], frames: Sequence[PlannedFrame]) -> str:
    """One row a segment: span, what it needs, what it gets."""
    starts = [segment.start for segment in segments]
    counts = [0] * len(segments)
    tokens = [0] * len(segments)
    for frame in frames:
        place = max(0, bisect_right(starts, frame.pts) - 1)
        counts[place] += 1
        tokens[place] += frame.tokens + frame.text_tokens
    rows = []
    for segment, count, spent in zip(segments, counts, tokens, strict=True):
        needs = segment.needs
        rows.append(
            (
                f"{seconds(segment.start):.3f} s",
                f"{seconds(segment.end):.3f} s",
                "" if needs is None else f"{needs.change_s:.2g} s",
                "" if needs is None else f"{needs.detail_tokens:.0f}",
                "" if needs is None or not needs.peaks else f"{needs.peaks}",
                f"{count}",
                f"{segment.fps:.2f}",
                f"{segment.level_tokens}",
                f"{spent:,}",
            )
        )
    header = ("from", "to", "changes in", "detail", "peaks", "frames", "fps", "level", "tokens")
    return table(header, rows, align=(">", ">", ">", ">", ">", ">", ">", ">", ">"))


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
