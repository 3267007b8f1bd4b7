"""Tiny checkpoints of further model types that share the row of a family."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import transformers

from tests.model.tiny_checkpoints import (
    CHATML,
    QWEN_ENDS,
    SWITCHED_CHATML,
    TEXT,
    make_qwen_tokenizer,
    token_ids,
    write_checkpoint,
)
from tests.model.tiny_families import (
    LINEAR_ATTENTION,
    MROPE,
    QWEN3_VISION,
    QWEN_IDS,
    make_glm,
    make_qwen3_processor,
)

_EXPERTS: Final[dict[str, Any]] = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}


def make_qwen2_vl(folder: Path) -> Path:
    tokenizer = make_qwen_tokenizer()
    config = transformers.Qwen2VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": MROPE},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2},
        **token_ids(tokenizer, **QWEN_IDS),
    )
    processor = transformers.Qwen2VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(),
        chat_template=CHATML,
    )
    model = transformers.Qwen2VLForConditionalGeneration
    return write_checkpoint(folder, model, config, processor, **QWEN_ENDS)


def make_qwen3_5_moe(folder: Path) -> Path:
    tokenizer = make_qwen_tokenizer()
    text = {
        **TEXT,
        **LINEAR_ATTENTION,
        **_EXPERTS,
        "vocab_size": len(tokenizer),
        "num_experts": 4,
        "shared_expert_intermediate_size": 16,
    }
    config = transformers.Qwen3_5MoeConfig(
        text_config=text, vision_config=QWEN3_VISION, **token_ids(tokenizer, **QWEN_IDS)
    )
    processor = make_qwen3_processor(tokenizer, SWITCHED_CHATML)
    model = transformers.Qwen3_5MoeForConditionalGeneration
    return write_checkpoint(folder, model, config, processor, **QWEN_ENDS)


def make_glm4v_moe(folder: Path) -> Path:
    return make_glm(
        folder,
        transformers.Glm4vMoeConfig,
        transformers.Glm4vMoeForConditionalGeneration,
        "Glm4v",
        reply="<|assistant|>\n",
        **_EXPERTS,
        n_routed_experts=4,
        first_k_dense_replace=1,
        rope_parameters={**MROPE, "mrope_section": [2, 1, 1], "partial_rotary_factor": 0.5},
    )


def make_glmga(folder: Path) -> Path:
    return make_glm(
        folder,
        transformers.GlmgaConfig,
        transformers.Glm46VForConditionalGeneration,
        "Glm46V",
        media="Glmga",
        reply="<|assistant|>\n",
    )


def make_glm5_next(folder: Path) -> Path:
    return make_glm(
        folder,
        transformers.Glm5NextConfig,
        transformers.Glm5NextForConditionalGeneration,
        "Glm5Next",
        reply="<|assistant|>\n",
        **_EXPERTS,
        num_hidden_layers=4,
        num_key_value_heads=2,
        mlp_layer_types=["dense", "sparse", "sparse", "sparse"],
        n_routed_experts=4,
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_nope_head_dim=16,
        qk_rope_head_dim=0,
        v_head_dim=16,
        head_dim=0,
        index_topk=32,
        index_kpool=4,
        index_head_dim=8,
        index_n_heads=2,
        linear_head_dim=8,
        linear_num_heads=2,
        hc_mult=2,
        rope_parameters=None,
    )


SIBLINGS: Final[dict[str, tuple[str, Callable[[Path], Path]]]] = {
    "qwen2_vl": ("qwen2.5-vl", make_qwen2_vl),
    "qwen3_5_moe": ("qwen3.5", make_qwen3_5_moe),
    "glm4v_moe": ("glm-4.1v", make_glm4v_moe),
    "glmga": ("glm-4.6v", make_glmga),
    "glm5_next": ("glm-4.6v", make_glm5_next),
}
"""Family and maker by model type."""
