"""A job through real processes: verdicts, deaths, order, and what stays the same."""

import os
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Filters
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_merge import merge
from seedvideo.batch.progress import Progress
from seedvideo.batch.scheduler import Runner
from seedvideo.errors import ModelError, OutputError
from tests.batch.jobs import JOB, Make, outcomes, record_of, run
from tests.batch.stage_doubles import ENTRYPOINTS, load
from tests.resource_checks import held
from tests.tiers import exhaustive, slow


def test_every_clip_has_its_caption(tmp_path: Path, made: Make) -> None:
    before = held()
    entries = run(tmp_path / "out", made("a-red", "b-two", "c-black"))
    assert [entry.state for entry in entries.values()] == ["done"] * 3
    records = [record_of(entry) for entry in entries.values()]
    assert [record and record.text for record in records] == ["Red.", "Red then blue.", "Black."]
    assert all((entry.sheet or b"").startswith(b"\xff\xd8\xff") for entry in entries.values())
    assert held() == before


@slow
def test_records_do_not_depend_on_workers_or_order(tmp_path: Path, made: Make) -> None:
    items = made("a-red", "b-two", "c-black", "d-green", "e-red", "f-blue")
    job = replace(JOB, filters=Filters(duplicates=True))
    one = outcomes(run(tmp_path / "one", items, job))
    two = outcomes(run(tmp_path / "two", items, replace(job, workers=2)))
    assert one == two
    assert one["e-red"][0:3] == ("filtered", None, "near_duplicates")
    turned = outcomes(run(tmp_path / "turned", items[::-1], replace(job, workers=2)))
    assert turned["a-red"][0:3] == ("filtered", None, "near_duplicates")
    assert {n: v for n, v in turned.items() if n[0] in "bcdf"} == {
        n: v for n, v in one.items() if n[0] in "bcdf"
    }


def test_harmful_clips_get_a_verdict_and_the_others_continue(tmp_path: Path, made: Make) -> None:
    items = made(
        "a-red", "poison-red", "once-blue", "bug-red", "written-red", "modeldeath-red",
        "modelmemory-red", "z-green",
    )  # fmt: skip
    text = tmp_path / "text.mp4"
    text.write_text("no video\n")
    gone = Item(id="gone", source=str(tmp_path / "gone.mp4"))
    entries = run(tmp_path / "out", [*items, Item(id="text", source=str(text)), gone])
    verdicts = {name: (e.state, e.code, e.tries) for name, e in entries.items()}
    assert verdicts == {
        "a-red": ("done", None, 1),
        "poison-red": ("quarantined", "decode.crashed", 2),
        "once-blue": ("done", None, 2),
        "bug-red": ("failed", "internal.error", 1),
        "written-red": ("failed", "input.changed", 2),
        "modeldeath-red": ("quarantined", "model.crashed", 2),
        "modelmemory-red": ("failed", "model.out_of_memory", 1),
        "z-green": ("done", None, 1),
        "text": ("failed", "media.not_video", 1),
        "gone": ("failed", "input.not_found", 1),
    }
    assert "signal 9" in str(entries["poison-red"].message)


@slow
def test_a_hanging_clip_is_stopped(tmp_path: Path, made: Make) -> None:
    before = held()
    items = made("a-red", "hang-red", "modelhang-red", "z-green")
    entries = run(tmp_path / "out", items, replace(JOB, timeout_s=4))
    verdicts = {name: (e.state, e.code, e.tries, e.retryable) for name, e in entries.items()}
    assert verdicts == {
        "a-red": ("done", None, 1, None),
        "hang-red": ("failed", "decode.timeout", 2, True),
        "modelhang-red": ("failed", "model.timeout", 2, True),
        "z-green": ("done", None, 1, None),
    }
    assert held() == before


def test_memory_is_bounded(tmp_path: Path, made: Make) -> None:
    entries = run(tmp_path / "out", made("huge-red", "a-red"), replace(JOB, memory_gib=8))
    assert entries["huge-red"].code == "decode.out_of_memory"
    assert (entries["huge-red"].state, entries["a-red"].state) == ("failed", "done")


def test_a_blank_answer_is_a_failure(tmp_path: Path, made: Make) -> None:
    entries = run(tmp_path / "out", made("a-red"), replace(JOB, model="blank"))
    assert (entries["a-red"].state, entries["a-red"].code) == ("failed", "model.empty_answer")


