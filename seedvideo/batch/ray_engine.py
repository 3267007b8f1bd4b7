"""Driver of a job of parts on a cluster of Ray: keeps runners alive and hands out parts.

The driver holds no state that matters: it lists the commits, and hands out the other parts. Any
number of drivers may run and be killed; the worst case is work that is done twice. Ray restarts
nothing by itself, because a hidden restart would not be counted as a death: the driver starts a new
runner in the place of a dead one, on the same machine if it lives, whose journal has the clips that
were finished. It offers the part there first.

Separate from `seedvideo.cli.batch_parts`: another engine runs the same job without Ray.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from seedvideo.batch.execution import DEFAULT_ENTRYPOINTS, Entrypoints
from seedvideo.batch.job import Job
from seedvideo.batch.journal_rows import Counts
from seedvideo.batch.part_attempts import RunnerIdentity
from seedvideo.batch.part_board import Offer, PartBoard
from seedvideo.batch.part_records import Commit
from seedvideo.batch.part_runner import PullResult
from seedvideo.batch.part_status import StatusReader
from seedvideo.batch.parts import PartedJob
from seedvideo.batch.processes import SignalCounter
from seedvideo.batch.progress import Progress
from seedvideo.batch.ray_cluster import RayCluster, differs_error
from seedvideo.batch.ray_runner import PartResult, RayRunner, RunnerSetup, Software
from seedvideo.batch.scheduler import STOP_GRACE_S
from seedvideo.batch.stores import Store
from seedvideo.errors import BatchError, SeedVideoError
from seedvideo.model.presets import is_server_name
from seedvideo.utils.text import printable

MAX_FAILED_STARTS: Final = 5
"""Runners in a row that die before they are ready, after which the run ends."""

_WAIT_S: Final = 0.5
_ROOM_REPORT_S: Final = 30.0
_REFRESH_S: Final = 5.0
"""Seconds between two listings for an idle runner while all parts are under way."""


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """What the user wants.

    Args:
        address: as of `RayCluster`.
        runners: number of runners; None for as many as have room.
        gpus_per_runner: GPUs of each; None for 1 if the cluster has any.
    """

    address: str | None = None
    runners: int | None = None
    gpus_per_runner: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunnerShape:
    """Number of runners and what each one needs.

    Args:
        runners: number of runners.
        cpus: CPUs of each: one, and one for each decode process.
        gpus: GPUs of each.
    """

    runners: int
    cpus: int
    gpus: float


@dataclass(eq=False)
class _Slot:
    """A runner, and the call that it works on."""

    actor: Any
    call: Any
    step: str = "identify"
    host: str = ""
    node: str = ""
    offer: Offer | None = None
    poll: Any = None
    refresh_at_s: float = 0.0


class RayDriver:
    """Runs one job on a cluster.

    Args:
        cluster: the cluster.
        store: store of the job.
        planned: the job.
        setup: settings that each runner receives.
        shape: number and needs of the runners.
        progress: receives the events of all runners.
        on_commit: called with each commit that a runner wrote.
    """

    def __init__(
        self,
        cluster: RayCluster,
        store: Store,
        planned: PartedJob,
        setup: RunnerSetup,
        shape: RunnerShape,
        *,
        progress: Progress,
        on_commit: Callable[[Commit], None] = lambda commit: None,
    ) -> None:
        self._cluster, self._ray = cluster, cluster.ray
        self._store, self._setup, self._shape = store, setup, shape
        self._progress, self._on_commit = progress, on_commit
        self._board = PartBoard(store, planned, RunnerIdentity.of_this_process())
        # Its methods run in threads: `poll` answers while `run` works.
        self._kind = self._ray.remote(concurrency_groups={"control": 1})(RayRunner)
        self._slots: list[_Slot] = []
        self._lost: list[tuple[Offer, str]] = []
        self._retired = self._failed_starts = 0
        self._last_error: SeedVideoError | None = None
        self._counts = Counts()
        self._result = PullResult()
        self._room_report_at_s = time.monotonic() + _ROOM_REPORT_S

    def run(self) -> PullResult:
        """Hand out parts until each has a commit, or a signal arrives.

        Raises:
            SeedVideoError: if no runner can go on, or the cluster or the store cannot be used.
        """
        self._counts = StatusReader(self._store).read().counts
        self._progress.report_start(self._counts, runners=self._shape.runners)
        with SignalCounter() as signals:
            try:
                self._result.is_complete = self._loop(signals)
            finally:
                self._kill_all()
        self._counts = StatusReader(self._store).read().counts
        self._progress.report_finish(self._counts, is_whole=self._result.is_complete)
        return self._result

    def _loop(self, signals: SignalCounter) -> bool:
        while not signals.count:
            if self._is_complete():
                return True
            self._start_runners()
            for slot in self._slots:
                if slot.call is None:
                    self._hand_out(slot)
            self._wait(stop=False)
        self._lost.clear()
        stop_at_s = time.monotonic() + 2 * STOP_GRACE_S
        while (
            any(slot.offer is not None for slot in self._slots)
            and signals.count < 2
            and time.monotonic() < stop_at_s
        ):
            self._wait(stop=True)
        return False

    def _is_complete(self) -> bool:
        """Whether every part has a commit; listed again only if no runner works."""
        if self._board.committed < self._board.parts or any(slot.offer for slot in self._slots):
            return False
        self._board.refresh()
        return self._board.committed >= self._board.parts

    def _start_runners(self) -> None:
        wanted = min(self._shape.runners - self._retired, self._board.parts - self._board.committed)
        if self._shape.runners == self._retired:
            assert self._last_error is not None
            raise self._last_error
        while len(self._slots) < wanted:
            # A part that was lost is resumed by the machine that has its journal.
            homes = {node for _, node in self._lost} - {slot.node for slot in self._slots}
            self._slots.append(self._start(next(iter(sorted(homes)), "")))
        waiting = sum(not slot.node for slot in self._slots)
        if waiting and time.monotonic() > self._room_report_at_s:
            self._room_report_at_s = float("inf")
            self._progress.report_waiting(waiting, len(self._slots))

    def _start(self, node: str) -> _Slot:
        strategies = self._ray.util.scheduling_strategies
        strategy = (
            strategies.NodeAffinitySchedulingStrategy(node_id=node, soft=True) if node else "SPREAD"
        )
        actor = self._kind.options(
            num_cpus=self._shape.cpus,
            num_gpus=self._shape.gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=strategy,
        ).remote()
        return _Slot(actor=actor, call=actor.identify.remote())

    def _hand_out(self, slot: _Slot) -> None:
        offer = self._choose(slot)
        if offer is None:
            slot.refresh_at_s = time.monotonic() + _REFRESH_S
            return
        self._board.note_begun(offer)
        slot.offer, slot.step = offer, "run"
        slot.call = slot.actor.run.remote(offer)

    def _choose(self, slot: _Slot) -> Offer | None:
        for lost in [each for each in self._lost if each[1] == slot.node]:
            self._lost.remove(lost)
            offer = self._board.again(lost[0])
            if offer is not None:
                return offer
        if time.monotonic() < slot.refresh_at_s:
            return None
        return self._board.choose([each.offer for each in self._slots if each.offer is not None])

    def _wait(self, *, stop: bool) -> None:
        """Handle the answers of the runners."""
        for slot in self._slots:
            if slot.offer is not None and slot.poll is None:
                poll = slot.actor.poll.options(concurrency_group="control")
                slot.poll = poll.remote(stop=stop)
        calls = {slot.call: slot for slot in self._slots if slot.call is not None}
        polls = {slot.poll: slot for slot in self._slots if slot.poll is not None}
        if calls:
            ready, _ = self._ray.wait([*calls], num_returns=1, timeout=_WAIT_S)
        else:
            ready = []
            time.sleep(_WAIT_S)
        if polls:
            answered, _ = self._ray.wait([*polls], num_returns=len(polls), timeout=0)
            for ref in answered:
                self._take_poll(polls[ref], timeout_s=None)
        for ref in ready:
            self._take_call(calls[ref])
        self._progress.tick(self._counts)
        self._cluster.check_control()

    def _take_poll(self, slot: _Slot, *, timeout_s: float | None) -> None:
        # If the runner died, its call raises the error, too.
        with suppress(self._ray.exceptions.RayError):
            self._replay(self._ray.get(slot.poll, timeout=timeout_s))
        slot.poll = None

    def _take_call(self, slot: _Slot) -> None:
        errors = self._ray.exceptions
        try:
            value = self._ray.get(slot.call)
        except errors.RayTaskError as error:
            if slot.step == "identify":
                cause = str(error).strip().splitlines()[-1]
                raise differs_error(f"a runner cannot start: {cause[:200]}") from error
            raise
        except errors.RayError as error:
            self._bury(slot, error)
            return
        if slot.step == "identify":
            self._greet(slot, value)
        elif slot.step == "start":
            if value is not None:
                self._retire(slot, value)
                return
            self._failed_starts, slot.call, slot.step = 0, None, "idle"
            self._progress.report_runner(slot.host, "started")
        else:
            self._finish_part(slot, value)

    def _greet(self, slot: _Slot, value: tuple[str, str, Software]) -> None:
        slot.host, slot.node, theirs = value
        ours = Software.of_this_process()
        if theirs != ours:
            raise differs_error(f"{slot.host} has {theirs}, and this machine {ours}")
        slot.step, slot.call = "start", slot.actor.start.remote(self._setup)

    def _finish_part(self, slot: _Slot, result: PartResult) -> None:
        offer = slot.offer
        assert offer is not None
        if slot.poll is not None:
            self._take_poll(slot, timeout_s=_REFRESH_S)
        self._replay(result.events)
        slot.offer = slot.call = None
        slot.step, slot.refresh_at_s = "idle", 0.0
        if result.error is not None:
            self._retire(slot, result.error, part=offer.part)
        elif result.outcome in ("committed", "second"):
            self._board.note_committed(offer)
            if result.commit is None:
                self._result.second += 1
            else:
                self._result.add(result.commit)
                self._on_commit(result.commit)
            self._progress.report_part(
                offer.part,
                result.outcome,
                committed=self._board.committed,
                parts=self._board.parts,
                open=self._board.open,
                runners=len(self._slots),
            )

    def _bury(self, slot: _Slot, error: Exception) -> None:
        """Replace a runner that died, or that the cluster lost: its part is handed out again."""
        part = None if slot.offer is None else slot.offer.part
        self._progress.report_runner(slot.host or "an unknown machine", "died", part)
        if slot.step in ("identify", "start"):
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                cause = printable(" ".join(str(error).split())[:300])
                raise BatchError(
                    "batch.cluster_runners_died",
                    f"{self._failed_starts} runners died in a row before they could begin: {cause}",
                    hint="see why: run one alone, seedvideo batch run --job URL on one machine",
                ) from error
        if slot.offer is not None:
            self._lost.append((slot.offer, slot.node))
        self._drop(slot)

    def _retire(self, slot: _Slot, error: SeedVideoError, *, part: int | None = None) -> None:
        """Let a runner go that cannot go on; the others do, as with processes of their own."""
        self._retired += 1
        self._last_error = error
        how = f"ended ({error.message} [{error.code}])"
        self._progress.report_runner(slot.host, how, part)
        self._drop(slot)

    def _drop(self, slot: _Slot) -> None:
        self._slots.remove(slot)
        # One that the cluster only lost contact with ends, if it can be reached.
        self._ray.kill(slot.actor, no_restart=True)

    def _kill_all(self) -> None:
        for slot in [*self._slots]:
            self._drop(slot)

    def _replay(self, events: tuple[Mapping[str, Any], ...]) -> None:
        """Report the events of a runner as those of this run."""
        for event in events:
            if event["event"] == "item":
                self._count(event["state"])
                self._progress.report_item(
                    event["id"],
                    event["state"],
                    code=event.get("code"),
                    visual_tokens=event.get("visual_tokens", 0),
                    spent_s=event.get("seconds", 0.0),
                    message=event.get("message", ""),
                )
            elif event["event"] == "restarted":
                self._progress.report_restart(event["process"], event["how"], event["id"])
            else:
                self._progress.report_difference(event["part"], event["runner"])

    def _count(self, state: str) -> None:
        """Count an outcome; clips that are processed again are not counted above the total."""
        values = asdict(self._counts)
        if values["pending"]:
            values["pending"] -= 1
            values[state] += 1
            self._counts = Counts(**values)


def run_on_cluster(
    options: ClusterOptions,
    store: Store,
    planned: PartedJob,
    job: Job,
    *,
    endpoint: str | None,
    give_up_after_s: float,
    scratch: str | None,
    progress: Progress,
    on_commit: Callable[[Commit], None] = lambda commit: None,
    entrypoints: Entrypoints = DEFAULT_ENTRYPOINTS,
) -> PullResult:
    """Run a job on a cluster until every part has a commit.

    Args:
        options: what the user wants.
        store: store of the job.
        planned: the job.
        job: its settings, with those that may differ between machines.
        endpoint: server of the store, instead of the provider's.
        give_up_after_s: seconds after which a request of a runner to the store is an error.
        scratch: folder on a local disk of each machine; None for the default.
        progress: receives the events of all runners.
        on_commit: called with each commit that a runner wrote.
        entrypoints: functions that the processes call.

    Raises:
        SeedVideoError: as `RayCluster` and `RayDriver.run` do.
    """
    is_folder = "://" not in store.address
    setup = RunnerSetup(
        address=os.path.abspath(store.address) if is_folder else store.address,
        endpoint=endpoint,
        give_up_after_s=give_up_after_s,
        job=job.to_json(),
        scratch=None if scratch is None else os.path.abspath(scratch),
        entrypoints=entrypoints,
    )
    cpus = 1 + job.workers
    with RayCluster(options.address, cpus=cpus * (options.runners or 1)) as cluster:
        gpus = options.gpus_per_runner
        if gpus is None:
            gpus = float(cluster.count_gpus() > 0 and not is_server_name(job.model))
        room = cluster.room(cpus=cpus, gpus=gpus)
        shape = RunnerShape(runners=options.runners or room, cpus=cpus, gpus=gpus)
        driver = RayDriver(
            cluster, store, planned, setup, shape, progress=progress, on_commit=on_commit
        )
        return driver.run()
