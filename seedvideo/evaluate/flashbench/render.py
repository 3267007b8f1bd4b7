"""Rendering of flashbench items to MP4 files, with cached GOPs and a check of legibility.

Most of a long calm video repeats itself. Each backdrop is painted and encoded only a few times, and
its packets are written wherever the script repeats it; every loop with an event is encoded on its
own. The result is an ordinary H.264 file in MP4: each GOP starts with a keyframe and refers to
nothing outside, so a decoder sees no seam. Twenty minutes cost the encoding of about two.

Every code must be legible at full size in the decoded file, otherwise the events are drawn again:
without visible ground truth a benchmark measures nothing. Times are exact seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from seedvideo.evaluate.flashbench.codes import REFERENCE_HEIGHT_PX, Luma, template_match
from seedvideo.evaluate.flashbench.mixture_scenes import paint_shots
from seedvideo.evaluate.flashbench.scenes import BackdropLoop, Canvas, Script, ShotList, paint
from seedvideo.evaluate.flashbench.spec import BenchmarkItem, DifficultyConfig, Event, TaskId
from seedvideo.evaluate.flashbench.tasks import make_script
from seedvideo.media.reader import open_video
from seedvideo.media.types import Target

_CODEC: Final = "libx264"
_PRESET: Final = "veryfast"


@dataclass(frozen=True)
class EncodedFrame:
    """One encoded frame of a GOP: its bytes, and its index in presentation order."""

    data: bytes
    index: int
    is_keyframe: bool


class GopCache:
    """Encoded GOPs for reuse by videos that share backdrops.

    Args:
        max_gops: maximum number of cached GOPs; the oldest one is evicted first.

    Attributes:
        encoded_frames: number of frames that were painted and encoded, not taken from the cache.
    """

    def __init__(self, *, max_gops: int = 64) -> None:
        self._max_gops = max_gops
        self._cached: dict[object, tuple[EncodedFrame, ...]] = {}
        self.encoded_frames = 0

    def get(
        self, script: Script, loop: BackdropLoop, difficulty: DifficultyConfig
    ) -> tuple[EncodedFrame, ...]:
        """Return the encoded frames of a loop, in coding order."""
        canvas = Canvas(loop.frames, difficulty.width_px, difficulty.height_px)
        # Indices in the list of overlays are valid within one script only.
        last = loop.first + loop.frames
        drawn = tuple(
            (i, max(each.first - loop.first, 0), each.stop >= last and not any(each.drift_px))
            for i, each in script.overlays_of(loop)
        )
        coding = (difficulty.fps, difficulty.crf, difficulty.gop_frames, difficulty.b_frames)
        key = (loop.scene, loop.variant, canvas, coding, drawn)
        if key in self._cached:
            return self._cached[key]
        encoded = self._encode(script, loop, canvas, difficulty)
        if all(first == 0 and stays for _, first, stays in drawn):
            while len(self._cached) >= self._max_gops:
                del self._cached[next(iter(self._cached))]
            self._cached[key] = encoded
        return encoded

    def evict_overlays(self) -> None:
        """Evict GOPs with overlays; call it when a script is done."""
        self._cached = {key: gop for key, gop in self._cached.items() if not _has_overlays(key)}

    def _encode(
        self, script: Script, loop: BackdropLoop, canvas: Canvas, difficulty: DifficultyConfig
    ) -> tuple[EncodedFrame, ...]:
        codec = av.CodecContext.create(_CODEC, "w")
        assert isinstance(codec, VideoCodecContext)
        _configure(codec, difficulty)
        packets = []
        overlays = script.overlays_of(loop)
        pictures = (
            paint_shots(loop.scene, canvas, variant=loop.variant)
            if isinstance(loop.scene, ShotList)
            else paint(loop.scene, canvas, variant=loop.variant)
        )
        for i, picture in enumerate(pictures):
            number = loop.first + i
            for _, overlay in overlays:
                if overlay.first <= number < overlay.stop:
                    overlay.draw(picture, number)
            frame = VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = i, 1 / difficulty.fps
            packets += codec.encode(frame)
        packets += codec.encode()
        self.encoded_frames += canvas.frames
        encoded = []
        for packet in packets:
            assert packet.pts is not None
            encoded.append(EncodedFrame(bytes(packet), packet.pts, packet.is_keyframe))
        return tuple(encoded)


def write_video(
    path: Path, script: Script, difficulty: DifficultyConfig, *, gop_cache: GopCache | None = None
) -> None:
    """Write a script as an MP4 file.

    Args:
        path: the file.
        script: backdrops and overlays.
        difficulty: size, rate and quality.
        gop_cache: cache to read from and to add to.
    """
    gop_cache = GopCache() if gop_cache is None else gop_cache
    # A time base in which every frame time is a whole number.
    time_base = Fraction(1, difficulty.fps.numerator * 16)
    # In coding order, frame i is presented no earlier than the i-th time minus the reordering.
    lag = round(4 * (difficulty.b_frames + 1) / difficulty.fps / time_base)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(_CODEC, rate=difficulty.fps)
        _configure(stream.codec_context, difficulty)
        stream.time_base = time_base
        for loop in script.loops:
            start = script.times[loop.first]
            for order, frame in enumerate(gop_cache.get(script, loop, difficulty)):
                packet = av.Packet(frame.data)
                packet.stream = stream
                packet.time_base = time_base
                packet.pts = round((start + frame.index * loop.step) / time_base)
                packet.dts = round((start + order * loop.step) / time_base) - lag
                packet.duration = round(loop.step / time_base)
                packet.is_keyframe = frame.is_keyframe
                container.mux(packet)
    gop_cache.evict_overlays()


def _has_overlays(key: object) -> bool:
    return isinstance(key, tuple) and bool(key[-1])


def _configure(codec: VideoCodecContext, difficulty: DifficultyConfig) -> None:
    codec.width, codec.height, codec.pix_fmt = difficulty.width_px, difficulty.height_px, "yuv420p"
    codec.time_base, codec.framerate = 1 / difficulty.fps, difficulty.fps
    # One thread: x264's result depends on their number.
    codec.thread_count = 1
    codec.flags |= Flags.global_header
    codec.options = {
        "preset": _PRESET,
        "crf": str(difficulty.crf),
        "g": str(difficulty.gop_frames),
        "bf": str(difficulty.b_frames),
    }


_MAX_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class GeneratedVideo:
    """An item and its file.

    Args:
        item: the ground truth.
        path: the video.
        attempts: number of draws until every code was legible.
    """

    item: BenchmarkItem
    path: Path
    attempts: int


def generate(
    task: TaskId,
    seed: int,
    folder: Path,
    *,
    difficulty: DifficultyConfig,
    gop_cache: GopCache | None = None,
) -> GeneratedVideo:
    """Make the video of one item of a task in a folder.

    Args:
        task: a name in `TASKS`.
        seed: seed of everything that the difficulty leaves open.
        folder: folder of the file ``NAME.mp4``.
        difficulty: settings of the video.
        gop_cache: cache that videos of the same seed use together.

    Raises:
        RuntimeError: if codes are still illegible at full size after several draws.
    """
    return generate_drawn(
        lambda attempt: make_script(task, seed, difficulty, attempt=attempt),
        folder,
        gop_cache=gop_cache,
    )


def generate_drawn(
    draw: Callable[[int], tuple[BenchmarkItem, Script]],
    folder: Path,
    *,
    gop_cache: GopCache | None = None,
) -> GeneratedVideo:
    """Draw an item until its codes are legible, and make its video in a folder.

    Args:
        draw: from the number of the draw, counted from 0, to ground truth and script.
        folder: folder of the file ``NAME.mp4``.
        gop_cache: cache that videos of the same seed use together.

    Raises:
        RuntimeError: if codes are still illegible at full size after several draws.
    """
    for attempt in range(_MAX_ATTEMPTS):
        item, script = draw(attempt)
        path = folder / f"{item.name}.mp4"
        write_video(path, script, item.difficulty, gop_cache=gop_cache)
        if not find_illegible(item, path):
            return GeneratedVideo(item, path, attempt + 1)
    raise RuntimeError(f"{item.name}: codes can't be read at full size after {_MAX_ATTEMPTS} draws")


def find_illegible(item: BenchmarkItem, path: Path) -> tuple[Event, ...]:
    """Return the events whose code template matching cannot read in full-size decoded frames."""
    asked = _distinct_plates([event for event in item.events if event.kind in ("code", "moment")])
    if not asked:
        return ()
    difficulty = item.difficulty
    moments = sorted(((middle(event), event) for event in asked), key=lambda pair: pair[0])
    failed = []
    with open_video(path) as reader:
        targets = [
            Target(pts=moment, width_px=difficulty.width_px, height_px=difficulty.height_px)
            for moment, _ in moments
        ]
        for frame, (_, event) in zip(reader.frames(targets), moments, strict=True):
            luma = _luma(frame.pixels)
            left, top, wide, high = box_at(event, frame.pts, item.difficulty.fps)
            cap_px = (event.cap_height_px or 0) * difficulty.height_px / REFERENCE_HEIGHT_PX
            text = template_match(
                luma[top : top + high, left : left + wide],
                length=len(event.answer),
                cap_px=cap_px,
            )
            if text != event.answer:
                failed.append(event)
    return tuple(failed)


def middle(event: Event) -> Fraction:
    """Return the time halfway through an event."""
    return (event.start + event.end) / 2


def box_at(event: Event, pts: Fraction, fps: Fraction) -> tuple[int, int, int, int]:
    """Return an event's box in one of its own frames: left, top, width, height in pixels.

    Args:
        event: the event.
        pts: time of the frame, in seconds.
        fps: frame rate of the video.

    Raises:
        ValueError: if the event has no box.
    """
    if event.box is None:
        raise ValueError("the event has no box, expected one with a position in the picture")
    left, top, wide, high = event.box
    frames = round((pts - event.start) * fps) if any(event.drift_px) else 0
    return left + frames * event.drift_px[0], top + frames * event.drift_px[1], wide, high


def _distinct_plates(events: list[Event]) -> list[Event]:
    """Drop events with the same code at the same position as another one."""
    kept: dict[tuple[str, tuple[int, int, int, int] | None, bool], Event] = {}
    for event in events:
        kept.setdefault((event.answer, event.box, event.kind == "moment"), event)
    return list(kept.values())


def _luma(pixels: npt.NDArray[np.uint8]) -> Luma:
    """Return the brightness of an RGB picture."""
    weights = np.array([0.299, 0.587, 0.114])
    luma: Luma = np.rint(pixels @ weights).astype(np.uint8)
    return luma
