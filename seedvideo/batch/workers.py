"""The decoding process of a job: opens, filters, plans and decodes one clip after another.

It may hang or die at any time: the supervisor kills and replaces it. It writes nothing, and gives
what it made back in a file without a name. It imports no torch.
"""

import os
from typing import Any

from seedvideo.batch import fingerprint
from seedvideo.batch.child import SupervisorChannel, report_errors, silence_stderr
from seedvideo.batch.execution import named, pack
from seedvideo.batch.filters import Refused
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.environment import limit_memory
from seedvideo.errors import InputError
from seedvideo.media.source import show_path
from seedvideo.media.worker_client import WORKER
from seedvideo.model.backends.base import Prices
from seedvideo.utils.fork_server import start_server


def main(descriptor: int) -> None:
    """Serve the supervisor until it goes away."""
    channel = SupervisorChannel(descriptor)
    setup = channel.next().header
    worker = None
    with report_errors(channel, out_of_memory=_MEMORY):
        worker = _Worker(setup)
    if worker is None:
        return
    silence_stderr()
    channel.send("ready")
    start_server(WORKER)  # Beside the first clip's hashing; after that, clips need only forks.
    while True:
        message = channel.next()
        item = Item.from_json(message.header["id"], message.header["spec"])
        with report_errors(channel, out_of_memory=_MEMORY, **_facts(item.source)):
            worker.work(channel, item)


_MEMORY = "decode.out_of_memory"


class _Worker:
    """What a decoding process knows from its setup."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.job = Job.from_json(setup["job"])
        # Here a source is opened by its own name, which stays in the record.
        os.chdir(self.job.folder)
        self.prices: Prices = named(setup["prices"])(self.job.model)
        self.prepare = named(setup["prepare"])
        if self.job.memory_gib is not None:
            limit_memory(int(self.job.memory_gib * 2**30))

    def work(self, channel: SupervisorChannel, item: Item) -> None:
        """Hash one clip, and prepare it if that is still wanted."""
        content = fingerprint.content(item.source)
        channel.send("content", size=content.size, mtime_ns=content.mtime_ns, sha256=content.sha256)
        if channel.next().type == "skip":
            return
        result = self.prepare(self.job, item, self.prices)
        _check_unchanged(item.source, content)
        if isinstance(result, Refused):
            channel.send("refused", rule=result.rule, message=result.message)
            return
        try:
            file = pack(result.prepared, sheet=result.sheet)
        except OSError as error:
            # The file lies in memory, or in a folder for temporary files.
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


def _facts(source: str) -> dict[str, int]:
    """Size and time of change before anything is read, so that a failure knows whose it is."""
    try:
        facts = os.stat(source)
    except (OSError, ValueError):
        return {}  # What is wrong with the name is told by whoever opens it.
    return {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def _check_unchanged(source: str, content: fingerprint.Content) -> None:
    """Refuse a clip of which the hash and the frames may not be of the same bytes."""
    try:
        now = os.stat(source)
        is_same = (now.st_size, now.st_mtime_ns) == (content.size, content.mtime_ns)
    except OSError:
        is_same = False
    if not is_same:
        raise InputError(
            "input.changed",
            f"{show_path(source)} changed while it was read",
            hint="wait until the file is complete, then run again",
            retryable=True,
        )
