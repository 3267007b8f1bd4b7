"""From items and outcomes to what a table says: measures with intervals, in all and by group.

Every item of the benchmark counts, whether or not it has an answer. Intervals come from a bootstrap
over videos. Scores are computed anew from the predictions, so an old results file profits from a
better scorer.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seedvideo.evaluate.items import Item, Prediction, Task
from seedvideo.evaluate.measures import MEASURES, SEEN, UNREAD, Measure, scores_of
from seedvideo.evaluate.results import MISSING_VIDEO, Outcome
from seedvideo.evaluate.statistics import Estimate, combined, mcnemar


@dataclass(frozen=True)
class Scored:
    """One measure over some items.

    Args:
        measure: which.
        estimate: its value and interval.
    """

    measure: Measure
    estimate: Estimate


@dataclass(frozen=True)
class Group:
    """Items that are alike in one way.

    Args:
        by: in which, such as ``duration``; empty for all items of a task.
        name: such as ``short``.
        items: how many.
        scored: their measures.
    """

    by: str
    name: str
    items: int
    scored: tuple[Scored, ...]


@dataclass(frozen=True)
class Part:
    """The items of one task.

    Args:
        task: which.
        whole: all of them.
        groups: the same items by group; only what tells at least two groups apart.
    """

    task: Task
    whole: Group
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Counts:
    """What became of the items.

    Args:
        items: how many there are.
        videos: that they are about.
        answered: that have a prediction.
        missing_videos: whose video is not there.
        failed: that failed otherwise, by the code of the failure.
        not_asked: that have neither prediction nor failure.
        unread: answers in which no option could be read.
        sight_unknown: whose event may have been shown or not, so that the measures by sight leave
            them out; 0 where nothing is known of any, since there are no such measures then.
    """

    items: int
    videos: int
    answered: int
    missing_videos: int
    failed: Mapping[str, int]
    not_asked: int
    unread: int
    sight_unknown: int

    @property
    def without_answer(self) -> int:
        """Items that count as wrong for want of a prediction."""
        return self.items - self.answered


@dataclass(frozen=True)
class Summary:
    """All that a table says of one run.

    Args:
        parts: a task each.
        counts: what became of the items.
    """

    parts: tuple[Part, ...]
    counts: Counts


@dataclass(frozen=True)
class Comparison:
    """One measure of two runs over the same items.

    Args:
        task: of the items.
        measure: which.
        difference: ours minus theirs, paired by video.
        p: of McNemar's exact test, where items are right or wrong.
    """

    task: Task
    measure: Measure
    difference: Estimate
    p: float | None


def summarise(
    items: Sequence[Item], outcomes: Mapping[str, Outcome], *, by_group: bool = True
) -> Summary:
    """Score every item and add up.

    Args:
        items: of the benchmark, or the part of it that was asked for.
        outcomes: by the id of their item; one of another version of the item does not count.
        by_group: whether groups are wanted too.

    Raises:
        ValueError: if there is no item.
    """
    if not items:
        raise ValueError("there is no item to score")
    told = _current(items, outcomes)
    scores = {item.id: scores_of(item, _prediction(told, item)) for item in items}
    parts = []
    for task in MEASURES:
        own = [item for item in items if item.task == task]
        if own:
            whole = Group("", "all", len(own), _scored(own, scores))
            parts.append(Part(task, whole, _groups(own, scores) if by_group else ()))
    failed = Counter(one.error for one in told.values() if one.error is not None)
    missing_videos = failed.pop(MISSING_VIDEO, 0)
    counts = Counts(
        items=len(items),
        videos=len({item.video for item in items}),
        answered=sum(one.prediction is not None for one in told.values()),
        missing_videos=missing_videos,
        failed=dict(sorted(failed.items())),
        not_asked=len(items) - len(told),
        unread=int(sum(one.get(UNREAD, 0) for one in scores.values())),
        sight_unknown=_sight_unknown(items, scores),
    )
    return Summary(tuple(parts), counts)


def compare(
    items: Sequence[Item], ours: Mapping[str, Outcome], theirs: Mapping[str, Outcome]
) -> tuple[tuple[Comparison, ...], int]:
    """Compare two runs on the items that both have asked.

    Returns:
        A comparison a task and measure, and the number of items. Without a common item there are
        none.
    """
    one, other = _current(items, ours), _current(items, theirs)
    common = [item for item in items if item.id in one and item.id in other]
    scores = [
        {item.id: scores_of(item, _prediction(told, item)) for item in common}
        for told in (one, other)
    ]
    found = []
    for task, measures in MEASURES.items():
        # Tasks share names of measures.
        own = [item for item in common if item.task == task]
        for measure in measures:
            if len(measure.columns) > 1 or not measure.paired:
                continue
            column = measure.columns[0]
            known = [[column in side[item.id] for item in own] for side in scores]
            # Where one run does not know which frames were shown, there is nothing to compare.
            if not any(known[0]) or known[0] != known[1]:
                continue
            sides = [_by_video(own, side, column) for side in scores]
            flat = [[value > 0 for video in side for value in video] for side in sides]
            found.append(
                Comparison(
                    task,
                    measure,
                    combined(sides, lambda one, other: one - other),
                    mcnemar(*flat) if measure.truths else None,
                )
            )
    return tuple(found), len(common)


def _sight_unknown(items: Sequence[Item], scores: Mapping[str, Mapping[str, float]]) -> int:
    known = [SEEN in scores[item.id] for item in items if item.task != "dense" and item.spans]
    return known.count(False) if any(known) else 0


def _current(items: Sequence[Item], outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Outcomes of these items as they are now."""
    return {
        item.id: outcomes[item.id]
        for item in items
        if item.id in outcomes and outcomes[item.id].is_of(item)
    }


def _prediction(told: Mapping[str, Outcome], item: Item) -> Prediction | None:
    return told[item.id].prediction if item.id in told else None


def _scored(items: Sequence[Item], scores: Mapping[str, Mapping[str, float]]) -> tuple[Scored, ...]:
    found = []
    for measure in MEASURES[items[0].task]:
        columns = [_by_video(items, scores, column) for column in measure.columns]
        if all(columns):
            found.append(Scored(measure, combined(columns, measure.combine)))
    return tuple(found)


def _groups(items: Sequence[Item], scores: Mapping[str, Mapping[str, float]]) -> tuple[Group, ...]:
    found = []
    for by in dict.fromkeys(name for item in items for name in item.group):
        names = list(dict.fromkeys(item.group[by] for item in items if by in item.group))
        for name in names if len(names) > 1 else ():
            own = [item for item in items if item.group.get(by) == name]
            found.append(Group(by, name, len(own), _scored(own, scores)))
    return tuple(found)


def _by_video(
    items: Sequence[Item], scores: Mapping[str, Mapping[str, float]], column: str
) -> list[list[float]]:
    """One number of each item that has it, video by video."""
    videos: dict[str, list[float]] = {}
    for item in items:
        if column in scores[item.id]:
            videos.setdefault(item.video, []).append(scores[item.id][column])
    return list(videos.values())
