"""The command line: a thin face over the public functions, so that the two cannot drift apart.

stdout is data, stderr is talk. Exit codes: 0 all done, 1 some videos failed, 2 wrong usage, 3 could
not start (model, output), 130 interrupted. No command loads torch or a decoder before it needs it.

Imports next to nothing before `main` runs: until then, Ctrl-C shows a traceback.
"""

import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Final

if TYPE_CHECKING:
    import typer

_INTERRUPTED: Final = 130
"""As `seedvideo.cli.console` has it, which may not be loaded yet."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name; those of this process when None.

    Returns:
        The exit code.
    """
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        # While modules were loaded, so this can rely on none of them.
        if sys.stderr is not None:
            print("interrupted", file=sys.stderr)
        return _INTERRUPTED


def _run(arguments: list[str]) -> int:
    import typer

    from seedvideo.cli import console

    console.make_streams_safe()
    try:
        code = _app()(args=arguments, prog_name="seedvideo", standalone_mode=False) or 0
    except typer.TyperException as error:
        print(console.usage_message(error), file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = console.INTERRUPTED
    except Exception as error:  # noqa: BLE001
        # The outermost frame of all, for what lies outside a command's own guard.
        voice = console.Talk(verbose=not {"-v", "--verbose"}.isdisjoint(arguments))
        shown = console.of_help(error)
        voice.error(shown)
        is_closed = isinstance(shown, console.ClosedStdoutError)
        code = console.COULD_NOT_START if is_closed else console.SOME_FAILED
    if code == console.INTERRUPTED:
        console.Talk().interrupted()
    return int(code)


@cache
def _app() -> "typer.Typer":
    import typer

    from seedvideo import __version__
    from seedvideo.cli import ask, batch, caption, console, doctor, evaluate, plan

    app = typer.Typer(
        name="seedvideo",
        help="Captions of videos, answers and moments with true times, on your machine.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for command in (
        caption.caption,
        ask.ask,
        ask.ground,
        plan.plan,
        plan.frames,
        plan.shots,
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
            bool, typer.Option("--version", help="Print the version and stop.")
        ] = False,
    ) -> None:
        if version:
            console.write_out(f"seedvideo {__version__}\n")
            raise typer.Exit()

    return app
