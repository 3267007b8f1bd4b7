"""Resource limits, and errors of the environment: no memory, descriptors, processes or disk space.

Libraries report them as ImportError, RuntimeError, OSError or SystemError. Some crash the process
instead when they load with too little address space (`ulimit -v`), so it is checked before.
"""

import errno
import os
import resource
import sys
from typing import Final

from seedvideo.errors import OutputError, ResourceError, SeedVideoError

__version__ = "0.1.0"

DECODER_BYTES: Final = 450 << 20
"""Address space that planning and decoding need; measured with numpy 2.4, OpenCV 5 and PyAV 18."""

MODEL_BYTES: Final = 1300 << 20
"""Address space that torch and the nano model need before the first clip; measured with 2.13."""

_NO_MEMORY: Final = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "failed to map segment",
    "bad_alloc",
    "std::bad_alloc",
    "out of memory",
)
_NO_MEMORY_UNDER_A_LIMIT: Final = (
    # Messages of oneDNN, and of CPython if an import fails without an exception.
    "could not create a primitive",
    "could not create a memory",
    "without setting an exception",
    "importing the numpy c-extensions failed",
)
_NO_THREAD: Final = ("can't start new thread", "resource temporarily unavailable")


def address_space_left_bytes() -> int | None:
    """Return the bytes of address space left to this process; None without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else max(0, limit - address_space_bytes())


def address_space_bytes() -> int:
    """Return the bytes of address space of this process; 0 if the system does not report them."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def set_limit(kind: int, value: int) -> None:
    """Set the soft and hard resource limit of this process, at most the current hard limit."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def limit_memory(extra_bytes: int) -> None:
    """Limit the address space that this process may add to its current one."""
    if sys.platform == "linux":  # macOS has this limit but does not enforce it.
        set_limit(resource.RLIMIT_AS, address_space_bytes() + extra_bytes)


def check_address_space(needed_bytes: int) -> None:
    """Check that enough address space is left to load libraries.

    Raises:
        ResourceError: ``system.out_of_memory``.
    """
    left_bytes = address_space_left_bytes()
    if left_bytes is None or left_bytes >= needed_bytes:
        return
    raise ResourceError(
        "system.out_of_memory",
        f"{left_bytes >> 20} MiB of address space are left, {needed_bytes >> 20} MiB are needed",
        hint="raise the limit: ulimit -v unlimited",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of any library means that memory is exhausted."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if not isinstance(error, (ImportError, RuntimeError, SystemError, OSError)):
        return False
    text = str(error).lower()
    if any(words in text for words in _NO_MEMORY):
        return True
    is_limited = address_space_left_bytes() is not None
    return is_limited and any(words in text for words in _NO_MEMORY_UNDER_A_LIMIT)


def resolve_error(error: Exception) -> Exception:
    """Return the `SeedVideoError` for an error of the environment; any other error unchanged."""
    if isinstance(error, SeedVideoError):
        return error
    return _environment_error(error) or error


def _environment_error(error: Exception) -> SeedVideoError | None:
    if is_out_of_memory(error):
        return ResourceError(
            "system.out_of_memory",
            "more memory is needed than is available, or than a limit allows",
            hint="close other programs, or raise the limit (ulimit -v)",
        )
    number = error.errno if isinstance(error, OSError) else None
    text = str(error).lower()
    if "failed to initialize cpuinfo" in text:
        return ResourceError(
            "system.no_proc",
            "torch cannot read /proc/cpuinfo",
            hint="mount /proc where seedvideo runs; plan, frames and shots work without it",
        )
    if number in (errno.EMFILE, errno.ENFILE) or "too many open files" in text:
        return ResourceError(
            "system.too_many_files",
            "too many files are open",
            hint="close other files, or raise the limit: ulimit -n 1024",
            retryable=True,
        )
    if number == errno.EAGAIN or (
        isinstance(error, RuntimeError) and any(words in text for words in _NO_THREAD)
    ):
        return ResourceError(
            "system.too_many_processes",
            "the system cannot start more processes or threads",
            hint="close other programs, or raise the limit (ulimit -u)",
            retryable=True,
        )
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
        return OutputError(
            "output.disk_full",
            f"cannot write{where}: {os.strerror(number or 0).lower()}",
            hint="free some space, or raise the limit (ulimit -f), then run it again",
            retryable=True,
        )
    return None
