"""Storage of a job of parts: a shared folder, or a prefix of an object store.

A store keeps small named objects. All that a job needs besides reading and writing is
`Store.put_if_absent`, which decides between writers on any number of machines. A folder does it
with a link, which either exists or does not; an object store with a conditional request. A store
that accepts two writers is refused by `probe`.

Credentials come from the environment only. They are not part of a name, a message or a job.
"""

import errno
import os
import random
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from seedvideo.errors import ConfigError, StoreError
from seedvideo.utils.files import make_folder, sync_folder, write_error
from seedvideo.utils.text import printable

SCHEMES: Final = ("s3", "gs", "az")
"""Schemes of object stores; a name without a scheme is a folder."""

DEFAULT_GIVE_UP_AFTER_S: Final = 3600.0
"""Seconds after which a store that does not answer ends the run."""

PARALLEL_REQUESTS: Final = 32
"""Requests under way at once when many small objects are read."""

_NO_LINK: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV)
_TEMPORARY_PREFIX: Final = ".seedvideo-"
_PAGE_NAMES: Final = 1000
_FIRST_WAIT_S, _MAX_WAIT_S = 0.2, 30.0
_TIMEOUT, _CONNECT_TIMEOUT = timedelta(seconds=60), timedelta(seconds=10)

T = TypeVar("T")


class Store(Protocol):
    """Named objects of one job; names use slashes and start from the job's address."""

    @property
    def address(self) -> str:
        """Address of the job as given, which contains no credentials."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write an object unless its name exists.

        Returns:
            Whether the object now has these bytes. Equal bytes that were there before count, too:
            they may be those of this call, whose answer was lost.
        """

    def put(self, name: str, data: bytes) -> None:
        """Write an object, replacing an earlier one."""

    def read(self, name: str) -> bytes | None:
        """Return the bytes of an object; None if it does not exist."""

    def size(self, name: str) -> int | None:
        """Return the size of an object in bytes; None if it does not exist."""

    def list_names(self, prefix: str) -> Iterator[str]:
        """Yield the names that start with a prefix, in order."""

    def delete(self, name: str) -> None:
        """Remove an object if it exists."""


def open_store(
    address: str,
    *,
    endpoint: str | None = None,
    give_up_after_s: float = DEFAULT_GIVE_UP_AFTER_S,
    create: bool = False,
) -> Store:
    """Open the store of a job.

    Args:
        address: a folder, or an address such as ``s3://bucket/job``.
        endpoint: URL of a server with the interface of S3 or Azure, instead of the provider's.
        give_up_after_s: seconds after which an unanswered request is an error.
        create: whether to create a missing folder, whose parent must exist.

    Raises:
        ConfigError: ``config.invalid`` if the address or endpoint is invalid;
            ``config.package_missing`` without obstore.
        StoreError: ``store.not_found`` if the folder does not exist.
        OutputError: ``output.unwritable`` if it cannot be created.
    """
    scheme, separator, _ = address.partition("://")
    if separator and scheme not in SCHEMES:
        raise ConfigError(
            "config.invalid",
            f"--job {printable(address[:200])!r} has the scheme {printable(scheme[:20])!r},"
            f" expected {', '.join(SCHEMES)} or a folder",
            hint="store the job in a bucket, such as s3://BUCKET/JOB, or in a shared folder",
        )
    if separator:
        return ObjectStore(address, endpoint=endpoint, give_up_after_s=give_up_after_s)
    if endpoint is not None:
        raise ConfigError(
            "config.invalid",
            f"--store-endpoint is given, and {printable(address)} is a folder",
            hint="leave out --store-endpoint, or name a bucket: --job s3://BUCKET/JOB",
        )
    folder = Path(address)
    if create:
        make_folder(folder)
    elif not folder.is_dir():
        raise StoreError(
            "store.not_found",
            f"{printable(address)} is not a folder",
            hint="check the address, or plan a job there: seedvideo batch plan INPUT... --job"
            f" {printable(address)}",
        )
    return FolderStore(folder)


def probe(store: Store) -> None:
    """Check that of two writers of one name only the first succeeds.

    Raises:
        StoreError: ``store.no_conditional_put`` if the store accepts both; others as its methods.
    """
    name = f"probes/{secrets.token_hex(16)}"
    first, second = (secrets.token_bytes(16) for _ in range(2))
    try:
        is_safe = store.put_if_absent(name, first) and not store.put_if_absent(name, second)
        is_safe = is_safe and store.read(name) == first
    finally:
        with suppress(StoreError):
            store.delete(name)
    if not is_safe:
        raise no_conditional_put_error(store.address, "two writers of one name both succeeded")


def no_conditional_put_error(address: str, why: str) -> StoreError:
    """Return the error of a store on which two runners could both commit a part."""
    return StoreError(
        "store.no_conditional_put",
        f"{printable(address)} cannot hold a job of parts: {printable(why)}",
        hint="use S3, R2, GCS, Azure, a recent MinIO, or a folder on a file system with hard links",
    )


