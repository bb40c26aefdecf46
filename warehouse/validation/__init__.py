"""What the rules of sql/validate find, in what is published and in what comes in.

It hands out findings (`validate`, `evaluate`); how a rule is written is with the SQL files.
"""
