"""Factors of splits and dividends against a plain loop of fractions, and what they reach."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from warehouse.bars.adjustment import Action, Factors, Step, adjusted, factors, steps_of
from warehouse.bars.securities import Securities

FIRST, LAST = date(2024, 1, 1), date(2024, 3, 31)
DAYS = [FIRST + timedelta(days=number) for number in range(91)]


class Known:
    """A reference of its own: actions and securities in memory."""

    def __init__(self, actions: Sequence[Action], securities: Securities | None = None) -> None:
        self._actions = actions
        self._securities = securities or Securities()

    def actions(self, symbols: Collection[str]) -> Mapping[str, Sequence[Action]]:
        return {name: [one for one in self._actions if one.symbol == name] for name in symbols}

    def actions_between(self, after: date, until: date) -> Mapping[str, Sequence[Action]]:
        within = [one for one in self._actions if after < one.session <= until]
        return {one.symbol: [each for each in within if each.symbol == one.symbol]
                for one in within}  # fmt: skip

    def securities(self) -> Securities:
        return self._securities


numbers = st.integers(1, 1000) | st.sampled_from([1.05, 0.5, 2.5, 1.0000001])
actions = st.lists(
    st.builds(
        Action,
        st.sampled_from(["A", "B"]),
        st.sampled_from(DAYS),
        st.sampled_from(["split", "dividend"]),
        st.text("abc", min_size=1, max_size=3),
        numbers,
        numbers,
        st.floats(0.01, 1.0, exclude_max=True),
    ),
    max_size=12,
)


def exactly(
    actions: Sequence[Action], adjust: str, session: date, as_of: date
) -> tuple[Fraction, Fraction]:
    """What a price and a size are multiplied by, action by action, without rounding."""
    price = size = Fraction(1)
    for one in actions:
        if not session < one.session <= as_of or adjust == "none":
            continue
        if one.kind == "split":
            ratio = Fraction(one.split_from) / Fraction(one.split_to)
            price *= ratio
            size /= ratio
        elif adjust == "all":
            price *= Fraction(one.price_factor)
    return price, size


def rows(symbols: Sequence[str]) -> pa.Table:
    """A row of each symbol and day: price 1 and size 1."""
    days = DAYS * len(symbols)
    names = [symbol for symbol in symbols for _ in DAYS]
    ones = [1.0] * len(days)
    return pa.table(
        {"symbol": names, "session": pa.array(days, pa.date32()), "price": ones, "size": ones}
    )


@given(actions, st.sampled_from(["none", "splits", "all"]), st.sampled_from(DAYS))
def test_a_row_is_multiplied_by_every_later_action_as_fractions_have_it(
    actions: list[Action], adjust: str, as_of: date
) -> None:
    found = factors(Known(actions), ["A", "B"], adjust, FIRST, LAST, as_of)
    table = adjusted(rows(["A", "B"]), found)
    for row in table.to_pylist():
        own = [one for one in actions if one.symbol == row["symbol"]]
        price, size = exactly(own, adjust, row["session"], as_of)
        assert abs(Fraction(row["price"]) / price - 1) < Fraction(1, 10**12)
        assert abs(Fraction(row["size"]) / size - 1) < Fraction(1, 10**12)


@given(actions, st.randoms(use_true_random=False))
def test_the_order_in_which_actions_come_changes_no_bit(
    actions: list[Action], dice: random.Random
) -> None:
    distinct = list({(one.symbol, one.session, one.id): one for one in actions}.values())
    shuffled = dice.sample(distinct, len(distinct))
    found = [factors(Known(each), None, "all", FIRST, LAST, LAST) for each in (distinct, shuffled)]
    assert found[0].facts == found[1].facts


@given(actions, actions, st.sampled_from(DAYS))
def test_actions_after_as_of_or_before_the_first_session_change_nothing(
    actions: list[Action], more: list[Action], as_of: date
) -> None:
    first = as_of - timedelta(days=20)
    others = [one for one in more if one.session > as_of or one.session <= first]
    asked = (["A", "B"], "all", first, as_of, as_of)
    assert factors(Known(actions), *asked) == factors(Known([*actions, *others]), *asked)


@given(actions, st.sampled_from(DAYS), st.integers(0, 40))
def test_the_factors_of_a_part_are_those_of_the_whole_cut(
    actions: list[Action], first: date, days: int
) -> None:
    last = min(first + timedelta(days=days), LAST)
    whole = factors(Known(actions), ["A", "B"], "all", FIRST, LAST, LAST)
    part = factors(Known(actions), ["A"], "all", first, last, LAST)
    assert whole.within(["A"], first, last) == part


@given(actions)
def test_all_symbols_have_the_factors_of_each(actions: list[Action]) -> None:
    named = factors(Known(actions), ["A", "B"], "all", FIRST, LAST, LAST)
    assert factors(Known(actions), None, "all", FIRST, LAST, LAST) == named


def test_rows_after_the_last_action_and_absent_values_stay_as_they_are() -> None:
    found = Factors({"A": (Step(date.min, DAYS[1], 0.1, 3.0, 0.5),)})
    table = pa.table(
        {
            "symbol": ["A", "A", "A", "B", None],
            "session": pa.array([DAYS[0], DAYS[0], DAYS[1], DAYS[0], DAYS[0]], pa.date32()),
            "price": [0.3, None, 0.1 + 0.2, 0.3, 0.3],
            "volume": [1.0, 2.0, 3.0, 4.0, 5.0],
            "trades": pa.array([1, 2, 3, 4, 5], pa.int32()),
            "dollar_volume": [8.0, 8.0, 8.0, 8.0, None],
        }
    )
    after = adjusted(table, found)
    assert after.schema == table.schema
    assert after["price"].to_pylist() == [0.3 * 0.1, None, 0.1 + 0.2, 0.3, 0.3]
    assert after["volume"].to_pylist() == [3.0, 6.0, 3.0, 4.0, 5.0]
    assert after["trades"].to_pylist() == [1, 2, 3, 4, 5]
    assert after["dollar_volume"].to_pylist() == [4.0, 4.0, 8.0, 8.0, None]


def test_where_nothing_is_to_be_multiplied_the_table_is_the_same_one() -> None:
    table = rows(["A"])
    assert adjusted(table, Factors()) is table
    bare = table.select(["symbol"])
    assert adjusted(bare, Factors({"A": (Step(date.min, LAST, 0.5, 2.0, 1.0),)})) is bare


def test_total_returns_are_those_of_a_holder_who_is_paid_the_dividend() -> None:
    """The factor of a dividend D is 1 - D / C(t-1): adjusted closes give C(t) / (C(t-1) - D)."""
    dice = np.random.default_rng(0)
    closes = np.round(50 + np.cumsum(dice.normal(size=len(DAYS))), 2)
    paid = {place: round(float(dice.uniform(0.05, 2)), 2) for place in (3, 10, 11, 40, 80)}
    known = [
        Action("A", DAYS[at], "dividend", f"d{at}", 1, 1, 1 - cash / float(closes[at - 1]))
        for at, cash in paid.items()
    ]
    table = rows(["A"]).append_column("close", pa.array(closes))
    found = factors(Known(known), ["A"], "all", FIRST, LAST, LAST)
    held = adjusted(table, found)["close"].to_pylist()
    for at in range(1, len(DAYS)):
        before = Fraction(float(closes[at - 1])) - Fraction(paid.get(at, 0))
        expected = Fraction(float(closes[at])) / before
        assert abs(Fraction(held[at]) / Fraction(held[at - 1]) / expected - 1) < Fraction(1, 10**12)


def test_splits_multiply_apart_and_are_divided_once() -> None:
    """A third, thrice, and back: by single divisions it would not be 1 again."""
    splits = [Action("A", DAYS[n], "split", str(n), 1, 3, 0) for n in range(1, 4)]
    back = [Action("A", DAYS[n], "split", str(n), 3, 1, 0) for n in range(4, 7)]
    first = steps_of([*splits, *back])[0]
    assert (first.price, first.size) == (1.0, 1.0)
