"""Line charts as SVG, for `flashbench.py`: panels side by side, logarithmic x, y from 0 to 1.

Without a plotting package, so that a chart in docs/ is a few kilobytes of text. Does nothing as a
script.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log2
from typing import Final

PANEL_PX: Final = (360, 270)
_LEFT_PX, _TOP_PX, _BETWEEN_PX, _BELOW_PX, _LEGEND_PX = 56, 40, 62, 62, 150
_INK, _FAINT = "#24292f", "#d0d7de"


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Args:
        name: name in the legend; lines of one name share colour and entry.
        colour: colour in SVG notation.
        points: x, y, and the ends of an interval around y.
        dashed: whether the line is dashed, as for an upper bound.
        shaded: whether the interval is drawn.
    """

    name: str
    colour: str
    points: tuple[tuple[float, float, float, float], ...]
    dashed: bool = False
    shaded: bool = False


@dataclass(frozen=True)
class Panel:
    """One chart.

    Args:
        title: title above the chart.
        x_label: label of the x axis.
        y_label: label of the y axis.
        lines: lines of the chart.
        ticks: values on the x axis with their texts.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]


def draw(panels: Sequence[Panel], *, title: str) -> str:
    """Render the panels side by side with one legend, as the text of an SVG file."""
    wide, high = PANEL_PX
    width = _LEFT_PX + len(panels) * (wide + _BETWEEN_PX) - _BETWEEN_PX + 24 + _LEGEND_PX
    height = _TOP_PX + high + _BELOW_PX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" font-family="system-ui, sans-serif" font-size="12" fill="{_INK}"'
        f' role="img"><title>{escape(title)}</title>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _LEFT_PX + number * (wide + _BETWEEN_PX))
    named = {line.name: line for panel in panels for line in panel.lines}
    for row, line in enumerate(named.values()):
        y, x = _TOP_PX + 14 + 22 * row, width - _LEGEND_PX
        parts.append(_stroke(line, f"M{x} {y}h22"))
        parts.append(f'<text x="{x + 28}" y="{y + 4}">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: int) -> list[str]:
    wide, high = PANEL_PX
    bottom = _TOP_PX + high
    first, last = log2(panel.ticks[0][0]), log2(panel.ticks[-1][0])

    def to_pixels(x: float, y: float) -> tuple[float, float]:
        along = 12 + (wide - 24) * (log2(x) - first) / max(last - first, 1e-9)
        return round(left + along, 1), round(bottom - high * y, 1)

    middle = left + wide / 2
    parts = [
        f'<text x="{middle}" y="{_TOP_PX - 16}" text-anchor="middle" font-weight="600">'
        f"{escape(panel.title)}</text>",
        f'<text x="{middle}" y="{bottom + 44}" text-anchor="middle">{escape(panel.x_label)}</text>',
        f'<text transform="translate({left - 38} {_TOP_PX + high / 2}) rotate(-90)"'
        f' text-anchor="middle">{escape(panel.y_label)}</text>',
    ]
    for fifth in range(6):
        y = bottom - high * fifth / 5
        parts.append(f'<path d="M{left} {y}h{wide}" stroke="{_FAINT}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{fifth / 5:g}</text>')
    for value, text in panel.ticks:
        x, _ = to_pixels(value, 0)
        parts.append(f'<path d="M{x} {bottom}v5" stroke="{_INK}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 20}" text-anchor="middle">{escape(text)}</text>')
    for line in panel.lines:
        upper = [to_pixels(x, top) for x, _, _, top in line.points]
        lower = [to_pixels(x, low) for x, _, low, _ in reversed(line.points)]
        if line.shaded:
            area = " ".join(f"{x},{y}" for x, y in [*upper, *lower])
            parts.append(f'<polygon points="{area}" fill="{line.colour}" opacity="0.13"/>')
    for line in panel.lines:
        dots = [to_pixels(x, y) for x, y, _, _ in line.points]
        parts.append(_stroke(line, "M" + "L".join(f"{x} {y}" for x, y in dots)))
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{line.colour}"/>' for x, y in dots]
    return parts


def _stroke(line: Line, path: str) -> str:
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    return f'<path d="{path}" fill="none" stroke="{line.colour}" stroke-width="2.2"{dash}/>'
