"""Answers of servers with the chat interface of OpenAI, complete or as a stream of events.

Nothing that a server sends is trusted: every value is checked, and anything unusable is a
`ReplyError`.

Separate from `seedvideo.model.backends.server_client`, as it needs neither a connection nor openai.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from seedvideo.tasks.prompts import split_reasoning

_THOUGHT_FIELDS: Final = ("reasoning", "reasoning_content")
_OPEN_TAGS: Final = ("<think>", "<thinking>")
_CLOSE_TAGS: Final = ("</think>", "</thinking>")
_MAX_COUNT: Final = 2**31 - 1
"""A larger number of tokens is taken for none: no request has so many."""


class ReplyError(Exception):
    """An answer is unusable.

    Args:
        problem: what the server did, as the end of a sentence.
        is_repeatable: whether another request could succeed.
    """

    def __init__(self, problem: str, *, is_repeatable: bool = False) -> None:
        super().__init__(problem)
        self.is_repeatable = is_repeatable


@dataclass(frozen=True)
class Reply:
    """The answer of a server.

    Args:
        text: the answer, without its reasoning.
        thinking: the reasoning; None if there is none.
        finish_reason: why the answer ended, as the server states it.
        refusal: why the model refused to answer; None if it did not.
        prompt_tokens: tokens of the request; None if the server states none.
        output_tokens: tokens of the answer; None if the server states none.
        version: what the server states about itself; None if nothing.
    """

    text: str
    thinking: str | None
    finish_reason: str | None
    refusal: str | None
    prompt_tokens: int | None
    output_tokens: int | None
    version: str | None


def parse_json(data: bytes) -> object:
    """Parse JSON.

    Raises:
        ReplyError: if it is not valid.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        pass
    raise ReplyError("sent an answer that is not valid JSON")


def read_reply(data: bytes) -> Reply:
    """Read a complete answer.

    Raises:
        ReplyError: if it is not one.
    """
    reply = StreamedReply()
    reply.add(parse_json(data))
    return reply.finish()


class StreamedReply:
    """An answer that is read event by event; a complete answer is one event."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._refusals: list[str] = []
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] = {}
        self._version: str | None = None
        self._shown = _ShownText()
        self._has_choice = False
        self._half = ""
        self._error = ""

    @property
    def is_shown(self) -> bool:
        """Whether `add` returned any text."""
        return self._shown.is_begun

    def add(self, event: object) -> str:
        """Add an event, and return the part of the answer that can be shown.

        Raises:
            ReplyError: if the event has another form.
        """
        if not isinstance(event, dict):
            raise ReplyError(f"sent {type(event).__name__} where an answer was expected")
        self._error = str(_mapping(event.get("error")).get("message") or self._error)
        self._usage = _mapping(event.get("usage")) or self._usage
        fingerprint = event.get("system_fingerprint") or event.get("model")
        if isinstance(fingerprint, str):
            self._version = fingerprint
        choices = event.get("choices", [])
        if not isinstance(choices, list):
            raise ReplyError("sent an answer whose choices are not a list")
        if not choices:
            return ""
        choice = _mapping(choices[0])
        message = _mapping(choice.get("delta")) or _mapping(choice.get("message"))
        if not message and "delta" not in choice:
            raise ReplyError("sent an answer without a message")
        self._has_choice = True
        # Some servers state no reason in a complete answer.
        finish_reason = choice.get("finish_reason") or ("stop" if "message" in choice else None)
        if isinstance(finish_reason, str):
            self._finish_reason = finish_reason
        for name in _THOUGHT_FIELDS:
            if isinstance(message.get(name), str):
                self._thoughts.append(message[name])
                break
        if isinstance(message.get("refusal"), str):
            self._refusals.append(message["refusal"])
        text, self._half = _split_half(self._half + _text(message.get("content")))
        self._texts.append(text)
        return self._shown.add(text)

    def finish(self) -> Reply:
        """Return the complete answer.

        Raises:
            ReplyError: if it has no choice, or ended early.
        """
        if not self._has_choice and self._error:
            raise ReplyError(f"sent an error: {self._error}")
        if not self._has_choice:
            raise ReplyError("sent an answer without choices")
        if self._finish_reason is None:
            raise ReplyError("sent only part of an answer", is_repeatable=True)
        thought, text = split_reasoning("".join(self._texts) + _well_formed(self._half))
        thoughts = _well_formed("".join(self._thoughts)).strip() or thought
        return Reply(
            text=text,
            thinking=thoughts,
            finish_reason=self._finish_reason,
            refusal=_well_formed("".join(self._refusals)) or None,
            prompt_tokens=_count(self._usage.get("prompt_tokens")),
            output_tokens=_count(self._usage.get("completion_tokens")),
            version=None if self._version is None else _well_formed(self._version),
        )


class _ShownText:
    """The part of a streamed answer that is shown: without reasoning in tags at its start."""

    def __init__(self) -> None:
        self._held = ""
        self._is_open = False
        self.is_begun = False

    def add(self, text: str) -> str:
        """Add a piece, and return what can be shown."""
        if self._is_open:
            return text
        self._held += text
        start = self._held.lstrip()
        if start.startswith(_OPEN_TAGS):
            ends = [self._held.find(tag) + len(tag) for tag in _CLOSE_TAGS if tag in self._held]
            if not ends:
                return ""
            start = self._held[min(ends) :].lstrip()
            if not start:
                return ""
        elif not start or any(tag.startswith(start) for tag in _OPEN_TAGS):
            return ""
        self._is_open = self.is_begun = True
        return start


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MAX_COUNT else None


def _well_formed(text: str) -> str:
    r"""Join the halves of characters, which JSON can hold alone, and replace lone ones.

    >>> _well_formed("\ud83d\ude00") == "\U0001f600", _well_formed("a\ud83d") == "a\ufffd"
    (True, True)
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _split_half(text: str) -> tuple[str, str]:
    """Return a text, and the half character at its end whose rest may follow in the next event."""
    has_half = "\ud800" <= text[-1:] <= "\udbff"
    whole, half = (text[:-1], text[-1]) if has_half else (text, "")
    return _well_formed(whole), half


def _text(content: object) -> str:
    """Return the text of a message, which may be a list of parts.

    Raises:
        ReplyError: if it is neither.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(_mapping(part).get("text") or "") for part in content)
    raise ReplyError("sent an answer whose content is not text")
