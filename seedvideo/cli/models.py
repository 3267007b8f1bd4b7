"""``seedvideo models``: which models can be used here, and what their licences say."""

import json
from typing import Annotated, Literal

import typer

from seedvideo.cli.options import AsJson, Output, Overwrite, Quiet, Verbose, chosen_format
from seedvideo.cli.sinks import open_result
from seedvideo.cli.talk import COULD_NOT_START, SOME_FAILED, Talk


def models(
    output_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option("-f", "--format", help="What is written. Default: text."),
    ] = None,
    as_json: AsJson = False,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the models that come with the package, their files checked."""
    form = chosen_format(output_format, as_json=as_json)
    talk = Talk(quiet=quiet, verbose=verbose)
    with talk.guarded(COULD_NOT_START):
        sink = open_result(output, overwrite=overwrite)
        from seedvideo.model import available
        from seedvideo.model.files import verify

        listed = [(model, verify(model.folder)) for model in available()]
    if not listed:
        talk.note("no model comes with this package")
    texts = []
    for model, sha256 in listed:
        if form == "json":
            facts = {
                "name": model.name,
                "description": model.description,
                "licence": model.licence,
                "size_bytes": model.size_bytes,
                "sha256": sha256,
            }
            texts.append(f"{json.dumps(facts)}\n")
        else:
            texts.append(
                f"{model.name}  {model.size_bytes / 2**20:.1f} MiB  {model.licence}\n"
                f"  {model.description}\n"
                f"  sha256 {sha256}\n"
            )
    with talk.guarded(SOME_FAILED), sink:
        sink.put(0, "".join(texts))
