"""Frame index: presentation times and order of the frames, from packet timestamps.

Rules for streams with inconsistent timestamps:

- A picture without a time gets its decoding time if the stream does not reorder pictures; else it
  is skipped if others have times (``media.missing_times``). Where no picture has a time but all
  have decoding times, those are the presentation times, in order.
- Of pictures with the same time the first in the file is kept (``media.duplicate_times``).
- Where an MPEG stream's clock jumps, as in joined recordings, later times are shifted to follow on
  (``media.time_jump``): back by any step, forward from 10 s on. A step is not a jump if the other
  streams fill the gap, or if frames are usually that far apart.
- Pictures before the first keyframe cannot be decoded; the stream's start stays where it is, so the
  first time is above zero (``media.late_start``).
- The last frame ends where its packet or the container states. Where the spacing of frames changes,
  the container goes first: packets then state a nominal duration, or one of decoding times.
- A stream without any times is refused unless its frame rate is given.
- A picture of two fields in two packets is presented once, at the time of its first field.

Times are ticks of the time base, absolute; readers subtract ``start``. Nothing is decoded and no
file is read here.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median_low
from typing import Final

from seedvideo.errors import MediaError
from seedvideo.media.demuxer import NO_TIME, PacketTable
from seedvideo.media.types import MediaWarning

NOMINAL_DURATION: Final = Fraction(1, 25)
"""Duration of a single picture without a stated one, in seconds, as in FFmpeg."""

_MIN_FORWARD_JUMP_S: Final = Fraction(10)
"""Minimum seconds by which a clock that is ahead has jumped, as in FFmpeg."""

_MAX_USUAL_STEPS: Final = 4
"""Maximum clock step that is not a jump, in usual steps; empirical."""

_MANY_TICKS: Final = 8
"""Ticks per frame from which two ticks are a small part of it."""

_MIN_DURATION: Final = Fraction(1, 10_000)
"""Minimum stated duration in seconds; FFmpeg makes up shorter ones: a tick at an unknown rate."""


@dataclass(frozen=True)
class Index:
    """Presentation order of one stream, as integer arrays: some bytes per frame.

    Args:
        time_base: seconds per tick.
        start: first time of the stream, in ticks.
        times: presentation times in ticks, strictly increasing.
        packet_of_frame: number of the packet that holds each frame; in file order if
            ``has_no_timestamps``.
        frame_of_packet: index in ``times`` of each packet's picture, -1 if it is not presented; in
            file order if ``has_no_timestamps``.
        packet_times: time of each packet in ticks; `NO_TIME` if it has none.
        keyframe_packets: numbers of the packets at which decoding may begin, rising.
        is_variable: whether the spacing of frames changes by more than rounding.
        has_no_timestamps: whether packets have no presentation times, so that frames are identified
            by their order in the decoder's output only; seeking is impossible.
        has_fields: whether some pictures are coded as two fields, the second of which may be in the
            next packet.
        duration: seconds from ``start`` to the end of the last frame.
        warnings: corrections by the rules above.
    """

    time_base: Fraction
    start: int
    times: "array[int]"
    packet_of_frame: "array[int]"
    frame_of_packet: "array[int]"
    packet_times: "array[int]"
    keyframe_packets: "array[int]"
    is_variable: bool
    has_no_timestamps: bool
    has_fields: bool
    duration: Fraction
    warnings: tuple[MediaWarning, ...]

    @property
    def keyframes(self) -> list[int]:
        """Frame indices of the presented keyframes."""
        return sorted(
            self.frame_of_packet[k] for k in self.keyframe_packets if self.frame_of_packet[k] >= 0
        )

    def end_of(self, packet: int) -> int:
        """Return the number of the first packet after those of a picture.

        Args:
            packet: number of the first packet of the picture.
        """
        end = packet + 1
        if self.has_fields and end < len(self.frame_of_packet) and self.frame_of_packet[end] < 0:
            return end + 1
        return end

    def keyframe_before(self, frame_index: int) -> int:
        """Return the packet number of the last keyframe from which a frame decodes exactly.

        A leading picture of an open GOP comes after its keyframe in the file but before it in time
        and refers to the GOP before, so decoding must begin one keyframe earlier.
        """
        if self.has_no_timestamps:
            return self.keyframe_packets[0]
        packet = self.packet_of_frame[frame_index]
        i = bisect_right(self.keyframe_packets, packet) - 1
        while i > 0 and self.packet_times[self.keyframe_packets[i]] > self.times[frame_index]:
            i -= 1
        return self.keyframe_packets[max(i, 0)]


def build_index(
    table: PacketTable,
    *,
    time_base: Fraction,
    display_name: str,
    reorders: bool,
    clock_may_jump: bool,
    raw: bool,
    pts_guessed: bool,
    numbered: bool,
    fps: Fraction | None,
    stated_end: Fraction | None = None,
) -> Index:
    """Build the frame index of a stream from its packets.

    Args:
        table: every packet of the stream.
        time_base: seconds per tick.
        display_name: name of the file in messages.
        reorders: whether storage order may differ from presentation order.
        clock_may_jump: whether the container allows its timestamps to restart.
        raw: whether the container states no timestamps.
        pts_guessed: whether presentation times are made up by FFmpeg, as for AVI, which stores
            none; they are wrong where pictures are reordered.
        numbered: whether a packet's number is its time in ticks. FFmpeg divides offsets in a Y4M
            file by the minimum size of a frame, and is wrong if frames have parameters.
        fps: frames per second of a stream without timestamps.
        stated_end: stated end of the last frame, in seconds of the container's clock.

    Raises:
        MediaError: ``media.no_frames`` or ``media.no_timestamps``.
    """
    first = next((i for i in range(len(table)) if table.is_key(i)), 0)
    numbers = [i for i in range(first, len(table)) if not table.is_hidden(i)]
    if not numbers:
        raise MediaError("media.no_frames", f"{display_name}: its video stream contains no frames")
    keyframe_packets = [i for i in range(first, len(table)) if table.is_key(i)] or [first]
    if raw or (pts_guessed and reorders) or all(table.pts[i] == NO_TIME for i in numbers):
        return _index_without_timestamps(
            table,
            numbers,
            keyframe_packets,
            time_base,
            display_name,
            raw=raw,
            fps=fps,
            stated_end=stated_end,
        )

    warn = _Warnings()
    times = _fill_times(table, reorders=reorders, warn=warn)
    if numbered:
        times = list(range(len(table)))
    if clock_may_jump:
        _fix_pts_resets(times, table, time_base, warn)
    order = _presentation_order(times, numbers, keyframe_packets[0], warn)
    if not order:
        raise MediaError(
            "media.no_frames", f"{display_name}: its video stream contains no frames with times"
        )

    # Pictures that cannot be decoded count here: the stream begins with them.
    start = min(t for i, t in enumerate(times) if t != NO_TIME and not table.is_hidden(i))
    presented = [times[i] for i in order]
    late = (presented[0] - start) * time_base
    if late > 0:
        warn("media.late_start", f"the first {float(late):.3f} s cannot be decoded")
    variable = is_variable(presented, time_base)
    stated = table.picture_duration(order[-1])
    length = _last_length(stated, presented, time_base, stated_end, variable=variable)
    return Index(
        time_base=time_base,
        start=start,
        times=array("q", presented),
        packet_of_frame=array("q", order),
        frame_of_packet=_frames_of_packets(order, len(table)),
        packet_times=array("q", times),
        keyframe_packets=array("q", keyframe_packets),
        is_variable=variable,
        has_no_timestamps=False,
        has_fields=table.has_fields,
        duration=(presented[-1] - start) * time_base + length,
        warnings=warn.all,
    )


def is_variable(times: Sequence[int], time_base: Fraction) -> bool:
    """Return whether the spacing of frames changes by more than rounding.

    Containers round times to their ticks (1 ms in Matroska), so spacings of a constant rate differ
    by a tick or two, though not if a frame takes only a few ticks; 5% of the usual spacing is too
    little for a change of rate.
    """
    if len(times) < 3:
        return False
    steps = [b - a for a, b in pairwise(times)]
    usual = median_low(steps)
    rounding = 2 if usual >= _MANY_TICKS else min(1, usual // 2)
    slack = max(Fraction(rounding), usual * Fraction(1, 20))
    if time_base < Fraction(1, 10_000):
        # Fine ticks may still carry times that were once rounded to milliseconds.
        slack = max(slack, Fraction(1, 1000) / time_base)
    whole_slack = int(slack)  # Steps are whole ticks.
    return max(steps) - usual > whole_slack or usual - min(steps) > whole_slack


def _index_without_timestamps(
    table: PacketTable,
    numbers: list[int],
    keyframe_packets: list[int],
    time_base: Fraction,
    display_name: str,
    *,
    raw: bool,
    fps: Fraction | None,
    stated_end: Fraction | None,
) -> Index:
    decoding = [table.dts[i] for i in numbers]
    warnings: tuple[MediaWarning, ...] = ()
    if not raw and len(set(decoding)) == len(decoding) and NO_TIME not in decoding:
        # AVI with reordered pictures: a constant rate, and only decoding times are stored.
        times = sorted(decoding)
        variable = is_variable(times, time_base)
        stated = table.picture_duration(numbers[-1])
        length = _last_length(stated, times, time_base, stated_end, variable=variable)
    elif fps is not None:
        times, time_base, length = list(range(len(numbers))), 1 / fps, 1 / fps
        variable = False
        message = f"the stream has no timestamps; {float(fps):g} frames per second are assumed"
        warnings = (MediaWarning("media.missing_times", message),)
    else:
        raise MediaError(
            "media.no_timestamps",
            f"{display_name}: is a raw video stream without timestamps",
            hint="state its frame rate, or put it into a container such as MP4",
        )
    return Index(
        time_base=time_base,
        start=times[0],
        times=array("q", times),
        packet_of_frame=array("q", numbers),
        frame_of_packet=_frames_of_packets(numbers, len(table)),
        packet_times=array("q"),
        keyframe_packets=array("q", keyframe_packets),
        is_variable=variable,
        has_no_timestamps=True,
        has_fields=table.has_fields,
        duration=(times[-1] - times[0]) * time_base + length,
        warnings=warnings,
    )


def _fill_times(
    table: PacketTable, *, reorders: bool, warn: Callable[[str, str], None]
) -> list[int]:
    times = list(table.pts)
    if table.has_fields:
        for i, time in enumerate(times):
            if time == NO_TIME and table.is_second_field(i + 1) and times[i + 1] != NO_TIME:
                times[i] = times[i + 1] - table.duration[i]
    if reorders:
        return times
    missing = [i for i, time in enumerate(times) if time == NO_TIME and table.dts[i] != NO_TIME]
    for i in missing:
        times[i] = table.dts[i]
    if missing:
        count = len(missing)
        warn(
            "media.missing_times",
            f"{count} frames have no timestamp; their decoding times are used",
        )
    return times


def _presentation_order(
    times: list[int], numbers: list[int], first_key: int, warn: Callable[[str, str], None]
) -> list[int]:
    """Return the packets of the presented pictures, in order, each with a unique time."""
    timed = [i for i in numbers if times[i] != NO_TIME]
    missing = len(numbers) - len(timed)
    if missing:
        warn(
            "media.missing_times",
            f"{missing} of {len(numbers)} frames have no timestamp and are skipped",
        )
    if times[first_key] != NO_TIME:
        timed = [i for i in timed if times[i] >= times[first_key]]
    timed.sort(key=times.__getitem__)  # Stable: of equal times the first in the file comes first.
    order: list[int] = []
    for i in timed:
        if not order or times[i] > times[order[-1]]:
            order.append(i)
    if len(order) < len(timed):
        count = len(timed) - len(order)
        warn(
            "media.duplicate_times",
            f"{count} frames repeat the timestamp of another and are skipped",
        )
    return order


def _frames_of_packets(order: list[int], packets: int) -> "array[int]":
    frame_indices = array("q", [-1]) * packets
    for frame_index, number in enumerate(order):
        frame_indices[number] = frame_index
    return frame_indices


def _fix_pts_resets(
    times: list[int],
    table: PacketTable,
    time_base: Fraction,
    warn: Callable[[str, str], None],
) -> None:
    """Shift the times after a jump of the clock, in place, so that they follow on."""
    back = int(Fraction(1, 10) / time_base)  # FFmpeg's own threshold for such streams.
    ahead = int(_MIN_FORWARD_JUMP_S / time_base)
    usual: int | None = None
    shift, expected, jumps, delay = 0, NO_TIME, 0, 0
    for i, dts in enumerate(table.dts):
        if dts != NO_TIME:
            step = 0 if expected == NO_TIME else dts + shift - expected
            if step >= ahead:
                usual = _usual_step(table) if usual is None else usual
                is_covered = 2 * table.others_before.get(i, Fraction(0)) > step * time_base
                is_jump = not is_covered and step > _MAX_USUAL_STEPS * usual
            else:
                is_jump = step < -back
            if is_jump:
                shift = expected - dts
                jumps += 1
            expected = dts + shift + table.duration[i]
            if times[i] != NO_TIME:
                # FFmpeg may give the last picture before a jump a time after it.
                delay = times[i] - dts if abs(times[i] - dts) < ahead else delay
                times[i] = dts + delay
        if times[i] != NO_TIME:
            times[i] += shift
    if jumps:
        warn(
            "media.time_jump",
            f"the clock jumps {jumps} times; later times are shifted to follow on",
        )


def _usual_step(table: PacketTable) -> int:
    known = [dts for dts in table.dts if dts != NO_TIME]
    return median_low([abs(b - a) for a, b in pairwise(known)])


def _last_length(
    stated: int,
    times: list[int],
    time_base: Fraction,
    stated_end: Fraction | None,
    *,
    variable: bool,
) -> Fraction:
    """Return the duration of the last frame in seconds.

    Args:
        stated: duration that its packet states, in ticks.
        times: times of all frames, in ticks.
        time_base: seconds per tick.
        stated_end: end that the container states, in seconds.
        variable: whether the spacing of frames changes.
    """
    of_packet = stated * time_base
    is_stated = of_packet >= _MIN_DURATION
    if stated_end is not None and (variable or not is_stated):
        of_container = stated_end - times[-1] * time_base
        if of_container > 0:
            return of_container
    if is_stated:
        return of_packet
    if variable:
        return median_low([b - a for a, b in pairwise(times)]) * time_base
    if len(times) > 1:
        return Fraction(times[-1] - times[0], len(times) - 1) * time_base
    return NOMINAL_DURATION


class _Warnings:
    def __init__(self) -> None:
        self.all: tuple[MediaWarning, ...] = ()

    def __call__(self, code: str, message: str) -> None:
        self.all += (MediaWarning(code, message),)