def read_many(store: Store, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield names and bytes of many small objects, in the given order."""
    if isinstance(store, FolderStore):
        # Faster than threads.
        yield from ((name, store.read(name)) for name in names)
        return
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        pending: list[str] = []
        for name in names:
            pending.append(name)
            if len(pending) == 8 * PARALLEL_REQUESTS:
                yield from zip(pending, pool.map(store.read, pending), strict=True)
                pending = []
        yield from zip(pending, pool.map(store.read, pending), strict=True)


class FolderStore:
    """Objects as files of a folder, possibly shared by several machines.

    Args:
        folder: an existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._folder)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write a temporary file, then link it to its name; see `Store`."""
        path = self._folder / name
        with self._translate(path), self._temporary(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            except OSError as error:
                if error.errno in _NO_LINK:
                    why = "its file system does not support hard links"
                    raise no_conditional_put_error(self.address, why) from error
                raise
            # A file server may report its own link, if the answer was lost, as an earlier one.
            is_ours = path.read_bytes() == data
            sync_folder(path.parent)
        return is_ours

    def put(self, name: str, data: bytes) -> None:
        """Write a temporary file, then rename it; see `Store`."""
        path = self._folder / name
        with self._translate(path), self._temporary(path, data) as temporary:
            temporary.replace(path)
            sync_folder(path.parent)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; see `Store`."""
        path = self._folder / name
        with self._translate(path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def size(self, name: str) -> int | None:
        """Return the size of a file; see `Store`."""
        path = self._folder / name
        with self._translate(path):
            try:
                return path.stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def list_names(self, prefix: str) -> Iterator[str]:
        """Yield the names of files below a folder, sorted; see `Store`."""
        folder, _, start = prefix.rpartition("/")
        path = self._folder / folder
        with self._translate(path):
            try:
                with os.scandir(path) as scan:
                    entries = sorted(
                        (each.name, each.is_dir()) for each in scan if each.name.startswith(start)
                    )
            except (FileNotFoundError, NotADirectoryError):
                return
        above = f"{folder}/" if folder else ""
        for name, is_folder in entries:
            if is_folder:
                yield from self.list_names(f"{above}{name}/")
            elif not name.startswith(_TEMPORARY_PREFIX):
                yield above + name

    def delete(self, name: str) -> None:
        """Remove a file; see `Store`."""
        with self._translate(self._folder / name):
            (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def _temporary(self, path: Path, data: bytes) -> Iterator[Path]:
        """Write data to a temporary file next to a path, and sync it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _translate(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = printable(error.strerror or type(error).__name__)
            if error.errno in (errno.EACCES, errno.EROFS):
                raise _denied_error(str(path), reason) from error
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise write_error(path, error) from error
            raise _unreachable_error(str(path), reason) from error


class ObjectStore:
    """Objects below a prefix of a bucket, by the package obstore.

    A request that fails in a way that may pass is repeated with growing waits.

    Args:
        address: such as ``s3://bucket/prefix``, without credentials.
        endpoint: see `open_store`.
        give_up_after_s: see `open_store`.
    """

    def __init__(self, address: str, *, endpoint: str | None, give_up_after_s: float) -> None:
        parts = urlsplit(address)
        if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError(
                "config.invalid",
                "--job is not an address such as s3://BUCKET/JOB, without a key or a query",
                hint="credentials are read from the environment, such as AWS_ACCESS_KEY_ID",
            )
        try:
            import obstore
            from obstore import exceptions, store
        except ModuleNotFoundError as error:
            raise ConfigError(
                "config.package_missing",
                f"a job in {parts.scheme}:// needs the package obstore",
                hint="pip install 'seedvideo[remote]'",
            ) from error
        self._obstore: Any = obstore
        self._errors: Any = exceptions
        self._address, self._give_up_after_s = address.rstrip("/"), give_up_after_s
        options: dict[str, Any] = {
            "client_options": {
                "timeout": _TIMEOUT,
                "connect_timeout": _CONNECT_TIMEOUT,
            },
            # Repeated here, where a lost answer is recognized.
            "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        }
        if endpoint is None and parts.scheme == "s3":
            endpoint = os.environ.get("AWS_ENDPOINT_URL")
        if endpoint is not None:
            _check_endpoint(endpoint, parts.scheme)
            options["endpoint"] = endpoint
            options["client_options"]["allow_http"] = endpoint.startswith("http://")
        try:
            self._store = store.from_url(self._address, **options)
        except exceptions.BaseError as error:
            raise ConfigError(
                "config.invalid",
                f"{printable(self._address)} cannot be opened: {_summarize(error)}",
                hint="check the address, and the provider's variables in the environment",
            ) from error

    @property
    def address(self) -> str:
        """The address as given."""
        return self._address

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Send a conditional request; see `Store`."""

        def attempt() -> bool:
            try:
                self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except self._errors.AlreadyExistsError:
                there = self._read(name)
                if there is None:
                    # 409: another writer is under way; it may still fail.
                    raise _TryAgainError("another writer is under way") from None
                return there == data
            return True

        return self._repeat(attempt)

    def put(self, name: str, data: bytes) -> None:
        """Write an object; see `Store`."""
        self._repeat(lambda: self._obstore.put(self._store, name, data, use_multipart=False))

    def read(self, name: str) -> bytes | None:
        """Return the bytes of an object; see `Store`."""
        return self._repeat(lambda: self._read(name))

    def size(self, name: str) -> int | None:
        """Return the size of an object; see `Store`."""

        def attempt() -> int | None:
            try:
                return int(self._obstore.head(self._store, name)["size"])
            except FileNotFoundError as error:
                _reject_missing_bucket(error)
                return None

        return self._repeat(attempt)

    def list_names(self, prefix: str) -> Iterator[str]:
        """Yield names, one request for each thousand; see `Store`."""
        # A prefix of obstore is a folder; names in it that begin otherwise come before or after.
        folder, last = prefix[: prefix.rfind("/") + 1], prefix
        while True:

            def attempt(after: str = last) -> list[str]:
                found = self._obstore.list(
                    self._store, prefix=folder, offset=after or None, chunk_size=_PAGE_NAMES
                )
                return sorted(entry["path"] for entry in next(iter(found), ()))

            names = self._repeat(attempt)
            yield from (name for name in names if name.startswith(prefix))
            if len(names) < _PAGE_NAMES or not names[-1].startswith(prefix):
                return
            last = names[-1]

    def delete(self, name: str) -> None:
        """Remove an object; see `Store`."""

        def attempt() -> None:
            with suppress(FileNotFoundError):
                self._obstore.delete(self._store, name)

        self._repeat(attempt)

    def _read(self, name: str) -> bytes | None:
        try:
            return bytes(self._obstore.get(self._store, name).bytes())
        except FileNotFoundError as error:
            _reject_missing_bucket(error)
            return None

    def _repeat(self, attempt: Callable[[], T]) -> T:
        """Call until it succeeds, with growing random waits; translate errors."""
        started_s, wait_s = time.monotonic(), _FIRST_WAIT_S
        while True:
            try:
                return attempt()
            except (self._errors.BaseError, OSError, _TryAgainError) as error:
                text = str(error)
                if "NoSuchBucket" in text or "ContainerNotFound" in text:
                    raise self._missing_bucket_error() from error
                status = _status_of(text)
                if status in (401, 403) or isinstance(
                    error,
                    self._errors.PermissionDeniedError | self._errors.UnauthenticatedError,
                ):
                    raise _denied_error(self._address, _summarize(error)) from error
                passed_s = time.monotonic() - started_s
                if passed_s + wait_s > self._give_up_after_s or (
                    status is not None and 400 <= status < 500 and status not in (408, 409, 429)
                ):
                    raise _unreachable_error(self._address, _summarize(error)) from error
            time.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, _MAX_WAIT_S)

    def _missing_bucket_error(self) -> StoreError:
        return StoreError(
            "store.not_found",
            f"the bucket of {printable(self._address)} does not exist",
            hint="check the address, the region and --store-endpoint, or create the bucket",
        )


class _TryAgainError(Exception):
    """A request that must be repeated."""


def _check_endpoint(endpoint: str, scheme: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(
            "config.invalid",
            "--store-endpoint is not a URL such as https://minio.example:9000, without a key",
            hint="credentials are read from the environment, such as AWS_ACCESS_KEY_ID",
        )
    if scheme == "gs":
        raise ConfigError(
            "config.invalid",
            "--store-endpoint is given, and gs:// has only Google's endpoint",
            hint="leave out --store-endpoint, or use the S3 interface of the other server",
        )


def _reject_missing_bucket(error: Exception) -> None:
    """Pass on the error of a missing bucket, which obstore reports as a missing object."""
    if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
        raise error


def _status_of(text: str) -> int | None:
    found = re.search(r"status code: (\d{3})", text)
    return None if found is None else int(found[1])


def _summarize(error: Exception) -> str:
    """Return a reason without URLs: those of a request may hold a signature."""
    text = str(error)
    status, code = _status_of(text), re.search(r"<Code>(\w{1,60})</Code>", text)
    if status is not None:
        return f"status {status}{f' {code[1]}' if code else ''}"
    if isinstance(error, _TryAgainError):
        return text
    for sign, reason in (("timed out", "timeout"), ("error sending request", "no connection")):
        if sign in text:
            return reason
    return type(error).__name__


def _denied_error(address: str, reason: str) -> StoreError:
    return StoreError(
        "store.denied",
        f"{printable(address)} denies access: {reason}",
        hint="check the permissions and the credentials in the environment, then run again",
    )


def _unreachable_error(address: str, reason: str) -> StoreError:
    return StoreError(
        "store.unreachable",
        f"{printable(address)} does not answer: {reason}",
        hint="run the same command again: finished work is kept on this machine",
        retryable=True,
    )
