"""Adapters of published benchmarks: Charades-STA, Video-MME and ActivityNet Captions.

Each turns its annotation files into items. Nothing is downloaded: annotations and videos are the
user's own copies. A new benchmark is a class with the properties of `Adapter`, and an entry in
`ADAPTERS`.

Charades-STA: Gao et al., "TALL: temporal activity localization via language query", ICCV 2017.
Moments of daily life at home, to be found by a sentence. The annotations are lines ``VIDEO START
END##SENTENCE`` with seconds. The optional second file is the CSV of the Charades videos, of which
only the columns ``id`` and ``length`` (seconds) are read. Videos are ``VIDEO.mp4``.

Video-MME: Fu et al., "Video-MME: the first-ever comprehensive evaluation benchmark of multi-modal
LLMs in video analysis", CVPR 2025. Questions with four options about videos of 11 seconds to an
hour. Three forms are read: the published parquet file (needs the package pyarrow), the same rows as
JSON or JSON lines, and the JSON of the leaderboard, in which a video holds its ``questions``.
Videos are ``videoID.mp4``. Subtitles are not used.

ActivityNet Captions: Krishna et al., "Dense-captioning events in videos", ICCV 2017. All events of
a video, with times. The annotations are one JSON object: a video's name to ``duration``,
``timestamps`` (pairs of seconds) and ``sentences``. ``val_1.json`` and ``val_2.json`` come from two
annotators of nearly the same videos; with both, each prediction is scored against the better one.
Videos are ``NAME.mp4`` or another container; the name starts with ``v_``.
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
    annotation_error,
    quote_json,
    read_bytes,
    read_json,
    read_json_lines,
    read_text,
    reject_extra_files,
    split_lines,
    validate,
)
from seedvideo.evaluate.metrics.answers import strip_option_letter
from seedvideo.evaluate.types import Adapter, Item, Reference, Task
from seedvideo.tasks.option_labels import OPTION_LABELS

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
        """Read every question as an item; see `Adapter.items`."""
        reject_extra_files(more, max_files=0, expected="only one")
        items = []
        for number, row in enumerate(_iter_rows(annotations), start=1):
            try:
                items.append(_question_item(row))
            except ValueError as error:
                raise annotation_error(annotations, f"question {number}: {error}") from error
        if not items:
            raise annotation_error(annotations, "it has no questions")
        return items


def _question_item(row: Mapping[str, Any]) -> Item:
    asked = validate(_Question, dict(row))
    options = tuple(
        strip_option_letter(option, place) for place, option in enumerate(asked.options)
    )
    letter = asked.answer.strip()
    if len(letter) != 1 or letter not in OPTION_LABELS[: len(options)]:
        raise ValueError(f"answer {quote_json(letter)} is not a letter of {len(options)} options")
    return Item(
        id=asked.question_id,
        task="ask",
        video=f"{asked.videoID}.mp4",
        question=asked.question.strip(),
        options=options,
        answer=options[OPTION_LABELS.index(letter)],
        group={name: str(row[name]) for name in _GROUPS if row.get(name)},
    )


def _iter_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield one mapping per question, whatever the form of the file."""
    if path.suffix == ".parquet":
        yield from _read_parquet(path)
        return
    is_lines = path.suffix == ".jsonl"
    values = list(read_json_lines(path).values()) if is_lines else read_json(path)
    for value in _objects(values, path, "it"):
        if "questions" not in value:
            yield value
            continue
        about = {key: inner for key, inner in value.items() if key != "questions"}
        # Without videoID, the leaderboard's form names videos by number.
        about.setdefault("videoID", value.get("video_id"))
        for question in _objects(value["questions"], path, "questions"):
            yield {**about, **question}


def _objects(values: Any, path: Path, name: str) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise annotation_error(path, f"{name} is not a list of JSON objects")
    return values


def _read_parquet(path: Path) -> list[dict[str, Any]]:
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
        raise annotation_error(path, f"it is not a readable parquet file: {error}") from error
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
        """Read every line as an item; see `Adapter.items`.

        Moments are not changed. A reversed one, as in the training file, has an IoU of 0 with every
        prediction and stays in the count, as in the official scores.
        """
        reject_extra_files(more, max_files=1, expected="the lines, then the CSV with the lengths")
        lengths_s = _read_lengths(more[0]) if more else {}
        items = []
        queries: Counter[str] = Counter()
        for place, line in enumerate(split_lines(read_text(annotations)), start=1):
            if not line.strip():
                continue
            found = _LINE.fullmatch(line)
            try:
                if found is None:
                    raise ValueError("it does not have the form VIDEO START END##SENTENCE")
                video = found["video"]
                queries[video] += 1
                moment = validate(_Moment, found.groupdict())
                item = Item(
                    id=f"{video}#{queries[video]}",
                    task="ground",
                    video=f"{video}.mp4",
                    duration_s=lengths_s.get(video),
                    question=found["sentence"].strip(),
                    spans=((moment.start, moment.end),),
                )
            except ValueError as error:
                raise annotation_error(annotations, f"line {place}: {error}") from error
            items.append(item)
        if not items:
            raise annotation_error(annotations, "it has no lines")
        return items


def _read_lengths(path: Path) -> dict[str, float]:
    """Read the length of each video in seconds, from the CSV of the data set."""
    rows = csv.DictReader(io.StringIO(read_text(path)))
    try:
        return {row["id"]: float(row["length"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise annotation_error(path, "it has no columns id and length in seconds") from error
    except csv.Error as error:
        raise annotation_error(path, f"line {rows.line_num} is not valid CSV: {error}") from error


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
    about = "caption all events with times: val_1.json [val_2.json]"
    task: Task = "dense"
    headline = ("F1", "SODA_d", "SODA_c ROUGE-L")

    def items(self, annotations: Path, *more: Path) -> list[Item]:
        """Read every video of any file as an item; see `Adapter.items`."""
        reject_extra_files(more, max_files=1, expected="val_1.json, then val_2.json")
        references: dict[str, list[Reference]] = {}
        duration_s: dict[str, float] = {}
        for path in (annotations, *more):
            for video, entry in _read_videos(path).items():
                try:
                    row = validate(_Video, entry)
                    references.setdefault(video, []).append(row.reference())
                    duration_s.setdefault(video, row.duration)
                except ValueError as error:
                    raise annotation_error(path, f"video {video!r}: {error}") from error
        items = []
        for video, (first, *others) in references.items():
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
                raise annotation_error(annotations, str(error)) from error
            items.append(item)
        return items


def _read_videos(path: Path) -> Mapping[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict) or not value:
        raise annotation_error(path, "it is not a JSON object with one key per video")
    return value


_ALL: Final[tuple[Adapter, ...]] = (CharadesSta(), VideoMme(), ActivityNetCaptions())

ADAPTERS: Final[Mapping[str, Adapter]] = {adapter.name: adapter for adapter in _ALL}
"""Every adapter by its name."""

__all__ = ["ADAPTERS", "ActivityNetCaptions", "CharadesSta", "VideoMme"]
