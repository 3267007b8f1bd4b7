"""A model answers the same whatever the caller has set in torch, in threads and after a fork."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from seedvideo.errors import ModelError
from seedvideo.model import load, runtime
from seedvideo.model.backends.base import Backend, interleave
from seedvideo.model.backends.native import NativeBackend
from tests.forks import forked
from tests.model.pictures import picture
from tests.model.test_native import save_tiny
from tests.tiers import quick_first, slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), answers=True)


def answers(model: Backend, seed: int = 0) -> object:
    """Outputs of a model in each of its ways, with numbers that reveal any other arithmetic."""
    assert isinstance(model, NativeBackend)
    frames = [(Fraction(n), picture(56, 84, seed=seed + n)) for n in range(2)]
    parts = interleave(frames, "Describe the video.")
    generated = model.generate(parts, max_new_tokens=8, beams=3)
    chosen = model.choose(
        parts,
        ["two dogs", "a bike", "a man"],
        task="ask",
        thinking=True,
        max_thinking_tokens=4,
    )
    pointed = model.point(parts, task="ground")
    probabilities = [(each.index, each.probability) for each in chosen.ranked]
    return generated.text, chosen.thinking, probabilities, pointed.probabilities


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "none": nullcontext,
    "default device meta": default_device,
    "device meta": lambda: torch.device("meta"),
    "float64": lambda: default_type(torch.float64),
    "bfloat16": lambda: default_type(torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
    "gradients": torch.enable_grad,
    "deterministic": deterministic,
}


@pytest.mark.parametrize("name", quick_first(SETTINGS, 5))
def test_settings_of_the_caller_change_nothing(folder: Path, name: str) -> None:
    model = load(str(folder))
    right = answers(load(str(folder)))
    with SETTINGS[name]():
        assert answers(model) == right
        loaded_inside = load(str(folder))
        assert answers(loaded_inside) == right
    assert isinstance(loaded_inside, NativeBackend)
    assert not any(each.is_inference() for each in loaded_inside._model.parameters())
    assert answers(loaded_inside) == right == answers(load(str(folder)))


def test_threads_share_a_model(folder: Path) -> None:
    model = load(str(folder))
    right = [answers(load(str(folder)), seed) for seed in range(3)]
    found: list[list[object]] = [[] for _ in right]

    def ask(seed: int) -> None:
        found[seed] += [answers(model, seed) for _ in range(3)]

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [[each] * 3 for each in right]


def test_a_forked_process_uses_its_parents_model_on_one_thread(folder: Path) -> None:
    model = load(str(folder))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        right = answers(model)
        # OpenMP has its second thread now; a child that waited for it would hang.
        assert (torch.ones(512, 512) @ torch.ones(512, 512))[0, 0] == 512

        def work() -> tuple[object, object, int]:
            return answers(model), answers(load(str(folder))), torch.get_num_threads()

        assert forked(work) == (right, right, 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_model_can_be_sent_to_another_process(folder: Path) -> None:
    model = load(str(folder))
    assert answers(pickle.loads(pickle.dumps(model))) == answers(model)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_too_little_memory_has_a_code(error: Exception) -> None:
    with pytest.raises(ModelError) as caught, runtime.translate_memory_errors():
        raise error
    assert caught.value.code == "model.out_of_memory"


def test_other_errors_are_left_alone() -> None:
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(RuntimeError, match="shapes"))
        stack.enter_context(runtime.isolate_torch())
        raise RuntimeError("shapes do not fit")


@slow
def test_torch_is_imported_in_a_deleted_working_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = (
        "import os; os.rmdir(os.getcwd()); before = os.stat('.').st_ino\n"
        "from seedvideo.model.runtime import import_torch\n"
        "import_torch()\n"
        "import torch; x = torch.ones(8, 8)\n"
        "print((x @ x)[0, 0].item(), os.stat('.').st_ino == before)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("8.0 True\n", "")
