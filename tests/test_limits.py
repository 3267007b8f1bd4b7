import math
from dataclasses import FrozenInstanceError, fields

import pytest

from seedvideo.limits import DEFAULT_LIMITS, Limits

NAMES = [field.name for field in fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, math.inf, -math.inf, math.nan])
def test_no_ceiling_can_be_absent(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*expected a finite value above 0"):
        Limits(**{name: value})  # type: ignore[arg-type]  # fields are float or int


def test_defaults_are_finite() -> None:
    assert all(math.isfinite(getattr(DEFAULT_LIMITS, name)) for name in NAMES)
    assert Limits() == DEFAULT_LIMITS


def test_ceilings_are_given_by_name_and_stay() -> None:
    assert Limits(max_streams=3).max_streams == 3
    with pytest.raises(TypeError):
        Limits(3)  # type: ignore[call-arg]  # that it is refused is the test
    with pytest.raises(FrozenInstanceError):
        DEFAULT_LIMITS.max_streams = 3  # type: ignore[misc]  # that it is refused is the test


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("max_aspect", "max_error_share")]
)
def test_names_say_their_unit(name: str) -> None:
    units = ("_s", "_px", "_pixels", "_bytes", "_streams", "_packets", "_frames", "_in_a_row")
    assert name.endswith(units)
