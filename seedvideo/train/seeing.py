"""Filling a bank: scenes and photos are shown to the encoder.

Scenes are drawn by as many processes as there are; the encoder sees them where the model is.

Notation used for tensor shapes:
    n: frames of one size; k: visual tokens of a frame; d: width of the encoder
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from seedvideo.evaluate.synthetic.things import Thing
from seedvideo.model.seedvl import SeedVL
from seedvideo.model.thumbnails import thumbnails
from seedvideo.train.bank import Bank, Size, Slide
from seedvideo.train.scenes import Drawn, FrameId, Pixels, Scene, Scenes
from seedvideo.train.views import Pictures

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
    among: Sequence[Thing],
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
