"""flashbench: does a sampler keep brief events and fine print within a token budget?

Videos are made, so the truth is exact: every event has its span, its place and its text. A sampler
is scored by the times and sizes that it chose, with no model in between: what it lost, no model can
find. It measures kept evidence, not understanding.

`generate` makes an item, `score` compares a choice of frames with its truth, `oracle` says how much
could be kept. `benchmarks/flashbench.py` runs samplers over it and prints the table.
"""

from seedvideo.evaluate.flashbench.render import Groups, Made, generate
from seedvideo.evaluate.flashbench.scoring import Score, Shown, Unit, oracle, score
from seedvideo.evaluate.flashbench.spec import TASKS, Event, Item, Knobs, SeedSplit, TaskId, seeds
from seedvideo.evaluate.flashbench.tasks import make_script

__all__ = [
    "TASKS",
    "Event",
    "Groups",
    "Item",
    "Knobs",
    "Made",
    "Score",
    "SeedSplit",
    "Shown",
    "TaskId",
    "Unit",
    "generate",
    "make_script",
    "oracle",
    "score",
    "seeds",
]
