"""Precision and recall of shot detection on made films, beside PySceneDetect's detectors.

    python benchmarks/shots.py [--films N] [--work DIR] [--only NAME ...]

The films (`_shot_corpus.py`) have cuts, dissolves and fades, and what is none of them: flashes,
changes of the light, whip pans, zooms, shakes, and things that pass close to the camera. A change
counts as found if one lies in its span, with 0.2 s on both sides; a second one there, and any
elsewhere, is false. The thresholds of the detector were chosen on films of other seeds.

Times are processor seconds of this process and its decode processes, including the decoding. Two
films take about three minutes.
"""

import argparse
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from _common import print_machine, print_table, processor_s
from _shot_corpus import FPS, KINDS, Film, make_film

import seedvideo
from seedvideo.config import AnalysisMethod

_SLACK_S: Final = 0.2
"""Time around a change in which it may be found: detectors see thumbnails 0.1 s apart."""

FIRST_SEED: Final = 100
"""First seed of the measured films; the detector was made with seeds 0 and 1."""


def _ours(path: Path, analysis: AnalysisMethod) -> list[float]:
    with seedvideo.open(path) as video:
        found = video.analysis(analysis)
        return [float(change.time) for change in found.changes]


def _theirs(path: Path, detector: str) -> list[float]:
    import scenedetect

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scenes = scenedetect.detect(str(path), getattr(scenedetect, detector)())
        return [start.get_seconds() for start, _ in scenes[1:]]


DETECTORS: Final[dict[str, Callable[[Path], list[float]]]] = {
    **{
        name: lambda path, name=name: _ours(path, name)
        for name in ("packets", "auto", "fast", "full")
    },
    **{
        name: lambda path, name=name: _theirs(path, name)
        for name in (
            "AdaptiveDetector",
            "ContentDetector",
            "ThresholdDetector",
            "HistogramDetector",
            "HashDetector",
        )
    },
}
"""Functions that return the times of all changes of a film, by name."""


@dataclass
class Score:
    """What one detector found.

    Args:
        found: found changes by kind.
        missed: missed changes by kind.
        false: false changes by what is there.
        spent_s: processor seconds.
        film_s: length of the films in seconds.
    """

    found: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    spent_s: float = 0.0
    film_s: float = 0.0

    def add(self, film: Film, times_s: list[float]) -> None:
        """Compare the changes of one film with the true ones."""
        left = list(times_s)
        for change in film.transitions:
            hits = [
                time_s
                for time_s in left
                if change.start_s - _SLACK_S <= time_s <= change.end_s + _SLACK_S
            ]
            (self.found if hits else self.missed)[change.kind] += 1
            if hits:
                left.remove(hits[0])
        for time_s in left:
            self.false[_what_is_at(film, time_s)] += 1
        self.film_s += film.frames / FPS

    def row(self, name: str) -> tuple[str, ...]:
        """Return the cells of its line."""
        found, missed, false = (
            sum(each.values()) for each in (self.found, self.missed, self.false)
        )
        precision, recall = found / max(1, found + false), found / (found + missed)
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        return (
            name,
            f"{precision:.2f}",
            f"{recall:.2f}",
            f"{f1:.2f}",
            *(_recall(self.found[kind], self.missed[kind]) for kind in KINDS),
            ", ".join(f"{count} {what}" for what, count in self.false.most_common()) or "none",
            f"{1000 * self.spent_s / self.film_s:.0f} ms",
        )


def _recall(found: int, missed: int) -> str:
    return f"{found / (found + missed):.2f}" if found + missed else "-"


def _what_is_at(film: Film, time_s: float) -> str:
    for kind, first, end in film.distractors:
        if first / FPS - _SLACK_S <= time_s <= end / FPS + 2 * _SLACK_S:
            return kind
    for change in film.transitions:
        if change.start_s - _SLACK_S <= time_s <= change.end_s + _SLACK_S:
            return "twice"
    return "other"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Precision and recall of shot detection.")
    parser.add_argument("--films", type=int, default=2, help="number of films, of two minutes each")
    parser.add_argument("--work", type=Path, help="keep the films in this folder")
    parser.add_argument("--fast-cuts", action="store_true", help="films of short shots, cuts only")
    parser.add_argument("--only", nargs="+", choices=tuple(DETECTORS), help="detectors to measure")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        seeds = range(FIRST_SEED, FIRST_SEED + options.films)
        name, scenes = ("fast-", 100) if options.fast_cuts else ("", 28)
        films = [
            make_film(work / f"{name}{seed}.mp4", seed, scenes=scenes, is_fast=options.fast_cuts)
            for seed in seeds
        ]
        rows = []
        for name in options.only or DETECTORS:
            score = Score()
            for film in films:
                before_s = processor_s()
                times_s = DETECTORS[name](film.path)
                score.spent_s += processor_s() - before_s
                score.add(film, times_s)
            rows.append(score.row(name))
    kinds = Counter(change.kind for film in films for change in film.transitions)
    print_table(
        f"Changes of shots in {len(films)} films: "
        + ", ".join(f"{count} {kind}s" for kind, count in kinds.items()),
        ("detector", "precision", "recall", "F1", *KINDS, "false changes at", "CPU a second"),
        rows,
    )
    print_machine("av", "numpy", "scenedetect")


if __name__ == "__main__":
    main()
