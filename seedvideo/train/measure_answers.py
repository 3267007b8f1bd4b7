"""Moments in slideshows of photos that nobody learned from, for the model card.

Each slideshow shows a few photos, one after the other; a sentence that somebody wrote about one of
them is looked for. Frames are photos resized to one size, as in `measure`.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from seedvideo.dialogue import sight
from seedvideo.evaluate.spans import iou
from seedvideo.media.timeline import Span
from seedvideo.model.backends import Backend
from seedvideo.prepared import View
from seedvideo.sampler.bounds import frame_bounds
from seedvideo.train.captioned import Told
from seedvideo.train.measure import Pixels
from seedvideo.train.photos import Photo
from seedvideo.train.views import plain

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
            (SPACING_S * (place * FRAMES_A_PHOTO + turn), shown[place])
            for place in range(PHOTOS)
            for turn in range(FRAMES_A_PHOTO)
        ]
        window = Span(Fraction(0), duration)
        bounds = frame_bounds([time for time, _ in frames], window)
        view = View(frames=frames, window=window, duration=duration, bounds=bounds)
        for place in range(group):
            told = Told.of(photos[first + place])
            text = told.captions[number % len(told.captions)]
            found = sight(backend, view, text, top=1, thinking=False).moments
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
