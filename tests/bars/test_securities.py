"""Who bore a symbol when, and the series that a symbol names."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from warehouse.bars.securities import Bearing, Securities

FIRST, LAST = date(2024, 1, 1), date(2024, 12, 31)
days = st.dates(FIRST, LAST)
ROWS = [
    ("Meta", "FB", date(2012, 5, 18), date(2022, 6, 8)),
    ("Meta", "META", date(2022, 6, 9), None),
    ("Roundhill", "META", date(2021, 6, 30), date(2022, 1, 31)),
    ("Fund", "FB", date(2025, 3, 3), None),
]
SOME = Securities(ROWS)


def told(pieces: tuple[Bearing, ...]) -> list[str]:
    return [f"{one.symbol} {one.first} {one.last}" for one in pieces]


def test_a_rename_is_one_series_and_a_reused_ticker_is_another() -> None:
    first, last = date(2021, 1, 1), date(2022, 12, 31)
    whole = ["FB 2021-01-01 2022-06-08", "META 2022-06-09 2022-12-31"]
    assert told(SOME.pieces("META", first, last)) == whole
    # As of a year before META was a fund, which bore no other symbol.
    fund = ["META 2021-06-30 2021-12-31"]
    assert told(SOME.pieces("META", first, date(2021, 12, 31))) == fund
    assert told(SOME.pieces("FB", date(2025, 1, 1), date(2025, 12, 31))) == [
        "FB 2025-03-03 2025-12-31"
    ]


def test_where_nobody_bears_it_any_longer_it_is_the_last_who_did() -> None:
    first, last = date(2022, 6, 1), date(2022, 12, 31)
    assert told(SOME.pieces("FB", first, last)) == [
        "FB 2022-06-01 2022-06-08",
        "META 2022-06-09 2022-12-31",
    ]


def test_a_symbol_of_nobody_known_is_what_no_other_had() -> None:
    assert told(SOME.pieces("IBM", FIRST, LAST)) == [f"IBM {FIRST} {LAST}"]
    # Before it was anybody's who is known, and after.
    early, late = date(2021, 6, 1), date(2021, 6, 29)
    assert told(SOME.pieces("META", early, late)) == ["META 2021-06-01 2021-06-29"]
    gap = (date(2022, 2, 1), date(2022, 6, 8))
    assert SOME.bearer("META", gap[0]) is None
    assert told(SOME.pieces("META", *gap)) == ["META 2022-02-01 2022-06-08"]


bearings = st.lists(
    st.tuples(st.sampled_from("PQR"), st.sampled_from("XYZ"), days, st.none() | days), max_size=6
)


@given(bearings, st.sampled_from("XYZ"), days, days)
def test_every_day_of_a_symbol_has_one_bearer_and_pieces_are_one_bearers(
    rows: list[tuple[str, str, date, date | None]], symbol: str, one: date, other: date
) -> None:
    some = Securities(rows)
    every = some.bearings(symbol)
    assert every[0].first == date.min
    assert every[-1].last == date.max
    for before, after in pairwise(every):
        assert (after.first - before.last).days == 1
    for bearing in every:
        for day in (bearing.first, bearing.last):
            assert some.bearer(symbol, day) == bearing.security
    first, last = min(one, other), max(one, other)
    pieces = some.pieces(symbol, first, last)
    assert pieces
    assert len({piece.security for piece in pieces}) == 1
    for piece in pieces:
        assert first <= piece.first <= piece.last <= last
        assert some.bearer(piece.symbol, piece.first) == piece.security
    bearer = some.bearer(symbol, last)
    if bearer is not None:
        assert pieces[0].security == bearer
