"""The synthetic benchmark: what is asked is what is shown."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import seedvideo
from seedvideo.evaluate.synthetic.dataset import (
    FAMILIES,
    TEST_SEEDS,
    Family,
    generate_questions,
    make_case,
    write_video,
)
from seedvideo.evaluate.synthetic.world import (
    COLOURS,
    HELD_OUT,
    SHAPES,
    ColouredShape,
    Event,
    Motion,
    all_coloured_shapes,
    background,
    draw_coloured_shapes,
    draw_event,
    render_event,
    sprite,
)
from seedvideo.media.types import Target
from seedvideo.utils.timecode import Span
from tests.tiers import slow

SEEDS = range(TEST_SEEDS + 500, TEST_SEEDS + 520)
SPAN = Span(Fraction(0), Fraction(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_makes_the_same_case_and_another_seed_another(family: Family) -> None:
    assert make_case(7, family) == make_case(7, family)
    assert make_case(7, family) != make_case(8, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_events_follow_one_another_inside_the_video(family: Family) -> None:
    for seed in SEEDS:
        story = make_case(seed, family).story
        edges = [time for event in story.events for time in (event.span.start, event.span.end)]
        assert edges == sorted(edges) and edges[0] > 0 and edges[-1] < story.duration
        assert len({event.thing for event in story.events}) == len(story.events)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_item_has_its_answer_among_different_options_and_its_evidence_in_the_video(
    family: Family,
) -> None:
    for seed in SEEDS:
        case = make_case(seed, family)
        assert case.items
        for item in case.items:
            if item.task == "ask":
                assert item.answer in item.options
                assert len(set(item.options)) == len(item.options) >= 2
                assert item.spans
            for start, end in item.spans:
                assert 0 < start < end < float(case.story.duration)


def test_questions_about_a_story_are_answered_by_it() -> None:
    rng = np.random.default_rng(3)
    ball = Event(
        thing=ColouredShape("red", "ball"),
        motion="left",
        position=None,
        count=1,
        size=0.4,
        shift=(0, 0),
        span=Span(Fraction(1), Fraction(2)),
    )
    stars = Event(
        thing=ColouredShape("blue", "star"),
        motion="still",
        position=None,
        count=3,
        size=0.3,
        shift=(0, 0),
        span=Span(Fraction(3), Fraction(4)),
    )
    asked = {question.text: question for question in generate_questions([ball, stars], rng)}
    answers = {text: question.answer for text, question in asked.items()}
    assert answers["What colour is the ball?"] == "red"
    assert answers["What colour are the stars?"] == "blue"
    assert answers["Which way does the red ball move?"] == "left"
    assert answers["What moves to the left?"] == "red ball"
    assert answers["How many blue stars are there at once?"] == "three"
    assert answers["What appears first?"] == "red ball"
    assert answers["What appears last?"] == "blue star"
    assert answers["What appears right after the red ball?"] == "blue star"
    assert answers["How many different things appear?"] == "two"
    assert asked["Which way does the red ball move?"].needs_motion
    moments = {text: question for text, question in asked.items() if question.kind == "when"}
    assert any(question.spans == () for question in moments.values())
    for text, question in moments.items():
        if "red ball" in text:
            assert question.spans == (0,)
        elif "blue stars" in text:
            assert question.spans == (1,)
        else:
            assert question.spans == ()


def test_yes_and_no_are_asked_equally_often() -> None:
    answers = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        events = [draw_event(rng, thing, SPAN) for thing in draw_coloured_shapes(rng, 3)]
        answers += [
            q.answer for q in generate_questions(events, rng) if q.kind in ("happened", "before")
        ]
    assert 0.45 < answers.count("yes") / len(answers) < 0.55


def test_no_two_things_look_alike() -> None:
    seen = {thing: np.asarray(sprite(thing, 40), dtype=float) for thing in all_coloured_shapes()}
    things = list(seen)
    assert len(things) == len(COLOURS) * len(SHAPES)
    for index, one in enumerate(things):
        for other in things[:index]:
            assert np.abs(seen[one] - seen[other]).mean() > 4, (one.name, other.name)


def test_each_colour_and_each_shape_is_held_out_in_one_thing() -> None:
    assert sorted(thing.colour for thing in HELD_OUT) == sorted(COLOURS)
    assert sorted(thing.shape for thing in HELD_OUT) == sorted(SHAPES)


@pytest.mark.parametrize("motion", ["left", "right", "up", "down"])
def test_moving_things_move_in_the_stated_direction(motion: Motion) -> None:
    event = Event(
        thing=ColouredShape("red", "ball"),
        motion=motion,
        position=None,
        count=1,
        size=0.3,
        shift=(0, 0),
        span=SPAN,
    )
    base = np.full((192, 320, 3), 128, dtype=np.uint8)
    places = []
    for progress in (0.1, 0.9):
        shown = render_event(base, event, progress)
        rows, columns = np.nonzero((shown != base).any(axis=2))
        places.append((columns.mean(), rows.mean()))
    (x0, y0), (x1, y1) = places
    moved = {"left": x0 - x1, "right": x1 - x0, "up": y0 - y1, "down": y1 - y0}
    assert moved[motion] > 90
    assert max(abs(value) for name, value in moved.items() if name == motion) == max(
        abs(value) for value in moved.values()
    )


def test_as_many_things_are_drawn_as_are_counted() -> None:
    base = np.full((192, 320, 3), 128, dtype=np.uint8)
    for count in range(1, 5):
        event = Event(
            thing=ColouredShape("green", "square"),
            motion="still",
            position="middle" if count == 1 else None,
            count=count,
            size=0.25,
            shift=(0, 0),
            span=SPAN,
        )
        changed = np.abs(render_event(base, event, 0.5).astype(int) - base) > 8
        columns = changed.any(axis=(0, 2))
        starts = np.count_nonzero(np.diff(columns.astype(int)) == 1)
        assert starts == count


@slow
def test_the_video_shows_each_event_from_its_start_to_its_end(tmp_path: Path) -> None:
    case = make_case(TEST_SEEDS + 501, "plain")
    path = tmp_path / case.video
    write_video(case, path)
    rng = np.random.default_rng([case.seed, 0, 22])
    base = background(rng, height_px=384, width_px=640).astype(float)
    with seedvideo.open(path) as video:
        assert video.info.duration == case.story.duration
        times = [case.story.events[0].span.start, case.story.events[0].span.end]
        step = Fraction(1, 15)
        wanted = [times[0] - step, times[0], times[1] - step, times[1]]
        targets = [Target(time, 640, 384) for time in wanted]
        shown = [frame.pixels.astype(float) for frame in video.reader.frames(targets)]
    changed = [np.abs(pixels - base).mean() for pixels in shown]
    assert min(changed[1], changed[2]) > 2 * max(changed[0], changed[3])
