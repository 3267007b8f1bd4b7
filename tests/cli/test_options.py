"""How the words of a command line are read."""

from fractions import Fraction
from typing import get_args

import pytest
import typer

from seedvideo import config
from seedvideo.cli import option_values, options
from seedvideo.config import PRESET_FPS
from seedvideo.media.reader import DecoderName
from seedvideo.sampler.policies import POLICIES


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("81920", 81_920), ("81_920", 81_920), ("81,920", 81_920), ("8k", 8_000), (" 8K ", 8_000)],
)
def test_budgets(text: str, tokens: int) -> None:
    assert option_values.parse_budget(text) == tokens


@pytest.mark.parametrize(
    "text", ["", "k", "0", "0k", "-1", "1.5k", "8kk", "many", "٣", "1e3", "8 k"]
)
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="such as 81920 or 8k"):
        option_values.parse_budget(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e9", "fast", ""])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="rate"):
        option_values.parse_rate(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", Fraction(0)),
        ("90", Fraction(90)),
        ("12.345", Fraction(12345, 1000)),
        ("1e3", Fraction(1000)),
        ("1.", Fraction(1)),
        ("1:30", Fraction(90)),
        ("1:02:03.5", Fraction(7447, 2)),
        ("100:00", Fraction(6000)),
    ],
)
def test_times(text: str, moment: Fraction) -> None:
    assert option_values.parse_time(text) == moment


@pytest.mark.parametrize("text", ["", "-1", "1:", ":5", "1:2:3:4", "inf", "5s", "٣", "1" * 40])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="such as 90"):
        option_values.parse_time(text)


def test_levels_and_fractions() -> None:
    assert option_values.parse_levels("640, 128") == (640, 128)
    assert option_values.parse_fraction("0.25") == 0.25
    for text in ("", "640,", "a", "-1", "1.5"):
        with pytest.raises(typer.BadParameter, match="640,256,128"):
            option_values.parse_levels(text)
    for text in ("", "1.1", "-0.1", "nan", "half"):
        with pytest.raises(typer.BadParameter, match="from 0 to 1"):
            option_values.parse_fraction(text)


def test_a_rate_is_meant_in_decimals() -> None:
    assert options.rate_to_fraction(option_values.parse_rate("29.97")) == Fraction(2997, 100)
    assert options.rate_to_fraction(None) is None


def test_choices_are_those_of_the_public_functions() -> None:
    assert set(config.SHIPPED_POLICIES) == set(POLICIES)
    assert option_values.parse_policy("uniform") == "uniform"
    assert set(get_args(options.RatePreset)) == set(PRESET_FPS) == set(get_args(config.RatePreset))
    assert get_args(options.Decoder) == get_args(DecoderName)
