"""What the commands say to people: notes, progress and errors, all on stderr, and the exit codes.

Everything said passes through `printable`, so a hostile file name stays inert. Knows nothing of
videos.
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

SOME_FAILED: Final = 1
WRONG_USAGE: Final = 2
COULD_NOT_START: Final = 3
INTERRUPTED: Final = 130

_OF_THE_LINE: Final = ("config", "ask", "ground")
"""Stages of errors that are about the words of the command line: wrong usage."""

_WRONG_LIST: Final = "batch.manifest_invalid"
"""A list that cannot be one is wrong usage too."""

_WRONG_CHOICE: Final = re.compile(
    r"invalid value for [^:]*: (?P<quote>['\"])(?P<given>.*)(?P=quote)"
    r" is not one of (?P<choices>.*)",
    re.DOTALL,
)
_QUOTED: Final = re.compile(r"(['\"])(.*?)\1")

_CLEAR_LINE: Final = "\r\x1b[2K"


class ClosedStdoutError(OutputError):
    """A result is meant for stdout, which was closed when the process began."""


class Talk:
    """One command's voice.

    Args:
        quiet: say nothing but errors.
        verbose: say more, and show the traceback of an error.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._shows_status = False
        self._count = self._source = self._looked = ""

    def note(self, message: str) -> None:
        """One line, unless the user asked for quiet."""
        if not self.quiet:
            self._line(message)

    def detail(self, message: str) -> None:
        """One line, if the user asked for more."""
        if self.verbose:
            self._line(message)

    def status(self, message: str) -> None:
        """A line that the next one replaces. Only a terminal shows it."""
        if self.quiet or not sys.stderr.isatty():
            return
        width = shutil.get_terminal_size().columns - 1
        print(f"{_CLEAR_LINE}{printable(message)[:width]}", end="", file=sys.stderr, flush=True)
        self._shows_status = True

    def begin(self, source: str, *, count: str = "") -> None:
        """Show on the status line which video is worked on.

        Args:
            source: the video.
            count: which one it is of several, such as ``[2/3] ``.
        """
        self._count, self._source, self._looked = count, source, ""
        self.status(f"{count}{source}")

    def looked(self, share: float) -> None:
        """Show on the status line how much of the video was looked at so far, from 0 to 1."""
        looked = "" if share >= 1 else f"looking, {100 * share:.0f} %: "
        if looked != self._looked:
            self._looked = looked
            self.status(f"{self._count}{looked}{self._source}")

    def clear(self) -> None:
        """Take the status line away: call it before writing to stdout."""
        if self._shows_status:
            print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)
            self._shows_status = False

    def progress(self, sources: Sequence[str]) -> Iterator[str]:
        """The sources in order; says which one is worked on when there are several."""
        for number, source in enumerate(sources, start=1):
            count = f"[{number}/{len(sources)}] " if len(sources) > 1 else ""
            self.begin(source, count=count)
            if count and not sys.stderr.isatty():
                self.note(f"{count}{source}")
            yield source
        self.clear()

    def error(self, error: Exception, *, source: str = "") -> None:
        """One line of what went wrong with its code, one of what to do next.

        Args:
            error: ours, or a bug; the traceback is shown only to those who ask (``-v``).
            source: the file it is about, named if the message does not name it.
        """
        error = resolve_error(error)
        if isinstance(error, SeedVideoError):
            message, code, hint = error.message, error.code, error.hint
        else:
            message = f"internal error: {type(error).__name__}: {error}"
            code, hint = "internal.error", "a bug of seedvideo: -v shows the traceback to report"
        if source:
            from seedvideo.media.source import display_path

            shown = display_path(source)
            message = message if shown in message else f"{shown}: {message}"
        self._line(f"error: {message} [{code}]")
        if hint:
            self._line(f"  hint: {hint}")
        if self.verbose:
            for line in "".join(traceback.format_exception(error)).splitlines():
                self._line(line)

    def interrupted(self) -> None:
        """The last word after Ctrl-C."""
        # The voice of the command that was interrupted may have left its status line.
        self._shows_status = sys.stderr.isatty()
        self._line("interrupted")

    @contextmanager
    def guarded(self, exit_code: int, *, source: str = "") -> Iterator[None]:
        """Turn an error into its lines and an exit code; a wrong setting is wrong usage.

        Raises:
            typer.Exit: with 2 for an error of `_OF_THE_LINE` or `_WRONG_LIST`, 3 for a closed
                stdout, ``exit_code`` for any other.
        """
        try:
            yield
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
            raise
        except Exception as error:
            # The outermost frame of a command: the error is shown, never swallowed.
            self.error(error, source=source)
            if isinstance(error, SeedVideoError) and (
                error.stage in _OF_THE_LINE or error.code == _WRONG_LIST
            ):
                exit_code = WRONG_USAGE
            elif isinstance(error, ClosedStdoutError):
                exit_code = COULD_NOT_START
            raise typer.Exit(exit_code) from error

    def loaded(self, model: str) -> "Backend":
        """The model of that name, or exit code 3."""
        with self.guarded(COULD_NOT_START):
            self.status(f"loading {model}")
            # OpenMP's threads spin while they wait, and two commands side by side on two cores then
            # take three times as long. It is read once, when torch is loaded.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            from seedvideo import api

            backend = api.load(model)
        self.clear()
        return backend

    def prices(self, model: str) -> "TokenCosts":
        """Read what frames cost for the model of that name, without torch, or exit with 3."""
        with self.guarded(COULD_NOT_START):
            from seedvideo import pipeline

            return pipeline.prices(model)

    def _line(self, message: str) -> None:
        self.clear()
        print(printable(message), file=sys.stderr, flush=True)


