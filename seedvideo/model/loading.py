"""Loading of open-weight checkpoints with transformers: processor, weights, device, number format.

Weights are safetensors only, and no code of a checkpoint is run.
"""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch

from seedvideo.environment import is_out_of_memory
from seedvideo.errors import ModelError
from seedvideo.model.metadata import checkpoint_error, read_json
from seedvideo.model_options import ModelOptions
from seedvideo.utils.text import one_line, printable

_GENERATION_CONFIG: Final = "generation_config.json"


def load_processor(folder: Path, model_type: str) -> Any:
    """Load the processor of a checkpoint.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if it is damaged, or has no tokenizer or chat
            template; ``model.not_installed`` if it needs a package.
    """
    quieten_transformers()
    import_torchvision()
    _require_images(folder, model_type)
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except ImportError as error:
        raise ModelError(
            "model.not_installed",
            f"the processor of {printable(folder.name)} needs a package: {first_line(error)}",
            hint="install the package that it names, or: pip install 'seedvideo[transformers]'",
        ) from error
    except Exception as error:  # raised by the code of any family, for any kind of damage
        if is_out_of_memory(error):
            raise
        raise loading_error(folder, "processor", error) from error
    if not hasattr(processor, "tokenizer"):
        raise checkpoint_error(folder, "it has no processor for images and text")
    # Some checkpoints state it with the tokenizer only, where the processor does not look.
    processor.chat_template = processor.chat_template or processor.tokenizer.chat_template
    if not processor.chat_template:
        raise checkpoint_error(
            folder,
            "it has no chat template, so it was not trained to follow prompts",
            hint="use the instruction-tuned version of the model",
        )
    return processor


def load_model(folder: Path, options: ModelOptions) -> Any:
    """Load the weights of a checkpoint; the settings for sampling that it states are removed.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if it is damaged, incomplete or of an unknown type;
            ``model.not_installed`` if an option needs a package; ``model.no_device``.
    """
    _require_packages(options)
    device = _device(options)
    if (folder / _GENERATION_CONFIG).is_file():
        read_json(folder / _GENERATION_CONFIG)  # transformers ignores it if it is damaged
    quieten_transformers()
    from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig
    from transformers import __version__ as version

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError, OSError, TypeError, AttributeError) as error:
        raise loading_error(folder, f"configuration (transformers {version})", error) from error
    loader: Any = AutoModelForImageTextToText  # its type lacks `output_loading_info`
    with quiet_progress():
        try:
            model, info = loader.from_pretrained(
                folder,
                config=config,
                dtype=options.dtype if options.dtype == "auto" else getattr(torch, options.dtype),
                **_attention(options),
                quantization_config=_quantization(options),
                device_map=device,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
        except Exception as error:  # raised by the code of any family, for any kind of damage
            if is_out_of_memory(error):
                raise
            raise loading_error(folder, "weights", error) from error
    refuse_tensors(folder, "its weights lack", info["missing_keys"])
    refuse_tensors(
        folder, "its weights have another shape of", [k for k, *_ in info["mismatched_keys"]]
    )
    stated = model.generation_config
    # The published settings sample: answers would not repeat.
    model.generation_config = GenerationConfig(
        eos_token_id=stated.eos_token_id,
        pad_token_id=stated.pad_token_id
        if stated.pad_token_id is not None
        else _first(stated.eos_token_id),
        bos_token_id=stated.bos_token_id,
    )
    return model.eval()


def refuse_tensors(folder: Path, problem: str, tensors: Collection[str]) -> None:
    """Raise an error if there are such tensors, naming the first."""
    if tensors:
        more = f" and {len(tensors) - 1} more tensors" if len(tensors) > 1 else ""
        raise checkpoint_error(folder, f"{problem} {min(tensors)}{more}")


def _require_packages(options: ModelOptions) -> None:
    """Raise an error if an option needs a package that is not installed."""
    needed = {
        "--quantize": ("bitsandbytes", options.quantize is not None, "seedvideo[quantize]"),
        "--attention flash_attention_2": (
            "flash_attn",
            options.attention == "flash_attention_2",
            "flash-attn",
        ),
    }
    for option, (package, is_needed, install) in needed.items():
        if is_needed and find_spec(package) is None:
            raise ModelError(
                "model.not_installed",
                f"{option} needs {package}, which is not installed",
                hint=f"install it with: pip install '{install}'",
            )


def _attention(options: ModelOptions) -> dict[str, str]:
    """Return the argument for the implementation of attention; none for the model's own."""
    return {} if options.attention is None else {"attn_implementation": options.attention}


def _quantization(options: ModelOptions) -> Any:
    if options.quantize is None:
        return None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_8bit=options.quantize == "8bit", load_in_4bit=options.quantize == "4bit"
    )


def _device(options: ModelOptions) -> str:
    """Return the device to load to; several GPUs share a model that is too large for one.

    Raises:
        ModelError: ``model.no_device`` if the machine does not have the device.
    """
    has = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if options.device == "auto":
        return "auto" if has["cuda"] else "mps" if has["mps"] else "cpu"
    if not has[options.device]:
        raise ModelError(
            "model.no_device",
            f"--device {options.device}: this machine, or this build of torch, has none",
            hint="leave --device out, or use --device cpu",
        )
    return options.device


@contextmanager
def quiet_progress() -> Iterator[None]:
    """Keep the progress bar of loading off stderr."""
    from transformers.utils import logging as progress

    was_enabled = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            progress.enable_progress_bar()


def _first(ids: int | list[int] | None) -> int | None:
    return ids[0] if isinstance(ids, list) else ids


def import_torchvision() -> None:
    """Import torchvision, whose operators fit one build of torch only."""
    try:
        import torchvision  # noqa: F401  # imported here, where its errors are translated
    except (ImportError, RuntimeError, OSError) as error:
        raise ModelError(
            "model.not_installed",
            f"torchvision cannot be imported with this build of torch: {first_line(error)}",
            hint="install both from one index: pip install --force-reinstall torch torchvision",
        ) from error


def quieten_transformers() -> None:
    """Keep warnings and progress bars of transformers off stderr; a user can ask for them."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _require_images(folder: Path, model_type: str) -> None:
    """Raise an error unless transformers has a model of this type that takes images.

    Raises:
        ModelError: ``model.checkpoint_invalid``.
    """
    quieten_transformers()
    from transformers import __version__ as version
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
    )

    if model_type not in KNOWN:
        raise checkpoint_error(
            folder,
            f"transformers {version} has no model of type {printable(model_type)!r} for images and"
            " text",
            hint="choose a vision-language model, or a transformers that knows it",
        )


def loading_error(folder: Path, what: str, error: Exception) -> ModelError:
    """Translate an error of transformers about a part of a checkpoint."""
    return checkpoint_error(
        folder,
        f"its {what} cannot be used: {first_line(error)}",
        hint="check the checkpoint with the transformers version that it states, or fetch it again",
    )


def first_line(error: Exception) -> str:
    """Return the text of an error as one short line."""
    text = str(error).strip() or type(error).__name__
    return printable(one_line(text)[:300])
