"""Tiny checkpoints of the families that cut images into squares, made as in `tiny_checkpoints`.

The squares are small, so that a test is fast: sizes are read from the checkpoint.
"""

from pathlib import Path
from typing import Final

import transformers

from tests.model.tiny_checkpoints import (
    QWEN_ENDS,
    TEXT,
    VISION,
    begin_texts,
    chat_template,
    make_qwen_tokenizer,
    make_tokenizer,
    token_ids,
    write_checkpoint,
)

_MEDIA_FIRST: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'video' %}<video>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Chat template of LLaVA-OneVision, which writes all images and videos first."""


def make_smolvlm(folder: Path) -> Path:
    special = (
        "<|im_start|>",
        "<end_of_utterance>",
        "<fake_token_around_image>",
        "<global-img>",
        "<image>",
        *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
    )
    tokenizer = make_tokenizer(special, eos_token="<end_of_utterance>", pad_token="<|im_start|>")
    config = transformers.SmolVLMConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(tokenizer)},
        vision_config={**VISION, "image_size": 64, "patch_size": 16},
        scale_factor=2,
        **token_ids(tokenizer, image_token_id="<image>"),
    )
    processor = transformers.SmolVLMProcessor(
        image_processor=transformers.SmolVLMImageProcessor(
            size={"longest_edge": 128}, max_image_size={"longest_edge": 64}
        ),
        tokenizer=tokenizer,
        video_processor=transformers.SmolVLMVideoProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 64}
        ),
        image_seq_len=4,
        chat_template=chat_template(
            "{{ message['role'] | capitalize }}:"
            "{% if message['content'][0]['type'] != 'image' %} {% endif %}"
            "CONTENT<end_of_utterance>\n",
            start="<|im_start|>",
            image="<image>",
            reply="Assistant:",
        ),
    )
    ends = {"end": "<end_of_utterance>", "pad": "<|im_start|>"}
    return write_checkpoint(
        folder, transformers.SmolVLMForConditionalGeneration, config, processor, **ends
    )


def make_internvl(folder: Path) -> Path:
    tokenizer = make_qwen_tokenizer(
        "<img>",
        "</img>",
        "<IMG_CONTEXT>",
        "<video>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    config = transformers.InternVLConfig(
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": len(tokenizer)},
        vision_config={**VISION, "image_size": 56, "patch_size": 14},
        image_seq_length=4,
        **token_ids(tokenizer, image_token_id="<IMG_CONTEXT>"),
    )
    side = {"height": 56, "width": 56}
    processor = transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessor(size=side, crop_to_patches=True),
        tokenizer=tokenizer,
        video_processor=transformers.InternVLVideoProcessor(size=side),
        image_seq_length=4,
        chat_template=chat_template(
            "<|im_start|>ROLE\nCONTENT<|im_end|>\n",
            image="<IMG_CONTEXT>\n",
            reply="<|im_start|>assistant\n",
        ),
    )
    return write_checkpoint(
        folder, transformers.InternVLForConditionalGeneration, config, processor, **QWEN_ENDS
    )


def make_llava_onevision(folder: Path) -> Path:
    tokenizer = make_qwen_tokenizer("<image>", "<video>")
    grid = [[56, 56], [56, 112], [112, 56]]
    config = transformers.LlavaOnevisionConfig(
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": len(tokenizer)},
        vision_config={
            **VISION,
            "model_type": "siglip_vision_model",
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        image_grid_pinpoints=grid,
        **token_ids(tokenizer, image_token_index="<image>", video_token_index="<video>"),
    )
    side = {"height": 56, "width": 56}
    processor = transformers.LlavaOnevisionProcessor(
        image_processor=transformers.LlavaOnevisionImageProcessor(
            size=side, image_grid_pinpoints=grid
        ),
        tokenizer=tokenizer,
        video_processor=transformers.LlavaOnevisionVideoProcessor(size=side),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=_MEDIA_FIRST,
    )
    model = transformers.LlavaOnevisionForConditionalGeneration
    return write_checkpoint(folder, model, config, processor, **QWEN_ENDS)


def make_gemma3(folder: Path) -> Path:
    special = (
        "<pad>",
        "<eos>",
        "<bos>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<start_of_image>",
        "<end_of_image>",
        "<image_soft_token>",
    )
    tokenizer = make_tokenizer(
        special,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
    )
    begin_texts(tokenizer)
    config = transformers.Gemma3Config(
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "query_pre_attn_scalar": 16,
            "sliding_window": 64,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config={
            **VISION,
            "model_type": "siglip_vision_model",
            "image_size": 64,
            "patch_size": 16,
            "vision_use_head": False,
        },
        mm_tokens_per_image=4,
        **token_ids(
            tokenizer,
            image_token_index="<image_soft_token>",
            boi_token_index="<start_of_image>",
            eoi_token_index="<end_of_image>",
        ),
    )
    processor = transformers.Gemma3Processor(
        image_processor=transformers.Gemma3ImageProcessor(size={"height": 64, "width": 64}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=chat_template(
            "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
            "CONTENT<end_of_turn>\n",
            start="{{ bos_token }}",
            image="<start_of_image>",
            reply="<start_of_turn>model\n",
        ).replace("{{ part['text'] }}", "{{ part['text'] | trim }}"),
    )
    ends = {"end": "<end_of_turn>", "pad": "<pad>"}
    return write_checkpoint(
        folder, transformers.Gemma3ForConditionalGeneration, config, processor, **ends
    )
