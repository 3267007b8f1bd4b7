"""Jobs whose model answers several clips at once: the records are those of single runs."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from seedvideo.batch.execution import PreparedItem, prepare_item, run_item
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import JournalEntry
from seedvideo.batch.progress import Progress, get_status
from seedvideo.batch.scheduler import Runner
from seedvideo.config import SamplingConfig
from seedvideo.errors import BatchError, SeedVideoError
from seedvideo.inference import ModelInput
from seedvideo.model import load as load_model
from seedvideo.model.backends.base import Backend, SupportsBatches, TokenCosts
from seedvideo.model.batching import BatchingBackend
from seedvideo.model_options import GenerationOptions, ModelOptions
from seedvideo.records import Record
from tests.batch.batch_doubles import ENTRYPOINTS, batch_sizes, load
from tests.batch.command import ROOT, below, events, have_exited
from tests.batch.jobs import Make, outcomes
from tests.tiers import slow


def run(
    folder: Path,
    items: list[Item],
    job: Job,
    prices: TokenCosts,
) -> dict[str, JournalEntry]:
    """Run a job to its end; the entries by id."""
    with Journal.open(folder, write=True) as journal:
        journal.plan(items, job, prices.sha256)
        assert Runner(journal, job, prices, progress=Progress(), entrypoints=ENTRYPOINTS).run()
        return {entry.item.id: entry for entry in journal.entries()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


@slow
def test_batches_form_while_the_model_works(tmp_path: Path, made: Make, model: Path) -> None:
    items = made(*(f"{number}-{'red' if number % 2 else 'blue'}" for number in range(10)))
    job = Job(model=str(model), timeout_s=60)
    single = run(tmp_path / "single", items, job, load(str(model)))
    assert batch_sizes(model) == [1] * 10
    (model / "batches").unlink()
    batched = run(tmp_path / "out", items, replace(job, batch_size=3), load(str(model)))
    assert outcomes(batched) == outcomes(single)
    sizes = batch_sizes(model)
    assert sum(sizes) == 10
    assert max(sizes) == 3
    assert len(sizes) <= 6
    assert get_status(tmp_path / "out").asked_again == 0


@slow
def test_harmful_clips_in_a_batch_do_not_harm_the_others(
    tmp_path: Path, made: Make, model: Path
) -> None:
    items = made(
        "a-red", "death-red", "b-blue", "differs-red", "c-green", "hang-red", "d-white"
    )  # fmt: skip
    job = Job(model=str(model), timeout_s=2.5, batch_size=4)
    entries = run(tmp_path / "out", items, job, load(str(model)))
    verdicts = {name: (e.state, e.code, e.tries) for name, e in entries.items()}
    assert verdicts == {
        "a-red": ("done", None, 1),
        "death-red": ("quarantined", "model.crashed", 2),
        "b-blue": ("done", None, 1),
        "differs-red": ("failed", "model.tokens_differ", 1),
        "c-green": ("done", None, 1),
        "hang-red": ("failed", "model.timeout", 2),
        "d-white": ("done", None, 1),
    }
    assert max(batch_sizes(model)) > 1


SHORT = GenerationOptions(max_new_tokens=6)
FLOAT32 = ModelOptions(dtype="float32")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    from tests.model.tiny_checkpoints import make_qwen3_vl

    return make_qwen3_vl(tmp_path_factory.mktemp("models") / "tiny-qwen3-vl")


TASKS: dict[str, dict[str, Any]] = {
    "caption": {"task": "caption"},
    "prompt": {"task": "caption", "prompt": "What is it?"},
    "dense": {"task": "dense"},
    "open question": {"task": "ask", "question": "Which colour is it?"},
    "options": {"task": "ask", "question": "Which colour?", "options": ("red", "blue")},
    "ground": {"task": "ground", "query": "a red car"},
}


@pytest.mark.parametrize("name", TASKS)
def test_an_open_weight_model_answers_a_batch_as_it_answers_single_clips(
    made: Make, qwen: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(
        generation=SHORT, sampling=SamplingConfig(budget_tokens=1024), sheets=False, **TASKS[name]
    )
    model = load_model(str(qwen), FLOAT32)
    assert isinstance(model, SupportsBatches)
    calls, sizes = [], []
    backend = BatchingBackend(model)
    for item in made("a-red", "b-two", "c-black", "d-two", "e-green"):
        prepared = prepare_item(job, item, model)
        assert isinstance(prepared, PreparedItem)
        calls.append(partial(outcome_of, job, item, prepared.prepared))
    single = [call(model) for call in calls]
    answer = model.generate_batch

    def count(prompts: Any, **settings: Any) -> Any:
        sizes.append(len(prompts))
        return answer(prompts, **settings)

    monkeypatch.setattr(model, "generate_batch", count)
    assert backend.run_together([partial(call, backend) for call in calls]) == single
    assert sizes == {"dense": [5, 2, 2], "options": []}.get(name, [5])
    if name != "ground":  # random weights write no times
        assert not any(isinstance(each, str) for each in single)


def outcome_of(job: Job, item: Item, prepared: ModelInput, model: Backend) -> Record | str:
    """The record without its timing, or the error in words."""
    try:
        return run_item(job, item, prepared, model).model_copy(update={"timing_s": {}})
    except SeedVideoError as error:
        return f"{error.code}: {error.message}"


@slow
@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_killed_job_of_an_open_weight_model_resumes_exactly(
    tmp_path: Path, made: Make, qwen: Path, batch_size: int
) -> None:
    made("a-red", "b-two", "c-black", "d-two", "e-green", "f-blue")
    words = [
        tmp_path / "*.mp4", "--model", qwen, "--dtype", "float32", "--budget", "256",
        "--max-new-tokens", "6", "--batch-size", str(batch_size), "--json-events", "-o",
    ]  # fmt: skip

    def start(folder: Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "seedvideo", "batch", "run", *words, folder]
        return subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stderr=subprocess.PIPE, text=True
        )

    with start(tmp_path / "whole") as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    done: list[str] = []
    for kill in (1, 3):
        process = start(tmp_path / "out")
        until_s = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until_s:
            if count_done(tmp_path / "out") >= kill:
                break
            time.sleep(0.01)
        children = below(process.pid)
        process.kill()
        done += done_in(process.communicate(timeout=60)[1])
        assert have_exited(children)
    with start(tmp_path / "out") as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    done += done_in(err)
    # Nothing that was reported done was done again.
    assert len(done) == len(set(done))
    whole, out = (entries_of(tmp_path / name) for name in ("whole", "out"))
    assert outcomes(whole) == outcomes(out)
    assert get_status(tmp_path / "out").asked_again == 0


def count_done(folder: Path) -> int:
    try:
        return get_status(folder).counts.done
    except BatchError:  # The journal is not there yet.
        return 0


def done_in(err: str) -> list[str]:
    return [each["id"] for each in events(err) if each.get("state") == "done"]


def entries_of(folder: Path) -> dict[str, JournalEntry]:
    with Journal.open(folder, write=False) as journal:
        return {entry.item.id: entry for entry in journal.entries()}


def test_the_size_of_batches_is_kept_with_the_job(tmp_path: Path) -> None:
    job = Job(batch_size=4, concurrency=7)
    assert Job.from_json(job.to_json()) == job
    plain = json.loads(Job().to_json())
    assert "batch_size" not in plain
    assert "concurrency" not in plain
