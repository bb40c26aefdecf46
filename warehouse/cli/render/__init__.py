"""What a person sees of a result, on a terminal and as JSON.

It hands out tables, progress and summaries; it decides nothing.
"""
