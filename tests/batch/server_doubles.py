"""Entry points of a test's job over a server that is made up: a folder says how it behaves.

``--model FOLDER``: each request appends lines to ``FOLDER/log``. While ``FOLDER/down`` exists, no
request is answered; while ``FOLDER/refuses`` exists, all are refused. Clips misbehave by name.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seedvideo.batch.execution import Entrypoints, run_item
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.errors import ModelError
from seedvideo.inference import ModelInput
from seedvideo.model.backends.base import Backend, Generation, ModelDetails, Part
from seedvideo.model_options import DEFAULT_MODEL_OPTIONS, ModelOptions
from seedvideo.records import Record
from tests.synthetic_clips import ColourModel

ENTRYPOINTS = Entrypoints(run=f"{__name__}:run", prices=f"{__name__}:load", load=f"{__name__}:load")

REQUEST_S = 0.2


class ServerModel(ColourModel):
    """A colour model that is asked over a network which takes its time."""

    details = ModelDetails(source="server", server="http://localhost")

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def generate(self, parts: Sequence[Part], **settings: Any) -> Generation:
        time.sleep(REQUEST_S)
        if (self._folder / "down").exists():
            raise ModelError("model.server_unreachable", "connection refused", retryable=True)
        if (self._folder / "refuses").exists():
            raise ModelError("model.server_refused", "the key is wrong")
        return super().generate(parts)


def load(name: str, options: ModelOptions = DEFAULT_MODEL_OPTIONS) -> ServerModel:
    """Return the model of a folder."""
    return ServerModel(Path(name))


def run(job: Job, item: Item, prepared: ModelInput, model: Backend) -> Record:
    """As the real one, with a log, and clips whose name states what the server does with them."""
    log = Path(job.model) / "log"
    _append(log, f"ask {item.id}")
    name = Path(item.source).stem
    if name.startswith("hang"):
        time.sleep(3600)
    if name.startswith("death"):
        time.sleep(REQUEST_S)
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("slow"):
        time.sleep(1.5)
    if name.startswith("poison"):
        raise ModelError("model.server_error", "status 500", retryable=True)
    try:
        record = run_item(job, item, prepared, model)
    finally:
        _append(log, f"end {item.id}")
    return record


class Log:
    """What a server was asked.

    Args:
        folder: folder of the server.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "log"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        self.entries = [tuple(line.split(" ", 1)) for line in lines]
        self.asked = Counter(name for kind, name in self.entries if kind == "ask")
        self.ended = Counter(name for kind, name in self.entries if kind == "end")

    @property
    def max_at_once(self) -> int:
        """Maximum number of requests at once; only for a run that was not cut off."""
        now = most = 0
        for kind, _ in self.entries:
            now += 1 if kind == "ask" else -1
            most = max(most, now)
        return most


def server_job(folder: Path, **changes: Any) -> Job:
    """A job over the server of a folder."""
    return replace(Job(model=str(folder), timeout_s=60, concurrency=3), **changes)


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)
