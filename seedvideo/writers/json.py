"""Captions for programs: JSON lines, one object a video. Failed videos are objects too."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seedvideo.records import Record


def render(record: "Record") -> str:
    """One line of ASCII JSON (see `Record.json_line`) and its line end."""
    return record.json_line() + "\n"
