"""The loaders that the sampling benchmark compares, each as it is used by those who use it well.

A loader is given a `Job`, imports what it needs, and returns the work to be timed. Runs in any
environment: only a loader's own function imports its package. Threads are left to each loader's own
choice where it makes one; the others get the number of cores.
"""

import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NamedTuple

from _sampling_job import TOKEN_AREA_PX, Got, Job, Work, got_pictures
from _sampling_ours import (
    seedvideo_adaptive,
    seedvideo_even,
    seedvideo_exact,
    seedvideo_packets,
    seedvideo_plan,
    seedvideo_plan_looks,
    seedvideo_shots_fast,
    seedvideo_shots_full,
)


def decord_exact(job: Job) -> Work:
    """Decord, scaling in the decoder."""
    import decord

    def work() -> Got:
        reader = decord.VideoReader(job.path, width=job.width_px, height=job.height_px)
        pictures = reader.get_batch(list(job.numbers)).asnumpy()
        return got_pictures(pictures, reader.get_frame_timestamp(list(job.numbers))[:, 0].tolist())

    return work


def torchcodec_exact(job: Job) -> Work:
    """TorchCodec, scaling in the decoder, with its default of seeking."""
    return _torchcodec(job, "exact")


def torchcodec_approximate(job: Job) -> Work:
    """TorchCodec, trusting the header's frame rate, which spares it a scan of the file."""
    return _torchcodec(job, "approximate")


def _torchcodec(job: Job, seek_mode: str) -> Work:
    _mend_torchvision()
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    import_module("torchvision.transforms.v2")

    def work() -> Got:
        decoder = VideoDecoder(
            job.path,
            dimension_order="NHWC",
            num_ffmpeg_threads=0,
            seek_mode=seek_mode,
            transforms=[Resize((job.height_px, job.width_px))],
        )
        batch = decoder.get_frames_at(list(job.numbers))
        return got_pictures(batch.data.numpy(), batch.pts_seconds.tolist())

    return work


def opencv_exact(job: Job) -> Work:
    """OpenCV: every frame is grabbed, and the wanted ones converted, as model servers do."""
    import cv2
    import numpy as np

    def work() -> Got:
        capture = cv2.VideoCapture(job.path)
        shape = (len(job.numbers), job.height_px, job.width_px, 3)
        pictures, times_s = np.empty(shape, np.uint8), []
        wanted = {number: place for place, number in enumerate(job.numbers)}
        for number in range(job.numbers[-1] + 1):
            if not capture.grab():
                raise RuntimeError(f"OpenCV gave {number} frames only")
            if number in wanted:
                _, picture = capture.retrieve()
                size = (job.width_px, job.height_px)
                small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=pictures[wanted[number]])
                times_s.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        capture.release()
        return got_pictures(pictures, times_s)

    return work


def qwen_torchcodec(job: Job) -> Work:
    """qwen-vl-utils with torchcodec."""
    return _qwen(job, "torchcodec")


def qwen_decord(job: Job) -> Work:
    """qwen-vl-utils with decord."""
    return _qwen(job, "decord")


def _qwen(job: Job, backend: str) -> Work:
    os.environ["FORCE_QWENVL_VIDEO_READER"] = backend
    # Its default of eight threads takes longer where there are fewer cores.
    os.environ["TORCHCODEC_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
    _mend_torchvision()
    import_module({"torchcodec": "torchcodec.decoders"}.get(backend, backend))
    from qwen_vl_utils import vision_process

    # Without this a failure is hidden by that of the reader it falls back to, which is gone from
    # torchvision.
    vision_process.VIDEO_READER_BACKENDS["torchvision"] = vision_process.VIDEO_READER_BACKENDS[
        backend
    ]
    asked = {
        "video": job.path,
        # It counts the squares of two frames as one token. The budget is one of squares shown, so
        # it gets half: the same pixels as the others, and less work than by its own count.
        "total_pixels": job.budget_tokens * TOKEN_AREA_PX // 2,
        "min_pixels": 16 * TOKEN_AREA_PX,  # its default floor would break the budget
    }

    def work() -> Got:
        video, metadata = vision_process.fetch_video(asked, return_video_metadata=True)
        numbers = [int(number) for number in metadata["frames_indices"]]
        # As it goes to the model, in float; the check wants bytes, and is made after the clock.
        times_s = [number / metadata["fps"] for number in numbers]
        return Got(
            [_Lazy(frame) for frame in video],
            times_s,
            video.nbytes,
            video.shape[0] * video.shape[2] * video.shape[3],
        )

    return work


def transformers_torchcodec(job: Job) -> Work:
    """The video processor of Qwen3-VL in transformers, from a file name to patches."""
    return _transformers(job)


def transformers_pyav(job: Job) -> Work:
    """The same, with frames from transformers' load_video by PyAV."""
    return _transformers(job, backend="pyav")


def _transformers(job: Job, *, backend: str | None = None) -> Work:
    _mend_torchvision()
    from transformers import Qwen3VLVideoProcessor
    from transformers.video_utils import load_video

    import_module("torchcodec.decoders" if backend is None else "av")
    size = {"shortest_edge": 16 * 1024, "longest_edge": job.budget_tokens * TOKEN_AREA_PX}
    # Capped as in qwen-vl-utils: less work than its own default, which enlarges short videos.
    processor = Qwen3VLVideoProcessor(size=size, cap_pixels_per_frame=True)

    def work() -> Got:
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
        return Got((), times_s, patches.nbytes, patches.numel() // 3)

    return work


def scenedetect_content(job: Job) -> Work:
    """PySceneDetect's ContentDetector."""
    return _scenedetect(job, "ContentDetector")


def scenedetect_adaptive(job: Job) -> Work:
    """PySceneDetect's AdaptiveDetector."""
    return _scenedetect(job, "AdaptiveDetector")


def _scenedetect(job: Job, detector: str) -> Work:
    import scenedetect

    def work() -> Got:
        scenes = scenedetect.detect(job.path, getattr(scenedetect, detector)())
        return Got(times_s=[start.seconds for start, _ in scenes[1:]])

    return work


class _Lazy:
    """A frame of floats ``(3, H, W)`` that becomes bytes ``(H, W, 3)`` when it is read."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def __array__(self, *_: Any, **__: Any) -> Any:
        import numpy as np

        rounded = self._frame.round().clamp(0, 255).permute(1, 2, 0)
        return np.ascontiguousarray(rounded.byte().numpy())


def _mend_torchvision() -> None:
    """Let torchvision be imported with a CPU build of torch.

    The registry's torchvision is a CUDA build: its compiled operators don't load there, and its
    import ends where it describes the first one. Resizing needs none, so their names are enough.
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
            _KEPT.append(library)
        else:
            return


_KEPT: Final[list[Any]] = []
"""Definitions that would go away if nobody held them."""


class Loader(NamedTuple):
    """A loader.

    Args:
        package: that it needs.
        ffmpeg: whose FFmpeg it decodes with: the name of that wheel's folder begins so.
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
    "seedvideo, plan, looks": Loader("seedvideo", "av", seedvideo_plan_looks),
    "seedvideo, cuts, fast": Loader("seedvideo", "av", seedvideo_shots_fast),
    "seedvideo, cuts, full": Loader("seedvideo", "av", seedvideo_shots_full),
    "PySceneDetect, content": Loader("scenedetect-headless", "opencv", scenedetect_content),
    "PySceneDetect, adaptive": Loader("scenedetect-headless", "opencv", scenedetect_adaptive),
}
"""By name."""
