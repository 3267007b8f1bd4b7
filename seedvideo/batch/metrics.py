"""Numbers of one runner for Prometheus: counted from its events, served on request over HTTP.

Separate from `seedvideo.batch.part_runner`, which runs without a server.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from seedvideo.batch.part_records import Commit
from seedvideo.environment import __version__
from seedvideo.errors import ConfigError
from seedvideo.utils.text import printable

_TYPES: Final = {
    "clips_total": "Clips with an outcome in this runner, by state.",
    "failures_total": "Failed clips of this runner by error code.",
    "visual_tokens_total": "Visual tokens that the model of this runner has read.",
    "clip_seconds_total": "Seconds from the start of a clip to its outcome, over all clips.",
    "stage_seconds_total": "Seconds by stage over the records that this runner committed.",
    "output_tokens_total": "Tokens of answers in the records that this runner committed.",
    "restarts_total": "Restarts of processes by kind.",
    "parts_committed_total": "Parts by outcome: committed, or second to another runner.",
}


class RunnerMetrics:
    """Counters of one runner; `listen` is given to `Progress`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, str, str], float] = {}
        self._gauges: dict[str, float] = {}
        self._started_s = time.monotonic()

    def listen(self, event: Mapping[str, Any]) -> None:
        """Count an event of a run."""
        with self._lock:
            if event["event"] == "item":
                self._add("clips_total", 1, "state", event["state"])
                self._add("visual_tokens_total", event.get("visual_tokens", 0))
                self._add("clip_seconds_total", event.get("seconds", 0.0))
                if event.get("code"):
                    self._add("failures_total", 1, "code", event["code"])
            elif event["event"] == "restarted":
                self._add("restarts_total", 1, "process", event["process"])
            elif event["event"] == "part":
                self._add("parts_committed_total", 1, "outcome", event["outcome"])
                self._gauges["job_parts"] = event["parts"]
                self._gauges["job_parts_committed"] = event["committed"]
                self._gauges["job_parts_open"] = event["open"]
                self._gauges["job_runners_seen"] = event["runners"]

    def add_commit(self, commit: Commit) -> None:
        """Count the records of a part that this runner committed."""
        with self._lock:
            self._add("output_tokens_total", commit.output_tokens)
            for stage, spent_s in commit.stage_s.items():
                self._add("stage_seconds_total", spent_s, "stage", stage)

    def render(self) -> str:
        """Return all numbers in the text format of Prometheus."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines())

    def _add(self, name: str, value: float, label: str = "", text: str = "") -> None:
        key = (name, label, text)
        self._counters[key] = self._counters.get(key, 0.0) + value

    def _lines(self) -> Iterator[str]:
        passed_s = max(time.monotonic() - self._started_s, 1e-9)
        clips = sum(n for (name, _, _), n in self._counters.items() if name == "clips_total")
        gauges = {
            "clips_per_minute": 60 * clips / passed_s,
            "uptime_seconds": passed_s,
            **self._gauges,
        }
        yield "# TYPE seedvideo_build_info gauge"
        yield f'seedvideo_build_info{{version="{__version__}"}} 1'
        for name, explanation in _TYPES.items():
            yield f"# HELP seedvideo_{name} {explanation}"
            yield f"# TYPE seedvideo_{name} counter"
            for (counter, label, text), value in sorted(self._counters.items()):
                if counter == name:
                    labels = f'{{{label}="{_escape(text)}"}}' if label else ""
                    yield f"seedvideo_{name}{labels} {value:.6g}"
        for name, value in gauges.items():
            yield f"# TYPE seedvideo_{name} gauge"
            yield f"seedvideo_{name} {value:.6g}"


class _Server(ThreadingHTTPServer):
    """Ignores clients that hang up, of which the base prints a traceback."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: stderr belongs to the run."""


class MetricsServer:
    """Serves metrics at ``/metrics``; use it in a ``with`` statement.

    Args:
        metrics: numbers to serve.
        address: host and port, such as ``127.0.0.1:9100``.

    Raises:
        ConfigError: ``config.invalid`` if the address cannot be used.
    """

    def __init__(self, metrics: RunnerMetrics, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), _handler(metrics))
        except (OSError, ValueError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "expected HOST:PORT"
            raise ConfigError(
                "config.invalid",
                f"--metrics {printable(address[:80])} cannot be served: {reason}",
                hint="choose a free port of this machine: --metrics 127.0.0.1:9100",
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """Port that it listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(metrics: RunnerMetrics) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.split("?")[0] != "/metrics":
                self.send_error(404)
                return
            body = metrics.render().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base
            """Print nothing: stderr belongs to the run."""

    return Handler


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
