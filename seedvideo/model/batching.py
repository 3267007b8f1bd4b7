"""Batches of prompts: several calls run side by side, and what they ask is answered at once.

A call, such as the task of a clip, asks its model one thing after another. `BatchingBackend` gives
each call a thread of its own in which only one runs at a time, like a coroutine: it runs until it
asks the model. When all calls wait, their prompts are answered together, in the caller's thread.
So the code of a call is the same with and without batches.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, Final, Generic, TypeVar

from seedvideo.errors import ConfigError
from seedvideo.model.backends.base import (
    Backend,
    ChoiceResult,
    Generation,
    ModelDetails,
    Part,
    SupportsBatches,
    TokenCosts,
)
from seedvideo.model_options import DEFAULT_CONCURRENCY
from seedvideo.sampler.geometry import Geometry

T = TypeVar("T")


def is_server(model: TokenCosts | Backend) -> bool:
    """Return whether a model is on a server, which answers several requests at once."""
    return model.details.source == "server"


def resolve_concurrency(
    model: TokenCosts | Backend, *, batch_size: int, concurrency: int | None
) -> int:
    """Return how many requests are sent at once: 1 unless the model is on a server.

    Args:
        model: the model.
        batch_size: clips that the model answers at once.
        concurrency: number of requests that was asked for; None for the default.

    Raises:
        ConfigError: ``config.invalid`` if the model supports no batches or no requests at once.
    """
    details = model.details
    if batch_size > 1 and (details.source == "server" or details.family is None):
        raise ConfigError(
            "config.invalid",
            f"{model.name} answers one clip at a time, expected batch_size (--batch-size) 1,"
            f" not {batch_size}",
            hint="use --concurrency for a server" if is_server(model) else "leave --batch-size out",
        )
    if is_server(model):
        return DEFAULT_CONCURRENCY if concurrency is None else concurrency
    if concurrency is not None:
        raise ConfigError(
            "config.invalid",
            f"{model.name} is not on a server: concurrency (--concurrency) cannot be used",
            hint="use --batch-size for an open-weight model",
        )
    return 1


class BatchingBackend:
    """A backend that answers the prompts of several calls at once; see `run_together`.

    Outside of `run_together` it is the model itself.

    Args:
        model: the model.
    """

    def __init__(self, model: SupportsBatches) -> None:
        self._model: Any = model
        self._local = threading.local()

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self._model.name)

    @property
    def sha256(self) -> str:
        """Hash of the model."""
        return str(self._model.sha256)

    @property
    def geometry(self) -> Geometry:
        """Frame sizes of the model."""
        geometry: Geometry = self._model.geometry
        return geometry

    @property
    def details(self) -> ModelDetails:
        """Facts about the model."""
        details: ModelDetails = self._model.details
        return details

    def count_text_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` alone."""
        return int(self._model.count_text_tokens(text))

    def frame_text_tokens(self, pts: Fraction) -> int:
        """Count the text tokens of a frame at a time."""
        return int(self._model.frame_text_tokens(pts))

    def generate(self, parts: Sequence[Part], **settings: Any) -> Generation:
        """Generate an answer, together with those that other calls wait for."""
        answer: Generation = self._ask(
            _Request(parts, settings, lambda: self._one(parts, settings))
        )
        return answer

    def choose(
        self, parts: Sequence[Part], candidates: Sequence[str], **settings: Any
    ) -> ChoiceResult:
        """Rank answers; each prompt by itself."""
        choice: ChoiceResult = self._ask(
            _Request(None, {}, lambda: self._model.choose(parts, candidates, **settings))
        )
        return choice

    def run_together(self, calls: Iterable[Callable[[], T]]) -> "list[T | BaseException]":
        """Run calls that use this backend, their prompts in batches.

        Returns:
            What each call returned or raised, in order.
        """
        threads = [_CallThread(call, self._local) for call in calls]
        for thread in threads:
            thread.resume()
        while waiting := [thread for thread in threads if thread.request is not None]:
            self._answer(waiting)
            for thread in waiting:
                thread.resume()
        return [thread.outcome for thread in threads]

    def _one(self, parts: Sequence[Part], settings: dict[str, Any]) -> Generation:
        made: Generation = self._model.generate(parts, **settings)
        return made

    def _ask(self, request: "_Request") -> Any:
        thread: _CallThread[Any] | None = getattr(self._local, "thread", None)
        return request.single() if thread is None else thread.ask(request)

    def _answer(self, waiting: "Sequence[_CallThread[Any]]") -> None:
        """Answer the requests of calls that wait, those with the same settings at once."""
        groups: dict[Any, list[_CallThread[Any]]] = {}
        for thread in waiting:
            request = thread.request
            assert request is not None
            key = id(thread) if request.parts is None else tuple(sorted(request.settings.items()))
            groups.setdefault(key, []).append(thread)
        for group in groups.values():
            requests = [thread.request for thread in group if thread.request is not None]
            for thread, answer in zip(group, self._answers(requests), strict=True):
                thread.answer = answer

    def _answers(self, requests: "Sequence[_Request]") -> list[Any]:
        """Return the answer of each request, or its error; those of a batch that fails singly."""
        if len(requests) > 1:
            prompts = [request.parts for request in requests]
            try:
                return list(self._model.generate_batch(prompts, **requests[0].settings))
            except Exception:  # noqa: BLE001  # whose prompt it is shows when each is run by itself
                pass
        answers: list[Any] = []
        for request in requests:
            try:
                answers.append(request.single())
            except Exception as error:  # noqa: BLE001  # raised in the call that asked
                answers.append(error)
        return answers


class _Request:
    """What a call asks the model.

    Args:
        parts: prompt to generate an answer to; None if it is not to be answered with others.
        settings: arguments of `Backend.generate`.
        single: asks the model for this answer alone.
    """

    def __init__(
        self, parts: Sequence[Part] | None, settings: dict[str, Any], single: Callable[[], Any]
    ) -> None:
        self.parts, self.settings, self.single = parts, settings, single


_UNSET: Final = RuntimeError("the call has not ended")


class _CallThread(Generic[T]):
    """A call that runs only while `resume` waits for it.

    Args:
        call: the call.
        local: gets this object as ``thread`` in the call's own thread.

    Attributes:
        request: what the call waits for; None once it has ended.
        answer: answer to the request, or an error to raise in the call.
        outcome: what the call returned or raised.
    """

    def __init__(self, call: Callable[[], T], local: threading.local) -> None:
        self._call, self._local = call, local
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self.request: _Request | None = None
        self.answer: Any = None
        self.outcome: T | BaseException = _UNSET
        threading.Thread(target=self._run, daemon=True).start()

    def resume(self) -> None:
        """Let the call run until it asks or ends."""
        self._go.release()
        self._back.acquire()

    def ask(self, request: _Request) -> Any:
        """Wait for an answer; called by the call in its own thread."""
        self.request = request
        self._back.release()
        self._go.acquire()
        self.request = None
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def _run(self) -> None:
        self._go.acquire()
        self._local.thread = self
        try:
            self.outcome = self._call()
        except BaseException as error:  # noqa: BLE001  # the caller of `run_together` gets it
            self.outcome = error
        self._back.release()
