"""The whole model: Seed-ViT, adapter and decoder joined, and the sizes it comes in.

A model may have a second adapter and decoder that answer questions and find moments, while the
first describe; both read the same Seed-ViT. A model without them does all with the first.

A sequence is token ids in which ``<image>`` stands once for every visual token; the visual tokens
of the frames take these places in order (Seed1.5-VL, section 2). Knows nothing of files, text or
time: ``packing`` writes the sequence, ``backends.native`` turns it into ids.

Notation used for tensor shapes:
    b: rows; s: positions; k: visual tokens of all frames; d: width of the decoder
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seedvideo.model.backends.base import SKILLS, Skill
from seedvideo.model.language_model import Decoder, DecoderConfig
from seedvideo.model.layers import Adapter, Pointer, Reader
from seedvideo.model.metadata import IMAGE_ID
from seedvideo.model.vision_encoder import THUMBNAIL_VALUES, SeedViT, VitConfig, scaled, thumbnails
from seedvideo.sampler.geometry import POOL


@dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """Sizes of the branch that answers questions and finds moments.

    Args:
        adapter_hidden: channels between its adapter's two layers.
        decoder: its language model.
        thumbnails: whether its adapter reads each token's own square beside the encoder's vector.
        pointer: whether it says of each frame how likely a question is about it.
        reader: whether answers are written from the frames that are pointed at.

    Raises:
        ValueError: if it is to read without a pointer.
    """

    adapter_hidden: int
    decoder: DecoderConfig
    thumbnails: bool = False
    pointer: bool = False
    reader: bool = False

    def __post_init__(self) -> None:
        if self.reader and not self.pointer:
            raise ValueError("the answer branch has a reader and no pointer for it to follow")


@dataclass(frozen=True, kw_only=True)
class SeedVLConfig:
    """Sizes of the whole model.

    Args:
        vit: the vision encoder.
        adapter_hidden: channels between the adapter's two layers.
        decoder: the language model.
        answer: the branch for questions and moments; None where one branch has all skills.

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
                f"{self.decoder.vocabulary}: they share one vocabulary"
            )

    @property
    def token_px(self) -> int:
        """Side of the square that one visual token covers, in pixels."""
        return self.vit.patch_px * POOL

    @classmethod
    def published(cls) -> "SeedVLConfig":
        """The published sizes, as far as there are any.

        The encoder is the report's (table 1: 532 M parameters). The report names neither the
        adapter's hidden width nor the language model's sizes beyond "20 B active parameters" of a
        mixture of experts: a dense decoder of about 20 B parameters stands here instead, and its
        sizes, like the adapter's, are ours.
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
        """The embedded model: about 12 M parameters, 64x64 px a visual token."""
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
        """Plain values, for a checkpoint's ``config.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SeedVLConfig":
        """Inverse of ``to_json``.

        Raises:
            TypeError: if a key is missing or unknown.
            ValueError: if the values do not fit each other.
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


class Voice(NamedTuple):
    """What one skill uses after the vision encoder."""

    adapter: Adapter
    decoder: Decoder


class AnswerBranch(nn.Module):
    """The second adapter and decoder."""

    def __init__(self, vision_width: int, config: AnswerConfig):
        super().__init__()
        width = vision_width + (THUMBNAIL_VALUES if config.thumbnails else 0)
        self.adapter = Adapter(width, config.adapter_hidden, config.decoder.width)
        self.decoder = Decoder(config.decoder)
        self.pointer = Pointer(config.decoder.width) if config.pointer else None
        self.reader = Reader(config.decoder.width) if config.reader else None

    def read(self, states: Tensor, frame_ends: Tensor) -> Callable[[Tensor], Tensor]:
        """What turns a state into the one that words are chosen from, for one prompt.

        Args:
            states: ``(1, s, d)`` last states of the prompt, its thought included.
            frame_ends: ``(m,)`` positions of the marks that end its frames; one at least.

        Returns:
            Of ``(b, d)`` states ``(b, d)``: themselves, where the branch has no reader.
        """
        if self.reader is None or self.pointer is None:
            return lambda hidden: hidden
        asked, frames = states[0, -1:], states[0, frame_ends]
        beside = torch.ones(1, len(frame_ends), dtype=torch.bool, device=states.device)
        named, held = self.reader.named(asked, frames), self.pointer(asked, frames)
        return partial(self.reader, evidence=self.reader.evidence(named, held, frames, beside))


class SeedVL(nn.Module):
    """Frames and token ids to hidden states."""

    def __init__(self, config: SeedVLConfig):
        super().__init__()
        self.config = config
        self.vit = SeedViT(config.vit)
        self.adapter = Adapter(config.vit.width, config.adapter_hidden, config.decoder.width)
        self.decoder = Decoder(config.decoder)
        self.answer = (
            None if config.answer is None else AnswerBranch(config.vit.width, config.answer)
        )

    def voice(self, skill: Skill) -> Voice:
        """The adapter and decoder of a skill.

        Raises:
            ValueError: if there is no such skill.
        """
        if skill not in SKILLS:
            raise ValueError(f"skill is {skill!r}, expected one of {', '.join(SKILLS)}")
        if skill == "caption" or self.answer is None:
            return Voice(self.adapter, self.decoder)
        return Voice(self.answer.adapter, self.answer.decoder)

    def see(self, frames: Sequence[Tensor], *, skill: Skill = "caption") -> Tensor:
        """Encode ``(h, w, 3)`` uint8 frames to ``(k, d)`` vectors for the skill's decoder."""
        return self.adapt(self.vit(frames), frames, skill=skill)

    def adapt(self, seen: Tensor, frames: Sequence[Tensor], *, skill: Skill) -> Tensor:
        """Turn the encoder's vectors into those that the skill's decoder reads.

        Args:
            seen: ``(k, width of the encoder)``.
            frames: what it has seen, for a branch that reads thumbnails.
            skill: whose adapter is used.

        Returns:
            ``(k, d)``.
        """
        adapter = self.voice(skill).adapter
        answer = self.config.answer
        if skill != "caption" and answer is not None and answer.thumbnails:
            squares = [thumbnails(frame.unsqueeze(0), self.config.token_px)[0] for frame in frames]
            seen = torch.cat((seen, scaled(torch.cat(squares)).to(seen.dtype)), dim=1)
        return adapter(seen)

    def embed(self, ids: Tensor, visual: Tensor | None, *, skill: Skill = "caption") -> Tensor:
        """Look ids up, and put the visual tokens in the places of ``<image>``.

        Args:
            ids: ``(b, s)`` token ids.
            visual: ``(k, d)``, in the order of the places, row by row; none if there are no places.
            skill: whose decoder is to read them.

        Returns:
            ``(b, s, d)``.

        Raises:
            ValueError: if the number of places is not ``k``.
        """
        x: Tensor = self.voice(skill).decoder.embedding(ids)
        places = ids == IMAGE_ID
        wanted = int(places.sum())
        given = 0 if visual is None else visual.shape[0]
        if wanted != given:
            raise ValueError(f"the sequence has places for {wanted} visual tokens, got {given}")
        if visual is None:
            return x
        return x.masked_scatter(places.unsqueeze(-1), visual.to(x.dtype))

    def forward(self, ids: Tensor, frames: Sequence[Tensor], *, skill: Skill = "caption") -> Tensor:
        """Logits for every position, for training and tests; ``generate`` uses a cache instead.

        Args:
            ids: ``(b, s)`` token ids.
            frames: the frames of all rows, in the order of their places.
            skill: whose adapter and decoder are used.

        Returns:
            ``(b, s, vocabulary)``.
        """
        visual = self.see(frames, skill=skill) if frames else None
        decoder = self.voice(skill).decoder
        return decoder.logits(decoder(self.embed(ids, visual, skill=skill)))


def initialise(model: SeedVL, *, seed: int) -> None:
    """Fresh weights: normal with deviation 0.02, outputs of residual parts scaled by depth.

    The convolutional stem keeps PyTorch's own start; training replaces it.
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
    """Blocks of the stack that a module lies in."""
    if config.answer is not None and name.startswith("answer.decoder"):
        return config.answer.decoder.depth
    return config.decoder.depth if name.startswith("decoder") else config.vit.depth
