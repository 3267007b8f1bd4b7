"""Many videos as one job, each with a verdict, in a journal that survives any stop.

Told from the inside out: `item` (one row of a job), `job` (everything that was asked),
`fingerprint` (when two results are the same), `inputs` (from names and manifests to items),
`shard`, `journal` (what became of each item) and `merge`.
"""
