"""Features: one SELECT each, asked of rows that lie no later than theirs.

It hands out `FeatureAnswers` (`question`), and the check that a feature looks at nothing ahead.
"""
