"""Supervisor of a job: dispatches items to processes and records every outcome.

    journal -> decode processes -> model process -> journal

The supervisor has one thread, decodes nothing and loads no model. The clips in flight are bounded,
so memory does not grow with the job. Each process may die or hang: the supervisor replaces it and
retries its clip once. Records do not depend on the number or the speed of the processes.

A local model answers one group of clips after another; a server answers several clips at once, and
its outages are not blamed on clips (`seedvideo.batch.outage`).

Separate from `seedvideo.batch.run_job`, which would exceed 500 lines with it.
"""

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from seedvideo.batch import fingerprint
from seedvideo.batch.asked import count_interrupted, note_asked
from seedvideo.batch.duplicates import DuplicateGate
from seedvideo.batch.execution import (
    DEFAULT_ENTRYPOINTS,
    Entrypoints,
    get_prompt,
    read_contact_sheet,
)
from seedvideo.batch.fingerprint import Content, content_from_dict
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job, pin_revision
from seedvideo.batch.journal import END_POSITION, Journal
from seedvideo.batch.journal_rows import ProcessKind
from seedvideo.batch.outage import Outage, may_be_outage, stop_error
from seedvideo.batch.processes import (
    MODEL_START_TIMEOUT_S,
    DecodeProcess,
    Group,
    InFlightItem,
    ModelProcess,
    ProcessSet,
    SignalCounter,
    format_stderr,
)
from seedvideo.batch.progress import Progress
from seedvideo.batch.source_feed import SourceFeed
from seedvideo.errors import DecodeError, ModelError, SeedVideoError
from seedvideo.model.backends.base import TokenCosts
from seedvideo.model.batching import is_server, resolve_concurrency
from seedvideo.remote.fetching import Fetcher
from seedvideo.utils.ipc import (
    Message,
    ProtocolError,
    error_from_dict,
    error_to_dict,
    process_death_error,
)
from seedvideo.utils.text import printable

MAX_TRIES: Final = 2
"""Maximum tries of an item in one run, after which its failure is final."""

STOP_GRACE_S: Final = 5.0
"""Seconds that the model has to finish its clip after a signal to stop."""

MAX_CONSECUTIVE_CRASHES: Final = 6
"""Maximum crashes of a process without a result in between; then the job ends."""

_TICK_S: Final = 0.5


