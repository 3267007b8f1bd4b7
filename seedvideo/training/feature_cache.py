"""Cached features of the frozen encoder: build, save, load and gather them.

    scenes    one background each, with several events of the synthetic world: a quiet frame and
              frames of every event, at one or several sizes
    slides    views of captioned photos, for slideshows

The encoder is frozen while the answer branch trains, so its tokens are cached instead of pixels:
about 20 KB per frame. Any story whose events are in one scene can be composed from them. Worker
processes render the scenes; the encoder runs on the model's device.

Notation used for tensor shapes:
    n: frames of one size; k: visual tokens of a frame; d: width of the encoder
    c: values of a token's thumbnail; t: tokens of some frames
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
from seedvideo.model.vision_encoder import make_thumbnails, scale_thumbnails
from seedvideo.training.answer_data import (
    FrameId,
    Pixels,
    RenderedScene,
    Scene,
    SceneDataset,
    SceneEvent,
)
from seedvideo.training.data import PhotoStore
from seedvideo.training.trainer import mixed_precision
from seedvideo.utils.timecode import Span

_ANY_SPAN = Span(Fraction(0), Fraction(1))

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class PhotoViews:
    """Views of one photo.

    Args:
        photo: index of the photo.
        views: frames that show it, and whether each is mirrored.
    """

    photo: int
    views: tuple[tuple[FrameId, bool], ...]


@dataclass(frozen=True)
class FeatureCache:
    """Encoded frames with their scenes and photos.

    Args:
        tokens: for each size ``(n, k, d)`` float16.
        thumbs: for each size ``(n, k, c)`` uint8.
        scenes: scenes of the synthetic world.
        slides: photos.
    """

    tokens: dict[Size, Tensor]
    thumbs: dict[Size, Tensor]
    scenes: tuple[Scene, ...]
    slides: tuple[PhotoViews, ...]

    def features_of(self, frame: FrameId) -> tuple[Tensor, Tensor]:
        """Return tokens ``(k, d)`` and thumbnails ``(k, c)`` of one frame."""
        size, row = frame[:2], frame[2]
        return self.tokens[size][row], self.thumbs[size][row]

    def layout(self) -> "TokenLayout":
        """Return the layout of all frames concatenated."""
        starts, counts, start = {}, {}, 0
        for size, values in self.tokens.items():
            starts[size], counts[size] = start, values.shape[1]
            start += values.shape[0] * values.shape[1]
        return TokenLayout(starts, counts)

    def save(self, path: Path) -> None:
        """Write the cache to one file."""
        tensors: dict[str, Tensor] = {}
        for (height, width), values in self.tokens.items():
            tensors[f"tokens/{height}x{width}"] = values
            tensors[f"thumbs/{height}x{width}"] = self.thumbs[height, width]
        metadata = {
            "scenes": [_scene_to_json(scene) for scene in self.scenes],
            "slides": [[slide.photo, slide.views] for slide in self.slides],
        }
        save_file(tensors, path, metadata={"told": json.dumps(metadata)})

    @classmethod
    def load(cls, path: Path) -> "FeatureCache":
        """Read a file written by `save`."""
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["told"])
        kinds: dict[str, dict[Size, Tensor]] = {"tokens": {}, "thumbs": {}}
        for name, value in load_file(path).items():
            kind, size = name.split("/")
            height, width = size.split("x")
            kinds[kind][int(height), int(width)] = value
        return cls(
            tokens=kinds["tokens"],
            thumbs=kinds["thumbs"],
            scenes=tuple(_parse_scene(values) for values in metadata["scenes"]),
            slides=tuple(
                PhotoViews(photo, tuple((_parse_frame(frame), flag) for frame, flag in views))
                for photo, views in metadata["slides"]
            ),
        )


@dataclass(frozen=True)
class TokenLayout:
    """Layout of the tokens in a `DeviceFeatureStore`.

    Args:
        starts: first token index of the frames of each size.
        counts: tokens per frame of each size.
    """

    starts: dict[Size, int]
    counts: dict[Size, int]

    def token_indices(self, frames: Sequence[FrameId]) -> Tensor:
        """Return the ``(t,)`` token indices of some frames, in order."""
        parts = []
        for frame in frames:
            size, row = frame[:2], frame[2]
            start = self.starts[size] + row * self.counts[size]
            parts.append(torch.arange(start, start + self.counts[size]))
        return torch.cat(parts)


class DeviceFeatureStore:
    """Features of a cache, concatenated on one device to be gathered by index.

    Args:
        cache: the features.
        device: destination.
    """

    def __init__(self, cache: FeatureCache, device: torch.device):
        self.device = device
        self.layout = cache.layout()
        self._tokens = torch.cat([each.flatten(0, 1).to(device) for each in cache.tokens.values()])
        thumbs = [cache.thumbs[size].flatten(0, 1).to(device) for size in cache.tokens]
        self._thumbs = torch.cat(thumbs)

    def gather(self, indices: Tensor) -> Tensor:
        """Gather the projector's inputs of ``(t,)`` token indices: ``(t, d + c)`` float32."""
        indices = indices.to(self.device)
        return torch.cat(
            (self._tokens[indices].float(), scale_thumbnails(self._thumbs[indices])), dim=1
        )


def _scene_to_json(scene: Scene) -> dict[str, Any]:
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


def _parse_scene(values: dict[str, Any]) -> Scene:
    events = []
    for fields in values["events"]:
        event = Event(
            thing=ColouredShape(*fields["thing"]),
            motion=fields["motion"],
            position=fields["place"],
            count=fields["count"],
            size=fields["size"],
            shift=tuple(fields["shift"]),
            span=_ANY_SPAN,
        )
        frames = tuple(tuple(_parse_frame(frame) for frame in group) for group in fields["frames"])
        events.append(SceneEvent(event, frames))
    return Scene(tuple(_parse_frame(frame) for frame in values["quiet"]), tuple(events))


