"""What `auto` inspects of a long video, and that the rest counts as unknown, not as calm."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import pytest

import seedvideo
from seedvideo.config import AnalysisMethod
from seedvideo.media.reader import VideoReader, open_video
from seedvideo.media.types import PacketIndex, Target, ThumbnailBatch, ThumbnailSpan, ThumbnailSpec
from seedvideo.sampler import inspection
from seedvideo.sampler.analysis import Analysis, analyze
from seedvideo.sampler.analysis_cache import load_or_analyze
from seedvideo.sampler.boundaries import find_changes
from seedvideo.sampler.inspection import golden_order
from seedvideo.sampler.packet_analysis import analyze_packet_sizes
from tests.fixtures import Clips, ffmpeg
from tests.sampler.event_clips import X264
from tests.sampler.test_analysis import film
from tests.sampler.videos import video
from tests.tiers import slow

CALM_S, NOISE_S = 8, 12
LOOPS = 15


@pytest.fixture(scope="module")
def alternating(clips: Clips) -> Path:
    """Five minutes: 8 s of grey and 12 s of noise in turn, and keyframes every 2 s."""
    return clips.made("alternating.mp4", lambda path: make_alternating(path, loops=LOOPS))


def make_alternating(path: Path, *, loops: int) -> Path:
    parts = [path.with_suffix(f".{name}.mp4") for name in ("calm", "noise", "once")]
    grey = "color=gray:s=256x144:r=25"
    for part, source in zip(
        parts, (f"{grey}:d={CALM_S}", f"{grey}:d={NOISE_S},noise=alls=40:allf=t"), strict=False
    ):
        ffmpeg("-f", "lavfi", "-i", source, *f"{X264} -g 50 -bf 2".split(), part)
    listed = path.with_suffix(".txt")
    listed.write_text("".join(f"file '{part.name}'\n" for part in parts[:2]))
    ffmpeg("-f", "concat", "-i", listed, "-c", "copy", parts[2])
    ffmpeg("-stream_loop", str(loops - 1), "-i", parts[2], "-c", "copy", path)
    return path


@pytest.fixture
def small_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes minutes a long video."""
    monkeypatch.setattr(inspection, "_FLOOR_PICTURES", 200.0)


def inspected(path: Path, *, workers: int = 1) -> Analysis:
    with open_video(path, workers=workers) as reader:
        return analyze(reader, method="auto")


@pytest.mark.parametrize("scene", ["still", "crowd"])
def test_short_videos_lose_nothing(clips: Clips, scene: str) -> None:
    with open_video(film(clips, scene, "crf28")) as reader:
        auto, fast = (analyze(reader, method=method) for method in ("auto", "fast"))
    assert (auto.method, auto.unknown, auto.inspected_fraction) == ("auto", (), 1.0)
    for name in ("demands", "busy_fraction", "cuts", "notes", "warnings"):
        assert getattr(auto, name) == getattr(fast, name)
    assert np.array_equal(auto.signals.novelty, fast.signals.novelty)
    assert np.array_equal(auto.signals.frame_indices, fast.signals.frame_indices)


@pytest.mark.usefixtures("small_floor")
def test_what_is_left_out_is_unknown_and_not_calm(alternating: Path) -> None:
    found = inspected(alternating)
    noise_share = NOISE_S / (CALM_S + NOISE_S)
    assert 1 - noise_share < found.inspected_fraction < 0.85
    for span in found.unknown:  # Calm time is known: packets that small change nothing.
        assert span.end % (CALM_S + NOISE_S) < 1 or span.start % (CALM_S + NOISE_S) >= CALM_S - 1
    assert found.busy_fraction >= 0.95 * (1 - found.inspected_fraction)
    assert any("unknown" in note for note in found.notes)
    for demand in found.demands:
        middle = (demand.start + demand.end) / 2
        if any(span.start + 1 < middle < span.end - 1 for span in found.unknown):
            assert demand.still is None
            assert demand.event_s < 10
            assert not demand.peaks


@pytest.mark.usefixtures("small_floor")
def test_frozen_pictures_do_not_reach_into_unknown_time(alternating: Path) -> None:
    found = inspected(alternating)
    still = [demand for demand in found.demands if demand.still is not None]
    assert still
    for demand in still:
        for span in found.unknown:
            assert demand.end <= span.start + Fraction(1, 5) or demand.start >= span.end


@pytest.mark.usefixtures("small_floor")
def test_changes_are_not_seen_across_unknown_time(alternating: Path) -> None:
    with open_video(alternating, workers=1) as reader:
        found = analyze(reader, method="auto")
        changes = [change.time for change in find_changes(found, reader.times)]
    steps = {float(time_s) for time_s in found.signals.times_s}
    assert {float(time) for time in changes} <= steps
    for span in found.unknown:
        assert not [time for time in changes if span.start < time < span.end]


@slow
@pytest.mark.usefixtures("small_floor")
def test_the_choice_does_not_depend_on_processes(alternating: Path, tmp_path: Path) -> None:
    first, second = inspected(alternating), inspected(alternating, workers=2)
    assert (first.demands, first.unknown) == (second.demands, second.unknown)
    with open_video(alternating) as reader:
        for _ in range(2):
            kept = load_or_analyze(reader, method="auto", folder=tmp_path)
            assert (kept.demands, kept.unknown) == (first.demands, first.unknown)


