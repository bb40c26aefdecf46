"""From a raw file to clean rows in the tape's order.

It hands out the staged partitions and rejects of one batch (`stage`). On the way: inflate, tell
what a line is, clean by SQL, put in order, build partitions of a symbol or of all.
"""
