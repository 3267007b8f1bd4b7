"""What is done with one clip, in two halves: prepared in one process, told by a model in another.

Knows no journal, no queue and no process. The first half needs no weights, the second no file.
"""

import importlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from seedvideo import answers, pipeline
from seedvideo.batch.filters import Refused, by_header, by_pictures
from seedvideo.batch.item import Item
from seedvideo.batch.job import Job
from seedvideo.batch.likeness import Signature, signature_of
from seedvideo.batch.sheets import small_sheet
from seedvideo.model.backends import Backend, Prices
from seedvideo.prepared import Prepared
from seedvideo.records import Record
from seedvideo.stages import window_of
from seedvideo.tasks.ask import Question
from seedvideo.tasks.caption import CAPTION_PROMPT
from seedvideo.tasks.ground import clean_query, ground_prompt
from seedvideo.video import Video


@dataclass(frozen=True, kw_only=True)
class Hands:
    """Who does the work, as ``module:function``: processes are told by name.

    Args:
        prepare: as `prepare_item`.
        tell: as `tell_item`.
        prices: from a model's name to its `Prices`.
        load: from a model's name to a `Backend`.
    """

    prepare: str = "seedvideo.batch.work:prepare_item"
    tell: str = "seedvideo.batch.work:tell_item"
    prices: str = "seedvideo.model:prices"
    load: str = "seedvideo.model:load"


OUR_HANDS: Final = Hands()


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A clip that passed the filters and is ready for a model.

    Args:
        prepared: what the model is shown.
        sheet: a JPEG; empty where none is wanted.
        signature: where the pictures of clips are compared.
    """

    prepared: Prepared
    sheet: bytes = b""
    signature: Signature | None = None


def prepare_item(job: Job, item: Item, prices: Prices) -> Ready | Refused:
    """Open, filter, plan and decode one clip.

    Raises:
        SeedVideoError: as `seedvideo.pipeline.prepare` does.
    """
    check_words(job, item)
    with opened(job, item) as clip:
        knobs = job.knobs(start_s=item.start_s, end_s=item.end_s)
        window = window_of(clip, knobs)
        refused = by_header(clip, window, job.filters)
        if refused is not None:
            return refused
        refused = by_pictures(clip, window, job.filters)
        if refused is not None:
            return refused
        signature = signature_of(clip, window) if job.filters.drops_near else None
        prepared = pipeline.prepare(
            clip,
            model=prices,
            dense=job.task == "dense",
            policy=job.policy,
            budget_tokens=job.budget_tokens,
            task=job.sampling_task,
            fps=job.fps,
            knobs=knobs,
            analysis=job.analysis,
        )
    return Ready(
        prepared=prepared,
        sheet=small_sheet(prepared.views[0].frames) if job.sheets else b"",
        signature=signature,
    )


def tell_item(job: Job, item: Item, prepared: Prepared, model: Backend) -> Record:
    """Let a model say what was asked about one clip.

    Raises:
        SeedVideoError: if it gives no usable answer.
    """
    if job.task == "ask":
        return answers.tell_answer(
            prepared, _question(job, item), model=model, thinking=job.thinking
        )
    if job.task == "ground":
        query = clean_query(item.query or job.query)
        return answers.tell_spans(prepared, query, model=model, top=job.top, thinking=job.thinking)
    return pipeline.tell(prepared, model=model)


def prompt_of(job: Job, item: Item) -> str:
    """The words that go beside the frames; those that follow from the file stand for themselves."""
    if job.task == "ask":
        return _question(job, item).prompt(thinking=job.thinking)
    if job.task == "ground":
        query = clean_query(item.query or job.query)
        return ground_prompt(query, duration=Fraction(0), thinking=job.thinking)
    return CAPTION_PROMPT


def check_words(job: Job, item: Item) -> None:
    """Refuse what cannot be asked, before anything is opened.

    Raises:
        AskError: if there is no question, or its options cannot be chosen from.
        GroundError: if there is no query.
    """
    prompt_of(job, item)


def opened(job: Job, item: Item) -> Video:
    """Open a clip as the job wishes, for one decoding process: other clips have theirs."""
    return pipeline.open(
        item.source,
        decoder=job.decoder,
        source_fps=None if job.source_fps is None else Fraction(str(job.source_fps)),
        workers=1,
    )


def named(path: str) -> Any:
    """The function of a name such as ``module:function``."""
    module, _, function = path.partition(":")
    return getattr(importlib.import_module(module), function)


def _question(job: Job, item: Item) -> Question:
    return Question.of(item.question or job.question, item.options or job.options)
