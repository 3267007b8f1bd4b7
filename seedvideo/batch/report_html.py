"""The pages of a report as HTML, rendered by the templates in ``templates/``.

`seedvideo.utils.html` escapes every value. Only the style sheet, the script and the contact sheets,
which seedvideo makes, are marked as safe. Units: seconds; SVG positions are percentages of the
width, heights are pixels.

Separate from `seedvideo.batch.report`, which would exceed 500 lines with it.
"""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from seedvideo.batch.extra_columns import format_value, parse_extra
from seedvideo.batch.journal_rows import JournalEntry, to_record
from seedvideo.records import Record
from seedvideo.utils.html import csp_hash, load_asset, make_environment

if TYPE_CHECKING:
    from markupsafe import Markup

_PACKAGE: Final = "seedvideo.batch"

INDEX: Final = "index.html"
"""File name of the first page."""

STATE_ICONS: Final = {
    "done": "\u2713",
    "filtered": "\u2013",
    "failed": "\u2715",
    "quarantined": "\u2298",
    "pending": "\u2026",
}
"""A sign for each verdict, in display order, so that color alone never carries the meaning."""

_IMAGE_TYPES: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_MAX_EXTRA_CHARACTERS: Final = 500
"""Maximum shown length of a value of another column."""

_HEADER_SIGNALS: Final = ("duration_s", "width_px", "height_px", "aspect", "fps")
"""Signals that are beside the name of a clip already."""

_ROW_PX: Final = 26
_TICKS_PX: Final = 20
_MAX_ROWS: Final = 4
_MIN_BAR_PERCENT: Final = 0.4
"""Minimum width of a bar, so that a single instant is still visible."""
_MIN_NUMBERED_PERCENT: Final = 4.0
"""Minimum width of a bar that has room for its number, on a phone too."""
_FIRST_TICK: Final = 0.1
_LAST_TICK: Final = 0.8
"""Round times are placed between these fractions of the line. The start and the end of the video
keep room for their own numbers, on a phone too."""
_TICK_STEPS_S: Final = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
)
_MAX_TICKS: Final = 6


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of a report: number ``number`` of ``of``, from 1, clips ``first`` to ``last``."""

    number: int
    of: int
    first: int
    last: int
    total: int

    def name(self, number: int | None = None) -> str:
        """Return the file name of this page, or of another one."""
        number = self.number if number is None else number
        return INDEX if number == 1 else f"page-{number:04d}.html"


@dataclass(frozen=True, kw_only=True)
class StateSegment:
    """The clips with one verdict, as a part of the bar below the title."""

    state: str
    icon: str
    count: int
    left: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The head of a report.

    Args:
        title: what the job produced, such as ``Captions``.
        about: settings of the job, a few words each.
        counts: number of clips by verdict; the keys are those of `STATE_ICONS`.
        failures: (code, stage, clips), the most frequent first.
        facts: names and values of totals and rates, formatted for people.
    """

    title: str
    about: Sequence[str]
    counts: Mapping[str, int]
    failures: Sequence[tuple[str, str, int]] = ()
    facts: Sequence[tuple[str, str]] = ()

    @property
    def total(self) -> int:
        """Number of all clips."""
        return sum(self.counts.values())

    def segments(self) -> list[StateSegment]:
        """Return the verdicts that occur, each with its part of the bar."""
        segments, left = [], 0.0
        for state, icon in STATE_ICONS.items():
            if count := self.counts.get(state, 0):
                width = 100 * count / self.total
                segments.append(
                    StateSegment(state=state, icon=icon, count=count, left=left, width=width)
                )
                left += width
        return segments


