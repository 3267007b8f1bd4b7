"""ActivityNet Captions: everything that happens in a video, with times.

Krishna et al., "Dense-captioning events in videos", ICCV 2017. The annotations are one JSON object:
a video's name to ``duration``, ``timestamps`` (pairs of seconds) and ``sentences``. ``val_1.json``
and ``val_2.json`` are two annotators' tellings of nearly the same videos; given both, each
prediction is scored against the better one. Videos are ``NAME.mp4`` or another container, ``v_``
included.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seedvideo.evaluate.adapters.reading import not_published, read_json, refuse_more
from seedvideo.evaluate.items import Item, Reference, Task
from seedvideo.evaluate.values import an_object, needed, number, spans, texts


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
                    told.setdefault(video, []).append(_reference(an_object(entry)))
                    length_s = number(needed(entry, "duration"), "duration")
                    duration_s.setdefault(video, length_s)
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
        raise not_published(path, "it is no JSON object with a video a key")
    return value


def _reference(entry: Mapping[str, Any]) -> Reference:
    times = spans(needed(entry, "timestamps"), "timestamps")
    sentences = texts(needed(entry, "sentences"), "sentences")
    if len(times) != len(sentences):
        raise ValueError(f"{len(sentences)} sentences for {len(times)} timestamps")
    return Reference(times, tuple(sentence.strip() for sentence in sentences))
