"""Jobs of parts through real processes: the rows of a local run, each recorded once."""

import gzip
import json
import socket
import struct
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seedvideo.batch import part_status
from seedvideo.batch.export import export
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.metrics import MetricsServer, RunnerMetrics
from seedvideo.batch.part_attempts import Attempt, RunnerIdentity, hash_item
from seedvideo.batch.part_board import PartBoard
from seedvideo.batch.part_plan import PlanSource, write_job
from seedvideo.batch.part_records import gathered, read_commits, read_done
from seedvideo.batch.part_runner import PartRunner, PullResult, check_runner, run_pull
from seedvideo.batch.part_status import StatusReader
from seedvideo.batch.parts import read_job
from seedvideo.batch.progress import Progress
from seedvideo.batch.scheduler import Runner
from seedvideo.errors import BatchError, OutputError, SeedVideoError, StoreError
from tests.batch.jobs import JOB, Make
from tests.batch.stage_doubles import ENTRYPOINTS, load
from tests.object_server import MemoryStore
from tests.tiers import exhaustive, slow

PRICES = load("colours")


def plan(store: MemoryStore, rows: Iterable[Item | BadRow], job: Job = JOB, **options: Any) -> None:
    write_job(store, rows, job, PRICES.sha256, **{"part_clips": 2, **options})


def pull(
    store: MemoryStore, scratch: Path, *, job: Job | None = None, progress: Progress | None = None,
    **options: Any,
) -> PullResult:  # fmt: skip
    planned = read_job(store)
    progress = progress or Progress()
    settings = replace(job or planned.job, inputs=())
    with PartRunner(
        store,
        planned,
        settings,
        PRICES,
        scratch=scratch,
        progress=progress,
        entrypoints=ENTRYPOINTS,
    ) as runner:
        board = PartBoard(store, planned, runner.identity, unfinished=runner.unfinished())
        return run_pull(runner, board, progress, **options)


def rows_of(store: MemoryStore, folder: Path, form: Any = "jsonl") -> bytes:
    with gathered(store, sheets=True) as copy, Journal.open(copy, write=False) as journal:
        export(journal, form, folder / "rows", timings=False, overwrite=True)
    return (folder / "rows").read_bytes()


def local_rows(
    rows: list[Item | BadRow], folder: Path, job: Job = JOB, form: Any = "jsonl"
) -> bytes:
    with Journal.open(folder / "local", write=True) as journal:
        journal.plan(rows, job, PRICES.sha256)
        runner = Runner(journal, job, PRICES, progress=Progress(), entrypoints=ENTRYPOINTS)
        assert runner.run()
        export(journal, form, folder / "local-rows", timings=False, overwrite=True)
    return (folder / "local-rows").read_bytes()


def mixed(made: Make) -> list[Item | BadRow]:
    """Clips of every outcome; the second source comes twice, far apart."""
    a, b, c, d, e = made("a-red", "b-two", "bug-red", "poison-blue", "e-black")
    again = replace(b, id="again", extra='{"label": 7}', origin="list line 6")
    bad = BadRow(id="l:5", where="l line 5", code="batch.row_invalid", message="no path")
    return [a, b, c, d, bad, again, e]


