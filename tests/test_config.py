"""Configs of calls: sampling options, and limits."""

import math
from dataclasses import FrozenInstanceError, fields, replace
from fractions import Fraction
from typing import Any, get_args

import pytest

import seedvideo
from seedvideo.cli.model_options import LoadingOptions, WritingOptions
from seedvideo.config import (
    DEFAULT_LIMITS,
    PRESET_FPS,
    SHIPPED_POLICIES,
    UNSUPPORTED_OPTIONS,
    Limits,
    PolicyName,
    RatePreset,
    SamplingConfig,
    SamplingOverrides,
    resolve_sampling,
)
from seedvideo.model_options import GenerationOptions, ModelFields, ModelOptions

NAMES = [field.name for field in fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, math.inf, -math.inf, math.nan])
def test_no_limit_can_be_absent(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*expected a finite value above 0"):
        Limits(**{name: value})  # type: ignore[arg-type]  # fields are float or int


def test_defaults_are_finite() -> None:
    assert all(math.isfinite(getattr(DEFAULT_LIMITS, name)) for name in NAMES)
    assert Limits() == DEFAULT_LIMITS


def test_limits_are_given_by_name_and_frozen() -> None:
    assert Limits(max_streams=3).max_streams == 3
    with pytest.raises(TypeError):
        Limits(3)  # type: ignore[call-arg]  # that it is refused is the test
    with pytest.raises(FrozenInstanceError):
        DEFAULT_LIMITS.max_streams = 3  # type: ignore[misc]  # that it is refused is the test


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("max_aspect", "max_error_fraction")]
)
def test_names_state_their_unit(name: str) -> None:
    units = ("_s", "_px", "_pixels", "_bytes", "_streams", "_packets", "_frames", "_errors")
    assert name.endswith(units)


# SamplingConfig


def test_overrides_are_the_fields_and_two_former_names() -> None:
    names = {each.name for each in fields(SamplingConfig)}
    assert SamplingOverrides.__annotations__.keys() == names | {"task", "knobs"}
    assert set(UNSUPPORTED_OPTIONS) == set(SHIPPED_POLICIES)
    assert {name for no in UNSUPPORTED_OPTIONS.values() for name in no} < names
    assert set(PRESET_FPS) == set(get_args(RatePreset))


def test_keywords_override_a_config() -> None:
    base = SamplingConfig(budget_tokens=500, max_frames=9)
    assert resolve_sampling(base) == base
    assert resolve_sampling(base, budget_tokens=None, policy="uniform") == SamplingConfig(
        policy="uniform", max_frames=9
    )
    assert base.rate_fps == 1.0
    assert resolve_sampling(base, rate_preset="motion").rate_fps == 5.0
    assert resolve_sampling(base, rate_preset="motion", fps=0.5).rate_fps == 0.5
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        resolve_sampling(base, colour=1)  # type: ignore[call-arg]  # that it is refused is the test
    with pytest.raises(seedvideo.OptionTypeError, match=r"sampling is 5 .*SamplingConfig"):
        resolve_sampling(5)  # type: ignore[arg-type]  # that it is refused is the test


def test_a_window_is_exact() -> None:
    config = resolve_sampling(start_s=0.1, end_s=3)
    assert config == SamplingConfig(start_s=Fraction(1, 10), end_s=Fraction(3))
    assert isinstance(config.start_s, Fraction) and isinstance(config.end_s, Fraction)
    for value in (float("nan"), float("inf")):
        with pytest.raises(seedvideo.PlanError, match=r"start_s is .*expected finite seconds"):
            resolve_sampling(start_s=value)


@pytest.mark.parametrize(
    ("policy", "options", "hint"),
    [
        ("uniform", {"coverage": 0.5, "max_fps": 2.0}, "use policy adaptive"),
        ("keyframes", {"fps": 2.0}, "use policy adaptive or uniform or seed1.5"),
        ("seed1.5", {"levels_tokens": (640,)}, "use policy adaptive or uniform or keyframes"),
    ],
)
def test_a_policy_refuses_what_it_does_not_take(
    policy: PolicyName, options: dict[str, Any], hint: str
) -> None:
    with pytest.raises(seedvideo.PlanError, match=f"policy {policy} does not support") as caught:
        SamplingConfig(policy=policy, **options)
    assert (caught.value.code, caught.value.hint) == ("plan.invalid", hint)
    adaptive = SamplingConfig(**options)
    with pytest.raises(seedvideo.PlanError, match=f"policy {policy} does not support"):
        resolve_sampling(adaptive, policy=policy)


def test_former_names_warn_and_build_the_same() -> None:
    with pytest.warns(DeprecationWarning, match="SamplingConfig"):
        former = seedvideo.Knobs(start=Fraction(1), end=Fraction(3), max_frames=4)
    assert former == SamplingConfig(start_s=Fraction(1), end_s=Fraction(3), max_frames=4)
    with pytest.warns(DeprecationWarning, match="knobs= is deprecated"):
        config = resolve_sampling(SamplingConfig(budget_tokens=500), knobs=former)
    assert config == replace(former, budget_tokens=500)
    with pytest.warns(DeprecationWarning, match="task= is deprecated") as caught:
        assert resolve_sampling(task="motion") == SamplingConfig(rate_preset="motion")
    assert len(caught) == 1


def test_options_of_models_are_the_same_everywhere() -> None:
    """The options of a model are fields, keywords and options of the command line."""
    values = {each.name: each.default for each in fields(ModelOptions)}
    assert set(ModelFields.__annotations__) == set(values)
    on_command_line = {each.name: each.default for each in fields(LoadingOptions)}
    # The time of an answer is set by a batch job only.
    assert on_command_line == {name: v for name, v in values.items() if name != "deadline_s"}
    written = {each.name: each.default for each in fields(GenerationOptions)}
    assert {each.name: each.default for each in fields(WritingOptions)} == written
