"""Sampling plan: the selected frames of a video, with sizes, costs and reasons, before decoding.

`Plan` is a value object that validates itself, so any plan can be executed. Policies put their
decisions into its fields and reasons. Its text form is aligned plain text without control
characters, because names and reasons may come from a hostile file. Times are exact seconds from the
first frame of the video; ``_tokens`` are tokens in the model's sequence.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import Any, Final, Literal

from seedvideo import notebook
from seedvideo.config import DEFAULT_LIMITS, Limits
from seedvideo.errors import PlanError
from seedvideo.media.types import MediaInfo, Target
from seedvideo.sampler import serialization
from seedvideo.sampler.geometry import Geometry
from seedvideo.sampler.serialization import SCHEMA_VERSION
from seedvideo.sampler.types import (
    AllocationReport,
    DecodeEstimate,
    EventReport,
    PlannedFrame,
    Segment,
    SegmentStats,
    Totals,
)
from seedvideo.utils.text import format_fraction, printable
from seedvideo.utils.timecode import seconds

__all__ = [
    "SCHEMA_VERSION",
    "AllocationReport",
    "Plan",
    "PlannedFrame",
    "Segment",
    "SegmentStats",
    "Totals",
]


MAX_SEGMENT_ROWS: Final = 8
"""Maximum number of segments in a summary."""


@dataclass(frozen=True, repr=False)
class Plan:
    """Selected frames of one video, with their sizes, costs and reasons.

    Args:
        source: name of the video, as given by the caller.
        policy: name of the policy.
        geometry: token geometry of the model family.
        budget_tokens: maximum tokens of the video.
        charged_tokens: tokens that the policy counted against the budget: all tokens, except for
            the published rule, which counts the cap of the level for each frame.
        media: header facts of the video.
        segments: spans with one rate and one level each, in order.
        frames: frames to show, in order of time; at least one.
        decision: allocation report of an adaptive plan.

    Raises:
        PlanError: ``plan.over_budget`` if more is charged than the budget; ``plan.invalid`` if the
            frames are out of order, do not fit the geometry or disagree with their tokens.
    """

    source: str
    policy: str
    geometry: Geometry
    budget_tokens: int
    charged_tokens: int
    media: MediaInfo
    segments: tuple[Segment, ...]
    frames: tuple[PlannedFrame, ...]
    decision: AllocationReport | None = None

    def __post_init__(self) -> None:
        if not self.frames:
            raise PlanError("plan.invalid", "the plan has no frames")
        if self.charged_tokens > self.budget_tokens:
            raise PlanError(
                "plan.over_budget",
                f"the plan charges {self.charged_tokens:,} tokens,"
                f" its budget is {self.budget_tokens:,}",
            )
        if self.charged_tokens < self.totals.visual_tokens:
            raise PlanError(
                "plan.invalid",
                f"the plan charges {self.charged_tokens:,} tokens,"
                f" its frames have {self.totals.visual_tokens:,} visual tokens",
            )
        for before, segment in pairwise(self.segments):
            if segment.start < before.end:
                raise PlanError(
                    "plan.invalid", f"a segment starts at {segment.start} s, inside the one before"
                )
        for earlier, later in pairwise(self.frames):
            if later.pts <= earlier.pts:
                raise PlanError(
                    "plan.invalid", f"a frame at {later.pts} s follows one at {earlier.pts} s"
                )
        for frame in self.frames:
            self._check_size(frame)

    def __repr__(self) -> str:
        totals = self.totals
        return (
            f"Plan({self.source!r}, {self.policy}, {totals.frames} frames,"
            f" {totals.tokens:,} of {self.budget_tokens:,} tokens)"
        )

    def _repr_html_(self) -> str:
        """Show the plan in a notebook: frames over time, then their times and tokens."""
        from seedvideo.sampler.visualize import plot  # Heavy: draws a picture.

        totals = self.totals
        rows = [
            (
                f"{seconds(frame.pts):.3f} s",
                f"{frame.width_px}x{frame.height_px}",
                f"{frame.tokens} + {frame.text_tokens}",
                frame.reason,
            )
            for frame in self.frames
        ]
        return notebook.card(
            PurePath(self.source).name or self.source,
            [
                f"policy {self.policy}",
                f"{totals.frames:,} frames",
                f"{totals.visual_tokens:,} visual + {totals.text_tokens:,} text tokens",
                f"budget {self.budget_tokens:,}",
            ],
            notebook.picture(plot(self), alt="frames of the plan over time"),
            notebook.table(("time", "size", "tokens", "reason"), rows),
        )

    def _check_size(self, frame: PlannedFrame) -> None:
        tokens = self.geometry.tokens(width_px=frame.width_px, height_px=frame.height_px)
        if tokens != frame.tokens:
            raise PlanError(
                "plan.invalid",
                f"the frame at {frame.pts} s states {frame.tokens} tokens,"
                f" its size of {frame.width_px}x{frame.height_px} px has {tokens}",
            )
        if tokens > self.geometry.levels_tokens[0]:
            raise PlanError(
                "plan.invalid",
                f"the frame at {frame.pts} s has {tokens} tokens, above the highest level"
                f" {self.geometry.levels_tokens[0]}",
            )

    @property
    def totals(self) -> Totals:
        """Return sums over the frames: the real content of the sequence."""
        return Totals.of(self.frames)

    def targets(self) -> tuple[Target, ...]:
        """Return what to request from a reader: a time and a size for each frame, in order."""
        return tuple(
            Target(pts=frame.pts, width_px=frame.width_px, height_px=frame.height_px)
            for frame in self.frames
        )

    def summary(self) -> str:
        """Return a few aligned lines: source, policy, frames, tokens, segments."""
        totals = self.totals
        rows = [
            ("source", self.source),
            ("media", _media_line(self.media)),
            ("policy", f"{self.policy}, {self.geometry.name} geometry"),
            ("frames", _sizes_line(self.frames)),
        ]
        if len(self.geometry.levels_tokens) == 1:
            rows.append(("size", "the model takes one size: the budget is spent on times alone"))
        real = f"{totals.visual_tokens:,} visual + {totals.text_tokens:,} text"
        if self.charged_tokens == totals.tokens:
            rows.append(("tokens", f"{format_fraction(totals.tokens, self.budget_tokens)}: {real}"))
        else:
            charged = format_fraction(self.charged_tokens, self.budget_tokens)
            rows.append(("charged", f"{charged}: level caps, without text"))
            rows.append(("tokens", f"{totals.tokens:,} in the sequence: {real}"))
        if self.decision is not None:
            rows += _report_rows(self.decision)
        rows += _segment_rows(self.segments)
        rows += [("warning", f"{w.message} ({w.code})") for w in self.media.warnings]
        return _align_pairs(rows)

    def explain(self) -> str:
        """Return the summary and a table of frames; for an adaptive plan, also segments and events.

        The table of events says for each one why it got a frame or none, in the order in which the
        frames of events are bought.
        """
        tables = [_frame_table(self.frames)]
        if self.decision is not None:
            tables.insert(0, _segment_table(self.segments, self.frames))
            if self.decision.events:
                tables.insert(1, _event_table(self.decision.events, self.budget_tokens))
        return "\n\n".join([self.summary(), *tables])

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values; `from_json` restores an equal plan."""
        totals = self.totals
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "policy": self.policy,
            "geometry": serialization.geometry_to_json(
                self.geometry, ((frame.width_px, frame.height_px) for frame in self.frames)
            ),
            "budget_tokens": self.budget_tokens,
            "charged_tokens": self.charged_tokens,
            "media": serialization.media_to_json(self.media),
            "segments": [serialization.segment_to_json(segment) for segment in self.segments],
            "frames": [serialization.frame_to_json(frame) for frame in self.frames],
            "totals": asdict(totals) | {"tokens": totals.tokens},
            "decision": (
                None if self.decision is None else serialization.decision_to_json(self.decision)
            ),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, limits: Limits = DEFAULT_LIMITS) -> "Plan":
        """Read a plan; check every value, and compare its totals.

        Args:
            data: result of `to_json`, also after a round trip through a JSON file.
            limits: resource limits; plans of more than ``max_sampled_frames`` frames are rejected.

        Raises:
            PlanError: ``plan.invalid`` or ``plan.over_budget``, naming the position in the data.
        """
        document = serialization.PlanDocument.read(data, max_frames=limits.max_sampled_frames)
        parts = document.parts("plan")
        del parts["schema_version"]
        stated = parts.pop("totals")
        plan = serialization.built("plan", lambda: cls(**parts))
        for name, value in (asdict(plan.totals) | {"tokens": plan.totals.tokens}).items():
            if stated[name] != value:
                raise PlanError(
                    "plan.invalid",
                    f"plan.totals.{name} is {stated[name]}, its frames give {value}",
                )
        return plan


