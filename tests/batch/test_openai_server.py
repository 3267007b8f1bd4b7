"""A job over a server that speaks the chat interface, with the shipped client."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from seedvideo.batch.progress import get_status
from tests.batch.command import ROOT
from tests.batch.jobs import Make
from tests.batch.test_batches import entries_of
from tests.model.bad_server import answer, serving, status
from tests.tiers import slow

pytest.importorskip("openai")


class Busy:
    """An answer that takes its time, and the number of those under way at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, handler: object) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.4)
        # Before the answer: the next request may follow at once.
        with self.lock:
            self.now -= 1
        answer("A red field.")(handler)  # type: ignore[arg-type]  # the handler is private


def run(folder: Path, url: str, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [
        *(sys.executable, "-m", "seedvideo", "batch", "run", str(folder / "*.mp4")),
        *("--model", f"vllm:{url}#tiny", "--geometry", "qwen3-vl", "-o", str(folder / "out")),
        *words,
    ]
    environment = {**os.environ, "VLLM_API_KEY": "secret-of-the-test"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@slow
def test_requests_of_a_job_overlap_and_a_resumed_job_sends_none(tmp_path: Path, made: Make) -> None:
    made(*(f"{number}-red" for number in range(6)))
    busy = Busy()
    with serving(busy) as server:
        first = run(tmp_path, server.base_url, "--concurrency", "3")
        assert first.returncode == 0, first.stderr
        assert len(server.chats) == 6
        again = run(tmp_path, server.base_url, "--concurrency", "2")
        assert again.returncode == 0, again.stderr
        assert len(server.chats) == 6
    assert 2 <= busy.most <= 3
    assert {entry.state for entry in entries_of(tmp_path / "out").values()} == {"done"}


def test_a_wrong_key_ends_the_job_early(tmp_path: Path, made: Make) -> None:
    made(*(f"{number:02}-red" for number in range(16)))
    with serving(status(401, "wrong key")) as server:
        done = run(tmp_path, server.base_url)
    assert done.returncode == 3, done.stderr
    assert "secret-of-the-test" not in done.stderr
    assert "run the same command to resume" in done.stderr
    assert len(server.chats) <= 8
    assert get_status(tmp_path / "out").counts.pending == 16
