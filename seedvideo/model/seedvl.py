"""SeedVL: Seed-ViT, projector and decoder joined, and their configurations.

A model may have a second projector and decoder, the answer branch, for questions and grounding; the
first pair then writes captions only. Both read the same Seed-ViT. A model without an answer branch
uses the first pair for every task.

A sequence holds token ids in which ``<image>`` stands once for every visual token. The visual
tokens of the frames replace these ids in order (Seed1.5-VL, section 2). `backends.base.interleave`
orders the parts and `backends.native` encodes them.

Notation used for tensor shapes:
    b: rows; s: positions; k: visual tokens of all frames; d: width of the decoder
    m: frames
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seedvideo.model.backends.base import TASKS, TaskName
from seedvideo.model.language_model import Decoder, DecoderConfig
from seedvideo.model.layers import Adapter, EvidenceFusion, FramePointer
from seedvideo.model.metadata import IMAGE_ID
from seedvideo.model.vision_encoder import (
    THUMBNAIL_VALUES,
    SeedViT,
    VitConfig,
    make_thumbnails,
    scale_thumbnails,
)
from seedvideo.sampler.geometry import POOL


@dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """Sizes of the branch for questions and grounding.

    Args:
        adapter_hidden: channels between the two layers of its projector.
        decoder: sizes of its language model.
        thumbnails: whether its projector also reads an 8x8 px thumbnail of each token's square.
        pointer: whether it scores how likely a question is about each frame.
        reader: whether answers are generated from the frames that the pointer selects.

    Raises:
        ValueError: if it has a reader without a pointer.
    """

    adapter_hidden: int
    decoder: DecoderConfig
    thumbnails: bool = False
    pointer: bool = False
    reader: bool = False

    def __post_init__(self) -> None:
        if self.reader and not self.pointer:
            raise ValueError("the answer branch has a reader but no pointer")


@dataclass(frozen=True, kw_only=True)
class SeedVLConfig:
    """Sizes of the whole model.

    Args:
        vit: sizes of the vision encoder.
        adapter_hidden: channels between the projector's two layers.
        decoder: sizes of the language model.
        answer: the branch for questions and grounding; None if one branch performs all tasks.

    Raises:
        ValueError: if the two language models do not share a vocabulary.
    """

    vit: VitConfig
    adapter_hidden: int
    decoder: DecoderConfig
    answer: AnswerConfig | None = None

    def __post_init__(self) -> None:
        if self.answer is not None and self.answer.decoder.vocabulary != self.decoder.vocabulary:
            raise ValueError(
                f"the answer branch has {self.answer.decoder.vocabulary} tokens, the other "
                f"{self.decoder.vocabulary}: they must share one vocabulary"
            )

    @property
    def token_px(self) -> int:
        """Side of the square that one visual token covers, in pixels."""
        return self.vit.patch_px * POOL

    @classmethod
    def published(cls) -> "SeedVLConfig":
        """Return the published sizes, as far as the report states them.

        The encoder is the report's (table 1: 532 M parameters). The report names neither the
        projector's hidden width nor the language model's sizes beyond "20 B active parameters" of a
        mixture of experts. A dense decoder of about 20 B parameters replaces it here; its sizes and
        the projector's are ours.
        """
        return cls(
            vit=VitConfig(width=1280, depth=27, heads=20),
            adapter_hidden=6144,
            decoder=DecoderConfig(
                vocabulary=155_136,
                width=6144,
                depth=48,
                heads=48,
                kv_heads=8,
                hidden=16_384,
                rope_theta=1_000_000.0,
                tied=False,
            ),
        )

    @classmethod
    def nano(cls, *, vocabulary: int, dropout: float = 0.0) -> "SeedVLConfig":
        """Return the sizes of the embedded model: 12 M parameters, 64x64 px per visual token."""
        return cls(
            vit=VitConfig(width=320, depth=2, heads=5, embedding="conv", dropout=dropout),
            adapter_hidden=512,
            decoder=DecoderConfig(
                vocabulary=vocabulary,
                width=256,
                depth=4,
                heads=4,
                kv_heads=2,
                hidden=704,
                dropout=dropout,
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a checkpoint's ``config.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SeedVLConfig":
        """Parse the output of ``to_json``.

        Raises:
            TypeError: if a key is missing or unknown.
            ValueError: if values contradict each other.
        """
        known = dict(values)
        vit = VitConfig(**known.pop("vit", {}))
        decoder = DecoderConfig(**known.pop("decoder", {}))
        answer = known.pop("answer", None)
        if answer is not None:
            sizes = dict(answer)
            answer_decoder = DecoderConfig(**sizes.pop("decoder", {}))
            answer = AnswerConfig(decoder=answer_decoder, **sizes)
        return cls(vit=vit, decoder=decoder, answer=answer, **known)


class DecoderBranch(NamedTuple):
    """Projector and decoder of one task."""

    adapter: Adapter
    decoder: Decoder


class AnswerBranch(nn.Module):
    """The second projector and decoder."""

    def __init__(self, vision_width: int, config: AnswerConfig):
        super().__init__()
        width = vision_width + (THUMBNAIL_VALUES if config.thumbnails else 0)
        self.adapter = Adapter(width, config.adapter_hidden, config.decoder.width)
        self.decoder = Decoder(config.decoder)
        self.pointer = FramePointer(config.decoder.width) if config.pointer else None
        self.reader = EvidenceFusion(config.decoder.width) if config.reader else None

    def fuse_evidence(self, states: Tensor, frame_ends: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function that adds evidence from the frames to later states of one prompt.

        Args:
            states: ``(1, s, d)`` last states of the prompt, including reasoning.
            frame_ends: ``(m,)`` positions of the tokens that end its frames; at least one.

        Returns:
            A function from ``(b, d)`` to ``(b, d)`` states: the identity if the branch has no
            reader.
        """
        if self.reader is None or self.pointer is None:
            return lambda hidden: hidden
        asked, frames = states[0, -1:], states[0, frame_ends]
        is_own = torch.ones(1, len(frame_ends), dtype=torch.bool, device=states.device)
        named, answer = self.reader.named(asked, frames), self.pointer(asked, frames)
        return partial(self.reader, evidence=self.reader.evidence(named, answer, frames, is_own))


