"""Names of models on servers, and what planning for one needs: no request, no key, no socket."""

import socket
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import seedvideo
from seedvideo import model as models
from seedvideo.errors import ConfigError, ModelError, SeedVideoError
from seedvideo.model.families import FAMILIES
from seedvideo.model.presets import PRESETS, is_server_name, parse_server_name
from seedvideo.model.servers import ServerCosts, estimate_text_tokens
from seedvideo.model_options import ModelOptions
from seedvideo.sampler.geometry import SEED
from seedvideo.utils.timecode import timestamp_text
from tests.synthetic_clips import paint

DEFAULTS = ModelOptions()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_has_an_address_and_a_key_of_its_own(preset: models.presets.Preset) -> None:
    parts = urlsplit(preset.base_url)
    is_local = parts.hostname == "localhost"
    assert parts.scheme == ("http" if is_local else "https")
    assert preset.needs_key != is_local
    assert [each.key_variable for each in PRESETS].count(preset.key_variable) == 1
    assert parse_server_name(f"{preset.name}:x").base_url == preset.base_url


@pytest.mark.parametrize(
    ("name", "base_url", "model"),
    [
        ("vllm:http://h:8000/v1#Qwen/Qwen3-VL-8B", "http://h:8000/v1", "Qwen/Qwen3-VL-8B"),
        ("ollama:http://h:11434/v1#qwen2.5vl:7b", "http://h:11434/v1", "qwen2.5vl:7b"),
        ("ollama:qwen2.5vl:7b", "http://localhost:11434/v1", "qwen2.5vl:7b"),
        ("openai:gpt-x", "https://api.openai.com/v1", "gpt-x"),
        ("vllm:HTTP://Host.LAN/v1/#a#b", "http://host.lan/v1", "a#b"),
        ("sglang:http://[::1]:30000/v1#m", "http://[::1]:30000/v1", "m"),
    ],
)
def test_names_are_parsed(name: str, base_url: str, model: str) -> None:
    assert is_server_name(name)
    address = parse_server_name(name)
    assert (address.base_url, address.model) == (base_url, model)
    assert parse_server_name(address.name) == address


@pytest.mark.parametrize("name", ["nano", "Qwen/Qwen3-VL-8B-Instruct", "./folder", ""])
def test_other_names_are_left_alone(name: str) -> None:
    assert not is_server_name(name)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("vlm:http://h/v1#m", "model.unknown", "did you mean 'vllm'?"),
        ("http://h/v1#m", "model.unknown", "PRESET:ADDRESS#NAME"),
        ("vllm:http://h/v1", "config.invalid", "#NAME"),
        ("vllm:http://h/v1#", "config.invalid", "#NAME"),
        ("vllm:", "config.invalid", "#NAME"),
        ("vllm:h:8000/v1#m", "config.invalid", "http or https"),
        ("vllm:ftp://h/v1#m", "config.invalid", "http or https"),
        ("vllm:http://h:99999/v1#m", "config.invalid", "http or https"),
        ("vllm:http://h\x1b/v1#m", "config.invalid", "http or https"),
        ("vllm:http://h/v1#a\x1b[2J", "config.invalid", "printable"),
        ("vllm:http://u:sesame-1@h/v1#m", "config.invalid", "VLLM_API_KEY"),
        ("vllm:http://sesame-1@h/v1#m", "config.invalid", "VLLM_API_KEY"),
        ("gemini:https://h/v1?key=sesame-1#m", "config.invalid", "GEMINI_API_KEY"),
        ("what:http://u:sesame-1@h/v1#m", "model.unknown", "preset"),
        ("vllm:http://u:sesame-1@h:x/v1#m", "config.invalid", "http or https"),
    ],
)
def test_bad_names_are_refused_without_quoting_a_password(name: str, code: str, words: str) -> None:
    for load in (models.load_costs, models.load):
        with pytest.raises(SeedVideoError) as caught:
            load(name)
        assert caught.value.code == code
        assert words in str(caught.value)
        assert "sesame" not in str(caught.value)
        assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "geometry", "time", "is_checked"),
    [
        ("vllm:Qwen/Qwen3-VL-30B-A3B-Instruct", "qwen3-vl", "<12.5 seconds>", True),
        ("ollama:qwen2.5vl:7b", "qwen2.5-vl", "<12.5 seconds>", True),
        ("sglang:zai-org/GLM-4.6V", "glm-4.6v", "12.5 seconds", True),
        ("vllm:OpenGVLab/InternVL3_5-8B-HF", "internvl", "Frame at 12.5 s: ", True),
        ("llamacpp:gemma-3-4b-it", "gemma3", "12.5s:", True),
        ("llamacpp:gemma-3n-E4B", "seed", "12.5s: ", False),
        ("llamacpp:SmolVLM2-2.2B", "seed", "\nFrame from 00:12.5:", False),
        ("openai:gpt-x", "seed", "12.5s: ", False),
        ("ark:doubao-seed-1-6-vision", "seed", "[12.5 second]", True),
        ("ark:ep-2026", "seed", "[12.5 second]", True),
    ],
)
def test_the_family_is_found_by_name(
    name: str, geometry: str, time: str, *, is_checked: bool
) -> None:
    costs = ServerCosts.from_name(name, DEFAULTS)
    assert costs.geometry.name == geometry
    assert costs.details.time_format == time
    assert costs.is_checked is is_checked


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_family_can_be_given(family: models.families.Family) -> None:
    costs = ServerCosts.from_name("vllm:mine", ModelOptions(geometry=family.name))
    assert costs.geometry.name == family.name
    assert costs.time == family.time
    assert costs.details.family == family.name


