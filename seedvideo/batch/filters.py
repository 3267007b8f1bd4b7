"""Which clips are left out before a model sees them, and what makes two of them the same.

Duration and size are read from the header. Black and near-duplicate clips are told by sixteen small
pictures, taken evenly over the time that is looked at; a frozen one also by the analysis, which
looks at more. What is decided for a clip depends on the clip alone, but for duplicates: there the
first of them in the job's order stays, whatever was decoded first.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.batch.item import Item
from seedvideo.batch.job import Filters, Job
from seedvideo.media.frames import Target
from seedvideo.media.timeline import Span, seconds
from seedvideo.video import Video

MOMENTS: Final = 16
"""Pictures that stand for a clip."""

_SIDE_PX: Final = 32
_CELLS: Final = 3
"""Rows and columns of mean brightness that are kept of a picture."""

BLACK_LEVELS: Final = 32.0
"""A picture is black where its brightest cell is at most this, of 255 levels."""

FROZEN_LEVELS: Final = 1.0
"""A clip is frozen where no cell changes by more than this between moments."""

FROZEN_MOTION: Final = 0.5
"""And no step of the analysis moves by more than so many levels a second."""

SAME_LEVELS: Final = 3.0
"""Two clips are the same where their signatures differ by at most this on average."""

SAME_MOMENT_LEVELS: Final = 10.0
"""And no moment differs by more than this on average."""

SAME_DURATION: Final = 0.05
"""And their durations by at most this share."""

Cells = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Refused:
    """A clip that is left out.

    Args:
        rule: the filter's name.
        message: for people.
    """

    rule: str
    message: str


def by_header(clip: Video, window: Span, rules: Filters) -> Refused | None:
    """Refuse by what the header says: duration of the time that is looked at, and sides."""
    long_s = seconds(window.end - window.start)
    side_px = min(clip.info.width_px, clip.info.height_px)
    if rules.min_duration_s is not None and long_s < rules.min_duration_s:
        return Refused("min_duration", f"{long_s:.3f} s, below {rules.min_duration_s:g} s")
    if rules.max_duration_s is not None and long_s > rules.max_duration_s:
        return Refused("max_duration", f"{long_s:.3f} s, above {rules.max_duration_s:g} s")
    if rules.min_side_px is not None and side_px < rules.min_side_px:
        return Refused("min_side", f"{side_px} px, below {rules.min_side_px} px")
    return None


def by_pictures(clip: Video, window: Span, rules: Filters) -> tuple[Refused | None, bytes | None]:
    """Refuse by what is seen; the signature where clips are to be compared."""
    if not (rules.black or rules.frozen or rules.duplicates):
        return None, None
    cells = moments(clip, window)
    brightest = float(cells[:, :-2].max())
    if rules.black and brightest <= BLACK_LEVELS:
        return Refused("black", f"nothing brighter than {brightest:.0f} of 255 levels"), None
    if rules.frozen and is_frozen(clip, window, cells):
        return Refused("frozen", "nothing moves"), None
    signature = np.rint(cells).clip(0, 255).astype(np.uint8).tobytes()
    return None, signature if rules.duplicates else None


def moments(clip: Video, window: Span) -> Cells:
    """What `MOMENTS` pictures show, ``(MOMENTS, 9 + 2)``: brightness of cells, then two colours."""
    step = (window.end - window.start) / MOMENTS
    wanted = [window.start + step * place + step / 2 for place in range(MOMENTS)]
    targets = [Target(time, _SIDE_PX, _SIDE_PX) for time in wanted]
    pictures = np.stack([frame.pixels for frame in clip.reader.frames(targets)]).astype(np.float32)
    red, green, blue = (pictures[..., place] for place in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    edges = np.linspace(0, _SIDE_PX, _CELLS + 1).astype(int)
    rows = np.add.reduceat(np.add.reduceat(luma, edges[:-1], 1), edges[:-1], 2)
    areas = np.outer(np.diff(edges), np.diff(edges))
    colours = [128 + (each - luma).mean(axis=(1, 2)) / 2 for each in (red, blue)]
    means = (rows / areas).reshape(MOMENTS, -1)
    found: Cells = np.concatenate([means, np.stack(colours, axis=1)], axis=1, dtype=np.float32)
    return found


def is_frozen(clip: Video, window: Span, cells: Cells) -> bool:
    """Whether nothing moves; a single frame does not."""
    inside = [time for time in clip.times if time in window]
    if len(inside) < 2:
        return True
    if float(np.abs(np.diff(cells, axis=0)).max()) > FROZEN_LEVELS:
        return False
    signals = clip.analysis("fast").signals
    start_s, end_s = seconds(window.start), seconds(window.end)
    seen = (signals.times_s > start_s) & (signals.times_s < end_s)
    return not bool((signals.motion[seen] > FROZEN_MOTION).any())


@dataclass(frozen=True)
class SeenClip:
    """A clip that was compared.

    Args:
        place: in the job's order.
        id: of its item.
        asked: names what is asked about it: only clips of which the same is asked are compared.
        duration_s: of the time that is looked at.
        signature: of its pictures.
    """

    place: int
    id: str
    asked: str
    duration_s: float
    signature: bytes


class Duplicates:
    """The clips of a job that are unlike each other, so far.

    Memory is a few hundred bytes a clip.
    """

    def __init__(self, kept: Sequence[SeenClip] = ()) -> None:
        self._kept: dict[str, list[SeenClip]] = {}
        for each in kept:
            self.keep(each)

    def keep(self, clip: SeenClip) -> None:
        """Note a clip that stays."""
        self._kept.setdefault(clip.asked, []).append(clip)

    def first_like(self, clip: SeenClip) -> SeenClip | None:
        """The first clip before this one in the job's order that looks the same."""
        alike = [other for other in self._near(clip) if _same(other.signature, clip.signature)]
        return min(alike, key=lambda other: other.place, default=None)

    def _near(self, clip: SeenClip) -> Iterator[SeenClip]:
        for other in self._kept.get(clip.asked, ()):
            longer = max(other.duration_s, clip.duration_s)
            close = abs(other.duration_s - clip.duration_s) <= SAME_DURATION * longer
            if other.place < clip.place and close:
                yield other


NO_CLIPS: Final = Duplicates()
"""Of a job that compares none; nothing is ever kept in it."""


def asked_about(job: Job, item: Item) -> str:
    """Names the words that are asked about a clip."""
    told = "\0".join(
        [
            item.question or job.question,
            *(item.options or job.options),
            item.query or job.query,
        ]
    )
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _same(one: bytes, other: bytes) -> bool:
    if len(one) != len(other):
        return False
    pairs = (np.frombuffer(each, np.uint8).astype(np.int16) for each in (one, other))
    first, second = (pair.reshape(MOMENTS, -1) for pair in pairs)
    moments_levels = np.abs(first - second).mean(axis=1)
    mean, most = float(moments_levels.mean()), float(moments_levels.max())
    return mean <= SAME_LEVELS and most <= SAME_MOMENT_LEVELS
