"""Put finished bytes on a disk: whole or not at all, and never over what is already there.

A file appears under its final name only when every byte of it is safe. Knows nothing of records.
"""

import contextlib
import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from unicodedata import normalize

from seedvideo.errors import OutputError
from seedvideo.writers.inert import printable

_STEM_BYTES: Final = 180
"""Longest stem that we write: file systems take 255 bytes a name, temporary suffixes included."""


def refuse_existing(path: Path) -> None:
    """Say early, before any work, that an output would not be written.

    Raises:
        OutputError: ``output.exists`` if something has that name, be it a broken link.
    """
    if os.path.lexists(path):
        raise OutputError(
            "output.exists",
            f"{printable(str(path))} exists already",
            hint="choose another name, or allow it with --overwrite",
        )


def write_file(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write bytes to a temporary file in the same folder, make them safe, then give the name.

    Args:
        path: the final name; its folder is made when missing.
        data: everything that the file shall hold.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: ``output.exists``, or ``output.unwritable`` with the system's reason.
    """
    if not overwrite:
        refuse_existing(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".seedvideo-{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            "output.unwritable",
            f"{printable(str(path))} cannot be written: {reason}",
            hint="check the folder, its rights and the free space",
        ) from error


def output_names(sources: Sequence[str], *, extension: str) -> list[str]:
    """One file name a source, all different, even where upper and lower case are the same.

    A source alone with its stem keeps it (``clip.srt``). Those that share one take their folder's
    name in front (``a-clip.srt``), and where that is not enough a hash of the path at the end. The
    names depend on the set of sources, not on their order.
    """
    stems = [Path(source).stem for source in sources]
    parents = [Path(os.path.abspath(source)).parent.name for source in sources]
    hashes = [hashlib.sha256(os.fsencode(os.path.abspath(s))).hexdigest()[:8] for s in sources]
    plain = [_safe_stem(stem) for stem in stems]
    prefixed = [_safe_stem(f"{parent}-{stem}") for parent, stem in zip(parents, stems, strict=True)]
    hashed = [f"{stem}-{digest}" for stem, digest in zip(plain, hashes, strict=True)]
    names = plain
    for better in (prefixed, hashed):
        counts = Counter(_folded(name) for name in names)
        names = [
            name if counts[_folded(name)] == 1 else other
            for name, other in zip(names, better, strict=True)
        ]
    return [name + extension for name in names]


def _safe_stem(stem: str) -> str:
    clean = "".join("_" if printable(c) != c or c in '/\\:*?"<>|' else c for c in stem)
    clean = clean.lstrip(".") or "video"
    return clean.encode("utf-8", "ignore")[:_STEM_BYTES].decode("utf-8", "ignore")


def _folded(name: str) -> str:
    return normalize("NFC", name).casefold()


def _sync_folder(folder: Path) -> None:
    # The new name itself must survive a power cut; not every system lets a folder be synced.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
