"""The options of a plan: the same in every command, with the defaults of the public functions."""

import inspect
from dataclasses import fields

import pytest
import typer

from seedvideo import answers, pipeline
from seedvideo.cli import ask, caption, plan
from seedvideo.cli.options import Wishes
from seedvideo.sampler.knobs import NO_KNOBS


def test_defaults_are_those_of_the_public_functions() -> None:
    wishes = Wishes()
    for function in (
        pipeline.plan,
        pipeline.caption,
        pipeline.open,
        answers.ask,
        answers.ground,
    ):
        for name, parameter in inspect.signature(function).parameters.items():
            if hasattr(wishes, name) and name != "cache":
                assert getattr(wishes, name) == parameter.default, (function, name)
    assert wishes.policy == "adaptive"
    assert wishes.knobs == NO_KNOBS


@pytest.mark.parametrize("command", [caption.caption, ask.ask, ask.ground, plan.plan, plan.frames])
def test_each_command_has_each_option_in_one_place(command: object) -> None:
    assert callable(command)
    names = list(inspect.signature(command).parameters)
    wished = [field.name for field in fields(Wishes)]
    first = names.index(wished[0])
    assert names[first : first + len(wished)] == wished
    assert "wishes" not in names


@pytest.mark.parametrize("policy", ["seed1.5", "uniform", "keyframes"])
def test_what_only_adaptive_takes(policy: str) -> None:
    with pytest.raises(typer.BadParameter, match="takes no --coverage, --max-fps: only adaptive"):
        Wishes(policy=policy, coverage=0.5, max_fps=2.0)  # type: ignore[arg-type]  # words of a line
    assert Wishes(coverage=0.5, max_fps=2.0).knobs.only_adaptive() == ("coverage", "max_fps")
