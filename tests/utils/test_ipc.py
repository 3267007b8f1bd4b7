"""Messages between processes: they arrive as sent, or are refused before memory is taken."""

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import DecodeError, InputError, MediaError, ModelError, SeedVideoError
from seedvideo.utils import ipc


def through_a_pipe(data: bytes, *, max_body_bytes: int) -> ipc.Message | None:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    try:
        return ipc.MessageReader.from_descriptor(reading).poll(max_body_bytes=max_body_bytes)
    except EOFError:
        return None
    finally:
        os.close(reading)


def test_messages_arrive_as_they_were_sent() -> None:
    reading, writing = os.pipe()
    ipc.send(writing, {"type": "picture", "rank": 7}, b"pixels")
    message = through_a_pipe(os.read(reading, 1000), max_body_bytes=6)
    assert message is not None and message.type == "picture"
    assert message.header["rank"] == 7 and message.body == b"pixels"
    os.close(reading)
    os.close(writing)


def test_a_message_in_pieces_is_not_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    reader = ipc.MessageReader.from_descriptor(reading)
    data = b"".join(ipc.encode({"type": "picture"}, b"pixels"))
    for place in range(len(data)):
        assert reader.poll(max_body_bytes=6) is None
        os.write(writing, data[place : place + 1])
    message = reader.poll(max_body_bytes=6)
    assert message is not None and message.body == b"pixels"
    os.close(writing)
    with pytest.raises(EOFError):
        reader.poll(max_body_bytes=6)
    os.close(reading)


@pytest.mark.parametrize(
    "data",
    [
        ipc.PREFIX.pack(2, 7) + b"{}" + b"x" * 7,
        ipc.PREFIX.pack(2**31, 0),
        ipc.PREFIX.pack(2, 2**62) + b"{}",
        ipc.PREFIX.pack(2, 0) + b"[]",
        ipc.PREFIX.pack(2, 0) + b"\xff\xfe",
        ipc.PREFIX.pack(5000, 0) + b"[" * 5000,
    ],
)
def test_what_is_not_a_message_is_refused_before_memory_is_allocated(data: bytes) -> None:
    with pytest.raises(ipc.ProtocolError):
        through_a_pipe(data, max_body_bytes=6)


@given(st.binary(max_size=40))
def test_no_bytes_break_the_reading_of_messages(data: bytes) -> None:
    try:
        message = through_a_pipe(data, max_body_bytes=100)
    except ipc.ProtocolError:
        return
    assert message is None or isinstance(message.header, dict)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_survive(values: list[int]) -> None:
    assert ipc.unpack_integers(ipc.pack_integers(values)) == values


# Sockets.


@pytest.fixture
def ends() -> Iterator[tuple[ipc.MessageSocket, socket.socket]]:
    """One end, and the raw socket of the other."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    connection = ipc.MessageSocket(ours)
    yield connection, its
    connection.close()
    its.close()


def test_files_go_with_their_messages(ends: tuple[ipc.MessageSocket, socket.socket]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    connection, its = ends
    other = ipc.MessageSocket(its)
    reading, writing = os.pipe()
    other.send("without")
    other.send("with", file=writing, text="é" * 10_000)
    other.send("with", file=reading)
    messages: list[ipc.Message] = []
    while len(messages) < 3:
        messages += connection.read()
    assert [message.type for message in messages] == ["without", "with", "with"]
    assert messages[1].header == {"type": "with", "text": "é" * 10_000}
    assert (
        messages[0].file is None and messages[1].file is not None and messages[2].file is not None
    )
    os.write(messages[1].file, b"x")
    assert os.read(messages[2].file, 1) == b"x"
    for descriptor in (reading, writing, messages[1].file, messages[2].file):
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
    assert len(os.listdir("/proc/self/fd")) == before


def test_messages_before_the_end_are_given_first(
    ends: tuple[ipc.MessageSocket, socket.socket],
) -> None:
    connection, its = ends
    ipc.MessageSocket(its).send("last")
    its.close()
    assert [message.type for message in connection.read()] == ["last"]
    with pytest.raises(EOFError):
        connection.read()


def test_a_file_that_did_not_come_is_refused(
    ends: tuple[ipc.MessageSocket, socket.socket],
) -> None:
    connection, its = ends
    its.sendall(b"".join(ipc.encode({"type": "with", "has_file": True})))
    with pytest.raises(ipc.ProtocolError):
        connection.read()


def test_files_without_end_are_refused_and_closed(
    ends: tuple[ipc.MessageSocket, socket.socket],
) -> None:
    connection, its = ends
    before = len(os.listdir("/proc/self/fd"))
    data = b"".join(ipc.encode({"type": "without"}))

    def flood() -> None:
        for _ in range(100):
            socket.send_fds(its, [data], [its.fileno()])
            connection.read()

    with pytest.raises(ipc.ProtocolError):
        flood()
    connection.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_lengths_over_the_bound_are_refused(
    ends: tuple[ipc.MessageSocket, socket.socket],
) -> None:
    connection, its = ends
    its.sendall(ipc.PREFIX.pack(ipc.MAX_RECORD_HEADER_BYTES + 1, 0))
    with pytest.raises(ipc.ProtocolError):
        connection.read()


# Errors.


@pytest.mark.parametrize(
    "error",
    [
        InputError("input.not_found", "no file", hint="look", retryable=True),
        MediaError("media.too_big", "too big"),
        ModelError("model.crashed", "gone"),
    ],
)
def test_errors_are_rebuilt_by_class(error: SeedVideoError) -> None:
    rebuilt = ipc.error_from_dict(ipc.error_to_dict(error))
    assert type(rebuilt) is type(error)
    assert rebuilt.__reduce__() == error.__reduce__()


def test_an_error_that_was_not_raised_on_purpose_is_internal() -> None:
    values = ipc.error_to_dict(ZeroDivisionError("oh"))
    assert values["code"] == "internal.error" and values["message"] == "ZeroDivisionError: oh"
    assert type(ipc.error_from_dict(values)) is SeedVideoError


@pytest.mark.parametrize("code", ["config.invalid", "internal.error", "", None, ["x"]])
def test_errors_of_other_stages_are_refused(code: object) -> None:
    with pytest.raises(ipc.ProtocolError):
        ipc.error_from_dict({"code": code}, allowed=(MediaError, DecodeError))
