"""What lies on disk, and how it changes: all at once, or not at all.

It hands out partitions and the Parquet that they are written in (`partitions`, `parquet_writer`),
what is published (`manifests`, `catalog`), the journal (`journal`), and how all of it changes
(`publishing`).
"""