def _parse_frame(values: Sequence[int]) -> FrameId:
    height, width, row = values
    return height, width, row


def merge_caches(caches: Sequence[FeatureCache]) -> FeatureCache:
    """Merge caches; a photo in several of them gets the views of all."""
    sizes = sorted({size for cache in caches for size in cache.tokens})
    counts = dict.fromkeys(sizes, 0)
    scenes: list[Scene] = []
    views: dict[int, list[tuple[FrameId, bool]]] = {}
    for cache in caches:
        scenes += [scene.shifted(counts) for scene in cache.scenes]
        for slide in cache.slides:
            views.setdefault(slide.photo, []).extend(
                ((frame[0], frame[1], frame[2] + counts[frame[:2]]), flag)
                for frame, flag in slide.views
            )
        for size, values in cache.tokens.items():
            counts[size] += len(values)
    return FeatureCache(
        tokens={s: torch.cat([b.tokens[s] for b in caches if s in b.tokens]) for s in sizes},
        thumbs={s: torch.cat([b.thumbs[s] for b in caches if s in b.thumbs]) for s in sizes},
        scenes=tuple(scenes),
        slides=tuple(PhotoViews(photo, tuple(each)) for photo, each in sorted(views.items())),
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
"""Heights and widths in pixels at which photos are encoded."""

_BATCH_FRAMES = {"cpu": 32, "cuda": 192}
_PHOTOS_PER_BATCH = 32


class FeatureExtractor:
    """Collects frames by size and encodes them in batches.

    Args:
        model: the model whose encoder is used.
    """

    def __init__(self, model: SeedVL):
        self._model = model
        self._device = next(model.parameters()).device
        self._batch = _BATCH_FRAMES[self._device.type]
        self._waiting: dict[Size, list[Tensor]] = {}
        self._counts: dict[Size, int] = {}
        self._tokens: dict[Size, list[Tensor]] = {}
        self._thumbs: dict[Size, list[Tensor]] = {}

    def add(self, pictures: Tensor) -> int:
        """Queue ``(n, h, w, 3)`` uint8 frames; all are encoded when `finish` returns.

        Returns:
            The index of the first one among the frames of its size.
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
        """Return tokens ``(n, k, d)`` and thumbnails of all frames, by size."""
        for size, waiting in self._waiting.items():
            if waiting:
                self._see(size, torch.cat(waiting))
        self._waiting = {}
        tokens = {size: torch.cat(parts) for size, parts in self._tokens.items()}
        return tokens, {size: torch.cat(parts) for size, parts in self._thumbs.items()}

    @torch.inference_mode()
    def _see(self, size: Size, frames: Tensor) -> None:
        vit = self._model.vit
        with mixed_precision(self._device):
            patches = vit.patches(frames).flatten(0, 1)
            tokens = vit.encode(patches, [vit.grid(*size)] * len(frames))
        tokens = tokens.view(len(frames), -1, tokens.shape[-1])
        self._tokens.setdefault(size, []).append(tokens.to("cpu", torch.float16))
        thumbs = make_thumbnails(frames, self._model.config.token_px)
        self._thumbs.setdefault(size, []).append(thumbs.cpu())


def build_feature_cache(
    model: SeedVL,
    photos: Sequence[Pixels],
    *,
    scenes: int,
    views: int,
    seed: int,
    things: Sequence[ColouredShape],
    moves: bool = True,
    workers: int = 0,
    progress: Callable[[str], None],
) -> FeatureCache:
    """Render scenes and photos, and encode them.

    Args:
        model: the model whose encoder is used.
        photos: images; some scenes have one as their background.
        scenes: number of scenes.
        views: views of each photo as a slide.
        seed: seed of all randomness.
        things: things that scenes may contain.
        moves: as for `SceneDataset`.
        workers: number of processes that render; 0 to render in this process.
        progress: called with a progress message now and then.
    """
    extractor = FeatureExtractor(model)
    dataset = SceneDataset(photos, count=scenes, seed=seed, moves=moves, things=things)
    made: list[Scene] = []
    drawn: RenderedScene
    for drawn in DataLoader(dataset, batch_size=None, num_workers=workers):
        firsts = {size: extractor.add(pictures) for size, pictures in drawn.pictures.items()}
        made.append(drawn.scene.shifted(firsts))
        if len(made) % 50 == 0:
            progress(f"{len(made)} of {scenes} scenes")
    slides: list[list[tuple[FrameId, bool]]] = [[] for _ in photos]
    device = next(model.parameters()).device
    pictures = PhotoStore(photos, device) if views else None
    rng = np.random.default_rng([seed, 6])
    for view in range(views):
        size = SLIDE_SIZES[view % len(SLIDE_SIZES)]
        for first in range(0, len(photos), _PHOTOS_PER_BATCH):
            group = range(first, min(first + _PHOTOS_PER_BATCH, len(photos)))
            flips = (rng.random(len(group)) < 0.5).tolist()
            assert pictures is not None
            row = extractor.add(pictures.render_views(list(group), flips, size, rng))
            for photo, flip in zip(group, flips, strict=True):
                slides[photo].append(((*size, row), flip))
                row += 1
        progress(f"{view + 1} of {views} views of {len(photos)} photos")
    tokens, thumbs = extractor.finish()
    return FeatureCache(
        tokens,
        thumbs,
        tuple(made),
        tuple(PhotoViews(p, tuple(v)) for p, v in enumerate(slides) if v),
    )
