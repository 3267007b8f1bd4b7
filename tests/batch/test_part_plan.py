"""The plan of a job of parts: whole, in order, frozen, and the same bytes each time."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Filters, Job
from seedvideo.batch.part_plan import PlanSource, write_job
from seedvideo.batch.parts import (
    JOB_NAME,
    PartedJob,
    plan_digest,
    read_job,
    read_part_sets,
    read_plan,
    read_reusable,
)
from seedvideo.errors import BatchError
from tests.object_server import MemoryStore

MODEL = "0" * 64
JOB = Job(folder="/", model="colours")


def rows(*sources: str) -> Iterator[Item]:
    for number, source in enumerate(sources):
        yield Item(id=f"c{number}", source=source, start_s=Fraction(number), end_s=None)


def planned(store: MemoryStore, job: PartedJob) -> list[list[tuple[int, str]]]:
    """Positions and sources of each part."""
    found = []
    for number in job.parts.numbers():
        part = read_plan(store, job.parts, number)
        found.append([(at, row.source if isinstance(row, Item) else row.where) for at, row in part])
    return found


def test_a_source_lies_in_one_part_in_the_order_of_the_inputs() -> None:
    store = MemoryStore()
    job = write_job(store, rows("b", "a", "b", "c", "a", "d"), JOB, MODEL, part_clips=3)
    assert planned(store, job) == [
        [(0, "b"), (2, "b")],
        [(1, "a"), (4, "a"), (3, "c")],
        [(5, "d")],
    ]
    assert job.parts.clips == 6
    assert plan_digest(store, job.parts) == job.parts.plan_sha256


def test_a_source_with_more_clips_than_a_part_stays_together() -> None:
    store = MemoryStore()
    job = write_job(store, rows("x", *["film"] * 5, "y"), JOB, MODEL, part_clips=2)
    assert [len(part) for part in planned(store, job)] == [1, 5, 1]


def test_parts_are_ten_minutes_of_work() -> None:
    store = MemoryStore()
    job = write_job(store, rows(*map(str, range(10))), JOB, MODEL, clip_s=150)
    assert [len(part) for part in planned(store, job)] == [4, 4, 2]


def test_rows_come_back_as_they_were() -> None:
    items: list[Item | BadRow] = [
        Item(id="a\udcff", source="v/\udcff.mp4", question="was?", options=("j", "n")),
        BadRow(
            id="l:2", where="l line 2", code="batch.row_invalid", message="no", extra='{"a": 1}'
        ),
        Item(id="b", source="b", extra='{"label": 3}', origin="list line 3", end_s=Fraction(5, 3)),
    ]
    store = MemoryStore()
    job = write_job(store, items, JOB, MODEL)
    found = [row for _, row in read_plan(store, job.parts, 1)]
    assert found == items
    assert [getattr(row, "origin", "") for row in found] == ["", "", "list line 3"]
    assert read_job(store) == job


def test_the_settings_are_written_last_and_the_same_call_completes_a_plan() -> None:
    whole, cut = MemoryStore(), MemoryStore()
    job = write_job(whole, rows("a", "b", "c"), JOB, MODEL, part_clips=1)
    written = [name for call, name in whole.calls if call == "put_if_absent"]
    assert written[-1] == JOB_NAME
    # A process that died half way: the same call goes on.
    cut.objects = {job.parts.plan_name(2): whole.objects[job.parts.plan_name(2)]}
    with pytest.raises(BatchError) as caught:
        read_job(cut)
    assert caught.value.code == "batch.no_plan"
    again = write_job(cut, rows("a", "b", "c"), JOB, MODEL, part_clips=1)
    assert again.id == job.id and again.key != job.key
    del cut.objects[JOB_NAME], whole.objects[JOB_NAME]
    assert cut.objects == whole.objects
    cut.put(JOB_NAME, again.to_json())
    assert again == write_job(cut, rows("a", "b", "c"), JOB, MODEL, part_clips=1)


@pytest.mark.parametrize(
    ("sources", "job"),
    [("abx", JOB), ("abc", replace(JOB, prompt="other")), ("ab", JOB),
     ("abc", replace(JOB, folder="/elsewhere"))],
)  # fmt: skip
def test_another_plan_is_refused(sources: str, job: Job) -> None:
    store = MemoryStore()
    write_job(store, rows(*"abc"), JOB, MODEL, part_clips=1)
    before = dict(store.objects)
    with pytest.raises(BatchError) as caught:
        write_job(store, rows(*sources), job, MODEL, part_clips=1)
    assert caught.value.code == "batch.plan_exists"
    assert store.objects == before


def test_a_damaged_plan_is_an_error() -> None:
    store = MemoryStore()
    job = write_job(store, rows("a", "b"), JOB, MODEL, part_clips=1)
    whole = store.objects[job.parts.plan_name(1)]
    del store.objects[job.parts.plan_name(2)]
    with pytest.raises(BatchError, match="missing"):
        read_plan(store, job.parts, 2)
    # No gzip, cut off, other bytes in the middle, other JSON.
    damaged = (b"torn", whole[:-9], whole[:20] + b"\xff\0\xff" + whole[23:], gzip.compress(b"[1]"))
    for data in damaged:
        store.objects[job.parts.plan_name(1)] = store.objects[job.parts.reuse_name(1)] = data
        for read in (read_plan, read_reusable):
            with pytest.raises(BatchError) as caught:
                read(store, job.parts, 1)
            assert caught.value.code == "batch.plan_damaged"
    store.objects["retries/001/job.json"] = b"{"
    with pytest.raises(BatchError) as caught:
        read_part_sets(store, job)
    assert caught.value.code == "batch.plan_damaged"


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"format": 99}, "batch.version_differs"), ({"parts": "many"}, "batch.plan_damaged"),
     ({"job": {"task": "sing"}}, "batch.plan_damaged")],
)  # fmt: skip
def test_a_job_that_cannot_be_read(changes: dict[str, Any], code: str) -> None:
    store = MemoryStore()
    write_job(store, rows("a"), JOB, MODEL)
    values = json.loads(store.objects[JOB_NAME])
    store.objects[JOB_NAME] = json.dumps(values | changes).encode()
    with pytest.raises(BatchError) as caught:
        read_job(store)
    assert caught.value.code == code
    # Without its settings no result can be used again.
    assert ("--from" in caught.value.hint) == (code == "batch.version_differs")


def test_only_records_under_the_same_settings_are_used_again() -> None:
    old = MemoryStore()
    earlier = write_job(old, rows("a", "b"), JOB, MODEL)
    records = [(item, f"f-{item.id}", '{"caption": 1}') for item in rows("a", "b")]

    def reused(job: Job, *items: Item) -> list[tuple[str, str]]:
        store = MemoryStore()
        source = PlanSource(job=earlier, records=iter(records))
        made = write_job(store, items, job, MODEL, earlier=source)
        return read_reusable(store, made.parts, 1)

    first, second = rows("a", "b")
    other_window = replace(second, end_s=Fraction(9))
    record = '{"caption": 1}'
    assert reused(JOB, first, second) == [("f-c0", record), ("f-c1", record)]
    # Filters decide whether there is a record, not what is in it.
    assert reused(replace(JOB, filters=Filters(black=True)), first) == [("f-c0", record)]
    assert reused(JOB, first, other_window) == [("f-c0", record)]
    assert reused(replace(JOB, prompt="other"), first, second) == []


def test_a_plan_is_completed_though_the_earlier_job_went_on() -> None:
    old, store = MemoryStore(), MemoryStore()
    earlier = write_job(old, rows("a", "b"), JOB, MODEL)
    records = [(item, f"f-{item.id}", "{}") for item in rows("a", "b")]
    for done in (records[:1], records):
        source = PlanSource(job=earlier, records=iter(done))
        made = write_job(store, rows("a", "b"), JOB, MODEL, earlier=source)
        del store.objects[JOB_NAME]
        assert read_reusable(store, made.parts, 1) == [("f-c0", "{}")]
