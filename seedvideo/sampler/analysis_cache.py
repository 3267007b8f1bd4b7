"""Cache of analyses on disk, valid as long as the file, the method and the code stay the same.

An entry is named by the hash of the file's bytes. It is a NumPy archive of plain arrays, one of
which holds JSON text; nothing in it can be executed. Entries are written under a temporary name
first, so an incomplete entry never has a valid name. An unreadable entry is replaced, and the notes
of the new analysis report it.
"""

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

import numpy as np

from seedvideo.config import AnalysisMethod
from seedvideo.errors import OutputError
from seedvideo.media.reader import VideoReader
from seedvideo.media.types import MediaWarning
from seedvideo.sampler.analysis import Analysis, analyze
from seedvideo.sampler.novelty import Signals
from seedvideo.sampler.picture_signals import PictureSignals
from seedvideo.sampler.transitions import ShotChange
from seedvideo.sampler.utility import Peak, SegmentDemand, StillPicture
from seedvideo.utils.timecode import Span

VERSION: Final = 9
"""Version of the entries; raise it whenever the same file would be analysed differently."""

CACHE_DAMAGED: Final = "the cached analysis was damaged; the video was analysed again"
"""Note of an analysis that replaces an unreadable entry."""

_ARRAYS: Final = {
    "ranks": ("frame_indices", np.int64),
    "times_s": ("times_s", np.float64),
    "novelty": ("novelty", np.float32),
    "motion": ("motion", np.float32),
    "detail": ("detail", np.float32),
    "activity": ("activity", np.float32),
}
"""Arrays of an entry: name in the archive, field of `Signals`, type."""

_PICTURE_ARRAYS: Final = {
    "times_s": np.float64,
    "brightness": np.float32,
    "colour": np.float32,
    "black": np.float32,
    "bars": np.float32,
    "flashes_s": np.float64,
}
"""Further arrays, of single pictures: field of `PictureSignals`, type."""

_PICTURES: Final = "pictures_"
"""Start of the names of these arrays in the archive."""

_UNREADABLE: Final = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)


def load_or_analyze(
    video: VideoReader,
    *,
    method: AnalysisMethod,
    folder: Path,
    progress: Callable[[float], None] | None = None,
) -> Analysis:
    """Load the cached analysis of a file, or analyse the file and cache the result.

    Args:
        video: the open file.
        method: see `analyze`.
        folder: folder of the cache; created if missing.
        progress: see `analyze`; not called for a cached analysis.

    Raises:
        OutputError: ``output.unwritable`` if the entry cannot be written.
        SeedVideoError: as `analyze` does.
    """
    path = folder / f"{video.digest()}-{method}-{VERSION}.npz"
    is_there = path.exists()
    if is_there:
        try:
            return _read(path, method=method, frames=len(video.times))
        except _UNREADABLE:
            pass  # The notes of the new analysis report it.
    made = analyze(video, method=method, progress=progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, made)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            "output.unwritable",
            f"{folder}: cannot write the analysis: {reason}",
            hint="choose another cache folder, or omit the option",
        ) from error
    return replace(made, notes=(*made.notes, CACHE_DAMAGED)) if is_there else made


def _write(path: Path, analysis: Analysis) -> None:
    head = {
        "method": analysis.method,
        "busy_share": analysis.busy_fraction,
        "cuts": [str(cut) for cut in analysis.cuts],
        "unknown": [[str(span.start), str(span.end)] for span in analysis.unknown],
        "changes": [[str(e.time), str(e.start), str(e.end)] for e in analysis.changes],
        "notes": list(analysis.notes),
        "warnings": [[warning.code, warning.message] for warning in analysis.warnings],
        "demands": [_plain(asdict(demand)) for demand in analysis.demands],
    }
    arrays: dict[str, Any] = {
        name: getattr(analysis.signals, field) for name, (field, _) in _ARRAYS.items()
    }
    if analysis.pictures is not None:
        for name in _PICTURE_ARRAYS:
            arrays[_PICTURES + name] = getattr(analysis.pictures, name)
    text = json.dumps(head, ensure_ascii=True, allow_nan=False).encode("ascii")
    arrays["head"] = np.frombuffer(text, np.uint8)
    with NamedTemporaryFile(dir=path.parent, prefix=".partial-", delete=False) as file:
        try:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _read(path: Path, *, method: AnalysisMethod, frames: int) -> Analysis:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        head = json.loads(archive["head"].tobytes())
        arrays = {field: archive[name] for name, (field, _) in _ARRAYS.items()}
        pictures = None if method == "packets" else _read_pictures(archive)
    signals = Signals(**arrays)
    for field, dtype in _ARRAYS.values():
        array = arrays[field]
        if array.shape != signals.frame_indices.shape or array.dtype != dtype:
            raise ValueError(f"{field} is {array.shape} {array.dtype}")
    if len(signals) == 0 or signals.frame_indices[-1] >= frames or head["method"] != method:
        raise ValueError("the entry does not fit the video")
    return Analysis(
        method=method,
        demands=tuple(_demand(each) for each in head["demands"]),
        busy_fraction=float(head["busy_share"]),
        cuts=tuple(_exact(cut) for cut in head["cuts"]),
        signals=signals,
        notes=tuple(str(note) for note in head["notes"]),
        warnings=tuple(MediaWarning(str(code), str(text)) for code, text in head["warnings"]),
        unknown=tuple(Span(_exact(start), _exact(end)) for start, end in head["unknown"]),
        changes=tuple(ShotChange(*map(_exact, each)) for each in head["changes"]),
        pictures=pictures,
    )


def _read_pictures(archive: Any) -> PictureSignals:
    arrays = {name: archive[_PICTURES + name] for name in _PICTURE_ARRAYS}
    count = len(arrays["times_s"])
    for name, dtype in _PICTURE_ARRAYS.items():
        array = arrays[name]
        has_length = array.ndim == 1 and (name == "flashes_s" or len(array) == count)
        if not has_length or array.dtype != dtype:
            raise ValueError(f"{name} is {array.shape} {array.dtype}")
    return PictureSignals(**arrays)


def _demand(plain: dict[str, Any]) -> SegmentDemand:
    times = {name: _exact(plain[name]) for name in ("start", "end")}
    peaks = tuple(
        Peak(
            _exact(peak["time"]),
            float(peak["strength"]),
            None if peak["end"] is None else _exact(peak["end"]),
            None if peak["last"] is None else _exact(peak["last"]),
            bool(peak["in_busy_time"]),
        )
        for peak in plain["peaks"]
    )
    density = tuple((_exact(time), float(weight)) for time, weight in plain["density"])
    still = None if plain["still"] is None else _still_picture(plain["still"])
    return SegmentDemand(**{**plain, **times, "peaks": peaks, "density": density, "still": still})


def _still_picture(plain: dict[str, Any]) -> StillPicture:
    core = plain["core"]
    span = None if core is None else Span(_exact(core["start"]), _exact(core["end"]))
    return StillPicture(is_blank=bool(plain["is_blank"]), core=span)


def _exact(text: str) -> Fraction:
    """Parse the ``str`` form of a fraction, and nothing else."""
    numerator, _, denominator = text.partition("/")
    return Fraction(int(numerator), int(denominator or 1))
