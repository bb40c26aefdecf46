"""Bars that are built from trades, and what makes prices of different days comparable.

It is pure: tables and facts go in, tables come out; who reads them stands above. It hands out the
factors of splits and dividends (`adjustment`), and which symbols a security had when
(`securities`).
"""
