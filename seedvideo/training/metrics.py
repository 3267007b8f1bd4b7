"""The numbers of the model card, through the same backend that the command line uses.

    stills        BLEU and CIDEr-D on photos of a held-out split, and the shuffled control
    slideshows    share of photos mentioned by the caption of a video made of three of them

Photos are resized to one size and shown as one frame, or as two frames each in a slideshow.

Moments in slideshows of photos that nobody learned from, for the model card.

Each slideshow shows a few photos, one after the other; a sentence that somebody wrote about one of
them is looked for. Frames are photos resized to one size, as in `measure`.

How good the captions of held-out photos are: BLEU, CIDEr-D, and a control that must be bad.

Each photo is one frame at 0.0 s, resized to one size and nothing else, as the command line would
show a still. The control scores the same captions against the references of other photos: what it
gets is what knowing the language alone is worth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seedvideo.evaluate.metrics.captioning import bleu, cider_d
from seedvideo.evaluate.metrics.nouns import slideshow_score
from seedvideo.evaluate.metrics.temporal import iou
from seedvideo.inference import FrameSet, locate
from seedvideo.media.types import Frame
from seedvideo.model.backends.base import Backend, pack
from seedvideo.model.generation import most_agreed, write
from seedvideo.model.metadata import ANSWER_ID, Tokenizer
from seedvideo.model.seedvl import SeedVL
from seedvideo.sampler.boundaries import frame_bounds
from seedvideo.tasks.prompts import CAPTION_PROMPT, parse_caption
from seedvideo.training.answer_data import Told
from seedvideo.training.collate import prefix_ids
from seedvideo.training.data import PLAIN_SIZE, Photo, Pictures, Row, plain
from seedvideo.utils.timecode import Span

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


_PHOTOS = 3
_FRAMES_A_PHOTO = 2
_SPACING_S = Fraction(2)

Pixels = NDArray[np.uint8]


def caption_frames(backend: Backend, frames: Sequence[Pixels]) -> tuple[str, bool]:
    """The caption of frames two seconds apart, and whether the model is confident."""
    timed = [(_SPACING_S * index, pixels) for index, pixels in enumerate(frames)]
    answer = backend.generate(pack(timed, CAPTION_PROMPT))
    return parse_caption(answer.text), answer.confident


def measure(
    backend: Backend,
    photos: Sequence[Photo],
    pictures: Sequence[Pixels],
    size_px: tuple[int, int],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """All measures on one held-out split.

    Args:
        backend: the model.
        photos: with their captions.
        pictures: their pixels.
        size_px: height and width at which they are shown.
        progress: is told now and then how far it is.

    Returns:
        Plain values for JSON.
    """
    frames = [plain(picture, size_px) for picture in pictures]
    captions, confident = [], 0
    for index, frame in enumerate(frames):
        caption, is_confident = caption_frames(backend, [frame])
        captions.append(caption)
        confident += is_confident
        if index % 100 == 99:
            progress(f"{index + 1} of {len(frames)} photos")
    scores = score_captions(captions, photos)
    videos, of_whole, of_best, shuffled = [], [], [], []
    for first in range(0, len(frames) - _PHOTOS + 1, _PHOTOS):
        places = range(first, first + _PHOTOS)
        references = [photos[place].captions for place in places]
        shown = [frames[place] for place in places for _ in range(_FRAMES_A_PHOTO)]
        videos.append(references)
        of_whole.append(caption_frames(backend, shown)[0])
        single = [captions[place] for place in places]
        of_best.append(max(single, key=lambda text: _mentioned([text], [references])))
        if len(videos) % 50 == 0:
            progress(f"{len(videos)} of {len(frames) // _PHOTOS} slideshows")
    half = len(videos) // 2
    shuffled = [*of_whole[half:], *of_whole[:half]]
    return {
        "photos": len(frames),
        "size_px": list(size_px),
        "bleu": [round(value, 2) for value in scores.bleu],
        "cider_d": round(scores.cider_d, 4),
        "shuffled_bleu_4": round(scores.shuffled_bleu_4, 2),
        "shuffled_cider_d": round(scores.shuffled_cider_d, 4),
        "confident": round(confident / len(frames), 3),
        "slideshows": len(videos),
        "slideshow_mentioned": round(_mentioned(of_whole, videos), 3),
        "slideshow_precision": round(slideshow_score(of_whole, videos).precision, 3),
        "slideshow_best_single_mentioned": round(_mentioned(of_best, videos), 3),
        "slideshow_shuffled_mentioned": round(_mentioned(shuffled, videos), 3),
        "slideshow_examples": of_whole[:5],
    }


def _mentioned(captions: Sequence[str], videos: Sequence[Sequence[Sequence[str]]]) -> float:
    """Share of the photos of all videos whose main nouns the captions mention."""
    return slideshow_score(captions, videos).mentioned


PHOTOS = 4
FRAMES_A_PHOTO = 3
SPACING_S = Fraction(1)


def measure_moments(
    backend: Backend,
    photos: Sequence[Photo],
    pictures: Sequence[Pixels],
    size_px: tuple[int, int],
    *,
    slideshows: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Look for a sentence about each photo, and for one about a photo that is not there.

    Args:
        backend: the model.
        photos: with their captions; each is shown at most once.
        pictures: their pixels.
        size_px: height and width at which they are shown.
        slideshows: how many, of `PHOTOS` photos each; the photo after each is the absent one.
        progress: is told now and then how far it is.

    Returns:
        Plain values for JSON: mean IoU and share with an IoU of 0.5 or more over all present
        photos, share of absent ones that were found all the same, and what always answering with
        the whole video would get.
    """
    ious, falsely = [], []
    duration = SPACING_S * PHOTOS * FRAMES_A_PHOTO
    length = SPACING_S * FRAMES_A_PHOTO
    group = PHOTOS + 1
    for number in range(min(slideshows, len(photos) // group)):
        first = number * group
        shown = [plain(pictures[first + place], size_px) for place in range(PHOTOS)]
        frames = [
            Frame(SPACING_S * (place * FRAMES_A_PHOTO + turn), shown[place])
            for place in range(PHOTOS)
            for turn in range(FRAMES_A_PHOTO)
        ]
        window = Span(Fraction(0), duration)
        bounds = frame_bounds([frame.pts for frame in frames], window)
        frame_set = FrameSet(frames=frames, window=window, duration=duration, bounds=bounds)
        for place in range(group):
            told = Told.of(photos[first + place])
            text = told.captions[number % len(told.captions)]
            found = locate(backend, frame_set, text, top=1, thinking=False).moments
            if place == PHOTOS:
                falsely.append(bool(found))
                continue
            truth = (float(length * place), float(length * (place + 1)))
            spans = [(float(each.start), float(each.end)) for each in found]
            ious.append(iou(spans[0], truth) if spans else 0.0)
        if number % 25 == 24:
            progress(f"{number + 1} slideshows")
    values = np.array(ious)
    return {
        "slideshows": len(falsely),
        "sentences": len(ious),
        "mean_iou": round(float(values.mean()), 3),
        "r1_iou_0.5": round(float((values >= 0.5).mean()), 3),
        "false_positives": round(float(np.mean(falsely)), 3),
        "whole_video_iou": round(1 / PHOTOS, 3),
    }
