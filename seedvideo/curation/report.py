"""The report of a curation: one page with counts and histograms before and after.

The page loads nothing and runs no script. The same table and options give the same bytes.

Separate from `seedvideo.curation.curate`, which writes tables only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.curation.options import CurationOptions
from seedvideo.curation.results import CurationResult, DomainCount, SignalValues
from seedvideo.curation.table import NUMBER_COLUMNS
from seedvideo.errors import ConfigError
from seedvideo.utils.files import refuse_existing, refuse_unwritable, write_file
from seedvideo.utils.html import csp_hash, load_asset, make_environment
from seedvideo.utils.text import printable

_PACKAGE: Final = "seedvideo.curation"

MAX_DOMAINS: Final = 50
"""Maximum number of domains that are shown one by one; the others are summed up."""

_SHOWN_TABLES: Final = 10
"""Number of tables that are named."""

_BINS: Final = 32
_MIN_BINS: Final = 8
_OUTLIER_FRACTION: Final = 0.005
"""Fraction of the values at each end that may lie beyond the histogram."""

_PLOT_PX: Final = 88
_MIN_BAR_PX: Final = 1.5
"""Minimum height of a bar, so that a single clip is still visible."""


@dataclass(frozen=True)
class Bin:
    """One bar of a histogram.

    Args:
        left: its left side, in percent of the width.
        width: its width, in percent.
        before_px: height of the bar of all clips.
        after_px: height of the bar of the clips that are taken.
        label: its range and counts.
    """

    left: float
    width: float
    before_px: float
    after_px: float
    label: str


@dataclass(frozen=True)
class Histogram:
    """Distribution of one column.

    Args:
        name: name of the column.
        bins: its bars.
        low: text of the left end.
        high: text of the right end.
        before: median of all clips, as text.
        after: median of the clips that are taken, as text.
        empty: number of rows without a value.
    """

    name: str
    bins: Sequence[Bin]
    low: str
    high: str
    before: str
    after: str
    empty: int
    height_px: int = _PLOT_PX


@dataclass(frozen=True)
class DomainRow:
    """One line of the table of domains.

    Args:
        name: name of the domain.
        before: clips before.
        after: clips afterwards.
        before_width: length of its bar, in percent.
        after_width: length of its bar afterwards, in percent.
        is_rare: whether it has fewer than half the mean number of clips before the balance.
    """

    name: str
    before: int
    after: int
    before_width: float
    after_width: float
    is_rare: bool


def report_columns(options: CurationOptions) -> list[str]:
    """Return the columns that a report shows: all signals, and those that the options name."""
    named = [column for _, expression in options.filters for column in expression.columns]
    scores = () if options.scorer is None else options.scorer.columns
    prefer = options.duplicates.prefer
    more = [*named, *scores, *([] if prefer is None else [prefer])]
    return list(dict.fromkeys([*NUMBER_COLUMNS, *more]))


def check_report(path: Path, *, overwrite: bool) -> None:
    """Refuse a page that cannot be written, before any work.

    Raises:
        ConfigError: ``config.invalid`` for another suffix.
        OutputError: ``output.exists`` or ``output.unwritable``.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(
            "config.invalid",
            f"--report is {printable(str(path))!r}, expected a name that ends in .html",
        )
    refuse_existing(path, overwrite=overwrite)
    refuse_unwritable(path)


def write_report(
    path: Path,
    result: CurationResult,
    options: CurationOptions,
    tables: Sequence[str],
    *,
    overwrite: bool = False,
) -> None:
    """Write the report of a run.

    Args:
        path: page to write.
        result: result of the run, with the signals of `report_columns`.
        options: options of the run.
        tables: names of its tables.
        overwrite: whether to replace an existing page.

    Raises:
        OutputError: if the page cannot be written.
    """
    css = load_asset(_PACKAGE, "report.css")
    template = make_environment(_PACKAGE).get_template("report.html.j2")
    page = template.render(
        result=result,
        about=describe_options(options, tables),
        stays=100 * result.kept / result.rows,
        dropped=[
            (rule, count, 100 * count / result.rows) for rule, count in result.dropped.items()
        ],
        domains=domain_rows(result.domains),
        domain_count=len(result.domains),
        histograms=[
            found
            for each in result.signals
            if (found := make_histogram(each, result.copies)) is not None
        ],
        css=css,
        css_hash=csp_hash(css),
    )
    write_file(path, page.encode("utf-8", "backslashreplace"), overwrite=overwrite)


