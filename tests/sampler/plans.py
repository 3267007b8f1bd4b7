"""Plans of made-up videos, with the fields of a config as keywords."""

from collections.abc import Sequence
from dataclasses import fields
from fractions import Fraction
from typing import Any

from seedvideo.config import SamplingConfig
from seedvideo.media.types import MediaInfo
from seedvideo.sampler import policies
from seedvideo.sampler.plan import Plan

_FIELDS = {each.name for each in fields(SamplingConfig)} - {"analysis"}


def make_plan(
    info: MediaInfo,
    times: Sequence[Fraction],
    keyframes: Sequence[int] = (),
    *,
    source: str = "x.mp4",
    policy: Any = "uniform",
    **options: Any,
) -> Plan:
    """Plan as `seedvideo.sampler.policies.make_plan` does."""
    sampling = {name: options.pop(name) for name in _FIELDS & options.keys()}
    config = SamplingConfig(policy=policy, **sampling)
    return policies.make_plan(info, times, keyframes, source=source, sampling=config, **options)
