"""Checkpoint metadata without torch: manifest, tokenizer, special tokens and token costs.

A process that only plans, decodes or lists models reads this instead of the weights, so it stays
small and starts fast. Token costs equal those of the native backend on the same folder.

The vocabulary is byte-level BPE over lower-case text, so any text can be encoded. Digits are single
tokens, so times are encoded digit by digit.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer as _Tokenizer

from seedvideo.errors import ModelError
from seedvideo.model.backends.base import ModelDetails, ModelSource
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.utils.timecode import timestamp_text

CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
MANIFEST: Final = "manifest.json"

EMBEDDED_SUPPORTS: Final = ("max_new_tokens",)
"""What an embedded model supports of how an answer is written; see `ModelDetails`."""

_REQUIRED = (CONFIG, TOKENIZER)
_MAX_JSON_BYTES = 16 * 1024**2


def read_manifest(folder: Path) -> dict[str, str]:
    """Read names and SHA-256 of the checkpoint's files, without comparing them with the files.

    Raises:
        ModelError: ``model.checkpoint_invalid``.
    """
    manifest = read_json(folder / MANIFEST)
    for name, digest in manifest.items():
        is_plain = Path(name).name == name and Path(name).suffix in {".json", ".safetensors"}
        if not is_plain or not isinstance(digest, str) or len(digest) != 64:
            raise checkpoint_error(folder, f"{MANIFEST} has an invalid entry {name!r}")
    missing = [name for name in _REQUIRED if name not in manifest]
    if missing or not weight_files(manifest):
        raise checkpoint_error(
            folder, f"{MANIFEST} does not list {', '.join(missing) or 'weights'}"
        )
    return {name: str(digest) for name, digest in manifest.items()}


def verify_files(folder: Path) -> str:
    """Compare every file with the manifest.

    Returns:
        The hash over all hashes, which identifies this checkpoint.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if a file is missing or differs.
    """
    manifest = read_manifest(folder)
    for name, digest in sorted(manifest.items()):
        path = folder / name
        if not path.is_file():
            raise checkpoint_error(folder, f"{name} is missing")
        try:
            found = file_sha256(path)
        except OSError as error:
            raise checkpoint_error(folder, f"{name} cannot be read") from error
        if found != digest:
            raise checkpoint_error(
                folder, f"{name} is damaged: its SHA-256 differs from the manifest"
            )
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(manifest.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_files(manifest: Mapping[str, str]) -> list[str]:
    """Return the names of the files that hold weights, in order."""
    return sorted(name for name in manifest if name.startswith("weights-"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of bounded size.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if it is missing, too large or not a JSON object.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise checkpoint_error(path.parent, f"{path.name} is too large")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise checkpoint_error(path.parent, f"{path.name} is missing or not valid JSON") from error
    if not isinstance(values, dict):
        raise checkpoint_error(path.parent, f"{path.name} is not a JSON object")
    return values


def checkpoint_error(folder: Path, message: str, *, hint: str = "") -> ModelError:
    """Make the error for a damaged or inconsistent checkpoint."""
    return ModelError(
        "model.checkpoint_invalid",
        f"checkpoint {folder.name}: {message}",
        hint=hint or "copy or install the checkpoint again",
    )


SPECIAL_TOKENS: Final = ("<pad>", "<end>", "<frame>", "</frame>", "<image>", "<answer>")
"""Special tokens; their ids are their indices here."""

PAD_ID, END_ID, FRAME_ID, FRAME_END_ID, IMAGE_ID, ANSWER_ID = range(len(SPECIAL_TOKENS))

TOKENS_PER_FRAME_MARKUP: Final = 2
"""Special tokens per frame: ``<frame>`` before its visual tokens, ``</frame>`` after them."""


class Tokenizer:
    """The vocabulary of one checkpoint.

    Args:
        backend: a tokenizer of the ``tokenizers`` package whose first ids are ``SPECIAL_TOKENS``.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if the special tokens do not come first.
    """

    def __init__(self, backend: Any):
        self._backend = backend
        found = tuple(backend.id_to_token(index) for index in range(len(SPECIAL_TOKENS)))
        if found != SPECIAL_TOKENS:
            raise ModelError(
                "model.checkpoint_invalid",
                f"the tokenizer starts with {found}, expected {SPECIAL_TOKENS}",
                hint="use the tokenizer.json that belongs to the checkpoint",
            )
        # Special tokens in a user's text must stay plain text.
        backend.encode_special_tokens = True

    @classmethod
    def from_file(cls, path: Path) -> "Tokenizer":
        """Read ``tokenizer.json``.

        Raises:
            ModelError: ``model.checkpoint_invalid`` if the file is not a valid tokenizer.
        """
        try:
            backend = _Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the package raises bare Exception for every kind of damage
            raise ModelError(
                "model.checkpoint_invalid",
                f"{path.name} is not a valid tokenizer",
                hint="copy the checkpoint again",
            ) from error
        return cls(backend)

    @property
    def size(self) -> int:
        """Number of tokens in the vocabulary."""
        return int(self._backend.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Encode ``text``; special tokens inside it are treated as plain text."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """Decode ``ids``, leaving out special tokens."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text.strip()


@dataclass(frozen=True, eq=False)
class CheckpointMetadata:
    """Token costs of one checkpoint.

    Args:
        name: short name of the model.
        sha256: hash over all files of the checkpoint.
        geometry: frame sizes, levels and default budget.
        tokenizer: its vocabulary.
        details: facts for the record.
    """

    name: str
    sha256: str
    geometry: TokenGeometry
    tokenizer: Tokenizer
    details: ModelDetails

    @classmethod
    def from_folder(cls, folder: Path, *, source: ModelSource = "folder") -> "CheckpointMetadata":
        """Read a checkpoint folder and compare all files with the manifest.

        Raises:
            ModelError: ``model.checkpoint_invalid`` if the checkpoint is damaged or inconsistent.
        """
        sha256 = verify_files(folder)
        config = read_json(folder / CONFIG)
        try:
            geometry = dict(config["geometry"])
            geometry["levels_tokens"] = tuple(geometry["levels_tokens"])
            sizes = TokenGeometry(**geometry)
        except (LookupError, TypeError, ValueError) as error:
            raise checkpoint_error(
                folder, f"{CONFIG} does not describe a valid model: {error}"
            ) from error
        if not isinstance(name := config.get("name"), str):
            raise checkpoint_error(folder, f"{CONFIG} has no name")
        return cls(
            name,
            sha256,
            sizes,
            Tokenizer.from_file(folder / TOKENIZER),
            ModelDetails(source=source, dtype="float32", supports=EMBEDDED_SUPPORTS),
        )

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Count the tokens of a frame's time and the special tokens around its visual tokens."""
        return len(self.tokenizer.encode(timestamp_text(pts))) + TOKENS_PER_FRAME_MARKUP
