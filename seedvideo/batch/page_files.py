"""Puts the pages of a report into a folder: all of them or none, never a mix of two reports.

The pages are written to a folder inside that folder first. Only when all are safe on the disk do
they get their names, the index last; before that the index of an earlier report is gone. So where
there is an index, its pages are there. Knows nothing of what is in them.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seedvideo.batch.report_page import INDEX, is_page
from seedvideo.utils.files import make_folder, refuse_existing, sync_folder, unwritten


@contextmanager
def writing_pages(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to write the pages into; when the block ends they lie in ``folder``.

    An error inside the block leaves ``folder`` as it was. Pages of an earlier report that the new
    one does not replace are removed; other files stay.

    Args:
        folder: made when missing.
        overwrite: whether there may be an earlier report.

    Raises:
        OutputError: as `seedvideo.utils.files.writing` does.
    """
    refuse_existing(folder / INDEX, overwrite=overwrite)
    make_folder(folder)
    try:
        earlier = sorted(name for name in os.listdir(folder) if is_page(name))
        for name in earlier:
            refuse_existing(folder / name, overwrite=overwrite)
        made = folder / f".seedvideo-{secrets.token_hex(8)}.tmp"
        made.mkdir()
        try:
            yield made
            _put(made, folder, earlier)
        finally:
            shutil.rmtree(made)
    except OSError as error:
        raise unwritten(folder, error) from error


def _put(made: Path, folder: Path, earlier: list[str]) -> None:
    # Sorted the other way around, the index is the last to come.
    names = sorted(os.listdir(made), reverse=True)
    for name in (INDEX, *earlier):
        (folder / name).unlink(missing_ok=True)
    for name in names:
        if name == INDEX:
            sync_folder(folder)
        (made / name).replace(folder / name)
    sync_folder(folder)
