"""What lies on disk, and how it changes: all at once, or not at all.

It hands out partitions and the Parquet that they are written in (`partitions`, `parquet_writer`),
the catalog and how it is made (`catalog`, `catalog_writer`), the journal and the publish
(`journal`, `publish`), and what is published (`holdings`).
"""
