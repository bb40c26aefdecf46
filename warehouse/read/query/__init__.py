"""Free-form SELECTs over the catalog: what may run, and what stands behind the answer.

It hands out `QueryAnswers` (`answers`).
"""
