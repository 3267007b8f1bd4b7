"""The guarded fetch: which addresses it refuses, and a code for each fault of a server."""

import errno
import socket
from dataclasses import replace
from typing import Any

import pytest

from seedvideo.config import Limits
from seedvideo.errors import InputError
from seedvideo.remote.fetching import Fetcher
from seedvideo.remote.guarded_http import is_public, open_url, origin_of
from seedvideo.remote_options import RemoteOptions
from tests.remote.fault_server import LOCAL, FaultServer


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("nonsense", False),
    ],
)
def test_public_addresses(address: str, *, public: bool) -> None:
    assert is_public(address) is public


def code_of(url: str, options: RemoteOptions = LOCAL, limits: Limits | None = None) -> str:
    """Fetch and return the code of the error, or ``done``."""
    with Fetcher(options, limits=limits or Limits()) as fetcher:
        try:
            fetcher.lease(url).release()
        except InputError as error:
            return "a secret" if "SECRET" in str(error) else error.code
        return "done"


@pytest.mark.parametrize(
    ("path", "code", "requests"),
    [
        ("404", "input.not_found", 1),
        ("403", "input.forbidden", 1),
        ("401", "input.forbidden", 1),
        ("418", "input.unavailable", 1),
        ("500", "input.unavailable", 3),
        ("500-twice", "done", 3),
        ("short", "input.length_wrong", 3),
        ("stall", "input.stalled", 3),
        ("silent", "input.stalled", 3),
        ("gzip", "input.unavailable", 1),
        ("no-http", "input.unavailable", 3),
        ("unknown-length", "done", 1),
        ("endless", "input.too_large", 1),
    ],
)
def test_each_fault_has_a_code(server: FaultServer, path: str, code: str, requests: int) -> None:
    stall_timeout_s = 0.5 if code == "input.stalled" else 20.0
    options = replace(LOCAL, stall_timeout_s=stall_timeout_s)
    url = f"{server.url}/{path}?X-Amz-Signature=SECRET"
    assert code_of(url, options, Limits(max_input_bytes=1 << 20)) == code
    assert server.count(f"/{path}") == requests


def test_a_slow_server_has_a_total_time(server: FaultServer) -> None:
    options = RemoteOptions(
        allow_http=True, allow_private_addresses=True, stall_timeout_s=5, total_timeout_s=0.5
    )
    for path in ("drip", "slow-headers"):
        assert code_of(f"{server.url}/{path}", options) == "input.timeout"


def test_what_is_not_allowed(server: FaultServer) -> None:
    server.files["/a.mp4"] = b"x"
    url = f"{server.url}/a.mp4"
    assert code_of(url, RemoteOptions()) == "input.address_refused"
    assert code_of(url, RemoteOptions(allow_http=True)) == "input.address_refused"
    assert code_of("https://127.0.0.1:1/a.mp4", RemoteOptions()) == "input.address_refused"
    assert code_of("https:///a.mp4") == "input.address_invalid"
    assert code_of("https://[::1/a.mp4") == "input.address_invalid"
    assert server.requests == []
    assert code_of(url) == "done"


def test_each_redirect_is_checked(server: FaultServer) -> None:
    # The first hop is trusted, as a public server would be; its redirect is not.
    url = f"{server.url}/redirect?http://127.0.0.2:{server.url.rpartition(':')[2]}/a"
    trusted = origin_of(url, url)
    for options in (RemoteOptions(), RemoteOptions(allow_http=True)):
        with pytest.raises(InputError) as caught:
            open_url(url, url, options, trusted=trusted)
        assert caught.value.code == "input.address_refused"
    assert server.count("/a") == 0
    assert code_of(f"{server.url}/redirect?file:///etc/passwd") == "input.address_invalid"
    assert code_of(f"{server.url}/redirect?ftp://127.0.0.1/a") == "input.address_refused"
    assert code_of(f"{server.url}/redirect?") == "input.unavailable"
    assert code_of(f"{server.url}/redirect?{server.url}/404") == "input.not_found"


def test_keys_stay_with_the_first_host(server: FaultServer) -> None:
    other = server.url.replace("127.0.0.1", "localhost")
    server.files["/a"] = b"x"
    url = f"{server.url}/redirect?{other}/a"
    open_url(url, url, LOCAL, headers={"Authorization": "Bearer SECRET"}).close()
    assert ["Authorization" in headers for headers in server.headers] == [True, False]


def test_the_connection_goes_to_a_checked_address(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(server.url.rpartition(":")[2])
    calls: list[str] = []

    def resolve(*addresses: str) -> Any:
        def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
            calls.append(host)
            kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
            return [(*kind, (address, port)) for address in addresses]

        return getaddrinfo

    # One public address among them does not help.
    monkeypatch.setattr(socket, "getaddrinfo", resolve("8.8.8.8", "127.0.0.1"))
    url = f"http://rebind.test:{port}/a"
    assert code_of(url, RemoteOptions(allow_http=True)) == "input.address_refused"
    assert (calls, server.requests) == (["rebind.test"], [])
    # Resolved once for a request: no second answer can lead elsewhere.
    server.files["/a"] = b"x"
    monkeypatch.setattr(socket, "getaddrinfo", resolve("127.0.0.1"))
    assert code_of(url) == "done"
    assert calls == ["rebind.test"] * 2
    assert server.headers[0]["Host"] == f"rebind.test:{port}"


def test_a_machine_without_ipv6(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/a.mp4"] = b"x"
    real, resolve = socket.socket, socket.getaddrinfo

    def refuse(family: int, *rest: Any, **more: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "not supported")
        return real(family, *rest, **more)

    def both(*words: Any, **more: Any) -> list[Any]:
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET6, kind, 6, "", ("::1", 1, 0, 0)), *resolve(*words, **more)]

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert code_of(f"{server.url}/a.mp4") == "done"


def test_an_ipv6_address_is_no_port(server: FaultServer) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    server.files["/a.mp4"] = b"x"
    url = server.url.replace("127.0.0.1", "[::ffff:127.0.0.1]")
    assert code_of(f"{url}/a.mp4") == "done"
