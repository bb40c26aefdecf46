"""Our bars against the vendor's: shares, classes of differences, and rules judged on signatures."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from building import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.bars.build import READS, build, engine
from warehouse.bars.compare import (
    AGGS,
    COVERED,
    DIFFERENCE_CLASSES,
    REJECTED,
    TRADES,
    Comparer,
    Comparison,
)
from warehouse.bars.hypotheses import FIELDS, Hypothesis
from warehouse.core.config import Config
from warehouse.core.datatypes import DATA_TYPES, TRADE_CONDITIONS
from warehouse.sqlfolder.bars.bar_file import BarFolder
from warehouse.sqlfolder.files import SqlFolder

CASES = sorted((Path(__file__).with_name("reconcile_cases")).iterdir())
NEW_YORK = ZoneInfo("America/New_York")
FOLDER = BarFolder(SqlFolder(REPOSITORY / "sql"))
SECOND = 1_000_000_000
Table = dict[int, tuple[bool, bool, bool]]
"""Condition -> may set high and low, may set open and close, counts."""

with (REPOSITORY / "config" / "trade_conditions.csv").open() as lines:
    NAMES = ("updates_high_low", "updates_open_close", "updates_volume")
    SHIPPED: Table = {
        int(row["id"]): tuple(row[name] == "true" for name in NAMES)  # type: ignore[misc]
        for row in csv.DictReader(lines)
    }


def conditions(table: Table) -> pa.Table:
    rows = [
        {"id": number, **dict(zip(NAMES, rules, strict=True))} for number, rules in table.items()
    ]
    return pa.Table.from_pylist(rows, TRADE_CONDITIONS)


@pytest.fixture(scope="module")
def config() -> Config:
    return Config.model_validate({"source": {"url": "/nowhere"}})


@contextmanager
def comparer(config: Config, data_type: str, table: Table = SHIPPED) -> Iterator[Comparer]:
    with engine(config, conditions(table)) as connection:
        yield Comparer(connection, FOLDER, COVERED[data_type])


def stamp(session: date, clock: str) -> int:
    """Nanoseconds of a time in New York."""
    moment = datetime.combine(session, time.fromisoformat(clock), NEW_YORK)
    return int(moment.replace(microsecond=0).timestamp()) * SECOND + moment.microsecond * 1_000


def rows(kind: str, columns: Sequence[str], records: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(records, DATA_TYPES[kind].fields(columns))


# Golden cases: a folder each; its name says what becomes of the difference


def read(path: Path, session: date) -> list[dict[str, Any]]:
    """The lines of a file; `timestamp` and the like are clocks in New York on the session."""
    if not path.exists():
        return []
    with path.open() as lines:
        found = [dict(row) for row in csv.DictReader(lines)]
    for row in found:
        row["session"] = session
        for name, text in row.items():
            if name.endswith("timestamp"):
                row[name] = stamp(session, text)
            elif text == "":
                row[name] = None
            elif name in ("price", "size", "open", "high", "low", "close", "volume"):
                row[name] = float(text)
            elif name in ("exchange", "correction", "trades", "sequence_number"):
                row[name] = int(text)
    return found


def reconciled(folder: Path, config: Config) -> Comparison:
    told = json.loads((folder / "case.json").read_text())
    session = date.fromisoformat(told["session"])
    trades = read(folder / "trades.csv", session)
    for place, row in enumerate(trades):
        row |= {"symbol": "A", "sequence_number": place, "id": f"{place}"}
    kept = [row for row in trades if row.get("correction") in (None, 0, 1)]
    left = [row for row in trades if row not in kept]
    aggs = [{"symbol": "A", **row} for row in read(folder / "aggs.csv", session)]
    with comparer(config, told["data_type"]) as found:
        found.add(
            rows("trades", TRADES, kept),
            rows("trades", REJECTED, left),
            rows(told["data_type"], AGGS, aggs),
        )
        return found.compare()


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_each_difference_has_the_class_and_the_cause_of_its_case(
    folder: Path, config: Config
) -> None:
    found = reconciled(folder, config)
    with (folder / "expected.csv").open() as lines:
        expected = sorted(tuple(row.values()) for row in csv.DictReader(lines))
    told = [
        (
            one.field,
            one.kind,
            " ".join(one.cause.barred) if one.cause else "",
            " ".join(one.cause.freed) if one.cause else "",
            f"{one.count}",
        )
        for one in found.groups
    ]
    assert sorted(told) == expected


def test_every_class_has_a_case() -> None:
    told = set()
    for folder in CASES:
        with (folder / "expected.csv").open() as lines:
            told |= {row["class"] for row in csv.DictReader(lines)}
    assert told == {*DIFFERENCE_CLASSES}


def test_bars_of_a_session_without_trades_are_counted_and_not_compared(config: Config) -> None:
    with comparer(config, "day_aggs") as found:
        day = date(2024, 1, 31)
        bar = {"symbol": "A", "timestamp": stamp(day, "00:00"), "session": day}
        prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
        found.add(
            rows("trades", TRADES, []),
            rows("trades", REJECTED, []),
            rows("day_aggs", AGGS, [{**bar, **prices}]),
        )
        told = found.compare()
    assert (told.untold, told.groups) == (1, ())
    assert {one.compared for one in told.shares} == {0}


# Rules judged on signatures, against bars built anew

DAY = date(2024, 1, 31)
CODES = ("", "12", "14", "14,41", "2", "37", "37,41", "22", "7,14", "12,37", "15", "99", "8", "16")
CHANGED = (2, 7, 14, 15, 22, 37, 41)
trade_rows = st.lists(
    st.fixed_dictionaries(
        {
            "second": st.sampled_from(
                [9 * 3600 + 1790, *range(34_200, 34_330, 13), 57_599, 57_601]
            ),
            "ticks": st.integers(1_000, 1_008),
            "size": st.sampled_from([0.5, 1.0, 2.5, 100.0, 0.0]),
            "conditions": st.sampled_from(CODES),
            "exchange": st.sampled_from([4, 10, 12]),
            "correction": st.sampled_from([0, 0, 0, 0, 1]),
            "behind": st.sampled_from([0, 0, 5, 30]),
        }
    ),
    min_size=1,
    max_size=25,
)
changes = st.fixed_dictionaries(
    {
        "barred": st.lists(st.sampled_from(CHANGED), unique=True, max_size=2),
        "freed": st.lists(st.sampled_from(CHANGED), unique=True, max_size=2),
    }
)


def trades_of(drawn: list[dict[str, Any]]) -> pa.Table:
    found = []
    midnight = stamp(DAY, "00:00")
    for place, row in enumerate(sorted(drawn, key=lambda row: row["second"])):
        at = midnight + row["second"] * SECOND
        found.append(
            {
                "symbol": "A",
                "timestamp": at,
                "participant_timestamp": at - row["behind"] * SECOND,
                "price": row["ticks"] / 100,
                "size": row["size"],
                "exchange": row["exchange"],
                "conditions": row["conditions"] or None,
                "correction": row["correction"],
                "id": f"{place}",
                "sequence_number": place,
                "session": DAY,
            }
        )
    return rows("trades", TRADES, found)


def changed_table(barred: list[int], freed: list[int]) -> Table:
    return {
        **SHIPPED,
        **dict.fromkeys(freed, (True, True, True)),
        **dict.fromkeys(barred, (False, False, False)),
    }


@settings(max_examples=25, deadline=None)
@given(trade_rows, changes, st.sampled_from(sorted(COVERED)))
def test_a_rule_judged_on_signatures_is_the_table_changed_and_the_bars_built_anew(
    config: Config, drawn: list[dict[str, Any]], change: dict[str, list[int]], data_type: str
) -> None:
    trades = trades_of(drawn)
    with engine(config, conditions(changed_table(**change))) as connection:
        theirs = build(connection, FOLDER, COVERED[data_type], trades.select(READS)).table
    hypothesis = Hypothesis(
        tuple(f"{code}" for code in change["barred"]),
        tuple(f"{code}" for code in change["freed"]),
    )
    with comparer(config, data_type) as found:
        found.add(
            trades,
            rows("trades", REJECTED, []),
            theirs.select(AGGS).cast(DATA_TYPES[data_type].fields(AGGS)),
        )
        tallies = found.judge([hypothesis, Hypothesis()])
        shares = found.compare().shares
    # With the rule everything is right, and without it as many fields are wrong as bars differ.
    with_rule = {key[2]: tally.after for key, tally in tallies.items() if key[0] == hypothesis}
    alone = {"bar_high_low", "bar_open_close"}
    if hypothesis != Hypothesis():
        assert {number for name, number in with_rule.items() if name not in alone} <= {0}
    wrong = Counter[tuple[str, str]]()
    for (one, hours, name), tally in tallies.items():
        if one == Hypothesis() and name not in alone:
            wrong[hours, name] += tally.before
    counted = {(one.hours, one.field): one.compared - one.equal for one in shares if not one.symbol}
    assert wrong == Counter(counted)


@settings(max_examples=8, deadline=None)
@given(st.lists(trade_rows, min_size=2, max_size=3), changes)
def test_pieces_of_symbols_give_what_all_at_once_gives(
    config: Config, drawn: list[list[dict[str, Any]]], change: dict[str, list[int]]
) -> None:
    tables = []
    for place, each in enumerate(drawn):
        names = pa.array([f"S{place}"] * len(each))
        tables.append(trades_of(each).set_column(0, "symbol", names))
    with engine(config, conditions(changed_table(**change))) as connection:
        bars = [
            build(connection, FOLDER, COVERED["minute_aggs"], table.select(READS)).table
            for table in tables
        ]
    aggs = [table.select(AGGS).cast(DATA_TYPES["minute_aggs"].fields(AGGS)) for table in bars]
    nothing = rows("trades", REJECTED, [])
    with comparer(config, "minute_aggs") as found:
        for trades, theirs in zip(tables, aggs, strict=True):
            found.add(trades, nothing, theirs)
        by_piece = found.compare()
    with comparer(config, "minute_aggs") as found:
        found.add(pa.concat_tables(tables), nothing, pa.concat_tables(aggs))
        at_once = found.compare()
    assert by_piece == at_once


def test_the_rules_cover_the_fields_once() -> None:
    names = [name for fields in FIELDS.values() for name in fields]
    assert all(one != other for one, other in pairwise(sorted(names)))
