"""Answers, each of one generation of the catalog.

It hands out rows as frames from partitions or from memory (`answers`, `cache`), what is there and
why the rest is not (`coverage`), and below it features, free-form SQL and streams. It never
writes.
"""
