"""Metrics of the model card: caption scores of photos, slideshows, and moments in slideshows.

    captions      BLEU and CIDEr-D on held-out photos, and a shuffled control
    slideshows    fraction of photos mentioned by the caption of a video made of three of them
    moments       IoU of the spans found for captions of photos in a slideshow
    answers       fraction of exact answers of a branch in training

All numbers but the last come from the same backend as the command line. A photo is resized to one
size and shown as one frame at 0.0 s, or as several frames in a slideshow. The control scores the
same captions against the references of other photos: the score of language knowledge alone.
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
from seedvideo.model.backends.base import Backend, interleave
from seedvideo.model.generation import generate, mbr_select
from seedvideo.model.metadata import ANSWER_ID, Tokenizer
from seedvideo.model.seedvl import AnswerBranch, SeedVL
from seedvideo.sampler.boundaries import frame_bounds
from seedvideo.tasks.prompts import CAPTION_PROMPT, parse_caption
from seedvideo.training.answer_batches import collate
from seedvideo.training.answer_data import PhotoAnnotations
from seedvideo.training.answer_loss import forward_batch
from seedvideo.training.answer_questions import TrainingSequence
from seedvideo.training.collate import Encode, prefix_ids
from seedvideo.training.data import PLAIN_SIZE, CaptionRow, Photo, PhotoStore, resize_photo
from seedvideo.training.feature_cache import DeviceFeatureStore
from seedvideo.utils.timecode import Span

_BATCH_PHOTOS = 50
_MAX_NEW_TOKENS = 40


@dataclass(frozen=True)
class Scores:
    """Scores of captions against their references.

    Args:
        bleu: BLEU-1 to BLEU-4, from 0 to 100.
        cider_d: CIDEr-D in the usual scale, where good COCO models reach about 1.2.
        shuffled_bleu_4: BLEU-4 of the control.
        shuffled_cider_d: CIDEr-D of the control.
    """

    bleu: tuple[float, ...]
    cider_d: float
    shuffled_bleu_4: float
    shuffled_cider_d: float


@torch.inference_mode()
def caption_stills(
    model: SeedVL, tokenizer: Tokenizer, pictures: PhotoStore, *, beams: int
) -> list[str]:
    """Caption each photo with a model in evaluation mode."""
    row = CaptionRow(((0, 0),), (Fraction(0),), ())
    captions = []
    for first in range(0, len(pictures), _BATCH_PHOTOS):
        frames = pictures.resize(first, first + _BATCH_PHOTOS, PLAIN_SIZE)
        visual = model.encode_frames(list(frames))
        ids = [*prefix_ids(row, len(visual) // len(frames), tokenizer.encode), ANSWER_ID]
        prompt = model.embed(torch.tensor([ids] * len(frames), device=frames.device), visual)
        written = generate(model.decoder, prompt, max_new_tokens=_MAX_NEW_TOKENS, beams=beams)
        captions += [tokenizer.decode(mbr_select(answers).ids) for answers in written]
    return captions


def score_captions(captions: Sequence[str], photos: Sequence[Photo]) -> Scores:
    """Score captions against the photos' own references, and against those of other photos."""
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


_SLIDESHOW_PHOTOS = 3
_SLIDESHOW_FRAMES_PER_PHOTO = 2
_SLIDESHOW_SPACING_S = Fraction(2)

Pixels = NDArray[np.uint8]


def caption_frames(backend: Backend, frames: Sequence[Pixels]) -> tuple[str, bool]:
    """Caption frames two seconds apart; also return whether the model is confident."""
    timed = [(_SLIDESHOW_SPACING_S * index, pixels) for index, pixels in enumerate(frames)]
    answer = backend.generate(interleave(timed, CAPTION_PROMPT))
    return parse_caption(answer.text), answer.confident


