"""Cases of `flashbench.py`: how each is drawn, its budgets, and the version of its videos.

There are two families: the tasks, and the mixed settings, which have shorter videos, smaller
budgets and another rule of legibility. Does nothing as a script.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import av
import PIL

from seedvideo.evaluate.flashbench import BenchmarkItem, Event, GopCache, generate, make_script
from seedvideo.evaluate.flashbench.mixtures import SETTINGS, make_mixture, tokens_for_cap_height
from seedvideo.evaluate.flashbench.quick import Case, level_tokens
from seedvideo.evaluate.flashbench.quick import budgets as budgets_of_tasks
from seedvideo.evaluate.flashbench.quick import cases as task_cases
from seedvideo.evaluate.flashbench.render import GeneratedVideo, generate_drawn
from seedvideo.evaluate.flashbench.scenes import Script
from seedvideo.evaluate.flashbench.scoring import tokens_needed
from seedvideo.evaluate.flashbench.spec import GENERATOR_VERSION, MIXTURE_VERSION

MIXTURE_BUDGETS: Final = (2_560, 5_120, 10_240, 20_480, 40_960)
"""Tokens for four minutes."""
MIXTURE_VIDEOS: Final = 10

_DECLARED_WITH: Final = ("18.1.0", "13.0.0")
"""PyAV and Pillow with which the versions of the generators were declared."""


def all_cases(*, quick: bool) -> tuple[Case, ...]:
    """Return all cases; a quick run has the tasks only."""
    mixtures = [
        Case(name, "T1", setting.difficulty, MIXTURE_VIDEOS) for name, setting in SETTINGS.items()
    ]
    return (*task_cases(quick=quick), *([] if quick else mixtures))


def is_mixture(case: Case) -> bool:
    """Return whether a case is a mixed setting."""
    return case.name in SETTINGS


def case_budgets(case: Case, *, quick: bool) -> tuple[int, ...]:
    """Return the budgets of a case, in tokens."""
    return MIXTURE_BUDGETS if is_mixture(case) else budgets_of_tasks(quick=quick)


def draw_item(case: Case, seed: int, attempt: int) -> tuple[BenchmarkItem, Script]:
    """Return the ground truth and the script of one video of a case."""
    if is_mixture(case):
        return make_mixture(SETTINGS[case.name], seed, attempt=attempt)
    return make_script(case.task, seed, case.difficulty, attempt=attempt)


def generate_video(case: Case, seed: int, folder: Path, gop_cache: GopCache) -> GeneratedVideo:
    """Make one video of a case in a folder."""
    if is_mixture(case):
        return generate_drawn(
            lambda attempt: draw_item(case, seed, attempt), folder, gop_cache=gop_cache
        )
    return generate(case.task, seed, folder, difficulty=case.difficulty, gop_cache=gop_cache)


def needs_by_rule(case: Case, item: BenchmarkItem) -> tuple[dict[Event, int | None], str]:
    """Return the tokens that each event's print needs without OCR, and the name of the rule."""
    if is_mixture(case):
        return tokens_for_cap_height(item), "cap height"
    return tokens_needed(item, tokens_of_level=level_tokens(case.difficulty)), "table"


def generator_hash(case: Case) -> str:
    """Name the generator of a case's videos: its declared version, and those of PyAV and Pillow.

    Other versions may encode or draw other pixels, so they get another name.
    """
    declared = MIXTURE_VERSION if is_mixture(case) else GENERATOR_VERSION
    versions = (av.__version__, PIL.__version__)
    if versions == _DECLARED_WITH:
        return declared
    return hashlib.sha256(" ".join((declared, *versions)).encode()).hexdigest()[:16]


def in_order(
    chosen: Sequence[Case], first_seed: int, max_videos: int | None
) -> list[tuple[Case, int]]:
    """Return cases with seeds, sorted by seed, as videos of one seed share backdrops."""
    pairs = [
        (case, first_seed + number)
        for case in chosen
        for number in range(case.seeds if max_videos is None else min(max_videos, case.seeds))
    ]
    return sorted(pairs, key=lambda pair: pair[1])
