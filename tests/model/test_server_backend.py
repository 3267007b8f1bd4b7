"""Requests to a server and its answers: content, times, usage, reasoning and streams."""

import base64
import io
import pickle
import re
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import seedvideo
from seedvideo.errors import ConfigError, ModelError
from seedvideo.model.backends.base import Backend, SupportsChoice
from seedvideo.model.servers import JPEG_QUALITY
from seedvideo.model_options import GenerationOptions, ModelOptions
from seedvideo.tasks.prompts import THINK_SUFFIX
from tests.model.bad_server import (
    BadServer,
    answer,
    completion,
    json_answer,
    serving,
    status,
    stream,
)
from tests.model.server_models import connect, question
from tests.synthetic_clips import nearest, paint


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("servers") / "clip.mp4", ["red", "blue", "green"])


def user_content(server: BadServer) -> list[dict[str, Any]]:
    content = server.chats[-1].body["messages"][-1]["content"]
    assert isinstance(content, list)
    return content


def picture(part: dict[str, Any]) -> Image.Image:
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_frames_and_times_of_the_plan_are_sent_in_order(clip: Path) -> None:
    with serving(answer("It is red, then blue, then green.")) as server:
        model: Backend = connect(server)
        plan = seedvideo.plan(clip, model=model, budget_tokens=900)
        record = seedvideo.caption(clip, model=model, budget_tokens=900)
        *frames, last = user_content(server)
    times, pictures = frames[::2], [picture(part) for part in frames[1::2]]
    sent = [re.fullmatch(r"<(\d+\.\d) seconds>", part["text"]) for part in times]
    assert len(plan.frames) > 3
    assert record.model is not None and record.model.time_precision_s == 0.05
    for match, frame in zip(sent, plan.frames, strict=True):
        assert match is not None
        assert abs(Fraction(match[1]) - frame.pts) <= Fraction(1, 20)
    assert [image.size for image in pictures] == [
        (frame.width_px, frame.height_px) for frame in plan.frames
    ]
    for image, frame in zip(pictures, plan.frames, strict=True):
        assert nearest(np.asarray(image)) == ("red", "blue", "green")[int(frame.pts)]
    assert last == {"type": "text", "text": "Describe the video."}


@pytest.mark.parametrize(
    ("model", "texts"),
    [
        ("Qwen2.5-VL-7B", ["<0.0 seconds>", "<12.5 seconds>", "\nWhat is it?"]),
        ("GLM-4.6V", ["0.0 seconds", "12.5 seconds\nWhat is it?"]),
        ("unknown", ["0.0s: ", "12.5s: ", "\nWhat is it?"]),
        ("seed-1-6", ["[0.0 second]", "[12.5 second]", "\nWhat is it?"]),
    ],
)
def test_times_are_in_the_words_of_the_family(model: str, texts: list[str]) -> None:
    with serving() as server:
        connect(server, model=model).generate(question(sizes=[(280, 280)] * 2))
        content = user_content(server)
    assert [part["text"] for part in content if part["type"] == "text"] == texts
    assert [part["type"] for part in content].count("image_url") == 2


def test_a_picture_keeps_its_colours_and_quality() -> None:
    with serving() as server:
        model = connect(server)
        model.generate(question())
        image = picture(user_content(server)[1])
    assert model.details.jpeg_quality == JPEG_QUALITY == 90
    # One sample for each pixel of each of the three channels.
    assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_options_of_the_answer_are_sent() -> None:
    options = GenerationOptions(system="Be brief.", max_new_tokens=7, temperature=0.5)
    with serving() as server:
        connect(server).generate(question(), options=options)
        connect(server, preset="openai").generate(question())
        first, second = (seen.body for seen in server.chats)
    assert first["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (first["max_tokens"], first["temperature"]) == (7, 0.5)
    assert first["model"] == "Qwen3-VL-8B"
    assert second["temperature"] == 0
    assert "max_tokens" not in second and second["max_completion_tokens"] == 512
    assert len(second["messages"]) == 1


@pytest.mark.parametrize(
    ("preset", "on", "off"),
    [
        (
            "vllm",
            {"chat_template_kwargs": {"enable_thinking": True}},
            {"chat_template_kwargs": {"enable_thinking": False}},
        ),
        ("ark", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}),
        ("gemini", {"reasoning_effort": "medium"}, {}),
    ],
)
def test_reasoning_is_requested_by_the_field_of_the_preset(
    preset: str, on: dict[str, Any], off: dict[str, Any]
) -> None:
    known = {"model", "messages", "temperature", "max_tokens"}
    with serving() as server:
        model = connect(server, preset=preset)
        asked = question(prompt="What is it?" + THINK_SUFFIX)
        model.generate(asked, thinking=True)
        assert THINK_SUFFIX not in str(user_content(server))
        model.generate(question(), thinking=False)
        first, second = (
            {name: value for name, value in seen.body.items() if name not in known}
            for seen in server.chats
        )
    assert (first, second) == (on, off)


