"""Plot a plan over time: what happens in the video, and which frames the plan shows of it.

Three bands share the time axis: what happens, how many frames per second that earns, and the frames
themselves, with heights in proportion to their tokens. Sizes are pixels of the finished picture; it
is drawn at twice that size and reduced, so that thin lines stay even.
"""

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.novelty import PEAK
from seedvideo.sampler.plan_text import printable, share
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
"""Top and height of each band."""

_AXIS_Y: Final = 822
_LEGEND_Y: Final = 878
_HEIGHT: Final = 930

_TITLE_PX, _TEXT_PX, _SMALL_PX = 28, 16, 14
_PAPER: Final = (250, 250, 248)
_BAND: Final = (243, 243, 240)
_INK: Final = (30, 32, 36)
_FAINT: Final = (110, 114, 120)
_RULE: Final = (212, 212, 208)
_CUT: Final = (196, 196, 200)
_MOTION: Final = (172, 196, 214)
_NOVELTY: Final = (214, 96, 30)
_RATE: Final = (126, 148, 120)

_ROLES: Final = {
    "coverage": ((140, 146, 154), "even coverage"),
    "spread": ((58, 118, 176), "more of a segment"),
    "shot": ((64, 142, 92), "start of a shot"),
    "event": ((214, 96, 30), "something new"),
    None: ((58, 118, 176), "chosen frame"),
}
"""Colour and name of each role, in the order in which they are drawn over one another."""

_TICKS_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def plot(plan: "Plan", analysis: "Analysis | None" = None) -> npt.NDArray[np.uint8]:
    """Draw a plan over time.

    Args:
        plan: the plan.
        analysis: what was found in its video; without it the first band says so.

    Returns:
        ``(height_px, width_px, 3)``, RGB.
    """
    # Only this function needs Pillow.
    from PIL import Image, ImageDraw

    size = (_WIDTH * _SCALE, _HEIGHT * _SCALE)
    picture = Image.new("RGB", size, _PAPER)
    _Plot(ImageDraw.Draw(picture), plan, analysis).draw_all()
    small = picture.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.uint8)


