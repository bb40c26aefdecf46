"""Time and day bars are what a plain loop makes of the same trades, whatever these are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, time
from fractions import Fraction
from typing import Any

import numpy as np
import plain_bars
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from bar_cases import Bench, benches, conditions, content, shuffled, tape_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from warehouse.bars.spec import HOURS, BarSpec
from warehouse.core.datatypes import TRADE_CONDITIONS

SESSIONS = (date(2024, 11, 1), date(2024, 11, 4), date(2024, 11, 29), date(2024, 11, 3))
"""Before and after a change of the clock, a half-day, and the Sunday of the change."""
LENGTHS = ("1s", "1m", "7m", "45m", "1h", "5h", "390m", "1d")
CODES = ("2", "8", "10", "12", "14", "15", "16", "32", "37", "38", "41", "56")
SHIPPED = conditions()
WHOLE = 4e-16
"""A vwap is a quotient of two sums that are rounded once each."""

moments = st.one_of(
    st.integers(0, 86_400 * 10**9 - 1),
    st.builds(
        lambda second, nanosecond: second * 10**9 + nanosecond,
        st.sampled_from([14_400, 34_200, 34_260, 36_000, 46_800, 57_600, 61_200, 72_000]),
        st.sampled_from([-1, 0, 1, 10**9, 59 * 10**9]),
    ),
)
trades = st.lists(
    st.fixed_dictionaries(
        {
            "symbol": st.sampled_from(["A", "a", "B"]),
            "session": st.sampled_from(SESSIONS),
            "at": moments,
            "price": st.integers(1, 10**10).map(lambda units: units / 10**6),
            "size": st.one_of(
                st.integers(0, 10_000).map(float),
                st.integers(0, 10**9).map(lambda units: units / 10**6),
            ),
            "conditions": st.one_of(
                st.none(), st.lists(st.sampled_from(CODES), min_size=1, max_size=3).map(",".join)
            ),
            "correction": st.sampled_from([None, 0, 0, 0, 1, 7, 8, 10, 11, 12]),
            "exchange": st.sampled_from([None, 4, 10]),
            "sequence_number": st.one_of(st.none(), st.integers(1, 4)),
        }
    ),
    max_size=40,
)
rule_tables = st.one_of(
    st.just(SHIPPED.to_pylist()),
    st.lists(
        st.tuples(st.sampled_from(CODES), *[st.booleans()] * 3, *[st.sampled_from(SESSIONS)] * 2),
        unique_by=lambda row: row[0],
    ).map(
        lambda rows: [
            dict(
                zip(
                    TRADE_CONDITIONS.names,
                    (int(code), code, *flags, *sorted(days)),
                    strict=True,
                )
            )
            for code, *flags, first, last in rows
            for days in [(first, last)]
        ]
    ),
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with benches(2) as (made,):
        yield made


def rows_of(drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trades with stamps on their sessions, each with an id of its own."""
    return [
        {
            **{name: value for name, value in one.items() if name != "at"},
            "timestamp": plain_bars.at(one["session"], time()) + one["at"],
            "id": f"{number:03}",
        }
        for number, one in enumerate(drawn)
    ]


def same(table: pa.Table, expected: list[dict[str, Any]]) -> None:
    """Each bar is the plain loop's, exactly; the vwap to the last digit or the one before."""
    stamps = {
        name: table[name].cast(pa.int64()).to_pylist() for name in ("timestamp", "end_timestamp")
    }
    found = [
        {**row, **{name: stamps[name][number] for name in stamps}}
        for number, row in enumerate(table.to_pylist())
    ]
    assert len(found) == len(expected)
    for bar, wanted in zip(found, expected, strict=True):
        vwap, exact = bar["vwap"], wanted["vwap"]
        assert (vwap is None) == (exact is None)
        if exact:
            assert abs(Fraction(vwap) - exact) <= Fraction(WHOLE) * exact
        assert {name: bar[name] for name in wanted if name != "vwap"} == {
            name: value for name, value in wanted.items() if name != "vwap"
        }


