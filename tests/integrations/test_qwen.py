"""`process_vision_info` and that of qwen-vl-utils: equal for even frames, true for others."""

import base64
import io
import math
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import qwen_vl_utils
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from qwen_vl_utils import vision_process
from transformers import AutoProcessor

import seedvideo
from seedvideo.errors import ConfigError, InputError, MediaError
from seedvideo.integrations.qwen import fit_size, process_vision_info
from tests.fixtures import FPS, Clips, read_number
from tests.model.tiny_checkpoints import make_qwen3_vl
from tests.model.tiny_families import make_qwen2_5_vl
from tests.tiers import examples

QUESTION: Final = {"type": "text", "text": "What is it?"}


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoProcessor.from_pretrained(make_qwen3_vl(tmp_path_factory.mktemp("models") / "q3"))


@pytest.fixture(autouse=True)
def _decord(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original reads with decord, whatever else is installed."""
    monkeypatch.setattr(vision_process, "get_video_reader_backend", lambda: "decord")


def talk(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, QUESTION]}]


def noise_png() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((300, 300), 50).save(file, "PNG")
    return file.getvalue()


def film(path: object, **keys: Any) -> list[dict[str, Any]]:
    return talk({"type": "video", "video": path, **keys})


def encode(processor: Any, messages: Any, process: Callable[..., Any], **options: Any) -> Any:
    """Do what the page of Qwen3-VL does."""
    images, videos, kwargs = process(
        messages,
        return_video_kwargs=True,
        return_video_metadata=True,
        image_patch_size=16,
        **options,
    )
    videos, metadata = zip(*videos, strict=True)
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return processor(
        text=[text],
        images=images,
        videos=list(videos),
        video_metadata=list(metadata),
        do_resize=False,
        return_tensors="pt",
        **kwargs,
    )


def stated(processor: Any, inputs: Any) -> list[float]:
    text = processor.tokenizer.decode(inputs["input_ids"][0])
    return [float(found) for found in re.findall(r"<([0-9.]+) seconds>", text)]


def shown(pixels: torch.Tensor, true_s: Callable[[int], float]) -> list[float]:
    """Return the true times of frames, by the numbers in their pictures."""
    return [true_s(read_number(each.permute(1, 2, 0).to(torch.uint8).numpy())) for each in pixels]


def vfr_s(number: int) -> float:
    return number / FPS if number < 30 else 4 * number / FPS


def cut_s(number: int) -> float:
    return number / FPS - 0.5


def test_even_frames_give_the_prompt_of_the_original(qwen3: Any, clips: Clips) -> None:
    messages = film(str(clips["plain"]), fps=2.0)
    ours = encode(qwen3, messages, process_vision_info, policy="uniform", repeat=False)
    theirs = encode(qwen3, messages, qwen_vl_utils.process_vision_info)
    assert ours["input_ids"].tolist() == theirs["input_ids"].tolist()
    assert ours["video_grid_thw"].tolist() == theirs["video_grid_thw"].tolist()
    assert len(stated(qwen3, ours)) == 3
    difference = (ours["pixel_values_videos"] - theirs["pixel_values_videos"]).abs()
    assert float(difference.mean()) < 0.05  # of a range of 2: other decoders, other resizing


def test_two_videos_and_an_image_give_the_prompt_of_the_original(
    qwen3: Any, clips: Clips, tmp_path: Path
) -> None:
    Image.effect_noise((300, 200), 50).save(tmp_path / "noise.png")
    messages = talk(
        {"type": "image", "image": str(tmp_path / "noise.png")},
        {"type": "video", "video": f"file://{clips['plain']}", "nframes": 4},
        {"type": "video", "video": str(clips["mkv"]), "max_pixels": 40 * 32**2, "min_pixels": 4096},
    )
    ours = encode(qwen3, messages, process_vision_info, policy="uniform", repeat=False)
    if "file" in messages[0]["content"][1]["video"]:
        messages[0]["content"][1]["video"] = str(clips["plain"])  # decord takes no file://
    theirs = encode(qwen3, messages, qwen_vl_utils.process_vision_info)
    assert ours["input_ids"].tolist() == theirs["input_ids"].tolist()
    assert torch.equal(ours["pixel_values"], theirs["pixel_values"])


@pytest.mark.parametrize(("clip", "true_s"), [("vfr", vfr_s), ("cut", cut_s)])
@pytest.mark.parametrize("policy", ["uniform", "adaptive"])
def test_uneven_frames_have_their_true_times_and_the_original_has_not(
    qwen3: Any, clips: Clips, clip: str, true_s: Callable[[int], float], policy: Any
) -> None:
    messages = film(str(clips[clip]))
    ours = encode(qwen3, messages, process_vision_info, policy=policy)
    ((pixels, _),) = process_vision_info(messages, False, True, 16, policy=policy)[1]
    read = stated(qwen3, ours)
    true = shown(pixels, true_s)
    assert true[::2] == true[1::2] == sorted(true[::2])
    assert read == pytest.approx(true[::2], abs=0.051)

    theirs = encode(qwen3, messages, qwen_vl_utils.process_vision_info)
    ((pixels, _),) = qwen_vl_utils.process_vision_info(messages, False, True, 16)[1]
    true = shown(pixels, true_s)
    means = [(a + b) / 2 for a, b in zip(true[::2], true[1::2], strict=True)]
    off = [abs(a - b) for a, b in zip(stated(qwen3, theirs), means, strict=True)]
    assert max(off) > 0.4


def test_neighbours_are_merged_on_request_at_their_mean_time(qwen3: Any, clips: Clips) -> None:
    messages = film(str(clips["vfr"]))
    inputs = encode(qwen3, messages, process_vision_info, repeat=False)
    ((pixels, _),) = process_vision_info(messages, False, True, 16, repeat=False)[1]
    true = shown(pixels, vfr_s)
    assert len(true) % 2 == 0
    means = [(a + b) / 2 for a, b in zip(true[::2], true[1::2], strict=True)]
    assert stated(qwen3, inputs) == pytest.approx(means, abs=0.051)


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("policy", ["uniform", "adaptive", "seed1.5"])
def test_a_clip_has_one_size_and_keeps_the_budget(
    qwen3: Any, clips: Clips, policy: Any, *, repeat: bool
) -> None:
    messages = film(str(clips["vfr"]), min_pixels=4 * 32**2)
    budget = {"policy": policy, "budget_tokens": 300, "repeat": repeat}
    inputs = encode(qwen3, messages, process_vision_info, **budget)
    (grid,) = inputs["video_grid_thw"].tolist()
    assert 0 < grid[0] * grid[1] * grid[2] // 4 <= 300
    count = int((inputs["input_ids"] == qwen3.video_token_id).sum())
    assert count == grid[0] * grid[1] * grid[2] // 4


def test_bytes_give_the_same_pixels_as_floats(qwen3: Any, clips: Clips) -> None:
    ((pixels, metadata),) = process_vision_info(film(str(clips["plain"])), False, True, 16)[1]
    assert pixels.dtype == torch.uint8
    made = [
        qwen3.video_processor(
            videos=[each], do_resize=False, do_sample_frames=False, video_metadata=[metadata]
        )["pixel_values_videos"]
        for each in (pixels, pixels.float())
    ]
    assert torch.allclose(made[0], made[1], atol=1e-6)


def test_qwen2_5_vl_gets_the_prompt_of_the_original(tmp_path: Path, clips: Clips) -> None:
    processor = AutoProcessor.from_pretrained(make_qwen2_5_vl(tmp_path / "q25"))
    messages = film(str(clips["plain"]))
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = []
    for images, videos, kwargs in (
        process_vision_info(messages, return_video_kwargs=True, policy="uniform"),
        qwen_vl_utils.process_vision_info(messages, return_video_kwargs=True),
    ):
        assert images is None
        assert kwargs["fps"] == [pytest.approx(2, rel=0.2)]
        kwargs["fps"] = kwargs["fps"][0]
        inputs = processor(text=[text], videos=videos, do_resize=False, **kwargs)
        ids.append(inputs["input_ids"])
    assert ids[0] == ids[1]


def test_uneven_frames_without_metadata_are_a_warning(clips: Clips) -> None:
    messages = film(str(clips["vfr"]), nframes=90)
    with pytest.warns(UserWarning, match="evenly spaced, up to"):
        process_vision_info(messages, policy="uniform")


def test_nothing_but_torch_is_needed(clips: Clips) -> None:
    code = (
        "import sys\n"
        "for name in ('qwen_vl_utils', 'transformers', 'torchvision', 'requests'):\n"
        "    sys.modules[name] = None\n"
        "from seedvideo.integrations.qwen import process_vision_info\n"
        f"part = {{'type': 'video', 'video': {str(clips['plain'])!r}}}\n"
        "images, videos = process_vision_info([{'role': 'user', 'content': [part]}])\n"
        "print(tuple(videos[0].shape[1:2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(3,)\n", "")


def test_the_window_of_a_message(clips: Clips) -> None:
    messages = film(str(clips["plain"]), video_start=1.0, video_end=2.0, fps=4)
    ((_, metadata),) = process_vision_info(messages, False, True, 16)[1]
    assert metadata["fps"] == 1000
    assert min(metadata["frames_indices"]) == 1000
    assert max(metadata["frames_indices"]) < 2000


def test_images_are_those_of_the_original(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clear = Image.fromarray(rng.integers(0, 256, (90, 200, 4), dtype=np.uint8), "RGBA")
    file = io.BytesIO()
    clear.save(file, "PNG")
    data = base64.encodebytes(file.getvalue()).decode()  # With line breaks, as e-mails have them.
    (tmp_path / "a.png").write_bytes(file.getvalue())
    messages = [
        talk({"type": "image", "image": clear}),
        talk(
            {"type": "image", "image": f"data:image/png;base64,{data}", "min_pixels": 200_000},
            {"type": "image", "image": f"file://{tmp_path / 'a.png'}", "max_pixels": 5_000},
            {"type": "image_url", "image_url": str(tmp_path / "a.png")},
            {"type": "image", "image": clear, "resized_height": 100, "resized_width": 50},
        ),
    ]
    ours, no_videos = process_vision_info(messages)
    theirs, _ = qwen_vl_utils.process_vision_info(messages)
    assert no_videos is None
    assert [each.size for each in ours] == [each.size for each in theirs]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))


@given(
    size=st.tuples(st.integers(1, 3_000), st.integers(1, 3_000)),
    unit_px=st.sampled_from([28, 32]),
    bounds=st.tuples(st.integers(1_000, 10**6), st.integers(1_000, 10**7)),
)
@examples(300)
def test_sizes_are_those_of_the_original(
    size: tuple[int, int], unit_px: int, bounds: tuple[int, int]
) -> None:
    least_px, most_px = sorted(bounds)
    try:
        height_px, width_px = vision_process.smart_resize(
            size[1], size[0], unit_px, least_px, most_px
        )
    except ValueError:
        with pytest.raises(ConfigError):
            fit_size(*size, unit_px=unit_px, least_px=least_px, most_px=most_px)
        return
    made = fit_size(*size, unit_px=unit_px, least_px=least_px, most_px=most_px)
    # The original has sides of 0 for a narrow image and a small maximum.
    assert made == (max(width_px, unit_px), max(height_px, unit_px))


@pytest.mark.parametrize(
    ("part", "error", "code"),
    [
        ({"type": "video"}, ConfigError, "config.invalid"),
        ({"video": "CLIP", "resized_height": 64}, ConfigError, "config.invalid"),
        ({"video": "CLIP", "fps": 2, "nframes": 4}, ConfigError, "config.invalid"),
        ({"video": "CLIP", "fps": "2"}, ConfigError, "config.type"),
        ({"video": "CLIP", "nframes": 4.5}, ConfigError, "config.type"),
        (
            {"video": "CLIP", "min_pixels": 9_000, "max_pixels": 2_000},
            ConfigError,
            "config.invalid",
        ),
        ({"video": "CLIP", "max_pixels": 100}, ConfigError, "config.invalid"),
        ({"video": "CLIP", "nframes": 0}, ConfigError, "config.invalid"),
        ({"video": "CLIP", "min_frames": math.nan}, ConfigError, "config.type"),
        ({"video": "CLIP", "min_pixels": math.nan}, ConfigError, "config.invalid"),
        ({"video": "CLIP", "max_pixels": 10**400}, ConfigError, "config.invalid"),
        ({"video": "CLIP", "total_pixels": -1}, ConfigError, "config.invalid"),
        ({"video": ["a.png", "b.png"]}, ConfigError, "config.type"),
        ({"video": "http://example.com/a.mp4"}, InputError, "input.address_refused"),
        ({"video": "CLIP", "video_start": 99}, seedvideo.PlanError, "plan.invalid"),
        ({"image": "http://example.com/a.png"}, InputError, "input.not_found"),
        ({"image": "missing.png"}, InputError, "input.not_found"),
        ({"image": "data:image/png;base64,!!!!"}, MediaError, "media.unreadable"),
        ({"image": "data:image/png;base64,AAAA"}, MediaError, "media.unreadable"),
        ({"image": 3}, ConfigError, "config.type"),
        ({"image": "HALF"}, MediaError, "media.unreadable"),
        ({"image": "WHOLE", "min_pixels": 0}, ConfigError, "config.invalid"),
        ({"image": "WHOLE", "max_pixels": Fraction(1, 2)}, ConfigError, "config.invalid"),
        (
            {"image": "WHOLE", "resized_height": math.nan, "resized_width": 64},
            ConfigError,
            "config.invalid",
        ),
    ],
)
def test_what_cannot_be_used_is_an_error(
    part: dict[str, Any], error: type[seedvideo.SeedVideoError], code: str, clips: Clips
) -> None:
    if part.get("video") == "CLIP":
        part = {**part, "video": str(clips["plain"])}
    elif part.get("image") in ("WHOLE", "HALF"):
        data = noise_png()
        used = data if part["image"] == "WHOLE" else data[: len(data) // 2]
        part = {**part, "image": Image.open(io.BytesIO(used))}
    with pytest.raises(error) as caught:
        process_vision_info(talk(part))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("conversations", "expected"),
    [
        ("clip.mp4", "a list of messages"),
        ([["clip.mp4"]], "a dict with role and content"),
        ([{"role": "user", "content": ["clip.mp4"]}], "a dict with a type"),
        ([3], "a list of messages"),
        ([[], None], "a list of messages"),
        (b"clip.mp4", "a list of messages"),
    ],
)
def test_a_conversation_that_is_none_is_an_error(conversations: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        process_vision_info(conversations)


def test_bounds_of_a_frame(clips: Clips) -> None:
    def tokens(**keys: Any) -> float:
        messages = film(str(clips["plain"]), nframes=2, **keys)
        ((pixels, _),) = process_vision_info(messages, False, True, 16)[1]
        return float(pixels.shape[2] * pixels.shape[3] / 32**2)

    # As in the original, a minimum above 768 tokens raises the maximum.
    assert 900 < tokens(min_pixels=1000 * 32**2, max_pixels=1200 * 32**2) <= 1000
    # Equal bounds need not be whole tokens.
    assert 80 < tokens(min_pixels=100_000, max_pixels=100_000) <= 100
    assert 120 < tokens(min_pixels=None, max_pixels=None) <= 768


def test_content_may_be_a_tuple_and_numbers_of_numpy(clips: Clips) -> None:
    parts = (
        {"type": "video", "video": str(clips["plain"]), "nframes": np.int64(4)},
        {"type": "image", "image": Image.new("RGB", (90, 90)), "max_pixels": np.int64(4096)},
    )
    messages = [{"role": "user", "content": parts}]
    images, videos = process_vision_info(messages, False, True, np.int64(16))  # type: ignore[arg-type]
    assert [image.size for image in images] == [(64, 64)]
    assert videos[0][0].shape[0] == 8


@pytest.mark.parametrize("patch_px", [0, -1])
def test_a_size_of_patches_that_is_none_is_an_error(patch_px: int) -> None:
    messages = talk({"type": "image", "image": Image.new("RGB", (90, 90))})
    with pytest.raises(ConfigError, match="image_patch_size is"):
        process_vision_info(messages, image_patch_size=patch_px)


def test_messages_of_text_alone_have_no_images_and_no_videos() -> None:
    assert process_vision_info([{"role": "user", "content": "Hello"}]) == (None, None)
    assert process_vision_info([], return_video_kwargs=True)[:2] == (None, None)
