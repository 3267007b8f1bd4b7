"""Which pictures a decoder may leave out so that the wanted ones stay the same, bit for bit.

In H.264 and HEVC a picture says whether any other may refer to it. One that is neither wanted nor
referred to need not be decoded. That holds for sound streams of whole pictures; what does not fit
is noticed while decoding (`NotLean`), and then nothing is left out. In every other codec nothing is
left out at all: either all pictures may be referred to, or none says so in a way that is certain.

Runs in the decoding process only. Decodes nothing itself: FFmpeg leaves the pictures out.

Which packets are decoded for wanted frames: runs that begin at a keyframe.

A run is decoded by itself, with nothing known of the one before, so what it gives does not depend
on where, when or after what it is decoded: any number of processes may share a file's runs. Nothing
is read or decoded here. Frames are named by rank, packets by number.

Hands decoded frames to those that are wanted; a neighbour stands in for what damage took away.

Frames are named by rank. Runs in the decoding process only. Decodes nothing.
"""

from __future__ import annotations  # av.Packet is generic for type checkers only

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import itemgetter
from typing import Final, TypeAlias

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from seedvideo.media.decoder import DEPTHS, NO_END, Depth, LookSpan, Picture, Strategy, Wanted
from seedvideo.media.index import Index
from seedvideo.media.resize import Resizer

_MOST_TWICE: Final = 16
"""Packets that may be decoded twice so that two runs stay apart.

Where groups of pictures are open, the pictures shown before a keyframe are stored behind it, and
need both it and the group before. They are few: as many as an encoder reorders.
"""

_LOOKS_APART: Final = 250
"""Packets from which a run of looks ends at the next keyframe: some seconds of video."""


@dataclass(frozen=True)
class Run:
    """Packets ``[first, end)`` to decode in one go; the first one is a keyframe.

    ``depth`` says which pictures among them the decoder may leave out. Of frames from rank
    ``until`` on none is looked at: the next run gives them. ``asked`` counts the frames, or spans,
    that were asked for and are first met in this run.
    """

    first: int
    end: int
    depth: Depth = "all"
    until: int = NO_END
    asked: int = 1


def plan_runs(index: Index, wanted: Sequence[int], *, strategy: Strategy, spare: int) -> list[Run]:
    """Plans which packets are decoded for the wanted ranks.

    Args:
        index: of the stream.
        wanted: ranks, rising.
        strategy: ``sequential`` gives one run from the first keyframe on.
        spare: packets to decode behind a picture where the index does not know of fields. Where it
            does, half a picture at the end could keep a decoder from giving the one before.
    """
    if index.by_count:
        return [Run(index.keys[0], NO_END, asked=len(wanted))]
    runs: list[Run] = []
    for rank in wanted:
        packet = index.packet_of[rank]
        end = index.end_of(packet)
        if not index.has_fields:
            end = min(end + spare, len(index.packet_times))
        first = index.keys[0] if strategy == "sequential" else index.entry(rank)
        _add(runs, Run(first, end))
    return runs


def cut_spans(index: Index, spans: Sequence[LookSpan]) -> list[LookSpan]:
    """Cuts long spans of looks at keyframes, so that their runs can be shared.

    Args:
        index: of the stream.
        spans: by rising ranks, not overlapping.

    Returns:
        The parts; without spans that want keyframes where there is none.
    """
    if index.by_count:
        return list(spans)
    keyframes = index.keyframes
    cut: list[LookSpan] = []
    for span in spans:
        first = span.first
        place = bisect_left(keyframes, first)
        if span.depth == "keys" and (place == len(keyframes) or keyframes[place] >= span.end):
            continue
        while span.depth != "keys":
            place = bisect_left(keyframes, first + _LOOKS_APART)
            if place == len(keyframes) or keyframes[place] >= span.end:
                break
            cut.append(replace(span, first=first, end=keyframes[place]))
            first = keyframes[place]
        cut.append(replace(span, first=first))
    return cut


def plan_looks(index: Index, spans: Sequence[LookSpan]) -> list[Run]:
    """Plans which packets are decoded to look at spans of frames.

    Args:
        index: of the stream.
        spans: by rising ranks, not overlapping.
    """
    if not spans:
        return []
    if index.by_count:  # Counting works only if no picture is left out.
        return [Run(index.keys[0], NO_END, asked=len(spans))]
    keys = sorted((index.rank_of[key], key) for key in index.keys)
    runs: list[Run] = []
    for span in spans:
        for run in _runs_of(index, keys, span):
            _add(runs, run)
    starts = [index.rank_of[run.first] for run in runs[1:]]
    return [
        replace(run, until=start if start >= 0 else NO_END)
        for run, start in zip(runs, [*starts, NO_END], strict=True)
    ]


def _add(runs: list[Run], run: Run) -> None:
    """Joins a run to the last one where that spares more than a few packets."""
    before = runs[-1] if runs else None
    if before is None or before.end <= run.first:
        runs.append(run)
        return
    twice = before.end - run.first
    if before.first < run.first and twice <= _MOST_TWICE and 8 * twice <= run.first - before.first:
        runs.append(run)
        return
    depth = max(before.depth, run.depth, key=DEPTHS.index)
    end = max(before.end, run.end)
    first = min(before.first, run.first)  # A time that is wrong can lead back.
    runs[-1] = Run(first, end, depth, asked=before.asked + run.asked)


