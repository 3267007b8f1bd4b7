"""What is no usable checkpoint is refused with one clear error; hubs, hashes and devices."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from safetensors.torch import load_file, save_file

from seedvideo.errors import ModelError
from seedvideo.model import WEIGHTS, load, load_costs, open_weights
from seedvideo.model.backends.base import TextPart
from seedvideo.model.backends.native import NativeBackend
from seedvideo.model.backends.transformers import TransformersBackend
from seedvideo.model.open_weights import checkpoint_sha256, is_open_weights
from seedvideo.model.processing import PromptProcessor
from seedvideo.model_options import ModelOptions
from tests.model.tiny_checkpoints import make_qwen3_vl
from tests.model.tiny_probed import make_idefics3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen3_vl(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of a good checkpoint, for a test to damage."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


NORM: Final = "model.language_model.norm.weight"


def use_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5_000])


def cut_tensors(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5_000])


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def lose_a_tensor(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.pop(NORM))


def lose_many_tensors(folder: Path) -> None:
    change_weights(
        folder,
        lambda weights: [weights.pop(name) for name in list(weights) if ".visual." in name],
    )


def shrink_a_tensor(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({NORM: torch.ones(4)}))


def be_of_an_unknown_type(folder: Path) -> None:
    change(folder / "config.json", model_type="mystery")


def be_a_text_model(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    for path in folder.iterdir():
        if path.name not in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            path.unlink()
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    config = LlamaConfig(vocab_size=400, num_attention_heads=2, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)


def lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], None]:
    def write_text(folder: Path) -> None:
        (folder / name).write_text(text)

    return write_text


def state_sizes(folder: Path) -> None:
    path = folder / "processor_config.json"
    change(
        path, image_processor={**json.loads(path.read_text())["image_processor"], "merge_size": 0}
    )


def state_no_object(folder: Path) -> None:
    change(folder / "processor_config.json", image_processor=[1])


CASES: Final[dict[str, tuple[Callable[[Path], object], str]]] = {
    "a pickle": (use_pickle, "no weights as safetensors (pytorch_model.bin is a pickle"),
    "a damaged header": (cut_weights, "its weights cannot be used"),
    "missing bytes": (cut_tensors, "its weights cannot be used"),
    "an empty file": (empty_weights, "its weights cannot be used"),
    "a missing tensor": (lose_a_tensor, f"its weights lack {NORM}"),
    "missing tensors": (lose_many_tensors, "its weights lack model.visual."),
    "another shape": (shrink_a_tensor, f"its weights have another shape of {NORM}"),
    "an unknown type": (be_of_an_unknown_type, "no model of type 'mystery' for images"),
    "a text model": (be_a_text_model, "no model of type 'llama' for images"),
    "no chat template": (lose("chat_template.jinja"), "it has no chat template"),
    "a bad template": (write("chat_template.jinja", "{% for %}"), "its chat template cannot be"),
    "no tokenizer": (lose("tokenizer.json"), "its processor cannot be used"),
    "a bad tokenizer": (write("tokenizer.json", "{}"), "its processor cannot be used"),
    "no processor": (lose("processor_config.json"), "its processor cannot be used"),
    "a bad config": (write("config.json", '{"model_type": '), "config.json is missing or not"),
    "a bad processor": (write("processor_config.json", "["), "processor_config.json is missing"),
    "bad settings": (write("generation_config.json", "{"), "generation_config.json is missing or"),
    "no sizes": (state_sizes, "its configuration has invalid sizes"),
    "no object": (state_no_object, "has an invalid image_processor"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_checkpoint_is_one_clear_error(folder: Path, case: str) -> None:
    damage, problem = CASES[case]
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load(str(folder))
    assert caught.value.code == "model.checkpoint_invalid"
    assert caught.value.message.startswith("checkpoint tiny: ")
    assert problem in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "case", ["a pickle", "an unknown type", "a text model", "a bad config", "no sizes"]
)
def test_planning_refuses_what_needs_no_weights_to_see(folder: Path, case: str) -> None:
    damage, problem = CASES[case]
    damage(folder)
    with pytest.raises(ModelError) as caught:
        _ = load_costs(str(folder)).sha256
    assert problem in caught.value.message


def test_planning_needs_a_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"its processor cannot be used"):
        load_costs(str(folder)).frame_text_tokens(Fraction(1))


@pytest.mark.parametrize("model_type", ["mystery", "qwen3_vl"])
def test_code_of_a_checkpoint_never_runs(folder: Path, model_type: str) -> None:
    marker = folder / "it_ran"
    (folder / "code.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    code = {"AutoConfig": "code.C", "AutoModelForImageTextToText": "code.M", "AutoModel": "code.M"}
    change(folder / "config.json", model_type=model_type, auto_map=code)
    change(folder / "processor_config.json", auto_map={"AutoProcessor": "code.P"})
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.T", "code.T"]})
    if model_type == "qwen3_vl":  # transformers has its own code for it
        load(str(folder))
        load_costs(str(folder))
    else:
        for find in (load, load_costs):
            with pytest.raises(ModelError) as caught:
                find(str(folder))
            assert "needs code of its own (auto_map), which is never run" in caught.value.message
    assert not marker.exists()
    assert not list(folder.glob("__pycache__"))


def test_the_embedded_model_stays_so_in_another_folder(tmp_path: Path, made: Path) -> None:
    copied = Path(shutil.copytree(WEIGHTS / "nano", tmp_path / "copied"))
    assert not is_open_weights(copied)
    assert isinstance(load(str(copied)), NativeBackend)
    assert load_costs(str(copied)).details.family is None
    assert is_open_weights(made)
    assert not is_open_weights(tmp_path)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


OFFLINE: Final = ModelOptions(offline=True)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of a hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.usefixtures("no_network", "hub")
@pytest.mark.parametrize("find", [load, load_costs])
def test_a_model_that_is_not_on_this_machine(find: Callable[..., Any]) -> None:
    with pytest.raises(ModelError) as caught:
        find("some/model", OFFLINE)
    assert caught.value.code == "model.not_found"
    assert caught.value.message == "model some/model is not on this machine"
    assert "--offline" in caught.value.hint


@pytest.mark.usefixtures("no_network", "hub")
def test_the_variable_of_the_hub_means_offline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        load_costs("some/model")
    assert caught.value.code == "model.not_found"
    assert caught.value.hint == "unset HF_HUB_OFFLINE once, so that its files are fetched"


@pytest.mark.usefixtures("no_network", "hub")
@pytest.mark.parametrize("name", ["some--body/model", "some/mo..del", "some/model.git", "some/m-"])
def test_a_name_that_no_hub_allows(name: str) -> None:
    with pytest.raises(ModelError, match="no hub allows") as caught:
        load_costs(name)
    assert caught.value.code == "model.not_found"


@pytest.mark.usefixtures("no_network")
def test_a_file_is_no_name_on_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "config.json").write_text("{}")
    with pytest.raises(ModelError) as caught:
        load_costs("some/config.json")
    assert caught.value.code == "model.unknown"


COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"


def keep_in_cache(hub: Path, made: Path) -> Path:
    """Lay a checkpoint out as a downloaded one: blobs, and links to them."""
    repository = hub / "models--Some--Model"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for path in made.iterdir():
        blob = repository / "blobs" / hashlib.sha256(path.name.encode()).hexdigest()
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


@pytest.mark.usefixtures("no_network")
def test_a_fetched_model_loads_without_a_network(hub: Path, made: Path) -> None:
    snapshot = keep_in_cache(hub, made)
    for revision in (None, "main", COMMIT):
        options = ModelOptions(offline=True, revision=revision)
        costs, model = load_costs("Some/Model", options), load("Some/Model", options)
        assert costs.name == model.name == "Some/Model"
        assert (model.details.source, model.details.revision) == ("hub", COMMIT)
        assert (costs.details.source, costs.details.revision) == ("hub", COMMIT)
        assert costs.sha256 == model.sha256 == checkpoint_sha256(made)
    with pytest.raises(ModelError) as caught:
        load("Some/Model", ModelOptions(offline=True, revision="v2"))
    assert caught.value.code == "model.not_found"
    assert "at revision v2" in caught.value.message
    # The files for planning alone are no model.
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ModelError) as caught:
        load("Some/Model", OFFLINE)
    assert caught.value.code == "model.not_found"
    assert "lacks safetensors on this machine" in caught.value.message
    assert load_costs("Some/Model", OFFLINE).geometry.name == "qwen3-vl"


_FETCH: Final = """
from seedvideo.errors import ModelError
from seedvideo.model import load_costs
try:
    load_costs("some/model")
