"""What the analysis finds in encoded files: small brief events, whatever goes on around them."""

import tracemalloc
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from seedvideo.config import AnalysisMethod
from seedvideo.errors import ConfigError
from seedvideo.media.reader import open_video
from seedvideo.sampler.analysis import Analysis, analyze
from seedvideo.sampler.events import EVENT_THRESHOLD
from seedvideo.sampler.novelty import NoveltyTracker
from seedvideo.sampler.utility import Peak
from tests.fixtures import Clips, coded_video, ffmpeg
from tests.sampler.event_clips import CODECS, FLASH_S, SCENES, X264, filmed
from tests.synthetic_clips import paint
from tests.tiers import exhaustive, quick_first, slow

FILES = [("still", codec) for codec in CODECS] + [
    (scene, codec) for scene in SCENES if scene != "still" for codec in ("crf18", "crf36")
]

FEW = [("still", codec) for codec in ("crf28", "hevc", "vp9", "av1")]
FEW += [(scene, "crf36") for scene in SCENES if scene != "still"]
"""Those of the quick tier."""


def film(clips: Clips, scene: str, codec: str, *, is_null: bool = False) -> Path:
    suffix, options = CODECS[codec]
    flash_s = None if is_null else FLASH_S
    return clips.made(
        f"{scene}-{codec}{'-null' * is_null}.{suffix}",
        lambda path: filmed(path, SCENES[scene], options, flash_s=flash_s),
    )


def analyze_file(path: Path, method: AnalysisMethod = "fast") -> Analysis:
    with open_video(path) as reader:
        return analyze(reader, method=method)


def peaks(analysis: Analysis) -> list[Peak]:
    return [peak for demand in analysis.demands for peak in demand.peaks]


def covers(analysis: Analysis, end: Fraction) -> bool:
    demands = analysis.demands
    assert demands[0].start == 0 and demands[-1].end == end
    assert all(before.end == after.start for before, after in pairwise(demands))
    return True


@pytest.mark.parametrize("method", quick_first(["fast", "full"]))
@pytest.mark.parametrize(
    ("scene", "codec"),
    [file if file in FEW[:2] else pytest.param(*file, marks=exhaustive) for file in FILES],
)
def test_a_flash_of_small_print_is_found(
    clips: Clips, scene: str, codec: str, method: AnalysisMethod, request: pytest.FixtureRequest
) -> None:
    if (scene, codec, method) == ("flicker", "crf36", "fast"):
        # Coarse pictures of a flicker, few of which are seen, hide it: a known limit.
        request.applymarker(pytest.mark.xfail(strict=True, raises=AssertionError))
    found = analyze_file(film(clips, scene, codec), method)
    assert covers(found, Fraction(8))
    hits = [peak for peak in peaks(found) if FLASH_S[0] - 0.01 <= peak.time < FLASH_S[1]]
    assert hits, [(float(peak.time), peak.strength) for peak in peaks(found)]
    strongest = max(peak.strength for peak in peaks(found))
    assert hits[0].strength >= 0.3 * strongest
    if hits[0].end is not None:
        assert hits[0].end <= FLASH_S[1] + 0.13


@pytest.mark.parametrize("method", quick_first(["fast", "full"]))
@pytest.mark.parametrize("scene", quick_first(list(SCENES)))
def test_where_nothing_appears_next_to_nothing_is_found(
    clips: Clips, scene: str, method: AnalysisMethod
) -> None:
    found = analyze_file(film(clips, scene, "crf28", is_null=True), method)
    assert len(peaks(found)) <= 4
    assert found.busy_fraction == 0
    assert found.cuts == ()


@pytest.mark.parametrize("codec", quick_first(["crf28", "hevc", "vp9"]))
def test_packets_alone_find_it_in_a_calm_picture(clips: Clips, codec: str) -> None:
    found = analyze_file(film(clips, "still", codec), "packets")
    assert any(FLASH_S[0] - 0.2 <= peak.time < FLASH_S[1] for peak in peaks(found))


def test_an_event_of_a_calm_scene_is_a_segment_of_its_own(clips: Clips) -> None:
    found = analyze_file(film(clips, "still", "crf28"), "full")
    event = next(demand for demand in found.demands if demand.peaks)
    before = found.demands[found.demands.index(event) - 1]
    assert (event.start, event.end) == (Fraction(4), Fraction(22, 5))
    assert event.peaks[0].end == Fraction(22, 5)
    assert event.detail_tokens > before.detail_tokens
    assert before.event_s > 20
    assert before.events_per_s == 0


@slow
def test_a_moving_picture_changes_sooner_than_a_still_one(clips: Clips) -> None:
    calm, busy = (
        analyze_file(film(clips, scene, "crf28", is_null=True), "full").demands[0].event_s
        for scene in ("grain", "pan")
    )
    assert busy < 4 < 20 < calm


