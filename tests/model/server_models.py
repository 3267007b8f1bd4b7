"""Backends for `tests.model.bad_server`, and frames to ask them about."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from seedvideo.model.backends.base import Part, interleave
from seedvideo.model.backends.openai import ServerBackend
from seedvideo.model.backends.server_client import RetryPolicy
from seedvideo.model.servers import ServerCosts
from seedvideo.model_options import ModelOptions
from tests.model.bad_server import BadServer


class Waits(list[float]):
    """Records waiting times instead of waiting."""

    def __call__(self, wait_s: float) -> None:
        self.append(wait_s)


def connect(
    server: BadServer,
    *,
    preset: str = "sglang",
    model: str = "Qwen3-VL-8B",
    options: ModelOptions | None = None,
    waits: Waits | None = None,
    **policy: Any,
) -> ServerBackend:
    """Return a backend for a server that waits for nothing between tries."""
    costs = ServerCosts.from_name(f"{preset}:{server.base_url}#{model}", options or ModelOptions())
    sleep = Waits() if waits is None else waits
    return ServerBackend(costs, retries=RetryPolicy(sleep=sleep, jitter=lambda: 1.0, **policy))


def question(
    *times: str, prompt: str = "What is it?", sizes: Sequence[tuple[int, int]] = ()
) -> list[Part]:
    """Return frames of 256x256 px, or of the given sizes, at some times, and a prompt."""
    moments = [Fraction(time) for time in times or ("0", "12.5")]
    shapes = sizes or [(256, 256)] * len(moments)
    return interleave(
        [
            (moment, np.full((height_px, width_px, 3), 40 * place % 256, np.uint8))
            for place, (moment, (width_px, height_px)) in enumerate(
                zip(moments, shapes, strict=True)
            )
        ],
        prompt,
    )
