"""Caption training data: photos on disk, augmented views, and the rows drawn from them.

One directory holds the data. Any photo set in this layout works; sizes may differ by photo:

    DIR/flickr8k/captions.jsonl           {"id", "split": train|dev|test|extra, "captions": [5]}
    DIR/flickr8k/images_192.tar           <id>.webp, 192x192 px, squeezed
    DIR/imagenet-samples/labels.jsonl     {"id", "wnid", "name"}
    DIR/imagenet-samples/images_192.tar   <id>.webp

Photos are cropped, stretched, mirrored and re-coloured, differently each time. The photos are
stored squeezed to squares; stretching restores their shapes and produces those of videos. All
photos are kept on the training device and augmented there in batches.

Rows are of four kinds, with times like a sampler's:

    still       one view of one photo; all its captions are answers
    clip        several views of one photo, as from a slowly moving camera; the same answers
    slideshow   several photos one after the other; the answer describes them in order
    name        one photo of one ImageNet class; the prompt asks for its name, not a description

Notation used for tensor shapes:
    p: photos; f: frames of one batch; h, w: height and width in pixels
"""

import json
import re
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from seedvideo.tasks.prompts import CAPTION_PROMPT, SENTENCE_JOINER

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
"""Heights and widths in pixels: shapes of photos and videos at few tokens per frame."""

_STORED_PX = 192
_MIN_CROP_AREA = 0.5
_FAR_FRACTION = 0.1
_MAX_FAR_SCALE = 1.6
_SOFT_FRACTION = 0.25


@dataclass(frozen=True)
class View:
    """One augmentation of all photos; crops and colours still differ each time.

    Args:
        size_px: height and width.
        flips: ``(p,)`` bool, whether each photo is mirrored in this view.
    """

    size_px: tuple[int, int]
    flips: NDArray[np.bool_]


def make_views(photos: int, *, count: int, seed: int) -> list[View]:
    """Make views of ``photos`` photos, with alternating sizes."""
    rng = np.random.default_rng([seed, 3])
    return [
        View(VIEW_SIZES[number % len(VIEW_SIZES)], rng.random(photos) < 0.5)
        for number in range(count)
    ]


class PhotoStore:
    """All photos, on the device where the model trains."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], device: torch.device):
        stored = [resize_photo(picture, (_STORED_PX, _STORED_PX)) for picture in pictures]
        # (p, 3, h, w)
        self._pixels = torch.from_numpy(np.stack(stored)).permute(0, 3, 1, 2).to(device)

    def render_views(
        self,
        photos: Sequence[int],
        mirrored: Sequence[bool],
        size_px: tuple[int, int],
        rng: np.random.Generator,
    ) -> Tensor:
        """Render photos with random crops and colours.

        Crops keep at least half of the area, since captions describe the whole photo. One in ten is
        zoomed out with black around it, as in a letterbox. Hue is kept, since captions name
        colours. A quarter are blurred, as enlarged video is.

        Args:
            photos: indices of the photos.
            mirrored: whether to mirror each.
            size_px: height and width of the frames.
            rng: source of all randomness.

        Returns:
            ``(f, h, w, 3)`` uint8 RGB, like decoded frames.
        """
        device, count = self._pixels.device, len(photos)
        crops = torch.from_numpy(_draw_crops(np.asarray(mirrored), rng)).to(device)
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

    def resize(self, first: int, last: int, size_px: tuple[int, int]) -> Tensor:
        """Resize photos ``first`` to ``last`` (exclusive) only: ``(f, h, w, 3)`` uint8."""
        pixels = self._pixels[first:last].permute(0, 2, 3, 1).cpu().numpy()
        resized = np.stack([resize_photo(picture, size_px) for picture in pixels])
        return torch.from_numpy(resized).to(self._pixels.device)

    def __len__(self) -> int:
        return len(self._pixels)

    @staticmethod
    def _soften(x: Tensor, rng: np.random.Generator) -> Tensor:
        weights = rng.uniform(0.3, 1.0, len(x)) * (rng.random(len(x)) < _SOFT_FRACTION)
        if not weights.any():
            return x
        factor = float(rng.uniform(0.35, 0.8))
        small = functional.interpolate(
            x, scale_factor=factor, mode="bilinear", antialias=True, recompute_scale_factor=True
        )
        soft = functional.interpolate(small, size=x.shape[2:], mode="bilinear")
        blend = torch.from_numpy(weights.astype(np.float32)).to(x.device)
        return torch.lerp(x, soft, blend.view(-1, 1, 1, 1))


def _draw_crops(mirrored: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw ``(f, 2, 3)`` maps from frame to photo coordinates, both from -1 to 1."""
    count = len(mirrored)
    side = np.sqrt(rng.uniform(_MIN_CROP_AREA, 1.0, count))
    stretch = np.exp(rng.uniform(-0.15, 0.15, count))
    height, width = np.minimum(1, side * stretch), np.minimum(1, side / stretch)
    is_far = rng.random(count) < _FAR_FRACTION
    distance = np.where(is_far, rng.uniform(1.0, _MAX_FAR_SCALE, count), 1.0)
    height, width = np.where(is_far, distance, height), np.where(is_far, distance, width)
    crops = np.zeros((count, 2, 3), dtype=np.float32)
    crops[:, 0, 0], crops[:, 1, 1] = np.where(mirrored, -width, width), height
    crops[:, 0, 2] = rng.uniform(-1, 1, count) * np.abs(1 - width)
    crops[:, 1, 2] = rng.uniform(-1, 1, count) * np.abs(1 - height)
    return crops


