"""Checkpoints: bit-equal there and back, and every kind of damage refused with a reason."""

import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seedvideo.errors import ModelError
from seedvideo.model.checkpoint import CheckpointConfig, load_checkpoint, save_checkpoint
from seedvideo.model.language_model import DecoderConfig
from seedvideo.model.metadata import file_sha256, verify_files
from seedvideo.model.ood import KnnOodDetector
from seedvideo.model.seedvl import AnswerConfig, SeedVL, SeedVLConfig, initialise
from seedvideo.model.vision_encoder import VitConfig
from seedvideo.sampler.geometry import TokenGeometry

CONFIG = CheckpointConfig(
    name="tiny",
    description="a model for tests",
    licence="Apache-2.0",
    model=SeedVLConfig(
        vit=VitConfig(width=32, depth=1, heads=2),
        adapter_hidden=32,
        decoder=DecoderConfig(vocabulary=40, width=32, depth=1, heads=2, kv_heads=1, hidden=32),
    ),
    geometry=TokenGeometry("tiny", 28, (16, 8), 4, 256),
    familiarity_threshold=0.5,
)


ANSWER = AnswerConfig(
    adapter_hidden=24,
    decoder=DecoderConfig(vocabulary=40, width=16, depth=2, heads=2, kv_heads=1, hidden=32),
)


def tiny_model(config: SeedVLConfig = CONFIG.model) -> SeedVL:
    model = SeedVL(config)
    initialise(model, seed=3)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "tiny"
    bank = KnnOodDetector.fit(torch.randn(20, 8), directions=4, max_references=10)
    save_checkpoint(
        target,
        CONFIG,
        tiny_model().state_dict(),
        "{}",
        familiarity=bank.to_tensors(),
        dtype=torch.float32,
    )
    return target


def resign(folder: Path) -> None:
    """Make the manifest agree with changed files, so that what lies behind it is tested."""
    manifest = json.loads((folder / "manifest.json").read_text())
    signed = {name: file_sha256(folder / name) for name in manifest}
    (folder / "manifest.json").write_text(json.dumps(signed))


