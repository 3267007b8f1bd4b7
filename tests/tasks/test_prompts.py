"""A model's raw answer becomes one sentence, or an error with a code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import ModelError
from seedvideo.tasks.prompts import parse_caption


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a man rides a bike", "A man rides a bike."),
        ("  two   dogs\nrun . ", "Two dogs run."),
        ("Is it a cat?", "Is it a cat?"),
        ("a dog , a cat .", "A dog, a cat."),
        ("éclairs on a plate.", "Éclairs on a plate."),
        ("3 men", "3 men."),
        ("a dog runs, then a dog runs, then a cat sits", "A dog runs, then a cat sits."),
        ("A dog runs, then a dog runs.", "A dog runs."),
        ("a dog, then a cat, then a dog", "A dog, then a cat, then a dog."),
    ],
)
def test_a_sentence(raw: str, clean: str) -> None:
    assert parse_caption(raw) == clean


@pytest.mark.parametrize("raw", ["", "   ", ".", " \n. , "])
def test_an_empty_answer_is_an_error(raw: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_caption(raw)
    assert caught.value.code == "model.empty_answer"


@given(st.text() | st.lists(st.sampled_from(["a", "B.", "b", " ", ",", "then", "!"])).map(" ".join))
def test_parsing_twice_changes_nothing(raw: str) -> None:
    if any(character.isalnum() for character in raw):
        once = parse_caption(raw)
        assert parse_caption(once) == once
