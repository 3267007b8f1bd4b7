"""Resumable results file: one JSON line per item, appended when the item is done.

Every line names its run, so several runs use one file and none overwrites another. A last line that
was truncated when the process died is dropped and reported. Also reads predictions made elsewhere.
"""

import fcntl
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from pydantic import StrictStr

from seedvideo.errors import InputError, OutputError
from seedvideo.evaluate.annotations import Name, Numbers, Row, Spans, Texts, quote_json, validate
from seedvideo.evaluate.types import Item, Prediction, Task
from seedvideo.utils.text import printable

MISSING_VIDEO: Final = "input.not_found"
"""Error code of an item whose video was not found."""

REQUIRED_KEYS: Final[Mapping[Task, tuple[str, ...]]] = {
    "ask": ("answer",),
    "ground": ("spans",),
    "dense": ("spans", "captions"),
}
"""Keys that a prediction needs for an item of a task; "not found" is an empty list of spans."""

_KEYS: Final = {"frame_times_s": "shown_s"}
"""Keys in the file of the fields of `Prediction` that have another name."""

_PARSE_ERRORS: Final = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""Exceptions raised while parsing a line of another form."""


@dataclass(frozen=True)
class Settings:
    """Settings of a run; runs with equal settings are the same run.

    Args:
        bench: name of the benchmark.
        values: everything else that changes predictions: model, its hash, policy, budget and so on.
            The key in the file is ``told``.
    """

    bench: str
    values: Mapping[str, str | int | bool | None]

    @property
    def fingerprint(self) -> str:
        """Name of the run in the file: a hash of the settings."""
        text = json.dumps([self.bench, dict(self.values)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def describe(self) -> str:
        """Describe the settings in one line."""
        words = [self.bench]
        for name, value in self.values.items():
            if value is True:
                words.append(name)
            elif value not in (None, False, ""):
                words.append(f"{name} {value}")
        return ", ".join(words)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of one item: a prediction, or an error.

    Args:
        id: id of the item.
        digest: hash of the item's content when it was asked.
        prediction: the prediction; None if it failed.
        error: error code of the failure.
        message: error message of the failure.
        scores: the item's scores, for readers of the file; tables compute them again.
        spent_s: wall time in seconds.
    """

    id: str
    digest: str
    prediction: Prediction | None = None
    error: str | None = None
    message: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    spent_s: float | None = None

    def matches(self, item: Item) -> bool:
        """Return whether the item's content is still the same."""
        return (self.id, self.digest) == (item.id, item.digest)


class Results:
    """An open results file; use it in a ``with`` statement. Only one process may have it open.

    Args:
        path: the file; it and its folder are created if missing.

    Attributes:
        dropped_bytes: length of a truncated last line that was removed; 0 if there was none.

    Raises:
        OutputError: ``output.unwritable``, or ``output.in_use`` if another process has it open.
        InputError: ``input.results`` if a complete line is not a result.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped_bytes = 0
        self.settings: dict[str, Settings] = {}
        self._outcomes: dict[str, dict[str, Outcome]] = {}
        try:
            path.parent.mkdir(exist_ok=True)
            self._file: IO[bytes] = path.open("ab+")
        except OSError as error:
            raise _write_error(path, error) from error
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise

    def outcomes(self, settings: Settings) -> dict[str, Outcome]:
        """Return the last outcome of each item of a run, by item id."""
        return dict(self._outcomes.get(settings.fingerprint, {}))

    def start_run(self, settings: Settings) -> None:
        """Write a run's settings to the file, once."""
        if settings.fingerprint not in self.settings:
            about = {"bench": settings.bench, "told": dict(settings.values)}
            self._write_line({"run": settings.fingerprint, "settings": about})
            self.settings[settings.fingerprint] = settings

    def append(self, settings: Settings, outcome: Outcome) -> None:
        """Append one outcome; it is flushed to the operating system when this returns.

        Raises:
            OutputError: ``output.unwritable``.
        """
        value = {name: value for name, value in asdict(outcome).items() if value not in (None, {})}
        if outcome.prediction is not None:
            value["prediction"] = {
                _KEYS.get(name, name): each for name, each in value["prediction"].items()
            }
        self._write_line({"run": settings.fingerprint, **value})
        self._outcomes.setdefault(settings.fingerprint, {})[outcome.id] = outcome

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                "output.in_use",
                f"another process writes to {printable(str(self.path))}",
                hint="wait for it, or choose another folder with -o",
                retryable=True,
            ) from error

    def _read(self) -> None:
        self._file.seek(0)
        data = self._file.read()
        complete = data.rfind(b"\n") + 1
        self.dropped_bytes = len(data) - complete
        if self.dropped_bytes:
            self._file.truncate(complete)
        for number, line in enumerate(data[:complete].splitlines(), start=1):
            try:
                self._parse_line(json.loads(line))
            except _PARSE_ERRORS as error:
                raise InputError(
                    "input.results",
                    f"line {number} of {printable(str(self.path))} is not a result",
                    hint="move the file away to start again, or remove the line",
                ) from error

    def _parse_line(self, value: dict[str, Any]) -> None:
        run = str(value.pop("run"))
        if "settings" in value:
            about = value["settings"]
            self.settings[run] = Settings(str(about["bench"]), dict(about["told"]))
            return
        if value.get("prediction") is not None:
            value["prediction"] = parse_prediction(value["prediction"])
        outcome = Outcome(**value)
        self._outcomes.setdefault(run, {})[outcome.id] = outcome

    def _write_line(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, ensure_ascii=True, allow_nan=False) + "\n"
        try:
            self._file.write(line.encode("ascii"))
            self._file.flush()
        except OSError as error:
            raise _write_error(self.path, error) from error


