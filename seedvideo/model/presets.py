"""Presets of servers: one row of data each, and the names of models on them.

A model on a server is named ``PRESET:ADDRESS#NAME``, or ``PRESET:NAME`` for the preset's own
address. All servers have the chat interface of OpenAI; a row says what differs. Importing this
module imports neither torch nor openai.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from seedvideo.errors import ConfigError, ModelError, suggestion
from seedvideo.model.time_format import TimeFormat
from seedvideo.utils.text import printable

_MIB: Final = 1024**2

PLAIN_TIME: Final = TimeFormat(before="{seconds}s: ")
"""How times are written for a model of unknown family."""

SEED_TIME: Final = TimeFormat(before="[{seconds} second]")
"""How times are written for Seed, as published (`seedvideo.utils.timecode.timestamp_text`)."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One kind of server.

    Args:
        name: name, as in ``--model``.
        product: name of the service or program, for people.
        base_url: its usual address.
        key_variable: environment variable of its key.
        needs_key: whether ``base_url`` refuses requests without a key.
        time: how times are written, if the model's family is not known.
        geometry: frame sizes of a model whose name shows no family: a family or ``seed``; None if
            unknown.
        max_images: maximum images of a request; None if unlimited or unknown.
        max_body_bytes: maximum size of a request.
        token_limit_field: field of a request that limits the tokens of the answer.
        thinking_on: fields of a request that ask for reasoning; empty if only the prompt can.
        thinking_off: fields of a request that ask for none.
        can_limit_answers: whether ``structured_outputs`` limits an answer to given ones.
        can_count_tokens: whether ``/tokenize`` counts the tokens of a request.
        takes_video: whether frames can be sent as one video with their times.
        tested: whether seedvideo was run against a real server of this kind.
    """

    name: str
    product: str
    base_url: str
    key_variable: str
    needs_key: bool = False
    time: TimeFormat = PLAIN_TIME
    geometry: str | None = None
    max_images: int | None = None
    max_body_bytes: int = 256 * _MIB
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    thinking_on: Mapping[str, Any] = field(default_factory=dict)
    thinking_off: Mapping[str, Any] = field(default_factory=dict)
    can_limit_answers: bool = False
    can_count_tokens: bool = False
    takes_video: bool = False
    tested: bool = False


_TEMPLATE_THINKS: Final = {"chat_template_kwargs": {"enable_thinking": True}}
_TEMPLATE_ANSWERS: Final = {"chat_template_kwargs": {"enable_thinking": False}}

PRESETS: Final = (
    Preset(
        name="openai",
        product="OpenAI",
        base_url="https://api.openai.com/v1",
        key_variable="OPENAI_API_KEY",
        needs_key=True,
        max_images=500,
        max_body_bytes=50 * _MIB,
        token_limit_field="max_completion_tokens",
        thinking_on={"reasoning_effort": "medium"},
    ),
    Preset(
        name="vllm",
        product="vLLM",
        base_url="http://localhost:8000/v1",
        key_variable="VLLM_API_KEY",
        thinking_on=_TEMPLATE_THINKS,
        thinking_off=_TEMPLATE_ANSWERS,
        can_limit_answers=True,
        can_count_tokens=True,
        takes_video=True,
        tested=True,
    ),
    Preset(
        name="sglang",
        product="SGLang",
        base_url="http://localhost:30000/v1",
        key_variable="SGLANG_API_KEY",
        thinking_on=_TEMPLATE_THINKS,
        thinking_off=_TEMPLATE_ANSWERS,
    ),
    Preset(
        name="llamacpp",
        product="llama.cpp",
        base_url="http://localhost:8080/v1",
        key_variable="LLAMA_API_KEY",
        thinking_on=_TEMPLATE_THINKS,
        thinking_off=_TEMPLATE_ANSWERS,
    ),
    Preset(
        name="lmstudio",
        product="LM Studio",
        base_url="http://localhost:1234/v1",
        key_variable="LMSTUDIO_API_KEY",
    ),
    Preset(
        name="ollama",
        product="Ollama",
        base_url="http://localhost:11434/v1",
        key_variable="OLLAMA_API_KEY",
    ),
    Preset(
        name="ark",
        product="Volcengine Ark (Seed)",
        base_url="https://ark.cn-beijing.volces.com/api/v3",
        key_variable="ARK_API_KEY",
        needs_key=True,
        time=SEED_TIME,
        geometry="seed",
        max_body_bytes=64 * _MIB,
        thinking_on={"thinking": {"type": "enabled"}},
        thinking_off={"thinking": {"type": "disabled"}},
    ),
    Preset(
        name="gemini",
        product="Gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        key_variable="GEMINI_API_KEY",
        needs_key=True,
        max_body_bytes=20 * _MIB,
        thinking_on={"reasoning_effort": "medium"},
    ),
    Preset(
        name="transformers",
        product="transformers serve",
        base_url="http://localhost:8000/v1",
        key_variable="TRANSFORMERS_SERVE_API_KEY",
        tested=True,
    ),
)
"""All presets."""

_BY_NAME: Final = {preset.name: preset for preset in PRESETS}


@dataclass(frozen=True)
class ServerAddress:
    """A model on a server.

    Args:
        preset: kind of server.
        base_url: its address, without credentials and without ``/`` at the end.
        model: name under which the server knows the model.
    """

    preset: Preset
    base_url: str
    model: str

    @property
    def name(self) -> str:
        """The name as in ``--model``, without an address that is the preset's own."""
        if self.base_url == self.preset.base_url:
            return f"{self.preset.name}:{self.model}"
        return f"{self.preset.name}:{self.base_url}#{self.model}"

    @property
    def root_url(self) -> str:
        """The address without ``/v1``, for routes that are not OpenAI's."""
        return self.base_url.removesuffix("/v1")


