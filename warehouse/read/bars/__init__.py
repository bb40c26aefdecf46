"""Bars from published trades: what is asked (`question`), and the answers (`answers`)."""
