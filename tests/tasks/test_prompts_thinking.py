"""Reasoning and answer are separated, wherever the tags are."""

import pytest

from seedvideo.tasks.prompts import add_think_suffix, split_reasoning, strip_answer_tags


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("<think>It is red.</think>A. red", "It is red.", "A. red"),
        ("<think>\nline\nline\n</think>\n\n A ", "line\nline", "A"),
        ("A. red", None, "A. red"),
        ("  A. red\n", None, "A. red"),
        ("<think></think>A", None, "A"),
        ("<think>\n\n</think>\n\nA", None, "A"),
        ("It is red.</think>A", "It is red.", "A"),  # the mark before stood in the prompt
        ("<think>It is red and", "It is red and", ""),  # cut off
        ("<think>a</think>b<think>c</think>d", "a b c", "d"),
        ("Well. <think>It is.</think>A", "Well.  It is.", "A"),
        ("<THINK>a</THINK>b", "a", "b"),
        ("<thinking>a</thinking>b", "a", "b"),
        ("<think>a</think>", "a", ""),
        ("", None, ""),
    ],
)
def test_split(text: str, thought: str | None, answer: str) -> None:
    assert split_reasoning(text) == (thought, answer)


def test_the_request_for_reasoning_is_the_trained_one() -> None:
    assert add_think_suffix("What? Answer.", thinking=False) == "What? Answer."
    assert add_think_suffix("What? Answer.", thinking=True) == (
        "What? Answer. First think, between <think> and </think>."
    )


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So: <answer>A</answer>.", "A"),
        ("<answer>A</answer><answer> B </answer>", "B"),
        ("<answer>A", "A"),
        ("A", "A"),
    ],
)
def test_answer_tags(text: str, answer: str) -> None:
    assert strip_answer_tags(text) == answer
