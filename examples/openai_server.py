"""A request to any server with the chat interface of OpenAI: your client, with our frames.

    python examples/openai_server.py CLIP http://localhost:8000/v1 MODEL

Each frame is a JPEG picture after the text of its time. The name of the model decides the sizes of
the frames; the key is read from OPENAI_API_KEY by the official client.
"""

import sys

import openai

from seedvideo.integrations.openai import messages

clip, address, model = sys.argv[1:]
client = openai.OpenAI(base_url=address)
reply = client.chat.completions.create(
    model=model,
    messages=messages(clip, "What happens?", model=model, budget_tokens=16_384),
    max_tokens=256,
    temperature=0,
)
print(reply.choices[0].message.content)
