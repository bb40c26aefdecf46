"""The words that everybody shares, and the ways of this machine.

It hands out the configuration (`config`), where files stand and what they are called (`paths`),
the vendor's four data types and their columns (`datatypes`), sessions and moments (`calendar`),
the one opener of DuckDB (`duckdb_connection`), what a command was asked for (`request`) and what
it cost (`metrics`). It imports nothing of the other packages.
"""