def test_rows_are_those_of_a_local_run(
    tmp_path: Path, made: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, store = mixed(made), MemoryStore()
    plan(store, rows)
    metrics = RunnerMetrics()
    progress = Progress(listen=metrics.listen)
    result = pull(store, tmp_path / "s", progress=progress, on_commit=metrics.add_commit)
    assert result.is_complete and result.second == 0
    assert result.clips == {"done": 4, "failed": 2, "quarantined": 1}
    assert rows_of(store, tmp_path) == local_rows(rows, tmp_path)
    # Nothing is left on this machine, and nothing of a part but what its commit names.
    assert [path for path in (tmp_path / "s").rglob("*") if path.is_file()] == []
    status = StatusReader(store).read()
    assert status.counts.done == 4 and status.counts.pending == 0
    assert {code: count for code, _, count in status.failures} == {
        "internal.error": 1, "decode.crashed": 1, "batch.row_invalid": 1,
    }  # fmt: skip
    assert status.is_complete and status.restarts["decode"] == 2 and len(status.runners) == 1
    assert status.visual_tokens > 0 and status.stage_s
    with (
        MetricsServer(metrics, "127.0.0.1:0") as server,
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer,
    ):
        text = answer.read().decode()
        with socket.create_connection(("127.0.0.1", server.port)) as hasty:
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            hasty.sendall(b"GET /metrics")
        time.sleep(0.1)
    assert capsys.readouterr().err == ""  # No traceback of a client that hung up.
    for line in (
        'seedvideo_clips_total{state="done"} 4',
        'seedvideo_failures_total{code="internal.error"} 1',
        'seedvideo_restarts_total{process="decode"} 2',
        f'seedvideo_parts_committed_total{{outcome="committed"}} {status.parts}',
        f"seedvideo_job_parts_committed {status.parts}",
        "seedvideo_job_runners_seen 1",
    ):
        assert f"\n{line}\n" in text
    assert 'seedvideo_stage_seconds_total{stage="' in text
    # A second run finds nothing to do.
    calls = len(store.calls)
    assert pull(store, tmp_path / "s").committed == 0
    assert not any(call.startswith("put") for call, _ in store.calls[calls:])


@exhaustive
@pytest.mark.parametrize("form", ["csv", "html"])
def test_other_exports_are_those_of_a_local_run(tmp_path: Path, made: Make, form: str) -> None:
    rows, store = list(made("a-red", "b-two", "bug-red")), MemoryStore()
    plan(store, rows)
    pull(store, tmp_path / "s")
    assert rows_of(store, tmp_path, form) == local_rows(list(rows), tmp_path, form=form)


def test_an_unfinished_job_lists_the_rest_as_pending(tmp_path: Path, made: Make) -> None:
    store = MemoryStore()
    plan(store, mixed(made))
    with gathered(store) as copy, Journal.open(copy, write=False) as journal:
        counts = journal.counts()
    assert (counts.pending, counts.failed) == (6, 1)
    status = StatusReader(store).read()
    assert (status.counts.pending, status.committed, status.clips_per_min) == (7, 0, None)


@slow
def test_two_runners_at_one_part(tmp_path: Path, made: Make) -> None:
    rows, store = list(made("a-red", "b-two")), MemoryStore()
    plan(store, rows)
    planned = read_job(store)
    notes: list[str] = []
    progress = Progress(info=notes.append)

    def runner(name: str) -> PartRunner:
        return PartRunner(
            store, planned, JOB, PRICES,
            scratch=tmp_path / name, progress=progress, entrypoints=ENTRYPOINTS,
        )  # fmt: skip

    with runner("one") as one, runner("two") as two:
        first = Attempt.begin(store, planned.parts, 1, 1, one.identity)
        second = Attempt.begin(store, planned.parts, 1, 2, two.identity)
        assert first is not None and second is not None
        results: dict[str, Any] = {}
        # The second one is faster; the first one is a zombie that comes back.
        results["two"], _ = two.run(second)
        results["one"], commit = one.run(first)
    assert results == {"two": "committed", "one": "second"} and commit is None
    found = dict(read_commits(store, planned.parts))
    assert found[1].attempt == 2
    names = [name for name in store.objects if name.startswith("parts/")]
    assert names == [found[1].data]
    assert not any("other results" in note for note in notes)
    assert len(list(store.list_names("marks/"))) == 2


def test_a_lock_that_another_process_holds_is_not_waited_for(tmp_path: Path, made: Make) -> None:
    store = MemoryStore()
    plan(store, made("a-red"))
    planned = read_job(store)
    folder = tmp_path / "s" / f"{planned.id}-{planned.key}" / "000001"
    folder.mkdir(parents=True)
    with Journal.open(folder, write=True):
        assert pull(store, tmp_path / "s").committed == 1
    assert (folder / "journal.sqlite").exists()


@slow
def test_a_killed_part_resumes_clip_by_clip_on_its_machine(tmp_path: Path, made: Make) -> None:
    items, store = made("a-red", "b-two"), MemoryStore()
    plan(store, items)
    planned = read_job(store)
    # The runner died after its first clip: its journal has one record, its start no commit.
    folder = tmp_path / "s" / f"{planned.id}-{planned.key}" / "000001"
    folder.mkdir(parents=True)
    with Journal.open(folder, write=True) as journal:
        journal.plan(items, JOB, PRICES.sha256)
        runner = Runner(journal, JOB, PRICES, progress=Progress(), entrypoints=ENTRYPOINTS, limit=1)
        runner.run()
    store.put(planned.parts.attempt_name("starts", 1, 1), b"{}")
    events: list[dict[str, Any]] = []
    progress = Progress(listen=events.append)
    assert pull(store, tmp_path / "s", progress=progress).committed == 1
    assert [each["id"] for each in events if each["event"] == "item"] == ["b-two"]
    assert [name for name in store.objects if name.startswith("marks/")] == [
        f"marks/000001/002.00001.{hash_item(items[1])}"
    ]


@pytest.mark.parametrize("code", ["store.denied", "store.unreachable", "store.wrote_other_bytes"])
def test_a_store_that_fails_at_the_commit_costs_no_clip(
    tmp_path: Path, made: Make, code: str
) -> None:
    """Expired credentials, a store that does not answer for too long, and one that lies."""

    class Failing(MemoryStore):
        is_sound = False

        def put(self, name: str, data: bytes) -> None:
            if self.is_sound or not name.startswith("parts/"):
                super().put(name, data)
            elif code == "store.wrote_other_bytes":
                super().put(name, data[:-1])
            else:
                raise StoreError(code, "as the test wants")

    store = Failing()
    plan(store, made("a-red", "b-two"))
    with pytest.raises(StoreError) as caught:
        pull(store, tmp_path / "s")
    assert caught.value.code == code
    assert not any(name.startswith("commits/") for name in store.objects)
    store.is_sound = True
    events: list[dict[str, Any]] = []
    assert pull(store, tmp_path / "s", progress=Progress(listen=events.append)).committed == 1
    assert [each["id"] for each in events if each["event"] == "item"] == []


def test_a_machine_that_comes_back_second_warns_of_other_results(
    tmp_path: Path, made: Make
) -> None:
    class Late(MemoryStore):
        def put_if_absent(self, name: str, data: bytes) -> bool:
            if name.startswith("commits/"):
                first = json.loads(data) | {"digest": "other", "runner": "first:1"}
                self.objects.setdefault(name, json.dumps(first).encode())
            return super().put_if_absent(name, data)

    store, events = Late(), list[dict[str, Any]]()
    plan(store, made("a-red"))
    result = pull(store, tmp_path / "s", progress=Progress(listen=events.append))
    assert (result.committed, result.second) == (0, 1)
    found = [each for each in events if each["event"] == "difference"]
    assert [(each["part"], each["runner"]) for each in found] == [(1, "first:1")]


def test_nothing_of_an_earlier_job_of_the_same_plan_is_used(tmp_path: Path, made: Make) -> None:
    items, first, second = made("a-red"), MemoryStore(), MemoryStore()
    for store in (first, second):
        plan(store, items)
    planned, again = read_job(first), read_job(second)
    assert planned.id == again.id
    folder = tmp_path / "s" / f"{planned.id}-{planned.key}" / "000001"
    folder.mkdir(parents=True)
    with Journal.open(folder, write=True) as journal:
        journal.plan(items, JOB, PRICES.sha256)
        assert Runner(journal, JOB, PRICES, progress=Progress(), entrypoints=ENTRYPOINTS).run()
    events: list[dict[str, Any]] = []
    pull(second, tmp_path / "s", progress=Progress(listen=events.append))
    assert [each["id"] for each in events if each["event"] == "item"] == ["a-red"]


def test_a_folder_for_journals_that_is_open_to_everyone(tmp_path: Path, made: Make) -> None:
    """As an empty folder of a container is; the folder of the job itself is not."""
    store = MemoryStore()
    plan(store, made("a-red"))
    (tmp_path / "s").mkdir()
    (tmp_path / "s").chmod(0o777)
    planned = read_job(store)
    own = tmp_path / "s" / f"{planned.id}-{planned.key}"
    with PartRunner(store, planned, JOB, PRICES, scratch=tmp_path / "s", progress=Progress()):
        assert own.stat().st_mode & 0o777 == 0o700
    assert not own.exists()
    own.mkdir()
    own.chmod(0o777)
    (tmp_path / "file").touch()
    for scratch in (tmp_path / "s", tmp_path / "file", Path("/proc/none")):
        with pytest.raises(OutputError, match="--scratch") as caught:
            PartRunner(store, planned, JOB, PRICES, scratch=scratch, progress=Progress())
        assert caught.value.code == "output.unwritable"


def test_a_clip_that_killed_two_runners_is_quarantined(tmp_path: Path, made: Make) -> None:
    items, store = made("a-red", "b-two"), MemoryStore()
    plan(store, items)
    parts = read_job(store).parts
    for number in (1, 2, 3):
        store.put(parts.attempt_name("starts", 1, number), b"{}")
    for number in (2, 3):
        store.put(f"{parts.marks_prefix(1)}{number:03}.00001.{hash_item(items[1])}", b"")
    assert pull(store, tmp_path / "s", job=replace(JOB, timeout_s=0.5)).committed == 1
    lines = [json.loads(line) for line in rows_of(store, tmp_path).splitlines()]
    assert lines[0]["state"] != "quarantined"
    assert lines[1]["state"] == "quarantined"
    assert lines[1]["error"]["code"] == "batch.runner_died"


def test_damaged_parts_are_found_and_processed_again(tmp_path: Path, made: Make) -> None:
    rows, store = list(made("a-red", "b-two", "c-blue")), MemoryStore()
    plan(store, rows, part_clips=1)
    pull(store, tmp_path / "s")
    whole = rows_of(store, tmp_path)
    assert {check.state for check in part_status.check_job(store)} == {"ok"}
    commits = dict(read_commits(store, read_job(store).parts))
    store.objects[commits[1].data] = store.objects[commits[1].data][:-9]
    del store.objects[commits[2].data]
    store.objects["parts/orphan"] = b"of a runner that died"
    wrong = [check for check in part_status.check_job(store) if check.state == "wrong"]
    assert len(wrong) == 2 and all("batch.part_damaged" in check.detail for check in wrong)
    assert any("1 objects of runners" in check.detail for check in part_status.check_job(store))
    with pytest.raises(BatchError) as caught:
        rows_of(store, tmp_path)
    assert caught.value.code == "batch.part_damaged"
    store.put("starts/000001.002.json", b"{}")
    assert len(part_status.reopen_damaged(store)) == 2
    # Attempts before the damage count for nothing.
    assert [name for name in store.objects if name.startswith("ends/")] == [
        "ends/000001.001.json", "ends/000001.002.json", "ends/000002.001.json"
    ]  # fmt: skip
    assert pull(store, tmp_path / "s").committed == 2
    assert rows_of(store, tmp_path) == whole


@slow
def test_a_retry_is_a_layer_over_the_job(tmp_path: Path, made: Make) -> None:
    rows, store = mixed(made), MemoryStore()
    plan(store, rows)
    pull(store, tmp_path / "s")
    assert part_status.retry(store, code="media.corrupt") == 0
    bug = next(row for row in rows if row.id == "bug-red")
    assert isinstance(bug, Item)
    # The cause is removed: the file of the poison clip is replaced by a sound one.
    sound = Path(made("f-red")[0].source)
    poison = next(row for row in rows if row.id == "poison-blue")
    assert isinstance(poison, Item)
    # A retry that was cut off, of other clips, is in nobody's way.
    cut = MemoryStore()
    cut.objects = dict(store.objects)
    assert part_status.retry(cut, code="internal.error") == 1
    del cut.objects["retries/001/job.json"]
    store.objects |= cut.objects
    assert part_status.retry(store) == 2
    before = StatusReader(store).read()
    assert (before.counts.pending, before.counts.failed, before.counts.quarantined) == (2, 1, 0)
    assert [code for code, _, _ in before.failures] == ["batch.row_invalid"]
    assert sound.exists()
    # Another retry finds nothing: these two wait.
    assert part_status.retry(store) == 0
    assert pull(store, tmp_path / "s").is_complete
    after = StatusReader(store).read()
    assert (after.counts.pending, after.counts.failed, after.counts.quarantined) == (0, 2, 1)
    assert after.counts.total == 7
    assert rows_of(store, tmp_path) == local_rows(rows, tmp_path)
    assert part_status.retry(store, code="internal.error") == 1


@slow
def test_records_of_another_job_are_used_again(tmp_path: Path, made: Make) -> None:
    items, old, new = made("a-red", "b-two"), MemoryStore(), MemoryStore()
    plan(old, items)
    pull(old, tmp_path / "s")
    Path(items[1].source).write_bytes(Path(made("c-blue")[0].source).read_bytes())
    third = made("d-green")
    source = PlanSource(job=read_job(old), records=read_done(old))
    plan(new, [*items, *third], earlier=source)
    events: list[dict[str, Any]] = []
    assert pull(new, tmp_path / "s", progress=Progress(listen=events.append)).is_complete
    # Tokens are those of the model in this run: a record used again costs none.
    spent = {e["id"]: e["visual_tokens"] for e in events if e["event"] == "item"}
    assert spent["a-red"] == 0 and spent["b-two"] > 0 and spent["d-green"] > 0
    assert rows_of(new, tmp_path) == local_rows([*items, *third], tmp_path)


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"seedvideo": "0.0.9"}, "batch.version_differs"),
     ({"model_sha256": "1" * 64}, "batch.model_differs")],
)  # fmt: skip
def test_machines_that_differ_are_refused(changes: dict[str, Any], code: str) -> None:
    store = MemoryStore()
    plan(store, [Item(id="a", source="a")])
    with pytest.raises(SeedVideoError) as caught:
        check_runner(replace(read_job(store), **changes), "memory", PRICES)
    assert caught.value.code == code


