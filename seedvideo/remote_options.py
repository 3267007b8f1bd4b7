"""Options of remote inputs: which addresses are allowed, and where downloads are kept.

Light, as a job and the command line import it.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Final
from urllib.parse import urlsplit

from seedvideo.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RemoteOptions:
    """How remote files are reached and kept. No row of a list can change them.

    Args:
        store_endpoint: URL of the object store for ``s3://``, ``gs://`` and ``az://``, instead of
            the provider's; ``http://`` is allowed here.
        allow_private_addresses: let ``https://`` reach private, local and reserved addresses too.
        allow_http: let addresses and redirects use ``http://``, which is not encrypted.
        anonymous: read public buckets without credentials.
        spool: folder of the downloads; the one for temporary files if None.
        spool_gib: maximum size of all downloads that are kept at a time.
        stall_timeout_s: maximum seconds without a byte.
        total_timeout_s: maximum seconds of one download.

    Raises:
        ConfigError: ``config.invalid`` if a value is out of range, or the endpoint is not a plain
            URL.
    """

    store_endpoint: str | None = None
    allow_private_addresses: bool = False
    allow_http: bool = False
    anonymous: bool = False
    spool: str | None = None
    spool_gib: float = 20.0
    stall_timeout_s: float = 30.0
    total_timeout_s: float = 3_600.0

    def __post_init__(self) -> None:
        for name in ("spool_gib", "stall_timeout_s", "total_timeout_s"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 < value < math.inf):
                raise ConfigError(
                    "config.invalid", f"{name} is {value!r}, expected a number above 0"
                )
        if self.spool is not None and not (isinstance(self.spool, str) and self.spool):
            raise ConfigError("config.invalid", "spool is empty, expected the name of a folder")
        if self.store_endpoint is not None and not _is_plain_url(self.store_endpoint):
            # The value is not repeated: it may hold a password.
            raise ConfigError(
                "config.invalid",
                "store_endpoint is not a URL such as https://minio.example.org:9000, without user"
                " name, query and fragment",
                hint="set keys in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )

    @property
    def spool_bytes(self) -> int:
        """Maximum size of all downloads in bytes."""
        return int(self.spool_gib * 2**30)


def _is_plain_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and is_plain and has_port


DEFAULT_REMOTE: Final = RemoteOptions()

REMOTE_FIELDS: Final = tuple(each.name for each in fields(RemoteOptions))


def changed_remote(options: RemoteOptions) -> dict[str, Any]:
    """Return the fields whose values are not the defaults."""
    return {
        name: getattr(options, name)
        for name in REMOTE_FIELDS
        if getattr(options, name) != getattr(DEFAULT_REMOTE, name)
    }
