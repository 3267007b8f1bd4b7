"""Error classes of seedvideo.

    SeedVideoError
    |-- InputError        the input is not a readable file                    input.*
    |-- MediaError        the file is not a usable video                      media.*
    |-- DecodeError       decoding was stopped, crashed or timed out          decode.*
    |-- PlanError         no plan satisfies the request                       plan.*
    |-- AskError          a question, or its options, are invalid             ask.*
    |-- GroundError       a grounding query is invalid                        ground.*
    |-- ModelError        a model cannot be loaded or returned no answer      model.*
    |-- BatchError        a job, its rows or its journal are unusable         batch.*
    |-- StoreError        the storage of a job of parts is unusable           store.*
    |-- OutputError       a result cannot be written                          output.*
    |-- ConfigError       an option has an invalid value                      config.*
    `-- ResourceError     a system resource is exhausted                      system.*

Each error has a stable ``code`` for programs, a ``message`` for people (what and where), a ``hint``
(the next step) and ``retryable``, whether a retry could succeed.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

_MAX_CHOICE_CHARS: Final = 100
"""Maximum length of a compared text: the comparison takes quadratic time."""


class SeedVideoError(Exception):
    """Base class of all errors of seedvideo.

    Args:
        code: stable, dotted code, ``stage.what``; its first part must be the class's ``stage``.
        message: what went wrong and where, in one line without a full stop.
        hint: next step, in one line; may be empty.
        retryable: whether a later retry could succeed.
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
    """The input is not a readable file."""

    stage = "input"


class InputTypeError(InputError, TypeError):
    """A video input has an unsupported type."""


class NotPicklableError(InputError, TypeError):
    """An open video, or an iterator over its frames, was pickled or copied."""


class MediaError(SeedVideoError):
    """The file is not a usable video."""

    stage = "media"


class DecodeError(SeedVideoError):
    """Decoding was stopped, crashed or timed out."""

    stage = "decode"


class PlanError(SeedVideoError):
    """No plan satisfies the request."""

    stage = "plan"


class AskError(SeedVideoError):
    """A question, or its options, are invalid."""

    stage = "ask"


class GroundError(SeedVideoError):
    """A grounding query is invalid."""

    stage = "ground"


class ModelError(SeedVideoError):
    """A model cannot be loaded, or returned no usable answer."""

    stage = "model"


class BatchError(SeedVideoError):
    """A job, one of its rows or its journal is unusable."""

    stage = "batch"


class StoreError(SeedVideoError):
    """The storage of a job of parts does not answer, or does not do what a job needs."""

    stage = "store"


class OutputError(SeedVideoError):
    """A result cannot be written."""

    stage = "output"


class ConfigError(SeedVideoError):
    """An option has an invalid value."""

    stage = "config"


class OptionTypeError(ConfigError, TypeError):
    """An option of a public function has a wrong type."""


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
    """Memory, descriptors or processes are exhausted, or a limit allows no more."""

    stage = "system"
