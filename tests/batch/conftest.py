"""What the tests of jobs share: painted clips whose names describe their behaviour."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from seedvideo.batch.inputs import Item
from tests.batch.jobs import Make
from tests.object_server import Server, credentials
from tests.synthetic_clips import paint


@pytest.fixture(scope="session")
def paints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip a colour, and one of two."""
    folder = tmp_path_factory.mktemp("paints")
    for colour in ("red", "green", "blue", "white", "black"):
        paint(folder / f"{colour}.mp4", [colour])
    paint(folder / "two.mp4", ["red", "blue"], shot_s=2)
    return folder


@pytest.fixture
def made(paints: Path, tmp_path: Path) -> Make:
    """Makes items of clips with these names, each with the colours of its name, after the dash."""

    def make(*names: str) -> list[Item]:
        items = []
        for name in names:
            path = tmp_path / f"{name}.mp4"
            # A box that players skip: no two clips have the same bytes.
            box = (8 + len(name)).to_bytes(4, "big") + b"free" + name.encode()
            path.write_bytes((paints / f"{name.rpartition('-')[2]}.mp4").read_bytes() + box)
            items.append(Item(id=name, source=str(path)))
        return items

    return make


# Not for the session: other tests count the children of this process.
@pytest.fixture(scope="module")
def object_server() -> Iterator[Server]:
    """A real S3 server on the loopback interface, with the bucket ``jobs``."""
    with Server() as server:
        server.make_bucket("jobs")
        yield server


@pytest.fixture
def s3(object_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, with credentials for it in the environment."""
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)
    return object_server
