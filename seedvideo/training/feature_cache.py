"""Frames that the frozen encoder has seen once, so that a decoder can train on them many times.

    scenes    one background each, with several events of the synthetic world on it: a quiet frame
              and frames of every event, at one or several sizes
    photos    views of captioned photos, as the slides of slideshows

The encoder does not change while the answer branch trains, so its tokens are kept instead of
pixels: about 20 KB a frame. Any story whose events lie in one scene can be told from them.

Notation used for tensor shapes:
    n: frames of one size; k: visual tokens of a frame; d: width of the encoder
    c: values of a token's thumbnail; t: tokens of some frames

Filling a bank: scenes and photos are shown to the encoder.

Scenes are drawn by as many processes as there are; the encoder sees them where the model is.

Notation used for tensor shapes:
    n: frames of one size; k: visual tokens of a frame; d: width of the encoder
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from seedvideo.evaluate.synthetic.world import ColouredShape, Event
from seedvideo.model.seedvl import SeedVL
from seedvideo.model.vision_encoder import scaled, thumbnails
from seedvideo.training.answer_data import Drawn, FrameId, Pixels, Scene, SceneEvent, Scenes
from seedvideo.training.data import Pictures
from seedvideo.utils.timecode import Span

_MOMENT = Span(Fraction(0), Fraction(1))

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Slide:
    """One photo.

    Args:
        photo: its place in the list of photos.
        views: frames that show it, and whether each is mirrored.
    """

    photo: int
    views: tuple[tuple[FrameId, bool], ...]


@dataclass(frozen=True)
class Bank:
    """Seen frames, and what they show.

    Args:
        tokens: for each size ``(n, k, d)`` float16.
        thumbs: for each size ``(n, k, c)`` uint8.
        scenes: of the synthetic world.
        slides: photos.
    """

    tokens: dict[Size, Tensor]
    thumbs: dict[Size, Tensor]
    scenes: tuple[Scene, ...]
    slides: tuple[Slide, ...]

    def look(self, frame: FrameId) -> tuple[Tensor, Tensor]:
        """Tokens ``(k, d)`` and thumbnails ``(k, c)`` of one frame."""
        size, row = frame[:2], frame[2]
        return self.tokens[size][row], self.thumbs[size][row]

    def layout(self) -> "Layout":
        """Where each frame lies if all are put end to end."""
        starts, counts, start = {}, {}, 0
        for size, values in self.tokens.items():
            starts[size], counts[size] = start, values.shape[1]
            start += values.shape[0] * values.shape[1]
        return Layout(starts, counts)

    def save(self, path: Path) -> None:
        """Write everything to one file."""
        tensors: dict[str, Tensor] = {}
        for (height, width), values in self.tokens.items():
            tensors[f"tokens/{height}x{width}"] = values
            tensors[f"thumbs/{height}x{width}"] = self.thumbs[height, width]
        told = {
            "scenes": [_scene_json(scene) for scene in self.scenes],
            "slides": [[slide.photo, slide.views] for slide in self.slides],
        }
        save_file(tensors, path, metadata={"told": json.dumps(told)})

    @classmethod
    def load(cls, path: Path) -> "Bank":
        """Inverse of `save`."""
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()["told"])
        kinds: dict[str, dict[Size, Tensor]] = {"tokens": {}, "thumbs": {}}
        for name, value in load_file(path).items():
            kind, size = name.split("/")
            height, width = size.split("x")
            kinds[kind][int(height), int(width)] = value
        return cls(
            tokens=kinds["tokens"],
            thumbs=kinds["thumbs"],
            scenes=tuple(_scene(values) for values in told["scenes"]),
            slides=tuple(
                Slide(photo, tuple((_frame(frame), flag) for frame, flag in views))
                for photo, views in told["slides"]
            ),
        )


@dataclass(frozen=True)
class Layout:
    """Where the tokens of each frame lie on a `Shelf`.

    Args:
        starts: first place of the frames of each size.
        counts: tokens of a frame of each size.
    """

    starts: dict[Size, int]
    counts: dict[Size, int]

    def places(self, frames: Sequence[FrameId]) -> Tensor:
        """Where the tokens of some frames are, in order: ``(t,)``."""
        parts = []
        for frame in frames:
            size, row = frame[:2], frame[2]
            start = self.starts[size] + row * self.counts[size]
            parts.append(torch.arange(start, start + self.counts[size]))
        return torch.cat(parts)


class Shelf:
    """A bank's frames end to end on one device, to be read at any places in one go.

    Args:
        bank: what it holds.
        device: where.
    """

    def __init__(self, bank: Bank, device: torch.device):
        self.device = device
        self.layout = bank.layout()
        self._tokens = torch.cat([each.flatten(0, 1).to(device) for each in bank.tokens.values()])
        thumbs = [bank.thumbs[size].flatten(0, 1).to(device) for size in bank.tokens]
        self._thumbs = torch.cat(thumbs)

    def read(self, places: Tensor) -> Tensor:
        """What the adapter reads of tokens at ``(t,)`` places: ``(t, d + c)`` float32."""
        places = places.to(self.device)
        return torch.cat((self._tokens[places].float(), scaled(self._thumbs[places])), dim=1)


def _scene_json(scene: Scene) -> dict[str, Any]:
    events = [
        {
            "thing": [each.event.thing.colour, each.event.thing.shape],
            "motion": each.event.motion,
            "place": each.event.position,
            "count": each.event.count,
            "size": each.event.size,
            "shift": each.event.shift,
            "frames": each.frames,
        }
        for each in scene.events
    ]
    return {"quiet": scene.quiet, "events": events}


def _scene(values: dict[str, Any]) -> Scene:
    events = []
    for told in values["events"]:
        event = Event(
            thing=ColouredShape(*told["thing"]),
            motion=told["motion"],
            position=told["place"],
            count=told["count"],
            size=told["size"],
            shift=tuple(told["shift"]),
            span=_MOMENT,
        )
        frames = tuple(tuple(_frame(frame) for frame in group) for group in told["frames"])
        events.append(SceneEvent(event, frames))
    return Scene(tuple(_frame(frame) for frame in values["quiet"]), tuple(events))


def _frame(values: Sequence[int]) -> FrameId:
    height, width, row = values
    return height, width, row


def joined(banks: Sequence[Bank]) -> Bank:
    """Several banks as one; photos that are in several have the views of all."""
    sizes = sorted({size for bank in banks for size in bank.tokens})
    counts = dict.fromkeys(sizes, 0)
    scenes: list[Scene] = []
    views: dict[int, list[tuple[FrameId, bool]]] = {}
    for bank in banks:
        scenes += [scene.moved(counts) for scene in bank.scenes]
        for slide in bank.slides:
            views.setdefault(slide.photo, []).extend(
                ((frame[0], frame[1], frame[2] + counts[frame[:2]]), flag)
                for frame, flag in slide.views
            )
        for size, values in bank.tokens.items():
            counts[size] += len(values)
    return Bank(
        tokens={s: torch.cat([b.tokens[s] for b in banks if s in b.tokens]) for s in sizes},
        thumbs={s: torch.cat([b.thumbs[s] for b in banks if s in b.thumbs]) for s in sizes},
        scenes=tuple(scenes),
        slides=tuple(Slide(photo, tuple(each)) for photo, each in sorted(views.items())),
    )


SLIDE_SIZES: tuple[Size, ...] = (
    (256, 256),
    (192, 320),
    (256, 320),
    (256, 448),
    (256, 256),
    (192, 256),
    (320, 512),
    (384, 256),
)
"""Heights and widths at which photos are seen."""

_BATCH = {"cpu": 32, "cuda": 192}
_PHOTOS_AT_ONCE = 32


class Seer:
    """Collects frames by size and passes them through the encoder in batches.

    Args:
        model: whose encoder sees.
    """

    def __init__(self, model: SeedVL):
        self._model = model
        self._device = next(model.parameters()).device
        self._batch = _BATCH[self._device.type]
        self._waiting: dict[Size, list[Tensor]] = {}
        self._counts: dict[Size, int] = {}
        self._tokens: dict[Size, list[Tensor]] = {}
        self._thumbs: dict[Size, list[Tensor]] = {}

    def add(self, pictures: Tensor) -> int:
        """Take ``(n, h, w, 3)`` uint8 frames; they are seen by the time of `finish`.

        Returns:
            The row of the first among the frames of its size.
        """
        size = (pictures.shape[1], pictures.shape[2])
        first = self._counts.get(size, 0)
        self._counts[size] = first + len(pictures)
        waiting = self._waiting.setdefault(size, [])
        waiting.append(pictures.to(self._device))
        if sum(map(len, waiting)) >= self._batch:
            together = torch.cat(waiting)
            whole = len(together) // self._batch * self._batch
            for group in together[:whole].split(self._batch):
                self._see(size, group)
            self._waiting[size] = [together[whole:]] if whole < len(together) else []
        return first

    def finish(self) -> tuple[dict[Size, Tensor], dict[Size, Tensor]]:
        """Tokens ``(n, k, d)`` and thumbnails of all frames, by size."""
        for size, waiting in self._waiting.items():
            if waiting:
                self._see(size, torch.cat(waiting))
        self._waiting = {}
        tokens = {size: torch.cat(parts) for size, parts in self._tokens.items()}
        return tokens, {size: torch.cat(parts) for size, parts in self._thumbs.items()}

    @torch.inference_mode()
    def _see(self, size: Size, frames: Tensor) -> None:
        vit = self._model.vit
        with torch.autocast(self._device.type, torch.bfloat16):
            patches = vit.patches(frames).flatten(0, 1)
            tokens = vit.encode(patches, [vit.grid(*size)] * len(frames))
        tokens = tokens.view(len(frames), -1, tokens.shape[-1])
        self._tokens.setdefault(size, []).append(tokens.to("cpu", torch.float16))
        seen = thumbnails(frames, self._model.config.token_px)
        self._thumbs.setdefault(size, []).append(seen.cpu())


def make_bank(
    model: SeedVL,
    photos: Sequence[Pixels],
    *,
    scenes: int,
    views: int,
    seed: int,
    among: Sequence[ColouredShape],
    moves: bool = True,
    workers: int = 0,
    progress: Callable[[str], None],
) -> Bank:
    """Draw scenes and photos, and see them.

    Args:
        model: whose encoder sees.
        photos: pictures; some scenes have one as their background.
        scenes: how many.
        views: of each photo as a slide.
        seed: start of all randomness.
        among: things that scenes may hold.
        moves: as for `Scenes`.
        workers: processes that draw; none to draw in this one.
        progress: is told now and then how far it is.
    """
    seer = Seer(model)
    dataset = Scenes(photos, count=scenes, seed=seed, moves=moves, among=among)
    made: list[Scene] = []
    drawn: Drawn
    for drawn in DataLoader(dataset, batch_size=None, num_workers=workers):
        firsts = {size: seer.add(pictures) for size, pictures in drawn.pictures.items()}
        made.append(drawn.scene.moved(firsts))
        if len(made) % 50 == 0:
            progress(f"{len(made)} of {scenes} scenes")
    slides: list[list[tuple[FrameId, bool]]] = [[] for _ in photos]
    device = next(model.parameters()).device
    pictures = Pictures(photos, device) if views else None
    rng = np.random.default_rng([seed, 6])
    for view in range(views):
        size = SLIDE_SIZES[view % len(SLIDE_SIZES)]
        for first in range(0, len(photos), _PHOTOS_AT_ONCE):
            group = range(first, min(first + _PHOTOS_AT_ONCE, len(photos)))
            flips = (rng.random(len(group)) < 0.5).tolist()
            assert pictures is not None
            row = seer.add(pictures.look(list(group), flips, size, rng))
            for photo, flip in zip(group, flips, strict=True):
                slides[photo].append(((*size, row), flip))
                row += 1
        progress(f"{view + 1} of {views} views of {len(photos)} photos")
    tokens, thumbs = seer.finish()
    return Bank(
        tokens, thumbs, tuple(made), tuple(Slide(p, tuple(v)) for p, v in enumerate(slides) if v)
    )
