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
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from shlex import quote
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit

from seedvideo.batch import store_errors
from seedvideo.batch.store_errors import summarize
from seedvideo.errors import ConfigError, StoreError
from seedvideo.utils.files import make_folder, sync_folder
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
_SILENT_S, _REPORT_INTERVAL_S = 5.0, 60.0
_TIMEOUT, _CONNECT_TIMEOUT = timedelta(seconds=60), timedelta(seconds=10)

T = TypeVar("T")


class Store(Protocol):
    """Named objects of one job; names use slashes and start from the job's address."""

    @property
    def address(self) -> str:
        """Address of the job as given, which contains no credentials."""

    @property
    def words(self) -> str:
        """Options that name the job in a command, for hints."""

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
    on_wait: Callable[[str], None] = lambda message: None,
) -> Store:
    """Open the store of a job.

    Args:
        address: a folder, or an address such as ``s3://bucket/job``.
        endpoint: URL of a server with the interface of S3 or Azure, instead of the provider's.
        give_up_after_s: seconds after which an unanswered request is an error.
        create: whether to create a missing folder, whose parent must exist.
        on_wait: called now and then with a message while a request is repeated.

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
            # The address is not repeated: it may hold a key.
            f"--job has the scheme {printable(scheme[:20])!r}, expected {', '.join(SCHEMES)} or a"
            " folder",
            hint="store the job in a bucket, such as s3://BUCKET/JOB, or in a shared folder",
        )
    if separator:
        return ObjectStore(
            address, endpoint=endpoint, give_up_after_s=give_up_after_s, on_wait=on_wait
        )
    if endpoint is not None:
        raise ConfigError(
            "config.invalid",
            f"--store-endpoint is given, and {printable(address)} is a folder",
            hint="leave out --store-endpoint, or name a bucket: --job s3://BUCKET/JOB",
        )
    folder = Path(address)
    if create:
        make_folder(folder)
    elif not os.path.isdir(folder):  # Also a name that is too long is none.
        raise StoreError(
            "store.not_found",
            f"{printable(address)} is not a folder",
            hint="check the address, or plan a job there: seedvideo batch plan INPUT... --job"
            f" {printable(quote(address))}",
        )
    return FolderStore(folder)


def probe(store: Store) -> None:
    """Check that of two writers of one name only the first succeeds.

    Raises:
        StoreError: ``store.no_conditional_put`` if the store accepts both; others as its methods.
    """
    name = f"probes/{secrets.token_hex(16)}"
    first, second = (secrets.token_bytes(16) for _ in range(2))
    is_safe = store.put_if_absent(name, first) and not store.put_if_absent(name, second)
    is_safe = is_safe and store.read(name) == first
    store.delete(name)
    if not is_safe:
        raise store_errors.no_conditional_put_error(
            store.address, "two writers of one name both succeeded"
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

    @property
    def words(self) -> str:
        """The option for the folder."""
        return f"--job {quote(self.address)}"

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write a temporary file, then link it to its name; see `Store`."""
        path = self._folder / name
        with store_errors.translated(path), self._temporary(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            except OSError as error:
                if error.errno in _NO_LINK:
                    why = "its file system does not support hard links"
                    raise store_errors.no_conditional_put_error(self.address, why) from error
                raise
            # A file server may report its own link, if the answer was lost, as an earlier one.
            is_ours = path.read_bytes() == data
            sync_folder(path.parent)
        return is_ours

    def put(self, name: str, data: bytes) -> None:
        """Write a temporary file, then rename it; see `Store`."""
        path = self._folder / name
        with store_errors.translated(path), self._temporary(path, data) as temporary:
            temporary.replace(path)
            sync_folder(path.parent)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; see `Store`."""
        path = self._folder / name
        with store_errors.translated(path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                self._check_folder()
                return None

    def size(self, name: str) -> int | None:
        """Return the size of a file; see `Store`."""
        path = self._folder / name
        with store_errors.translated(path):
            try:
                return path.stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                self._check_folder()
                return None

    def list_names(self, prefix: str) -> Iterator[str]:
        """Yield the names of files below a folder, sorted; see `Store`."""
        folder, _, start = prefix.rpartition("/")
        path = self._folder / folder
        with store_errors.translated(path):
            try:
                with os.scandir(path) as scan:
                    entries = sorted(
                        (each.name, each.is_dir())
                        for each in scan
                        # Hidden names are temporary files, ours or those of a file server.
                        if each.name.startswith(start) and not each.name.startswith(".")
                    )
            except (FileNotFoundError, NotADirectoryError):
                self._check_folder()
                return
        above = f"{folder}/" if folder else ""
        for name, is_folder in entries:
            if is_folder:
                yield from self.list_names(f"{above}{name}/")
            else:
                yield above + name

    def delete(self, name: str) -> None:
        """Remove a file; see `Store`."""
        with store_errors.translated(self._folder / name):
            (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def _temporary(self, path: Path, data: bytes) -> Iterator[Path]:
        """Write data to a temporary file next to a path, and sync it."""
        if not os.path.isdir(path.parent):
            self._check_folder()  # It may be on a file server that is not mounted any more.
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

    def _check_folder(self) -> None:
        """Raise an error if the folder itself is gone: nothing in it is missing then."""
        if not os.path.isdir(self._folder):
            raise StoreError(
                "store.not_found",
                f"the folder {printable(self.address)} is gone",
                hint="mount it again, or plan the job again",
            )


class ObjectStore:
    """Objects below a prefix of a bucket, by the package obstore.

    A request that fails in a way that may pass is repeated with growing waits.

    Args:
        address: such as ``s3://bucket/prefix``, without credentials.
        endpoint: see `open_store`.
        give_up_after_s: see `open_store`.
        on_wait: see `open_store`.
    """

    def __init__(
        self,
        address: str,
        *,
        endpoint: str | None,
        give_up_after_s: float,
        on_wait: Callable[[str], None],
    ) -> None:
        parts = _split_plain(address)
        if parts is None:
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
        self._on_wait, self._report_at_s = on_wait, 0.0
        self._endpoint_words = ""
        options: dict[str, Any] = {
            "client_options": {
                "timeout": _TIMEOUT,
                "connect_timeout": _CONNECT_TIMEOUT,
            },
            # Repeated here, where a lost answer is recognized.
            "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        }
        if endpoint is not None:
            _check_endpoint(endpoint, parts.scheme, name="--store-endpoint")
            self._endpoint_words = f" --store-endpoint {quote(endpoint)}"
        elif parts.scheme == "s3" and (endpoint := os.environ.get("AWS_ENDPOINT_URL") or None):
            _check_endpoint(endpoint, parts.scheme, name="AWS_ENDPOINT_URL")
        if endpoint is not None:
            options["endpoint"] = endpoint
            options["client_options"]["allow_http"] = endpoint.startswith("http://")
        try:
            self._store = store.from_url(self._address, **options)
        except exceptions.BaseError as error:
            raise ConfigError(
                "config.invalid",
                f"{printable(self._address)} cannot be opened: {summarize(error)}",
                hint="check the address, and the provider's variables in the environment",
            ) from None

    @property
    def address(self) -> str:
        """The address as given."""
        return self._address

    @property
    def words(self) -> str:
        """The options for the address and the server; see `Store`."""
        return f"--job {quote(self._address)}{self._endpoint_words}"

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
                store_errors.reject_missing_bucket(error)
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
            store_errors.reject_missing_bucket(error)
            return None

    def _repeat(self, attempt: Callable[[], T]) -> T:
        """Call until it succeeds, with growing random waits; translate errors."""
        started_s, wait_s = time.monotonic(), _FIRST_WAIT_S
        while True:
            try:
                return attempt()
            except (self._errors.BaseError, OSError, _TryAgainError) as error:
                reason = str(error) if isinstance(error, _TryAgainError) else summarize(error)
                passed_s = time.monotonic() - started_s
                final = store_errors.final_error(self._address, error, passed_s=passed_s)
                # Without its cause, whose addresses may hold a token.
                if final is not None:
                    raise final from None
                if passed_s + wait_s > self._give_up_after_s:
                    raise store_errors.unreachable_error(self._address, reason) from None
                self._report_wait(reason, passed_s)
            time.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, _MAX_WAIT_S)

    def _report_wait(self, reason: str, passed_s: float) -> None:
        """Say now and then that a request is repeated, as it may be for an hour."""
        now_s = time.monotonic()
        if passed_s >= _SILENT_S and now_s >= self._report_at_s:
            self._report_at_s = now_s + _REPORT_INTERVAL_S
            self._on_wait(
                f"{printable(self._address)} does not answer: {reason}; the request is repeated for"
                f" up to {self._give_up_after_s:,.0f} s"
            )


class _TryAgainError(Exception):
    """A request that must be repeated."""


def _split_plain(address: str) -> SplitResult | None:
    """Split an address; None if it is invalid, or has a user name, a query or a fragment."""
    try:
        parts = urlsplit(address)
        is_plain = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    if not is_plain or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    return parts


def _check_endpoint(endpoint: str, scheme: str, *, name: str) -> None:
    parts = _split_plain(endpoint)
    if parts is None or parts.scheme not in ("http", "https"):
        raise ConfigError(
            "config.invalid",
            f"{name} is not a URL such as https://minio.example:9000, without a key",
            hint="credentials are read from the environment, such as AWS_ACCESS_KEY_ID",
        )
    if scheme == "gs":
        raise ConfigError(
            "config.invalid",
            "--store-endpoint is given, and gs:// has only Google's endpoint",
            hint="leave out --store-endpoint, or use the S3 interface of the other server",
        )
