"""Isolation of torch: import, threads and the caller's settings."""

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
    """Import torch, checking the address space first: a failing first import can kill the process.

    Raises:
        ModelError: ``model.out_of_memory`` if memory runs out.
    """
    if "torch" in sys.modules:
        return
    with translate_memory_errors(), _existing_directory():
        check_address_space(MODEL_BYTES)
        import torch  # noqa: F401  # imported here, where its errors are translated


@contextmanager
def isolate_torch(*, inference: bool = True) -> Iterator[None]:
    """Compute in the model's own precision, whatever the caller has configured for torch.

    Tensors without a device are made on the CPU, and autocast of the CPU is off.

    Args:
        inference: whether to use inference mode; False while a model is loaded.

    Raises:
        ModelError: ``model.out_of_memory`` if memory runs out inside the block.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(translate_memory_errors())
        set_threads()
        stack.enter_context(torch.inference_mode(inference))
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def set_threads() -> None:
    """Set torch's number of threads from ``SEEDVIDEO_THREADS``; leave torch's choice otherwise.

    In a process that was forked after torch was loaded it is one: OpenMP would wait forever for
    threads that exist only in the parent.

    Raises:
        ConfigError: if ``SEEDVIDEO_THREADS`` is not a whole number from 1 to 9999.
    """
    import torch

    setting = os.environ.get("SEEDVIDEO_THREADS")
    if setting is not None and re.fullmatch(r"[1-9]\d{0,3}", setting, re.ASCII) is None:
        raise ConfigError(
            "config.invalid",
            f"SEEDVIDEO_THREADS is {setting!r}, expected 1 to 9999",
            hint="set it to a whole number from 1 to 9999, or unset it",
        )
    threads = 1 if _is_forked else setting and int(setting)
    if threads and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@contextmanager
def translate_memory_errors() -> Iterator[None]:
    """Translate every kind of out-of-memory error.

    Raises:
        ModelError: ``model.out_of_memory``.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, ResourceError) and not is_out_of_memory(error):
            raise
        detail = f": {error.message}" if isinstance(error, ResourceError) else ""
        raise ModelError(
            "model.out_of_memory",
            f"the model needs more memory than is available or allowed{detail}",
            hint="use a smaller budget, close other programs, or raise the limit (ulimit -v)",
        ) from error


@contextmanager
def _existing_directory() -> Iterator[None]:
    """Leave a deleted working directory temporarily.

    In a working directory without a name, oneMKL cannot find its own library and ends the process
    with status 2 while torch is imported.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        pass
    else:
        yield
        return
    deleted = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    try:
        os.chdir("/")
        yield
    finally:
        os.fchdir(deleted)
        os.close(deleted)
