"""Frames that the frozen encoder has seen once, so that a decoder can train on them many times.

    scenes    one background each, with several events of the synthetic world on it: a quiet frame
              and frames of every event, at one or several sizes
    photos    views of captioned photos, as the slides of slideshows

The encoder does not change while the answer branch trains, so its tokens are kept instead of
pixels: about 12 KB a frame. Any story whose events lie in one scene can be told from them.

Notation used for tensor shapes:
    n: frames of one size; k: visual tokens of a frame; d: width of the encoder
    c: values of a token's thumbnail
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from seedvideo.evaluate.synthetic.picture import background, show
from seedvideo.evaluate.synthetic.story import Event, draw_event, draw_things
from seedvideo.evaluate.synthetic.things import Thing, all_things
from seedvideo.media.timeline import Span
from seedvideo.model.seedvl import SeedVL
from seedvideo.model.thumbnails import thumbnails
from seedvideo.train.views import Pictures

SIZES: tuple[tuple[int, int], ...] = ((192, 320), (256, 448), (320, 576))
"""Heights and widths at which scenes are seen: the nano model's three levels at 5:3."""

SLIDE_SIZES: tuple[tuple[int, int], ...] = ((192, 320), (256, 256), (256, 320), (192, 256))
"""Heights and widths at which photos are seen."""

PHASES = 5
"""Frames of a thing that moves."""

EVENTS = 8
"""Events of one scene; no story needs as many."""

_MOMENT = Span(Fraction(0), Fraction(1))
_BATCH = 32
_LARGER_SHARE = 0.6

Pixels = NDArray[np.uint8]
FrameId = tuple[int, int, int]
"""Height and width of a frame in pixels, and its row among the frames of that size."""


@dataclass(frozen=True)
class SceneEvent:
    """One event of a scene.

    Args:
        event: what; its span means nothing.
        frames: for each size that the scene was seen at, the frames in their order.
    """

    event: Event
    frames: tuple[tuple[FrameId, ...], ...]


@dataclass(frozen=True)
class Scene:
    """One background and what was put on it.

    Args:
        quiet: for each size that the scene was seen at, the frame without an event.
        events: all of different things.
    """

    quiet: tuple[FrameId, ...]
    events: tuple[SceneEvent, ...]


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

    tokens: dict[tuple[int, int], Tensor]
    thumbs: dict[tuple[int, int], Tensor]
    scenes: tuple[Scene, ...]
    slides: tuple[Slide, ...]

    def look(self, frame: FrameId) -> tuple[Tensor, Tensor]:
        """Tokens ``(k, d)`` and thumbnails ``(k, c)`` of one frame."""
        size, row = frame[:2], frame[2]
        return self.tokens[size][row], self.thumbs[size][row]

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
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()["told"])
        kinds: dict[str, dict[tuple[int, int], Tensor]] = {"tokens": {}, "thumbs": {}}
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


class Seer:
    """Collects frames by size and passes them through the encoder in batches.

    Args:
        model: whose encoder sees.
    """

    def __init__(self, model: SeedVL):
        self._model = model
        self._waiting: dict[tuple[int, int], list[Pixels]] = {}
        self._counts: dict[tuple[int, int], int] = {}
        self._tokens: dict[tuple[int, int], list[Tensor]] = {}
        self._thumbs: dict[tuple[int, int], list[Tensor]] = {}

    def add(self, pixels: Pixels) -> FrameId:
        """Take one ``(h, w, 3)`` frame; it is seen by the time of `finish`."""
        size = (pixels.shape[0], pixels.shape[1])
        row = self._counts.get(size, 0)
        self._counts[size] = row + 1
        waiting = self._waiting.setdefault(size, [])
        waiting.append(pixels)
        if len(waiting) == _BATCH:
            self._see(size)
        return (*size, row)

    def finish(self) -> tuple[dict[tuple[int, int], Tensor], dict[tuple[int, int], Tensor]]:
        """Tokens and thumbnails of all frames, by size."""
        for size in list(self._waiting):
            self._see(size)
        tokens = {size: torch.cat(parts) for size, parts in self._tokens.items()}
        return tokens, {size: torch.cat(parts) for size, parts in self._thumbs.items()}

    @torch.inference_mode()
    def _see(self, size: tuple[int, int]) -> None:
        waiting = self._waiting.pop(size)
        frames = torch.from_numpy(np.stack(waiting))
        vit = self._model.vit
        with torch.autocast("cpu", torch.bfloat16):
            patches = vit.patches(frames).flatten(0, 1)
            tokens = vit.encode(patches, [vit.grid(*size)] * len(frames))
        tokens = tokens.view(len(frames), -1, tokens.shape[-1])
        self._tokens.setdefault(size, []).append(tokens.to(torch.float16))
        seen = thumbnails(frames, self._model.config.token_px)
        self._thumbs.setdefault(size, []).append(seen)


