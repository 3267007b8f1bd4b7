"""Photos from the documented layout, ways to look at them, and the recipe's end: a checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seedvideo.model.vision_encoder import ConvStem, SameConv, fold_batch_norm
from seedvideo.training.data import (
    VIEW_SIZES,
    PhotoStore,
    _draw_crops,
    make_views,
    read_flickr8k,
    read_object_names,
    read_pixels,
    resize_photo,
)
from seedvideo.training.export import calibrate, fit_ood_detector, mean_features
from tests.training.sample_data import make_data

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def stem() -> ConvStem:
    torch.manual_seed(0)
    return ConvStem().eval()


def test_splits_are_kept_apart(data: Path) -> None:
    names = {
        split: [photo.id for photo in read_flickr8k(data, split)]
        for split in ("train", "dev", "test")
    }
    assert names == {
        "train": ["photo_0", "photo_1", "photo_2", "photo_3"],
        "dev": ["photo_4"],
        "test": ["photo_5"],
    }
    assert [photo.is_name for photo in read_object_names(data)] == [True, True]


def test_pictures_come_in_the_order_of_the_photos(data: Path) -> None:
    photos = [*read_flickr8k(data, "train"), *read_object_names(data)]
    pictures = read_pixels(data, photos)
    again = read_pixels(data, photos[::-1])[::-1]
    assert len(pictures) == 6
    for first, second in zip(pictures, again, strict=True):
        assert first.shape == (48, 48, 3)
        assert np.array_equal(first, second)


def test_plain_pictures_are_resized_and_nothing_else(data: Path) -> None:
    pictures = read_pixels(data, read_flickr8k(data, "train"))
    shown = PhotoStore(pictures, CPU).resize(1, 3, (192, 192))
    assert shown.shape == (2, 192, 192, 3) and shown.dtype == torch.uint8
    assert np.array_equal(shown[1].numpy(), resize_photo(pictures[2], (192, 192)))


def ramp(count: int) -> PhotoStore:
    """Pictures that get brighter from left to right."""
    values = np.linspace(40, 200, 192).astype(np.uint8)
    return PhotoStore([np.tile(values[None, :, None], (192, 1, 3))] * count, CPU)


def test_a_look_has_the_size_asked_for_and_mirrors_what_it_should() -> None:
    count = 60
    mirrored = [bool(index % 2) for index in range(count)]
    seen = ramp(count).render_views(range(count), mirrored, (64, 128), np.random.default_rng(1))
    assert seen.shape == (count, 64, 128, 3) and seen.dtype == torch.uint8
    # The middle half: a picture from afar has black around it.
    left = seen[:, 24:40, 40:56].float().mean(dim=(1, 2, 3))
    right = seen[:, 24:40, 72:88].float().mean(dim=(1, 2, 3))
    assert (left > right).tolist() == mirrored


def test_looks_differ_and_the_same_numbers_give_the_same_look() -> None:
    pictures = ramp(3)

    def look(seed: int) -> torch.Tensor:
        return pictures.render_views([0, 1, 2], [False] * 3, (64, 64), np.random.default_rng(seed))

    assert torch.equal(look(1), look(1))
    assert not torch.equal(look(1), look(2))
    assert not torch.equal(look(1)[0], look(1)[1])


def test_crops_keep_half_of_the_photo_and_some_show_all_of_it_from_afar() -> None:
    rows = _draw_crops(np.zeros(2_000, dtype=np.bool_), np.random.default_rng(1))
    width, height = rows[:, 0, 0], rows[:, 1, 1]
    is_far = (width > 1) & (height > 1)
    assert 0.07 < is_far.mean() < 0.13
    # A stretched crop is cut off at the edge of the photo.
    assert (width * height)[~is_far].min() > 0.45
    inside = np.abs(rows[~is_far, :, 2]) + np.stack((width, height), axis=1)[~is_far]
    assert inside.max() <= 1 + 1e-6
    whole = np.stack((width, height), axis=1)[is_far] - np.abs(rows[is_far, :, 2])
    assert whole.min() >= 1 - 1e-6


def test_views_take_sizes_in_turn() -> None:
    views = make_views(50, count=12, seed=1)
    assert [view.size_px for view in views[:10]] == list(VIEW_SIZES)
    assert all(height % 64 == 0 and width % 64 == 0 for height, width in VIEW_SIZES)
    assert 0.3 < np.mean([view.flips.mean() for view in views]) < 0.7


def test_folding_equals_convolution_and_normalisation() -> None:
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 8, 3, bias=False)
    norm = torch.nn.BatchNorm2d(8, eps=1e-3).eval()
    for value in (norm.weight, norm.bias, norm.running_mean):
        assert value is not None
        value.data.normal_()
    assert norm.running_var is not None
    norm.running_var.uniform_(0.5, 2.0)
    statistics = {
        name: norm.state_dict()[name] for name in ("weight", "bias", "running_mean", "running_var")
    }
    folded = torch.nn.Conv2d(3, 8, 3)
    with torch.no_grad():
        weight, bias = fold_batch_norm(convolution.weight, statistics, eps=1e-3)
        folded.weight.copy_(weight)
        assert folded.bias is not None
        folded.bias.copy_(bias)
        x = torch.randn(2, 3, 9, 9)
        torch.testing.assert_close(folded(x), norm(convolution(x)), atol=1e-5, rtol=1e-5)


def test_same_padding_puts_the_odd_pixel_right_and_below() -> None:
    convolution = SameConv(1, 1, 3, stride=2)
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[0, 0, 0, 0] = 1.0
        assert convolution.bias is not None
        convolution.bias.zero_()
        x = torch.arange(16.0).view(1, 1, 4, 4)
        # The window's first pixel is the cell's own: nothing was put before it.
        assert convolution(x).flatten().tolist() == [0.0, 2.0, 8.0, 10.0]


def test_calibration_flags_strangers_and_few_of_its_own(data: Path, stem: ConvStem) -> None:
    pictures = read_pixels(data, read_flickr8k(data, "train"))
    features = mean_features(stem, PhotoStore(pictures, CPU))
    assert features.shape == (4, 1280)
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(6, 1280, generator=generator)
    known = torch.randn(300, 6, generator=generator) @ basis
    held_out = torch.randn(100, 6, generator=generator) @ basis
    strange = torch.randn(100, 1280, generator=generator) * 6**0.5
    calibration = calibrate(fit_ood_detector(known), held_out, strange)
    assert calibration.inside_flagged <= 0.10
    assert calibration.outside_flagged > calibration.inside_flagged
