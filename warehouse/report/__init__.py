"""The page that says how good the data is, and the facts that it and `status` rest on.

It hands out the facts (`collect`), the two answers drawn from them (`answers`), the state of a
warehouse (`status`) and the page (`html`).
"""
