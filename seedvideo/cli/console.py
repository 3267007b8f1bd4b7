"""Console output of the commands: messages, progress and errors on stderr, and exit codes.

All text passes through `printable`, so control characters in a file name cannot reach the terminal.
A status line is drawn only on a terminal; elsewhere each video gets a plain line.
"""

import io
import os
import re
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final

import typer

from seedvideo.environment import resolve_error
from seedvideo.errors import OutputError, SeedVideoError, suggestion
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from seedvideo.model.backends.base import Backend, TokenCosts
    from seedvideo.model_options import ModelOptions

SOME_FAILED: Final = 1
WRONG_USAGE: Final = 2
COULD_NOT_START: Final = 3
INTERRUPTED: Final = 130

_USAGE_STAGES: Final = ("config", "ask", "ground")
"""Stages of errors in the arguments of a command: wrong usage."""

_INVALID_LIST_CODE: Final = "batch.manifest_invalid"
"""Code of an invalid list, which is wrong usage too."""

_INVALID_CHOICE: Final = re.compile(
    r"invalid value for [^:]*: (?P<quote>['\"])(?P<given>.*)(?P=quote)"
    r" is not one of (?P<choices>.*)",
    re.DOTALL,
)
_QUOTED: Final = re.compile(r"(['\"])(.*?)\1")

_CLEAR_LINE: Final = "\r\x1b[2K"


class ClosedStdoutError(OutputError):
    """A result should go to stdout, which was closed when the process started."""


class Console:
    """Messages of one command, on stderr.

    Args:
        quiet: print errors only.
        verbose: also print details, and the tracebacks of errors.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._shows_status = False
        self._count = self._source = self._progress = ""

    def info(self, message: str) -> None:
        """Print one line, unless quiet."""
        if not self.quiet:
            self._print(message)

    def debug(self, message: str) -> None:
        """Print one line if verbose."""
        if self.verbose:
            self._print(message)

    def status(self, message: str) -> None:
        """Show a status line that the next line replaces, on a terminal only.

        A longer line would wrap, and its first row would stay: it is cropped to the cells of the
        terminal, of which a Chinese character takes two.
        """
        if self.quiet or not sys.stderr.isatty():
            return
        from rich.cells import cell_len, set_cell_size

        width = shutil.get_terminal_size().columns - 1
        line = printable(message)
        if cell_len(line) > width:
            line = set_cell_size(line, width)
        print(f"{_CLEAR_LINE}{line}", end="", file=sys.stderr, flush=True)
        self._shows_status = True

    def start_item(self, source: str, *, count: str = "") -> None:
        """Show the current video on the status line.

        Args:
            source: name of the video.
            count: position among several videos, such as ``[2/3] ``.
        """
        self._count, self._source, self._progress = count, source, ""
        self.status(f"{count}{source}")

    def update_progress(self, fraction: float) -> None:
        """Show the analysed fraction of the current video, from 0 to 1, on the status line."""
        progress = "" if fraction >= 1 else f"analysing, {100 * fraction:.0f}%: "
        if progress != self._progress:
            self._progress = progress
            self.status(f"{self._count}{progress}{self._source}")

    def clear_status(self) -> None:
        """Erase the status line. Call this before writing to stdout."""
        if self._shows_status:
            print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)
            self._shows_status = False

    def iter_items(self, sources: Sequence[str]) -> Iterator[str]:
        """Yield the sources in order and show the current one if there are several."""
        for number, source in enumerate(sources, start=1):
            count = f"[{number}/{len(sources)}] " if len(sources) > 1 else ""
            self.start_item(source, count=count)
            if count and not sys.stderr.isatty():
                self.info(f"{count}{source}")
            yield source
        self.clear_status()

    def error(self, error: Exception, *, source: str = "") -> None:
        """Print an error with its code on one line, and its hint on the next.

        Args:
            error: a `SeedVideoError`, or any other exception, which is reported as a bug. The
                traceback is printed only if verbose.
            source: name of the file, added if the message does not contain it.
        """
        error = resolve_error(error)
        if isinstance(error, SeedVideoError):
            message, code, hint = error.message, error.code, error.hint
        else:
            message = f"internal error: {type(error).__name__}: {error}"
            code, hint = (
                "internal.error",
                "this is a bug in seedvideo: run again with -v and report the traceback",
            )
        if source:
            from seedvideo.media.source import display_path

            display_name = display_path(source)
            message = message if display_name in message else f"{display_name}: {message}"
        self._print(f"error: {message} [{code}]")
        if hint:
            self._print(f"  hint: {hint}")
        if self.verbose:
            for line in "".join(traceback.format_exception(error)).splitlines():
                self._print(line)

    def report_interrupt(self) -> None:
        """Print the final line after Ctrl-C."""
        # The console of the interrupted command may have left its status line.
        self._shows_status = sys.stderr.isatty()
        self._print("interrupted")

    @contextmanager
    def exit_on_error(self, exit_code: int, *, source: str = "") -> Iterator[None]:
        """Print an exception and exit; an invalid option exits with 2.

        Raises:
            typer.Exit: with 2 for an error of `_USAGE_STAGES` or `_INVALID_LIST_CODE`, with 3 for a
                closed stdout, with ``exit_code`` for any other.
        """
        try:
            yield
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
            raise
        except Exception as error:
            # The outermost frame of a command: every error is printed.
            self.error(error, source=source)
            if isinstance(error, SeedVideoError) and (
                error.stage in _USAGE_STAGES or error.code == _INVALID_LIST_CODE
            ):
                exit_code = WRONG_USAGE
            elif isinstance(error, ClosedStdoutError):
                exit_code = COULD_NOT_START
            raise typer.Exit(exit_code) from error

    def load_model(self, model: str, options: "ModelOptions") -> "Backend":
        """Load a model by name, or exit with 3."""
        with self.exit_on_error(COULD_NOT_START):
            self.status(f"loading {model}")
            # Waiting OpenMP threads spin by default: two concurrent commands on two cores then take
            # three times as long. torch reads the variable once, when it is imported.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            from seedvideo import api

            backend = api.load(model, options)
        self.clear_status()
        return backend

    def load_costs(self, model: str, options: "ModelOptions") -> "TokenCosts":
        """Read the token costs of a model by name, without its weights, or exit with 3."""
        with self.exit_on_error(COULD_NOT_START):
            from seedvideo import pipeline

            return pipeline.load_costs(model, options)

    def _print(self, message: str) -> None:
        self.clear_status()
        print(printable(message), file=sys.stderr, flush=True)


def format_usage_error(error: typer.TyperException) -> str:
    """Format an error of the command line like all other errors."""
    message = error.format_message().removeprefix("Invalid value: ")
    cause = error.__cause__
    if type(cause).__name__ == "ValidationError":
        # typer parses numbers with pydantic, whose messages have another form.
        from seedvideo.validation import explain_value

        message = f"{message.split(':')[0]}: {explain_value(cause)}"  # type: ignore[arg-type]
    if message.startswith("Usage:"):
        return message  # no command was given: this is the help text
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "seedvideo"
    message = message[:1].lower() + message[1:].rstrip(".")
    nearest = _nearest_choice(message)
    hint = f"{nearest} see {command} --help".lstrip()
    return f"error: {printable(message)} [usage]\n  hint: {printable(hint)}"


def _nearest_choice(message: str) -> str:
    """Suggest the nearest choice; only typer's message has the value and the choices."""
    found = _INVALID_CHOICE.fullmatch(message)
    if found is None:
        return ""
    return suggestion(found["given"], [choice for _, choice in _QUOTED.findall(found["choices"])])


