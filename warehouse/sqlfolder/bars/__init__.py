"""What bars are built by: the table of trade conditions, which says what a trade may do to a bar.

`condition_table` reads it, the shipped one or the user's own, and refuses one that is malformed;
`condition_export` makes one of the vendor's list of conditions.
"""
