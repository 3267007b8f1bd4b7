"""Captions as CSV: a line a caption, for spreadsheets and data frames.

A spreadsheet runs a cell that begins like a formula, and a caption may begin with anything: such a
cell gets an apostrophe in front. Times are seconds to the millisecond. Knows nothing of files.
"""

import csv
import io
from typing import TYPE_CHECKING, Final

from seedvideo.writers.inert import one_line, printable

if TYPE_CHECKING:
    from seedvideo.records import Record

COLUMNS: Final = ("start_s", "end_s", "text", "confident")

_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""


def render(record: "Record") -> str:
    """The names of the columns, and a line a caption. A failed record has the names alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for event in record.events:
        confident = "true" if event.confident else "false"
        writer.writerow([f"{event.start_s:.3f}", f"{event.end_s:.3f}", cell(event.text), confident])
    return text.getvalue()


def cell(text: str) -> str:
    """A text that no spreadsheet runs.

    >>> cell("=1+1")
    "'=1+1"
    """
    return _inert(one_line(text))


def name_cell(name: str) -> str:
    r"""A name that no spreadsheet runs; what is not printable in it is spelled out.

    >>> name_cell("@a\nb.mp4")
    "'@a\\nb.mp4"
    """
    return _inert(printable(name))


def _inert(shown: str) -> str:
    # Blanks before the sign do not stop every spreadsheet.
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA_SIGNS) else shown
