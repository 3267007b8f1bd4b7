"""What the tests of remote inputs share: a faulty web server, and a real S3 server on loopback."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.remote.fault_server import FaultServer, serving
from tests.synthetic_clips import paint


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serving() as found:
        yield found


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a clip of three seconds."""
    path = tmp_path_factory.mktemp("remote") / "red.mp4"
    paint(path, ["red", "blue", "red"])
    return path.read_bytes()


class ObjectStore(NamedTuple):
    """A real S3 server, moto, on this machine."""

    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Create an object, and its bucket."""
        import obstore
        from obstore.store import S3Store

        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("PUT", f"/{bucket}")
        assert connection.getresponse().status == 200
        connection.close()
        bucket_store = S3Store(
            bucket, config={"endpoint": self.endpoint}, client_options={"allow_http": True}
        )
        obstore.put(bucket_store, key, data)


# Not for the session: other tests count the children of this process.
@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    pytest.importorskip("obstore")
    pytest.importorskip("moto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder: Path = tmp_path_factory.mktemp("moto")
    words = ["-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log, cwd=folder)
    try:
        late_s = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < late_s
                time.sleep(0.1)
        yield ObjectStore(port)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def store(moto: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The S3 server, with keys in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAsecretkeyid")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "thesecretkey")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return moto