@pytest.mark.usefixtures("small_floor")
def test_the_plan_says_what_share_was_inspected(alternating: Path) -> None:
    with seedvideo.open(alternating) as video:
        found = video.analysis()
        small, large = (
            seedvideo.plan(video, budget_tokens=budget_tokens) for budget_tokens in (2_000, 40_000)
        )
    for plan in (small, large):
        assert plan.decision is not None
        assert plan.decision.inspected_share == pytest.approx(found.inspected_fraction, abs=1e-6)
        assert "of the time unknown" in plan.summary()
        assert seedvideo.Plan.from_json(plan.to_json()) == plan
    assert small.decision is not None
    with pytest.raises(seedvideo.SeedVideoError, match="inspected_share"):
        replace(small.decision, inspected_share=1.5)


@slow
def test_no_more_pictures_are_decoded_than_for_evenly_spread_frames(
    alternating: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tenth of everything: 64 frames in five minutes are 640 in fifty.
    frames, excess = 64, 200
    monkeypatch.setattr(inspection, "EVEN_FRAMES", frames)
    monkeypatch.setattr(inspection, "_EXCESS_PICTURES", float(excess))
    monkeypatch.setattr(inspection, "_FLOOR_PICTURES", 400.0)
    decoded = {method: decoded_pictures(alternating, method) for method in ("auto", "fast")}
    with open_video(alternating) as reader:
        wanted = np.linspace(0, len(reader.times) - 1, frames).round().astype(int)
        for _ in reader.frames([Target(reader.times[frame], 64, 36) for frame in wanted]):
            pass
        even = reader.report.decoded_frames
    assert decoded["auto"] <= even + excess
    assert decoded["auto"] < 0.6 * decoded["fast"]


def test_videos_of_keyframes_only_are_bounded_too(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "EVEN_FRAMES", 40)
    monkeypatch.setattr(inspection, "_FLOOR_PICTURES", 400.0)
    source = "color=gray:s=256x144:r=25:d=60,noise=alls=40:allf=t"
    path = clips.made(
        "intra.mp4",
        lambda path: ffmpeg("-f", "lavfi", "-i", source, *f"{X264} -g 1".split(), path),
    )
    decoded = {method: decoded_pictures(path, method) for method in ("auto", "fast")}
    assert 20 < decoded["auto"] <= 40 + 400 / inspection._KEYFRAME_PICTURES
    assert decoded["auto"] < 0.5 * decoded["fast"]
    assert 0 < inspected(path).inspected_fraction < 0.5


def decoded_pictures(path: Path, method: str) -> int:
    """The pictures that all passes of an analysis decode."""
    total = 0
    with open_video(path) as reader:

        class Counting:
            """The reader, with the pictures of each finished pass added up."""

            def __getattr__(self, name: str) -> object:
                return getattr(reader, name)

            def thumbnails(
                self, spans: Sequence[ThumbnailSpan], size: ThumbnailSpec
            ) -> Iterator[ThumbnailBatch]:
                nonlocal total
                yield from reader.thumbnails(spans, size)
                total += reader.report.decoded_frames

        analyze(cast(VideoReader, Counting()), method=cast(AnalysisMethod, method))
    return total


def test_golden_order_spreads_every_part_of_it() -> None:
    for count in (1, 2, 7, 100, 1801):
        order = golden_order(count)
        assert sorted(order) == list(range(count))
        for part in (count // 10, count // 3, count // 2):
            if part > 2:
                gaps = [b - a for a, b in pairwise(sorted(order[:part]))]
                assert max(gaps) <= 3 * count / part
    # Halving visits the even numbers first, and misses half of what alternates.
    even = sum(number % 2 == 0 for number in golden_order(100)[:50])
    assert 20 <= even <= 30


def test_long_groups_of_pictures_take_no_longer_to_choose_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count, group = 40_000, 10_000  # Four groups of hundreds of packets that stand out.
    times_s = np.arange(count) / 30
    sizes = np.random.default_rng(0).lognormal(8, 0.5, count).astype(np.int64)
    keyframes = tuple(range(0, count, group))
    sizes[list(keyframes)] = 60_000
    index = PacketIndex(array("q", sizes.tolist()), array("q", range(count)))
    packets = analyze_packet_sizes(
        times_s, index.sizes_bytes, index.positions, keyframes, pixels=1280 * 720
    )
    with_info, _ = video(30)
    monkeypatch.setattr(inspection, "_EVEN_FRACTION", 0.2)
    monkeypatch.setattr(inspection, "EVEN_FRAMES", 5)
    inspector = inspection.Inspector(
        times_s, index, keyframes, with_info, packets, every_s=0.1, detail_interval_s=12.0
    )
    calls = 0
    packet_range = inspector._packet_range

    def counted(first: int, end: int) -> tuple[int, int]:
        nonlocal calls
        calls += 1
        return packet_range(first, end)

    monkeypatch.setattr(inspector, "_packet_range", counted)
    found = inspector.within_bound()
    hints = int((packets.scores >= 0.5).sum())
    assert hints > 400 and found.unknown.any()
    assert calls < 3 * hints
