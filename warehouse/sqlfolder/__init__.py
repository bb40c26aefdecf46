"""What a file of sql/ must be before it may run.

It hands out statements with their headers and fingerprints (`files`), the checks that a SELECT
only reads and that the catalog's files only create (`select_check`, `catalog_statements`), whether
an answer can change by itself (`determinism`), rules and features as their files declare them, and
the copies of the shipped files in a warehouse (`shipped_files`).
"""
