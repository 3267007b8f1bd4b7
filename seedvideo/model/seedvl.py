"""The whole model: Seed-ViT, adapter and decoder joined, and the sizes it comes in.

A sequence is token ids in which ``<image>`` stands once for every visual token; the visual tokens
of the frames take these places in order (Seed1.5-VL, section 2). Knows nothing of files, text or
time: ``packing`` writes the sequence, ``backends.native`` turns it into ids.

Notation used for tensor shapes:
    b: rows; s: positions; k: visual tokens of all frames; d: width of the decoder
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from seedvideo.model.adapter import Adapter
from seedvideo.model.decoder import Decoder, DecoderConfig
from seedvideo.model.vit import SeedViT, VitConfig
from seedvideo.units import POOL

SPECIAL_TOKENS: Final = ("<pad>", "<end>", "<frame>", "</frame>", "<image>", "<answer>")
"""Tokens with a meaning of their own; their ids are their places here."""

PAD_ID, END_ID, FRAME_ID, FRAME_END_ID, IMAGE_ID, ANSWER_ID = range(len(SPECIAL_TOKENS))


@dataclass(frozen=True, kw_only=True)
class SeedVLConfig:
    """Sizes of the whole model.

    Args:
        vit: the vision encoder.
        adapter_hidden: channels between the adapter's two layers.
        decoder: the language model.
    """

    vit: VitConfig
    adapter_hidden: int
    decoder: DecoderConfig

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
        return cls(vit=vit, decoder=decoder, **known)


class SeedVL(nn.Module):
    """Frames and token ids to hidden states."""

    def __init__(self, config: SeedVLConfig):
        super().__init__()
        self.config = config
        self.vit = SeedViT(config.vit)
        self.adapter = Adapter(config.vit.width, config.adapter_hidden, config.decoder.width)
        self.decoder = Decoder(config.decoder)

    def see(self, frames: Sequence[Tensor]) -> Tensor:
        """Encode ``(h, w, 3)`` uint8 frames to ``(k, d)`` vectors for the decoder."""
        return self.adapter(self.vit(frames))

    def embed(self, ids: Tensor, visual: Tensor | None) -> Tensor:
        """Look ids up, and put the visual tokens in the places of ``<image>``.

        Args:
            ids: ``(b, s)`` token ids.
            visual: ``(k, d)``, in the order of the places, row by row; none if there are no places.

        Returns:
            ``(b, s, d)``.

        Raises:
            ValueError: if the number of places is not ``k``.
        """
        x: Tensor = self.decoder.embedding(ids)
        places = ids == IMAGE_ID
        wanted = int(places.sum())
        given = 0 if visual is None else visual.shape[0]
        if wanted != given:
            raise ValueError(f"the sequence has places for {wanted} visual tokens, got {given}")
        if visual is None:
            return x
        return x.masked_scatter(places.unsqueeze(-1), visual.to(x.dtype))

    def forward(self, ids: Tensor, frames: Sequence[Tensor]) -> Tensor:
        """Logits for every position, for training and tests; ``generate`` uses a cache instead.

        Args:
            ids: ``(b, s)`` token ids.
            frames: the frames of all rows, in the order of their places.

        Returns:
            ``(b, s, vocabulary)``.
        """
        visual = self.see(frames) if frames else None
        return self.decoder.logits(self.decoder(self.embed(ids, visual)))


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
                part = model.config.decoder if name.startswith("decoder") else model.config.vit
                depth = part.depth
            deviation = 0.02 / (2 * depth) ** 0.5 if depth else 0.02
            module.weight.normal_(0.0, deviation, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
