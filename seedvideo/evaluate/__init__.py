"""How good answers are: scorers, benchmarks as they are published, and the harness over them.

The scorers (`spans`, `recall`, `moments`, `dvc`, `soda`, `bleu`, `cider`, `rouge`, `nouns`,
`letters`, `circular`, `exact`) are plain functions over numbers and strings; nothing is downloaded
and no Java runs. `items` says what a benchmark gives and a model answers, `measures` what an answer
is worth, `run` goes over a benchmark, `summary` and `table` tell.
"""
