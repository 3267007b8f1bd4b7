"""Cropping: the visible area that container and stream state, applied to decoded frames.

The decoder already applies the cropping of the bitstream. Frames are cropped before they are
scaled, so cropped-off pixels do not affect any other, with one exception: where chroma is stored
for pairs of pixels, an odd crop leaves half a pair. Runs in the decode process only.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from av.container import InputContainer
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from seedvideo.errors import MediaError
from seedvideo.media.container_boxes import (
    StatedWindow,
    read_heif_window,
    read_matroska_window,
    read_mp4_window,
)
from seedvideo.media.demuxer import SourceSpec
from seedvideo.media.types import MediaWarning

if TYPE_CHECKING:
    from av.filter.graph import Graph


@dataclass(frozen=True)
class Crop:
    """Pixels to crop from the sides of stored pictures of one size.

    Args:
        left_px: pixels to crop on the left.
        top_px: pixels to crop at the top.
        right_px: pixels to crop on the right.
        bottom_px: pixels to crop at the bottom.
        width_px: width of the stored picture before cropping.
        height_px: height of the stored picture before cropping.
    """

    left_px: int
    top_px: int
    right_px: int
    bottom_px: int
    width_px: int
    height_px: int

    @property
    def cropped_width_px(self) -> int:
        """Width after cropping."""
        return self.width_px - self.left_px - self.right_px

    @property
    def cropped_height_px(self) -> int:
        """Height after cropping."""
        return self.height_px - self.top_px - self.bottom_px

    def scale_to(self, width_px: int, height_px: int) -> "Crop":
        """Return the crop for pictures of another size, rounded towards more cropping."""
        if (width_px, height_px) == (self.width_px, self.height_px):
            return self
        left_px, right_px = _scale(self.left_px, self.right_px, self.width_px, width_px)
        top_px, bottom_px = _scale(self.top_px, self.bottom_px, self.height_px, height_px)
        return Crop(left_px, top_px, right_px, bottom_px, width_px, height_px)


def _scale(before_px: int, after_px: int, side_px: int, new_side_px: int) -> tuple[int, int]:
    first = min(math.ceil(before_px * new_side_px / side_px), new_side_px - 1)
    return first, min(math.ceil(after_px * new_side_px / side_px), new_side_px - 1 - first)


def make_crop(window: StatedWindow, width_px: int, height_px: int) -> Crop | None:
    """Return the crop of decoded pictures to the window that their container states.

    Args:
        window: stated window.
        width_px: width of the decoded pictures.
        height_px: height of the decoded pictures.

    Returns:
        The crop; None if the window does not lie inside the picture, or is below one pixel.
    """
    sides = _side(window.left_px, window.right_px, window.width_px, width_px)
    edges = _side(window.top_px, window.bottom_px, window.height_px, height_px)
    if sides is None or edges is None:
        return None
    return Crop(sides[0], edges[0], sides[1], edges[1], width_px, height_px)


def _side(
    first_px: Fraction, last_px: Fraction, stated_px: int, decoded_px: int
) -> tuple[int, int] | None:
    """Return the pixels to crop before and after a window along one side."""
    before_px, end_px = math.floor(first_px), math.floor(last_px)
    if before_px < 0 or end_px > stated_px or last_px - first_px < 1:
        return None
    # Pixels that the bitstream crops are not cropped again.
    after_px = max(0, min(stated_px, decoded_px) - end_px)
    return None if before_px + after_px >= decoded_px else (before_px, after_px)


class Cropper:
    """Cropper of frames; it keeps FFmpeg's filter between frames of one kind."""

    def __init__(self, crop: Crop | None) -> None:
        self._crop = crop
        self._widener = VideoReformatter()
        self._kind: tuple[str, int, int] | None = None
        self._graph: Graph | None = None

    def crop(self, frame: VideoFrame, matrix: Colorspace | None) -> VideoFrame:
        """Return the visible area of a frame; its samples are shared, not copied, where possible.

        Args:
            frame: decoded frame.
            matrix: matrix that swscale uses in place of the frame's; None if it knows that.
        """
        if self._crop is None:
            return frame
        crop = self._crop.scale_to(frame.width, frame.height)
        if (crop.cropped_width_px, crop.cropped_height_px) == (frame.width, frame.height):
            return frame
        pair = VideoFormat(frame.format.name)
        wide, high = 4 // pair.chroma_width(4), 4 // pair.chroma_height(4)
        if crop.left_px % wide or crop.top_px % high:
            # The samples of chroma would lie half a pair off.
            deep = pair.components[0].bits > 8
            frame = self._widener.reformat(
                frame,
                format="yuv444p16le" if deep else "yuv444p",
                src_colorspace=matrix,
                dst_colorspace=matrix,
                interpolation=Interpolation.BICUBIC,
                threads=1,
            )
        return self._crop_frame(frame, crop)

    def _crop_frame(self, frame: VideoFrame, crop: Crop) -> VideoFrame:
        from av.filter.graph import Graph  # Most videos do not need it.

        kind = (frame.format.name, frame.width, frame.height)
        if self._graph is None or self._kind != kind:
            graph = Graph()
            graph.threads = 1
            size = f"{crop.cropped_width_px}:{crop.cropped_height_px}"
            graph.link_nodes(
                graph.add_buffer(
                    width=frame.width,
                    height=frame.height,
                    format=frame.format,
                    time_base=Fraction(1, 1000),
                ),
                graph.add("crop", f"{size}:{crop.left_px}:{crop.top_px}:exact=1"),
                graph.add("buffersink"),
            ).configure()
            self._graph, self._kind = graph, kind
        self._graph.push(frame)
        return cast(VideoFrame, self._graph.pull())


