"""Pieces read with the types that their columns should have, and the proof that nothing is lost.

`sql/ingest` reads every field as text, since DuckDB takes `100.7`, `1_000` and `0123` for integers
without a word. Hardly a piece has one. `typed_read` reads a piece typed, with a statement of this
folder in place of sql/ingest, and proves that it came to what sql/ingest would have made of it.
"""
