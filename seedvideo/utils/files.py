"""Atomic file writes and output file names.

A file appears under its final name only when all of its bytes are on the disk; existing files are
not overwritten unless requested.
"""

import base64
import contextlib
import errno
import hashlib
import os
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import BinaryIO, Final
from unicodedata import normalize

from seedvideo.errors import BatchError, OutputError
from seedvideo.utils.text import printable

_MAX_STEM_BYTES: Final = 180
"""Maximum bytes of a stem: file systems take 255 bytes per name, temporary suffixes included."""

_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk and of an exhausted quota."""


def get_working_folder() -> str:
    """Return the working folder.

    Raises:
        BatchError: ``batch.no_folder`` if it was deleted.
    """
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise BatchError(
            "batch.no_folder",
            "the working folder was deleted; inputs of a job are relative to it",
            hint="change to an existing folder (cd), then run the command again",
        ) from error


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that already exists, before any work.

    Args:
        path: final name.
        overwrite: whether an existing file may be replaced; a folder or a device never is.

    Raises:
        OutputError: ``output.exists`` if the name exists, even as a broken link;
            ``output.unwritable`` if it cannot be created.
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

    Parents of the named path are never created: a file needs its folder, and a folder, which is
    created when missing, needs its parent. A file is created there and removed, since permissions
    are not conclusive for root and for special file systems.

    Args:
        path: output file, or output folder with ``is_folder``.
        is_folder: whether ``path`` is a folder.

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
    """Create an output folder if it is missing; its parent must exist.

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
    """Write bytes to a temporary file in the same folder, sync it, then rename it.

    Args:
        path: final name; its folder is created when missing, those above it are not.
        data: content of the file.
        overwrite: see `refuse_existing`.
        sync_name: see `writing`.

    Raises:
        OutputError: as `writing` does.
    """
    with writing(path, overwrite=overwrite, sync_name=sync_name) as file:
        file.write(data)


@contextlib.contextmanager
def writing(path: Path, *, overwrite: bool = False, sync_name: bool = True) -> Iterator[BinaryIO]:
    """Open a file for atomic writing; it gets its name when the block ends without an error.

    Data go to a temporary file in the same folder, which is synced to the disk and then renamed. An
    error inside the block leaves an existing file unchanged.

    Args:
        path: final name; its folder is created when missing, those above it are not.
        overwrite: see `refuse_existing`.
        sync_name: whether to sync the folder too; for many files in one folder call `sync_folder`
            once instead.

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


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Create a temporary folder for the duration of a block.

    Raises:
        OutputError: ``output.unwritable`` or ``output.disk_full`` if it cannot be created.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            "output.disk_full" if error.errno in _DISK_FULL else "output.unwritable",
            f"no temporary folder can be created: {printable(reason)}",
            hint="name a folder for temporary files with space in it: export TMPDIR=FOLDER",
        ) from error
    with folder as name:
        yield Path(name)


def write_error(path: Path, error: OSError) -> OutputError:
    """Return the error for a failed write; a full disk has a separate, retryable code."""
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
    """Return one file name per source, all different, even on case-insensitive file systems.

    A source with a unique stem keeps it (``clip.srt``). Sources with a common stem get their
    folder's name as a prefix (``a-clip.srt``), and if needed a hash of the path as a suffix. The
    names depend on the set of sources, not on their order. A repeated source, for instance with
    other windows, gets ``-2``, ``-3`` at the end in the order given.
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
    """Return a file name that depends on ``key`` only, so that it is the same in every run.

    It is the stem of the key and 100 bits of its hash, so that names of two keys differ, even on
    case-insensitive file systems: ``clip-2pakb0yx6vj3hnt5q7wd.srt``. If all keys are known at once,
    `output_names` returns shorter ones.
    """
    return f"{safe_stem(PurePosixPath(key).stem)}-{short_hash(key)}{extension}"


def short_hash(key: str) -> str:
    """Return 100 bits of the hash of a key as 20 letters and digits."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=15).digest()
    return base64.b32hexencode(digest).decode("ascii").lower()[:20]


def absolute_path(path: str) -> str:
    """Return the absolute path, or the path unchanged if the current folder was removed."""
    try:
        return os.path.abspath(path)
    except OSError:
        return path


def safe_stem(stem: str) -> str:
    """Return a stem that is valid and short enough on all file systems."""
    clean = "".join("_" if printable(c) != c or c in '/\\:*?"<>|' else c for c in stem)
    clean = clean.lstrip(".") or "video"
    return clean.encode("utf-8", "ignore")[:_MAX_STEM_BYTES].decode("utf-8", "ignore")


def fold_case(name: str) -> str:
    """Return a name as case-insensitive file systems compare it."""
    return normalize("NFC", name).casefold()


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk, so that they survive a power failure."""
    # Not every system can sync a folder.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
