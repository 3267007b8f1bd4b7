"""Faults of servers: each ends in a code, and no key is shown, logged or stored."""

import logging
import pickle
import traceback
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import seedvideo
from seedvideo.errors import ModelError, SeedVideoError
from seedvideo.model.backends import server_client
from seedvideo.model.backends.server_client import RetryPolicy, ServerClient, _KeyFilter
from seedvideo.model.presets import parse_server_name
from seedvideo.records import Record
from tests.model.bad_server import (
    Step,
    answer,
    completion,
    compressed,
    drip,
    event_stream,
    hang_up,
    huge,
    json_answer,
    raw,
    redirect,
    reset,
    serving,
    silent,
    status,
    stream,
)
from tests.model.server_models import Waits, connect, question
from tests.synthetic_clips import paint

KEY = "sk-test-sesame-0123456789"
NESTED = b'{"choices":' * 100_000


class Fault(NamedTuple):
    """What a server does, and how it ends."""

    script: tuple[Step, ...]
    code: str
    retryable: bool
    tries: int
    is_streamed: bool = False


FAULTS = {
    "429 forever": Fault((status(429, f"slow down {KEY}"),), "model.server_busy", True, 5),
    "503 forever": Fault((status(503, "later"),), "model.server_busy", True, 5),
    "500 forever": Fault((status(500, f"oh {KEY}"),), "model.server_error", True, 5),
    "502 as a page": Fault(
        (raw(b"<html>\x1b[2J", "text/html", 502),), "model.server_error", True, 5
    ),
    "reset": Fault((reset,), "model.server_unreachable", True, 5),
    "hangs up": Fault((hang_up,), "model.server_unreachable", True, 5),
    "drip": Fault((drip,), "model.server_unreachable", True, 1),
    "silent": Fault((silent,), "model.server_unreachable", True, 1),
    "bad JSON": Fault((raw(b'{"choices": ['),), "model.server_invalid", False, 1),
    "a page": Fault((raw(b"<html>hello", "text/html"),), "model.server_invalid", False, 1),
    "not UTF-8": Fault((raw(b'{"choices": "\xff"}'),), "model.server_invalid", False, 1),
    "nested JSON": Fault((raw(NESTED),), "model.server_invalid", False, 1),
    "no body": Fault((raw(b"", status_code=204),), "model.server_invalid", False, 1),
    "a list": Fault((json_answer([1]),), "model.server_invalid", False, 1),
    "other keys": Fault((json_answer({"answer": KEY}),), "model.server_invalid", False, 1),
    "choices of another kind": Fault(
        (json_answer({"choices": {"a": 1}}),), "model.server_invalid", False, 1
    ),
    "empty choices": Fault((json_answer({"choices": []}),), "model.server_invalid", False, 1),
    "a choice of another kind": Fault(
        (json_answer({"choices": [1]}),), "model.server_invalid", False, 1
    ),
    "content of another kind": Fault(
        (json_answer({"choices": [{"message": {"content": 5}}]}),),
        "model.server_invalid",
        False,
        1,
    ),
    "empty answer": Fault((answer(""),), "model.empty_answer", False, 1),
    "no answer": Fault((answer(None),), "model.empty_answer", False, 1),
    "huge answer": Fault((huge,), "model.server_invalid", False, 1),
    "compressed": Fault((compressed,), "model.server_invalid", False, 1),
    "redirect": Fault((redirect("http://192.0.2.1/"),), "model.server_refused", False, 1),
    "401": Fault((status(401, f"no such key: {KEY}"),), "model.key_rejected", False, 1),
    "403": Fault((status(403, "not yours"),), "model.key_rejected", False, 1),
    "400": Fault((status(400, f"a\x1b[2J{KEY}\n" + "x" * 999),), "model.server_refused", False, 1),
    "400 hiding": Fault(
        (status(400, KEY[:9] + "\x00" + KEY[9:]),), "model.server_refused", False, 1
    ),
    "404": Fault((status(404, "no such model"),), "model.server_refused", False, 1),
    "413": Fault((status(413, "too much"),), "model.request_too_large", False, 1),
    "422": Fault(
        (raw(b'{"detail": [{"msg": "no"}]}', status_code=422),), "model.server_refused", False, 1
    ),
    "no money": Fault(
        (raw(b'{"error": {"code": "insufficient_quota"}}', status_code=429),),
        "model.server_refused",
        False,
        1,
    ),
    "half a stream": Fault(
        (stream(ends=False, usage=False),), "model.server_invalid", True, 5, is_streamed=True
    ),
    "half a stream with text": Fault(
        (stream("A red", ends=False),), "model.server_invalid", True, 1, is_streamed=True
    ),
    "bad event": Fault((event_stream(["{"]),), "model.server_invalid", False, 1, is_streamed=True),
    "event of another kind": Fault(
        (event_stream([[1]]),), "model.server_invalid", False, 1, is_streamed=True
    ),
    "event with an error": Fault(
        (event_stream([{"error": {"message": f"oh {KEY}"}}]),),
        "model.server_error",
        True,
        5,
        is_streamed=True,
    ),
    "event with an error after text": Fault(
        (event_stream([{"choices": [{"delta": {"content": "A red"}}]}, {"error": {"code": 1}}]),),
        "model.server_error",
        True,
        1,
        is_streamed=True,
    ),
    "empty stream": Fault((event_stream([]),), "model.server_invalid", False, 1, is_streamed=True),
    "drip of a stream": Fault((drip,), "model.server_unreachable", True, 1, is_streamed=True),
    "huge stream": Fault((huge,), "model.server_invalid", False, 1, is_streamed=True),
    "429 for a stream": Fault(
        (status(429, "slow down"),), "model.server_busy", True, 5, is_streamed=True
    ),
}