def _next_key(index: Index, packet: int) -> int:
    """Returns the number of the first keyframe behind a packet."""
    place = bisect_left(index.keys, packet + 1)
    return index.keys[place] if place < len(index.keys) else len(index.packet_times)


def _runs_of(index: Index, keys: list[tuple[int, int]], span: LookSpan) -> list[Run]:
    if span.depth == "keys":
        first, end = (bisect_left(keys, (rank, -1)) for rank in (span.first, span.end))
        # A keyframe next to another is not joined to it: each is decoded alone.
        return [
            Run(key, index.end_of(key), "keys", asked=int(place == 0))
            for place, (_, key) in enumerate(keys[first:end])
        ]
    last = max(index.packet_of[span.first : span.end])
    # One packet more than wanted: a picture may be stored as two without the index knowing.
    end = index.end_of(last) if index.has_fields else last + 2
    end = min(end, _next_key(index, last))
    return [Run(index.entry(span.first), end, span.depth)]


Ranked: TypeAlias = tuple[int, VideoFrame]

_MAX_FRAMES_WAITED: Final = 16
"""Frames for which a missing one is waited for: more are never put in another order."""


class NothingBefore(Exception):
    """A wanted frame is lost, and its run gave none before it; one must be looked for."""


class Matcher:
    """Hands decoded frames, a run of them after another, to the wanted ones.

    A wanted frame that was passed by is lost: the frame before it in its run stands in.

    Args:
        wanted: by rising rank.
        resizer: makes pictures of frames.
        on_loss: called before a frame counts as lost; may raise.
    """

    def __init__(
        self, wanted: Sequence[Wanted], resizer: Resizer, on_loss: Callable[[], None]
    ) -> None:
        self.lost = 0
        """Wanted frames that a neighbour stood in for."""
        self._on_loss = on_loss
        self._wanted = wanted
        self._place = 0
        self._run_end = 0
        self._resizer = resizer
        self._held: list[Ranked] = []
        self._before: Ranked | None = None
        self._found: Ranked | None = None
        self._substitute: Ranked | None = None

    @property
    def pending(self) -> Sequence[Wanted]:
        """What has not been delivered yet."""
        return self._wanted[self._place :]

    @property
    def done(self) -> bool:
        """Whether everything has been delivered."""
        return self._place == len(self._wanted)

    @property
    def run_done(self) -> bool:
        """Whether everything that the run was for has been delivered."""
        return self._place == self._run_end

    def substitute(self, found: Ranked) -> None:
        """Takes the frame that stands in where the run gives none before a lost one."""
        self._found = found

    def expect(self, asked: int) -> None:
        """Says for how many of the next wanted frames the run is."""
        self._run_end = self._place + asked

    def begin(self) -> None:
        """Begins the run, or begins it again for what is left of it."""
        self._before = None
        self._held.clear()
        self._substitute, self._found = self._found, None

    def misses(self, rank: int) -> bool:
        """Tells whether a wanted frame has been passed by when this one comes."""
        return not self.run_done and self._wanted[self._place].rank < rank

    def offer(self, rank: int, frame: VideoFrame) -> Iterator[Picture]:
        """Takes the next frame of the run, and delivers what it settles.

        Raises:
            NothingBefore: as it says.
        """
        insort(self._held, (rank, frame), key=itemgetter(0))
        while self._held and (not self._waits() or len(self._held) > _MAX_FRAMES_WAITED):
            yield from self._settle(*self._held.pop(0))

    def finish(self) -> Iterator[Picture]:
        """Delivers what lies behind the last frame of the run that could be decoded.

        Raises:
            NothingBefore: as it says.
        """
        while self._held:
            yield from self._settle(*self._held.pop(0))
        while not self.run_done:
            yield self._deliver_lost()

    def _waits(self) -> bool:
        """Whether a wanted frame is missing that may still come.

        Frames come by rising rank but where times are wrong, and then not far from their places.
        """
        return self.misses(self._held[0][0])

    def _settle(self, rank: int, frame: VideoFrame) -> Iterator[Picture]:
        if self._before is not None and rank <= self._before[0]:
            return
        while not self.run_done and self._wanted[self._place].rank <= rank:
            if self._wanted[self._place].rank < rank:
                yield self._deliver_lost()
            else:
                yield self._deliver(rank, frame)
        self._before = (rank, frame)

    def _deliver_lost(self) -> Picture:
        self._on_loss()
        source = self._before or self._substitute
        if source is None:
            raise NothingBefore
        self.lost += 1
        return self._deliver(*source)

    def _deliver(self, rank: int, frame: VideoFrame) -> Picture:
        want = self._wanted[self._place]
        self._place += 1
        return Picture(rank, self._resizer.resize(frame, want.width_px, want.height_px))


CODECS: Final = ("h264", "hevc")
"""Those in which something may be left out."""
_START: Final = b"\x00\x00\x01"

