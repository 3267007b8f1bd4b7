"""vLLM in your own process: the prompt and the images of its offline inputs, from one clip.

    python examples/vllm_offline.py CLIP FOLDER_OR_NAME

The processor of the checkpoint writes the prompt, with one placeholder per frame and the time of
each beside it. Its family is that of the configuration.
"""

import sys

import vllm
from transformers import AutoConfig, AutoProcessor

from seedvideo.integrations.vllm import inputs

clip, name = sys.argv[1:]
llm = vllm.LLM(name, limit_mm_per_prompt={"image": 64})
request = inputs(
    clip,
    "What happens?",
    processor=AutoProcessor.from_pretrained(name),
    family=AutoConfig.from_pretrained(name).model_type,
    budget_tokens=16_384,
    max_frames=64,
)
(reply,) = llm.generate(request, vllm.SamplingParams(temperature=0, max_tokens=64))
print(reply.outputs[0].text)
