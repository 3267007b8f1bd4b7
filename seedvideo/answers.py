"""Questions and moments: `ask` and `ground`, from a file to a record.

Both show frames to a model as a caption does (`pipeline`), put a question (`dialogue`) and keep
what it says. Times are exact seconds inside, float seconds in the record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seedvideo import dialogue, pipeline
from seedvideo.arguments import check_count, check_switch, check_text, check_texts
from seedvideo.media.source import VideoInput
from seedvideo.model.backends.base import Backend, Usage
from seedvideo.pipeline import TaskName
from seedvideo.prepared import Prepared, View
from seedvideo.records import AnswerRecord, GroundingRecord, ModelRecord, Record, UsageRecord
from seedvideo.sampler.analysis import Method
from seedvideo.sampler.knobs import NO_KNOBS, Knobs
from seedvideo.sampler.policies import PolicyName
from seedvideo.stages import Stopwatch, check_model, check_options
from seedvideo.tasks.grounding import NOT_FOUND, clean_query
from seedvideo.tasks.question_answering import Question
from seedvideo.video import Video

__all__ = ["ask", "ground"]


def ask(
    video: Video | VideoInput,
    question: str,
    *,
    options: Sequence[str] = (),
    thinking: bool = False,
    model: Backend | str = "nano",
    policy: PolicyName = "adaptive",
    budget_tokens: int | None = None,
    task: TaskName = "general",
    fps: float | None = None,
    knobs: Knobs = NO_KNOBS,
    analysis: Method = "fast",
) -> Record:
    """Answer a question about a video, freely or with one of several options.

    Args:
        video: an open video, or a path that is opened for this call.
        question: sent as it is, without white space around it.
        options: none, or 2 to 26 to choose from. A model that can weigh them gives each a
            probability; the words of any other are read.
        thinking: let the model think before it answers; the record keeps the thought.
        model: a loaded model, or the name of one that is loaded for this call.
        policy: see `seedvideo.plan`.
        budget_tokens: what all shown frames may cost; the model's own default when None.
        task: see `seedvideo.plan`.
        fps: see `seedvideo.plan`.
        knobs: see `seedvideo.plan`.
        analysis: see `seedvideo.plan`.

    Returns:
        A record with ``task: ask``; its ``text`` is the answer, its ``answer`` says more.

    Raises:
        AskError: if there is no question, or the options cannot be chosen from.
        ModelError: if the answer means no option (``model.answer_unparsable``), or is empty.
        SeedVideoError: as `seedvideo.caption` does.
    """
    check_text("question", question)
    check_texts("options", options)
    check_switch("thinking", thinking)
    check_options(policy, budget_tokens, task, fps, knobs, analysis)
    check_model(model)
    asked = Question.of(question, options)
    backend = pipeline.load(model) if isinstance(model, str) else model
    prepared = pipeline.prepare(
        video,
        model=backend,
        policy=policy,
        budget_tokens=budget_tokens,
        task=task,
        fps=fps,
        knobs=knobs,
        analysis=analysis,
    )
    return tell_answer(prepared, asked, model=backend, thinking=thinking)


def tell_answer(
    prepared: Prepared,
    question: Question,
    *,
    model: Backend,
    thinking: bool = False,
) -> Record:
    """The second half of `ask`: put the question to a model about what `prepare` made.

    Args:
        prepared: by `seedvideo.pipeline.prepare`.
        question: checked.
        model: a loaded model, of the prices that it was prepared for.
        thinking: see `ask`.

    Raises:
        AskError: if the model cannot tell two options apart.
        ModelError: see `ask`.
    """

    def put(view: View) -> _Result:
        record, usage = dialogue.answer(model, view, question, thinking=thinking)
        return _Result(record.answer, record.confident, usage, answer=record)

    return _told(prepared, put, model=model)


def ground(
    video: Video | VideoInput,
    query: str,
    *,
    top: int = 3,
    thinking: bool = False,
    model: Backend | str = "nano",
    policy: PolicyName = "adaptive",
    budget_tokens: int | None = None,
    task: TaskName = "general",
    fps: float | None = None,
    knobs: Knobs = NO_KNOBS,
    analysis: Method = "fast",
) -> Record:
    """Find when something happens in a video.

    A span is half-open and inside of what was looked at. A still image, or a clip of one frame, is
    found as a whole or not at all. That nothing was found is a result, not an error.

    Args:
        video: an open video, or a path that is opened for this call.
        query: what is looked for, such as "the dog jumps".
        top: most spans, the best first.
        thinking: see `ask`.
        model: see `ask`.
        policy: see `seedvideo.plan`.
        budget_tokens: see `ask`.
        task: see `seedvideo.plan`.
        fps: see `ask`.
        knobs: see `ask`.
        analysis: see `seedvideo.plan`.

    Returns:
        A record with ``task: ground``; its ``text`` is the first span or "not found", its
        ``grounding`` says more.

    Raises:
        GroundError: ``ground.query_empty`` or ``ground.query_invalid``.
        ModelError: ``model.answer_unparsable`` if the answer tells no time.
        ValueError: if ``top`` is below 1.
        SeedVideoError: as `seedvideo.caption` does.
    """
    check_text("query", query)
    check_count("top", top)
    check_switch("thinking", thinking)
    check_options(policy, budget_tokens, task, fps, knobs, analysis)
    check_model(model)
    looked_for = clean_query(query)
    if top < 1:
        raise ValueError(f"top is {top}, expected at least 1")
    backend = pipeline.load(model) if isinstance(model, str) else model
    prepared = pipeline.prepare(
        video,
        model=backend,
        policy=policy,
        budget_tokens=budget_tokens,
        task=task,
        fps=fps,
        knobs=knobs,
        analysis=analysis,
    )
    return tell_spans(prepared, looked_for, model=backend, top=top, thinking=thinking)


def tell_spans(
    prepared: Prepared,
    query: str,
    *,
    model: Backend,
    top: int = 3,
    thinking: bool = False,
) -> Record:
    """The second half of `ground`: ask a model when something happens in what `prepare` made.

    Args:
        prepared: by `seedvideo.pipeline.prepare`.
        query: cleaned by `clean_query`.
        model: a loaded model, of the prices that it was prepared for.
        top: see `ground`.
        thinking: see `ask`.

    Raises:
        ModelError: see `ground`.
    """

    def put(view: View) -> _Result:
        seen = dialogue.sight(model, view, query, top=top, thinking=thinking)
        record = seen.record(query, thinking=thinking)
        return _Result(_span_text(record), record.confident, seen.usage, grounding=record)

    return _told(prepared, put, model=model)


def _span_text(record: GroundingRecord) -> str:
    """The first span to the hundredth, as frames may be a few of them apart, or "not found"."""
    if not record.spans:
        return NOT_FOUND
    return f"{record.spans[0].start_s:.2f} - {record.spans[0].end_s:.2f} s"


@dataclass(frozen=True)
class _Result:
    """What a model said, ready for the record."""

    text: str
    confident: bool
    usage: Usage
    answer: AnswerRecord | None = None
    grounding: GroundingRecord | None = None


def _told(
    prepared: Prepared,
    put: Callable[[View], _Result],
    *,
    model: Backend,
) -> Record:
    """Put the question, and keep what came out."""
    spent = Stopwatch()
    with spent.on("model"):
        result = put(prepared.views[0])
    return Record(
        source=prepared.source,
        task="ask" if result.answer is not None else "ground",
        status="done",
        text=result.text,
        confident=result.confident,
        answer=result.answer,
        grounding=result.grounding,
        media=prepared.media,
        plan=prepared.plan,
        model=ModelRecord(name=model.name, sha256=model.sha256),
        usage=UsageRecord.total([result.usage]),
        timing_s=prepared.timing_s(model_s=spent.spent_s("model")),
    )