class _Prediction(Row):
    answer: StrictStr = ""
    spans: Spans = ()
    scores: Numbers = ()
    captions: Texts = ()
    shown_s: Numbers | None = None


class _Named(Row):
    id: Name


def parse_prediction(value: Mapping[str, Any]) -> Prediction:
    """Parse a prediction from JSON.

    Its keys are the fields of `Prediction`, but ``shown_s`` for ``frame_times_s``.

    Raises:
        ValueError: if a key is unknown or a value is wrong.
    """
    known = [_KEYS.get(one.name, one.name) for one in fields(Prediction)]
    if unknown := [key for key in value if key not in known]:
        raise ValueError(
            f"the key {quote_json(unknown[0])} is unknown, expected {', '.join(known)}"
        )
    names = {key: name for name, key in _KEYS.items()}
    values = dict(value) | dict(validate(_Prediction, dict(value)))
    return Prediction(**{names.get(key, key): each for key, each in values.items()})


def read_predictions(
    path: Path, lines: Mapping[int, Any], *, tasks: Mapping[str, Task]
) -> dict[str, Prediction]:
    """Parse predictions made elsewhere, by item id.

    Args:
        path: path for error messages.
        lines: JSON objects with ``id`` and the keys of a `Prediction`, by line number.
        tasks: tasks of the items by id; a prediction needs the keys of its item's task. Unknown ids
            are accepted.

    Raises:
        InputError: ``input.results`` if a line is not a prediction or lacks a key of its item's
            task, or if two have the same id.
    """
    found: dict[str, Prediction] = {}
    for number, value in lines.items():
        try:
            name = validate(_Named, value).id
            fields_given = {key: each for key, each in value.items() if key != "id"}
            if name in found:
                raise ValueError(f"the id {name!r} is used twice")
            needed = REQUIRED_KEYS[tasks[name]] if name in tasks else ()
            if lacking := [key for key in needed if key not in fields_given]:
                raise ValueError(f"{name!r} needs {' and '.join(lacking)}")
            found[name] = parse_prediction(fields_given)
        except ValueError as error:
            raise predictions_error(path, f"line {number}: {error}") from error
    return found


def predictions_error(path: Path, why: str) -> InputError:
    """Make the error of a file that does not hold one prediction per line."""
    return InputError(
        "input.results",
        f"{printable(str(path))} is not a file of predictions: {printable(why)}",
        hint="each line is an object with id and answer, spans, scores or captions",
    )


def _write_error(path: Path, error: OSError) -> OutputError:
    return OutputError(
        "output.unwritable",
        f"{printable(str(path))} cannot be written: {error.strerror or type(error).__name__}",
        hint="check the folder, its permissions and the free space",
    )
