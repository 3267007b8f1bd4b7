"""The spool: budget, leases, and each file fetched once."""

import os
import threading
import time
from pathlib import Path

import pytest

import seedvideo
from seedvideo.config import Limits
from seedvideo.errors import InputError, OutputError
from seedvideo.remote.fetching import Fetcher, Lease
from seedvideo.remote_options import RemoteOptions
from tests.remote.fault_server import LOCAL, FaultServer


def options(spool: Path | None = None, *, spool_bytes: int = 1 << 20) -> RemoteOptions:
    return RemoteOptions(
        allow_http=True,
        allow_private_addresses=True,
        spool=None if spool is None else str(spool),
        spool_gib=spool_bytes / 2**30,
    )


def content(lease: Lease) -> bytes:
    return os.pread(lease.file.descriptor, 1 << 20, 0)


def test_a_file_is_nameless_read_only_hashed_and_gone_after_its_last_use(
    server: FaultServer, tmp_path: Path
) -> None:
    server.files["/a"] = b"abc"
    with Fetcher(options(tmp_path / "spool")) as fetcher:
        for _ in range(30):
            fetcher.expect(f"{server.url}/a")
        for _ in range(30):
            with fetcher.lease(f"{server.url}/a") as lease:
                descriptor = lease.file.descriptor
                assert content(lease) == b"abc"
                assert lease.file.sha256.startswith("ba7816bf")
                assert list((tmp_path / "spool").iterdir()) == []
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.write(descriptor, b"x")
        assert server.count("/a") == 1
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_the_budget_holds_and_idle_files_make_room(server: FaultServer) -> None:
    server.files |= {f"/{name}": name.encode() * 600 for name in "abc"}
    with Fetcher(options(spool_bytes=1000)) as fetcher:
        with fetcher.lease(f"{server.url}/a"):
            pass
        with fetcher.lease(f"{server.url}/b") as lease:
            assert content(lease) == b"b" * 600
            assert fetcher.spool.used_bytes == 600
            waiting = threading.Timer(0.3, lease.release)
            waiting.start()
            # There is no room until the other one is given back.
            started = time.monotonic()
            with fetcher.lease(f"{server.url}/c"):
                assert time.monotonic() - started > 0.2
            waiting.join()
        # The connection did not wait for the room: the file was asked for again.
        assert [server.count(path) for path in ("/a", "/b", "/c")] == [1, 1, 2]
    assert fetcher.spool.used_bytes == 0


@pytest.mark.parametrize(("size", "code"), [(2000, "input.spool_full"), (900, "input.too_large")])
def test_too_large(server: FaultServer, size: int, code: str) -> None:
    server.files["/a"] = b"x" * size
    limits = Limits(max_input_bytes=800 if code == "input.too_large" else 1 << 20)
    with Fetcher(options(spool_bytes=1000), limits=limits) as fetcher:
        with pytest.raises(InputError) as caught:
            fetcher.lease(f"{server.url}/a")
        assert caught.value.code == code
        assert fetcher.spool.used_bytes == 0


def test_a_disk_without_space_is_noticed_before_a_byte(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/a"] = b"x" * 100
    with Fetcher(options()) as fetcher:
        monkeypatch.setattr(fetcher.spool, "free_bytes", lambda: 50)
        with pytest.raises(InputError) as caught:
            fetcher.lease(f"{server.url}/a")
    assert caught.value.code == "input.spool_full" and "--spool" in caught.value.hint
    with Fetcher(options()) as fetcher:
        monkeypatch.setattr(fetcher.spool, "free_bytes", lambda: 0)
        with pytest.raises(OutputError) as full:
            fetcher.lease(f"{server.url}/a")
    assert full.value.code == "output.disk_full"


def test_threads_wait_for_one_download(server: FaultServer) -> None:
    server.files["/a"] = b"x" * 500_000
    found: list[bytes] = []

    def use() -> None:
        with fetcher.lease(f"{server.url}/a") as lease:
            found.append(content(lease))

    with Fetcher(options()) as fetcher:
        for _ in range(5):
            fetcher.expect(f"{server.url}/a")
        threads = [threading.Thread(target=use) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert (len(found), server.count("/a")) == (5, 1)


def test_a_file_that_is_not_there_is_asked_for_once(server: FaultServer) -> None:
    with Fetcher(options()) as fetcher:
        for _ in range(5):
            fetcher.expect(f"{server.url}/404")
        for _ in range(5):
            with pytest.raises(InputError, match="no such file on the server"):
                fetcher.lease(f"{server.url}/404")
    assert server.count("/404") == 1


def test_python_opens_an_address(server: FaultServer, clip: bytes, tmp_path: Path) -> None:
    server.files["/a.mp4"] = clip
    name = f"{server.url}/a.mp4?X-Amz-Signature=SECRET"
    with seedvideo.open(name, remote=LOCAL) as video:
        made = seedvideo.plan(video, max_frames=2)
        assert len(list(seedvideo.frames(video, made))) == 2
        assert video.source == f"{server.url}/a.mp4"
        assert "SECRET" not in repr(video.reader)
    with pytest.raises(InputError) as caught:
        seedvideo.plan(name)
    assert caught.value.code == "input.address_refused"
    assert "SECRET" not in str(caught.value)
    with pytest.raises(InputError) as caught:
        seedvideo.open(name, root=tmp_path, remote=LOCAL)
    assert caught.value.code == "input.outside_root"


@pytest.mark.parametrize(
    "values",
    [
        {"store_endpoint": "http://user:hunter2@host"},
        {"store_endpoint": "host:9000"},
        {"spool_gib": 0},
        {"spool": ""},
        {"stall_timeout_s": float("nan")},
    ],
)
def test_wrong_options(values: dict[str, object]) -> None:
    with pytest.raises(seedvideo.ConfigError) as caught:
        RemoteOptions(**values)  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.code == "config.invalid" and "hunter2" not in str(caught.value)