def _align_pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Format one pair of name and value per line, with aligned values."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {printable(value)}".rstrip() for name, value in rows)


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, align: Sequence[Literal["<", ">"]]
) -> str:
    """Format a header, a rule and rows, in columns two spaces apart."""
    lines = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(line, align, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _media_line(media: MediaInfo) -> str:
    """Describe size, duration, rate and codec of a video in one line."""
    words = [f"{media.width_px}x{media.height_px} px", media.codec]
    if media.is_image:
        return ", ".join(["still image", *words])
    words.insert(0, f"{seconds(media.duration):.3f} s")
    if media.fps_avg is not None:
        words.append(f"{float(media.fps_avg):.4g} fps" + (", variable" if media.is_vfr else ""))
    if media.rotation_deg:
        words.append(f"rotated by {media.rotation_deg} degrees")
    return ", ".join(words)


def _sizes_line(frames: Sequence[PlannedFrame]) -> str:
    """Describe the number of frames and their sizes in one line."""
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
    others = len(most) - 3
    more = f" and {others} more size{'s' * (others > 1)}" if others > 0 else ""
    return f"{len(frames):,}: {listed}{more}"


def _segment_rows(segments: Sequence[Segment]) -> list[tuple[str, str]]:
    """Describe the first segments, and count the others."""
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


def _report_rows(decision: AllocationReport) -> list[tuple[str, str]]:
    """Describe the inputs of an adaptive plan, and its quality under the utility model."""
    grid = f"{decision.coverage_frames:,} frames at level {decision.coverage_level_tokens}"
    of = "of the budget" if not decision.event_tokens else "of the rest of the budget"
    unknown = 1 - decision.inspected_share
    known = f"{max(1, round(100 * unknown))}% of the time unknown, " if unknown else ""
    rows = [
        (
            "analysis",
            f"{decision.analysis}, {known}{100 * decision.busy_share:.0f}% of the time busy",
        ),
        ("coverage", f"{grid}, for at most {100 * decision.coverage_share:.0f}% {of}"),
    ]
    if decision.events:
        shown = sum(event.frame is not None for event in decision.events)
        frames = f"{shown:,} of {len(decision.events):,} found events have a frame"
        rows.insert(1, ("events", f"{frames}, bought first for {decision.event_tokens:,} tokens"))
    even = ""
    if decision.even_worth_s:
        gain = decision.worth_s / decision.even_worth_s - 1
        even = f", {100 * gain:+.0f}% over the best uniform plan"
    best = "optimal over this coverage grid"
    if not decision.is_exact:
        gap = max(0.01, 100 * decision.optimality_gap)
        best = f"within {gap:.2f}% of the optimum over this coverage grid"
    if decision.is_even:
        even, best = "", decision.even_reason
    rows.append(("utility", f"{decision.worth_s:,.1f} s of ordinary content{even}; {best}"))
    if decision.full_worth_s:
        # Both are found by search, and the smaller plan may be the better one by a hair.
        part = min(100.0, 100 * decision.worth_s / decision.full_worth_s)
        full = f"{part:.1f}% of the {decision.full_worth_s:,.1f} s of the complete budget"
        rows.append(("thrift", full))
    if decision.last_thousand_s:
        bought = f"{decision.last_thousand_s:.2g} s of ordinary content"
        rows.append(("margin", f"the last 1,000 tokens bought {bought}"))
    if decision.decoding is not None:
        rows.append(("decodes", _decoding_line(decision.decoding)))
    return rows + [("note", note) for note in decision.notes]


def _decoding_line(decoding: DecodeEstimate) -> str:
    line = f"about {decoding.pictures:,} of {decoding.video_pictures:,} pictures"
    if not decoding.moved_frames:
        return line
    frames = "1 frame" if decoding.moved_frames == 1 else f"{decoding.moved_frames:,} frames"
    return f"{line}, {decoding.saved_pictures:,} fewer with {frames} moved to keyframes"


def _segment_table(segments: Sequence[Segment], frames: Sequence[PlannedFrame]) -> str:
    """Return a table with one row per segment: its span, its needs and its frames."""
    starts = [segment.start for segment in segments]
    counts = [0] * len(segments)
    tokens = [0] * len(segments)
    for frame in frames:
        i = max(0, bisect_right(starts, frame.pts) - 1)
        counts[i] += 1
        tokens[i] += frame.tokens + frame.text_tokens
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
    return _table(header, rows, align=(">", ">", ">", ">", ">", ">", ">", ">", ">"))


_OUTCOMES: Final = {
    "legible": "shown, legible",
    "largest": "shown at the largest size, which may not be legible",
    "shown": "shown, bought at the lowest size: a legible one exceeds the limit",
    "shared": "shown in the frame of another event",
    "limit": "no frame of its own: exceeds the limit",
    "budget": "no frame of its own: others use up the budget or the number of frames",
    "rate": "no frame of its own: above the maximum rate",
}


def _event_table(events: Sequence[EventReport], budget_tokens: int) -> str:
    """Return a table with one row per found event, in the order in which events are bought."""
    return _table(
        ("event", "at", "strength", "probability", "busy", "total", "limit", "frame", "outcome"),
        [
            (
                f"{number}",
                f"{seconds(event.time):.3f} s",
                f"{event.strength:.0f}",
                f"{event.probability:.2f}",
                "yes" if event.in_busy_time else "",
                f"{event.total_tokens:,}",
                f"{int(event.share * budget_tokens):,}",
                "" if event.frame is None else f"{seconds(event.frame):.3f} s",
                _OUTCOMES[event.outcome],
            )
            for number, event in enumerate(events, start=1)
        ],
        align=(">", ">", ">", ">", ">", ">", ">", ">", "<"),
    )


def _frame_table(frames: Sequence[PlannedFrame]) -> str:
    """Return a table with one row per frame: number, time, size, tokens, text tokens, reason."""
    return _table(
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
