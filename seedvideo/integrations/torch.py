"""Frames as torch tensors, and datasets of videos for a `torch.utils.data.DataLoader`.

`frames_tensor` decodes the frames of a plan, `frames_at` those at given times. `VideoDataset` and
`IterableVideoDataset` plan and decode one video after another, in the workers of a loader started
by fork or spawn. They hold names and options only, so they can be pickled.

Pixels are uint8 RGB, ``(N, 3, height_px, width_px)``, contiguous, in memory that is allocated once.
Times are exact seconds from the start of the video, or float64.

Separate from `seedvideo.api`, which imports no torch.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, Self, TypeAlias, Unpack, get_args, overload
from warnings import warn

import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from seedvideo import api
from seedvideo.arguments import check_kind, check_switch, check_text
from seedvideo.config import (
    DEFAULT_LIMITS,
    Limits,
    SamplingConfig,
    SamplingOverrides,
    resolve_sampling,
)
from seedvideo.environment import is_out_of_memory
from seedvideo.errors import ConfigError, SeedVideoError, suggestion
from seedvideo.media.source import VideoInput, display_path
from seedvideo.media.types import Frame
from seedvideo.model.families import published_geometry
from seedvideo.pipeline import as_video
from seedvideo.sampler.geometry import SEED, Geometry
from seedvideo.sampler.plan import Plan
from seedvideo.video import Video, iter_frames_at, request_at, too_many_frames_error

__all__ = [
    "FrameGroup",
    "IterableVideoDataset",
    "PaddedFrames",
    "VideoDataset",
    "VideoItem",
    "frames_at",
    "frames_tensor",
]

OnError: TypeAlias = Literal["raise", "return", "skip"]


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameGroup:
    """Frames of one size, in order of time.

    Args:
        pixels: ``(N, 3, height_px, width_px)``, uint8, RGB.
        times: exact presentation time of each frame, in seconds.
        positions: ``(N,)``, int64: position of each frame in ``plan.frames``.
    """

    pixels: Tensor = field(repr=False)
    times: tuple[Fraction, ...]
    positions: Tensor = field(repr=False)

    @property
    def times_s(self) -> Tensor:
        """Times of the frames in seconds: ``(N,)``, float64."""
        return torch.tensor([float(time) for time in self.times], dtype=torch.float64)

    def pin_memory(self) -> Self:
        """Return a copy in pinned memory; ``DataLoader(pin_memory=True)`` calls this."""
        return replace(self, pixels=self.pixels.pin_memory())


@dataclass(frozen=True, eq=False, kw_only=True)
class PaddedFrames:
    """All frames of a plan in one tensor, in order of time; each lies at the top left.

    Args:
        pixels: ``(N, 3, height_px, width_px)`` of the largest frame, uint8, RGB; the rest is 0.
        sizes_px: ``(N, 2)``, int64: height and width of each frame.
        times: exact presentation time of each frame, in seconds.
        positions: ``(N,)``, int64: position of each frame in ``plan.frames``.
    """

    pixels: Tensor = field(repr=False)
    sizes_px: Tensor = field(repr=False)
    times: tuple[Fraction, ...]
    positions: Tensor = field(repr=False)

    @property
    def times_s(self) -> Tensor:
        """Times of the frames in seconds: ``(N,)``, float64."""
        return torch.tensor([float(time) for time in self.times], dtype=torch.float64)

    @property
    def mask(self) -> Tensor:
        """Where a frame is: ``(N, height_px, width_px)``, bool; made at each access."""
        height_px, width_px = self.pixels.shape[2:]
        rows = torch.arange(height_px) < self.sizes_px[:, :1]
        columns = torch.arange(width_px) < self.sizes_px[:, 1:]
        return rows[:, :, None] & columns[:, None, :]

    def pin_memory(self) -> Self:
        """Return a copy in pinned memory; ``DataLoader(pin_memory=True)`` calls this."""
        return replace(self, pixels=self.pixels.pin_memory())


@overload
def frames_tensor(
    video: Video | VideoInput,
    plan: Plan,
    *,
    padded: Literal[False] = False,
    pin_memory: bool = False,
) -> tuple[FrameGroup, ...]: ...


@overload
def frames_tensor(
    video: Video | VideoInput, plan: Plan, *, padded: Literal[True], pin_memory: bool = False
) -> PaddedFrames: ...


def frames_tensor(
    video: Video | VideoInput, plan: Plan, *, padded: bool = False, pin_memory: bool = False
) -> tuple[FrameGroup, ...] | PaddedFrames:
    """Decode the frames of a plan into tensors.

    The memory of the result is allocated before decoding, and each frame is written to its place,
    so the peak is the result and a few frames. Frames that are lost to damage are left out, as in
    `seedvideo.frames`.

    Args:
        video: an open video, or a path that is opened for this call.
        plan: plan of this video.
        padded: whether all frames go into one tensor of the largest size.
        pin_memory: whether the pixels lie in pinned memory, from which a GPU copies faster.

    Returns:
        One group for each size, in order of its first frame; or with ``padded`` all frames.

    Raises:
        ConfigError: ``config.invalid`` if memory cannot be pinned, as there is no accelerator.
        ResourceError: ``system.out_of_memory`` if the result does not fit into memory.
        SeedVideoError: as `seedvideo.frames` does.
    """
    check_kind("plan", plan, Plan, "a plan, as seedvideo.plan returns it")
    check_switch("padded", padded)
    _check_pinning(pin_memory)
    planned_sizes = [(frame.height_px, frame.width_px) for frame in plan.frames]
    sizes = list(dict.fromkeys(planned_sizes))
    if padded:
        largest = (max(height for height, _ in sizes), max(width for _, width in sizes))
        buffer = _Buffer(len(planned_sizes), largest, pin_memory=pin_memory, blank=len(sizes) > 1)
        buffers = dict.fromkeys(sizes, buffer)
    else:
        buffers = {
            size: _Buffer(planned_sizes.count(size), size, pin_memory=pin_memory, blank=False)
            for size in sizes
        }
    positions = {frame.pts: position for position, frame in enumerate(plan.frames)}
    # Other threads wait, as a new pass would end this one.
    with as_video(video) as clip, clip.reader.lock, closing(clip.frames(plan)) as decoded:
        for planned, frame in decoded:
            buffers[planned.height_px, planned.width_px].add(frame, positions[planned.pts])
    if padded:
        return buffers[sizes[0]].padded()
    return tuple(buffers[size].group() for size in sizes if buffers[size].times)


def frames_at(
    video: Video | VideoInput,
    times: "Sequence[float | Fraction] | npt.NDArray[Any] | Tensor",
    *,
    width_px: int | None = None,
    height_px: int | None = None,
    pin_memory: bool = False,
) -> Tensor:
    """Decode the frame that is shown at each time into a tensor; see `seedvideo.frames_at`.

    Args:
        video: an open video, or a path that is opened for this call.
        times: seconds from the start of the video, in any order, also repeatedly.
        width_px: width of the result; that of the video, or after ``height_px``, if None.
        height_px: height of the result; likewise.
        pin_memory: whether the pixels lie in pinned memory, from which a GPU copies faster.

    Returns:
        ``(N, 3, height_px, width_px)``, uint8, RGB: a frame for each time, in their order.

    Raises:
        SeedVideoError: as `seedvideo.frames_at` and `frames_tensor` do.
    """
    _check_pinning(pin_memory)
    values = times.tolist() if isinstance(times, Tensor) else times
    with as_video(video) as clip:
        request = request_at(clip, values, width_px=width_px, height_px=height_px)
        shape = (request.count, 3, request.height_px, request.width_px)
        with _translate_memory_errors(shape):
            pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=pin_memory)
        array = pixels.numpy()
        with closing(iter_frames_at(clip, request)) as steps:
            for rows, frame in steps:
                array[rows] = frame.pixels.transpose(2, 0, 1)
    return pixels


class _Buffer:
    """Memory for the frames of a plan, or for those of one size.

    Args:
        count: maximum number of frames.
        size_px: height and width.
        pin_memory: whether it is pinned.
        blank: whether it must be 0 where no frame is written.
    """

    def __init__(
        self, count: int, size_px: tuple[int, int], *, pin_memory: bool, blank: bool
    ) -> None:
        shape = (count, 3, *size_px)
        with _translate_memory_errors(shape):
            make = torch.zeros if blank else torch.empty
            self._pixels = make(shape, dtype=torch.uint8, pin_memory=pin_memory)
        self._array = self._pixels.numpy()
        self._sizes_px: list[tuple[int, int]] = []
        self._positions: list[int] = []
        self.times: list[Fraction] = []

    def add(self, frame: Frame, position: int) -> None:
        """Write the next frame, and its position in the plan."""
        height_px, width_px, _ = frame.pixels.shape
        place = self._array[len(self.times)]
        place[:, :height_px, :width_px] = frame.pixels.transpose(2, 0, 1)
        self._sizes_px.append((height_px, width_px))
        self._positions.append(position)
        self.times.append(frame.pts)

    def group(self) -> FrameGroup:
        """Return the frames of one size."""
        return FrameGroup(
            pixels=self._pixels[: len(self.times)],
            times=tuple(self.times),
            positions=torch.tensor(self._positions),
        )

    def padded(self) -> PaddedFrames:
        """Return frames of several sizes."""
        return PaddedFrames(
            pixels=self._pixels[: len(self.times)],
            sizes_px=torch.tensor(self._sizes_px),
            times=tuple(self.times),
            positions=torch.tensor(self._positions),
        )


@contextmanager
def _translate_memory_errors(shape: Sequence[int]) -> Generator[None, None, None]:
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise too_many_frames_error(shape) from error


def _check_pinning(pin_memory: object) -> None:
    check_switch("pin_memory", pin_memory)
    if pin_memory and not torch.accelerator.is_available():
        raise ConfigError(
            "config.invalid",
            "pin_memory is True, but torch finds no accelerator on this machine",
            hint="leave pin_memory out: it speeds up copies to a GPU only",
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class VideoItem:
    """One video of a dataset: its frames, or the error that it failed with.

    Args:
        video: name of the file, as given.
        index: position of the video in the list of the dataset.
        plan: plan of the video; None if it failed.
        groups: frames by size; empty if the frames are padded, or the video failed.
        padded: padded frames, if they were asked for; None if the video failed.
        error: why the video failed; None otherwise.
    """

    video: str
    index: int
    plan: Plan | None = None
    groups: tuple[FrameGroup, ...] = ()
    padded: PaddedFrames | None = None
    error: SeedVideoError | None = None

    def pin_memory(self) -> Self:
        """Return a copy in pinned memory; ``DataLoader(pin_memory=True)`` calls this."""
        return replace(
            self,
            groups=tuple(group.pin_memory() for group in self.groups),
            padded=None if self.padded is None else self.padded.pin_memory(),
        )


@dataclass(frozen=True, kw_only=True)
class _Loading:
    """How each video of a list is planned and decoded."""

    videos: tuple[str, ...]
    sampling: SamplingConfig
    geometry: Geometry
    padded: bool
    limits: Limits

    @classmethod
    def of(
        cls,
        videos: Sequence[str | os.PathLike[str]],
        *,
        geometry: Geometry | str | None,
        padded: bool,
        limits: Limits,
        sampling: SamplingConfig,
    ) -> Self:
        """Check the arguments of a dataset."""
        check_switch("padded", padded)
        check_kind("limits", limits, Limits, "seedvideo.Limits")
        if isinstance(videos, str | bytes) or not isinstance(videos, Sequence):
            check_kind("videos", videos, list, "a list of file names")
        for place, name in enumerate(videos):
            check_text(
                f"videos[{place}]", os.fspath(name) if isinstance(name, os.PathLike) else name
            )
        if isinstance(geometry, str):
            geometry = published_geometry(geometry)
        elif geometry is None:
            geometry = SEED
        check_kind("geometry", geometry, Geometry, "a seedvideo.TokenGeometry")
        names = tuple(os.fspath(name) for name in videos)
        return cls(videos=names, sampling=sampling, geometry=geometry, padded=padded, limits=limits)

    def load(self, index: int) -> VideoItem:
        """Plan and decode a video; its processes have ended on return."""
        name = self.videos[index]
        # One decode process: the workers of the loader already use the processors.
        with api.open(name, limits=self.limits, workers=1) as clip:
            plan = api.plan(clip, geometry=self.geometry, sampling=self.sampling)
            if self.padded:
                shown = frames_tensor(clip, plan, padded=True)
                return VideoItem(video=name, index=index, plan=plan, padded=shown)
            groups = frames_tensor(clip, plan)
            return VideoItem(video=name, index=index, plan=plan, groups=groups)

    def failed(self, index: int, error: SeedVideoError) -> VideoItem:
        """Return the item of a video that failed."""
        return VideoItem(video=self.videos[index], index=index, error=error)


class VideoDataset(Dataset[VideoItem]):
    """Videos by position, for a `DataLoader`; shuffling and seeds are those of its sampler.

    Items are objects, so give the loader ``batch_size=None``, or a ``collate_fn`` such as ``list``
    or one that makes your batches. Each item opens its video, decodes it in one process and closes
    it.

    Args:
        videos: file names.
        geometry: frame sizes of a model family, or its name, such as ``qwen3-vl``; those of
            Seed1.5-VL if None.
        padded: whether the frames of a video go into one tensor.
        on_error: what a video that fails becomes: ``return`` makes an item with its error. With
            ``raise`` the error ends the iteration; torch raises that of a worker process as a
            ``RuntimeError`` with the text of the original.
        limits: upper bounds for each file.
        sampling: how frames are sampled.
        overrides: fields of `seedvideo.SamplingConfig`, which override those of ``sampling``.

    Raises:
        SeedVideoError: if an argument is invalid. The files are not opened before they are needed.
    """

    def __init__(
        self,
        videos: Sequence[str | os.PathLike[str]],
        *,
        geometry: Geometry | str | None = None,
        padded: bool = False,
        on_error: Literal["raise", "return"] = "raise",
        limits: Limits = DEFAULT_LIMITS,
        sampling: SamplingConfig | None = None,
        **overrides: Unpack[SamplingOverrides],
    ) -> None:
        _check_on_error(on_error, ("raise", "return"))
        self._on_error = on_error
        self._loading = _Loading.of(
            videos,
            geometry=geometry,
            padded=padded,
            limits=limits,
            sampling=resolve_sampling(sampling, **overrides),
        )

    def __len__(self) -> int:
        return len(self._loading.videos)

    def __getitem__(self, index: int) -> VideoItem:
        position = range(len(self))[index]  # Raises IndexError, and counts from the end.
        try:
            return self._loading.load(position)
        except SeedVideoError as error:
            if self._on_error == "raise":
                raise
            return self._loading.failed(position, error)


class IterableVideoDataset(IterableDataset[VideoItem]):
    """Videos one after another; the workers of a `DataLoader` share the list.

    Worker ``i`` of ``n`` takes the videos ``i``, ``i + n``, ``i + 2n`` and so on, so each is read
    once. Shuffle the list before, and give each rank of a distributed run its own part of it. See
    `VideoDataset` for the items and their batches.

    Args:
        videos: file names.
        geometry: see `VideoDataset`.
        padded: see `VideoDataset`.
        on_error: see `VideoDataset`; ``skip`` leaves a video out with a ``RuntimeWarning`` that
            names it and its error.
        limits: see `VideoDataset`.
        sampling: how frames are sampled.
        overrides: see `VideoDataset`.

    Raises:
        SeedVideoError: if an argument is invalid. The files are not opened before they are needed.
    """

    def __init__(
        self,
        videos: Sequence[str | os.PathLike[str]],
        *,
        geometry: Geometry | str | None = None,
        padded: bool = False,
        on_error: OnError = "raise",
        limits: Limits = DEFAULT_LIMITS,
        sampling: SamplingConfig | None = None,
        **overrides: Unpack[SamplingOverrides],
    ) -> None:
        _check_on_error(on_error, get_args(OnError))
        self._on_error = on_error
        self._loading = _Loading.of(
            videos,
            geometry=geometry,
            padded=padded,
            limits=limits,
            sampling=resolve_sampling(sampling, **overrides),
        )

    def __iter__(self) -> Iterator[VideoItem]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for index in range(first, len(self._loading.videos), step):
            try:
                item = self._loading.load(index)
            except SeedVideoError as error:
                if self._on_error == "raise":
                    raise
                if self._on_error == "skip":
                    _warn_skipped(self._loading.videos[index], error)
                    continue
                item = self._loading.failed(index, error)
            yield item


def _warn_skipped(name: str, error: SeedVideoError) -> None:
    text = f"skipped {display_path(name)}: {error} [{error.code}]"
    warn(text, RuntimeWarning, stacklevel=3)


def _check_on_error(on_error: object, allowed: Sequence[str]) -> None:
    check_text("on_error", on_error)
    if on_error not in allowed:
        raise ConfigError(
            "config.invalid",
            f"on_error is {on_error!r}, expected one of {', '.join(allowed)}",
            hint=suggestion(on_error, allowed),
        )
