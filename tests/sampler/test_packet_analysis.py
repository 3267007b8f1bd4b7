"""Packet sizes among like ones: a crowd nearby hides nothing in a calm picture."""

import numpy as np
import numpy.typing as npt
import pytest

from seedvideo.sampler.packet_analysis import (
    OUTLIER_SCORE,
    PacketSizeAnalysis,
    analyze_packet_sizes,
)

FPS, GOP = 25, 250
SIGNS_S = (13.0, 34.2, 57.4, 78.6, 96.0, 113.0)
"""In the odd ten seconds, which are calm."""


def analysis(crowd: npt.NDArray[np.bool_], *, signs: bool = True) -> PacketSizeAnalysis:
    """Sizes of a video with calm and crowd; a sign of ten frames costs 900 bytes as it appears."""
    random = np.random.default_rng(7)
    sizes = np.where(crowd, random.normal(6000, 900, len(crowd)), random.normal(60, 15, len(crowd)))
    sizes = np.maximum(sizes, 12)
    sizes[::GOP] = 40_000
    if signs:
        sizes[[round(sign_s * FPS) for sign_s in SIGNS_S]] += 900
    frames = np.arange(len(crowd))
    return analyze_packet_sizes(
        frames / FPS,
        sizes.astype(int).tolist(),
        frames.tolist(),
        frames[::GOP].tolist(),
        pixels=1280 * 720,
    )


def alternating(period_s: int) -> npt.NDArray[np.bool_]:
    seconds = np.arange(120 * FPS) // FPS
    return np.asarray(seconds // period_s % 2 == 0)


def test_signs_in_the_calm_stand_out_between_crowds() -> None:
    found = analysis(alternating(10))
    assert all(found.scores[round(sign_s * FPS)] >= OUTLIER_SCORE for sign_s in SIGNS_S)
    assert found.is_doubtful[alternating(10)].mean() > 0.95
    assert 0.4 < found.is_doubtful.mean() < 0.6


@pytest.mark.parametrize("period_s", [5, 20])
def test_the_doubtful_time_is_that_of_the_crowd(period_s: int) -> None:
    crowd = alternating(period_s)
    assert (analysis(crowd).is_doubtful == crowd).mean() > 0.9


def test_calm_and_crowd_alone_are_what_they_were() -> None:
    calm = analysis(np.zeros(120 * FPS, np.bool_))
    assert not calm.is_doubtful.any()
    moments_s = np.flatnonzero(calm.scores >= OUTLIER_SCORE) / FPS
    assert moments_s == pytest.approx(SIGNS_S)
    assert analysis(np.ones(120 * FPS, np.bool_), signs=False).is_doubtful.all()


def test_frames_at_uneven_times_and_few_frames_are_compared() -> None:
    random = np.random.default_rng(3)
    for count in (1, 5, 30, 400):
        times_s = np.cumsum(random.uniform(0.001, 2.0, count))
        sizes = random.integers(10, 5000, count).tolist()
        found = analyze_packet_sizes(times_s, sizes, range(count), [0], pixels=64 * 64)
        assert np.isfinite(found.scores).all()
        assert len(found.is_doubtful) == count