def test_there_and_back_is_bit_equal(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.config == CONFIG
    for name, value in tiny_model().state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    assert set(loaded.familiarity) == {"mean", "directions", "bank"}
    assert not loaded.model.training


def test_half_precision_is_bit_equal_the_second_time(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", CONFIG, tiny_model().state_dict(), "{}")
    once = load_checkpoint(tmp_path / "a").model.state_dict()
    save_checkpoint(tmp_path / "b", CONFIG, once, "{}")
    twice = load_checkpoint(tmp_path / "b").model.state_dict()
    assert all(torch.equal(once[name], twice[name]) for name in once)
    assert verify_files(tmp_path / "a") == verify_files(tmp_path / "b")


def test_a_changed_weight_changes_the_hash(folder: Path, tmp_path: Path) -> None:
    weights = tiny_model().state_dict()
    weights["decoder.norm.weight"] = weights["decoder.norm.weight"] + 1
    other = save_checkpoint(tmp_path / "other", CONFIG, weights, "{}")
    assert other != verify_files(folder)


def test_an_answer_branch_is_there_and_back(tmp_path: Path) -> None:
    config = replace(CONFIG, model=replace(CONFIG.model, answer=ANSWER))
    weights = tiny_model(config.model).state_dict()
    save_checkpoint(tmp_path, config, weights, "{}", dtype=torch.float32)
    loaded = load_checkpoint(tmp_path)
    assert loaded.config == config
    assert loaded.model.state_dict().keys() == weights.keys()
    assert all(torch.equal(loaded.model.state_dict()[name], weights[name]) for name in weights)
    own = {name for name in weights if name.startswith("answer.")}
    assert {name.split(".")[1] for name in own} == {"adapter", "decoder"}
    # What captions use has the same names as without it.
    assert weights.keys() - own == tiny_model().state_dict().keys()


def test_a_config_of_before_the_answer_branch_is_read(folder: Path) -> None:
    edit_config(lambda c: c["model"].pop("answer"))(folder)  # type: ignore[attr-defined]
    assert load_checkpoint(folder).config == CONFIG


INT8 = frozenset({"adapter.first.weight", "decoder.embedding.weight"})


def test_int8_weights_are_read_as_they_were_rounded(tmp_path: Path) -> None:
    weights = tiny_model().state_dict()
    save_checkpoint(tmp_path, CONFIG, weights, "{}", dtype=torch.float32, int8=INT8)
    once = load_checkpoint(tmp_path).model.state_dict()
    for name, value in weights.items():
        if name in INT8:
            largest = value.abs().amax(dim=1, keepdim=True)
            assert bool(((once[name] - value).abs() <= largest / 127 * 0.501).all())
            assert not torch.equal(once[name], value)
            assert once[name].dtype == torch.float32
        else:
            assert torch.equal(once[name], value), name
    digest = verify_files(tmp_path)
    assert save_checkpoint(tmp_path, CONFIG, once, "{}", dtype=torch.float32, int8=INT8) == digest


def test_int8_weights_may_be_split_over_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seedvideo.model.checkpoint.MAX_FILE_BYTES", 256 * 1024 + 20_000)
    weights = tiny_model().state_dict()
    every = frozenset(name for name, value in weights.items() if value.ndim > 1)
    save_checkpoint(tmp_path, CONFIG, weights, "{}", dtype=torch.float32, int8=every)
    assert len(list(tmp_path.glob("weights-*.safetensors"))) > 1
    assert load_checkpoint(tmp_path).config == CONFIG


Q8, SCALE = "adapter.first.weight.q8", "adapter.first.weight.scale"

INT8_DAMAGES: dict[str, tuple[dict[str, torch.Tensor | None], str]] = {
    "no scale": ({SCALE: None}, f"{Q8} has no {SCALE}"),
    "no numbers": ({Q8: None}, "adapter.first.weight is missing"),
    "twice": ({"adapter.first.weight": torch.zeros(32, 32)}, "is stored twice"),
    "floats": ({Q8: torch.zeros(32, 32)}, "expected int8 and float16"),
    "bytes": ({Q8: torch.zeros(32, 32, dtype=torch.uint8)}, "expected int8 and float16"),
    "wide scale": ({SCALE: torch.zeros(32)}, "expected int8 and float16"),
    "shape": ({Q8: torch.zeros(32, 31, dtype=torch.int8)}, r"shape \(32, 31\)"),
    "no rows": ({Q8: torch.zeros(32, dtype=torch.int8)}, "expected one value per row"),
    "one number": ({Q8: torch.tensor(0, dtype=torch.int8)}, "expected one value per row"),
    "few scales": ({SCALE: torch.zeros(31, dtype=torch.float16)}, "expected one value per row"),
    "flat scale": ({SCALE: torch.tensor(0, dtype=torch.float16)}, "expected one value per row"),
    "scales of numbers": (
        {SCALE: torch.zeros(32, 32, dtype=torch.float16)},
        "expected one value per row",
    ),
    "not finite": (
        {SCALE: torch.full((32,), torch.inf, dtype=torch.float16)},
        "negative or not finite",
    ),
    "no number": (
        {SCALE: torch.full((32,), torch.nan, dtype=torch.float16)},
        "negative or not finite",
    ),
    "negative": (
        {SCALE: torch.full((32,), -1.0, dtype=torch.float16)},
        "negative or not finite",
    ),
    "unknown": (
        {
            "x.q8": torch.zeros(2, 2, dtype=torch.int8),
            "x.scale": torch.zeros(2, dtype=torch.float16),
        },
        "x is unknown",
    ),
    "unknown scale": ({"x.scale": torch.zeros(2, dtype=torch.float16)}, "x.scale is unknown"),
    "no base": ({".q8": torch.zeros(2, 2, dtype=torch.int8)}, r"\.q8 has no \.scale"),
}


@pytest.mark.parametrize("kind", INT8_DAMAGES)
def test_damage_to_int8_weights_is_refused(tmp_path: Path, kind: str) -> None:
    weights = tiny_model().state_dict()
    save_checkpoint(tmp_path, CONFIG, weights, "{}", dtype=torch.float32, int8=INT8)
    changes, message = INT8_DAMAGES[kind]
    path = tmp_path / "weights-1-of-1.safetensors"
    stored = {**load_file(path), **changes}
    save_file({name: value for name, value in stored.items() if value is not None}, path)
    resign(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        load_checkpoint(tmp_path)
    assert caught.value.code == "model.checkpoint_invalid"


def test_large_weights_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedvideo.model.checkpoint.MAX_FILE_BYTES", 256 * 1024 + 80_000)
    save_checkpoint(tmp_path, CONFIG, tiny_model().state_dict(), "{}", dtype=torch.float32)
    files = list(tmp_path.glob("weights-*.safetensors"))
    assert len(files) > 1
    assert load_checkpoint(tmp_path).config == CONFIG


def test_an_older_checkpoint_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seedvideo.model.checkpoint.MAX_FILE_BYTES", 256 * 1024 + 80_000)
    weights = tiny_model().state_dict()
    save_checkpoint(folder, CONFIG, weights, "{}", dtype=torch.float32)
    monkeypatch.undo()
    save_checkpoint(folder, CONFIG, weights, "{}")
    assert [path.name for path in folder.glob("*.safetensors")] == ["weights-1-of-1.safetensors"]
    assert load_checkpoint(folder).familiarity == {}


def edit_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / "weights-1-of-1.safetensors"
        weights = load_file(path)
        change(weights)
        save_file(weights, path)
        resign(folder)

    return damage


def edit_config(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        change(values)
        (folder / "config.json").write_text(json.dumps(values))
        resign(folder)

    return damage


def flip_a_byte(folder: Path) -> None:
    path = folder / "weights-1-of-1.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def replace_by_pickle(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"decoder.norm.weight": 1}))


def pickle_in_disguise(folder: Path) -> None:
    (folder / "weights-1-of-1.safetensors").write_bytes(pickle.dumps({"a": 1}))
    resign(folder)


def leave_the_folder(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps({"../other.safetensors": "0" * 64}))


NORM = "decoder.norm.weight"

DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "byte": (flip_a_byte, "SHA-256 differs from the manifest"),
    "pickle": (replace_by_pickle, "is a pickle, which can execute code"),
    "disguise": (pickle_in_disguise, "is not a valid safetensors file"),
    "missing": (edit_weights(lambda w: w.pop(NORM)), f"{NORM} is missing"),
    "unknown": (edit_weights(lambda w: w.update(extra=torch.zeros(1))), "extra is unknown"),
    "shape": (edit_weights(lambda w: w.update({NORM: torch.zeros(31)})), r"shape \(31,\)"),
    "whole numbers": (
        edit_weights(lambda w: w.update({NORM: torch.zeros(32, dtype=torch.int64)})),
        "expected a floating-point type",
    ),
    "not finite": (
        edit_weights(lambda w: w.update({NORM: torch.full((32,), torch.nan)})),
        "not finite",
    ),
    "no file": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
    "path": (leave_the_folder, "invalid entry"),
    "no json": (lambda f: (f / "manifest.json").write_text("{"), "not valid JSON"),
    "deep json": (lambda f: (f / "manifest.json").write_text("[" * 100_000), "not valid JSON"),
    "list": (lambda f: (f / "manifest.json").write_text("[]"), "not a JSON object"),
    "version": (edit_config(lambda c: c.update(format_version=99)), "format_version is 99"),
    "remote code": (edit_config(lambda c: c.update(auto_map={"x": "y"})), "auto_map"),
    "no sizes": (edit_config(lambda c: c.update(model={})), "does not describe a valid model"),
    "no heads": (
        edit_config(lambda c: c["model"]["vit"].update(heads=0)),  # type: ignore[index]
        "does not describe a valid model",
    ),
    "unknown patches": (
        edit_config(lambda c: c["model"]["vit"].update(embedding="x")),  # type: ignore[index]
        "does not describe a valid model",
    ),
    "negative": (
        edit_config(lambda c: c["model"].update(adapter_hidden=-1)),  # type: ignore[attr-defined]
        "does not describe a valid model",
    ),
    "answer": (
        edit_config(lambda c: c["model"].update(answer="x")),  # type: ignore[attr-defined]
        "does not describe a valid model",
    ),
    "answer sizes": (
        edit_config(lambda c: c["model"].update(answer={})),  # type: ignore[attr-defined]
        "does not describe a valid model",
    ),
    "answer weights": (
        edit_config(lambda c: c["model"].update(answer=asdict(ANSWER))),  # type: ignore[attr-defined]
        "answer.adapter.first.bias is missing",
    ),
    "answer vocabulary": (
        edit_config(
            lambda c: c["model"].update(  # type: ignore[attr-defined]
                answer=asdict(replace(ANSWER, decoder=replace(ANSWER.decoder, vocabulary=41)))
            )
        ),
        "they must share one vocabulary",
    ),
    "name": (edit_config(lambda c: c.update(name=5)), "must be text"),
    "threshold": (edit_config(lambda c: c.update(familiarity_threshold="x")), "must be a number"),
    "token size": (
        edit_config(lambda c: c["geometry"].update(token_px=32)),  # type: ignore[attr-defined]
        "32 px per token",
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_refused(folder: Path, kind: str) -> None:
    damage, message = DAMAGES[kind]
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_checkpoint(folder)
    assert caught.value.code == "model.checkpoint_invalid"
    assert caught.value.hint


def test_no_folder_is_an_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_checkpoint(tmp_path / "nowhere")
    assert caught.value.code == "model.unknown"
