"""A module for a fork server: a child does what its descriptor says, or ends at once."""

import os
import sys


def preload() -> None:
    """Import nothing."""


def main(*descriptors: int) -> None:
    """Read one word, and end in that way; wait while there is none."""
    if not descriptors:
        return
    word = os.read(descriptors[0], 16)
    if word == b"exit":
        sys.exit(7)
    if word == b"raise":
        raise ZeroDivisionError
    if word == b"abort":
        os.abort()
