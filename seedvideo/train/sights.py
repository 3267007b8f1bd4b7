"""What each frame of a row shows, as a lesson beside the questions.

A question's answer says little about the twenty frames that it is drawn from. So while the branch
learns, heads that are thrown away afterwards read from the middle of the decoder, at the mark that
ends each frame, what this frame shows: then the mark holds it, with the frame's time, for any
question to find.

Notation used for tensor shapes:
    m: frames of all rows of a batch; d: width of the decoder
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.evaluate.nouns import nouns
from seedvideo.evaluate.synthetic.story import MOST_AT_ONCE, MOTIONS, Event
from seedvideo.evaluate.synthetic.things import COLOURS, SHAPES

_THIRDS: Final = 3
_SIZES: Final = (len(COLOURS) + 1, len(SHAPES) + 1, MOST_AT_ONCE + 1, _THIRDS, _THIRDS)
"""Colour, shape and number, each with one more for nothing; column and row of a thing alone."""

_MOST_BEGUN: Final = 6
_STORY_SIZES: Final = (_MOST_BEGUN + 1, len(MOTIONS))
"""How many things have come so far; where the thing goes, once it was seen twice."""

_UNKNOWN: Final = -1
NOUNS: Final = tuple(
    sorted(
        nouns(
            "man woman boy girl child baby person dog horse bird ball bike motorcycle car boat"
            " skateboard snowboard water pool ocean beach snow grass field park mountain hill rock"
            " tree street sidewalk building house wall fence stairs bench stage crowd player"
            " skateboarder snowboarder surfer climber cyclist soccer football basketball baseball"
            " swing slide ramp wave lake dirt sand bus truck table chair toy stick frisbee sky"
        )
    )
)
"""What photos are asked for: nouns that recur in captions."""

_PLACE_OF: Final = {noun: place for place, noun in enumerate(NOUNS)}


@dataclass(frozen=True)
class Sight:
    """What one frame shows.

    Args:
        labels: one a head; `_UNKNOWN` where it has nothing to say. None for a photo.
        nouns: of a photo's captions.
        story: the same for what one frame alone cannot tell; one a head of `_STORY_SIZES`.
    """

    labels: tuple[int, ...] | None = None
    nouns: frozenset[str] = frozenset()
    story: tuple[int, int] = (_UNKNOWN, _UNKNOWN)

    def told_in(self, begun: int, motion: str | None) -> "Sight":
        """The same frame in a row.

        Args:
            begun: things or photos that have come so far, this one with them.
            motion: where the thing goes, if that was seen by now.
        """
        way = _UNKNOWN if motion is None else MOTIONS.index(motion)
        return replace(self, story=(min(begun, _MOST_BEGUN), way))


NOTHING: Final = Sight((len(COLOURS), len(SHAPES), MOST_AT_ONCE, _UNKNOWN, _UNKNOWN))
"""A quiet frame."""


def sight_of(event: Event, progress: float) -> Sight:
    """One frame of an event."""
    column = row = _UNKNOWN
    if event.count == 1:
        ((x, y),) = event.centres(progress)
        column, row = (min(_THIRDS - 1, max(0, int(place * _THIRDS))) for place in (x, y))
    colour, shape = list(COLOURS).index(event.thing.colour), SHAPES.index(event.thing.shape)
    return Sight((colour, shape, event.count - 1, column, row))


@dataclass(frozen=True)
class Sights:
    """What several frames show, one row each.

    Args:
        labels: ``(m, heads)``, `_UNKNOWN` where a frame has nothing to say.
        story: ``(m, 2)`` likewise.
        nouns: ``(m, len(NOUNS))`` of photos.
        photos: ``(m,)`` bool, which of the frames show one.
    """

    labels: Tensor
    story: Tensor
    nouns: Tensor
    photos: Tensor

    @classmethod
    def of(cls, sights: Sequence[Sight]) -> "Sights":
        """Put them together."""
        there = np.zeros((len(sights), len(NOUNS)), dtype=bool)
        for row, sight in enumerate(sights):
            there[row, [_PLACE_OF[noun] for noun in sight.nouns if noun in _PLACE_OF]] = True
        return cls(
            labels=torch.tensor([sight.labels or (_UNKNOWN,) * len(_SIZES) for sight in sights]),
            story=torch.tensor([sight.story for sight in sights]),
            nouns=torch.from_numpy(there),
            photos=torch.tensor([sight.labels is None for sight in sights]),
        )

    def to(self, device: torch.device) -> "Sights":
        """The same on a device."""
        parts = (self.labels, self.story, self.nouns, self.photos)
        return Sights(*(part.to(device, non_blocking=True) for part in parts))


class SightHeads(nn.Module):
    """The decoder's state at the end of each frame to what the frame shows."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.things = nn.Linear(width, sum(_SIZES))
        self.nouns = nn.Linear(width, len(NOUNS))
        self.story = nn.Linear(width, sum(_STORY_SIZES))

    def loss(self, states: Tensor, later: Tensor, sights: Sights) -> Tensor:
        """How far the heads are from ``sights``.

        Args:
            states: ``(m, d)`` in the middle of the decoder.
            later: ``(m, d)`` one block on: what came before can only be counted once it is known.
            sights: one row for each.
        """
        states = self.norm(states)
        total = states.new_zeros((), dtype=torch.float32)
        # Sums over what is known, never a look at how much that is: a GPU would have to wait.
        for outputs, sizes, wanted in (
            (self.things(states), _SIZES, sights.labels),
            (self.story(self.norm(later)), _STORY_SIZES, sights.story),
        ):
            for at, told in enumerate(outputs.float().split(sizes, dim=-1)):
                each = functional.cross_entropy(
                    told, wanted[:, at], ignore_index=_UNKNOWN, reduction="sum"
                )
                total = total + each / (wanted[:, at] != _UNKNOWN).sum().clamp_min(1)
        told = self.nouns(states).float()
        each = functional.binary_cross_entropy_with_logits(
            told, sights.nouns.float(), reduction="none"
        )
        # Summed over nouns: most are absent from most photos, and a mean would say nothing.
        photos = sights.photos.float()
        return total + (each.sum(dim=1) * photos).sum() / photos.sum().clamp_min(1)
