"""The files of a checkpoint: which there are, and that each is the one of the manifest.

Reads no weights and imports no torch, so that a plan, or a list of models, can do without both.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from seedvideo.errors import ModelError

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
