"""Goals of seedvideo in the sampling benchmark, and their verdicts by the measured tables.

A ratio is the median over the rounds of a peer's wall time over seedvideo's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from _sampling_run import Row
from _sampling_table import MB, Table

Verdict: TypeAlias = Literal["met", "missed", "not measured"]

PLAN_S: Final = 0.2
EXACT_RATIO: Final = 2.0
EXACT_STRETCH_RATIO: Final = 3.0
CALM_RATIO: Final = 5.0
H264_RATIO: Final = 2.5
LONG_RATIOS: Final = {"hour": 1.4, "two-hours": 2.0, "busy-g250": 1.36}
"""Ratios of single files."""
MAX_OVERHEAD_BYTES: Final = 100 * MB
MAX_COST_RATIO: Final = 1.15
"""Maximum cost of a minute of the longest file, relative to the shortest file."""
MAX_MEMORY_GROWTH_BYTES: Final = 16 * MB
"""Maximum growth of the memory beyond the result, from the shortest to the longest file."""
MAX_LISTED_RATIOS: Final = 4
"""Maximum ratios that are listed one by one; of more, the smallest and the largest."""
OURS: Final = "seedvideo"
ADAPTIVE: Final = "seedvideo, adaptive"
QWEN: Final = ("qwen-vl-utils, torchcodec", "qwen-vl-utils, decord")


@dataclass(frozen=True)
class Goal:
    """One goal.

    Args:
        what: name of the measured quantity.
        target: required value.
        measured: measured value.
        verdict: whether the target is met.
    """

    what: str
    target: str
    measured: str
    verdict: Verdict


@dataclass(frozen=True)
class Measurement:
    """A measured number, and the file that it was measured on."""

    value: float
    where: str


def goals(tables: Sequence[Table]) -> list[Goal]:
    """Return all goals, in the order of the report."""
    by_kind = {kind: [table for table in tables if table.kind == kind] for kind in _KINDS}
    calm = [table for table in by_kind["whole"] if table.is_h264 and table.is_calm]
    h264 = [table for table in by_kind["whole"] if table.is_h264]
    held = [*by_kind["exact"], *by_kind["whole"], *by_kind["growth"]]
    return [
        _plan(by_kind["plan"]),
        *(
            _faster(f"exact frames, against {peer}", EXACT_RATIO, by_kind["exact"], OURS, (peer,))
            for peer in ("decord get_batch", "torchcodec", "torchcodec, approximate")
        ),
        _faster("end to end, calm, against qwen-vl-utils", CALM_RATIO, calm, ADAPTIVE, QWEN),
        _faster("end to end, H.264, against qwen-vl-utils", H264_RATIO, h264, ADAPTIVE, QWEN),
        *(
            _faster(
                f"end to end, {name}, against qwen-vl-utils",
                ratio,
                [table for table in by_kind["whole"] if table.file == name],
                ADAPTIVE,
                QWEN,
            )
            for name, ratio in LONG_RATIOS.items()
        ),
        _memory("peak memory beyond the result", held, lambda row: row.beyond_bytes),
        _memory("the same, without Python and imports", held, lambda row: row.over_bytes),
        *_growth(by_kind["growth"]),
        _right(held),
    ]


_KINDS: Final = ("plan", "exact", "whole", "growth")


def _plan(tables: Sequence[Table]) -> Goal:
    what, target = "plan of an hour by the published rule, file open", f"< {PLAN_S:g} s"
    hours = [table for table in tables if table.duration_s >= 3600]
    if not hours:
        return Goal(what, target, "", "not measured")
    failed = [reason for table in hours for reason in table.failed.values()]
    rows = [row for table in hours for way, row in table.good.items() if way == "seedvideo, plan"]
    if not rows:
        return Goal(what, target, f"failed: {' '.join(failed)}", "missed")
    plan_s, open_s = (max(row.fact_s(name) for row in rows) for name in ("seed1.5", "open"))
    measured = f"{1000 * plan_s:.1f} ms, after {1000 * open_s:.0f} ms for opening it"
    return Goal(what, target, measured, _verdict(is_met=plan_s < PLAN_S))


def _faster(
    what: str, target: float, tables: Sequence[Table], ours: str, peers: Sequence[str]
) -> Goal:
    """Compare seedvideo with the fastest of some peers, on every file that both read."""
    ratios: list[Measurement] = []
    failed: list[str] = []
    for table in tables:
        candidates = [table.good[peer] for peer in peers if peer in table.good]
        if ours in table.failed:
            failed.append(f"failed on {table.short}")
        elif candidates and ours in table.good:
            ratio = min(row.ratio_to(table.good[ours]) for row in candidates)
            ratios.append(Measurement(ratio, table.short))
    if not ratios and not failed:
        return Goal(what, f"≥ {target:g}x", "", "not measured")
    ratios.sort(key=lambda each: each.value)
    parts = [*failed, *(f"{each.value:.2f}x ({each.where})" for each in ratios)]
    if len(ratios) > MAX_LISTED_RATIOS:
        enough = sum(each.value >= target for each in ratios)
        aimed = sum(each.value >= EXACT_STRETCH_RATIO for each in ratios)
        parts = [
            *failed,
            f"{parts[len(failed)]} to {parts[-1]}",
            f"{enough} of {len(ratios)} at {target:g}x, {aimed} at {EXACT_STRETCH_RATIO:g}x",
        ]
    is_met = not failed and all(each.value >= target for each in ratios)
    return Goal(what, f"≥ {target:g}x", "; ".join(parts), _verdict(is_met=is_met))


def _memory(what: str, tables: Sequence[Table], beyond: Callable[[Row], int]) -> Goal:
    target = f"≤ {MAX_OVERHEAD_BYTES // MB} MB"
    found = [
        Measurement(beyond(row), f"{way}, {table.short}")
        for table in tables
        for way, row in table.good.items()
        if way.startswith(OURS)
    ]
    if not found:
        return Goal(what, target, "", "not measured")
    largest = max(found, key=lambda each: each.value)
    count = sum(each.value <= MAX_OVERHEAD_BYTES for each in found)
    measured = (
        f"at most {largest.value / MB:.0f} MB ({largest.where}); {count} of {len(found)} rows"
    )
    return Goal(what, target, measured, _verdict(is_met=count == len(found)))


def _right(tables: Sequence[Table]) -> Goal:
    """Check that seedvideo's frames belong to the reported, or to the requested, times."""
    what, target = "correct frames of seedvideo", "all"
    rows = [row for table in tables for way, row in table.good.items() if way.startswith(OURS)]
    given = sum(row.checked["given"] for row in rows if row.right is not None)
    if not given:
        return Goal(what, target, "", "not measured")
    right = sum(row.right or 0 for row in rows)
    return Goal(what, target, f"{right:,} of {given:,}", _verdict(is_met=right == given))


