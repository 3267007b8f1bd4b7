"""Models: the Seed-style one in this package, and the Protocol that every backend follows.

``load`` gives a model by name or folder, ``prices`` what planning needs of it; ``available`` lists
the ones that come with the package. Importing this loads no torch.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seedvideo.errors import ModelError, suggestion
from seedvideo.model.backends.base import Backend, Prices
from seedvideo.model.metadata import CONFIG, invalid, read_json

WEIGHTS: Final = Path(__file__).parent / "weights"
"""Where the checkpoints that come with the package lie, one folder a model."""

DEFAULT_MODEL: Final = "nano"


@dataclass(frozen=True)
class ModelInfo:
    """A model that comes with the package.

    Args:
        name: as in ``--model``.
        description: one line.
        licence: of the weights.
        folder: where it lies.
        size_bytes: of all its files.
    """

    name: str
    description: str
    licence: str
    folder: Path
    size_bytes: int


def available() -> tuple[ModelInfo, ...]:
    """The models that come with the package, by name.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if one of them does not describe itself.
    """
    models = []
    for folder in sorted(path.parent for path in WEIGHTS.glob("*/config.json")):
        # The sizes of the model are left unread: the class that checks them needs torch.
        config = read_json(folder / CONFIG)
        texts = [config.get(name) for name in ("name", "description", "licence")]
        if not all(isinstance(text, str) for text in texts):
            raise invalid(folder, f"{CONFIG} lacks a name, a description or a licence")
        name, description, licence = (str(text) for text in texts)
        size_bytes = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        models.append(ModelInfo(name, description, licence, folder, size_bytes))
    return tuple(models)


def load(name_or_folder: str = DEFAULT_MODEL) -> Backend:
    """Load a model by the name of one that comes with the package, or from a checkpoint folder.

    A name goes before a folder of the same name; write ``./name`` for the folder.

    Raises:
        ModelError: ``model.unknown`` if there is neither; ``model.checkpoint_invalid`` if it is not
            sound; ``model.out_of_memory`` if there is not enough memory for it.
    """
    # First of all, so that a mistyped name is answered before torch is imported.
    folder = _folder_of(name_or_folder)
    from seedvideo.model.runtime import import_torch, memory_errors

    import_torch()
    with memory_errors():
        from seedvideo.model.backends.native import NativeBackend

    return NativeBackend.from_folder(folder)


def prices(name_or_folder: str = DEFAULT_MODEL) -> Prices:
    """What frames cost for a model, its weights left on the disk: enough to plan for it.

    Takes milliseconds and loads no torch. The files are compared with their manifest, so that
    what is planned for is what `load` would load.

    Raises:
        ModelError: as `load` does, as far as it can be told without the weights.
    """
    from seedvideo.model.metadata import CheckpointPrices

    return CheckpointPrices.from_folder(_folder_of(name_or_folder))


def _folder_of(name_or_folder: str) -> Path:
    """Where a model lies."""
    known = sorted(path.parent.name for path in WEIGHTS.glob("*/config.json"))
    if name_or_folder in known:
        return WEIGHTS / name_or_folder
    if not os.path.isdir(name_or_folder):  # false for names that no file can have, too
        raise ModelError(
            "model.unknown",
            f"there is no model {name_or_folder!r}",
            hint=" ".join(
                filter(
                    None,
                    (
                        suggestion(name_or_folder, known),
                        f"choose one of: {', '.join(known)}; or give a checkpoint folder",
                    ),
                )
            ),
        )
    return Path(name_or_folder)
