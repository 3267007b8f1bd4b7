"""Open-weight models without their weights: files, identity and token costs.

A process that only plans or decodes reads this, so it imports neither torch nor transformers. The
exception is a model of a family without a row, or without `tokenizer.json`: its processor is asked.

A model is an existing folder, or a name on a hub, ``OWNER/NAME``; of a hub, only the files that are
needed are fetched. Nothing runs code of a checkpoint, and weights are safetensors only.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from seedvideo.errors import ConfigError, ModelError
from seedvideo.model.backends.base import ModelDetails
from seedvideo.model.families import (
    FAMILIES,
    CheckpointConfig,
    Family,
    find_family,
    with_family_package,
)
from seedvideo.model.metadata import CONFIG, TOKENIZER, checkpoint_error, file_sha256, read_json
from seedvideo.model_options import ModelOptions
from seedvideo.sampler.geometry import Geometry
from seedvideo.utils.text import printable

_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_CONFIG_FILES: Final = ("*.json", "*.jinja", "*.txt", "*.model", "chat_templates/*")
_SINGLE: Final = "model.safetensors"
_PROCESSOR: Final = "processor_config.json"
_INDEX: Final = "model.safetensors.index.json"
_FORBIDDEN_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5")

_INSTALL_HINT: Final = "install it with: pip install 'seedvideo[transformers]'"


SUPPORTED_OPTIONS: Final = (
    "revision",
    "dtype",
    "device",
    "quantize",
    "attention",
    "offline",
    "pairs",
)
"""Fields of `ModelOptions` that open-weight models support."""


def is_hub_name(name: str) -> bool:
    """Return whether a name has the form of a model on a hub, ``OWNER/NAME``.

    >>> is_hub_name("Qwen/Qwen3-VL-8B-Instruct")
    True
    """
    return _HUB_NAME.fullmatch(name) is not None


def is_open_weights(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint of an open-weight model."""
    if not (folder / CONFIG).is_file():
        return False
    return isinstance(read_json(folder / CONFIG).get("model_type"), str)


def require_transformers() -> None:
    """Raise an error if the extra is not installed.

    Raises:
        ModelError: ``model.not_installed``.
    """
    missing = [name for name in ("transformers", "torchvision") if find_spec(name) is None]
    if missing:
        raise ModelError(
            "model.not_installed",
            f"an open-weight model needs {' and '.join(missing)},"
            f" which {'is' if len(missing) == 1 else 'are'} not installed",
            hint=_INSTALL_HINT,
        )


def fetch(name: str, options: ModelOptions, *, with_weights: bool) -> Path:
    """Return the folder of a model on a hub, after fetching what is missing.

    Args:
        name: ``OWNER/NAME``.
        options: revision, and whether requests may be sent.
        with_weights: whether the weights are needed too.

    Raises:
        ModelError: ``model.not_installed``; ``model.not_found`` if the model, the revision or, with
            ``offline``, a file does not exist; ``model.download_failed``, which is retryable.
    """
    if find_spec("huggingface_hub") is None:
        raise ModelError(
            "model.not_installed",
            "a model on a hub needs huggingface_hub, which is not installed",
            hint=_INSTALL_HINT,
        )
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    is_offline = options.offline or constants.HF_HUB_OFFLINE

    def snapshot(revision: str | None, patterns: Sequence[str]) -> Path:
        try:
            folder = snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(patterns),
                local_files_only=is_offline,
            )
        except GatedRepoError as error:
            raise _not_found_error(name, options, "needs permission of its owner") from error
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise _not_found_error(name, options, "does not exist on the hub") from error
        except HFValidationError as error:
            raise _not_found_error(name, options, "has a name that no hub allows") from error
        except LocalEntryNotFoundError as error:
            if is_offline:
                problem = "is not on this machine"
                raise _not_found_error(name, options, problem, offline=True) from error
            raise _download_error(name, error) from error
        except Exception as error:  # of the client, its transport and the file system
            raise _download_error(name, error) from error
        return Path(folder)

    folder = snapshot(options.revision, _CONFIG_FILES)
    if with_weights:
        # Of the same commit, and only the files that belong to the model.
        folder = snapshot(folder.name, [*_CONFIG_FILES, *weight_names(folder)])
        if not has_weights(folder):
            where = "on this machine" if is_offline else "on the hub"
            problem = f"lacks safetensors {where}"
            raise _not_found_error(name, options, problem, offline=is_offline)
    return folder


