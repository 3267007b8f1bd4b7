"""Video-MME: questions with four options about videos of 11 seconds to an hour.

Fu et al., "Video-MME: the first-ever comprehensive evaluation benchmark of multi-modal LLMs in
video analysis", CVPR 2025. Three forms are read: the published parquet file (needs the package
pyarrow), the same rows as JSON or JSON lines, and the JSON of the leaderboard, in which a video
holds its ``questions``. Videos are ``videoID.mp4``. Subtitles are not used.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from seedvideo.errors import ConfigError
from seedvideo.evaluate.adapters.reading import (
    not_published,
    read_bytes,
    read_json,
    read_json_lines,
    refuse_more,
)
from seedvideo.evaluate.items import Item, Task
from seedvideo.evaluate.letters import without_letter
from seedvideo.evaluate.values import name_in, needed, shown, texts
from seedvideo.tasks.labels import LETTERS

_GROUPS: Final = ("duration", "domain", "sub_category", "task_type")


class VideoMme:
    """2,700 questions over 900 videos."""

    name = "video-mme"
    about = "choose the right of four options: test-00000-of-00001.parquet, or its rows as JSON"
    task: Task = "ask"
    headline = ("accuracy",)

    def items(self, annotations: Path, *more: Path) -> list[Item]:
        """Every question as an item; see `Adapter.items`."""
        refuse_more(more, most=0, told="there is only one")
        items = []
        for number, row in enumerate(_rows(annotations), start=1):
            try:
                items.append(_item(row))
            except ValueError as error:
                raise not_published(annotations, f"question {number}: {error}") from error
        if not items:
            raise not_published(annotations, "it has no question")
        return items


def _item(row: Mapping[str, Any]) -> Item:
    given = texts(needed(row, "options"), "options")
    options = tuple(without_letter(option, place) for place, option in enumerate(given))
    letter = name_in(row, "answer").strip()
    if len(letter) != 1 or letter not in LETTERS[: len(options)]:
        raise ValueError(f"answer {shown(letter)} is no letter of {len(options)} options")
    return Item(
        id=name_in(row, "question_id"),
        task="ask",
        video=f"{name_in(row, 'videoID')}.mp4",
        question=name_in(row, "question").strip(),
        options=options,
        answer=options[LETTERS.index(letter)],
        group={name: str(row[name]) for name in _GROUPS if row.get(name)},
    )


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """One mapping a question, whatever the form of the file."""
    if path.suffix == ".parquet":
        yield from _parquet(path)
        return
    is_lines = path.suffix == ".jsonl"
    values = list(read_json_lines(path).values()) if is_lines else read_json(path)
    for value in _objects(values, path, "it"):
        if "questions" not in value:
            yield value
            continue
        about = {key: inner for key, inner in value.items() if key != "questions"}
        # The leaderboard's form names videos by number alone where it leaves videoID out.
        about.setdefault("videoID", value.get("video_id"))
        for question in _objects(value["questions"], path, "questions"):
            yield {**about, **question}


def _objects(values: Any, path: Path, name: str) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise not_published(path, f"{name} is no list of JSON objects")
    return values


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(
            "config.package_missing",
            "reading parquet files needs the package pyarrow",
            hint="pip install pyarrow, or give the rows as JSON",
        ) from error
    try:
        # Bytes, since pyarrow would also take a name for a folder or a URL.
        data = pyarrow.BufferReader(read_bytes(path))
        rows: list[dict[str, Any]] = parquet.read_table(data).to_pylist()
    except pyarrow.ArrowException as error:
        raise not_published(path, f"it is no parquet file that can be read: {error}") from error
    return rows