class Runner:
    """One run of a job.

    Args:
        journal: journal opened to write, with the job planned.
        job: settings of the job.
        prices: token costs of its model.
        progress: receives every event of the run.
        entrypoints: functions that the processes call.
        limit: process only the first ``limit`` clips of the input, including those already done;
            None for all.
        fetcher: fetches remote clips; the run closes it. None for one of its own.
        processes: processes of an earlier run of the same job; they outlive this run if it
            completes. None for processes of this run alone.
        on_begin: called with each clip before its work begins, once the model is loaded; clips are
            then processed one at a time. None to process several at once.

    Raises:
        ConfigError: as `resolve_concurrency` does.
    """

    def __init__(
        self,
        journal: Journal,
        job: Job,
        prices: TokenCosts,
        *,
        progress: Progress,
        entrypoints: Entrypoints = DEFAULT_ENTRYPOINTS,
        limit: int | None = None,
        fetcher: Fetcher | None = None,
        processes: ProcessSet | None = None,
        on_begin: Callable[[Item], None] | None = None,
    ) -> None:
        self._journal, self._job, self._prices = journal, pin_revision(job, prices), prices
        self._progress, self._on_begin = progress, on_begin
        self._keeps_processes = processes is not None
        self._processes = processes or ProcessSet(job, entrypoints)
        self._settings = job.settings()
        self._gate = DuplicateGate(journal, job)
        self._end_position = END_POSITION if limit is None else journal.position_after(limit)
        self._pending = journal.count_pending(before=self._end_position)
        self._feed = SourceFeed(journal, job, fetcher, end_position=self._end_position)
        self._ready: deque[InFlightItem] = deque()
        self._in_flight: dict[str, InFlightItem] = {}
        self._model_crashes = 0
        self._busy_s = self._idle_s = 0.0
        self._visual_tokens = self._idle_crashes = 0
        self._concurrency = resolve_concurrency(
            prices, batch_size=job.batch_size, concurrency=job.concurrency
        )
        self._outage = Outage() if is_server(prices) else None
        # One clip waits for a server; for a local model a whole batch forms.
        in_model = 2 * job.batch_size if self._outage is None else 1 + self._concurrency
        several = in_model + job.workers + self._feed.ahead
        self._max_in_flight = 1 if on_begin else several

    def run(self) -> bool:
        """Process all pending items.

        Returns:
            Whether all were processed; False if a signal stopped the run. Items in flight at that
            moment are returned to pending.

        Raises:
            ModelError: if the model cannot be loaded, its process crashes repeatedly, or its server
                does not answer any more.
            OutputError: if the journal cannot be written, or was removed.
        """
        is_complete = False
        with SignalCounter() as signals:
            try:
                self._processes.register(signals, self._feed)
                if self._outage is not None:
                    count_interrupted(self._journal)
                counts = self._journal.counts()
                self._progress.report_start(
                    counts, deferred=counts.pending - self._pending, workers=self._job.workers
                )
                is_complete = self._loop(signals)
            finally:
                self._release_processes(signals, keep=is_complete and self._keeps_processes)
        if is_complete and self._outage is not None:
            note_asked(self._journal, ())
        self._requeue()
        self._save_throughput()
        wait_fraction = self._idle_s / (self._idle_s + self._busy_s) if self._busy_s else 0.0
        self._progress.report_finish(
            self._journal.counts(),
            is_whole=is_complete,
            model_busy_s=round(self._busy_s, 3),
            model_wait_share=round(wait_fraction, 4),
        )
        return is_complete

    def _loop(self, signals: SignalCounter) -> bool:
        stop_at_s = float("inf")
        begun: list[Group] = []
        while True:
            if not signals.count:
                self._dispatch()
                if not self._in_flight and not self._pending:
                    return True
            elif stop_at_s == float("inf"):
                stop_at_s = time.monotonic() + STOP_GRACE_S
                begun = [] if (model := self._processes.model) is None else model.running
                # Clips that they prepare would not be used.
                self._processes.kill_workers()
            elif self._may_stop(signals, stop_at_s, begun):
                return False
            self._poll(signals)
            self._check_deadlines()
            self._progress.tick(self._journal.counts())

    def _may_stop(self, signals: SignalCounter, stop_at_s: float, begun: list[Group]) -> bool:
        """Return whether nothing that was begun is left to wait for, or the time is over."""
        model = self._processes.model
        # A prefetched group is left for the next run.
        is_idle = model is None or not any(group in model.groups for group in begun)
        return is_idle or signals.count > 1 or time.monotonic() >= stop_at_s

    def _dispatch(self) -> None:
        """Start missing processes and assign work to idle ones."""
        processes = self._processes
        busy = sum(worker.clip is not None for worker in processes.workers)
        wanted = min(self._job.workers, self._pending + busy + len(self._feed))
        processes.start_workers(wanted)
        idle = [worker for worker in processes.workers if worker.is_idle]
        self._claim(len(idle))
        for worker, ready in zip(idle, self._feed.take(len(idle)), strict=False):
            worker.assign(ready, timeout_s=self._job.timeout_s)
        is_announced = self._on_begin is not None and self._pending > 0
        if processes.model is None and (self._in_flight or is_announced):
            processes.start_model(concurrency=self._concurrency)
        if processes.model is not None:
            self._assign_groups(processes.model)

    def _claim(self, idle: int) -> None:
        """Claim clips for idle decode processes, and a few more if they must be fetched."""
        model = self._processes.model
        if self._on_begin is not None and (model is None or not model.is_ready):
            return  # A clip is only to blame for what happens after the model is loaded.
        while self._feed.wants_more(idle) and len(self._in_flight) < self._max_in_flight:
            claimed = self._journal.claim(1, before=self._end_position)
            if not claimed:
                return
            if self._on_begin is not None:
                self._on_begin(claimed[0].item)
            self._pending -= 1
            alone = self._outage is None and claimed[0].tries > 1
            clip = InFlightItem(claimed[0], runs_alone=alone)
            self._in_flight[clip.id] = clip
            self._gate.begin(clip)
            self._feed.add(clip)

    def _assign_groups(self, model: ModelProcess) -> None:
        """Give the model process as many ready clips as it takes."""
        limit = None if self._outage is None else self._outage.limit(self._concurrency)
        while clips := model.take(self._ready, limit=limit):
            if self._outage is not None:
                note_asked(self._journal, [clip.id for clip in [*model.clips, *clips]])
            model.assign(clips)

    def _poll(self, signals: SignalCounter) -> None:
        for ready in self._processes.poll(_TICK_S):
            if ready is signals:
                signals.drain()
            elif ready is self._feed:
                for clip, error in self._feed.poll():
                    self._record_failure(clip, error_to_dict(error))
                self._release_decided()
            elif isinstance(ready, DecodeProcess) and ready in self._processes.workers:
                self._on_worker_message(ready)
            elif isinstance(ready, ModelProcess) and ready is self._processes.model:
                self._on_model_message(ready)

    def _on_worker_message(self, worker: DecodeProcess) -> None:
        try:
            messages = worker.process.read()
        except (EOFError, ProtocolError) as error:
            has_exited = isinstance(error, EOFError)
            self._on_worker_death(worker, "decode.crashed", has_exited=has_exited)
            return
        for each in messages:
            if each.type == "ready":
                worker.is_ready, worker.deadline_s = True, float("inf")
            elif each.type == "error" and not worker.is_ready:
                raise error_from_dict(each.header)
            elif each.type == "content":
                self._on_content(worker, each)
            else:
                self._on_prepared(worker.finish(), each)

    def _on_content(self, worker: DecodeProcess, message: Message) -> None:
        clip = worker.clip
        assert clip is not None
        values = {name: message.header[name] for name in ("size", "mtime_ns", "sha256")}
        clip.content = Content(**values)
        try:
            clip.fingerprint = fingerprint.result_key(
                clip.content.sha256,
                clip.item,
                self._settings,
                model_sha256=self._prices.sha256,
                prompt=get_prompt(self._job, clip.item),
            )
        except SeedVideoError as error:
            worker.process.send("skip")
            worker.finish()
            self._record_failure(clip, error_to_dict(error))
            return
        rejection = self._gate.find_exact_duplicate(clip)
        if rejection is not None:
            worker.process.send("skip")
            worker.finish()
            self._record_filtered(clip, rejection.rule, rejection.message)
            self._release_decided()
        # Filters need the frames, and decide before a record is reused.
        elif self._gate.accepts_all and self._journal.has_result(clip.fingerprint):
            worker.process.send("skip")
            worker.finish()
            self._record_done(clip, None)
        else:
            worker.process.send("go")

    def _on_prepared(self, clip: InFlightItem, message: Message) -> None:
        """Handle the last message of a decode process about a clip."""
        if message.type == "error":
            self._record_failure(clip, message.header)
        elif message.type == "rejected":
            self._record_filtered(clip, message.header["rule"], message.header["message"])
        else:
            self._idle_crashes = 0
            clip.file, clip.prepared = message.file, message.header
            self._gate.hold(clip)
        self._release_decided()

    def _release_decided(self) -> None:
        """Pass on the clips that are not duplicates, record the others."""
        for clip, rejection in self._gate.pop_decided():
            assert clip.fingerprint is not None
            if rejection is not None:
                self._record_filtered(clip, rejection.rule, rejection.message)
            elif self._journal.has_result(clip.fingerprint):
                self._record_done(clip, None)
            else:
                self._ready.append(clip)

    def _on_model_message(self, model: ModelProcess) -> None:
        try:
            messages = model.process.read()
        except (EOFError, ProtocolError) as error:
            has_exited = isinstance(error, EOFError)
            self._on_model_death(model, "model.crashed", has_exited=has_exited)
            return
        for each in messages:
            if each.type == "ready":
                if each.header["sha256"] != self._prices.sha256:
                    raise ModelError(
                        "model.checkpoint_invalid",
                        f"the model {printable(self._job.model)} changed while the job ran",
                        hint="run again",
                    )
                model.mark_ready()
            elif not model.is_ready:
                raise error_from_dict(each.header)
            else:
                clip = model.finish(each.header["id"])
                self._model_crashes = 0
                if self._outage is not None:
                    self._outage.record_response(clip.id, each.header)
                if each.type == "record":
                    self._busy_s += each.header["spent_s"]
                    self._visual_tokens += each.header["visual_tokens"]
                    self._record_done(clip, each.header)
                else:
                    self._record_failure(clip, each.header)

    def _check_deadlines(self) -> None:
        now_s = time.monotonic()
        for worker in [each for each in self._processes.workers if each.deadline_s <= now_s]:
            self._on_worker_death(worker, "decode.timeout")
        model = self._processes.model
        if model is not None and model.is_late:
            self._on_model_death(model, "model.timeout")

    def _on_worker_death(
        self, worker: DecodeProcess, code: str, *, has_exited: bool = False
    ) -> None:
        """Handle a decode process that died or is late; kill it if it still runs."""
        cause = self._processes.remove(worker, has_exited=has_exited)
        if worker.clip is None:
            self._idle_crashes += 1
            if self._idle_crashes >= MAX_CONSECUTIVE_CRASHES:
                why = format_stderr(worker.process.stderr_tail)
                raise DecodeError(
                    "decode.crashed",
                    f"decode processes keep exiting without work: the last one {cause}{why}",
                )
            self._record_restart("decode", cause, None)
        else:
            self._record_restart("decode", cause, worker.clip)
            error = process_death_error(code, f"the decode process {cause}", self._job.timeout_s)
            self._record_failure(worker.finish(), error)
            self._release_decided()

    def _on_model_death(self, model: ModelProcess, code: str, *, has_exited: bool = False) -> None:
        """Handle a dead or late model process.

        If one clip alone can be the cause, it gets the error. If several can, none does: each runs
        alone from now on. All others stay ready.
        """
        late, running = model.late, [clip for group in model.running for clip in group.clips]
        cause = self._processes.remove(model, has_exited=has_exited)
        self._idle_s += model.idle_s
        if not model.is_ready:
            if code == "model.timeout":
                cause = f"had not loaded the model after {MODEL_START_TIMEOUT_S:g} s and {cause}"
            raise ModelError(
                code, f"the model process {cause}{format_stderr(model.process.stderr_tail)}"
            )
        # Of a server that does not answer, `Outage` keeps count.
        self._model_crashes += self._outage is None or code != "model.timeout"
        if self._model_crashes >= MAX_CONSECUTIVE_CRASHES:
            crashes = f", the {self._model_crashes}th time in a row"
            raise ModelError("model.crashed", f"the model process {cause}{crashes}")
        suspects = [group.clips for group in late] if code == "model.timeout" else [running]
        blamed = [clips[0] for clips in suspects if len(clips) == 1]
        for clips in suspects:
            for clip in clips:
                clip.runs_alone = len(clips) > 1
        self._record_restart("model", cause, blamed[0] if blamed else None)
        self._ready.extendleft(reversed([clip for clip in model.clips if clip not in blamed]))
        error = process_death_error(code, f"the model process {cause}", self._job.timeout_s)
        failed = [clip for clip in blamed if not self._record_failure(clip, error)]
        if self._outage is not None:
            note_asked(self._journal, (), again=len(running) - len(failed))

    def _record_restart(self, process: ProcessKind, cause: str, clip: InFlightItem | None) -> None:
        self._journal.record_restart(process)
        self._progress.report_restart(process, cause, None if clip is None else clip.id)

    def _record_failure(self, clip: InFlightItem, values: dict[str, Any]) -> bool:
        """Record a failure, or return the item to pending; then return True."""
        self._journal.check_exists()
        tries = None
        if self._outage is not None and may_be_outage(values):
            if not self._outage.record_failure(clip.id, values["code"]):
                self._ready.append(clip)
                self._stop_if_final(values)
                return True
            tries = MAX_TRIES
        sent = values["code"], values["stage"], values["message"], values["hint"]
        if values["retryable"] and (tries or clip.claimed.tries) < MAX_TRIES:
            self._journal.mark_retry(clip.id, *sent)
            self._pending += 1
            self._discard(clip)
            return True
        content = clip.content or content_from_dict(values)
        state = "failed"
        if values.get("is_deadly"):
            state = "quarantined"
            self._journal.mark_quarantined(clip.id, *sent, content=content)
        else:
            retryable = bool(values["retryable"])
            self._journal.mark_failed(clip.id, *sent, retryable, content=content, tries=tries)
        self._finish(clip, state, code=sent[0], message=sent[2])
        self._stop_if_final(values)
        return False

    def _stop_if_final(self, values: dict[str, Any]) -> None:
        """End the run if its server does not answer any more; clips in flight become pending."""
        if self._outage is not None and self._outage.is_final:
            self._requeue()
            raise stop_error(values)

    def _record_filtered(self, clip: InFlightItem, rule: str, message: str) -> None:
        self._journal.check_exists()
        self._journal.mark_filtered(clip.id, rule, message, clip.content)
        self._finish(clip, "filtered")

    def _record_done(self, clip: InFlightItem, sent: dict[str, Any] | None) -> None:
        """Record an item as done, with a new record or with a stored one."""
        self._journal.check_exists()
        assert clip.fingerprint is not None
        assert clip.content is not None
        record = None if sent is None else sent["record"]
        sheet = None if clip.file is None or sent is None else read_contact_sheet(clip.file)
        self._journal.mark_done(clip.id, clip.fingerprint, clip.content, record, sheet)
        self._finish(clip, "done", visual_tokens=0 if sent is None else sent["visual_tokens"])

    def _finish(self, clip: InFlightItem, state: str, **facts: Any) -> None:
        """Report an outcome that is on disk."""
        self._gate.finish(clip)
        self._discard(clip)
        self._progress.report_item(
            clip.id, state, spent_s=time.monotonic() - clip.started_s, **facts
        )

    def _discard(self, clip: InFlightItem) -> None:
        clip.release()
        self._in_flight.pop(clip.id, None)

    def _release_processes(self, signals: SignalCounter, *, keep: bool) -> None:
        """Kill the processes, or leave idle ones to the next run."""
        self._processes.unregister(signals, self._feed)
        self._feed.close()
        self._idle_s += self._processes.take_idle_s()
        if not keep:
            self._processes.close()
        for clip in self._in_flight.values():
            clip.release()

    def _requeue(self) -> None:
        for clip in self._in_flight.values():
            self._journal.release(clip.id)
            clip.release()
        self._in_flight.clear()

    def _save_throughput(self) -> None:
        """Store the speed of the model for dry runs."""
        if self._busy_s > 0 and self._visual_tokens:
            speed = {
                "visual_tokens_per_s": self._visual_tokens / self._busy_s,
                "model_sha256": self._prices.sha256,
                "task": self._job.task,
            }
            self._journal.set_meta("speed", json.dumps(speed))
