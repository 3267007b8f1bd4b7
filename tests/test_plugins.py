"""Packages of third parties: an example adds one plugin of each kind; broken ones do no harm."""

import json
from pathlib import Path

import pytest

from seedvideo.plugins import list_plugins
from tests.plugins import in_child, install, install_example
from tests.synthetic_clips import paint
from tests.tiers import slow

PROGRAM = """
import sys
import seedvideo
from seedvideo.evaluate.registry import load_scorers
from seedvideo.evaluate.types import Item
from seedvideo.model.families import find_family

clip = sys.argv[1]
print(seedvideo.load("counter:any").name)
print(seedvideo.caption(clip, model="counter", policy="first").text)
print(len(seedvideo.plan(clip, policy="first", geometry="example").frames))
print(find_family("example_vl").name, find_family("qwen3_vl").name, find_family("other"))
scoring, notes = load_scorers(["length"])
item = Item(id="a", task="ask", video="x.mp4", question="?", answer="red")
print(scoring.score(item, seedvideo.Prediction(answer="red"))["length"], *notes)
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("clips") / "two.mp4", ["red", "green"], shot_s=1)


def test_no_package_of_the_tests_is_installed_here() -> None:
    assert list_plugins("policy") == list_plugins("backend") == ()


def test_the_example_is_used_from_python(clip: Path, tmp_path: Path) -> None:
    install_example(tmp_path)
    done = in_child(tmp_path, clip, program=PROGRAM)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "counter",
        "1 frames.",
        "1",
        "example qwen3-vl None",
        "3.0 length: mean of the scorer of seedvideo-example 1.0.",
    ]


def test_the_example_is_used_from_the_command_line(clip: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install_example(site)
    done = in_child(site, "caption", clip, "--model", "counter", "--policy", "first", "--json")
    record = json.loads(done.stdout)
    assert (record["text"], record["plan"]["policy"]) == ("1 frames.", "first")
    shown = json.loads(in_child(site, "plan", clip, "--geometry", "example", "--json").stdout)
    assert shown["geometry"]["tile_px"] == 32
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text("")
    words = ["--predictions", predictions, "--scorer", "length", "--limit", "1"]
    done = in_child(site, "eval", "synthetic", "--videos", tmp_path, *words)
    assert "length" in done.stdout and "seedvideo-example 1.0" in done.stdout
    found = in_child(site, "doctor").stdout
    assert "policy first (seedvideo-example 1.0)" in found
    assert "caption_scorer brightness (seedvideo-example 1.0)" in found
    assert "exporter lines (seedvideo-example 1.0)" in found


def test_an_exporter_of_a_package(clip: Path, tmp_path: Path) -> None:
    site, out = tmp_path / "site", tmp_path / "out"
    install_example(site)
    done = in_child(site, "batch", "run", clip, "-o", out, "--model", "counter", "-q")
    assert done.returncode == 0, done.stderr
    words = ("batch", "export", out, "-f", "lines", "-o", tmp_path / "lines.txt")
    done = in_child(site, *words)
    assert (done.returncode, done.stderr) == (0, f"1 clip: {tmp_path / 'lines.txt'}\n")
    caption = (tmp_path / "lines.txt").read_text()
    assert caption.startswith(f"{clip}: ") and caption.endswith(" frames.\n")
    assert in_child(tmp_path / "none", *words).returncode == 2
    done = in_child(site, *words)
    assert (done.returncode, "[output.exists]" in done.stderr) == (1, True)
    for new, problem in (
        ("return None", "returned None, expected the number of clips"),
        ("return texts[9]", "failed: IndexError: list index out of range"),
    ):
        install_example(site, replaced={"return len(texts)": new})
        done = in_child(site, *words, "--overwrite")
        assert done.returncode == 2
        assert f"exporter 'lines' of the package seedvideo-example 1.0 {problem}" in done.stderr


@slow
def test_another_version_of_a_package_is_another_result(clip: Path, tmp_path: Path) -> None:
    site, out = tmp_path / "site", tmp_path / "out"
    words = ["batch", "run", clip, "-o", out, "--model", "counter", "--policy", "first"]
    texts = []
    for version, word in (("1.0", "frames"), ("1.0", "unused"), ("1.1", "pictures")):
        install_example(site, version=version, replaced={"} frames.": f"}} {word}."})
        done = in_child(site, *words)
        assert done.returncode == 0, done.stderr
        exported = in_child(site, "batch", "export", out, "-f", "jsonl")
        texts.append(json.loads(exported.stdout)["text"])
    # The same version is the same result, whatever its code is.
    assert texts == ["1 frames.", "1 frames.", "1 pictures."]
    without = in_child(tmp_path / "none", "batch", "status", out)
    assert (without.returncode, without.stdout) == (2, "")
    assert "policy is 'first'" in without.stderr and "install the package" in without.stderr


def test_the_hash_of_a_model_has_the_version_of_its_family(tmp_path: Path) -> None:
    program = """
