"""Cuts agree with PySceneDetect's own; segments, busy time and packets by made numbers."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scenedetect import AdaptiveDetector, detect

from seedvideo.media.reader import open_video
from seedvideo.sampler.analysis import analyze
from seedvideo.sampler.packet_analysis import OUTLIER_SCORE, analyze_packet_sizes
from seedvideo.sampler.shots import split_by_pace
from tests.fixtures import ffmpeg
from tests.sampler.event_clips import X264, scenery

LENGTHS = (30, 22, 41, 60, 25, 18, 34)
"""Frames of each shot."""


@pytest.fixture(scope="module")
def cut_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven shots of cameras that turn, some fast."""
    path = tmp_path_factory.mktemp("cuts") / "cuts.mp4"
    frames = []
    for shot, length in enumerate(LENGTHS):
        wide = np.roll(scenery(900, 180, seed=10 + shot), shot, axis=2) * (0.6 + shot % 2)
        wide = wide.clip(0, 255).astype(np.uint8)
        speed = (0, 2, 9, 1, 5, 3, 8)[shot]
        frames += [wide[:, n * speed : n * speed + 320].tobytes() for n in range(length)]
    source = "-f rawvideo -pix_fmt rgb24 -s 320x180 -r 25 -i -"
    ffmpeg(*source.split(), *f"{X264} -crf 26".split(), path, stdin=b"".join(frames))
    return path


@pytest.mark.parametrize("method", ["fast", "full"])
def test_cuts_are_those_of_pyscenedetect(cut_film: Path, method: str) -> None:
    theirs = [start.frame_num for start, _ in detect(str(cut_film), AdaptiveDetector())][1:]
    assert theirs == list(np.cumsum(LENGTHS)[:-1])
    with open_video(cut_film) as reader:
        found = analyze(reader, method=method)  # type: ignore[arg-type]
        ours = [reader.times.index(cut) for cut in found.cuts]
    slack = 1 if method == "full" else 4
    assert len(ours) == len(theirs)
    assert all(abs(a - b) <= slack for a, b in zip(ours, theirs, strict=True))


TIMES_S = np.arange(6000) / 10


def test_a_shot_is_split_where_its_pace_changes_for_good() -> None:
    change_s = np.where((TIMES_S >= 200) & (TIMES_S < 300), 0.7, 40.0)
    change_s[1000:1010] = 0.7  # One second is too short for a change of pace.
    frame_indices = np.arange(6000)
    pieces = split_by_pace(TIMES_S, frame_indices, change_s, cuts=[4500])
    assert [piece.first for piece in pieces] == pytest.approx([0, 2000, 3000, 4500], abs=15)
    assert [piece.change_s for piece in pieces] == [40.0, 0.7, 40.0, 40.0]
    assert pieces[-1].end == 6000


def stream(sizes: np.ndarray, *, gop: int = 100) -> dict[str, object]:
    count = len(sizes)
    sizes = sizes.copy()
    sizes[::gop] = 40_000
    return {
        "times_s": np.arange(count) / 25,
        "sizes_bytes": sizes.astype(int).tolist(),
        "packet_positions": range(count),
        "keyframes": range(0, count, gop),
        "pixels": 1920 * 1080,
    }


def test_a_large_packet_among_small_ones_stands_out() -> None:
    sizes = np.full(2000, 70.0) + np.random.default_rng(1).integers(0, 6, 2000)
    sizes[777] += 300
    view = analyze_packet_sizes(**stream(sizes))  # type: ignore[arg-type]
    assert np.flatnonzero(view.scores >= OUTLIER_SCORE).tolist() == [777]
    assert not view.is_doubtful.any()


def test_packets_that_follow_every_keyframe_do_not_stand_out() -> None:
    sizes = np.full(2000, 70.0)
    sizes[4::100] = 900
    view = analyze_packet_sizes(**stream(sizes))  # type: ignore[arg-type]
    assert not (view.scores >= OUTLIER_SCORE).any()


def test_uneven_sizes_are_inconclusive() -> None:
    sizes = np.random.default_rng(1).normal(30_000, 3_000, 2000)
    assert analyze_packet_sizes(**stream(sizes)).is_doubtful.all()  # type: ignore[arg-type]


def test_too_few_packets_are_inconclusive() -> None:
    view = analyze_packet_sizes(**stream(np.full(10, 70.0)))  # type: ignore[arg-type]
    assert not view.is_informative and view.is_doubtful.all()


def test_pictures_without_others_are_compared_among_themselves() -> None:
    sizes = np.full(400, 30_000.0)
    sizes[200:210] += 2_000
    view = analyze_packet_sizes(
        np.arange(400) / 25, sizes.tolist(), range(400), range(400), pixels=640 * 360
    )
    assert view.is_informative
    assert Fraction(int((view.scores > 0).sum())) == 10