@dataclass(frozen=True)
class VisibleArea:
    """The part of the stored picture that is displayed.

    Args:
        width_px: its width in stored pixels.
        height_px: its height in stored pixels.
        aspect: width over height of a stored pixel.
        crop: crop of decoded pictures to it; None if nothing is cropped.
        warnings: warnings about the stated window.
    """

    width_px: int
    height_px: int
    aspect: Fraction
    crop: Crop | None
    warnings: tuple[MediaWarning, ...] = ()


def find_visible_area(
    stream: VideoStream, first: VideoFrame | None, spec: SourceSpec, *, is_item: bool
) -> VisibleArea:
    """Determine the visible area of the pictures.

    Args:
        stream: chosen stream, whose first picture has been decoded.
        first: that picture; None if it cannot be decoded.
        spec: open input.
        is_item: whether the stream is a still image of a HEIF file, not a track.

    Raises:
        MediaError: if the size of the pictures is unknown.
    """
    context = stream.codec_context
    width_px = context.width or (first.width if first else 0)
    height_px = context.height or (first.height if first else 0)
    if not width_px or not height_px:
        raise MediaError("media.unreadable", f"{spec.display_name}: its picture size is unknown")
    aspect = stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(1)
    aspect = aspect if aspect > 0 else Fraction(1)
    window = _stated_window(stream, spec, is_item=is_item)
    if window is None or window.covers_picture:
        return VisibleArea(width_px, height_px, aspect, None)
    crop = make_crop(window, width_px, height_px)
    if crop is None:
        message = (
            f"{window} does not lie inside the {width_px}x{height_px} px picture; "
            "nothing is cropped"
        )
        warning = MediaWarning("media.crop_ignored", message)
        return VisibleArea(width_px, height_px, aspect, None, (warning,))
    return VisibleArea(
        crop.cropped_width_px, crop.cropped_height_px, window.correct_aspect(aspect), crop
    )


def _stated_window(stream: VideoStream, spec: SourceSpec, *, is_item: bool) -> StatedWindow | None:
    container = stream.container
    if not isinstance(container, InputContainer):
        return None
    kinds = container.format.name.split(",")
    if "matroska" in kinds:
        track_index = [each.index for each in container.streams.video].index(stream.index)
        return read_matroska_window(spec.descriptor, spec.size_bytes, track_index)
    if "mp4" not in kinds:
        return None
    if is_item:
        return read_heif_window(spec.descriptor, spec.size_bytes)
    return read_mp4_window(spec.descriptor, spec.size_bytes, stream.id)