def weight_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the files that hold the weights, by the index of a checkpoint.

    Other safetensors in the folder are copies in other formats.
    """
    if not (folder / _INDEX).is_file():
        return (_SINGLE,)
    files = read_json(folder / _INDEX).get("weight_map")
    names = set(files.values()) if isinstance(files, dict) else set()
    if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise checkpoint_error(folder, f"{_INDEX} does not list its files")
    return tuple(sorted(names))


def has_weights(folder: Path) -> bool:
    """Return whether all files of the weights are in a folder."""
    return all((folder / name).is_file() for name in weight_names(folder))


def _not_found_error(
    name: str, options: ModelOptions, problem: str, *, offline: bool = False
) -> ModelError:
    revision = f" at revision {options.revision}" if options.revision else ""
    hint = "check the name; for a private or gated model, set HF_TOKEN"
    if offline:
        cause = "leave --offline out" if options.offline else "unset HF_HUB_OFFLINE"
        hint = f"{cause} once, so that its files are fetched"
    return ModelError("model.not_found", f"model {printable(name)}{revision} {problem}", hint=hint)


def _download_error(name: str, error: Exception) -> ModelError:
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
        why, hint = "the disk is full", "free space, or set HF_HOME to another disk"
    else:
        why = f"the hub did not answer or refused ({type(cause).__name__})"
        hint = "check the connection, then try again; or give a folder with the checkpoint"
    return ModelError(
        "model.download_failed",
        f"model {printable(name)} could not be fetched: {why}",
        hint=hint,
        retryable=True,
    )


def read_checkpoint(folder: Path) -> CheckpointConfig:
    """Read the JSON files of a checkpoint that decide frame sizes.

    The image processor may be described in ``preprocessor_config.json`` or, by newer versions of
    transformers, in ``processor_config.json``.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if a file is damaged or the checkpoint needs code
            of its own.
    """
    model = read_json(folder / CONFIG)
    if "auto_map" in model and find_family(str(model.get("model_type"))) is None:
        raise checkpoint_error(
            folder,
            f"a model of type {printable(str(model.get('model_type')))!r} needs code of its own"
            " (auto_map), which is never run",
            hint="use a version of the model that transformers supports, or a server that runs it",
        )
    processor = _read_optional(folder / _PROCESSOR)
    parts = {}
    for part, file_name in _PART_FILES.items():
        values = processor.get(part) or {}
        if not isinstance(values, dict):
            raise checkpoint_error(folder, f"its processor_config.json has an invalid {part}")
        # The newer file counts alone, as in transformers.
        parts[part] = values or _read_optional(folder / file_name)
    return CheckpointConfig(model, processor, parts["image_processor"], parts["video_processor"])


_PART_FILES: Final = {
    "image_processor": "preprocessor_config.json",
    "video_processor": "video_preprocessor_config.json",
}
"""Parts of a processor, and the files that describe them in older checkpoints."""


def make_geometry(folder: Path, family: Family, config: CheckpointConfig) -> Geometry:
    """Return the geometry of a checkpoint.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if its files have invalid sizes.
    """
    try:
        return family.make_geometry(config)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise checkpoint_error(
            folder, f"its configuration has invalid sizes: {printable(str(error))}"
        ) from error


def _read_optional(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.is_file() else {}


@dataclass(frozen=True, eq=False)
class OpenWeightsMetadata:
    """Token costs of one open-weight model whose family has a row.

    Args:
        name: name, as in ``--model``.
        folder: folder of the checkpoint; of a hub, of the fetched files.
        family: row of its family.
        config: JSON files that decide frame sizes.
        geometry: frame sizes, levels and default budget.
        details: facts for the record.
        options: how the model is loaded.
    """

    name: str
    folder: Path
    family: Family
    config: CheckpointConfig
    geometry: Geometry
    details: ModelDetails
    options: ModelOptions

    @classmethod
    def from_folder(
        cls, name: str, folder: Path, details: ModelDetails, options: ModelOptions
    ) -> "OpenWeightsMetadata | None":
        """Read the metadata; None if the family has no row, or the tokenizer another format.

        Raises:
            ModelError: ``model.checkpoint_invalid`` if a file is damaged or inconsistent.
        """
        config = read_checkpoint(folder)
        family = find_family(str(config.model.get("model_type")))
        if family is None or not (folder / TOKENIZER).is_file():
            return None
        if not (config.processor or config.image):
            raise checkpoint_error(
                folder,
                f"it has neither {_PROCESSOR} nor {_PART_FILES['image_processor']}, so its frame"
                " sizes are unknown",
                hint="fetch all files of the model again",
            )
        geometry = make_geometry(folder, family, config)
        details = with_family(details, family)
        if options.pairs:
            details = with_pairs(name, details, family)
        return cls(name, folder, family, config, geometry, details, options)

    @cached_property
    def sha256(self) -> str:
        """Hash over all files of the checkpoint; reads the weights unless it is known.

        Raises:
            ModelError: as `fetch` and `checkpoint_sha256` do.
        """
        sha256 = model_sha256(self.name, self.folder, self.details, self.options)
        return with_family_package(sha256, self.family)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            return Tokenizer.from_file(str(self.folder / TOKENIZER))
        except Exception as error:  # the package raises bare Exception for every kind of damage
            raise checkpoint_error(
                self.folder, f"{TOKENIZER} is missing or not a valid tokenizer"
            ) from error

    def count_text_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` alone."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Count the text tokens of a frame: its time and the markup around its visual tokens."""
        return self.count_text_tokens(self.family.frame_text(pts))


