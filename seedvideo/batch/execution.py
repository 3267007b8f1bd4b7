"""The two halves of one item: prepare it in a decode process, run its task in a model process.

The first half needs no weights, the second no video file. In between, the prepared clip is in an
anonymous file, which disappears with the last process that holds it: a killed job leaves nothing
behind. Layout: length of the header (8 bytes, big-endian), header (JSON), contact sheet (JPEG),
pixels of the frames one after another.
"""

import importlib
import json
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from time import perf_counter
from typing import Any, Final

import numpy as np

from seedvideo.batch.filters import Rejection, check_frames, check_metadata
from seedvideo.batch.fingerprint import FileVersion, file_version
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.similarity import Signature, compute_signature
from seedvideo.config import AnalysisMethod
from seedvideo.inference import FrameSet, ModelInput
from seedvideo.media.types import Frame
from seedvideo.model.backends.base import Backend, TokenCosts
from seedvideo.model_tasks import Task, make_task
from seedvideo.pipeline import clip_window, prepare
from seedvideo.records import MediaRecord, PlanRecord, QualityRecord, Record
from seedvideo.sampler.analysis import Analysis
from seedvideo.sampler.contact_sheet import small_contact_sheet
from seedvideo.utils.timecode import Span
from seedvideo.video import Video, open


@dataclass(frozen=True, kw_only=True)
class Entrypoints:
    """Functions that the processes call, each as ``module:function``.

    Args:
        prepare: prepares one item, as `prepare_item` does.
        run: runs the task of one item, as `run_item` does.
        prices: returns the `TokenCosts` of a model by its name and options.
        load: returns the `Backend` of a model by its name and options.
    """

    prepare: str = "seedvideo.batch.execution:prepare_item"
    run: str = "seedvideo.batch.execution:run_item"
    prices: str = "seedvideo.model:load_costs"
    load: str = "seedvideo.model:load"


DEFAULT_ENTRYPOINTS: Final = Entrypoints()

MAX_SHEET_BYTES: Final = 60_000
"""Maximum size of a contact sheet in the journal; one of pure noise may exceed it."""


@dataclass(frozen=True, kw_only=True)
class PreparedItem:
    """A clip that passed the filters and is ready for a model.

    Args:
        prepared: input of the model.
        sheet: contact sheet as a JPEG; empty if the job keeps none.
        signature: signature of the frames; None unless near-duplicates are left out.
    """

    prepared: ModelInput
    sheet: bytes = b""
    signature: Signature | None = None


def prepare_item(job: Job, item: Item, prices: TokenCosts) -> PreparedItem | Rejection:
    """Open, filter, plan and decode one clip.

    Raises:
        SeedVideoError: as `seedvideo.pipeline.prepare` does.
    """
    task = make_item_task(job, item)
    with open_clip(job, item) as clip:
        sampling = job.sampling_for(item)
        window = clip_window(clip, sampling)
        rejection = check_metadata(clip, window, job.filters)
        if rejection is not None:
            return rejection
        rejection = check_frames(clip, window, job.filters)
        if rejection is not None:
            return rejection
        signature = compute_signature(clip, window) if job.filters.drops_near else None
        prepared = prepare(
            clip,
            model=prices,
            dense=task.dense,
            sampling=sampling,
        )
    sheet = b""
    if job.sheets:
        sheet = small_contact_sheet(prepared.frame_sets[0].frames, max_bytes=MAX_SHEET_BYTES)
    return PreparedItem(
        prepared=prepared,
        sheet=sheet,
        signature=signature,
    )


def run_item(job: Job, item: Item, prepared: ModelInput, model: Backend) -> Record:
    """Run the task of one clip.

    Raises:
        SeedVideoError: if the model gives no usable answer.
    """
    return make_item_task(job, item).run(prepared, model)


def make_item_task(job: Job, item: Item) -> Task:
    """Make the task of an item, whose own words override those of the job.

    Raises:
        AskError: if there is no question, or its options cannot be chosen from.
        GroundError: if there is no query.
    """
    return make_task(
        job.task,
        question=item.question or job.question,
        options=item.options or job.options,
        query=item.query or job.query,
        top=job.top,
        thinking=job.thinking,
        prompt=job.prompt or None,
        generation=job.generation,
    )


def get_prompt(job: Job, item: Item) -> str:
    """Return the text sent with the frames, without the parts that depend on the file."""
    return make_item_task(job, item).prompt()


@contextmanager
def open_clip(job: Job, item: Item) -> Iterator[Video]:
    """Open a clip with the job's options, for one decode process.

    Consecutive clips of one file share its analysis, which covers the complete video. Windows of a
    file with a name share the open video too: opening it takes longer the longer it is. A file of
    the spool is closed, which frees its space.
    """
    started = perf_counter()
    version = file_version(item.video)
    is_same = version is not None and version == _last.version
    if not (is_same and _last.options == _open_options(job, item)):
        _last.close()
    clip = _last.clip
    if clip is None:
        clip = open(
            item.video,
            decoder=job.decoder,
            source_fps=None if job.source_fps is None else Fraction(str(job.source_fps)),
            workers=1,
            remote=job.remote,
        )
        if version is not None and version == file_version(item.video):
            if not is_same:
                _last.version, _last.analyses = version, {}
            clip.share_analyses(_last.analyses)
            _last.clip, _last.options = clip, _open_options(job, item)
    clip.open_s = perf_counter() - started
    is_kept = False
    try:
        yield clip
        is_kept = clip is _last.clip and item.located is None and item.has_window
    finally:
        if not is_kept:
            _last.close()
            clip.close()


