"""Entry points of a test's job over a model that answers several clips at once.

``--model FOLDER``: each batch appends a line with its size to ``FOLDER/batches``. Clips misbehave
by name.
"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seedvideo.batch.execution import Entrypoints, run_item
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.errors import ModelError
from seedvideo.inference import ModelInput
from seedvideo.model.backends.base import Backend, Generation, Part
from seedvideo.model_options import DEFAULT_MODEL_OPTIONS, ModelOptions
from seedvideo.records import Record
from tests.model.test_batching import BatchModel

ENTRYPOINTS = Entrypoints(run=f"{__name__}:run", prices=f"{__name__}:load", load=f"{__name__}:load")


class LoggedModel(BatchModel):
    """A model that takes long enough for a batch to form meanwhile."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def generate_batch(
        self, prompts: Sequence[Sequence[Part]], **settings: Any
    ) -> list[Generation]:
        with (self._folder / "batches").open("a") as file:
            file.write(f"{len(prompts)}\n")
        time.sleep(0.2)
        return super().generate_batch(prompts, **settings)


def load(name: str, options: ModelOptions = DEFAULT_MODEL_OPTIONS) -> LoggedModel:
    """Return the model of a folder."""
    return LoggedModel(Path(name))


def batch_sizes(folder: Path) -> list[int]:
    """Return the sizes of the batches, in order."""
    return [int(line) for line in (folder / "batches").read_text().split()]


def run(job: Job, item: Item, prepared: ModelInput, model: Backend) -> Record:
    """As the real one, except for clips whose name states the harm to a model."""
    record = run_item(job, item, prepared, model)
    name = Path(item.source).stem
    if name.startswith("hang"):
        time.sleep(3600)
    if name.startswith("death"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("differs"):
        raise ModelError("model.tokens_differ", "not as planned")
    return record
