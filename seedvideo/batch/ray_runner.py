"""Runner of parts in an actor of Ray: one process, its decode and model processes below it.

The driver, `seedvideo.batch.ray_engine`, names the part to run; it
begins the attempt itself, so that the store knows the process that may die. If the actor is killed,
its processes end with it.

Separate from `seedvideo.batch.ray_engine`: it is the code that runs on other machines.
"""

import os
import platform
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from seedvideo.batch.execution import Entrypoints, import_string
from seedvideo.batch.job import Job
from seedvideo.batch.part_board import Offer
from seedvideo.batch.part_records import Commit
from seedvideo.batch.part_runner import PartRunner, default_scratch
from seedvideo.batch.parts import check_folder, read_job
from seedvideo.batch.progress import Progress
from seedvideo.batch.run_job import check_model
from seedvideo.batch.stores import Store, open_store, probe
from seedvideo.environment import __version__
from seedvideo.errors import SeedVideoError

_REPORTED: Final = ("item", "restarted", "difference")
"""Events of a part that the driver reports."""


@dataclass(frozen=True, kw_only=True)
class RunnerSetup:
    """What a runner needs to know; nothing in it is secret.

    Args:
        address: address of the job.
        endpoint: server of its store, instead of the provider's.
        give_up_after_s: seconds after which a request to the store is an error.
        job: settings as JSON.
        scratch: folder on a local disk; None for the default.
        entrypoints: functions that the processes call.
    """

    address: str
    endpoint: str | None
    give_up_after_s: float
    job: str
    scratch: str | None
    entrypoints: Entrypoints


@dataclass(frozen=True, kw_only=True)
class Software:
    """Versions that must be equal in a cluster.

    Args:
        python: major and minor version.
        ray: version.
        seedvideo: version.
    """

    python: str
    ray: str
    seedvideo: str

    @classmethod
    def of_this_process(cls) -> "Software":
        """Return the versions of this process."""
        python = ".".join(map(str, sys.version_info[:2]))
        # Either the driver or a worker of Ray: it is loaded.
        return cls(python=python, ray=sys.modules["ray"].__version__, seedvideo=__version__)

    def __str__(self) -> str:
        return f"Python {self.python}, ray {self.ray}, seedvideo {self.seedvideo}"


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """What became of an offer.

    Args:
        outcome: as of `PartRunner.run`; ``taken`` if another runner had begun the same attempt,
            ``error`` if this runner cannot go on.
        commit: commit of the part if this runner wrote it.
        error: why it cannot go on.
        events: events that were not polled.
    """

    outcome: Literal["committed", "second", "stopped", "taken", "error"]
    commit: Commit | None = None
    error: SeedVideoError | None = None
    events: tuple[dict[str, Any], ...] = ()


class RayRunner:
    """The actor. `run` has one thread, `poll` another one."""

    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque()
        self._store: Store | None = None
        self._runner: PartRunner | None = None
        self._is_stopping = False

    def identify(self) -> tuple[str, str, Software]:
        """Return the name of the machine, Ray's name for it, and the versions."""
        node = sys.modules["ray"].get_runtime_context().get_node_id()
        return platform.node() or "unknown", node, Software.of_this_process()

    def start(self, setup: RunnerSetup) -> SeedVideoError | None:
        """Open the store and the model's costs; return why this machine cannot run the job."""
        try:
            job = Job.from_json(setup.job)
            store = open_store(
                setup.address, endpoint=setup.endpoint, give_up_after_s=setup.give_up_after_s
            )
            planned = read_job(store)
            probe(store)
            check_folder(job.folder)
            # Paths of models are those that the plan had.
            os.chdir(job.folder)
            prices = import_string(setup.entrypoints.prices)(job.model, job.model_options)
            check_model(job, prices)
            self._runner = PartRunner(
                store,
                planned,
                job,
                prices,
                scratch=default_scratch() if setup.scratch is None else Path(setup.scratch),
                progress=Progress(listen=self._listen),
                entrypoints=setup.entrypoints,
            )
            self._store = store
        except SeedVideoError as error:
            return error
        return None

    def run(self, offer: Offer) -> PartResult:
        """Begin an attempt and run it to its commit."""
        assert self._runner is not None and self._store is not None
        try:
            attempt = offer.begin(self._store, self._runner.identity)
            if attempt is None:
                return PartResult(outcome="taken")
            outcome, commit = self._runner.run(attempt)
        except SeedVideoError as error:
            return PartResult(outcome="error", error=error, events=self._drain())
        return PartResult(outcome=outcome, commit=commit, events=self._drain())

    def poll(self, *, stop: bool) -> tuple[dict[str, Any], ...]:
        """Return the events since the last call.

        Args:
            stop: whether to stop after the clip in the model.
        """
        if stop and self._runner is not None and not self._is_stopping:
            self._is_stopping = True
            self._runner.stop()
        return self._drain()

    def _listen(self, event: dict[str, Any]) -> None:
        if event["event"] in _REPORTED:
            self._events.append(event)

    def _drain(self) -> tuple[dict[str, Any], ...]:
        found = []
        while self._events:
            found.append(self._events.popleft())
        return tuple(found)
