"""The options of a plan: the same in every command, with the defaults of the public functions."""

import inspect
from dataclasses import fields

import pytest
import typer

from seedvideo import api
from seedvideo.cli import plan, tasks
from seedvideo.cli.options import SamplingOptions
from seedvideo.config import SamplingConfig


def test_defaults_are_those_of_python() -> None:
    options = SamplingOptions()
    assert options.config == SamplingConfig()
    for name, parameter in inspect.signature(api.open).parameters.items():
        if hasattr(options, name) and name != "cache":
            assert getattr(options, name) == parameter.default, name


@pytest.mark.parametrize(
    "command", [tasks.caption, tasks.ask, tasks.ground, plan.plan, plan.frames]
)
def test_each_command_has_each_option_once(command: object) -> None:
    assert callable(command)
    names = list(inspect.signature(command).parameters)
    expected = [field.name for field in fields(SamplingOptions)]
    first = names.index(expected[0])
    assert names[first : first + len(expected)] == expected
    assert "sampling" not in names


@pytest.mark.parametrize("policy", ["seed1.5", "uniform", "keyframes"])
def test_what_only_adaptive_takes(policy: str) -> None:
    with pytest.raises(
        typer.BadParameter,
        match=f"--coverage, --max-fps cannot be used with --policy {policy}: use policy adaptive",
    ):
        SamplingOptions(policy=policy, coverage=0.5, max_fps=2.0)
    assert SamplingOptions(coverage=0.5, max_fps=2.0).config.max_fps == 2.0


def test_the_former_name_of_the_rate_preset() -> None:
    assert SamplingOptions(task="motion").config.rate_preset == "motion"
    assert SamplingOptions(rate_preset="motion", task="motion").config.rate_preset == "motion"
    with pytest.raises(typer.BadParameter, match="the same option: leave one out"):
        SamplingOptions(rate_preset="motion", task="detail")
