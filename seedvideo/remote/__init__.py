"""Remote files and clips in containers: fetched whole into a spool, then opened as regular files.

A remote stream never reaches a demuxer, whose reads could block for ever or go wherever a hostile
header says. `fetching.Fetcher` is what other packages use.
"""
