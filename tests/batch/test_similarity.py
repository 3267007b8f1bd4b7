"""Distinction of two clips of one scene, and detection of copies of a clip."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from seedvideo import api
from seedvideo.batch.similarity import (
    NEAR_LEVELS,
    Signature,
    compute_signature,
    count_exposures,
    exposure_step_s,
    min_partner_s,
    near_distance,
)
from seedvideo.config import SamplingConfig
from seedvideo.pipeline import clip_window
from tests.fixtures import Pixels, ffmpeg
from tests.tiers import quick_first

WIDTH_PX, HEIGHT_PX, FPS, FRAMES = 256, 144, 24, 48
H264: Final = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -crf 20"

Draw = Callable[[int], Pixels]


def room(_: int) -> Pixels:
    """Paint a room: a wall, a floor, a table."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    picture = np.stack([150 + x // 8, 140 + y // 6, 120 + (x + y) // 12], axis=-1)
    picture[100:] = (90, 70, 50)
    picture[84:92, 60:200] = (120, 90, 60)
    return picture.astype(np.uint8)


def disc(at: tuple[float, float], paint: tuple[int, int, int], radius_px: int = 6) -> Draw:
    """The room with a disc at a fraction of its sides."""

    def draw(_: int) -> Pixels:
        picture = room(0)
        y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
        middle_x, middle_y = at[0] * WIDTH_PX, at[1] * HEIGHT_PX
        picture[(x - middle_x) ** 2 + (y - middle_y) ** 2 < radius_px**2] = paint
        return picture

    return draw


def thrown(number: int) -> Pixels:
    """A ball flies from left to right."""
    share = number / FRAMES
    return disc((0.1 + 0.8 * share, 0.6 - 1.2 * share * (1 - share)), (230, 230, 60))(number)


def brought_back(number: int) -> Pixels:
    """The ball comes back the same way."""
    return thrown(FRAMES - 1 - number)


def hand(number: int) -> Pixels:
    """A hand comes in, late and briefly."""
    picture = room(number)
    reach_px = max(0, 30 - 4 * abs(number - 38))
    picture[76:86, WIDTH_PX - reach_px :] = (130, 90, 70)
    return picture


def words(text_bits: int) -> Draw:
    """The room with white blocks as in a line of text below."""

    def draw(_: int) -> Pixels:
        picture = room(0)
        for place in range(24):
            if text_bits >> place & 1:
                picture[128:136, 32 + 8 * place : 37 + 8 * place] = 245
        return picture

    return draw


def fading(number: int) -> Pixels:
    """The room, out of black within half a second."""
    return (room(number) * min(1.0, number / 12)).astype(np.uint8)


def barred(draw: Draw) -> Draw:
    """As in a letterbox."""

    def drawn(number: int) -> Pixels:
        picture = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
        picture[36:108] = draw(number)[::2]
        return picture

    return drawn


SCENES: Final[dict[str, Draw]] = {
    "room": room,
    "thrown": thrown,
    "brought back": brought_back,
    "hand": hand,
    "subtitle": words(0b101101110110101101110101),
    "other subtitle": words(0b110110101101011011101101),
    "red ball": disc((0.3, 0.4), (170, 90, 90), 8),
    "green ball": disc((0.3, 0.4), (97, 127, 97), 8),  # as grey as the red one
    "ball elsewhere": disc((0.34, 0.4), (170, 90, 90), 8),
    "mirrored": lambda number: room(number)[:, ::-1],
    "fading": fading,
    "black": lambda _: np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8),
    "nearly black": lambda number: disc((0.5, 0.5), (255, 255, 255), 20)(number) // 10,
    "barred room": barred(room),
    "barred hand": barred(hand),
}

COPIES: Final = {
    "strongly compressed": ("mp4", f"{H264} -crf 30"),
    "smaller": ("mp4", f"-vf scale=160:90 {H264}"),
    "larger": ("mp4", f"-vf scale=640:360 {H264}"),
    "30 frames per second": ("mp4", f"-r 30 {H264}"),
    "15 frames per second": ("mp4", f"-r 15 {H264}"),
    "12 frames per second, smaller": ("mkv", f"-r 12 -vf scale=160:-2 {H264}"),
    "MPEG-4 in AVI": ("avi", "-c:v mpeg4 -q:v 5"),
    "VP9 in WebM": ("webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -crf 34 -b:v 0"),
    "remuxed to Matroska": ("mkv", "-c copy"),
    "remuxed to MPEG-TS": ("ts", "-c copy"),
}


