"""Tiny checkpoints of CLIP and SigLIP, made by their own classes with random weights."""

from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)

from tests.model.tiny_checkpoints import make_tokenizer

SIDE_PX = 32
WORDS = 16
"""Maximum length of a text in tokens."""

_SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def make_clip(folder: Path) -> Path:
    """Write a checkpoint of CLIP."""
    tokenizer = make_tokenizer(
        ["<|startoftext|>", "<|endoftext|>"],
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    end = int(str(tokenizer.convert_tokens_to_ids("<|endoftext|>")))
    config = CLIPConfig(
        text_config={
            **_SIZES,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": WORDS,
            "eos_token_id": end,
            "bos_token_id": 0,
            "pad_token_id": end,
        },
        vision_config={**_SIZES, "image_size": SIDE_PX, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    size = {"height": SIDE_PX, "width": SIDE_PX}
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE_PX}, crop_size=size)
    CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def make_siglip(folder: Path) -> Path:
    """Write a checkpoint of SigLIP."""
    tokenizer = make_tokenizer(["<pad>", "</s>"], eos_token="</s>", pad_token="<pad>")
    config = SiglipConfig(
        text_config={
            **_SIZES,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": WORDS,
            "projection_size": 16,
        },
        vision_config={**_SIZES, "image_size": SIDE_PX, "patch_size": 8},
    )
    torch.manual_seed(0)
    SiglipModel(config).save_pretrained(folder)
    size = {"height": SIDE_PX, "width": SIDE_PX}
    pictures = SiglipImageProcessor(size=size)
    SiglipProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder)
    return folder
