"""Clips for the tests of this folder."""

from tests.fixtures import clips

__all__ = ["clips"]
