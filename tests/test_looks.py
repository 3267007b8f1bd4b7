"""Two looks within one budget: where the second one looks, and that all of it is counted."""

import math
from fractions import Fraction
from pathlib import Path

import pytest

import seedvideo
from seedvideo.model.packing import ImagePart, Part, TextPart
from seedvideo.sampler.policies import PolicyName
from tests.painted import ColourChooser, ColourModel, SayingModel, paint


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of red with five seconds of green from 30 s on."""
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    return paint(path, [*["red"] * 30, *["green"] * 5, *["red"] * 25])


def times(parts: list[Part]) -> list[Fraction]:
    texts = [part.text for part in parts[:-1] if isinstance(part, TextPart)]
    return [Fraction(text[1:].split()[0]) for text in texts]


def tokens(parts: list[Part], model: ColourModel) -> int:
    """What the frames of one sequence cost, by the model's own count."""
    pixels = [part.pixels for part in parts if isinstance(part, ImagePart)]
    texts = [part.text for part in parts[:-1] if isinstance(part, TextPart)]
    visual = sum(math.prod(p.shape[:2]) // 16**2 for p in pixels)
    return visual + sum(model.frame_text_tokens(text) for text in texts)


@pytest.mark.parametrize("policy", ["adaptive", "uniform"])
@pytest.mark.parametrize("budget", [48, 100, 512, 2_000])
def test_both_looks_together_keep_to_the_budget(
    clip: Path, policy: PolicyName, budget: int
) -> None:
    model = ColourChooser()
    record = seedvideo.ground(
        clip, "green", model=model, zoom=True, policy=policy, budget_tokens=budget
    )
    spent = sum(tokens(parts, model) for parts in model.seen)
    assert len(model.seen) == 2
    assert record.plan is not None
    assert spent == record.plan.tokens == record.plan.charged_tokens <= budget
    assert record.plan.budget_tokens == budget
    assert record.plan.frames == sum(len(times(parts)) for parts in model.seen)
    assert record.usage is not None
    assert record.usage.visual_tokens == record.plan.visual_tokens


def test_the_second_look_is_closer_where_the_first_found_something(clip: Path) -> None:
    model = ColourChooser()
    record = seedvideo.ground(clip, "green", model=model, zoom=True, policy="uniform", top=1)
    coarse, close = map(times, model.seen)
    assert record.plan is not None
    assert record.plan.zoom is not None
    first = record.plan.zoom[0]
    seen = [time for time in coarse if 30 <= time < 35]
    assert first.start_s <= seen[0] <= seen[-1] < first.end_s
    inside = [time for time in close if first.start_s <= time < first.end_s]
    assert len(inside) > len([t for t in coarse if first.start_s <= t < first.end_s])
    # What is found is as exact as the second look is dense.
    assert record.grounding is not None
    (span,) = record.grounding.spans
    assert span.start_s == pytest.approx(30, abs=1)
    assert span.end_s == pytest.approx(35, abs=1)


def test_frames_of_the_first_look_are_shown_again_where_they_fit(clip: Path) -> None:
    # Close-ups of one short span at its most cannot spend this: there is room for the rest.
    model = SayingModel("31.0 - 31.5", "not found")
    record = seedvideo.ground(clip, "x", model=model, zoom=True, budget_tokens=4_000)
    coarse, close = map(times, model.seen)
    assert record.plan is not None
    assert record.plan.zoom is not None
    (span,) = record.plan.zoom
    outside = [time for time in coarse if not span.start_s <= time < span.end_s]
    assert outside
    assert [t for t in close if not span.start_s <= t < span.end_s] == outside
    assert close == sorted(close)


@pytest.mark.parametrize("says", ["not found", "a red screen", "500 - 600"])
def test_where_nothing_is_named_all_is_looked_at_again(clip: Path, says: str) -> None:
    model = SayingModel(says, "30 - 35")
    record = seedvideo.ground(clip, "green", model=model, zoom=True)
    assert record.text == "30.0 - 35.0 s"
    coarse, again = map(times, model.seen)
    assert len(again) > len(coarse)
    assert again[-1] > 55
    assert record.plan is not None
    assert record.plan.zoom == ()


def test_a_question_is_looked_for_by_its_words(clip: Path) -> None:
    model = ColourChooser()
    options = ["red", "green"]
    seedvideo.ask(clip, "Is it green or red?", options=options, model=model, zoom=True)
    first, second = (parts[-1] for parts in model.seen)
    assert isinstance(first, TextPart)
    assert isinstance(second, TextPart)
    assert 'When does this happen: "Is it green or red?"?' in first.text
    assert second.text.startswith("Is it green or red? Options: A. red;")
    coarse, close = (sum(30 <= time < 35 for time in times(parts)) for parts in model.seen)
    assert close > coarse


def test_the_first_look_does_not_think(clip: Path) -> None:
    model = SayingModel("30 - 35", "<think>Hm.</think>31 - 34")
    record = seedvideo.ground(clip, "green", model=model, zoom=True, thinking=True)
    assert record.grounding is not None
    assert record.grounding.thinking == "Hm."
    asked = [parts[-1] for parts in model.seen]
    assert [isinstance(p, TextPart) and "<think>" in p.text for p in asked] == [False, True]


def test_wishes_hold_for_both_looks(clip: Path) -> None:
    model = ColourChooser()
    knobs = seedvideo.Knobs(
        start=Fraction(20), end=Fraction(50), max_frames=6, min_fps=0.5, levels_tokens=(8,)
    )
    seedvideo.ground(clip, "green", model=model, zoom=True, knobs=knobs)
    for parts in model.seen:
        assert len(times(parts)) <= 6
        assert all(20 <= time < 50 for time in times(parts))
        sizes = {part.pixels.shape[:2] for part in parts if isinstance(part, ImagePart)}
        assert all(height * width // 16**2 <= 8 for height, width in sizes)


def test_a_budget_too_small_for_two_looks_says_what_is_needed(clip: Path) -> None:
    with pytest.raises(seedvideo.PlanError) as caught:
        seedvideo.ground(clip, "green", model=ColourChooser(), zoom=True, budget_tokens=47)
    assert caught.value.code == "plan.over_budget"
    assert "at least 48 tokens" in caught.value.hint