@dataclass(frozen=True, kw_only=True)
class ContactSheet:
    """A contact sheet for a ``data:`` URL."""

    type: str
    base64: "Markup"
    width_px: int
    height_px: int


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One span in a timeline."""

    number: int
    start_s: float
    end_s: float
    left: float
    width: float
    row: int
    is_faded: bool

    @property
    def top_px(self) -> int:
        """Distance from the top of the timeline."""
        return self.row * _ROW_PX + 3

    @property
    def height_px(self) -> int:
        """Height of the bar."""
        return _ROW_PX - 6

    @property
    def is_numbered(self) -> bool:
        """Whether the bar has room for its number."""
        return self.width >= _MIN_NUMBERED_PERCENT

    @property
    def style(self) -> str:
        """CSS classes of the bar."""
        return ("one" if self.number % 2 else "other") + " faded" * self.is_faded

    @property
    def number_style(self) -> str:
        """CSS classes of its number."""
        return "number" + " faded" * self.is_faded


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One time below a timeline."""

    left: float
    anchor: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Spans over the duration of a video, in rows so that they overlap as little as possible."""

    label: str
    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    rows_px: int

    @property
    def height_px(self) -> int:
        """Height of the rows and of the times below them."""
        return self.rows_px + _TICKS_PX


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """One clip as the template reads it.

    Args:
        number: position in the job, from 1; part of the clip's anchor.
        state: its verdict, a key of `STATE_ICONS`.
        entry: the journal's entry.
        record: the result of a done clip.
        name: file name of the video.
        folder: its folder; empty where there is nothing to show.
        sheet: contact sheet; None where the journal has none that browsers show.
        timeline: spans of the result; None without a duration.
        doubt: why the result is marked as uncertain.
        signals: measured signals of the clip, except those of its header: names and values.
        extra: other columns of the clip's row: names and shortened values.
    """

    number: int
    state: str
    entry: JournalEntry
    record: Record | None
    name: str
    folder: str
    sheet: ContactSheet | None
    timeline: Timeline | None
    doubt: str
    signals: Sequence[tuple[str, str]]
    extra: Sequence[tuple[str, str]]

    @property
    def icon(self) -> str:
        """The sign of its verdict."""
        return STATE_ICONS[self.state]


def displayed_state(state: str) -> str:
    """Return the state as the report counts it: a running clip is still pending."""
    return "pending" if state == "running" else state


def render_page(
    overview: Overview, page: Page, entries: Iterable[tuple[int, JournalEntry]], *, timings: bool
) -> Iterator[str]:
    """Render one page piece by piece, reading one clip at a time.

    Args:
        overview: totals of the whole job.
        page: which page.
        entries: clips of the page with their positions in the job, from 1.
        timings: whether to show processing times and numbers of tries.
    """
    css, js = (load_asset(_PACKAGE, name) for name in ("report.css", "report.js"))
    stream = (
        make_environment(_PACKAGE)
        .get_template("page.html.j2")
        .stream(
            overview=overview,
            page=page,
            clips=(to_clip_view(entry, number=number) for number, entry in entries),
            timings=timings,
            css=css,
            js=js,
            css_hash=csp_hash(css),
            js_hash=csp_hash(js),
        )
    )
    stream.enable_buffering(64)
    return iter(stream)


def to_clip_view(entry: JournalEntry, *, number: int) -> ClipView:
    """Return what the template needs of a clip."""
    record = to_record(entry)
    source = PurePath(entry.item.source)
    folder = str(source.parent)
    return ClipView(
        number=number,
        state=displayed_state(entry.state),
        entry=entry,
        record=record,
        name=source.name or entry.item.source,
        folder="" if folder == "." else folder,
        sheet=None if record is None else _to_contact_sheet(entry.sheet),
        timeline=None if record is None else _timeline_of(record),
        doubt="" if record is None else _uncertainty_reason(record),
        signals=_format_signals(record),
        extra=_format_extra(entry.item.extra),
    )


def timeline(
    spans: Sequence[tuple[float, float]], *, faded: Sequence[bool], duration_s: float
) -> Timeline | None:
    """Place spans over the duration of a video, in as few rows as keep them apart.

    Args:
        spans: starts and ends in seconds, the best first.
        faded: whether to draw each one paler.
        duration_s: duration of the video.

    Returns:
        None if there is no time to show.
    """
    start_s = min([0.0, *(start for start, _ in spans)])
    end_s = max([start_s + duration_s, *(end for _, end in spans)])
    length_s = end_s - start_s
    if length_s <= 0:
        return None
    rows = _assign_rows(spans)
    return Timeline(
        label=f"{len(spans)} span{'s' * (len(spans) != 1)} over {length_s:.1f} seconds",
        bars=[
            Bar(
                number=number,
                start_s=first_s,
                end_s=last_s,
                left=100 * (first_s - start_s) / length_s,
                width=max(_MIN_BAR_PERCENT, 100 * (last_s - first_s) / length_s),
                row=row,
                is_faded=is_faded,
            )
            for number, ((first_s, last_s), row, is_faded) in enumerate(
                zip(spans, rows, faded, strict=True), start=1
            )
        ],
        ticks=_ticks(start_s, end_s),
        rows_px=(max(rows, default=0) + 1) * _ROW_PX,
    )


def _timeline_of(record: Record) -> Timeline | None:
    if record.media is None or record.answer is not None:
        return None
    spans: Sequence[Any]
    if record.grounding is not None:
        spans = record.grounding.spans
        faded = [index > 0 for index in range(len(spans))]
    else:
        spans = record.events
        faded = [not event.confident for event in record.events]
    times = [(span.start_s, span.end_s) for span in spans]
    return timeline(times, faded=faded, duration_s=record.media.duration_s)


def _assign_rows(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return for each span the first row in which it overlaps no earlier one, else the last."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_MAX_ROWS)]
    rows = []
    for first, last in spans:
        free = (
            row
            for row, others in enumerate(taken)
            if all(last <= start or first >= end for start, end in others)
        )
        row = next(free, _MAX_ROWS - 1)
        taken[row].append((first, last))
        rows.append(row)
    return rows


def _ticks(start_s: float, end_s: float) -> list[Tick]:
    """Return round times; the first and the last are those of the video."""
    length_s = end_s - start_s
    step_s = next((s for s in _TICK_STEPS_S if length_s / s <= _MAX_TICKS), length_s)
    times = []
    number = int(start_s / step_s) + 1
    while number * step_s < end_s:
        if _FIRST_TICK < (number * step_s - start_s) / length_s < _LAST_TICK:
            times.append(number * step_s)
        number += 1
    middle = [
        Tick(left=100 * (time_s - start_s) / length_s, anchor="middle", text=_seconds(time_s))
        for time_s in times
    ]
    first = Tick(left=0.0, anchor="start", text=_seconds(start_s))
    last = Tick(left=100.0, anchor="end", text=f"{_seconds(end_s)} s")
    return [first, *middle, last]


def _seconds(time_s: float) -> str:
    return f"{time_s:.1f}".removesuffix(".0")


def _to_contact_sheet(data: bytes | None) -> ContactSheet | None:
    """Return the contact sheet, or None if the data is not a picture that browsers show."""
    if data is None:
        return None
    from markupsafe import Markup
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            kind, (width_px, height_px) = _IMAGE_TYPES.get(picture.format or ""), picture.size
    except (UnidentifiedImageError, OSError):
        return None
    if kind is None:
        return None
    # Base64 has no character to escape.
    text = Markup(base64.b64encode(data).decode("ascii"))
    return ContactSheet(type=kind, base64=text, width_px=width_px, height_px=height_px)


def _uncertainty_reason(record: Record) -> str:
    result = record.answer or record.grounding
    notes = () if result is None else result.notes
    doubts = [note.message for note in notes if note.code.startswith("answer.")]
    return "; ".join(doubts) if doubts else "unlike anything the model was trained on"


def _format_signals(record: Record | None) -> list[tuple[str, str]]:
    if record is None or record.quality is None:
        return []
    return [
        (name, f"{value:.3g}")
        for name, value in record.quality
        if value is not None and name not in _HEADER_SIGNALS
    ]


def _format_extra(text: str) -> list[tuple[str, str]]:
    pairs = []
    for name, value in parse_extra(text).items():
        words = format_value(value)
        if len(words) > _MAX_EXTRA_CHARACTERS:
            words = f"{words[:_MAX_EXTRA_CHARACTERS]}\u2026"
        pairs.append((name, words))
    return pairs