def fail(
    fault: Fault, monkeypatch: pytest.MonkeyPatch, *, deadline_s: float = 60.0
) -> tuple[ModelError, int]:
    """Ask a server that fails; return the error and the number of requests."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    if {drip, silent} & set(fault.script):
        deadline_s = 0.2
    pieces: list[str] = []
    with serving(*fault.script) as server:
        model = connect(server, preset="openai", deadline_s=deadline_s)
        with pytest.raises(ModelError) as caught:
            model.generate(question(), on_text=pieces.append if fault.is_streamed else None)
        assert all(seen.headers["authorization"] == f"Bearer {KEY}" for seen in server.seen)
        return caught.value, len(server.seen)


def locals_of_the_package(error: Exception) -> list[str]:
    """Return the variables that a report of a crash shows, without those of this file."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [frame for frame in frames if frame.f_globals["__name__"].startswith("seedvideo.")]
    assert inside
    return [repr(value) for frame in inside for value in frame.f_locals.values()]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_ends_in_a_code_and_shows_no_key(
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    error, tries = fail(fault, monkeypatch)
    assert (error.code, error.retryable, tries) == (fault.code, fault.retryable, fault.tries)
    assert error.hint
    assert len(error.message) < 500
    assert error.message.isprintable()
    # The exceptions of the client hold its requests, hence the key.
    assert error.__cause__ is None and error.__context__ is None
    record = Record.failed("clip.mp4", error, timing_s={})
    texts = [
        str(error),
        repr(error),
        *traceback.format_exception(error),
        *locals_of_the_package(error),
        record.json_line(),
        pickle.dumps(error).decode("latin-1"),
        caplog.text,
        *capfd.readouterr(),
    ]
    assert record.error is not None and record.error.code == fault.code
    assert not [text for text in texts if "sesame" in text]
    assert not [text for text in texts if "\x1b" in text]


def test_no_key_is_in_a_record_a_log_or_a_backend(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("OPENAI_LOG", "debug")
    clip = paint(tmp_path / "clip.mp4", ["red"])
    values = completion(f"Your key is {KEY}.", reasoning=f"The key is {KEY}.")
    values["system_fingerprint"] = f"server of {KEY}"
    pieces: list[str] = []
    with serving(json_answer(values)) as server:
        model = connect(server, preset="openai")
        record = seedvideo.ask(clip, "What?", thinking=True, model=model, budget_tokens=400)
        model.generate(question(), on_text=pieces.append)
        assert server.chats[0].headers["authorization"] == f"Bearer {KEY}"
        texts = [
            record.json_line(),
            repr(record),
            *pieces,
            repr(model),
            str(vars(model)),
            repr(model.details),
            pickle.dumps(model).decode("latin-1"),
            caplog.text,
            *capfd.readouterr(),
        ]
    assert record.text == "Your key is [key]"
    assert pieces == ["Your key is [key]."]
    assert not [text for text in texts if "sesame" in text]


def test_no_key_is_in_the_folder_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    paint(tmp_path / "clips" / "a.mp4", ["red"], shot_s=0.5)
    paint(tmp_path / "clips" / "b.mp4", ["blue"], shot_s=0.5)
    out = tmp_path / "out"
    with serving(status(400, f"bad key {KEY}"), answer(f"Key {KEY}.")) as server:
        name = f"openai:{server.base_url}#qwen3-vl"
        seedvideo.run_batch(tmp_path / "clips", out, model=name, budget_tokens=400)
        assert len(server.chats) == 2
    files = [path for path in out.rglob("*") if path.is_file()]
    data = b"".join(path.read_bytes() for path in files)
    assert b"model.server_refused" in data and b"Key [key]." in data
    assert b"sesame" not in data
    assert not [text for text in capfd.readouterr() if "sesame" in text]


def test_the_key_of_another_preset_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {KEY}")
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with serving() as server:
        connect(server, preset="vllm").generate(question())
        assert "sesame" not in str([seen.headers for seen in server.seen])
        monkeypatch.setenv("VLLM_API_KEY", "another-key")
        connect(server, preset="vllm").generate(question())
        assert server.chats[-1].headers["authorization"] == "Bearer another-key"
        paths = {seen.path for seen in server.seen}
    assert {"/version", "/tokenize"} <= paths


@pytest.mark.parametrize("key", ["two words", "schlüssel", "a\nb"])
def test_a_key_that_no_header_can_hold_is_refused(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ModelError) as caught:
        seedvideo.load("openai:gpt-x")
    assert caught.value.code == "model.key_rejected"
    assert key not in str(caught.value)


def test_a_short_key_does_not_change_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLANG_API_KEY", "red")
    with serving() as server:
        assert connect(server).generate(question()).text == "A red field."


@pytest.mark.parametrize(
    "step", [status(500, "oh"), status(429, "busy"), status(408, "slow"), reset, hang_up]
)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_fault_that_passes_is_not_seen(step: Step, *, is_streamed: bool) -> None:
    waits = Waits()
    pieces: list[str] = []
    receiver = pieces.append if is_streamed else None
    with serving(step, step, answer()) as server:
        made = connect(server, waits=waits).generate(question(), on_text=receiver)
        assert len(server.seen) == 3
        assert server.seen[0].body == server.seen[2].body
    assert made.text == "A red field."
    assert waits == [0.5, 1.0]


def test_a_server_that_asks_for_time_gets_it() -> None:
    now = 1_800_000_000.0
    headers: list[dict[str, Any]] = [
        {"retry_after": "7"},
        {"retry_after": formatdate(now + 9, usegmt=True)},
        {"retry_after": "86400"},
        {"retry_after": "soon"},
    ]
    waits = Waits()
    with serving(*(status(429, "busy", **each) for each in headers), answer()) as server:
        model = connect(server, waits=waits, now=lambda: now)
        assert model.generate(question()).text == "A red field."
    assert waits == [7.0, 9.0, 60.0, 4.0]


@pytest.mark.parametrize("header", ["nan", "-5", "inf", "Thu, 99 Foo 2026", "1e999", "é"])
def test_odd_requests_for_time_do_no_harm(header: str) -> None:
    waits = Waits()
    step = status(503, "busy", retry_after=header.encode().decode("latin-1"))
    with serving(step, answer()) as server:
        assert connect(server, waits=waits).generate(question()).text == "A red field."
    assert 0.5 <= waits[0] <= 60


def test_no_try_begins_after_the_deadline() -> None:
    waits = Waits()
    with serving(status(429, "busy", retry_after="30")) as server:
        model = connect(server, waits=waits, deadline_s=20.0)
        with pytest.raises(ModelError) as caught:
            model.generate(question())
        assert len(server.seen) == 1
    assert caught.value.code == "model.server_busy"
    assert waits == []


def test_waits_double_up_to_a_bound_and_differ() -> None:
    policy = RetryPolicy(jitter=lambda: 0.0)
    assert [policy.wait_s(tries, None) for tries in (1, 2, 3, 9)] == [0.25, 0.5, 1.0, 10.0]
    assert len({RetryPolicy().wait_s(5, None) for _ in range(20)}) > 10


def test_a_closed_port_is_reported() -> None:
    with serving() as server:
        model = connect(server)
    with pytest.raises(ModelError) as caught:
        model.generate(question())
    assert caught.value.code == "model.server_unreachable"
    assert server.base_url in caught.value.message


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (status(404, "no such model"), "/models lists names"),
        (status(400, "temperature is not supported"), "--temperature 1"),
        (status(401, "no"), "OPENAI_API_KEY"),
        (status(413, "no"), "--max-frames"),
        (raw(b"<html>", "text/html"), "address"),
    ],
)
def test_a_hint_names_the_next_step(step: Step, words: str) -> None:
    with serving(step) as server, pytest.raises(ModelError) as caught:
        connect(server, preset="openai").generate(question())
    assert words in caught.value.hint


