"""Which kind of open question a text is: no model, only words."""

from importlib import import_module
from typing import Any

import pytest

from seedvideo.evaluate.synthetic import world
from seedvideo.evaluate.synthetic.dataset import FAMILIES, make_case
from seedvideo.model.open_answers import (
    COLOURS,
    KNOWN_ANSWERS,
    SHAPES,
    ParsedQuestion,
    find_action,
    find_things,
    parse_question,
)
from tests.doc_examples import ROOT


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script of the 100 questions."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module("open_questions")


def test_the_made_world_is_the_one_of_the_scenes() -> None:
    assert tuple(world.COLOURS) == COLOURS
    assert world.SHAPES == SHAPES


def test_every_synthetic_question_has_a_kind_and_a_known_answer() -> None:
    kind_of = {
        "colour": "colour",
        "what": "thing",
        "first": "thing",
        "last": "thing",
        "after": "thing",
        "where": "place",
        "direction": "direction",
        "count": "count",
        "kinds": "count",
        "happened": "yes_or_no",
        "before": "yes_or_no",
    }
    asked = [
        item
        for seed in range(700, 740)
        for family in FAMILIES
        for item in make_case(seed, family).items
        if item.task == "ask"
    ]
    assert {item.group["kind"] for item in asked} == set(kind_of)
    for item in asked:
        found = parse_question(item.question)
        assert found is not None, item.question
        assert found.kind == kind_of[item.group["kind"]], item.question
        assert item.answer in KNOWN_ANSWERS[found.kind], item.question
        assert found.wording in ("", item.question), "made videos are asked as they were"


@pytest.mark.parametrize(
    "question",
    [
        "What's happening?",
        "WHAT IS HAPPENING",
        "what’s going on in this clip??",
        "whats this",
        "Could you please describe the scene in one sentence?",
        "I'd like you to describe what you see.",
        "Summarise this footage, please.",
        "What are we looking at here?",
        "What can be seen in all these frames?",
        "Who appears in the film?",
        "What does this photo show?",
        "What kind of video is it?",
        "What are people doing?",
    ],
)
def test_paraphrases_of_a_request_for_a_description(question: str) -> None:
    assert parse_question(question) == ParsedQuestion("description")


@pytest.mark.parametrize(
    "question",
    [
        "What happens first?",
        "What happens after the ball is thrown?",
        "What is not shown?",
        "Who are you?",
        "What can you do?",
        "Where is this?",
        "When does it happen?",
        "Why is this happening?",
        "What is in the background?",
        "What does the sign say?",
        "Is it a dog or a cat?",
        "Are there more cats than dogs?",
        "How many more dogs than cats are there?",
        "Are there two dogs?",
        "Is there enough light to read?",
        "Is there anything wrong?",
        "Can you see why he fell?",
        "What colour is it?",
        "How many times does he jump?",
        "Which way does the man go?",
        "Beschreibe das Video",
        "?",
        "\N{ZERO WIDTH SPACE}",
    ],
)
def test_what_is_of_no_kind_that_was_learned(question: str) -> None:
    assert parse_question(question) is None


@pytest.mark.parametrize(
    ("question", "kind", "subject"),
    [
        ("What is the little girl in the red coat doing?", "action", "girl"),
        ("What does the man do?", "action", "man"),
        ("What color is the man's shirt?", "colour", "shirt"),
        ("What is the colour of the sky in this video?", "colour", "sky"),
        ("How many dogs can you see?", "count", "dogs"),
        ("How many people are in the video?", "count", "people"),
        ("Are there any people?", "yes_or_no", "people"),
    ],
)
def test_the_noun_that_a_question_is_about(question: str, kind: str, subject: str) -> None:
    found = parse_question(question)
    assert found is not None
    assert (found.kind, found.subject) == (kind, subject)


@pytest.mark.parametrize(
    ("question", "wording"),
    [
        ("What color is the man's shirt?", "What colour is the man's shirt?"),
        ("which colours are the cars", "What colour are the cars?"),
        ("What is the color of her hair?", "What colour is the hair?"),
        ("How many small dogs can you see in this clip?", "How many small dogs are there?"),
        ("Are there any people?", "Is there a person?"),
        ("Do you see an orange cat?", "Is there an orange cat?"),
        ("Can we see the puppies?", "Is there a puppy?"),
        ("Does a person appear?", "Is there a person?"),
        ("Is a bench visible in the picture?", "Is there a bench?"),
    ],
)
def test_a_question_is_put_as_training_put_it(question: str, wording: str) -> None:
    found = parse_question(question)
    assert found is not None
    assert found.wording == wording


def test_the_questions_of_the_benchmark(benchmark: Any) -> None:
    assert len(set(benchmark.QUESTIONS)) == 100
    described = [
        q for q in benchmark.QUESTIONS if parse_question(q) == ParsedQuestion("description")
    ]
    assert described == list(benchmark.DESCRIBE)


@pytest.mark.parametrize(
    ("answer", "question", "problem"),
    [
        ("A man rides a bike, then two dogs run.", "What happens?", ""),
        ("white", "What moves?", ""),
        ("s", "What moves?", "not a known word"),
        ("jttom", "What moves?", "not a known word"),
        ("wearing a blue shirt and", "What moves?", "ends in 'and'"),
        ("wearing a black and white", "What moves?", "a colour without its noun"),
        ("a a a dog", "What moves?", "twice in a row"),
        ("down", "What happens?", "too short"),
        ("purplesing on a", "What moves?", "not a known word"),
        ("a dog</think>", "What moves?", "other characters than words"),
        ("", "What happens?", ""),
    ],
)
def test_the_rule_of_the_benchmark_for_a_complete_phrase(
    benchmark: Any, answer: str, question: str, problem: str
) -> None:
    found = benchmark.GivenAnswer("x.mp4", question, answer, True, "words").problem
    assert problem in found
    assert bool(found) == bool(problem)


def test_things_are_found_in_the_singular_and_once() -> None:
    assert find_things("Two red crosses; the red cross, a BLUE ball; a redder ball") == (
        "red cross",
        "blue ball",
    )


@pytest.mark.parametrize(
    ("description", "subject", "action"),
    [
        ("a man in a hat is riding a bike on a street", "man", "riding a bike on a street"),
        ("a dog sits, then a man is running", "man", "running"),
        ("a man standing in front of a building", "man", "standing in front of a building"),
        ("a little boy is jumping into a pool", "child", "jumping into a pool"),
        ("a woman in a swimming pool is waving", "person", "waving"),
        ("two dogs are running", "dogs", "running"),
        ("a man in a building", "man", None),
        ("a man is looking at the", "man", None),
        ("a man is riding a bike", "dog", None),
        ("a snowman is melting", "man", None),
    ],
)
def test_an_action_is_a_complete_clause_of_the_description(
    description: str, subject: str, action: str | None
) -> None:
    assert find_action(description, subject) == action
