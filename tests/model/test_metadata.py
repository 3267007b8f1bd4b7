"""What planning needs of a model is the same with and without its weights, and cheap without."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from shutil import copytree

import pytest

from seedvideo.errors import ModelError
from seedvideo.model import WEIGHTS, load, load_costs


def test_token_costs_are_those_of_the_loaded_model() -> None:
    cheap, loaded = load_costs("nano"), load("nano")
    assert (cheap.name, cheap.sha256, cheap.geometry) == (
        loaded.name,
        loaded.sha256,
        loaded.geometry,
    )
    for pts in (Fraction(0), Fraction(25, 2), Fraction(99_999, 10)):
        assert cheap.frame_text_tokens(pts) == loaded.frame_text_tokens(pts)


def test_token_costs_need_no_torch() -> None:
    code = (
        "import sys, seedvideo.pipeline; from seedvideo.model import load_costs; load_costs(); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        load_costs("no-such-model")
    assert caught.value.code == "model.unknown"


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = Path(copytree(WEIGHTS / "nano", tmp_path / "nano"))
    with (folder / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ModelError) as caught:
        load_costs(str(folder))
    assert caught.value.code == "model.checkpoint_invalid"
