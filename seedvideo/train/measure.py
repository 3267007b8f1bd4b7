"""The numbers of the model card, through the same backend that the command line uses.

    stills        BLEU and CIDEr-D on photos of a held-out split, and the shuffled control
    slideshows    share of photos mentioned by the caption of a video made of three of them

Photos are resized to one size and shown as one frame, or as two frames each in a slideshow.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedvideo.evaluate.nouns import slideshow_score
from seedvideo.model.backends import Backend
from seedvideo.model.packing import pack
from seedvideo.tasks.caption import CAPTION_PROMPT, parse_caption
from seedvideo.train.photos import Photo
from seedvideo.train.score import score_captions
from seedvideo.train.views import plain

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
