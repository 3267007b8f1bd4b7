"""Checkpoints on disk: write them atomically, and verify everything that is read.

    config.json                sizes, geometry and names of the model
    tokenizer.json             vocabulary
    weights-*.safetensors      weights in float16, or int8 for selected tensors; each file at most
                               15 MiB
    familiarity.safetensors    statistics of the training images (optional)
    manifest.json              SHA-256 of each of these files

Only safetensors files are read: unpickling can execute code. Hashes, names, shapes and dtypes are
checked before any weight is used.

int8 tensors are quantized per row, which takes half the space of float16. A row holds the weights
of one output (one index of the first dimension). Its scale is its largest magnitude divided by 127,
stored in float16; each value is stored as the nearest multiple of the scale. On disk, tensor
``name`` becomes two:

    name.q8       int8, same shape
    name.scale    float16, one per row

The rounding error is at most half of the row's scale. Scales below 2^-17 have few significant bits
in float16. In such rows no value exceeds 0.001 and the error is at most 4e-6.

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
    checkpoint_error,
    file_sha256,
    read_json,
    read_manifest,
    verify_files,
    weight_files,
)
from seedvideo.model.open_answers import KNOWN_ANSWERS
from seedvideo.model.seedvl import SeedVL, SeedVLConfig
from seedvideo.sampler.geometry import TokenGeometry

_MAX_INT8: Final = 127
_VALUES_SUFFIX, _SCALE_SUFFIX = ".q8", ".scale"


def quantize(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize ``(r, ...)`` values to int8 with one scale per row.

    Returns:
        ``(r, ...)`` int8 values and ``(r,)`` float16 scales. A row of zeros has scale zero.

    Raises:
        ValueError: if the tensor has fewer than two dimensions, or a value is not finite or too
            large for a float16 scale.
    """
    if tensor.ndim < 2:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has no rows to scale")
    rows = tensor.to(torch.float32).flatten(1)
    scale = (rows.abs().amax(dim=1) / _MAX_INT8).to(torch.float16)
    if not bool(scale.isfinite().all()):
        raise ValueError("a value is not finite or too large for a float16 scale")
    # Divide by the stored scale, so that its rounding adds no error.
    divisor = scale.to(torch.float32).masked_fill(scale == 0, torch.inf).unsqueeze(1)
    multiples = (rows / divisor).round().clamp(-_MAX_INT8, _MAX_INT8)
    return multiples.to(torch.int8).view(tensor.shape), scale


def dequantize(numbers: Tensor, scale: Tensor) -> Tensor:
    """Return ``(r, ...)`` float32 values: the inverse of ``quantize``, up to rounding."""
    per_row = scale.to(torch.float32).view(-1, *[1] * (numbers.ndim - 1))
    return numbers.to(torch.float32) * per_row


def pack_int8(
    weights: Mapping[str, Tensor], int8: Set[str], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Convert tensors to their stored form, in the order of ``weights``.

    Args:
        weights: tensors by name.
        int8: names of the tensors to store as int8.
        dtype: dtype of all other tensors.

    Raises:
        ValueError: if a name in ``int8`` is missing from ``weights``, or its tensor cannot be
            scaled.
    """
    unknown = sorted(int8 - weights.keys())
    if unknown:
        raise ValueError(f"cannot store {unknown[0]} as int8: no such weight")
    stored = {}
    for name, tensor in weights.items():
        if name in int8:
            numbers, scale = quantize(tensor)
            stored[name + _VALUES_SUFFIX], stored[name + _SCALE_SUFFIX] = (
                numbers.contiguous(),
                scale,
            )
        else:
            stored[name] = tensor.to(dtype).contiguous()
    return stored


def unpack_int8(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert stored tensors back to weights; tensors not stored as int8 are returned unchanged.

    Raises:
        ValueError: if an int8 tensor lacks its scale, exists twice, or its two parts do not have
            the dtypes, shapes and values that ``quantize`` produces.
    """
    weights = dict(stored)
    for name in stored:
        if not name.endswith(_VALUES_SUFFIX):
            continue
        base = name.removesuffix(_VALUES_SUFFIX)
        if base in stored:
            raise ValueError(f"{base} is stored twice, in full and as int8")
        if base + _SCALE_SUFFIX not in stored:
            raise ValueError(f"{name} has no {base}{_SCALE_SUFFIX}")
        numbers, scale = weights.pop(name), weights.pop(base + _SCALE_SUFFIX)
        _check_halves(base, numbers, scale)
        weights[base] = dequantize(numbers, scale)
    return weights


def _check_halves(base: str, numbers: Tensor, scale: Tensor) -> None:
    if numbers.dtype != torch.int8 or scale.dtype != torch.float16:
        raise ValueError(
            f"{base} is stored as {numbers.dtype} and {scale.dtype}, expected int8 and float16"
        )
    if numbers.ndim < 2 or scale.shape != numbers.shape[:1]:
        raise ValueError(
            f"{base}{_SCALE_SUFFIX} has shape {tuple(scale.shape)}, expected one value per "
            f"row of {tuple(numbers.shape)}"
        )
    if not bool((scale.isfinite() & (scale >= 0)).all()):
        raise ValueError(f"{base}{_SCALE_SUFFIX} contains values that are negative or not finite")


FORMAT_VERSION: Final = 1
"""Version of ``config.json``; raised when old readers could no longer read it."""
MAX_FILE_BYTES: Final = 15 * 1024**2
"""Maximum size of one file: small enough for repositories and package indexes."""

_FAMILIARITY = "familiarity.safetensors"
_PART_SUFFIX = ".part"
_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Contents of ``config.json``.

    Args:
        name: short name of the model.
        description: one line for ``seedvideo models``.
        licence: licence of the weights.
        model: sizes of the network.
        geometry: frame sizes, levels and default budget.
        familiarity_threshold: minimum familiarity of a confident answer; None to disable the check.
        open_answers: minimum probability of a confident answer, by kind of open question
            (`seedvideo.model.open_answers`); None if the model answers open questions in free text.
    """

    name: str
    description: str
    licence: str
    model: SeedVLConfig
    geometry: TokenGeometry
    familiarity_threshold: float | None = None
    open_answers: Mapping[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CheckpointConfig":
        """Parse the output of ``to_json``.

        Raises:
            ValueError: if the format version is unknown, or values contradict each other.
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
                f"the geometry has {config.geometry.token_px} px per token, the model "
                f"{model.token_px} px"
            )
        return config


