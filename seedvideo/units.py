"""Constants of the domain, derived where they can be, each with its unit.

Source: Seed1.5-VL technical report (arXiv 2505.07062), sections 2.1 and 2.2, and the official
cookbook's sampler. Knows nothing of files, tensors or models other than the published one.
"""

from typing import Final

PATCH_PX: Final = 14
"""Side of one Seed-ViT patch, in pixels."""

POOL: Final = 2
"""Patches a side that 2x2 average pooling joins into one visual token."""

TOKEN_PX: Final = PATCH_PX * POOL
"""Side of the square that one visual token covers: 28 px."""

TOKEN_AREA_PX: Final = TOKEN_PX * TOKEN_PX
"""Pixels that one visual token covers: 784."""

LEVELS_TOKENS: Final = (640, 512, 384, 256, 160, 128)
"""Caps of visual tokens a frame, best first (report, section 2.2)."""

MIN_FRAME_TOKENS: Final = 4
"""Fewest visual tokens a frame may have in the official code."""

BUDGET_TOKENS: Final = 81_920
"""Visual tokens a video may cost (report, section 2.2)."""

MIN_FRAMES: Final = 16
"""Fewest frames the official code samples, while the video has them."""

MAX_ASPECT: Final = 200
"""Largest ratio of sides that the official resize accepts."""

FRAME_TEXT_TOKENS: Final = 8
"""Text tokens assumed for a frame's time and its two marks, where no tokenizer tells."""

TASK_FPS: Final = {"general": 1.0, "detail": 2.0, "motion": 5.0}
"""Frames a second by task (report, section 2.2)."""
