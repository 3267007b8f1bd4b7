"""Tiny checkpoints of open-weight families, made by their own classes with random weights.

They have the real layout on disk: configuration, safetensors, tokenizer, processor, chat template.
So they pass through the same code as a published checkpoint.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

_WORDS: Final = (
    "Describe the video. What is it? Which colour is the car, red, green or blue? A man rides a"
    " bike. Answer with one of the options. 0 1 2 3 4 5 6 7 8 9 seconds [12.5 second] When does"
    " this happen: it is from to s. <0.5 seconds> First think, between and."
)


def make_tokenizer(special: Sequence[str], **names: Any) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on a few words; digits are single tokens.

    Args:
        special: special tokens of the family.
        names: special tokens by role, such as ``eos_token``.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(special),
        show_progress=False,
    )
    backend.train_from_iterator([_WORDS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


CHATML: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif part['type'] == 'video' %}"
    "<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Chat template of the Qwen families."""

THINKING_CHATML: Final = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
"""Chat template of a checkpoint that always reasons."""

SWITCHED_CHATML: Final = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}",
)
"""Chat template whose reasoning can be switched."""

QWEN_SPECIAL: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


def make_qwen3_vl(
    folder: Path,
    *,
    chat_template: str = CHATML,
    seed: int = 0,
    sizes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a Qwen3-VL checkpoint of about 0.2 M parameters.

    Args:
        folder: folder to write.
        chat_template: chat template of the checkpoint.
        seed: seed of the random weights.
        sizes: values of the text and the vision configuration that differ.
    """
    from transformers import (
        GenerationConfig,
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = make_tokenizer(QWEN_SPECIAL, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens(["<think>", "</think>"])

    def ids(token: str) -> int:
        return int(str(tokenizer.convert_tokens_to_ids(token)))

    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 32_768,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
            **(sizes or {}).get("text", {}),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
            **(sizes or {}).get("vision", {}),
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config)
    # Published checkpoints sample.
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_p=0.8,
        eos_token_id=[ids("<|im_end|>"), ids("<|endoftext|>")],
        pad_token_id=ids("<|endoftext|>"),
    )
    model.save_pretrained(folder)
    pixels = {"shortest_edge": 4 * 32 * 32, "longest_edge": 16_384 * 32 * 32}
    Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            patch_size=16, size=pixels, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=chat_template,
    ).save_pretrained(folder)
    return folder


TEXT: Final = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 32_768,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
VISION: Final = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def chat_template(turn: str, *, image: str, reply: str, start: str = "") -> str:
    """Write a chat template: one turn with ``ROLE`` and ``CONTENT``, and what opens a reply."""
    content = (
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}" + image + "{% elif"
        " part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    )
    turn = turn.replace("ROLE", "{{ message['role'] }}").replace("CONTENT", content)
    return (
        f"{start}{{% for message in messages %}}{turn}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{reply}{{% endif %}}"
    )


def write_checkpoint(
    folder: Path, model_class: Any, config: Any, processor: Any, *, end: str, pad: str
) -> Path:
    """Write a checkpoint with random weights and the two ids that published ones state.

    Only words can be likely, so that any answer is a text.
    """
    tokenizer = processor.tokenizer
    torch.manual_seed(0)
    model = model_class(config)
    for token, index in tokenizer.get_vocab().items():
        if not token.lstrip("Ġ").isalpha() or (not token.isascii() and token[0] != "Ġ"):
            model.get_output_embeddings().weight.data[index] = 0
    end_id, pad_id = (int(tokenizer.convert_tokens_to_ids(token)) for token in (end, pad))
    model.generation_config = transformers.GenerationConfig(
        do_sample=True, temperature=0.7, eos_token_id=[end_id], pad_token_id=pad_id
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_qwen_tokenizer(*more: str, **names: Any) -> Any:
    tokenizer = make_tokenizer(
        [*QWEN_SPECIAL, *more], eos_token="<|im_end|>", pad_token="<|endoftext|>", **names
    )
    tokenizer.add_tokens(["<think>", "</think>"])
    return tokenizer


def begin_texts(tokenizer: Any) -> None:
    """Let a tokenizer write its first token before each text, as those of Gemma and Mistral do."""
    begin = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.bos_token_id)]
    )


def token_ids(tokenizer: Any, **tokens: str) -> dict[str, Any]:
    return {name: int(tokenizer.convert_tokens_to_ids(token)) for name, token in tokens.items()}


QWEN_ENDS: Final = {"end": "<|im_end|>", "pad": "<|endoftext|>"}
