"""Cache keys of results: one hash over everything that changes a record.

A key covers content, sampler, weights, prompt, settings and the record's schema. Path and name of
the file do not change a record; neither do the filters, which only decide whether a clip is
processed. These are left out.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from seedvideo.batch.inputs import Item
from seedvideo.config import DEFAULT_LIMITS, Limits
from seedvideo.media.source import VideoInput, changed_error, open_source
from seedvideo.records import SCHEMA_VERSION
from seedvideo.sampler.policies import SAMPLER_VERSION

_CHUNK_BYTES: Final = 1 << 22
_NOT_IN_RESULT_KEY: Final = ("model", "filters", "question", "options", "query", "start_s", "end_s")
"""Settings covered by a hash or by `_task_words`, or without effect on records."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """Content of a file when it was read.

    Args:
        size: size in bytes.
        mtime_ns: modification time according to the file system, in nanoseconds.
        sha256: hash of all bytes, in hexadecimal; empty if the file was not read to its end.
    """

    size: int
    mtime_ns: int
    sha256: str


def content_from_dict(values: Mapping[str, Any]) -> Content | None:
    """Return the file of a reported error, if it was found but not read to its end.

    It has no hash. A later run compares it with the file to see whether the file was replaced.
    """
    if "mtime_ns" not in values:
        return None
    return Content(size=values["size"], mtime_ns=values["mtime_ns"], sha256="")


def read_content(path: VideoInput, *, limits: Limits = DEFAULT_LIMITS) -> Content:
    """Hash a file in constant memory, opened as safely as a video.

    Raises:
        InputError: if it must not be opened; ``input.changed``, retryable, if it is being written.
        MediaError: if it is text or another format that is known not to be video.
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
    """Return the cache key of an item's result: equal keys, equal records.

    Args:
        content_sha256: hash of the video's bytes.
        item: the item, whose own values override the settings.
        settings: settings as `Job.settings` returns them.
        model_sha256: hash of the weights.
        prompt: text sent to the model with the frames.
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
    """Keys of the settings that an item's outcome depends on, before its content is known.

    Args:
        settings: settings as `Job.settings` returns them.
        model_sha256: hash of the weights.
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
        """Return the key of the settings for one item."""
        return self._key(item) if item.has_words else self._path_only_key

    def _key(self, item: Item) -> str:
        return _digest([self._common, _task_words(item, self._settings)])[:32]


def _task_words(item: Item, settings: Mapping[str, Any]) -> list[object]:
    """Return the values that matter for an item's task: its own, else the job's."""
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
