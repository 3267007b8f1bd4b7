"""Clips that a server is being asked about, noted in the journal.

A request that is under way when its process is killed is sent again later, and may be paid twice.
The note is on disk before the request is sent, so no such clip is missed.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import encode_id

_KEY: Final = "asked"


@dataclass(frozen=True)
class Asked:
    """The note.

    Args:
        now: ids of the clips under way.
        again: clips in all runs that were asked again because a process was killed.
    """

    now: tuple[str, ...] = ()
    again: int = 0


def note_asked(journal: Journal, item_ids: Iterable[str], *, again: int = 0) -> None:
    """Note the clips under way, and that ``again`` more are asked again."""
    count = _read(journal).again + again
    journal.set_meta(_KEY, json.dumps(asdict(Asked(tuple(item_ids), count))))


def count_interrupted(journal: Journal) -> None:
    """Count, at the start of a run, the clips that were under way at the end of the last one."""
    if _read(journal).now:
        again = _count_unfinished(journal)
        note_asked(journal, (), again=again)


def count_asked_again(journal: Journal, *, is_running: bool) -> int:
    """Return the number of clips that were asked again, or will be when the job is resumed."""
    return _read(journal).again + (0 if is_running else _count_unfinished(journal))


def _read(journal: Journal) -> Asked:
    text = journal.get_meta(_KEY)
    if text is None:
        return Asked()
    values = json.loads(text)
    return Asked(tuple(values["now"]), values["again"])


def _count_unfinished(journal: Journal) -> int:
    """Return how many of the clips under way have no outcome."""
    return journal.count_unfinished([encode_id(item_id) for item_id in _read(journal).now])
