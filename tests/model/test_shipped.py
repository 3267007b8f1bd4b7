"""The checkpoint that the package ships: whole, small, loaded without network, and it answers."""

import os
import subprocess
import sys
from fractions import Fraction

import torch
from safetensors.torch import load_file

from seedvideo.model import WEIGHTS, available, load
from seedvideo.model.backends.base import interleave
from seedvideo.model.backends.native import NativeBackend
from seedvideo.model.checkpoint import MAX_FILE_BYTES
from seedvideo.model.generation import generate, mbr_select
from seedvideo.model.metadata import verify_files
from tests.model.pictures import picture
from tests.tiers import slow


def test_the_shipped_model_is_complete_and_small() -> None:
    (nano,) = [model for model in available() if model.name == "nano"]
    assert len(verify_files(nano.folder)) == 64
    files = [path for path in nano.folder.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 24 * 1024**2
    assert max(path.stat().st_size for path in files) <= MAX_FILE_BYTES
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}


def test_a_caption_of_the_shipped_model_is_what_its_beams_agree_on() -> None:
    backend = NativeBackend.from_folder(WEIGHTS / "nano")
    parts = interleave([(Fraction(0), picture(192, 320))], "Describe the video.")
    model, pixels = backend._model, torch.from_numpy(picture(192, 320))
    with torch.inference_mode():
        prompt = model.embed(torch.tensor([backend._ids(parts)]), model.encode_frames([pixels]))
    (answers,) = generate(model.decoder, prompt, max_new_tokens=96, beams=32, length_penalty=0.7)
    expected = backend._tokenizer.decode(mbr_select(answers).ids)
    assert backend.generate(parts).text == expected


def test_the_shipped_model_answers_in_words() -> None:
    backend = load("nano")
    frames = [(Fraction(index), picture(192, 320, index)) for index in range(2)]
    answer = backend.generate(interleave(frames, "Describe the video."))
    assert len(answer.text.split()) > 2
    assert not answer.confident, "noise looks like nothing that it was trained on"
    assert answer.usage.visual_tokens == 2 * 15


def output_of(script: str) -> str:
    """What a script prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@slow
def test_loading_asks_for_no_network() -> None:
    script = (
        "import socket, sys\n"
        "def refuse(*args, **kwargs): raise AssertionError('a connection was made')\n"
        "socket.socket.connect = refuse\n"
        "from seedvideo.model import load\n"
        "print(load('nano').name)\n"
    )
    assert output_of(script) == "nano"


@slow
def test_loading_does_not_import_torchs_compiler() -> None:
    script = "import sys; from seedvideo.model import load; load(); "
    assert output_of(script + "print('torch._dynamo' in sys.modules)") == "False"


def test_weights_are_plain_numbers() -> None:
    for path in (WEIGHTS / "nano").glob("*.safetensors"):
        for name, value in load_file(path).items():
            assert value.dtype == (torch.int8 if name.endswith(".q8") else torch.float16), name
