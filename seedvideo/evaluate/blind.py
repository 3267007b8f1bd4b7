"""A model with its eyes shut: what do the words alone give away?

Every frame is replaced by grey of the same size before the model sees it, so prompts, times and
token counts stay as they are. What a blind model gets right, no frame was needed for: its score
belongs beside every other. One thing is left to it: the times of the frames. A policy that looks at
the video puts frames where something happens, so the fair blind run uses ``uniform``.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from seedvideo.model.backends import Backend, Chooser, Pointer
from seedvideo.model.packing import ImagePart, Part
from seedvideo.sampler.geometry import TokenGeometry

GREY: Final = 128
"""Brightness of every pixel."""


def blindfold(parts: Sequence[Part]) -> list[Part]:
    """The same parts with every picture grey."""
    return [
        ImagePart(np.full_like(part.pixels, GREY)) if isinstance(part, ImagePart) else part
        for part in parts
    ]


class Blind:
    """A backend that sees nothing; `blind` makes the right kind.

    Args:
        backend: whose words, sizes and costs these are.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        """Of the model behind."""
        return self._backend.name

    @property
    def sha256(self) -> str:
        """Of the model behind."""
        return self._backend.sha256

    @property
    def geometry(self) -> TokenGeometry:
        """Of the model behind."""
        return self._backend.geometry

    def count_text_tokens(self, text: str) -> int:
        """As the model behind counts."""
        return self._backend.count_text_tokens(text)

    def frame_text_tokens(self, time_text: str) -> int:
        """As the model behind counts."""
        return self._backend.frame_text_tokens(time_text)

    def generate(self, parts: Sequence[Part], **options: Any) -> Any:
        """Let the model behind answer without pictures; see `Backend.generate`."""
        return self._backend.generate(blindfold(parts), **options)


class BlindNative(Blind):
    """A blind backend whose model can choose among candidates and point at frames.

    Args:
        backend: one with both abilities.
    """

    @property
    def points(self) -> bool:
        """As the model behind does."""
        pointer: Any = self._backend
        return bool(pointer.points)

    def choose(self, parts: Sequence[Part], candidates: Sequence[str], **options: Any) -> Any:
        """Let the model behind choose without pictures; see `Chooser.choose`."""
        chooser: Any = self._backend
        return chooser.choose(blindfold(parts), candidates, **options)

    def point(self, parts: Sequence[Part], **options: Any) -> Any:
        """Let the model behind point without pictures; see `Pointer.point`."""
        pointer: Any = self._backend
        return pointer.point(blindfold(parts), **options)


def blind(backend: Backend) -> Backend:
    """A backend that answers as this one does with its eyes shut."""
    is_able = isinstance(backend, Chooser) and isinstance(backend, Pointer)
    return BlindNative(backend) if is_able else Blind(backend)
