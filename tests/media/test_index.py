"""The rules that turn packets into presentation times, on packets made by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import MediaError
from seedvideo.media.demuxer import NO_TIME, PacketTable
from seedvideo.media.index import Index, build_index, is_variable

BASE = Fraction(1, 10)


def table_of(rows: list[tuple[int | None, int | None, str]]) -> PacketTable:
    """Makes packets from (pts, dts, marks); marks are ``k`` for key and ``h`` for hidden."""
    table = PacketTable()
    for pts, dts, marks in rows:
        table.pts.append(NO_TIME if pts is None else pts)
        table.dts.append(NO_TIME if dts is None else dts)
        table.duration.append(1)
        table.size.append(100)
        table.flags.append(("k" in marks) + 2 * ("h" in marks))
    return table


def index_of(
    rows: list[tuple[int | None, int | None, str]],
    *,
    reorders: bool = True,
    clock_may_jump: bool = False,
    raw: bool = False,
    fps: Fraction | None = None,
) -> Index:
    return build_index(
        table_of(rows),
        time_base=BASE,
        display_name="clip",
        reorders=reorders,
        clock_may_jump=clock_may_jump,
        raw=raw,
        pts_guessed=False,
        numbered=False,
        fps=fps,
    )


def codes(index: Index) -> list[str]:
    return [warning.code for warning in index.warnings]


def test_stored_order_becomes_shown_order() -> None:
    index = index_of([(0, -2, "k"), (3, -1, ""), (1, 0, ""), (2, 1, ""), (4, 2, "k")])
    assert list(index.times) == [0, 1, 2, 3, 4] and list(index.packet_of_frame) == [0, 2, 3, 1, 4]
    assert index.keyframes == [0, 4] and index.start == 0 and index.warnings == ()
    assert index.duration == Fraction(5, 10)


def test_a_leading_picture_needs_the_keyframe_before_its_own() -> None:
    index = index_of([(0, 0, "k"), (1, 1, ""), (4, 2, "k"), (2, 3, ""), (3, 4, ""), (5, 5, "")])
    assert [index.keyframe_before(frame_index) for frame_index in range(6)] == [0, 0, 0, 0, 2, 2]


def test_hidden_packets_are_not_counted() -> None:
    index = index_of([(-2, -2, "kh"), (-1, -1, "h"), (0, 0, ""), (1, 1, "")])
    assert list(index.times) == [0, 1] and index.start == 0 and index.keyframes == []
    assert index.keyframe_before(0) == 0


def test_what_comes_before_the_first_keyframe_delays_the_first_time() -> None:
    index = index_of([(5, 5, ""), (6, 6, ""), (7, 7, "k"), (8, 8, "")])
    assert list(index.times) == [7, 8] and index.start == 5
    assert codes(index) == ["media.late_start"]


def test_leading_pictures_of_the_first_keyframe_cannot_be_decoded() -> None:
    index = index_of([(7, 5, "k"), (5, 6, ""), (6, 7, ""), (8, 8, "")])
    assert list(index.times) == [7, 8] and index.start == 5


def test_of_equal_times_the_first_in_the_file_stays() -> None:
    index = index_of([(0, 0, "k"), (1, 1, ""), (1, 2, ""), (2, 3, "")])
    assert list(index.packet_of_frame) == [0, 1, 3] and codes(index) == ["media.duplicate_times"]


def test_a_missing_time_is_not_guessed_where_pictures_are_reordered() -> None:
    index = index_of([(0, 0, "k"), (None, 1, ""), (2, 2, "")])
    assert list(index.times) == [0, 2] and codes(index) == ["media.missing_times"]


def test_a_missing_time_is_the_decoding_time_where_they_are_not() -> None:
    index = index_of([(0, 0, "k"), (None, 1, ""), (2, 2, "")], reorders=False)
    assert list(index.times) == [0, 1, 2] and codes(index) == ["media.missing_times"]


def test_decoding_times_alone_count_in_order() -> None:
    index = index_of([(None, 0, "k"), (None, 1, ""), (None, 2, "")])
    assert index.has_no_timestamps and list(index.times) == [0, 1, 2]


def test_a_clock_that_jumps_back_goes_on() -> None:
    rows: list[tuple[int | None, int | None, str]] = [(i, i, "k") for i in (50, 51, 52, 3, 4)]
    index = index_of(rows, clock_may_jump=True)
    assert list(index.times) == [50, 51, 52, 53, 54] and codes(index) == ["media.time_jump"]


def test_a_clock_that_jumps_ahead_goes_on() -> None:
    rows: list[tuple[int | None, int | None, str]] = [(i, i, "k") for i in (0, 1, 2, 103, 104)]
    index = index_of(rows, clock_may_jump=True)
    assert list(index.times) == [0, 1, 2, 3, 4] and codes(index) == ["media.time_jump"]
    assert list(index_of(rows).times) == [0, 1, 2, 103, 104]


def test_less_than_ten_seconds_ahead_are_a_pause() -> None:
    rows: list[tuple[int | None, int | None, str]] = [(i, i, "k") for i in (0, 1, 2, 102, 103)]
    index = index_of(rows, clock_may_jump=True)
    assert list(index.times) == [0, 1, 2, 102, 103] and not index.warnings


def test_a_slow_series_of_pictures_is_not_a_row_of_jumps() -> None:
    rows: list[tuple[int | None, int | None, str]] = [(i, i, "k") for i in (0, 200, 400, 600)]
    index = index_of(rows, clock_may_jump=True)
    assert list(index.times) == [0, 200, 400, 600] and not index.warnings


def test_a_gap_that_other_streams_fill_is_not_a_jump() -> None:
    table = table_of([(i, i, "k") for i in (0, 1, 2, 203, 204)])
    heard = {3: Fraction(19)}
    for seconds, end in ((heard, 204), ({}, 4)):
        table.others_before = seconds
        index = build_index(
            table,
            time_base=BASE,
            display_name="clip",
            reorders=False,
            clock_may_jump=True,
            raw=False,
            pts_guessed=False,
            numbered=False,
            fps=None,
        )
        assert index.times[-1] == end


def test_no_times_at_all() -> None:
    rows: list[tuple[int | None, int | None, str]] = [(None, None, "k"), (None, None, "")]
    with pytest.raises(MediaError) as caught:
        index_of(rows, raw=True)
    assert caught.value.code == "media.no_timestamps"
    index = index_of(rows, raw=True, fps=Fraction(30000, 1001))
    assert index.duration == 2 * Fraction(1001, 30000)


@pytest.mark.parametrize("rows", [[], [(0, 0, "h"), (1, 1, "h")]])
def test_no_frames(rows: list[tuple[int | None, int | None, str]]) -> None:
    with pytest.raises(MediaError) as caught:
        index_of(rows)
    assert caught.value.code == "media.no_frames"


def test_rounding_is_not_a_variable_rate() -> None:
    milliseconds = [round(i * 1001 / 30) for i in range(300)]
    assert not is_variable(milliseconds, Fraction(1, 1000))
    assert not is_variable([i * 90 for i in milliseconds], Fraction(1, 90_000))
    assert is_variable([*milliseconds, milliseconds[-1] + 67], Fraction(1, 1000))
    assert not is_variable([0, 5], Fraction(1, 1000))


ticks = st.none() | st.integers(-50, 50)


@given(
    rows=st.lists(st.tuples(ticks, ticks, st.sampled_from(["", "", "k", "h", "kh"])), max_size=30),
    reorders=st.booleans(),
    clock_may_jump=st.booleans(),
)
def test_times_rise_for_any_packets(
    *, rows: list[tuple[int | None, int | None, str]], reorders: bool, clock_may_jump: bool
) -> None:
    code, index = "", None
    try:
        index = index_of(rows, reorders=reorders, clock_may_jump=clock_may_jump)
    except MediaError as error:
        code = error.code
    assert code in ("", "media.no_frames", "media.no_timestamps")
    if index is None:
        return
    assert list(index.times) == sorted(set(index.times)) and index.times
    assert index.start <= index.times[0]
    assert index.duration > (index.times[-1] - index.start) * BASE
    assert set(index.keyframes) <= set(range(len(index.times)))
    for frame_index in range(len(index.times)):
        assert (
            index.keyframe_before(frame_index) <= index.packet_of_frame[frame_index]
            or index.has_no_timestamps
        )
        assert index.frame_of_packet[index.packet_of_frame[frame_index]] == frame_index


def test_where_a_frame_takes_few_ticks_a_double_one_is_no_rounding() -> None:
    assert is_variable([0, 1, 2, 5, 6], Fraction(1, 30))
    assert is_variable([0, 1, 2, 4, 5], Fraction(1, 30))
    assert not is_variable([0, 2, 5, 7, 10], Fraction(1, 100))
    assert not is_variable([0, 8, 17, 25, 33], Fraction(1, 1000))


def test_of_a_variable_rate_the_container_states_the_end() -> None:
    table = table_of([(i, i, "k") for i in (0, 1, 2, 9)])
    for stated_end, duration in ((None, 10), (Fraction(3), 30), (Fraction(1, 2), 10)):
        index = build_index(
            table,
            time_base=BASE,
            display_name="clip",
            reorders=False,
            clock_may_jump=False,
            raw=False,
            pts_guessed=False,
            numbered=False,
            fps=None,
            stated_end=stated_end,
        )
        assert index.duration * 10 == duration