def test_reasoning_is_requested_by_the_prompt_where_there_is_no_field() -> None:
    with serving() as server:
        connect(server, preset="ollama").generate(
            question(prompt="What is it?" + THINK_SUFFIX), thinking=True
        )
        assert user_content(server)[-1]["text"].endswith(THINK_SUFFIX)


@pytest.mark.parametrize(
    "step",
    [
        answer("Red.", reasoning="I see red."),
        answer("Red.", reasoning_content="I see red."),
        answer("<think>I see red.</think>\n\nRed."),
        answer("I see red.</think>Red."),
        json_answer(
            completion(None)
            | {
                "choices": [
                    {
                        "message": {
                            "content": [
                                {"type": "text", "text": "Red."},
                                {"type": "other"},
                            ],
                            "reasoning": "I see red.",
                        }
                    }
                ]
            }
        ),
        stream("Re", "d.", reasoning="I see red."),
        stream("<th", "ink>I see", " red.</thi", "nk>\nRe", "d."),
    ],
)
def test_reasoning_is_separated(step: Any) -> None:
    pieces: list[str] = []
    with serving(step) as server:
        made = connect(server).generate(question(), thinking=True, on_text=pieces.append)
    assert (made.text, made.thinking) == ("Red.", "I see red.")
    if step.__qualname__.startswith("raw") and "think" not in str(pieces):
        assert "".join(pieces) == "Red."


def test_an_answer_is_streamed() -> None:
    pieces: list[str] = []
    with serving(stream("A red", " field", ".")) as server:
        made = connect(server).generate(question(), on_text=pieces.append)
        body = server.chats[0].body
    assert pieces == ["A red", " field", "."]
    assert made.text == "A red field."
    assert (made.usage.prompt_tokens, made.usage.output_tokens) == (5_000, 3)
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}


def test_a_server_that_does_not_stream_answers_at_once() -> None:
    pieces: list[str] = []
    with serving(answer("A red field.")) as server:
        made = connect(server).generate(question(), on_text=pieces.append)
    assert pieces == ["A red field."]
    assert made.text == "A red field."


def test_an_exception_of_the_receiver_is_passed_on() -> None:
    class StoppedError(Exception):
        pass

    def stop(piece: str) -> None:
        raise StoppedError

    with serving(stream("A", "B")) as server, pytest.raises(StoppedError):
        connect(server).generate(question(), on_text=stop)


def test_usage_is_that_of_the_server_beside_the_plan() -> None:
    with serving() as server:
        made = connect(server).generate(question())
    assert made.confident
    assert made.notes == ()
    assert made.usage.visual_tokens == 2 * 64
    assert (made.usage.prompt_tokens, made.usage.output_tokens) == (5_000, 4)
    assert made.familiarity is None


def test_fewer_tokens_than_the_frames_have_are_reported() -> None:
    values = completion()
    values["usage"]["prompt_tokens"] = 127
    with serving(json_answer(values)) as server:
        made = connect(server).generate(question())
        unknown = connect(server, model="unknown").generate(question(sizes=[(280, 280)] * 2))
    assert [note.code for note in made.notes] == ["answer.truncated_input"]
    assert not made.confident
    # The plan of an unknown model says nothing about its tokens.
    assert [note.code for note in unknown.notes] == ["tokens.unchecked"]
    assert unknown.confident


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "many"}, {"prompt_tokens": -1}, []])
def test_missing_usage_is_estimated(usage: object) -> None:
    with serving(json_answer(completion() | {"usage": usage})) as server:
        made = connect(server).generate(question())
    assert [note.code for note in made.notes] == ["tokens.estimated"]
    assert made.confident
    # Two frames, their times, and the prompt.
    assert made.usage.prompt_tokens == 2 * 64 + 10 + 11 + 5


def test_a_cut_answer_is_unsure() -> None:
    with serving(answer("A red", finish_reason="length")) as server:
        made = connect(server).generate(question())
    assert [note.code for note in made.notes] == ["answer.truncated"]
    assert not made.confident


def test_an_answer_of_reasoning_only_names_the_limit() -> None:
    step = answer("<think>I see", finish_reason="length")
    with serving(step) as server, pytest.raises(ModelError) as caught:
        connect(server).generate(question())
    assert caught.value.code == "model.empty_answer"
    assert "--max-new-tokens 2048" in caught.value.hint


@pytest.mark.parametrize(
    "step",
    [
        answer("", finish_reason="content_filter"),
        answer(None, refusal="I can't help with that."),
    ],
)
def test_a_refusal_is_an_error(step: Any) -> None:
    with serving(step) as server, pytest.raises(ModelError) as caught:
        connect(server).generate(question())
    assert caught.value.code == "model.server_refused"
    assert not caught.value.retryable


def test_vllm_counts_the_tokens_once_and_states_its_version() -> None:
    routes = {
        "tokenize": json_answer({"count": 150, "max_model_len": 8_192}),
        "version": json_answer({"version": "0.33.0"}),
    }
    with serving(**routes) as server:
        model = connect(server, preset="vllm")
        assert model.details.server_version is None
        model.generate(question())
        model.generate(question())
        paths = [seen.path for seen in server.seen]
        counted = next(seen.body for seen in server.seen if seen.path == "/tokenize")
    assert [path.rpartition("/")[2] for path in paths] == [
        "version",
        "tokenize",
        "completions",
        "completions",
    ]
    assert counted["messages"] == server.chats[0].body["messages"]
    assert model.details.server_version == "0.33.0"


