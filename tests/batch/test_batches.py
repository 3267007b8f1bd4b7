"""Jobs whose model answers several clips at once: the records are those of single runs."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seedvideo.batch.execution import DEFAULT_ENTRYPOINTS, Entrypoints
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import JournalEntry
from seedvideo.batch.progress import Progress, get_status
from seedvideo.batch.scheduler import Runner
from seedvideo.config import SamplingConfig
from seedvideo.errors import BatchError
from seedvideo.model import load_costs
from seedvideo.model.backends.base import TokenCosts
from seedvideo.model_options import GenerationOptions, ModelOptions
from tests.batch.batch_doubles import ENTRYPOINTS, batch_sizes, load
from tests.batch.command import ROOT, below, events, have_exited
from tests.batch.jobs import Make, outcomes
from tests.tiers import slow


def run(
    folder: Path,
    items: list[Item],
    job: Job,
    prices: TokenCosts,
    *,
    entrypoints: Entrypoints = ENTRYPOINTS,
) -> dict[str, JournalEntry]:
    """Run a job to its end; the entries by id."""
    with Journal.open(folder, write=True) as journal:
        journal.plan(items, job, prices.sha256)
        assert Runner(journal, job, prices, progress=Progress(), entrypoints=entrypoints).run()
        return {entry.item.id: entry for entry in journal.entries()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


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


@slow
@pytest.mark.parametrize(
    "task",
    [
        {"task": "caption"},
        {"task": "caption", "prompt": "What is it?"},
        {"task": "dense"},
        {"task": "ask", "question": "Which colour is it?"},
        {"task": "ask", "question": "Which colour is it?", "options": ("red", "blue")},
        {"task": "ground", "query": "a red car"},
    ],
    ids=lambda task: "-".join(task),
)
def test_an_open_weight_model_answers_a_batch_as_it_answers_single_clips(
    tmp_path: Path, made: Make, qwen: Path, task: dict[str, Any]
) -> None:
    items = made("a-red", "b-two", "c-black", "d-two", "e-green")
    job = Job(
        model=str(qwen),
        model_options=FLOAT32,
        generation=SHORT,
        sampling=SamplingConfig(budget_tokens=256),
        **task,
    )
    prices = load_costs(str(qwen), FLOAT32)
    entries = [
        run(tmp_path / str(size), items, replace(job, batch_size=size), prices, entrypoints=real)
        for size, real in ((1, DEFAULT_ENTRYPOINTS), (3, DEFAULT_ENTRYPOINTS))
    ]
    assert outcomes(entries[0]) == outcomes(entries[1])
    messages = [[entry.message for entry in each.values()] for each in entries]
    assert messages[0] == messages[1]


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
