"""Put finished bytes on a disk: whole or not at all, and never over what is already there.

A file appears under its final name only when every byte of it is safe. Knows nothing of records.
"""

import base64
import contextlib
import errno
import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import BinaryIO, Final
from unicodedata import normalize

from seedvideo.errors import OutputError
from seedvideo.utils.text import printable

_MAX_STEM_BYTES: Final = 180
"""Longest stem that we write: file systems take 255 bytes a name, temporary suffixes included."""

_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""Of the disk, and of what the user may have of it."""


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Say early, before any work, that an output would not be written.

    Args:
        path: the final name.
        overwrite: whether an existing file may be replaced; a folder or a device never is.

    Raises:
        OutputError: ``output.exists`` if something has that name, be it a broken link;
            ``output.unwritable`` if nothing can have it.
    """
    try:
        os.lstat(path)
        is_there = True
    except FileNotFoundError:
        is_there = False
    except OSError as error:
        raise _unwritable_error(path, error.strerror or type(error).__name__) from error
    if os.path.exists(path) and not os.path.isfile(path):
        # Replacing /dev/null would break the system.
        raise OutputError(
            "output.exists",
            f"{printable(str(path))} is not a regular file",
            hint="choose another name; -o - is stdout",
        )
    if is_there and not overwrite:
        raise OutputError(
            "output.exists",
            f"{printable(str(path))} already exists",
            hint="choose another name, or allow it with --overwrite",
        )
    folder = path.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable_error(path, os.strerror(errno.EACCES))


def refuse_unwritable(path: Path, *, is_folder: bool = False) -> None:
    """Refuse an output, before any work, whose folder is missing or cannot be written.

    Nothing above what the user names is ever made: a file needs its folder, and a folder, which is
    made when missing, needs the one above it. A file is made there and removed, since the rights
    alone say little where the user is root or the file system is special.

    Args:
        path: the file, or with ``is_folder`` the folder, that results go to.
        is_folder: whether results go into ``path``.

    Raises:
        OutputError: ``output.exists`` if the folder is a file; ``output.unwritable``.
    """
    if is_folder and os.path.lexists(path) and not os.path.isdir(path):
        raise OutputError(
            "output.exists",
            f"{printable(str(path))} is not a folder",
            hint="set -o to a folder",
        )
    folder = path if is_folder and os.path.isdir(path) else path.parent
    if not os.path.isdir(folder):
        raise OutputError(
            "output.unwritable",
            f"{printable(str(path))} cannot be written: the folder {printable(str(folder))}"
            " does not exist",
            hint=f"create it: mkdir -p {printable(quote(str(folder)))}",
        )
    probe = folder / f".seedvideo-{secrets.token_hex(8)}.tmp"
    try:
        with _create(probe):
            pass
        probe.unlink()
    except OSError as error:
        raise write_error(path, error) from error


def make_folder(folder: Path) -> None:
    """Make an output folder if it is missing; the folder above it must be there.

    Raises:
        OutputError: as `refuse_unwritable` does.
    """
    if not os.path.isdir(folder):
        refuse_unwritable(folder, is_folder=True)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise write_error(folder, error) from error


def write_file(path: Path, data: bytes, *, overwrite: bool = False, sync_name: bool = True) -> None:
    """Write bytes to a temporary file in the same folder, make them safe, then give the name.

    Args:
        path: the final name; its folder is made when missing, those above it are not.
        data: everything that the file shall hold.
        overwrite: see `refuse_existing`.
        sync_name: see `writing`.

    Raises:
        OutputError: as `writing` does.
    """
    with writing(path, overwrite=overwrite, sync_name=sync_name) as file:
        file.write(data)


@contextlib.contextmanager
def writing(path: Path, *, overwrite: bool = False, sync_name: bool = True) -> Iterator[BinaryIO]:
    """A file to write piece by piece; it has its name when the block ends, else it never was.

    The pieces go to a temporary file in the same folder, which is made safe on the disk before it
    gets the name. An error inside the block, of the caller too, leaves what was there before.

    Args:
        path: the final name; its folder is made when missing, those above it are not.
        overwrite: see `refuse_existing`.
        sync_name: bring the name to the disk too. Who writes many files in one folder does that
            once, with `sync_folder`.

    Raises:
        OutputError: ``output.exists``, ``output.disk_full``, or ``output.unwritable`` with the
            system's reason.
    """
    refuse_existing(path, overwrite=overwrite)
    try:
        path.parent.mkdir(exist_ok=True)
        temporary = path.parent / f".seedvideo-{secrets.token_hex(8)}.tmp"
        try:
            with _create(temporary) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if sync_name:
            sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error


