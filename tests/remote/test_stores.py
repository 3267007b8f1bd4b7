"""Object stores and data sets: S3 on a real local server, the others against local stand-ins."""

import os

import pytest

from seedvideo.config import Limits
from seedvideo.errors import InputError, StoreError
from seedvideo.remote.fetching import Fetcher
from seedvideo.remote_options import RemoteOptions
from tests.object_server import ScriptedServer, Server
from tests.remote.fault_server import FaultServer


def fetch(name: str, options: RemoteOptions, limits: Limits | None = None) -> bytes | str:
    """The content, or the code of the error."""
    with Fetcher(options, limits=limits or Limits()) as fetcher:
        try:
            with fetcher.lease(name) as lease:
                assert lease.file.origin is not None
                assert (lease.file.origin.version != "") == name.startswith(("s3", "gs", "az"))
                return os.pread(lease.file.descriptor, 10_000_000, 0)
        except (InputError, StoreError) as error:
            return "a secret" if "secret" in str(error) else error.code


def test_s3(store: Server) -> None:
    data = os.urandom(3_000_000)
    store.put("bucket", "a/b c.mp4", data)
    store.put("bucket", "empty.mp4", b"")
    options = RemoteOptions(store_endpoint=store.endpoint)
    assert fetch("s3://bucket/a/b c.mp4", options) == data
    assert fetch("s3://bucket/empty.mp4", options) == b""
    assert fetch("s3://bucket/a/none.mp4", options) == "input.not_found"
    assert fetch("s3://nowhere/a.mp4", options) == "input.not_found"
    assert fetch("s3://bucket/a/b c.mp4", options, Limits(max_input_bytes=10)) == "input.too_large"
    for name in (
        "s3://bucket/a/",
        "s3://bucket",
        "s3:///a",
        "s3://k:secret@bucket/a",
        "s3://b/a?x",
    ):
        assert fetch(name, options) == "input.address_invalid"
    assert fetch("s3://bucket/a/../b.mp4", options) == "input.address_invalid"


def test_the_endpoint_of_the_environment(store: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    store.put("bucket", "a.mp4", b"content")
    assert fetch("s3://bucket/a.mp4", RemoteOptions()) == b"content"


def test_s3_faults(server: FaultServer, store: Server) -> None:
    options = RemoteOptions(store_endpoint=server.url)
    server.files["/b/good"] = b"x"
    assert fetch("s3://b/good", options) == b"x"
    # A stand-in: its path is the fault.
    for path, code in (("403", "forbidden"), ("404", "not_found"), ("400", "unavailable")):
        assert fetch(f"s3://{path}/a", options) == f"input.{code}"
    for status, body in (
        (401, ""),
        (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>"),
        (400, "<Error><Code>ExpiredToken</Code></Error>"),
    ):
        with ScriptedServer((status, body)) as scripted:
            found = fetch("s3://b/a", RemoteOptions(store_endpoint=scripted.endpoint))
        assert found == "store.denied"
    # A name of a file says nothing about the credentials.
    with ScriptedServer((418, "")) as scripted:
        options = RemoteOptions(store_endpoint=scripted.endpoint)
        assert fetch("s3://metadata/credentials.mp4", options) == "input.unavailable"
    closed = RemoteOptions(store_endpoint="http://127.0.0.1:9", stall_timeout_s=1)
    assert fetch("s3://b/a", closed) == "input.unavailable"


def test_gs_and_az_stand_ins(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    server.files |= {"/bucket/a.mp4": b"google", "/box/a.mp4": b"azure"}
    options = RemoteOptions(store_endpoint=server.url, anonymous=True)
    assert fetch("gs://bucket/a.mp4", options) == b"google"
    assert fetch("az://box/a.mp4", options) == b"azure"
    assert fetch("gs://bucket/none.mp4", options) == "input.not_found"
    assert not any("Authorization" in headers for headers in server.headers)


def test_a_data_set_on_a_hub(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.files["/datasets/me/clips/resolve/main/a/b.mp4"] = b"hub"
    server.files["/datasets/me/clips/resolve/v1/b.mp4"] = b"v1"
    options = RemoteOptions()
    with Fetcher(options) as fetcher:
        with fetcher.lease("hf://datasets/me/clips/a/b.mp4") as lease:
            assert os.pread(lease.file.descriptor, 10, 0) == b"hub"
        with fetcher.lease("hf://datasets/me/clips@v1/b.mp4") as lease:
            assert os.pread(lease.file.descriptor, 10, 0) == b"v1"
    assert server.headers[0]["Authorization"] == "Bearer hf_secret"
    assert fetch("hf://datasets/me/clips/none.mp4", options) == "input.not_found"
    assert fetch("hf://models/me/clips/a.mp4", options) == "input.address_invalid"
    assert fetch("hf://datasets/me", options) == "input.address_invalid"