def describe_options(options: CurationOptions, tables: Sequence[str]) -> list[tuple[str, str]]:
    """Return the settings of a run for people: names and values."""
    more = f" and {len(tables) - _SHOWN_TABLES:,} others" if len(tables) > _SHOWN_TABLES else ""
    found = [("table", ", ".join(tables[:_SHOWN_TABLES]) + more)]
    found += [(name, expression.text) for name, expression in options.filters]
    duplicates = options.duplicates
    details = {
        "near": f"near, up to {duplicates.near_levels:g} grey levels",
        "semantic": f"semantic, up to a cosine distance of {duplicates.semantic_distance:g}",
        "caption": f"captions, from {100 * duplicates.caption_similarity:g}% common runs of words",
    }
    if duplicates.rules:
        words = [details.get(rule, rule) for rule in ("exact", "packets", *details)]
        chosen = [
            word
            for rule, word in zip(("exact", "packets", *details), words, strict=True)
            if rule in duplicates.rules
        ]
        found.append(("duplicates", "; ".join(chosen)))
        found.append(("preferred", duplicates.prefer or "the first row"))
    if options.balance is not None:
        found.append(("balance", str(options.balance)))
        found.append(("seed", str(options.seed)))
    if options.by is not None:
        found.append(("domain", options.by))
    if options.concepts is not None:
        found.append(("domain", f"{len(options.concepts):,} words and phrases in captions"))
    return found


def domain_rows(domains: Sequence[DomainCount]) -> list[DomainRow]:
    """Return the lines of the table of domains; those beyond `MAX_DOMAINS` in one line or two."""
    shown = list(domains[:MAX_DOMAINS])
    longest = max((max(each.before, each.after) for each in shown), default=1) or 1
    rows = [
        DomainRow(
            each.name,
            each.before,
            each.after,
            100 * each.before / longest,
            100 * each.after / longest,
            each.is_rare,
        )
        for each in shown
    ]
    for is_rare in (False, True):
        rest = [each for each in domains[MAX_DOMAINS:] if each.is_rare == is_rare]
        if rest:
            before, after = sum(each.before for each in rest), sum(each.after for each in rest)
            was, now = (min(100.0, 100 * count / longest) for count in (before, after))
            rows.append(DomainRow(f"{len(rest):,} others", before, after, was, now, is_rare))
    return rows


def make_histogram(signal: SignalValues, copies: npt.NDArray[np.int64]) -> Histogram | None:
    """Return the distribution of a column before and after; None if it has no value.

    Args:
        signal: values of the column.
        copies: how often each row is taken, ``(rows,)``.
    """
    present = np.isfinite(signal.values)
    values, weights = signal.values[present].astype(np.float64), copies[present]
    if not len(values):
        return None
    edges = _edges(values)
    inside = np.clip(values, edges[0], edges[-1])
    before, _ = np.histogram(inside, edges)
    after, _ = np.histogram(inside, edges, weights=weights)
    tallest = max(1, before.max(), after.max())
    # Bins of whole numbers have them in their middle.
    margin = 0.5 if _has_few_whole_numbers(values) else 0.0
    width = 100 / len(before)
    return Histogram(
        signal.name,
        [
            Bin(
                number * width,
                width,
                _height_px(before[number], tallest),
                _height_px(after[number], tallest),
                f"{_format_bin(edges[number], edges[number + 1], margin)}:"
                f" {int(before[number]):,} before,"
                f" {int(after[number]):,} after",
            )
            for number in range(len(before))
        ],
        f"{edges[0] + margin:.4g}",
        f"{edges[-1] - margin:.4g}" + "+" * bool(values.max() > edges[-1]),
        f"{np.median(values):.4g}",
        _weighted_median(values, weights),
        int((~present).sum()),
    )


def _format_bin(low: float, high: float, margin: float) -> str:
    return f"{low + margin:.4g}" if margin else f"{low:.4g} to {high:.4g}"


def _height_px(count: float, tallest: float) -> float:
    return max(_MIN_BAR_PX, _PLOT_PX * float(count) / float(tallest)) if count else 0.0


def _has_few_whole_numbers(values: npt.NDArray[np.float64]) -> bool:
    is_whole = bool((values == np.rint(values)).all())
    return is_whole and float(values.max() - values.min()) < _BINS


def _edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the edges of the bins: whole numbers where there are few of them."""
    low, high = values.min(), values.max()
    if _has_few_whole_numbers(values):
        return np.arange(low, max(high, low + _MIN_BINS - 1) + 2) - 0.5
    inner_low, inner_high = np.quantile(values, [_OUTLIER_FRACTION, 1 - _OUTLIER_FRACTION])
    # Outliers do not squeeze all other values into one bar.
    if inner_high > inner_low:
        margin = inner_high - inner_low
        low, high = max(low, inner_low - margin), min(high, inner_high + margin)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges: npt.NDArray[np.float64] = np.linspace(low, high, _BINS + 1)
    return edges


def _weighted_median(values: npt.NDArray[np.float64], weights: npt.NDArray[np.int64]) -> str:
    total = weights.sum()
    if not total:
        return "none"
    order = np.argsort(values, kind="stable")
    at = np.searchsorted(np.cumsum(weights[order]), total / 2)
    return f"{values[order][min(at, len(values) - 1)]:.4g}"