def _create(path: Path) -> BinaryIO:
    return path.open("xb")


def write_error(path: Path, error: OSError) -> OutputError:
    """What a failed write means: a full disk has a code of its own, since room can be made."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _DISK_FULL:
        return OutputError(
            "output.disk_full",
            f"{printable(str(path))} cannot be written: {reason}",
            hint="free some space, or choose a folder on another disk, then run the command again",
            retryable=True,
        )
    return _unwritable_error(path, reason)


def _unwritable_error(path: Path, reason: str) -> OutputError:
    return OutputError(
        "output.unwritable",
        f"{printable(str(path))} cannot be written: {reason}",
        hint="check the folder's permissions and the free space",
    )


def output_names(sources: Sequence[str], *, extension: str) -> list[str]:
    """One file name a source, all different, even where upper and lower case are the same.

    A source alone with its stem keeps it (``clip.srt``). Those that share one take their folder's
    name in front (``a-clip.srt``), and where that is not enough a hash of the path at the end. The
    names depend on the set of sources, not on their order. A source that is there more than once,
    with other windows for instance, gets ``-2``, ``-3`` at the end in the order given.
    """
    unique = list(dict.fromkeys(sources))
    stems = dict(zip(unique, _unique_stems(unique), strict=True))
    taken = {fold_case(stem) for stem in stems.values()}
    met: set[str] = set()
    names = []
    for source in sources:
        stem = stems[source]
        if source in met:
            free = (f"{stem}-{number}" for number in count(2))
            stem = next(each for each in free if fold_case(each) not in taken)
            taken.add(fold_case(stem))
        met.add(source)
        names.append(stem + extension)
    return names


def _unique_stems(sources: Sequence[str]) -> list[str]:
    stems = [Path(source).stem for source in sources]
    parents = [Path(absolute_path(source)).parent.name for source in sources]
    hashes = [hashlib.sha256(os.fsencode(absolute_path(s))).hexdigest()[:8] for s in sources]
    plain = [safe_stem(stem) for stem in stems]
    prefixed = [safe_stem(f"{parent}-{stem}") for parent, stem in zip(parents, stems, strict=True)]
    hashed = [f"{stem}-{digest}" for stem, digest in zip(plain, hashes, strict=True)]
    names = plain
    for better in (prefixed, hashed):
        counts = Counter(fold_case(name) for name in names)
        names = [
            name if counts[fold_case(name)] == 1 else other
            for name, other in zip(names, better, strict=True)
        ]
    return names


def stable_name(key: str, *, extension: str) -> str:
    """A file name that depends on nothing but ``key``, so that it is the same in every run.

    The stem of the key, so that people find it, and 100 bits of its hash, so that two keys share
    none, even where upper and lower case are the same: ``clip-2pakb0yx6vj3hnt5q7wd.srt``. Where all
    keys are known at once `output_names` makes shorter ones.
    """
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=15).digest()
    short = base64.b32hexencode(digest).decode("ascii").lower()[:20]
    return f"{safe_stem(PurePosixPath(key).stem)}-{short}{extension}"


def absolute_path(path: str) -> str:
    """The full path, or the path as it is where the current folder was removed."""
    try:
        return os.path.abspath(path)
    except OSError:
        return path


def safe_stem(stem: str) -> str:
    """A stem that is a file name everywhere, and not too long."""
    clean = "".join("_" if printable(c) != c or c in '/\\:*?"<>|' else c for c in stem)
    clean = clean.lstrip(".") or "video"
    return clean.encode("utf-8", "ignore")[:_MAX_STEM_BYTES].decode("utf-8", "ignore")


def fold_case(name: str) -> str:
    """A name as systems compare it to which upper and lower case are the same."""
    return normalize("NFC", name).casefold()


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: they must survive a power cut as the files do."""
    # Not every system lets a folder be synced.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
