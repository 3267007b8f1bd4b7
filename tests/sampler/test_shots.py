"""Cuts in made scenes, looked at as seldom as a pipeline would look."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from seedvideo.media.frames import Frame
from seedvideo.media.timeline import Span
from seedvideo.sampler.shots import find_shots

WIDTH, HEIGHT = 96, 54


def scenery(seed: int, width: int = WIDTH) -> npt.NDArray[np.uint8]:
    """A picture of coloured patches on a slope of light, unlike that of any other seed."""
    random = np.random.default_rng(seed)
    picture = np.empty((HEIGHT, width, 3), np.float64)
    picture[:] = random.uniform(30, 200, 3)
    picture += np.linspace(-25, 25, width)[None, :, None]
    for _ in range(width // 6):
        x, y = random.integers(0, width - 8), random.integers(0, HEIGHT - 8)
        wide, high = random.integers(6, 40), random.integers(6, 30)
        picture[y : y + high, x : x + wide] = random.uniform(0, 255, 3)
    return picture.clip(0, 255).astype(np.uint8)


def looks(
    lengths: Sequence[float],
    *,
    rate: int = 5,
    noise: float = 4.0,
    phase: Fraction = Fraction(0),
) -> Iterator[Frame]:
    """Frames of scenes of these lengths in seconds, ``rate`` a second, with a little noise."""
    random = np.random.default_rng(7)
    ends = np.cumsum(lengths)
    time = phase
    while time < ends[-1]:
        scene = int(np.searchsorted(ends, float(time), side="right"))
        pixels = scenery(scene) + random.normal(0, noise, (HEIGHT, WIDTH, 3))
        yield Frame(time, pixels.clip(0, 255).astype(np.uint8))
        time += Fraction(1, rate)


def starts(spans: Sequence[Span]) -> list[Fraction]:
    return [span.start for span in spans]


def covers(spans: Sequence[Span], end: int) -> bool:
    assert spans[0].start == 0
    assert spans[-1].end == end
    assert all(before.end == after.start for before, after in pairwise(spans))
    return True


@pytest.mark.parametrize("rate", [2, 3, 5, 6])
@pytest.mark.parametrize("phase", [Fraction(0), Fraction(1, 24)])
def test_hard_cuts_start_at_the_first_look_at_the_new_shot(rate: int, phase: Fraction) -> None:
    lengths = [2, 3, 2.5, 4, 2, 6]
    frames = list(looks(lengths, rate=rate, phase=phase))
    spans = find_shots(frames, end=Fraction(20))
    assert covers(spans, 20)
    cuts = np.cumsum(lengths)[:-1]
    expected = [next(frame.pts for frame in frames if frame.pts >= cut) for cut in cuts]
    assert starts(spans) == [0, *expected]


def test_shots_of_a_second_at_five_looks() -> None:
    spans = find_shots(looks([1] * 12), end=Fraction(12))
    assert starts(spans) == list(range(12))


def test_times_are_exact_and_may_be_uneven() -> None:
    random = np.random.default_rng(3)
    time = Fraction(1, 90_000)
    frames: list[Frame] = []
    while time < 9:
        frames.append(Frame(time, scenery(int(time) // 3)))
        time += Fraction(int(random.integers(3000, 40_000)), 90_000)
    spans = find_shots(frames, end=Fraction(9))
    firsts = [next(f.pts for f in frames if f.pts >= cut) for cut in (3, 6)]
    assert starts(spans) == [0, *firsts]


@pytest.mark.parametrize("rate", [2, 5])
def test_one_take_is_one_shot(rate: int) -> None:
    assert len(find_shots(looks([20], rate=rate), end=Fraction(20))) == 1


@pytest.mark.parametrize("pixels_a_look", [1, 3, 8])
@pytest.mark.parametrize("rate", [2, 5])
def test_a_pan_is_no_cut(rate: int, pixels_a_look: int) -> None:
    wide = scenery(5, width=WIDTH + 40 * pixels_a_look)
    frames = [
        Frame(Fraction(index, rate), wide[:, index * pixels_a_look :][:, :WIDTH])
        for index in range(40)
    ]
    assert len(find_shots(frames, end=Fraction(40, rate))) == 1


def test_a_slow_fade_is_no_cut() -> None:
    frames = [
        Frame(Fraction(index, 5), (scenery(1) * (index / 50)).astype(np.uint8))
        for index in range(50)
    ]
    assert len(find_shots(frames, end=Fraction(10))) == 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_looks_are_one_shot(count: int) -> None:
    frames = [Frame(Fraction(index), scenery(index)) for index in range(count)]
    assert starts(find_shots(frames, end=Fraction(5))) == [0]


def test_a_cut_at_or_after_the_end_is_left_out() -> None:
    spans = find_shots(looks([2, 2, 2]), end=Fraction(4))
    assert covers(spans, 4)
    assert starts(spans) == [0, 2]


def test_a_flash_makes_at_most_one_cut() -> None:
    frames = list(looks([10]))
    frames[25] = Frame(frames[25].pts, np.full((HEIGHT, WIDTH, 3), 255, np.uint8))
    assert len(find_shots(frames, end=Fraction(10))) <= 2


def test_an_end_is_needed() -> None:
    with pytest.raises(ValueError, match="end"):
        find_shots([], end=Fraction(0))
