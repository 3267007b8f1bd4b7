"""Real servers with a tiny Qwen3-VL: their tokens are those of the plan.

`transformers serve` always, and vLLM where ``SEEDVIDEO_VLLM_PYTHON`` names the Python of an
environment that has it (``make test-servers``).
"""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Final

import pytest
from tokenizers import Tokenizer

import seedvideo
from seedvideo.config import resolve_sampling
from seedvideo.model.backends.base import Generation, Part, TimePart
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


VLLM_PYTHON: Final = os.environ.get("SEEDVIDEO_VLLM_PYTHON")
KINDS: Final = ["transformers", *(["vllm"] if VLLM_PYTHON else [])]

WIDE: Final = {
    "text": {
        "hidden_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [8, 4, 4],
            "mrope_interleaved": True,
        },
    },
    "vision": {"hidden_size": 128, "num_heads": 4, "out_hidden_size": 128},
}
"""Sizes of a model with attention heads of 32, the least that vLLM takes."""

VLLM_FLAGS: Final = (
    "--enforce-eager",
    "--dtype=float32",
    "--skip-mm-profiling",
    "--max-model-len=8192",
    "--trust-request-mm-kwargs",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen3_vl(tmp_path_factory.mktemp("served") / "qwen3-vl", sizes=WIDE)


@pytest.fixture(scope="module", params=KINDS)
def name(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The name of the model on a running server, as in ``--model``."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    place = ["--host=127.0.0.1", f"--port={port}"]
    if request.param == "vllm":
        assert VLLM_PYTHON is not None
        command = [VLLM_PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
        command += [*VLLM_FLAGS, "--served-model-name=tiny-qwen3-vl"]
        environment |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        served = "tiny-qwen3-vl"
    else:
        (log.parent / "sitecustomize.py").write_text(PICTURES_BY_PILLOW, encoding="utf-8")
        command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder)]
        command.append("--device=cpu")
        environment["PYTHONPATH"] = str(log.parent)
        served = str(folder)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *place], stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield f"{request.param}:http://127.0.0.1:{port}/v1#{served}"
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
def model(name: str) -> ServerBackend:
    return ServerBackend(ServerCosts.from_name(name, ModelOptions()))


def test_the_name_loads_it(name: str) -> None:
    assert seedvideo.load(name).details.family == "qwen3-vl"


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


def test_an_option_is_chosen(model: ServerBackend, tmp_path: Path) -> None:
    if "vllm" not in model.name:
        return  # Of the servers here only vLLM limits what is written; random weights write noise.
    clip = paint(tmp_path / "clip.mp4", ["red", "blue"])
    record = seedvideo.ask(
        clip, "Which colour is it?", options=["red", "blue"], model=model, budget_tokens=600
    )
    assert record.text in {"red", "blue"}


def test_frames_as_one_video(name: str, tmp_path: Path) -> None:
    if not name.startswith("vllm"):
        with pytest.raises(seedvideo.ConfigError, match="as-video"):
            seedvideo.load(name, as_video=True)
        return
    clip = paint(tmp_path / "clip.mp4", ["red", "blue"])
    record = seedvideo.caption(
        clip,
        model=seedvideo.load(name, as_video=True),
        policy="uniform",
        levels_tokens=(128,),
        generation=GenerationOptions(max_new_tokens=8),
    )
    assert record.model is not None
    assert record.model.time_precision_s is None
    assert record.usage is not None
    assert record.usage.prompt_tokens > 0


def test_one_record_format_and_the_same_frames_for_all_models(
    name: str, folder: Path, tmp_path: Path
) -> None:
    clip = paint(tmp_path / "clip.mp4", ["red", "blue", "green"])
    models = [seedvideo.load("nano"), seedvideo.load(str(folder)), seedvideo.load(name)]
    records, times = [], []
    for model in models:
        seen = Recording(model)
        record = seedvideo.ask(clip, "What happens?", model=seen, policy="uniform", max_frames=6)
        records.append(record.to_json())
        times.append(seen.times)
    assert times[0] == times[1] == times[2]
    assert len(times[0]) == 6
    assert shape(records[0]) == shape(records[1]) == shape(records[2])
    sources = [record["model"]["source"] for record in records]
    assert sources == ["shipped", "folder", "server"]
    for values in records:
        assert values["usage"]["visual_tokens"] == values["plan"]["visual_tokens"]


class Recording:
    """Passes everything on to a model and keeps the times that it is shown."""

    def __init__(self, model: seedvideo.Backend) -> None:
        self._model = model
        self.times: list[Fraction] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, parts: Sequence[Part], **options: Any) -> Generation:
        self.times = [part.pts for part in parts if isinstance(part, TimePart)]
        return self._model.generate(parts, **options)


def shape(value: object) -> object:
    """Return the keys of a record at all levels."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items() if key not in ("notes", "timing_s")}
    return None
