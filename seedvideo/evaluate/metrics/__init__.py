"""Metrics of captions, answers and times: numbers and strings only."""
