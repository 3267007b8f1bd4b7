"""Several processes that train one model together, each on its share of a step's rows.

Started by ``torchrun``; without it there is a team of one and nothing is exchanged. Gradients are
summed by weight, so that a step is the same for one process or several up to rounding.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")


@dataclass(frozen=True)
class Team:
    """This process's place among those that train together.

    Args:
        rank: number of this process, from 0; process 0 writes logs and states.
        size: processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> "Team":
        """Meet the others that ``torchrun`` started, if it did."""
        if "RANK" not in os.environ:
            return cls()
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    def share(self, rows: list[Item]) -> list[Item]:
        """The rows that fall to this process; there must be one for each."""
        if len(rows) < self.size:
            raise ValueError(f"{len(rows)} rows do not go round {self.size} processes")
        return rows[self.rank :: self.size]

    def weight(self, labels: int, device: torch.device) -> float:
        """What this process's mean loss counts in the sum over processes."""
        if self.size == 1:
            return 1.0
        total = torch.tensor([float(labels)], device=device)
        dist.all_reduce(total)
        return labels / float(total)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over the processes, in one exchange."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        offset = 0
        for gradient in gradients:
            gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()
