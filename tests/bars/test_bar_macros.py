"""Bars in the catalog: the macros answer as Python does, in DuckDB and in the shell of 1.5."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from building import Made, MakeWarehouse, instant, trade

from warehouse import Warehouse
from warehouse.core.calendar import sessions_table
from warehouse.errors import QueryError
from warehouse.store.publishing import next_catalog

SHELL = Path(sysconfig.get_path("scripts")) / "duckdb"
# A half-day, a Sunday, which the calendar does not have, and a usual day.
DAYS = (date(2024, 11, 29), date(2024, 12, 1), date(2024, 12, 2))
SYMBOLS = ("A", "BCpC")
CALLS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("bars", {}, {}),
    ("bars", {"every": "1h", "hours": "all"}, {"every": "1h", "hours": "all"}),
    ("filled_bars", {"every": "30m"}, {"every": "30m", "fill": True}),
    ("day_bars", {}, {"every": "1d"}),
    ("day_bars", {"hours": "regular"}, {"every": "1d", "hours": "regular"}),
    *(
        (
            "counted_bars",
            {"kind": by, "every": every, "excess": excess, "hours": "all"},
            {"by": by, "every": every, "excess": excess, "hours": "all"},
        )
        for by, every in (("tick", 7), ("volume", 250.5), ("dollar", 3000))
        for excess in ("next", "split", "drop")
    ),
    *(
        (
            "counted_bars",
            {"kind": f"{by}_{kind}", "every": 9, "span": 3},
            {"by": f"{by}_{kind}", "every": 9, "span": 3},
        )
        for kind in ("imbalance", "run")
        for by in ("tick", "volume", "dollar")
    ),
)


def lines(day: date) -> list[str]:
    dice, found = Random(day.day), []
    for symbol in SYMBOLS:
        now, price = instant(day, "09:20"), 1000
        for number in range(400):
            now += dice.choice((0, 1, 10**9, 10**11))
            price = max(price + dice.choice((-1, 0, 0, 1)), 1)
            found.append(
                trade(
                    symbol,
                    now,
                    number,
                    price=price / 100,
                    size=dice.choice((1, 20, 100, 800)),
                    conditions=dice.choice(("", "", "12", "37", '"12,37"', "16", "8")),
                    id=str(number),
                )
            )
    return found


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse()
    for day in DAYS:
        made.put_raw("trades", day, lines(day))
    made.ingest("trades")
    return made


@pytest.fixture
def wh(made: Made) -> Iterator[Warehouse]:
    with Warehouse(made.root) as opened:
        yield opened


def call(name: str, symbol: str, values: dict[str, Any]) -> str:
    given = "".join(f", {key} := {value!r}" for key, value in values.items())
    return f"from {name}_of('{symbol}', '{DAYS[0]}', '{DAYS[-1]}'{given})"


@pytest.mark.parametrize(("name", "values", "asked"), CALLS)
def test_the_macro_and_python_agree_row_for_row(
    name: str, values: dict[str, Any], asked: dict[str, Any], wh: Warehouse
) -> None:
    for symbol in SYMBOLS:
        by_macro = wh.query(call(name, symbol, values), "arrow")
        by_python = wh.bars(symbol, DAYS[0], DAYS[-1], to="arrow", **asked)
        assert by_macro.num_rows > 2
        assert by_macro.column_names == by_python.column_names
        assert by_macro.to_pylist() == by_python.to_pylist()
        assert set(by_macro["session"].to_pylist()) == set(DAYS)


@pytest.mark.skipif(not SHELL.exists(), reason="no duckdb shell beside this Python")
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("bars", {"every": "5m"}),
        ("filled_bars", {"every": "1h", "hours": "all"}),
        ("day_bars", {}),
        ("counted_bars", {"kind": "dollar", "every": 3000, "excess": "split"}),
        ("counted_bars", {"kind": "volume", "every": 250, "excess": "drop"}),
        ("counted_bars", {"kind": "volume_run", "every": 9, "span": 3}),
    ],
    ids=str,
)
def test_the_shell_of_1_5_answers_as_python_does(
    name: str, values: dict[str, Any], made: Made, wh: Warehouse
) -> None:
    texts = f"select columns(*)::varchar {call(name, 'A', values)}"
    done = subprocess.run(
        [str(SHELL), "-readonly", "-csv", "-nullvalue", "", "-c", texts,
         str(made.root / "data/warehouse.duckdb")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = csv.reader(io.StringIO(done.stdout))
    expected = wh.query(texts, "arrow")
    types = wh.query(call(name, "A", values), "arrow").schema
    assert (header, len(rows)) == (expected.column_names, expected.num_rows)
    for column, found in zip(header, zip(*rows, strict=True), strict=True):
        wanted = [text or "" for text in expected[column].to_pylist()]
        if pa.types.is_floating(types.field(column).type):
            # From DECIMAL to DOUBLE it is a last bit from one version of DuckDB to another.
            numbers = [float(text or "nan") for text in wanted]
            assert [float(text or "nan") for text in found] == pytest.approx(
                numbers, rel=4e-16, nan_ok=True
            )
        else:
            assert list(found) == wanted


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("bars", "every := '7x'", "every := '7x': it is a length such as 30s, 5m or 1h"),
        ("bars", "every := '1d'", "of whole days ask day_bars_of"),
        ("bars", "every := null", "every := NULL: it is a length"),
        ("bars", "hours := 'night'", "hours := 'night': it is regular, extended or all"),
        ("counted_bars", "kind := 'time'", "kind := 'time': it is tick, volume or dollar"),
        ("counted_bars", "every := 1.5", "every := 1.5: of tick bars it is a number"),
        ("counted_bars", "every := 0", "every := 0: of tick bars it is a number"),
        ("counted_bars", "excess := 'keep'", "excess := 'keep': it is next, split or drop"),
        (
            "counted_bars",
            "kind := 'tick_run', every := 5, span := 0",
            "span := 0: it is a number of bars",
        ),
    ],
)
def test_what_cannot_be_asked_is_told(name: str, given: str, told: str, wh: Warehouse) -> None:
    sql = f"from {name}_of('A', '{DAYS[0]}', '{DAYS[-1]}', {given})"
    with pytest.raises(QueryError, match=re.escape(told)):
        wh.query(sql)


def test_the_macros_of_another_symbol_say_that_it_is_not_there(wh: Warehouse) -> None:
    with pytest.raises(QueryError, match="there are no trades of 'ZZ'"):
        wh.query(call("bars", "ZZ", {}))


# What they rest on


def test_the_sessions_that_are_held_have_their_hours(made: Made, wh: Warehouse) -> None:
    found = wh.query("select * from sessions order by session", "arrow").to_pylist()
    assert found == [
        {
            "session": day,
            "midnight_ns": instant(day, "00:00"),
            "next_midnight_ns": instant(day + timedelta(days=1), "00:00"),
            "open_ns": instant(day, "09:30"),
            "close_ns": instant(day, closes),
            "is_half_day": closes == "13:00",
        }
        for day, closes in zip(DAYS, ("13:00", "16:00", "16:00"), strict=True)
    ]


def test_a_session_that_is_known_is_not_asked_for_again(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_warehouse()
    asked: list[list[date]] = []

    def noting(days: list[date]) -> pa.Table:
        asked.append(days)
        return sessions_table(days)

    monkeypatch.setattr(next_catalog, "sessions_table", noting)
    for day in (DAYS[2], DAYS[0]):
        made.put_raw("trades", day, lines(day))
        made.ingest("trades")
    assert [days for days in asked if days] == [[DAYS[2]], [DAYS[0]]]
    with duckdb.connect(str(made.layout.catalog), read_only=True) as connection:
        sessions = connection.execute("select session from sessions order by session").fetchall()
    assert sessions == [(DAYS[0],), (DAYS[2],)]


def test_an_answer_bears_the_id_of_the_rules_that_it_rests_on(
    made: Made, make_warehouse: MakeWarehouse, wh: Warehouse
) -> None:
    other = make_warehouse()
    path = other.root / "config/trade_conditions.csv"
    rules = path.read_text()
    path.write_text(rules.replace("37,Odd Lot Trade,false,false", "37,Odd Lot Trade,true,true"))
    assert path.read_text() != rules
    for day in DAYS:
        other.put_raw("trades", day, lines(day))
    other.ingest("trades")
    sql = call("counted_bars", "A", {"every": 7})
    frame = wh.query(sql)
    assert frame.attrs["fingerprint"] == wh.query(sql).attrs["fingerprint"]
    with Warehouse(other.root) as opened:
        freed = opened.query(sql)
    assert freed.attrs["fingerprint"] != frame.attrs["fingerprint"]
    barred = "high_low_barred_trades"
    assert freed[barred].sum() < frame[barred].sum()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("select 1; select 2", r"sql/bars/bars\.sql: .* is exactly one SELECT"),
        # This one ends the transaction in which its macro is made, and with it the others'.
        ("select nonsense", r"bars_of cannot be made of the statements of sql/bars: .*nonsense"),
        ("select nonsense from nowhere", r"sql/bars/bars\.sql: rests on the table nowhere"),
    ],
)
def test_a_statement_that_cannot_be_run_is_told_by_the_macro_and_keeps_nothing_from_publishing(
    statement: str, told: str, make_warehouse: MakeWarehouse
) -> None:
    made = make_warehouse()
    (made.root / "sql/bars/bars.sql").write_text(f"-- bars/bars: none.\n{statement}\n")
    made.put_raw("trades", DAYS[0], lines(DAYS[0]))
    made.ingest("trades")
    with Warehouse(made.root) as opened:
        eligible = call("eligible_trades", "A", {})
        assert opened.query(f"select count(*) as trades {eligible}")["trades"].item() == 400
        with pytest.raises(QueryError, match=told):
            opened.query(call("bars", "A", {}))
