"""Is anything asked at all? A job without a question anywhere would fail in every clip.

Reads the lists of a job up to the first row that asks something. Opens no video.
"""

from pathlib import Path

from seedvideo.batch.inputs import lists_of, read
from seedvideo.batch.item import Item
from seedvideo.batch.job import Job
from seedvideo.errors import AskError, BatchError, GroundError


def refuse_unasked(job: Job) -> None:
    """Refuse a job whose task needs words that neither it nor a row of its lists has.

    Raises:
        AskError: ``ask.question_empty`` for the task ``ask``.
        GroundError: ``ground.query_empty`` for the task ``ground``.
        SeedVideoError: as `seedvideo.batch.inputs.read` does for lists.
    """
    if job.task == "ask" and not (job.question or _any_row_has(job, "question")):
        raise AskError(
            "ask.question_empty",
            "there is no question: the job has none, nor has any row of its lists",
            hint="give one with --question TEXT, or each row its own in a column `question`",
        )
    if job.task == "ground" and not (job.query or _any_row_has(job, "query")):
        raise GroundError(
            "ground.query_empty",
            "there is nothing to look for: the job has no query, nor has any row of its lists",
            hint="give one with --query TEXT, or each row its own in a column `query`",
        )


def _any_row_has(job: Job, word: str) -> bool:
    """Whether a row has such a word; also where a list is a pipe, which can be read only once."""
    lists = [one for one in lists_of(job.inputs, folder=job.folder) if not one.endswith(".txt")]
    if any((Path(job.folder) / one).is_fifo() for one in lists):
        return True
    try:
        rows = read(lists, folder=job.folder)
        return any(isinstance(row, Item) and bool(getattr(row, word)) for row in rows)
    except BatchError as error:
        if error.code != "batch.no_input":
            raise
        return False
