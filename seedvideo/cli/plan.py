"""``seedvideo plan``: which frames would be shown and what they cost, before anything is spent."""

import json
from typing import Annotated, Literal

import typer

from seedvideo.cli.options import (
    AsJson,
    Budget,
    DecoderOption,
    Fps,
    ModelOption,
    PolicyOption,
    SourceFps,
    TaskOption,
    Verbose,
    check_policy,
    chosen_format,
    exact_rate,
)
from seedvideo.cli.talk import SOME_FAILED, Talk, write_out
from seedvideo.writers.inert import printable_lines


def plan(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.")],
    budget_tokens: Budget = None,
    policy: PolicyOption = None,
    task: TaskOption = "general",
    fps: Fps = None,
    model: ModelOption = None,
    source_fps: SourceFps = None,
    decoder: DecoderOption = "pyav",
    output_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option("-f", "--format", help="What is written. Default: text."),
    ] = None,
    as_json: AsJson = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="List every frame and why it was taken.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Show which frames a model would see, at which sizes, for how many tokens.

    Without --model it plans for the published Seed1.5-VL: 81,920 tokens.
    """
    talk = Talk(verbose=verbose)
    form = chosen_format(output_format, as_json=as_json)
    check_policy(policy, fps=fps)
    backend = None if model is None else talk.loaded(model)
    with talk.guarded(SOME_FAILED, source=video):
        from seedvideo import pipeline

        with pipeline.open(video, decoder=decoder, source_fps=exact_rate(source_fps)) as clip:
            made = pipeline.plan(
                clip,
                policy=policy,
                budget_tokens=budget_tokens,
                task=task,
                fps=fps,
                model=backend,
            )
    if form == "json":
        text = json.dumps(made.to_json(), ensure_ascii=True, allow_nan=False)
    else:
        text = printable_lines(made.explain() if explain else made.summary())
    write_out(f"{text}\n")
