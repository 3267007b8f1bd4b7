"""Command-line options of remote inputs, a group for `options.with_options`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import typer

from seedvideo.batch.inputs import Item
from seedvideo.errors import ConfigError
from seedvideo.remote_options import RemoteOptions

if TYPE_CHECKING:
    from seedvideo.media.source import OpenedInput
    from seedvideo.remote.fetching import Fetcher


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How the addresses of one command line are reached; each field is an option."""

    store_endpoint: Annotated[
        str | None,
        typer.Option(
            "--store-endpoint",
            metavar="URL",
            help="Reach s3://, gs:// and az:// at this URL instead of the provider's.",
        ),
    ] = None
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Read public buckets without credentials.")
    ] = False
    allow_private_addresses: Annotated[
        bool,
        typer.Option(
            "--allow-private-addresses",
            help="Let https:// reach private, local and reserved addresses too.",
        ),
    ] = False
    allow_http: Annotated[
        bool, typer.Option("--allow-http", help="Let addresses use http://, without encryption.")
    ] = False
    spool: Annotated[
        str | None,
        typer.Option(
            "--spool",
            metavar="DIR",
            help="Keep downloads in this folder. [default: that for temporary files]",
        ),
    ] = None
    spool_gib: Annotated[
        float,
        typer.Option(
            "--spool-gib", metavar="GIB", help="Limit the size of the downloads kept at a time."
        ),
    ] = 20.0

    @cached_property
    def config(self) -> RemoteOptions:
        """Return the options as the package takes them.

        Raises:
            typer.BadParameter: if a value is invalid.
        """
        names = self.__dataclass_fields__
        try:
            return RemoteOptions(**{name: getattr(self, name) for name in names})
        except ConfigError as error:
            raise typer.BadParameter(error.message) from error

    @cached_property
    def fetcher(self) -> "Fetcher":
        """Return the fetcher of this command line; its files go with the process."""
        from seedvideo.remote.fetching import Fetcher

        return Fetcher(self.config)

    @contextmanager
    def locate(self, item: Item) -> "Iterator[str | OpenedInput]":
        """Yield what is opened for an item: its path, or a file that was fetched.

        Raises:
            SeedVideoError: if it cannot be fetched.
        """
        from seedvideo.remote.fetching import needs_fetch

        if not needs_fetch(item.source):
            yield item.video
            return
        with self.fetcher.lease(item.source) as lease:
            yield lease.opened