def test_seed_can_be_given() -> None:
    costs = ServerCosts.from_name("vllm:mine", ModelOptions(geometry="seed"))
    assert costs.geometry == SEED
    assert costs.details.time_format == timestamp_text(Fraction(25, 2))
    assert costs.is_checked


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vllm:m", ModelOptions(geometry="qwen3vl"), "did you mean 'qwen3-vl'?"),
        ("vllm:m", ModelOptions(dtype="float16"), "--dtype"),
        ("vllm:m", ModelOptions(device="cpu", pairs=True), "--device, --pairs"),
        ("openai:m", ModelOptions(as_video=True), "as_video"),
    ],
)
def test_unsupported_options_are_refused(name: str, options: ModelOptions, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        models.load_costs(name, options)
    assert words in str(caught.value)


def test_the_hash_is_that_of_preset_address_and_model() -> None:
    names = ("vllm:m", "sglang:m", "vllm:n", "vllm:http://h/v1#m", "vllm:http://i/v1#m")
    assert len({ServerCosts.from_name(name, DEFAULTS).sha256 for name in names}) == len(names)
    whole = ServerCosts.from_name("vllm:http://localhost:8000/v1/#m", DEFAULTS)
    assert whole.sha256 == ServerCosts.from_name("vllm:m", DEFAULTS).sha256
    assert whole.name == "vllm:m"


def test_a_plan_for_a_server_opens_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a socket was connected: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    clip = paint(tmp_path / "clip.mp4", ["red", "blue"])
    plan = seedvideo.plan(clip, model="openai:http://192.0.2.1/v1#Qwen3-VL", budget_tokens=600)
    assert plan.geometry.name == "qwen3-vl"
    assert all(frame.tokens >= 64 for frame in plan.frames)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("[12.5 second]", 8), ("Describe the video.", 7), ("你好", 2), ("9999.9", 6)],
)
def test_tokens_of_texts_are_estimated(text: str, tokens: int) -> None:
    assert estimate_text_tokens(text) == tokens


def test_a_missing_key_is_reported_at_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARK_API_KEY", raising=False)
    with pytest.raises(ModelError) as caught:
        models.load("ark:seed")
    assert caught.value.code == "model.key_missing"
    assert "export ARK_API_KEY=" in caught.value.hint


def test_the_extra_is_named_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as caught:
        models.load("vllm:m")
    assert caught.value.code == "model.not_installed"
    assert "seedvideo[openai]" in caught.value.hint
