"""The loaders that the sampling benchmark compares, each in its recommended use.

A loader gets a `Job`, imports what it needs, and returns the work to be timed. The module runs in
any environment: only a loader's function imports its package. Loaders that choose a number of
threads keep their choice; the others get the number of cores.
"""

import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NamedTuple

from _sampling_job import TOKEN_AREA_PX, Job, LoaderResult, Work, pictures_result
from _sampling_ours import (
    seedvideo_adaptive,
    seedvideo_even,
    seedvideo_exact,
    seedvideo_packets,
    seedvideo_plan,
    seedvideo_plan_analysis,
    seedvideo_shots_fast,
    seedvideo_shots_full,
)


def decord_exact(job: Job) -> Work:
    """Decord, scaling in the decoder."""
    import decord

    def work() -> LoaderResult:
        reader = decord.VideoReader(job.path, width=job.width_px, height=job.height_px)
        pictures = reader.get_batch(list(job.numbers)).asnumpy()
        return pictures_result(
            pictures, reader.get_frame_timestamp(list(job.numbers))[:, 0].tolist()
        )

    return work


def torchcodec_exact(job: Job) -> Work:
    """TorchCodec, scaling in the decoder, with its default of seeking."""
    return _torchcodec(job, "exact")


def torchcodec_approximate(job: Job) -> Work:
    """TorchCodec, relying on the header's frame rate, which avoids a scan of the file."""
    return _torchcodec(job, "approximate")


def _torchcodec(job: Job, seek_mode: str) -> Work:
    _patch_torchvision()
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    import_module("torchvision.transforms.v2")

    def work() -> LoaderResult:
        decoder = VideoDecoder(
            job.path,
            dimension_order="NHWC",
            num_ffmpeg_threads=0,
            seek_mode=seek_mode,
            transforms=[Resize((job.height_px, job.width_px))],
        )
        batch = decoder.get_frames_at(list(job.numbers))
        return pictures_result(batch.data.numpy(), batch.pts_seconds.tolist())

    return work


def opencv_exact(job: Job) -> Work:
    """OpenCV: grab every frame and convert the requested ones, as model servers do."""
    import cv2
    import numpy as np

    def work() -> LoaderResult:
        capture = cv2.VideoCapture(job.path)
        shape = (len(job.numbers), job.height_px, job.width_px, 3)
        pictures, times_s = np.empty(shape, np.uint8), []
        positions = {number: i for i, number in enumerate(job.numbers)}
        for number in range(job.numbers[-1] + 1):
            if not capture.grab():
                raise RuntimeError(f"OpenCV returned only {number} frames")
            if number in positions:
                _, picture = capture.retrieve()
                size = (job.width_px, job.height_px)
                small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=pictures[positions[number]])
                times_s.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        capture.release()
        return pictures_result(pictures, times_s)

    return work


def qwen_torchcodec(job: Job) -> Work:
    """qwen-vl-utils with torchcodec."""
    return _qwen(job, "torchcodec")


def qwen_decord(job: Job) -> Work:
    """qwen-vl-utils with decord."""
    return _qwen(job, "decord")


