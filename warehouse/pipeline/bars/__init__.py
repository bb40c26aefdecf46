"""Bars that are kept: built from published trades, and published as partitions of their own."""
