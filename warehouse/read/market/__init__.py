"""Answers about all symbols at once: whole loads, one session across the market, panels.

Hands out `answers.MarketAnswers`.
"""
