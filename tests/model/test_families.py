"""Every family of open-weight models, by a tiny checkpoint: what a plan says is what a model reads.

A test named ``test_<column>`` of a family is a cell in the table of families in the documentation;
`DOES_NOT_APPLY` has the cells that have none.
"""

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch

import seedvideo
from seedvideo.errors import ModelError
from seedvideo.model import load, load_costs
from seedvideo.model.backends.base import Part, interleave
from seedvideo.model.backends.transformers import TransformersBackend
from seedvideo.model.families import FAMILIES, find_family
from seedvideo.model.processing import Encoded
from seedvideo.model_options import GenerationOptions, ModelOptions
from tests.model.complete_passes import complete_passes
from tests.model.tiny_families import MAKERS
from tests.model.tiny_siblings import SIBLINGS
from tests.synthetic_clips import paint
from tests.tiers import by_tier, exhaustive, quick_among

COLUMNS: Final = (
    "loads",
    "visual_tokens",
    "all_tokens",
    "times",
    "caption",
    "ask",
    "options",
    "ground",
    "thinking",
    "stream",
    "batch",
)
PROBED: Final = ("idefics3", "llava_next_video")
"""Two families without a row: their processor is asked."""

QUICK: Final = ("qwen2.5-vl", "internvl", "llava-onevision")
"""A grid, tiles and clips of one frame."""

_NO_REASONING: Final = "its models were not trained to reason"
DOES_NOT_APPLY: Final[dict[tuple[str, str], str]] = {
    ("thinking", family): _NO_REASONING
    for family in (
        "qwen2.5-vl",
        "smolvlm",
        "internvl",
        "llava-onevision",
        "gemma3",
        "video-llama3",
        "mistral3",
        *PROBED,
    )
}
SHORT: Final = GenerationOptions(max_new_tokens=8)

# How 12.5 s is written, with the text on the side of the image.
WRITTEN: Final = {
    "qwen3-vl": "<12.5 seconds><|vision_start|>",
    "qwen3-vl-moe": "<12.5 seconds><|vision_start|>",
    "qwen3.5": "<12.5 seconds><|vision_start|>",
    "qwen2.5-vl": "<12.5 seconds><|vision_start|>",
    "glm-4.6v": "<|end_of_image|>12.5 seconds",
    "glm-4.1v": "<|end_of_image|>12.5",
    "smolvlm": "\nFrame from 00:12.5:<fake_token_around_image>",
    "internvl": "Frame at 12.5 s: <img>",
    "llava-onevision": "12.5s: <video>",
    "gemma3": "12.5s:\n\n<start_of_image>",
    "gemma4": "00:12.5 <|image>",
    "video-llama3": "Time 12.5s:<|image_pad|>",
    "mistral3": "12.5s: [IMG]",
    "idefics3": "12.5s: <fake_token_around_image>",
    "llava_next_video": "12.5s: <image>",
}

# What a model of the family writes when it reasons.
THOUGHTS: Final = {
    "qwen3-vl": "<think>\nA man rides.\n</think>\n\nred",
    "qwen3-vl-moe": "<think>\nA man rides.\n</think>\n\nred",
    "qwen3.5": "A man rides.\n</think>\n\nred",
    "glm-4.6v": "<think>A man rides.</think>\n<|begin_of_box|>red<|end_of_box|>",
    "glm-4.1v": "<think>A man rides.</think><answer><|begin_of_box|>red<|end_of_box|></answer>",
    "gemma4": "<|channel>thought\nA man rides.\n<channel|>red",
}


