"""Requests to a server with the chat interface of OpenAI: retries, deadlines, bounds and errors.

Every fault of a server or of the connection becomes a `ModelError`. An answer is read up to
`MAX_ANSWER_BYTES` and until a deadline, which all tries share. Redirects are not followed, so the
key reaches only the given host. Messages quote a server without the key, and errors have no cause
or context, which could quote it. Threads may share a client.

Separate from `seedvideo.model.backends.openai`, which knows frames and prompts but not HTTP.
"""

import random
import re
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import local
from typing import Any, Final

import httpx2
import openai

from seedvideo.errors import ModelError
from seedvideo.model.backends.base import OnText
from seedvideo.model.backends.server_replies import (
    Reply,
    ReplyError,
    StreamedReply,
    parse_json,
    read_reply,
)
from seedvideo.model.presets import ServerAddress
from seedvideo.utils.text import one_line

MAX_ANSWER_BYTES: Final = 8 * 1024**2
"""Maximum size of a server's answer; the longest useful one takes a tenth of it."""

_EXTRA_ROUTE_S: Final = 60.0
"""Maximum time for a route that a server may lack, such as ``/tokenize``."""

_MAX_QUOTE_CHARACTERS: Final = 300
_MIN_KEY_CHARACTERS: Final = 6
"""Minimum length of a key that is removed from texts: a shorter one occurs in words."""

_NO_KEY: Final = "none"
"""Key that a server without keys is sent, as the client needs one."""

_TOO_LONG: Final = re.compile(r"context (length|size|window)|maximum.{0,40}tokens", re.IGNORECASE)
"""Words of servers whose context is too short for a request."""