from seedvideo.model.families import find_family, with_family_package
for model_type in ("qwen3_vl", "example_vl"):
    print(with_family_package("ab", find_family(model_type)))
"""
    hashes = []
    for version in ("1.0", "1.1"):
        install_example(tmp_path, version=version)
        hashes.append(in_child(tmp_path, program=program).stdout.split())
    assert hashes[0][0] == hashes[1][0] == "ab"
    assert len({hashes[0][1], hashes[1][1], "ab"}) == 3


@slow
def test_a_broken_package_harms_only_its_own_names(clip: Path, tmp_path: Path) -> None:
    groups = {
        "seedvideo.policies": {"mine": "no_such_module:policy", "none": "json:no_such_policy"},
        "seedvideo.backends": {"mine": "json:loads"},
        "seedvideo.families": {"wrong": "json:loads"},
        "seedvideo.scorers": {"accuracy": "json:loads", "number": "math:pi"},
    }
    install(tmp_path, "broken-package", "2.0", groups)
    assert in_child(tmp_path, "--help").returncode == 0
    assert in_child(tmp_path, "plan", clip, "--policy", "uniform").returncode == 0
    for words, problem in (
        (["plan", clip, "--policy", "mine"], "policy 'mine' of the package broken-package 2.0"),
        (["plan", clip, "--model", "mine"], "backend 'mine' of the package broken-package 2.0"),
    ):
        done = in_child(tmp_path, *words)
        assert done.returncode == 2
        assert problem in done.stderr and "[config.plugin_invalid]" in done.stderr
        assert "Traceback" not in done.stderr
        assert "pip uninstall broken-package" in done.stderr
    done = in_child(tmp_path, "doctor")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("broken")]
    assert line.split()[1] == "plugins"
    for name in ("policy 'mine'", "family 'wrong'", "scorer 'accuracy'", "scorer 'number'"):
        assert f"{name} of the package broken-package 2.0" in line
    assert "policy 'none'" in line and "backend 'mine'" not in line  # Only a call shows its fault.


@slow
def test_shipped_names_win_and_clashes_are_errors(clip: Path, tmp_path: Path) -> None:
    entry = "seedvideo_example:first"
    install_example(tmp_path)
    install(tmp_path, "taker", "1", {"seedvideo.policies": {"uniform": entry}})
    done = in_child(tmp_path, "plan", clip, "--policy", "uniform", "--json")
    assert len(json.loads(done.stdout)["frames"]) > 1
    done = in_child(tmp_path, "doctor")
    assert done.returncode == 1
    assert "policy 'uniform' of the package taker 1 is never used" in done.stdout
    install(tmp_path, "twin", "1", {"seedvideo.policies": {"first": entry}})
    done = in_child(tmp_path, "plan", clip, "--policy", "first")
    assert done.returncode != 0
    assert "seedvideo-example 1.0 is registered by twin 1 too" in done.stderr


def test_a_policy_can_ask_for_the_analysis(clip: Path, tmp_path: Path) -> None:
    program = """
