"""Bars that end by what was traded: against plain loops, by hand, and to the last bit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pc_csv
import pytest
from building import REPOSITORY, SESSION, instant
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.bars.build import READS, Bars, build, chain, engine, sessions_of
from warehouse.bars.spec import BarSpec
from warehouse.core.calendar import span_between
from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES, TRADE_CONDITIONS
from warehouse.errors import RequestError
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.files import SqlFolder

FOLDER = BarFolder(SqlFolder(REPOSITORY / "sql"))
TRADES = pa.schema([DATA_TYPES["trades"].columns.field(name) for name in READS])
OPENS, CLOSES = (instant(SESSION, clock) for clock in ("09:30", "16:00"))
NEXT_SESSION = date(2024, 2, 1)
KINDS = [
    *((by, excess) for by in ("tick", "volume", "dollar") for excess in ("next", "split", "drop")),
    *((f"{by}_imbalance", "next") for by in ("tick", "volume", "dollar")),
    *((f"{by}_run", "next") for by in ("tick", "volume", "dollar")),
]
UNIT = 1_000_000


def conditions() -> pa.Table:
    listed = pc_csv.read_csv(REPOSITORY / "config/trade_conditions.csv")
    columns = [
        listed[field.name].cast(field.type)
        if field.name in listed.column_names
        else pa.nulls(listed.num_rows, field.type)
        for field in TRADE_CONDITIONS
    ]
    return pa.table(columns, schema=TRADE_CONDITIONS)


RULES = {
    str(row["id"]): tuple(row[f"updates_{what}"] for what in ("high_low", "open_close", "volume"))
    for row in conditions().to_pylist()
}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    config = Config.model_validate({"processing": {"parallel_workers": 2}})
    with engine(config, conditions()) as opened:
        yield opened


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Trades in the order of the tape; what they leave out is as good as any."""
    usual = {"symbol": "A", "exchange": 11, "tape": 1, "session": SESSION}
    return pa.Table.from_pylist(
        [{**usual, "sequence_number": number, **row} for number, row in enumerate(rows, 1)], TRADES
    )


def bars_of(connection: duckdb.DuckDBPyConnection, rows: pa.Table, **asked: Any) -> Bars:
    return build(connection, FOLDER, BarSpec.of(**asked), rows)


# Against a loop


@dataclass
class Open:
    """A bar while it is filled: trades with the millionths of a share of each that are in it."""

    parts: list[tuple[dict[str, Any], int, bool]] = field(default_factory=list)
    is_short: bool = True


def flags(row: dict[str, Any], is_regular: bool) -> tuple[bool, bool, bool]:
    may = [True, True, True]
    for code in (row["conditions"] or "").split(","):
        rule = list(RULES.get(code, (True, True, True)))
        if code == "12":
            rule[:2] = [not is_regular] * 2
        may = [one and other for one, other in zip(may, rule, strict=True)]
    return may[0], may[1], may[2]


def measure_of(by: str, row: dict[str, Any]) -> int:
    price, size = Decimal(str(row["price"])), Decimal(str(row["size"]))
    if by.startswith("tick"):
        return 1
    exact = size if by.startswith("volume") else price * size
    return int((exact * UNIT).quantize(Decimal(1), ROUND_HALF_UP))


def by_loop(
    rows: Sequence[dict[str, Any]], by: str, every: float, excess: str, span: int
) -> list[dict[str, Any]]:
    """The bars of trades of one symbol that are in the order of the tape, all hours."""
    hours: dict[tuple[date, int], list[dict[str, Any]]] = {}
    for row in rows:
        part = (row["timestamp"] >= OPENS_OF[row["session"]]) + (
            row["timestamp"] >= CLOSES_OF[row["session"]]
        )
        hours.setdefault((row["session"], part), []).append(row)
    found = []
    for (_, part), trades in hours.items():
        may = [flags(row, part == 1) for row in trades]
        if by in ("tick", "volume", "dollar"):
            filled = _filled(trades, may, by, every, excess)
        else:
            filled = _expected(trades, may, by, every, span)
        found += [told(each, part == 1) for each in filled if each.parts]
    return found


def _filled(
    trades: list[dict[str, Any]],
    may: list[tuple[bool, bool, bool]],
    by: str,
    every: float,
    excess: str,
) -> list[Open]:
    full = int(every) if by == "tick" else round(every * UNIT)
    bars, held = [Open()], 0
    for row, (*_, counts) in zip(trades, may, strict=True):
        units = int(Decimal(str(row["size"])) * UNIT)
        left = measure = measure_of(by, row) if counts else 0
        is_first = True
        told_units = 0
        while True:
            taken = min(left, full - held) if excess == "split" else left
            left -= taken
            until = units if not left else units * (measure - left) // measure
            bars[-1].parts.append((row, until - told_units, is_first))
            told_units, is_first = until, False
            held += taken
            if held >= full:
                bars[-1].is_short = False
                bars.append(Open())
                held = 0 if excess == "drop" else held % full
            if not left:
                break
    return bars