def write_stdout(text: str) -> None:
    """Write to stdout and flush.

    Raises:
        OutputError: ``output.unwritable``, for example if the disk is full or stdout is closed.
        BrokenPipeError: if the reader has closed the pipe, which is not reported as an error.
    """
    reject_closed_stdout()
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable_stdout_error(error) from error


class BinaryStdout(io.RawIOBase):
    """Binary stdout without seeking; fails as `write_stdout` does."""

    def __init__(self) -> None:
        super().__init__()
        reject_closed_stdout()
        self._count = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._count

    def write(self, data: Any) -> int:
        """Write bytes and flush."""
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable_stdout_error(error) from error
        self._count += len(data)
        return len(data)


def reject_closed_stdout() -> None:
    """Reject a closed stdout before any work.

    Raises:
        ClosedStdoutError: ``output.unwritable``.
    """
    if isinstance(sys.stdout, _ClosedStdout):
        raise ClosedStdoutError(
            "output.unwritable",
            "stdout cannot be written: it is closed",
            hint="leave stdout open, or redirect it to a file with >",
        )


def translate_help_error(error: Exception) -> Exception:
    """Convert an `OSError` of typer, which writes help texts and completion scripts itself.

    Commands handle their own errors, so an `OSError` that reaches `main` comes from there: it names
    the script, or it is about stdout. Other exceptions are returned unchanged.
    """
    if not isinstance(error, OSError):
        return error
    if error.filename is None:
        return _unwritable_stdout_error(error)
    return OutputError(
        "output.unwritable",
        f"{error.filename} cannot be written: {error.strerror}",
        hint="install the script where the shell reads it: seedvideo --show-completion",
    )


def _unwritable_stdout_error(error: OSError) -> OutputError:
    # At exit Python would flush the rest again and print another error.
    _open_null(sys.stdout.fileno())
    reason = error.strerror or type(error).__name__
    return OutputError(
        "output.unwritable",
        f"stdout cannot be written: {reason}",
        hint="check the free space of the disk that stdout is redirected to",
    )


class _ClosedStdout(TextIOWrapper):
    """Replacement of a closed stdout: discards what libraries print."""


def sanitize_streams() -> None:
    """Replace closed standard streams, and escape characters that a stream cannot encode."""
    for name, descriptor, mode in (("stdin", 0, "rb"), ("stdout", 1, "wb"), ("stderr", 2, "wb")):
        if getattr(sys, name) is None:
            # The next file to be opened, such as a video, would get the free descriptor.
            _open_null(descriptor)
            kind = _ClosedStdout if name == "stdout" else TextIOWrapper
            setattr(sys, name, kind(open(descriptor, mode), encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open_null(descriptor: int) -> None:
    """Connect a descriptor to the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
