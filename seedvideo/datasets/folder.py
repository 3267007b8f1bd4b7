"""Folder of a dataset: its files appear whole, and `dataset.json`, written last, names them all.

So a folder with `dataset.json` is complete. Until then it has a hidden file, `UNFINISHED_NAME`.
Only a folder with one of the two is ever replaced.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

from seedvideo.errors import OutputError
from seedvideo.utils.files import (
    make_folder,
    refuse_existing,
    refuse_unwritable,
    sync_folder,
    write_error,
    write_file,
    writing,
)
from seedvideo.utils.text import printable

MANIFEST_NAME: Final = "dataset.json"
UNFINISHED_NAME: Final = ".seedvideo-unfinished"
"""Empty file in a folder whose dataset is not complete."""

REST_NAME: Final = "rest.jsonl"
"""Rows of the clips that are not in the shards."""

CARD_NAME: Final = "README.md"
DATA_FOLDER: Final = "data"
"""Folder of the shards for the Hub."""

_OURS: Final = re.compile(
    r"dataset\.json|\.seedvideo-unfinished|rest\.jsonl|README\.md|captions\.parquet"
    r"|train-\d{6}\.tar"
    rf"|{DATA_FOLDER}/\.?train-\d{{5}}(?:-of-\d{{5}})?\.parquet"
    rf"|(?:{DATA_FOLDER}/)?\.seedvideo-[0-9a-f]+\.tmp"
)
"""Files of a dataset of any form, those of a stopped export included."""


@dataclass(frozen=True)
class FileFacts:
    """One file of a dataset.

    Args:
        name: its name in the folder.
        rows: number of clips in it.
        bytes: its size.
        sha256: hash of its bytes.
    """

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class FileMark:
    """A position in a `HashedFile`, with the state of its hash there."""

    size_bytes: int
    rows: int
    hash: Any


class HashedFile:
    """A file that is written from its start to its end; its bytes are counted and hashed.

    Args:
        file: open to write.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.rows = 0
        self.closed = False
        self._is_given_up = False

    @property
    def sha256(self) -> str:
        """Hash of the bytes so far, in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, data: Any) -> int:
        """Write bytes, or any other buffer."""
        view = memoryview(data)
        if self._is_given_up:
            return view.nbytes
        self._hash.update(view)
        self._file.write(view)
        self.size_bytes += view.nbytes
        return view.nbytes

    def mark(self) -> "FileMark":
        """Return the present end, to which `restore` goes back."""
        return FileMark(self.size_bytes, self.rows, self._hash.copy())

    def restore(self, mark: "FileMark") -> None:
        """Remove what was written since a mark."""
        self._file.seek(mark.size_bytes)
        self._file.truncate()
        self.size_bytes, self.rows, self._hash = mark.size_bytes, mark.rows, mark.hash.copy()

    def tell(self) -> int:
        """Return the position, which is always the end."""
        return self.size_bytes

    def flush(self) -> None:
        """Write what is buffered."""
        if not self._is_given_up:
            self._file.flush()

    def close(self) -> None:
        """Do nothing: the owner of the file closes it."""

    def give_up(self) -> None:
        """Ignore what is written from now on: a writer of Parquet writes its end in any case."""
        self._is_given_up = True


class DatasetFolder:
    """The output of one export; use it in a ``with`` statement.

    Args:
        path: folder, created if it is missing; its parent must exist.
        overwrite: whether to replace an earlier dataset. Files of others are never removed.

    Raises:
        OutputError: ``output.exists`` if the folder has files, and they may not be replaced;
            ``output.unwritable``, also while another export writes to it.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        refuse_unwritable(path, is_folder=True)
        make_folder(path)
        self._open = ExitStack()
        with ExitStack() as stack:
            stack.enter_context(_locking(path))
            self._earlier = self._check(overwrite=overwrite)
            self._open.enter_context(stack.pop_all())
        self.files: list[FileFacts] = []

    def _check(self, *, overwrite: bool) -> list[str]:
        """Return the files of an earlier dataset, which may be replaced."""
        path = self.path
        found = _list_files(path)
        earlier = [name for name in found if not _is_hidden(name)]
        is_ours = MANIFEST_NAME in found or UNFINISHED_NAME in found
        others = [name for name in found if not _OURS.fullmatch(name)]
        others = others if is_ours else [*others, *earlier]
        if others or (earlier and not overwrite):
            name = printable((others or earlier)[0])
            raise OutputError(
                "output.exists",
                f"{printable(str(path))} is not empty: it has {name}",
                hint="name a new folder"
                if others
                else "name a new folder, or replace the dataset with --overwrite",
            )
        return found

    def __enter__(self) -> "DatasetFolder":
        write_file(self.path / UNFINISHED_NAME, b"", overwrite=True)
        # First of all, so that the folder is never taken for complete.
        self._remove([MANIFEST_NAME])
        sync_folder(self.path)
        hidden = [name for name in self._earlier if _is_hidden(name)]
        self._remove([name for name in hidden if name != UNFINISHED_NAME])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error, files that have their final names stay; they are complete.
        with self._open:
            self._remove([each.name for each in self.files if _is_hidden(each.name)])

    @contextmanager
    def file(self, name: str) -> Iterator[HashedFile]:
        """Open a file; it gets its name when the block ends without an error.

        Args:
            name: name in the folder, at most one folder deep.

        Raises:
            OutputError: as `seedvideo.utils.files.writing` does.
        """
        with writing(self.path / name, overwrite=True, sync_name=False) as file:
            hashed = HashedFile(file)
            try:
                yield hashed
            except BaseException:
                hashed.give_up()
                raise
        self.files.append(FileFacts(name, hashed.rows, hashed.size_bytes, hashed.sha256))

    def rename(self, names: Mapping[str, str]) -> None:
        """Rename files that were written under other names.

        Args:
            names: new names by names.

        Raises:
            OutputError: ``output.unwritable``.
        """
        for old, new in names.items():
            try:
                (self.path / old).replace(self.path / new)
            except OSError as error:
                raise write_error(self.path / new, error) from error
        self.files = [
            FileFacts(names.get(each.name, each.name), each.rows, each.bytes, each.sha256)
            for each in self.files
        ]

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Remove what an earlier dataset left, and write `dataset.json`.

        Args:
            facts: what it states besides the files.

        Raises:
            OutputError: as `seedvideo.utils.files.writing` does.
        """
        names = {each.name for each in self.files}
        self._remove([name for name in self._earlier if name not in {*names, UNFINISHED_NAME}])
        for folder in {(self.path / name).parent for name in names}:
            sync_folder(folder)
        files = [asdict(each) for each in sorted(self.files, key=lambda each: each.name)]
        text = json.dumps({**facts, "files": files}, ensure_ascii=True, indent=1, allow_nan=False)
        refuse_existing(self.path / MANIFEST_NAME, overwrite=False)
        write_file(self.path / MANIFEST_NAME, text.encode("ascii") + b"\n")
        self._remove([UNFINISHED_NAME])

    def _remove(self, names: list[str]) -> None:
        for name in names:
            try:
                (self.path / name).unlink(missing_ok=True)
            except OSError as error:
                raise write_error(self.path / name, error) from error
        with suppress(OSError):  # It is not empty, or was never there.
            (self.path / DATA_FOLDER).rmdir()


@contextmanager
def _locking(path: Path) -> Iterator[None]:
    """Hold a folder for one export, on file systems that can lock folders."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                "output.unwritable",
                f"{printable(str(path))} cannot be written: another export writes to it",
                hint="wait until it ends, or name another folder",
                retryable=True,
            ) from error
        except OSError:
            pass  # The file system has no locks.
        yield
    finally:
        os.close(descriptor)


def _is_hidden(name: str) -> bool:
    """Return whether a file of ours does not have its final name yet."""
    return name.rpartition("/")[2].startswith(".")


def _list_files(path: Path) -> list[str]:
    """Return the names of all files, at most one folder deep; a deeper folder is its own name."""
    names = []
    for entry in sorted(os.scandir(path), key=lambda each: each.name):
        if entry.name == DATA_FOLDER and entry.is_dir(follow_symlinks=False):
            names += [f"{DATA_FOLDER}/{name}" for name in sorted(os.listdir(entry.path))]
        else:
            names.append(entry.name)
    return names