def test_a_part_costs_few_requests(tmp_path: Path, made: Make) -> None:
    store = MemoryStore()
    plan(store, made("a-red", "b-two"), replace(JOB, sheets=False))
    calls = len(store.calls)
    pull(store, tmp_path / "s")
    made_calls = [call for call in store.calls[calls:] if call[1] != "job.json"]
    of_part = [call for call, name in made_calls if "/" in name and not name.endswith("/")]
    # The plan, the records of another job, start, records, the same read back, commit.
    assert sorted(of_part) == sorted(
        ["read", "read", "put_if_absent", "put", "read", "put_if_absent"]
    )


def test_runners_take_different_parts_and_then_those_without_a_commit() -> None:
    store = MemoryStore()
    plan(store, [Item(id=f"c{n}", source=f"{n}.mp4") for n in range(12)], part_clips=1)
    planned = read_job(store)
    boards = [PartBoard(store, planned, RunnerIdentity(host="h", pid=n)) for n in range(3)]
    taken: list[Attempt] = []
    while len(taken) < 12:
        attempt = boards[len(taken) % 3].take()
        assert attempt is not None and not attempt.is_marked
        taken.append(attempt)
    assert sorted(attempt.part for attempt in taken) == list(range(1, 13))
    # One died: its part is begun again once nothing else is left, and only that.
    for attempt in taken[1:]:
        store.put(planned.parts.commit_name(attempt.part), b"{}")
    again = boards[1].take()
    assert again is not None and (again.part, again.number) == (taken[0].part, 2)
    store.put(planned.parts.commit_name(again.part), b"{}")
    assert [board.take() for board in boards] == [None] * 3
    assert boards[1].runners >= 2


