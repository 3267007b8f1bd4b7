"""Open questions to the model that is shipped, about clips that the decoder reads."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import seedvideo
from seedvideo.config import SamplingConfig
from seedvideo.evaluate.synthetic.world import (
    ColouredShape,
    Event,
    Position,
    background,
    render_event,
)
from seedvideo.inference import ModelInput
from seedvideo.model.backends.base import Backend
from seedvideo.model.open_answers import find_things
from seedvideo.model_tasks import Captioning, Grounding, QuestionAnswering
from seedvideo.pipeline import prepare
from seedvideo.records import Record
from seedvideo.utils.timecode import Span

FPS = 10
SHOWN: tuple[tuple[ColouredShape, Position], ...] = (
    (ColouredShape("blue", "star"), "left"),
    (ColouredShape("yellow", "ring"), "right"),
)


@pytest.fixture(scope="module")
def nano() -> Backend:
    return seedvideo.load("nano")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``made.mp4``: a blue star on the left, a yellow ring on the right. ``plain.mp4``: neither."""
    folder = tmp_path_factory.mktemp("open")
    rng = np.random.default_rng(7)
    base = background(rng, height_px=192, width_px=320)
    seconds = [base]
    for thing, place in SHOWN:
        span = Span(Fraction(0), Fraction(1))
        event = Event(
            thing=thing, motion="still", position=place, count=1, size=0.4, shift=(0, 0), span=span
        )
        seconds += [render_event(base, event, 0.5), base]
    write(folder / "made.mp4", seconds)
    write(folder / "plain.mp4", [base] * 4)
    return folder


def write(path: Path, seconds: list[np.ndarray]) -> None:
    """A clip that shows each picture for a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.height, stream.width, _ = seconds[0].shape
        stream.pix_fmt = "yuv420p"
        for picture in seconds:
            for _ in range(FPS):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def made(folder: Path, nano: Backend) -> ModelInput:
    return prepare(str(folder / "made.mp4"), model=nano)


@pytest.fixture(scope="module")
def plain(folder: Path, nano: Backend) -> ModelInput:
    return prepare(str(folder / "plain.mp4"), model=nano)


def asked(nano: Backend, prepared: ModelInput, question: str, *, thinking: bool = False) -> Any:
    record = QuestionAnswering.of(question, thinking=thinking).run(prepared, nano)
    # The record survives a round trip.
    assert Record.from_json(record.to_json()) == record
    assert record.answer is not None
    assert record.confident == record.answer.confident
    return record.answer


def test_what_happens_is_answered_by_the_caption_of_the_window(nano: Backend, folder: Path) -> None:
    part = SamplingConfig(start_s=Fraction(1), end_s=Fraction(2))
    window = prepare(str(folder / "made.mp4"), model=nano, sampling=part)
    reply = asked(nano, window, "Please describe this clip.", thinking=True)
    described = Captioning().run(window, nano)
    assert (reply.answer, reply.method) == (described.text, "description")
    assert (reply.confident, reply.probability) == (described.confident, None)
    assert reply.thinking is None


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What appears first?", "blue star"),
        ("What appears last?", "yellow ring"),
        ("What colour is the star?", "blue"),
        ("Where is the yellow ring?", "right"),
        ("Does a blue star appear?", "yes"),
        ("How many yellow rings are there at once?", "one"),
    ],
)
def test_what_the_made_scenes_taught_is_answered_and_sure(
    nano: Backend, made: ModelInput, question: str, answer: str
) -> None:
    reply = asked(nano, made, question)
    assert (reply.answer, reply.method, reply.notes) == (answer, "known_answers", ())
    assert reply.probability > 0.5


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("Where is the red ball?", "detects no red ball in any frame"),
        ("Which way does the green cross move?", "detects no green cross in any frame"),
        ("What appears right after the red ball?", "in any frame"),
        ("What appears first?", "in any frame"),
    ],
)
def test_no_coloured_shape_is_named_for_frames_that_show_none(
    nano: Backend, plain: ModelInput, question: str, message: str
) -> None:
    with pytest.raises(seedvideo.ModelError, match=message) as caught:
        asked(nano, plain, question)
    assert caught.value.code == "model.no_answer"
    assert "--options" in caught.value.hint


@pytest.mark.parametrize(
    ("question", "hint"),
    [
        ("Why does he run?", "--options"),
        ("What is written on the sign?", "--options"),
        ("When does it fall?", "seedvideo ground"),
        ("Is it a dog or a cat?", "--options yes,no"),
        ("x" * 3_000, "--options"),
    ],
)
def test_what_was_never_learned_has_no_answer_and_a_way_on(
    nano: Backend, made: ModelInput, question: str, hint: str
) -> None:
    with pytest.raises(seedvideo.ModelError, match="was not trained to answer") as caught:
        asked(nano, made, question)
    assert caught.value.code == "model.no_answer"
    assert hint in caught.value.hint
    assert len(caught.value.message) < 200
    # With options the same words are answered as before.
    record = QuestionAnswering.of("Why does he run?", ["no", "yes"]).run(made, nano)
    assert record.answer is not None
    assert record.answer.method == "options"


def test_an_improbable_answer_is_marked(nano: Backend, plain: ModelInput) -> None:
    reply = asked(nano, plain, "What colour is the truck?")
    assert not reply.confident
    assert [note.code for note in reply.notes] == ["answer.unsure"] * 2
    assert "detects no truck" in reply.notes[0].message
    assert reply.notes[1].message.startswith(f"{reply.answer!r} has a probability of")


def test_facts_missing_in_the_description_are_not_invented(
    nano: Backend, plain: ModelInput
) -> None:
    with pytest.raises(seedvideo.ModelError, match="has no action of the elephant") as caught:
        asked(nano, plain, "What is the elephant doing?")
    assert caught.value.code == "model.no_answer"


def test_reasoning_keeps_only_detected_things(
    nano: Backend, made: ModelInput, plain: ModelInput
) -> None:
    reply = asked(nano, made, "How many different things appear?", thinking=True)
    assert set(find_things(reply.thinking)) <= {thing.name for thing, _ in SHOWN}
    assert find_things(reply.thinking)
    replies: tuple[Any, ...] = (
        asked(nano, plain, "Does a red ball appear?", thinking=True),
        QuestionAnswering.of("What moves?", ["a dog", "a cat"], thinking=True)
        .run(plain, nano)
        .answer,
        Grounding.of("a dog runs", thinking=True).run(plain, nano).grounding,
    )
    for reply in replies:
        assert reply.thinking is None
        assert [note.code for note in reply.notes] == ["thought.left_out"]
        assert find_things(reply.notes[0].message)
