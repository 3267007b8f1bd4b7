"""Command-line interface: a thin layer over the public functions of `seedvideo.api`.

Results go to stdout, messages to stderr. Exit codes: 0 all done, 1 some videos failed, 2 wrong
usage, 3 could not start (model, output), 130 interrupted. Commands import torch and decoders only
when needed.

This module imports almost nothing before `main` runs: until then, Ctrl-C shows a traceback.
"""

import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Final

if TYPE_CHECKING:
    import typer

_INTERRUPTED: Final = 130
"""Same value as in `seedvideo.cli.console`, which may not be loaded yet."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments after the program name; those of this process if None.

    Returns:
        The exit code.
    """
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        # Modules may still be loading here, so none of them can be used.
        if sys.stderr is not None:
            print("interrupted", file=sys.stderr)
        return _INTERRUPTED


def _run(arguments: list[str]) -> int:
    import typer

    from seedvideo.cli import console

    console.sanitize_streams()
    try:
        code = _app()(args=arguments, prog_name="seedvideo", standalone_mode=False) or 0
    except typer.TyperException as error:
        print(console.format_usage_error(error), file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = console.INTERRUPTED
    except Exception as error:  # noqa: BLE001
        # Handles what a command's own `exit_on_error` does not cover.
        fallback = console.Console(verbose=not {"-v", "--verbose"}.isdisjoint(arguments))
        reported = console.translate_help_error(error)
        fallback.error(reported)
        is_closed = isinstance(reported, console.ClosedStdoutError)
        code = console.COULD_NOT_START if is_closed else console.SOME_FAILED
    if code == console.INTERRUPTED:
        console.Console().report_interrupt()
    return int(code)


@cache
def _app() -> "typer.Typer":
    import typer

    from seedvideo import __version__
    from seedvideo.cli import (
        batch,
        console,
        curate,
        doctor,
        evaluate,
        inspect,
        plan,
        split,
        tasks,
    )

    app = typer.Typer(
        name="seedvideo",
        help="Caption videos, answer questions about them and find moments in them, locally.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for command in (
        tasks.caption,
        tasks.ask,
        tasks.ground,
        plan.plan,
        plan.frames,
        plan.shots,
        split.split,
        inspect.inspect,
        curate.curate,
        doctor.models,
        doctor.doctor,
    ):
        app.command()(command)
    # In Python eval is a builtin, hence another name.
    app.command("eval")(evaluate.evaluate)
    app.add_typer(batch.batch)

    @app.callback(invoke_without_command=True)
    def root(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.")
        ] = False,
    ) -> None:
        if version:
            console.write_stdout(f"seedvideo {__version__}\n")
            raise typer.Exit()

    return app
