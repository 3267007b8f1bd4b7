"""Every error that seedvideo raises on purpose, as one tree.

    SeedVideoError
    |-- InputError        the thing named is not a file that may be opened    input.*
    |-- MediaError        the file is not a video that can be used            media.*
    |-- DecodeError       decoding was stopped, died or took too long         decode.*
    |-- PlanError         no plan satisfies what was asked                    plan.*
    |-- AskError          a question, or its options, cannot be asked         ask.*
    |-- GroundError       what is looked for cannot be looked for             ground.*
    |-- ModelError        a model cannot be loaded or gave no answer          model.*
    |-- BatchError        a job, its rows or its journal cannot be used     batch.*
    |-- OutputError       a result cannot be written                          output.*
    |-- ConfigError       an option has a value that it cannot have           config.*
    `-- ResourceError     the system has too little of something              system.*

Each error has a stable ``code`` for programs, a ``message`` for people (what and where), a ``hint``
(the next step) and says whether trying again could help. Knows nothing of how they are shown.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

_MAX_CHOICE_CHARS: Final = 100
"""Longest text that is compared with the choices: the comparison takes quadratic time."""


class SeedVideoError(Exception):
    """Base of all errors that seedvideo raises on purpose.

    Args:
        code: stable and dotted, ``stage.what``; its first part must be the class's ``stage``.
        message: what went wrong and where, in one line without a full stop.
        hint: what to do next, in one line; may be empty.
        retryable: whether the same call could succeed later.
    """

    stage: ClassVar[str] = ""

    def __init__(self, code: str, message: str, *, hint: str = "", retryable: bool = False):
        if self.stage and code.split(".")[0] != self.stage:
            raise ValueError(f"code {code!r} does not belong to stage {self.stage!r}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; the default would lose the keyword-only arguments.
        return _rebuild, (type(self), self.code, self.message, self.hint, self.retryable)


def _rebuild(
    kind: type[SeedVideoError], code: str, message: str, hint: str, retryable: bool
) -> SeedVideoError:
    return kind(code, message, hint=hint, retryable=retryable)


class InputError(SeedVideoError):
    """The thing named is not a file that may be opened."""

    stage = "input"


class InputTypeError(InputError, TypeError):
    """What was given for a video is of a type that is not taken."""


class NotPicklableError(InputError, TypeError):
    """An open video, or an iterator over its frames, was pickled or copied."""


class MediaError(SeedVideoError):
    """The file is not a video that can be used."""

    stage = "media"


class DecodeError(SeedVideoError):
    """Decoding was stopped, died or took too long."""

    stage = "decode"


class PlanError(SeedVideoError):
    """No plan satisfies what was asked."""

    stage = "plan"


class AskError(SeedVideoError):
    """A question, or its options, cannot be asked."""

    stage = "ask"


class GroundError(SeedVideoError):
    """What is looked for cannot be looked for."""

    stage = "ground"


class ModelError(SeedVideoError):
    """A model cannot be loaded, or gave no usable answer."""

    stage = "model"


class BatchError(SeedVideoError):
    """A job, one of its rows or its journal cannot be used."""

    stage = "batch"


class OutputError(SeedVideoError):
    """A result cannot be written."""

    stage = "output"


class ConfigError(SeedVideoError):
    """An option has a value that it cannot have."""

    stage = "config"


class OptionTypeError(ConfigError, TypeError):
    """A public function was given an option of a wrong type."""


def suggestion(given: object, choices: Iterable[object]) -> str:
    """Return a hint such as ``did you mean 'adaptive'?``, or an empty text.

    Args:
        given: the wrong value.
        choices: the values that are allowed; only texts are compared.
    """
    # Only wrong values pay for the import.
    from difflib import get_close_matches

    if not isinstance(given, str) or len(given) > _MAX_CHOICE_CHARS:
        return ""
    folded = {choice.casefold(): choice for choice in choices if isinstance(choice, str)}
    wrong = given.strip().casefold()
    nearest = get_close_matches(wrong, folded, n=1, cutoff=0.5) or [
        choice for choice in folded if len(wrong) > 1 and choice.startswith(wrong)
    ]
    return f"did you mean {folded[nearest[0]]!r}?" if nearest else ""


class ResourceError(SeedVideoError):
    """The system has no memory, descriptors or processes left, or a limit allows no more."""

    stage = "system"
