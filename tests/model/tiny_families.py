"""Tiny checkpoints of the other families, made as those of `tiny_checkpoints`.

Chat templates are written in the form that each family is known for. Tiles and squares are small,
so that a test is fast; `seedvideo.model.families` reads their sizes from the checkpoint.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
import transformers as tf
from tokenizers import processors

from tests.model.tiny_checkpoints import (
    CHATML,
    QWEN_SPECIAL,
    SWITCHED_CHATML,
    make_tokenizer,
)

_TEXT: Final = {
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
_MROPE: Final = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]}
_VISION: Final = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_GRID_VISION: Final = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2}
_QWEN3_VISION: Final = {**_GRID_VISION, "out_hidden_size": 32, "num_position_embeddings": 64}


def _template(turn: str, *, image: str, reply: str, start: str = "") -> str:
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


_MEDIA_FIRST: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'video' %}<video>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Chat template of LLaVA-OneVision, which writes all images and videos first."""


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
        if not token.lstrip("Ġ").isalpha() or not token.isascii() and token[0] != "Ġ":
            model.get_output_embeddings().weight.data[index] = 0
    end_id, pad_id = (int(tokenizer.convert_tokens_to_ids(token)) for token in (end, pad))
    model.generation_config = tf.GenerationConfig(
        do_sample=True, temperature=0.7, eos_token_id=[end_id], pad_token_id=pad_id
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _qwen_tokenizer(*more: str, **names: Any) -> Any:
    tokenizer = make_tokenizer(
        [*QWEN_SPECIAL, *more], eos_token="<|im_end|>", pad_token="<|endoftext|>", **names
    )
    tokenizer.add_tokens(["<think>", "</think>"])
    return tokenizer


def _begins_texts(tokenizer: Any) -> None:
    """Let a tokenizer write its first token before each text, as those of Gemma and Mistral do."""
    begin = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.bos_token_id)]
    )


def _ids(tokenizer: Any, **tokens: str) -> dict[str, int]:
    return {name: int(tokenizer.convert_tokens_to_ids(token)) for name, token in tokens.items()}


_QWEN_IDS: Final = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_QWEN_ENDS: Final = {"end": "<|im_end|>", "pad": "<|endoftext|>"}


def _qwen3_processor(tokenizer: Any, template: str = CHATML) -> Any:
    return tf.Qwen3VLProcessor(
        image_processor=tf.Qwen2VLImageProcessor(
            patch_size=16, size={"shortest_edge": 4_096, "longest_edge": 16_777_216}
        ),
        tokenizer=tokenizer,
        video_processor=tf.Qwen3VLVideoProcessor(),
        chat_template=template,
    )


def make_qwen3_vl_moe(folder: Path) -> Path:
    tokenizer = _qwen_tokenizer()
    text = {
        **_TEXT,
        "vocab_size": len(tokenizer),
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "rope_parameters": {**_MROPE, "mrope_interleaved": True},
    }
    config = tf.Qwen3VLMoeConfig(
        text_config=text,
        vision_config={**_QWEN3_VISION, "deepstack_visual_indexes": [0]},
        **_ids(tokenizer, **_QWEN_IDS),
    )
    model = tf.Qwen3VLMoeForConditionalGeneration
    return write_checkpoint(folder, model, config, _qwen3_processor(tokenizer), **_QWEN_ENDS)


def make_qwen3_5(folder: Path) -> Path:
    tokenizer = _qwen_tokenizer()
    text = {
        **_TEXT,
        "vocab_size": len(tokenizer),
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "rope_parameters": {**_MROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0},
    }
    config = tf.Qwen3_5Config(
        text_config=text, vision_config=_QWEN3_VISION, **_ids(tokenizer, **_QWEN_IDS)
    )
    processor = _qwen3_processor(tokenizer, SWITCHED_CHATML)
    return write_checkpoint(folder, tf.Qwen3_5ForConditionalGeneration, config, processor, **_QWEN_ENDS)


def make_qwen2_5_vl(folder: Path) -> Path:
    tokenizer = _qwen_tokenizer()
    config = tf.Qwen2_5_VLConfig(
        text_config={**_TEXT, "vocab_size": len(tokenizer), "rope_parameters": _MROPE},
        vision_config={**_GRID_VISION, "out_hidden_size": 32, "fullatt_block_indexes": [1]},
        **_ids(tokenizer, **_QWEN_IDS),
    )
    processor = tf.Qwen2_5_VLProcessor(
        image_processor=tf.Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=tf.Qwen2VLVideoProcessor(),
        chat_template=CHATML,
    )
    return write_checkpoint(folder, tf.Qwen2_5_VLForConditionalGeneration, config, processor, **_QWEN_ENDS)


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
_GLM_IDS: Final = {
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
}


