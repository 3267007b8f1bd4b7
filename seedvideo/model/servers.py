"""Token costs of models on servers: enough to plan for one without a request to it.

The family of a model is found by its name, or given as `ModelOptions.geometry`. It decides frame
sizes, visual tokens and the text of times. A server resizes a frame below the minimum or above the
maximum of its model; the geometries of families keep frames between them. For a model of unknown
family, frames have the sizes of Seed1.5-VL, and their tokens are not checked against the server.

Servers publish no tokenizer, so tokens of texts are estimated, rather too high than too low.
"""

import hashlib
import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from seedvideo.errors import ConfigError, suggestion
from seedvideo.model.backends.base import ModelDetails
from seedvideo.model.families import (
    Family,
    family_geometry,
    find_named_family,
    list_families,
    with_family_package,
)
from seedvideo.model.presets import SEED_TIME, Preset, ServerAddress, parse_server_name
from seedvideo.model.time_format import TimeFormat
from seedvideo.model_options import ModelOptions, refuse_unsupported
from seedvideo.sampler.geometry import SEED, Geometry

SUPPORTED_OPTIONS: Final = ("geometry", "as_video", "deadline_s")
"""Fields of `ModelOptions` that servers support."""

JPEG_QUALITY: Final = 90
"""Quality of the pictures that are sent, with full colour resolution (4:4:4)."""

_SEED: Final = "seed"

_SERVED_NAMES: Final = (
    ("qwen3-vl", "qwen3-vl"),
    ("qwen3vl", "qwen3-vl"),
    ("cosmos-reason2", "qwen3-vl"),
    ("qwen3.5", "qwen3.5"),
    ("qwen2.5-vl", "qwen2.5-vl"),
    ("qwen2.5vl", "qwen2.5-vl"),
    ("qwen2-vl", "qwen2.5-vl"),
    ("qwen2vl", "qwen2.5-vl"),
    ("mimo-vl", "qwen2.5-vl"),
    ("cosmos-reason1", "qwen2.5-vl"),
    ("glm-4.6v", "glm-4.6v"),
    ("glm-4.5v", "glm-4.1v"),
    ("glm-4.1v", "glm-4.1v"),
    ("smolvlm", "smolvlm"),
    ("internvl", "internvl"),
    ("llava-onevision-1.5", None),
    ("llava-onevision", "llava-onevision"),
    ("gemma-3n", None),
    ("gemma3n", None),
    ("gemma-3", "gemma3"),
    ("gemma3", "gemma3"),
    ("gemma-4", "gemma4"),
    ("gemma4", "gemma4"),
    ("videollama3", "video-llama3"),
    ("mistral-small-3.", "mistral3"),
    ("mistral-small3.", "mistral3"),
    ("ministral-3", "mistral3"),
    ("seed1.5-vl", _SEED),
    ("seed-1", _SEED),
)
"""Parts of the names of served models, and their families; the first that fits counts."""

_RESIZED_FAMILIES: Final = ("smolvlm", "llava-onevision", "gemma4")
"""Families whose servers resize each picture to a size that no request can choose."""

MARKUP_TOKENS: Final = 2
"""Tokens around the visual tokens of a frame, in most families."""

_PIECE: Final = re.compile(r"[^\W\d_]+|\S")
_BYTES_PER_TOKEN: Final = 3


def estimate_text_tokens(text: str) -> int:
    """Estimate the tokens of a text without a tokenizer.

    A digit or sign counts as one token, a word as one for each three bytes begun.

    >>> estimate_text_tokens("<12.5 seconds>")
    9
    """
    return sum(
        math.ceil(len(piece.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN)
        for piece in _PIECE.findall(text)
    )


@dataclass(frozen=True, eq=False)
class ServerCosts:
    """Frame sizes, token costs and facts of a model on a server.

    Args:
        address: where the model is.
        options: how the server is asked.
        family: row of the model's family; None if unknown.
        geometry: frame sizes, levels and default budget.
        time: how times are written.
        is_checked: whether the geometry is that of the model on this server, so that its token
            counts can be compared with the plan.
    """

    address: ServerAddress
    options: ModelOptions
    family: Family | None
    geometry: Geometry
    time: TimeFormat
    is_checked: bool

    @classmethod
    def from_name(cls, name: str, options: ModelOptions) -> "ServerCosts":
        """Find the costs of a model by its name, without a request.

        Raises:
            ModelError: ``model.unknown`` if the preset does not exist.
            ConfigError: ``config.invalid`` if the name is invalid, the geometry does not exist, or
                servers of this kind do not support an option.
        """
        address = parse_server_name(name)
        preset = address.preset
        refuse_unsupported(options, supported=SUPPORTED_OPTIONS, model=address.name)
        if options.as_video and not preset.takes_video:
            raise ConfigError(
                "config.invalid",
                f"{preset.product} does not take frames as a video with their times (as_video)",
                hint="leave --as-video out: single pictures keep the exact times",
            )
        geometry_name = _find_geometry(address, options)
        family = find_named_family(geometry_name) if geometry_name else None
        is_resized = options.geometry is None and geometry_name in _RESIZED_FAMILIES
        return cls(
            address=address,
            options=options,
            family=family,
            geometry=SEED if family is None or is_resized else family_geometry(family),
            time=_find_time(preset, geometry_name, family),
            is_checked=geometry_name is not None and geometry_name not in _RESIZED_FAMILIES,
        )

    @property
    def name(self) -> str:
        """Name, as in ``--model``."""
        return self.address.name

    @property
    def sha256(self) -> str:
        """Hash of preset, address and name of the model: a server does not show its weights."""
        address = self.address
        lines = f"{address.preset.name}\n{address.base_url}\n{address.model}\n"
        return with_family_package(hashlib.sha256(lines.encode()).hexdigest(), self.family)

    @property
    def details(self) -> ModelDetails:
        """Facts for the record."""
        details = ModelDetails(
            source="server",
            family=None if self.family is None else self.family.name,
            time_format=self.time.example,
            time_precision_s=self.time.precision_s,
            server=self.address.base_url,
            jpeg_quality=JPEG_QUALITY,
        )
        if self.options.as_video:
            # The server writes the times, as the mean of two frames.
            return replace(details, time_format="video", time_precision_s=None)
        return details

    def count_text_tokens(self, text: str) -> int:
        """Estimate the tokens of ``text``; see `estimate_text_tokens`."""
        return estimate_text_tokens(text)

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Estimate the text tokens of a frame: its time and the markup around its image."""
        text = self.time.text_before(pts) + self.time.text_after(pts)
        return estimate_text_tokens(text) + MARKUP_TOKENS


def _find_geometry(address: ServerAddress, options: ModelOptions) -> str | None:
    """Return the name of a family, ``seed``, or None if the model is unknown."""
    given = options.geometry
    if given is None:
        served = address.model.lower().replace("_", "-")
        for part, name in _SERVED_NAMES:
            if part in served:
                return name
        return address.preset.geometry
    if given != _SEED and find_named_family(given) is None:
        known = (_SEED, *list_families())
        raise ConfigError(
            "config.invalid",
            f"geometry is {given!r}, expected one of {', '.join(known)}",
            hint=suggestion(given, known),
        )
    return given


def _find_time(preset: Preset, geometry_name: str | None, family: Family | None) -> TimeFormat:
    if family is not None:
        return family.time
    return SEED_TIME if geometry_name == _SEED else preset.time
