"""A module that a fork server must not serve: it starts a thread."""

import threading
import time


def preload() -> None:
    """Start a thread."""
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


def main(*descriptors: int) -> None:
    """Do nothing."""