def with_family(details: ModelDetails, family: Family) -> ModelDetails:
    """Return the details with the name and the time format of a family."""
    return replace(
        details,
        family=family.name,
        time_format=family.time.example.strip(),
        time_precision_s=family.time.precision_s,
    )


def with_pairs(name: str, details: ModelDetails, family: Family) -> ModelDetails:
    """Return the details of a model that is shown pairs of frames.

    Raises:
        ConfigError: ``config.invalid`` if the family does not merge two frames.
    """
    if not family.merges_pairs:
        able = ", ".join(each.name for each in FAMILIES if each.merges_pairs)
        raise ConfigError(
            "config.invalid",
            f"{name} ({family.name}) does not merge two frames, so --pairs (pairs) cannot be used",
            hint=f"leave the option out; these families support it: {able}",
        )
    return replace(details, pairs=True)


def model_sha256(name: str, folder: Path, details: ModelDetails, options: ModelOptions) -> str:
    """Return the hash of a model that was found by `fetch` or is a folder.

    Raises:
        ModelError: as `fetch` and `checkpoint_sha256` do.
    """
    if details.source == "hub":
        # For planning, the weights were not fetched.
        pinned = replace(options, revision=details.revision)
        folder = fetch(name, pinned, with_weights=True)
    return checkpoint_sha256(folder)


def checkpoint_sha256(folder: Path) -> str:
    """Return the hash over names and contents of a checkpoint's files.

    The hash of a large file is kept in the user's cache folder and used again while size and
    modification time of the file are the same.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if there are no weights, or a file is unreadable.
    """
    check_weight_files(folder)
    described = {
        path.relative_to(folder).as_posix()
        for pattern in _CONFIG_FILES
        for path in folder.glob(pattern)
        if path.is_file()
    }
    names = sorted(described | set(weight_names(folder)))
    known = _HashCache(_hash_cache_path())
    lines = []
    for name in names:
        try:
            digest = known.sha256(folder / name)
        except OSError as error:
            raise checkpoint_error(folder, f"{name} cannot be read") from error
        lines.append(f"{digest}  {name}\n")
    known.save()
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_weight_files(folder: Path) -> None:
    """Raise an error unless a folder has all its safetensors.

    Raises:
        ModelError: ``model.checkpoint_invalid``; the message names weights of another format.
    """
    if has_weights(folder):
        return
    names = weight_names(folder)
    present = [name for name in names if (folder / name).is_file()]
    if present or (folder / _INDEX).is_file():
        missing = next(name for name in names if name not in present)
        raise checkpoint_error(folder, f"{missing} is missing, one of {len(names)} files")
    others = sorted(p.name for p in folder.iterdir() if p.suffix in _FORBIDDEN_SUFFIXES)
    found = f" ({others[0]} is a pickle or another format, which is not read)" if others else ""
    raise checkpoint_error(
        folder,
        f"it has no weights as safetensors{found}",
        hint="fetch or convert the checkpoint as safetensors",
    )


def _hash_cache_path() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "seedvideo" / "model_hashes.json"


_LARGE_BYTES: Final = 16 * 1024**2


class _HashCache:
    """Known hashes of large files, by path, size and modification time.

    It only saves time: if the file cannot be read or written, hashes are computed again.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._is_changed = path, False
        self._known: dict[str, Any] = {}
        with suppress(OSError, ValueError, RecursionError):
            values = json.loads(path.read_text(encoding="utf-8"))
            self._known = values if isinstance(values, dict) else {}

    def sha256(self, path: Path) -> str:
        """Return the hash of a file."""
        real = path.resolve()
        stat = real.stat()
        if stat.st_size < _LARGE_BYTES:
            return file_sha256(real)
        entry, facts = self._known.get(str(real)), [stat.st_size, stat.st_mtime_ns]
        if isinstance(entry, list) and entry[:2] == facts and _is_digest(entry[2:]):
            return str(entry[2])
        digest = file_sha256(real)
        self._known[str(real)], self._is_changed = [*facts, digest], True
        return digest

    def save(self) -> None:
        """Write new hashes, replacing the file at once."""
        if not self._is_changed:
            return
        with suppress(OSError, ValueError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(self._known), encoding="utf-8")
            temporary.replace(self._path)


def _is_digest(values: Iterable[object]) -> bool:
    found = list(values)
    return len(found) == 1 and isinstance(found[0], str) and len(found[0]) == 64