def _check_open_answers(sure: Mapping[str, float], model: SeedVLConfig) -> None:
    if model.answer is None or not model.answer.pointer:
        raise ValueError("open_answers requires an answer branch with a pointer")
    if set(sure) != set(KNOWN_ANSWERS):
        raise ValueError(f"open_answers has {sorted(sure)}, expected {sorted(KNOWN_ANSWERS)}")
    if not all(isinstance(least, float | int) and 0 <= least <= 1 for least in sure.values()):
        raise ValueError("open_answers must be probabilities")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Args:
        config: contents of ``config.json``.
        tokenizer_file: path of the vocabulary.
        model: the network, in evaluation mode, float32.
        familiarity: tensors of the out-of-distribution detector; empty if there is none.
        sha256: hash over the hashes of all files.
    """

    config: CheckpointConfig
    tokenizer_file: Path
    model: SeedVL
    familiarity: dict[str, Tensor]
    sha256: str


def read_config(folder: Path) -> CheckpointConfig:
    """Read ``config.json`` alone, without the weights.

    Raises:
        ModelError: ``model.checkpoint_invalid``.
    """
    try:
        return CheckpointConfig.from_json(read_json(folder / CONFIG))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise checkpoint_error(
            folder, f"{CONFIG} does not describe a valid model: {error}"
        ) from error


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        ModelError: ``model.unknown`` if the folder does not exist; ``model.checkpoint_invalid`` if
            it holds pickles instead of safetensors, or if a file, tensor, shape or hash is wrong.
    """
    if not folder.is_dir():
        raise ModelError(
            "model.unknown",
            f"checkpoint folder not found: {folder}",
            hint="list the available models with: seedvideo models",
        )
    if not (folder / MANIFEST).is_file():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLE_SUFFIXES)
        if pickles:
            raise checkpoint_error(
                folder,
                f"{pickles[0]} is a pickle, which can execute code when it is loaded",
                hint="convert the weights to safetensors",
            )
    digest = verify_files(folder)
    config = read_config(folder)
    manifest = read_manifest(folder)
    weights: dict[str, Tensor] = {}
    for name in weight_files(manifest):
        weights.update(_read_tensors(folder / name))
    try:
        weights = unpack_int8(weights)
    except ValueError as error:
        raise checkpoint_error(folder, str(error)) from error
    try:
        with torch.device("meta"):
            model = SeedVL(config.model)
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        raise checkpoint_error(folder, f"{CONFIG} does not describe a valid model") from error
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
            raise checkpoint_error(folder, f"{_FAMILIARITY} contains values that are not finite")
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
    """Write a checkpoint, replacing an older one in the same folder.

    Args:
        folder: destination; created if missing.
        config: contents of ``config.json``.
        weights: the model's ``state_dict``.
        tokenizer_json: contents of ``tokenizer.json``.
        familiarity: tensors of the out-of-distribution detector.
        dtype: storage dtype of the weights.
        int8: names of weights to store as int8 instead; each has two dimensions or more.

    Returns:
        The hash that identifies the checkpoint.

    Raises:
        ValueError: if one tensor alone exceeds the file size limit, or cannot be stored as int8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _split_shards(pack_int8(weights, int8, dtype))
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
        save_file(tensors, folder / (name + _PART_SUFFIX))
    for name, text in texts.items():
        (folder / (name + _PART_SUFFIX)).write_text(text, encoding="utf-8")
    names = sorted([*parts, *texts])
    manifest = {name: file_sha256(folder / (name + _PART_SUFFIX)) for name in names}
    text = json.dumps(manifest, indent=2) + "\n"
    (folder / (MANIFEST + _PART_SUFFIX)).write_text(text, encoding="utf-8")
    # Write all files before the first old one is replaced.
    for name in [*names, MANIFEST]:
        # safetensors creates files readable by their owner only; these are shared.
        (folder / (name + _PART_SUFFIX)).chmod(0o644)
        (folder / (name + _PART_SUFFIX)).replace(folder / name)
    for old in folder.glob("*.safetensors"):
        if old.name not in manifest:
            old.unlink()
    return verify_files(folder)


def _split_shards(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Distribute tensors over files in their order, each below the size limit."""
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
        raise checkpoint_error(
            path.parent, f"{path.name} is not a valid safetensors file"
        ) from error


def _check_tensors(
    folder: Path, wanted: Mapping[str, torch.Size], given: Mapping[str, Tensor]
) -> None:
    missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing:
        raise checkpoint_error(folder, f"weight {missing[0]} is missing ({len(missing)} in all)")
    if extra:
        raise checkpoint_error(folder, f"weight {extra[0]} is unknown ({len(extra)} in all)")
    for name, shape in wanted.items():
        tensor = given[name]
        if tensor.shape != shape:
            raise checkpoint_error(
                folder, f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}"
            )
        if not tensor.is_floating_point():
            raise checkpoint_error(
                folder, f"{name} is {tensor.dtype}, expected a floating-point type"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise checkpoint_error(folder, f"{name} contains values that are not finite")