def is_server_name(name: str) -> bool:
    """Return whether a name has the form of a model on a server.

    >>> is_server_name("vllm:http://localhost:8000/v1#Qwen/Qwen3-VL-8B-Instruct")
    True
    >>> is_server_name("Qwen/Qwen3-VL-8B-Instruct")
    False
    """
    return ":" in name


def is_preset(name: str) -> bool:
    """Return whether a kind of server has this name."""
    return name in _BY_NAME


def parse_server_name(name: str) -> ServerAddress:
    """Parse the name of a model on a server.

    Raises:
        ModelError: ``model.unknown`` if the preset does not exist.
        ConfigError: ``config.invalid`` if the address is not one, holds credentials, or the name of
            the model is missing.

    >>> parse_server_name("ollama:http://pc:11434/v1#qwen2.5vl:7b").model
    'qwen2.5vl:7b'
    """
    preset_name, _, rest = name.partition(":")
    preset = _BY_NAME.get(preset_name)
    if preset is None:
        # The rest is an address, which may hold a password.
        raise ModelError(
            "model.unknown",
            f"unknown kind of server {printable(preset_name)!r}",
            hint=suggestion(preset_name, _BY_NAME)
            or f"name a model PRESET:ADDRESS#NAME, with a preset of {', '.join(_BY_NAME)}",
        )
    if "://" not in rest and "#" not in rest:
        return ServerAddress(preset, preset.base_url, _check_model(preset, rest))
    address, _, model = rest.partition("#")
    return ServerAddress(preset, _check_url(preset, address), _check_model(preset, model))


def _check_url(preset: Preset, text: str) -> str:
    """Return an address in its normal form; no message shows one, as it may hold a password."""
    example = f"write it as {preset.name}:{preset.base_url}#NAME"
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("http", "https") or printable(text) != text or " " in text:
        raise ConfigError(
            "config.invalid", "the address of the server is not an http or https URL", hint=example
        )
    if "@" in parts.netloc or parts.query:
        problem = "a user name or password" if "@" in parts.netloc else "a query (?...)"
        raise ConfigError(
            "config.invalid",
            f"the address of the server at {host} holds {problem}",
            hint=f"leave it out and set the key as environment variable {preset.key_variable}",
        )
    shown_host = f"[{host}]" if ":" in host else host
    shown_port = "" if port is None else f":{port}"
    return f"{parts.scheme}://{shown_host}{shown_port}{parts.path.rstrip('/')}"


def _check_model(preset: Preset, model: str) -> str:
    clean = model.strip()
    if not clean or printable(clean) != clean:
        raise ConfigError(
            "config.invalid",
            f"the name of the model on the {preset.product} server is missing"
            if not clean
            else f"the name of the model is {printable(clean)!r}, expected printable characters",
            hint=f"append it to the address: {preset.name}:{preset.base_url}#NAME",
        )
    return clean
