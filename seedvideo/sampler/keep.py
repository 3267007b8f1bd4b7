"""Analyses that are kept in a folder and used again, as long as file, method and code are the same.

An entry is named by the hash of the file's bytes. It is a NumPy archive of plain arrays, one of
them JSON text; nothing in it can run. It is written under another name first, so that half an entry
never bears the right one; what cannot be read is made anew, and the analysis says so.
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

from seedvideo.errors import OutputError
from seedvideo.media.info import MediaWarning
from seedvideo.media.reader import VideoReader
from seedvideo.media.timeline import Span
from seedvideo.sampler.analysis import Analysis, Method, analyse
from seedvideo.sampler.demand import Demand, Peak, Still
from seedvideo.sampler.signals import Signals

VERSION: Final = 3
"""Goes up whenever the same file would be analysed differently."""

DAMAGED: Final = "the kept analysis was damaged and is made anew"
"""What an analysis notes in that case."""

_DTYPES: Final = {
    "ranks": np.int64,
    "times_s": np.float64,
    "novelty": np.float32,
    "motion": np.float32,
    "detail": np.float32,
}
_UNREADABLE: Final = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)


def kept_analysis(
    video: VideoReader,
    *,
    method: Method,
    folder: Path,
    progress: Callable[[float], None] | None = None,
) -> Analysis:
    """The kept analysis of a file, or a new one that is kept from now on.

    Args:
        video: the open file.
        method: see `analyse`.
        folder: made if it is not there.
        progress: see `analyse`; not called where the kept one is used.

    Raises:
        OutputError: ``output.unwritable`` if nothing can be kept in the folder.
        SeedVideoError: as `analyse` does.
    """
    path = folder / f"{video.digest()}-{method}-{VERSION}.npz"
    is_there = path.exists()
    if is_there:
        try:
            return _read(path, method=method, frames=len(video.times))
        except _UNREADABLE:
            pass  # Said in the notes of the new one.
    made = analyse(video, method=method, progress=progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, made)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            "output.unwritable",
            f"{folder}: the analysis cannot be kept: {reason}",
            hint="choose another folder, or leave it out",
        ) from error
    return replace(made, notes=(*made.notes, DAMAGED)) if is_there else made


def _write(path: Path, analysis: Analysis) -> None:
    head = {
        "method": analysis.method,
        "busy_share": analysis.busy_share,
        "cuts": [str(cut) for cut in analysis.cuts],
        "notes": list(analysis.notes),
        "warnings": [[warning.code, warning.message] for warning in analysis.warnings],
        "demands": [_plain(asdict(demand)) for demand in analysis.demands],
    }
    arrays: dict[str, Any] = {name: getattr(analysis.signals, name) for name in _DTYPES}
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


def _read(path: Path, *, method: Method, frames: int) -> Analysis:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        head = json.loads(archive["head"].tobytes())
        arrays = {name: archive[name] for name in _DTYPES}
    signals = Signals(**arrays)
    for name, array in arrays.items():
        if array.shape != signals.ranks.shape or array.dtype != _DTYPES[name]:
            raise ValueError(f"{name} is {array.shape} {array.dtype}")
    if len(signals) == 0 or signals.ranks[-1] >= frames or head["method"] != method:
        raise ValueError("the entry does not fit the video")
    return Analysis(
        method=method,
        demands=tuple(_demand(each) for each in head["demands"]),
        busy_share=float(head["busy_share"]),
        cuts=tuple(_exact(cut) for cut in head["cuts"]),
        signals=signals,
        notes=tuple(str(note) for note in head["notes"]),
        warnings=tuple(MediaWarning(str(code), str(text)) for code, text in head["warnings"]),
    )


def _demand(plain: dict[str, Any]) -> Demand:
    times = {name: _exact(plain[name]) for name in ("start", "end")}
    peaks = tuple(
        Peak(
            _exact(peak["time"]),
            float(peak["strength"]),
            None if peak["end"] is None else _exact(peak["end"]),
        )
        for peak in plain["peaks"]
    )
    density = tuple((_exact(time), float(weight)) for time, weight in plain["density"])
    still = None if plain["still"] is None else _still(plain["still"])
    return Demand(**{**plain, **times, "peaks": peaks, "density": density, "still": still})


def _still(plain: dict[str, Any]) -> Still:
    core = plain["core"]
    span = None if core is None else Span(_exact(core["start"]), _exact(core["end"]))
    return Still(is_blank=bool(plain["is_blank"]), core=span)


def _exact(text: str) -> Fraction:
    """Reads what ``str`` makes of a fraction, and nothing else."""
    numerator, _, denominator = text.partition("/")
    return Fraction(int(numerator), int(denominator or 1))
