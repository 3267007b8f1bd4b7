"""End of the last frame, and clocks that jump: by the container if it states them."""

from fractions import Fraction
from pathlib import Path

import pytest

from seedvideo.media import MediaInfo, open_video
from tests.fixtures import coded_video, ffmpeg
from tests.interlaced_streams import jpeg, write_avi

TWO_RATES = "-vf setpts='if(lt(N,8),N,60)/30/TB' -fps_mode passthrough -enc_time_base 1:1000"
"""Nine frames: eight of 1/30 s, then one at 2 s."""
MS = Fraction(1, 1000)


def facts(path: Path) -> tuple[MediaInfo, tuple[Fraction, ...], set[str]]:
    with open_video(path, workers=1) as reader:
        return reader.info, reader.times, {warning.code for warning in reader.info.warnings}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A screen recording: nothing states how long one of its frames lasts; all of it lasts 5 s."""
    path = coded_video(
        tmp_path_factory.mktemp("recording") / "screen.webm",
        f"{TWO_RATES} -c:v libvpx -deadline realtime",
        frames=9,
    )
    data = path.read_bytes()
    at = data.index(b"\x23\xe3\x83\x84")  # DefaultDuration becomes an element to be passed over.
    data = data[:at] + b"\xec\x86" + bytes(6) + data[at + 8 :]
    at = data.index(b"00:00:02.0")
    return data[:at] + b"00:00:05.000000000" + data[at + 18 :]


def without(data: bytes, element: bytes, length: int) -> bytes:
    at = data.index(element)
    return (
        data[:at] + b"\xec" + bytes([0x80 | length - 2]) + bytes(length - 2) + data[at + length :]
    )


def test_matroska_states_the_end_of_a_track(recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tag.webm"
    path.write_bytes(recording)
    info, times, _ = facts(path)
    assert times[-1] == 2 and info.duration == 5 and info.is_vfr


def test_matroska_states_the_end_of_a_file(recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "header.webm"
    path.write_bytes(recording.replace(b"DURATION", b"DURATIOM"))
    info, _, _ = facts(path)
    assert abs(info.duration - Fraction(2033, 1000)) <= MS


def test_a_live_recording_states_nothing(recording: bytes, tmp_path: Path) -> None:
    # Then the last frame lasts as long as most do, not as long as the mean of a long pause.
    path = tmp_path / "live.webm"
    path.write_bytes(without(recording.replace(b"DURATION", b"DURATIOM"), b"\x44\x89\x88", 11))
    info, _, _ = facts(path)
    assert abs(info.duration - Fraction(2033, 1000)) <= MS


def test_what_is_cut_off_has_no_stated_end(recording: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.webm"
    path.write_bytes(recording[: len(recording) * 3 // 4])
    info, times, _ = facts(path)
    assert info.duration < times[-1] + 1


def test_longer_sound_does_not_keep_the_last_frame_on(tmp_path: Path) -> None:
    path = coded_video(
        tmp_path / "sound.mkv",
        f"-f lavfi -i sine=d=6 {TWO_RATES} -c:v libvpx -deadline realtime -c:a pcm_s16le",
        frames=9,
    )
    info, times, _ = facts(path)
    assert times[-1] == 2 and info.duration < Fraction(21, 10)


@pytest.mark.parametrize("sound", ["", "-f lavfi -i sine=d=6 -c:a aac"])
def test_mp4_states_when_a_track_has_been_shown(tmp_path: Path, sound: str) -> None:
    # With B-frames the durations of packets are those of decoding: a pause would count twice.
    pause = "-vf setpts='if(lt(N,8),N,if(lt(N,9),60,210))/30/TB' -fps_mode passthrough"
    options = f"{sound} {pause} -enc_time_base 1:1000 -c:v libx264 -pix_fmt yuv420p -bf 2"
    info, times, _ = facts(coded_video(tmp_path / "pause.mp4", options, frames=10))
    assert times[-1] == 7 and abs(info.duration - times[-1] - Fraction(1, 30)) <= 2 * MS


def test_null_frames_of_avi_show_the_picture_before(tmp_path: Path) -> None:
    pictures = [jpeg(number, height_px=64) for number in range(4)]
    chunks = [pictures[0], pictures[1], b"", b"", pictures[2], pictures[3], b"", b"", b""]
    path = write_avi(tmp_path / "null.avi", chunks, rate=30)
    info, times, codes = facts(path)
    assert [time * 30 for time in times] == [0, 1, 4, 5]
    assert info.duration == Fraction(9, 30) and info.is_vfr and "media.vfr" in codes


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
@pytest.mark.parametrize("order", ["ahead", "back", "there and back"])
def test_a_clock_that_jumps_goes_on(tmp_path: Path, suffix: str, order: str) -> None:
    codec = "-c:v libx264 -pix_fmt yuv420p -g 12" if suffix == "ts" else "-c:v mpeg2video -g 12"
    first = coded_video(tmp_path / f"a.{suffix}", codec, frames=30)
    second = tmp_path / f"b.{suffix}"
    ffmpeg("-i", first, "-c", "copy", "-output_ts_offset", "25200", second)
    parts = {
        "ahead": (first, second),
        "back": (second, first),
        "there and back": (first, second, first),
    }[order]
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    info, times, codes = facts(path)
    assert "media.time_jump" in codes and len(times) == 30 * len(parts)
    assert abs(info.duration - len(parts)) < Fraction(1, 4)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_a_gap_stays_a_gap(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx -deadline realtime" if suffix == "webm" else "libx264 -pix_fmt yuv420p"
    gap = "-vf setpts='if(lt(N,8),N,N+9000)/30/TB' -fps_mode passthrough -enc_time_base 1:1000"
    info, times, codes = facts(
        coded_video(tmp_path / f"gap.{suffix}", f"{gap} -c:v {codec}", frames=12)
    )
    assert times[8] - times[7] > 300 and info.duration > 300 and "media.time_jump" not in codes
