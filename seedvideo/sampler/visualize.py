"""Plot of a plan over time: signals of the analysis, frame rates, and the planned frames.

Three bands share the time axis: signals, frames per second of each segment, and the frames, with
heights in proportion to their tokens. Sizes are pixels of the finished picture; it is drawn at
twice that size and reduced, so that thin lines stay even.
"""

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.events import EVENT_THRESHOLD
from seedvideo.sampler.novelty import CALM_OCTAVES, LIKE_OCTAVES
from seedvideo.utils.text import format_fraction, printable
from seedvideo.utils.timecode import seconds

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from seedvideo.sampler.analysis import Analysis
    from seedvideo.sampler.plan import Plan

    Font = FreeTypeFont | ImageFont

_SCALE: Final = 2
_WIDTH: Final = 1800
_LEFT: Final = 150
_RIGHT: Final = 40
_BANDS: Final = {"happens": (150, 190), "rate": (405, 110), "frames": (580, 230)}
"""Top and height of each band, in pixels."""

_AXIS_Y: Final = 822
_LEGEND_Y: Final = 878
_HEIGHT: Final = 930

_TITLE_PX, _TEXT_PX, _SMALL_PX = 28, 16, 14
_BACKGROUND: Final = (250, 250, 248)
_BAND: Final = (243, 243, 240)
_TEXT_COLOR: Final = (30, 32, 36)
_MUTED_COLOR: Final = (110, 114, 120)
_RULE: Final = (212, 212, 208)
_CUT: Final = (196, 196, 200)
_ACTIVITIES: Final = ((172, 196, 214), (168, 206, 180), (222, 204, 150), (206, 176, 206))
"""Colours of motion, by its kind of activity: from calm content to a change of all blocks."""
_NOVELTY: Final = (214, 96, 30)
_UNKNOWN: Final = (216, 214, 208)
_RATE: Final = (126, 148, 120)

_ROLES: Final = {
    "coverage": ((140, 146, 154), "even coverage"),
    "spread": ((58, 118, 176), "more of a segment"),
    "shot": ((64, 142, 92), "start of a shot"),
    "event": ((214, 96, 30), "something new"),
    None: ((58, 118, 176), "chosen frame"),
}
"""Colour and name of each role, in drawing order."""

_TICKS_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def plot(plan: "Plan", analysis: "Analysis | None" = None) -> npt.NDArray[np.uint8]:
    """Draw a plan over time.

    Args:
        plan: the plan.
        analysis: analysis of its video; without it the first band is empty.

    Returns:
        ``(height_px, width_px, 3)``, RGB.
    """
    # Only this function needs Pillow.
    from PIL import Image, ImageDraw

    size = (_WIDTH * _SCALE, _HEIGHT * _SCALE)
    picture = Image.new("RGB", size, _BACKGROUND)
    _PlanPlot(ImageDraw.Draw(picture), plan, analysis).draw_all()
    small = picture.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.uint8)


