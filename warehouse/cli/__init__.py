"""The command line: one library call for each command.

`main` holds them together; a module holds the commands of one kind. What a person sees of a result
is drawn in `render`. The other packages never print.
"""
