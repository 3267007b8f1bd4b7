"""Run a function in a forked process, as `os.fork` leaves it, and bring its result back."""

import os
import pickle
import signal
import warnings
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_LIMIT_S = 60
"""A child that waits for a lock or a thread that it does not have is killed after so long."""


def forked(work: Callable[[], _T]) -> _T | str:
    """Return what ``work`` returns in a forked process, or the text of its error."""
    ours, its = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # About forks in a process with threads.
        pid = os.fork()
    if pid == 0:
        signal.alarm(_LIMIT_S)
        result: _T | str = "nothing"
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # Report any error to the parent.
            result = f"{getattr(error, 'code', type(error).__name__)}: {error}"
        finally:
            with open(its, "wb") as file:
                pickle.dump(result, file)
            os._exit(0)
    os.close(its)
    with open(ours, "rb") as file:
        data = file.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}"
    returned: _T | str = pickle.loads(data)
    return returned
