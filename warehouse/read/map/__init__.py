"""A function of the caller's, asked symbol by symbol or session by session.

It hands out `MapAnswers` (`answers`), and what `Warehouse.map` is asked (`question`).
"""