def _make_glm(
    folder: Path, config_class: Any, model_class: Any, name: str, *, reply: str
) -> Path:
    tokenizer = make_tokenizer(_GLM_SPECIAL, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens(["<think>", "</think>", "<answer>", "</answer>"])
    config = config_class(
        text_config={
            **_TEXT,
            "model_type": "glm4v_text",
            "vocab_size": len(tokenizer),
            "rope_parameters": _MROPE,
        },
        vision_config={
            **_GRID_VISION,
            "model_type": "glm4v_vision",
            "out_hidden_size": 32,
            "image_size": 56,
        },
        **_ids(tokenizer, **_GLM_IDS),
    )
    processor = getattr(tf, f"{name}Processor")(
        image_processor=getattr(tf, f"{name}ImageProcessor")(),
        tokenizer=tokenizer,
        video_processor=getattr(tf, f"{name}VideoProcessor")(),
        chat_template=_template(
            "<|ROLE|>\nCONTENT",
            start="[gMASK]<sop>",
            image="<|begin_of_image|><|image|><|end_of_image|>",
            reply=reply,
        ),
    )
    return write_checkpoint(folder, model_class, config, processor, end="<|user|>", pad="<|endoftext|>")


def make_glm_4_1v(folder: Path) -> Path:
    """Write a checkpoint that always reasons, and opens its thoughts itself."""
    return _make_glm(
        folder,
        tf.Glm4vConfig,
        tf.Glm4vForConditionalGeneration,
        "Glm4v",
        reply="<|assistant|>\n",
    )


def make_glm_4_6v(folder: Path) -> Path:
    """Write a checkpoint whose reasoning can be switched."""
    return _make_glm(
        folder,
        tf.Glm46VConfig,
        tf.Glm46VForConditionalGeneration,
        "Glm46V",
        reply="<|assistant|>\n{% if enable_thinking is defined and not enable_thinking %}"
        "<think></think>\n{% endif %}",
    )


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
    config = tf.SmolVLMConfig(
        text_config={**_TEXT, "model_type": "llama", "vocab_size": len(tokenizer)},
        vision_config={**_VISION, "image_size": 64, "patch_size": 16},
        scale_factor=2,
        pad_token_id=0,
        **_ids(tokenizer, image_token_id="<image>"),
    )
    processor = tf.SmolVLMProcessor(
        image_processor=tf.SmolVLMImageProcessor(
            size={"longest_edge": 128}, max_image_size={"longest_edge": 64}
        ),
        tokenizer=tokenizer,
        video_processor=tf.SmolVLMVideoProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 64}
        ),
        image_seq_len=4,
        chat_template=_template(
            "{{ message['role'] | capitalize }}:"
            "{% if message['content'][0]['type'] != 'image' %} {% endif %}"
            "CONTENT<end_of_utterance>\n",
            start="<|im_start|>",
            image="<image>",
            reply="Assistant:",
        ),
    )
    ends = {"end": "<end_of_utterance>", "pad": "<|im_start|>"}
    return write_checkpoint(folder, tf.SmolVLMForConditionalGeneration, config, processor, **ends)


