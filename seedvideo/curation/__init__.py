"""Curation: which rows of a table of clips stay, and how often.

`table` reads and writes the rows, `expression` and `presets` hold the filters, `duplicates`
compares clips, and `balance` evens out domains. `curate` runs them in this order, in two passes
over the table, and opens no video. `scoring` is the exception: it compares frames with captions.
"""
