"""Names of subtitle files: as their clips are called, so that players find them.

Clips that share a name get their id appended, and where that is not enough a hash of it. Names
depend on all clips of a job, done or not: an export while the job runs gives the same ones.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

from seedvideo.batch.item import Item
from seedvideo.batch.seen import Seen
from seedvideo.writers.files import folded, lasting_name, safe_stem


class SubtitleNames:
    """The names for the clips of one job; some 100 bytes of memory each.

    Args:
        items: all of the job.
        extension: of the files, with the dot.
    """

    def __init__(self, items: Iterable[Item], *, extension: str) -> None:
        self._extension = extension
        self._met, self._repeated = Seen(), Seen()
        for item in items:
            for name in self._choices(item):
                if not self._met.add(folded(name)):
                    self._repeated.add(folded(name))

    def of(self, item: Item) -> str:
        """The file name of a clip."""
        plain, with_id, hashed = self._choices(item)
        for name in (plain, with_id):
            if folded(name) not in self._repeated:
                return name
        return hashed

    def _choices(self, item: Item) -> tuple[str, str, str]:
        stem = safe_stem(PurePosixPath(item.source).stem)
        with_id = safe_stem(f"{stem}-{item.id}")
        hashed = lasting_name(item.id, extension=self._extension)
        return f"{stem}{self._extension}", f"{with_id}{self._extension}", hashed