@pytest.mark.parametrize(
    ("count", "code", "words"),
    [
        ({"count": 100, "max_model_len": 8_192}, "model.tokens_differ", "--geometry"),
        ({"count": 9_000, "max_model_len": 8_192}, "model.request_too_large", "--budget"),
    ],
)
def test_a_count_that_cannot_be_is_an_error_before_the_request(
    count: dict[str, int], code: str, words: str
) -> None:
    with serving(tokenize=json_answer(count)) as server:
        model = connect(server, preset="vllm")
        with pytest.raises(ModelError) as caught:
            model.generate(question())
        assert server.chats == []
    assert caught.value.code == code
    assert words in caught.value.hint


@pytest.mark.parametrize(
    "step", [status(404, "no"), status(500, "no"), json_answer([]), json_answer({"count": True})]
)
def test_a_server_that_cannot_count_is_asked_anyway(step: Any) -> None:
    with serving(tokenize=step, version=step) as server:
        model = connect(server, preset="vllm")
        assert model.generate(question()).text == "A red field."
    # What the answer states.
    assert model.details.server_version == "fp_1"


def test_frames_are_sent_as_a_video() -> None:
    with serving() as server:
        model = connect(server, preset="vllm", options=ModelOptions(as_video=True))
        made = model.generate(question("0", "0.48", "7.25"))
        video, text = user_content(server)
        sampling = server.chats[0].body["media_io_kwargs"]["video"]
    kind, _, data = video["video_url"]["url"].partition(",")
    assert kind == "data:video/jpeg;base64"
    assert [Image.open(io.BytesIO(base64.b64decode(part))).size for part in data.split(",")] == [
        (256, 256)
    ] * 3
    assert (sampling["fps"], sampling["frames_indices"]) == (1000, [0, 480, 7250])
    assert (sampling["num_frames"], sampling["do_sample_frames"]) == (-1, False)
    assert text == {"type": "text", "text": "What is it?"}
    # Two frames cost as much as one.
    assert made.usage.visual_tokens == 2 * 64
    assert (model.details.time_format, model.details.time_precision_s) == ("video", None)


def test_a_video_has_one_size() -> None:
    with serving() as server:
        model = connect(server, preset="vllm", options=ModelOptions(as_video=True))
        with pytest.raises(ConfigError) as caught:
            model.generate(question(sizes=[(256, 256), (512, 256)]))
        assert server.chats == []
    assert caught.value.code == "config.invalid"
    assert "--levels" in caught.value.hint
    assert "256x256, 512x256" in caught.value.message


def test_a_refused_video_names_the_flag_of_the_server() -> None:
    with serving(status(400, "media_io_kwargs is not allowed")) as server:
        model = connect(server, preset="vllm", options=ModelOptions(as_video=True))
        with pytest.raises(ModelError) as caught:
            model.generate(question())
    assert "--trust-request-mm-kwargs" in caught.value.hint


def test_too_many_pictures_are_refused_before_sending() -> None:
    times = [str(second) for second in range(501)]
    with serving() as server, pytest.raises(ModelError) as caught:
        connect(server, preset="openai").generate(question(*times, sizes=[(256, 256)] * 501))
    assert caught.value.code == "model.request_too_large"
    assert "501 pictures, OpenAI takes 500" in caught.value.message
    assert server.seen == []


def test_too_many_bytes_are_refused_before_sending() -> None:
    with serving() as server, pytest.raises(ModelError) as caught:
        connect(server, preset="gemini").generate(question(prompt="x" * (21 * 1024**2)))
    assert caught.value.code == "model.request_too_large"
    assert "--max-frames" in caught.value.hint
    assert server.seen == []


def test_what_no_server_does_is_refused() -> None:
    with serving() as server:
        model = connect(server)
        with pytest.raises(ConfigError):
            model.generate(question(), beams=4)
        with pytest.raises(ValueError, match="no image"):
            model.generate([question()[-1]])
        with pytest.raises(seedvideo.PlanError):
            model.generate(question(sizes=[(250, 250)] * 2))
        assert not isinstance(model, SupportsChoice)
    assert server.seen == []


def test_threads_share_a_backend() -> None:
    made: list[str] = []
    routes = {"tokenize": json_answer({"count": 150}), "version": json_answer({})}
    with serving(**routes) as server:
        model = connect(server, preset="vllm")
        threads = [
            threading.Thread(target=lambda: made.append(model.generate(question()).text))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = [seen for seen in server.seen if seen.path == "/tokenize"]
    assert made == ["A red field."] * 8
    assert len(counts) == 1


def test_a_pickled_backend_asks_again() -> None:
    with serving() as server:
        model = connect(server, options=ModelOptions(geometry="qwen3-vl"), model="mine")
        again = pickle.loads(pickle.dumps(model))
        assert again.generate(question()).text == "A red field."
    assert (again.name, again.geometry) == (model.name, model.geometry)