@dataclass(frozen=True, eq=False)
class Tiny:
    """A tiny checkpoint of a family, loaded."""

    family: str
    folder: Path
    model: TransformersBackend

    @cached_property
    def plans(self) -> list[tuple[list[Fraction], list[tuple[int, int]], Encoded]]:
        """Random uneven plans, with sizes as the sampler asks for them, and their prompts."""
        rng = random.Random(self.family)
        geometry, plans = self.model.geometry, []
        for _ in range(by_tier(20, quick=6)):
            times = sorted(
                {Fraction(rng.randrange(90_000), 1_000) for _ in range(rng.randrange(1, 6))}
            )
            video = rng.choice([(640, 360), (360, 640), (1280, 720), (300, 300), (90, 60)])
            sizes = [
                geometry.size(
                    width_px=video[0],
                    height_px=video[1],
                    level_tokens=rng.choice(geometry.levels_tokens),
                )
                for _ in times
            ]
            encoded = self.model._processor.encode([prompt(times, sizes)])
            plans.append((times, sizes, encoded))
        return plans

    @property
    def parts(self) -> list[Part]:
        """A prompt of three frames of two sizes, or one where the family has no more."""
        return self.prompt([0, 480, 7_250])

    def prompt(self, times_ms: Sequence[int], question: str = "What is it?") -> list[Part]:
        """Write a prompt of cheap frames."""
        geometry = self.model.geometry
        level = max(n for n in geometry.levels_tokens if n <= max(128, geometry.levels_tokens[-1]))
        shapes = [(96, 64), (64, 96)]
        sizes = [
            geometry.size(
                width_px=shapes[index % 2][0], height_px=shapes[index % 2][1], level_tokens=level
            )
            for index in range(len(times_ms))
        ]
        return prompt([Fraction(ms, 1_000) for ms in times_ms], sizes, question)

    def says(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """Let the model write a given text."""
        tokenizer, net = self.model._processor.tokenizer, self.model._model
        ids = tokenizer.encode(text, add_special_tokens=False)
        end = net.generation_config.eos_token_id[0]

        def generate(**inputs: Any) -> torch.Tensor:
            if (streamer := inputs.get("streamer")) is not None:
                streamer.put(inputs["input_ids"])
                for each in [*ids, end]:
                    streamer.put(torch.tensor([each]))
                streamer.end()
            return torch.cat((inputs["input_ids"], torch.tensor([[*ids, end]])), dim=1)

        monkeypatch.setattr(net, "generate", generate)


def prompt(
    times: Sequence[Fraction], sizes: Sequence[tuple[int, int]], question: str = "What is it?"
) -> list[Part]:
    rng = np.random.default_rng(len(times))
    frames = [
        (time, rng.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8))
        for time, (width_px, height_px) in zip(times, sizes, strict=True)
    ]
    return interleave(frames, question)


def write_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten answers: random weights never end one."""
    defaults: dict[str, Any] = TransformersBackend.generate.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "max_new_tokens", 16)
    monkeypatch.setattr("seedvideo.model.backends.transformers.MAX_THINKING_TOKENS", 0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    """Make and load a family's checkpoint when it is first asked for."""
    made: dict[str, Tiny] = {}

    def get(family: str) -> Tiny:
        if family not in made:
            folder = MAKERS[family](tmp_path_factory.mktemp("models") / family)
            model = load(str(folder))
            assert isinstance(model, TransformersBackend)
            made[family] = Tiny(family, folder, model)
        return made[family]

    return get


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("clips") / "shots.mp4", ["red", "green", "blue"])


def cells(column: str) -> pytest.MarkDecorator:
    """Parametrize the test of a column by all families that have it."""
    names = [name for name in MAKERS if (column, name) not in DOES_NOT_APPLY]
    return pytest.mark.parametrize("family", quick_among(names, QUICK))


def test_every_family_has_a_checkpoint_and_every_cell_a_test_or_a_reason() -> None:
    assert {row.name for row in FAMILIES} == set(MAKERS) - {"qwen3-vl-moe", *PROBED}
    assert {column for column, _ in DOES_NOT_APPLY} <= set(COLUMNS)
    assert {family for _, family in DOES_NOT_APPLY} <= set(MAKERS)
    assert all(f"test_{column}" in globals() for column in COLUMNS)
    types = [each for row in FAMILIES for each in row.model_types]
    assert len(types) == len(set(types))


_READ_COSTS: Final = """
import json, sys
from fractions import Fraction
from seedvideo.model import load_costs
costs = load_costs(sys.argv[1])
tokens = [costs.frame_text_tokens(Fraction(n, 10)) for n in (0, 5, 123, 99999)]
print(json.dumps([costs.sha256, repr(costs.geometry), tokens, costs.details.family]))
assert not {"torch", "transformers"} & set(sys.modules), "a heavy import"
"""


