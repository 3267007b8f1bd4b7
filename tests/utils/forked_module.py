"""A module for a fork server: a child reads a command from its descriptor, or exits at once."""

import os
import sys


def preload() -> None:
    """Import nothing."""


def main(*descriptors: int) -> None:
    """Wait for one word, and exit in the way that it names."""
    if not descriptors:
        return
    word = os.read(descriptors[0], 16)
    if word == b"exit":
        sys.exit(7)
    if word == b"raise":
        raise ZeroDivisionError
    if word == b"abort":
        os.abort()
