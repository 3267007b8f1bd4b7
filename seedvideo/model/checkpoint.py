"""Checkpoints on disk: written with care, read with every doubt.

    config.json                what the model is: sizes, geometry, names
    tokenizer.json             its vocabulary
    weights-*.safetensors      its weights in half precision, or in one byte a number where they
                               were chosen for it (``int8``); each file at most 15 MiB
    familiarity.safetensors    what its training pictures looked like (optional)
    manifest.json              SHA-256 of each of these files

Only safetensors are read: a pickle can run code when it is opened. Hashes, names, shapes and types
are checked before a weight is used. Knows nothing of videos.

Weights in one byte a number, with one scale a row: half of what half precision takes.

A row is what belongs to one index of a tensor's first dimension: the weights of one output. Its
scale is its largest magnitude over 127, in half precision; each number is stored as the nearest
whole multiple of the scale. On disk the tensor ``name`` becomes two:

    name.q8       int8, of the tensor's shape
    name.scale    float16, one a row

A number is off by at most half of its row's scale. Scales below 2^-17 have few bits left in half
precision; there, where no number exceeds 0.001, it is at most 4e-6. Knows nothing of files.

Notation used for tensor shapes:
    r: rows; ...: the other dimensions, one or more
"""

import json
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from seedvideo.errors import ModelError
from seedvideo.model.metadata import (
    CONFIG,
    MANIFEST,
    TOKENIZER,
    file_sha256,
    invalid,
    read_json,
    read_manifest,
    verify,
    weight_files,
)
from seedvideo.model.open_answers import ANSWERS
from seedvideo.model.seedvl import SeedVL, SeedVLConfig
from seedvideo.sampler.geometry import TokenGeometry

_LARGEST: Final = 127
_NUMBERS, _SCALE = ".q8", ".scale"


