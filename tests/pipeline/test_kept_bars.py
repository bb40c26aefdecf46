"""Bars that are kept: whatever happens to them, they are those of the trades that are published."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from building import SESSION, Made, day_key, edit_catalog, instant, trade
from killing import Killed, killed_at

from warehouse import Warehouse
from warehouse.core import calendar
from warehouse.core.config import CONFIG_FILE
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import Layout, PartitionKey
from warehouse.core.request import Request
from warehouse.errors import (
    ConfigError,
    CorruptPartitionError,
    NoDataError,
    OversizedTradeError,
    RequestError,
)
from warehouse.maintenance.convert_layout import convert_layout
from warehouse.maintenance.rebuild_stale import rebuild_changed
from warehouse.pipeline.bars import builder, keeper
from warehouse.pipeline.pipeline import Pipeline
from warehouse.read.query.provenance import in_words
from warehouse.store.catalog import Catalog
from warehouse.synthetic.files import write
from warehouse.synthetic.market import DEMO

MakeWarehouse = Callable[..., Made]
MARKET = replace(
    DEMO, sessions=DEMO.sessions[1:4], symbols=DEMO.symbols[:6], trades_per_session=2_500
)
MONDAY, TUESDAY = date(2024, 1, 29), date(2024, 1, 30)
JANUARY, FEBRUARY = date(2024, 1, 1), date(2024, 2, 1)
"""February's first day has a session."""
KEPT = ("bars_1m", "bars_1d")
LAYOUTS = [*product(("symbol", "market"), repeat=2)]
"""Of the trades, and of the bars."""