def resize_photo(picture: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize one ``(h, w, 3)`` image without augmentation, as evaluation does."""
    if picture.shape[:2] == size_px:
        return picture
    image = Image.fromarray(picture).resize(size_px[::-1], Image.Resampling.BICUBIC)
    return np.asarray(image)


Split = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class Photo:
    """One photo with its human captions.

    Args:
        id: name in the data set.
        captions: one or more sentences, as written.
        is_name: whether the caption is only the name of the main object.
    """

    id: str
    captions: tuple[str, ...]
    is_name: bool = False


def read_flickr8k(data: Path, split: Split) -> list[Photo]:
    """Read the photos of one official split, sorted by id.

    Raises:
        FileNotFoundError: if ``data`` does not have the layout above.
    """
    photos = []
    with (data / "flickr8k" / "captions.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["split"] == split:
                photos.append(Photo(row["id"], tuple(row["captions"])))
    return sorted(photos, key=lambda photo: photo.id)


def read_object_names(data: Path) -> list[Photo]:
    """Read one photo per ImageNet class, with the class name as caption, sorted by id.

    Raises:
        FileNotFoundError: if ``data`` does not have the layout above.
    """
    photos = []
    with (data / "imagenet-samples" / "labels.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            photos.append(Photo(row["id"], (row["name"],), is_name=True))
    return sorted(photos, key=lambda photo: photo.id)


def read_pixels(data: Path, photos: list[Photo]) -> list[NDArray[np.uint8]]:
    """Read the images of ``photos``, in order.

    Returns:
        One ``(h, w, 3)`` RGB array per photo.

    Raises:
        KeyError: if an image is missing.
    """
    pixels: list[NDArray[np.uint8]] = []
    with (
        tarfile.open(data / "flickr8k" / "images_192.tar") as captioned,
        tarfile.open(data / "imagenet-samples" / "images_192.tar") as named,
    ):
        for photo in photos:
            member = (named if photo.is_name else captioned).extractfile(f"{photo.id}.webp")
            if member is None:
                raise KeyError(f"{photo.id}.webp is not a file in its archive")
            pixels.append(np.asarray(Image.open(member).convert("RGB")))
    return pixels


NAME_PROMPT = "Name the main object."
"""Prompt for photos with only a name, so that captions keep the style of human captions."""

_STILL_FRACTION, _CLIP_FRACTION = 0.76, 0.09
_NAME_FRACTION = 0.05
_USUAL_AREA_PX = 256 * 256

_OPPOSITE_SIDES = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class CaptionRow:
    """One training sequence.

    Args:
        frames: pairs of photo index and view index, in time order.
        times: presentation time of each frame in seconds.
        answers: equally valid answers.
        prompt: the prompt.
    """

    frames: tuple[tuple[int, int], ...]
    times: tuple[Fraction, ...]
    answers: tuple[str, ...]
    prompt: str = CAPTION_PROMPT


def normalize_caption(caption: str) -> str:
    """Normalize a caption to the model's output style: lower case, no full stop, usual spacing."""
    text = caption.lower().replace('"', " ")
    text = re.sub(r"\s+([,.;:!?'])", r"\1", text)
    text = re.sub(r"\s+", " ", text).strip()
    return text.rstrip(" .!;:,")


def mirror_text(text: str) -> str:
    """Swap left and right, for a mirrored photo."""
    return re.sub(r"\b(left|right)\b", lambda match: _OPPOSITE_SIDES[match.group()], text)


def mentions_sides(text: str) -> bool:
    """Return whether mirroring the photo would make the text wrong."""
    return re.search(r"\b(left|right)\b", text) is not None


class PhotoSampler:
    """Draws caption rows at random.

    Args:
        photos: captioned photos first, then named ones, in the order of the views' flips.
        views: views of one or several sizes.
        seed: seed of all randomness; together with the step it determines the rows.
    """

    def __init__(self, photos: Sequence[Photo], views: Sequence[View], *, seed: int):
        self._answers = [
            tuple(normalize_caption(text) for text in photo.captions) for photo in photos
        ]
        self._captioned = [index for index, photo in enumerate(photos) if not photo.is_name]
        self._named = [index for index, photo in enumerate(photos) if photo.is_name]
        self._names = frozenset(self._named)
        self._views = views
        self._by_size: dict[tuple[int, int], list[int]] = {}
        for index, view in enumerate(views):
            self._by_size.setdefault(view.size_px, []).append(index)
        self._seed = seed

    def draw(self, step: int, *, photos_per_step: int, min_rows: int = 1) -> list[CaptionRow]:
        """Draw the rows of one step, with frames of one size.

        Args:
            step: determines kind and content, together with the seed.
            photos_per_step: photos in a step of stills at 256x256 px; larger views and other kinds
                get as many rows as cost about the same.
            min_rows: minimum rows of a step of any kind: one for each training process.

        Returns:
            Rows of one kind (names are mixed with stills).
        """
        rng = np.random.default_rng([self._seed, step])
        # Drawn among views, so that all views occur equally often.
        seed_view = int(rng.integers(len(self._views)))
        pool = self._by_size[self._views[seed_view].size_px]
        kind = rng.random()
        height_px, width_px = self._views[seed_view].size_px
        affordable = max(
            min_rows, round(photos_per_step * min(1.0, _USUAL_AREA_PX / (height_px * width_px)))
        )
        if kind < _STILL_FRACTION:
            return self._stills(rng, seed_view, self._turn(step, photos_per_step)[:affordable])
        frames = affordable * 3 // 2
        if kind < _STILL_FRACTION + _CLIP_FRACTION:
            return _draw_until(lambda: self._clip(rng, pool), frames, min_rows)
        return _draw_until(lambda: self._slideshow(rng, pool), frames, min_rows)

    def _turn(self, step: int, count: int) -> list[int]:
        """Return the captioned photos of this step; an epoch of stills covers all of them."""
        steps_an_epoch = max(1, len(self._captioned) // count)
        epoch, turn = divmod(step, steps_an_epoch)
        order = np.random.default_rng([self._seed, epoch, 2]).permutation(self._captioned)
        return [int(photo) for photo in order[turn * count : (turn + 1) * count]]

    def _stills(self, rng: np.random.Generator, view: int, photos: list[int]) -> list[CaptionRow]:
        if self._named:
            names = int(rng.binomial(len(photos), _NAME_FRACTION))
            photos = [*photos[names:], *rng.choice(self._named, names).tolist()]
        rows = []
        for photo in photos:
            is_flipped = bool(self._views[view].flips[photo])
            answers = self._answers[photo]
            if is_flipped:
                answers = tuple(mirror_text(text) for text in answers)
            start = Fraction(0) if rng.random() < 0.5 else _draw_time(rng)
            prompt = NAME_PROMPT if photo in self._names else CAPTION_PROMPT
            rows.append(CaptionRow(((photo, view),), (start,), answers, prompt))
        return rows

    def _clip(self, rng: np.random.Generator, pool: list[int]) -> CaptionRow:
        count = int(rng.choice([2, 3, 4, 6, 8, 12, 16], p=[0.2, 0.2, 0.2, 0.15, 0.1, 0.1, 0.05]))
        photo = int(rng.choice(self._captioned))
        frames = tuple((photo, int(rng.choice(pool))) for _ in range(count))
        answers = self._without_sides(photo)
        return CaptionRow(frames, _draw_times(rng, count), answers)

    def _slideshow(self, rng: np.random.Generator, pool: list[int]) -> CaptionRow:
        shots = int(rng.choice([2, 3, 4], p=[0.35, 0.45, 0.2]))
        longest = int(rng.choice([1, 2, 4], p=[0.3, 0.5, 0.2]))
        photos = rng.choice(self._captioned, shots, replace=False).tolist()
        frames: list[tuple[int, int]] = []
        for photo in photos:
            for _ in range(int(rng.integers(1, longest + 1))):
                frames.append((photo, int(rng.choice(pool))))
        photo_answers = [self._without_sides(photo) for photo in photos]
        answers = tuple(
            SENTENCE_JOINER.join(
                captions[int(rng.integers(len(captions)))] for captions in photo_answers
            )
            for _ in range(2)
        )
        return CaptionRow(tuple(frames), _draw_times(rng, len(frames)), answers)

    def _without_sides(self, photo: int) -> tuple[str, ...]:
        """Return the answers that remain valid for mirrored views; all of them if none does."""
        answers = self._answers[photo]
        return tuple(text for text in answers if not mentions_sides(text)) or answers


def _draw_until(draw: Callable[[], CaptionRow], frames: int, min_rows: int) -> list[CaptionRow]:
    """Draw rows until they hold ``frames`` frames and number ``min_rows``, at least one."""
    rows = [draw()]
    while sum(len(row.frames) for row in rows) < frames or len(rows) < min_rows:
        rows.append(draw())
    return rows


def _draw_time(rng: np.random.Generator) -> Fraction:
    return Fraction(int(10 ** rng.uniform(1, 3.5)), 10)


def _draw_times(rng: np.random.Generator, count: int) -> tuple[Fraction, ...]:
    """Draw increasing times with a spacing of 0.2 to 12 s, mostly from the start of a video."""
    spacing = Fraction(int(10 ** rng.uniform(0.3, 2.1)), 10)
    start = Fraction(0) if rng.random() < 0.8 else _draw_time(rng)
    return tuple(start + spacing * index for index in range(count))