@cells("loads")
def test_loads(tiny: Callable[[str], Tiny], family: str) -> None:
    model = tiny(family).model
    assert model.details.source == "folder"
    assert model.details.dtype == "float32"
    tokens = [model.frame_text_tokens(Fraction(n, 10)) for n in (0, 5, 123, 99_999)]
    facts = [model.sha256, repr(model.geometry), tokens, model.details.family]
    folder = str(tiny(family).folder)
    if family in PROBED:
        costs = load_costs(folder)
        stated = [costs.frame_text_tokens(Fraction(n, 10)) for n in (0, 5, 123, 99_999)]
        assert [costs.sha256, repr(costs.geometry), stated, costs.details.family] == facts
        assert costs.details.family == family
        return
    done = subprocess.run(
        [sys.executable, "-c", _READ_COSTS, folder], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert json.loads(done.stdout) == facts
    row = find_family(json.loads((tiny(family).folder / "config.json").read_text())["model_type"])
    assert row is not None
    assert row.name == model.details.family == family.removesuffix("-moe")


@cells("visual_tokens")
def test_visual_tokens(tiny: Callable[[str], Tiny], family: str) -> None:
    geometry = tiny(family).model.geometry
    seen = set()
    for _, sizes, encoded in tiny(family).plans:
        planned = sum(geometry.tokens(width_px=w, height_px=h) for w, h in sizes)
        assert encoded.visual_tokens == (planned,)
        seen |= set(sizes)
    assert len(seen) > 1 or len(geometry.levels_tokens) == 1


@cells("all_tokens")
def test_all_tokens(tiny: Callable[[str], Tiny], family: str) -> None:
    model = tiny(family).model
    rest = {
        encoded.prompt_tokens[0]
        - encoded.visual_tokens[0]
        - sum(model.frame_text_tokens(time) for time in times)
        for times, _, encoded in tiny(family).plans
    }
    assert len(rest) == 1, "the question and its markup cost the same in every plan"


@pytest.mark.parametrize("family", quick_among(("gemma3", "gemma4", "mistral3"), ("gemma3",)))
def test_a_text_begins_once(tiny: Callable[[str], Tiny], family: str) -> None:
    """The chat template writes the first token, and so would the tokenizer."""
    tokenizer = tiny(family).model._processor.tokenizer
    assert tokenizer("What?")["input_ids"][0] == tokenizer.bos_token_id
    for _, _, encoded in tiny(family).plans:
        assert encoded.inputs["input_ids"][0].tolist().count(tokenizer.bos_token_id) == 1


@cells("times")
def test_times(tiny: Callable[[str], Tiny], family: str) -> None:
    model = tiny(family).model
    form = re.escape(WRITTEN[family])
    form = form.replace(re.escape("00:12.5"), r"(\d+:\d\d\.\d)").replace(r"12\.5", r"(\d+\.\d)")
    for times, _, encoded in tiny(family).plans:
        text = model._processor.tokenizer.decode(encoded.inputs["input_ids"][0])
        read = re.findall(form, text)
        assert len(read) == len(times)
        for stated, time in zip(read, times, strict=True):
            minutes, _, seconds = stated.rpartition(":")
            stated_s = 60 * int(minutes or 0) + Fraction(seconds)
            assert abs(stated_s - time) <= Fraction(str(model.details.time_precision_s))


@cells("caption")
def test_caption(
    tiny: Callable[[str], Tiny], clip: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    write_little(monkeypatch)
    folder = tiny(family).folder
    for policy in ("uniform", "adaptive"):
        record = seedvideo.caption(clip, model=str(folder), policy=policy)
        assert record.status == "done"
        assert record.text
        assert record.plan is not None
        assert record.usage is not None
        assert record.usage.visual_tokens == record.plan.visual_tokens


@cells("ask")
def test_ask(
    tiny: Callable[[str], Tiny], clip: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    write_little(monkeypatch)
    model, parts = tiny(family).model, tiny(family).parts
    record = seedvideo.ask(clip, "What is it?", model=model, policy="uniform")
    assert record.answer is not None
    assert record.answer.method == "words"
    assert record.text
    first, second = (model.generate(parts, task="ask", options=SHORT) for _ in range(2))
    assert first == second
    assert first.text
    assert 0 < first.usage.output_tokens <= 8
    other = model.generate(tiny(family).prompt([0], "Which colour?"), task="ask", options=SHORT)
    assert other.usage.prompt_tokens != first.usage.prompt_tokens


@cells("options")
def test_options(tiny: Callable[[str], Tiny], clip: Path, family: str) -> None:
    """The likelihoods are those of complete passes over the prompt and each option."""
    model, parts = tiny(family).model, tiny(family).parts
    asked = seedvideo.ask(clip, "Which?", options=["red", "a car"], model=model, policy="uniform")
    assert asked.answer is not None
    assert abs(sum(each.probability or 0 for each in asked.answer.options) - 1) < 1e-9
    options = ["red", "green", "blue car"]
    ranked = model.choose(parts, options, task="ask", top=3).ranked
    expected = complete_passes(model, parts, options)
    assert sorted(choice.index for choice in ranked) == [0, 1, 2]
    for choice in ranked:
        assert abs(choice.probability - expected[choice.index]) < 1e-5


@cells("ground")
def test_ground(
    tiny: Callable[[str], Tiny], clip: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    model = tiny(family).model
    write_little(monkeypatch)
    with pytest.raises(ModelError) as caught:  # random weights tell no time
        seedvideo.ground(clip, "it is green", model=model, policy="uniform")
    assert caught.value.code == "model.answer_unparsable"
    tiny(family).says(monkeypatch, "from 1.0 s to 2.0 s")
    record = seedvideo.ground(clip, "it is green", model=model, policy="uniform")
    assert record.grounding is not None
    (span,) = record.grounding.spans
    assert (span.start_s, span.end_s) == (1.0, 2.0)


@cells("thinking")
def test_thinking(
    tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    model, parts = tiny(family).model, tiny(family).parts
    tiny(family).says(monkeypatch, THOUGHTS[family])
    pieces: list[str] = []
    made = model.generate(parts, thinking=True, on_text=pieces.append)
    assert (made.thinking, made.text) == ("A man rides.", "red")
    assert "".join(pieces) == "red"
    assert not made.notes
    # A thought that the limit cuts has no answer.
    tiny(family).says(monkeypatch, THOUGHTS[family].partition(" rides")[0])
    count = model.count_text_tokens(THOUGHTS[family].partition(" rides")[0])
    with pytest.raises(ModelError) as caught:
        model.generate(parts, thinking=True, options=GenerationOptions(max_new_tokens=count))
    assert caught.value.code == "model.thought_unfinished"
    # Options are ranked after a finished thought, so that its first words are not scored.
    monkeypatch.undo()
    tiny(family).says(monkeypatch, THOUGHTS[family])
    ranked = model.choose(parts, ["red", "green"], task="ask", thinking=True)
    assert ranked.thinking == "A man rides."
    text, is_open = model._processor.render(
        parts, system=None, thinking=True, thought="A man rides."
    )
    assert text.endswith(_CLOSED[family][0])
    assert not is_open
    text, _ = model._processor.render(parts, system=None, thinking=False, thought="")
    assert text.endswith(_CLOSED[family][1])


# Ends of prompts: with a thought, and with none in front of given answers.
_CLOSED: Final = {
    "qwen3-vl": ("<think>\nA man rides.\n</think>\n\n", "assistant\n"),
    "qwen3-vl-moe": ("<think>\nA man rides.\n</think>\n\n", "assistant\n"),
    "qwen3.5": ("<think>\nA man rides.\n</think>\n\n", "<think>\n\n</think>\n\n"),
    "glm-4.6v": ("<think>\nA man rides.\n</think>\n", "<think></think>\n"),
    "glm-4.1v": ("<think>\nA man rides.\n</think><answer>", "<think>\n\n</think><answer>"),
    "gemma4": ("<|channel>thought\nA man rides.\n<channel|>", "<|turn>model\n"),
}


@cells("stream")
def test_stream(tiny: Callable[[str], Tiny], family: str) -> None:
    pieces: list[str] = []
    made = tiny(family).model.generate(tiny(family).parts, options=SHORT, on_text=pieces.append)
    assert len(pieces) > 1
    assert "".join(pieces).strip() == made.text


@cells("batch")
def test_batch(tiny: Callable[[str], Tiny], family: str) -> None:
    model = tiny(family).model
    prompts = [
        tiny(family).prompt([0]),
        tiny(family).prompt([0, 500, 9_300], "Which colour is the car?"),
        tiny(family).prompt([1_000, 2_000]),
    ]
    together = model.generate_batch(prompts, options=SHORT)
    assert together == [model.generate(each, options=SHORT) for each in prompts]
    assert len({each.usage.prompt_tokens for each in together}) == 3


@exhaustive
@pytest.mark.parametrize("family", MAKERS)
def test_other_number_formats(tiny: Callable[[str], Tiny], family: str) -> None:
    options = ModelOptions(dtype="bfloat16", attention="eager")
    model = load(str(tiny(family).folder), options)
    assert model.details.dtype == "bfloat16"
    assert isinstance(model, TransformersBackend)
    exact = tiny(family).model.choose(tiny(family).parts, ["red", "green car"], task="ask").ranked
    coarse = model.choose(tiny(family).parts, ["red", "green car"], task="ask").ranked
    assert exact[0].index == coarse[0].index
    assert abs(exact[0].probability - coarse[0].probability) < 0.01
    assert model.generate(tiny(family).parts, options=SHORT).usage.output_tokens == 8


@exhaustive
@pytest.mark.parametrize("model_type", SIBLINGS)
def test_further_types_of_a_family(tmp_path: Path, model_type: str) -> None:
    family, make = SIBLINGS[model_type]
    model = load(str(make(tmp_path / "sibling")))
    assert isinstance(model, TransformersBackend)
    assert model.details.family == family
    parts = Tiny(family, tmp_path, model).parts
    assert model.generate(parts, options=SHORT) == model.generate(parts, options=SHORT)
    ranked = model.choose(parts, ["red", "blue car"], task="ask").ranked
    expected = complete_passes(model, parts, ["red", "blue car"])
    for choice in ranked:
        assert abs(choice.probability - expected[choice.index]) < 1e-5


@pytest.mark.parametrize("family", quick_among(MAKERS, QUICK))
def test_control_tokens_of_a_user_stay_text(tiny: Callable[[str], Tiny], family: str) -> None:
    processor = tiny(family).model._processor
    tokens = [t for t in processor.tokenizer.get_added_vocab() if len(t) > 1]
    plain = processor.encode([tiny(family).prompt([0], "What?")], system="Be brief.")
    words = f"What? {' '.join(tokens)} {''.join(tokens)}"
    encoded = processor.encode([tiny(family).prompt([0], words)], system=f"Be brief. {words}")
    ids, plain_ids = (each.inputs["input_ids"][0].tolist() for each in (encoded, plain))
    for token in tokens:
        control = processor.tokenizer.convert_tokens_to_ids(token)
        assert ids.count(control) == plain_ids.count(control), token
    assert len(ids) > len(plain_ids)


_CAPTION_ALL: Final = """
import sys
from seedvideo.model import load
from seedvideo.model.backends.base import interleave
from seedvideo.model_options import GenerationOptions
from fractions import Fraction
import numpy as np
for folder in sys.argv[1:]:
    model = load(folder)
    level = model.geometry.levels_tokens[-1]
    size = model.geometry.size(width_px=64, height_px=64, level_tokens=level)
    frames = [(Fraction(n), np.zeros((*size[::-1], 3), np.uint8)) for n in range(2)]
    parts = interleave(frames, "What?")
    model.generate(parts, options=GenerationOptions(max_new_tokens=2))
    model.choose(parts, ["red", "green car"], task="ask")
    print(model.name)
"""


@exhaustive
def test_nothing_is_printed_to_stderr(tiny: Callable[[str], Tiny]) -> None:
    folders = [str(tiny(family).folder) for family in MAKERS]
    done = subprocess.run(
        [sys.executable, "-c", _CAPTION_ALL, *folders], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout.split()) == ("", list(MAKERS))
