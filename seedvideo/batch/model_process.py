"""The model's process: loads it once, then answers about one prepared clip after another.

It may hang or die: the supervisor kills it and starts another. It opens no video.
"""

import os
from time import perf_counter
from typing import Any

from seedvideo.batch.child import Listener, be_quiet, told
from seedvideo.batch.execution import named, unpack
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.line import Said
from seedvideo.model.backends.base import Backend

_MEMORY = "model.out_of_memory"


def main(descriptor: int) -> None:
    """Serve the supervisor until it goes away."""
    listener = Listener(descriptor)
    setup = listener.next().values
    model = None
    with told(listener, out_of_memory=_MEMORY):
        model = _Model(setup)
    if model is None:
        return
    be_quiet()
    listener.say("ready", name=model.backend.name, sha256=model.backend.sha256)
    while True:
        said = listener.next()
        with told(listener, out_of_memory=_MEMORY, id=said.values["id"]):
            model.work(listener, said)


class _Model:
    """What a model's process knows from its setup."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.job = Job.from_json(setup["job"])
        os.chdir(self.job.folder)  # A model's folder may be a relative path too.
        self.tell = named(setup["tell"])
        self.backend: Backend = named(setup["load"])(self.job.model)

    def work(self, listener: Listener, said: Said) -> None:
        """Answer about one clip."""
        started = perf_counter()
        item = Item.from_json(said.values["id"], said.values["spec"])
        assert said.file is not None
        try:
            parcel = unpack(said.file)
        finally:
            os.close(said.file)
        record = self.tell(self.job, item, parcel.prepared, self.backend)
        listener.say(
            "record",
            id=item.id,
            record=record.json_line(),
            visual_tokens=record.usage.visual_tokens,
            spent_s=perf_counter() - started,
        )
