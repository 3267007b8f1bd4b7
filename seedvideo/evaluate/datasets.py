"""Video-MME: questions with four options about videos of 11 seconds to an hour.

Fu et al., "Video-MME: the first-ever comprehensive evaluation benchmark of multi-modal LLMs in
video analysis", CVPR 2025. Three forms are read: the published parquet file (needs the package
pyarrow), the same rows as JSON or JSON lines, and the JSON of the leaderboard, in which a video
holds its ``questions``. Videos are ``videoID.mp4``. Subtitles are not used.

Charades-STA: moments of daily life at home, found by a sentence.

Gao et al., "TALL: temporal activity localization via language query", ICCV 2017. The annotations
are lines ``VIDEO START END##SENTENCE`` with seconds; the optional second file is the CSV of the
Charades videos, of which only the columns ``id`` and ``length`` (seconds) are read. Videos are
``VIDEO.mp4``.

ActivityNet Captions: everything that happens in a video, with times.

Krishna et al., "Dense-captioning events in videos", ICCV 2017. The annotations are one JSON object:
a video's name to ``duration``, ``timestamps`` (pairs of seconds) and ``sentences``. ``val_1.json``
and ``val_2.json`` are two annotators' tellings of nearly the same videos; given both, each
prediction is scored against the better one. Videos are ``NAME.mp4`` or another container, ``v_``
included.

Benchmarks as they are published: a file a benchmark turns its annotations into items.

Nothing is downloaded: annotations and videos are the user's own copies. A new one is a class with a
name, its task, its headline measures and ``items``, and a line here.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from seedvideo.errors import ConfigError
from seedvideo.evaluate.annotations import (
    Name,
    Number,
    Row,
    Spans,
    Texts,
    lines_of,
    not_published,
    read,
    read_bytes,
    read_json,
    read_json_lines,
    read_text,
    refuse_more,
    shown,
)
from seedvideo.evaluate.metrics.answers import strip_option_letter
from seedvideo.evaluate.types import Adapter, Item, Reference, Task
from seedvideo.tasks.option_labels import LETTERS

_GROUPS: Final = ("duration", "domain", "sub_category", "task_type")


class _Question(Row):
    options: Texts
    answer: Name
    question_id: Name
    videoID: Name
    question: Name


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
        for position, row in enumerate(_rows(annotations), start=1):
            try:
                items.append(_item(row))
            except ValueError as error:
                raise not_published(annotations, f"question {position}: {error}") from error
        if not items:
            raise not_published(annotations, "it has no question")
        return items


def _item(row: Mapping[str, Any]) -> Item:
    asked = read(_Question, dict(row))
    options = tuple(
        strip_option_letter(option, place) for place, option in enumerate(asked.options)
    )
    letter = asked.answer.strip()
    if len(letter) != 1 or letter not in LETTERS[: len(options)]:
        raise ValueError(f"answer {shown(letter)} is not a letter of {len(options)} options")
    return Item(
        id=asked.question_id,
        task="ask",
        video=f"{asked.videoID}.mp4",
        question=asked.question.strip(),
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


_LINE: Final = re.compile(
    r"\s*(?P<video>\S+)\s+(?P<start>[\d.]+)\s+(?P<end>[\d.]+)\s*##(?P<sentence>.*\S)\s*"
)


class _Moment(Row):
    start: Number
    end: Number


class CharadesSta:
    """The test split has 3,720 queries over 1,334 videos."""

    name = "charades-sta"
    about = "find the moment of a sentence: charades_sta_test.txt [Charades_v1_test.csv]"
    task: Task = "ground"
    headline = ("R@1 IoU 0.5", "R@1 IoU 0.7", "mIoU")

    def items(self, annotations: Path, *more: Path) -> list[Item]:
        """Every line as an item; see `Adapter.items`.

        A moment is kept as it is written. One that runs backward, as in the training
        file, can't be met, and
        stays in the count as in the official scores.
        """
        refuse_more(more, most=1, told="the lines, then the CSV with the lengths")
        lengths_s = _lengths(more[0]) if more else {}
        items = []
        queries: Counter[str] = Counter()
        for place, line in enumerate(lines_of(read_text(annotations)), start=1):
            if not line.strip():
                continue
            found = _LINE.fullmatch(line)
            try:
                if found is None:
                    raise ValueError("it does not read VIDEO START END##SENTENCE")
                video = found["video"]
                queries[video] += 1
                moment = read(_Moment, found.groupdict())
                item = Item(
                    id=f"{video}#{queries[video]}",
                    task="ground",
                    video=f"{video}.mp4",
                    duration_s=lengths_s.get(video),
                    question=found["sentence"].strip(),
                    spans=((moment.start, moment.end),),
                )
            except ValueError as error:
                raise not_published(annotations, f"line {place}: {error}") from error
            items.append(item)
        if not items:
            raise not_published(annotations, "it has no line")
        return items


def _lengths(path: Path) -> dict[str, float]:
    """Seconds of each video, from the CSV of the data set."""
    rows = csv.DictReader(io.StringIO(read_text(path)))
    try:
        return {row["id"]: float(row["length"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise not_published(path, "it has no columns id and length in seconds") from error
    except csv.Error as error:
        raise not_published(path, f"line {rows.line_num} is no CSV: {error}") from error


class _Video(Row):
    timestamps: Spans
    sentences: Texts
    duration: Number

    def reference(self) -> Reference:
        if len(self.timestamps) != len(self.sentences):
            raise ValueError(
                f"{len(self.sentences)} sentences for {len(self.timestamps)} timestamps"
            )
        return Reference(self.timestamps, tuple(each.strip() for each in self.sentences))


class ActivityNetCaptions:
    """The validation split has 4,917 videos."""

    name = "activitynet-captions"
    about = "tell all events with times: val_1.json [val_2.json]"
    task: Task = "dense"
    headline = ("F1", "SODA_d", "SODA_c ROUGE-L")

    def items(self, annotations: Path, *more: Path) -> list[Item]:
        """Every video of any file as an item; see `Adapter.items`."""
        refuse_more(more, most=1, told="val_1.json, then val_2.json")
        told: dict[str, list[Reference]] = {}
        duration_s: dict[str, float] = {}
        for path in (annotations, *more):
            for video, entry in _videos(path).items():
                try:
                    row = read(_Video, entry)
                    told.setdefault(video, []).append(row.reference())
                    duration_s.setdefault(video, row.duration)
                except ValueError as error:
                    raise not_published(path, f"video {video!r}: {error}") from error
        items = []
        for video, (first, *others) in told.items():
            try:
                item = Item(
                    id=video,
                    task="dense",
                    video=f"{video}.mp4",
                    duration_s=duration_s[video],
                    spans=first.spans,
                    captions=first.captions,
                    others=tuple(others),
                )
            except ValueError as error:
                raise not_published(annotations, str(error)) from error
            items.append(item)
        return items


def _videos(path: Path) -> Mapping[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict) or not value:
        raise not_published(path, "it is not a JSON object with one key per video")
    return value


_ALL: Final[tuple[Adapter, ...]] = (CharadesSta(), VideoMme(), ActivityNetCaptions())

ADAPTERS: Final[Mapping[str, Adapter]] = {adapter.name: adapter for adapter in _ALL}
"""Every adapter by its name."""

__all__ = ["ADAPTERS", "ActivityNetCaptions", "CharadesSta", "VideoMme"]
