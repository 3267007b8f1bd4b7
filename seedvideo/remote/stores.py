"""Object stores by obstore (``s3://``, ``gs://``, ``az://``), and files of Hugging Face data sets.

Keys come from the environment or the platform; obstore reads them itself. The endpoint is that of
the provider, or the one of the options, never one of a row.

Separate from `seedvideo.remote.download`, which is the same for all addresses.
"""

import os
import queue
import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.util import find_spec
from time import monotonic
from typing import Any, Final

from seedvideo.errors import ConfigError, SeedVideoError
from seedvideo.media.sharing import STOP_POLL_S, check_not_stopped
from seedvideo.remote.guarded_http import HttpBody, open_url, origin_of
from seedvideo.remote.transfer import (
    CHUNK_BYTES,
    CREDENTIAL_CODES,
    METADATA_SERVERS,
    Facts,
    credentials_error,
    forbidden_error,
    invalid_error,
    not_found_error,
    stalled_error,
    unavailable_error,
)
from seedvideo.remote_options import RemoteOptions
from seedvideo.utils.addresses import Address, parse_address

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,253}")
_DATASET: Final = re.compile(
    r"/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:@(?P<revision>[^/]+))?/(?P<path>.+)", re.ASCII
)
_MAX_WAITING: Final = 8
"""Chunks that wait to be written."""

_RETRIES: Final = 3

_WORDS: Final = {
    "FileNotFoundError": not_found_error,
    "NotFoundError": not_found_error,
    "PermissionDeniedError": forbidden_error,
}