def _expected(
    trades: list[dict[str, Any]],
    may: list[tuple[bool, bool, bool]],
    by: str,
    every: float,
    span: int,
) -> list[Open]:
    share = 2 / (span + 1)
    bars = [Open()]
    before, direction = None, 0
    count = up = down = 0
    expected: tuple[float, float] | None = None
    for row, (_, sets, counts) in zip(trades, may, strict=True):
        if sets:
            if before is not None and row["price"] != before:
                direction = 1 if row["price"] > before else -1
            before = row["price"]
        bars[-1].parts.append((row, int(Decimal(str(row["size"])) * UNIT), True))
        if not counts:
            continue
        count += 1
        up += measure_of(by, row) if direction > 0 else 0
        down += measure_of(by, row) if direction < 0 else 0
        reached = abs(up - down) if by.endswith("imbalance") else max(up, down)
        if expected is None:
            if count < every:
                continue
            expected = float(every), reached / count
        else:
            if reached < max(math.ceil(expected[0] * expected[1]), 1):
                continue
            trades_now = (1 - share) * expected[0] + share * count
            rate = (1 - share) * expected[1] + share * (reached / count)
            expected = min(max(trades_now, every / 10), every * 10), rate
        bars[-1].is_short = False
        bars.append(Open())
        count = up = down = 0
    return bars


def told(bar: Open, is_regular: bool) -> dict[str, Any]:
    rows = [row for row, *_ in bar.parts]
    may = [flags(row, is_regular) for row in rows]
    high_low = [row["price"] for row, (sets, *_) in zip(rows, may, strict=True) if sets]
    open_close = [row["price"] for row, (_, sets, _) in zip(rows, may, strict=True) if sets]
    counting = [part for part, (*_, counts) in zip(bar.parts, may, strict=True) if counts]
    dollars = sum(Fraction(str(row["price"])) * units / UNIT for row, units, _ in counting)
    shares = Fraction(sum(units for _, units, _ in counting), UNIT)
    barred = {
        f"{name}_barred_trades": sum(
            is_first and not each[place]
            for (*_, is_first), each in zip(bar.parts, may, strict=True)
        )
        for place, name in enumerate(("high_low", "open_close", "volume"))
    }
    return {
        "timestamp": rows[0]["timestamp"],
        "end_timestamp": rows[-1]["timestamp"],
        "open": open_close[0] if open_close else None,
        "high": max(high_low, default=None),
        "low": min(high_low, default=None),
        "close": open_close[-1] if open_close else None,
        "volume": float(shares),
        "dollar_volume": float(dollars),
        "trades": sum(is_first for *_, is_first in counting),
        "is_short": bar.is_short,
        "session": rows[0]["session"],
        **barred,
    }


OPENS_OF = {day: instant(day, "09:30") for day in (SESSION, NEXT_SESSION)}
CLOSES_OF = {day: instant(day, "16:00") for day in (SESSION, NEXT_SESSION)}


def tape(dice: Random, most: int) -> list[dict[str, Any]]:
    """Trades of two sessions and all hours, with ties of time, price and size."""
    rows = []
    for session in (SESSION, NEXT_SESSION):
        now, price = instant(session, "09:29"), 1000
        for _ in range(dice.randrange(most)):
            now += dice.choice((0, 1, 10**6, 10**10, 10**11))
            price = max(price + dice.choice((-2, -1, 0, 0, 0, 1, 3)), 1)
            rows.append(
                {
                    "session": session,
                    "timestamp": now,
                    "price": price / 100,
                    "size": dice.choice((0.0, 0.000001, 0.3, 1.0, 7.25, 100.0, 100.0, 3000.0)),
                    "conditions": dice.choice(
                        (None, None, None, "37", "12", "12,37", "16", "38", "10", "999")
                    ),
                }
            )
    return rows


def columns_told(found: pa.Table) -> list[dict[str, Any]]:
    rows = found.to_pylist()
    for row in rows:
        for name in ("timestamp", "end_timestamp"):
            row[name] = row[name].value
    return rows


@pytest.mark.parametrize(("by", "excess"), KINDS)
@given(
    seed=st.integers(0, 2**32),
    most=st.sampled_from([2, 8, 40, 700]),
    every=st.sampled_from([1, 2, 7, 30, 250]),
    span=st.sampled_from([1, 3, 20]),
)
@settings(max_examples=20, deadline=None)
def test_bars_are_those_of_a_plain_loop(
    connection: duckdb.DuckDBPyConnection,
    by: str,
    excess: str,
    seed: int,
    most: int,
    every: int,
    span: int,
) -> None:
    rows = tape(Random(seed), most)
    size = {"volume": 100, "dollar": 1000.5}.get(by, 1) * every
    expected = by_loop(rows, by, size, excess, span)
    bars = [bar for bar in expected if bar["open"] is not None and bar["high"] is not None]
    found = bars_of(
        connection, table(rows), by=by, every=size, excess=excess, span=span, hours="all"
    )
    assert [{name: row[name] for name in bars[0]} for row in columns_told(found.table)] == bars
    assert found.unbarred.windows == len(expected) - len(bars)