def test_a_part_that_died_on_this_machine_is_taken_first() -> None:
    store, me = MemoryStore(), RunnerIdentity.of_this_process()
    plan(store, [Item(id=f"c{n}", source=f"{n}.mp4") for n in range(8)], part_clips=1)
    planned = read_job(store)
    owners = {
        2: replace(me, host="elsewhere", pid=1, started="0"),
        3: replace(me, started="0"),  # Its number is ours now: it is dead.
        4: me,  # It lives, so the journal is in use.
        5: replace(me, boot="before the machine was started again"),
    }
    for part, owner in owners.items():
        assert Attempt.begin(store, planned.parts, part, 1, owner) is not None
    left = {planned.parts.local_name(part) for part in owners}
    board = PartBoard(store, planned, replace(me, nonce="new"), unfinished=left)
    taken = [board.take() for _ in range(6)]
    found = [(each.part, each.number) for each in taken if each is not None]
    assert sorted(found[:2]) == [(3, 2), (5, 2)]
    assert sorted(found[2:]) == [(1, 1), (6, 1), (7, 1), (8, 1)]


def test_the_object_of_records_is_readable_without_us(tmp_path: Path, made: Make) -> None:
    store = MemoryStore()
    plan(store, made("a-red"))
    pull(store, tmp_path / "s")
    commit = dict(read_commits(store, read_job(store).parts))[1]
    (line,) = gzip.decompress(store.objects[commit.data]).splitlines()
    assert json.loads(line)["record"]["source"].endswith("a-red.mp4")
