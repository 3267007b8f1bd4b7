"""Registry of models: find, load and describe models by name, folder or server.

`load` returns a backend, `load_costs` only the token costs that planning needs, and `available`
lists the models that ship with the package. Other packages add backends under names of their own
(`seedvideo.plugins`). Importing this module does not import torch.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import getattr_static
from pathlib import Path
from typing import Any, Final

from seedvideo.config import SHIPPED_POLICIES, PolicyName
from seedvideo.errors import ModelError, suggestion
from seedvideo.model import open_weights
from seedvideo.model.backends.base import Backend, ModelDetails, ModelSource, TokenCosts
from seedvideo.model.metadata import CONFIG, checkpoint_error, read_json
from seedvideo.model.presets import is_preset, is_server_name
from seedvideo.model.servers import ServerCosts
from seedvideo.model_options import DEFAULT_MODEL_OPTIONS, ModelOptions, refuse_unsupported
from seedvideo.plugins import Plugin, find_plugin, list_plugins
from seedvideo.sampler.geometry import Geometry

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


def load(name: str = DEFAULT_MODEL, options: ModelOptions = DEFAULT_MODEL_OPTIONS) -> Backend:
    """Load a model.

    A name is a shipped model, else an existing folder, else a backend of another package (``NAME``
    or ``NAME:REST``), else a model on a hub (``OWNER/NAME``) or on a server
    (``PRESET:ADDRESS#NAME``). Write ``./name`` for a folder that has the name of a shipped model.

    Args:
        name: name, folder or server.
        options: how the model is loaded.

    Raises:
        ModelError: ``model.unknown`` or ``model.not_found`` if it does not exist;
            ``model.checkpoint_invalid`` if the checkpoint is damaged or inconsistent;
            ``model.not_installed`` if an extra is missing; ``model.key_missing`` if a server needs
            a key; ``model.out_of_memory``.
        ConfigError: ``config.invalid`` if the model does not support an option;
            ``config.plugin_invalid`` if the backend of another package is unusable.
    """
    plugin = find_backend(name)
    if plugin is not None:
        return _call_plugin(plugin, plugin.load(), name, options, _OF_BACKENDS)
    server = _find_server(name, options)
    if server is not None:
        return _connect(server)
    # Check the name first, so that a typo is reported before torch is imported.
    place = _find(name, options, with_weights=True)
    from seedvideo.model.runtime import import_torch, translate_memory_errors

    if place.is_open_weights:
        open_weights.require_transformers()
        open_weights.check_weight_files(place.folder)
    import_torch()
    if place.is_open_weights:
        with translate_memory_errors():
            from seedvideo.model.backends.transformers import TransformersBackend

            return TransformersBackend.from_folder(
                place.name, place.folder, place.details(options), options
            )
    with translate_memory_errors():
        from seedvideo.model.backends.native import NativeBackend

    return NativeBackend.from_folder(place.folder, source=place.source)


def load_costs(
    name: str = DEFAULT_MODEL, options: ModelOptions = DEFAULT_MODEL_OPTIONS
) -> TokenCosts:
    """Load the token costs of a model without its weights: enough to plan for it.

    This does not import torch, except for an open-weight model of a family without a row. All files
    of an embedded model are still compared with its manifest, so the plan is made for exactly the
    checkpoint that `load` would load.

    Raises:
        SeedVideoError: the same errors as `load`, except those that only the weights can reveal.
    """
    plugin = find_backend(name)
    if plugin is not None:
        load_plugin = plugin.load()
        load_its_costs = getattr(load_plugin, "load_costs", load_plugin)
        return _call_plugin(plugin, load_its_costs, name, options, _OF_COSTS)
    server = _find_server(name, options)
    if server is not None:
        return server
    place = _find(name, options, with_weights=False)
    if not place.is_open_weights:
        from seedvideo.model.metadata import CheckpointMetadata

        return CheckpointMetadata.from_folder(place.folder, source=place.source)
    details = place.details(options)
    costs = open_weights.OpenWeightsMetadata.from_folder(place.name, place.folder, details, options)
    if costs is not None:
        return costs
    open_weights.require_transformers()
    from seedvideo.model.processor_costs import ProcessorCosts

    return ProcessorCosts.from_folder(place.name, place.folder, details, options)


_OF_COSTS: Final = ("name", "sha256", "geometry", "details", "frame_text_tokens")
_OF_BACKENDS: Final = (*_OF_COSTS, "count_text_tokens", "generate")
_TYPES: Final = {"name": str, "sha256": str, "geometry": Geometry, "details": ModelDetails}


def find_backend(name: str) -> Plugin | None:
    """Return the backend of another package that a model's name selects; None for other models.

    Args:
        name: name of a model, ``NAME`` or ``NAME:REST``.

    Raises:
        ConfigError: ``config.plugin_invalid`` if two packages register the name.
    """
    prefix = name.partition(":")[0]
    if os.path.isdir(name) or is_preset(prefix) or name in _list_shipped():
        return None
    return find_plugin("backend", prefix)


def plugin_origins(name: str, policy: PolicyName) -> dict[str, str]:
    """Return the packages, with versions, that provide a model and a policy; none for shipped ones.

    The package of a model's family counts in the hash of the model.
    """
    model = find_backend(name)
    other = None if policy in SHIPPED_POLICIES else find_plugin("policy", policy)
    return {each.kind: each.origin for each in (model, other) if each is not None}


def _call_plugin(
    plugin: Plugin, load_plugin: Any, name: str, options: ModelOptions, required: tuple[str, ...]
) -> Any:
    """Call a function of another package, and check what it returns.

    Args:
        plugin: the plugin.
        load_plugin: its function from a name and options to a model or its token costs.
        name: name of the model.
        options: how the model is loaded.
        required: names of the attributes of the result.
    """
    loaded = plugin.call(load_plugin, name, options)
    missing = [each for each in required if getattr_static(loaded, each, None) is None]
    if missing:
        raise plugin.error(f"returned {type(loaded).__name__}, which lacks {', '.join(missing)}")
    for attribute, kind in _TYPES.items():
        value = plugin.call(getattr, loaded, attribute)
        if not isinstance(value, kind):
            raise plugin.error(
                f"returned {type(loaded).__name__}, whose {attribute} is {type(value).__name__},"
                f" expected {kind.__name__}"
            )
    return loaded


@dataclass(frozen=True)
class _Place:
    """Where a model was found.

    Args:
        name: its name in records.
        folder: folder of the checkpoint.
        source: kind of place.
        is_open_weights: whether transformers reads it.
    """

    name: str
    folder: Path
    source: ModelSource
    is_open_weights: bool = False

    def details(self, options: ModelOptions) -> ModelDetails:
        """Return the facts of an open-weight model for records."""
        return ModelDetails(
            source=self.source,
            revision=self.folder.name if self.source == "hub" else None,
            dtype=options.dtype,
            quantize=options.quantize,
        )


def _find_server(name: str, options: ModelOptions) -> ServerCosts | None:
    """Return the costs of a model on a server; None if the name is not one."""
    if os.path.isdir(name) or not is_server_name(name):
        return None
    return ServerCosts.from_name(name, options)


def _connect(costs: ServerCosts) -> Backend:
    if find_spec("openai") is None:
        raise ModelError(
            "model.not_installed",
            "a model on a server needs openai, which is not installed",
            hint="install it with: pip install 'seedvideo[openai]'",
        )
    from seedvideo.model.backends.openai import ServerBackend

    return ServerBackend(costs)


def _list_shipped() -> list[str]:
    return sorted(path.parent.name for path in WEIGHTS.glob("*/config.json"))


def _find(name: str, options: ModelOptions, *, with_weights: bool) -> _Place:
    """Find a model on this machine, or fetch it from a hub."""
    shipped = _list_shipped()
    if name in shipped:
        refuse_unsupported(options, supported=(), model=name)
        return _Place(name, WEIGHTS / name, "shipped")
    if os.path.isdir(name):  # also false for invalid file names
        folder = Path(name)
        if not (folder / CONFIG).is_file():
            raise checkpoint_error(
                folder, f"it has no {CONFIG}", hint="give the folder of a complete checkpoint"
            )
        is_open = open_weights.is_open_weights(folder)
        supported = open_weights.SUPPORTED_OPTIONS if is_open else ()
        refuse_unsupported(options, supported=supported, model=name)
        return _Place(folder.resolve().name, folder, "folder", is_open_weights=is_open)
    if open_weights.is_hub_name(name) and not os.path.exists(name):
        refuse_unsupported(options, supported=open_weights.SUPPORTED_OPTIONS, model=name)
        folder = open_weights.fetch(name, options, with_weights=with_weights)
        return _Place(name, folder, "hub", is_open_weights=True)
    known = [*shipped, *(plugin.name for plugin in list_plugins("backend"))]
    raise ModelError(
        "model.unknown",
        f"unknown model {name!r}",
        hint=" ".join(
            filter(
                None,
                (
                    suggestion(name, known),
                    f"choose one of: {', '.join(known)}; or give a checkpoint folder,"
                    " a name on a hub (OWNER/NAME) or a server (seedvideo models)",
                ),
            )
        ),
    )
