"""Bars from trades by the tape's rules, and the corporate actions that prices are adjusted for.

Tables in, tables out: reading is `read`'s, publishing is `pipeline`'s. It hands out what a bar is
(`spec`), the trades in order (`tape`) and the bars of them (`build`); the statements are those of
sql/bars. `exports` reads splits, dividends and changes of name as the vendor gives them out,
`action_prices` finds what the tape says of their days, `action_checks` holds the one against the
other, by the statements of sql/reference, when an export is loaded. `adjustment` makes factors of
those that count, and `securities` says which symbols a security had when.
"""