class _PlanPlot:
    """State of one drawing. Coordinates are those of the finished picture."""

    def __init__(self, draw: "ImageDraw", plan: "Plan", analysis: "Analysis | None") -> None:
        from PIL import ImageFont

        self.draw = draw
        self.plan = plan
        self.analysis = analysis
        self.start_s = float(plan.segments[0].start)
        self.end_s = float(plan.segments[-1].end)
        self._span_s = self.end_s - self.start_s
        self.title, self.text, self.small = (
            ImageFont.load_default(size * _SCALE) for size in (_TITLE_PX, _TEXT_PX, _SMALL_PX)
        )

    def draw_all(self) -> None:
        self._draw_header()
        for top, height in _BANDS.values():
            self._draw_box(_LEFT, top, _WIDTH - _RIGHT, top + height, _BAND)
        self._draw_cuts()
        self._draw_signals()
        self._draw_rates()
        self._draw_frames()
        self._draw_axis()
        self._draw_legend()

    # --- bands

    def _draw_header(self) -> None:
        plan, totals = self.plan, self.plan.totals
        name = printable(PurePath(plan.source).name or plan.source)
        self._draw_text(36, 26, name[:90], self.title, _TEXT_COLOR)
        facts = [
            f"{seconds(plan.media.duration):.3f} s",
            f"policy {plan.policy}",
            f"{totals.frames:,} frames",
            f"charged {format_fraction(plan.charged_tokens, plan.budget_tokens)}",
        ]
        decision = plan.decision
        if decision is not None:
            facts.append(f"coverage {100 * decision.coverage_share:.0f}%")
            facts.append(f"busy {100 * decision.busy_share:.0f}%")
            if decision.inspected_share < 1:
                facts.append(f"unknown {100 * (1 - decision.inspected_share):.0f}%")
            if decision.even_worth_s and not decision.is_even:
                gain = decision.worth_s / decision.even_worth_s - 1
                facts.append(f"{100 * gain:+,.0f}% utility over the best uniform plan")
            elif decision.is_even:
                facts.append(decision.even_reason)
        self._draw_text(36, 70, "      ".join(facts), self.text, _MUTED_COLOR)
        self._draw_line(36, 106, _WIDTH - _RIGHT, 106, _RULE)

    def _draw_cuts(self) -> None:
        """Draw a thin line through all bands at each cut, unless there are too many."""
        cuts = [s.start for s in self.plan.segments if s.needs is not None and s.needs.starts_shot]
        if len(cuts) > (_WIDTH - _LEFT - _RIGHT) / 6:
            return
        for cut in cuts:
            x = self._x_of(float(cut))
            for top, height in _BANDS.values():
                self._draw_line(x, top, x, top + height, _CUT)

    def _draw_signals(self) -> None:
        top, height = _BANDS["happens"]
        bottom = top + height
        self._draw_label("what happens", top)
        if self.analysis is None or not len(self.analysis.signals):
            self._draw_text(_LEFT + 14, top + 14, "not analysed", self.text, _MUTED_COLOR)
            return
        self._draw_unknown(top, bottom)
        signals = self.analysis.signals
        columns = np.arange(_LEFT, _WIDTH - _RIGHT)
        usual = float(np.quantile(signals.motion, 0.99)) or 1.0
        moments = self.start_s + (columns + 0.5 - _LEFT) / len(columns) * self._span_s
        motion = np.interp(moments, signals.times_s, signals.motion)
        steps = np.searchsorted(signals.times_s, moments, side="right") - 1
        octaves = signals.activity[np.maximum(steps, 0)] - CALM_OCTAVES
        kinds = np.clip(octaves / LIKE_OCTAVES, 0, len(_ACTIVITIES) - 1).astype(int)
        for column, value, kind in zip(
            columns.tolist(), motion.tolist(), kinds.tolist(), strict=True
        ):
            y = bottom - 0.55 * height * min(1.0, value / usual)
            self._draw_box(column, y, column + 1, bottom, _ACTIVITIES[kind])
        # Novelty spans powers of ten; below the threshold it is noise.
        most = max(EVENT_THRESHOLD * 4, float(signals.novelty.max()))
        for moment_s, value in zip(signals.times_s, signals.novelty, strict=True):
            if value >= EVENT_THRESHOLD and self.start_s <= moment_s < self.end_s:
                part = np.log(value / EVENT_THRESHOLD) / np.log(most / EVENT_THRESHOLD)
                x, y = self._x_of(float(moment_s)), bottom - height * (0.1 + 0.85 * float(part))
                self._draw_line(x, bottom, x, y, _NOVELTY, width=1.5)
        self._draw_note("motion", bottom - 40, _MUTED_COLOR)
        self._draw_note("something new", top + 40, _NOVELTY)

    def _draw_unknown(self, top: float, bottom: float) -> None:
        """Shade the time that the analysis did not inspect; the motion there is an estimate."""
        unknown = () if self.analysis is None else self.analysis.unknown
        for span in unknown:
            start_s, end_s = max(float(span.start), self.start_s), min(float(span.end), self.end_s)
            if start_s < end_s:
                left, right = self._x_of(start_s), self._x_of(end_s)
                self._draw_box(left, top, max(right, left + 0.5), bottom, _UNKNOWN)
        if unknown:
            self._draw_note("grey: unknown", bottom - 18, _MUTED_COLOR)

    def _draw_rates(self) -> None:
        top, height = _BANDS["rate"]
        bottom = top + height
        segments = self.plan.segments
        most = max(1e-9, self._max_rate())
        self._draw_label("frames a second", top)
        for value in (most / 2, most):
            y = bottom - height * 0.92 * value / most
            self._draw_line(_LEFT, y, _WIDTH - _RIGHT, y, _RULE)
            self._draw_note(f"{value:.2g}", y - 9, _MUTED_COLOR)
        for segment in segments:
            left, right = self._x_of(float(segment.start)), self._x_of(float(segment.end))
            y = bottom - height * 0.92 * min(1.0, segment.fps / most)
            self._draw_box(left, y, max(right - 0.5, left + 1), bottom, _RATE)

    def _max_rate(self) -> float:
        """Return the highest rate to draw: that of segments long enough to be visible."""
        least_s = self._span_s / 200
        long = [s.fps for s in self.plan.segments if float(s.end - s.start) >= least_s]
        return max(long or [segment.fps for segment in self.plan.segments])

    def _draw_frames(self) -> None:
        top, height = _BANDS["frames"]
        bottom = top + height
        highest = max(frame.tokens for frame in self.plan.frames)
        self._draw_label("frames shown", top)
        caps: dict[int, int] = {}
        for level in self.plan.geometry.levels_tokens:
            width_px, height_px = self.plan.geometry.size(
                width_px=self.plan.media.width_px,
                height_px=self.plan.media.height_px,
                level_tokens=level,
            )
            tokens = self.plan.geometry.tokens(width_px=width_px, height_px=height_px)
            caps[tokens] = level
        taken: list[float] = []
        for tokens, level in sorted(caps.items(), reverse=True):
            y = bottom - 0.94 * height * tokens / highest
            if y < top or any(abs(y - other) < 16 for other in taken):
                continue
            taken.append(y)
            self._draw_line(_LEFT, y, _WIDTH - _RIGHT, y, _RULE)
            self._draw_note(f"level {level}", y - 9, _MUTED_COLOR)
        count = len(self.plan.frames)
        width = min(5.0, max(1.2, 0.45 * (_WIDTH - _LEFT - _RIGHT) / count))
        for role, (colour, _) in _ROLES.items():
            for frame in self.plan.frames:
                if frame.role == role:
                    x = self._x_of(float(frame.pts))
                    y = bottom - 0.94 * height * frame.tokens / highest
                    self._draw_box(x - width / 2, y, x + width / 2, bottom, colour)
                    if role == "event":
                        self._draw_dot(x, y, max(3.0, width), colour)

    def _draw_axis(self) -> None:
        step = next((tick for tick in _TICKS_S if self._span_s / tick <= 14), 7200)
        first = int(np.ceil(self.start_s / step - 1e-9))
        last = int(np.floor(self.end_s / step + 1e-9))
        for index in range(first, last + 1):
            moment_s = index * step
            x = self._x_of(moment_s)
            self._draw_line(x, _AXIS_Y - 8, x, _AXIS_Y - 2, _MUTED_COLOR)
            text = _format_clock(moment_s, self._span_s)
            self._draw_text(
                x - self._text_width(text, self.small) / 2,
                _AXIS_Y + 4,
                text,
                self.small,
                _TEXT_COLOR,
            )

    def _draw_legend(self) -> None:
        spent: dict[str | None, list[int]] = {}
        for frame in self.plan.frames:
            spent.setdefault(frame.role, []).append(frame.tokens + frame.text_tokens)
        x = float(_LEFT)
        for role, (colour, name) in _ROLES.items():
            if role in spent:
                tokens = sum(spent[role])
                part = tokens / max(1, self.plan.totals.tokens)
                many = "" if len(spent[role]) == 1 else "s"
                text = f"{name}: {len(spent[role]):,} frame{many}, {100 * part:.1f}% of the tokens"
                self._draw_box(x, _LEGEND_Y + 4, x + 12, _LEGEND_Y + 16, colour)
                self._draw_text(x + 20, _LEGEND_Y, text, self.text, _TEXT_COLOR)
                x += 20 + self._text_width(text, self.text) + 36

    # --- drawing, in pixels of the finished picture

    def _x_of(self, moment_s: float) -> float:
        part = (moment_s - self.start_s) / self._span_s
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def _draw_box(
        self, left: float, top: float, right: float, bottom: float, fill: tuple[int, int, int]
    ) -> None:
        # Pillow includes the last pixel.
        corners = (left * _SCALE, top * _SCALE, right * _SCALE - 1, bottom * _SCALE - 1)
        if corners[2] >= corners[0] and corners[3] >= corners[1]:
            self.draw.rectangle(corners, fill=fill)

    def _draw_line(
        self,
        x: float,
        y: float,
        to_x: float,
        to_y: float,
        fill: tuple[int, int, int],
        *,
        width: float = 0.5,
    ) -> None:
        ends = (x * _SCALE, y * _SCALE, to_x * _SCALE, to_y * _SCALE)
        self.draw.line(ends, fill=fill, width=max(1, round(width * _SCALE)))

    def _draw_dot(self, x: float, y: float, radius: float, fill: tuple[int, int, int]) -> None:
        box = (x - radius, y - radius, x + radius, y + radius)
        self.draw.ellipse([side * _SCALE for side in box], fill=fill)

    def _draw_text(
        self, x: float, y: float, text: str, font: "Font", fill: tuple[int, int, int]
    ) -> None:
        self.draw.text((x * _SCALE, y * _SCALE), text, font=font, fill=fill)

    def _text_width(self, text: str, font: "Font") -> float:
        return self.draw.textlength(text, font=font) / _SCALE

    def _draw_label(self, text: str, top: float) -> None:
        """Draw the name of a band above its left end."""
        self._draw_text(_LEFT, top - 24, text, self.text, _TEXT_COLOR)

    def _draw_note(self, text: str, y: float, fill: tuple[int, int, int]) -> None:
        """Draw text at the left of a band."""
        self._draw_text(_LEFT - 12 - self._text_width(text, self.small), y, text, self.small, fill)


def _format_clock(moment_s: float, span_s: float) -> str:
    """Format a time: ``12.5 s``, ``3:20`` or ``1:02:03``."""
    if span_s < 100:
        return f"{moment_s:g} s"
    minutes, rest = divmod(round(moment_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
