"""Brief events that the analysis `auto` finds, over the pictures that it may decode.

    python benchmarks/analysis_recall.py [--seeds N] [--work DIR] [--only NAME ...] [--svg FILE]

Videos are dev draws of flashbench's mixed settings: four minutes with 12 codes of 0.4 s. In so
short a video the evenly spread frames that bound `auto` need nearly every reference picture, so the
bounds are fractions of all of them, without the pictures that `auto` adds for short videos. A code
is found if a peak of the analysis lies in its time. Times are processor seconds of this process and
the decode process.

``--work`` is the folder of `flashbench.py --keep`, whose videos are used; missing ones are made and
kept there. Two draws of five settings take about ten minutes.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from unittest.mock import patch

from _common import print_machine, print_table, processor_s
from _flash_cases import all_cases, draw_item, generate_video
from _flash_plot import Line, Panel, draw

import seedvideo
from seedvideo.evaluate.flashbench import Event, GopCache
from seedvideo.evaluate.flashbench.quick import Case
from seedvideo.sampler.inspection import Inspector

FRACTIONS: Final = (0.1, 0.25, 0.5, 1.0)
"""Bounds as fractions of what evenly spread frames need; also measured without a bound."""

COLOURS: Final = {
    "calm": "#2da44e",
    "alternating 10": "#0969da",
    "half busy 600": "#8250df",
    "corner": "#bf8700",
    "grain": "#cf222e",
}
"""Colours of the settings that are measured."""

_BEFORE_S, _AFTER_S = Fraction(13, 100), Fraction(3, 100)
"""Slack of a peak around the time of its code: thumbnails lie up to 0.13 s apart."""


@dataclass(frozen=True)
class Found:
    """What one analysis found, and what it cost."""

    case: str
    fraction: float | None
    found: int
    events: int
    peaks: int
    inspected: float
    processor_s: float


def main() -> None:
    """Measure, print the table, and write the picture."""
    options = _arguments()
    rows: list[Found] = []
    with TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        gop_cache = GopCache()
        for case in all_cases(quick=False):
            if case.name not in (options.only or COLOURS):
                continue
            for seed in range(options.seeds):
                path, events = _video(case, seed, work, gop_cache)
                for fraction in (*FRACTIONS, None):
                    rows.append(measure(case.name, path, events, fraction))
                    print(rows[-1], file=sys.stderr, flush=True)
    print_table(
        "Events found by `auto`, by its bound as a fraction of the decoding of even frames",
        ("setting", "bound", "found", "peaks", "inspected", "CPU s"),
        _table(rows),
    )
    print_machine("av", "numpy")
    if options.svg is not None:
        options.svg.write_text(_picture(rows), encoding="utf-8")


def measure(name: str, path: Path, events: Sequence[Event], fraction: float | None) -> Found:
    """Analyse a video within a bound, or without one if it is None."""

    def max_pictures(inspector: Inspector) -> float:
        return 1e12 if fraction is None else fraction * inspector.even_pictures()

    before = processor_s()
    with patch.object(Inspector, "max_pictures", max_pictures), seedvideo.open(path) as video:
        found = video.analysis("auto")
    spent_s = processor_s() - before
    peaks = [peak.time for demand in found.demands for peak in demand.peaks]
    hits = sum(
        any(event.start - _BEFORE_S <= time < event.end + _AFTER_S for time in peaks)
        for event in events
    )
    return Found(name, fraction, hits, len(events), len(peaks), found.inspected_fraction, spent_s)


def _video(
    case: Case, seed: int, work: Path, gop_cache: GopCache
) -> tuple[Path, tuple[Event, ...]]:
    folder = work / "full" / "dev" / case.name.replace(" ", "-")
    made = folder / f"{case.task}-{seed}.mp4"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        video = generate_video(case, seed, folder, gop_cache)
        return video.path, video.item.events
    return made, draw_item(case, seed, 0)[0].events


def _sums(rows: Sequence[Found], case: str, fraction: float | None) -> Found | None:
    """Add up the videos of one setting and one bound."""
    those = [row for row in rows if (row.case, row.fraction) == (case, fraction)]
    if not those:
        return None
    return Found(
        case,
        fraction,
        sum(row.found for row in those),
        sum(row.events for row in those),
        sum(row.peaks for row in those),
        sum(row.inspected for row in those) / len(those),
        sum(row.processor_s for row in those) / len(those),
    )


def _table(rows: Sequence[Found]) -> list[tuple[str, ...]]:
    every = [_sums(rows, case, fraction) for case in COLOURS for fraction in (*FRACTIONS, None)]
    return [
        (
            row.case,
            "none" if row.fraction is None else f"{row.fraction:g}",
            f"{row.found / row.events:.2f}",
            f"{row.peaks}",
            f"{row.inspected:.0%}",
            f"{row.processor_s:.1f}",
        )
        for row in every
        if row is not None
    ]


def _picture(rows: Sequence[Found]) -> str:
    lines, costs = [], []
    for case, colour in COLOURS.items():
        sums = [row for f in FRACTIONS if (row := _sums(rows, case, f)) is not None]
        whole = _sums(rows, case, None)
        if not sums or whole is None:
            continue
        recalls = [(row.fraction or 0.0, row.found / row.events) for row in sums]
        shares = [(row.fraction or 0.0, row.processor_s / whole.processor_s) for row in sums]
        lines.append(Line(case, colour, tuple((x, y, y, y) for x, y in recalls)))
        costs.append(
            Line(case, colour, tuple((x, min(1.0, y), min(1.0, y), min(1.0, y)) for x, y in shares))
        )
    ticks = tuple((fraction, f"{fraction:g}") for fraction in FRACTIONS)
    label = "bound, as a fraction of the decoding of 640 even frames"
    return draw(
        [
            Panel("Codes of 0.4 s that are found", label, "fraction found", tuple(lines), ticks),
            Panel("Processor time", label, "fraction of that without a bound", tuple(costs), ticks),
        ],
        title="Recall of the analysis over its cost",
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Recall of `auto` over its cost.")
    parser.add_argument("--seeds", type=int, default=2, help="draws of each setting")
    parser.add_argument("--only", nargs="+", choices=tuple(COLOURS), help="settings to measure")
    parser.add_argument("--work", type=Path, help="folder of kept videos")
    parser.add_argument("--svg", type=Path, help="write the picture to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
