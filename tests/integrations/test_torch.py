"""Frames as tensors, and datasets in the workers of a DataLoader: pixels, times, errors, leaks."""

import pickle
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import seedvideo
from seedvideo.integrations.torch import (
    FrameGroup,
    IterableVideoDataset,
    PaddedFrames,
    VideoDataset,
    VideoItem,
    frames_at,
    frames_tensor,
)
from tests.fixtures import Clips, read_number
from tests.resource_checks import children, direct_children
from tests.synthetic_clips import paint
from tests.tiers import slow

FORK_AND_SPAWN = ["fork", pytest.param("spawn", marks=slow)]
FEW: dict[str, Any] = {"policy": "uniform", "max_frames": 4}


@pytest.fixture(scope="module")
def video(clips: Clips) -> Iterator[seedvideo.Video]:
    with seedvideo.open(clips["plain"], workers=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def plan(video: seedvideo.Video) -> seedvideo.Plan:
    """A plan with frames of three sizes, some in portrait."""
    made = seedvideo.plan(video, policy="uniform", max_frames=7)
    sizes = [(392, 224), (224, 112), (112, 224)]
    frames = []
    for place, frame in enumerate(made.frames):
        width_px, height_px = sizes[place % len(sizes)]
        tokens = made.geometry.tokens(width_px=width_px, height_px=height_px)
        frames.append(replace(frame, width_px=width_px, height_px=height_px, tokens=tokens))
    return replace(made, frames=tuple(frames), charged_tokens=made.budget_tokens)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A red clip, one that is not a video, and a blue clip."""
    folder = tmp_path_factory.mktemp("list")
    broken = folder / "broken.mp4"
    broken.write_text("not a video")
    return [paint(folder / "red.mp4", ["red"]), broken, paint(folder / "blue.mp4", ["blue"])]


def as_arrays(pixels: torch.Tensor) -> list[np.ndarray]:
    return list(pixels.permute(0, 2, 3, 1).numpy())


def colour(item: VideoItem) -> str:
    (group,) = item.groups
    return ("red", "green", "blue")[int(group.pixels.float().mean((0, 2, 3)).argmax())]


# Tensors.


def test_groups_hold_every_frame_once(video: seedvideo.Video, plan: seedvideo.Plan) -> None:
    groups = frames_tensor(video, plan)
    shown: dict[int, np.ndarray] = {}
    for group in groups:
        assert group.pixels.dtype == torch.uint8 and group.pixels.is_contiguous()
        assert group.positions.dtype == torch.int64 and group.times_s.dtype == torch.float64
        assert group.times_s.tolist() == [float(pts) for pts in group.times]
        for position, pts in zip(group.positions.tolist(), group.times, strict=True):
            assert plan.frames[position].pts == pts
        shown |= dict(zip(group.positions.tolist(), as_arrays(group.pixels), strict=True))
    decoded = [frame.pixels for _, frame in video.frames(plan)]
    assert len(groups) > 1 and sorted(shown) == list(range(len(decoded)))
    assert all(np.array_equal(shown[place], pixels) for place, pixels in enumerate(decoded))


def test_padded_frames_lie_at_the_top_left(video: seedvideo.Video, plan: seedvideo.Plan) -> None:
    padded = frames_tensor(video, plan, padded=True)
    decoded = [frame.pixels for _, frame in video.frames(plan)]
    sizes = [pixels.shape[:2] for pixels in decoded]
    largest = (max(height for height, _ in sizes), max(width for _, width in sizes))
    assert padded.pixels.shape == (len(decoded), 3, *largest)
    assert padded.mask.shape == (len(decoded), *largest) and padded.mask.dtype == torch.bool
    assert [tuple(size) for size in padded.sizes_px.tolist()] == sizes
    assert padded.positions.tolist() == list(range(len(decoded)))
    for (height, width), pixels, shown, mask in zip(
        sizes, decoded, as_arrays(padded.pixels), padded.mask.numpy(), strict=True
    ):
        assert np.array_equal(shown[:height, :width], pixels)
        assert mask[:height, :width].all() and mask.sum() == height * width
        assert not shown[~mask].any()


def test_frames_that_are_lost_are_left_out(
    video: seedvideo.Video, plan: seedvideo.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = list(video.frames(plan))
    lost = 1

    def damaged(self: seedvideo.Video, plan: seedvideo.Plan) -> Iterator[Any]:
        yield from (*complete[:lost], *complete[lost + 1 :])

    monkeypatch.setattr(seedvideo.Video, "frames", damaged)
    padded = frames_tensor(video, plan, padded=True)
    rest = [place for place in range(len(complete)) if place != lost]
    assert padded.positions.tolist() == rest and len(padded.pixels) == len(rest)
    groups = frames_tensor(video, plan)
    assert sorted(p for group in groups for p in group.positions.tolist()) == rest
    assert all(len(group.pixels) == len(group.times) for group in groups)


def test_frames_at_are_those_of_the_array(video: seedvideo.Video) -> None:
    times = [2.0, 0.5, 2.0]
    wanted = video.frames_at(times, width_px=96)
    for given in (times, torch.tensor(times), np.array(times)):
        shown = frames_at(video, given, width_px=96)
        assert shown.shape == (3, 3, 56, 96) and shown.is_contiguous()
        assert np.array_equal(np.stack(as_arrays(shown)), wanted)
    assert [read_number(pixels) for pixels in wanted] == [60, 15, 60]


def test_a_path_is_opened_and_closed(clips: Clips, plan: seedvideo.Plan) -> None:
    before = children()
    assert sum(len(group.times) for group in frames_tensor(clips["plain"], plan)) == len(
        plan.frames
    )
    assert frames_at(clips["plain"], [1.0]).shape == (1, 3, 112, 192)
    assert children() == before


@pytest.mark.skipif(torch.accelerator.is_available(), reason="memory can be pinned here")
def test_pinned_memory_without_an_accelerator_is_refused(
    video: seedvideo.Video, plan: seedvideo.Plan
) -> None:
    for work in (
        lambda: frames_tensor(video, plan, pin_memory=True),
        lambda: frames_at(video, [0.0], pin_memory=True),
    ):
        with pytest.raises(seedvideo.ConfigError, match="no accelerator"):
            work()


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_pinned_memory(video: seedvideo.Video, plan: seedvideo.Plan) -> None:
    assert all(g.pixels.is_pinned() for g in frames_tensor(video, plan, pin_memory=True))
    assert frames_tensor(video, plan, padded=True, pin_memory=True).pixels.is_pinned()
    assert frames_at(video, [0.0], pin_memory=True).is_pinned()
    group, *_ = frames_tensor(video, plan)
    assert group.pin_memory().pixels.is_pinned()


def test_wrong_arguments_are_refused(video: seedvideo.Video, plan: seedvideo.Plan) -> None:
    with pytest.raises(seedvideo.OptionTypeError, match="plan is"):
        frames_tensor(video, "plan")  # type: ignore[call-overload]
    with pytest.raises(seedvideo.OptionTypeError, match="padded is"):
        frames_tensor(video, plan, padded="yes")  # type: ignore[call-overload]


def peak_bytes() -> int:
    """Return the peak of the resident memory since it was last reset."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize("padded", [False, True])
def test_memory_is_that_of_the_result(clips: Clips, *, padded: bool) -> None:
    with seedvideo.open(clips["plain"], workers=1) as video:
        times = video.times
        frames_at(
            video, times[:2], width_px=840, height_px=504
        )  # What is loaded once does not count.
        made = seedvideo.plan(video, policy="uniform", fps=30, budget_tokens=80_000)
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_bytes()
        shown = frames_at(video, times, width_px=840, height_px=504)
        result = shown.nbytes
        assert result > 100e6
        assert peak_bytes() - before < 1.15 * result + 16e6
        del shown
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_bytes()
        if padded:
            result = frames_tensor(video, made, padded=True).pixels.nbytes
        else:
            result = sum(group.pixels.nbytes for group in frames_tensor(video, made))
        assert peak_bytes() - before < 1.15 * result + 16e6


# Datasets.


@pytest.mark.parametrize("start", FORK_AND_SPAWN)
def test_map_style_in_workers(three: list[Path], start: str) -> None:
    dataset = VideoDataset(three, on_error="return", **FEW)
    loader: DataLoader[VideoItem] = DataLoader(
        dataset,
        batch_size=2,
        collate_fn=list,
        num_workers=2,
        shuffle=True,
        generator=torch.Generator().manual_seed(1),
        multiprocessing_context=start,
    )
    items = sorted((item for batch in loader for item in batch), key=lambda item: item.index)
    assert [item.video for item in items] == [str(path) for path in three]
    assert [colour(items[0]), colour(items[2])] == ["red", "blue"]
    assert items[1].groups == () and items[1].plan is None
    assert items[1].error is not None and items[1].error.code == "media.not_video"


@pytest.mark.parametrize("start", FORK_AND_SPAWN)
def test_iterable_style_shares_the_list(three: list[Path], start: str) -> None:
    paths = [three[0], three[2]] * 2 + [three[2]]
    dataset = IterableVideoDataset(paths, padded=True, **FEW)
    loader: DataLoader[VideoItem] = DataLoader(
        dataset, batch_size=None, num_workers=2, multiprocessing_context=start
    )
    items = list(loader)
    assert sorted(item.index for item in items) == list(range(5))
    for item in items:
        assert item.video == str(paths[item.index]) and item.padded is not None
        assert item.plan is not None and len(item.padded.pixels) == len(item.plan.frames) == 4


def test_without_workers_all_is_read_here(three: list[Path]) -> None:
    dataset = IterableVideoDataset([three[0], three[2]], **FEW)
    assert [colour(item) for item in dataset] == ["red", "blue"]
    by_place = VideoDataset([three[0], three[2]], **FEW)
    assert (len(by_place), colour(by_place[-1]), by_place[-1].index) == (2, "blue", 1)
    with pytest.raises(IndexError):
        by_place[2]


def test_datasets_are_pickled_with_their_options(three: list[Path]) -> None:
    dataset = VideoDataset([three[0]], geometry="qwen3-vl", start_s=0.3, **FEW)
    item = pickle.loads(pickle.dumps(dataset))[0]
    assert item.plan is not None and item.plan.geometry.name == "qwen3-vl"
    assert item.plan.frames[0].pts >= 0.3
    again = pickle.loads(pickle.dumps(item))
    assert again.plan == item.plan and torch.equal(again.groups[0].pixels, item.groups[0].pixels)


def test_errors_are_raised_returned_or_skipped_with_a_warning(three: list[Path]) -> None:
    with pytest.raises(seedvideo.MediaError):
        VideoDataset(three, **FEW)[1]
    with pytest.raises(seedvideo.MediaError):
        list(IterableVideoDataset(three, **FEW))
    returned = list(IterableVideoDataset(three, on_error="return", **FEW))
    assert [item.error is None for item in returned] == [True, False, True]
    with pytest.warns(RuntimeWarning, match=r"skipped .*broken\.mp4: .* \[media\.not_video\]"):
        items = list(IterableVideoDataset(three, on_error="skip", **FEW))
    assert [item.index for item in items] == [0, 2]


def test_an_error_in_a_worker_names_the_file(three: list[Path]) -> None:
    loader: DataLoader[VideoItem] = DataLoader(
        VideoDataset(three, **FEW), batch_size=None, num_workers=1, multiprocessing_context="fork"
    )
    with pytest.raises(RuntimeError, match=r"broken\.mp4: is a text file"):
        list(loader)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"videos": "clip.mp4"}, "config.type"),
        ({"videos": [3]}, "config.type"),
        ({"on_error": "ignore"}, "config.invalid"),
        ({"on_error": None}, "config.type"),
        ({"geometry": "qwen"}, "config.invalid"),
        ({"geometry": 5}, "config.type"),
        ({"padded": 1}, "config.type"),
        ({"limits": 1}, "config.type"),
        ({"fps": -1.0}, "plan.invalid"),
    ],
)
@pytest.mark.parametrize("kind", [VideoDataset, IterableVideoDataset])
def test_datasets_refuse_wrong_arguments(
    kind: type[VideoDataset] | type[IterableVideoDataset], arguments: dict[str, Any], code: str
) -> None:
    with pytest.raises(seedvideo.SeedVideoError) as caught:
        kind(**{"videos": ["clip.mp4"], **arguments})
    assert caught.value.code == code