def make_bank(
    model: SeedVL,
    photos: Sequence[Pixels],
    *,
    scenes: int,
    views: int,
    seed: int,
    moves: bool = True,
    among: Sequence[Thing] | None = None,
    progress: Callable[[str], None],
) -> Bank:
    """Draw scenes and photos, and see them.

    Args:
        model: whose encoder sees.
        photos: pictures; half of the scenes have one as their background.
        scenes: how many.
        views: of each photo as a slide.
        seed: start of all randomness.
        moves: whether things may move, and scenes be seen at several sizes; without, more events
            are seen in the same time.
        among: things that scenes may hold; all by default.
        progress: is told now and then how far it is.
    """
    seer = Seer(model)
    made = []
    for number in range(scenes):
        rng = np.random.default_rng([seed, number, 5])
        made.append(_draw_scene(rng, seer, photos, among or all_things(), moves=moves))
        if number % 50 == 49:
            progress(f"{number + 1} of {scenes} scenes")
    slides: list[list[tuple[FrameId, bool]]] = [[] for _ in photos]
    pictures = Pictures(photos, torch.device("cpu")) if views else None
    rng = np.random.default_rng([seed, 6])
    for view in range(views):
        size = SLIDE_SIZES[view % len(SLIDE_SIZES)]
        for first in range(0, len(photos), _BATCH):
            group = range(first, min(first + _BATCH, len(photos)))
            flips = (rng.random(len(group)) < 0.5).tolist()
            assert pictures is not None
            shown = pictures.look(list(group), flips, size, rng).numpy()
            for photo, flip, pixels in zip(group, flips, shown, strict=True):
                slides[photo].append((seer.add(np.ascontiguousarray(pixels)), flip))
        progress(f"{view + 1} of {views} views of {len(photos)} photos")
    tokens, thumbs = seer.finish()
    return Bank(
        tokens, thumbs, tuple(made), tuple(Slide(p, tuple(v)) for p, v in enumerate(slides) if v)
    )


def _draw_scene(
    rng: np.random.Generator,
    seer: Seer,
    photos: Sequence[Pixels],
    among: Sequence[Thing],
    *,
    moves: bool,
) -> Scene:
    sizes = SIZES if moves and rng.random() < _LARGER_SHARE else SIZES[:1]
    bases = _bases(rng, sizes, photos)
    events = []
    for thing in draw_things(rng, EVENTS, among=among):
        event = draw_event(rng, thing, _MOMENT, may_move=moves)
        steps = PHASES if event.motion != "still" else 1
        progress = [(step + rng.uniform(0.2, 0.8)) / steps for step in range(steps)]
        frames = tuple(
            tuple(seer.add(_worn(rng, show(base, event, share))) for share in progress)
            for base in bases
        )
        events.append(SceneEvent(event, frames))
    quiet = tuple(seer.add(_worn(rng, base)) for base in bases)
    return Scene(quiet, tuple(events))


def _bases(
    rng: np.random.Generator, sizes: Sequence[tuple[int, int]], photos: Sequence[Pixels]
) -> list[Pixels]:
    """One background at several sizes."""
    largest = sizes[-1]
    if photos and rng.random() < 0.4:
        picture = Image.fromarray(photos[int(rng.integers(len(photos)))])
    else:
        picture = Image.fromarray(background(rng, height_px=largest[0], width_px=largest[1]))
    return [np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC)) for size in sizes]


def _worn(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """A frame as compression leaves it: a little noise, and brightness that is not quite right."""
    noise = rng.standard_normal(pixels.shape[:2], dtype=np.float32)[..., None] * rng.uniform(0, 5)
    worn = pixels * rng.uniform(0.93, 1.07) + noise
    return np.clip(worn, 0, 255).astype(np.uint8)


def _scene_json(scene: Scene) -> dict[str, Any]:
    events = [
        {
            "thing": [each.event.thing.colour, each.event.thing.shape],
            "motion": each.event.motion,
            "place": each.event.place,
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
            thing=Thing(*told["thing"]),
            motion=told["motion"],
            place=told["place"],
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
    offsets: list[dict[tuple[int, int], int]] = []
    counts = dict.fromkeys(sizes, 0)
    for bank in banks:
        offsets.append(dict(counts))
        for size, values in bank.tokens.items():
            counts[size] += len(values)
    scenes: list[Scene] = []
    views: dict[int, list[tuple[FrameId, bool]]] = {}
    for bank, offset in zip(banks, offsets, strict=True):

        def moved(frame: FrameId, by: dict[tuple[int, int], int] = offset) -> FrameId:
            return (frame[0], frame[1], frame[2] + by[frame[:2]])

        for scene in bank.scenes:
            events = tuple(
                SceneEvent(each.event, tuple(tuple(map(moved, group)) for group in each.frames))
                for each in scene.events
            )
            scenes.append(Scene(tuple(map(moved, scene.quiet)), events))
        for slide in bank.slides:
            views.setdefault(slide.photo, []).extend(
                (moved(frame), flag) for frame, flag in slide.views
            )
    return Bank(
        tokens={s: torch.cat([b.tokens[s] for b in banks if s in b.tokens]) for s in sizes},
        thumbs={s: torch.cat([b.thumbs[s] for b in banks if s in b.thumbs]) for s in sizes},
        scenes=tuple(scenes),
        slides=tuple(Slide(photo, tuple(each)) for photo, each in sorted(views.items())),
    )
