"""Options of models: a tiny Qwen3-VL folder answers, and what a model can't use is refused."""

import json
import subprocess
import sys
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from seedvideo.sampler.geometry import SEED
from tests.cli.conftest import Run
from tests.model.tiny_checkpoints import make_qwen3_vl
from tests.synthetic_clips import paint
from tests.tiers import slow

SHORT = ("--max-new-tokens", "6", "--policy", "uniform", "--budget", "2k")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen3_vl(tmp_path_factory.mktemp("models") / "tiny-qwen3-vl")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("clips") / "clip.mp4", ["red", "green"])


def test_all_tasks_of_an_open_weight_model(run: Run, clip: Path, folder: Path) -> None:
    code, out, err = run("caption", clip, "--model", folder, *SHORT, "-f", "json")
    record = json.loads(out)
    assert code == 0, err
    assert record["model"]["source"] == "folder"
    assert record["model"]["family"] == record["plan"]["geometry"] == "qwen3-vl"
    assert record["usage"]["visual_tokens"] == record["plan"]["visual_tokens"]
    assert [note["code"] for note in record["notes"]] == ["answer.truncated"]
    assert "not sure: " in err and "trained" not in err
    words = ("ask", clip, "Which colour?", "--options", "red,green", "--model", folder)
    code, out, _ = run(*words, "--budget", "2k", "-f", "json")
    answer = json.loads(out)["answer"]
    assert code == 0
    assert sum(option["probability"] for option in answer["options"]) == pytest.approx(1, abs=1e-5)
    # Random weights write no time.
    code, _, err = run("ground", clip, "it is red", "--model", folder, *SHORT)
    assert (code, "[model.answer_unparsable]" in err) == (1, True)


def test_streamed_text_is_printed_once(run: Run, clip: Path, folder: Path) -> None:
    words = ("ask", clip, "What?", "--model", folder, *SHORT)
    _, plain, _ = run(*words)
    code, streamed, _ = run(*words, "--stream")
    assert code == 0
    assert streamed.strip() == plain.strip()


def test_streamed_text_of_several_videos_stands_under_their_names(
    run: Run, clip: Path, folder: Path
) -> None:
    other = paint(clip.with_name("other.mp4"), ["blue"])
    words = ("caption", clip, other, "--model", folder, *SHORT, "-q", "--stream")
    code, out, _ = run(*words)
    assert code == 0
    assert out.endswith("\n")
    first, second = out.removesuffix("\n").split("\n\n")
    assert first.splitlines()[0] == str(clip)
    assert second.splitlines()[0] == str(other)
    assert all(len(text.splitlines()) == 2 for text in (first, second))


def test_a_message_does_not_share_the_line_of_a_streamed_answer(
    run: Run, clip: Path, folder: Path
) -> None:
    code, out, err = run("ground", clip, "it is red", "--model", folder, *SHORT, "--stream")
    assert (code, "[model.answer_unparsable]" in err) == (1, True)
    assert out.strip()
    assert out.endswith("\n")


@slow
def test_a_closed_pipe_ends_a_streamed_answer(clip: Path, folder: Path) -> None:
    words = ["caption", clip, clip.parent, "--model", folder, *SHORT, "-q", "--stream"]
    command = " ".join(quote(str(word)) for word in (sys.executable, "-m", "seedvideo", *words))
    done = subprocess.run(
        ["bash", "-c", f"{command} | true"], capture_output=True, timeout=120, check=False
    )
    assert done.stderr == b""


def test_prompt_and_system_prompt_change_the_answer(run: Run, clip: Path, folder: Path) -> None:
    texts = set()
    for more in ((), ("--prompt", "What is it?"), ("--system", "A man rides a bike.")):
        code, out, _ = run("caption", clip, "--model", folder, *SHORT, *more, "-f", "json")
        assert code == 0
        texts.add(json.loads(out)["text"])
    assert len(texts) > 1


@pytest.mark.parametrize(
    "words",
    [
        ("--dtype", "float16"),
        ("--device", "cpu"),
        ("--quantize", "8bit"),
        ("--attention", "eager"),
        ("--offline",),
        ("--revision", "main"),
        ("--geometry", "seed"),
        ("--as-video",),
        ("--pairs",),
        ("--system", "x"),
        ("--temperature", "0.5"),
        ("--prompt", "x"),
        ("--stream",),
    ],
    ids=lambda words: words[0],
)
def test_what_the_embedded_model_cannot_use_is_refused(
    run: Run, clip: Path, words: tuple[str, ...]
) -> None:
    code, out, err = run("caption", clip, "--model", "nano", *words)
    assert (code, out) == (2, "")
    assert words[0] in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--stream", "-f", "json"), "--stream prints text"),
        (("--stream", "--dense"), "cannot be combined"),
        (("--system", " "), "system is empty"),
        (("--system", "a\udcff"), "system is not text"),
        (("--system", "a" * 10_001), "system has 10,001 characters"),
        (("--prompt", " "), "prompt is empty"),
        (("--as-video",), "--as-video"),
        (("--geometry", "seed"), "--geometry"),
        (("--dtype", "int4"), "--dtype"),
    ],
)
def test_options_that_contradict(
    run: Run, clip: Path, folder: Path, words: tuple[str, ...], message: str
) -> None:
    code, out, err = run("caption", clip, "--model", folder, *words)
    assert (code, out) == (2, "")
    assert message in err


def plan_of(run: Run, *words: Any) -> dict[str, Any]:
    code, out, err = run("plan", *words, "-f", "json")
    assert code == 0, err
    return dict(json.loads(out))


def test_a_plan_for_a_model_needs_no_weights(run: Run, clip: Path, folder: Path) -> None:
    whole = plan_of(run, clip, "--model", folder)
    bare = folder.parent / "bare" / folder.name
    bare.mkdir(parents=True)
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (bare / path.name).write_bytes(path.read_bytes())
    assert plan_of(run, clip, "--model", bare) == whole
    assert whole["geometry"]["token_px"] == 32
    record = json.loads(run("caption", clip, "--model", folder, *SHORT[:2], "-f", "json")[1])
    assert record["plan"]["visual_tokens"] == whole["totals"]["visual_tokens"]
    assert record["plan"]["text_tokens"] == whole["totals"]["text_tokens"]


def test_a_plan_for_a_family(run: Run, clip: Path) -> None:
    assert plan_of(run, clip, "--geometry", "qwen3-vl")["geometry"]["name"] == "qwen3-vl"
    assert plan_of(run, clip, "--geometry", "seed")["geometry"]["name"] == SEED.name
    tiles = plan_of(run, clip, "--geometry", "internvl")["geometry"]
    assert (tiles["kind"], tiles["tile_px"], tiles["max_tiles"]) == ("tiles", 448, 12)
    _, out, _ = run("plan", clip, "--geometry", "smolvlm")
    assert "the model takes one size: the budget is spent on times alone" in out
    code, _, err = run("plan", clip, "--geometry", "qwen3vl")
    assert (code, "did you mean 'qwen3-vl'?" in err) == (2, True)
    code, _, err = run("plan", clip, "--offline")
    assert (code, "--offline cannot be used without --model" in err) == (2, True)
