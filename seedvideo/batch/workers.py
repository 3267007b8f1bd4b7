"""Worker processes of a batch job: `decode_main` prepares clips, `model_main` runs the model.

The supervisor starts each of them by name, in an interpreter of its own. A process may hang or die
at any time; the supervisor then kills it and starts another one. The decode process writes no file:
it returns each prepared clip in an anonymous file. It does not import torch. The model process
loads the model once, then handles one group of prepared clips after another, and with a server
several at once, in threads. It opens no video.

A thread reads the supervisor's messages. It ends the process as soon as the supervisor closes its
end, even if the main thread hangs, so that a killed job leaves no process behind.

Separate from the rest of the job: each is the main module of a process of its own.
"""

import os
import queue
import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, Final

from seedvideo.batch import fingerprint
from seedvideo.batch.execution import from_memfd, import_string, to_memfd
from seedvideo.batch.filters import Rejection
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.environment import is_out_of_memory, limit_memory
from seedvideo.errors import InputError, SeedVideoError
from seedvideo.media.source import OpenedInput, display_path
from seedvideo.media.worker_client import WORKER
from seedvideo.model.backends.base import Backend, SupportsBatches, TokenCosts
from seedvideo.model.batching import BatchingBackend
from seedvideo.model.presets import is_server_name
from seedvideo.utils.fork_server import start_server
from seedvideo.utils.ipc import Message, MessageSocket, ProtocolError, error_to_dict

_MAX_TRACE_CHARS: Final = 20_000
_DEADLINE_SHARE: Final = 0.9
"""Share of a clip's time that the client of a server may take, retries included."""

_EXIT_NO_SUPERVISOR: Final = 3
"""Exit status of a process whose supervisor has closed the connection."""

_DECODE_OUT_OF_MEMORY: Final = "decode.out_of_memory"
_MODEL_OUT_OF_MEMORY: Final = "model.out_of_memory"


class SupervisorChannel:
    """A worker process's connection to the supervisor.

    Args:
        descriptor: file descriptor of the socket that the process was started with.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = MessageSocket(socket.socket(fileno=descriptor))
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._send_lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Message:
        """Wait for the next message and return it."""
        return self._messages.get()

    def send(self, type: str, *, file: int | None = None, **values: Any) -> None:  # noqa: A002  # as the field
        """Send a message; end the process if the supervisor has closed the connection."""
        try:
            with self._send_lock:
                self._socket.send(type, file=file, **values)
        except OSError:
            os._exit(_EXIT_NO_SUPERVISOR)

    def _listen(self) -> None:
        while True:
            try:
                for message in self._socket.read():
                    self._messages.put(message)
            except (EOFError, OSError, ProtocolError):
                os._exit(_EXIT_NO_SUPERVISOR)


@contextmanager
def report_errors(
    channel: SupervisorChannel, *, out_of_memory: str, **values: Any
) -> Iterator[None]:
    """Send an error raised in the block to the supervisor; the process continues.

    Args:
        channel: connection to the supervisor.
        out_of_memory: code of the error that is reported when memory runs out.
        values: further values of the message.
    """
    try:
        yield
    except MemoryError:
        _report_out_of_memory(channel, out_of_memory, values)
    except SeedVideoError as error:
        channel.send("error", **error_to_dict(error), **values)
    except Exception as error:  # noqa: BLE001
        # A bug of seedvideo or of a library must only fail this clip.
        if is_out_of_memory(error):
            _report_out_of_memory(channel, out_of_memory, values)
            return
        trace = "".join(traceback.format_exception(error))[-_MAX_TRACE_CHARS:]
        hint = "this is a bug in seedvideo: report it with the file"
        channel.send("error", **{**error_to_dict(error), "hint": hint}, trace=trace, **values)


def _report_out_of_memory(channel: SupervisorChannel, code: str, values: dict[str, Any]) -> None:
    channel.send(
        "error",
        code=code,
        stage=code.partition(".")[0],
        message="more memory is needed than is available or allowed",
        hint="use fewer workers, a smaller budget, or smaller videos",
        retryable=False,
        **values,
    )


def silence_stderr() -> None:
    """Discard everything written to stderr from now on: errors are sent as messages."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def decode_main(descriptor: int) -> None:
    """Hash, filter and prepare clips until the supervisor closes the connection."""
    channel = SupervisorChannel(descriptor)
    setup = channel.next().header
    decoder = None
    with report_errors(channel, out_of_memory=_DECODE_OUT_OF_MEMORY):
        decoder = _Decoder(setup)
    if decoder is None:
        return
    silence_stderr()
    channel.send("ready")
    # While the first clip is hashed; from then on, each clip only needs a fork.
    start_server(WORKER)
    while True:
        message = channel.next()
        item = Item.from_json(message.header["id"], message.header["spec"])
        if message.file is not None:
            # A file of the spool, which was hashed when it was written.
            item = replace(item, located=OpenedInput(message.file, item.source))
            content = fingerprint.Content(**message.header["content"])
            with report_errors(channel, out_of_memory=_DECODE_OUT_OF_MEMORY):
                decoder.process(channel, item, content)
            os.close(message.file)
            continue
        stat = _stat(item.source)
        with report_errors(channel, out_of_memory=_DECODE_OUT_OF_MEMORY, **stat):
            decoder.process(channel, item, decoder.contents.read(item.source))


