"""A real S3 server on the loopback interface, and a proxy that cuts connections."""

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

SECRET = "secret-not-to-be-shown"


def credentials() -> dict[str, str]:
    """Variables of the environment that the server accepts."""
    return {
        "AWS_ACCESS_KEY_ID": "AKIDOFTHETESTS",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


class Server:
    """The server, as a process of its own."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        script = "import sys; from moto.server import main; main(sys.argv[1:])"
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + 120
        while time.monotonic() < deadline_s:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.1)
        raise TimeoutError("the S3 server did not start")

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def make_bucket(self, name: str) -> None:
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Create an object, and its bucket; credentials are those of the environment."""
        import obstore
        from obstore.store import S3Store

        self.make_bucket(bucket)
        store = S3Store(
            bucket, config={"endpoint": self.endpoint}, client_options={"allow_http": True}
        )
        obstore.put(store, key, data)


class Proxy:
    """Forwards connections, one request each; cuts those that it is asked to.

    Args:
        port: port to forward to.
        cuts: whether to close the connection before the answer to a request, by its first line.
        delay_s: waiting time for each request.
    """

    def __init__(
        self, port: int, cuts: Callable[[str], bool] = lambda line: False, *, delay_s: float = 0.0
    ) -> None:
        self._upstream, self._cuts, self._delay_s = port, cuts, delay_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        self.cut: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while head := read_head(client):
                line = head.split(b"\r\n", 1)[0].decode()
                body = read_body(client, head)
                self.requests.append(line)
                time.sleep(self._delay_s)
                with socket.create_connection(("127.0.0.1", self._upstream)) as server:
                    head = head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
                    server.sendall(head + body)
                    answer = b"".join(iter(lambda: server.recv(1 << 16), b""))
                if self._cuts(line):
                    self.cut.append(line)
                    return
                client.sendall(answer)
                if b"connection: close" in answer.split(b"\r\n\r\n", 1)[0].lower():
                    return


def read_head(connection: socket.socket) -> bytes:
    """Read the head of a request, byte by byte; empty at the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def read_body(connection: socket.socket, head: bytes) -> bytes:
    """Read the body of a request by its length."""
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    body = b""
    while len(body) < length:
        body += connection.recv(length - len(body))
    return body


class ScriptedServer:
    """Answers requests with given statuses, one after another, the last one for ever.

    Args:
        statuses: status and body of each answer.
    """

    def __init__(self, *statuses: tuple[int, str]) -> None:
        self._statuses = list(statuses)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client:
                    head = read_head(client)
                    read_body(client, head)
                    self.requests.append(head.split(b"\r\n", 1)[0].decode())
                    status, body = (
                        self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
                    )
                    client.sendall(
                        f'HTTP/1.1 {status} X\r\nETag: "1"\r\nConnection: close\r\n'
                        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                    )


class MemoryStore:
    """A store in memory, for tests of what is written and in which order."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return "memory"

    @property
    def words(self) -> str:
        return "--job memory"

    def put_if_absent(self, name: str, data: bytes) -> bool:
        with self._lock:
            self.calls.append(("put_if_absent", name))
            return self.objects.setdefault(name, data) == data

    def put(self, name: str, data: bytes) -> None:
        self.calls.append(("put", name))
        self.objects[name] = data

    def read(self, name: str) -> bytes | None:
        self.calls.append(("read", name))
        return self.objects.get(name)

    def size(self, name: str) -> int | None:
        self.calls.append(("size", name))
        data = self.objects.get(name)
        return None if data is None else len(data)

    def list_names(self, prefix: str) -> Any:
        self.calls.append(("list", prefix))
        yield from sorted(name for name in list(self.objects) if name.startswith(prefix))

    def delete(self, name: str) -> None:
        self.calls.append(("delete", name))
        self.objects.pop(name, None)