class SeedVL(nn.Module):
    """The whole network: frames and token ids to hidden states."""

    def __init__(self, config: SeedVLConfig):
        super().__init__()
        self.config = config
        self.vit = SeedViT(config.vit)
        self.adapter = Adapter(config.vit.width, config.adapter_hidden, config.decoder.width)
        self.decoder = Decoder(config.decoder)
        self.answer = (
            None if config.answer is None else AnswerBranch(config.vit.width, config.answer)
        )

    def branch(self, task: TaskName) -> DecoderBranch:
        """Return the projector and decoder of a task.

        Raises:
            ValueError: if the task is unknown.
        """
        if task not in TASKS:
            raise ValueError(f"task is {task!r}, expected one of {', '.join(TASKS)}")
        if task == "caption" or self.answer is None:
            return DecoderBranch(self.adapter, self.decoder)
        return DecoderBranch(self.answer.adapter, self.answer.decoder)

    def encode_frames(self, frames: Sequence[Tensor], *, task: TaskName = "caption") -> Tensor:
        """Encode ``(h, w, 3)`` uint8 frames to ``(k, d)`` vectors for the task's decoder."""
        return self.project(self.vit(frames), frames, task=task)

    def project(self, seen: Tensor, frames: Sequence[Tensor], *, task: TaskName) -> Tensor:
        """Project the encoder's vectors to those that the task's decoder reads.

        Args:
            seen: ``(k, width of the encoder)`` visual tokens.
            frames: the encoded frames, for a branch that reads thumbnails.
            task: selects the projector.

        Returns:
            ``(k, d)``.
        """
        adapter = self.branch(task).adapter
        answer = self.config.answer
        if task != "caption" and answer is not None and answer.thumbnails:
            squares = [
                make_thumbnails(frame.unsqueeze(0), self.config.token_px)[0] for frame in frames
            ]
            seen = torch.cat((seen, scale_thumbnails(torch.cat(squares)).to(seen.dtype)), dim=1)
        return adapter(seen)

    def embed(self, ids: Tensor, visual: Tensor | None, *, task: TaskName = "caption") -> Tensor:
        """Embed ids, and replace each ``<image>`` by a visual token.

        Args:
            ids: ``(b, s)`` token ids.
            visual: ``(k, d)`` visual tokens in order, row by row; None if there are no ``<image>``
                ids.
            task: selects the decoder.

        Returns:
            ``(b, s, d)``.

        Raises:
            ValueError: if the number of ``<image>`` ids is not ``k``.
        """
        x: Tensor = self.branch(task).decoder.embedding(ids)
        is_image = ids == IMAGE_ID
        wanted = int(is_image.sum())
        given = 0 if visual is None else visual.shape[0]
        if wanted != given:
            raise ValueError(f"got {given} visual tokens, expected {wanted}: one per <image> id")
        if visual is None:
            return x
        return x.masked_scatter(is_image.unsqueeze(-1), visual.to(x.dtype))

    def forward(
        self, ids: Tensor, frames: Sequence[Tensor], *, task: TaskName = "caption"
    ) -> Tensor:
        """Compute the logits of every position, for training and tests, without a cache.

        Args:
            ids: ``(b, s)`` token ids.
            frames: the frames of all rows, in order.
            task: selects projector and decoder.

        Returns:
            ``(b, s, vocabulary)``.
        """
        visual = self.encode_frames(frames, task=task) if frames else None
        decoder = self.branch(task).decoder
        return decoder.logits(decoder(self.embed(ids, visual, task=task)))


def initialise(model: SeedVL, *, seed: int) -> None:
    """Initialize weights: normal with deviation 0.02, residual outputs scaled down by depth.

    The convolutional stem keeps PyTorch's initialization; training replaces it.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, module in model.named_modules():
            if "stem" in name or not isinstance(module, nn.Linear | nn.Embedding):
                continue
            depth = 0
            if name.endswith((".attention.out", "feed_forward.down", "mlp.2")):
                depth = _depth(model.config, name)
            deviation = 0.02 / (2 * depth) ** 0.5 if depth else 0.02
            module.weight.normal_(0.0, deviation, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()


def _depth(config: SeedVLConfig, name: str) -> int:
    """Return the number of blocks of the stack that contains a module."""
    if config.answer is not None and name.startswith("answer.decoder"):
        return config.answer.decoder.depth
    return config.decoder.depth if name.startswith("decoder") else config.vit.depth
