"""How much frames look like the pictures that a model was trained on.

A frame's stem features, averaged over its cells, are centred, projected on the training pictures'
main directions and compared by cosine with the nearest of them. A caption of a frame that is near
nothing is a guess, and its own probability does not show it; this does, roughly.

Notation used for tensor shapes:
    c: channels of the stem; p: directions kept; r: remembered training pictures; f: frames
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NEIGHBOURS = 5
"""Nearest training pictures whose cosines are averaged."""


@dataclass(frozen=True)
class Familiarity:
    """What the training pictures looked like.

    Args:
        mean: ``(c,)`` mean features.
        directions: ``(c, p)`` main directions, scaled to unit variance.
        bank: ``(r, p)`` remembered pictures, each of length one.
    """

    mean: Tensor
    directions: Tensor
    bank: Tensor

    def __post_init__(self) -> None:
        channels, kept = self.directions.shape
        if self.mean.shape != (channels,) or self.bank.shape[1] != kept:
            raise ValueError(
                f"mean {tuple(self.mean.shape)}, directions {tuple(self.directions.shape)} and "
                f"bank {tuple(self.bank.shape)} do not fit each other"
            )

    @classmethod
    def learn(cls, features: Tensor, *, directions: int, remembered: int) -> "Familiarity":
        """Describe ``(n, c)`` features of training pictures.

        Args:
            features: one row a picture.
            directions: main directions to keep.
            remembered: pictures to keep, spread evenly over the rows.
        """
        mean = features.mean(dim=0)
        centred = features - mean
        _, deviations, basis = torch.linalg.svd(centred, full_matrices=False)
        scale = features.shape[0] ** 0.5 / deviations[:directions]
        # A square root tempers the whitening: full whitening lifts noise to the size of content.
        kept = basis[:directions].T * scale.sqrt()
        rows = torch.linspace(0, len(features) - 1, min(remembered, len(features))).long()
        bank = functional.normalize(centred[rows] @ kept, dim=-1)
        return cls(mean, kept, bank)

    def score(self, features: Tensor) -> Tensor:
        """Mean cosine to the nearest remembered pictures.

        Args:
            features: ``(f, c)``.

        Returns:
            ``(f,)``, from -1 to 1.
        """
        seen = functional.normalize((features - self.mean) @ self.directions, dim=-1)
        nearest = (seen @ self.bank.T).topk(min(NEIGHBOURS, len(self.bank)), dim=-1).values
        return nearest.mean(dim=-1)

    def to_tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"mean": self.mean, "directions": self.directions, "bank": self.bank}
