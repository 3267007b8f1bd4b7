"""Tiny checkpoints of two families without a row, whose processors are asked for costs."""

from pathlib import Path

import transformers

from tests.model.tiny_checkpoints import (
    TEXT,
    VISION,
    chat_template,
    make_tokenizer,
    token_ids,
    write_checkpoint,
)


def make_idefics3(folder: Path) -> Path:
    """Write a checkpoint that cuts images into tiles, with text between the rows."""
    special = (
        "<|end_of_text|>",
        "<|begin_of_text|>",
        "<end_of_utterance>",
        "<fake_token_around_image>",
        "<global-img>",
        "<image>",
    )
    rows = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = make_tokenizer(
        [*special, *rows], bos_token="<|begin_of_text|>", eos_token="<end_of_utterance>"
    )
    tokenizer.pad_token = "<|end_of_text|>"
    config = transformers.Idefics3Config(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(tokenizer)},
        vision_config={**VISION, "image_size": 64, "patch_size": 16},
        scale_factor=2,
        **token_ids(tokenizer, image_token_id="<image>"),
    )
    processor = transformers.Idefics3Processor(
        image_processor=transformers.Idefics3ImageProcessor(
            size={"longest_edge": 256}, max_image_size={"longest_edge": 64}
        ),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=chat_template(
            "{{ message['role'] | capitalize }}:CONTENT<end_of_utterance>\n",
            start="<|begin_of_text|>",
            image="<image>",
            reply="Assistant:",
        ),
    )
    ends = {"end": "<end_of_utterance>", "pad": "<|end_of_text|>"}
    model = transformers.Idefics3ForConditionalGeneration
    return write_checkpoint(folder, model, config, processor, **ends)


def make_llava_next_video(folder: Path) -> Path:
    """Write a checkpoint whose images cost more or less by their shape."""
    tokenizer = make_tokenizer(
        ("<unk>", "<s>", "</s>", "<pad>", "<image>", "<video>"),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    )
    grid = [[28, 56], [56, 28], [56, 56]]
    config = transformers.LlavaNextVideoConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(tokenizer)},
        vision_config={
            **VISION,
            "model_type": "clip_vision_model",
            "image_size": 28,
            "patch_size": 7,
            "projection_dim": 32,
        },
        image_grid_pinpoints=grid,
        **token_ids(tokenizer, image_token_index="<image>", video_token_index="<video>"),
    )
    processor = transformers.LlavaNextVideoProcessor(
        image_processor=transformers.LlavaNextImageProcessor(
            size={"shortest_edge": 28},
            crop_size={"height": 28, "width": 28},
            image_grid_pinpoints=grid,
        ),
        video_processor=transformers.LlavaNextVideoVideoProcessor(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ),
        tokenizer=tokenizer,
        patch_size=7,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        chat_template=chat_template(
            "{{ message['role'] | upper }}: CONTENT ", image="<image>\n", reply="ASSISTANT:"
        ),
    )
    ends = {"end": "</s>", "pad": "<pad>"}
    model = transformers.LlavaNextVideoForConditionalGeneration
    return write_checkpoint(folder, model, config, processor, **ends)
