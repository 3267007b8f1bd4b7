"""Errors on their way between the processes of a job, as plain values."""

from typing import Any

from seedvideo.batch.fingerprint import Content
from seedvideo.errors import SeedVideoError
from seedvideo.records import error_record


def told_of(error: Exception) -> dict[str, Any]:
    """What a process tells of an error."""
    return {**error_record(error).model_dump(), "hint": getattr(error, "hint", "")}


def content_of(values: dict[str, Any]) -> Content | None:
    """The file that an error is about, if it was seen but never read to its end: without a hash.

    It tells a later run whether the file is another one by then.
    """
    if "mtime_ns" not in values:
        return None
    return Content(size=values["size"], mtime_ns=values["mtime_ns"], sha256="")


def rebuilt(values: dict[str, Any]) -> SeedVideoError:
    """The error that a process has told of."""
    kinds = {kind.stage: kind for kind in SeedVideoError.__subclasses__()}
    kind = kinds.get(str(values["stage"]), SeedVideoError)
    return kind(
        str(values["code"]),
        str(values["message"]),
        hint=str(values.get("hint", "")),
        retryable=bool(values["retryable"]),
    )


def ended(code: str, how: str, timeout_s: float) -> dict[str, Any]:
    """What is told of a process that ended while it worked on a clip.

    Args:
        code: ``*.timeout`` if it was ended for taking too long, ``*.crashed`` if it died.
        how: it ended, for people.
        timeout_s: what it was allowed.
    """
    is_late = code.endswith(".timeout")
    return {
        "code": code,
        "stage": code.partition(".")[0],
        "message": f"took longer than {timeout_s:g} s and was stopped" if is_late else how,
        "hint": "give it more time: --timeout" if is_late else "report the file",
        "retryable": True,
        "is_deadly": not is_late,
    }
