"""One download into the spool, with all its limits: size, silence, total time, tries.

Separate from `seedvideo.remote.fetching`, which would exceed 500 lines with it.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Final

from seedvideo.errors import InputError
from seedvideo.media.sharing import STOP_POLL_S, check_not_stopped
from seedvideo.media.source import changed_error
from seedvideo.remote.spool import Spool, SpooledFile, SpoolWriter
from seedvideo.remote.transfer import (
    Body,
    Facts,
    display,
    length_error,
    timeout_error,
    too_large_error,
)
from seedvideo.remote_options import RemoteOptions
from seedvideo.utils.addresses import STORE_SCHEMES, lacks_query, parse_address

_TRIES: Final = 3
_FIRST_WAIT_S: Final = 0.25


class Download:
    """One file that is fetched whole.

    Args:
        name: its complete address.
        spool: where it goes.
        options: limits of the transfer.
        limit_bytes: maximum size.
        evict: gives up a file of the spool that is not in use; see `Spool.try_reserve`.
        is_cancelled: whether the file is not wanted any more.
    """

    def __init__(
        self,
        name: str,
        spool: Spool,
        options: RemoteOptions,
        *,
        limit_bytes: int,
        evict: Callable[[], bool],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._name, self._spool, self._options = name, spool, options
        self._limit_bytes, self._evict, self._is_cancelled = limit_bytes, evict, is_cancelled

    def run(self) -> SpooledFile:
        """Return the complete file.

        Raises:
            InputError: with the code of what went wrong last.
            ConfigError: ``config.package_missing``.
        """
        name = self._name
        if lacks_query(name):
            raise InputError(
                "input.query_missing",
                f"{display(name)}: the query of this address is not stored, as it may hold a key",
                hint="name the inputs again: seedvideo batch run INPUT... -o OUT",
            )
        late_s = monotonic() + self._options.total_timeout_s
        for count in range(_TRIES):
            try:
                return self._attempt(late_s)
            except InputError as error:
                if error.retryable and monotonic() >= late_s:
                    raise timeout_error(name, self._options.total_timeout_s) from None
                if count + 1 == _TRIES or not error.retryable or error.code == "input.spool_full":
                    raise
            self._wait(_FIRST_WAIT_S * 4**count)
        raise AssertionError

    def _attempt(self, late_s: float) -> SpooledFile:
        name = self._name
        limit = self._limit_bytes
        writer: SpoolWriter | None = None
        body = _open(name, self._options)
        try:
            facts = body.facts
            size_bytes = facts.size_bytes
            if size_bytes is not None and size_bytes > limit:
                raise too_large_error(name, limit)
            wanted = size_bytes
            if wanted is None:
                wanted = min(limit, self._spool.budget_bytes, self._spool.free_bytes() // 2)
            if not self._spool.try_reserve(wanted, evict=self._evict):
                # No server waits for minutes until a decoder has finished.
                body.close()
                self._spool.reserve(wanted, display(name), evict=self._evict)
                body = self._reopen(facts, wanted)
            writer = SpoolWriter(self._spool, wanted)
            for chunk in body.chunks():
                check_not_stopped()
                if self._is_cancelled():
                    raise timeout_error(name, 0)
                if monotonic() >= late_s:
                    raise timeout_error(name, self._options.total_timeout_s)
                if not writer.write(chunk):
                    if size_bytes is None:
                        raise too_large_error(name, wanted)  # of unknown size, maybe endless
                    raise length_error(name, size_bytes + 1, size_bytes)
            if monotonic() >= late_s:
                # The end may be that of the connection, which was shut for being late.
                raise timeout_error(name, self._options.total_timeout_s)
            if size_bytes is not None and writer.size_bytes != size_bytes:
                raise length_error(name, writer.size_bytes, size_bytes)
            return writer.finish(origin=replace(facts, size_bytes=writer.size_bytes))
        finally:
            body.close()
            if writer is not None:
                writer.discard()

    def _reopen(self, facts: Facts, reserved: int) -> Body:
        """Request the file again, for which space is reserved now."""
        name = self._name
        try:
            body = _open(name, self._options)
            if body.facts == facts:
                return body
            body.close()
            raise changed_error(display(name), "changed on the server meanwhile")
        except BaseException:
            self._spool.give_back(reserved, unwritten_bytes=reserved)
            raise

    def _wait(self, wait_s: float) -> None:
        late_s = monotonic() + wait_s
        while (left_s := late_s - monotonic()) > 0 and not self._is_cancelled():
            time.sleep(min(left_s, STOP_POLL_S))
            check_not_stopped()


def _open(name: str, options: RemoteOptions) -> Body:
    """Request a file, by the scheme of its address."""
    scheme = parse_address(name).scheme
    if scheme in STORE_SCHEMES:
        from seedvideo.remote.stores import open_object

        return open_object(name, options)
    if scheme == "hf":
        from seedvideo.remote.stores import open_dataset_file

        return open_dataset_file(name, options)
    from seedvideo.remote.guarded_http import open_url

    return open_url(name, name, options)
