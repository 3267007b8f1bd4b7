"""Charades-STA: moments of daily life at home, found by a sentence.

Gao et al., "TALL: temporal activity localization via language query", ICCV 2017. The annotations
are lines ``VIDEO START END##SENTENCE`` with seconds; the optional second file is the CSV of the
Charades videos, of which only the columns ``id`` and ``length`` (seconds) are read. Videos are
``VIDEO.mp4``.
"""

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import Final

from seedvideo.evaluate.adapters.reading import (
    lines_of,
    not_published,
    read_text,
    refuse_more,
)
from seedvideo.evaluate.items import Item, Task
from seedvideo.evaluate.values import number

_LINE: Final = re.compile(
    r"\s*(?P<video>\S+)\s+(?P<start>[\d.]+)\s+(?P<end>[\d.]+)\s*##(?P<sentence>.*\S)\s*"
)


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
                item = Item(
                    id=f"{video}#{queries[video]}",
                    task="ground",
                    video=f"{video}.mp4",
                    duration_s=lengths_s.get(video),
                    question=found["sentence"].strip(),
                    spans=((number(found["start"], "START"), number(found["end"], "END")),),
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
