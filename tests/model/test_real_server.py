"""A real server, `transformers serve` with a tiny Qwen3-VL: its tokens are those of the plan."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

import pytest
from tokenizers import Tokenizer

import seedvideo
from seedvideo.config import resolve_sampling
from seedvideo.model.backends.openai import ServerBackend
from seedvideo.model.families import FAMILIES
from seedvideo.model.servers import ServerCosts
from seedvideo.model_options import GenerationOptions, ModelOptions
from seedvideo.model_tasks import Captioning
from seedvideo.pipeline import run_task
from tests.model.server_models import question
from tests.model.tiny_checkpoints import make_qwen3_vl
from tests.synthetic_clips import paint
from tests.tiers import slow

pytestmark = slow

START_S: Final = 180

PICTURES_BY_PILLOW: Final = """
import io

import numpy as np
import torch
import torchvision.io
from PIL import Image

try:
    torchvision.io.image._assert_has_image_ops()
except RuntimeError:
    def decode_image(data, mode=None, apply_exif_orientation=False):
        picture = Image.open(io.BytesIO(data.numpy().tobytes())).convert("RGB")
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()

    torchvision.io.decode_image = torchvision.io.image.decode_image = decode_image
"""
"""Start of the server's Python where torchvision was built for another torch and has no JPEG."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen3_vl(tmp_path_factory.mktemp("served") / "qwen3-vl")


@pytest.fixture(scope="module")
def base_url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    (log.parent / "sitecustomize.py").write_text(PICTURES_BY_PILLOW, encoding="utf-8")
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder)]
    arguments = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(log.parent)},
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = monotonic() + START_S
    while process.poll() is None and monotonic() < end_s:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            Event().wait(0.25)
    pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-2_000:]}")


@pytest.fixture(scope="module")
def model(folder: Path, base_url: str) -> ServerBackend:
    name = f"transformers:{base_url}#{folder}"
    return ServerBackend(ServerCosts.from_name(name, ModelOptions()))


def test_the_name_loads_it(folder: Path, base_url: str) -> None:
    model = seedvideo.load(f"transformers:{base_url}#{folder}")
    assert model.details.family == "qwen3-vl"


@pytest.mark.parametrize("is_streamed", [False, True])
def test_its_tokens_are_those_of_the_plan(
    model: ServerBackend, folder: Path, *, is_streamed: bool
) -> None:
    times = ("0", "0.48", "7.25", "59.94")
    sizes = [(256, 256), (512, 256), (320, 320), (640, 384)]
    parts = question(*times, sizes=sizes)
    pieces: list[str] = []
    made = model.generate(
        parts,
        options=GenerationOptions(max_new_tokens=8),
        on_text=pieces.append if is_streamed else None,
    )
    visual_tokens = sum(width_px * height_px // 32**2 for width_px, height_px in sizes)
    # The texts, as the checkpoint's own tokenizer and template count them.
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    family = FAMILIES[0]
    assert family.name == model.details.family
    text = "".join(family.frame_text(Fraction(time)) for time in times)
    prompt = f"<|im_start|>user\n{text}What is it?<|im_end|>\n<|im_start|>assistant\n"
    text_tokens = len(tokenizer.encode(prompt, add_special_tokens=False).ids)
    assert made.usage.visual_tokens == visual_tokens
    assert made.usage.prompt_tokens == visual_tokens + text_tokens
    assert made.usage.output_tokens <= 8
    assert "answer.truncated_input" not in [note.code for note in made.notes]
    if is_streamed:
        assert "".join(pieces).strip() == made.text


def test_its_answers_are_records_of_the_one_format(model: ServerBackend, tmp_path: Path) -> None:
    clip = paint(tmp_path / "clip.mp4", ["red", "blue"])
    task = Captioning.of(options=GenerationOptions(max_new_tokens=16))
    record = run_task(clip, task, model=model, sampling=resolve_sampling(budget_tokens=600))
    assert record.plan is not None and record.usage is not None and record.model is not None
    assert record.usage.visual_tokens == record.plan.visual_tokens
    assert record.usage.prompt_tokens > record.plan.visual_tokens
    assert record.model.family == "qwen3-vl"
    assert record.text
    answer = seedvideo.ask(clip, "Which colour is it?", model=model, budget_tokens=600)
    assert answer.task == "ask"
    assert re.search(r"\S", answer.text or "")
