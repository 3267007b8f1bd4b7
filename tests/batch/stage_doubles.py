"""Entry points of a test's job: a model without weights, and clips that do harm by name.

Processes import them by name, such as ``tests.batch.stage_doubles:load``.
"""

import os
import resource
import signal
import time
from pathlib import Path

from seedvideo.batch.execution import Entrypoints, PreparedItem, prepare_item, run_item
from seedvideo.batch.filters import Rejection
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.inference import ModelInput
from seedvideo.model.backends.base import Backend, TokenCosts
from seedvideo.records import Record
from tests.synthetic_clips import ColourModel, FixedAnswerModel

ENTRYPOINTS = Entrypoints(
    prepare="tests.batch.stage_doubles:prepare",
    run="tests.batch.stage_doubles:run",
    prices="tests.batch.stage_doubles:load",
    load="tests.batch.stage_doubles:load",
)

# A test may limit the files of the supervisor; the limit must not apply to its processes.
_, _MOST = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST, _MOST))


def load(name: str, options: object = None) -> ColourModel:
    """Return a model that names colours, returns nothing, or names a setting."""
    if name == "allocator":
        return FixedAnswerModel(f"It keeps {os.environ.get('MALLOC_TRIM_THRESHOLD_')} bytes.")
    if name == "threads":
        return FixedAnswerModel(f"Waiting threads are {os.environ.get('OMP_WAIT_POLICY')}.")
    return FixedAnswerModel("") if name == "blank" else ColourModel()


def prepare(job: Job, item: Item, prices: TokenCosts) -> PreparedItem | Rejection:
    """As the real one, except for clips whose name states the harm to a process."""
    name = Path(item.source).stem
    if name.startswith("poison"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("once") and _first_time(item):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("hang"):
        time.sleep(3600)
    if name.startswith("huge"):
        bytearray(1 << 34)
    if name.startswith("bug"):
        raise ZeroDivisionError("oh")
    if name.startswith("written"):
        with open(item.source, "ab") as file:
            file.write(b"\0")
    return prepare_item(job, item, prices)


def run(job: Job, item: Item, prepared: ModelInput, model: Backend) -> Record:
    """As the real one, except for clips whose name states the harm to a model."""
    name = Path(item.source).stem
    if name.startswith("modelhang"):
        time.sleep(3600)
    if name.startswith("modeldeath"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("modelmemory"):
        raise MemoryError
    if name.startswith("slow"):
        time.sleep(0.3)
    return run_item(job, item, prepared, model)


def _first_time(item: Item) -> bool:
    mark = Path(f"{item.source}.tried")
    if mark.exists():
        return False
    mark.touch()
    return True
