"""flashbench, a benchmark of samplers: are brief events and fine print kept within a token budget?

Videos are generated, so the ground truth is exact: the span, the position and the text of every
event are known. A sampler is scored by the times and sizes that it selects, without a model in
between: no model can find what the sampler lost. The benchmark measures kept evidence, not
understanding.

`generate` makes an item, `score` compares selected frames with its ground truth, `oracle` gives an
upper bound. `benchmarks/flashbench.py` runs samplers over it and prints the tables.
"""

from seedvideo.evaluate.flashbench.render import GeneratedVideo, GopCache, generate
from seedvideo.evaluate.flashbench.scoring import QuestionScore, Score, SelectedFrame, oracle, score
from seedvideo.evaluate.flashbench.spec import (
    TASKS,
    BenchmarkItem,
    DifficultyConfig,
    Event,
    SeedSplit,
    TaskId,
    seeds,
)
from seedvideo.evaluate.flashbench.tasks import make_script

__all__ = [
    "TASKS",
    "BenchmarkItem",
    "DifficultyConfig",
    "Event",
    "GeneratedVideo",
    "GopCache",
    "QuestionScore",
    "Score",
    "SeedSplit",
    "SelectedFrame",
    "TaskId",
    "generate",
    "make_script",
    "oracle",
    "score",
    "seeds",
]
