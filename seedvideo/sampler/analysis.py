"""The analysis: what each part of a video asks of a sampler, found as cheaply as it can be.

    packets   sizes in the container's index: where something may happen, and where they can't tell
    fast      the same, then small frames: keyframes everywhere, and where packets leave doubt or
              stand out, the pictures that others refer to
    full      small frames of everything

Memory does not grow with the video but for a few numbers a frame. The same file gives the same
analysis. Knows no budget and no model; times are exact seconds.

Analyses that are kept in a folder and used again, as long as file, method and code are the same.

An entry is named by the hash of the file's bytes. It is a NumPy archive of plain arrays, one of
them JSON text; nothing in it can run. It is written under another name first, so that half an entry
never bears the right one; what cannot be read is made anew, and the analysis says so.
"""

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt

from seedvideo.config import AnalysisMethod, analysis_error
from seedvideo.errors import MediaError, OutputError
from seedvideo.media.decoder import Depth, LookSize, LookSpan
from seedvideo.media.reader import VideoReader
from seedvideo.media.types import Looks, MediaWarning
from seedvideo.sampler.demand_estimation import (
    DETAIL_PX,
    UNKNOWN_TOKENS,
    Findings,
    busy_share,
    detail_tokens,
    make_demands,
)
from seedvideo.sampler.freezes import FreezeFinder
from seedvideo.sampler.novelty import (
    BLOCK_PX,
    Event,
    Signals,
    Watcher,
    block_states,
    edge_strength,
    look_size,
    luma,
)
from seedvideo.sampler.packet_analysis import (
    BUMP,
    PacketView,
    changed_keyframes,
    deep_ranks,
    fast_spans,
    view_packets,
)
from seedvideo.sampler.shots import CutFinder, FlashFinder, with_flashes
from seedvideo.sampler.utility import Demand, Peak, Still
from seedvideo.utils.timecode import Span

LOOK_EVERY: Final = Fraction(1, 10)
"""Least time between two looks of `fast`: at least three of them see an event of 0.4 s."""

_DETAIL_EVERY_S: Final = 12.0
_EDGES_EVERY_S: Final = 0.5
_PICTURE_LEVELS: Final = 12.0
"""Mean change of a picture's blocks that makes it another picture."""

