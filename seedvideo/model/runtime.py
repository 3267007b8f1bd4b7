"""Torch made ready for a model: its import, its threads, and settings of the caller kept out."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from seedvideo.environment import MODEL_BYTES, check_address_space, is_out_of_memory
from seedvideo.errors import ConfigError, ModelError, ResourceError

_is_forked = False


def _after_fork_in_child() -> None:
    global _is_forked
    _is_forked = _is_forked or "torch" in sys.modules


os.register_at_fork(after_in_child=_after_fork_in_child)


def import_torch() -> None:
    """Import torch where a first import could end the process without an error.

    Raises:
        ModelError: ``model.out_of_memory`` if there is not enough memory for it.
    """
    if "torch" in sys.modules:
        return
    with memory_errors(), _existing_folder():
        check_address_space(MODEL_BYTES)
        import torch  # noqa: F401


@contextmanager
def own_settings(*, inference: bool = True) -> Iterator[None]:
    """Compute on the CPU, in the model's own precision, whatever the caller has set.

    Args:
        inference: make tensors that can only be used for answers; False while a model is loaded.

    Raises:
        ModelError: ``model.out_of_memory`` if there is not enough memory inside.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(memory_errors())
        set_threads()
        stack.enter_context(torch.inference_mode(inference))
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def set_threads() -> None:
    """Set torch's number of threads, where it is not torch's own choice.

    In a process that was forked after torch was loaded it is one: OpenMP would wait for ever for
    threads that only the parent has.

    Raises:
        ConfigError: if ``SEEDVIDEO_THREADS`` is no whole number from 1 to 9999.
    """
    import torch

    wish = os.environ.get("SEEDVIDEO_THREADS")
    if wish is not None and re.fullmatch(r"[1-9]\d{0,3}", wish, re.ASCII) is None:
        raise ConfigError(
            "config.invalid",
            f"SEEDVIDEO_THREADS is {wish!r}",
            hint="set a whole number from 1 to 9999",
        )
    threads = 1 if _is_forked else wish and int(wish)
    if threads and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn every kind of error for want of memory into one of ours.

    Raises:
        ModelError: ``model.out_of_memory``.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, ResourceError) and not is_out_of_memory(error):
            raise
        said = f": {error.message}" if isinstance(error, ResourceError) else ""
        raise ModelError(
            "model.out_of_memory",
            f"the model needs more memory than there is, or than a limit allows{said}",
            hint="use a smaller budget, close other programs, or raise the limit (ulimit -v)",
        ) from error


@contextmanager
def _existing_folder() -> Iterator[None]:
    """Leave a working folder that was deleted, for a moment.

    Where the working folder has no name, oneMKL takes its own library for missing, and ends the
    process with status 2 while torch is imported.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        pass
    else:
        yield
        return
    gone = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    try:
        os.chdir("/")
        yield
    finally:
        os.fchdir(gone)
        os.close(gone)
