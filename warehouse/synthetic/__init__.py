"""The made-up market of the demo, the tests and the benchmarks.

It hands out `Market` (`market`) and its files as the vendor writes them (`files`).
"""
