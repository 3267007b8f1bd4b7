"""Registry of models: find, load and describe the checkpoints by name or folder.

`load` returns a backend, `load_costs` only the token costs that planning needs, and `available`
lists the models that ship with the package. Importing this module does not import torch.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seedvideo.errors import ModelError, suggestion
from seedvideo.model.backends.base import Backend, TokenCosts
from seedvideo.model.metadata import CONFIG, checkpoint_error, read_json

WEIGHTS: Final = Path(__file__).parent / "weights"
"""Directory of the shipped checkpoints, one subdirectory per model."""

DEFAULT_MODEL: Final = "nano"


@dataclass(frozen=True)
class ModelInfo:
    """A model that ships with the package.

    Args:
        name: short name, as in ``--model``.
        description: one line for ``seedvideo models``.
        licence: licence of the weights.
        folder: path of the checkpoint folder.
        size_bytes: total size of its files.
    """

    name: str
    description: str
    licence: str
    folder: Path
    size_bytes: int


def available() -> tuple[ModelInfo, ...]:
    """List the models that ship with the package, sorted by name.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if a checkpoint lacks its name, description or
            licence.
    """
    models = []
    for folder in sorted(path.parent for path in WEIGHTS.glob("*/config.json")):
        # The sizes are not parsed: the class that validates them imports torch.
        config = read_json(folder / CONFIG)
        texts = [config.get(name) for name in ("name", "description", "licence")]
        if not all(isinstance(text, str) for text in texts):
            raise checkpoint_error(folder, f"{CONFIG} has no name, description or licence")
        name, description, licence = (str(text) for text in texts)
        size_bytes = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        models.append(ModelInfo(name, description, licence, folder, size_bytes))
    return tuple(models)


def load(name_or_folder: str = DEFAULT_MODEL) -> Backend:
    """Load a shipped model by name, or any model from a checkpoint folder.

    A shipped name takes precedence over a folder of the same name. Write ``./name`` for the folder.

    Raises:
        ModelError: ``model.unknown`` if neither exists; ``model.checkpoint_invalid`` if the
            checkpoint is damaged or inconsistent; ``model.out_of_memory`` if memory runs out.
    """
    # Check the name first, so that a typo is reported before torch is imported.
    folder = _folder_of(name_or_folder)
    from seedvideo.model.runtime import import_torch, translate_memory_errors

    import_torch()
    with translate_memory_errors():
        from seedvideo.model.backends.native import NativeBackend

    return NativeBackend.from_folder(folder)


def load_costs(name_or_folder: str = DEFAULT_MODEL) -> TokenCosts:
    """Load the token costs of a model without its weights: enough to plan for it.

    This takes milliseconds and does not import torch. All files are still compared with the
    manifest, so the plan is made for exactly the checkpoint that `load` would load.

    Raises:
        ModelError: the same errors as `load`, except those that only the weights can reveal.
    """
    from seedvideo.model.metadata import CheckpointMetadata

    return CheckpointMetadata.from_folder(_folder_of(name_or_folder))


def _folder_of(name_or_folder: str) -> Path:
    """Return the checkpoint folder of a model."""
    shipped = sorted(path.parent.name for path in WEIGHTS.glob("*/config.json"))
    if name_or_folder in shipped:
        return WEIGHTS / name_or_folder
    if not os.path.isdir(name_or_folder):  # also false for invalid file names
        raise ModelError(
            "model.unknown",
            f"unknown model {name_or_folder!r}",
            hint=" ".join(
                filter(
                    None,
                    (
                        suggestion(name_or_folder, shipped),
                        f"choose one of: {', '.join(shipped)}; or give a checkpoint folder",
                    ),
                )
            ),
        )
    return Path(name_or_folder)
