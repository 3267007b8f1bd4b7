"""Metrics of captions, answers and times: numbers and strings only.

`seedvideo.evaluate.scoring` lists the metrics of each task in ``MEASURES``.
"""
