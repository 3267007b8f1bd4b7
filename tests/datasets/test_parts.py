"""A job of parts gives the same dataset as the same job in a folder, byte by byte."""

from pathlib import Path

from seedvideo.batch.inputs import Item
from seedvideo.batch.journal import Journal
from seedvideo.batch.part_records import gathered
from tests.batch.jobs import JOB, run
from tests.batch.test_parts import plan, pull
from tests.datasets.clip_jobs import all_bytes, exported
from tests.object_server import MemoryStore
from tests.synthetic_clips import paint


def test_datasets_of_a_job_of_parts(tmp_path: Path) -> None:
    # The second makes the test's model fail.
    names = {"a-red": ["red"], "bug-green": ["green"], "c-two": ["red", "blue"], "d": ["white"]}
    items = [
        Item(id=name, source=str(paint(tmp_path / f"{name}.mp4", colours)))
        for name, colours in names.items()
    ]
    run(tmp_path / "local", items)
    store = MemoryStore()
    plan(store, items, JOB)
    pull(store, tmp_path / "scratch")
    with gathered(store) as copy:
        with Journal.open(copy, write=False) as journal:
            assert journal.counts().done == 3
        for form in ("dataset", "webdataset", "hf"):
            exported(copy, form, tmp_path / f"parts-{form}")
            exported(tmp_path / "local", form, tmp_path / f"local-{form}")
            assert all_bytes(tmp_path / f"parts-{form}") == all_bytes(tmp_path / f"local-{form}")