class _Plot:
    """One picture on its way. Coordinates are those of the finished picture."""

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
        self._header()
        for top, height in _BANDS.values():
            self._box(_LEFT, top, _WIDTH - _RIGHT, top + height, _BAND)
        self._cuts()
        self._happens()
        self._rates()
        self._frames()
        self._axis()
        self._legend()

    # --- bands

    def _header(self) -> None:
        plan, totals = self.plan, self.plan.totals
        name = printable(PurePath(plan.source).name or plan.source)
        self._words(36, 26, name[:90], self.title, _INK)
        facts = [
            f"{seconds(plan.media.duration):.3f} s",
            f"policy {plan.policy}",
            f"{totals.frames:,} frames",
            f"charged {share(plan.charged_tokens, plan.budget_tokens)}",
        ]
        decision = plan.decision
        if decision is not None:
            facts.append(f"coverage {100 * decision.coverage_share:.0f} %")
            facts.append(f"busy {100 * decision.busy_share:.0f} %")
            if decision.even_worth_s and not decision.is_even:
                gain = decision.worth_s / decision.even_worth_s - 1
                facts.append(f"{100 * gain:+,.0f} % worth over the best even plan")
            elif decision.is_even:
                facts.append("spread evenly: nothing else is worth more")
        self._words(36, 70, "      ".join(facts), self.text, _FAINT)
        self._line(36, 106, _WIDTH - _RIGHT, 106, _RULE)

    def _cuts(self) -> None:
        """A thin line through all bands at each cut; none where they would be a carpet."""
        cuts = [s.start for s in self.plan.segments if s.needs is not None and s.needs.starts_shot]
        if len(cuts) > (_WIDTH - _LEFT - _RIGHT) / 6:
            return
        for cut in cuts:
            x = self._x(float(cut))
            for top, height in _BANDS.values():
                self._line(x, top, x, top + height, _CUT)

    def _happens(self) -> None:
        top, height = _BANDS["happens"]
        bottom = top + height
        self._label("what happens", top)
        if self.analysis is None or not len(self.analysis.signals):
            self._words(_LEFT + 14, top + 14, "not looked at", self.text, _FAINT)
            return
        signals = self.analysis.signals
        columns = np.arange(_LEFT, _WIDTH - _RIGHT)
        usual = float(np.quantile(signals.motion, 0.99)) or 1.0
        moments = self.start_s + (columns + 0.5 - _LEFT) / len(columns) * self._span_s
        motion = np.interp(moments, signals.times_s, signals.motion)
        for column, value in zip(columns.tolist(), motion.tolist(), strict=True):
            y = bottom - 0.55 * height * min(1.0, value / usual)
            self._box(column, y, column + 1, bottom, _MOTION)
        # Novelty spans powers of ten; below the line of what stands out it is noise.
        most = max(PEAK * 4, float(signals.novelty.max()))
        for moment_s, value in zip(signals.times_s, signals.novelty, strict=True):
            if value >= PEAK and self.start_s <= moment_s < self.end_s:
                part = np.log(value / PEAK) / np.log(most / PEAK)
                x, y = self._x(float(moment_s)), bottom - height * (0.1 + 0.85 * float(part))
                self._line(x, bottom, x, y, _NOVELTY, width=1.5)
        self._note("motion", bottom - 40, _FAINT)
        self._note("something new", top + 40, _NOVELTY)

    def _rates(self) -> None:
        top, height = _BANDS["rate"]
        bottom = top + height
        segments = self.plan.segments
        most = max(1e-9, self._tallest_rate())
        self._label("frames a second", top)
        for value in (most / 2, most):
            y = bottom - height * 0.92 * value / most
            self._line(_LEFT, y, _WIDTH - _RIGHT, y, _RULE)
            self._note(f"{value:.2g}", y - 9, _FAINT)
        for segment in segments:
            left, right = self._x(float(segment.start)), self._x(float(segment.end))
            y = bottom - height * 0.92 * min(1.0, segment.fps / most)
            self._box(left, y, max(right - 0.5, left + 1), bottom, _RATE)

    def _tallest_rate(self) -> float:
        """The highest rate that is drawn: that of segments long enough to be seen."""
        least_s = self._span_s / 200
        long = [s.fps for s in self.plan.segments if float(s.end - s.start) >= least_s]
        return max(long or [segment.fps for segment in self.plan.segments])

    def _frames(self) -> None:
        top, height = _BANDS["frames"]
        bottom = top + height
        highest = max(frame.tokens for frame in self.plan.frames)
        self._label("frames shown", top)
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
            self._line(_LEFT, y, _WIDTH - _RIGHT, y, _RULE)
            self._note(f"level {level}", y - 9, _FAINT)
        count = len(self.plan.frames)
        width = min(5.0, max(1.2, 0.45 * (_WIDTH - _LEFT - _RIGHT) / count))
        for role, (colour, _) in _ROLES.items():
            for frame in self.plan.frames:
                if frame.role == role:
                    x = self._x(float(frame.pts))
                    y = bottom - 0.94 * height * frame.tokens / highest
                    self._box(x - width / 2, y, x + width / 2, bottom, colour)
                    if role == "event":
                        self._dot(x, y, max(3.0, width), colour)

    def _axis(self) -> None:
        step = next((tick for tick in _TICKS_S if self._span_s / tick <= 14), 7200)
        first = int(np.ceil(self.start_s / step - 1e-9))
        last = int(np.floor(self.end_s / step + 1e-9))
        for index in range(first, last + 1):
            moment_s = index * step
            x = self._x(moment_s)
            self._line(x, _AXIS_Y - 8, x, _AXIS_Y - 2, _FAINT)
            words = _clock(moment_s, self._span_s)
            self._words(
                x - self._length(words, self.small) / 2, _AXIS_Y + 4, words, self.small, _INK
            )

    def _legend(self) -> None:
        spent: dict[str | None, list[int]] = {}
        for frame in self.plan.frames:
            spent.setdefault(frame.role, []).append(frame.tokens + frame.text_tokens)
        x = float(_LEFT)
        for role, (colour, name) in _ROLES.items():
            if role in spent:
                tokens = sum(spent[role])
                part = tokens / max(1, self.plan.totals.tokens)
                many = "" if len(spent[role]) == 1 else "s"
                words = (
                    f"{name}: {len(spent[role]):,} frame{many}, {100 * part:.1f} % of the tokens"
                )
                self._box(x, _LEGEND_Y + 4, x + 12, _LEGEND_Y + 16, colour)
                self._words(x + 20, _LEGEND_Y, words, self.text, _INK)
                x += 20 + self._length(words, self.text) + 36

    # --- drawing, in pixels of the finished picture

    def _x(self, moment_s: float) -> float:
        part = (moment_s - self.start_s) / self._span_s
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def _box(
        self, left: float, top: float, right: float, bottom: float, fill: tuple[int, int, int]
    ) -> None:
        # Pillow counts the last pixel in.
        corners = (left * _SCALE, top * _SCALE, right * _SCALE - 1, bottom * _SCALE - 1)
        if corners[2] >= corners[0] and corners[3] >= corners[1]:
            self.draw.rectangle(corners, fill=fill)

    def _line(
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

    def _dot(self, x: float, y: float, radius: float, fill: tuple[int, int, int]) -> None:
        box = (x - radius, y - radius, x + radius, y + radius)
        self.draw.ellipse([side * _SCALE for side in box], fill=fill)

    def _words(
        self, x: float, y: float, words: str, font: "Font", fill: tuple[int, int, int]
    ) -> None:
        self.draw.text((x * _SCALE, y * _SCALE), words, font=font, fill=fill)

    def _length(self, words: str, font: "Font") -> float:
        return self.draw.textlength(words, font=font) / _SCALE

    def _label(self, words: str, top: float) -> None:
        """A band's name, over its left end."""
        self._words(_LEFT, top - 24, words, self.text, _INK)

    def _note(self, words: str, y: float, fill: tuple[int, int, int]) -> None:
        """Words beside a band, at its left."""
        self._words(_LEFT - 12 - self._length(words, self.small), y, words, self.small, fill)


def _clock(moment_s: float, span_s: float) -> str:
    """A moment as a clock shows it: ``12.5 s``, ``3:20`` or ``1:02:03``."""
    if span_s < 100:
        return f"{moment_s:g} s"
    minutes, rest = divmod(round(moment_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
