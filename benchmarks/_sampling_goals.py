"""What seedvideo wants to reach in the sampling benchmark, and whether the measured rows do.

Only reads tables. A ratio is the median over the rounds of a peer's wall time over seedvideo's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from _sampling_run import Row
from _sampling_table import MB, Table

Verdict: TypeAlias = Literal["met", "missed", "not measured"]

PLAN_S: Final = 0.2
EXACT_RATIO: Final = 2.0
EXACT_AIM: Final = 3.0
CALM_RATIO: Final = 5.0
H264_RATIO: Final = 2.5
ROOM_BYTES: Final = 100 * MB
LINEAR: Final = 1.15
"""A minute of the longest file may cost this many times one of the shortest."""
STEADY_BYTES: Final = 16 * MB
"""By which memory beyond the result may differ between the longest and the shortest file."""
TOLD_RATIOS: Final = 4
"""Ratios that are listed one by one; of more, the least and the largest."""
OURS: Final = "seedvideo"
ADAPTIVE: Final = "seedvideo, adaptive"
QWEN: Final = ("qwen-vl-utils, torchcodec", "qwen-vl-utils, decord")


@dataclass(frozen=True)
class Goal:
    """One goal.

    Args:
        what: is wanted of what.
        wanted: how much.
        measured: the measured value.
        verdict: whether it is enough.
    """

    what: str
    wanted: str
    measured: str
    verdict: Verdict


@dataclass(frozen=True)
class Found:
    """A number that was measured, and where."""

    value: float
    where: str


def goals(tables: Sequence[Table]) -> list[Goal]:
    """All goals, in the order of the report."""
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
        _memory("peak memory beyond the result", held, lambda row: row.beyond_bytes),
        _memory("the same, without Python and imports", held, lambda row: row.over_bytes),
        *_growth(by_kind["growth"]),
        _right(held),
    ]


_KINDS: Final = ("plan", "exact", "whole", "growth")


def _plan(tables: Sequence[Table]) -> Goal:
    what, wanted = "plan of an hour by the published rule, file open", f"< {PLAN_S:g} s"
    hours = [table for table in tables if table.duration_s >= 3600]
    if not hours:
        return Goal(what, wanted, "", "not measured")
    failed = [reason for table in hours for reason in table.failed.values()]
    rows = [row for table in hours for way, row in table.good.items() if way == "seedvideo, plan"]
    if not rows:
        return Goal(what, wanted, f"failed: {' '.join(failed)}", "missed")
    plan_s, open_s = (max(row.fact_s(name) for row in rows) for name in ("seed1.5", "open"))
    measured = f"{1000 * plan_s:.1f} ms, after {1000 * open_s:.0f} ms for opening it"
    return Goal(what, wanted, measured, _verdict(is_met=plan_s < PLAN_S))


def _faster(
    what: str, wanted: float, tables: Sequence[Table], ours: str, peers: Sequence[str]
) -> Goal:
    """How much faster seedvideo is than the best of some peers, on every file that both read."""
    ratios: list[Found] = []
    failed: list[str] = []
    for table in tables:
        its = [table.good[peer] for peer in peers if peer in table.good]
        if ours in table.failed:
            failed.append(f"failed on {table.short}")
        elif its and ours in table.good:
            ratio = min(row.ratio_to(table.good[ours]) for row in its)
            ratios.append(Found(ratio, table.short))
    if not ratios and not failed:
        return Goal(what, f"≥ {wanted:g}x", "", "not measured")
    ratios.sort(key=lambda each: each.value)
    parts = [*failed, *(f"{each.value:.2f}x ({each.where})" for each in ratios)]
    if len(ratios) > TOLD_RATIOS:
        enough = sum(each.value >= wanted for each in ratios)
        aimed = sum(each.value >= EXACT_AIM for each in ratios)
        parts = [
            *failed,
            f"{parts[len(failed)]} to {parts[-1]}",
            f"{enough} of {len(ratios)} at {wanted:g}x, {aimed} at {EXACT_AIM:g}x",
        ]
    is_met = not failed and all(each.value >= wanted for each in ratios)
    return Goal(what, f"≥ {wanted:g}x", "; ".join(parts), _verdict(is_met=is_met))


def _memory(what: str, tables: Sequence[Table], beyond: Callable[[Row], int]) -> Goal:
    wanted = f"≤ {ROOM_BYTES // MB} MB"
    found = [
        Found(beyond(row), f"{way}, {table.short}")
        for table in tables
        for way, row in table.good.items()
        if way.startswith(OURS)
    ]
    if not found:
        return Goal(what, wanted, "", "not measured")
    most = max(found, key=lambda each: each.value)
    count = sum(each.value <= ROOM_BYTES for each in found)
    measured = f"at most {most.value / MB:.0f} MB ({most.where}); {count} of {len(found)} rows"
    return Goal(what, wanted, measured, _verdict(is_met=count == len(found)))


def _right(tables: Sequence[Table]) -> Goal:
    """Check that seedvideo's frames belong to the reported, or to the requested, times."""
    what, wanted = "correct frames of seedvideo", "all"
    rows = [row for table in tables for way, row in table.good.items() if way.startswith(OURS)]
    given = sum(row.checked["given"] for row in rows if row.right is not None)
    if not given:
        return Goal(what, wanted, "", "not measured")
    right = sum(row.right or 0 for row in rows)
    return Goal(what, wanted, f"{right:,} of {given:,}", _verdict(is_met=right == given))


def _growth(tables: Sequence[Table]) -> list[Goal]:
    """Whether a minute costs the same in a long file, and memory stays as it is."""
    wanted_s, wanted_bytes = f"≤ {LINEAR:g}x", f"≤ {STEADY_BYTES // MB} MB more"
    ordered = sorted(tables, key=lambda each: each.duration_s)
    failed = [
        f"{way}, {table.title}: {why}" for table in ordered for way, why in table.failed.items()
    ]
    if failed:
        return [Goal("growth with duration", wanted_s, f"failed: {'; '.join(failed)}", "missed")]
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
                wanted_s,
                f"{cost:.2f}x",
                _verdict(is_met=cost <= LINEAR),
            ),
            Goal(
                f"{way}: memory beyond the result of a file {times:g} times as long",
                wanted_bytes,
                f"{more / MB:+.0f} MB",
                _verdict(is_met=more <= STEADY_BYTES),
            ),
        ]
    return results or [Goal("growth with duration", wanted_s, "", "not measured")]


def _verdict(*, is_met: bool) -> Verdict:
    return "met" if is_met else "missed"
