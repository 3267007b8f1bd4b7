"""The native backend: a SeedVL checkpoint that runs in this process.

Turns packed parts into ids and frames, and ids into text. This is the one place where torch's
thread count is set: ``SEEDVIDEO_THREADS``, else torch's own choice (the physical cores).

Notation used for tensor shapes:
    k: visual tokens of all frames; d: width of the decoder; f: frames
"""

import os
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from seedvideo.errors import ConfigError, ModelError
from seedvideo.model.backends import Generation, Usage
from seedvideo.model.checkpoint import Checkpoint, load_checkpoint
from seedvideo.model.consensus import most_agreed
from seedvideo.model.familiarity import Familiarity
from seedvideo.model.generate import write
from seedvideo.model.packing import ImagePart, Part, TextPart
from seedvideo.model.seedvl import ANSWER_ID, FRAME_END_ID, FRAME_ID, IMAGE_ID
from seedvideo.model.tokenizer import Tokenizer
from seedvideo.model.vit import ConvPatches
from seedvideo.sampler.geometry import TokenGeometry

_STEM_FRAMES = 4
"""Frames that pass the stem at once: enough to use the cores, few enough to save memory."""


class NativeBackend:
    """A checkpoint, ready to answer.

    Args:
        checkpoint: read and checked.

    Raises:
        ModelError: ``model.checkpoint_invalid`` if its parts do not fit each other.
    """

    def __init__(self, checkpoint: Checkpoint):
        self._model = checkpoint.model
        self._config = checkpoint.config
        self._sha256 = checkpoint.sha256
        self._tokenizer = Tokenizer.from_file(checkpoint.tokenizer_file)
        vocabulary = self._config.model.decoder.vocabulary
        if self._tokenizer.size > vocabulary:
            raise _unfit(f"{self._tokenizer.size} words, the model knows {vocabulary}")
        self._familiarity = _familiarity(checkpoint)

    @classmethod
    def from_folder(cls, folder: Path) -> "NativeBackend":
        """Load a checkpoint folder and set the thread count.

        Raises:
            ModelError: if the checkpoint is not sound.
            ConfigError: if ``SEEDVIDEO_THREADS`` is no whole number from 1 to 9999.
        """
        _set_threads()
        return cls(load_checkpoint(folder))

    @property
    def name(self) -> str:
        """Short name, as in ``--model``."""
        return self._config.name

    @property
    def sha256(self) -> str:
        """Hash over all files of the checkpoint."""
        return self._sha256

    @property
    def geometry(self) -> TokenGeometry:
        """Sizes of frames, levels and default budget."""
        return self._config.geometry

    def count_text_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone."""
        return len(self._tokenizer.encode(text))

    def frame_text_tokens(self, time_text: str) -> int:
        """Tokens of a frame's time and of the marks before and after its visual tokens."""
        return self.count_text_tokens(time_text) + 2

    @torch.inference_mode()
    def generate(
        self, parts: Sequence[Part], *, max_new_tokens: int = 96, beams: int = 32
    ) -> Generation:
        """Answer a packed sequence with what most beams agree on; the same parts give the same.

        Raises:
            ValueError: if there is no picture, or one has a size that the geometry does not allow.
        """
        # Copies: a caller's array may be read-only or turned round, and torch takes neither.
        frames = [
            torch.from_numpy(part.pixels.copy()) for part in parts if isinstance(part, ImagePart)
        ]
        ids = self._ids(parts)
        visual, familiarity = self._see(frames)
        prompt = self._model.embed(torch.tensor([ids]), visual)
        answers = write(self._model.decoder, prompt, max_new_tokens=max_new_tokens, beams=beams)[0]
        answer = most_agreed(answers)
        threshold = self._config.familiarity_threshold
        is_known = threshold is None or familiarity is None or familiarity >= threshold
        return Generation(
            text=self._tokenizer.decode(answer.ids),
            confident=is_known,
            familiarity=familiarity,
            usage=Usage(
                visual_tokens=visual.shape[0],
                prompt_tokens=len(ids),
                output_tokens=len(answer.ids),
            ),
        )

    def _ids(self, parts: Sequence[Part]) -> list[int]:
        ids: list[int] = []
        for part in parts:
            if isinstance(part, TextPart):
                ids += self._tokenizer.encode(part.text)
            else:
                height_px, width_px, _ = part.pixels.shape
                count = height_px * width_px // self._config.geometry.token_px**2
                ids += [FRAME_ID, *[IMAGE_ID] * count, FRAME_END_ID]
        return [*ids, ANSWER_ID]

    def _see(self, frames: Sequence[Tensor]) -> tuple[Tensor, float | None]:
        """Visual tokens ``(k, d)`` of all frames, and their mean familiarity."""
        patches = self._model.vit.patches
        if not isinstance(patches, ConvPatches):
            return self._model.see(frames), None
        grids = [self._model.vit.grid(frame.shape[0], frame.shape[1]) for frame in frames]
        if not grids:
            raise ValueError("there is no picture to answer about")
        embedded, means = [], []
        for _, same in groupby(frames, key=lambda frame: frame.shape):
            for chunk in torch.stack(list(same)).split(_STEM_FRAMES):
                cells = patches.stem(chunk)
                means.append(cells.mean(dim=(1, 2)))
                embedded.append(patches.embed(cells).flatten(0, 1))
        visual = self._model.adapter(self._model.vit.encode(torch.cat(embedded), grids))
        if self._familiarity is None:
            return visual, None
        return visual, float(self._familiarity.score(torch.cat(means)).mean())


def _familiarity(checkpoint: Checkpoint) -> Familiarity | None:
    """What the training pictures looked like, if the checkpoint says so."""
    if not checkpoint.familiarity:
        return None
    try:
        return Familiarity(**checkpoint.familiarity)
    except (TypeError, ValueError, LookupError) as error:
        raise _unfit("tensors of familiarity that do not fit each other") from error


def _unfit(what: str) -> ModelError:
    return ModelError(
        "model.checkpoint_invalid",
        f"the checkpoint has {what}",
        hint="copy or install the checkpoint again",
    )


def _set_threads() -> None:
    wish = os.environ.get("SEEDVIDEO_THREADS")
    if wish is None:
        return
    if re.fullmatch(r"[1-9]\d{0,3}", wish, re.ASCII) is None:
        raise ConfigError(
            "config.invalid",
            f"SEEDVIDEO_THREADS is {wish!r}",
            hint="set a whole number from 1 to 9999",
        )
    torch.set_num_threads(int(wish))
