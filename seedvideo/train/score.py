"""How good the captions of held-out photos are: BLEU, CIDEr-D, and a control that must be bad.

Each photo is one frame at 0.0 s, resized to one size and nothing else, as the command line would
show a still. The control scores the same captions against the references of other photos: what it
gets is what knowing the language alone is worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from seedvideo.evaluate.bleu import bleu
from seedvideo.evaluate.cider import cider_d
from seedvideo.model.consensus import most_agreed
from seedvideo.model.generate import write
from seedvideo.model.marks import ANSWER_ID
from seedvideo.model.seedvl import SeedVL
from seedvideo.model.tokenizer import Tokenizer
from seedvideo.train.batch import prefix_ids
from seedvideo.train.photos import Photo
from seedvideo.train.samples import Row
from seedvideo.train.views import PLAIN_SIZE, Pictures

_BATCH = 50
_MAX_NEW_TOKENS = 40


@dataclass(frozen=True)
class Scores:
    """Captions against their references.

    Args:
        bleu: BLEU-1 to BLEU-4, from 0 to 100.
        cider_d: in the usual scale, where good COCO models reach about 1.2.
        shuffled_bleu_4: of the control.
        shuffled_cider_d: of the control.
    """

    bleu: tuple[float, ...]
    cider_d: float
    shuffled_bleu_4: float
    shuffled_cider_d: float


@torch.inference_mode()
def caption_stills(
    model: SeedVL, tokenizer: Tokenizer, pictures: Pictures, *, beams: int
) -> list[str]:
    """One caption a photo, from a model in evaluation mode."""
    row = Row(((0, 0),), (Fraction(0),), ())
    captions = []
    for first in range(0, len(pictures), _BATCH):
        frames = pictures.plain(first, first + _BATCH, PLAIN_SIZE)
        visual = model.see(list(frames))
        ids = [*prefix_ids(row, len(visual) // len(frames), tokenizer.encode), ANSWER_ID]
        prompt = model.embed(torch.tensor([ids] * len(frames), device=frames.device), visual)
        written = write(model.decoder, prompt, max_new_tokens=_MAX_NEW_TOKENS, beams=beams)
        captions += [tokenizer.decode(most_agreed(answers).ids) for answers in written]
    return captions


def score_captions(captions: Sequence[str], photos: Sequence[Photo]) -> Scores:
    """Compare captions with the photos' own, and with those of other photos."""
    references = [photo.captions for photo in photos]
    half = len(references) // 2
    others = [*references[half:], *references[:half]]
    own = bleu(captions, references)
    return Scores(
        bleu=tuple(100 * value for value in (own.bleu1, own.bleu2, own.bleu3, own.bleu4)),
        cider_d=cider_d(captions, references),
        shuffled_bleu_4=100 * bleu(captions, others).bleu4,
        shuffled_cider_d=cider_d(captions, others),
    )
