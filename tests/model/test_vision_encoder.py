"""Seed-ViT: packing, 2D RoPE, pooling, the published size, linear memory."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.model.layers import angles_2d, rotate
from seedvideo.model.seedvl import SeedVLConfig
from seedvideo.model.vision_encoder import FrameAttention, SeedViT, VitConfig, group_by_size, pool
from seedvideo.sampler.geometry import TOKEN_PX
from tests.tiers import examples

TINY = VitConfig(width=64, depth=2, heads=2)

# float32 sums in another order differ in the last bits; activations are of the order of 1.
TOLERANCE = 1e-4


def tiny_vit() -> SeedViT:
    torch.manual_seed(0)
    return SeedViT(TINY).eval()


def frame(height_tokens: int, width_tokens: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = (height_tokens * TOKEN_PX, width_tokens * TOKEN_PX, 3)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


def test_packed_frames_equal_frames_alone() -> None:
    vit = tiny_vit()
    frames = [frame(2, 3, 1), frame(2, 3, 2), frame(4, 1, 3), frame(2, 3, 4), frame(1, 1, 5)]
    with torch.inference_mode():
        packed = vit(frames)
        alone = torch.cat([vit([one]) for one in frames])
    assert packed.shape == (6 + 6 + 4 + 6 + 1, TINY.width)
    torch.testing.assert_close(packed, alone, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_frame_does_not_see_its_neighbours() -> None:
    vit = tiny_vit()
    with torch.inference_mode():
        first = vit([frame(2, 2, 1), frame(2, 2, 2)])[:4]
        second = vit([frame(2, 2, 1), frame(2, 2, 99)])[:4]
    torch.testing.assert_close(first, second, atol=TOLERANCE, rtol=TOLERANCE)


@examples(20)
@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_any_multiple_of_28_px_works(height: int, width: int) -> None:
    with torch.inference_mode():
        tokens = tiny_vit()([frame(height, width, 1)])
    assert tokens.shape == (height * width, TINY.width)
    assert bool(torch.isfinite(tokens).all())


@pytest.mark.parametrize("size", [(28, 27), (14, 28), (0, 28), (29, 56)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 28 px"):
        tiny_vit()([torch.zeros((*size, 3), dtype=torch.uint8)])


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="no frames"):
        tiny_vit()([])


def test_attention_depends_on_relative_positions_only() -> None:
    torch.manual_seed(1)
    q, k = torch.randn(2, 12, 64)
    rows, columns = torch.arange(12) // 4, torch.arange(12) % 4

    def products(row_offset: int, column_offset: int) -> torch.Tensor:
        angles = angles_2d(rows + row_offset, columns + column_offset, 64)
        return rotate(q, angles) @ rotate(k, angles).T

    # Larger angles lose bits in float32's sine: 1e-3 of products of the order of 10.
    torch.testing.assert_close(products(0, 0), products(37, 11), atol=1e-3, rtol=1e-3)
    row_only, column_only = products(1, 0), products(0, 0)
    torch.testing.assert_close(row_only, column_only, atol=1e-3, rtol=1e-3)


def test_rows_and_columns_are_distinguished() -> None:
    torch.manual_seed(1)
    q, k = torch.randn(1, 64), torch.randn(1, 64)

    def product(row: int, column: int) -> torch.Tensor:
        turned = rotate(k, angles_2d(torch.tensor([row]), torch.tensor([column]), 64))
        return rotate(q, angles_2d(torch.tensor([0]), torch.tensor([0]), 64)) @ turned.T

    assert (product(3, 0) - product(0, 3)).abs() > 0.1


def test_the_model_itself_uses_positions() -> None:
    vit = tiny_vit()
    picture = frame(2, 2, 7)
    with torch.inference_mode():
        upright = vit([picture]).mean(dim=0)
        mirrored = vit([picture.flip(0)]).mean(dim=0)
    assert (upright - mirrored).abs().max() > 1e-3


def test_pool_averages_squares_of_four() -> None:
    # A grid of 2x4 patches, numbered row by row.
    patches = torch.arange(8.0).view(8, 1)
    pooled = pool(patches, [(2, 4)])
    assert pooled.flatten().tolist() == [(0 + 1 + 4 + 5) / 4, (2 + 3 + 6 + 7) / 4]


def test_runs_split_where_sizes_change() -> None:
    grids = [(2, 2), (2, 2), (4, 1), (2, 2)]
    assert list(group_by_size(grids)) == [(0, 8, 2), (8, 12, 1), (12, 16, 1)]


def test_attention_never_sees_the_packed_length(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Size, object]] = []
    real = torch.nn.functional.scaled_dot_product_attention

    def watch(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: object) -> torch.Tensor:
        seen.append((q.shape, options.get("attn_mask")))
        return real(q, k, v)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watch)
    attention = FrameAttention(TINY)
    grids = [(2, 2)] * 50
    angles = torch.zeros(200, 16)
    attention(torch.randn(200, 64), angles, grids)
    assert seen == [(torch.Size((50, 2, 4, 32)), None)]


def test_published_encoder_has_532_million_parameters() -> None:
    with torch.device("meta"):
        vit = SeedViT(SeedVLConfig.published().vit)
    count = sum(parameter.numel() for parameter in vit.parameters())
    assert count == pytest.approx(532e6, rel=0.005)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="heads do not divide"):
        VitConfig(width=64, depth=1, heads=3)
