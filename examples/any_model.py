"""Any open-weight model of transformers: your processor and your model, with our frames and times.

    python examples/any_model.py CLIP FOLDER_OR_NAME

Each frame is an image with its time as text beside it, in the words of the model's family. A family
without words of its own (`seedvideo.model.families`) gets plain ones: leave `family` out for it.
"""

import sys

from transformers import AutoModelForImageTextToText, AutoProcessor

from seedvideo.integrations.transformers import chat_inputs

clip, name = sys.argv[1:]
processor = AutoProcessor.from_pretrained(name)
model = AutoModelForImageTextToText.from_pretrained(name, dtype="auto")
messages, images, kwargs = chat_inputs(
    clip,
    "What happens?",
    processor=processor,
    family=model.config.model_type,
    budget_tokens=16_384,
)
text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
inputs = processor(text=[text], images=images, return_tensors="pt", **kwargs)
inputs = inputs.to(model.device, dtype=model.dtype)
answer = model.generate(**inputs, max_new_tokens=64)[:, inputs["input_ids"].shape[1] :]
print(processor.batch_decode(answer, skip_special_tokens=True)[0])
