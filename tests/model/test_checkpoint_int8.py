"""Numbers in one byte with a scale a row: how far off they may be, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seedvideo.model.checkpoint import dequantize, pack_int8, quantize, unpack_int8


def test_by_hand() -> None:
    # Scales 1 and 0.5: each number is the nearest multiple, halves to the even one.
    tensor = torch.tensor([[127.0, -3.4, 2.5], [63.5, -63.5, 0.3], [0.0, 0.0, 0.0]])
    numbers, scale = quantize(tensor)
    assert numbers.tolist() == [[127, -3, 2], [127, -127, 1], [0, 0, 0]]
    assert scale.tolist() == [1.0, 0.5, 0.0]
    assert dequantize(numbers, scale).tolist() == [[127, -3, 2], [63.5, -63.5, 0.5], [0, 0, 0]]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**31),
    power=st.integers(-30, 20),
    shape=st.sampled_from([(5, 7), (3, 2, 3)]),
)
def test_no_number_is_off_by_more_than_half_a_scale(
    seed: int, power: int, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(shape, generator=generator) * 2.0**power
    numbers, scale = quantize(tensor)
    assert (numbers.dtype, scale.dtype, scale.shape) == (torch.int8, torch.float16, shape[:1])
    off = (dequantize(numbers, scale) - tensor).abs().flatten(1).amax(dim=1)
    # A scale in half precision has few bits below 2^-17.
    allowed = torch.where(scale < 2**-17, 4e-6, scale.float() / 2 * 1.0001)
    assert bool((off <= allowed).all())


@given(seed=st.integers(0, 2**31))
def test_the_second_time_changes_nothing(seed: int) -> None:
    tensor = torch.randn(4, 9, generator=torch.Generator().manual_seed(seed))
    numbers, scale = quantize(tensor)
    again = quantize(dequantize(numbers, scale))
    assert torch.equal(again[0], numbers) and torch.equal(again[1], scale)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(4), "has no rows to scale"),
        (torch.tensor(1.0), "has no rows to scale"),
        (torch.full((2, 2), torch.nan), "not finite"),
        (torch.full((2, 2), torch.inf), "not finite"),
        (torch.full((2, 2), 1e8), "too large"),
    ],
)
def test_what_cannot_be_scaled_is_refused(tensor: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize(tensor)


def test_names_on_disk() -> None:
    weights = {"a": torch.ones(2, 3), "b": torch.ones(2, 3), "c": torch.ones(3)}
    stored = pack_int8(weights, frozenset({"b"}), torch.float16)
    assert list(stored) == ["a", "b.q8", "b.scale", "c"]
    assert [value.dtype for value in stored.values()] == [
        torch.float16,
        torch.int8,
        torch.float16,
        torch.float16,
    ]
    back = unpack_int8(stored)
    assert set(back) == set(weights)
    assert torch.equal(back["a"], weights["a"].half())
    torch.testing.assert_close(back["b"], weights["b"], atol=1e-3, rtol=0)


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot store x as int8: no such weight"):
        pack_int8({"a": torch.ones(2, 3)}, frozenset({"x"}), torch.float16)
