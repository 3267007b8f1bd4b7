"""Generated cases stay the same as long as the generator's version does."""

import hashlib
import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np

from seedvideo.evaluate.synthetic.dataset import (
    FAMILIES,
    GENERATOR_VERSION,
    TEST_SEEDS,
    make_case,
)
from seedvideo.evaluate.synthetic.world import background, render_event

KEPT = Path(__file__).with_name("synthetic_version.json")


def digests() -> dict[str, str]:
    """One digest per family of items and one of pixels."""
    found: dict[str, str] = {}
    for family in FAMILIES:
        items, pixels = hashlib.sha256(), hashlib.sha256()
        for seed in range(TEST_SEEDS, TEST_SEEDS + 6):
            case = make_case(seed, family)
            content = [asdict(item) | {"group": dict(item.group)} for item in case.items]
            items.update(json.dumps([case.video, content], sort_keys=True).encode())
            base = background(np.random.default_rng(seed), height_px=96, width_px=160)
            for event in case.story.events:
                picture = render_event(base, event, float(Fraction(1, 3)))
                pixels.update(picture.tobytes())
        found[f"{family} items"] = items.hexdigest()[:16]
        found[f"{family} pixels"] = pixels.hexdigest()[:16]
    return found


def test_other_cases_need_another_version() -> None:
    kept = json.loads(KEPT.read_text())
    assert kept["version"] == GENERATOR_VERSION, (
        "the version is new: write the digests again with"
        " `python -m tests.evaluate.test_synthetic_version`"
    )
    assert digests() == kept["digests"], (
        "the generated cases have changed: give GENERATOR_VERSION in synthetic/dataset.py new text,"
        " then run `python -m tests.evaluate.test_synthetic_version`"
    )


if __name__ == "__main__":
    content = {"version": GENERATOR_VERSION, "digests": digests()}
    KEPT.write_text(json.dumps(content, indent=1) + "\n")