def model_main(descriptor: int) -> None:
    """Load the model and run it on prepared clips until the supervisor closes the connection."""
    channel = SupervisorChannel(descriptor)
    setup = channel.next().header
    runner = None
    with report_errors(channel, out_of_memory=_MODEL_OUT_OF_MEMORY):
        runner = _ModelRunner(setup)
    if runner is None:
        return
    silence_stderr()
    channel.send("ready", name=runner.backend.name, sha256=runner.backend.sha256)
    for _ in range(runner.concurrency - 1):
        # Requests to a server; each thread takes the next clip.
        threading.Thread(target=runner.process_all, args=(channel,), daemon=True).start()
    runner.process_all(channel)


class _Decoder:
    """State of a decode process: the job and its entry points."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.job = Job.from_json(setup["job"])
        # Sources are opened by the names that their records hold.
        os.chdir(self.job.folder)
        self.prices: TokenCosts = import_string(setup["prices"])(
            self.job.model, self.job.model_options
        )
        self.prepare = import_string(setup["prepare"])
        self.contents = fingerprint.ContentReader()
        if self.job.memory_gib is not None:
            limit_memory(int(self.job.memory_gib * 2**30))

    def process(self, channel: SupervisorChannel, item: Item, content: fingerprint.Content) -> None:
        """Send the content of one clip; prepare it unless the supervisor replies "skip"."""
        channel.send("content", size=content.size, mtime_ns=content.mtime_ns, sha256=content.sha256)
        if channel.next().type == "skip":
            return
        result = self.prepare(self.job, item, self.prices)
        if item.located is None:
            _check_unchanged(item.source, content)
        if isinstance(result, Rejection):
            channel.send("rejected", rule=result.rule, message=result.message)
            return
        try:
            file = to_memfd(result.prepared, sheet=result.sheet)
        except OSError as error:
            # The anonymous file needs memory, or space in the folder for temporary files.
            raise MemoryError from error
        try:
            channel.send(
                "prepared",
                file=file,
                signature=None if result.signature is None else result.signature.to_values(),
                plan=result.prepared.plan.model_dump(),
                spent_s=dict(result.prepared.spent_s),
            )
        finally:
            os.close(file)


class _ModelRunner:
    """State of a model process: the job and the loaded model."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.job = Job.from_json(setup["job"])
        self.concurrency = int(setup["concurrency"])
        os.chdir(self.job.folder)  # The path of a model's folder may be relative, too.
        self.run_item = import_string(setup["run"])
        options = self.job.model_options
        if is_server_name(self.job.model):
            # The client gives up before the supervisor would end this process, with other requests.
            options = replace(options, deadline_s=_DEADLINE_SHARE * self.job.timeout_s)
        self.backend: Backend = import_string(setup["load"])(self.job.model, options)
        self.batching: BatchingBackend | None = None
        if self.job.batch_size > 1 and isinstance(self.backend, SupportsBatches):
            self.batching = self.backend = BatchingBackend(self.backend)

    def process_all(self, channel: SupervisorChannel) -> None:
        """Process one group of clips after another."""
        while True:
            messages = [channel.next()]
            messages += [channel.next() for _ in range(messages[0].header["group_size"] - 1)]
            calls = [partial(self.process, channel, message) for message in messages]
            if self.batching is None or len(calls) == 1:
                for call in calls:
                    call()
            else:
                self.batching.run_together(calls)

    def process(self, channel: SupervisorChannel, message: Message) -> None:
        """Run the task of one prepared clip and send its record, or its error."""
        with report_errors(channel, out_of_memory=_MODEL_OUT_OF_MEMORY, id=message.header["id"]):
            self._run(channel, message)

    def _run(self, channel: SupervisorChannel, message: Message) -> None:
        """Run the task of one prepared clip and send its record."""
        started = perf_counter()
        item = Item.from_json(message.header["id"], message.header["spec"])
        assert message.file is not None
        try:
            shared = from_memfd(message.file)
        finally:
            os.close(message.file)
        record = self.run_item(self.job, item, shared.prepared, self.backend)
        channel.send(
            "record",
            id=item.id,
            record=record.json_line(),
            visual_tokens=record.usage.visual_tokens,
            # Its share: others were answered in the same time.
            spent_s=(perf_counter() - started) / (message.header["group_size"] * self.concurrency),
        )


def _stat(source: str) -> dict[str, int]:
    """Return size and modification time before the file is read, to be sent with an error."""
    try:
        stat = os.stat(source)
    except (OSError, ValueError):
        return {}  # Opening the file reports the problem.
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _check_unchanged(source: str, content: fingerprint.Content) -> None:
    """Raise an error if the hash and the frames may be of different bytes."""
    try:
        now = os.stat(source)
        is_same = (now.st_size, now.st_mtime_ns) == (content.size, content.mtime_ns)
    except OSError:
        is_same = False
    if not is_same:
        raise InputError(
            "input.changed",
            f"{display_path(source)} changed while it was read",
            hint="wait until the file is complete, then run again",
            retryable=True,
        )
