"""Addresses of remote files, and names of clips inside tar and parquet files; text only.

An address may carry secrets: a user name and password, or the query of a presigned URL. `safe_name`
returns the name under which everything else knows it: messages, journals, exports and records. A
member of a container is named ``CONTAINER::MEMBER``, for example ``clips-0001.tar::a/b.mp4``.
"""

import hashlib
import re
from typing import Final, NamedTuple
from urllib.parse import unquote

STORE_SCHEMES: Final = ("s3", "gs", "az")
"""Schemes of object stores."""

_ADDRESS: Final = re.compile(r"(?:s3|gs|az|https?|hf)://", re.IGNORECASE)
_PARTS: Final = re.compile(
    r"(?P<scheme>[A-Za-z0-9]+)://(?P<host>[^/?#]*)(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?:#.*)?",
    re.DOTALL,
)
_MEMBER: Final = re.compile(
    r"(?P<container>.+?\.(?:tar|parquet)(?:\?.*?)?(?:#.*?)?)::(?P<member>.+)",
    re.IGNORECASE | re.DOTALL,
)
_HASHED: Final = re.compile(r"sha256=[0-9a-f]{16}")

_SIGNING: Final = re.compile(r"x-(?:amz|goog)-.*", re.IGNORECASE)
_SIGNING_OLD: Final = frozenset(
    ("signature", "expires", "key-pair-id", "policy", "awsaccesskeyid", "googleaccessid")
)
"""Parameters of older signatures, where one of them is ``signature``."""
_SIGNING_AZURE: Final = frozenset(
    (
        *("sv", "ss", "srt", "sp", "se", "st", "spr", "sig", "sr", "sip", "si", "sdd", "skoid"),
        *("sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid"),
    )
)
"""Parameters of a shared access signature, where one of them is ``sig``."""


class Address(NamedTuple):
    """Parts of an address.

    Args:
        scheme: scheme in small letters.
        host: host or bucket, without user information.
        path: path, with its first slash.
        query: text after the question mark; None without one.
        has_userinfo: whether a user name or a password was given.
    """

    scheme: str
    host: str
    path: str
    query: str | None
    has_userinfo: bool


class Member(NamedTuple):
    """A clip inside a container.

    Args:
        container: path or address of the container.
        member: its name in the container.
    """

    container: str
    member: str


def is_address(name: str) -> bool:
    """Return whether a name is an address of a remote file.

    >>> is_address("s3://bucket/a.mp4"), is_address("concat:a|b"), is_address("ftp://a/b")
    (True, False, False)
    """
    return _ADDRESS.match(name) is not None


def split_member(name: str) -> Member | None:
    """Split the name of a clip inside a container; None for any other name.

    >>> split_member("s3://b/clips.tar::a/b.mp4")
    Member(container='s3://b/clips.tar', member='a/b.mp4')
    """
    found = _MEMBER.fullmatch(name)
    return None if found is None else Member(found["container"], found["member"])


def parse_address(name: str) -> Address:
    """Split an address that `is_address` accepts."""
    found = _PARTS.fullmatch(name)
    assert found is not None
    _, at, host = found["host"].rpartition("@")
    return Address(found["scheme"].lower(), host, found["path"], found["query"], bool(at))


def safe_name(name: str) -> str:
    """Return the name of an address without secrets; other names are returned unchanged.

    User information and fragment are removed, and so are the parameters of a signature, which
    differ each time. The rest of a query is replaced by its hash: names stay different.

    >>> safe_name("https://me:pw@h.org/a.mp4?X-Amz-Signature=1#t")
    'https://h.org/a.mp4'
    >>> safe_name("https://h.org/watch?v=1")
    'https://h.org/watch?sha256=a798de8ee75aeb55'
    """
    if not is_address(name):
        return name
    member = split_member(name)
    if member is not None:
        return f"{safe_name(member.container)}::{member.member}"
    address = parse_address(name)
    query = _without_signature(address.query or "")
    if query and not _HASHED.fullmatch(query):
        digest = hashlib.sha256(query.encode("utf-8", "surrogatepass")).hexdigest()
        query = f"sha256={digest[:16]}"
    return f"{address.scheme}://{address.host}{address.path}{'?' * bool(query)}{query}"


def has_secret(name: str) -> bool:
    """Return whether an address says more than its safe name."""
    return safe_name(name) != name


def lacks_query(name: str) -> bool:
    """Return whether a name is the safe one of an address whose query is needed."""
    container = (split_member(name) or Member(name, "")).container
    return is_address(container) and bool(_HASHED.fullmatch(parse_address(container).query or ""))


def without_signature(text: str) -> str:
    """Return an address without user information and signature; other texts unchanged.

    >>> without_signature("https://h.org/watch?v=1&X-Amz-Signature=2")
    'https://h.org/watch?v=1'
    """
    if not is_address(text):
        return text
    address = parse_address(text)
    query = _without_signature(address.query or "")
    if query == (address.query or "") and not address.has_userinfo:
        return text
    return f"{address.scheme}://{address.host}{address.path}{'?' * bool(query)}{query}"


def _without_signature(query: str) -> str:
    """Return a query without the parameters of a signature."""
    parts = [part for part in query.split("&") if part]
    names = [unquote(part.partition("=")[0]).lower() for part in parts]
    signing: set[str] = set()
    if "signature" in names:
        signing |= _SIGNING_OLD
    if "sig" in names:
        signing |= _SIGNING_AZURE
    return "&".join(
        part
        for part, name in zip(parts, names, strict=True)
        if name not in signing and not _SIGNING.fullmatch(name)
    )