def _growth(tables: Sequence[Table]) -> list[Goal]:
    """Compare the cost of a minute, and the memory, between a short and a long file."""
    target_s, target_bytes = f"≤ {MAX_COST_RATIO:g}x", f"≤ {MAX_MEMORY_GROWTH_BYTES // MB} MB more"
    ordered = sorted(tables, key=lambda each: each.duration_s)
    failed = [
        f"{way}, {table.title}: {why}" for table in ordered for way, why in table.failed.items()
    ]
    if failed:
        return [Goal("growth with duration", target_s, f"failed: {'; '.join(failed)}", "missed")]
    ways = [way for way in ordered[0].good if way in ordered[-1].good] if ordered else []
    results = []
    for way in ways:
        short, long = (table.good[way] for table in (ordered[0], ordered[-1]))
        times = ordered[-1].duration_s / ordered[0].duration_s
        cost = long.wall_s / short.wall_s / times
        more = long.over_bytes - short.over_bytes
        results += [
            Goal(
                f"{way}: a minute of a file {times:g} times as long",
                target_s,
                f"{cost:.2f}x",
                _verdict(is_met=cost <= MAX_COST_RATIO),
            ),
            Goal(
                f"{way}: memory beyond the result of a file {times:g} times as long",
                target_bytes,
                f"{more / MB:+.0f} MB",
                _verdict(is_met=more <= MAX_MEMORY_GROWTH_BYTES),
            ),
        ]
    return results or [Goal("growth with duration", target_s, "", "not measured")]


def _verdict(*, is_met: bool) -> Verdict:
    return "met" if is_met else "missed"
