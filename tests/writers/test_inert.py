"""Text from files and models loses its power over terminals, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.utils.text import one_line, printable, printable_lines

HOSTILE = ["\x1b[2J", "\x07", "\x00", "\x9b31m", "\u202e", "\u2066", "\udcff", "\u2028", "\x7f"]


@pytest.mark.parametrize("character", HOSTILE)
def test_a_name_shows_what_it_hides(character: str) -> None:
    shown = printable(f"a{character}b.mp4")
    assert character[0] not in shown
    assert shown.startswith("a\\")
    assert shown.isprintable()


@pytest.mark.parametrize("character", HOSTILE)
def test_prose_loses_it(character: str) -> None:
    assert character[0] not in one_line(f"a dog{character} runs")


@pytest.mark.parametrize(
    "name", ["clip.mp4", "bébé à vélo.mp4", "自転車.mp4", "a b (1).mp4", "👩\u200d🚀.mp4"]
)
def test_honest_names_stay(name: str) -> None:
    assert printable(name) == name


@given(st.text(st.characters(categories=None)))
def test_any_name_is_one_line_that_encodes(name: str) -> None:
    shown = printable(name)
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(st.text(st.characters(categories=None)))
def test_any_prose_is_one_tidy_line(text: str) -> None:
    line = one_line(text)
    assert line == " ".join(line.split())
    assert len(line.splitlines()) <= 1
    line.encode()


def test_lines_stay_lines() -> None:
    assert printable_lines("a\x1bb\nc") == "a\\x1bb\nc"