_LEAST_CHANGE_S, _MOST_CHANGE_S = 0.2, 60.0


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was found.

    Args:
        method: how closely it was looked.
        demands: of segments that follow one another and cover the video.
        busy_share: share of the time in which so much stands out that nothing does, 0 to 1.
        cuts: time of the first frame of each shot after the first.
        signals: what was seen at each step.
        notes: what was looked at and why, for people.
        warnings: what decoding met on the way, such as damage; one of each code.
    """

    method: AnalysisMethod
    demands: tuple[Demand, ...]
    busy_share: float
    cuts: tuple[Fraction, ...]
    signals: Signals
    notes: tuple[str, ...]
    warnings: tuple[MediaWarning, ...] = ()

    @property
    def shots(self) -> tuple[Span, ...]:
        """The shots; together they cover the video."""
        bounds = [Fraction(0), *self.cuts, self.demands[-1].end]
        return tuple(Span(start, end) for start, end in pairwise(bounds))


def analyse(
    video: VideoReader,
    *,
    method: AnalysisMethod = "fast",
    progress: Callable[[float], None] | None = None,
) -> Analysis:
    """Find out what each part of a video asks for.

    Args:
        video: the open file.
        method: how closely to look.
        progress: called with the share of the video that was looked at so far, from 0 to 1; not
            called where nothing is decoded.

    Raises:
        ConfigError: if the method is none of the three.
        MediaError: if the file is too damaged, or no frame of it can be decoded.
        DecodeError: if decoding takes too long or kills the decoding process.
    """
    if method not in get_args(AnalysisMethod):
        raise analysis_error(method)
    return _Work(video, method, progress).analysis()


class _Work:
    """One analysis on its way."""

    def __init__(
        self, video: VideoReader, method: AnalysisMethod, progress: Callable[[float], None] | None
    ) -> None:
        self.video = video
        self.method = method
        self.progress = progress
        self.times = video.times
        self.times_s = np.asarray([float(time) for time in self.times], np.float64)
        self.notes: list[str] = []
        self.warnings: dict[str, MediaWarning] = {}

    def analysis(self) -> Analysis:
        found = self._packets_only() if self.method == "packets" else self._looked()
        end = max(self.video.info.duration, self.times[-1] + Fraction(1, 1000))
        return Analysis(
            method=self.method,
            demands=make_demands(found, self.times, end=end),
            busy_share=busy_share(found.events, self.times_s, float(end)),
            cuts=tuple(self.times[rank] for rank in found.cuts),
            signals=found.signals,
            notes=tuple(self.notes),
            warnings=tuple(self.warnings.values()),
        )

    def _view(self) -> PacketView:
        packets, video = self.video.packets, self.video
        pixels = video.info.coded_width_px * video.info.coded_height_px
        return view_packets(
            self.times_s, packets.sizes_bytes, packets.places, video.keyframes, pixels=pixels
        )

    def _packets_only(self) -> Findings:
        view = self._view()
        self.notes.append("packet sizes only: detail and cuts are guesses")
        if not view.says_something:
            self.notes.append("packet sizes say nothing of this video")
        with np.errstate(divide="ignore"):
            change_s = np.clip(1.5 / view.rate, _LEAST_CHANGE_S, _MOST_CHANGE_S)
        change_s = np.where(np.isnan(change_s), 4.0, change_s)
        events = []
        last_s = -1.0
        for rank in np.flatnonzero((view.scores >= 2 * BUMP) & ~view.is_doubtful).tolist():
            if self.times_s[rank] - last_s >= 0.5:
                events.append(Event(rank, 4.0 * float(view.scores[rank]), None, 0.0))
                last_s = float(self.times_s[rank])
        ranks = np.arange(len(self.times), dtype=np.int64)
        zeros = np.zeros(len(ranks), np.float32)
        signals = Signals(
            ranks=ranks,
            times_s=self.times_s,
            novelty=view.scores.astype(np.float32),
            motion=(_PICTURE_LEVELS / change_s).astype(np.float32),
            detail=zeros,
        )
        cuts = changed_keyframes(
            self.times_s, self.video.packets.sizes_bytes, self.video.keyframes, grid_only=True
        )
        return Findings(cuts, events, signals, change_s, [(0, UNKNOWN_TOKENS)])

    def _looked(self) -> Findings:
        size_px = look_size(self.video.info)
        watcher, cutter, edges = (
            Watcher(size_px),
            CutFinder(sees_all=self.method == "full"),
            _Edges(),
        )
        flashes = FlashFinder()
        freezes = FreezeFinder((size_px[1] // BLOCK_PX, size_px[0] // BLOCK_PX))
        rows: list[npt.NDArray[np.float64]] = []
        decoded = 0
        for looks in self._decodable(self._spans(), size_px):
            pictures = luma(looks.planes)
            states = block_states(pictures)
            for place, rank in enumerate(looks.ranks):
                time_s = float(self.times_s[rank])
                rows += watcher.see(rank, time_s, states[place], is_key=rank in self._keyframes)
                cutter.see(rank, looks.planes[place], moved_levels=watcher.moved_levels)
                edges.see(time_s, pictures[place])
                flashes.see(rank, time_s, states[place, : states.shape[1] // 2])
                freezes.see(rank, time_s, states[place])
            decoded += len(looks.ranks)
            if self.progress is not None:
                self.progress(looks.ranks[-1] / len(self.times))
        rows += watcher.finish()
        table = np.concatenate(rows)
        self.notes.append(
            f"{decoded:,} small frames of {len(self.times):,} looked at,"
            f" {self.video.report.decoded_frames:,} decoded"
        )
        signals = Signals(
            ranks=table[:, 0].astype(np.int64),
            times_s=table[:, 1],
            novelty=table[:, 2].astype(np.float32),
            motion=table[:, 3].astype(np.float32),
            detail=np.asarray(edges.values, np.float32),
        )
        with np.errstate(divide="ignore"):
            change_s = np.clip(_PICTURE_LEVELS / table[:, 3], _LEAST_CHANGE_S, _MOST_CHANGE_S)
        cuts = sorted(set(cutter.cuts))
        details = self._details(cuts, first_seen=int(signals.ranks[0]))
        if self.progress is not None:
            self.progress(1.0)
        events = with_flashes(watcher.events, flashes.events)
        found = freezes.finish(len(self.times), float(self.video.info.duration))
        return Findings(cuts, events, signals, change_s, details, found)

    @property
    def _keyframes(self) -> frozenset[int]:
        if not hasattr(self, "_known_keyframes"):
            self._known_keyframes = frozenset(self.video.keyframes)
        return self._known_keyframes

    def _spans(self) -> list[LookSpan]:
        count = len(self.times)
        if self.method == "full" or count < 3:
            return [LookSpan(0, count, "all")]
        view = self._view()
        deep = deep_ranks(self.times_s, view)
        share = float(deep.mean())
        why = "packet sizes leave doubt or stand out" if view.says_something else "no packet says"
        self.notes.append(f"{share:.0%} of the frames lie where {why}")
        keyframes = self.video.keyframes
        changed = changed_keyframes(self.times_s, self.video.packets.sizes_bytes, keyframes)
        return fast_spans(self.times_s, deep, keyframes, changed, every_s=float(LOOK_EVERY))

    def _decodable(self, spans: Sequence[LookSpan], size_px: tuple[int, int]) -> Iterator[Looks]:
        """Yield small frames of the spans, or of the whole video where the spans yield none.

        A damaged keyframe can take away all that the spans ask for, while frames behind it decode.

        Raises:
            MediaError: if no frame of the video can be decoded.
        """
        whole = [LookSpan(0, len(self.times), "all")]
        for attempt in (spans,) if list(spans) == whole else (spans, whole):
            found = 0
            for looks in self._looks(attempt, size_px):
                found += len(looks.ranks)
                yield looks
            if found:
                return
            self.notes.append("damage: no frame that was looked at could be decoded")
        damaged = self.video.report.damaged_packets
        raise MediaError(
            "media.corrupt" if damaged else "media.no_frames",
            f"{self.video.info.path}: no frame could be decoded",
            hint="copy it again, or repair it",
        )

    def _looks(self, spans: Sequence[LookSpan], size_px: tuple[int, int]) -> Iterator[Looks]:
        """Yield small frames and keep the warnings of the pass."""
        yield from self.video.looks(spans, LookSize(*size_px, every=LOOK_EVERY))
        for warning in self.video.report.warnings:
            self.warnings.setdefault(warning.code, warning)

    def _details(self, cuts: Sequence[int], *, first_seen: int) -> list[tuple[int, float]]:
        """Measure detail in a keyframe now and then, and early in each shot.

        Where no keyframe can be decoded, the first frame that can stands in.

        Args:
            cuts: first frames of the shots after the first.
            first_seen: rank of the first frame that was decoded.

        Returns:
            Pairs ``(rank, tokens)``, rising; at least one.
        """
        keyframes = self.video.keyframes or (0,)
        chosen: list[int] = []
        shots = iter([*cuts, len(self.times)])
        next_cut = next(shots)
        for rank in keyframes:
            new_shot = rank >= next_cut
            while rank >= next_cut and next_cut < len(self.times):
                next_cut = next(shots)
            least_s = _DETAIL_EVERY_S / 3 if new_shot else _DETAIL_EVERY_S
            if not chosen or self.times_s[rank] - self.times_s[chosen[-1]] >= least_s:
                chosen.append(rank)
        info = self.video.info
        scale = min(1.0, (DETAIL_PX / (info.coded_width_px * info.coded_height_px)) ** 0.5)
        width_px, height_px = (
            max(2, 2 * round(side_px * scale / 2))
            for side_px in (info.coded_width_px, info.coded_height_px)
        )
        attempts: list[tuple[list[int], Depth]] = [(chosen, "keys"), ([first_seen], "all")]
        for ranks, depth in attempts:
            spans = [LookSpan(rank, rank + 1, depth) for rank in ranks]
            details = [
                (rank, detail_tokens(picture))
                for looks in self._looks(spans, (width_px, height_px))
                for rank, picture in zip(looks.ranks, luma(looks.planes), strict=True)
            ]
            if details:
                return details
        return [(first_seen, UNKNOWN_TOKENS)]


class _Edges:
    """Edge strength at each look, measured now and then."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._measured_s = float("-inf")

    def see(self, time_s: float, picture: npt.NDArray[np.uint8]) -> None:
        if time_s - self._measured_s >= _EDGES_EVERY_S:
            self.values.append(edge_strength(picture))
            self._measured_s = time_s
        else:
            self.values.append(self.values[-1])


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
    method: AnalysisMethod,
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


def _read(path: Path, *, method: AnalysisMethod, frames: int) -> Analysis:
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
