"""Threads that give one open video to an integration at the same time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import seedvideo
from seedvideo.integrations.openai import messages
from seedvideo.integrations.qwen import process_vision_info
from seedvideo.integrations.torch import frames_tensor
from tests.fixtures import Clips


def read_conversation(video: seedvideo.Video) -> int:
    conversation = [{"role": "user", "content": [{"type": "video", "video": video}]}]
    return len(process_vision_info(conversation, policy="uniform", fps=9)[1][0])


def read_messages(video: seedvideo.Video) -> int:
    return len(messages(video, "What?", model="Qwen3-VL", policy="uniform")[0]["content"])


def read_tensor(video: seedvideo.Video) -> int:
    groups: Any = frames_tensor(video, seedvideo.plan(video, policy="uniform"))
    return sum(len(group.pixels) for group in groups)


@pytest.mark.parametrize("read", [read_conversation, read_messages, read_tensor])
def test_threads_share_a_video(read: Callable[[seedvideo.Video], int], clips: Clips) -> None:
    with seedvideo.open(clips["plain"], workers=1) as video, ThreadPoolExecutor(5) as threads:
        expected = read(video)
        assert list(threads.map(read, [video] * 10)) == [expected] * 10
