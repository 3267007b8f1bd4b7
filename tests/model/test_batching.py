"""Calls side by side: what is asked at once, in what order calls run, and whose error is whose."""

import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from seedvideo.errors import ConfigError, ModelError
from seedvideo.model.backends.base import (
    Choice,
    ChoiceResult,
    Generation,
    ModelDetails,
    Part,
    SupportsBatches,
    TextPart,
    interleave,
)
from seedvideo.model.batching import BatchingBackend, resolve_concurrency
from tests.synthetic_clips import COLOURS, ColourModel


class BatchModel(ColourModel):
    """A colour model that answers several prompts at once. The prompt "bad" has no answer."""

    details = ModelDetails(source="folder", family="colours")

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()

    def generate(self, parts: Sequence[Part], **settings: Any) -> Generation:
        (answer,) = self.generate_batch([parts], **settings)
        return answer

    def generate_batch(
        self, prompts: Sequence[Sequence[Part]], **settings: Any
    ) -> list[Generation]:
        words = [part.text for parts in prompts if isinstance(part := parts[-1], TextPart)]
        self.batches.append(words)
        self.threads.add(threading.get_ident())
        if "bad" in words:
            raise ModelError("model.tokens_differ", "not as planned")
        return [super(BatchModel, self).generate(parts) for parts in prompts]

    def choose(
        self, parts: Sequence[Part], candidates: Sequence[str], **settings: Any
    ) -> ChoiceResult:
        self.threads.add(threading.get_ident())
        made = super().generate(parts)
        first = [text.casefold() for text in candidates].index(made.text)
        order = sorted(range(len(candidates)), key=lambda place: place != first)
        ranked = tuple(Choice(place, 1 / len(candidates)) for place in order)
        return ChoiceResult(ranked, made.confident, made.familiarity, None, made.usage)


def prompt(colour: str, words: str) -> list[Part]:
    return interleave([(Fraction(0), np.full((16, 16, 3), COLOURS[colour], np.uint8))], words)


def make() -> tuple[BatchModel, BatchingBackend]:
    model = BatchModel()
    assert isinstance(model, SupportsBatches)
    return model, BatchingBackend(model)


def ask(backend: BatchingBackend, colour: str, words: str, **settings: Any) -> Callable[[], str]:
    return lambda: backend.generate(prompt(colour, words), **settings).text


def test_prompts_of_calls_are_answered_at_once_in_the_callers_thread() -> None:
    model, backend = make()
    texts = backend.run_together(
        [ask(backend, "red", "1"), ask(backend, "blue", "2"), ask(backend, "green", "3")]
    )
    assert texts == ["red", "blue", "green"]
    assert model.batches == [["1", "2", "3"]]
    assert model.threads == {threading.get_ident()}


def test_calls_of_several_prompts_stay_side_by_side() -> None:
    model, backend = make()

    def several(colours: Sequence[str]) -> list[str]:
        return [backend.generate(prompt(each, f"{len(colours)}")).text for each in colours]

    answers = backend.run_together(
        [lambda: several(["red"]), lambda: several(["blue", "red"]), lambda: several([])]
    )
    assert answers == [["red"], ["blue", "red"], []]
    assert model.batches == [["1", "2"], ["2"]]


def test_only_prompts_with_the_same_settings_are_answered_at_once() -> None:
    model, backend = make()
    calls = [
        ask(backend, "red", "1", task="ask"),
        ask(backend, "red", "2", task="ground"),
        ask(backend, "red", "3", task="ask"),
    ]
    assert backend.run_together(calls) == ["red"] * 3
    assert model.batches == [["1", "3"], ["2"]]


def test_a_prompt_without_an_answer_fails_its_own_call_only() -> None:
    model, backend = make()
    good, bad, other = backend.run_together(
        [ask(backend, "red", "1"), ask(backend, "red", "bad"), ask(backend, "blue", "2")]
    )
    assert (good, other) == ("red", "blue")
    assert isinstance(bad, ModelError)
    assert bad.code == "model.tokens_differ"
    assert model.batches == [["1", "bad", "2"], ["1"], ["bad"], ["2"]]


def test_an_error_of_a_call_is_its_outcome() -> None:
    _, backend = make()

    def wrong() -> str:
        backend.generate(prompt("red", "1"))
        raise ZeroDivisionError

    first, second = backend.run_together([wrong, ask(backend, "blue", "2")])
    assert isinstance(first, ZeroDivisionError)
    assert second == "blue"


def test_options_are_ranked_in_the_callers_thread() -> None:
    model, backend = make()

    def choose() -> int:
        return backend.choose(prompt("red", "1"), ["blue", "red"], task="ask").ranked[0].index

    assert backend.run_together([choose, choose]) == [1, 1]
    assert model.threads == {threading.get_ident()}


def test_outside_of_a_batch_it_is_the_model() -> None:
    model, backend = make()
    assert backend.generate(prompt("red", "1")).text == "red"
    assert (backend.name, backend.sha256) == (model.name, model.sha256)
    assert (backend.geometry, backend.details) == (model.geometry, model.details)
    assert backend.count_text_tokens("two words") == 2
    assert backend.frame_text_tokens(Fraction(1)) == model.frame_text_tokens(Fraction(1))


class OnServer(ColourModel):
    details = ModelDetails(source="server", family="colours")


def test_requests_at_once() -> None:
    assert resolve_concurrency(OnServer(), batch_size=1, concurrency=None) == 4
    assert resolve_concurrency(OnServer(), batch_size=1, concurrency=9) == 9
    assert resolve_concurrency(BatchModel(), batch_size=8, concurrency=None) == 1
    assert resolve_concurrency(ColourModel(), batch_size=1, concurrency=None) == 1


@pytest.mark.parametrize(
    ("model", "batch_size", "concurrency"),
    [(OnServer(), 2, None), (ColourModel(), 2, None), (BatchModel(), 1, 4), (ColourModel(), 1, 1)],
)
def test_what_has_no_effect_is_refused(
    model: ColourModel, batch_size: int, concurrency: int | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_concurrency(model, batch_size=batch_size, concurrency=concurrency)
    assert caught.value.code == "config.invalid"