def usage_message(error: typer.TyperException) -> str:
    """The line of a wrong command line, in the shape of all our errors."""
    message = error.format_message().removeprefix("Invalid value: ")
    cause = error.__cause__
    if type(cause).__name__ == "ValidationError":
        # Of pydantic, with which typer reads numbers: its words are not ours.
        from seedvideo.validation import explain_value

        message = f"{message.split(':')[0]}: {explain_value(cause)}"  # type: ignore[arg-type]
    if message.startswith("Usage:"):
        return message  # no command at all: the help text
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "seedvideo"
    message = message[:1].lower() + message[1:].rstrip(".")
    nearest = _nearest_choice(message)
    hint = f"{nearest} see {command} --help".lstrip()
    return f"error: {printable(message)} [usage]\n  hint: {printable(hint)}"


def _nearest_choice(message: str) -> str:
    """A suggestion for typer's message of a wrong choice, which alone holds the value."""
    found = _WRONG_CHOICE.fullmatch(message)
    if found is None:
        return ""
    return suggestion(found["given"], [choice for _, choice in _QUOTED.findall(found["choices"])])


def write_out(text: str) -> None:
    """Write to stdout at once.

    Raises:
        OutputError: ``output.unwritable``, where a disk is full for instance, or stdout is closed.
        BrokenPipeError: if nobody reads any more, which is no error to speak of.
    """
    refuse_closed_stdout()
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable_stdout(error) from error


class BytesOut(io.RawIOBase):
    """stdout for results that are bytes: it need not seek, and fails as `write_out` does."""

    def __init__(self) -> None:
        super().__init__()
        refuse_closed_stdout()
        self._count = 0

    def writable(self) -> bool:
        """Says that it can be written."""
        return True

    def tell(self) -> int:
        """Says how many bytes were written."""
        return self._count

    def write(self, data: Any) -> int:
        """Write bytes at once."""
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable_stdout(error) from error
        self._count += len(data)
        return len(data)


def refuse_closed_stdout() -> None:
    """Say before any work that its result would have nowhere to go.

    Raises:
        ClosedStdoutError: ``output.unwritable``.
    """
    if isinstance(sys.stdout, _ClosedStdout):
        raise ClosedStdoutError(
            "output.unwritable",
            "stdout cannot be written: it is closed",
            hint="leave stdout open, or send it to a file with >",
        )


def of_help(error: Exception) -> Exception:
    """The error to show for one that no command has handled.

    A help text is written by typer, which lets the bare error of stdout through. The only other
    files that it touches are those of shell completion.
    """
    if not isinstance(error, OSError):
        return error
    modules = [
        str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    if "typer.completion" in modules and error.filename is not None:
        return OutputError(
            "output.unwritable",
            f"{error.filename} cannot be written: {error.strerror}",
            hint="put the script where your shell reads it: seedvideo --show-completion",
        )
    return _unwritable_stdout(error) if modules[-1].split(".")[0] == "typer" else error


def _unwritable_stdout(error: OSError) -> OutputError:
    # Python would try to write what is left once more at exit, and fail aloud.
    _open_null(sys.stdout.fileno())
    reason = error.strerror or type(error).__name__
    return OutputError(
        "output.unwritable",
        f"stdout cannot be written: {reason}",
        hint="check the free space where stdout goes",
    )


class _ClosedStdout(TextIOWrapper):
    """In the place of a stdout that is closed: takes what a library prints, which is no result."""


def make_streams_safe() -> None:
    """Let no stream crash a command: closed ones are empty, odd characters are spelled out."""
    for name, descriptor, mode in (("stdin", 0, "rb"), ("stdout", 1, "wb"), ("stderr", 2, "wb")):
        if getattr(sys, name) is None:
            # Left closed, its descriptor would go to the next file that is opened: a video.
            _open_null(descriptor)
            kind = _ClosedStdout if name == "stdout" else TextIOWrapper
            setattr(sys, name, kind(open(descriptor, mode), encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open_null(descriptor: int) -> None:
    """Make a descriptor read nothing and swallow all."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
