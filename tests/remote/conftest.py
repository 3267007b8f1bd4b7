"""What the tests of remote inputs share: a faulty web server, and a real S3 server on loopback."""

import os
from collections.abc import Iterator

import pytest

from tests.object_server import Server, credentials
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


@pytest.fixture(scope="module")
def moto() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def store(moto: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The S3 server, with credentials in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)
    return moto
