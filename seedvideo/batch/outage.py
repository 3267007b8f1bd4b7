"""Outages of a server: when to wait, when to stop, and which clip is to blame.

A request that fails in a way that may pass says little about its clip. So the clip is asked again
after others, and fails only if the server answered another clip in between. Until the server
answers again, one clip at a time is sent, after growing waits; when the request after the last wait
fails too, the run stops, and no clip is blamed.

The run stops, too, if the server rejects the key, or refuses the first requests, all of them.

Separate from `seedvideo.batch.scheduler`: it needs neither processes nor a journal.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from seedvideo.errors import ModelError

WAITS_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Seconds to wait after the first failed request, the next one, and so on."""

MAX_REFUSED: Final = 10
"""Maximum requests that a server may refuse before its first answer."""

MAX_FAILURES: Final = 10
"""Maximum failures of a clip while the server is busy or away and yet answers others."""

_NOT_ABOUT_CLIP: Final = ("model.server_busy", "model.server_unreachable")
"""Codes that say nothing about a clip: a limit of the rate, or no connection."""

_SERVER_NAMES: Final = "server_"
"""Beginning of the codes of a server's errors, after their stage."""

_TIMEOUT: Final = "model.timeout"
_KEY: Final = "model.key_rejected"
_ANSWERED: Final = ("model.empty_answer", "model.answer_unparsable", "model.tokens_differ")
"""Errors of clips that the server did answer; others may precede the request."""


def may_be_outage(error: Mapping[str, Any]) -> bool:
    """Return whether an error of a clip may be one of the server, or is one of the user's key.

    Args:
        error: values of the error, as `seedvideo.utils.ipc.error_to_dict` returns them, or of
            anything else, which is not an error.
    """
    code = error.get("code")
    return code == _KEY or (
        bool(error.get("retryable")) and (code == _TIMEOUT or _is_of_server(error))
    )


def is_refusal(error: Mapping[str, Any]) -> bool:
    """Return whether an error is one of the server that another try would not change."""
    return _is_of_server(error) and not error.get("retryable")


def _is_of_server(error: Mapping[str, Any]) -> bool:
    stage, _, name = str(error.get("code", "")).partition(".")
    return stage == "model" and name.startswith(_SERVER_NAMES)


def stop_error(values: Mapping[str, Any]) -> ModelError:
    """Return the error that ends a run, from the last one of its server."""
    hint = "; then ".join(filter(None, (values["hint"], "run the same command to resume")))
    return ModelError(values["code"], values["message"], hint=hint, retryable=True)


class Outage:
    """What a run knows about the state of its server.

    Args:
        waits_s: see `WAITS_S`.
        clock: returns seconds.
    """

    def __init__(
        self,
        *,
        waits_s: tuple[float, ...] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waits_s = WAITS_S if waits_s is None else waits_s
        self._clock = clock
        self._answers = 0
        self._answers_at_failure: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._failures_in_row = self._refused = 0
        self._resume_at_s = 0.0
        self._has_wrong_key = False

    def limit(self, concurrency: int) -> int:
        """Return how many clips may be with the server now."""
        if not self._failures_in_row:
            return concurrency
        return 0 if self._clock() < self._resume_at_s else 1

    @property
    def is_final(self) -> bool:
        """Whether the server stayed silent after the last wait, or rejects the key or all."""
        if self._has_wrong_key or (self._refused >= MAX_REFUSED and not self._answers):
            return True
        return self._failures_in_row > len(self._waits_s)

    def record_answer(self, item_id: str) -> None:
        """Record that the server answered: whatever it did before is over."""
        self._answers += 1
        self._failures_in_row, self._resume_at_s = 0, 0.0
        self._answers_at_failure.pop(item_id, None)
        self._failures.pop(item_id, None)

    def record_response(self, item_id: str, values: Mapping[str, Any]) -> None:
        """Record what came of a request, unless `record_failure` will.

        Args:
            item_id: id of the clip.
            values: a record, or the values of an error.
        """
        if is_refusal(values):
            self._refused += 1
        elif "code" not in values or values["code"] in _ANSWERED:
            self.record_answer(item_id)

    def record_failure(self, item_id: str, code: str = "") -> bool:
        """Record a failed request, by its error code. Return whether its clip is to blame."""
        if code == _KEY:
            self._has_wrong_key = True
            return False
        before = self._answers_at_failure.setdefault(item_id, self._answers)
        failures = self._failures[item_id] = self._failures.get(item_id, 0) + 1
        is_about_clip = code not in _NOT_ABOUT_CLIP or failures >= MAX_FAILURES
        if self._answers > before and is_about_clip:
            return True
        # Requests that were sent before the wait began do not count again.
        if self._clock() >= self._resume_at_s:
            self._failures_in_row += 1
            if not self.is_final:
                wait_s = self._waits_s[self._failures_in_row - 1]
                self._resume_at_s = self._clock() + wait_s
        return False
