"""Stores of a job of parts: of two writers one succeeds, and every failure has a code."""

import errno
import os
import secrets
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedvideo.batch import stores
from seedvideo.batch.store_errors import final_error
from seedvideo.batch.stores import Store, open_store, probe
from seedvideo.errors import ConfigError, SeedVideoError, StoreError
from tests.object_server import SECRET, MemoryStore, Proxy, ScriptedServer, Server

Open = Callable[[], Store]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "job"), create=True)
    server: Server = request.getfixturevalue("s3")
    return open_store(f"s3://jobs/{secrets.token_hex(8)}", endpoint=server.endpoint)


def test_of_two_writers_the_first_succeeds(store: Store) -> None:
    assert store.put_if_absent("commits/000001.json", b"first")
    assert not store.put_if_absent("commits/000001.json", b"second")
    assert store.read("commits/000001.json") == b"first"
    # An answer may have been lost: the same bytes are the caller's own.
    assert store.put_if_absent("commits/000001.json", b"first")
    store.put("commits/000001.json", b"third")
    assert store.read("commits/000001.json") == b"third"
    assert store.size("commits/000001.json") == 5
    store.delete("commits/000001.json")
    store.delete("commits/000001.json")
    assert store.read("commits/000001.json") is None
    assert store.size("commits/000001.json") is None


def test_names_are_listed_in_order_by_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_PAGE_NAMES", 3)
    names = [f"marks/000001/{number:03}" for number in range(7)]
    for name in reversed(names):
        store.put(name, b"")
    store.put("marks/000002/000", b"")
    assert list(store.list_names("marks/000001/")) == names
    assert list(store.list_names("marks/")) == [*names, "marks/000002/000"]
    assert list(store.list_names("marks/000001/00")) == names
    assert list(store.list_names("marks/000002/1")) == []
    assert list(store.list_names("nothing/")) == []


def test_the_probe_leaves_nothing(store: Store) -> None:
    probe(store)
    assert list(store.list_names("probes/")) == []


def test_a_store_that_accepts_two_writers_is_refused() -> None:
    class Careless(MemoryStore):
        def put_if_absent(self, name: str, data: bytes) -> bool:
            self.put(name, data)
            return True

    with pytest.raises(StoreError) as caught:
        probe(Careless())
    assert caught.value.code == "store.no_conditional_put"


def test_a_folder_without_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match="hard links") as caught:
        probe(open_store(str(tmp_path)))
    assert caught.value.code == "store.no_conditional_put"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_killed_writer_leaves_no_listed_name(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (tmp_path / "commits").mkdir()
    (tmp_path / "commits" / ".seedvideo-12.tmp").write_bytes(b"half")
    (tmp_path / "commits" / ".nfs0001").write_bytes(b"of a file server")
    assert list(store.list_names("commits/")) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(errno.EACCES, "store.denied"), (errno.ESTALE, "store.unreachable"),
     (errno.ENOSPC, "output.disk_full")],
)  # fmt: skip
def test_errors_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, code: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SeedVideoError) as caught:
        open_store(str(tmp_path)).put("a/b", b"x")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("address", "options", "code"),
    [
        ("ftp://x/y", {}, "config.invalid"),
        ("s3://key:secret@bucket/job", {}, "config.invalid"),
        ("s3://bucket/job?X-Amz-Signature=1", {}, "config.invalid"),
        ("s3://bucket/job", {"endpoint": "http://key:secret@host"}, "config.invalid"),
        ("gs://bucket/job", {"endpoint": "http://host"}, "config.invalid"),
        ("s3://[bucket/job", {}, "config.invalid"),
        ("s3://bucket/job", {"endpoint": "http://[host"}, "config.invalid"),
        ("s3://bucket/job", {"endpoint": "http://host:port"}, "config.invalid"),
        ("https://bucket/job?X-Amz-Signature=1", {}, "config.invalid"),
        ("/nowhere/job", {}, "store.not_found"),
        ("long" * 100, {}, "store.not_found"),
        ("/tmp", {"endpoint": "http://host"}, "config.invalid"),
    ],
)
def test_addresses(address: str, options: dict[str, Any], code: str) -> None:
    with pytest.raises(SeedVideoError) as caught:
        open_store(address, **options)
    assert caught.value.code == code
    assert "secret" not in str(caught.value) and "Signature" not in str(caught.value)