class StoreBody:
    """The answer of an object store, read by a thread of its own, which a silence cannot block.

    Args:
        name: address of the object.
        options: how long a silence may last.
        request: returns the answer of obstore.
    """

    def __init__(self, name: str, options: RemoteOptions, request: Callable[[], Any]) -> None:
        self._name, self._options, self._request = name, options, request
        self._queue: queue.Queue[Facts | bytes | Exception | None] = queue.Queue(_MAX_WAITING)
        self._stop = threading.Event()
        threading.Thread(target=self._read, name="seedvideo-store", daemon=True).start()
        facts = self._next()
        assert isinstance(facts, Facts)
        self.facts = facts

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; raise `InputError` if they stop coming."""
        while isinstance(data := self._next(), bytes):
            yield data

    def close(self) -> None:
        """End the thread at its next chunk."""
        self._stop.set()

    def _next(self) -> Facts | bytes | None:
        late_s = monotonic() + self._options.stall_timeout_s
        while True:
            try:
                found = self._queue.get(timeout=STOP_POLL_S)
            except queue.Empty:
                if monotonic() > late_s:
                    self.close()
                    raise stalled_error(self._name, self._options.stall_timeout_s) from None
                try:
                    check_not_stopped()
                except SeedVideoError:
                    self.close()
                    raise
                continue
            if isinstance(found, Exception):
                raise self._translated(found) from None
            return found

    def _read(self) -> None:
        try:
            result = self._request()
            meta = result.meta
            version = meta.get("e_tag") or meta.get("version") or str(meta["last_modified"])
            self._put(Facts(size_bytes=int(meta["size"]), version=str(version)[:500]))
            for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                if not self._put(bytes(chunk)):
                    return
            self._put(None)
        except Exception as error:  # noqa: BLE001
            # Any error of the library, also a panic, is one of this file.
            self._put(error)

    def _put(self, value: Facts | bytes | Exception | None) -> bool:
        """Pass a value on; return False if it is not wanted any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(value, timeout=STOP_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def _translated(self, error: Exception) -> Exception:
        """Return the error with a code; what the library says may hold keys."""
        if isinstance(error, SeedVideoError):
            return error
        text, kind = str(error), type(error).__name__
        code = next((code for code in CREDENTIAL_CODES if f"<Code>{code}</Code>" in text), None)
        if code is not None:
            return credentials_error(self._name, f"the store does not accept the key: {code}")
        if kind == "UnauthenticatedError":
            return credentials_error(self._name, "the store does not accept the credentials")
        if kind in _WORDS:
            return _WORDS[kind](self._name)
        found = re.search(r"\bstatus code: ([45]\d\d)\b", text)
        if any(server in text for server in METADATA_SERVERS):
            return credentials_error(self._name, "no credentials were found")
        if found is not None and found[1] in ("401", "403"):
            return forbidden_error(self._name)
        if found is not None:
            why = f"the store answers with status {found[1]}"
            return unavailable_error(self._name, why, again=found[1][0] == "5")
        if "Received redirect" in text:
            why = "the store redirects, as for a bucket of another region"
            return unavailable_error(self._name, f"{why}; set AWS_REGION", again=False)
        return unavailable_error(self._name, "the store does not answer")


def open_object(name: str, options: RemoteOptions) -> StoreBody:
    """Request an object and return the open answer.

    Args:
        name: address, such as ``s3://bucket/key.mp4``.
        options: endpoint and limits.

    Raises:
        InputError: as `seedvideo.remote.guarded_http.open_url` does.
        StoreError: ``store.denied`` if no file can be opened with the credentials of this machine.
        ConfigError: ``config.package_missing``.
    """
    address = _checked_address(name)
    store = _make_store(name, address, options)

    def request() -> Any:
        import obstore

        return obstore.get(store, address.path.lstrip("/"))

    return StoreBody(name, options, request)


def open_dataset_file(name: str, options: RemoteOptions) -> HttpBody:
    """Request a file of a data set on a hub and return the open answer.

    Args:
        name: ``hf://datasets/OWNER/NAME[@REVISION]/PATH``.
        options: limits.

    Raises:
        InputError: as `seedvideo.remote.guarded_http.open_url` does.
        ConfigError: ``config.package_missing``.
    """
    address = parse_address(name)
    found = _DATASET.fullmatch(address.path)
    if address.host != "datasets" or found is None or address.query:
        raise invalid_error(name, "is not hf://datasets/OWNER/NAME[@REVISION]/PATH")
    if find_spec("huggingface_hub") is None:
        raise _missing_error("huggingface_hub", "huggingface-hub")
    from huggingface_hub import constants, get_token, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        raise unavailable_error(name, "HF_HUB_OFFLINE forbids requests to a hub", again=False)
    url = hf_hub_url(
        f"{found['owner']}/{found['name']}",
        found["path"],
        repo_type="dataset",
        revision=found["revision"],
    )
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # HF_ENDPOINT is the user's, so a hub inside a company needs no option.
    trusted = origin_of(name, constants.ENDPOINT) if "HF_ENDPOINT" in os.environ else None
    return open_url(name, url, options, headers=headers, trusted=trusted)


def _checked_address(name: str) -> Address:
    address = parse_address(name)
    if address.has_userinfo or address.query is not None:
        raise invalid_error(name, "has a user name or a query, which object stores do not take")
    if not _BUCKET.fullmatch(address.host):
        raise invalid_error(name, "has no valid bucket")
    parts = address.path.removeprefix("/").split("/")
    if not parts[-1]:
        raise invalid_error(name, "names a folder; name the files, or list them in a file")
    if any(part in ("", ".", "..") for part in parts):
        raise invalid_error(name, "has an empty part, . or .. in its path")
    return address


def _make_store(name: str, address: Address, options: RemoteOptions) -> Any:
    """Return the store of a bucket. Its types are those of obstore, an optional package."""
    if find_spec("obstore") is None:
        raise _missing_error("obstore", "seedvideo[remote]")
    from obstore import store as stores

    endpoint = options.store_endpoint
    config: dict[str, Any] = {"skip_signature": True} if options.anonymous else {}
    client: dict[str, Any] = {
        "timeout": timedelta(seconds=options.total_timeout_s),
        "connect_timeout": timedelta(seconds=min(30.0, options.stall_timeout_s)),
    }
    # The package reads the variable, too.
    own = endpoint or (os.environ.get("AWS_ENDPOINT_URL", "") if address.scheme == "s3" else "")
    if own.startswith("http://"):
        client["allow_http"] = True
    retries: Any = {
        "max_retries": _RETRIES,
        "retry_timeout": timedelta(seconds=max(10.0, 2 * options.stall_timeout_s)),
    }
    names = {"s3": "endpoint", "gs": "base_url", "az": "endpoint"}
    if endpoint is not None:
        config[names[address.scheme]] = endpoint.rstrip("/")
    kinds = {"s3": stores.S3Store, "gs": stores.GCSStore, "az": stores.AzureStore}
    make: Any = kinds[address.scheme]
    try:
        return make(address.host, config=config, client_options=client, retry_config=retries)
    except Exception:  # noqa: BLE001
        # Missing or wrong settings of the environment, which the message would repeat.
        raise credentials_error(
            name, "the settings of its object store are missing or invalid"
        ) from None


def _missing_error(package: str, install: str) -> ConfigError:
    return ConfigError(
        "config.package_missing",
        f"addresses of this kind need the package {package}",
        hint=f"pip install '{install}'",
    )