def test_a_redirect_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as other, serving(redirect(f"{other.base_url}/chat/completions")) as server:
        with pytest.raises(SeedVideoError):
            connect(server, preset="openai").generate(question())
        assert other.seen == []


def test_the_size_of_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "x" * 100_000
    with serving(answer(text)) as server:
        assert connect(server).generate(question()).text == text
        monkeypatch.setattr(server_client, "MAX_ANSWER_BYTES", 100_000)
        with pytest.raises(ModelError) as caught:
            connect(server).generate(question())
    assert caught.value.code == "model.server_invalid"


def test_a_client_shows_its_server_only() -> None:
    client = ServerClient(parse_server_name("vllm:http://h/v1#m"), KEY)
    assert repr(client) == "ServerClient('vllm:http://h/v1#m')"
    assert client.clean(f"a {KEY} b") == "a [key] b"


@pytest.mark.parametrize("is_streamed", [False, True])
def test_halves_of_characters_are_joined_or_replaced(*, is_streamed: bool) -> None:
    step = (
        stream("a \ud83d", "\ude00 b \ud83d") if is_streamed else answer("a \ud83d\ude00 b \ud83d")
    )
    pieces: list[str] = []
    with serving(step) as server:
        receiver = pieces.append if is_streamed else None
        made = connect(server).generate(question(), on_text=receiver)
    assert made.text == "a \U0001f600 b \ufffd"
    assert "".join(pieces) == ("a \U0001f600 b " if is_streamed else "")


def test_an_absurd_number_of_tokens_is_none() -> None:
    usage = {"prompt_tokens": 10**30, "completion_tokens": 10**30}
    with serving(json_answer({**completion("Red."), "usage": usage})) as server:
        made = connect(server).generate(question())
    assert made.usage.prompt_tokens < 10_000
    assert made.usage.output_tokens < 10
    assert "tokens.estimated" in [note.code for note in made.notes]


def test_an_error_in_place_of_an_answer_is_quoted() -> None:
    step = json_answer({"error": {"message": "no credit left"}})
    with serving(step) as server, pytest.raises(ModelError, match="no credit left") as caught:
        connect(server).generate(question())
    assert caught.value.code == "model.server_invalid"


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_a_key_that_a_stream_splits_is_not_shown(size: int) -> None:
    key = "sekret-4242"
    text = f"x {key} y sekret-4 {key}{key} sek"
    shown = _KeyFilter(key)
    pieces = [shown.add(text[start : start + size]) for start in range(0, len(text), size)]
    assert "".join([*pieces, shown.rest()]) == text.replace(key, "[key]")
    assert _KeyFilter(None).add("any") == "any"
