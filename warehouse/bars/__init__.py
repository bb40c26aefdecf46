"""Bars from trades by the tape's rules: what is asked, how they are built, what they rest on.

Tables in, tables out: reading is `read`'s, publishing is `pipeline`'s. It hands out what a bar is
(`spec`), the trades in order (`tape`) and the bars of them (`build`); the statements are those of
sql/bars. Beside them stand the vendor's exports of corporate actions (`exports`), what the tape says
of them (`action_prices`, `action_checks`), the factors that they come to (`adjustment`), and which
symbols a security had when (`securities`).
"""
