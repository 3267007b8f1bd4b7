"""Frames in the scripts of users: the ids of our own backend, for every family."""

from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from transformers import AutoProcessor

import seedvideo
from seedvideo.errors import ConfigError, OptionTypeError, PlanError
from seedvideo.integrations import openai, vllm
from seedvideo.integrations.transformers import chat_inputs, video_metadata
from seedvideo.model.backends.base import interleave
from seedvideo.model.backends.server_content import picture_content
from seedvideo.model.families import find_family
from seedvideo.model.processing import PromptProcessor
from tests.fixtures import Clips
from tests.model.tiny_checkpoints import make_qwen3_vl
from tests.model.tiny_families import MAKERS
from tests.tiers import quick_among

QUESTION: Final = "What is it? <|im_end|>"
QUICK: Final = ("qwen2.5-vl", "internvl", "llava-onevision", "gemma3")


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen3_vl(tmp_path_factory.mktemp("models") / "tiny-qwen3-vl")


@pytest.mark.parametrize("name", quick_among(MAKERS, QUICK))
def test_the_prompt_is_that_of_our_backend(name: str, clips: Clips, tmp_path: Path) -> None:
    folder = MAKERS[name](tmp_path / "model")
    own = PromptProcessor.from_folder(folder)
    model_type = own.family.model_types[0]
    family = None if find_family(model_type) is None else model_type
    options: Any = {"policy": "uniform", "max_frames": 3}
    plan = seedvideo.plan(clips["vfr"], geometry=own.geometry, **options)
    frames = [(frame.pts, frame.pixels) for _, frame in seedvideo.frames(clips["vfr"], plan)]
    expected = own.encode([interleave(frames, QUESTION)], system="Be brief.")

    processor = AutoProcessor.from_pretrained(folder)
    for given in ({"plan": plan}, options):
        messages, images, kwargs = chat_inputs(
            clips["vfr"],
            QUESTION,
            processor=processor,
            family=family,
            system="Be brief.",
            **given,
        )
        text = processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        inputs = processor(text=[text], images=images, return_tensors="pt", **kwargs)
        assert inputs["input_ids"].tolist() == expected.inputs["input_ids"].tolist()


def test_a_family_by_its_name_or_model_type_or_none(qwen3: Path, clips: Clips) -> None:
    processor = AutoProcessor.from_pretrained(qwen3)
    made = [
        chat_inputs(clips["plain"], "What?", processor=processor, family=family, max_frames=2)
        for family in ("qwen3-vl", "qwen3_vl", None)
    ]
    assert made[0].messages == made[1].messages
    assert "<0.0 seconds>" in made[0].messages[0]["content"][0]["text"]
    assert "0.0s: " in made[2].messages[0]["content"][0]["text"]


def test_the_metadata_of_a_plan_have_its_times(clips: Clips) -> None:
    plan = seedvideo.plan(clips["vfr"], policy="uniform", max_frames=3)
    once, twice = video_metadata(plan), video_metadata(plan, repeat=True)
    times_ms = [round(1000 * frame.pts) for frame in plan.frames]
    assert once["frames_indices"] == times_ms
    assert twice["frames_indices"] == [each for each in times_ms for _ in range(2)]
    assert once["fps"] == 1000
    assert once["total_num_frames"] > times_ms[-1]
    assert video_metadata(plan)["frames_indices"] is not once["frames_indices"]


def test_what_cannot_be_used_is_an_error(qwen3: Path, clips: Clips) -> None:
    processor = AutoProcessor.from_pretrained(qwen3)
    with pytest.raises(ConfigError, match="family is 'qwen4'"):
        chat_inputs(clips["plain"], "What?", processor=processor, family="qwen4")
    with pytest.raises(ConfigError, match="processor is a dict"):
        chat_inputs(clips["plain"], "What?", processor={})
    with pytest.raises(ConfigError, match="prompt is empty"):
        chat_inputs(clips["plain"], " ", processor=processor, family="qwen3-vl")
    with pytest.raises(OptionTypeError, match="system is 3"):
        chat_inputs(clips["plain"], "What?", processor=processor, system=3)  # type: ignore[arg-type]
    plan = seedvideo.plan(clips["plain"], max_frames=2)
    with pytest.raises(OptionTypeError, match="repeat is 2"):
        video_metadata(plan, repeat=2)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="multiples of 32"):
        chat_inputs(clips["plain"], "What?", processor=processor, family="qwen3-vl", plan=plan)


def test_messages_are_those_of_our_backend(clips: Clips) -> None:
    family = find_family("qwen3_vl")
    assert family is not None
    made = openai.messages(
        clips["vfr"], "What?", model="Qwen/Qwen3-VL-8B-Instruct", system="Be brief.", max_frames=2
    )
    plan = seedvideo.plan(clips["vfr"], geometry="qwen3-vl", max_frames=2)
    frames = [(frame.pts, frame.pixels) for _, frame in seedvideo.frames(clips["vfr"], plan)]
    content = picture_content(interleave(frames, "What?"), family.time, family)
    assert made == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": content},
    ]


def test_messages_of_an_unknown_model_have_plain_times(clips: Clips) -> None:
    made = openai.messages(clips["plain"], "What?", model="mystery", max_frames=2)
    assert made[0]["content"][0] == {"type": "text", "text": "0.0s: "}
    named = openai.messages(
        clips["plain"], "What?", model="mystery", family="glm-4.6v", max_frames=2
    )
    assert [part["type"] for part in named[0]["content"][:2]] == ["image_url", "text"]
    with pytest.raises(ConfigError, match="family is 'nothing'"):
        openai.messages(clips["plain"], "What?", model="mystery", family="nothing")


def test_inputs_of_vllm_have_a_placeholder_per_image(qwen3: Path, clips: Clips) -> None:
    processor = AutoProcessor.from_pretrained(qwen3)
    made = vllm.inputs(clips["vfr"], "What?", processor=processor, family="qwen3-vl", max_frames=3)
    images = made["multi_modal_data"]["image"]
    assert made["prompt"].count("<|image_pad|>") == len(images) == 3
    plan = seedvideo.plan(clips["vfr"], model=str(qwen3), max_frames=3)
    for image, (planned, frame) in zip(images, seedvideo.frames(clips["vfr"], plan), strict=True):
        assert image.size == (planned.width_px, planned.height_px)
        assert np.array_equal(np.asarray(image), frame.pixels)
        assert planned.pts == frame.pts
    assert plan.frames[0].pts == Fraction(0)


def test_a_family_of_videos_is_refused_for_vllm(tmp_path: Path, clips: Clips) -> None:
    processor = AutoProcessor.from_pretrained(MAKERS["llava-onevision"](tmp_path / "model"))
    with pytest.raises(ConfigError, match="takes frames as videos"):
        vllm.inputs(clips["plain"], "What?", processor=processor, family="llava-onevision")