def test_a_map_style_dataset_cannot_skip() -> None:
    with pytest.raises(seedvideo.ConfigError, match="expected one of raise, return"):
        VideoDataset([], on_error="skip")  # type: ignore[arg-type]


def descendants(process: str = "self") -> set[int]:
    """Return the ids of all processes below one."""
    found: set[int] = set()
    for child in direct_children(process):
        found |= {child, *descendants(str(child))}
    return found


def running(processes: set[int]) -> set[int]:
    """Return those that exist and have not ended."""
    found = set()
    for process in processes:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.add(process)
    return found


@pytest.mark.parametrize("start", FORK_AND_SPAWN)
def test_a_loader_that_is_left_early_leaves_no_process(clips: Clips, start: str) -> None:
    resource_tracker.ensure_running()  # It stays.
    before = descendants()
    loader: DataLoader[VideoItem] = DataLoader(
        IterableVideoDataset([clips["plain"]] * 40),
        batch_size=None,
        num_workers=2,
        multiprocessing_context=start,
    )
    items = iter(loader)
    next(items)
    started = descendants() - before
    workers = set(direct_children("self")) & started
    assert len(workers) == 2 and started - workers, "the workers decode in processes of their own"
    del items, loader
    deadline_s = time.monotonic() + 10
    while running(started) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert running(started) == set()


def test_items_are_pinned_by_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)
    pixels = torch.zeros((1, 3, 2, 2), dtype=torch.uint8)
    group = FrameGroup(pixels=pixels, times=(), positions=torch.zeros(1))
    padded = PaddedFrames(
        pixels=pixels, sizes_px=torch.zeros(1, 2), times=(), positions=torch.zeros(1)
    )
    item = VideoItem(video="x", index=0, groups=(group,), padded=padded).pin_memory()
    assert item.groups[0].pixels.all() and item.padded is not None and item.padded.pixels.all()
    assert VideoItem(video="x", index=0).pin_memory().padded is None
