"""The supervisor: takes items from the journal, hands them round, and writes down every verdict.

    journal -> decoding processes -> the model's process -> journal

One thread, which never decodes and loads no model. At most ``2 + workers`` clips are under way, so
memory does not grow with the job. Every process may die or hang: it is replaced, and what it worked
on is tried once more. Records do not depend on the number of processes or on who was faster.
"""

import json
import os
import selectors
import time
from collections import deque
from typing import Any, Final

from seedvideo.batch import fingerprint
from seedvideo.batch.duplicates import Order
from seedvideo.batch.execution import OUR_HANDS, Hands, prompt_of, sheet_of
from seedvideo.batch.fingerprint import Content, content_from_dict
from seedvideo.batch.job import Job
from seedvideo.batch.journal import NO_PLACE, Journal
from seedvideo.batch.journal_rows import Process as ProcessKind
from seedvideo.batch.journal_schema import JOURNAL_NAME
from seedvideo.batch.processes import START_TIMEOUT_S, Clip, Model, Stops, Worker
from seedvideo.batch.progress import Progress
from seedvideo.errors import DecodeError, ModelError, OutputError, SeedVideoError
from seedvideo.model.backends.base import Prices
from seedvideo.utils.ipc import (
    Message,
    ProtocolError,
    error_from_dict,
    error_to_dict,
    process_death_error,
)
from seedvideo.utils.text import printable

MAX_TRIES: Final = 2
"""How often an item is begun in one run before its failure is its verdict."""

GRACE_S: Final = 5.0
"""Time that the model has to finish its clip once the job shall stop."""

MAX_DEATHS_IN_A_ROW: Final = 6
"""The model's process may end so often without one answer in between; then the job ends too."""

_TICK_S: Final = 0.5