import sys, seedvideo
seen = []
def policy(request):
    seen.append((request.analysis is not None, request.costs is not None))
    return None if "None" in sys.argv else seedvideo.build_plan(
        request, policy="mine", positions=[0], level_tokens=640, why="x")
policy.needs_analysis = "analysis" in sys.argv
sys.modules["mine"] = type(sys)("mine"); sys.modules["mine"].policy = policy
try:
    seedvideo.plan(sys.argv[1], policy="mine")
except seedvideo.ConfigError as error:
    print(error.code, error.message)
print(seen)
"""
    install(tmp_path, "mine", "1", {"seedvideo.policies": {"mine": "mine:policy"}})
    assert in_child(tmp_path, clip, program=program).stdout == "[(False, False)]\n"
    assert in_child(tmp_path, clip, "analysis", program=program).stdout == "[(True, True)]\n"
    refused = in_child(tmp_path, clip, "None", program=program).stdout
    assert refused.startswith("config.plugin_invalid policy 'mine' of the package mine 1 returned")


def test_a_plan_that_departs_from_its_request_is_refused(clip: Path, tmp_path: Path) -> None:
    program = """
import sys, seedvideo
from dataclasses import replace
from fractions import Fraction
def first(request, **changes):
    plan = seedvideo.build_plan(request, policy="mine", positions=[0], level_tokens=128, why="x")
    return replace(plan, **changes)
def moved(request, time):
    return first(request, frames=(replace(first(request).frames[0], pts=time),))
def leave(request):
    raise SystemExit(3)
grid = seedvideo.TokenGeometry("grid", 32, (128,), 4, 900)
policies = {
    "budget": lambda request: first(request, budget_tokens=10**9),
    "geometry": lambda request: first(replace(request, geometry=grid)),
    "many": lambda request: seedvideo.build_plan(
        request, policy="mine", positions=[0, 1, 2], level_tokens=128, why="x"),
    "time": lambda request: moved(request, Fraction(1, 7)),
    "float": lambda request: moved(request, 0.0),
    "leave": leave,
    "needs": type("Needs", (), {"needs_analysis": property(lambda self: 1 / 0),
                                "__call__": lambda self, request: first(request)})(),
}
sys.modules["mine"] = type(sys)("mine")
for name in policies:
    sys.modules["mine"].policy = policies[name]
    try:
        seedvideo.plan(sys.argv[1], policy="mine", max_frames=2, budget_tokens=900)
    except seedvideo.ConfigError as error:
        print(error.code, error.message.removeprefix("policy 'mine' of the package mine 1 "))
"""
    install(tmp_path, "mine", "1", {"seedvideo.policies": {"mine": "mine:policy"}})
    done = in_child(tmp_path, clip, program=program)
    assert done.stderr == ""
    problems = [
        "returned a plan with a budget of 1,000,000,000 tokens, expected 900",
        "returned a plan for the geometry grid, expected seed",
        "returned a plan of 3 frames, expected at most 2",
        "returned a plan with a frame at 1/7 s, which is not one of the request's times",
        "returned a plan with a frame at 0.0 s, which is not one of the request's times",
        "failed: SystemExit: 3",
        "failed: ZeroDivisionError: division by zero",
    ]
    assert done.stdout.splitlines() == [f"config.plugin_invalid {text}" for text in problems]


def test_a_model_or_family_with_wrong_values_is_refused(tmp_path: Path) -> None:
    program = """
import sys, seedvideo
from types import SimpleNamespace
from seedvideo.model.families import published_geometry
grid = seedvideo.TokenGeometry("grid", 32, (128,), 4, 900)
right = dict(name="a", sha256="0", geometry=grid, details=seedvideo.ModelDetails(source="folder"),
             frame_text_tokens=len, count_text_tokens=len, generate=len)
def family(make):
    return seedvideo.Family("mine", ("mine",), seedvideo.TimeFormat(before="{seconds}s"), make,
                            "{image}", ("", ""))