def quantise(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``(r, ...)`` numbers into whole multiples of a scale, and the scales.

    Returns:
        ``(r, ...)`` int8 and ``(r,)`` float16. A row of zeros has the scale zero.

    Raises:
        ValueError: if there are no rows of several numbers, or a number is not finite or too large
            for a scale in half precision.
    """
    if tensor.ndim < 2:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has no rows to scale")
    rows = tensor.to(torch.float32).flatten(1)
    scale = (rows.abs().amax(dim=1) / _LARGEST).to(torch.float16)
    if not bool(scale.isfinite().all()):
        raise ValueError("a number is not finite, or too large for a scale in half precision")
    # By the scale as it is stored, so that its own rounding costs nothing more.
    divisor = scale.to(torch.float32).masked_fill(scale == 0, torch.inf).unsqueeze(1)
    multiples = (rows / divisor).round().clamp(-_LARGEST, _LARGEST)
    return multiples.to(torch.int8).view(tensor.shape), scale


def dequantise(numbers: Tensor, scale: Tensor) -> Tensor:
    """Inverse of ``quantise`` but for the rounding: ``(r, ...)`` float32."""
    per_row = scale.to(torch.float32).view(-1, *[1] * (numbers.ndim - 1))
    return numbers.to(torch.float32) * per_row


def to_disk(weights: Mapping[str, Tensor], int8: Set[str], dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors as they are stored, in the order of ``weights``.

    Args:
        weights: by name.
        int8: names of those to store in one byte a number.
        dtype: of all others.

    Raises:
        ValueError: if a name in ``int8`` is none of ``weights``, or its tensor cannot be scaled.
    """
    unknown = sorted(int8 - weights.keys())
    if unknown:
        raise ValueError(f"there are no weights {unknown[0]} to store as int8")
    stored = {}
    for name, tensor in weights.items():
        if name in int8:
            numbers, scale = quantise(tensor)
            stored[name + _NUMBERS], stored[name + _SCALE] = numbers.contiguous(), scale
        else:
            stored[name] = tensor.to(dtype).contiguous()
    return stored


def from_disk(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put stored tensors together again; those that were not split are left as they are.

    Raises:
        ValueError: if a split tensor lacks its scale, is there a second time, or its two halves are
            not of the types, shapes and values that ``quantise`` gives.
    """
    weights = dict(stored)
    for name in stored:
        if not name.endswith(_NUMBERS):
            continue
        base = name.removesuffix(_NUMBERS)
        if base in stored:
            raise ValueError(f"{base} is there twice, whole and as int8")
        if base + _SCALE not in stored:
            raise ValueError(f"{name} has no {base}{_SCALE}")
        numbers, scale = weights.pop(name), weights.pop(base + _SCALE)
        _check_halves(base, numbers, scale)
        weights[base] = dequantise(numbers, scale)
    return weights


def _check_halves(base: str, numbers: Tensor, scale: Tensor) -> None:
    if numbers.dtype != torch.int8 or scale.dtype != torch.float16:
        raise ValueError(
            f"{base} is stored as {numbers.dtype} and {scale.dtype}, expected int8 and float16"
        )
    if numbers.ndim < 2 or scale.shape != numbers.shape[:1]:
        raise ValueError(
            f"{base}{_SCALE} has shape {tuple(scale.shape)}, which does not fit "
            f"{tuple(numbers.shape)}: expected one a row"
        )
    if not bool((scale.isfinite() & (scale >= 0)).all()):
        raise ValueError(f"{base}{_SCALE} holds values that are negative or not finite")


FORMAT_VERSION: Final = 1
MAX_FILE_BYTES: Final = 15 * 1024**2

_FAMILIARITY = "familiarity.safetensors"
_PART = ".part"
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """What ``config.json`` says.

    Args:
        name: short name of the model.
        description: one line for ``seedvideo models``.
        licence: of the weights.
        model: sizes.
        geometry: frame sizes, levels and default budget.
        familiarity_threshold: below it an answer is not confident; None if that is not known.
        open_answers: how open questions are answered: by kind, the least probability of an answer
            that is told as sure (`seedvideo.model.open_answers`); None if they are written freely.
    """

    name: str
    description: str
    licence: str
    model: SeedVLConfig
    geometry: TokenGeometry
    familiarity_threshold: float | None = None
    open_answers: Mapping[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CheckpointConfig":
        """Inverse of ``to_json``.

        Raises:
            ValueError: if the format is not known, or values do not fit each other.
            TypeError: if keys are missing or unknown.
        """
        known = dict(values)
        version = known.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ValueError(f"format_version is {version!r}, expected {FORMAT_VERSION}")
        geometry = dict(known.pop("geometry", {}))
        geometry["levels_tokens"] = tuple(geometry.get("levels_tokens", ()))
        model = SeedVLConfig.from_json(known.pop("model", {}))
        config = cls(model=model, geometry=TokenGeometry(**geometry), **known)
        if not all(isinstance(text, str) for text in (config.name, config.licence)):
            raise TypeError("name and licence must be text")
        if not isinstance(config.familiarity_threshold, float | int | None):
            raise TypeError("familiarity_threshold must be a number")
        if config.open_answers is not None:
            _check_open_answers(config.open_answers, model)
        if config.geometry.token_px != model.token_px:
            raise ValueError(
                f"the geometry has {config.geometry.token_px} px a token, the model "
                f"{model.token_px} px"
            )
        return config


def _check_open_answers(sure: Mapping[str, float], model: SeedVLConfig) -> None:
    if model.answer is None or not model.answer.pointer:
        raise ValueError("open_answers needs an answer branch with a pointer")
    if set(sure) != set(ANSWERS):
        raise ValueError(f"open_answers has {sorted(sure)}, expected {sorted(ANSWERS)}")
    if not all(isinstance(least, float | int) and 0 <= least <= 1 for least in sure.values()):
        raise ValueError("open_answers must be probabilities")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and checked.

    Args:
        config: what it is.
        tokenizer_file: its vocabulary.
        model: the model, in evaluation mode, float32.
        familiarity: tensors that describe the training pictures; empty if there are none.
        sha256: hash over the hashes of all files.
    """

    config: CheckpointConfig
    tokenizer_file: Path
    model: SeedVL
    familiarity: dict[str, Tensor]
    sha256: str


def read_config(folder: Path) -> CheckpointConfig:
    """Read ``config.json`` alone, for lists of models.

    Raises:
        ModelError: ``model.checkpoint_invalid``.
    """
    try:
        return CheckpointConfig.from_json(read_json(folder / CONFIG))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise invalid(folder, f"{CONFIG} does not describe a model: {error}") from error


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and check a checkpoint.

    Raises:
        ModelError: ``model.unknown`` if there is no such folder; ``model.checkpoint_invalid`` if it
            holds pickles instead of safetensors, or a file, tensor, shape or hash is wrong.
    """
    if not folder.is_dir():
        raise ModelError(
            "model.unknown",
            f"there is no checkpoint folder {folder}",
            hint="seedvideo models lists the models that are there",
        )
    if not (folder / MANIFEST).is_file():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
        if pickles:
            raise invalid(
                folder,
                f"{pickles[0]} is a pickle, which can run code when it is opened",
                hint="convert the weights to safetensors",
            )
    digest = verify(folder)
    config = read_config(folder)
    manifest = read_manifest(folder)
    weights: dict[str, Tensor] = {}
    for name in weight_files(manifest):
        weights.update(_read_tensors(folder / name))
    try:
        weights = from_disk(weights)
    except ValueError as error:
        raise invalid(folder, str(error)) from error
    try:
        with torch.device("meta"):
            model = SeedVL(config.model)
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        raise invalid(folder, f"{CONFIG} does not describe a model that can be built") from error
    _check_tensors(folder, {k: v.shape for k, v in model.state_dict().items()}, weights)
    as_float = {name: tensor.to(torch.float32) for name, tensor in weights.items()}
    model.load_state_dict(as_float, assign=True)
    model.requires_grad_(False)
    familiarity = {}
    if _FAMILIARITY in manifest:
        familiarity = {
            name: tensor.to(torch.float32)
            for name, tensor in _read_tensors(folder / _FAMILIARITY).items()
        }
        if not all(bool(torch.isfinite(tensor).all()) for tensor in familiarity.values()):
            raise invalid(folder, f"{_FAMILIARITY} holds values that are not finite")
    return Checkpoint(config, folder / TOKENIZER, model.eval(), familiarity, digest)


def save_checkpoint(
    folder: Path,
    config: CheckpointConfig,
    weights: Mapping[str, Tensor],
    tokenizer_json: str,
    *,
    familiarity: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float16,
    int8: Set[str] = frozenset(),
) -> str:
    """Write a checkpoint; an older one in the same folder is replaced.

    Args:
        folder: made if it is not there.
        config: what the model is.
        weights: the model's ``state_dict``.
        tokenizer_json: its vocabulary.
        familiarity: what its training pictures looked like.
        dtype: how weights are stored.
        int8: names of weights to store as int8 rows instead; each has two dimensions or more.

    Returns:
        The hash that names the checkpoint.

    Raises:
        ValueError: if one tensor alone is larger than a file may be, or cannot be stored as int8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _split(to_disk(weights, int8, dtype))
    parts = {
        f"weights-{number}-of-{len(shards)}.safetensors": shard
        for number, shard in enumerate(shards, start=1)
    }
    if familiarity:
        parts[_FAMILIARITY] = {k: value.to(dtype).contiguous() for k, value in familiarity.items()}
    texts = {
        CONFIG: json.dumps(config.to_json(), indent=2) + "\n",
        TOKENIZER: tokenizer_json,
    }
    for name, tensors in parts.items():
        save_file(tensors, folder / (name + _PART))
    for name, text in texts.items():
        (folder / (name + _PART)).write_text(text, encoding="utf-8")
    names = sorted([*parts, *texts])
    manifest = {name: file_sha256(folder / (name + _PART)) for name in names}
    text = json.dumps(manifest, indent=2) + "\n"
    (folder / (MANIFEST + _PART)).write_text(text, encoding="utf-8")
    # All is written before the first old file goes.
    for name in [*names, MANIFEST]:
        # safetensors makes its files for their owner alone; these are to be shared.
        (folder / (name + _PART)).chmod(0o644)
        (folder / (name + _PART)).replace(folder / name)
    for old in folder.glob("*.safetensors"):
        if old.name not in manifest:
            old.unlink()
    return verify(folder)


def _split(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Put tensors into files in their order, each below the size limit."""
    room = MAX_FILE_BYTES - 256 * 1024  # the header of names and shapes
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        if tensor.nbytes > room:
            raise ValueError(f"{name} has {tensor.nbytes} bytes, a file may have {MAX_FILE_BYTES}")
        if used + tensor.nbytes > room:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += tensor.nbytes
    return shards


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise invalid(path.parent, f"{path.name} is no safetensors file") from error


def _check_tensors(
    folder: Path, wanted: Mapping[str, torch.Size], given: Mapping[str, Tensor]
) -> None:
    missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing:
        raise invalid(folder, f"the weights lack {missing[0]} ({len(missing)} missing)")
    if extra:
        raise invalid(folder, f"the weights hold an unknown {extra[0]} ({len(extra)} unknown)")
    for name, shape in wanted.items():
        tensor = given[name]
        if tensor.shape != shape:
            raise invalid(
                folder, f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}"
            )
        if not tensor.is_floating_point():
            raise invalid(folder, f"{name} is {tensor.dtype}, expected a floating-point type")
        if not bool(torch.isfinite(tensor).all()):
            raise invalid(folder, f"{name} holds values that are not finite")
