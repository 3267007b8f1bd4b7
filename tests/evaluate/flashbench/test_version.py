"""Generated videos stay the same as long as the generator's version does."""

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

from seedvideo.evaluate.flashbench import DifficultyConfig, TaskId, make_script
from seedvideo.evaluate.flashbench.scenes import Canvas, Scene, paint
from seedvideo.evaluate.flashbench.spec import GENERATOR_VERSION, Style

KEPT = Path(__file__).with_name("version.json")
TASKS: tuple[TaskId, ...] = get_args(TaskId)
STYLES: tuple[Style, ...] = get_args(Style)


def digests() -> dict[str, str]:
    """One digest per task: ground truth, loops, times and overlays; one per style: its pixels."""
    found: dict[str, str] = {}
    difficulty = DifficultyConfig(duration_s=240, events=4, distractor_fraction=Fraction(1, 5))
    for task in TASKS:
        hashed = hashlib.sha256()
        for seed in (3, 1_000_000):
            item, script = make_script(task, seed, difficulty, attempt=1)
            hashed.update(json.dumps(item.to_json(), sort_keys=True).encode())
            for loop in script.loops:
                assert isinstance(loop.scene, Scene)
                scene = (loop.scene.style, loop.scene.seed, loop.variant)
                hashed.update(repr((*scene, loop.first, loop.frames, str(loop.step))).encode())
            for each in script.overlays:
                edges = (each.first, each.stop, each.left, each.top, each.tints, each.drift_px)
                hashed.update(repr(edges).encode() + each.luma.tobytes())
        found[task] = hashed.hexdigest()[:16]
    for style in STYLES:
        frames: Any = paint(Scene(style, 7), Canvas(6, 96, 64), variant=2)
        pixels = b"".join(frame.tobytes() for frame in frames)
        found[style] = hashlib.sha256(pixels).hexdigest()[:16]
    return found


def test_other_videos_need_another_version() -> None:
    kept = json.loads(KEPT.read_text())
    assert kept["version"] == GENERATOR_VERSION, (
        "the version is new: write the digests again with"
        " `python -m tests.evaluate.flashbench.test_version`"
    )
    assert digests() == kept["digests"], (
        "the generated videos have changed: give GENERATOR_VERSION in flashbench/spec.py new text,"
        " then run `python -m tests.evaluate.flashbench.test_version`"
    )


if __name__ == "__main__":
    content = {"version": GENERATOR_VERSION, "digests": digests()}
    KEPT.write_text(json.dumps(content, indent=1) + "\n")