# ITU-T H.265, tables 7-1 and section 7.4.2.2.
_FIRST_NO_SLICE: Final = 32
_LAST_THAT_MAY_BE_LEFT_OUT: Final = 14
_TOP_LAYER: Final = 7
"""Above every temporal layer that there can be."""

_MOST_REORDERED: Final = 16
"""Pictures that a decoder keeps to put them in order, at most (H.264, H.265: annex A)."""


class NotLean(Exception):
    """Something may refer to what was left out; the pass must go on with everything decoded."""


class LayerFound(NotLean):
    """A temporal layer above those that were known; pictures below it may be needed."""

    def __init__(self, layer: int) -> None:
        super().__init__(layer)
        self.layer = layer


class FieldsFound(NotLean):
    """A picture is made of two fields, each of which may be stored by itself."""


class Leaving:
    """Says for each packet of a pass whether the decoder may leave its picture out.

    Args:
        stream: the one that is decoded.
        index: of the stream.
        wanted: ranks of the frames that must come out.
        top_layer: highest temporal layer that is known of; what lies below is never left out.
    """

    def __init__(
        self, stream: VideoStream, index: Index, wanted: Collection[int], *, top_layer: int
    ) -> None:
        context = stream.codec_context
        self._index = index
        codec = context.codec.canonical_name
        # Where frames are known by their count, each of them must come out.
        self._works = codec in CODECS and not index.by_count
        self._has_layers = codec == "hevc"
        self._length_bytes = _length_bytes(context.extradata or b"") if self._has_layers else 0
        self._kept = {index.packet_of[rank] for rank in wanted} if self._works else set()
        self._top_layer = top_layer
        self._lowest_left_out = _TOP_LAYER

    def settle(
        self, frames: Iterator[tuple[int, VideoFrame]], run: Run
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Holds each frame of a run back until all that it may refer to has been looked at.

        A picture between two others comes out before the later one, which may be damaged. Where
        times are wrong the later one may never come: no more are held than can be reordered.

        Args:
            frames: with their ranks, rising.
            run: refers to nothing before it.
        """
        self._lowest_left_out = _TOP_LAYER
        if not self._works:
            yield from frames
            return
        stored_before = list(accumulate(self._index.rank_of[run.first : run.end], max))
        held: deque[tuple[int, VideoFrame]] = deque()
        for rank, frame in frames:
            held.append((rank, frame))
            while held:
                number = self._index.packet_of[held[0][0]]
                if stored_before[number - run.first] > rank and len(held) <= _MOST_REORDERED:
                    break
                yield held.popleft()
        yield from held

    def allows(self, packet: Packet[VideoStream]) -> bool:
        """Tells whether a packet's picture may be left out if no other refers to it.

        Args:
            packet: with its number as its time.

        Raises:
            NotLean: if it may refer to one that was left out.
        """
        if not self._works:
            return False
        is_kept = packet.is_keyframe or packet.pts in self._kept
        if not self._has_layers:
            return not is_kept
        # In HEVC "not referred to" holds inside a temporal layer: those above may well refer to it.
        kind, layer = _first_slice(bytes(packet), self._length_bytes)
        if layer > self._lowest_left_out:
            raise LayerFound(layer)
        self._top_layer = max(self._top_layer, layer)
        if is_kept or layer < self._top_layer or kind > _LAST_THAT_MAY_BE_LEFT_OUT or kind % 2:
            return False
        self._lowest_left_out = min(self._lowest_left_out, layer)
        return True

    def check(self, frame: VideoFrame) -> None:
        """Looks at a frame that has come out.

        Raises:
            NotLean: if it is damaged, as what mends it may have been left out; or if it was made of
                two fields, one of which may have been left out.
        """
        if self._works and frame.interlaced_frame:
            raise FieldsFound
        if self._works and frame.is_corrupt:
            raise NotLean


def _length_bytes(extradata: bytes) -> int:
    """Returns how many bytes state the length of each unit; 0 where units begin with a mark."""
    # ISO/IEC 14496-15, section 8.3.3.1: the box begins with its version, 1; a mark with zeros.
    return (extradata[21] & 3) + 1 if len(extradata) > 21 and extradata[0] == 1 else 0


def _first_slice(data: bytes, length_bytes: int) -> tuple[int, int]:
    """Returns kind and temporal layer of an HEVC packet's first slice.

    What cannot be read counts as a picture of the top layer that others refer to.
    """
    for begin in _units(data, length_bytes):
        if begin + 1 < len(data):
            kind, layer = data[begin] >> 1 & 0x3F, (data[begin + 1] & 7) - 1
            if kind < _FIRST_NO_SLICE and layer >= 0:
                return kind, layer
    return _FIRST_NO_SLICE, _TOP_LAYER


def _units(data: bytes, length_bytes: int) -> Iterator[int]:
    """Yields where the units of a packet begin."""
    place = 0
    if not length_bytes:
        while (mark := data.find(_START, place)) >= 0:
            place = mark + len(_START)
            yield place
        return
    while place + length_bytes < len(data):
        length = int.from_bytes(data[place : place + length_bytes], "big")
        place += length_bytes
        yield place
        place += length
