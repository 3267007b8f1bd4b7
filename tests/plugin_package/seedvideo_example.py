"""Example of a package that adds a backend, a policy, a family, two scorers and an exporter."""

from pathlib import Path
from typing import Any

import seedvideo as sv

TILES = sv.TileGeometry("example", tile_px=32, tile_tokens=4, default_budget_tokens=400)
TIME = sv.TimeFormat(before="{seconds}s: ")
FAMILY = sv.Family("example", ("example_vl",), TIME, lambda config: TILES, "{image}", ("", ""))


class Counter:
    name, sha256, geometry = "counter", "0" * 64, TILES
    details = sv.ModelDetails(source="folder")

    def count_text_tokens(self, text: str) -> int:
        return len(text.split())

    def frame_text_tokens(self, pts: object) -> int:
        return 1

    def generate(self, parts: list[sv.Part], **options: object) -> sv.Generation:
        count = sum(isinstance(part, sv.ImagePart) for part in parts)
        return sv.Generation(f"{count} frames.", True, None, sv.Usage(4 * count, 5 * count, 2))


def load(name: str, options: sv.ModelOptions) -> Counter:
    return Counter()


def first(request: sv.Request) -> sv.Plan:
    return sv.build_plan(request, policy="first", positions=[0], level_tokens=4, why="first")


def length(item: object, prediction: sv.Prediction) -> float:
    return float(len(prediction.answer))


class Brightness:
    def score(self, frames: list[Any], text: str) -> list[float]:
        return [float(frame.mean()) / 255 for frame in frames]


def brightness(rest: str) -> Brightness:
    return Brightness()


def lines(source: sv.DatasetSource, output: Path) -> int:
    texts = [f"{clip.row['id']}: {clip.row['caption']}\n" for clip in source.clips()]
    output.write_text("".join(texts))
    return len(texts)
