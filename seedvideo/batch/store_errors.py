"""Errors of the storage of a job of parts: which of them may pass, and what to do about them.

Messages have no URL of a request, which may hold a signature.

Separate from `seedvideo.batch.stores`, which would exceed 500 lines with it.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from seedvideo.errors import StoreError
from seedvideo.remote.transfer import CREDENTIAL_CODES, METADATA_SERVERS
from seedvideo.utils.files import write_error
from seedvideo.utils.text import printable

CREDENTIALS_S: Final = 20.0
"""Seconds after which a machine that names no credentials is taken to have none."""


def final_error(address: str, error: Exception, *, passed_s: float) -> StoreError | None:
    """Return the error of a request that need not be repeated; None if repeating it may help.

    Args:
        address: address of the job.
        error: error of the package obstore, or of the system.
        passed_s: seconds since the first try.
    """
    text = str(error)
    status, code = _status_of(text), _code_of(text)
    if any(name in text for name in METADATA_SERVERS):
        if passed_s < CREDENTIALS_S and status is None:
            return None
        return denied_error(address, "no credentials were found")
    if _is_missing_bucket(text):
        return StoreError(
            "store.not_found",
            f"the bucket of {printable(address)} does not exist",
            hint="check the address, the region and --store-endpoint, or create the bucket",
        )
    is_denied = type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError")
    if is_denied or status in (401, 403) or code in CREDENTIAL_CODES:
        return denied_error(address, summarize(error))
    if "Received redirect" in text:
        return StoreError(
            "store.not_found",
            f"the bucket of {printable(address)} is in another region",
            hint="name its region: export AWS_REGION=REGION",
        )
    if status is not None and 400 <= status < 500 and status not in (408, 409, 429):
        return unreachable_error(address, summarize(error))
    return None


def reject_missing_bucket(error: Exception) -> None:
    """Pass on the error of a missing bucket, which obstore reports as a missing object."""
    if _is_missing_bucket(str(error)):
        raise error


def summarize(error: Exception) -> str:
    """Return a reason without URLs: those of a request may hold a signature."""
    text = str(error)
    status, code = _status_of(text), _code_of(text)
    if status is not None:
        return f"status {status}{f' {code}' if code else ''}"
    for sign, reason in (("timed out", "timeout"), ("error sending request", "no connection")):
        if sign in text:
            return reason
    return type(error).__name__


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate the errors of a file in a shared folder."""
    try:
        yield
    except OSError as error:
        reason = printable(error.strerror or type(error).__name__)
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise denied_error(str(path), reason) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise write_error(path, error) from error
        raise unreachable_error(str(path), reason) from error


def no_conditional_put_error(address: str, why: str) -> StoreError:
    """Return the error of a store on which two runners could both commit a part."""
    return StoreError(
        "store.no_conditional_put",
        f"{printable(address)} cannot hold a job of parts: {printable(why)}",
        hint="use S3, R2, GCS, Azure, a recent MinIO, or a folder on a file system with hard links",
    )


def denied_error(address: str, reason: str) -> StoreError:
    """Return the error of a store that these credentials do not open."""
    return StoreError(
        "store.denied",
        f"{printable(address)} denies access: {reason}",
        hint="check the permissions and the credentials in the environment, then run again",
    )


def unreachable_error(address: str, reason: str) -> StoreError:
    """Return the error of a store that does not answer."""
    return StoreError(
        "store.unreachable",
        f"{printable(address)} does not answer: {reason}",
        hint="run the same command again: finished work is kept on this machine",
        retryable=True,
    )


def _is_missing_bucket(text: str) -> bool:
    return "NoSuchBucket" in text or "ContainerNotFound" in text


def _status_of(text: str) -> int | None:
    found = re.search(r"status code: (\d{3})", text)
    return None if found is None else int(found[1])


def _code_of(text: str) -> str:
    found = re.search(r"<Code>(\w{1,60})</Code>", text)
    return "" if found is None else found[1]
