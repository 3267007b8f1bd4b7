"""The plan: the decided frames of one video, made before any full-size picture is decoded.

A value object that checks itself, so that a plan in hand is a plan that may be run. Knows no
policy: what a policy decided stands in the fields and the reasons. Times are exact seconds from the
video's own first frame; ``_tokens`` are tokens in the model's sequence.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from seedvideo import notebook
from seedvideo.config import DEFAULT_LIMITS, Limits
from seedvideo.errors import PlanError
from seedvideo.media.types import MediaInfo, Target
from seedvideo.sampler import plan_text, serialization
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.sampler.serialization import SCHEMA_VERSION
from seedvideo.sampler.types import Decision, Needs, PlannedFrame, Segment, Totals
from seedvideo.utils.timecode import seconds

__all__ = ["SCHEMA_VERSION", "Decision", "Needs", "Plan", "PlannedFrame", "Segment", "Totals"]


@dataclass(frozen=True, repr=False)
class Plan:
    """The frames of one video that a model will see, with their sizes, costs and reasons.

    Args:
        source: name of the video, as the caller gave it.
        policy: name of the policy that decided.
        geometry: the model family's sizes and tokens.
        budget_tokens: what the video may cost.
        charged_tokens: what the policy counted against the budget: every token for ours, the
            level's cap for each frame in the published rule.
        media: header facts of the video.
        segments: spans with one rate and one level each, in order.
        frames: what will be shown, in order of time; at least one.
        decision: how an adaptive plan came about.

    Raises:
        PlanError: ``plan.over_budget`` if more is charged than the budget; ``plan.invalid`` if the
            frames are out of order, do not fit the geometry or disagree with their tokens.
    """

    source: str
    policy: str
    geometry: TokenGeometry
    budget_tokens: int
    charged_tokens: int
    media: MediaInfo
    segments: tuple[Segment, ...]
    frames: tuple[PlannedFrame, ...]
    decision: Decision | None = None

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
        """Sums over the frames: what the sequence really holds."""
        return Totals.of(self.frames)

    def targets(self) -> tuple[Target, ...]:
        """What to ask a reader for: a time and a size for each frame, in order."""
        return tuple(
            Target(pts=frame.pts, width_px=frame.width_px, height_px=frame.height_px)
            for frame in self.frames
        )

    def summary(self) -> str:
        """A few aligned lines for people: source, policy, frames, tokens, segments."""
        totals = self.totals
        rows = [
            ("source", self.source),
            ("media", plan_text.media_line(self.media)),
            ("policy", f"{self.policy}, {self.geometry.name} geometry"),
            ("frames", plan_text.sizes_line(self.frames)),
        ]
        real = f"{totals.visual_tokens:,} visual + {totals.text_tokens:,} text"
        if self.charged_tokens == totals.tokens:
            rows.append(("tokens", f"{plan_text.share(totals.tokens, self.budget_tokens)}: {real}"))
        else:
            charged = plan_text.share(self.charged_tokens, self.budget_tokens)
            rows.append(("charged", f"{charged}: level caps, without text"))
            rows.append(("tokens", f"{totals.tokens:,} in the sequence: {real}"))
        if self.decision is not None:
            rows += plan_text.decision_rows(self.decision)
        rows += plan_text.segment_rows(self.segments)
        rows += [("warning", f"{w.message} ({w.code})") for w in self.media.warnings]
        return plan_text.facts(rows)

    def explain(self) -> str:
        """The summary, then a row a segment where the content decided, then a row a frame."""
        tables = [plan_text.frame_table(self.frames)]
        if self.decision is not None:
            tables.insert(0, plan_text.segment_table(self.segments, self.frames))
        return "\n\n".join([self.summary(), *tables])

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values; `from_json` gives back an equal plan."""
        totals = self.totals
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "policy": self.policy,
            "geometry": serialization.geometry_to_json(self.geometry),
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
        """Read a plan back; everything in it is checked, and its totals must agree.

        Args:
            data: what `to_json` made, after any trip through a JSON file.
            limits: ceilings; a plan of more than ``max_sampled_frames`` frames is refused.

        Raises:
            PlanError: ``plan.invalid`` or ``plan.over_budget``, naming the place in the data.
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
