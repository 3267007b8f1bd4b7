"""Metrics of captions, answers and times, as functions over numbers and strings."""
