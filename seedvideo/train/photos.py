"""The photos and captions that the embedded model learns from, read from one directory.

    DIR/flickr8k/captions.jsonl           {"id", "split": train|dev|test|extra, "captions": [5]}
    DIR/flickr8k/images_192.tar           <id>.webp, 192x192 px, squeezed
    DIR/imagenet-samples/labels.jsonl     {"id", "wnid", "name"}
    DIR/imagenet-samples/images_192.tar   <id>.webp

Any photo set in this layout works; sizes may differ from photo to photo. Knows nothing of models.
"""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class Photo:
    """One photo with what people wrote about it.

    Args:
        id: its name in the set.
        captions: one or more sentences, as written.
        is_name: whether the caption is only the name of the main object.
    """

    id: str
    captions: tuple[str, ...]
    is_name: bool = False


def read_flickr8k(data: Path, split: Split) -> list[Photo]:
    """The photos of one official split, sorted by id.

    Raises:
        FileNotFoundError: if ``data`` does not follow the layout above.
    """
    photos = []
    with (data / "flickr8k" / "captions.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["split"] == split:
                photos.append(Photo(row["id"], tuple(row["captions"])))
    return sorted(photos, key=lambda photo: photo.id)


def read_object_names(data: Path) -> list[Photo]:
    """One photo for each ImageNet class, its caption the class name; sorted by id.

    Raises:
        FileNotFoundError: if ``data`` does not follow the layout above.
    """
    photos = []
    with (data / "imagenet-samples" / "labels.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            photos.append(Photo(row["id"], (row["name"],), is_name=True))
    return sorted(photos, key=lambda photo: photo.id)


def read_pixels(data: Path, photos: list[Photo]) -> list[NDArray[np.uint8]]:
    """The pictures of ``photos``, in their order.

    Returns:
        One ``(h, w, 3)`` RGB array a photo.

    Raises:
        KeyError: if a picture is missing.
    """
    pixels: list[NDArray[np.uint8]] = []
    with (
        tarfile.open(data / "flickr8k" / "images_192.tar") as captioned,
        tarfile.open(data / "imagenet-samples" / "images_192.tar") as named,
    ):
        for photo in photos:
            member = (named if photo.is_name else captioned).extractfile(f"{photo.id}.webp")
            if member is None:
                raise KeyError(f"{photo.id}.webp is no file in its archive")
            pixels.append(np.asarray(Image.open(member).convert("RGB")))
    return pixels
