"""From a model in training to the checkpoint that the package ships.

Averaged weights in half precision, what the training photos looked like, and a threshold below
which an answer counts as a guess.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seedvideo.model.checkpoint import Checkpoint, CheckpointConfig
from seedvideo.model.familiarity import Familiarity
from seedvideo.model.seedvl import AnswerConfig, SeedVLConfig
from seedvideo.model.stem import ConvStem
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.train.views import PLAIN_SIZE, Pictures

NANO_GEOMETRY = TokenGeometry(
    name="nano",
    token_px=64,
    levels_tokens=(48, 30, 16),
    min_frame_tokens=12,
    default_budget_tokens=384,
    min_frames=8,
)
"""Sizes that the recipe's views cover; a budget for 16 frames, the most that its clips have."""

LICENCE = "research and non-commercial use (trained on Flickr8k); see LICENSE-WEIGHTS"
DESCRIPTION = "seedvideo-nano: 12 M parameters, captions of everyday scenes on a CPU"
ANSWERING = "seedvideo-nano: 18 M parameters, captions, answers and moments on a CPU"
"""What it says of itself with a branch for answers."""

_STEM = "vit.patches.stem."
_SENSITIVE = (f"{_STEM}entry.", *(f"{_STEM}lower_blocks.{number}." for number in range(5)))
"""What must not be stored in one byte a number."""

_DIRECTIONS = 128
_REMEMBERED = 1_000
_MOST_FLAGGED = 0.10
_BATCH = 50


@dataclass(frozen=True)
class Calibration:
    """A threshold of familiarity and what it does on pictures not learned from.

    Args:
        threshold: below it an answer is a guess.
        inside_flagged: share of held-out photos of the training set's kind that fall below.
        outside_flagged: share of pictures from elsewhere that fall below.
    """

    threshold: float
    inside_flagged: float
    outside_flagged: float


@torch.inference_mode()
def mean_features(stem: ConvStem, pictures: Pictures) -> Tensor:
    """Stem features of every photo, averaged over its cells: ``(photos, 1280)`` on the CPU."""
    parts = []
    for first in range(0, len(pictures), _BATCH):
        cells = stem(pictures.plain(first, first + _BATCH, PLAIN_SIZE))
        parts.append(cells.mean(dim=(1, 2)).cpu())
    return torch.cat(parts)


def learn_familiarity(features: Tensor) -> Familiarity:
    """What the training photos looked like, small enough to ship."""
    return Familiarity.learn(features, directions=_DIRECTIONS, remembered=_REMEMBERED)


def calibrate(familiarity: Familiarity, inside: Tensor, outside: Tensor) -> Calibration:
    """Choose the threshold that tells two held-out sets apart best.

    Best is the largest sum of the shares put on the right side; at most 10 % of the photos of the
    training set's kind may be flagged.
    """
    known, strange = familiarity.score(inside), familiarity.score(outside)
    candidates = known.quantile(torch.linspace(0, _MOST_FLAGGED, 51))
    gains = torch.stack(
        [(strange < c).float().mean() - (known < c).float().mean() for c in candidates]
    )
    threshold = float(candidates[int(gains.argmax())])
    return Calibration(
        threshold=round(threshold, 4),
        inside_flagged=float((known < threshold).float().mean()),
        outside_flagged=float((strange < threshold).float().mean()),
    )


def nano_config(model: SeedVLConfig, threshold: float) -> CheckpointConfig:
    """What ``config.json`` of the shipped checkpoint says."""
    return CheckpointConfig(
        name="nano",
        description=DESCRIPTION,
        licence=LICENCE,
        model=model,
        geometry=NANO_GEOMETRY,
        familiarity_threshold=threshold,
    )


def with_answers(
    start: Checkpoint, config: AnswerConfig, weights: Mapping[str, Tensor]
) -> tuple[CheckpointConfig, dict[str, Tensor], frozenset[str]]:
    """A checkpoint with an answer branch.

    Two decoders only fit if some weights are stored in one byte a number: the matrices of the
    branch, those of the encoder's feed-forward parts, and the deeper convolutions of the stem. Its
    first ones stay as they are: what is off there grows through all others (docs/log.md).

    Args:
        start: what it is added to; an older branch is replaced.
        config: sizes of the branch.
        weights: of the branch, by their names inside it.

    Returns:
        The configuration, all weights, and the names of those to store as int8.
    """
    every = {
        name: value
        for name, value in start.model.state_dict().items()
        if not name.startswith("answer.")
    }
    every |= {f"answer.{name}": value for name, value in weights.items()}
    int8 = frozenset(name for name, value in every.items() if _fits_a_byte(name, value))
    model = replace(start.config.model, answer=config)
    return replace(start.config, model=model, description=ANSWERING), every, int8


def _fits_a_byte(name: str, weight: Tensor) -> bool:
    """Whether a weight may be stored in one byte a number."""
    if name.startswith("answer.") or re.match(r"vit\.blocks\.\d+\.mlp\.", name):
        return weight.ndim == 2
    return name.startswith(_STEM) and weight.ndim == 4 and not name.startswith(_SENSITIVE)
