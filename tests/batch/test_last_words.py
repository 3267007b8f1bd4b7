"""Processes that cannot start, or exit while idle, end the job with the reason."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from seedvideo.batch import processes, scheduler
from seedvideo.batch.journal import Journal
from seedvideo.errors import DecodeError, ModelError
from seedvideo.model.backends.base import TokenCosts
from seedvideo.utils.ipc import ChildProcess
from tests.batch.jobs import Make, run
from tests.batch.stage_doubles import ENTRYPOINTS
from tests.synthetic_clips import ColourModel
from tests.tiers import slow


def test_a_process_that_cannot_start_reports_the_reason() -> None:
    process = ChildProcess("seedvideo.batch.no_such_module", {})
    assert process.kill(has_exited=True) == "ended with status 1"
    assert process.stderr_tail == (
        "ModuleNotFoundError: No module named 'seedvideo.batch.no_such_module'"
    )


def test_descriptors_are_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        ChildProcess("seedvideo.batch.no_such_module", {}).kill()
    assert len(os.listdir("/proc/self/fd")) == before


def die(name: str, options: object = None) -> TokenCosts:
    """Token costs of a model: no process lives to know them."""
    os.write(2, b"no room for a process\n")
    os._exit(7)


def sleep(name: str, options: object = None) -> ColourModel:
    """A model on a disk that does not answer."""
    time.sleep(3600)
    return ColourModel()


@slow
def test_decode_processes_that_keep_exiting_end_the_job(tmp_path: Path, made: Make) -> None:
    entrypoints = replace(ENTRYPOINTS, prices=f"{__name__}:die")
    with pytest.raises(
        DecodeError, match="exiting without work: the last one ended with status 7: no room for a"
    ):
        run(tmp_path / "out", made("a-red"), entrypoints=entrypoints)
    with Journal.open(tmp_path / "out", write=False) as journal:
        # The clip is not blamed: it was never started.
        assert (journal.counts().pending, journal.counts().failed) == (1, 0)


def test_a_model_that_does_not_load_is_not_waited_for(
    tmp_path: Path, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    entrypoints = replace(ENTRYPOINTS, load=f"{__name__}:sleep")
    for module in (processes, scheduler):
        monkeypatch.setattr(module, "MODEL_START_TIMEOUT_S", 2.0)
    with pytest.raises(ModelError, match="had not loaded the model after 2 s") as raised:
        run(tmp_path / "out", made("a-red"), entrypoints=entrypoints)
    assert raised.value.code == "model.timeout"
    with Journal.open(tmp_path / "out", write=False) as journal:
        assert (journal.counts().done, journal.counts().failed) == (0, 0)
