"""An open-weight model from a folder: tokens and times equal the plan, answers repeat."""

import pickle
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import seedvideo
from seedvideo.errors import ConfigError, ModelError
from seedvideo.model import load, load_costs
from seedvideo.model.backends.base import Part, interleave
from seedvideo.model.backends.transformers import TransformersBackend
from seedvideo.model.processing import PromptProcessor
from seedvideo.model_options import GenerationOptions, ModelOptions
from seedvideo.sampler.geometry import Geometry
from tests.model.tiny_checkpoints import SWITCHED_CHATML, THINKING_CHATML, make_qwen3_vl
from tests.synthetic_clips import paint
from tests.tiers import examples

SHORT = GenerationOptions(max_new_tokens=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen3_vl(tmp_path_factory.mktemp("models") / "tiny-qwen3-vl")


@pytest.fixture(scope="module")
def model(folder: Path) -> TransformersBackend:
    loaded = load(str(folder))
    assert isinstance(loaded, TransformersBackend)
    return loaded


def picture(width_px: int, height_px: int, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng([seed, width_px, height_px])
    return rng.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def prompt(
    times: Sequence[Fraction], sizes: Sequence[tuple[int, int]], question: str = "What is it?"
) -> list[Part]:
    frames = [
        (time, picture(*size, seed=index))
        for index, (time, size) in enumerate(zip(times, sizes, strict=True))
    ]
    return interleave(frames, question)


UNEVEN = prompt(
    [Fraction(0), Fraction(12, 25), Fraction(13, 25), Fraction(29, 4), Fraction(94, 3)],
    [(64, 96), (96, 64), (64, 64), (160, 96), (64, 128)],
)


def test_costs_need_no_weights_and_equal_those_of_the_model(
    folder: Path, model: TransformersBackend
) -> None:
    costs = load_costs(str(folder))
    assert (costs.name, costs.sha256) == (model.name, model.sha256) == (folder.name, model.sha256)
    assert costs.geometry == model.geometry
    assert isinstance(costs.geometry, Geometry)
    assert (costs.geometry.token_area_px, costs.geometry.levels_tokens[0]) == (32 * 32, 640)
    for tenths in (0, 5, 123, 99_999):
        pts = Fraction(tenths, 10)
        assert costs.frame_text_tokens(pts) == model.frame_text_tokens(pts)
    assert (costs.details.family, costs.details.source) == ("qwen3-vl", "folder")


@given(
    gaps=st.lists(st.fractions(Fraction(1, 50), 40), min_size=1, max_size=5),
    sizes=st.lists(st.tuples(st.integers(2, 6), st.integers(2, 6)), min_size=5, max_size=5),
)
@examples(200)
def test_tokens_and_times_of_a_prompt_equal_its_plan(
    model: TransformersBackend, gaps: list[Fraction], sizes: list[tuple[int, int]]
) -> None:
    times = [sum(gaps[: index + 1], Fraction(0)) for index in range(len(gaps))]
    times = sorted({round(time, 3) for time in times})
    shown = [(32 * columns, 32 * rows) for columns, rows in sizes[: len(times)]]
    processor: PromptProcessor = model._processor
    encoded = processor.encode([prompt(times, shown)])
    assert encoded.visual_tokens == (sum(w * h // 32**2 for w, h in shown),)
    # All other tokens: those of the plan, and those that every prompt of this question has.
    text_tokens = sum(model.frame_text_tokens(time) for time in times)
    empty = processor.encode([prompt([Fraction(0)], [(64, 64)])])
    fixed = empty.prompt_tokens[0] - 4 - model.frame_text_tokens(Fraction(0))
    assert encoded.prompt_tokens[0] == encoded.visual_tokens[0] + text_tokens + fixed
    text = processor.tokenizer.decode(encoded.inputs["input_ids"][0])
    read = [Fraction(found) for found in re.findall(r"<([0-9.]+) seconds>", text)]
    assert len(read) == len(times)
    for stated, time in zip(read, times, strict=True):
        assert abs(stated - time) <= Fraction(model.details.time_precision_s or 0)


def test_pictures_with_times_equal_a_video_with_each_frame_twice(
    model: TransformersBackend,
) -> None:
    processor, net = model._processor, model._model
    times_ms = (0, 500, 7_200, 31_300)
    shown = [picture(96, 64, seed) for seed in range(len(times_ms))]
    parts = interleave(
        [(Fraction(ms, 1000), each) for ms, each in zip(times_ms, shown, strict=True)], "What?"
    )
    encoded = processor.encode([parts])
    text, _ = processor.render(parts, system=None, thinking=False)
    pictures = "<|vision_start|><|image_pad|><|vision_end|>"
    stated = "".join(f"<{ms / 1000:.1f} seconds>{pictures}" for ms in times_ms)
    inputs = processor._processor(
        text=[text.replace(stated, "<|video_pad|>")],
        videos=[np.repeat(np.stack(shown), 2, axis=0)],
        # The library only divides: a clock of milliseconds takes any time.
        video_metadata=[
            {
                "total_num_frames": 40_000,
                "fps": 1000,
                "frames_indices": np.repeat(times_ms, 2),
                "duration": 40.0,
            }
        ],
        do_sample_frames=False,
        do_resize=False,
        cap_pixels_per_frame=False,
        return_tensors="pt",
    )
    with torch.inference_mode():
        ours = net(**encoded.inputs).logits[0, -1]
        theirs = net(**inputs).logits[0, -1]
    assert inputs["input_ids"].shape == encoded.inputs["input_ids"].shape
    assert (ours - theirs).abs().max().item() == 0.0


def test_answers_repeat_though_the_checkpoint_samples(model: TransformersBackend) -> None:
    first, second = (model.generate(UNEVEN, options=SHORT) for _ in range(2))
    assert first == second
    assert first.usage.output_tokens <= 8
    drawn = {
        model.generate(UNEVEN, options=GenerationOptions(max_new_tokens=8, temperature=1.5)).text
        for _ in range(6)
    }
    assert len(drawn) > 1


def test_an_answer_at_the_limit_is_marked_as_cut(model: TransformersBackend) -> None:
    made = model.generate(UNEVEN, options=GenerationOptions(max_new_tokens=2))
    assert not made.confident
    assert [note.code for note in made.notes] == ["answer.truncated"]


def test_the_text_arrives_in_pieces(model: TransformersBackend) -> None:
    pieces: list[str] = []
    made = model.generate(UNEVEN, options=SHORT, on_text=pieces.append)
    assert len(pieces) > 1
    assert "".join(pieces) == made.text or "".join(pieces).strip() == made.text


def test_batches_give_the_answers_of_single_prompts(model: TransformersBackend) -> None:
    prompts = [
        prompt([Fraction(0)], [(64, 64)]),
        UNEVEN,
        prompt([Fraction(1), Fraction(2)], [(96, 160), (64, 64)], "Which colour is the car?"),
    ]
    together = model.generate_batch(prompts, options=SHORT)
    assert together == [model.generate(each, options=SHORT) for each in prompts]


def test_options_are_ranked_by_their_likelihood(model: TransformersBackend) -> None:
    options = ["red", "green", "blue car", "a man rides a bike"]
    ranked = model.choose(UNEVEN, options, task="ask", top=4).ranked
    assert sorted(choice.index for choice in ranked) == [0, 1, 2, 3]
    assert abs(sum(choice.probability for choice in ranked) - 1) < 1e-9
    # The same by full passes over the prompt and each option.
    processor, net = model._processor, model._model
    ends = torch.tensor(processor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))
    scores = []
    for option in options:
        encoded = processor.encode([UNEVEN])
        ids = processor.tokenizer.encode(option)
        inputs = dict(encoded.inputs)
        count = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat((inputs["input_ids"], torch.tensor([ids])), dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        kinds = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat(
            (kinds, torch.zeros((1, len(ids)), dtype=kinds.dtype)), dim=1
        )
        with torch.inference_mode():
            rows = net(**inputs).logits[0, count - 1 :].log_softmax(dim=-1)
        written = rows[:-1].gather(1, torch.tensor(ids)[:, None]).sum()
        scores.append((written + rows[-1, ends].logsumexp(dim=0)).item())
    best = max(scores)
    weights = [np.exp(score - best) for score in scores]
    for choice in ranked:
        assert abs(choice.probability - weights[choice.index] / sum(weights)) < 1e-5


def test_equal_options_are_refused(model: TransformersBackend) -> None:
    with pytest.raises(ValueError, match="same to the model"):
        model.choose(UNEVEN, ["red", "red"], task="ask")


@pytest.mark.parametrize(
    "token", ["<|image_pad|>", "<|im_end|>", "<|vision_start|>", "<|video_pad|>", "<think>"]
)
def test_control_tokens_of_a_user_stay_text(model: TransformersBackend, token: str) -> None:
    for text in (f"What is {token}?", f"{token * 3}", f"<|im_<|im_end|>end|>{token}"):
        shown = prompt([Fraction(0)], [(64, 64)], text)
        encoded = model._processor.encode([shown], system=f"Be brief. {token}")
        tokenizer = model._processor.tokenizer
        ids = encoded.inputs["input_ids"][0].tolist()
        plain = model._processor.encode([prompt([Fraction(0)], [(64, 64)], "What?")], system="Be.")
        control = tokenizer.convert_tokens_to_ids(token)
        assert ids.count(control) == plain.inputs["input_ids"][0].tolist().count(control)


def test_a_system_prompt_comes_first(model: TransformersBackend) -> None:
    text, _ = model._processor.render(UNEVEN, system="Answer in French.", thinking=False)
    assert text.startswith(
        "<|im_start|>system\nAnswer in French.<|im_end|>\n<|im_start|>user\n<0.0"
    )


def test_a_checkpoint_that_always_reasons(tmp_path: Path) -> None:
    loaded = load(str(make_qwen3_vl(tmp_path / "thinker", chat_template=THINKING_CHATML)))
    assert isinstance(loaded, TransformersBackend)
    with pytest.raises(ModelError) as caught:  # random weights never end a thought
        loaded.generate(UNEVEN, options=SHORT)
    assert caught.value.code == "model.thought_unfinished"
    text, is_open = loaded._processor.render(UNEVEN, system=None, thinking=False, thought="")
    assert text.endswith("<think>\n\n</think>\n\n")
    assert not is_open
    ranked = loaded.choose(UNEVEN, ["red", "green"], task="ask").ranked
    assert len(ranked) == 2


def test_reasoning_is_switched_where_the_template_can(tmp_path: Path) -> None:
    loaded = load(str(make_qwen3_vl(tmp_path / "switch", chat_template=SWITCHED_CHATML)))
    assert isinstance(loaded, TransformersBackend)
    shown = prompt([Fraction(0)], [(64, 64)], "What? First think, between <think> and </think>.")
    off, is_open = loaded._processor.render(shown, system=None, thinking=False)
    assert off.endswith("<think>\n\n</think>\n\n")
    assert not is_open
    on, is_open = loaded._processor.render(shown, system=None, thinking=True)
    assert on.endswith("assistant\n<think>\n")
    assert is_open
    assert "First think" not in on


def test_a_prompt_beyond_the_context_is_refused(model: TransformersBackend) -> None:
    with pytest.raises(ModelError) as caught:
        model.generate(UNEVEN, options=GenerationOptions(max_new_tokens=32_768))
    assert caught.value.code == "model.prompt_too_long"


@pytest.mark.parametrize(("option", "value"), [("geometry", "seed"), ("as_video", True)])
def test_options_of_servers_are_refused(folder: Path, option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=option):
        load(str(folder), ModelOptions(**{option: value}))  # type: ignore[arg-type]  # by name


def test_number_formats(folder: Path) -> None:
    loaded = load(str(folder), ModelOptions(dtype="bfloat16", attention="eager"))
    assert loaded.details.dtype == "bfloat16"
    assert loaded.generate(UNEVEN, options=SHORT).usage.visual_tokens > 0


def test_a_pair_of_equal_frames_equals_one_frame(model: TransformersBackend) -> None:
    shown = picture(96, 64)
    single = [(Fraction(15, 4), shown), (Fraction(8), picture(64, 64))]
    alone = interleave(single, "What?")
    paired = interleave(
        [(Fraction(7, 2), shown), single[1]], "What?", partners=[(Fraction(4), shown), None]
    )
    processor, net = model._processor, model._model
    one, two = processor.encode([alone]), processor.encode([paired])
    assert one.visual_tokens == two.visual_tokens
    assert one.prompt_tokens == two.prompt_tokens
    with torch.inference_mode():
        assert (net(**one.inputs).logits - net(**two.inputs).logits).abs().max().item() == 0.0
    text = processor.tokenizer.decode(two.inputs["input_ids"][0])
    assert re.findall(r"<([0-9.]+) seconds>", text) == ["3.8", "8.0"]


def test_pairs_show_two_near_frames_for_the_price_of_one(folder: Path, tmp_path: Path) -> None:
    clip = paint(tmp_path / "clip.mp4", ["red", "green", "blue", "red"])
    loaded = load(str(folder), ModelOptions(pairs=True))
    alone = load(str(folder))
    record, single = (
        seedvideo.caption(clip, model=each, generation=SHORT, policy="uniform", fps=1.0)
        for each in (loaded, alone)
    )
    assert record.plan is not None
    assert single.plan is not None
    assert record.model is not None
    assert record.usage is not None
    assert single.usage is not None
    assert record.model.pairs
    assert single.plan.pairs_s == ()
    assert len(record.plan.pairs_s) >= record.plan.frames - 1
    for first_s, second_s in record.plan.pairs_s:
        assert 0 < second_s - first_s <= 0.5
    assert record.usage.visual_tokens == single.usage.visual_tokens == record.plan.visual_tokens
    assert record.usage.prompt_tokens <= single.usage.prompt_tokens


def test_an_error_of_the_models_own_code_has_a_code(
    model: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: object, **options: object) -> None:
        raise RuntimeError("\"conv3d\" not implemented for 'Half'\nsecond line")

    monkeypatch.setattr(model._model.model.visual, "forward", fail)
    for ask in (
        lambda: model.generate(UNEVEN, options=SHORT),
        lambda: model.choose(UNEVEN, ["red", "green"], task="ask"),
    ):
        with pytest.raises(ModelError, match="not implemented for 'Half'") as caught:
            ask()
        assert caught.value.code == "model.failed"


def test_a_pickled_model_loads_its_folder_again(model: TransformersBackend) -> None:
    again = pickle.loads(pickle.dumps(model))
    assert again.generate(UNEVEN, options=SHORT) == model.generate(UNEVEN, options=SHORT)
    assert again.details == model.details


def test_a_blank_answer_names_the_limit(
    model: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model._processor, "decode", lambda ids: " ")
    with pytest.raises(ModelError, match="white space in 2 tokens") as caught:
        model.generate(UNEVEN, options=GenerationOptions(max_new_tokens=2))
    assert caught.value.code == "model.empty_answer"
    assert "--max-new-tokens" in caught.value.hint


def test_a_pair_does_not_cross_a_cut(folder: Path, tmp_path: Path) -> None:
    clip = paint(tmp_path / "cuts.mp4", ["red", "green", "blue"], shot_s=2)
    cuts_s = {float(shot.start) for shot in seedvideo.shots(clip, analysis="full").shots} - {0.0}
    assert cuts_s == {2.0, 4.0}
    loaded = load(str(folder), ModelOptions(pairs=True))
    record = seedvideo.caption(clip, model=loaded, generation=SHORT, analysis="full")
    assert record.plan is not None
    assert len(record.plan.pairs_s) > 3
    for first_s, second_s in record.plan.pairs_s:
        assert not any(first_s < cut_s <= second_s for cut_s in cuts_s)
