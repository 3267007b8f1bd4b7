"""A prepared video on its way from one process to another: what arrives is what was sent."""

import os
from pathlib import Path

import numpy as np
import pytest

from seedvideo import pipeline
from seedvideo.batch.execution import from_memfd, read_contact_sheet, to_memfd
from tests.synthetic_clips import ColourModel, paint


@pytest.mark.parametrize("sheet", [b"", b"a picture"])
def test_a_prepared_clip_survives_the_transfer(tmp_path: Path, sheet: bytes) -> None:
    clip = paint(tmp_path / "clip.mp4", ["red", "green", "blue"], shot_s=2.0)
    sent = pipeline.prepare(clip, model=ColourModel(), dense=True)
    assert len(sent.frame_sets) > 2
    descriptor = to_memfd(sent, sheet=sheet)
    try:
        assert read_contact_sheet(descriptor) == (sheet or None)
        received = from_memfd(descriptor)
    finally:
        os.close(descriptor)
    come = received.prepared
    assert received.sheet == sheet
    assert (come.source, come.media, come.plan) == (sent.source, sent.media, sent.plan)
    assert come.spent_s == sent.spent_s
    for one, other in zip(come.frame_sets, sent.frame_sets, strict=True):
        assert (one.window, one.duration, one.bounds) == (
            other.window,
            other.duration,
            other.bounds,
        )
        for frame, sent_frame in zip(one.frames, other.frames, strict=True):
            assert frame.pts == sent_frame.pts
            assert np.array_equal(frame.pixels, sent_frame.pixels)
