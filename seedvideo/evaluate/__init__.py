"""Measures of captions against references written by people: BLEU, CIDEr-D and main nouns.

Pure Python; nothing is downloaded and no Java runs. Knows nothing of models, videos or data sets:
callers bring captions and references as strings.
"""
