"""Named filters, each with the source of its numbers.

Rules of other data sets keep their published thresholds. Columns that seedvideo does not measure,
such as scores of other models, must be in the table.

Separate from `seedvideo.curation.expression`, which is a language without any rule of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from seedvideo.curation.expression import Expression, parse_expression
from seedvideo.errors import ConfigError, suggestion


@dataclass(frozen=True)
class Preset:
    """A named filter.

    Args:
        expression: condition of the rows that stay.
        about: what it leaves out.
        source: where the numbers are from.
    """

    expression: str
    about: str
    source: str


_OURS: Final = "seedvideo, empirical"

PRESETS: Final[Mapping[str, Preset]] = {
    "moving": Preset(
        "motion_mean > 0.5 and still_share < 0.5",
        "clips in which hardly anything moves",
        f"{_OURS}: the limit of frozen clips in batch run --drop-frozen",
    ),
    "no-black": Preset(
        "black_share <= 0.1",
        "clips that are black for more than a tenth of their time",
        _OURS,
    ),
    "no-letterbox": Preset(
        "letterbox_share <= 0.05",
        "pictures with black bars over more than a twentieth of their area",
        _OURS,
    ),
    "no-flashes": Preset("flashes = 0", "clips with flashes", _OURS),
    "single-shot": Preset("shots = 1", "clips with a cut inside", _OURS),
    "clip-length": Preset(
        "2 <= duration_s <= 10",
        "clips below 2 s or above 10 s",
        "usual lengths of clips in text-to-video data; the defaults of seedvideo split",
    ),
    "size": Preset(
        "width_px > 200 and height_px > 200 and 0.3333 < aspect < 3",
        "pictures with a side of at most 200 px, or three times as long as high or the reverse",
        "DataComp, basic filtering (arXiv 2304.14108)",
    ),
    "clip-score-28": Preset(
        "clip_score >= 0.28",
        "captions that do not fit the pictures, by cosine similarity of CLIP ViT-B/32",
        "LAION-5B, English (arXiv 2210.08402)",
    ),
    "clip-score-30": Preset(
        "clip_score >= 0.3",
        "captions that do not fit the pictures, by cosine similarity of CLIP ViT-B/32",
        "LAION-400M (arXiv 2111.02114)",
    ),
    "aesthetic-3.5": Preset(
        "aesthetic >= 3.5",
        "the least pleasing pictures, on the scale of 1 to 10 of CLIP with an MLP",
        "the example of NeMo Curator's aesthetic filter",
    ),
    "aesthetic-4.5": Preset(
        "aesthetic >= 4.5",
        "pictures that few people like, on the same scale",
        "usual for training (LAION-Aesthetics v2, 4.5+)",
    ),
}
"""Named filters by their names."""


def parse_preset(name: str) -> Expression:
    """Return the expression of a preset.

    Raises:
        ConfigError: ``config.invalid`` if it does not exist.
    """
    preset = PRESETS.get(name)
    if preset is None:
        raise ConfigError(
            "config.invalid",
            f"--preset is {name!r}, expected one of {', '.join(PRESETS)}",
            hint=suggestion(name, PRESETS) or "docs/guides/curate.md lists them",
        )
    return parse_expression(preset.expression, option=f"preset {name}")
