"""The sampler: which frames of a video are shown to a model, when, how large, and why.

Knows a video only as its header facts and the times of its frames, and a model only as a
`TokenGeometry` and the price of a time text. Opens no file and runs no model.
"""
