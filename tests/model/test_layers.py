"""The reader adds what was pointed at, of a question's own video alone."""

import pytest
import torch

from seedvideo.model.language_model import DecoderConfig
from seedvideo.model.layers import EvidenceFusion
from seedvideo.model.seedvl import AnswerBranch, AnswerConfig

WIDTH = 8
DECODER = DecoderConfig(vocabulary=20, width=WIDTH, depth=1, heads=2, kv_heads=1, hidden=8)


def test_evidence_is_of_the_frames_that_are_pointed_at() -> None:
    frames = torch.arange(3.0).unsqueeze(1).expand(3, WIDTH)
    is_own = torch.ones(1, 3, dtype=torch.bool)
    named, held = torch.tensor([[20.0, -20, -20]]), torch.tensor([[-20.0, -20, 4]])
    found = EvidenceFusion(WIDTH).evidence(named, held, frames, is_own)[0]
    assert found[:WIDTH].tolist() == pytest.approx([0.0] * WIDTH, abs=1e-6)
    assert found[WIDTH : 2 * WIDTH].tolist() == pytest.approx([2.0] * WIDTH, abs=1e-6)
    # Two frames later, of three; as sure as can be, and half as sure.
    later = torch.tanh(torch.tensor(2.0)).item()
    assert found[2 * WIDTH :].tolist() == pytest.approx([1.0, 0.5, later, 2 / 3], abs=1e-5)
    turned = EvidenceFusion(WIDTH).evidence(held, named, frames, is_own)[0, 2 * WIDTH :]
    assert turned.tolist() == pytest.approx([0.5, 1.0, -later, -2 / 3], abs=1e-5)


def test_other_videos_of_a_batch_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(5, WIDTH, generator=generator)
    named, held = torch.randn(2, 2, 5, generator=generator)
    is_own = torch.tensor([[True, True, False, False, False], [False, False, True, True, True]])
    reader = EvidenceFusion(WIDTH)
    together = reader.evidence(named, held, frames, is_own)
    for row, own in enumerate((slice(0, 2), slice(2, 5))):
        of_row = slice(row, row + 1)
        all_of_it = torch.ones(1, frames[own].shape[0], dtype=torch.bool)
        alone = reader.evidence(named[of_row, own], held[of_row, own], frames[own], all_of_it)
        torch.testing.assert_close(together[of_row], alone)


def test_a_reader_of_zeros_changes_nothing() -> None:
    reader = EvidenceFusion(WIDTH)
    with torch.no_grad():
        reader.out.weight.zero_()
        reader.out.bias.zero_()
    states = torch.randn(4, WIDTH)
    evidence = torch.randn(1, 2 * WIDTH + 4)
    assert torch.equal(reader(states, evidence), states)


def test_a_reader_needs_a_pointer() -> None:
    with pytest.raises(ValueError, match="no pointer"):
        AnswerConfig(adapter_hidden=8, decoder=DECODER, reader=True)


def test_a_branch_without_a_reader_reads_nothing() -> None:
    branch = AnswerBranch(8, AnswerConfig(adapter_hidden=8, decoder=DECODER, pointer=True))
    states = torch.randn(1, 4, WIDTH)
    assert torch.equal(branch.fuse_evidence(states, torch.tensor([1, 3]))(states[0]), states[0])
