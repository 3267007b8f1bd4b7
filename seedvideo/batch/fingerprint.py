"""Cache keys of results: one hash over everything that changes a record.

A key covers content, sampler, weights, prompt, settings and the version of results. Path and name
of the file do not change a record; neither do the filters, which only decide whether a clip is
processed. These are left out.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from seedvideo.batch.inputs import Item
from seedvideo.config import DEFAULT_LIMITS, Limits
from seedvideo.media.source import OpenedInput, VideoInput, changed_error, open_source
from seedvideo.sampler.policies import SAMPLER_VERSION
from seedvideo.sampler.transitions import SHOTS_VERSION

_CHUNK_BYTES: Final = 1 << 22
_MAX_KNOWN: Final = 1_000
"""Maximum files whose content a process remembers."""
_NOT_IN_RESULT_KEY: Final = ("model", "filters", "question", "options", "query", "start_s", "end_s")
"""Settings covered by a hash or by `_task_words`, or without effect on records."""

_RESULT_VERSION: Final = 1
"""Version of the results of a job. Raise it to process the clips of older jobs again: their records
stay valid when the schema of records only gains keys."""


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


FileVersion: TypeAlias = tuple[int, ...]
"""What identifies the content of a file without reading it."""


def file_version(video: str | OpenedInput) -> FileVersion | None:
    """Return device, inode, size and times of a file; None if it cannot be found by its name.

    The time of the last change of its inode is among them, which programs cannot set back.
    """
    try:
        facts = os.fstat(video.descriptor) if isinstance(video, OpenedInput) else os.stat(video)
    except (OSError, ValueError):
        return None  # Opening it reports the error.
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


class ContentReader:
    """Reads the content of files; windows of one film hash it once, unless it changes."""

    def __init__(self) -> None:
        self._known: dict[FileVersion, Content] = {}

    def read(self, path: str) -> Content:
        """Return the content of a file.

        Raises:
            InputError: as `read_content` does; so `MediaError`.
        """
        version = file_version(path)
        known = None if version is None else self._known.get(version)
        if known is not None:
            return known
        content = read_content(path)
        if version is not None and version == file_version(path):
            self._known[version] = content
            if len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]
        return content


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
        "schema": _RESULT_VERSION,
        "sampler": SAMPLER_VERSION,
        **_shots_version(settings),
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
                "schema": _RESULT_VERSION,
                "sampler": SAMPLER_VERSION,
                **_shots_version(settings),
            }
        )
        self._path_only_key = self._key(Item(id="-", source="-"))

    def key_for(self, item: Item) -> str:
        """Return the key of the settings for one item."""
        return self._key(item) if item.has_words else self._path_only_key

    def _key(self, item: Item) -> str:
        return _digest([self._common, _task_words(item, self._settings)])[:32]


def _shots_version(settings: Mapping[str, Any]) -> dict[str, int]:
    """Return the version of the shots, on which only dense captions depend."""
    return {"shots": SHOTS_VERSION} if settings.get("task") == "dense" else {}


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
