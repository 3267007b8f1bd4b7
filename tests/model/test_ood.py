"""Near what was learned scores high, elsewhere low."""

import pytest
import torch

from seedvideo.model.ood import KnnOodDetector


def pictures(count: int, seed: int) -> torch.Tensor:
    """Features that vary in 6 of 40 directions, about one centre."""
    basis: torch.Tensor = torch.linalg.qr(
        torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    ).Q
    generator = torch.Generator().manual_seed(seed)
    features: torch.Tensor = 3.0 + torch.randn(count, 6, generator=generator) @ basis.T
    return features


def test_known_pictures_score_higher_than_others() -> None:
    learned = KnnOodDetector.fit(pictures(400, 1), directions=6, max_references=300)
    known = learned.score(pictures(100, 2))
    strange = learned.score(3.0 + torch.randn(100, 40, generator=torch.Generator().manual_seed(3)))
    assert known.min() > -1 and known.max() <= 1 + 1e-6
    assert known.mean() > strange.mean()


def test_a_remembered_picture_is_its_own_nearest() -> None:
    features = pictures(3, 1)
    learned = KnnOodDetector.fit(features, directions=2, max_references=3)
    seen = torch.nn.functional.normalize((features - learned.mean) @ learned.directions, dim=-1)
    torch.testing.assert_close(seen, learned.bank)


def test_parts_must_fit_each_other() -> None:
    with pytest.raises(ValueError, match="have inconsistent shapes"):
        KnnOodDetector(torch.zeros(4), torch.zeros(5, 2), torch.zeros(3, 2))
