"""The model of lmms-eval, through its interface: a local task of three made clips.

With lmms-eval on the path, its own classes are used; without it, stand-ins of them. An environment
for it, without the hundred packages that its tasks need:

    pip install --no-deps --target FOLDER lmms_eval==0.7.3 pytz loguru
    PYTHONPATH=FOLDER pytest tests/integrations/test_lmms_eval.py

Its command runs on the same clips where the packages of its evaluator are installed too.
"""

import importlib
import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from math import exp
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import seedvideo
from seedvideo import model
from seedvideo.pipeline import prepare
from tests.doc_examples import ROOT
from tests.model.tiny_checkpoints import make_qwen3_vl
from tests.plugins import in_child, install
from tests.synthetic_clips import ColourChooser, ColourModel, FixedAnswerModel, paint

ADAPTER = "seedvideo.integrations.lmms_eval"
COLOURS = ("red", "green", "blue")


class CacheHook:
    """As in lmms-eval: notes finished answers."""

    def __init__(self) -> None:
        self.noted: list[Any] = []

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        self.noted.append((attr, req, res))


class StandIn:
    """As the class ``lmms`` of lmms-eval."""

    is_simple = True

    def __init__(self) -> None:
        self.cache_hook = CacheHook()
        self.task_dict: dict[str, Any] = {}

    @classmethod
    def create_from_arg_string(cls, text: str, more: dict[str, Any]) -> Any:
        pairs = dict(part.split("=", 1) for part in text.split(",") if part)
        values = {key: int(value) if value.isdigit() else value for key, value in pairs.items()}
        return cls(**values, **{key: value for key, value in more.items() if value is not None})


@dataclass(frozen=True)
class ModelManifest:
    """As the class of lmms-eval."""

    model_id: str
    simple_class_path: str


