"""A small data set in the recipe's layout, views of it, and a tiny model."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from seedvideo.model import vision_encoder
from seedvideo.model.language_model import DecoderConfig
from seedvideo.model.seedvl import SeedVL, SeedVLConfig, initialise
from seedvideo.model.vision_encoder import VitConfig
from seedvideo.training.data import Photo, PhotoStore, View

CAPTIONS = (
    "A red square .",
    "The left side is red .",
    "A square, in red .",
    "Somebody painted it red .",
    "Red !",
)


SPLITS = ("train", "train", "train", "train", "dev", "test")


def make_data(folder: Path, splits: Sequence[str] = SPLITS) -> Path:
    """Captioned photos (four to learn, one dev, one test) and two named ones."""
    captioned = folder / "flickr8k"
    captioned.mkdir(parents=True)
    rows = [
        {"id": f"photo_{index}", "split": split, "captions": list(CAPTIONS)}
        for index, split in enumerate(splits)
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    (captioned / "captions.jsonl").write_text(lines, encoding="utf-8")
    _write_tar(captioned / "images_192.tar", [row["id"] for row in rows])
    named = folder / "imagenet-samples"
    named.mkdir()
    labels = [{"id": f"n{index}", "wnid": f"n{index}", "name": "owl"} for index in range(2)]
    lines = "\n".join(json.dumps(row) for row in labels)
    (named / "labels.jsonl").write_text(lines, encoding="utf-8")
    _write_tar(named / "images_192.tar", [row["id"] for row in labels])
    return folder


def _write_tar(path: Path, names: list[object]) -> None:
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for name in names:
            buffer = io.BytesIO()
            pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(buffer, "WEBP", lossless=True)
            info = tarfile.TarInfo(f"{name}.webp")
            info.size = buffer.tell()
            buffer.seek(0)
            archive.addfile(info, buffer)


def make_photos(captioned: int, named: int) -> list[Photo]:
    """Photos in the order that views have them."""
    photos = [Photo(f"p{index}", CAPTIONS) for index in range(captioned)]
    return [*photos, *(Photo(f"n{index}", ("owl",), is_name=True) for index in range(named))]


def make_views(photos: int, sizes: list[tuple[int, int]]) -> list[View]:
    """In all of them every second photo is mirrored."""
    return [View(size, np.arange(photos) % 2 == 1) for size in sizes]


def make_pictures(photos: int) -> PhotoStore:
    """Photos of one colour each."""
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 256, (photos, 1, 1, 3), dtype=np.uint8)
    return PhotoStore(list(np.tile(colours, (1, 48, 48, 1))), torch.device("cpu"))


@contextmanager
def narrow_stem() -> Iterator[None]:
    """Make the stems of models that are created meanwhile narrow, with as many blocks as ever."""

    def narrow(stages: tuple[vision_encoder._Stage, ...]) -> tuple[vision_encoder._Stage, ...]:
        return tuple(
            replace(stage, expansion=min(stage.expansion, 2), channels=4) for stage in stages
        )

    with mock.patch.multiple(
        vision_encoder,
        _ENTRY_CHANNELS=4,
        _LOWER_CHANNELS=4,
        _LOWER_STAGES=narrow(vision_encoder._LOWER_STAGES),
        _UPPER_STAGES=narrow(vision_encoder._UPPER_STAGES),
        STEM_CHANNELS=32,
    ):
        yield


def make_model(vocabulary: int) -> SeedVL:
    """A model with a narrow stem, everything after it tiny."""
    config = SeedVLConfig(
        vit=VitConfig(width=32, depth=1, heads=2, embedding="conv"),
        adapter_hidden=32,
        decoder=DecoderConfig(
            vocabulary=vocabulary, width=32, depth=2, heads=2, kv_heads=1, hidden=32
        ),
    )
    torch.manual_seed(1)  # the stem starts from PyTorch's own numbers
    with narrow_stem():
        model = SeedVL(config)
    initialise(model, seed=1)
    return model


def encode(text: str) -> list[int]:
    """A stand-in for a tokenizer: one id a character."""
    return [6 + ord(character) % 60 for character in text]


VOCABULARY = 66


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in float32 on every CPU, so that what is learned does not depend on it."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