module = sys.modules["mine"] = type(sys)("mine")
def try_it(work):
    try:
        print(work().name)
    except seedvideo.ConfigError as error:
        print(error.code, error.message)
for wrong in ({}, {"geometry": 3}, {"details": {}}, {"sha256": 5}):
    module.load = lambda name, options: SimpleNamespace(**right | wrong)
    try_it(lambda: seedvideo.load("mine"))
for make in (lambda config: grid, lambda config: None, lambda config: config.model["size"]):
    module.family = family(make)
    try_it(lambda: published_geometry("mine"))
"""
    groups = {"seedvideo.backends": {"mine": "mine:load"}}
    groups["seedvideo.families"] = {"mine": "mine:family"}
    install(tmp_path, "mine", "1", groups)
    done = in_child(tmp_path, program=program)
    assert done.stderr == ""
    backend = "config.plugin_invalid backend 'mine' of the package mine 1 returned SimpleNamespace"
    family = "config.plugin_invalid family 'mine' of the package mine 1"
    assert done.stdout.splitlines() == [
        "a",
        f"{backend}, whose geometry is int, expected Geometry",
        f"{backend}, whose details is dict, expected ModelDetails",
        f"{backend}, whose sha256 is int, expected str",
        "grid",
        f"{family} makes NoneType, expected a geometry",
        f"{family} failed: KeyError: 'size'",
    ]


def test_a_scorer_that_fails_is_named(tmp_path: Path) -> None:
    program = """
import sys, seedvideo
from seedvideo.evaluate.registry import load_scorers
from seedvideo.evaluate.types import Item
item = Item(id="a", task="ask", video="x.mp4", question="?", answer="red")
def number(item, prediction):
    return {"none": None, "nan": float("nan"), "text": "many"}[prediction.answer]
module = sys.modules["mine"] = type(sys)("mine")
module.number = number
cases = [("mine", "none"), ("mine", "nan"), ("mine", "text"), ("accuracy", ""), ("x", "")]
for name, answer in cases:
    try:
        scoring, _ = load_scorers([name])
        print("mine" in scoring.score(item, seedvideo.Prediction(answer=answer)))
    except seedvideo.ConfigError as error:
        print(error.code, error.message)
"""
    entries = {"mine": "mine:number", "accuracy": "mine:number"}
    install(tmp_path, "mine", "1", {"seedvideo.scorers": entries})
    assert in_child(tmp_path, program=program).stdout.splitlines() == [
        "False",
        "config.plugin_invalid scorer 'mine' of the package mine 1 returned nan,"
        " expected a finite number or None",
        "config.plugin_invalid scorer 'mine' of the package mine 1 failed: ValueError:"
        " could not convert string to float: 'many'",
        "config.plugin_invalid scorer 'accuracy' of the package mine 1 has the name of a shipped"
        " measure",
        "config.invalid scorer is 'x', expected one of accuracy, mine",
    ]


def test_a_server_has_the_sizes_of_a_family_of_a_package(tmp_path: Path) -> None:
    install_example(tmp_path)
    program = """
import seedvideo
from seedvideo.model import load_costs
costs = load_costs("vllm:any", seedvideo.ModelOptions(geometry="example"))
print(costs.geometry.name, costs.details.time_format)
try:
    load_costs("vllm:any", seedvideo.ModelOptions(geometry="exampel"))
except seedvideo.ConfigError as error:
    print(error.hint)
"""
    done = in_child(tmp_path, program=program)
    assert done.stdout.splitlines() == ["example 12.5s: ", "did you mean 'example'?"]


def test_unknown_names_suggest_those_of_packages(clip: Path, tmp_path: Path) -> None:
    install_example(tmp_path)
    done = in_child(tmp_path, "plan", clip, "--policy", "frist")
    assert done.returncode == 2
    assert "'first'" in done.stderr
    assert "did you mean 'counter'" in in_child(tmp_path, "plan", clip, "--model", "countr").stderr