def make_internvl(folder: Path) -> Path:
    tokenizer = _qwen_tokenizer(
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
    config = tf.InternVLConfig(
        text_config={**_TEXT, "model_type": "qwen2", "vocab_size": len(tokenizer)},
        vision_config={**_VISION, "image_size": 56, "patch_size": 14},
        image_seq_length=4,
        **_ids(tokenizer, image_token_id="<IMG_CONTEXT>"),
    )
    side = {"height": 56, "width": 56}
    processor = tf.InternVLProcessor(
        image_processor=tf.GotOcr2ImageProcessor(size=side, crop_to_patches=True),
        tokenizer=tokenizer,
        video_processor=tf.InternVLVideoProcessor(size=side),
        image_seq_length=4,
        chat_template=_template(
            "<|im_start|>ROLE\nCONTENT<|im_end|>\n",
            image="<IMG_CONTEXT>\n",
            reply="<|im_start|>assistant\n",
        ),
    )
    return write_checkpoint(folder, tf.InternVLForConditionalGeneration, config, processor, **_QWEN_ENDS)


def make_llava_onevision(folder: Path) -> Path:
    tokenizer = _qwen_tokenizer("<image>", "<video>")
    grid = [[56, 56], [56, 112], [112, 56]]
    config = tf.LlavaOnevisionConfig(
        text_config={**_TEXT, "model_type": "qwen2", "vocab_size": len(tokenizer)},
        vision_config={
            **_VISION,
            "model_type": "siglip_vision_model",
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        image_grid_pinpoints=grid,
        **_ids(tokenizer, image_token_index="<image>", video_token_index="<video>"),
    )
    side = {"height": 56, "width": 56}
    processor = tf.LlavaOnevisionProcessor(
        image_processor=tf.LlavaOnevisionImageProcessor(size=side, image_grid_pinpoints=grid),
        tokenizer=tokenizer,
        video_processor=tf.LlavaOnevisionVideoProcessor(size=side),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=_MEDIA_FIRST,
    )
    model = tf.LlavaOnevisionForConditionalGeneration
    return write_checkpoint(folder, model, config, processor, **_QWEN_ENDS)


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
    _begins_texts(tokenizer)
    config = tf.Gemma3Config(
        text_config={
            **_TEXT,
            "vocab_size": len(tokenizer),
            "query_pre_attn_scalar": 16,
            "sliding_window": 64,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config={
            **_VISION,
            "model_type": "siglip_vision_model",
            "image_size": 64,
            "patch_size": 16,
            "vision_use_head": False,
        },
        mm_tokens_per_image=4,
        **_ids(
            tokenizer,
            image_token_index="<image_soft_token>",
            boi_token_index="<start_of_image>",
            eoi_token_index="<end_of_image>",
        ),
    )
    processor = tf.Gemma3Processor(
        image_processor=tf.Gemma3ImageProcessor(size={"height": 64, "width": 64}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=_template(
            "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
            "CONTENT<end_of_turn>\n",
            start="{{ bos_token }}",
            image="<start_of_image>",
            reply="<start_of_turn>model\n",
        ).replace("{{ part['text'] }}", "{{ part['text'] | trim }}"),
    )
    ends = {"end": "<end_of_turn>", "pad": "<pad>"}
    return write_checkpoint(folder, tf.Gemma3ForConditionalGeneration, config, processor, **ends)


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
    _begins_texts(tokenizer)
    config = tf.Gemma4Config(
        text_config={
            **_TEXT,
            "vocab_size": len(tokenizer),
            "pad_token_id": 0,
            "vocab_size_per_layer_input": len(tokenizer),
            "hidden_size_per_layer_input": 8,
            "global_head_dim": 16,
            "sliding_window": 64,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config={
            **_VISION,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "position_embedding_size": 128,
        },
        audio_config=None,
        **_ids(
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
    processor = tf.Gemma4Processor(
        feature_extractor=tf.Gemma4AudioFeatureExtractor(),
        image_processor=tf.Gemma4ImageProcessor(),
        tokenizer=tokenizer,
        video_processor=tf.Gemma4VideoProcessor(),
        chat_template=_template(
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
    return write_checkpoint(folder, tf.Gemma4ForConditionalGeneration, config, processor, **ends)


def make_video_llama3(folder: Path) -> Path:
    tokenizer = _qwen_tokenizer()
    config = tf.VideoLlama3Config(
        text_config={**_TEXT, "model_type": "qwen2", "vocab_size": len(tokenizer)},
        vision_config={**_VISION, "patch_size": 14},
        **_ids(tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>"),
    )
    processor = tf.VideoLlama3Processor(
        image_processor=tf.VideoLlama3ImageProcessor(),
        tokenizer=tokenizer,
        video_processor=tf.VideoLlama3VideoProcessor(),
        chat_template=_template(
            "<|im_start|>ROLE\nCONTENT<|im_end|>\n",
            image="<|image_pad|>\n",
            reply="<|im_start|>assistant\n",
        ),
    )
    return write_checkpoint(folder, tf.VideoLlama3ForConditionalGeneration, config, processor, **_QWEN_ENDS)


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
    _begins_texts(tokenizer)
    config = tf.Mistral3Config(
        text_config={**_TEXT, "model_type": "mistral", "vocab_size": len(tokenizer)},
        vision_config={
            **_VISION,
            "model_type": "pixtral",
            "image_size": 1540,
            "patch_size": 14,
            "head_dim": 16,
        },
        **_ids(tokenizer, image_token_index="[IMG]"),
    )
    processor = tf.PixtralProcessor(
        image_processor=tf.PixtralImageProcessor(
            size={"longest_edge": 1540}, patch_size={"height": 14, "width": 14}
        ),
        tokenizer=tokenizer,
        patch_size=14,
        spatial_merge_size=2,
        chat_template=_MISTRAL_TEMPLATE,
    )
    ends = {"end": "</s>", "pad": "<pad>"}
    return write_checkpoint(folder, tf.Mistral3ForConditionalGeneration, config, processor, **ends)


MAKERS: Final[dict[str, Callable[[Path], Path]]] = {
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
}