def failing(endpoint: str, *, give_up_after_s: float = 0.5) -> StoreError:
    store = open_store("s3://nowhere/job", endpoint=endpoint, give_up_after_s=give_up_after_s)
    with pytest.raises(StoreError) as caught:
        store.put_if_absent("a", b"x")
    text = f"{caught.value!r} {''.join(traceback.format_exception(caught.value))}"
    assert SECRET not in text and "AKID" not in text and "Signature" not in text
    assert "uri:" not in text  # An address of the package may hold a token.
    return caught.value


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((403, "<Code>AccessDenied</Code>"), "store.denied"),
        ((404, "<Code>NoSuchBucket</Code>"), "store.not_found"),
        ((503, "<Code>SlowDown</Code>"), "store.unreachable"),
        ((400, "<Code>Odd</Code>"), "store.unreachable"),
        ((400, "<Code>ExpiredToken</Code>"), "store.denied"),
        ((301, "<Code>PermanentRedirect</Code>"), "store.not_found"),
    ],
)
def test_errors_of_a_bucket(s3: Server, answer: tuple[int, str], code: str) -> None:
    with ScriptedServer(answer) as server:
        error = failing(server.endpoint)
    assert error.code == code
    assert (len(server.requests) > 1) == (answer[0] == 503)
    assert error.retryable == (code == "store.unreachable")


def test_the_endpoint_of_the_environment(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    store = open_store(f"s3://jobs/{secrets.token_hex(8)}")
    probe(store)
    # Hints name only what the user gave.
    assert store.words == f"--job {store.address}"
    assert "--store-endpoint http" in open_store(store.address, endpoint=s3.endpoint).words
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL"):
        open_store(store.address)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "")
    open_store(store.address)


def test_a_folder_that_is_gone_is_neither_empty_nor_made_again(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "job"), create=True)
    (tmp_path / "job").rmdir()
    for call in (
        lambda: store.put_if_absent("commits/1", b"x"),
        lambda: store.read("commits/1"),
        lambda: store.size("commits/1"),
        lambda: list(store.list_names("commits/")),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.code == "store.not_found"
    assert not (tmp_path / "job").exists()


def test_a_machine_without_credentials_is_told_so_soon() -> None:
    url = "http://169.254.169.254/latest/api/token"
    error = OSError(f"Error performing PUT {url} in 1ms - HTTP error: error sending request")
    assert final_error("s3://b/job", error, passed_s=1) is None
    found = final_error("s3://b/job", error, passed_s=30)
    assert found is not None and found.code == "store.denied" and "credentials" in found.message


def test_it_says_that_it_waits(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_SILENT_S", 0.0)
    told: list[str] = []
    with ScriptedServer((503, ""), (503, ""), (200, "x")) as server:
        store = open_store("s3://jobs/job", endpoint=server.endpoint, on_wait=told.append)
        assert store.read("a") == b"x"
    assert told == [
        "s3://jobs/job does not answer: status 503; the request is repeated for up to 3,600 s"
    ]


def test_no_server(s3: Server) -> None:
    assert failing("http://127.0.0.1:9").code == "store.unreachable"
    began_s = time.monotonic()
    failing("http://127.0.0.1:9", give_up_after_s=0)
    assert time.monotonic() - began_s < 5


def test_a_missing_bucket_on_the_real_server(s3: Server) -> None:
    store = open_store("s3://not-there/job", endpoint=s3.endpoint)
    for call in (lambda: store.read("a"), lambda: list(store.list_names("a/"))):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.code == "store.not_found"


def test_another_writer_under_way_is_waited_for(s3: Server) -> None:
    # 409: not decided yet. There is nothing to read, so the request is sent again.
    missing = (404, "<Code>NoSuchKey</Code>")
    with ScriptedServer((409, "<Code>ConditionalRequestConflict</Code>"), missing, (200, "")) as s:
        store = open_store("s3://jobs/job", endpoint=s.endpoint)
        assert store.put_if_absent("commits/1", b"x")
    assert [line.split()[0] for line in s.requests] == ["PUT", "GET", "PUT"]


def test_an_answer_that_is_lost_counts_as_ours(s3: Server) -> None:
    cut_once: list[str] = []

    def cuts(line: str) -> bool:
        is_first = line.startswith("PUT") and "commits" in line and not cut_once
        cut_once.extend([line] * is_first)
        return is_first

    address = f"s3://jobs/{secrets.token_hex(8)}"
    with Proxy(s3.port, cuts) as proxy:
        store = open_store(address, endpoint=proxy.endpoint)
        assert store.put_if_absent("commits/1", b"mine")
        assert len(proxy.cut) == 1
        assert len([line for line in proxy.requests if line.startswith("PUT")]) == 2
    assert open_store(address, endpoint=s3.endpoint).read("commits/1") == b"mine"


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match="obstore") as caught:
        open_store("s3://bucket/job")
    assert caught.value.code == "config.package_missing"
