"""Photos read from the documented layout, cached views, and the end of the recipe: a checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seedvideo.model.stem import ConvStem, SameConv, fold_batch_norm
from seedvideo.train.export import calibrate, learn_familiarity, mean_features
from seedvideo.train.photos import read_flickr8k, read_object_names, read_pixels
from seedvideo.train.views import VIEW_SIZES, augment, build_view, load_views, plain
from tests.train.made import make_data


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


def test_views_are_what_the_stem_sees(data: Path, stem: ConvStem, tmp_path: Path) -> None:
    pictures = read_pixels(data, read_flickr8k(data, "train"))
    for number in range(2):
        build_view(stem, pictures, tmp_path, number=number, seed=1)
    first, second = load_views(tmp_path)
    assert first.size_px == (256, 256) and second.size_px == VIEW_SIZES[1]
    assert not first.flips.any()
    with torch.inference_mode():
        expected = stem.lower(torch.from_numpy(plain(pictures[2], (256, 256)).copy()).unsqueeze(0))
    # Stored with 11 bits.
    torch.testing.assert_close(
        torch.from_numpy(first.features[2].astype(np.float32)), expected[0], atol=2e-3, rtol=2e-3
    )


def test_a_view_that_is_there_is_not_made_again(data: Path, stem: ConvStem, tmp_path: Path) -> None:
    pictures = read_pixels(data, read_flickr8k(data, "train"))
    build_view(stem, pictures, tmp_path, number=0, seed=1)
    (path,) = (path for path in tmp_path.glob("*.npy") if "flips" not in path.name)
    changed = path.stat().st_mtime_ns
    build_view(stem, [], tmp_path, number=0, seed=1)
    assert path.stat().st_mtime_ns == changed


def test_half_a_view_is_not_loaded(data: Path, stem: ConvStem, tmp_path: Path) -> None:
    pictures = read_pixels(data, read_flickr8k(data, "dev"))
    build_view(stem, pictures, tmp_path, number=0, seed=1)
    (tmp_path / "view-001-256x320.part.npy").write_bytes(b"half")
    assert len(load_views(tmp_path)) == 1


def test_augmenting_mirrors_half_and_keeps_the_size() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 3, (64, 1, 3))
    flips = []
    for seed in range(40):
        seen, is_flipped = augment(ramp, (64, 128), np.random.default_rng(seed))
        assert seen.shape == (64, 128, 3)
        assert (float(seen[:, :20].mean()) > float(seen[:, -20:].mean())) == is_flipped
        flips.append(is_flipped)
    assert 8 < sum(flips) < 32


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


def test_calibration_flags_strangers_and_few_of_its_own(
    data: Path, stem: ConvStem, tmp_path: Path
) -> None:
    pictures = read_pixels(data, read_flickr8k(data, "train"))
    build_view(stem, pictures, tmp_path, number=0, seed=1)
    features = mean_features(stem, load_views(tmp_path)[0])
    assert features.shape == (4, 1280)
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(6, 1280, generator=generator)
    known = torch.randn(300, 6, generator=generator) @ basis
    held_out = torch.randn(100, 6, generator=generator) @ basis
    strange = torch.randn(100, 1280, generator=generator) * 6**0.5
    calibration = calibrate(learn_familiarity(known), held_out, strange)
    assert calibration.inside_flagged <= 0.10
    assert calibration.outside_flagged > calibration.inside_flagged