@slow
def test_one_event_in_ten_calm_minutes(tmp_path: Path) -> None:
    # A hundred and twenty pieces of five seconds: one film of that length takes long to encode.
    for name, flash_s in (("calm", None), ("flash", (2.2, 2.6))):
        small = tmp_path / f"small-{name}.mkv"
        filmed(small, SCENES["still"], "-c:v ffv1", flash_s=flash_s, length_s=5)
        large = f"-vf scale=1920:1080 -r 12.5 {X264}"
        ffmpeg("-i", small, *large.split(), tmp_path / f"{name}.mp4")
    order = ["flash" if i == 66 else "calm" for i in range(120)]
    listed = tmp_path / "pieces.txt"
    listed.write_text("".join(f"file '{name}.mp4'\n" for name in order))
    path = tmp_path / "long.mp4"
    ffmpeg("-f", "concat", "-i", listed, "-c", "copy", path)
    with open_video(path) as reader:
        found = analyze(reader)
        start = 66 * reader.info.duration / 120
        frames = len(reader.times)
    hits = [peak for peak in peaks(found) if 2.1 <= peak.time - start < 2.7]
    assert len(hits) == 1
    assert len(peaks(found)) == 1
    assert len(found.signals) < 0.05 * frames


@pytest.mark.parametrize("method", ["packets", "fast", "full"])
def test_a_still_picture_is_one_segment(tmp_path: Path, method: AnalysisMethod) -> None:
    path = tmp_path / "one.png"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=320x240", "-frames:v", "1", path)
    found = analyze_file(path, method)
    assert len(found.demands) == 1
    assert found.cuts == ()


@pytest.mark.parametrize("method", ["packets", "fast", "full"])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_videos(tmp_path: Path, method: AnalysisMethod, frames: int) -> None:
    path = coded_video(tmp_path / "short.mp4", X264, frames=frames)
    assert covers(analyze_file(path, method), Fraction(frames, 30))


@pytest.mark.parametrize("method", quick_first(["fast", "packets", "full"]))
@pytest.mark.parametrize(
    "name", ["vfr", "vfr_mkv", "mpeg4_b_avi", "gif", "ts_late", "intra_refresh", "cut_open_gop"]
)
def test_odd_files_have_their_true_times(clips: Clips, name: str, method: AnalysisMethod) -> None:
    with open_video(clips[name]) as reader:
        found = analyze(reader, method=method)
        assert covers(found, reader.info.duration)
        for demand in found.demands[1:]:
            assert demand.start in reader.times
        assert np.all(np.diff(found.signals.frame_indices) > 0)
        exact = [float(reader.times[frame_index]) for frame_index in found.signals.frame_indices]
        assert found.signals.times_s.tolist() == exact


@slow
@pytest.mark.parametrize("method", ["fast", "full"])
def test_damage_in_the_middle_is_stepped_over(
    clips: Clips, tmp_path: Path, method: AnalysisMethod
) -> None:
    path = tmp_path / "damaged.mp4"
    data = bytearray(film(clips, "grain", "crf18").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    assert covers(analyze_file(path, method), Fraction(8))


@slow
def test_the_same_file_gives_the_same_analysis(clips: Clips) -> None:
    path = film(clips, "crowd", "crf36")
    first, second = analyze_file(path), analyze_file(path)
    assert first.demands == second.demands
    assert np.array_equal(first.signals.novelty, second.signals.novelty)


def test_shots_follow_one_another(tmp_path: Path) -> None:
    found = analyze_file(paint(tmp_path / "three.mp4", ["red", "blue", "green"], shot_s=2), "full")
    assert [shot.start for shot in found.shots] == [0, 2, 4]
    assert found.shots[-1].end == 6
    starts = [demand.start for demand in found.demands if demand.starts_shot]
    assert starts == [2, 4]


def test_an_unknown_method_is_refused(clips: Clips) -> None:
    with (
        open_video(film(clips, "still", "crf28")) as reader,
        pytest.raises(ConfigError, match="packets, auto, fast, full"),
    ):
        analyze(reader, method="slow")  # type: ignore[arg-type]


@slow
def test_memory_does_not_grow_with_the_video() -> None:
    def most_bytes(minutes: int) -> int:
        random = np.random.default_rng(1)
        tracker = NoveltyTracker((256, 144))
        tracemalloc.start()
        for number in range(minutes * 300):
            means = random.normal(100, 0.1, 1152).astype(np.float32)
            for _ in tracker.update(number, number / 5, means, is_keyframe=number % 100 == 0):
                pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert most_bytes(12) < 1.2 * most_bytes(4)


def test_novelty_is_local() -> None:
    # The same change is news after a calm minute and none after a restless one.
    tracker = NoveltyTracker((256, 144))
    random = np.random.default_rng(1)
    rows: list[np.ndarray] = []
    for number in range(2000):
        means = np.full(1152, 100, np.float32)
        means[50] += 8 * random.normal() if number < 1000 else 0.1 * random.normal()
        if number in range(500, 504) or number in range(1500, 1504):
            means[50] += 12
        rows += tracker.update(number, number / 10, means, is_keyframe=False)
    table = np.concatenate([*rows, *tracker.finish()])
    assert table[1500, 2] > EVENT_THRESHOLD > table[500, 2]
