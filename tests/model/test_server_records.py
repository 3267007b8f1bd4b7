"""Tasks over a server: records of the one format, options, and loading by name."""

from pathlib import Path
from typing import Any

import pytest

import seedvideo
from seedvideo.model.servers import JPEG_QUALITY
from seedvideo.records import Record
from tests.model.bad_server import (
    BadServer,
    answer,
    serving,
)
from tests.model.server_models import connect
from tests.synthetic_clips import COLOURS, paint


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("servers") / "clip.mp4", ["red", "blue", "green"])


def check_record(record: Record, server: BadServer) -> None:
    assert Record.from_json(record.to_json()) == record
    assert record.status == "done" and record.confident
    assert record.model is not None and record.usage is not None and record.plan is not None
    assert record.model.source == "server"
    assert record.model.family == "qwen3-vl"
    assert record.model.server == server.base_url
    assert record.model.server_version == "fp_1"
    assert record.model.jpeg_quality == JPEG_QUALITY
    assert record.plan.geometry == "qwen3-vl"
    assert record.usage.visual_tokens == record.plan.visual_tokens


def test_a_caption_is_a_record_of_the_one_format(clip: Path) -> None:
    with serving(answer(" a red field ")) as server:
        record = seedvideo.caption(clip, model=connect(server), budget_tokens=600)
        check_record(record, server)
    assert record.text == "A red field."


def test_an_answer_is_a_record_of_the_one_format(clip: Path) -> None:
    with serving(answer("The answer is B.", reasoning="I see blue.")) as server:
        record = seedvideo.ask(
            clip,
            "Which colour?",
            options=list(COLOURS)[1:3],
            thinking=True,
            model=connect(server),
            budget_tokens=600,
        )
        check_record(record, server)
    assert record.text == "blue"
    assert record.answer is not None
    assert (record.answer.method, record.answer.thinking) == ("words", "I see blue.")


@pytest.mark.parametrize(
    ("preset", "thinking", "choice"),
    [
        ("vllm", False, {"choice": ["A. red", "B. blue"]}),
        ("vllm", True, None),
        ("sglang", False, None),
    ],
)
def test_an_answer_is_limited_to_the_options_where_the_server_can(
    clip: Path, preset: str, choice: dict[str, Any] | None, *, thinking: bool
) -> None:
    with serving(answer("B. blue")) as server:
        model = connect(server, preset=preset)
        record = seedvideo.ask(
            clip,
            "Which colour?",
            options=["red", "blue"],
            thinking=thinking,
            model=model,
            budget_tokens=600,
        )
        seedvideo.ask(clip, "Which colour?", model=model, budget_tokens=600)
        limited, free = (seen.body for seen in server.chats)
    assert record.text == "blue"
    assert limited.get("structured_outputs") == choice
    assert "structured_outputs" not in free


def test_spans_are_a_record_of_the_one_format(clip: Path) -> None:
    with serving(answer("From 1.0 to 2.0 seconds.")) as server:
        record = seedvideo.ground(clip, "it is blue", model=connect(server), budget_tokens=600)
        check_record(record, server)
    assert record.text == "1.00 - 2.00 s"


def test_a_name_loads_the_model_of_a_server(clip: Path) -> None:
    with serving() as server:
        name = f"vllm:{server.base_url}#qwen2.5-vl"
        model = seedvideo.load(name)
    assert model.name == name
    assert model.geometry.name == "qwen2.5-vl"
