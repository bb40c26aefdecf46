"""A batch that many machines work on: files are read by some, ranges of symbols built by others."""
