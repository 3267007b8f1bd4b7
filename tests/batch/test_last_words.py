"""A process that dies before it is ready leaves its last line of stderr behind."""

import os

from seedvideo.batch.process import Process


def test_a_process_that_cannot_start_says_why() -> None:
    process = Process("seedvideo.batch.no_such_module", {})
    assert process.kill(is_gone=True) == "ended with status 1"
    assert process.last_words == (
        "ModuleNotFoundError: No module named 'seedvideo.batch.no_such_module'"
    )


def test_descriptors_are_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        Process("seedvideo.batch.no_such_module", {}).kill()
    assert len(os.listdir("/proc/self/fd")) == before