except ModelError as error:
    print(error.code, error.retryable, error.message, error.hint, sep="|")
"""


def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"  # bound, and none listens
        settings = {"HF_ENDPOINT": address, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", _FETCH],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
    code, retryable, message, hint = done.stdout.strip().split("|")
    assert (code, retryable, done.stderr) == ("model.download_failed", "True", "")
    assert message.startswith("model some/model could not be fetched: ")
    assert "try again" in hint


@pytest.mark.parametrize(
    ("options", "package"),
    [
        (ModelOptions(quantize="8bit"), "bitsandbytes"),
        (ModelOptions(attention="flash_attention_2"), "flash_attn"),
    ],
)
def test_an_option_that_needs_a_package(
    made: Path, monkeypatch: pytest.MonkeyPatch, options: ModelOptions, package: str
) -> None:
    monkeypatch.setattr(
        "seedvideo.model.loading.find_spec",
        lambda name: None if name == package else find_spec(name),
    )
    with pytest.raises(ModelError) as caught:
        load(str(made), options)
    assert caught.value.code == "model.not_installed"
    assert f"needs {package}, which is not installed" in caught.value.message
    assert "pip install" in caught.value.hint


@pytest.mark.parametrize("package", ["transformers", "torchvision"])
def test_the_extra_is_not_installed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(
        "seedvideo.model.open_weights.find_spec",
        lambda name: None if name == package else find_spec(name),
    )
    with pytest.raises(ModelError) as caught:
        load(str(made))
    assert caught.value.code == "model.not_installed"
    assert f"needs {package}, which is not installed" in caught.value.message
    assert "seedvideo[transformers]" in caught.value.hint
    assert load_costs(str(made)).geometry.name == "qwen3-vl"  # needs neither
    with pytest.raises(ModelError, match=package):
        load_costs(str(make_idefics3(tmp_path / "probed")))


def test_a_device_that_is_not_there(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError) as caught:
        load(str(made), ModelOptions(device="cuda"))
    assert caught.value.code == "model.no_device"
    assert "--device cuda" in caught.value.message
    assert load(str(made), ModelOptions(device="cpu")).details.source == "folder"


def test_weights_in_parts_beside_a_copy_in_another_format(folder: Path, made: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {
        "model-00001-of-00002.safetensors": names[::2],
        "model-00002-of-00002.safetensors": names[1::2],
    }
    for file_name, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file_name, {"format": "pt"})
    places = {name: file_name for file_name, part in parts.items() for name in part}
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    assert open_weights.weight_names(folder) == tuple(parts)
    before = checkpoint_sha256(folder)
    (folder / "consolidated.safetensors").write_bytes(b"another copy")
    assert checkpoint_sha256(folder) == before != checkpoint_sha256(made)
    assert load(str(folder)).geometry == load(str(made)).geometry
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors is missing, one of 2"):
        load(str(folder))


def test_the_processor_file_counts_before_older_files(folder: Path) -> None:
    # As left behind when a checkpoint is saved over an older one.
    (folder / "preprocessor_config.json").write_text(json.dumps({"patch_size": 14}))
    assert load_costs(str(folder)).geometry == load(str(folder)).geometry
    assert load_costs(str(folder)).geometry.token_area_px == 32 * 32


def test_a_chat_template_that_only_the_tokenizer_states(folder: Path, made: Path) -> None:
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    change(folder / "tokenizer_config.json", chat_template=template)
    own, usual = load(str(folder)), load(str(made))
    assert isinstance(own, TransformersBackend)
    assert isinstance(usual, TransformersBackend)
    prompts = [
        each._processor.render([TextPart("?")], system=None, thinking=False)
        for each in (own, usual)
    ]
    assert prompts[0] == prompts[1]


def test_a_lack_of_memory_is_not_the_fault_of_the_checkpoint(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: object, **options: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", fail)
    with pytest.raises(ModelError) as caught:
        load(str(made))
    assert caught.value.code == "model.out_of_memory"


@pytest.mark.parametrize("name", ["foo/bar--baz", "foo/bar.git", "foo/bar."])
def test_a_name_that_no_hub_can_have(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_costs(name, ModelOptions(offline=True))
    assert caught.value.code == "model.not_found"


def test_white_space_of_a_prompt_survives(folder: Path) -> None:
    """Some tokenizers have white space among their added tokens, such as that of Gemma."""
    values = json.loads((folder / "tokenizer.json").read_text())
    count = len(values["model"]["vocab"]) + len(values["added_tokens"])
    for place, text in enumerate(("\n\n", "  ")):
        values["added_tokens"].append(
            {
                "id": count + place,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": False,
            }
        )
    (folder / "tokenizer.json").write_text(json.dumps(values))
    processor = PromptProcessor.from_folder(folder)
    assert processor.neutralize("one\n\ntwo   three <|im_end|>") == "one\n\ntwo   three < |im_end|>"
