"""The command line: a thin face over the public functions, so that the two cannot drift apart.

stdout is data, stderr is talk. Exit codes: 0 all done, 1 some videos failed, 2 wrong usage, 3 could
not start (model, output), 130 interrupted. No command loads torch or a decoder before it needs it.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from seedvideo import __version__
from seedvideo.cli import ask, batch, caption, doctor, evaluate, frames, ground, models, plan, shots
from seedvideo.cli.talk import INTERRUPTED, SOME_FAILED, Talk, make_streams_safe, usage_message

app = typer.Typer(
    name="seedvideo",
    help="Captions of videos, answers and moments with true times, on your machine.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    caption.caption,
    ask.ask,
    ground.ground,
    plan.plan,
    frames.frames,
    shots.shots,
    models.models,
    doctor.doctor,
):
    app.command()(_command)
# In Python eval is a builtin, hence another name.
app.command("eval")(evaluate.evaluate)
app.add_typer(batch.batch)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"seedvideo {__version__}")
        raise typer.Exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name; those of this process when None.

    Returns:
        The exit code.
    """
    make_streams_safe()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(args=arguments, prog_name="seedvideo", standalone_mode=False) or 0
    except typer.TyperException as error:
        print(usage_message(error), file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001
        # The outermost frame of all, for what lies outside a command's own guard.
        Talk(verbose=not {"-v", "--verbose"}.isdisjoint(arguments)).error(error)
        code = SOME_FAILED
    if code == INTERRUPTED:
        Talk().interrupted()
    return int(code)
