"""Guarded fetch over HTTP: public addresses only, for each redirect and each resolved address.

The connection goes to an address that was checked, not to a name that could be resolved again to
another one. Proxies of the environment are not used, as the check would then be the proxy's.
"""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Final, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from seedvideo.environment import __version__
from seedvideo.errors import InputError
from seedvideo.remote.transfer import (
    CHUNK_BYTES,
    Facts,
    invalid_error,
    length_error,
    refused_error,
    stalled_error,
    status_error,
    unavailable_error,
)
from seedvideo.remote_options import RemoteOptions

MAX_REDIRECTS: Final = 5
_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_SAFE: Final = "!#$%&'()*+,/:;=?@[]~"
"""Characters of a request target that are not encoded again."""


class Origin(NamedTuple):
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int


class _Connection:
    """A connection that ends at a given time, however slowly bytes drip.

    Args:
        channel: socket to a checked address.
        host: host of the request.
        options: limits of the transfer.
    """

    def __init__(self, channel: socket.socket, host: str, options: RemoteOptions) -> None:
        self.stall_timeout_s = options.stall_timeout_s
        # It would take the end of an IPv6 address for a port.
        self.http = HTTPConnection(f"[{host}]" if ":" in host else host)
        # Set here, the connection never resolves the name again.
        self.http.sock = channel
        self._channel = channel
        self._watchdog = threading.Timer(options.total_timeout_s, self._shut)
        self._watchdog.daemon = True
        self._watchdog.start()

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self._watchdog.cancel()
        with suppress(OSError):
            self.http.close()
            self._channel.close()

    def _shut(self) -> None:
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)


class HttpBody:
    """An open answer."""

    def __init__(
        self, name: str, connection: _Connection, response: HTTPResponse, facts: Facts
    ) -> None:
        self._name, self._connection, self._response = name, connection, response
        self.facts = facts

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; raise `InputError` if they stop coming."""
        done = 0
        while True:
            try:
                data = self._response.read1(CHUNK_BYTES)
            except TimeoutError:
                raise stalled_error(self._name, self._connection.stall_timeout_s) from None
            except (HTTPException, OSError):
                raise length_error(self._name, done, self.facts.size_bytes) from None
            if not data:
                return
            done += len(data)
            yield data

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._response.close()
        self._connection.close()


def open_url(
    name: str,
    url: str,
    options: RemoteOptions,
    *,
    headers: Mapping[str, str] | None = None,
    trusted: Origin | None = None,
) -> HttpBody:
    """Request a URL and return the open answer.

    Args:
        name: name of the file in messages.
        url: ``https://`` address, or ``http://`` where allowed.
        options: what is allowed, and how long a silence may last.
        headers: further headers; sent to the first host only.
        trusted: an origin that the user set, which needs neither a public address nor HTTPS.

    Raises:
        InputError: ``input.address_refused``, ``input.address_invalid``, ``input.not_found``,
            ``input.forbidden``, ``input.unavailable`` or ``input.stalled``.
    """
    first = origin_of(name, url)
    for _ in range(MAX_REDIRECTS + 1):
        origin = origin_of(name, url)
        _check_scheme(name, origin, options, trusted=trusted)
        connection = _connect(name, origin, options, is_trusted=origin == trusted)
        extra = headers if headers and origin == first else {}
        response = _request(name, connection, url, extra)
        if response.status in _REDIRECTS:
            target = response.headers.get("Location", "")
            connection.close()
            if not target:
                raise unavailable_error(name, "a redirect leads nowhere", again=False)
            url = urljoin(url, target)
            continue
        if response.status != 200:
            error = status_error(name, response.status, dict(response.headers.items()))
            connection.close()
            raise error
        try:
            facts = _read_facts(name, response)
        except InputError:
            connection.close()
            raise
        return HttpBody(name, connection, response, facts)
    raise unavailable_error(name, f"more than {MAX_REDIRECTS} redirects", again=False)


def origin_of(name: str, url: str) -> Origin:
    """Return the origin of a URL.

    Raises:
        InputError: ``input.address_invalid``.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
        host.encode("idna")
    except (ValueError, UnicodeError):
        raise invalid_error(name, "is not a valid address") from None
    if not host:
        raise invalid_error(name, "names no host")
    return Origin(scheme, host, port or _PORTS.get(scheme, 0))


def _check_scheme(
    name: str, origin: Origin, options: RemoteOptions, *, trusted: Origin | None
) -> None:
    if origin.scheme not in _PORTS:
        raise refused_error(name, "leads to an address that is not https://", hint="check the file")
    if origin.scheme == "http" and not options.allow_http and origin != trusted:
        raise refused_error(
            name,
            "uses http://, which is not encrypted, or leads there",
            hint="use https://, or allow it with --allow-http",
        )


def _connect(name: str, origin: Origin, options: RemoteOptions, *, is_trusted: bool) -> _Connection:
    """Connect to a checked address of the host."""
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise unavailable_error(name, "the name of its host cannot be resolved") from None
    if not (options.allow_private_addresses or is_trusted):
        for *_, address in found:
            if not is_public(str(address[0])):
                raise refused_error(
                    name,
                    "leads to a private, local or reserved address",
                    hint="allow it with --allow-private-addresses if you trust all rows",
                )
    for family, kind, protocol, _, address in found:
        try:
            channel = socket.socket(family, kind, protocol)
        except OSError:  # Machines without IPv6 resolve its addresses all the same.
            continue
        channel.settimeout(options.stall_timeout_s)
        try:
            channel.connect(address)
        except OSError:
            channel.close()
            continue
        if origin.scheme == "http":
            return _Connection(channel, origin.host, options)
        context = ssl.create_default_context()
        secure = context.wrap_socket(
            channel, server_hostname=origin.host, do_handshake_on_connect=False
        )
        connection = _Connection(secure, origin.host, options)
        try:
            secure.do_handshake()
        except ssl.SSLError:
            connection.close()
            raise unavailable_error(name, "its certificate is not valid", again=False) from None
        except OSError:
            connection.close()
            continue
        return connection
    raise unavailable_error(name, "its host does not accept a connection")


def _request(
    name: str, connection: _Connection, url: str, headers: Mapping[str, str]
) -> HTTPResponse:
    parts = urlsplit(url)
    target = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        target += f"?{quote(parts.query, safe=_SAFE)}"
    default = _PORTS.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    sent = {
        "Host": host if parts.port in (None, default) else f"{host}:{parts.port}",
        "User-Agent": f"seedvideo/{__version__}",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **headers,
    }
    try:
        connection.http.request("GET", target, headers=sent)
        return connection.http.getresponse()
    except TimeoutError:
        connection.close()
        raise stalled_error(name, connection.stall_timeout_s) from None
    except (HTTPException, OSError, UnicodeError, ValueError):
        connection.close()
        raise unavailable_error(name, "the server does not answer in HTTP") from None


def _read_facts(name: str, response: HTTPResponse) -> Facts:
    coding = response.headers.get("Content-Encoding", "identity").lower()
    if coding not in ("identity", ""):
        raise unavailable_error(name, "the server compresses the file", again=False)
    version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    size_bytes = response.length if "Content-Length" in response.headers else None
    return Facts(size_bytes=size_bytes, version=version[:500])


def is_public(address: str) -> bool:
    """Return whether an IP address is a public one, also where it holds another address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64:
            inner.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if any(each is not None and not is_public(str(each)) for each in inner):
            return False
        if found.ipv4_mapped is not None:
            return True
    return found.is_global and not found.is_multicast
