"""Qwen3-VL with frames that seedvideo samples, by changing one import.

    python examples/qwen3_vl.py CLIP FOLDER_OR_NAME

The script is the usual one with qwen-vl-utils; only `process_vision_info` comes from seedvideo. The
frames follow the content of the clip, and the prompt states the time of each.
"""

import sys

from transformers import AutoModelForImageTextToText, AutoProcessor

from seedvideo.integrations.qwen import process_vision_info

clip, name = sys.argv[1:]
processor = AutoProcessor.from_pretrained(name)
model = AutoModelForImageTextToText.from_pretrained(name, dtype="auto")
parts = [{"type": "video", "video": clip}, {"type": "text", "text": "What happens?"}]
messages = [{"role": "user", "content": parts}]
text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
images, videos, kwargs = process_vision_info(
    messages,
    return_video_kwargs=True,
    return_video_metadata=True,
    image_patch_size=16,
    budget_tokens=16_384,
)
videos, metadata = zip(*videos, strict=True)
inputs = processor(
    text=[text],
    images=images,
    videos=list(videos),
    video_metadata=list(metadata),
    do_resize=False,
    return_tensors="pt",
    **kwargs,
).to(model.device)
answer = model.generate(**inputs, max_new_tokens=64)[:, inputs["input_ids"].shape[1] :]
print(processor.batch_decode(answer, skip_special_tokens=True)[0])