_PRINTABLE_KEY: Final = frozenset(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When a request is repeated, and how long an answer may take.

    Args:
        tries: maximum number of requests for an answer.
        deadline_s: maximum time of all of them.
        first_wait_s: time before the second try, doubled for each further one.
        max_wait_s: maximum time between two tries, unless the server requests more.
        max_requested_wait_s: maximum time that a server may request (``Retry-After``).
        connect_s: maximum time to connect.
        sleep: waits for some seconds.
        clock: monotonic time, in seconds.
        now: time since the epoch, for a ``Retry-After`` with a date.
        jitter: random number from 0 to 1.
    """

    tries: int = 5
    deadline_s: float = 600.0
    first_wait_s: float = 0.5
    max_wait_s: float = 20.0
    max_requested_wait_s: float = 60.0
    connect_s: float = 10.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random

    def wait_s(self, tries: int, requested_s: float | None) -> float:
        """Return the time to wait after a number of tries."""
        longest_s = min(self.max_wait_s, self.first_wait_s * 2 ** (tries - 1))
        # Half of it is random, so that clients that failed together do not return together.
        own_s = longest_s * (0.5 + 0.5 * self.jitter())
        return max(own_s, min(requested_s or 0.0, self.max_requested_wait_s))


DEFAULT_RETRIES: Final = RetryPolicy()


@dataclass(frozen=True)
class _Fault:
    """A failed try.

    Args:
        error: what is raised if it was the last try.
        is_repeatable: whether another try could succeed.
        requested_wait_s: time that the server requested before the next try.
    """

    error: ModelError
    is_repeatable: bool = False
    requested_wait_s: float | None = None


class _ExcessError(openai.OpenAIError):
    """An answer exceeds `MAX_ANSWER_BYTES`, or is compressed."""


class _BoundedStream(httpx2.SyncByteStream):
    """The body of a response, read until a size and a deadline."""

    def __init__(self, stream: httpx2.SyncByteStream, is_late: Callable[[], bool]) -> None:
        self._stream, self._is_late = stream, is_late

    def __iter__(self) -> Iterator[bytes]:
        size_bytes = 0
        for chunk in self._stream:
            size_bytes += len(chunk)
            if size_bytes > MAX_ANSWER_BYTES:
                raise _ExcessError(f"more than {MAX_ANSWER_BYTES // 1024**2} MiB")
            if self._is_late():
                raise httpx2.ReadTimeout("deadline")
            yield chunk

    def close(self) -> None:
        """Close the response."""
        self._stream.close()


class _Bounds:
    """Bounds the responses of a client; it does not refer to the client, which refers to it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._local = clock, local()

    def set_deadline(self, deadline_s: float) -> None:
        """Set the deadline of the next request of this thread."""
        self._local.deadline_s = deadline_s

    def apply(self, response: httpx2.Response) -> None:
        """Bound the body of a response before it is read."""
        if response.headers.get("content-encoding", "identity") != "identity":
            # A small compressed body may become a huge one.
            raise _ExcessError("compressed data, which was not requested")
        deadline_s, clock = self._local.deadline_s, self._clock
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _BoundedStream(response.stream, lambda: clock() > deadline_s)


class _KeyFilter:
    """Removes the key from a text that arrives in pieces, which may split it.

    Args:
        secret: the key; None if there is none.
    """

    def __init__(self, secret: str | None) -> None:
        self._secret, self._held = secret, ""

    def add(self, piece: str) -> str:
        """Add a piece, and return what cannot be part of the key."""
        if self._secret is None:
            return piece
        text = (self._held + piece).replace(self._secret, "[key]")
        longest = min(len(text), len(self._secret) - 1)
        held = next((n for n in range(longest, 0, -1) if self._secret.startswith(text[-n:])), 0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """Return what was held back."""
        return self._held


class ServerClient:
    """A client for one model on one server.

    Args:
        address: the model and its server.
        key: key of the server; None if there is none.
        retries: when requests are repeated.

    Raises:
        ModelError: ``model.key_missing`` or ``model.key_rejected`` if the key is unusable.
    """

    def __init__(
        self, address: ServerAddress, key: str | None, *, retries: RetryPolicy = DEFAULT_RETRIES
    ) -> None:
        self._address, self._retries = address, retries
        self._bounds = _Bounds(retries.clock)
        key = check_key(address, key)
        authorization = f"Bearer {key or _NO_KEY}"
        self._client = openai.OpenAI(
            api_key=key or _NO_KEY,
            base_url=address.base_url,
            max_retries=0,
            # Stated, because the client would prefer one of OPENAI_CUSTOM_HEADERS.
            default_headers={"Authorization": authorization, "Accept-Encoding": "identity"},
            http_client=openai.DefaultHttpxClient(
                follow_redirects=False, event_hooks={"response": [self._bounds.apply]}
            ),
        )
        # Connections are kept between requests.
        weakref.finalize(self, self._client.close)
        self._secret = key if key is not None and len(key) >= _MIN_KEY_CHARACTERS else None

    def __repr__(self) -> str:
        return f"ServerClient({self._address.name!r})"

    def clean(self, text: str) -> str:
        """Remove the key from a text."""
        return text if self._secret is None else text.replace(self._secret, "[key]")

    def ask(
        self, content: bytes, *, on_text: OnText | None = None, refused_hint: str = ""
    ) -> Reply:
        """Request an answer, again if that could help.

        Args:
            content: the request, as JSON; with ``stream`` set if ``on_text`` is given.
            on_text: receives the answer as it is written. Once it has received some, a fault is
                final.
            refused_hint: next step if the server refuses the request.

        Raises:
            ModelError: ``model.server_*``, ``model.key_rejected`` or ``model.request_too_large``.
        """
        policy = self._retries
        deadline_s = policy.clock() + policy.deadline_s
        tries = 0
        while True:
            tries += 1
            result = self._try(content, deadline_s, on_text, refused_hint)
            if isinstance(result, Reply):
                return result
            wait_s = policy.wait_s(tries, result.requested_wait_s)
            is_last = tries >= policy.tries or policy.clock() + wait_s >= deadline_s
            if is_last or not result.is_repeatable:
                # Not inside an except block: the exceptions of the client may quote the key.
                raise result.error
            policy.sleep(wait_s)

    def count_tokens(self, content: bytes) -> tuple[int, int | None] | None:
        """Count the tokens of a request, where the server can.

        Returns:
            The tokens and the maximum of the model, None if not stated; None if the server cannot
            count, or its answer is unusable.
        """
        values = self._get_json("POST", "/tokenize", content)
        count, most = values.get("count"), values.get("max_model_len")
        if not isinstance(count, int) or isinstance(count, bool):
            return None
        return count, most if isinstance(most, int) else None

    def version(self) -> str | None:
        """Return the version that the server states at ``/version``; None if it states none."""
        version = self._get_json("GET", "/version").get("version")
        return self.clean(one_line(version)[:100]) if isinstance(version, str) else None

    def _get_json(self, method: str, route: str, content: bytes | None = None) -> Mapping[str, Any]:
        """Return the answer of a route that a server may lack; empty if it is unusable."""
        url, policy = self._address.root_url + route, self._retries
        options = self._options(policy.clock() + min(_EXTRA_ROUTE_S, policy.deadline_s))
        try:
            if method == "POST":
                response = self._client.post(
                    url, cast_to=httpx2.Response, content=content, options=options
                )
            else:
                response = self._client.get(url, cast_to=httpx2.Response, options=options)
            values = parse_json(response.content)
        except (openai.OpenAIError, httpx2.HTTPError, ReplyError):
            return {}
        return values if isinstance(values, dict) else {}

    def _options(self, deadline_s: float) -> Any:
        """Return the options of a request that ends at a deadline."""
        self._bounds.set_deadline(deadline_s)
        left_s = max(0.001, deadline_s - self._retries.clock())
        headers: dict[str, Any] = {"Content-Type": "application/json"}
        if self._address.preset.name != "openai":
            # The client takes these from the environment, for OpenAI.
            headers |= {"OpenAI-Organization": openai.omit, "OpenAI-Project": openai.omit}
        return {
            "headers": headers,
            # Never OPENAI_ADMIN_KEY, which the client takes from the environment.
            "security": {"bearer_auth": True},
            "timeout": httpx2.Timeout(left_s, connect=min(left_s, self._retries.connect_s)),
        }

    def _try(
        self,
        content: bytes,
        deadline_s: float,
        on_text: OnText | None,
        refused_hint: str,
    ) -> Reply | _Fault:
        options = self._options(deadline_s)
        if on_text is None:
            try:
                response = self._client.post(
                    "/chat/completions", cast_to=httpx2.Response, content=content, options=options
                )
                return read_reply(response.content)
            except (openai.OpenAIError, httpx2.HTTPError, ReplyError) as error:
                return self._fault(error, refused_hint)
        reply, shown = StreamedReply(), _KeyFilter(self._secret)
        events = self._events(content, options)
        while True:
            try:
                piece = reply.add(next(events))
            except StopIteration:
                break
            except (openai.OpenAIError, httpx2.HTTPError, ReplyError) as error:
                fault = self._fault(error, refused_hint)
                return fault if not reply.is_shown else _Fault(fault.error)
            # Outside: an exception of the receiver belongs to the caller.
            if clean := shown.add(piece):
                on_text(clean)
        if clean := shown.rest():
            on_text(clean)
        try:
            return reply.finish()
        except ReplyError as error:
            fault = self._fault(error, refused_hint)
            return fault if not reply.is_shown else _Fault(fault.error)

    def _events(self, content: bytes, options: Any) -> Iterator[object]:
        """Yield the events of a stream; a server that does not stream sends one."""
        stream = self._client.post(
            "/chat/completions",
            cast_to=object,
            content=content,
            options=options,
            stream=True,
            stream_cls=openai.Stream[object],
        )
        with stream:
            kind = stream.response.headers.get("content-type", "")
            if "text/event-stream" not in kind:
                yield parse_json(stream.response.read())
                return
            try:
                yield from stream
            except (ValueError, RecursionError):
                problem = "sent an event that is not valid JSON"
            else:
                return
        raise ReplyError(problem)

    def _fault(self, error: Exception, refused_hint: str) -> _Fault:
        """Translate an exception of the client."""
        product = self._address.preset.product
        where = f"the {product} server at {self._address.base_url}"
        if isinstance(error, ReplyError):
            problem = self._quote(str(error))
            return _Fault(
                ModelError(
                    "model.server_invalid",
                    f"{where} {problem}",
                    hint="check that the address is that of a chat server, then try again",
                    retryable=error.is_repeatable,
                ),
                is_repeatable=error.is_repeatable,
            )
        if isinstance(error, _ExcessError):
            return _Fault(
                ModelError(
                    "model.server_invalid",
                    f"{where} sent an unusable answer: {error}",
                    hint="limit the answer: --max-new-tokens",
                )
            )
        if isinstance(error, openai.APIStatusError):
            return self._status_fault(error, where, refused_hint)
        if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
            problem = f"did not answer within {self._retries.deadline_s:g} s"
            if isinstance(error.__cause__, httpx2.ConnectTimeout):
                problem = "did not accept a connection"
        elif isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
            problem = "cannot be reached, or closed the connection"
        else:
            # An event of a stream that states an error.
            return _Fault(
                ModelError(
                    "model.server_error",
                    f"{where} stopped its answer: {self._quote(str(error))}",
                    hint="try again later; see the log of the server",
                    retryable=True,
                ),
                is_repeatable=True,
            )
        return _Fault(
            ModelError(
                "model.server_unreachable",
                f"{where} {problem}",
                hint="check that the server runs, and its address",
                retryable=True,
            ),
            is_repeatable=True,
        )

    def _status_fault(self, error: openai.APIStatusError, where: str, refused_hint: str) -> _Fault:
        status, preset = error.status_code, self._address.preset
        text = self._quote(_server_text(error))
        message = f"{where} answered {status}" + (f": {text}" if text else "")
        is_empty_account = error.code == "insufficient_quota"
        code, hint = "model.server_refused", refused_hint or "see the message of the server"
        if status in (401, 403):
            code = "model.key_rejected"
            hint = f"set the key as environment variable {preset.key_variable}"
        elif status in (429, 503, 408, 409) and not is_empty_account:
            code, hint = "model.server_busy", "try again later, or send fewer requests at once"
        elif status >= 500:
            code, hint = "model.server_error", "try again later; see the log of the server"
        elif status == 413 or (status == 400 and _TOO_LONG.search(text)):
            code, hint = "model.request_too_large", "use --max-frames or a smaller --budget"
        elif status < 400:
            message = f"{where} redirects (status {status}), which is not followed"
            hint = "give the address to which it redirects, if you trust it"
        elif status == 404:
            hint = f"check the address and the name; {self._address.base_url}/models lists names"
        elif "temperature" in text:
            hint = "this model needs its own temperature: --temperature 1"
        is_repeatable = code in ("model.server_busy", "model.server_error")
        return _Fault(
            ModelError(code, message, hint=hint, retryable=is_repeatable),
            is_repeatable=is_repeatable,
            requested_wait_s=self._requested_wait_s(error.response.headers.get("retry-after")),
        )

    def _requested_wait_s(self, header: str | None) -> float | None:
        """Return the seconds of a ``Retry-After``, given as a number or a date."""
        if header is None:
            return None
        try:
            wait_s = float(header)
        except ValueError:
            try:
                wait_s = parsedate_to_datetime(header).timestamp() - self._retries.now()
            except (ValueError, OverflowError, OSError):
                return None
        # Also false for nan.
        return wait_s if wait_s > 0 else None

    def _quote(self, text: str) -> str:
        """Return a text of the server for a message: one short line without the key."""
        # Twice, as the first step may join the halves of a key.
        clean = self.clean(one_line(self.clean(text)))
        if len(clean) > _MAX_QUOTE_CHARACTERS:
            return clean[: _MAX_QUOTE_CHARACTERS - 3] + "..."
        return clean


def check_key(address: ServerAddress, key: str | None) -> str | None:
    """Return a key without surrounding white space; None if there is none.

    Raises:
        ModelError: ``model.key_missing`` if the preset's own server needs one;
            ``model.key_rejected`` if no request can carry it. No message shows it.
    """
    preset = address.preset
    clean = (key or "").strip()
    if not clean:
        if preset.needs_key and address.base_url == preset.base_url:
            raise ModelError(
                "model.key_missing",
                f"{preset.product} needs a key, and {preset.key_variable} is not set",
                hint=f"set the environment variable: export {preset.key_variable}=...",
            )
        return None
    if not set(clean) <= _PRINTABLE_KEY:
        raise ModelError(
            "model.key_rejected",
            f"the key in {preset.key_variable} has characters that no request can carry",
            hint=f"copy the key again into the environment variable {preset.key_variable}",
        )
    return clean


def _server_text(error: openai.APIStatusError) -> str:
    """Return the words of a server about an error."""
    body = error.body
    if isinstance(body, dict):
        for name in ("message", "error", "detail"):
            if body.get(name):
                return str(body[name])
        return str(body)
    return str(body or "")
