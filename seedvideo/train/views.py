"""Augmented views of the photos, kept on disk as outputs of the stem's lower half.

The lower half of the stem is never trained, so each view passes it once and training starts from
there: the costly part of a step is paid once. A view of all photos is one file; all pictures in it
have one size, so a batch needs no padding. Views may be added while training runs.

    <cache>/view-<number>-<height>x<width>.npy    (photos, 120, height / 16, width / 16) float16
    <cache>/view-<number>-<height>x<width>.flips.npy    (photos,) bool: mirrored left to right

The photos of Flickr8k here are squeezed to squares; stretching them to other shapes gives back the
shapes that they had, and the shapes that video has.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from seedvideo.model.stem import LOWER_CHANNELS, LOWER_STRIDE_PX, ConvStem

PLAIN_SIZE = (256, 256)
VIEW_SIZES = (
    (256, 256),
    (256, 320),
    (192, 320),
    (320, 256),
    (256, 320),
    (192, 256),
    (256, 384),
    (320, 320),
)
"""Heights and widths in pixels, taken in turn: what photos and videos look like at a few tokens."""

_BATCH = 32


@dataclass(frozen=True)
class View:
    """One cached view of every photo.

    Args:
        features: ``(photos, 120, h / 16, w / 16)`` float16, read from disk when used.
        flips: ``(photos,)`` bool, whether the photo is mirrored.
        size_px: height and width.
    """

    features: NDArray[np.float16]
    flips: NDArray[np.bool_]
    size_px: tuple[int, int]


def augment(
    picture: NDArray[np.uint8], size_px: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], bool]:
    """Crop, stretch, mirror and re-colour one picture.

    Crops keep at least 55 % of the area: captions speak of the whole photo. Hue stays, since
    captions name colours.

    Args:
        picture: ``(h, w, 3)`` RGB.
        size_px: height and width of the result.
        rng: the source of all randomness.

    Returns:
        The ``(height, width, 3)`` picture, and whether it is mirrored.
    """
    height, width = picture.shape[:2]
    side = np.sqrt(rng.uniform(0.55, 1.0))
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    crop_h, crop_w = min(1.0, side * stretch) * height, min(1.0, side / stretch) * width
    top, left = rng.uniform(0, height - crop_h), rng.uniform(0, width - crop_w)
    image = Image.fromarray(picture).resize(
        size_px[::-1], Image.Resampling.BICUBIC, box=(left, top, left + crop_w, top + crop_h)
    )
    values = np.asarray(image, dtype=np.float32)
    grey = values.mean(axis=2, keepdims=True)
    saturation, contrast, brightness = rng.uniform(0.7, 1.3, 3)
    values = grey + (values - grey) * saturation
    values = (values - 127.5) * contrast + 127.5 * brightness
    is_flipped = bool(rng.random() < 0.5)
    if is_flipped:
        values = values[:, ::-1]
    return np.clip(values, 0, 255).astype(np.uint8), is_flipped


def plain(picture: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Only resize one ``(h, w, 3)`` picture, as evaluation does."""
    image = Image.fromarray(picture).resize(size_px[::-1], Image.Resampling.BICUBIC)
    return np.asarray(image)


@torch.inference_mode()
def build_view(
    stem: ConvStem, pictures: list[NDArray[np.uint8]], cache: Path, *, number: int, seed: int
) -> None:
    """Make one view of all pictures, unless it is there. View 0 is plain, the others are augmented.

    The file takes its final name only when whole, so a run that was stopped leaves nothing half.
    """
    size_px = PLAIN_SIZE if number == 0 else VIEW_SIZES[number % len(VIEW_SIZES)]
    stem_name = f"view-{number:03d}-{size_px[0]}x{size_px[1]}"
    target = cache / f"{stem_name}.npy"
    if target.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, number])
    grid = (size_px[0] // LOWER_STRIDE_PX, size_px[1] // LOWER_STRIDE_PX)
    part = cache / f"{stem_name}.part.npy"
    features = np.lib.format.open_memmap(
        part, mode="w+", dtype=np.float16, shape=(len(pictures), LOWER_CHANNELS, *grid)
    )
    flips = np.zeros(len(pictures), dtype=np.bool_)
    for start in range(0, len(pictures), _BATCH):
        batch = []
        for offset, picture in enumerate(pictures[start : start + _BATCH]):
            if number == 0:
                batch.append(plain(picture, size_px))
            else:
                seen, flips[start + offset] = augment(picture, size_px, rng)
                batch.append(seen)
        lower = stem.lower(torch.from_numpy(np.stack(batch)))
        features[start : start + len(batch)] = lower.to(torch.float16).numpy()
    features.flush()
    np.save(cache / f"{stem_name}.flips.npy", flips)
    part.rename(target)


def load_views(cache: Path) -> list[View]:
    """All finished views under ``cache``, in order of their numbers."""
    views = []
    for path in sorted(cache.glob("view-???-*x*.npy")):
        if path.name.endswith((".flips.npy", ".part.npy")):
            continue
        height, width = path.stem.split("-")[2].split("x")
        flips = np.load(path.with_suffix(".flips.npy"))
        features = np.load(path, mmap_mode="r")
        views.append(View(features, flips, (int(height), int(width))))
    return views
