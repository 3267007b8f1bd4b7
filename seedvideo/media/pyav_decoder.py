"""PyAV as the decoder: wanted frames out, whatever it takes to get them; one pass or many seeks.

Work is planned in runs: stretches of packets that begin at a keyframe and end just behind the last
wanted packet, each decoded by itself. Where a run turns out not to be fit for leaving pictures out,
it is decoded again in full (`NotLean`). Where seeks turn out not to be fit for anything, the reader
is told, and asks again for a pass without (`SeekNotTrusted`). Where damage has removed a wanted
frame, the nearest earlier one that can be decoded stands in, or else the next one.

Memory holds two native frames, the current one and the one before it; in files with damage or wrong
times up to 32 more wait for their turn. Runs in the decoding process only.

Cuts the runs of a pass into shares that several processes can decode at the same time.

Shares are small, so that whoever is done early takes another, and so that what waits to be taken in
order needs little memory. Nothing is read or decoded here.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from av.video.frame import VideoFrame

from seedvideo.errors import InputError, MediaError
from seedvideo.media.cropping import Crop
from seedvideo.media.decoder import (
    DEPTHS,
    NO_END,
    Look,
    LookSize,
    LookSpan,
    Picture,
    Strategy,
    Tally,
    Wanted,
)
from seedvideo.media.demuxer import Origin, PacketTable
from seedvideo.media.frame_selection import (
    CODECS,
    FieldsFound,
    LayerFound,
    Matcher,
    NothingBefore,
    NotLean,
    Ranked,
    Run,
    cut_spans,
    plan_looks,
    plan_runs,
)
from seedvideo.media.gop_decoder import RunDecoder, SeekNotTrusted
from seedvideo.media.index import Index
from seedvideo.media.resize import Orientation, Resizer
from seedvideo.media.source import changed

_PACKETS: Final = 30
"""Packets from which a share may end: far more work than a message."""

_BYTES: Final = 4 << 20
"""Bytes of results from which a share may end."""


@dataclass(frozen=True)
class Share:
    """Runs that follow one another.

    Args:
        end: what was asked for below this place is in this share or in those before.
        until: rank from which the next share gives frames.
        packets: to decode.
    """

    end: int
    until: int
    packets: int


def share_out(index: Index, runs: Sequence[Run], bytes_of: Callable[[int], int]) -> list[Share]:
    """Cuts runs into shares.

    Args:
        index: of the stream.
        runs: in order.
        bytes_of: how large the result is for each thing that was asked for, by place.
    """
    shares: list[Share] = []
    asked = packets = size_bytes = 0
    for run in runs:
        start = index.rank_of[run.first]
        # A hidden keyframe has no rank at which one share could end; a run for which nothing is
        # asked goes on with what the one before began.
        may_cut = start >= 0 and run.asked > 0
        if may_cut and (packets >= _PACKETS or size_bytes >= _BYTES):
            shares.append(Share(asked, start, packets))
            packets = size_bytes = 0
        size_bytes += sum(bytes_of(place) for place in range(asked, asked + run.asked))
        asked += run.asked
        packets += min(run.end, len(index.rank_of)) - run.first
    return [*shares, Share(asked, NO_END, packets)] if runs else []


_WHOLE_PICTURES: Final = ("vp8", "vp9", "av1")
"""Codecs whose packets hold whole pictures."""


@dataclass(frozen=True)
class _Job:
    """What a pass is for, and how it is done."""

    ranks: tuple[int, ...]
    strategy: Strategy
    alive: Callable[[], None]
    tally: Tally


class PyavDecoder:
    """Decodes frames of one file with PyAV (see `seedvideo.media.decoder.Decoder`)."""

    def __init__(
        self,
        origin: Origin,
        index: Index,
        table: PacketTable,
        orientation: Orientation,
        crop: Crop | None = None,
    ) -> None:
        self._origin = origin
        self._index = index
        self._orientation = orientation
        self._crop = crop
        self._runs = RunDecoder(origin, index, table)
        self._run = Run(0, 0)
        self._has_fields = False
        self._begun: bool | None = None

    def shares(self, wanted: Sequence[Wanted], *, strategy: Strategy) -> list[Share]:
        """Cuts a pass into shares, each of which is a pass that gives the same frames."""
        runs = self._frame_runs(wanted, strategy=strategy)
        return share_out(
            self._index, runs, lambda place: 3 * wanted[place].width_px * wanted[place].height_px
        )

    def look_shares(
        self, spans: Sequence[LookSpan], size: LookSize
    ) -> tuple[list[LookSpan], list[Share]]:
        """Cuts spans of looks, and then a pass over them into shares that give the same looks."""
        cut = cut_spans(self._index, spans)
        look_bytes = size.width_px * size.height_px * 3 // 2
        runs = plan_looks(self._index, cut)
        return cut, share_out(
            self._index, runs, lambda place: (cut[place].end - cut[place].first) * look_bytes
        )

    def pictures(
        self,
        wanted: Sequence[Wanted],
        *,
        strategy: Strategy,
        alive: Callable[[], None],
        tally: Tally,
    ) -> Iterator[Picture]:
        """Yields one picture for each wanted one; see the protocol.

        Raises:
            SeekNotTrusted: if only a pass without seeks can be trusted to give what is left.
        """
        matcher = Matcher(
            wanted, Resizer(self._orientation, self._crop, tally.warn), self._check_loss
        )
        runs = self._frame_runs(wanted, strategy=strategy)
        _note_planned(runs, self._index, tally)
        job = _Job(tuple(each.rank for each in wanted), strategy, alive, tally)
        self._begun = None
        for run in runs:
            matcher.expect(run.asked)
            yield from self._run_pictures(run, matcher, job)
        tally.lost_frames += matcher.lost

    def _run_pictures(self, run: Run, matcher: Matcher, job: "_Job") -> Iterator[Picture]:
        """Yields the wanted frames of a run, in whatever way gives them.

        Each run is decided on by itself, so that it is the same whoever decodes those before it.
        """
        tally = job.tally
        may_be_lean = not self._has_fields and not self._index.has_fields
        is_lean = self._runs.codec in CODECS and may_be_lean and not self._index.by_count
        while not matcher.run_done:
            before = replace(tally)
            try:
                yield from self._attempt(run, matcher, job, is_lean=is_lean)
            except NotLean as error:
                # What is left is done again from the keyframe on; damage is counted then.
                tally.forget_damage_since(before)
                if isinstance(error, LayerFound):
                    self._runs.know_layer(error.layer)
                else:
                    is_lean = False
                    self._has_fields |= isinstance(error, FieldsFound)
                self._begun = None
            except NothingBefore:
                tally.forget_damage_since(before)
                matcher.substitute(self._substitute(matcher.pending[0].rank, job))
            except SeekNotTrusted as error:
                if job.strategy == "sequential":
                    raise self._changed() from error
                raise

    def _attempt(
        self, run: Run, matcher: Matcher, job: "_Job", *, is_lean: bool
    ) -> Iterator[Picture]:
        """Yields what a run gives, from its beginning on, of what is still wanted of it."""
        if self._begun != is_lean:
            wanted = job.ranks if is_lean else None
            self._runs.begin(strategy=job.strategy, alive=job.alive, tally=job.tally, wanted=wanted)
            self._begun = is_lean
        self._run = run
        matcher.begin()
        for rank, frame in self._runs.frames(run):
            if is_lean and matcher.misses(rank):
                self._runs.check_memory()
                raise NotLean
            yield from matcher.offer(rank, frame)
        if is_lean and not matcher.run_done:
            self._runs.check_memory()
            raise NotLean
        yield from matcher.finish()

    def _frame_runs(self, wanted: Sequence[Wanted], *, strategy: Strategy) -> list[Run]:
        ranks = [each.rank for each in wanted]
        spare = int(self._runs.codec not in (*CODECS, *_WHOLE_PICTURES))
        return plan_runs(self._index, ranks, strategy=strategy, spare=spare)

    def _check_loss(self) -> None:
        """Looks for other reasons than damage why a frame was not given.

        Raises:
            DecodeError: if memory did not suffice.
            SeekNotTrusted: if a pass without seeks may give it.
        """
        self._runs.check_memory()
        if self._runs.is_doubtful(self._run):
            self._runs.close()
            raise SeekNotTrusted

    def _substitute(self, rank: int, job: "_Job") -> Ranked:
        """Looks for the nearest frame before a lost one, or else behind it, in other runs.

        Raises:
            MediaError: if there is none in all of the file.
        """
        self._begun = None
        # Damage met here is counted where it lies in the way of a wanted frame.
        searched = Tally()
        found = self._nearest_before(rank, job.alive, searched)
        found = found or self._first_after(rank, job.alive, searched)
        if found is None:
            self._runs.check_memory()
            is_damaged = job.tally.damaged_packets or searched.damaged_packets
            code = "media.corrupt" if is_damaged else "media.no_frames"
            raise MediaError(code, f"{self._origin.shown}: no frame could be decoded")
        return found

    def _nearest_before(self, rank: int, alive: Callable[[], None], tally: Tally) -> Ranked | None:
        index, keys = self._index, self._index.keys
        if index.by_count:
            return None
        place, back = keys.index(index.entry(rank)), 1
        while place > 0:
            found: Ranked | None = None
            run = Run(keys[max(place - back, 0)], keys[place])
            self._runs.begin(strategy="auto", alive=alive, tally=tally)
            try:
                for found_rank, frame in self._runs.frames(run):
                    if found_rank < rank:
                        found = (found_rank, frame)
            except SeekNotTrusted:
                found = None  # Its keyframe is broken too: look further back.
            if found is not None:
                return found
            place, back = max(place - back, 0), 4 * back
        return None

    def _first_after(self, rank: int, alive: Callable[[], None], tally: Tally) -> Ranked | None:
        ways: tuple[tuple[Strategy, int], ...] = (
            ("auto", self._index.entry(rank)),
            ("sequential", self._index.keys[0]),
        )
        for strategy, first in ways:
            self._runs.begin(strategy=strategy, alive=alive, tally=tally)
            try:
                for found_rank, frame in self._runs.frames(Run(first, NO_END)):
                    if found_rank > rank:
                        return found_rank, frame
            except SeekNotTrusted:
                continue
        return None

    def looks(
        self,
        spans: Sequence[LookSpan],
        size: LookSize,
        *,
        strategy: Strategy,
        is_rough: bool,
        after: int,
        until: int,
        alive: Callable[[], None],
        tally: Tally,
    ) -> Iterator[Look]:
        """Yields small frames of spans; what is decoded on the way to them is given too.

        Args:
            spans: by rising rank, not overlapping.
            size: of the small frames.
            strategy: how to reach them.
            is_rough: leave the edges of blocks as they are, which is quicker.
            after: rank up to which frames have been given before.
            until: rank from which on no frame is given.
            alive: called often; may raise to stop.
            tally: counts as the pass goes on.

        Yields:
            Looks by rising rank. A picture that damage took away is missing.

        Raises:
            SeekNotTrusted: if only a pass without seeks can be trusted to give what is left.
            MediaError: if the file is too damaged.
            DecodeError: if memory does not suffice.
        """
        cut = cut_spans(self._index, spans)
        if not cut:
            return
        thinner = _Thinner(self._index, size, after)
        resizer = Resizer(self._orientation, self._crop, tally.warn)
        frames = self._frames_in_turn if strategy == "sequential" else self._frames_by_seeks
        self._runs.begin(strategy=strategy, alive=alive, tally=tally, is_rough=is_rough)
        try:
            for run, rank, frame in frames(cut, tally):
                if rank < min(run.until, until) and thinner.wants(rank, run):
                    yield Look(rank, resizer.shrink(frame, size.width_px, size.height_px))
        except SeekNotTrusted as error:
            if strategy == "sequential":
                raise self._changed() from error
            raise

    def _frames_by_seeks(
        self, spans: Sequence[LookSpan], tally: Tally
    ) -> Iterator[tuple[Run, int, VideoFrame]]:
        runs = plan_looks(self._index, spans)
        _note_planned(runs, self._index, tally)
        for run in runs:
            for rank, frame in self._runs.frames(run):
                yield run, rank, frame

    def _frames_in_turn(
        self, spans: Sequence[LookSpan], tally: Tally
    ) -> Iterator[tuple[Run, int, VideoFrame]]:
        """Yields the frames of spans, and no others, out of one run from the start of the file."""
        deepest = max((span.depth for span in spans), key=DEPTHS.index)
        whole = Run(self._index.keys[0], NO_END, deepest)
        _note_planned([whole], self._index, tally)
        keyframes = set(self._index.keyframes)
        parts = [Run(0, 0, span.depth) for span in spans]
        for rank, frame in self._runs.frames(whole):
            place = bisect_right(spans, rank, key=lambda span: span.first) - 1
            is_inside = place >= 0 and rank < spans[place].end
            if is_inside and (spans[place].depth != "keys" or rank in keyframes):
                yield parts[place], rank, frame

    def _changed(self) -> InputError:
        return changed(self._origin.shown, "changed while it was read")


def _note_planned(runs: Sequence[Run], index: Index, tally: Tally) -> None:
    planned = sum(min(run.end, len(index.rank_of)) - run.first for run in runs)
    tally.planned_packets = max(tally.planned_packets, planned)


class _Thinner:
    """Says which decoded pictures become looks."""

    def __init__(self, index: Index, size: LookSize, after: int) -> None:
        self._times = index.times
        self._keyframes = set(index.keyframes)
        self._least_ticks = math.ceil(size.every / index.time_base)
        self._last = after
        self._run: Run | None = None

    def wants(self, rank: int, run: Run) -> bool:
        if rank <= self._last:
            return False
        # What a run gives must not hang on the one before, which another process may look at.
        is_first, self._run = run is not self._run, run
        if run.depth == "references" and not is_first and rank not in self._keyframes:
            ticks = self._times[rank] - self._times[self._last]
            if ticks < self._least_ticks:
                return False
        self._last = rank
        return True
