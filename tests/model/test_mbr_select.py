"""Choosing the answer that agrees with the others, on answers small enough to count by hand."""

import math

import pytest

from seedvideo.model.generation import Hypothesis, mbr_select


def answer(*ids: int, score: float = -1.0) -> Hypothesis:
    return Hypothesis(ids, score * max(len(ids), 1), score)


def test_the_odd_one_out_loses_though_it_is_likeliest() -> None:
    odd = answer(9, 8, 7, score=-0.9)
    alike = [answer(1, 2, 3, 4), answer(1, 2, 3, 5), answer(1, 2, 3, 6)]
    assert mbr_select([odd, *alike]) == alike[0]


def test_a_low_temperature_leaves_the_likeliest() -> None:
    odd = answer(9, 8, 7, score=-0.5)
    alike = [answer(1, 2, 3, 4, score=-1.0), answer(1, 2, 3, 5, score=-1.1)]
    assert mbr_select([odd, *alike], temperature=0.01) == odd


def test_utility_by_hand() -> None:
    # Runs in common of (1, 2) and (1, 3): F1 is 1/2 for single tokens, 0 for pairs, none longer.
    # So an answer's similarity to itself is 2/4 (two lengths that exist), to the other 0.5/4.
    one, other = answer(1, 2, score=0.0), answer(1, 3, score=math.log(3))
    # utility of one: (1 * 0.5 + 3 * 0.125) / 4; of the other: (1 * 0.125 + 3 * 0.5) / 4.
    assert mbr_select([one, other]) == other
    third = answer(1, 2, 4, score=math.log(2.5))
    # One is now like the third in 2 * 2 / 5 of single tokens and 2 * 1 / 3 of pairs.
    # One: 0.5 + 3 * 0.125 + 2.5 * (0.8 + 2 / 3) / 4 = 1.79; other: 0.125 + 1.5 + 2.5 * 0.1 = 1.875;
    # third: (0.8 + 2 / 3) / 4 + 3 * 0.1 + 2.5 * 0.75 = 2.54.
    assert mbr_select([one, other, third]) == third


def test_of_equal_utilities_the_first_is_taken() -> None:
    first, second = answer(1, 2), answer(3, 4)
    assert mbr_select([first, second]) == first
    assert mbr_select([second]) == second
    empty = answer()
    assert mbr_select([empty]) == empty


def test_nothing_to_choose_from() -> None:
    with pytest.raises(ValueError, match="no answers"):
        mbr_select([])