@pytest.mark.parametrize(("by", "excess"), KINDS)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_what_all_bars_hold_is_what_was_traded(
    connection: duckdb.DuckDBPyConnection, by: str, excess: str, seed: int
) -> None:
    rows = tape(Random(seed), 200)
    every = {"volume": 90, "dollar": 1000}.get(by, 7)
    found = bars_of(connection, table(rows), by=by, every=every, excess=excess, hours="all")
    counting = [row for row in rows if flags(row, True)[2]]
    exact = [
        sum((Decimal(str(row["size"])) for row in counting), Decimal()),
        sum(
            (Decimal(str(row["size"])) * Decimal(str(row["price"])) for row in counting), Decimal()
        ),
    ]
    # Cents times millionths: a double of so few dollars is nearer to one of these than to others.
    last = Decimal("1e-8")
    held = [
        sum((Decimal(value).quantize(last) for value in [*in_bars.to_pylist(), rest]), Decimal())
        for in_bars, rest in (
            (found.table["volume"], found.unbarred.shares),
            (found.table["dollar_volume"], found.unbarred.dollars),
        )
    ]
    assert held == exact
    trades = sum(found.table["trades"].to_pylist()) + found.unbarred.trades
    assert trades == len(counting)


# To the last bit


def as_bytes(found: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, found.schema) as writer:
        writer.write_table(found.combine_chunks(), max_chunksize=2**20)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(("by", "excess"), KINDS)
def test_the_same_bytes_with_any_threads_and_from_shuffled_trades(by: str, excess: str) -> None:
    dice = Random(15)
    symbols = [{**row, "symbol": symbol} for symbol in ("A", "B", "C") for row in tape(dice, 3000)]
    rows = table(symbols)
    order = list(range(rows.num_rows))
    dice.shuffle(order)
    spec = BarSpec.of(
        every={"volume": 900, "dollar": 9000}.get(by, 25), by=by, excess=excess, hours="all"
    )
    statements = chain(FOLDER, spec, from_trades=True)
    given_values = {
        "hours": "all",
        "form_t_sets_extended": True,
        "by": by,
        "threshold": spec.threshold,
        "excess": excess,
        "span": spec.span,
    }
    seen = set()
    for threads, shown in ((1, rows), (2, rows.take(pa.array(order))), (4, rows)):
        config = Config.model_validate({"processing": {"parallel_workers": threads}})
        with engine(config, conditions()) as opened:
            opened.register("trades", shown)
            opened.register("sessions", sessions_of(shown))
            values = {name: given_values[name] for name in statements.parameters}
            seen.add(as_bytes(opened.sql(statements.sql, params=values).to_arrow_table()))
    assert len(seen) == 1


def test_bars_of_all_hours_are_those_of_the_regular_and_of_the_others(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    rows = table(tape(Random(3), 900))
    for by, excess in KINDS:
        asked = {"by": by, "every": 25, "excess": excess}
        apart = [
            row
            for hours in ("regular", "extended")
            for row in bars_of(connection, rows, hours=hours, **asked).table.to_pylist()
        ]
        together = bars_of(connection, rows, hours="all", **asked).table.to_pylist()
        key = [row["timestamp"].value for row in together]
        assert len(key) > 10
        assert sorted(apart, key=lambda row: row["timestamp"].value) == together


@pytest.mark.parametrize(("by", "excess"), KINDS)
def test_no_bar_depends_on_where_the_question_begins_or_ends(
    connection: duckdb.DuckDBPyConnection, by: str, excess: str
) -> None:
    rows = table(tape(Random(8), 900))
    spec = BarSpec.of(25, by=by, excess=excess, hours="all")
    whole = columns_told(build(connection, FOLDER, spec, rows).table)
    start, end = whole[3]["timestamp"], whole[-3]["end_timestamp"]
    found = build(connection, FOLDER, spec, rows, span_between(start, end))
    # The end is excluded, and a bar holds its last trade.
    inside = [row for row in whole if row["timestamp"] >= start and row["end_timestamp"] < end]
    assert 0 < len(inside) <= len(whole) - 5
    assert columns_told(found.table) == inside


# What can be asked


@pytest.mark.parametrize("every", [0, -1, 1e-7, 1e13, math.nan, "many", True, None])
def test_an_amount_that_no_bar_can_hold_is_refused(every: object) -> None:
    with pytest.raises(RequestError, match="every"):
        BarSpec.of(every, by="volume")  # type: ignore[arg-type]


def test_the_amount_is_told_as_it_was_asked() -> None:
    assert BarSpec.of(1_234_567, by="dollar").every == "1234567"
    assert BarSpec.of("0.5", by="volume").every == "0.5"
