"""A server on loopback that answers by a script: well, badly or not at all."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias

CHAT: Final = "/v1/chat/completions"


@dataclass(frozen=True)
class Seen:
    """One request that the server received."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Step: TypeAlias = Callable[["_Handler"], None]
"""Answers one request."""


@dataclass
class BadServer:
    """The running server; the last step of its script is repeated.

    Args:
        base_url: its address.
        script: answers to chat requests, in order.
        routes: answers to other paths; 404 otherwise.
        seen: all requests so far.
        is_over: set when the test ends.
    """

    base_url: str
    script: list[Step]
    routes: dict[str, Step] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def chats(self) -> list[Seen]:
        """The chat requests so far."""
        return [seen for seen in self.seen if seen.path == CHAT]

    def next_step(self, path: str) -> Step:
        """Return the answer to a request."""
        with self.lock:
            if path != CHAT:
                return self.routes.get(path, status(404, "no such route"))
            return self.script.pop(0) if self.script[1:] else self.script[0]


@contextmanager
def serving(*script: Step, **routes: Step) -> Iterator[BadServer]:
    """Run a server with a script, and answers to routes such as ``tokenize``."""
    http = _Server(("127.0.0.1", 0), _Handler)
    http.state = BadServer(
        f"http://127.0.0.1:{http.server_port}/v1",
        list(script) or [answer()],
        {f"/{name}": step for name, step in routes.items()},
    )
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield http.state
    finally:
        http.state.is_over.set()
        http.shutdown()
        thread.join()
        http.server_close()


class _Server(ThreadingHTTPServer):
    state: BadServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that hang up, as they should."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length", 0))
        data = self.rfile.read(size)
        body = json.loads(data) if data else {}
        state = self.server.state
        state.seen.append(Seen(self.command, self.path, dict(self.headers), body))
        state.next_step(self.path)(self)

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Print nothing."""

    def reply(
        self, status_code: int, data: bytes, kind: str = "application/json", **headers: str
    ) -> None:
        """Send a complete answer."""
        self.send_response(status_code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


def completion(
    text: str | None = "A red field.", *, finish_reason: str | None = "stop", **message: Any
) -> dict[str, Any]:
    """Return the JSON of an answer."""
    return {
        "model": "tiny",
        "system_fingerprint": "fp_1",
        "choices": [
            {"index": 0, "message": {"content": text, **message}, "finish_reason": finish_reason}
        ],
        "usage": {"prompt_tokens": 5_000, "completion_tokens": 4},
    }


def answer(text: str | None = "A red field.", **more: Any) -> Step:
    """Answer well."""
    return json_answer(completion(text, **more))


def json_answer(values: object) -> Step:
    """Answer with any JSON."""
    return raw(json.dumps(values).encode())


def raw(data: bytes, kind: str = "application/json", status_code: int = 200) -> Step:
    """Answer with any bytes."""
    return lambda handler: handler.reply(status_code, data, kind)


def status(status_code: int, text: str, **headers: str) -> Step:
    """Answer with an error."""
    data = json.dumps({"error": {"message": text, "type": "test"}}).encode()
    return lambda handler: handler.reply(status_code, data, **headers)


def stream(*pieces: str, ends: bool = True, usage: bool = True, **first: Any) -> Step:
    """Answer as a stream; one that does not end is half a stream."""
    events: list[dict[str, Any]] = [{"choices": [{"delta": {"role": "assistant", **first}}]}]
    events += [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    if ends:
        events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    if usage:
        events.append({"choices": [], "usage": {"prompt_tokens": 5_000, "completion_tokens": 3}})
    return event_stream(events, ends=ends)


def event_stream(events: Sequence[object], *, ends: bool = True) -> Step:
    """Answer with any events."""
    lines = [f"data: {each if isinstance(each, str) else json.dumps(each)}\n\n" for each in events]
    data = "".join([*lines, *(["data: [DONE]\n\n"] if ends else [])]).encode()
    return raw(data, "text/event-stream")


def reset(handler: _Handler) -> None:
    """Reset the connection."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


def hang_up(handler: _Handler) -> None:
    """Announce a body, and close the connection within it."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


def drip(handler: _Handler) -> None:
    """Send a byte now and then, without end."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.end_headers()
    while not handler.server.state.is_over.wait(0.02):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def silent(handler: _Handler) -> None:
    """Accept the request and never answer."""
    handler.server.state.is_over.wait()


def huge(handler: _Handler) -> None:
    """Send an answer without end."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.end_headers()
    while not handler.server.state.is_over.is_set():
        handler.wfile.write(b" " * 65_536)


def redirect(url: str) -> Step:
    """Redirect to another address."""
    return lambda handler: handler.reply(307, b"", location=url)


def compressed(handler: _Handler) -> None:
    """Send compressed data although none was requested."""
    handler.reply(200, b"\x1f\x8b", content_encoding="gzip")
