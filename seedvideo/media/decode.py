"""PyAV as the decoder: wanted frames out, whatever it takes to get them; one pass or many seeks.

Work is planned in runs: stretches of packets that begin at a keyframe and end just behind the last
wanted packet, each decoded by itself. Where a quick way turns out not to be certain, what is left
is done again in a slower one: with no picture left out (`NotLean`), or by reading on from the start
of the file (`SeekNotTrusted`). Where damage has removed a wanted frame, the nearest earlier one
that can be decoded stands in, or else the next one.

Memory holds two native frames, the current one and the one before it, and the few that
`seedvideo.media.native` holds. Runs in the decoding process only.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from av.video.frame import VideoFrame

from seedvideo.errors import InputError, MediaError
from seedvideo.media.container import Origin
from seedvideo.media.cursor import SeekNotTrusted
from seedvideo.media.decoder import (
    DEPTHS,
    Look,
    LookSize,
    LookSpan,
    Picture,
    Strategy,
    Tally,
    Wanted,
)
from seedvideo.media.index import Index
from seedvideo.media.lean import CODECS, LayerFound, NotLean
from seedvideo.media.matcher import Matcher, NothingBefore, Ranked
from seedvideo.media.native import RunDecoder
from seedvideo.media.packets import PacketTable
from seedvideo.media.picture import Orientation, Resizer
from seedvideo.media.runs import NO_END, Run, cut_spans, plan_looks, plan_runs
from seedvideo.media.shares import Share, share_out

_WHOLE_PICTURES: Final = ("vp8", "vp9", "av1")
"""Codecs whose packets hold whole pictures."""


class PyavDecoder:
    """Decodes frames of one file with PyAV (see `seedvideo.media.decoder.Decoder`)."""

    def __init__(
        self, origin: Origin, index: Index, table: PacketTable, orientation: Orientation
    ) -> None:
        self._origin = origin
        self._index = index
        self._orientation = orientation
        self._runs = RunDecoder(origin, index, table)
        self._run = Run(0, 0)

    def shares(self, wanted: Sequence[Wanted], *, strategy: Strategy) -> list[Share]:
        """Cuts a pass into shares, each of which is a pass that gives the same frames."""
        ranks = [each.rank for each in wanted]
        fields = self._may_be_fields(is_lean=self._runs.codec in CODECS)
        runs = plan_runs(self._index, ranks, strategy=strategy, fields=fields)
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
        """Yields one picture for each wanted one; see the protocol."""
        matcher = Matcher(wanted, Resizer(self._orientation), self._check_loss)
        way, is_lean = strategy, self._runs.codec in CODECS and not self._index.by_count
        while not matcher.done:
            before = replace(tally)
            try:
                yield from self._pass(matcher, way, alive, tally, is_lean=is_lean)
            except NotLean as error:
                # What is left is done again from its keyframe on; damage is counted then.
                is_lean = isinstance(error, LayerFound)
                if isinstance(error, LayerFound):
                    self._runs.know_layer(error.layer)
                tally.damaged_packets = before.damaged_packets
                tally.patched_frames = before.patched_frames
                tally.errors_in_a_row = before.errors_in_a_row
            except NothingBefore:
                matcher.substitute(self._substitute(matcher.pending[0].rank, alive, tally))
            except SeekNotTrusted as error:
                if way == "sequential":
                    raise self._changed() from error
                way = "sequential"
        tally.lost_frames += matcher.lost

    def _pass(
        self,
        matcher: Matcher,
        strategy: Strategy,
        alive: Callable[[], None],
        tally: Tally,
        *,
        is_lean: bool,
    ) -> Iterator[Picture]:
        ranks = [w.rank for w in matcher.pending]
        fields = self._may_be_fields(is_lean=is_lean)
        runs = plan_runs(self._index, ranks, strategy=strategy, fields=fields)
        _note_planned(runs, self._index, tally)
        wanted = ranks if is_lean else None
        self._runs.begin(strategy=strategy, alive=alive, tally=tally, wanted=wanted)
        for run in runs:
            self._run = run
            matcher.begin(run.asked)
            for rank, frame in self._runs.frames(run):
                if is_lean and matcher.misses(rank):
                    self._runs.check_memory()
                    raise NotLean
                yield from matcher.offer(rank, frame)
            if is_lean and not matcher.run_done:
                self._runs.check_memory()
                raise NotLean
            yield from matcher.finish()

    def _may_be_fields(self, *, is_lean: bool) -> bool:
        """Tells whether a picture may be stored as two packets; see `Leaving.check`."""
        return not is_lean and self._runs.codec not in _WHOLE_PICTURES

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

    def _substitute(self, rank: int, alive: Callable[[], None], tally: Tally) -> Ranked:
        """Looks for the nearest frame before a lost one, or else behind it, in other runs.

        Raises:
            MediaError: if there is none in all of the file.
        """
        found = self._nearest_before(rank, alive) or self._first_after(rank, alive)
        if found is None:
            self._runs.check_memory()
            code = "media.corrupt" if tally.damaged_packets else "media.no_frames"
            raise MediaError(code, f"{self._origin.shown}: no frame could be decoded")
        return found

    def _nearest_before(self, rank: int, alive: Callable[[], None]) -> Ranked | None:
        index, keys = self._index, self._index.keys
        if index.by_count:
            return None
        place, back = keys.index(index.entry(rank)), 1
        while place > 0:
            found: Ranked | None = None
            run = Run(keys[max(place - back, 0)], keys[place])
            # Damage met here is counted where it lies in the way of a wanted frame.
            self._runs.begin(strategy="auto", alive=alive, tally=Tally())
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

    def _first_after(self, rank: int, alive: Callable[[], None]) -> Ranked | None:
        ways: tuple[tuple[Strategy, int], ...] = (
            ("auto", self._index.entry(rank)),
            ("sequential", self._index.keys[0]),
        )
        for strategy, first in ways:
            self._runs.begin(strategy=strategy, alive=alive, tally=Tally())
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
        is_rough: bool,
        until: int,
        alive: Callable[[], None],
        tally: Tally,
    ) -> Iterator[Look]:
        """Yields small frames of spans; what is decoded on the way to them is given too.

        Args:
            spans: by rising rank, not overlapping.
            size: of the small frames.
            is_rough: leave the edges of blocks as they are, which is quicker.
            until: rank from which on no frame is given.
            alive: called often; may raise to stop.
            tally: counts as the pass goes on.

        Yields:
            Looks by rising rank. A picture that damage took away is missing.

        Raises:
            MediaError: if the file is too damaged.
            DecodeError: if memory does not suffice.
        """
        runs = plan_looks(self._index, cut_spans(self._index, spans))
        if not runs:
            return
        runs[-1] = replace(runs[-1], until=min(runs[-1].until, until))
        _note_planned(runs, self._index, tally)
        thinner, resizer = _Thinner(self._index, size), Resizer(self._orientation)
        try:
            frames = self._look_frames(runs, is_rough=is_rough, alive=alive, tally=tally)
            for run, rank, frame in frames:
                if rank < run.until and thinner.wants(rank, run):
                    yield Look(rank, resizer.shrink(frame, size.width_px, size.height_px))
        except SeekNotTrusted as error:
            raise self._changed() from error

    def _look_frames(
        self, runs: Sequence[Run], *, is_rough: bool, alive: Callable[[], None], tally: Tally
    ) -> Iterator[tuple[Run, int, VideoFrame]]:
        """Yields what runs give; where a seek goes wrong, once more from the start of the file."""
        self._runs.begin(strategy="auto", alive=alive, tally=tally, is_rough=is_rough)
        try:
            for run in runs:
                for rank, frame in self._runs.frames(run):
                    yield run, rank, frame
        except SeekNotTrusted:
            deepest = max((run.depth for run in runs), key=DEPTHS.index)
            whole = Run(self._index.keys[0], runs[-1].end, deepest)
        else:
            return
        self._runs.begin(strategy="sequential", alive=alive, tally=tally, is_rough=is_rough)
        for rank, frame in self._runs.frames(whole):
            number = self._index.packet_of[rank]
            place = bisect_right(runs, number, key=lambda run: run.first) - 1
            if place >= 0 and number < runs[place].end:
                yield runs[place], rank, frame

    def _changed(self) -> InputError:
        return InputError(
            "input.changed",
            f"{self._origin.shown}: changed while it was read",
            hint="wait until it is whole, then try again",
            retryable=True,
        )


def _note_planned(runs: Sequence[Run], index: Index, tally: Tally) -> None:
    planned = sum(min(run.end, len(index.rank_of)) - run.first for run in runs)
    tally.planned_packets = max(tally.planned_packets, planned)


class _Thinner:
    """Says which decoded pictures become looks."""

    def __init__(self, index: Index, size: LookSize) -> None:
        self._times = index.times
        self._keyframes = set(index.keyframes)
        self._least_ticks = math.ceil(size.every / index.time_base)
        self._last = -1
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
