"""Rows of a dataset: one flat row a clip, made from an entry of the journal and its record.

A row is a dictionary of JSON values with every column of `schema.COLUMNS`; only ``signature`` is
bytes, which `json_row` makes text. It holds no timings, so equal results give equal rows.

Columns of the user's list that curation writes, such as ``domain`` and ``repeats``, fill the column
of their name. A value that does not fit its type stays in ``extra``, with all other columns.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from seedvideo.batch.duplicates import parse_duplicate
from seedvideo.batch.execution import get_prompt
from seedvideo.batch.extra_columns import format_value, parse_extra
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal_rows import RECORD_TASKS, JournalEntry, plain_fingerprint
from seedvideo.datasets.clips import CutFacts, window_of
from seedvideo.datasets.schema import COLUMNS, EXTRA, QUALITY
from seedvideo.environment import __version__
from seedvideo.errors import SeedVideoError
from seedvideo.utils.timecode import seconds

_MAX_INT32: Final = (1 << 31) - 1


class RowBuilder:
    """Makes the rows of one job.

    Args:
        job: settings of the job.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._prompts: dict[tuple[object, ...], str] = {}

    def build(self, entry: JournalEntry, added: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the row of a clip.

        Args:
            entry: entry of the journal.
            added: further columns of the clip, which replace those of its list.
        """
        item = entry.item
        # A window that contradicts that of the job is the failure of its clip.
        start, end = window_of(self._job, item)
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= {
            "id": item.id,
            "state": entry.state,
            "source": item.source,
            "source_size": entry.size,
            "task": RECORD_TASKS[self._job.task],
            "start_s": None if start is None else seconds(start),
            "end_s": None if end is None else seconds(end),
            "start_frac": None if start is None else str(start),
            "end_frac": None if end is None else str(end),
            "captions": [],
            "options": [],
            "option_probabilities": [],
            "spans": [],
            "warnings": [],
            "concepts": [],
            "repeats": 1,
            "seedvideo_version": __version__,
        }
        if entry.record is not None:
            row |= _record_columns(json.loads(entry.record))
            row["fingerprint"] = plain_fingerprint(entry.fingerprint)
            row["prompt_sha256"] = self._prompt_sha256(item)
        else:
            row |= _verdict_columns(entry)
        extra = {**parse_extra(item.extra), **(added or {})}
        row |= _lift(extra)
        row[EXTRA] = {
            name: None if value is None else format_value(value) for name, value in extra.items()
        }
        return {name: encodable(value) for name, value in row.items()}

    def _prompt_sha256(self, item: Item) -> str:
        """Return the hash of the text that was sent with the frames of a done clip."""
        key = (item.question, item.options, item.query)
        if key not in self._prompts:
            if len(self._prompts) >= _MAX_PROMPTS:
                self._prompts.clear()
            text = get_prompt(self._job, item)
            self._prompts[key] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return self._prompts[key]


_MAX_PROMPTS: Final = 1000
"""Prompts whose hashes are kept."""


def _record_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a done clip."""
    media, plan, model = record["media"], record["plan"], record["model"]
    columns = {
        "confident": record["confident"],
        "model": model["name"],
        "model_sha256": model["sha256"],
        "schema_version": record["schema_version"],
        **{name: media[name] for name in _MEDIA},
        "warnings": [
            {name: each[name] for name in ("code", "message")} for each in media["warnings"]
        ],
        **{name: plan[name] for name in ("visual_tokens", "frames", "policy", "budget_tokens")},
        "quality": _quality(record.get("quality")),
    }
    if record["task"] == "caption":
        columns["caption"] = record["text"]
        columns["captions"] = [{name: each[name] for name in _EVENT} for each in record["events"]]
    answer, grounding = record.get("answer"), record.get("grounding")
    if answer is not None:
        columns |= {
            "question": answer["question"],
            "answer": answer["answer"],
            "options": [each["text"] for each in answer["options"]],
            "option_probabilities": [each["probability"] for each in answer["options"]],
        }
    if grounding is not None:
        columns["query"] = grounding["query"]
        columns["spans"] = [{name: each[name] for name in _SPAN} for each in grounding["spans"]]
    return columns


_MEDIA: Final = (
    *("duration_s", "width_px", "height_px", "fps_avg", "is_vfr", "codec", "rotation_deg"),
)
_EVENT: Final = ("start_s", "end_s", "text", "confident")
_SPAN: Final = ("start_s", "end_s", "score")


def _quality(values: Mapping[str, Any] | None) -> dict[str, float | None] | None:
    """Return the measurements of a clip as numbers; None for records of older versions."""
    if values is None:
        return None
    found = {name: values.get(name) for name in QUALITY}
    return {name: None if value is None else float(value) for name, value in found.items()}


def _verdict_columns(entry: JournalEntry) -> dict[str, Any]:
    """Return the columns that state why a clip has no record."""
    if entry.state in ("failed", "quarantined"):
        names = ("code", "stage", "message", "hint", "retryable", "tries")
        return {"error": {name: getattr(entry, name) for name in names}}
    if entry.state != "filtered":
        return {}
    rule, message = entry.rule or "", entry.message or ""
    columns: dict[str, Any] = {"filtered": {"rule": rule, "message": message}}
    duplicate = parse_duplicate(rule, message)
    if duplicate is not None:
        columns["duplicate_of"], columns["duplicate_distance"] = duplicate
    return columns


def unreadable_row(row: Mapping[str, Any], error: SeedVideoError) -> dict[str, Any]:
    """Return the row of a done clip whose bytes cannot be read now."""
    values = {
        "code": error.code,
        "stage": error.stage,
        "message": error.message,
        "hint": error.hint,
        "retryable": error.retryable,
        "tries": None,
    }
    return {**row, "state": "failed", "error": encodable(values)}


FILE_COLUMNS: Final = ("source_sha256", "source_size")
"""Columns that the file of a clip fills, if it is a whole one."""

CUT_COLUMNS: Final = ("start_s", "end_s", "start_frac", "end_frac")
"""Columns that `cut_row` always fills."""

CUT_EXTRA: Final = ("cut", "reencoded")
"""Names that it adds to `EXTRA`, as ``seedvideo split`` does."""


def cut_row(row: Mapping[str, Any], facts: CutFacts) -> dict[str, Any]:
    """Return the row of a clip whose file was cut: times are those of the file.

    ``start_s`` to ``end_frac`` state the window of the longer video that the file holds; ``extra``
    gets ``cut`` and ``reencoded``.
    """
    start, end = facts.span.start, facts.span.end
    is_exact = facts.cut == "exact"
    bounds = (seconds(start), seconds(end), str(start), str(end))
    window: dict[str, Any] = dict(zip(CUT_COLUMNS, bounds, strict=True))
    window["duration_s"] = seconds(end - start)
    if is_exact:
        window |= {"codec": "h264", "rotation_deg": 0}
    return {
        **row,
        **window,
        "captions": _shift(row["captions"], facts),
        "spans": _shift(row["spans"], facts),
        EXTRA: {
            **row[EXTRA],
            **dict(zip(CUT_EXTRA, (facts.cut, format_value(is_exact)), strict=True)),
        },
    }


def _shift(timed: list[dict[str, Any]], facts: CutFacts) -> list[dict[str, Any]]:
    """Return spans with the times of a file that was cut; those outside are left out."""
    offset_s, length_s = seconds(facts.span.start), seconds(facts.span.duration)
    moved = []
    for each in timed:
        start_s = round(max(0.0, each["start_s"] - offset_s), 6)
        end_s = round(min(length_s, each["end_s"] - offset_s), 6)
        if start_s <= end_s:
            moved.append({**each, "start_s": start_s, "end_s": end_s})
    return moved


def copy_row(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the row of a copy of a clip with an id of its own."""
    return {**row, "id": name, "repeats": 1}


def copy_id(clip_id: str, number: int) -> str:
    """Return the id of a copy of a clip; the first is the clip itself."""
    return clip_id if number == 1 else f"{clip_id}~{number}"


def _lift(extra: dict[str, Any]) -> dict[str, Any]:
    """Take the values that have a column of their own out of the other columns."""
    columns = {}
    for name, (column, parse) in _LIFTED.items():
        if extra.get(name) in (None, ""):
            continue
        value = parse(extra[name])
        if value is not None:
            del extra[name]
            columns[column] = value
    return columns


def _parse_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _parse_texts(value: object) -> list[str] | None:
    """Parse a list, a list as JSON, or texts separated by bars."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, str):
        return value.split("|")
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    return None


def _parse_number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _parse_count(value: object) -> int | None:
    number = _parse_number(value)
    if number is None or isinstance(value, bool) or number != int(number):
        return None
    return int(number) if 0 <= number <= _MAX_INT32 else None


def _parse_hex(value: object) -> bytes | None:
    try:
        return bytes.fromhex(str(value))
    except ValueError:
        return None


def _parse_sha256(value: object) -> str | None:
    digest = _parse_hex(value)
    return digest.hex() if digest is not None and len(digest) == 32 else None


_LIFTED: Final[Mapping[str, tuple[str, Callable[[object], Any]]]] = {
    "sha256": ("source_sha256", _parse_sha256),
    "signature": ("signature", _parse_hex),
    "duplicate_of": ("duplicate_of", _parse_text),
    "duplicate_distance": ("duplicate_distance", _parse_number),
    "domain": ("domain", _parse_text),
    "concepts": ("concepts", _parse_texts),
    "repeats": ("repeats", _parse_count),
    "keep_reason": ("keep_reason", _parse_text),
}
"""Columns of a list that fill a column of the dataset, with the parsers of their values."""


def json_row(row: Mapping[str, Any]) -> bytes:
    """Return a row as one line of ASCII JSON, without the line end; bytes become hexadecimal."""
    values = {
        name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()
    }
    return json.dumps(values, ensure_ascii=True, allow_nan=False).encode("ascii")


def arrow_row(row: Mapping[str, Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a row for columns of Arrow, in which a map is a list of pairs."""
    values = {name: row.get(name) for name in columns}
    extra = values.get(EXTRA)
    if isinstance(extra, dict) and not isinstance(columns[EXTRA], Mapping):
        values[EXTRA] = list(extra.items())
    return values


def filled_columns(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the columns in which a row has a value."""
    for name, value in row.items():
        if value is not None and value != [] and value != {}:
            yield name


def encodable(value: Any) -> Any:
    r"""Return a value whose strings are valid UTF-8: bytes of a name are escaped (``\udcff``)."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {encodable(key): encodable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [encodable(each) for each in value]
    return value