def measure(
    backend: Backend,
    photos: Sequence[Photo],
    pictures: Sequence[Pixels],
    size_px: tuple[int, int],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Compute all caption metrics on one held-out split.

    Args:
        backend: the model.
        photos: photos with their captions.
        pictures: their pixels.
        size_px: height and width at which they are shown.
        progress: called with a progress message now and then.

    Returns:
        Plain values for JSON.
    """
    frames = [resize_photo(picture, size_px) for picture in pictures]
    captions, confident = [], 0
    for index, frame in enumerate(frames):
        caption, is_confident = caption_frames(backend, [frame])
        captions.append(caption)
        confident += is_confident
        if index % 100 == 99:
            progress(f"{index + 1} of {len(frames)} photos")
    scores = score_captions(captions, photos)
    videos, of_whole, of_best, shuffled = [], [], [], []
    for first in range(0, len(frames) - _SLIDESHOW_PHOTOS + 1, _SLIDESHOW_PHOTOS):
        indices = range(first, first + _SLIDESHOW_PHOTOS)
        references = [photos[i].captions for i in indices]
        slides = [frames[i] for i in indices for _ in range(_SLIDESHOW_FRAMES_PER_PHOTO)]
        videos.append(references)
        of_whole.append(caption_frames(backend, slides)[0])
        single = [captions[i] for i in indices]
        of_best.append(max(single, key=lambda text: _mentioned_fraction([text], [references])))
        if len(videos) % 50 == 0:
            progress(f"{len(videos)} of {len(frames) // _SLIDESHOW_PHOTOS} slideshows")
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
        "slideshow_mentioned": round(_mentioned_fraction(of_whole, videos), 3),
        "slideshow_precision": round(slideshow_score(of_whole, videos).precision, 3),
        "slideshow_best_single_mentioned": round(_mentioned_fraction(of_best, videos), 3),
        "slideshow_shuffled_mentioned": round(_mentioned_fraction(shuffled, videos), 3),
        "slideshow_examples": of_whole[:5],
    }


def _mentioned_fraction(
    captions: Sequence[str], videos: Sequence[Sequence[Sequence[str]]]
) -> float:
    """Return the fraction of the photos of all videos whose main nouns the captions mention."""
    return slideshow_score(captions, videos).mentioned


PHOTOS_PER_SLIDESHOW = 4
FRAMES_PER_PHOTO = 3
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
    """Find a caption of each photo, and one of a photo that is not shown.

    Args:
        backend: the model.
        photos: photos with their captions; each is shown at most once.
        pictures: their pixels.
        size_px: height and width at which they are shown.
        slideshows: number of slideshows of `PHOTOS_PER_SLIDESHOW` photos; the photo after each is
            the absent one.
        progress: called with a progress message now and then.

    Returns:
        Plain values for JSON: mean IoU and fraction with an IoU of at least 0.5 over all present
        photos, false-positive rate of absent ones, and the IoU of always answering with the whole
        video.
    """
    ious, falsely = [], []
    duration = SPACING_S * PHOTOS_PER_SLIDESHOW * FRAMES_PER_PHOTO
    length = SPACING_S * FRAMES_PER_PHOTO
    group = PHOTOS_PER_SLIDESHOW + 1
    for number in range(min(slideshows, len(photos) // group)):
        first = number * group
        slides = [resize_photo(pictures[first + i], size_px) for i in range(PHOTOS_PER_SLIDESHOW)]
        frames = [
            Frame(SPACING_S * (i * FRAMES_PER_PHOTO + turn), slides[i])
            for i in range(PHOTOS_PER_SLIDESHOW)
            for turn in range(FRAMES_PER_PHOTO)
        ]
        window = Span(Fraction(0), duration)
        bounds = frame_bounds([frame.pts for frame in frames], window)
        frame_set = FrameSet(frames=frames, window=window, duration=duration, bounds=bounds)
        for i in range(group):
            annotations = PhotoAnnotations.of(photos[first + i])
            text = annotations.captions[number % len(annotations.captions)]
            found = locate(backend, frame_set, text, top=1, thinking=False).moments
            if i == PHOTOS_PER_SLIDESHOW:
                falsely.append(bool(found))
                continue
            truth = (float(length * i), float(length * (i + 1)))
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
        "whole_video_iou": round(1 / PHOTOS_PER_SLIDESHOW, 3),
    }


@torch.inference_mode()
def exact_match_rates(
    model: AnswerBranch, rows: Sequence[TrainingSequence], store: DeviceFeatureStore, encode: Encode
) -> dict[str, tuple[float, int]]:
    """Return the fraction of exact greedy answers, and their number, by kind.

    A moment counts as right if the pointer selects exactly its frames.
    """
    model.eval()
    right: dict[str, list[bool]] = {}
    for row in rows:
        batch = collate([row], store.layout, encode).to(store.device)
        output = forward_batch(model, batch, store.gather(batch.token_indices))
        hits = output.logits.argmax(-1) == batch.labels
        assert model.pointer is not None
        frame_ends = output.last_states[batch.frame_ends].float()
        named_logits = (
            model.pointer(output.last_states[batch.answer_starts].float(), frame_ends) > 0
        )
        same = (named_logits == batch.pointed_frames).all(dim=1)
        for number, kind in enumerate(batch.kinds):
            is_exact = bool(hits[batch.pair_index == number].all())
            is_moment = kind.endswith("when")
            right.setdefault(kind, []).append(bool(same[number]) if is_moment else is_exact)
    return {kind: (sum(hits) / len(hits), len(hits)) for kind, hits in sorted(right.items())}