def settings_of(of_trades: str, of_bars: str, *keep: str) -> dict[str, Any]:
    layout = {**dict.fromkeys(DATA_TYPES, "symbol"), "trades": of_trades, "bars": of_bars}
    return {"storage__layout": layout, "bars__keep": list(keep or ("1m", "1d"))}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The trades of a generated market, which has a half-day, key → file."""
    folder = tmp_path_factory.mktemp("market")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in write(MARKET, folder, ["trades"])
    }


def day(session: date, *prices: float, symbols: str = "ABZ") -> list[str]:
    """A trade each minute from 09:30 on, by symbol; Z has odd lots alone, of which comes no bar."""
    return [
        trade(
            symbol,
            instant(session, f"09:{30 + minute}"),
            minute + 1,
            price=price,
            id=f"{symbol}{minute}",
            conditions="37" if symbol == "Z" else "",
        )
        for symbol in symbols
        for minute, price in enumerate(prices)
    ]


def two_days(make_warehouse: MakeWarehouse, of_trades: str, of_bars: str) -> Made:
    files = {
        day_key("trades", MONDAY): day(MONDAY, 10.0, 11.0),
        day_key("trades", TUESDAY): day(TUESDAY, 12.0, 13.0),
    }
    made = make_warehouse(files, **settings_of(of_trades, of_bars))
    made.update("trades")
    return made


def bars_of(made: Made, data_type: str) -> pa.Table:
    """All rows of kept bars, as the facade reads them."""
    with Warehouse(made.root) as wh:
        symbols, sessions = wh.symbols(data_type), wh.sessions(data_type)
        return wh.load(data_type, symbols, sessions[0], sessions[-1], to="arrow")


def built(made: Made, data_type: str) -> pa.Table:
    """The bars that are built from what is published now."""
    with Warehouse(made.root) as wh:
        symbols, sessions = wh.symbols("trades"), wh.sessions("trades")
        every = data_type.removeprefix("bars_")
        return wh.bars(symbols, sessions[0], sessions[-1], every=every, hours="all", to="arrow")


def check_bars(made: Made) -> None:
    """They are those of the trades, and nothing is wrong with a file."""
    for data_type in KEPT:
        assert bars_of(made, data_type).equals(built(made, data_type)), data_type
    assert made.verify().faults == []


def files_of_bars(made: Made) -> list[Path]:
    return [path for name in KEPT for path in (made.layout.cache / name).rglob("*.parquet")]


def bytes_of_bars(made: Made) -> dict[str, bytes]:
    cache = made.layout.cache
    return {path.relative_to(cache).as_posix(): path.read_bytes() for path in files_of_bars(made)}


def reasons(made: Made) -> dict[str, list[PartitionKey]]:
    return rebuild_changed(made.pipeline, Request.of(), dry_run=True).reasons


@pytest.mark.parametrize(("of_trades", "of_bars"), LAYOUTS)
def test_kept_bars_are_those_that_are_built_from_the_trades_in_either_layout(
    make_warehouse: MakeWarehouse, files: dict[str, bytes], of_trades: str, of_bars: str
) -> None:
    made = make_warehouse(files, **settings_of(of_trades, of_bars))
    made.update("trades")
    check_bars(made)
    with Catalog(made.layout) as catalog:
        month = MARKET.sessions[0].replace(day=1)
        assert {catalog.layout_of(name, month) for name in KEPT} == {of_bars}
    with Warehouse(made.root) as wh:
        symbol = wh.symbols("bars_1m")[0]
        due = built(made, "bars_1m")
        viewed = wh.query("from bars_1m order by symbol, timestamp", "arrow")
        in_order = due.sort_by([("symbol", "ascending"), ("timestamp", "ascending")])
        assert viewed.select(due.column_names).equals(in_order)
        first, last = MARKET.sessions[0], MARKET.sessions[1]
        of_one = wh.query(
            "from bars_1m_of($symbol, $first, $last) order by timestamp", "arrow",
            symbol=symbol, first=first, last=last,
        )  # fmt: skip
        own = due.filter(pc.equal(due["symbol"], symbol))
        own = own.filter(pc.less_equal(own["session"], last))
        assert of_one.select(own.column_names).equals(own.combine_chunks())
        kinds = set(wh.catalog("partitions")["data_type"])
        assert kinds == {"trades", *KEPT}


OF_THE_CLOCK = {
    "source_files": ("etag", "raw_modified_ns", "raw_inode", "run_id", "recorded_at"),
    "runs": (
        *("run_id", "started_at", "download_time", "processing_time", "memory_usage", "seconds"),
        *("cpu_seconds", "peak_memory_bytes", "cache_hit_rate"),
    ),
    "findings": ("run_id", "checked_at"),
    "restatements": ("run_id", "restated_at"),
    "warehouse": ("written_at", "warehouse_id"),
}
"""What differs from one run to the next, by table of the catalog."""
TIERS = ("cache", "manifests", "rejects", "recipes", "schema")


def held(made: Made) -> dict[str, Any]:
    """All that a warehouse holds: files of its tiers, names of the rest, what its catalog says."""
    data = made.layout.data
    files = {path.relative_to(data).as_posix(): path for path in data.rglob("*") if path.is_file()}
    found: dict[str, Any] = {
        "names": sorted(re.sub(r"[0-9a-f]{16,}", "…", name) for name in files),
        "bytes": {
            name: path.read_bytes() for name, path in files.items() if name.startswith(TIERS)
        },
    }
    with duckdb.connect(str(made.layout.catalog), read_only=True) as catalog:
        catalog.execute("set timezone = 'UTC'")
        tables = "select table_name from duckdb_tables() where not internal order by all"
        for (name,) in catalog.execute(tables).fetchall():
            but = OF_THE_CLOCK.get(name, ())
            columns = [
                column
                for column, *_ in catalog.execute(f"describe {name}").fetchall()
                if column not in but
            ]
            rows = catalog.execute(f"select {', '.join(columns)} from {name} order by all")
            found[name] = [columns, rows.fetchall()]
        made_of = (
            "select view_name, sql from duckdb_views() where not internal"
            " union all select function_name, macro_definition from duckdb_functions()"
            " where not internal order by all"
        )
        macros = catalog.execute(made_of).fetchall()
        found["views and macros"] = [(name, in_words(sql)) for name, sql in macros]
    return {name: _anywhere(made, value) for name, value in found.items()}


def _anywhere(made: Made, value: Any) -> Any:
    """The same of a warehouse that stands anywhere."""
    if isinstance(value, str):
        return value.replace(str(made.root.parent), "")
    if isinstance(value, list | tuple):
        return [_anywhere(made, each) for each in value]
    return value


def test_bars_that_are_not_kept_cost_nothing(
    make_warehouse: MakeWarehouse, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a warehouse whose configuration, and whose code, has never heard of them."""
    off = make_warehouse(files, bars__keep=[])
    unheard_of = make_warehouse(files)
    settings = yaml.safe_load((unheard_of.root / CONFIG_FILE).read_text("utf-8"))
    del settings["bars"], settings["storage"]["layout"]["bars"]
    del settings["storage"]["layout"]["bars_1d"]
    (unheard_of.root / CONFIG_FILE).write_text(yaml.safe_dump(settings), "utf-8")
    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(keeper, "MonthOfTrades", None)
            off.update("trades")
            patched.setattr(Pipeline, "keep_bars", lambda *_: [])
            unheard_of.update("trades")
    expected = held(unheard_of)
    assert expected["manifests"][1]
    assert held(off) == expected
    assert not [name for name in expected["names"] if "bars_" in name]
    told = [name for name, _ in expected["views and macros"] if name.startswith("bars_1")]
    assert told == []


