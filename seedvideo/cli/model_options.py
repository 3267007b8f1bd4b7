"""Command-line options of models: how one is loaded or reached, and how it writes an answer.

`LoadingOptions` and `WritingOptions` are groups of options, for `options.with_options`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import typer

from seedvideo.errors import ConfigError
from seedvideo.model_options import (
    MAX_NEW_TOKENS_LIMIT,
    GenerationOptions,
    ModelOptions,
)

Stream = Annotated[
    bool, typer.Option("--stream", help="Print the answer as it is generated (-f text only).")
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help='Caption with this prompt instead of "Describe the video.".',
    ),
]


BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size",
        metavar="N",
        min=1,
        max=256,
        help="Let an open-weight model answer up to N clips at once. [default: 1]",
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        metavar="N",
        min=1,
        max=256,
        help="Send up to N requests to a server at once. [default: 4]",
    ),
]


@dataclass(frozen=True, kw_only=True)
class LoadingOptions:
    """How the model of one command line is loaded or reached; each field is an option."""

    revision: Annotated[
        str | None,
        typer.Option(
            "--revision", metavar="REV", help="Take this branch, tag or commit of a model on a hub."
        ),
    ] = None
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option("--dtype", help="Set the number format; auto is that of the checkpoint."),
    ] = "auto"
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"],
        typer.Option("--device", help="Run an open-weight model here; auto takes a GPU if any."),
    ] = "auto"
    quantize: Annotated[
        Literal["8bit", "4bit"] | None,
        typer.Option("--quantize", help="Load the weights of an open-weight model quantized."),
    ] = None
    attention: Annotated[
        Literal["sdpa", "eager", "flash_attention_2"] | None,
        typer.Option("--attention", help="Select the attention of an open-weight model."),
    ] = None
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Send no request to a hub; what is missing is an error."),
    ] = False
    geometry: Annotated[
        str | None,
        typer.Option(
            "--geometry",
            metavar="FAMILY",
            help="Use the frame sizes of this family (seedvideo models lists them): to plan without"
            " a model, or for a server whose model name does not contain it.",
        ),
    ] = None
    as_video: Annotated[
        bool,
        typer.Option(
            "--as-video",
            help="Send frames to a vLLM server as one video: one size, mean times of pairs; the"
            " server needs --trust-request-mm-kwargs.",
        ),
    ] = False
    pairs: Annotated[
        bool,
        typer.Option(
            "--pairs",
            help="Show two near frames for the price of one, marked with their mean time, where the"
            " model merges two (Qwen3-VL).",
        ),
    ] = False

    @cached_property
    def config(self) -> ModelOptions:
        """Return the options as the package takes them.

        Raises:
            typer.BadParameter: if a value is invalid.
        """
        try:
            return ModelOptions(**vars(self))
        except ConfigError as error:
            raise typer.BadParameter(error.message) from error


@dataclass(frozen=True, kw_only=True)
class WritingOptions:
    """How the model of one command line writes an answer; each field is an option."""

    system: Annotated[
        str | None,
        typer.Option("--system", metavar="TEXT", help="Give the model this system prompt."),
    ] = None
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-new-tokens",
            metavar="COUNT",
            min=1,
            max=MAX_NEW_TOKENS_LIMIT,
            help="Limit the tokens of an answer, reasoning included.",
        ),
    ] = None
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            metavar="0-2",
            min=0,
            max=2,
            help="Draw tokens above 0; at 0, answers repeat.",
        ),
    ] = 0.0

    @cached_property
    def config(self) -> GenerationOptions:
        """Return the options as the package takes them.

        Raises:
            typer.BadParameter: if a value is invalid.
        """
        try:
            return GenerationOptions(**vars(self))
        except ConfigError as error:
            raise typer.BadParameter(error.message) from error
