"""From a script to a real file: groups of pictures encoded once each and joined in a container.

Most of a long calm video looks like the rest of it. Each backdrop is painted and encoded a few
times only, and its packets are written wherever the script shows it; every stretch with an event
is painted and encoded on its own. The result is an ordinary H.264 file in MP4: each group starts
with a keyframe and refers to nothing outside, so a decoder sees no seam. Twenty minutes cost the
encoding of about two. Times are exact.

One item as a file: painted, encoded, and checked to be legible before it counts.

Every code must be readable at full size in the decoded file, else the events are drawn anew: a
benchmark whose truth can't be seen measures nothing. Times are exact seconds.
"""

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

from seedvideo.evaluate.flashbench.codes import REFERENCE_HEIGHT_PX, Luma, ideal_reading
from seedvideo.evaluate.flashbench.scenes import Canvas, Part, Script, paint
from seedvideo.evaluate.flashbench.spec import Event, Item, Knobs, TaskId
from seedvideo.evaluate.flashbench.tasks import make_script
from seedvideo.media.reader import open_video
from seedvideo.media.types import Target

_CODEC: Final = "libx264"
_PRESET: Final = "veryfast"


@dataclass(frozen=True)
class Piece:
    """One coded frame of a group: its bytes and its place in the order of showing."""

    data: bytes
    place: int
    is_keyframe: bool


class Groups:
    """Coded groups of pictures that may be needed again, for videos that share backdrops.

    Args:
        most: groups to keep; the oldest is forgotten first.
    """

    def __init__(self, *, most: int = 64) -> None:
        self._most = most
        self._kept: dict[object, tuple[Piece, ...]] = {}
        self.encoded_frames = 0
        """Frames that were really painted and encoded, for telling what was saved."""

    def get(self, script: Script, part: Part, knobs: Knobs) -> tuple[Piece, ...]:
        """The coded frames of a part, in coding order."""
        canvas = Canvas(part.frames, knobs.width_px, knobs.height_px)
        # Places in the list of overlays mean something within one script only.
        last = part.first + part.frames
        drawn = tuple(
            (place, max(each.first - part.first, 0), each.stop >= last and not any(each.drift_px))
            for place, each in script.over(part)
        )
        look = (knobs.fps, knobs.crf, knobs.gop_frames, knobs.b_frames)
        key = (part.scene, part.variant, canvas, look, drawn)
        if key in self._kept:
            return self._kept[key]
        pieces = self._encode(script, part, canvas, knobs)
        if all(first == 0 and stays for _, first, stays in drawn):
            while len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = pieces
        return pieces

    def forget_overlays(self) -> None:
        """Forget groups with something on top; call when a script is done."""
        self._kept = {key: kept for key, kept in self._kept.items() if not _drawn(key)}

    def _encode(
        self, script: Script, part: Part, canvas: Canvas, knobs: Knobs
    ) -> tuple[Piece, ...]:
        codec = av.CodecContext.create(_CODEC, "w")
        assert isinstance(codec, VideoCodecContext)
        _configure(codec, knobs)
        packets = []
        over = script.over(part)
        for place, picture in enumerate(paint(part.scene, canvas, variant=part.variant)):
            number = part.first + place
            for _, overlay in over:
                if overlay.first <= number < overlay.stop:
                    overlay.draw(picture, number)
            frame = VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = place, 1 / knobs.fps
            packets += codec.encode(frame)
        packets += codec.encode()
        self.encoded_frames += canvas.frames
        pieces = []
        for packet in packets:
            assert packet.pts is not None
            pieces.append(Piece(bytes(packet), packet.pts, packet.is_keyframe))
        return tuple(pieces)


def write_video(path: Path, script: Script, knobs: Knobs, *, groups: Groups | None = None) -> None:
    """Write a script as an MP4 file.

    Args:
        path: of the file.
        script: what it shows.
        knobs: size, rate and quality.
        groups: coded groups to use and to add to.
    """
    groups = Groups() if groups is None else groups
    # A time base in which every frame time is a whole number.
    time_base = Fraction(1, knobs.fps.numerator * 16)
    # In coding order, frame i is shown no earlier than the i-th time minus the reordering.
    lag = round(4 * (knobs.b_frames + 1) / knobs.fps / time_base)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(_CODEC, rate=knobs.fps)
        _configure(stream.codec_context, knobs)
        stream.time_base = time_base
        for part in script.parts:
            start = script.times[part.first]
            for order, piece in enumerate(groups.get(script, part, knobs)):
                packet = av.Packet(piece.data)
                packet.stream = stream
                packet.time_base = time_base
                packet.pts = round((start + piece.place * part.step) / time_base)
                packet.dts = round((start + order * part.step) / time_base) - lag
                packet.duration = round(part.step / time_base)
                packet.is_keyframe = piece.is_keyframe
                container.mux(packet)
    groups.forget_overlays()


