"""Benchmarks as they are published: a file a benchmark turns its annotations into items.

Nothing is downloaded: annotations and videos are the user's own copies. A new one is a class with a
name, its task, its headline measures and ``items``, and a line here.
"""

from collections.abc import Mapping
from typing import Final

from seedvideo.evaluate.adapters.activitynet_captions import ActivityNetCaptions
from seedvideo.evaluate.adapters.charades_sta import CharadesSta
from seedvideo.evaluate.adapters.video_mme import VideoMme
from seedvideo.evaluate.items import Adapter

_ALL: Final[tuple[Adapter, ...]] = (CharadesSta(), VideoMme(), ActivityNetCaptions())

ADAPTERS: Final[Mapping[str, Adapter]] = {adapter.name: adapter for adapter in _ALL}
"""Every adapter by its name."""

__all__ = ["ADAPTERS", "ActivityNetCaptions", "CharadesSta", "VideoMme"]
