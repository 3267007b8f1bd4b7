"""Write reference/cli.md from the command line's own --help: ``python docs/make_cli.py``.

The page is a copy, never edited by hand; a test says when it is out of date.
"""

import io
import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final
from unittest.mock import patch

from seedvideo.cli import main

PAGE: Final = Path(__file__).parent / "reference" / "cli.md"
COMMANDS: Final = (
    "",
    "caption",
    "ask",
    "ground",
    "plan",
    "frames",
    "shots",
    "split",
    "inspect",
    "curate",
    "models",
    "doctor",
    "eval",
    "batch",
    "batch run",
    "batch plan",
    "batch status",
    "batch retry",
    "batch export",
    "batch doctor",
    "batch merge",
)
"""Every command, the program itself first."""

_COLUMNS: Final = "88"
_HEAD: Final = """\
# Command line

What `--help` says, copied by `python docs/make_cli.py`. What the commands write stands in
[formats](formats.md), what the codes in brackets mean in [errors](errors.md).

Exit codes: 0 all done, 1 some videos failed, 2 wrong usage, 3 could not start (model or output),
130 interrupted. stdout is data; notes, warnings, progress and errors go to stderr.
"""


def render() -> str:
    """Return the complete page."""
    parts = [_HEAD]
    for command in COMMANDS:
        words = ["seedvideo", *command.split()]
        parts.append(f"## {' '.join(words)}\n\n```text\n{help_of(*words[1:])}\n```\n")
    return "\n".join(parts)


def help_of(*words: str) -> str:
    """Return the help text of one command, at a fixed width."""
    with patch.dict(os.environ, COLUMNS=_COLUMNS), redirect_stdout(io.StringIO()) as printed:
        main([*words, "--help"])
    return printed.getvalue().strip()


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
