"""Out-of-distribution detector: k-nearest-neighbour similarity of frames to the training images.

Separate from the native backend because training fits it and the checkpoint stores it. A frame's
stem features, averaged over its cells, are centred, projected on the principal directions of the
training images and compared by cosine similarity with the nearest of them. Captions of frames far
from all training images are guesses. The model's own probability does not show this; the similarity
does, roughly.

Notation used for tensor shapes:
    c: channels of the stem; p: directions kept; r: reference images; f: frames
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

K_NEIGHBORS = 5
"""Number of nearest training images whose similarities are averaged."""


@dataclass(frozen=True)
class KnnOodDetector:
    """Statistics of the training images.

    Args:
        mean: ``(c,)`` mean features.
        directions: ``(c, p)`` principal directions, scaled towards unit variance.
        bank: ``(r, p)`` reference images, as unit vectors.
    """

    mean: Tensor
    directions: Tensor
    bank: Tensor

    def __post_init__(self) -> None:
        channels, kept = self.directions.shape
        if self.mean.shape != (channels,) or self.bank.shape[1] != kept:
            raise ValueError(
                f"mean {tuple(self.mean.shape)}, directions {tuple(self.directions.shape)} and "
                f"bank {tuple(self.bank.shape)} have inconsistent shapes"
            )

    @classmethod
    def fit(cls, features: Tensor, *, directions: int, max_references: int) -> "KnnOodDetector":
        """Fit the detector to ``(n, c)`` features of training images.

        Args:
            features: one row per image.
            directions: number of principal directions to keep.
            max_references: maximum number of reference images, taken evenly from the rows.
        """
        mean = features.mean(dim=0)
        centred = features - mean
        _, deviations, basis = torch.linalg.svd(centred, full_matrices=False)
        scale = features.shape[0] ** 0.5 / deviations[:directions]
        # Full whitening would amplify noise to the scale of content: take the square root.
        kept = basis[:directions].T * scale.sqrt()
        rows = torch.linspace(0, len(features) - 1, min(max_references, len(features))).long()
        bank = functional.normalize(centred[rows] @ kept, dim=-1)
        return cls(mean, kept, bank)

    def score(self, features: Tensor) -> Tensor:
        """Return the mean cosine similarity to the nearest reference images.

        Args:
            features: ``(f, c)``.

        Returns:
            ``(f,)``, from -1 to 1.
        """
        projected = functional.normalize((features - self.mean) @ self.directions, dim=-1)
        nearest = (projected @ self.bank.T).topk(min(K_NEIGHBORS, len(self.bank)), dim=-1).values
        return nearest.mean(dim=-1)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store in a checkpoint."""
        return {"mean": self.mean, "directions": self.directions, "bank": self.bank}
