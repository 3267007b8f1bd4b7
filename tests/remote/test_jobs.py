"""Jobs with addresses: one download a source, exact resume, and no secret on the disk."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from seedvideo.batch.inputs import Item, read_inputs
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.run_job import make_fetcher
from seedvideo.batch.source_feed import MAX_UNANSWERED
from seedvideo.errors import InputError, SeedVideoError
from seedvideo.remote.fetching import Fetcher
from seedvideo.remote_options import RemoteOptions
from tests.batch.command import below, events, finish, have_exited, start
from tests.batch.jobs import JOB, record_of, run
from tests.object_server import ScriptedServer, Server
from tests.remote.fault_server import LOCAL, FaultServer
from tests.remote.test_containers import tar_of
from tests.tiers import slow

REMOTE_JOB = replace(JOB, remote=LOCAL, workers=2)


def windows(url: str, count: int = 8) -> str:
    rows = ({"path": url, "start": n / 10, "end": (n + 1) / 10} for n in range(count))
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def items(fetcher: Fetcher, *names: str) -> list[Item]:
    found = list(read_inputs(names, fetcher=fetcher))
    return [each for each in found if isinstance(each, Item)]


def test_windows_cost_one_download_and_equal_the_local_rows(
    server: FaultServer, clip: bytes, tmp_path: Path
) -> None:
    server.files["/a.mp4"] = clip
    (tmp_path / "local.mp4").write_bytes(clip)
    texts = {"remote": f"{server.url}/a.mp4?X-Amz-Signature=SECRET", "local": "local.mp4"}
    records = []
    for name, url in texts.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text(windows(url), encoding="utf-8")
        fetcher = make_fetcher(REMOTE_JOB)
        job = replace(REMOTE_JOB, inputs=(str(path),))
        entries = run(tmp_path / name, items(fetcher, str(path)), job, fetcher=fetcher)
        assert {entry.state for entry in entries.values()} == {"done"}
        done = [record_of(entry) for entry in entries.values()]
        records.append([each and each.model_copy(update={"source": ""}) for each in done])
    assert records[0] == records[1]
    assert server.requests == ["/a.mp4?X-Amz-Signature=SECRET"]
    for path in (tmp_path / "remote").rglob("*"):
        assert b"SECRET" not in path.read_bytes()


def test_a_bad_source_costs_its_own_clips_only(
    server: FaultServer, clip: bytes, tmp_path: Path
) -> None:
    server.files |= {"/good.mp4": clip, "/text.mp4": b"no video " * 99}
    server.files["/a.tar"] = tar_of(("1.mp4", clip), ("2.mp4", b"no video"))[:-5000]
    names = ["good.mp4", "404", "403", "short", "text.mp4", "redirect?file:///etc/passwd"]
    with make_fetcher(REMOTE_JOB) as fetcher:
        urls = [f"{server.url}/{name}" for name in names]
        found = items(fetcher, *urls, f"{server.url}/a.tar")
        entries = run(tmp_path / "out", found, REMOTE_JOB, fetcher=fetcher)
    codes = [entry.code or entry.state for entry in entries.values()]
    assert codes == [
        *("done", "input.not_found", "input.forbidden", "input.length_wrong"),
        *("media.not_video", "input.address_invalid", "done", "media.not_video"),
    ]


def test_a_changed_object_is_not_mixed_with_the_one_before(
    server: FaultServer, clip: bytes, tmp_path: Path
) -> None:
    server.files["/a.mp4"] = clip
    folder = tmp_path / "out"
    first, second = (
        Item(id="1", source=f"{server.url}/a.mp4"),
        Item(id="2", source=f"{server.url}/a.mp4", start_s=None, question="other"),
    )
    job = replace(REMOTE_JOB, task="ask", question="what?")
    run(folder, [first], job)
    server.files["/a.mp4"] = clip + (8).to_bytes(4, "big") + b"free"
    entries = run(folder, [first, second], job)
    assert [(each.state, each.code) for each in entries.values()] == [
        ("done", None),
        ("failed", "input.changed"),
    ]
    # Another file at the same address, in another folder, is read as it is.
    assert run(tmp_path / "new", [second], job)["2"].state == "done"


def test_a_file_that_was_mended_is_read_again(
    server: FaultServer, clip: bytes, tmp_path: Path
) -> None:
    server.files["/a.mp4"] = b"no video " * 99
    folder, item = tmp_path / "out", Item(id="1", source=f"{server.url}/a.mp4")
    assert run(folder, [item], REMOTE_JOB)["1"].code == "media.not_video"
    server.files["/a.mp4"] = clip
    with Journal.open(folder, write=True) as journal:
        journal.retry()
    assert run(folder, [item], REMOTE_JOB)["1"].state == "done"


def test_a_resumed_job_needs_the_query_again(
    server: FaultServer, clip: bytes, tmp_path: Path
) -> None:
    server.files["/a.mp4"] = clip
    name = f"{server.url}/a.mp4?token=SECRET"
    job = replace(REMOTE_JOB, inputs=(name,))
    stored = job.to_json()
    assert "SECRET" not in stored and Job.from_json(stored).remote == LOCAL
    with make_fetcher(job) as fetcher:
        found = items(fetcher, *Job.from_json(stored).inputs)
        entries = run(tmp_path / "out", found, job, fetcher=fetcher)
    assert [entry.code for entry in entries.values()] == ["input.query_missing"]
    assert server.requests == []
    with Journal.open(tmp_path / "out", write=True) as journal:
        journal.retry()
    with make_fetcher(job) as fetcher:
        entries = run(tmp_path / "out", items(fetcher, name), job, fetcher=fetcher)
    assert [entry.state for entry in entries.values()] == ["done"]


def test_a_list_on_a_server_names_no_file_of_this_machine(server: FaultServer, clip: bytes) -> None:
    server.files["/d/list.txt"] = b"a.mp4\n/etc/passwd\n../b.mp4\ns3://b/c.mp4\n"
    with make_fetcher(REMOTE_JOB) as fetcher:
        found = list(read_inputs([f"{server.url}/d/list.txt?X-Amz-Date=1"], fetcher=fetcher))
    assert [getattr(each, "source", getattr(each, "code", "")) for each in found] == [
        f"{server.url}/d/a.mp4",
        "batch.row_invalid",
        "batch.row_invalid",
        "s3://b/c.mp4",
    ]


def test_a_job_that_is_killed_in_a_download_resumes(
    server: FaultServer, clip: bytes, tmp_path: Path
) -> None:
    server.files["/a.mp4"] = clip
    rows = tmp_path / "rows.txt"
    rows.write_text(f"{server.url}/a.mp4\n{server.url}/stall\n", encoding="utf-8")
    spool = tmp_path / "spool"
    spool.mkdir()
    words = ("-o", tmp_path / "out", "--allow-http", "--allow-private-addresses", "--spool", spool)
    with start(rows, *words, "--json-events") as process:
        assert process.stderr is not None
        while '"state": "done"' not in process.stderr.readline() or not server.count("/stall"):
            assert process.poll() is None
        processes = below(process.pid)
        process.kill()
    assert have_exited(processes)
    assert list(spool.iterdir()) == []
    server.files["/stall"] = clip
    code, _, err = finish(rows, *words, "--json-events")
    assert code == 0, err
    assert [each["id"] for each in events(err) if each["event"] == "item"] == [
        f"{server.url}/stall"
    ]


@slow
def test_a_store_that_does_not_answer_fails_no_clip(
    clip: bytes, store: Server, tmp_path: Path
) -> None:
    found = []
    for n in range(MAX_UNANSWERED + 1):
        store.put("bucket", f"{n}.mp4", clip)
        found.append(Item(id=str(n), source=f"s3://bucket/{n}.mp4"))
    sound = replace(JOB, remote=RemoteOptions(store_endpoint=store.endpoint))
    silent = replace(sound.remote, store_endpoint="http://127.0.0.1:9", stall_timeout_s=1)
    with pytest.raises(InputError, match="in a row") as caught:
        run(tmp_path / "out", found, replace(JOB, remote=silent))
    assert caught.value.code == "input.unavailable" and caught.value.retryable
    entries = run(tmp_path / "out", found, sound)
    assert {entry.state for entry in entries.values()} == {"done"}


@pytest.mark.parametrize("cause", ["credentials", "spool"])
def test_what_is_wrong_with_the_machine_fails_no_clip(
    clip: bytes, store: Server, tmp_path: Path, cause: str
) -> None:
    store.put("bucket", "a.mp4", clip)
    (tmp_path / "file").touch()
    found = [Item(id=str(n), source="s3://bucket/a.mp4", start_s=Fraction(n, 4)) for n in range(3)]
    sound = replace(JOB, remote=RemoteOptions(store_endpoint=store.endpoint, spool=str(tmp_path)))
    with ScriptedServer((400, "<Error><Code>ExpiredToken</Code></Error>")) as server:
        remote = (
            replace(sound.remote, store_endpoint=server.endpoint)
            if cause == "credentials"
            else replace(sound.remote, spool=str(tmp_path / "file"))
        )
        with pytest.raises(SeedVideoError) as caught:
            run(tmp_path / "out", found, replace(JOB, remote=remote))
    code = "store.denied" if cause == "credentials" else "output.unwritable"
    assert caught.value.code == code and "AKID" not in str(caught.value)
    entries = run(tmp_path / "out", found, sound)
    assert {entry.state for entry in entries.values()} == {"done"}
