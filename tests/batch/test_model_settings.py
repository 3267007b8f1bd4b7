"""Options of the model and the writing: which of them process a clip again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seedvideo.batch.execution import get_prompt
from seedvideo.batch.fingerprint import VerdictKeys, result_key
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.progress import Progress
from seedvideo.batch.scheduler import Runner
from seedvideo.model_options import GenerationOptions, ModelOptions
from tests.batch.jobs import Make
from tests.batch.server_doubles import ENTRYPOINTS, Log, load, server_job
from tests.tiers import slow

CHANGES_RESULTS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "What is it?"},
    "system": {"generation": GenerationOptions(system="Be brief.")},
    "temperature": {"generation": GenerationOptions(temperature=0.5)},
    "max_new_tokens": {"generation": GenerationOptions(max_new_tokens=64)},
    "dtype": {"model_options": ModelOptions(dtype="float32")},
    "quantize": {"model_options": ModelOptions(quantize="4bit")},
    "revision": {"model_options": ModelOptions(revision="main")},
    "pairs": {"model_options": ModelOptions(pairs=True)},
    "as_video": {"model_options": ModelOptions(as_video=True)},
    "geometry": {"model_options": ModelOptions(geometry="qwen3-vl")},
}

CHANGES_NOTHING: dict[str, dict[str, Any]] = {
    "device": {"model_options": ModelOptions(device="cpu")},
    "attention": {"model_options": ModelOptions(attention="eager")},
    "offline": {"model_options": ModelOptions(offline=True)},
    "batch_size": {"batch_size": 8},
    "concurrency": {"concurrency": 8},
    "workers": {"workers": 2},
}

ITEM = Item(id="a", source="a.mp4")


def keys(job: Job) -> tuple[str, str]:
    """What tells results and verdicts of a job apart from those of others."""
    prompt = get_prompt(job, ITEM)
    return (
        result_key("c0" * 32, ITEM, job.settings(), model_sha256="m", prompt=prompt),
        VerdictKeys(job.settings(), model_sha256="m").key_for(ITEM),
    )


@pytest.mark.parametrize("name", CHANGES_RESULTS)
def test_what_changes_a_result_changes_its_keys(name: str) -> None:
    before, after = keys(Job()), keys(replace(Job(), **CHANGES_RESULTS[name]))
    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize("name", CHANGES_NOTHING)
def test_what_changes_no_result_changes_no_key(name: str) -> None:
    assert keys(Job()) == keys(replace(Job(), **CHANGES_NOTHING[name]))


@slow
def test_a_resumed_job_asks_again_only_if_results_may_change(tmp_path: Path, made: Make) -> None:
    server = tmp_path / "server"
    server.mkdir()
    items = made("a-red", "b-blue")

    def run(**changes: Any) -> int:
        """The number of requests."""
        before = sum(Log(server).asked.values())
        job = server_job(server, **changes)
        prices = load(job.model)
        with Journal.open(tmp_path / "out", write=True) as journal:
            journal.plan(items, job, prices.sha256)
            runner = Runner(journal, job, prices, progress=Progress(), entrypoints=ENTRYPOINTS)
            assert runner.run()
        return sum(Log(server).asked.values()) - before

    assert run() == 2
    assert run(concurrency=1, workers=2) == 0
    assert run(model_options=ModelOptions(offline=True, device="cpu", attention="eager")) == 0
    assert run(generation=GenerationOptions(system="Be brief.")) == 2
    assert run(prompt="What is it?") == 2
    # The records of before are still there.
    assert run() == 0
