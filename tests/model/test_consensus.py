"""Choosing the answer that agrees with the others, on answers small enough to count by hand."""

import math

import pytest

from seedvideo.model.generation import Written, most_agreed


def answer(*ids: int, rank: float = -1.0) -> Written:
    return Written(ids, rank * max(len(ids), 1), rank)


def test_the_odd_one_out_loses_though_it_is_likeliest() -> None:
    odd = answer(9, 8, 7, rank=-0.9)
    alike = [answer(1, 2, 3, 4), answer(1, 2, 3, 5), answer(1, 2, 3, 6)]
    assert most_agreed([odd, *alike]) == alike[0]


def test_a_low_temperature_leaves_the_likeliest() -> None:
    odd = answer(9, 8, 7, rank=-0.5)
    alike = [answer(1, 2, 3, 4, rank=-1.0), answer(1, 2, 3, 5, rank=-1.1)]
    assert most_agreed([odd, *alike], temperature=0.01) == odd


def test_worth_by_hand() -> None:
    # Runs in common of (1, 2) and (1, 3): F1 is 1/2 for single tokens, 0 for pairs, none longer.
    # So an answer's likeness to itself is 2/4 (two lengths that exist), to the other 0.5/4.
    one, other = answer(1, 2, rank=0.0), answer(1, 3, rank=math.log(3))
    # worth of one: (1 * 0.5 + 3 * 0.125) / 4; of the other: (1 * 0.125 + 3 * 0.5) / 4.
    assert most_agreed([one, other]) == other
    third = answer(1, 2, 4, rank=math.log(2.5))
    # One is now like the third in 2 * 2 / 5 of single tokens and 2 * 1 / 3 of pairs.
    # One: 0.5 + 3 * 0.125 + 2.5 * (0.8 + 2 / 3) / 4 = 1.79; other: 0.125 + 1.5 + 2.5 * 0.1 = 1.875;
    # third: (0.8 + 2 / 3) / 4 + 3 * 0.1 + 2.5 * 0.75 = 2.54.
    assert most_agreed([one, other, third]) == third


def test_equal_worth_takes_the_first_and_one_answer_is_itself() -> None:
    first, second = answer(1, 2), answer(3, 4)
    assert most_agreed([first, second]) == first
    assert most_agreed([second]) == second
    empty = answer()
    assert most_agreed([empty]) == empty


def test_nothing_to_choose_from() -> None:
    with pytest.raises(ValueError, match="no answers"):
        most_agreed([])
