"""Validation of a list of videos as a whole, from its first rows, before a job starts.

Separate from `manifest` to stay under 500 lines. A list in another encoding, with other
separators, without a column for the path, or in another file format would otherwise fail in every
row.
"""

import codecs
import csv
import json
import stat
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any, Final

from seedvideo.batch.manifest import RowFields, read_columns, read_manifest
from seedvideo.errors import BatchError
from seedvideo.utils.text import printable

_HEAD_BYTES: Final = 1 << 16
_MAX_CHECKED_ROWS: Final = 100
"""Number of first rows of JSON lines, one of which must name a video."""

_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
_COMPRESSED: Final = {
    b"\x1f\x8b": ("gzip", "gunzip -k {name}"),
    b"PK\x03\x04": ("a zip file, as spreadsheets are", "save the table as CSV with commas"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd {name}"),
    b"\xfd7zXZ\0": ("xz", "unxz -k {name}"),
    b"BZh": ("bzip2", "bunzip2 -k {name}"),
}
_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_CONTROL_BYTES: Final = frozenset(range(32)) - frozenset(b"\0\t\n\r\x1b")
_MAX_CONTROL_FRACTION: Final = 0.03
"""Maximum fraction of control characters outside UTF-8: random bytes have 0.1, lists of names 0."""


def validate_manifest(path: Path, *, display_name: str, path_columns: Sequence[str]) -> None:
    """Check a list as a whole; errors of single rows are left to the job.

    A pipe is not checked, since its content could not be read again. A file that cannot be opened
    is reported by the job.

    Args:
        path: path of the list.
        display_name: name of the list in messages.
        path_columns: columns that may name the video.

    Raises:
        BatchError: ``batch.manifest_invalid`` with a remedy.
        ConfigError: ``config.package_missing`` if parquet cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        _check_columns(
            read_columns(path, display_name=display_name), path, display_name, path_columns
        )
        return
    _check_bytes(head, display_name, is_text=suffix == ".txt")
    if suffix == ".csv":
        _check_csv(head, path, display_name, path_columns)
    elif suffix == ".jsonl":
        _check_json_lines(head, path, display_name, path_columns)
    else:
        _check_text(head, display_name, path_columns)


def _check_bytes(head: bytes, display_name: str, *, is_text: bool) -> None:
    """Check that the content is UTF-8 text; names in a text list may hold any bytes."""
    for magic, (kind, command) in _COMPRESSED.items():
        if head.startswith(magic):
            raise _manifest_error(
                display_name, f"this is {kind}", command.format(name=quote(display_name))
            )
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if head.startswith(mark)), "")
    if not encoding and _is_utf16(head):
        encoding = "UTF-16"
    if encoding:
        raise _manifest_error(
            display_name,
            f"its encoding is {encoding}, expected UTF-8",
            f"iconv -f {encoding} -t UTF-8 {quote(display_name)} > utf8{Path(display_name).suffix}",
        )
    has_nul = b"\0" in head
    controls = sum(byte in _CONTROL_BYTES for byte in head)
    is_binary = controls > _MAX_CONTROL_FRACTION * len(head) and not _is_utf8(head)
    if is_binary or (has_nul and not is_text):
        raise _manifest_error(
            display_name, "binary data, not text", "name a list of videos, or the video itself"
        )


def _is_utf8(head: bytes) -> bool:
    # The last character may be cut.
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _is_utf16(head: bytes) -> bool:
    """Return whether every second byte is NUL, as in ASCII text encoded as UTF-16."""
    start = head[:64]
    return len(start) >= 8 and any(
        not any(start[first::2]) and all(start[1 - first :: 2]) for first in (0, 1)
    )


def _check_csv(head: bytes, path: Path, display_name: str, path_columns: Sequence[str]) -> None:
    first = head.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n").partition(b"\n")[0].rstrip(b"\r")
    if not first:
        return
    if not _is_utf8(first):
        raise _manifest_error(
            display_name,
            "the names of its columns are not UTF-8",
            f"iconv -f WINDOWS-1252 -t UTF-8 {quote(display_name)} > utf8.csv",
        )
    columns = read_columns(path, display_name=display_name)
    if _has_path_column(columns, path_columns):
        return
    line = first.decode("utf-8")
    for separator, name in _SEPARATORS.items():
        try:
            cells = next(csv.reader([line], delimiter=separator), [])
        except csv.Error:
            continue
        if len(cells) > 1 and _has_path_column(cells, path_columns):
            raise _manifest_error(
                display_name,
                f"its columns are separated by {name}, expected commas",
                f'python3 -c "import csv, sys; csv.writer(sys.stdout).writerows(csv.reader('
                f'sys.stdin, delimiter={separator!r}))" < {quote(display_name)} > commas.csv',
            )
    _check_columns(columns, path, display_name, path_columns)


def _check_json_lines(
    head: bytes, path: Path, display_name: str, path_columns: Sequence[str]
) -> None:
    keys: dict[str, None] = {}
    count = 0
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    # The last object of an array over several lines would be a row.
    is_array = text.partition(b"\n")[0].strip() == b"["
    for _, row in islice(read_manifest(path, display_name=display_name), _MAX_CHECKED_ROWS):
        count += 1
        if isinstance(row, str):
            continue
        if _has_path_column(row, path_columns) and not is_array:
            return
        keys |= dict.fromkeys(row)
    if not count:
        return
    if keys and not is_array:
        _check_columns(list(keys), path, display_name, path_columns)
    if text.startswith((b"[", b"{")):
        form = "-c '.[]'" if text.startswith(b"[") else "-c ."
        raise _manifest_error(
            display_name,
            "no line is a complete JSON object",
            f"put each object on a line of its own: jq {form} {quote(display_name)} > lines.jsonl",
        )
    hint = 'a line is {"path": "clip.mp4"}; a list of paths only is a .txt file'
    raise _manifest_error(display_name, "no line is a JSON object", hint)


def _check_text(head: bytes, display_name: str, path_columns: Sequence[str]) -> None:
    """Check that a text list is not a table or JSON lines."""
    first = head.removeprefix(codecs.BOM_UTF8).partition(b"\n")[0].strip()
    line = first.decode("utf-8", "replace")
    if line.startswith("{"):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(values, dict) and _has_path_column(values, path_columns):
            name = Path(display_name).with_suffix(".jsonl")
            raise _manifest_error(
                display_name,
                "it holds JSON lines, not paths",
                f"mv {quote(display_name)} {quote(str(name))}",
            )
    cells = [cell.strip() for cell in line.split(",")]
    if (
        len(cells) > 1
        and all(cell.isidentifier() for cell in cells)
        and _has_path_column(cells, path_columns)
    ):
        name = Path(display_name).with_suffix(".csv")
        raise _manifest_error(
            display_name,
            "it holds a table with commas, not paths",
            f"mv {quote(display_name)} {quote(str(name))}",
        )


def _check_columns(
    columns: Sequence[str], path: Path, display_name: str, path_columns: Sequence[str]
) -> None:
    if _has_path_column(columns, path_columns):
        return
    found = printable(", ".join(str(name)[:40] for name in columns[:10]))
    wanted = ", ".join(path_columns)
    if path.suffix.lower() == ".csv":
        hint = (
            "the first line names the columns, such as path,question;"
            " a list of paths only is a .txt file"
        )
    else:
        hint = f"name the column with the paths {path_columns[0]}"
    raise _manifest_error(
        display_name,
        f"no column names the video, expected one of {wanted}; its columns are {found or 'none'}",
        hint,
    )


def _has_path_column(columns: Collection[Any] | RowFields, path_columns: Sequence[str]) -> bool:
    return any(str(name).strip().lower() in path_columns for name in columns)


def _manifest_error(display_name: str, why: str, hint: str) -> BatchError:
    return BatchError("batch.manifest_invalid", f"{display_name}: {why}", hint=hint)