def _drawn(key: object) -> bool:
    return isinstance(key, tuple) and bool(key[-1])


def _configure(codec: VideoCodecContext, knobs: Knobs) -> None:
    codec.width, codec.height, codec.pix_fmt = knobs.width_px, knobs.height_px, "yuv420p"
    codec.time_base, codec.framerate = 1 / knobs.fps, knobs.fps
    # One thread: x264's result depends on their number.
    codec.thread_count = 1
    codec.flags |= Flags.global_header
    codec.options = {
        "preset": _PRESET,
        "crf": str(knobs.crf),
        "g": str(knobs.gop_frames),
        "bf": str(knobs.b_frames),
    }


_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class Made:
    """An item and its file.

    Args:
        item: the truth.
        path: the video.
        attempts: draws that it took until everything could be read.
    """

    item: Item
    path: Path
    attempts: int


def generate(
    task: TaskId,
    seed: int,
    folder: Path,
    *,
    knobs: Knobs,
    groups: Groups | None = None,
) -> Made:
    """Make the video of one item in a folder.

    Args:
        task: which task.
        seed: decides everything that the knobs leave open.
        folder: where the file goes, as ``NAME.mp4``.
        knobs: how hard it is.
        groups: coded groups to share with videos of the same seed.

    Raises:
        RuntimeError: if after several draws there still are codes that can't be read at full size.
    """
    for attempt in range(_ATTEMPTS):
        item, script = make_script(task, seed, knobs, attempt=attempt)
        path = folder / f"{item.name}.mp4"
        write_video(path, script, knobs, groups=groups)
        if not unreadable(item, path):
            return Made(item, path, attempt + 1)
    raise RuntimeError(f"{item.name}: codes can't be read at full size after {_ATTEMPTS} draws")


def unreadable(item: Item, path: Path) -> tuple[Event, ...]:
    """The events whose code the ideal reader can't read in the decoded frames of full size."""
    asked = _one_a_board([event for event in item.events if event.kind in ("code", "moment")])
    if not asked:
        return ()
    knobs = item.knobs
    moments = sorted(((middle(event), event) for event in asked), key=lambda pair: pair[0])
    failed = []
    with open_video(path) as reader:
        targets = [
            Target(pts=moment, width_px=knobs.width_px, height_px=knobs.height_px)
            for moment, _ in moments
        ]
        for frame, (_, event) in zip(reader.frames(targets), moments, strict=True):
            luma = _luma(frame.pixels)
            left, top, wide, high = box_at(event, frame.pts, item.knobs.fps)
            cap_px = (event.cap_height_px or 0) * knobs.height_px / REFERENCE_HEIGHT_PX
            seen = ideal_reading(
                luma[top : top + high, left : left + wide],
                length=len(event.answer),
                cap_px=cap_px,
            )
            if seen != event.answer:
                failed.append(event)
    return tuple(failed)


def middle(event: Event) -> Fraction:
    """A time halfway through an event; a frame's own time is the last at or before it."""
    return (event.start + event.end) / 2


def box_at(event: Event, pts: Fraction, fps: Fraction) -> tuple[int, int, int, int]:
    """Where an event lies in the frame of this time, which must be one of its own.

    Raises:
        ValueError: if the event has no place in the picture.
    """
    if event.box is None:
        raise ValueError("an event without a box lies nowhere")
    left, top, wide, high = event.box
    frames = round((pts - event.start) * fps) if any(event.drift_px) else 0
    return left + frames * event.drift_px[0], top + frames * event.drift_px[1], wide, high


def _one_a_board(events: list[Event]) -> list[Event]:
    """Events with the same code in the same place need one look only."""
    kept: dict[tuple[str, tuple[int, int, int, int] | None, bool], Event] = {}
    for event in events:
        kept.setdefault((event.answer, event.box, event.kind == "moment"), event)
    return list(kept.values())


def _luma(pixels: npt.NDArray[np.uint8]) -> Luma:
    """Brightness of an RGB picture."""
    weights = np.array([0.299, 0.587, 0.114])
    luma: Luma = np.rint(pixels @ weights).astype(np.uint8)
    return luma
