"""The two tiers of the tests: `make test` runs the quick one, `make test-all` everything.

Plain `pytest` runs whatever its arguments name, in full. The quick tier leaves out tests marked
``exhaustive`` (further combinations of what other tests cover) and ``slow`` (training, long videos,
thousands of rows), and draws fewer examples: the Makefile selects it by ``-m`` and by hypothesis'
profile `QUICK`.
"""

from collections.abc import Container, Iterable
from typing import Any, Final

import pytest
from hypothesis import settings

QUICK: Final = "quick"
"""Name of the profile that the quick tier runs with."""

_SHARE: Final = 20
_MIN_EXAMPLES: Final = 15

exhaustive: Final = pytest.mark.exhaustive
slow: Final = pytest.mark.slow


def by_tier(full: int, *, quick: int) -> int:
    """Return how often something is done: in full, or in the quick tier."""
    return quick if settings.get_current_profile_name() == QUICK else full


def examples(count: int) -> settings:
    """Return the settings of a property: so many examples, a part of them in the quick tier."""
    fewer = min(count, max(_MIN_EXAMPLES, count // _SHARE))
    return settings(max_examples=by_tier(count, quick=fewer), deadline=None)


def quick_first(values: Iterable[Any], count: int = 1) -> list[Any]:
    """Return parameters of a test of which only the first ``count`` are of the quick tier."""
    return [
        value if place < count else pytest.param(value, marks=exhaustive)
        for place, value in enumerate(values)
    ]


def quick_among(values: Iterable[Any], chosen: Container[Any]) -> list[Any]:
    """Return parameters of a test of which only the chosen ones are of the quick tier."""
    return [value if value in chosen else pytest.param(value, marks=exhaustive) for value in values]
