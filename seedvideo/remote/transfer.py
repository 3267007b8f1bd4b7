"""What every way to fetch a remote file has in common: a body in chunks, and errors with codes.

Messages never repeat what a server or a client library says: that may hold keys or queries.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from seedvideo.errors import InputError, StoreError
from seedvideo.utils.addresses import safe_name
from seedvideo.utils.text import printable

CHUNK_BYTES: Final = 1 << 18
"""Size of the chunks of a download; a chunk must arrive within the time for a stall."""

CREDENTIAL_CODES: Final = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
"""What object stores answer if the credentials, or the clock, are wrong for every request."""

METADATA_SERVERS: Final = ("://169.254.169.254/", "://169.254.170.", "://metadata.google")
"""Starts of addresses of a cloud's servers, which are asked for credentials if the environment has
none."""

_RETRIED_STATUS: Final = frozenset((408, 425, 429, 500, 502, 503, 504))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What identifies the content of a file, as far as it is known before its first byte.

    Args:
        size_bytes: its size; None if the answer does not say.
        version: its ETag or version; empty if the answer does not say, or for a local file.
        mtime_ns: modification time of a local file; 0 for a remote one.
    """

    size_bytes: int | None
    version: str = ""
    mtime_ns: int = 0


class Body(Protocol):
    """The answer of a server, open to be read."""

    @property
    def facts(self) -> Facts:
        """Size and version of the file."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes.

        Raises:
            InputError: if they stop coming.
        """
        ...

    def close(self) -> None:
        """End the transfer. May be called at any time, also twice."""
        ...


def status_error(name: str, status: int, headers: Mapping[str, str]) -> InputError:
    """Return the error of an HTTP status that is not a success."""
    if status in (404, 410):
        return not_found_error(name)
    if status in (401, 403):
        return forbidden_error(name)
    waits = headers.get("Retry-After", "")
    again = f"; it asks to wait {waits} s" if waits.isascii() and waits.isdigit() else ""
    return unavailable_error(
        name, f"the server answers with status {status}{again}", again=status in _RETRIED_STATUS
    )


def not_found_error(name: str) -> InputError:
    """Return the error of a file that the server does not have."""
    return InputError(
        "input.not_found",
        f"{display(name)}: no such file on the server",
        hint="check bucket, path and revision",
    )


def forbidden_error(name: str) -> InputError:
    """Return the error of a file that these credentials do not open."""
    return InputError(
        "input.forbidden",
        f"{display(name)}: the server refuses access",
        hint="check the credentials in the environment, or that the presigned URL has not expired;"
        " --anonymous reads public buckets",
    )


def credentials_error(name: str, why: str) -> StoreError:
    """Return the error of a machine whose credentials open no file of an object store."""
    return StoreError(
        "store.denied",
        f"{display(name)}: {why}",
        hint="check the credentials and the variables in the environment, such as AWS_ACCESS_KEY_ID"
        " or AZURE_STORAGE_ACCOUNT_NAME, then run again; --anonymous reads public buckets",
    )


def unavailable_error(name: str, why: str, *, again: bool = True) -> InputError:
    """Return the error of a server that cannot be reached or does not work."""
    return InputError(
        "input.unavailable",
        f"{display(name)}: {why}",
        hint="try again later" if again else "check the address",
        retryable=again,
    )


def stalled_error(name: str, stall_timeout_s: float) -> InputError:
    """Return the error of a transfer that stopped."""
    return InputError(
        "input.stalled",
        f"{display(name)}: no byte came for {stall_timeout_s:g} s",
        hint="try again later",
        retryable=True,
    )


def timeout_error(name: str, total_timeout_s: float) -> InputError:
    """Return the error of a transfer that takes too long."""
    return InputError(
        "input.timeout",
        f"{display(name)}: was not complete after {total_timeout_s:g} s",
        hint="copy it nearer, or raise RemoteOptions.total_timeout_s from Python",
    )


def length_error(name: str, size_bytes: int, promised_bytes: int | None) -> InputError:
    """Return the error of a transfer that ended too early, or did not end where it should."""
    if promised_bytes is not None and size_bytes > promised_bytes:
        how = f"has more than the {promised_bytes:,} bytes that the server stated"
    else:
        of = "" if promised_bytes is None else f" of {promised_bytes:,}"
        how = f"ended after {size_bytes:,}{of} bytes"
    return InputError(
        "input.length_wrong",
        f"{display(name)}: {how}",
        hint="try again; if it happens again, the file on the server is damaged",
        retryable=True,
    )


def too_large_error(name: str, limit_bytes: int) -> InputError:
    """Return the error of a file above the limit."""
    return InputError(
        "input.too_large",
        f"{display(name)}: has more than {limit_bytes:,} bytes, the limit",
        hint="cut the file, or raise Limits.max_input_bytes from Python",
    )


def changed_remote_error(name: str) -> InputError:
    """Return the error of a remote file that is not the one that was read before."""
    return InputError(
        "input.changed",
        f"{display(name)}: the file on the server changed since it was read for another clip",
        hint="run the clips of this file in a new job folder",
    )


def refused_error(name: str, why: str, *, hint: str) -> InputError:
    """Return the error of an address that is not allowed."""
    return InputError("input.address_refused", f"{display(name)}: {why}", hint=hint)


def invalid_error(name: str, why: str) -> InputError:
    """Return the error of an address that names no file."""
    return InputError(
        "input.address_invalid",
        f"{display(name)}: {why}",
        hint="write s3://BUCKET/KEY, gs://BUCKET/KEY, az://CONTAINER/BLOB, https://HOST/PATH or"
        " hf://datasets/OWNER/NAME/PATH",
    )


def display(name: str) -> str:
    """Return an address for messages: without secrets, bounded, on one line."""
    text = safe_name(name)
    return printable(text if len(text) <= 300 else f"{text[:150]}...{text[-150:]}")
