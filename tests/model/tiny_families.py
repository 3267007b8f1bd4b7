"""Tiny checkpoints of the families whose visual tokens form a grid, made as in `tiny_checkpoints`.

Chat templates are written in the form that each family is known for.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import transformers

from tests.model.tiny_checkpoints import (
    CHATML,
    QWEN_ENDS,
    SWITCHED_CHATML,
    TEXT,
    VISION,
    begin_texts,
    chat_template,
    make_qwen3_vl,
    make_qwen_tokenizer,
    make_tokenizer,
    token_ids,
    write_checkpoint,
)
from tests.model.tiny_probed import make_idefics3, make_llava_next_video
from tests.model.tiny_tiles import (
    make_gemma3,
    make_internvl,
    make_llava_onevision,
    make_smolvlm,
)

MROPE: Final = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]}
GRID_VISION: Final = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2}
QWEN3_VISION: Final = {**GRID_VISION, "out_hidden_size": 32, "num_position_embeddings": 64}


QWEN_IDS: Final = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}


def make_qwen3_processor(tokenizer: Any, template: str = CHATML) -> Any:
    return transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(
            patch_size=16, size={"shortest_edge": 4_096, "longest_edge": 16_777_216}
        ),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen3VLVideoProcessor(),
        chat_template=template,
    )


def make_qwen3_vl_moe(folder: Path) -> Path:
    tokenizer = make_qwen_tokenizer()
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "rope_parameters": {**MROPE, "mrope_interleaved": True},
    }
    config = transformers.Qwen3VLMoeConfig(
        text_config=text,
        vision_config={**QWEN3_VISION, "deepstack_visual_indexes": [0]},
        **token_ids(tokenizer, **QWEN_IDS),
    )
    model = transformers.Qwen3VLMoeForConditionalGeneration
    return write_checkpoint(folder, model, config, make_qwen3_processor(tokenizer), **QWEN_ENDS)


LINEAR_ATTENTION: Final = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "rope_parameters": {**MROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0},
}


def make_qwen3_5(folder: Path) -> Path:
    tokenizer = make_qwen_tokenizer()
    text = {**TEXT, **LINEAR_ATTENTION, "vocab_size": len(tokenizer)}
    config = transformers.Qwen3_5Config(
        text_config=text, vision_config=QWEN3_VISION, **token_ids(tokenizer, **QWEN_IDS)
    )
    processor = make_qwen3_processor(tokenizer, SWITCHED_CHATML)
    return write_checkpoint(
        folder, transformers.Qwen3_5ForConditionalGeneration, config, processor, **QWEN_ENDS
    )


def make_qwen2_5_vl(folder: Path) -> Path:
    tokenizer = make_qwen_tokenizer()
    config = transformers.Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": MROPE},
        vision_config={**GRID_VISION, "out_hidden_size": 32, "fullatt_block_indexes": [1]},
        **token_ids(tokenizer, **QWEN_IDS),
    )
    processor = transformers.Qwen2_5_VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(),
        chat_template=CHATML,
    )
    return write_checkpoint(
        folder, transformers.Qwen2_5_VLForConditionalGeneration, config, processor, **QWEN_ENDS
    )


_GLM_SPECIAL: Final = (
    "<|endoftext|>",
    "[gMASK]",
    "<sop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|image|>",
    "<|video|>",
    "<|begin_of_box|>",
    "<|end_of_box|>",
)
GLM_IDS: Final = {
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
}


def make_glm(
    folder: Path,
    config_class: Any,
    model_class: Any,
    name: str,
    *,
    reply: str,
    media: str = "",
    **text: Any,
) -> Path:
    """Write a checkpoint of a GLM type.

    Args:
        folder: folder to write.
        config_class: class of its configuration.
        model_class: class of its model.
        name: name of its processor.
        reply: what opens a reply.
        media: name of its image and video processor, if it is another.
        text: further configuration of the language model.
    """
    tokenizer = make_tokenizer(_GLM_SPECIAL, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens(["<think>", "</think>", "<answer>", "</answer>"])
    config = config_class(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": MROPE, **text},
        vision_config={**GRID_VISION, "out_hidden_size": 32, "image_size": 56},
        **token_ids(tokenizer, **GLM_IDS),
    )
    media = media or name
    processor = getattr(transformers, f"{name}Processor")(
        image_processor=getattr(transformers, f"{media}ImageProcessor")(),
        tokenizer=tokenizer,
        video_processor=getattr(transformers, f"{media}VideoProcessor")(),
        chat_template=chat_template(
            "<|ROLE|>\nCONTENT",
            start="[gMASK]<sop>",
            image="<|begin_of_image|><|image|><|end_of_image|>",
            reply=reply,
        ),
    )
    return write_checkpoint(
        folder, model_class, config, processor, end="<|user|>", pad="<|endoftext|>"
    )


def make_glm_4_1v(folder: Path) -> Path:
    """Write a checkpoint that always reasons, and opens its thoughts itself."""
    return make_glm(
        folder,
        transformers.Glm4vConfig,
        transformers.Glm4vForConditionalGeneration,
        "Glm4v",
        reply="<|assistant|>\n",
    )


def make_glm_4_6v(folder: Path) -> Path:
    """Write a checkpoint whose reasoning can be switched."""
    return make_glm(
        folder,
        transformers.Glm46VConfig,
        transformers.Glm46VForConditionalGeneration,
        "Glm46V",
        reply="<|assistant|>\n{% if enable_thinking is defined and not enable_thinking %}"
        "<think></think>\n{% endif %}",
    )


def make_gemma4(folder: Path) -> Path:
    special = (
        "<pad>",
        "<eos>",
        "<bos>",
        "<|turn>",
        "<turn|>",
        "<|think|>",
        "<|channel>",
        "<channel|>",
        "<|image>",
        "<image|>",
        "<|image|>",
        "<|video|>",
        "<|audio>",
        "<audio|>",
        "<|audio|>",
    )
    tokenizer = make_tokenizer(
        special,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens={
            "image_token": "<|image|>",
            "boi_token": "<|image>",
            "eoi_token": "<image|>",
            "audio_token": "<|audio|>",
            "boa_token": "<|audio>",
            "eoa_token": "<audio|>",
        },
    )
    begin_texts(tokenizer)
    config = transformers.Gemma4Config(
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "pad_token_id": 0,
            "vocab_size_per_layer_input": len(tokenizer),
            "hidden_size_per_layer_input": 8,
            "global_head_dim": 16,
            "sliding_window": 64,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config={
            **VISION,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "position_embedding_size": 128,
        },
        audio_config=None,
        **token_ids(
            tokenizer,
            image_token_id="<|image|>",
            video_token_id="<|video|>",
            audio_token_id="<|audio|>",
            boi_token_id="<|image>",
            eoi_token_id="<image|>",
            boa_token_id="<|audio>",
            eoa_token_index="<audio|>",
        ),
    )
    processor = transformers.Gemma4Processor(
        feature_extractor=transformers.Gemma4AudioFeatureExtractor(),
        image_processor=transformers.Gemma4ImageProcessor(max_soft_tokens=70),
        tokenizer=tokenizer,
        video_processor=transformers.Gemma4VideoProcessor(),
        chat_template=chat_template(
            "<|turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
            "{% if loop.first and message['role'] == 'system' and enable_thinking %}<|think|>"
            "{% endif %}CONTENT<turn|>\n",
            start="{{ bos_token }}{% if enable_thinking and messages[0]['role'] != 'system' %}"
            "<|turn>system\n<|think|><turn|>\n{% endif %}",
            image="<|image|>",
            reply="<|turn>model\n",
        ),
    )
    ends = {"end": "<turn|>", "pad": "<pad>"}
    return write_checkpoint(
        folder, transformers.Gemma4ForConditionalGeneration, config, processor, **ends
    )


def make_video_llama3(folder: Path) -> Path:
    tokenizer = make_qwen_tokenizer()
    config = transformers.VideoLlama3Config(
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": len(tokenizer)},
        vision_config={**VISION, "patch_size": 14},
        **token_ids(tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>"),
    )
    processor = transformers.VideoLlama3Processor(
        image_processor=transformers.VideoLlama3ImageProcessor(),
        tokenizer=tokenizer,
        video_processor=transformers.VideoLlama3VideoProcessor(),
        chat_template=chat_template(
            "<|im_start|>ROLE\nCONTENT<|im_end|>\n",
            image="<|image_pad|>\n",
            reply="<|im_start|>assistant\n",
        ),
    )
    return write_checkpoint(
        folder, transformers.VideoLlama3ForConditionalGeneration, config, processor, **QWEN_ENDS
    )


_MISTRAL_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "[SYSTEM_PROMPT]{% for part in message['content'] %}{{ part['text'] }}{% endfor %}"
    "[/SYSTEM_PROMPT]{% elif message['role'] == 'user' %}[INST]{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}[IMG]{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "[/INST]{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}"
    "{{ eos_token }}{% endif %}{% endfor %}"
)


def make_mistral3(folder: Path) -> Path:
    special = ("<unk>", "<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]")
    tokenizer = make_tokenizer(
        [*special, "[IMG_END]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"],
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    )
    begin_texts(tokenizer)
    config = transformers.Mistral3Config(
        text_config={**TEXT, "model_type": "mistral", "vocab_size": len(tokenizer)},
        vision_config={
            **VISION,
            "model_type": "pixtral",
            "image_size": 1540,
            "patch_size": 14,
            "head_dim": 16,
        },
        **token_ids(tokenizer, image_token_index="[IMG]"),
    )
    processor = transformers.PixtralProcessor(
        image_processor=transformers.PixtralImageProcessor(
            size={"longest_edge": 1540}, patch_size={"height": 14, "width": 14}
        ),
        tokenizer=tokenizer,
        patch_size=14,
        spatial_merge_size=2,
        chat_template=_MISTRAL_TEMPLATE,
    )
    ends = {"end": "</s>", "pad": "<pad>"}
    return write_checkpoint(
        folder, transformers.Mistral3ForConditionalGeneration, config, processor, **ends
    )


MAKERS: Final[dict[str, Callable[[Path], Path]]] = {
    "qwen3-vl": make_qwen3_vl,
    "qwen3-vl-moe": make_qwen3_vl_moe,
    "qwen3.5": make_qwen3_5,
    "qwen2.5-vl": make_qwen2_5_vl,
    "glm-4.1v": make_glm_4_1v,
    "glm-4.6v": make_glm_4_6v,
    "smolvlm": make_smolvlm,
    "internvl": make_internvl,
    "llava-onevision": make_llava_onevision,
    "gemma3": make_gemma3,
    "gemma4": make_gemma4,
    "video-llama3": make_video_llama3,
    "mistral3": make_mistral3,
    "idefics3": make_idefics3,
    "llava_next_video": make_llava_next_video,
}
"""Makers by the name of the family; Qwen3-VL has two, and the last two have no row."""