@pytest.mark.parametrize(("of_trades", "of_bars"), LAYOUTS)
def test_a_restated_day_rebuilds_just_its_own_bars(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch, of_trades: str, of_bars: str
) -> None:
    made = two_days(make_warehouse, of_trades, of_bars)
    check_bars(made)
    seen: list[tuple[str, date]] = []
    real = builder.build

    def build(connection: Any, folder: Any, spec: Any, trades: pa.Table) -> Any:
        # A symbol's month of which no bar comes, Z's, is looked at as one.
        some = trades.filter(pc.not_equal(trades["symbol"], "Z"))
        seen.extend((spec.every, day) for day in pc.unique(some["session"]).to_pylist())
        return real(connection, folder, spec, trades)

    monkeypatch.setattr(builder, "build", build)
    made.put(day_key("trades", TUESDAY), day(TUESDAY, 12.0, 14.0, 15.0))
    made.update("trades")
    assert {day for _, day in seen} == {TUESDAY}
    assert {("1m", TUESDAY), ("1d", TUESDAY)} <= set(seen)
    check_bars(made)
    latest = bars_of(made, "bars_1d").filter(pc.equal(bars_of(made, "bars_1d")["session"], TUESDAY))
    assert latest["close"].to_pylist() == [15.0, 15.0]
    seen.clear()
    generation = made.verify().generation
    made.update("trades")
    assert made.verify().generation == generation