def _open_options(job: Job, item: Item) -> tuple[object, ...]:
    return item.source, job.decoder, job.source_fps


@dataclass
class _LastFile:
    """The last file that this process opened.

    Args:
        version: identifies its content; None if it was not stable.
        analyses: its analyses, by method.
        options: what it was opened with.
        clip: the open video; None if it is closed.
    """

    version: FileVersion | None = None
    analyses: dict[AnalysisMethod, Analysis] = field(default_factory=dict)
    options: tuple[object, ...] = ()
    clip: Video | None = None

    def close(self) -> None:
        """Close the video; its analyses are kept."""
        if self.clip is not None:
            self.clip.close()
            self.clip = None


_last: Final = _LastFile()


def import_string(path: str) -> Any:
    """Import the function named by ``module:function``."""
    module, _, function = path.partition(":")
    return getattr(importlib.import_module(module), function)


_LENGTH: Final = struct.Struct(">Q")


def to_memfd(prepared: ModelInput, *, sheet: bytes = b"") -> int:
    """Write a prepared clip to a new anonymous file.

    Returns:
        Its descriptor, which the caller must close.

    Raises:
        OSError: if there is not enough space.
    """
    header = {
        "source": prepared.source,
        "media": prepared.media.model_dump(mode="json"),
        "quality": prepared.quality.model_dump(mode="json"),
        "plan": prepared.plan.model_dump(mode="json"),
        "spent_s": dict(prepared.spent_s),
        "frame_sets": [_frame_set_to_dict(each) for each in prepared.frame_sets],
        "sheet_bytes": len(sheet),
    }
    text = json.dumps(header, ensure_ascii=True, allow_nan=False).encode("ascii")
    descriptor = _anonymous_file()
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            for part in (_LENGTH.pack(len(text)), text, sheet):
                file.write(part)
            for each in prepared.frame_sets:
                for frame in _all_frames(each):
                    file.write(np.ascontiguousarray(frame.pixels).data)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@dataclass(frozen=True)
class SharedFrames:
    """A prepared clip read from an anonymous file.

    Args:
        prepared: input of the model; its pixels are read-only and stay in the file.
        sheet: contact sheet; empty if there is none.
    """

    prepared: ModelInput
    sheet: bytes


def from_memfd(descriptor: int) -> SharedFrames:
    """Read a file that `to_memfd` wrote; the descriptor may be closed afterwards.

    Raises:
        ValueError: if the content is anything else.
    """
    data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    header, offset = _read_header(data)
    sheet = bytes(data[offset : offset + header["sheet_bytes"]])
    offset += header["sheet_bytes"]
    frame_sets = []
    for values in header["frame_sets"]:
        frames: list[Frame] = []
        for time, height_px, width_px in values["frames"]:
            count = height_px * width_px * 3
            pixels = np.frombuffer(data, np.uint8, count, offset)
            frames.append(Frame(Fraction(time), pixels.reshape(height_px, width_px, 3)))
            offset += count
        start, end = map(Fraction, values["window"])
        bounds = tuple(map(Fraction, values["bounds"]))
        kept, partners = _separate_partners(frames, values["partner_of"])
        frame_sets.append(
            FrameSet(kept, Span(start, end), Fraction(values["duration"]), bounds, partners)
        )
    prepared = ModelInput(
        source=header["source"],
        media=MediaRecord.model_validate(header["media"]),
        quality=QualityRecord.model_validate(header["quality"]),
        plan=PlanRecord.model_validate(header["plan"]),
        frame_sets=tuple(frame_sets),
        spent_s=header["spent_s"],
    )
    return SharedFrames(prepared, sheet)


def read_contact_sheet(descriptor: int) -> bytes | None:
    """Return only the contact sheet; None if there is none."""
    length = _LENGTH.unpack(os.pread(descriptor, _LENGTH.size, 0))[0]
    header = json.loads(os.pread(descriptor, length, _LENGTH.size))
    return os.pread(descriptor, header["sheet_bytes"], _LENGTH.size + length) or None


def _read_header(data: mmap.mmap) -> tuple[dict[str, Any], int]:
    start = _LENGTH.size
    length = _LENGTH.unpack(data[:start])[0]
    return json.loads(data[start : start + length]), start + length


def _frame_set_to_dict(frame_set: FrameSet) -> dict[str, Any]:
    window = frame_set.window
    return {
        "window": [str(window.start), str(window.end)],
        "duration": str(frame_set.duration),
        "bounds": [str(bound) for bound in frame_set.bounds],
        "frames": [
            [str(f.pts), f.pixels.shape[0], f.pixels.shape[1]] for f in _all_frames(frame_set)
        ],
        "partner_of": [
            index for index, partner in enumerate(frame_set.partners) if partner is not None
        ],
    }


def _all_frames(frame_set: FrameSet) -> list[Frame]:
    """Return the frames, then the partners."""
    return [*frame_set.frames, *(each for each in frame_set.partners if each is not None)]


def _separate_partners(
    frames: list[Frame], partner_of: list[int]
) -> tuple[list[Frame], tuple[Frame | None, ...]]:
    """Separate frames and partners again.

    Args:
        frames: as `_all_frames` returns them.
        partner_of: index of the frame that each partner belongs to.
    """
    if not partner_of:
        return frames, ()
    kept = frames[: len(frames) - len(partner_of)]
    partners: list[Frame | None] = [None] * len(kept)
    for index, partner in zip(partner_of, frames[len(kept) :], strict=True):
        partners[index] = partner
    return kept, tuple(partners)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("seedvideo")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
