"""Draw the pictures of docs/ that no benchmark draws: ``python docs/make_pictures.py``.

The video is made by flashbench, so the picture comes from nothing but the package.
"""

from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

import seedvideo
from seedvideo.evaluate.flashbench import DifficultyConfig, generate, seeds
from seedvideo.sampler.visualize import plot

IMAGES = Path(__file__).parent / "images"
BUDGET_TOKENS = 12_000


def main() -> None:
    """Plan two minutes of video, calm with a busy third, and draw the plan."""
    difficulty = DifficultyConfig(duration_s=120, events=5, distractor_fraction=Fraction(1, 3))
    with TemporaryDirectory() as folder:
        made = generate("T3", seeds("dev", 4)[3], Path(folder), difficulty=difficulty)
        path = made.path.rename(Path(folder) / "two-minutes.mp4")
        with seedvideo.open(path) as video:
            plan = seedvideo.plan(video, budget_tokens=BUDGET_TOKENS)
            picture = plot(plan, video.analysis("fast"))
    IMAGES.mkdir(exist_ok=True)
    Image.fromarray(picture).save(IMAGES / "adaptive-plan.png", optimize=True)


if __name__ == "__main__":
    main()