@pytest.mark.parametrize(
    ("own", "text"),
    [
        ({}, "It keeps 1073741824 bytes."),
        pytest.param({"MALLOC_TRIM_THRESHOLD_": "5"}, "It keeps 5 bytes.", marks=exhaustive),
        pytest.param(
            {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}, "It keeps None bytes.", marks=exhaustive
        ),
    ],
)
def test_the_model_keeps_its_memory_unless_configured_otherwise(
    own: dict[str, str], text: str, tmp_path: Path, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    entries = run(tmp_path / "out", made("a-red"), replace(JOB, model="allocator"))
    record = record_of(entries["a-red"])
    assert record is not None
    assert record.text == text


@pytest.mark.parametrize(("own", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_of_the_model_sleep_unless_configured_otherwise(
    own: str | None, used: str, tmp_path: Path, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", own)
    record = record_of(run(tmp_path / "out", made("a-red"), replace(JOB, model="threads"))["a-red"])
    assert record is not None
    assert record.text == f"Waiting threads are {used}."


def test_a_model_that_cannot_be_loaded_ends_the_job(tmp_path: Path, made: Make) -> None:
    entrypoints = replace(ENTRYPOINTS, load="seedvideo.model:load")
    with pytest.raises(ModelError) as caught:
        run(tmp_path / "out", made("a-red"), entrypoints=entrypoints)
    assert caught.value.code == "model.unknown"
    with Journal.open(tmp_path / "out", write=True) as journal:
        assert journal.counts().pending == 1


@pytest.mark.parametrize(
    ("rules", "left_out"),
    [
        (Filters(min_duration_s=2), ("a-red", "b-black")),
        pytest.param(Filters(max_duration_s=2), ("c-two",), marks=exhaustive),
        pytest.param(Filters(min_side_px=97), ("a-red", "b-black", "c-two"), marks=exhaustive),
        pytest.param(Filters(min_side_px=96), (), marks=exhaustive),
        (Filters(black=True), ("b-black",)),
        (Filters(frozen=True), ("a-red", "b-black")),
    ],
    ids=repr,
)
def test_filters(tmp_path: Path, made: Make, rules: Filters, left_out: tuple[str, ...]) -> None:
    entries = run(tmp_path / "out", made("a-red", "b-black", "c-two"), replace(JOB, filters=rules))
    assert {name for name, e in entries.items() if e.state == "filtered"} == set(left_out)
    assert {e.state for e in entries.values()} <= {"filtered", "done"}


@slow
def test_duplicates_are_found_after_a_resume(tmp_path: Path, made: Make) -> None:
    items = made("a-red", "b-blue", "c-red")
    job = replace(JOB, filters=Filters(duplicates=True))
    run(tmp_path / "out", items[:2], job)
    entries = run(tmp_path / "out", items, job)
    assert [e.rule for e in entries.values()] == [None, None, "near_duplicates"]
    assert entries["c-red"].message == "differs from a-red by 0.00 grey levels on average"
    assert [e.tries for e in entries.values()] == [1, 1, 1]


def test_the_same_bytes_are_left_out_unopened(tmp_path: Path, made: Make) -> None:
    first, near = made("a-red", "e-red")
    copy = Item(id="b", source=str(tmp_path / "poison.mp4"))
    shutil.copy(first.source, copy.source)  # who opened it would die
    again, part = replace(first, id="c"), replace(first, id="d", end_s=Fraction(1, 2))
    items = [first, copy, again, part, near]
    exact = replace(JOB, filters=Filters(exact_duplicates=True))
    entries = run(tmp_path / "out", items, exact)
    assert [e.rule for e in entries.values()] == [
        None, "exact_duplicates", "exact_duplicates", None, None,
    ]  # fmt: skip
    assert entries["b"].message == entries["c"].message == "the same bytes as a-red"
    both = replace(JOB, filters=Filters(duplicates=True))
    entries = run(tmp_path / "out", items, both)
    assert [e.rule for e in entries.values()] == [
        None, "exact_duplicates", "exact_duplicates", None, "near_duplicates",
    ]  # fmt: skip
    assert [e.state for e in entries.values()].count("done") == 2


@exhaustive
def test_duplicates_are_found_after_a_merge(tmp_path: Path, made: Make) -> None:
    items = made("a-red", "b-blue", "c-red")
    job = replace(JOB, filters=Filters(duplicates=True))
    run(tmp_path / "part", items[:2], job)
    merge([tmp_path / "part"], tmp_path / "whole")
    entries = run(tmp_path / "whole", items, job)
    assert [e.rule for e in entries.values()] == [None, None, "near_duplicates"]
    # The first two kept their verdicts.
    assert [e.tries for e in entries.values()] == [1, 1, 1]
    with Journal.open(tmp_path / "whole", write=True) as journal, journal.transaction() as tables:
        tables.execute("DELETE FROM signatures WHERE id = ?", (b"a-red",))
    # A clip without a signature is inspected again, and then compared as before.
    counts = merge([tmp_path / "whole"], tmp_path / "again").counts
    assert (counts.done, counts.filtered, counts.pending) == (1, 1, 1)
    again = run(tmp_path / "again", items, job)
    assert outcomes(again) == outcomes(entries)


def test_a_stored_record_is_reused(tmp_path: Path, made: Make) -> None:
    (item,) = made("a-red")
    copy = Item(id="copy", source=str(tmp_path / "copy.mp4"))
    shutil.copy(item.source, copy.source)
    entrypoints = replace(ENTRYPOINTS, prepare="seedvideo.batch.execution:prepare_item")
    first = run(tmp_path / "out", [item], entrypoints=entrypoints)
    # A second inspection of the same bytes would call a function that fails.
    entrypoints = replace(entrypoints, prepare="tests.batch.stage_doubles:load")
    both = run(tmp_path / "out", [item, copy], entrypoints=entrypoints)
    assert [e.state for e in both.values()] == ["done", "done"]
    text, other = record_of(first["a-red"]), record_of(both["copy"])
    assert text is not None
    assert other is not None
    assert (other.text, other.source) == (text.text, copy.source)


def test_an_output_that_is_removed_ends_the_job(tmp_path: Path, made: Make) -> None:
    folder = tmp_path / "out"
    prices = load("colours")
    with Journal.open(folder, write=True) as journal:
        journal.plan(made("a-red"), JOB, prices.sha256)
        os.rename(folder, tmp_path / "away")
        with pytest.raises(OutputError) as caught:
            Runner(journal, JOB, prices, progress=Progress(), entrypoints=ENTRYPOINTS).run()
    assert caught.value.code == "output.unwritable"