def _qwen(job: Job, backend: str) -> Work:
    os.environ["FORCE_QWENVL_VIDEO_READER"] = backend
    # Its default of eight threads is slower on fewer cores.
    os.environ["TORCHCODEC_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
    _patch_torchvision()
    import_module({"torchcodec": "torchcodec.decoders"}.get(backend, backend))
    from qwen_vl_utils import vision_process

    # On a failure it falls back to a reader that torchvision no longer has, whose error would hide
    # the cause.
    vision_process.VIDEO_READER_BACKENDS["torchvision"] = vision_process.VIDEO_READER_BACKENDS[
        backend
    ]
    request = {
        "video": job.path,
        # It counts the squares of two frames as one token. The budget counts squares of all frames,
        # so it gets half: the same pixels as the others, and less work than by its own count.
        "total_pixels": job.budget_tokens * TOKEN_AREA_PX // 2,
        "min_pixels": 16 * TOKEN_AREA_PX,  # its default minimum would exceed the budget
    }

    def work() -> LoaderResult:
        video, metadata = vision_process.fetch_video(request, return_video_metadata=True)
        numbers = [int(number) for number in metadata["frames_indices"]]
        # Floats, as for the model; the check converts them to bytes after the timing.
        times_s = [number / metadata["fps"] for number in numbers]
        return LoaderResult(
            [_LazyFrame(frame) for frame in video],
            times_s,
            video.nbytes,
            video.shape[0] * video.shape[2] * video.shape[3],
        )

    return work


def transformers_torchcodec(job: Job) -> Work:
    """The video processor of Qwen3-VL in transformers, from a file name to patches."""
    return _transformers(job)


def transformers_pyav(job: Job) -> Work:
    """The same, with frames from load_video of transformers, by PyAV."""
    return _transformers(job, backend="pyav")


def _transformers(job: Job, *, backend: str | None = None) -> Work:
    _patch_torchvision()
    from transformers import Qwen3VLVideoProcessor
    from transformers.video_utils import load_video

    import_module("torchcodec.decoders" if backend is None else "av")
    size = {"shortest_edge": 16 * 1024, "longest_edge": job.budget_tokens * TOKEN_AREA_PX}
    # Capped as in qwen-vl-utils: less work than its own default, which enlarges short videos.
    processor = Qwen3VLVideoProcessor(size=size, cap_pixels_per_frame=True)

    def work() -> LoaderResult:
        options: dict[str, Any] = {}
        videos: list[Any] = [job.path]
        if backend is not None:
            video, metadata = load_video(
                job.path,
                backend=backend,
                sample_indices_fn=lambda metadata, **_: processor.sample_frames(metadata, fps=2),
            )
            videos = [video]
            options = {"video_metadata": [metadata], "do_sample_frames": False}
        batch = processor(videos=videos, return_tensors="pt", return_metadata=True, **options)
        patches = batch["pixel_values_videos"]
        times_s = list(batch["video_metadata"][0].timestamps)
        return LoaderResult((), times_s, patches.nbytes, patches.numel() // 3)

    return work


def scenedetect_content(job: Job) -> Work:
    """PySceneDetect's ContentDetector."""
    return _scenedetect(job, "ContentDetector")


def scenedetect_adaptive(job: Job) -> Work:
    """PySceneDetect's AdaptiveDetector."""
    return _scenedetect(job, "AdaptiveDetector")


def _scenedetect(job: Job, detector: str) -> Work:
    import scenedetect

    def work() -> LoaderResult:
        scenes = scenedetect.detect(job.path, getattr(scenedetect, detector)())
        return LoaderResult(times_s=[start.seconds for start, _ in scenes[1:]])

    return work


class _LazyFrame:
    """A frame of floats ``(3, H, W)`` that becomes bytes ``(H, W, 3)`` when it is read."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def __array__(self, *_: Any, **__: Any) -> Any:
        import numpy as np

        rounded = self._frame.round().clamp(0, 255).permute(1, 2, 0)
        return np.ascontiguousarray(rounded.byte().numpy())


def _patch_torchvision() -> None:
    """Make torchvision importable with a CPU build of torch.

    PyPI's torchvision is a CUDA build: its compiled operators do not load there, and its import
    fails at the first one. Resizing does not use them, so defining their names is enough.
    """
    import torch

    missing = ""
    while True:
        try:
            import_module("torchvision")
        except RuntimeError as error:
            found = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if found is None or found[1] == missing:
                raise
            missing = found[1]
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{missing}(Tensor boxes) -> Tensor")
            _LIBRARIES.append(library)
        else:
            return


_LIBRARIES: Final[list[Any]] = []
"""Definitions, referenced here so that they are not garbage collected."""


class Loader(NamedTuple):
    """A loader.

    Args:
        package: package that it needs.
        ffmpeg: prefix of the folder of the wheel whose FFmpeg it uses.
        prepare: imports what it needs, and returns the work.
    """

    package: str
    ffmpeg: str
    prepare: Callable[[Job], Work]


LOADERS: Final[dict[str, Loader]] = {
    "seedvideo": Loader("seedvideo", "av", seedvideo_exact),
    "decord get_batch": Loader("decord", "decord", decord_exact),
    "torchcodec": Loader("torchcodec", "av", torchcodec_exact),
    "torchcodec, approximate": Loader("torchcodec", "av", torchcodec_approximate),
    "OpenCV, grab all": Loader("opencv-python-headless", "opencv", opencv_exact),
    "seedvideo, adaptive": Loader("seedvideo", "av", seedvideo_adaptive),
    "seedvideo, adaptive, packets": Loader("seedvideo", "av", seedvideo_packets),
    "seedvideo, even, 2 fps": Loader("seedvideo", "av", seedvideo_even),
    "qwen-vl-utils, torchcodec": Loader("qwen-vl-utils", "av", qwen_torchcodec),
    "qwen-vl-utils, decord": Loader("qwen-vl-utils", "decord", qwen_decord),
    "transformers, torchcodec": Loader("transformers", "av", transformers_torchcodec),
    "transformers, PyAV": Loader("transformers", "av", transformers_pyav),
    "seedvideo, plan": Loader("seedvideo", "av", seedvideo_plan),
    "seedvideo, plan, analysis": Loader("seedvideo", "av", seedvideo_plan_analysis),
    "seedvideo, cuts, fast": Loader("seedvideo", "av", seedvideo_shots_fast),
    "seedvideo, cuts, full": Loader("seedvideo", "av", seedvideo_shots_full),
    "PySceneDetect, content": Loader("scenedetect-headless", "opencv", scenedetect_content),
    "PySceneDetect, adaptive": Loader("scenedetect-headless", "opencv", scenedetect_adaptive),
}
"""Loaders by name."""