class Runner:
    """One run of a job.

    Args:
        journal: opened to write, the job planned.
        job: what is asked.
        prices: of its model.
        progress: told what happens.
        hands: who does the work.
        limit: do only the first so many clips in the order of the input; those that are done count.
            None for all.
    """

    def __init__(
        self,
        journal: Journal,
        job: Job,
        prices: Prices,
        *,
        progress: Progress,
        hands: Hands = OUR_HANDS,
        limit: int | None = None,
    ) -> None:
        self._journal, self._job, self._prices = journal, job, prices
        self._progress, self._hands = progress, hands
        self._settings = job.settings()
        self._order = Order(journal, job)
        self._before = NO_PLACE if limit is None else journal.place_after(limit)
        self._to_do = journal.to_do(before=self._before)
        self._workers: list[Worker] = []
        self._model: Model | None = None
        self._ready: deque[Clip] = deque()
        self._under_way: dict[str, Clip] = {}
        self._deaths = 0
        self._busy_s = self._idle_s = 0.0
        self._answered = self._answered_at_stop = self._visual_tokens = 0
        self._unasked_ends = 0
        self._selector = selectors.DefaultSelector()

    def run(self) -> bool:
        """Do what is to be done.

        Returns:
            Whether all of it was; False if a person stopped it. What was under way then is as if
            it had not been begun.

        Raises:
            ModelError: if the model cannot be loaded, or its process ends again and again.
            OutputError: if the journal cannot be written, or is gone.
        """
        is_whole = False
        with Stops() as stops:
            try:
                self._selector.register(stops, selectors.EVENT_READ)
                counts = self._journal.counts()
                self._progress.started(
                    counts, later=counts.pending - self._to_do, workers=self._job.workers
                )
                is_whole = self._loop(stops)
            finally:
                self._end_processes()
        self._put_back()
        self._note_speed()
        wait_share = self._idle_s / (self._idle_s + self._busy_s) if self._busy_s else 0.0
        self._progress.finished(
            self._journal.counts(),
            is_whole=is_whole,
            model_busy_s=round(self._busy_s, 3),
            model_wait_share=round(wait_share, 4),
        )
        return is_whole

    def _loop(self, stops: Stops) -> bool:
        stop_at_s = float("inf")
        while True:
            if not stops.count:
                self._feed()
                if not self._under_way and not self._to_do:
                    return True
            elif stop_at_s == float("inf"):
                stop_at_s = time.monotonic() + GRACE_S
                self._answered_at_stop = self._answered
                # What they prepare would not be used any more.
                self._end_workers()
            elif self._is_stopped(stops, stop_at_s):
                return False
            self._wait(stops)
            self._check_deadlines()
            self._progress.tick(self._journal.counts())

    def _is_stopped(self, stops: Stops, stop_at_s: float) -> bool:
        """Whether there is nothing left to wait for, or no time."""
        model = self._model
        is_idle = model is None or not model.is_ready or not model.clips
        # The model has one clip more than it works on: that one is for another time.
        is_next = self._answered > self._answered_at_stop
        return is_idle or is_next or stops.count > 1 or time.monotonic() >= stop_at_s

    def _feed(self) -> None:
        """Give everybody something to do."""
        busy = sum(worker.clip is not None for worker in self._workers)
        wanted = min(self._job.workers, self._to_do + busy)
        while len(self._workers) < wanted:
            self._hire()
        for worker in self._workers:
            if worker.is_idle and len(self._under_way) < 2 + self._job.workers:
                for taken in self._journal.take(1, before=self._before):
                    self._to_do -= 1
                    clip = Clip(taken)
                    self._under_way[clip.id] = clip
                    self._order.begin(clip)
                    worker.begin(clip, timeout_s=self._job.timeout_s)
        if self._model is None and self._under_way:
            self._model = Model(self._job, self._hands)
            self._selector.register(self._model.process, selectors.EVENT_READ, self._model)
        while self._ready and self._model is not None and self._model.has_room:
            self._model.begin(self._ready.popleft(), timeout_s=self._job.timeout_s)

    def _hire(self) -> None:
        worker = Worker(self._job, self._hands)
        self._workers.append(worker)
        self._selector.register(worker.process, selectors.EVENT_READ, worker)

    def _wait(self, stops: Stops) -> None:
        for key, _ in self._selector.select(_TICK_S):
            if key.fileobj is stops:
                stops.drain()
            elif isinstance(key.data, Worker) and key.data in self._workers:
                self._hear_worker(key.data)
            elif key.data is self._model and self._model is not None:
                self._hear_model(self._model)

    def _hear_worker(self, worker: Worker) -> None:
        try:
            said = worker.process.read()
        except (EOFError, ProtocolError) as error:
            has_exited = isinstance(error, EOFError)
            self._lose_worker(worker, "decode.crashed", has_exited=has_exited)
            return
        for each in said:
            if each.type == "ready":
                worker.is_ready, worker.deadline_s = True, float("inf")
            elif each.type == "error" and not worker.is_ready:
                raise error_from_dict(each.header)
            elif each.type == "content":
                self._on_content(worker, each)
            else:
                self._on_prepared(worker.rest(), each)

    def _on_content(self, worker: Worker, said: Message) -> None:
        clip = worker.clip
        assert clip is not None
        values = {name: said.header[name] for name in ("size", "mtime_ns", "sha256")}
        clip.content = Content(**values)
        try:
            clip.fingerprint = fingerprint.of(
                clip.content.sha256,
                clip.item,
                self._settings,
                model_sha256=self._prices.sha256,
                prompt=prompt_of(self._job, clip.item),
            )
        except SeedVideoError as error:
            worker.process.send("skip")
            worker.rest()
            self._fail(clip, error_to_dict(error))
            return
        refused = self._order.repeats_bytes(clip)
        if refused is not None:
            worker.process.send("skip")
            worker.rest()
            self._settle_filtered(clip, refused.rule, refused.message)
            self._release()
        # Filters decide before a record is used again, and they must see the clip.
        elif self._order.takes_all and self._journal.known(clip.fingerprint):
            worker.process.send("skip")
            worker.rest()
            self._settle_done(clip, None)
        else:
            worker.process.send("go")

    def _on_prepared(self, clip: Clip, said: Message) -> None:
        """A decoding process is done with a clip."""
        if said.type == "error":
            self._fail(clip, said.header)
        elif said.type == "refused":
            self._settle_filtered(clip, said.header["rule"], said.header["message"])
        else:
            self._unasked_ends = 0
            clip.file, clip.prepared = said.file, said.header
            self._order.hold(clip)
        self._release()

    def _release(self) -> None:
        """Pass on the clips of which it is settled that they repeat none before them."""
        for clip, refused in self._order.decided():
            assert clip.fingerprint is not None
            if refused is not None:
                self._settle_filtered(clip, refused.rule, refused.message)
            elif self._journal.known(clip.fingerprint):
                self._settle_done(clip, None)
            else:
                self._ready.append(clip)

    def _hear_model(self, model: Model) -> None:
        try:
            said = model.process.read()
        except (EOFError, ProtocolError) as error:
            has_exited = isinstance(error, EOFError)
            self._lose_model(model, "model.crashed", has_exited=has_exited)
            return
        for each in said:
            if each.type == "ready":
                if each.header["sha256"] != self._prices.sha256:
                    raise ModelError(
                        "model.checkpoint_invalid",
                        f"the model {printable(self._job.model)} changed while the job ran",
                        hint="run again",
                    )
                model.ready()
            elif not model.is_ready:
                raise error_from_dict(each.header)
            else:
                clip = model.end(timeout_s=self._job.timeout_s)
                self._deaths = 0
                self._answered += 1
                if each.type == "record":
                    self._busy_s += each.header["spent_s"]
                    self._visual_tokens += each.header["visual_tokens"]
                    self._settle_done(clip, each.header)
                else:
                    self._fail(clip, each.header)

    def _check_deadlines(self) -> None:
        now_s = time.monotonic()
        for worker in [each for each in self._workers if each.deadline_s <= now_s]:
            self._lose_worker(worker, "decode.timeout")
        if self._model is not None and self._model.deadline_s <= now_s:
            self._lose_model(self._model, "model.timeout")

    def _lose_worker(self, worker: Worker, code: str, *, has_exited: bool = False) -> None:
        """A decoding process is dead, or is made so."""
        self._selector.unregister(worker.process)
        self._workers.remove(worker)
        how = worker.process.kill(has_exited=has_exited)
        if worker.clip is None:
            self._unasked_ends += 1
            if self._unasked_ends >= MAX_DEATHS_IN_A_ROW:
                why = _why(worker.process.stderr_tail)
                raise DecodeError(
                    "decode.crashed", f"decoding processes end unasked: one {how}{why}"
                )
            self._note_restart("decode", how, None)
        else:
            self._note_restart("decode", how, worker.clip)
            fault = process_death_error(code, f"the decoding process {how}", self._job.timeout_s)
            self._fail(worker.rest(), fault)
            self._release()

    def _lose_model(self, model: Model, code: str, *, has_exited: bool = False) -> None:
        """The model's process is dead, or is made so; what it had not begun is for the next."""
        self._selector.unregister(model.process)
        how = model.process.kill(has_exited=has_exited)
        self._idle_s += model.idle_s
        self._model = None
        self._deaths += 1
        if not model.is_ready:
            if code == "model.timeout":
                how = f"had not loaded the model after {START_TIMEOUT_S:g} s and {how}"
            raise ModelError(code, f"the model's process {how}{_why(model.process.stderr_tail)}")
        if self._deaths >= MAX_DEATHS_IN_A_ROW:
            again = f", the {self._deaths}th time in a row"
            raise ModelError("model.crashed", f"the model's process {how}{again}")
        self._note_restart("model", how, model.clips[0] if model.clips else None)
        if model.clips:
            began = model.clips.popleft()
            self._ready.extendleft(reversed(model.clips))
            self._fail(
                began, process_death_error(code, f"the model's process {how}", self._job.timeout_s)
            )

    def _note_restart(self, process: ProcessKind, how: str, clip: Clip | None) -> None:
        self._journal.restarted(process)
        self._progress.restarted(process, how, None if clip is None else clip.id)

    def _fail(self, clip: Clip, values: dict[str, Any]) -> None:
        """An item has failed: it is tried again, or that is its verdict."""
        self._check_folder()
        told: tuple[str, str, str, str]
        told = values["code"], values["stage"], values["message"], values["hint"]
        if values["retryable"] and clip.taken.tries < MAX_TRIES:
            self._journal.again(clip.id, *told)
            self._to_do += 1
            self._order.again(clip)
            self._forget(clip)
            return
        content = clip.content or content_from_dict(values)
        state = "failed"
        if values.get("is_deadly"):
            state = "quarantined"
            self._journal.quarantined(clip.id, *told, content=content)
        else:
            retryable = bool(values["retryable"])
            self._journal.failed(clip.id, *told, retryable, content=content)
        self._settled(clip, state, code=told[0], message=told[2])

    def _settle_filtered(self, clip: Clip, rule: str, message: str) -> None:
        self._check_folder()
        self._journal.filtered(clip.id, rule, message, clip.content)
        self._settled(clip, "filtered")

    def _settle_done(self, clip: Clip, told: dict[str, Any] | None) -> None:
        """An item is done, by a record that the model told or that was known before."""
        self._check_folder()
        assert clip.fingerprint is not None
        assert clip.content is not None
        record = None if told is None else told["record"]
        sheet = None if clip.file is None or told is None else sheet_of(clip.file)
        self._journal.done(clip.id, clip.fingerprint, clip.content, record, sheet)
        self._settled(clip, "done", visual_tokens=0 if told is None else told["visual_tokens"])

    def _settled(self, clip: Clip, state: str, **facts: Any) -> None:
        """The verdict is on the disk: now it may be told."""
        self._order.settle(clip)
        self._forget(clip)
        self._progress.item(clip.id, state, spent_s=time.monotonic() - clip.began_s, **facts)

    def _forget(self, clip: Clip) -> None:
        clip.drop()
        self._under_way.pop(clip.id, None)

    def _check_folder(self) -> None:
        """Refuse to write into a journal that nobody will find: its folder was removed."""
        path = self._journal.folder / JOURNAL_NAME
        if not os.path.exists(path):
            raise OutputError(
                "output.unwritable",
                f"{printable(str(path))} was removed while the job ran",
                hint="run again: it begins anew",
            )

    def _end_workers(self) -> None:
        for worker in self._workers:
            self._selector.unregister(worker.process)
            worker.process.kill()
        self._workers.clear()

    def _end_processes(self) -> None:
        self._end_workers()
        if self._model is not None:
            self._idle_s += self._model.idle_s
            self._model.process.kill()
            self._model = None
        self._selector.close()
        for clip in self._under_way.values():
            clip.drop()

    def _put_back(self) -> None:
        for clip in self._under_way.values():
            self._journal.put_back(clip.id)
        self._under_way.clear()

    def _note_speed(self) -> None:
        """Keep how fast the model was, for the estimates of a dry run."""
        if self._busy_s > 0 and self._visual_tokens:
            speed = {
                "visual_tokens_per_s": self._visual_tokens / self._busy_s,
                "model_sha256": self._prices.sha256,
                "task": self._job.task,
            }
            self._journal.note("speed", json.dumps(speed))


def _why(stderr_tail: str) -> str:
    return f": {printable(stderr_tail[:300])}" if stderr_tail else ""
