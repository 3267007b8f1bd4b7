"""Evaluation: metrics, published benchmarks, two generated benchmarks, and the harness.

`metrics` holds plain functions over numbers and strings; nothing is downloaded and no Java runs.
`types` defines items and predictions, `registry` names the benchmarks, `runner` answers their items
with a model, `results` stores the predictions, `scoring` scores them, `reporting` renders tables.
"""