@settings(max_examples=60)
@given(trades, rule_tables, st.sampled_from(LENGTHS), st.sampled_from(HOURS), st.integers(0, 2**32))
def test_bars_are_those_of_a_plain_loop_and_leave_nothing_out(
    bench: Bench,
    drawn: list[dict[str, Any]],
    rules: list[dict[str, Any]],
    every: str,
    hours: str,
    seed: int,
) -> None:
    rows = rows_of(drawn)
    spec, table = BarSpec.of(every, hours=hours), pa.Table.from_pylist(rules, TRADE_CONDITIONS)
    windows = plain_bars.windows(rows, rules, spec.every_ns, hours)
    expected = [each.row() for each in windows if each.is_bar]
    found = bench.bars(spec, tape_of(rows), table)
    same(found.table, expected)
    unordered = bench.from_any_order(spec, shuffled(tape_of(rows), seed), table)
    assert content(unordered, spec) == content(found.table, spec)
    rest = plain_bars.left_over(windows)
    told = vars(found.unbarred)
    assert (told["windows"], told["trades"]) == (rest["windows"], rest["trades"])
    for name in ("shares", "dollars"):
        assert math.isclose(told[name], rest[name], rel_tol=1e-14)


@settings(max_examples=30)
@given(trades, st.sampled_from(["7m", "45m", "1h"]), st.sampled_from(HOURS))
def test_filled_bars_are_the_bars_and_carry_the_last_close(
    bench: Bench, drawn: list[dict[str, Any]], every: str, hours: str
) -> None:
    tape = tape_of(rows_of(drawn))
    plain = bench.bars(BarSpec.of(every, hours=hours), tape, SHIPPED)
    filled = bench.bars(BarSpec.of(every, hours=hours, fill=True), tape, SHIPPED)
    assert filled.unbarred == plain.unbarred
    is_own = pc.invert(filled.table["is_filled"])
    own = filled.table.filter(is_own).drop_columns(["is_filled"])
    assert own.to_pylist() == plain.table.to_pylist()
    before: dict[str, Any] | None = None
    for bar in filled.table.to_pylist():
        is_first = before is None or (bar["symbol"], bar["session"]) != (
            before["symbol"],
            before["session"],
        )
        if bar["is_filled"]:
            assert not is_first
            assert before is not None
            assert {bar[name] for name in ("open", "high", "low", "close")} == {before["close"]}
            assert (bar["volume"], bar["trades"], bar["vwap"]) == (0, 0, None)
        if not is_first:
            assert before is not None
            assert bar["timestamp"] >= before["end_timestamp"]
        before = bar


@settings(max_examples=20)
@given(trades, st.sampled_from(LENGTHS), st.sampled_from(HOURS))
def test_bars_do_not_depend_on_other_symbols_or_other_sessions(
    bench: Bench, drawn: list[dict[str, Any]], every: str, hours: str
) -> None:
    rows, spec = rows_of(drawn), BarSpec.of(every, hours=hours)
    assume(rows)
    whole = bench.bars(spec, tape_of(rows), SHIPPED).table
    parts = [
        bench.bars(spec, tape_of(some), SHIPPED).table
        for symbol in ("A", "B", "a")
        for session in sorted(SESSIONS)
        if (some := [x for x in rows if (x["symbol"], x["session"]) == (symbol, session)])
    ]
    assert content(pa.concat_tables(parts), spec) == content(whole, spec)


def test_many_trades_come_to_the_same_bytes_with_any_threads() -> None:
    dice = np.random.default_rng(15)
    number = 60_000
    session = SESSIONS[0]
    stamps = plain_bars.at(session, time(4)) + dice.integers(0, 16 * 3_600, number) * 10**9
    tape = tape_of(
        [
            {
                "symbol": f"S{symbol}",
                "timestamp": stamp,
                "price": price / 10**4,
                "size": size / 10**6,
                "conditions": code,
                "correction": 0,
                "exchange": 4,
                "id": str(place),
                "sequence_number": place,
                "tape": 1,
                "session": session,
            }
            for place, (symbol, stamp, price, size, code) in enumerate(
                zip(
                    dice.integers(0, 5, number).tolist(),
                    stamps.tolist(),
                    dice.integers(90_000, 110_000, number).tolist(),
                    dice.integers(0, 10**9, number).tolist(),
                    dice.choice([None, *CODES], number).tolist(),
                    strict=True,
                )
            )
        ]
    )
    batches = pa.Table.from_batches(shuffled(tape, 1).combine_chunks().to_batches(2_048))
    for every in ("1m", "1d"):
        spec = BarSpec.of(every, hours="all")
        with benches(1, 2, 4) as some:
            found = [bench.from_any_order(spec, batches, SHIPPED) for bench in some]
            found.append(some[1].bars(spec, tape, SHIPPED).table)
        assert len({content(table, spec) for table in found}) == 1
        told = found[0].to_pylist()
        if every == "1d":
            assert sum(bar["trades"] + bar["volume_barred_trades"] for bar in told) == number
        else:
            assert len(told) > 4_000
