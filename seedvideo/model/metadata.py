"""The files of a checkpoint: which there are, and that each is the one of the manifest.

Reads no weights and imports no torch, so that a plan, or a list of models, can do without both.

Text to token ids and back, for the native model.

A byte-level BPE vocabulary over lower-case text, so any text has ids; digits stand alone, so a time
is read digit by digit. Knows nothing of frames but the marks around them.

What frames cost for a checkpoint, read from its configuration and vocabulary alone.

Knows no weights and imports no torch: a process that only plans and decodes stays small and starts
fast. The numbers are those of the native backend on the same folder.

The tokens of the native model that are marks, not words. Imports nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer as _Tokenizer

from seedvideo.errors import ModelError
from seedvideo.sampler.geometry import TokenGeometry

CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
MANIFEST: Final = "manifest.json"

_REQUIRED = (CONFIG, TOKENIZER)
_MAX_JSON_BYTES = 16 * 1024**2


def read_manifest(folder: Path) -> dict[str, str]:
    """Names and SHA-256 of the checkpoint's files, not compared with the files yet.

    Raises:
        ModelError: ``model.checkpoint_invalid``.
    """
    manifest = read_json(folder / MANIFEST)
    for name, digest in manifest.items():
        is_plain = Path(name).name == name and Path(name).suffix in {".json", ".safetensors"}
        if not is_plain or not isinstance(digest, str) or len(digest) != 64:
            raise invalid(folder, f"{MANIFEST} has a bad entry {name!r}")
    missing = [name for name in _REQUIRED if name not in manifest]
    if missing or not weight_files(manifest):
        raise invalid(folder, f"{MANIFEST} lists no {', '.join(missing) or 'weights'}")
    return {name: str(digest) for name, digest in manifest.items()}


def verify(folder: Path) -> str:
    """Compare every file with the manifest.

    Returns:
        The hash over all hashes, which names this checkpoint.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if a file is missing or differs.
    """
    manifest = read_manifest(folder)
    for name, digest in sorted(manifest.items()):
        path = folder / name
        if not path.is_file():
            raise invalid(folder, f"{name} is missing")
        try:
            found = file_sha256(path)
        except OSError as error:
            raise invalid(folder, f"{name} cannot be read") from error
        if found != digest:
            raise invalid(folder, f"{name} is damaged: its SHA-256 is not the manifest's")
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(manifest.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_files(manifest: Mapping[str, str]) -> list[str]:
    """Names of the files that hold weights, in their order."""
    return sorted(name for name in manifest if name.startswith("weights-"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of bounded size.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if it is missing or something else.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise invalid(path.parent, f"{path.name} is too large")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise invalid(path.parent, f"{path.name} is missing or no JSON") from error
    if not isinstance(values, dict):
        raise invalid(path.parent, f"{path.name} is no JSON object")
    return values


def invalid(folder: Path, message: str, *, hint: str = "") -> ModelError:
    """The error of a checkpoint that is not sound."""
    return ModelError(
        "model.checkpoint_invalid",
        f"checkpoint {folder.name}: {message}",
        hint=hint or "copy or install the checkpoint again",
    )


SPECIAL_TOKENS: Final = ("<pad>", "<end>", "<frame>", "</frame>", "<image>", "<answer>")
"""Tokens with a meaning of their own; their ids are their places here."""

PAD_ID, END_ID, FRAME_ID, FRAME_END_ID, IMAGE_ID, ANSWER_ID = range(len(SPECIAL_TOKENS))

MARKS_A_FRAME: Final = 2
"""``<frame>`` before the visual tokens of a frame, and ``</frame>`` after them."""


class Tokenizer:
    """The vocabulary of one checkpoint.

    Args:
        backend: a tokenizer of the ``tokenizers`` package whose first ids are ``SPECIAL_TOKENS``.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if the special tokens are not where they belong.
    """

    def __init__(self, backend: Any):
        self._backend = backend
        found = tuple(backend.id_to_token(place) for place in range(len(SPECIAL_TOKENS)))
        if found != SPECIAL_TOKENS:
            raise ModelError(
                "model.checkpoint_invalid",
                f"the tokenizer begins with {found}, expected {SPECIAL_TOKENS}",
                hint="use the tokenizer.json that belongs to the checkpoint",
            )
        # A user's text must never be read as a mark: what looks like one is plain text.
        backend.encode_special_tokens = True

    @classmethod
    def from_file(cls, path: Path) -> "Tokenizer":
        """Read ``tokenizer.json``.

        Raises:
            ModelError: ``model.checkpoint_invalid`` if the file is no tokenizer.
        """
        try:
            backend = _Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the package raises bare Exception for every kind of damage
            raise ModelError(
                "model.checkpoint_invalid",
                f"{path.name} is no tokenizer",
                hint="copy the checkpoint again",
            ) from error
        return cls(backend)

    @property
    def size(self) -> int:
        """Tokens in the vocabulary."""
        return int(self._backend.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``; marks inside it are read as plain text."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """The text of ``ids``, marks left out."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text.strip()


@dataclass(frozen=True, eq=False)
class CheckpointPrices:
    """Prices of one checkpoint.

    Args:
        name: short name of the model.
        sha256: hash over all files of the checkpoint.
        geometry: sizes, levels and default budget.
        tokenizer: its vocabulary.
    """

    name: str
    sha256: str
    geometry: TokenGeometry
    tokenizer: Tokenizer

    @classmethod
    def from_folder(cls, folder: Path) -> "CheckpointPrices":
        """Read a checkpoint folder, all files compared with the manifest.

        Raises:
            ModelError: ``model.checkpoint_invalid`` if it is not sound.
        """
        sha256 = verify(folder)
        config = read_json(folder / CONFIG)
        try:
            geometry = dict(config["geometry"])
            geometry["levels_tokens"] = tuple(geometry["levels_tokens"])
            sizes = TokenGeometry(**geometry)
        except (LookupError, TypeError, ValueError) as error:
            raise invalid(folder, f"{CONFIG} does not describe a model: {error}") from error
        if not isinstance(name := config.get("name"), str):
            raise invalid(folder, f"{CONFIG} names no model")
        return cls(name, sha256, sizes, Tokenizer.from_file(folder / TOKENIZER))

    def frame_text_tokens(self, time_text: str) -> int:
        """Tokens of a frame's time and of the marks before and after its visual tokens."""
        return len(self.tokenizer.encode(time_text)) + MARKS_A_FRAME