def film(path: Path, draw: Draw, *, frames: int = FRAMES, first: int = 0) -> Path:
    raw = b"".join(draw(first + n).tobytes() for n in range(frames))
    given = f"-f rawvideo -pix_fmt rgb24 -s {WIDTH_PX}x{HEIGHT_PX} -r {FPS} -i -"
    ffmpeg(*given.split(), *H264.split(), path, stdin=raw)
    return path


def seen(path: Path, window: SamplingConfig = SamplingConfig()) -> Signature:  # noqa: B008  # never changes
    with api.open(path, workers=1) as clip:
        return compute_signature(clip, clip_window(clip, window))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signature]:
    folder = tmp_path_factory.mktemp("scenes")
    return {name: seen(film(folder / f"{name}.mp4", draw)) for name, draw in SCENES.items()}


def test_no_two_scenes_are_near_duplicates(scenes: dict[str, Signature]) -> None:
    names = list(scenes)
    found = {
        (one, other): near_distance(scenes[one], scenes[other], NEAR_LEVELS)
        for place, one in enumerate(names)
        for other in names[:place]
    }
    assert {pair: levels for pair, levels in found.items() if levels is not None} == {}
    # By their means alone many of them would be: the rule of the cells separates them.
    step = exposure_step_s(2)
    grey = {name: each.subsample(step)[:, :256].astype(float) for name, each in scenes.items()}
    means = {pair: abs(grey[pair[0]] - grey[pair[1]]).mean() for pair in found}
    assert sum(levels < NEAR_LEVELS for levels in means.values()) > 25
    assert means["brought back", "thrown"] < 1 > means["hand", "room"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("originals")
    return {name: film(folder / f"{name}.mp4", SCENES[name]) for name in ("thrown", "hand")}


@pytest.mark.parametrize("how", quick_first(COPIES, 4))
def test_copies_are_found(
    how: str, originals: dict[str, Path], scenes: dict[str, Signature], tmp_path: Path
) -> None:
    name = "hand" if "smaller" in how else "thrown"
    ending, arguments = COPIES[how]
    copy = tmp_path / f"copy.{ending}"
    ffmpeg("-i", originals[name], *arguments.split(), copy)
    signature = seen(copy)
    found = near_distance(scenes[name], signature, NEAR_LEVELS)
    assert found is not None
    assert found < 2
    # And it is a copy of nothing else.
    others = [near_distance(scenes[each], signature, NEAR_LEVELS) for each in ("room", "fading")]
    assert others == [None, None]


def test_a_part_is_not_a_duplicate_of_the_complete_clip(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", thrown)
    zero, middle, end = Fraction(0), Fraction(1), Fraction(2)
    first = SamplingConfig(start_s=zero, end_s=middle)
    second = SamplingConfig(start_s=middle, end_s=end)
    assert near_distance(seen(whole), seen(whole, first), NEAR_LEVELS) is None
    assert near_distance(seen(whole, first), seen(whole, second), NEAR_LEVELS) is None
    assert (
        near_distance(
            seen(whole, SamplingConfig(start_s=zero, end_s=end)), seen(whole), NEAR_LEVELS
        )
        == 0
    )


@pytest.mark.parametrize(
    ("duration_s", "exposures"),
    [
        (0.04, 1),
        (0.5, 4),
        (2.0, 16),
        (2.01, 16),
        (8.0, 64),
        (15.99, 127),
        (16.0, 64),
        (60.0, 120),
        (3600.0, 113),
    ],
)
def test_the_number_of_exposures_is_bounded(duration_s: float, exposures: int) -> None:
    assert count_exposures(duration_s, exposure_step_s(duration_s)) == exposures


def test_packed_and_read_again() -> None:
    values = np.random.default_rng(5).integers(0, 256, (16, 384)).astype(np.uint8)
    signature = Signature(2.0, values)
    again = Signature.from_bytes(2.0, signature.to_bytes())
    assert np.array_equal(again.values, values)
    assert np.array_equal(Signature.from_values(signature.to_values()).values, values)
    with pytest.raises(ValueError, match="not a signature"):
        Signature.from_bytes(2.0, b"sixteen by eleven")


def test_clips_near_a_change_of_step_are_compared() -> None:
    values = np.random.default_rng(6).integers(0, 256, (127, 384)).astype(np.uint8)
    below, above = Signature(15.99, values), Signature(16.05, values[::2])
    assert (below.step_s, above.step_s) == (exposure_step_s(2), 2 * exposure_step_s(2))
    assert near_distance(below, above, 1.0) == near_distance(above, below, 1.0) == 0
    assert min_partner_s(8.0) == pytest.approx(7.6)
    assert near_distance(Signature(15.1, values[:120]), above, 1.0) is None
