"""Thumbnails: the squares of the picture that tokens stand for, small."""

import torch

from seedvideo.model.vision_encoder import THUMBNAIL_PX, make_thumbnails, scale_thumbnails


def test_thumbnails_are_the_squares_of_their_tokens() -> None:
    frames = torch.zeros((1, 128, 192, 3), dtype=torch.uint8)
    frames[0, 64:128, 128:192, 0] = 200  # the last of six tokens, red
    small = make_thumbnails(frames, 64)
    assert small.shape == (1, 6, 3 * THUMBNAIL_PX**2)
    assert small[0, :5].max() == 0
    red, others = small[0, 5].split((THUMBNAIL_PX**2, 2 * THUMBNAIL_PX**2))
    assert red.min() == 200 and others.max() == 0
    assert scale_thumbnails(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
