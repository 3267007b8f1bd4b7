"""Photos as a model in training sees them: cropped, stretched, mirrored, re-coloured, always anew.

The photos of Flickr8k here are squeezed to squares; stretching them to other shapes gives back the
shapes that they had, and the shapes that video has. All photos lie on the training device, and all
changes are made there, a batch at a time.

Notation used for tensor shapes:
    p: photos; f: frames of one batch; h, w: height and width in pixels
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

PLAIN_SIZE = (256, 256)
VIEW_SIZES = (
    (256, 256),
    (256, 320),
    (192, 320),
    (320, 256),
    (256, 448),
    (192, 256),
    (256, 384),
    (320, 320),
    (256, 256),
    (320, 576),
)
"""Heights and widths in pixels: what photos and videos look like at a few tokens a frame."""

_STORED_PX = 192
_LEAST_AREA = 0.5
_FAR_SHARE = 0.1
_FARTHEST = 1.6
_SOFT_SHARE = 0.25


@dataclass(frozen=True)
class View:
    """One way to look at the photos; crops and colours differ each time all the same.

    Args:
        size_px: height and width.
        flips: ``(p,)`` bool, whether a photo is mirrored in this view.
    """

    size_px: tuple[int, int]
    flips: NDArray[np.bool_]


def make_views(photos: int, *, count: int, seed: int) -> list[View]:
    """Views of ``photos`` photos, their sizes taken in turn."""
    rng = np.random.default_rng([seed, 3])
    return [
        View(VIEW_SIZES[number % len(VIEW_SIZES)], rng.random(photos) < 0.5)
        for number in range(count)
    ]


class Pictures:
    """All photos, on the device where the model trains."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], device: torch.device):
        stored = [plain(picture, (_STORED_PX, _STORED_PX)) for picture in pictures]
        # (p, 3, h, w)
        self._pixels = torch.from_numpy(np.stack(stored)).permute(0, 3, 1, 2).to(device)

    def look(
        self,
        photos: Sequence[int],
        mirrored: Sequence[bool],
        size_px: tuple[int, int],
        rng: np.random.Generator,
    ) -> Tensor:
        """Show photos as nobody has seen them before.

        Crops keep at least half of the area: captions speak of the whole photo. One in ten is seen
        from afar, with black around it, as in a letterbox. Hue stays, since captions name colours.
        A quarter are soft, as enlarged video is.

        Args:
            photos: which.
            mirrored: which of them left to right.
            size_px: height and width of the frames.
            rng: the source of all randomness.

        Returns:
            ``(f, h, w, 3)`` uint8 RGB, as a decoder would give.
        """
        device, count = self._pixels.device, len(photos)
        crops = torch.from_numpy(_crops(np.asarray(mirrored), rng)).to(device)
        grid = functional.affine_grid(crops, [count, 3, *size_px], align_corners=False)
        source = self._pixels[torch.as_tensor(photos, device=device)].float()
        x = functional.grid_sample(source, grid, mode="bicubic", align_corners=False)
        x = self._soften(x, rng)
        saturation, contrast, brightness = (
            torch.from_numpy(rng.uniform(0.7, 1.3, (3, count, 1, 1, 1)).astype(np.float32))
            .to(device)
            .unbind()
        )
        grey = x.mean(dim=1, keepdim=True)
        x = grey + (x - grey) * saturation
        x = (x - 127.5) * contrast + 127.5 * brightness
        return x.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def plain(self, first: int, last: int, size_px: tuple[int, int]) -> Tensor:
        """Only resize photos ``first`` to ``last`` (exclusive): ``(f, h, w, 3)`` uint8."""
        pixels = self._pixels[first:last].permute(0, 2, 3, 1).cpu().numpy()
        shown = np.stack([plain(picture, size_px) for picture in pixels])
        return torch.from_numpy(shown).to(self._pixels.device)

    def __len__(self) -> int:
        return len(self._pixels)

    @staticmethod
    def _soften(x: Tensor, rng: np.random.Generator) -> Tensor:
        weights = rng.uniform(0.3, 1.0, len(x)) * (rng.random(len(x)) < _SOFT_SHARE)
        if not weights.any():
            return x
        factor = float(rng.uniform(0.35, 0.8))
        small = functional.interpolate(
            x, scale_factor=factor, mode="bilinear", antialias=True, recompute_scale_factor=True
        )
        soft = functional.interpolate(small, size=x.shape[2:], mode="bilinear")
        share = torch.from_numpy(weights.astype(np.float32)).to(x.device)
        return torch.lerp(x, soft, share.view(-1, 1, 1, 1))


def _crops(mirrored: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """``(f, 2, 3)`` maps from places in a frame to places in its photo, both from -1 to 1."""
    count = len(mirrored)
    side = np.sqrt(rng.uniform(_LEAST_AREA, 1.0, count))
    stretch = np.exp(rng.uniform(-0.15, 0.15, count))
    height, width = np.minimum(1, side * stretch), np.minimum(1, side / stretch)
    is_far = rng.random(count) < _FAR_SHARE
    distance = np.where(is_far, rng.uniform(1.0, _FARTHEST, count), 1.0)
    height, width = np.where(is_far, distance, height), np.where(is_far, distance, width)
    crops = np.zeros((count, 2, 3), dtype=np.float32)
    crops[:, 0, 0], crops[:, 1, 1] = np.where(mirrored, -width, width), height
    crops[:, 0, 2] = rng.uniform(-1, 1, count) * np.abs(1 - width)
    crops[:, 1, 2] = rng.uniform(-1, 1, count) * np.abs(1 - height)
    return crops


def plain(picture: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Only resize one ``(h, w, 3)`` picture, as evaluation does."""
    if picture.shape[:2] == size_px:
        return picture
    image = Image.fromarray(picture).resize(size_px[::-1], Image.Resampling.BICUBIC)
    return np.asarray(image)
