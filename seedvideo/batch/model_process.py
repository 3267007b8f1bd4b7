"""The model's process: loads it once, then answers about one prepared clip after another.

It may hang or die: the supervisor kills it and starts another. It opens no video.
"""

import os
from time import perf_counter
from typing import Any

from seedvideo.batch.child import SupervisorChannel, report_errors, silence_stderr
from seedvideo.batch.execution import named, unpack
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.model.backends.base import Backend
from seedvideo.utils.ipc import Message

_MEMORY = "model.out_of_memory"


def main(descriptor: int) -> None:
    """Serve the supervisor until it goes away."""
    channel = SupervisorChannel(descriptor)
    setup = channel.next().header
    model = None
    with report_errors(channel, out_of_memory=_MEMORY):
        model = _Model(setup)
    if model is None:
        return
    silence_stderr()
    channel.send("ready", name=model.backend.name, sha256=model.backend.sha256)
    while True:
        message = channel.next()
        with report_errors(channel, out_of_memory=_MEMORY, id=message.header["id"]):
            model.work(channel, message)


class _Model:
    """What a model's process knows from its setup."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.job = Job.from_json(setup["job"])
        os.chdir(self.job.folder)  # A model's folder may be a relative path too.
        self.tell = named(setup["tell"])
        self.backend: Backend = named(setup["load"])(self.job.model)

    def work(self, channel: SupervisorChannel, message: Message) -> None:
        """Answer about one clip."""
        started = perf_counter()
        item = Item.from_json(message.header["id"], message.header["spec"])
        assert message.file is not None
        try:
            parcel = unpack(message.file)
        finally:
            os.close(message.file)
        record = self.tell(self.job, item, parcel.prepared, self.backend)
        channel.send(
            "record",
            id=item.id,
            record=record.json_line(),
            visual_tokens=record.usage.visual_tokens,
            spent_s=perf_counter() - started,
        )
