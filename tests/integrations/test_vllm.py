"""Inputs of vLLM, by vLLM itself: where ``SEEDVIDEO_VLLM_PYTHON`` names a Python that has it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Final

import pytest
from transformers import AutoProcessor

from seedvideo.integrations.vllm import inputs
from tests.fixtures import Clips
from tests.model.test_real_server import VLLM_PYTHON, WIDE
from tests.model.tiny_checkpoints import make_qwen3_vl

SCRIPT: Final = """
import json, sys
from pathlib import Path
import vllm
from PIL import Image

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    llm = vllm.LLM(
        str(folder / "model"),
        limit_mm_per_prompt={"image": 16},
        enforce_eager=True,
        dtype="float32",
        max_model_len=8192,
        skip_mm_profiling=True,
    )
    images = [Image.open(path) for path in sorted(folder.glob("*.png"))]
    request = {
        "prompt": (folder / "prompt.txt").read_text(),
        "multi_modal_data": {"image": images},
    }
    (reply,) = llm.generate(request, vllm.SamplingParams(temperature=0, max_tokens=4))
    (folder / "ids.json").write_text(json.dumps(list(reply.prompt_token_ids)))
"""


@pytest.mark.skipif(VLLM_PYTHON is None, reason="SEEDVIDEO_VLLM_PYTHON names no Python with vLLM")
def test_vllm_reads_the_ids_of_the_processor(tmp_path: Path, clips: Clips) -> None:
    processor = AutoProcessor.from_pretrained(make_qwen3_vl(tmp_path / "model", sizes=WIDE))
    request = inputs(
        clips["vfr"],
        "What happens?",
        processor=processor,
        family="qwen3-vl",
        max_frames=6,
        budget_tokens=1_000,
    )
    images = request["multi_modal_data"]["image"]
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    (tmp_path / "prompt.txt").write_text(request["prompt"])
    (tmp_path / "script.py").write_text(SCRIPT)
    subprocess.run(
        [str(VLLM_PYTHON), str(tmp_path / "script.py"), str(tmp_path)],
        env={
            **{name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        },
        check=True,
        timeout=600,
    )
    expected = processor(
        text=[request["prompt"]], images=[images], do_resize=False, return_tensors="pt"
    )
    assert json.loads((tmp_path / "ids.json").read_text()) == expected["input_ids"][0].tolist()
