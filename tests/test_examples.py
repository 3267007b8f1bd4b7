"""Each script of examples/ runs, with tiny checkpoints and a server on loopback."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import seedvideo
from seedvideo.integrations.openai import messages
from tests.doc_examples import ROOT
from tests.fixtures import Clips
from tests.model.bad_server import answer, serving
from tests.model.tiny_checkpoints import make_qwen3_vl
from tests.synthetic_clips import paint
from tests.tiers import quick_first, slow

EXAMPLES: Final = ROOT / "examples"
VLLM: Final = '''
"""What the example uses of vLLM, which needs another environment than the tests."""
from types import SimpleNamespace as _Values

SamplingParams = _Values


class LLM:
    def __init__(self, name, limit_mm_per_prompt):
        self.most = limit_mm_per_prompt["image"]

    def generate(self, request, params):
        images = request["multi_modal_data"]["image"]
        assert request["prompt"].count("<|image_pad|>") == len(images) <= self.most
        return [_Values(outputs=[_Values(text=f"{len(images)} images")])]
'''


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen3_vl(tmp_path_factory.mktemp("models") / "tiny-qwen3-vl")


def run(name: str, *arguments: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short_and_explains_itself(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    assert f"python examples/{script.name} " in (ast.get_docstring(ast.parse(text)) or "")


@pytest.mark.parametrize("name", quick_first(["qwen3_vl.py", "any_model.py"]))
def test_a_model_in_the_process(name: str, model: Path, clips: Clips) -> None:
    assert run(name, clips["vfr"], model).strip()


def test_a_server(clips: Clips) -> None:
    with serving(answer("A red field.")) as server:
        name = "Qwen/Qwen3-VL-8B-Instruct"
        text = run("openai_server.py", clips["vfr"], server.base_url, name, OPENAI_API_KEY="secret")
        (chat,) = server.chats
    assert text == "A red field.\n"
    content = chat.body["messages"][0]["content"]
    assert content[0] == {"type": "text", "text": "<0.0 seconds>"}
    assert content[-1] == {"type": "text", "text": "What happens?"}


@slow
def test_vllm(model: Path, clips: Clips, tmp_path: Path) -> None:
    (tmp_path / "vllm.py").write_text(VLLM)
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    text = run("vllm_offline.py", clips["plain"], model, PYTHONPATH=paths)
    assert text.endswith(" images\n")


def test_a_family_is_named_in_two_ways(tmp_path: Path) -> None:
    clip = paint(tmp_path / "clip.mp4", ["red", "blue"])
    by_name, by_type = (
        messages(clip, "What?", model="mine", family=family, max_frames=2)
        for family in ("glm-4.1v", "glm4v")
    )
    assert by_name == by_type
    with pytest.raises(seedvideo.ConfigError, match="expected one of"):
        messages(clip, "What?", model="mine", family="glm5")
