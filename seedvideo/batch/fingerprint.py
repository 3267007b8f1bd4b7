"""When two results are the same: one hash over everything that changes what comes out.

A fingerprint is of content, sampler, weights, prompt, settings and the record's schema. Where the
file lies, how it is called, and the filters, which only decide whether a clip is looked at, change
no record and are left out.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from seedvideo.batch.inputs import Item
from seedvideo.config import DEFAULT_LIMITS, Limits
from seedvideo.media.source import changed_error, open_source
from seedvideo.records import SCHEMA_VERSION
from seedvideo.sampler.policies import SAMPLER_VERSION

_CHUNK_BYTES: Final = 1 << 22
_NOT_IN_RESULT_KEY: Final = ("model", "filters", "question", "options", "query", "start_s", "end_s")
"""Settings that are left out: named by their hash, of verdicts only, or told by `_asked`."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a file held when it was read.

    Args:
        size: in bytes.
        mtime_ns: when it was last changed, as the file system says.
        sha256: of all its bytes, in hexadecimal.
    """

    size: int
    mtime_ns: int
    sha256: str


def content_from_dict(values: Mapping[str, Any]) -> Content | None:
    """Return the file that a reported error is about, if it was found but not read to its end.

    It has no hash. It tells a later run whether the file is another one by then.
    """
    if "mtime_ns" not in values:
        return None
    return Content(size=values["size"], mtime_ns=values["mtime_ns"], sha256="")


def read_content(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Content:
    """Read all of a file, in constant memory, as safely as a video is opened.

    Raises:
        InputError: if it is no file that may be opened; ``input.changed``, retryable, if it is
            written to meanwhile.
        MediaError: if it is text, or known not to be video.
    """
    source = open_source(path, limits=limits, root=None)
    try:
        before = os.fstat(source.descriptor)
        done, hashed = 0, hashlib.sha256()
        while data := os.pread(source.descriptor, _CHUNK_BYTES, done):
            hashed.update(data)
            done += len(data)
        after = os.fstat(source.descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or (
            done != after.st_size
        ):
            raise changed_error(source.display_name, "changed while it was read")
        return Content(size=done, mtime_ns=after.st_mtime_ns, sha256=hashed.hexdigest())
    finally:
        source.close()


def result_key(
    content_sha256: str,
    item: Item,
    settings: Mapping[str, Any],
    *,
    model_sha256: str,
    prompt: str,
) -> str:
    """Name the result of an item: the same name, the same record.

    Args:
        content_sha256: of the video's bytes.
        item: whose own words go before those of the settings.
        settings: as `Job.settings` tells them.
        model_sha256: of the weights.
        prompt: the text that the model is sent beside the frames.
    """
    values = {
        "content": content_sha256,
        "asked": _task_words(item, settings),
        "settings": {name: v for name, v in settings.items() if name not in _NOT_IN_RESULT_KEY},
        "model": model_sha256,
        "prompt": prompt,
        "schema": SCHEMA_VERSION,
        "sampler": SAMPLER_VERSION,
    }
    return _digest(values)


class VerdictKeys:
    """Under which settings a verdict of each item would be given, before its content is known.

    Args:
        settings: as `Job.settings` tells them.
        model_sha256: of the weights.
    """

    def __init__(self, settings: Mapping[str, Any], *, model_sha256: str) -> None:
        self._settings = settings
        left_out = set(_NOT_IN_RESULT_KEY) - {"filters"}
        self._common = _digest(
            {
                "settings": {k: v for k, v in settings.items() if k not in left_out},
                "model": model_sha256,
                "schema": SCHEMA_VERSION,
                "sampler": SAMPLER_VERSION,
            }
        )
        self._path_only_key = self._key(Item(id="-", source="-"))

    def key_for(self, item: Item) -> str:
        """Names the settings for one item."""
        return self._key(item) if item.has_words else self._path_only_key

    def _key(self, item: Item) -> str:
        return _digest([self._common, _task_words(item, self._settings)])[:32]


def _task_words(item: Item, settings: Mapping[str, Any]) -> list[object]:
    """The words that count for an item: its own, else the job's, and of its task only."""
    task = settings.get("task")
    question = item.question or settings.get("question", "")
    options = list(item.options or settings.get("options", ()))
    query = item.query or settings.get("query", "")
    start_s = settings.get("start_s") if item.start_s is None else str(item.start_s)
    end_s = settings.get("end_s") if item.end_s is None else str(item.end_s)
    words = {"ask": [question, options], "ground": [query]}.get(str(task), [])
    return [*words, start_s, end_s]


def _digest(values: object) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()
