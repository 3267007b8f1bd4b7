"""Captions as chapters: the metadata file that FFmpeg reads (``FFMETADATA1``), a chapter a caption.

    ffmpeg -i clip.mp4 -i clip.ffmeta -map 0 -map_chapters 1 -c copy chapters.mp4

Times are whole milliseconds and follow one another. A title is one line: nothing inside it can end
it or open another section. Knows nothing of files.
"""

from typing import TYPE_CHECKING, Final

from seedvideo.writers.inert import one_line

if TYPE_CHECKING:
    from seedvideo.records import Record

MIN_CHAPTER_MS: Final = 1
"""Shortest chapter. A still image has no length, and a chapter may not end where it starts."""

_SPECIAL: Final = str.maketrans({sign: f"\\{sign}" for sign in "\\=;#\n"})


def render(record: "Record") -> str:
    """The head line, and a section a chapter. A failed record has the head line alone."""
    sections = [";FFMETADATA1\n"]
    for event in record.events:
        start_ms = int(event.start_s * 1000 + 0.5)
        end_ms = max(int(event.end_s * 1000 + 0.5), start_ms + MIN_CHAPTER_MS)
        title = one_line(event.text).translate(_SPECIAL)
        sections.append(
            f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start_ms}\nEND={end_ms}\ntitle={title}\n"
        )
    return "\n".join(sections)
