"""Batch jobs: many videos, each with a recorded outcome, in a journal that survives any stop.

`inputs` turns names and manifests into items, `job` holds the settings, `journal` the outcome of
each item, and `scheduler` runs the processes. `export` and `report` write the results.
"""