def months_read(made: Made, monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """The months of which an update reads what the trades were made of."""
    found: list[date] = []
    real = keeper.MonthOfTrades

    def month_of_trades(layout: Layout, catalog: Catalog, month: date) -> Any:
        found.append(month)
        return real(layout, catalog, month)

    with monkeypatch.context() as patched:
        patched.setattr(keeper, "MonthOfTrades", month_of_trades)
        made.update("trades")
    return sorted(set(found))


@pytest.mark.parametrize(("of_trades", "of_bars"), [("symbol", "symbol"), ("market", "market")])
def test_an_update_reads_of_the_months_of_kept_bars_those_alone_whose_trades_changed(
    make_warehouse: MakeWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    of_trades: str,
    of_bars: str,
) -> None:
    made = two_days(make_warehouse, of_trades, of_bars)
    assert months_read(made, monkeypatch) == []
    made.put(day_key("trades", SESSION), day(SESSION, 20.0))
    assert months_read(made, monkeypatch) == [JANUARY]
    made.put(day_key("trades", FEBRUARY), day(FEBRUARY, 30.0))
    assert months_read(made, monkeypatch) == [FEBRUARY]
    assert months_read(made, monkeypatch) == []
    made.put(day_key("trades", TUESDAY), day(TUESDAY, 12.0, 14.0))
    assert months_read(made, monkeypatch) == [JANUARY]
    assert months_read(made, monkeypatch) == []
    check_bars(made)


def test_bars_are_compared_once_with_trades_that_are_laid_out_otherwise_or_of_no_known_month(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = two_days(make_warehouse, "symbol", "symbol")
    before = bytes_of_bars(made)
    convert_layout(made.pipeline, Request.of(["trades"]), "market")
    assert months_read(made, monkeypatch) == [JANUARY]
    assert months_read(made, monkeypatch) == []
    made.layout.catalog.unlink()
    assert months_read(made, monkeypatch) == [JANUARY]
    assert months_read(made, monkeypatch) == []
    # As a catalog of an earlier version.
    edit_catalog(made, "alter table manifests drop column follows")
    assert months_read(made, monkeypatch) == [JANUARY]
    assert months_read(made, monkeypatch) == []
    assert bytes_of_bars(made) == before
    check_bars(made)


def test_bars_of_a_session_whose_hours_are_known_better_now_are_built_again(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = two_days(make_warehouse, "symbol", "symbol")
    real = calendar.hours_of
    monkeypatch.setattr(
        calendar,
        "hours_of",
        lambda days: {day: f"{each} other" for day, each in real(days).items()},
    )
    before = {path.stat().st_ino for path in files_of_bars(made)}
    assert months_read(made, monkeypatch) == [JANUARY]
    assert before.isdisjoint(path.stat().st_ino for path in files_of_bars(made))


def test_symbols_that_are_gone_take_their_bars_along(make_warehouse: MakeWarehouse) -> None:
    made = two_days(make_warehouse, "symbol", "symbol")
    for session in (MONDAY, TUESDAY):
        made.put(day_key("trades", session), day(session, 9.0, symbols="BC"))
    made.update("trades")
    with Warehouse(made.root) as wh:
        assert wh.symbols("bars_1m") == wh.symbols("bars_1d") == ["B", "C"]
    check_bars(made)


@pytest.mark.parametrize("of_bars", ["symbol", "market"])
def test_another_table_of_conditions_makes_them_stale_and_rebuild_changed_says_so(
    make_warehouse: MakeWarehouse, of_bars: str
) -> None:
    made = two_days(make_warehouse, "symbol", of_bars)
    assert reasons(made) == {}
    before = bytes_of_bars(made)
    table = made.root / "config/trade_conditions.csv"
    lines = table.read_text("utf-8").splitlines()
    odd = next(at for at, line in enumerate(lines) if line.startswith("37,"))
    lines[odd] = "37,Odd Lot Trade,true,true,true,,"[: None if lines[0].count(",") == 6 else -2]
    table.write_text("\n".join(lines) + "\n", "utf-8")
    made.update("trades")
    assert bytes_of_bars(made) == before
    assert "the table of trade conditions changed" in reasons(made)
    shutil.rmtree(made.root / "data/raw")
    rebuild_changed(made.pipeline, Request.of())
    with Warehouse(made.root) as wh:
        assert wh.symbols("bars_1m") == ["A", "B", "Z"]
    for data_type in KEPT:
        assert bars_of(made, data_type).equals(built(made, data_type))
    assert reasons(made) == {}


def test_a_changed_statement_makes_them_stale(make_warehouse: MakeWarehouse) -> None:
    made = two_days(make_warehouse, "symbol", "symbol")
    path = made.root / "sql/bars/bars.sql"
    path.write_text("-- A word.\n" + path.read_text("utf-8"), "utf-8")
    assert "sql/bars/bars changed" not in reasons(made)
    path.write_text(path.read_text("utf-8").replace("select", "select distinct", 1), "utf-8")
    assert "sql/bars/bars changed" in reasons(made)


@pytest.mark.parametrize("of_bars", ["symbol", "market"])
def test_a_flipped_bit_is_found_and_mended_without_raw_files(
    make_warehouse: MakeWarehouse, of_bars: str
) -> None:
    made = two_days(make_warehouse, "symbol", of_bars)
    before = bytes_of_bars(made)
    for name in before:
        path = made.root / "data/cache" / name
        content = bytearray(before[name])
        content[len(content) // 3] ^= 8
        path.write_bytes(content)
    found = made.verify().faults
    assert {fault.path.relative_to(made.root / "data/cache").as_posix() for fault in found} == {
        *before
    }
    report = made.repair()
    assert report.left == []
    assert len(report.restored) == len(before)
    assert bytes_of_bars(made) == before
    assert made.verify().faults == []


@pytest.mark.parametrize("of_bars", ["symbol", "market"])
def test_a_lost_catalog_is_made_anew_from_files_alone(
    make_warehouse: MakeWarehouse, of_bars: str
) -> None:
    made = two_days(make_warehouse, "symbol", of_bars)
    before = bytes_of_bars(made)
    (made.root / "data/warehouse.duckdb").unlink()
    made.update("trades")
    assert bytes_of_bars(made) == before
    check_bars(made)


@pytest.mark.parametrize("of_bars", ["symbol", "market"])
def test_rebuild_gives_the_same_bytes_and_converts_the_layout(
    make_warehouse: MakeWarehouse, of_bars: str
) -> None:
    made = two_days(make_warehouse, "symbol", of_bars)
    before = bytes_of_bars(made)
    made.rebuild(*KEPT)
    assert bytes_of_bars(made) == before
    other = "market" if of_bars == "symbol" else "symbol"
    report = convert_layout(made.pipeline, Request.of(KEPT), other)
    assert report.months == [(name, MONDAY.replace(day=1)) for name in KEPT]
    assert bytes_of_bars(made).keys().isdisjoint(before)
    check_bars(made)
    convert_layout(made.pipeline, Request.of(KEPT), of_bars)
    assert bytes_of_bars(made) == before


def test_killed_at_any_moment_the_next_run_finishes_them(
    tmp_path: Path, make_warehouse: MakeWarehouse
) -> None:
    made = two_days(make_warehouse, "symbol", "symbol")
    made.put(day_key("trades", TUESDAY), day(TUESDAY, 20.0, 21.0))
    data, before = made.root / "data", tmp_path / "before"
    shutil.copytree(data, before)
    with killed_at(10**6) as calls:
        made.update("trades")
    due = bytes_of_bars(made)
    check_bars(made)
    for number in range(0, len(calls), 11):
        shutil.rmtree(data)
        shutil.copytree(before, data)
        with killed_at(number), pytest.raises(Killed):
            made.update("trades")
        made.update("trades")
        assert bytes_of_bars(made) == due, f"killed before call {number}, {calls[number]}"
    check_bars(made)


def test_what_is_no_longer_kept_goes_with_the_next_update(make_warehouse: MakeWarehouse) -> None:
    made = two_days(make_warehouse, "symbol", "market")
    made.configure(bars__keep=["1d"])
    made.update("trades")
    assert {name.split("/")[0] for name in made.partitions()} == {"trades", "bars_1d"}
    assert made.verify().faults == []
    with Warehouse(made.root) as wh:
        assert wh.symbols("bars_1m") == []


@pytest.mark.parametrize("every", ["2d", "0m", "25h", "1", "90000s"])
def test_a_length_that_no_bar_has_is_refused_by_the_configuration(
    make_warehouse: MakeWarehouse, every: str
) -> None:
    made = make_warehouse()
    made.configure(bars__keep=[every])
    with pytest.raises(ConfigError, match=r"bars\.keep"):
        made.config  # noqa: B018


def test_what_is_of_the_vendors_files_alone_is_refused_of_bars(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse()
    for act in (made.update, made.ingest):
        with pytest.raises(RequestError, match="warehouse rebuild bars_1m"):
            act("bars_1m")


def test_bars_that_are_not_kept_are_not_rebuilt(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse(bars__keep=["1d"])
    with pytest.raises(RequestError, match=r"name 1m in bars\.keep, which has 1d"):
        made.rebuild("bars_1m")
    assert made.partitions() == {}


def test_bars_of_a_length_that_is_not_kept_are_told_with_the_line_that_keeps_them(
    make_warehouse: MakeWarehouse,
) -> None:
    made = two_days(make_warehouse, "symbol", "symbol")
    line = r"write keep: \[1m, 1d, 5m\] under bars: in config/data_config\.yaml, then: warehouse up"
    with Warehouse(made.root) as wh:
        for symbols in ("A", ["A", "never seen"], "*"):
            with pytest.raises(NoDataError, match=line):
                wh.load("bars_5m", symbols, MONDAY)
        # What is kept, and not there, comes with an update.
        with pytest.raises(NoDataError, match="warehouse update --start 2024-02-01"):
            wh.load("bars_1m", "A", FEBRUARY)
    made.configure(bars__keep=["1m", "1d", "5m"])
    made.update("trades")
    with Warehouse(made.root) as wh:
        assert len(wh.load("bars_5m", "A", MONDAY)) == 1
    made.configure(bars__keep=[])
    with Warehouse(made.root) as wh:
        # They are there until the next update.
        assert len(wh.load("bars_5m", "A", MONDAY)) == 1


def test_before_anything_was_ingested_bars_that_are_not_kept_are_told_as_such(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse()
    with Warehouse(made.root) as wh, pytest.raises(NoDataError, match=r"write keep: \[1m\]"):
        wh.load("bars_1m", "A", MONDAY)


def test_a_day_in_which_a_symbol_has_no_bar_is_no_gap(make_warehouse: MakeWarehouse) -> None:
    odd_lots = [line.replace("Z,37", "B,37") for line in day(TUESDAY, 12.0, symbols="Z")]
    files = {
        day_key("trades", MONDAY): day(MONDAY, 10.0, 11.0, symbols="AB"),
        day_key("trades", TUESDAY): [*day(TUESDAY, 12.0, symbols="A"), *odd_lots],
    }
    made = make_warehouse(files, **settings_of("symbol", "symbol"))
    made.update("trades")
    with Warehouse(made.root) as wh:
        for data_type, rows in (("bars_1m", 2), ("bars_1d", 1)):
            assert len(wh.load(data_type, "B", MONDAY, TUESDAY)) == rows
            assert wh.load(data_type, "B", TUESDAY).empty


@pytest.mark.parametrize(("of_trades", "of_bars"), LAYOUTS)
def test_sessions_of_which_a_symbols_trades_are_not_here_are_an_error_of_its_kept_bars_too(
    make_warehouse: MakeWarehouse, of_trades: str, of_bars: str
) -> None:
    refused = trade("B", instant(SESSION, "10:00"), price=0)
    files = {
        day_key("trades", MONDAY): day(MONDAY, 10.0, symbols="AB"),
        day_key("trades", TUESDAY): day(TUESDAY, 12.0, symbols="AB"),
        day_key("trades", SESSION): [*day(SESSION, 14.0, symbols="A"), refused],
    }
    made = make_warehouse(files, **settings_of(of_trades, of_bars))
    made.pipeline.update(Request.of(["trades"], MONDAY, MONDAY))
    made.pipeline.update(Request.of(["trades"], TUESDAY, TUESDAY, ["A"]))
    made.pipeline.update(Request.of(["trades"], SESSION, SESSION))
    asked: dict[str, Callable[[Warehouse, str, date, date], Any]] = {
        "load": lambda wh, data_type, start, end: wh.load(data_type, ["A", "B"], start, end),
        "map": lambda wh, data_type, start, end: wh.map(len, ["A", "B"], start, end, data_type),
        "panel": lambda wh, data_type, start, end: wh.panel(
            data_type, "close", start, end, symbols=["A", "B"]
        ),
    }
    with Warehouse(made.root) as wh:
        for (how, ask), data_type in product(asked.items(), KEPT):
            for start, end in ((TUESDAY, TUESDAY), (MONDAY, TUESDAY), (MONDAY, SESSION)):
                with pytest.raises(NoDataError, match="never ingested: 2024-01-30"):
                    ask(wh, data_type, start, end)
            with pytest.raises(NoDataError, match="all rows were rejected: 1 of 'B' on 2024-01-31"):
                ask(wh, data_type, SESSION, SESSION)
            assert len(ask(wh, data_type, MONDAY, MONDAY)) == (1 if how == "panel" else 2)
            assert len(wh.load(data_type, "A", MONDAY, SESSION)) == 3
            assert len(wh.load(data_type, "B", MONDAY, SESSION, missing="ignore")) == 1


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_a_session_whose_trades_make_no_bar_is_no_gap_once_they_were_looked_at(
    make_warehouse: MakeWarehouse, layout: str
) -> None:
    files = {
        day_key("trades", MONDAY): day(MONDAY, 10.0, symbols="A"),
        day_key("trades", TUESDAY): [
            line.replace("Z,37", "A,37") for line in day(TUESDAY, 12.0, symbols="Z")
        ],
        day_key("trades", SESSION): day(SESSION, 14.0, symbols="A"),
    }
    made = make_warehouse(files, **settings_of(layout, layout))
    made.update("trades")
    with Warehouse(made.root) as wh:
        for data_type in KEPT:
            for symbols in ("A", "*"):
                assert len(wh.load(data_type, symbols, MONDAY, SESSION)) == 2
                assert wh.load(data_type, symbols, TUESDAY).empty
    # Nobody knows whether they were.
    edit_catalog(made, "update manifests set follows = null")
    with Warehouse(made.root) as wh:
        for symbols in ("A", "*"):
            with pytest.raises(NoDataError, match="never ingested: 2024-01-30"):
                wh.load("bars_1m", symbols, MONDAY, SESSION)


def test_day_bars_of_new_months_are_laid_out_by_a_key_of_their_own_and_others_stay(
    make_warehouse: MakeWarehouse,
) -> None:
    made = two_days(make_warehouse, "symbol", "symbol")
    layout = settings_of("symbol", "symbol")["storage__layout"]
    made.configure(storage__layout={**layout, "bars_1d": "market"})
    before = bytes_of_bars(made)
    made.put(day_key("trades", SESSION), day(SESSION, 20.0))
    made.put(day_key("trades", FEBRUARY), day(FEBRUARY, 30.0))
    made.update("trades")
    with Catalog(made.layout) as catalog:
        assert catalog.layout_of("bars_1d", JANUARY) == "symbol"
        assert catalog.layout_of("bars_1d", FEBRUARY) == "market"
        assert catalog.layout_of("bars_1m", FEBRUARY) == "symbol"
    assert set(before) <= set(bytes_of_bars(made))
    check_bars(made)
    convert_layout(made.pipeline, Request.of(["bars_1d"]), "market")
    assert {path.parent.name for path in files_of_bars(made) if "bars_1d" in str(path)} == {
        "market"
    }
    check_bars(made)


@pytest.mark.parametrize("of_bars", ["symbol", "market"])
def test_panels_and_cross_sections_of_kept_bars_are_pivots_of_their_rows(
    make_warehouse: MakeWarehouse, files: dict[str, bytes], of_bars: str
) -> None:
    made = make_warehouse(files, **settings_of("symbol", of_bars, "5m", "1d"))
    made.update("trades")
    for data_type, by in (("bars_5m", "timestamp"), ("bars_1d", "session")):
        rows = bars_of(made, data_type).to_pandas()
        due = rows.pivot(index=by, columns="symbol", values="close").sort_index()
        with Warehouse(made.root) as wh:
            sessions = wh.sessions(data_type)
            panel = wh.panel(data_type, "close", sessions[0], sessions[-1])
            assert list(panel.columns) == sorted(due.columns, key=str.encode)
            np.testing.assert_array_equal(panel.to_numpy(), due[panel.columns].to_numpy())
            for moment in due.index[::40]:
                at = moment if by == "timestamp" else pd.Timestamp(moment)
                closes = wh.cross_section(data_type, at, columns=["close"])["close"]
                assert closes.to_dict() == due.loc[moment].dropna().to_dict()


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_a_session_of_which_all_trades_were_refused_is_not_called_never_ingested_of_kept_bars(
    make_warehouse: MakeWarehouse, layout: str
) -> None:
    files = {
        day_key("trades", MONDAY): day(MONDAY, 10.0, symbols="AB"),
        day_key("trades", TUESDAY): [trade("A", instant(TUESDAY, "10:00"), price=0)],
        day_key("trades", SESSION): day(SESSION, 14.0, symbols="AB"),
    }
    made = make_warehouse(files, **settings_of(layout, layout))
    made.update("trades")
    refused = "all rows were rejected: 1 of 2024-01-30"
    with Warehouse(made.root) as wh:
        for data_type in KEPT:
            for symbols in ("A", ["A", "B"], "*"):
                found = wh.load(data_type, symbols, MONDAY, SESSION)
                sessions = found["session"].dt.date.unique().tolist()
                assert sessions == [MONDAY, SESSION]
            assert len(wh.panel(data_type, "close", MONDAY, SESSION)) == 2
            with pytest.raises(NoDataError, match=refused):
                wh.load(data_type, "*", TUESDAY)
            with pytest.raises(NoDataError, match="all rows were rejected: 1 of 'A'"):
                wh.load(data_type, "A", TUESDAY)
        with pytest.raises(NoDataError, match=refused):
            wh.cross_section("bars_1d", TUESDAY)
        # Of a day that nobody has brought it is said still.
        with pytest.raises(NoDataError, match="never ingested: 2024-01-26"):
            wh.load("bars_1d", "*", date(2024, 1, 26), SESSION)


def test_a_cross_section_at_which_no_kept_bar_begins_is_told_not_empty(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse(
        {day_key("trades", MONDAY): day(MONDAY, *map(float, range(10, 20)))},
        **settings_of("symbol", "symbol", "5m"),
    )
    made.update("trades")
    with Warehouse(made.root) as wh:
        assert len(wh.cross_section("bars_5m", f"{MONDAY} 09:35")) == 2
        with pytest.raises(NoDataError, match="no symbol has a bar that begins then"):
            wh.cross_section("bars_5m", f"{MONDAY} 09:36")
        with pytest.raises(RequestError, match="name the minute"):
            wh.cross_section("bars_5m", MONDAY)


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_a_trade_that_no_bar_holds_stops_the_bars_of_its_month_alone(
    make_warehouse: MakeWarehouse, layout: str
) -> None:
    made = two_days(make_warehouse, layout, layout)
    before = bars_of(made, "bars_1m")
    wednesday = date(2024, 1, 31)
    large = trade("B", instant(wednesday, "10:00"), 9, price=1e13, id="large")
    made.put(day_key("trades", wednesday), [*day(wednesday, 14.0, symbols="A"), large])
    made.put(day_key("trades", FEBRUARY), day(FEBRUARY, 15.0))
    with pytest.raises(OversizedTradeError, match="the trade of B at 2024-01-31 15:00") as caught:
        made.update("trades")
    assert (caught.value.symbol, caught.value.column, caught.value.value) == ("B", "price", 1e13)
    months = made.sql(
        "select distinct data_type, month from partitions where data_type = 'bars_1d'"
    )
    assert sorted(months) == [("bars_1d", JANUARY), ("bars_1d", FEBRUARY)]
    with Warehouse(made.root) as wh:
        assert wh.load("bars_1m", ["A", "B"], MONDAY, TUESDAY, to="arrow").equals(before)
        with pytest.raises(NoDataError, match="never ingested: 2024-01-31"):
            wh.load("bars_1m", "A", MONDAY, FEBRUARY)
    # It is asked again each time, until the vendor mends the file.
    with pytest.raises(OversizedTradeError):
        made.update("trades")
    made.put(day_key("trades", wednesday), day(wednesday, 14.0, symbols="AB"))
    made.update("trades")
    check_bars(made)


def test_a_damaged_partition_of_trades_stops_the_bars_of_its_month_alone(
    make_warehouse: MakeWarehouse,
) -> None:
    made = two_days(make_warehouse, "symbol", "symbol")
    made.put(day_key("trades", date(2024, 1, 31)), day(date(2024, 1, 31), 14.0))
    made.put(day_key("trades", FEBRUARY), day(FEBRUARY, 15.0))
    made.update("trades")
    damaged = made.layout.partition("trades", "A", JANUARY)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-9] + b"damaged!!")
    made.configure(bars__keep=["1m", "1d", "5m"])
    told = f"{re.escape(str(damaged))}.*; it stopped kept bars alone"
    with pytest.raises(CorruptPartitionError, match=told):
        made.update("trades")
    months = made.sql("select distinct month from partitions where data_type = 'bars_5m'")
    assert months == [(FEBRUARY,)]
    damaged.write_bytes(content)
    made.update("trades")
    check_bars(made)
    assert bars_of(made, "bars_5m").equals(built(made, "bars_5m"))
