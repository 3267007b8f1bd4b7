"""Questions and moments: from a real file to a record, with models that need no weights."""

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import seedvideo
from seedvideo.evaluate.synthetic.dataset import make_case, write_video
from seedvideo.model.backends.base import ImagePart, Part, PointingResult, TextPart, TimePart
from seedvideo.records import Record
from seedvideo.utils.timecode import Span
from tests.synthetic_clips import COLOURS, ColourChooser, ColourModel, FixedAnswerModel, paint
from tests.tiers import slow


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of red, two of green, three of red, four of blue."""
    path = tmp_path_factory.mktemp("clips") / "four.mp4"
    return paint(path, [*["red"] * 3, *["green"] * 2, *["red"] * 3, *["blue"] * 4])


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stills") / "red.png"
    Image.fromarray(np.full((96, 160, 3), COLOURS["red"], np.uint8)).save(path)
    return path


def times_shown(model: ColourModel) -> list[str]:
    (parts,) = model.seen
    return [part.text for part in parts if isinstance(part, TimePart)]


def test_an_option_is_chosen_with_a_probability_for_each(clip: Path) -> None:
    model = ColourChooser()
    record = seedvideo.ask(clip, " Which colour? ", options=["green", "red"], model=model)
    assert (record.task, record.status, record.text) == ("ask", "done", "red")
    assert record.events == ()
    assert record.answer is not None
    assert record.answer.model_dump() == {
        "question": "Which colour?",
        "answer": "red",
        "options": (
            {"label": "A", "text": "green", "probability": 0.25},
            {"label": "B", "text": "red", "probability": 0.75},
        ),
        "method": "options",
        "probability": None,
        "confident": True,
        "thinking": None,
        "raw": "red",
        "notes": (),
    }
    (parts,) = model.seen
    assert isinstance(parts[1], ImagePart)
    assert parts[-1] == TextPart(
        "Which colour? Options: A. green; B. red. Answer with one of the options."
    )


def test_an_open_question_is_answered_in_words(clip: Path) -> None:
    record = seedvideo.ask(
        clip, "Which colours?", model=FixedAnswerModel("The answer is: red, green.")
    )
    assert record.answer is not None
    assert (record.text, record.answer.raw) == ("red, green", "The answer is: red, green.")
    assert record.answer.options == ()


def test_the_words_of_a_model_that_cannot_choose_are_read(clip: Path) -> None:
    record = seedvideo.ask(clip, "Which?", options=["blue", "red"], model=FixedAnswerModel("(b)"))
    assert record.answer is not None
    assert (record.text, record.answer.raw) == ("red", "(b)")
    assert [option.probability for option in record.answer.options] == [None, None]


def test_options_that_the_model_reads_alike_are_refused(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*parts: object, **options: object) -> None:
        raise ValueError("'ä' and 'ö' are the same to the model")

    monkeypatch.setattr(ColourChooser, "choose", refuse)
    with pytest.raises(seedvideo.AskError, match="'ä' and 'ö' are the same") as caught:
        seedvideo.ask(clip, "Which?", options=["ä", "ö"], model=ColourChooser())
    assert caught.value.code == "ask.options_unfit"


@pytest.mark.parametrize("text", ["purple", "blue or red", "<think>It is red"])
def test_an_answer_that_means_no_option_is_an_error(clip: Path, text: str) -> None:
    with pytest.raises(seedvideo.ModelError) as caught:
        seedvideo.ask(clip, "Which?", options=["blue", "red"], model=FixedAnswerModel(text))
    assert caught.value.code == "model.answer_unparsable"


def test_reasoning_is_kept_only_if_requested(clip: Path) -> None:
    text = "<think>It is B, no.</think>A"
    for thinking, kept in ((True, "It is B, no."), (False, None)):
        model = FixedAnswerModel(text)
        record = seedvideo.ask(
            clip, "Which?", options=["blue", "red"], model=model, thinking=thinking
        )
        assert record.answer is not None
        assert (record.text, record.answer.raw) == ("blue", "A")
        assert record.answer.thinking == kept
        prompt = model.seen[0][-1]
        assert isinstance(prompt, TextPart)
        assert prompt.text.endswith("between <think> and </think>.") == thinking
    record = seedvideo.ground(clip, "green", model=ColourChooser(), thinking=True)
    assert record.grounding is not None
    assert record.grounding.thinking == "I see red then green then blue."


def test_a_moment_is_found_half_way_to_the_frames_around_it(clip: Path) -> None:
    model = ColourChooser()
    record = seedvideo.ground(clip, "it is green", model=model, policy="uniform", fps=1.0)
    shown = [Fraction(text[1:].split()[0]) for text in times_shown(model)]
    green = [time for time in shown if 3 <= time < 5]
    start = (max(time for time in shown if time < 3) + green[0]) / 2
    end = (green[-1] + min(time for time in shown if time >= 5)) / 2
    assert (record.task, record.status) == ("ground", "done")
    assert record.text == f"{float(start):.2f} - {float(end):.2f} s"
    assert record.grounding is not None
    assert record.grounding.found
    assert record.grounding.raw == f"{float(green[0]):.1f} - {float(green[-1]):.1f}"
    first = record.grounding.spans[0]
    # The stamps are rounded, the spans are not.
    assert first.start_s == pytest.approx(float(start), abs=0.06)
    assert first.end_s == pytest.approx(float(end), abs=0.06)
    assert first.score is not None
    assert 0.8 < first.score <= 0.9
    prompt = model.seen[0][-1]
    assert isinstance(prompt, TextPart)
    assert prompt.text.startswith('The video lasts 12.0 seconds. When does this happen: "it is ')


def test_words_that_take_too_many_tokens_are_refused(clip: Path) -> None:
    """Within the limit of characters; this model counts one token a word."""
    long = "x " * 4_500
    with pytest.raises(seedvideo.AskError, match="tokens of colours, expected at most 4,096") as no:
        seedvideo.ask(clip, long, model=ColourModel())
    assert no.value.code == "ask.question_invalid"
    with pytest.raises(seedvideo.GroundError, match="the query takes 4,51") as never:
        seedvideo.ground(clip, long, model=ColourModel())
    assert never.value.code == "ground.query_invalid"


def test_a_moment_ends_where_the_analysis_found_a_change(clip: Path) -> None:
    """Seven frames of twelve seconds, and yet the span is exact: the analysis saw both cuts."""
    record = seedvideo.ground(clip, "it is green", model=ColourChooser(), max_frames=7)
    assert record.grounding is not None and record.plan is not None
    assert record.plan.frames <= 7
    assert [(span.start_s, span.end_s) for span in record.grounding.spans] == [(3.0, 5.0)]


class TrueSpanModel(ColourChooser):
    """Points at the frames whose stamps lie in a span."""

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span

    def point(self, parts: Sequence[Part], **options: Any) -> PointingResult:
        pointed = super().point(parts, **options)
        times = [part.pts for part in parts if isinstance(part, TimePart)]
        shows = tuple(0.9 if time in self.span else 0.01 for time in times)
        return replace(pointed, probabilities=shows)


@slow
def test_a_brief_thing_that_one_frame_shows_has_its_own_ends(tmp_path: Path) -> None:
    """Most of a second among a minute of quiet: half way to other frames would be many seconds."""
    case = make_case(3, "brief")
    write_video(case, tmp_path / case.video)
    near = 0
    with seedvideo.open(tmp_path / case.video) as video:
        for event in case.story.events:
            record = seedvideo.ground(video, "it", model=TrueSpanModel(event.span))
            assert record.grounding is not None
            start_s, end_s = float(event.span.start), float(event.span.end)
            for span in record.grounding.spans[:1]:
                near += abs(span.start_s - start_s) < 0.2 and abs(span.end_s - end_s) < 0.2
    assert near >= len(case.story.events) - 1 > 1


def test_a_moment_that_occurs_twice_has_two_spans(tmp_path: Path) -> None:
    twice = paint(tmp_path / "twice.mp4", ["green", "red", "blue", "green", "red"], shot_s=2.0)
    record = seedvideo.ground(twice, "green", model=ColourChooser(), policy="uniform", fps=2.0)
    assert record.grounding is not None
    spans = sorted((span.start_s, span.end_s) for span in record.grounding.spans)
    assert spans == [pytest.approx((0, 2), abs=0.3), pytest.approx((6, 8), abs=0.3)]
    once = seedvideo.ground(twice, "green", model=ColourChooser(), fps=2.0, top=1)
    assert once.grounding is not None
    assert len(once.grounding.spans) == 1


def test_no_such_moment_is_a_result(clip: Path) -> None:
    record = seedvideo.ground(clip, "it is black", model=ColourChooser())
    assert (record.status, record.text) == ("done", "not found")
    assert record.grounding is not None
    assert record.grounding.model_dump() == {
        "query": "it is black",
        "found": False,
        "not_found_probability": 0.99,
        "spans": (),
        "confident": True,
        "thinking": None,
        "raw": "not found",
        "notes": (),
    }
    record = seedvideo.ground(clip, "it is black", model=FixedAnswerModel("Not found."))
    assert record.grounding is not None
    assert not record.grounding.found
    assert record.grounding.not_found_probability is None


def test_parsed_spans_keep_their_order_and_end_with_the_video(clip: Path) -> None:
    model = FixedAnswerModel("0:03 - 0:05, and then from 10 to 14 s")
    record = seedvideo.ground(clip, "green", model=model)
    assert record.grounding is not None
    assert [(span.start_s, span.end_s, span.score) for span in record.grounding.spans] == [
        (3.0, 5.0, None),
        (10.0, 12.0, None),
    ]
    assert record.text == "3.00 - 5.00 s"
    assert len(seedvideo.ground(clip, "green", model=model, top=1).to_json()["grounding"]["spans"])


@pytest.mark.parametrize("text", ["a red screen", "40 - 50", "5 - 3", "<think>at 3 - 5"])
def test_text_without_a_time_is_an_error_with_the_raw_text(clip: Path, text: str) -> None:
    with pytest.raises(seedvideo.ModelError) as caught:
        seedvideo.ground(clip, "green", model=FixedAnswerModel(text))
    assert caught.value.code == "model.answer_unparsable"
    assert repr(text.partition("<think>")[0]) in caught.value.message


def test_a_window_bounds_what_is_found(clip: Path) -> None:
    part = seedvideo.SamplingConfig(start_s=Fraction(4), end_s=Fraction(7))
    record = seedvideo.ground(clip, "green", model=ColourChooser(), sampling=part)
    assert record.grounding is not None
    assert record.grounding.spans[0].start_s == 4.0
    with pytest.raises(seedvideo.ModelError, match="outside the analysed window, 4 to 7 s"):
        seedvideo.ground(clip, "green", model=FixedAnswerModel("0 - 2"), sampling=part)


def test_a_bad_question_is_refused_before_anything_is_opened() -> None:
    nowhere, model = "no such file.mp4", ColourModel()
    with pytest.raises(seedvideo.AskError):
        seedvideo.ask(nowhere, "  ", model=model)
    with pytest.raises(seedvideo.AskError) as caught:
        seedvideo.ask(nowhere, "Which?", options=[str(n) for n in range(300)], model=model)
    assert caught.value.code == "ask.options_count"
    with pytest.raises(seedvideo.GroundError):
        seedvideo.ground(nowhere, "", model=model)
    with pytest.raises(ValueError, match="top is 0"):
        seedvideo.ground(nowhere, "x", top=0, model=model)


def test_a_still_image_is_found_completely_or_not_at_all(still: Path) -> None:
    found = seedvideo.ground(still, "red", model=ColourChooser())
    assert found.media is not None
    assert found.grounding is not None
    (span,) = found.grounding.spans
    assert (span.start_s, span.end_s) == (0.0, found.media.duration_s)
    missed = seedvideo.ground(still, "blue", model=ColourChooser())
    assert missed.text == "not found"
    assert seedvideo.ask(still, "What?", model=FixedAnswerModel("red")).text == "red"


def test_a_clip_of_one_frame(tmp_path: Path) -> None:
    path = paint(tmp_path / "one.mp4", ["red"], shot_s=0.04, fps=25)
    record = seedvideo.ground(path, "red", model=ColourChooser())
    assert record.grounding is not None
    assert [(span.start_s, span.end_s) for span in record.grounding.spans] == [(0.0, 0.04)]
    # Its whole length is less than the rounding of a stamp.
    record = seedvideo.ground(path, "red", model=FixedAnswerModel("0.0 - 0.0"))
    assert record.grounding is not None
    assert [(span.start_s, span.end_s) for span in record.grounding.spans] == [(0.0, 0.0)]
    assert seedvideo.ground(path, "blue", model=ColourChooser()).text == "not found"


def test_two_frames_with_the_same_stamp(tmp_path: Path) -> None:
    path = paint(tmp_path / "two.mp4", ["red", "blue"], shot_s=1 / 60, fps=60)
    model = ColourChooser()
    record = seedvideo.ground(path, "red", model=model)
    assert times_shown(model) == ["[0.0 second]", "[0.0 second]"]
    assert record.grounding is not None
    (span,) = record.grounding.spans
    assert span.start_s == 0.0
    # Each frame is pointed at by itself, so stamps that are the same do no harm.
    assert span.end_s == pytest.approx(1 / 120, abs=1e-6)


def test_a_frame_unlike_any_makes_an_answer_unsure(tmp_path: Path) -> None:
    path = paint(tmp_path / "dark.mp4", ["black"])
    record = seedvideo.ask(path, "What?", options=["red", "blue"], model=ColourChooser())
    assert record.answer is not None
    assert record.confident is record.answer.confident is False


def test_records_survive_json_and_count_what_was_read(clip: Path) -> None:
    for record in (
        seedvideo.ask(clip, "Which?", options=["red", "blue"], model=ColourChooser()),
        seedvideo.ground(clip, "green", model=ColourChooser()),
    ):
        assert Record.from_json(json.loads(record.json_line())) == record
        assert record.plan is not None
        assert record.usage is not None
        assert record.usage.visual_tokens == record.plan.visual_tokens
        assert record.plan.tokens <= record.plan.budget_tokens
        assert set(record.timing_s) == {"open", "plan", "decode", "model", "total"}
