"""What bars are built by: the statements of sql/bars and the table of trade conditions.

`bar_file` puts statements together, one after the other. `condition_table` reads the table that
says what a trade may do to a bar, the shipped one or the user's own, and refuses one that is
malformed; `condition_export` makes one of the vendor's list of conditions.
"""
