"""One record, many formats: a table of writers.

A writer turns one record into text and knows nothing of where the text goes; `files` puts bytes on
a disk and knows nothing of records. Text and JSON are for records of every task, the others for
captions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from seedvideo.writers import chapters, csv, json, subtitles, text

if TYPE_CHECKING:
    from seedvideo.records import Record


@dataclass(frozen=True, kw_only=True)
class Writer:
    """How one format is made."""

    extension: str
    """Of a file in this format, with the dot."""
    render: Callable[["Record"], str]
    """The text of one record, ending in a line end."""
    between: str | None
    """What stands between two videos in one output; None where a file can hold only one video."""
    shows_failed: bool
    """Whether a failed video has a place in this format."""


WRITERS: Final[dict[str, Writer]] = {
    "text": Writer(extension=".txt", render=text.render, between="\n", shows_failed=False),
    "json": Writer(extension=".json", render=json.render, between="", shows_failed=True),
    "srt": Writer(extension=".srt", render=subtitles.render_srt, between=None, shows_failed=False),
    "vtt": Writer(extension=".vtt", render=subtitles.render_vtt, between=None, shows_failed=False),
    "csv": Writer(extension=".csv", render=csv.render, between=None, shows_failed=False),
    "chapters": Writer(
        extension=".ffmeta", render=chapters.render, between=None, shows_failed=False
    ),
}
