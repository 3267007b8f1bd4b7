"""The results file: one JSON line an item, added as it is done, so that a stopped run can go on.

Every line names the run that it belongs to: several runs share a file and none overwrites another.
A line that was torn when the process died is dropped and told. Knows nothing of models or scores.
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
from seedvideo.evaluate.annotations import Name, Numbers, Row, Spans, Texts, read, shown
from seedvideo.evaluate.types import Item, Prediction, Task
from seedvideo.utils.text import printable

MISSING_VIDEO: Final = "input.not_found"
"""Error code of an item whose video is not there."""

ANSWERED_BY: Final[Mapping[Task, tuple[str, ...]]] = {
    "ask": ("answer",),
    "ground": ("spans",),
    "dense": ("spans", "captions"),
}
"""Keys without which a prediction says nothing to an item of a task; "not found" is no spans."""

_WRONG: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading a value of another form raises."""


@dataclass(frozen=True)
class Settings:
    """What a run depends on: two runs with the same settings are one.

    Args:
        bench: name of the benchmark.
        told: everything else that changes predictions: model, its hash, policy, budget and so on.
    """

    bench: str
    told: Mapping[str, str | int | bool | None]

    @property
    def fingerprint(self) -> str:
        """Names the settings."""
        text = json.dumps([self.bench, dict(self.told)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def line(self) -> str:
        """The settings for people."""
        words = [self.bench]
        for name, value in self.told.items():
            if value is True:
                words.append(name)
            elif value not in (None, False, ""):
                words.append(f"{name} {value}")
        return ", ".join(words)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one item: a prediction, or the reason why there is none.

    Args:
        id: of the item.
        digest: of the item's content when it was asked.
        prediction: what was answered; None if it failed.
        error: code of the failure.
        message: of the failure, for people.
        scores: the item's numbers, for readers of the file; tables compute them anew.
        spent_s: wall seconds.
    """

    id: str
    digest: str
    prediction: Prediction | None = None
    error: str | None = None
    message: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    spent_s: float | None = None

    def is_of(self, item: Item) -> bool:
        """Whether it answers the item as it is now."""
        return (self.id, self.digest) == (item.id, item.digest)


class Results:
    """An open results file; use it in a ``with`` statement. Only one process may have it open.

    Args:
        path: the file; it and its folder are made when missing.

    Attributes:
        dropped_bytes: length of a torn last line that was taken away; 0 if there was none.

    Raises:
        OutputError: ``output.unwritable``, or ``output.in_use`` if another process has it open.
        InputError: ``input.results`` if a whole line is no result.
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
            raise _unwritable(path, error) from error
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise

    def outcomes(self, settings: Settings) -> dict[str, Outcome]:
        """The last outcome of each item of a run, by the item's id."""
        return dict(self._outcomes.get(settings.fingerprint, {}))

    def begin(self, settings: Settings) -> None:
        """Note a run's settings in the file, once."""
        if settings.fingerprint not in self.settings:
            about = {"bench": settings.bench, "told": dict(settings.told)}
            self._append({"run": settings.fingerprint, "settings": about})
            self.settings[settings.fingerprint] = settings

    def add(self, settings: Settings, outcome: Outcome) -> None:
        """Append one outcome; it is with the system when this returns.

        Raises:
            OutputError: ``output.unwritable``.
        """
        value = {name: value for name, value in asdict(outcome).items() if value not in (None, {})}
        self._append({"run": settings.fingerprint, **value})
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
        whole = data.rfind(b"\n") + 1
        self.dropped_bytes = len(data) - whole
        if self.dropped_bytes:
            self._file.truncate(whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                self._take(json.loads(line))
            except _WRONG as error:
                raise InputError(
                    "input.results",
                    f"line {number} of {printable(str(self.path))} is no result",
                    hint="move the file away to begin anew, or take the line out",
                ) from error

    def _take(self, value: dict[str, Any]) -> None:
        run = str(value.pop("run"))
        if "settings" in value:
            about = value["settings"]
            self.settings[run] = Settings(str(about["bench"]), dict(about["told"]))
            return
        if value.get("prediction") is not None:
            value["prediction"] = prediction_of(value["prediction"])
        outcome = Outcome(**value)
        self._outcomes.setdefault(run, {})[outcome.id] = outcome

    def _append(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, ensure_ascii=True, allow_nan=False) + "\n"
        try:
            self._file.write(line.encode("ascii"))
            self._file.flush()
        except OSError as error:
            raise _unwritable(self.path, error) from error


class _Prediction(Row):
    answer: StrictStr = ""
    spans: Spans = ()
    scores: Numbers = ()
    captions: Texts = ()
    shown_s: Numbers | None = None


class _Named(Row):
    id: Name


def prediction_of(value: Mapping[str, Any]) -> Prediction:
    """Read a prediction from its JSON form; `Prediction` names the keys.

    Raises:
        ValueError: if a key is none of a prediction's, or a value does not fit.
    """
    known = [one.name for one in fields(Prediction)]
    if unknown := [key for key in value if key not in known]:
        raise ValueError(f"the key {shown(unknown[0])} is unknown, expected {', '.join(known)}")
    return Prediction(**dict(value) | dict(read(_Prediction, dict(value))))


def read_predictions(
    path: Path, lines: Mapping[int, Any], *, tasks: Mapping[str, Task]
) -> dict[str, Prediction]:
    """Predictions made elsewhere, by the id of their item.

    Args:
        path: named in errors.
        lines: JSON objects with ``id`` and the keys of a `Prediction`, by the number of their line.
        tasks: of the items, by their ids; a prediction that lacks a key of its item's task is not
            taken for an answer. Ids of no item are read too.

    Raises:
        InputError: ``input.results`` if one is no prediction, or none of its item's task, or if two
            have the same id.
    """
    found: dict[str, Prediction] = {}
    for number, value in lines.items():
        try:
            name = read(_Named, value).id
            told = {key: each for key, each in value.items() if key != "id"}
            if name in found:
                raise ValueError(f"{name!r} was there before")
            needed = ANSWERED_BY[tasks[name]] if name in tasks else ()
            if lacking := [key for key in needed if key not in told]:
                raise ValueError(f"{name!r} needs {' and '.join(lacking)}")
            found[name] = prediction_of(told)
        except ValueError as error:
            raise no_predictions(path, f"line {number}: {error}") from error
    return found


def no_predictions(path: Path, why: str) -> InputError:
    """The error of a file that does not hold predictions of others, a line each."""
    return InputError(
        "input.results",
        f"{printable(str(path))} is no file of predictions: {printable(why)}",
        hint="each line is an object with id and answer, spans, scores or captions",
    )


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        "output.unwritable",
        f"{printable(str(path))} cannot be written: {error.strerror or type(error).__name__}",
        hint="check the folder, its rights and the free space",
    )