@pytest.fixture(params=["real", "stand-in"])
def adapter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import the adapter with lmms-eval itself, or with stand-ins."""
    if request.param == "real":
        if find_spec("lmms_eval") is None:
            pytest.skip("lmms-eval is not installed; the head of this file tells how")
    else:
        modules: dict[str, dict[str, object]] = {
            "lmms_eval": {},
            "lmms_eval.api": {},
            "lmms_eval.api.model": {"lmms": StandIn},
            "lmms_eval.models": {},
            "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
        }
        for name, values in modules.items():
            module = ModuleType(name)
            vars(module).update(values)
            monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, ADAPTER, raising=False)
    yield importlib.import_module(ADAPTER)
    sys.modules.pop(ADAPTER, None)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [paint(folder / f"{name}.mp4", [name], shot_s=1) for name in COLOURS]


@pytest.fixture
def task(clips: list[Path]) -> dict[str, Any]:
    return {"colours": {"test": [{"video": str(clip)} for clip in clips]}}


def videos(doc: dict[str, str]) -> list[str]:
    return [doc["video"]]


def make_instance(kind: str, *arguments: Any) -> Any:
    """Return a request, as a task of lmms-eval makes it."""
    if "lmms_eval.api.instance" not in sys.modules:
        return SimpleNamespace(args=arguments)
    instance = sys.modules["lmms_eval.api.instance"].Instance
    metadata = {"task": "colours", "doc_id": 0, "repeats": 1}
    return instance(request_type=kind, arguments=arguments, idx=0, metadata=metadata)


def questions(context: str = "Which colour is shown?", **settings: Any) -> list[Any]:
    return [
        make_instance("generate_until", context, settings, videos, place, "colours", "test")
        for place in range(3)
    ]


def choices(*options: str) -> list[Any]:
    return [
        make_instance(
            "loglikelihood", "Which colour?", f" {option}", videos, place, "colours", "test"
        )
        for place in range(3)
        for option in options
    ]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, adapter: Any, task: dict[str, Any]) -> Callable[..., Any]:
    """Make a model of lmms-eval from one of ours."""

    def make(backend: ColourModel, arguments: str = "policy=uniform") -> Any:
        monkeypatch.setattr(adapter, "load", lambda name, options: backend)
        made = adapter.SampledVideoModel.create_from_arg_string(arguments, {"batch_size": 1})
        made.task_dict = task
        return made

    return make


def test_lmms_eval_registers_it(adapter: Any) -> None:
    manifest = adapter.manifest()
    assert manifest.model_id == "seedvideo"
    module, _, name = manifest.simple_class_path.rpartition(".")
    assert getattr(importlib.import_module(module), name).is_simple


def test_a_generated_answer_per_clip(use: Callable[..., Any]) -> None:
    backend = ColourModel()
    assert use(backend).generate_until(questions(max_new_tokens=8)) == list(COLOURS)
    assert len(backend.seen) == 3


def test_an_answer_ends_at_a_stop_text_but_not_at_a_blank_line(use: Callable[..., Any]) -> None:
    answers = use(FixedAnswerModel(*["a\n\nb;c"] * 3)).generate_until(
        questions(until=["\n\n", ";"])
    )
    assert answers == ["a\n\nb"] * 3


def test_options_are_ranked(use: Callable[..., Any]) -> None:
    found = use(ColourChooser()).loglikelihood(choices(*COLOURS))
    rows = [found[start : start + 3] for start in (0, 3, 6)]
    assert [[is_best for _, is_best in row] for row in rows] == [
        [place == colour for colour in range(3)] for place in range(3)
    ]
    assert [sum(exp(value) for value, _ in row) for row in rows] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("policy", ["adaptive", "uniform"])
def test_a_real_model_with_both_policies(
    adapter: Any, task: dict[str, Any], tmp_path: Path, policy: str
) -> None:
    folder = make_qwen3_vl(tmp_path / "tiny")
    arguments = f"pretrained={folder},budget_tokens=600,policy={policy},dtype=float32"
    made = adapter.SampledVideoModel.create_from_arg_string(arguments, {"device": "cpu"})
    made.task_dict = task
    answers = made.generate_until(questions(max_new_tokens=4))
    backend = model.load(str(folder), seedvideo.ModelOptions(dtype="float32"))
    sampling = seedvideo.SamplingConfig(policy=policy, budget_tokens=600)
    for doc, answer in zip(task["colours"]["test"], answers, strict=True):
        prepared = prepare(doc["video"], model=backend, sampling=sampling)
        assert prepared.plan.policy == policy
        parts = prepared.frame_sets[0].with_prompt("Which colour is shown?")
        assert backend.generate(parts, task="ask", max_new_tokens=4).text == answer
    found = made.loglikelihood(choices("red", "blue"))
    assert len(found) == 6 and sum(is_best for _, is_best in found) == 3


def test_an_unreadable_video_has_no_answer(use: Callable[..., Any], tmp_path: Path) -> None:
    made = use(ColourModel())
    made.task_dict["colours"]["test"][1] = {"video": str(tmp_path / "none.mp4")}
    with pytest.warns(UserWarning, match=r"colours 1: no answer: .*input.not_found"):
        assert made.generate_until(questions()) == ["red", "", "blue"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("polcy=uniform", "'polcy', expected one of"),
        ("policy=best", "policy is 'best'"),
        ("dtype=int3", "dtype is 'int3'"),
        ("policy=uniform,coverage=1", "does not support coverage"),
    ],
)
def test_wrong_arguments(use: Callable[..., Any], arguments: str, problem: str) -> None:
    with pytest.raises(seedvideo.SeedVideoError, match=problem):
        use(ColourModel(), arguments)


def test_another_device_than_the_first_is_refused(
    adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = adapter.SampledVideoModel.create_from_arg_string
    devices: list[str] = []
    monkeypatch.setattr(adapter, "load", lambda name, options: devices.append(options.device))
    make("policy=uniform", {"device": "cuda:0"})
    assert devices == ["cuda"]
    with pytest.raises(seedvideo.ConfigError, match="CUDA_VISIBLE_DEVICES=1 lmms-eval"):
        make("policy=uniform", {"device": "cuda:1"})


def test_what_is_not_supported_is_refused(use: Callable[..., Any]) -> None:
    made = use(ColourChooser())
    with pytest.raises(seedvideo.ConfigError, match="1 answer to rank"):
        made.loglikelihood(choices("red"))
    with pytest.raises(seedvideo.ConfigError, match="no video"):
        made.loglikelihood([make_instance("loglikelihood", "", "red")])
    with pytest.raises(seedvideo.ConfigError, match="several rounds"):
        made.generate_until_multi_round(questions())
    with pytest.raises(seedvideo.ConfigError, match="cannot rank"):
        use(ColourModel()).loglikelihood(choices("red", "blue"))
    request = make_instance("generate_until", "?", {}, lambda doc: [1, 2], 0, "colours", "test")
    with pytest.raises(seedvideo.ConfigError, match="int, int, expected the path of one video"):
        made.generate_until([request])


TASK = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_visual: !function visuals.videos
doc_to_text: "Which colour is shown?"
doc_to_target: "{{answer}}"
generation_kwargs: {max_new_tokens: 4}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["adaptive", "uniform"])
def test_the_command_of_lmms_eval(clips: list[Path], tmp_path: Path, policy: str) -> None:
    site, folder = tmp_path / "site", tmp_path / "tasks"
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    install(site, "seedvideo-entry", "1", groups)
    probe = in_child(site, program="import lmms_eval.evaluator")
    if probe.returncode:
        reason = probe.stderr.splitlines()[-1]
        pytest.skip(f"the evaluator of lmms-eval is not installed: {reason}")
    data = tmp_path / "data.jsonl"
    rows = [{"video": str(clip), "answer": clip.stem} for clip in clips]
    data.write_text("\n".join(map(json.dumps, rows)))
    folder.mkdir()
    (folder / "visuals.py").write_text("def videos(doc):\n    return [doc['video']]\n")
    (folder / "colours.yaml").write_text(TASK.replace("DATA", str(data)))
    tiny = make_qwen3_vl(tmp_path / "tiny")
    arguments = f"pretrained={tiny},policy={policy},budget_tokens=600,dtype=float32"
    words = ["--model", "seedvideo", "--model_args", arguments, "--device", "cpu"]
    words += ["--tasks", "colours", "--include_path", str(folder)]
    words += ["--output_path", str(tmp_path / "out"), "--log_samples"]
    program = "from lmms_eval.cli.dispatch import main; main()"
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = in_child(site, *words, program=program, environment=offline)
    assert done.returncode == 0, done.stderr
    (samples,) = (tmp_path / "out").rglob("*_samples_colours.jsonl")
    assert len(samples.read_text().splitlines()) == 3
    assert "exact_match" in done.stdout
