"""Answers side by side in one sequence are worth the same as alone."""

from fractions import Fraction

import numpy as np
import torch

from seedvideo.model.metadata import ANSWER_ID, END_ID, IMAGE_ID
from seedvideo.model.seedvl import SeedVL
from seedvideo.training.collate import Batch, attention_mask, collate
from seedvideo.training.data import CaptionRow
from tests.training.sample_data import VOCABULARY, encode, make_model, make_views

VIEWS = make_views(4, [(64, 128)])
PICTURES = torch.randint(0, 256, (4, 64, 128, 3), generator=torch.Generator().manual_seed(1)).to(
    torch.uint8
)
LONG = CaptionRow(((0, 0), (1, 0)), (Fraction(0), Fraction(3, 2)), ("red", "a longer answer", "b"))
SHORT = CaptionRow(((2, 0),), (Fraction(0),), ("blue",))


def batch_of(*rows: CaptionRow, token_dropout: float = 0.0) -> Batch:
    return collate(rows, VIEWS, encode, token_dropout=token_dropout, rng=np.random.default_rng(0))


def logits(model: SeedVL, batch: Batch) -> torch.Tensor:
    frames = torch.stack([PICTURES[photo] for photo in batch.photos])
    mask = attention_mask(batch.groups, batch.hidden)
    with torch.inference_mode():
        visual = model.encode_frames(list(frames))
        x = model.embed(batch.ids, visual)
        hidden = model.decoder(x, positions=batch.positions, mask=mask)
        return model.decoder.logits(hidden.flatten(0, 1)[batch.sources])


def test_packed_answers_equal_answers_alone() -> None:
    model = make_model(VOCABULARY).eval()
    packed = logits(model, batch_of(LONG, SHORT))
    alone = [
        logits(model, batch_of(CaptionRow(row.frames, row.times, (answer,))))
        for row in (LONG, SHORT)
        for answer in row.answers
    ]
    # float32 sums in another order.
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_labels_are_the_answers_and_their_ends() -> None:
    batch = batch_of(LONG, SHORT)
    wanted = [[*encode(answer), END_ID] for row in (LONG, SHORT) for answer in row.answers]
    assert batch.labels.tolist() == [token for answer in wanted for token in answer]
    starts = (batch.ids == ANSWER_ID).sum()
    assert int(starts) == 4


def test_positions_go_on_from_the_prompt_in_every_answer() -> None:
    batch = batch_of(LONG)
    starts = (batch.ids[0] == ANSWER_ID).nonzero().flatten()
    assert len(set(batch.positions[0, starts].tolist())) == 1
    assert batch.positions[0, starts[0]] == starts[0]


def test_dropped_visual_tokens_are_seen_by_themselves_alone() -> None:
    batch = batch_of(LONG, SHORT, token_dropout=1.0)
    seen_by = attention_mask(batch.groups, batch.hidden).sum(dim=1)
    places = batch.ids == IMAGE_ID
    assert bool(places.any())
    assert set(seen_by[places].tolist()) == {1}


def test_a_visual_token_for_every_place() -> None:
    batch = batch_of(LONG, SHORT)
    # 64x128 px at 64 px a token: two tokens a frame.
    assert batch.size_px == (64, 128)
    assert batch.grids == [(2, 4)] * 3
    assert batch.photos == [0, 1, 2]
    assert batch.mirrored == [False, True, False]
    assert int((batch.ids == IMAGE_ID).sum()) == 3 * 2
