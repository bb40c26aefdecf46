"""Streams: rows of many symbols and data types in the order of time, in bounded memory.

It hands out `begin` and `Stream` (`stream`).
"""
