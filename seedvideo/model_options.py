"""Options of a model: how it is loaded or reached (`ModelOptions`) and how it writes an answer.

Both are frozen and validated on construction, and light to import. Each kind of model supports some
of them; `refuse_unsupported` names the others.
"""

import math
from collections.abc import Container
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, TypeAlias, TypedDict, Unpack, get_args

from seedvideo.arguments import check_kind
from seedvideo.errors import ConfigError, suggestion
from seedvideo.utils.text import find_problem

DtypeName: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
DeviceName: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
Quantization: TypeAlias = Literal["8bit", "4bit"]
AttentionName: TypeAlias = Literal["sdpa", "eager", "flash_attention_2"]

MAX_NEW_TOKENS_LIMIT: Final = 131_072
"""Maximum of ``max_new_tokens``: no model writes more."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a model is loaded, or how a server is asked.

    Args:
        revision: branch, tag or commit of a model on a hub; its default branch if None.
        dtype: number format of the weights; ``auto`` is that of the checkpoint.
        device: where the model runs; ``auto`` takes a GPU if there is one.
        quantize: load the weights in 8 or 4 bits.
        attention: implementation of attention; the one that transformers chooses if None.
        offline: send no request to a hub; what is missing is an error.
        geometry: family whose frame sizes the model of a server has, if its name does not say it.
        as_video: send frames to a server as one video instead of single images.
        pairs: show two near frames for the price of one, where the family merges two.
        deadline_s: maximum time of an answer of a server, with all retries; ten minutes if None.

    Raises:
        ConfigError: ``config.invalid`` if a value is not one of those allowed.
    """

    revision: str | None = None
    dtype: DtypeName = "auto"
    device: DeviceName = "auto"
    quantize: Quantization | None = None
    attention: AttentionName | None = None
    offline: bool = False
    geometry: str | None = None
    as_video: bool = False
    pairs: bool = False
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed and not (value is None and name in ("quantize", "attention")):
                raise ConfigError(
                    "config.invalid",
                    f"{name} is {value!r}, expected one of {', '.join(allowed)}",
                    hint=suggestion(value, allowed),
                )
        if self.deadline_s is not None and not 0 < self.deadline_s < math.inf:
            raise ConfigError(
                "config.invalid", f"deadline_s is {self.deadline_s}, expected a value above 0"
            )
        for name in ("revision", "geometry"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value.strip()):
                raise ConfigError("config.invalid", f"{name} is {value!r}, expected a text")


_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "dtype": get_args(DtypeName),
    "device": get_args(DeviceName),
    "quantize": get_args(Quantization),
    "attention": get_args(AttentionName),
}


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How a model writes an answer.

    Args:
        system: system prompt; None for none.
        max_new_tokens: maximum tokens of an answer, reasoning included; the default of the task if
            None.
        temperature: 0 takes the likeliest token, so that answers repeat; above 0, tokens are drawn.

    Raises:
        ConfigError: ``config.invalid`` if a value is out of range.
    """

    system: str | None = None
    max_new_tokens: int | None = None
    temperature: float = 0.0

    def __post_init__(self) -> None:
        if self.system is not None:
            is_empty = not self.system.strip()
            problem = "is empty, expected a text" if is_empty else find_problem([self.system])
            if problem is not None:
                raise ConfigError("config.invalid", f"system {problem}")
        limit = self.max_new_tokens
        if limit is not None and not 1 <= limit <= MAX_NEW_TOKENS_LIMIT:
            raise ConfigError(
                "config.invalid",
                f"max_new_tokens is {limit}, expected 1 to {MAX_NEW_TOKENS_LIMIT}",
            )
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 2):
            raise ConfigError(
                "config.invalid", f"temperature is {self.temperature}, expected 0 to 2"
            )


DEFAULT_CONCURRENCY: Final = 4
"""Default number of requests to a server at once, in batch jobs and evaluations."""

DEFAULT_MODEL_OPTIONS: Final = ModelOptions()
DEFAULT_GENERATION: Final = GenerationOptions()


class ModelFields(TypedDict, total=False):
    """Fields of `ModelOptions` as keyword arguments."""

    revision: str | None
    dtype: DtypeName
    device: DeviceName
    quantize: Quantization | None
    attention: AttentionName | None
    offline: bool
    geometry: str | None
    as_video: bool
    pairs: bool
    deadline_s: float | None


def resolve_model_options(
    options: ModelOptions | None = None, /, **overrides: Unpack[ModelFields]
) -> ModelOptions:
    """Return the given options, the defaults otherwise, with overrides.

    Raises:
        ConfigError: as `ModelOptions` does.
    """
    return replace(DEFAULT_MODEL_OPTIONS if options is None else options, **overrides)


def resolve_generation(options: GenerationOptions | None) -> GenerationOptions:
    """Check the type of the options; the defaults if None."""
    if options is None:
        return DEFAULT_GENERATION
    check_kind("generation", options, GenerationOptions, "a seedvideo.GenerationOptions")
    return options


def changed_fields(options: ModelOptions | GenerationOptions) -> dict[str, Any]:
    """Return the fields whose values are not the defaults."""
    default = type(options)()
    return {
        each.name: getattr(options, each.name)
        for each in fields(options)
        if getattr(options, each.name) != getattr(default, each.name)
    }


def refuse_unsupported(
    options: ModelOptions | GenerationOptions, *, supported: Container[str], model: str
) -> None:
    """Refuse an option that a model does not support, rather than ignore it.

    Args:
        options: the options of a call.
        supported: names of the fields that the model supports.
        model: name of the model, for the message.

    Raises:
        ConfigError: ``config.invalid``, naming the option.
    """
    refused = [name for name in changed_fields(options) if name not in supported]
    if refused:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in refused)
        raise ConfigError(
            "config.invalid",
            f"{model} does not support {named} ({', '.join(refused)})",
            hint="leave the option out; seedvideo models lists what each model supports",
        )
