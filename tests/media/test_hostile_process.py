"""A decode process that a hostile file has taken over: any message gives an error only."""

from pathlib import Path
from typing import Any

import pytest

from seedvideo.config import Limits
from seedvideo.errors import DecodeError
from seedvideo.media import Target, open_video, worker_client
from seedvideo.media.types import ThumbnailSpan, ThumbnailSpec
from seedvideo.utils import fork_server, ipc
from tests.fixtures import Clips, coded_video
from tests.resource_checks import children
from tests.tiers import quick_first, slow

BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from seedvideo.media import worker
from seedvideo.utils import ipc
requests, answers, file = map(int, sys.argv[3:])
{evil}
worker.main(requests, answers, file)
"""
FLOOD = "while True: ipc.send(answers, {'type': 'alive'})"
PASSES = {
    "pictures without pixels": "channel.send({'type': 'picture', 'frame_index': 0})",
    "too few pictures": "pass",
    "too many pictures": "[channel.send({'type': 'picture', 'frame_index': 0}, bytes(9))"
    " for _ in range(99)]",
    "ranks that are none": "channel.send({'type': 'picture', 'frame_index': True}, bytes(9))",
    "ranks beyond the last": "channel.send({'type': 'picture', 'frame_index': 10**9}, bytes(9))",
    "a kind that is none": "channel.send({'type': ['picture']}, bytes(9))",
    "distrust without end": "channel.send({'type': 'untrusted', 'warnings': []})",
    "counts that are none": "channel.send({'type': 'picture', 'frame_index': 0}, bytes(9));"
    " tally.lost_frames = []",
    "warnings that are none": "channel.send({'type': 'picture', 'frame_index': 0}, bytes(9));"
    " tally.warnings = [type('', (), {'code': [[]], 'message': {}})()]",
}
FACTS = {
    "no size": "plain['width_px'] = None",
    "a size of nothing": "plain['height_px'] = 0",
    "half a size": "plain['height_px'] = 1.5",
    "a huge fraction": "plain['duration'] = '9' * 4000 + '/' + '7' * 4000",
    "no duration": "plain['duration'] = '1/0'",
    "warnings that are none": "plain['warnings'] = 7",
}
OPENED = {
    "no frames": "header['frames'] = 0",
    "more frames than times": "header['frames'] = 10**9",
    "a frame more or less": "header['frames'] = -1",
    "ticks of nothing": "header['time_base'] = '0'",
    "time that runs back": "header['time_base'] = '-1/25'",
    "a start beyond all": "header['start'] = 10**40",
    "times in disorder": "body = body[8:16] + body[:8] + body[16:]",
    "keyframes beyond the last": "body += ipc.pack_integers([10**9])",
    "a broken body": "body = body[:-3]",
    "another answer": "header['type'] = 'done'",
}


def boots(monkeypatch: pytest.MonkeyPatch, evil: str) -> None:
    monkeypatch.setattr(ipc, "_BOOT", BOOT.format(evil=evil))
    # A fork server has no file: what a file takes over is one process.
    monkeypatch.setattr(fork_server, "is_supported", lambda: False)


def assert_refused(path: Path) -> None:
    with open_video(path) as reader, pytest.raises(DecodeError) as caught:
        assert reader.info
    assert caught.value.code == "decode.crashed"
    assert children() == []


def test_endless_signs_of_life_are_not_listened_to_for_ever(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    boots(monkeypatch, FLOOD)
    limits = Limits(item_timeout_s=2.0)
    with open_video(clips["plain"], limits=limits) as reader, pytest.raises(DecodeError) as caught:
        assert reader.info
    assert caught.value.code == "decode.timeout"
    assert children() == []


@slow
def test_endless_signs_of_life_do_not_keep_a_loop_from_being_left(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = f"""
def answer(channel, decoder, message, tally):
    channel.send({{'type': 'picture', 'frame_index': 0}}, bytes(3 * 4 * 4))
    {FLOOD}
worker._answer_pass = answer
"""
    boots(monkeypatch, evil)
    monkeypatch.setattr(worker_client, "STOP_GRACE_S", 1.0)
    with open_video(clips["plain"], workers=1) as reader:
        frames = reader.frames([Target(time, 4, 4) for time in reader.times])
        next(frames)
        frames.close()
    assert children() == []


@pytest.mark.parametrize("workers", quick_first([1, 2]))
@pytest.mark.parametrize("does", PASSES)
def test_a_pass_of_nonsense(
    clips: Clips, monkeypatch: pytest.MonkeyPatch, does: str, workers: int
) -> None:
    evil = f"""
def answer(channel, decoder, message, tally):
    {PASSES[does]}
worker._answer_pass = answer
"""
    boots(monkeypatch, evil)
    with open_video(clips["plain"], workers=workers) as reader:
        targets = [Target(reader.times[0], 1, 3)]
        with pytest.raises(DecodeError) as caught:
            list(reader.frames(targets))
        assert caught.value.code == "decode.crashed"
        assert children() == []


@pytest.mark.parametrize("does", FACTS)
def test_facts_of_nonsense(clips: Clips, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    evil = f"""
right = worker._to_json
def plain_of(info):
    plain = right(info)
    {FACTS[does]}
    return plain
worker._to_json = plain_of
"""
    boots(monkeypatch, evil)
    assert_refused(clips["plain"])


@pytest.mark.parametrize("does", OPENED)
def test_times_of_nonsense(clips: Clips, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    evil = f"""
right = ipc.send
def send(descriptor, header, body=b''):
    if header['type'] == 'opened':
        {OPENED[does]}
    right(descriptor, header, body)
ipc.send = send
"""
    boots(monkeypatch, evil)
    assert_refused(clips["plain"])


@pytest.mark.parametrize(
    "reply",
    [
        "{'type': 'hash'}",
        "{'type': 'hash', 'sha256': 7}",
        "{'type': 'hash', 'sha256': 'ab'}",
        "{'type': 'hash', 'sha256': '\\u00e9' * 64}",
        "{'type': 'done', 'sha256': 'ab' * 32}",
    ],
)
def test_a_hash_of_nonsense(clips: Clips, monkeypatch: pytest.MonkeyPatch, reply: str) -> None:
    boots(monkeypatch, f"worker._answer_hash = lambda channel, *_: channel.send({reply})")
    with open_video(clips["plain"]) as reader:
        with pytest.raises(DecodeError) as caught:
            reader.packets_sha256()
        assert caught.value.code == "decode.crashed"
        assert children() == []


def test_a_process_that_dies_at_each_task_is_not_replaced_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = coded_video(
        tmp_path / "clip.mp4", "-c:v libx264 -pix_fmt yuv420p -g 30", frames=600, size=(64, 48)
    )
    boots(monkeypatch, "worker._answer_thumbnails = lambda *_: sys.exit(3)")
    started, start = [], worker_client.DecodeWorker.__init__

    def counted(self: worker_client.DecodeWorker, *words: Any) -> None:
        started.append(self)
        start(self, *words)

    monkeypatch.setattr(worker_client.DecodeWorker, "__init__", counted)
    with open_video(path, workers=4) as reader:
        with pytest.raises(DecodeError) as caught:
            list(reader.thumbnails([ThumbnailSpan(0, 600, "all")], ThumbnailSpec(32, 24)))
        assert caught.value.code == "decode.crashed"
    assert len(started) <= 4
