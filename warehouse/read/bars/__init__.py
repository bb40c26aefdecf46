"""Bars from published trades: what is asked (`question`), and the answers (`answers`).

Beside the vendor's: the two compared (`reconcile`), and the vendor's with our vwap (`vwap`).
"""
