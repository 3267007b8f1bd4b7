"""The sampler: which frames of a video a model is shown, at which size, and why.

It needs only header facts and frame times of a video, and of a model only its `TokenGeometry` and
the token cost of a timestamp text. Only the analysis decodes frames, through an open reader; no
model runs.
"""
