"""Reference tables: the lists of config/ (`reference_lists`), and corporate actions and names as
files (`reference_files`).
"""
