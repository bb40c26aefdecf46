"""Corporate actions: the vendor's exports of them, and what has to be said before one counts.

`exports` reads splits, dividends and changes of name as the vendor gives them out, `action_prices`
finds what the tape says of their days, `action_checks` holds the one against the other. All of it
is decided when an export is loaded; whoever adjusts prices reads the verdicts.
"""
