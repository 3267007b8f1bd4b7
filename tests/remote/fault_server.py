"""A web server on this machine that serves files, and every fault that a download may meet."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from seedvideo.remote_options import RemoteOptions

LOCAL = RemoteOptions(allow_http=True, allow_private_addresses=True, stall_timeout_s=20.0)


class FaultServer:
    """Serves ``files`` by path; other paths are named by the fault that they have.

    Attributes:
        files: content by path, such as ``/a.mp4``.
        requests: path and query of every request, in order.
        headers: headers of every request, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.stopped = threading.Event()
        handler = type("Handler", (_Handler,), {"state": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def count(self, path: str) -> int:
        return sum(asked.partition("?")[0] == path for asked in self.requests)


@contextmanager
def serving(files: dict[str, bytes] | None = None) -> Iterator[FaultServer]:
    server = FaultServer()
    server.files.update(files or {})
    try:
        yield server
    finally:
        server.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FaultServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.state.requests.append(self.path)
        self.state.headers.append(dict(self.headers.items()))
        path, _, query = self.path.partition("?")
        path = unquote(path)
        self.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):
            if path in self.state.files:
                data = self.state.files[path]
                tag = hashlib.md5(data, usedforsecurity=False).hexdigest()
                self.reply(200, data, ETag=f'"{tag}"', Last_Modified=_MODIFIED)
            else:
                self.fail(path.strip("/"), query)

    def fail(self, fault: str, query: str) -> None:
        data = b"x" * 1000
        if fault == "redirect":
            self.reply(302, Location=query)
        elif fault == "500-twice" and self.state.count("/500-twice") > 2:
            self.reply(200, data)
        elif fault[:3].isdigit():
            self.reply(int(fault[:3]))
        elif fault == "short":
            self.reply(200, data[:500], length=1000)
        elif fault == "gzip":
            self.reply(200, data, Content_Encoding="gzip")
        else:
            self.misbehave(fault, data)

    def misbehave(self, fault: str, data: bytes) -> None:
        stopped = self.state.stopped
        if fault == "stall":
            self.reply(200, data[:500], length=1000)
            self.wfile.flush()
            stopped.wait(20)
        elif fault == "silent":
            stopped.wait(20)
        elif fault == "slow-headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not stopped.wait(0.05):
                self.wfile.write(b"x")
        elif fault == "no-http":
            self.wfile.write(b"SSH-2.0-x\r\n")
        elif fault in ("endless", "drip", "unknown-length"):
            self.send_response(200)
            self.end_headers()
            if fault == "unknown-length":
                self.wfile.write(data)
                return
            while not stopped.wait(0.05 if fault == "drip" else 0):
                self.wfile.write(b"x" * (1 if fault == "drip" else 100_000))
        else:
            self.reply(404)

    def reply(
        self, status: int, data: bytes = b"", *, length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)


_MODIFIED = "Mon, 30 Nov 2026 10:00:00 GMT"
