"""All symbols of a month in one file: the same rows, the same answers, the same care."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Sequence
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import (
    SESSION,
    Made,
    bar,
    day_key,
    edit_catalog,
    instant,
    keep,
    make,
    put_back,
    symbol_key,
    trade,
)
from hypothesis import given
from hypothesis import strategies as st

from warehouse import Warehouse
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.metrics import Silent
from warehouse.core.paths import PartitionKey
from warehouse.core.request import Request
from warehouse.errors import (
    CorruptPartitionError,
    DamagedCatalogError,
    NoDataError,
    RequestError,
    SqlFileError,
    StorageError,
    TooLargeError,
    WarehouseError,
)
from warehouse.maintenance.convert_layout import convert_layout
from warehouse.maintenance.rebuild_stale import rebuild_changed
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.watch.holdings import published
from warehouse.store import manifests
from warehouse.store.catalog import Catalog
from warehouse.store.parquet_writer import (
    ROW_GROUP_ROWS,
    WHOLE_SESSIONS_ROWS,
    _market_groups,
)

DAYS = [
    *(date(2024, 1, day) for day in (2, 3, 4, 31)),
    *(date(2024, 2, day) for day in (1, 2)),
    date(2024, 3, 1),
]
SYMBOLS = ["A", "BCpC", "BRK.B", "CON", "ZZ.", "a", "é"]
FIRST, LAST = DAYS[0], DAYS[-1]


def lines(day: date, symbols: Sequence[str] = SYMBOLS, seed: int = 0) -> list[str]:
    """Bars of a session, not by symbol; some are refused, some stand twice."""
    dice = random.Random(f"{seed} {day}")
    found = []
    for symbol in symbols:
        if dice.random() < 0.15:
            continue
        close = dice.randrange(100, 10_000) / 100
        stamp = instant(day, "00:00" if dice.random() > 0.1 else "00:01")
        line = f"{symbol},{dice.randrange(1, 999)},{close},{close},{close + 1},{close - 0.5},"
        found.append(f"{line}{stamp},{dice.randrange(9)}")
        if dice.random() < 0.2:
            found.append(found[-1])
        if dice.random() < 0.1:
            found.append(f"{line.replace(symbol + ',', symbol + ',1', 1)}{stamp},1")
    dice.shuffle(found)
    return found


def files(seed: int = 0) -> dict[str, list[str]]:
    return {day_key("day_aggs", day): lines(day, seed=seed) for day in DAYS}


def laid_out(layout: str, **more: Any) -> dict[str, Any]:
    return {"storage__layout": {"day_aggs": layout}, **more}


def of_layout(folder: Path, layout: str, **more: Any) -> Made:
    made = make(folder, files(), **laid_out(layout, **more))
    made.update("day_aggs")
    return made


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    found = {}
    for layout in ("symbol", "market"):
        found[layout] = of_layout(tmp_path_factory.mktemp(layout), layout)
        keep(found[layout])
    return found


@pytest.fixture
def by_symbol(templates: dict[str, Made]) -> Made:
    put_back(templates["symbol"])
    return templates["symbol"]


@pytest.fixture
def made(templates: dict[str, Made]) -> Made:
    put_back(templates["market"])
    return templates["market"]


def convert(made: Made, layout: Any) -> Any:
    return convert_layout(made.pipeline, Request.of(["day_aggs"]), layout)


# What is written


def test_a_month_of_all_symbols_is_one_file_by_symbol_and_session(made: Made) -> None:
    assert sorted(made.partitions()) == [
        f"day_aggs/market/2024_0{month}.parquet" for month in (1, 2, 3)
    ]
    for path in made.partitions().values():
        table = pq.read_table(path, partitioning=None)
        keys = list(zip(table["symbol"].to_pylist(), table["session"].to_pylist(), strict=True))
        assert keys == sorted(keys, key=lambda key: (key[0].encode(), key[1]))
        assert len(set(keys)) == len(keys)
        assert table.schema.remove_metadata().equals(DATA_TYPES["day_aggs"].stored)
    made.check_catalog()
    assert made.verify().faults == []


def test_both_layouts_publish_and_reject_the_same_rows(made: Made, by_symbol: Made) -> None:
    rows = [("symbol", "ascending"), ("timestamp", "ascending")]
    tables = [each.table("day_aggs").sort_by(rows) for each in (made, by_symbol)]
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows > 0
    assert made.rejects() == by_symbol.rejects()
    assert made.rejects()
    columns = "source, state, lines, rows_published, rows_rejected, rejects_by_reason"
    asked = f"select {columns} from source_files order by all"
    assert made.answers(asked) == by_symbol.answers(asked)
    # What the catalog says of each symbol's sessions, the rejects too.
    asked = "select symbol, month, rows, first_timestamp, last_timestamp, sessions from partitions"
    assert made.answers(f"{asked} order by all") == by_symbol.answers(f"{asked} order by all")


@pytest.mark.parametrize("chunk_size", [1_000, 1_000_000])
@pytest.mark.parametrize("memory_limit_gb", [0.5, 2.0])
def test_the_same_rows_give_the_same_bytes_whatever_the_settings(
    chunk_size: int, memory_limit_gb: float, tmp_path: Path, made: Made
) -> None:
    sizes = {
        "processing__chunk_size": chunk_size,
        "processing__memory_limit_gb": memory_limit_gb,
        "processing__parallel_workers": 1,
    }
    assert of_layout(tmp_path, "market", **sizes).digests() == made.digests()


def test_rows_that_do_not_fit_into_memory_give_the_same_bytes(
    tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So little is held that each piece and each file goes by way of the disk.
    monkeypatch.setattr("warehouse.ingest.stage._ROWS_SHARE", 1e-9)
    assert of_layout(tmp_path, "market").digests() == made.digests()


def test_sessions_one_after_the_other_give_the_bytes_that_they_give_at_once(
    tmp_path: Path, made: Made
) -> None:
    one_by_one = make(tmp_path, {}, **laid_out("market"))
    for day in reversed(DAYS):
        one_by_one.put(day_key("day_aggs", day), lines(day))
        one_by_one.update("day_aggs")
    assert one_by_one.digests() == made.digests()
    assert one_by_one.verify().faults == []


def test_a_restated_session_replaces_its_rows_and_no_others(made: Made) -> None:
    before = made.table("day_aggs").to_pylist()
    made.put(day_key("day_aggs", DAYS[1]), lines(DAYS[1], seed=1))
    made.update("day_aggs")
    after = made.table("day_aggs").to_pylist()
    assert [row for row in after if row["session"] != DAYS[1]] == [
        row for row in before if row["session"] != DAYS[1]
    ]
    assert [row for row in after if row["session"] == DAYS[1]] != [
        row for row in before if row["session"] == DAYS[1]
    ]
    assert made.verify().faults == []
    assert made.sql("select count(*) from restatements") == [(1,)]


def test_a_rebuild_of_one_symbol_leaves_the_others_as_they_are(made: Made) -> None:
    digests = made.digests()
    made.rebuild("day_aggs", symbols=["BCpC"])
    assert made.digests() == digests
    assert made.verify().faults == []


def test_symbols_that_are_selected_later_join_those_that_are_there(
    tmp_path: Path, made: Made
) -> None:
    some = make(tmp_path, files(), **laid_out("market", source__symbols=["A", "é"]))
    some.update("day_aggs")
    assert some.verify().faults == []
    assert set(some.table("day_aggs")["symbol"].to_pylist()) == {"A", "é"}
    some.configure(source__symbols=[])
    some.update("day_aggs")
    assert some.verify().faults == []
    assert some.digests() == made.digests()


def test_a_symbols_own_file_and_that_of_all_bring_a_session_once(
    tmp_path: Path, made: Made
) -> None:
    mixed = make(tmp_path, files(), **laid_out("market"))
    mixed.update("day_aggs")
    own = [bar for day in DAYS[:4] for bar in lines(day, ["A"], seed=3)]
    mixed.put(symbol_key("day_aggs", DAYS[0], "A"), own)
    mixed.configure(source__layout="symbol")
    mixed.update("day_aggs")
    twin = make(tmp_path / "twin", files(), **laid_out("symbol"))
    twin.update("day_aggs")
    twin.put(symbol_key("day_aggs", DAYS[0], "A"), own)
    twin.configure(source__layout="symbol")
    twin.update("day_aggs")
    rows = [("symbol", "ascending"), ("timestamp", "ascending")]
    assert mixed.table("day_aggs").sort_by(rows).equals(twin.table("day_aggs").sort_by(rows))
    asked = "select source, lines, rows_published, rows_rejected, rows_unselected from source_files"
    assert mixed.answers(f"{asked} order by all") == twin.answers(f"{asked} order by all")
    assert mixed.verify().faults == []


def test_a_month_stays_in_its_layout_whatever_the_configuration_says_later(made: Made) -> None:
    made.configure(**laid_out("symbol"))
    made.put(day_key("day_aggs", date(2024, 3, 4)), lines(date(2024, 3, 4)))
    made.put(day_key("day_aggs", date(2024, 4, 1)), lines(date(2024, 4, 1)))
    made.update("day_aggs")
    folders = {name.split("/")[1] for name in made.partitions() if name.endswith("2024_03.parquet")}
    assert folders == {"market"}
    folders = {name.split("/")[1] for name in made.partitions() if name.endswith("2024_04.parquet")}
    assert "market" not in folders
    assert folders
    with Warehouse(made.root) as wh:
        both = wh.load("day_aggs", "*", FIRST, date(2024, 4, 1), missing="ignore", to="arrow")
        listed = wh.symbols("day_aggs")
        each = wh.load("day_aggs", listed, FIRST, date(2024, 4, 1), missing="ignore", to="arrow")
    assert both.equals(each)
    assert made.verify().faults == []


@given(
    counts=st.lists(
        st.one_of(st.integers(1, 50), st.integers(1, 2 * ROW_GROUP_ROWS)), min_size=1, max_size=30
    ),
    cut=st.integers(1, 50_000),
)
def test_row_groups_follow_from_the_rows_alone(counts: list[int], cut: int) -> None:
    symbols = pa.array(np.repeat([f"S{place:03}" for place in range(len(counts))], counts))
    table = pa.table({"symbol": symbols, "row": pa.array(range(len(symbols)))})
    whole = list(_market_groups(iter(table.to_batches()), table.column_names))
    pieces = iter(table.to_batches(max_chunksize=cut))
    assert whole == list(_market_groups(pieces, table.column_names))
    assert pa.concat_tables(whole).equals(table)
    assert all(0 < group.num_rows <= ROW_GROUP_ROWS for group in whole)
    small = [group for group in whole[:-1] if group.num_rows < WHOLE_SESSIONS_ROWS]
    for group in small:
        # It ends where a symbol that would make it too large begins.
        last = group["symbol"][-1].as_py()
        following = whole[whole.index(group) + 1]["symbol"][0].as_py()
        assert last != following or counts[int(last[1:])] > ROW_GROUP_ROWS


# What is answered

SPANS = [
    (FIRST, LAST),
    (DAYS[1], DAYS[2]),
    (DAYS[3], DAYS[4]),
    ("2024-01-03 00:00:00.000000001", "2024-02-01 12:00"),
    (DAYS[5], DAYS[5]),
]


@pytest.mark.parametrize("span", SPANS, ids=str)
def test_loads_are_those_of_the_other_layout(
    span: tuple[Any, Any], made: Made, by_symbol: Made
) -> None:
    with Warehouse(made.root) as market, Warehouse(by_symbol.root) as symbols:
        listed = market.symbols("day_aggs")
        assert listed == symbols.symbols("day_aggs")
        for asked in [*listed, listed, listed[::-1], listed[::2]]:
            for columns in (None, ["close"], ["session", "symbol"], ["symbol"]):
                found, due = (
                    wh.load("day_aggs", asked, *span, columns=columns, to="arrow", missing="ignore")
                    for wh in (market, symbols)
                )
                assert found.equals(due)
        found = market.load("day_aggs", "*", *span, missing="ignore")
        pd.testing.assert_frame_equal(found, symbols.load("day_aggs", "*", *span, missing="ignore"))
        pd.testing.assert_frame_equal(
            found, symbols.load("day_aggs", listed, *span, missing="ignore"), check_like=False
        )


def test_sql_answers_are_those_of_the_other_layout(made: Made, by_symbol: Made) -> None:
    queries = [
        "select * from day_aggs order by symbol, timestamp",
        "select * from day_aggs where symbol = 'BCpC' order by timestamp",
        "select * from day_aggs_of('BCpC') order by timestamp",
        f"select * from day_aggs_of('é', '{DAYS[1]}', '{DAYS[4]}') order by timestamp",
        "select symbol, count(*), max(close) from day_aggs group by all order by all",
        "select session, count(*) from day_aggs group by all order by all",
        "select data_type, sum(rows), count(distinct symbol) from partitions group by all",
    ]
    assert made.answers(*queries) == by_symbol.answers(*queries)
    with Warehouse(made.root) as market, Warehouse(by_symbol.root) as symbols:
        for query in queries:
            pd.testing.assert_frame_equal(market.query(query), symbols.query(query))
        with pytest.raises(
            WarehouseError, match=r"there are no day_aggs of 'bcpc' \(case counts\)"
        ):
            market.query("select * from day_aggs_of('bcpc')")


def test_streams_are_those_of_the_other_layout(made: Made, by_symbol: Made) -> None:
    found = []
    for each in (made, by_symbol):
        with Warehouse(each.root) as wh:
            stream = wh.stream(
                wh.symbols(), DAYS[1], LAST, data_types=("day_aggs",), to="arrow", missing="ignore"
            )
            found.append(pa.Table.from_batches(list(stream)))
    assert found[0].equals(found[1])
    assert found[0].num_rows > 0


def test_coverage_and_validation_are_those_of_the_other_layout(made: Made, by_symbol: Made) -> None:
    found = []
    for each in (made, by_symbol):
        with Warehouse(each.root) as wh:
            covered = wh.coverage("day_aggs", [*SYMBOLS, "NOPE"], FIRST, LAST)
            report = wh.validate("day_aggs")
            found.append((covered, [(one.rule, one.symbol, one.session) for one in report.results]))
    pd.testing.assert_frame_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_a_panel_is_the_pivot_of_the_rows(made: Made) -> None:
    rows = made.table("day_aggs").to_pandas()
    due = rows.pivot(index="session", columns="symbol", values="close").sort_index()
    due = due[sorted(due.columns, key=str.encode)]
    with Warehouse(made.root) as wh:
        found = wh.panel("day_aggs", "close", FIRST, LAST, missing="ignore")
        assert list(found.columns) == list(due.columns)
        assert [stamp.date() for stamp in found.index] == list(due.index)
        np.testing.assert_array_equal(found.to_numpy(), due.to_numpy())
        some = wh.panel(
            "day_aggs", "volume", FIRST, LAST, symbols=["é", "NOPE", "A"], missing="ignore"
        )
        assert list(some.columns) == ["é", "NOPE", "A"]
        assert some["NOPE"].isna().all()
        wide = wh.panel("day_aggs", "close", FIRST, LAST, to="arrow", missing="ignore")
        assert wide.column_names == ["session", *due.columns]
        with pytest.raises(RequestError, match="many rows at a time"):
            wh.panel("trades", "price", FIRST)
        with pytest.raises(RequestError, match="column"):
            wh.panel("day_aggs", "symbol", FIRST)


def test_a_cross_section_is_one_session_of_all_symbols(made: Made) -> None:
    rows = made.table("day_aggs").to_pandas()
    due = rows[rows.session == DAYS[2]].set_index("symbol")["close"]
    with Warehouse(made.root) as wh:
        found = wh.cross_section("day_aggs", DAYS[2], columns=["close"])
        assert list(found.index) == sorted(due.index, key=str.encode)
        assert found["close"].to_dict() == due.to_dict()
        assert wh.cross_section("day_aggs", DAYS[2], to="arrow").column_names[0] == "symbol"
        with pytest.raises(NoDataError, match="all symbols"):
            wh.cross_section("day_aggs", date(2024, 1, 5))


def test_what_is_missing_of_all_symbols_is_told(made: Made) -> None:
    with Warehouse(made.root) as wh:
        with pytest.raises(NoDataError, match=r"never ingested: 2024-01-05"):
            wh.load("day_aggs", "*", DAYS[2], DAYS[3])
        with pytest.raises(NoDataError, match="never ingested"):
            wh.panel("day_aggs", "close", "2019-01-02", "2019-01-31")


def test_an_answer_about_all_symbols_knows_what_stands_behind_it(made: Made) -> None:
    with Warehouse(made.root) as wh:
        frame = wh.load("day_aggs", "*", DAYS[0], DAYS[2])
        before = wh.fingerprint("day_aggs", "*", DAYS[0], DAYS[2])
        assert frame.attrs["fingerprint"] == before
        made.put(day_key("day_aggs", DAYS[1]), lines(DAYS[1], seed=9))
        made.update("day_aggs")
        assert wh.fingerprint("day_aggs", "*", DAYS[0], DAYS[2]) != before
        assert not wh.load("day_aggs", "*", DAYS[0], DAYS[2]).equals(frame)


# Conversion


def test_conversion_gives_the_bytes_that_an_ingest_gives_and_back(
    made: Made, by_symbol: Made
) -> None:
    market, symbols = made.digests(), by_symbol.digests()
    shutil.rmtree(made.layout.raw)
    report = convert(made, "symbol")
    rows = made.table("day_aggs").num_rows
    assert (len(report.months), report.files_before, report.rows) == (3, 3, rows)
    assert made.digests() == symbols
    assert convert(made, "market").files_after == 3
    assert made.digests() == market
    assert convert(made, "market").months == []
    assert convert(by_symbol, "market").files_after == 3
    assert by_symbol.digests() == market
    assert by_symbol.verify().faults == []


@pytest.mark.parametrize("renames", [1, 2, 3, 5])
def test_a_conversion_that_is_killed_is_finished_or_undone_by_the_next_writer(
    renames: int, by_symbol: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = by_symbol.answers("select * from day_aggs order by symbol, timestamp")
    replace, done = os.replace, count(1)

    def fail(source: Any, target: Any) -> None:
        if next(done) > renames:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as broken:
        broken.setattr("warehouse.store.publishing.publish.os.replace", fail)
        with pytest.raises(KeyboardInterrupt):
            convert(by_symbol, "market")
    convert(by_symbol, "market")
    assert by_symbol.answers("select * from day_aggs order by symbol, timestamp") == rows
    assert by_symbol.verify().faults == []
    assert len(by_symbol.partitions()) == 3


def test_a_layout_is_that_of_whole_months(made: Made) -> None:
    with pytest.raises(RequestError, match="name no symbols"):
        convert_layout(made.pipeline, Request.of(["day_aggs"], symbols=["A"]), "market")


# Damage, and what is not there


def test_a_lost_catalog_is_made_anew_as_it_was(made: Made) -> None:
    columns = "* exclude (path)"
    before = made.answers(f"select {columns} from partitions order by all")
    seen = made.everything()
    made.layout.catalog.unlink()
    assert made.repair().left == []
    assert made.answers(f"select {columns} from partitions order by all") == before
    assert made.everything() == seen


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


HARMS: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: path.unlink(),
    "flipped": damage,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "another month's": lambda path: shutil.copy(path.with_name("2024_02.parquet"), path),
    "no file": lambda path: (path.unlink(), path.mkdir()),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_file_that_is_not_as_it_was_written_gives_an_error_never_fewer_rows(
    harm: str, made: Made
) -> None:
    with Warehouse(made.root) as wh:
        due = wh.query("select count(*) as rows from day_aggs")["rows"][0]
        every = wh.load("day_aggs", "*", FIRST, LAST, missing="ignore", to="arrow")
    path = made.partitions()["day_aggs/market/2024_01.parquet"]
    HARMS[harm](path)
    with Warehouse(made.root) as wh:
        asked: list[Callable[[], pa.Table]] = [
            lambda: wh.load("day_aggs", "*", FIRST, LAST, missing="ignore", to="arrow"),
            lambda: wh.load("day_aggs", wh.symbols(), FIRST, LAST, missing="ignore", to="arrow"),
            lambda: pa.Table.from_batches(
                list(
                    wh.stream(wh.symbols(), FIRST, LAST, data_types=("day_aggs",), missing="ignore")
                )
            ),
            lambda: wh.query("select * from day_aggs", "arrow"),
        ]
        for ask in asked:
            try:
                found = ask()
            except WarehouseError:
                continue
            # A flipped bit that no reader looks at changes nothing.
            assert harm == "flipped"
            assert found.num_rows == every.num_rows == due
    assert [fault.kind for fault in made.verify().faults] == ["partition"]
    if harm == "no file":
        path.rmdir()
    assert made.repair().left == []
    assert made.verify().faults == []
    assert made.sql("select count(*) from day_aggs") == [(due,)]


def test_repair_makes_a_damaged_file_anew_byte_for_byte(made: Made) -> None:
    digests = made.digests()
    damage(made.partitions()["day_aggs/market/2024_01.parquet"])
    report = made.repair()
    assert report.left == []
    assert report.restored == [PartitionKey("day_aggs", "", date(2024, 1, 1))]
    assert made.digests() == digests


def test_rows_that_are_not_where_the_catalog_has_them_are_refused(made: Made) -> None:
    edit_catalog(
        made, "update partitions set first_row = 0 where symbol = 'é' and month = '2024-02-01'"
    )
    with Warehouse(made.root) as wh:
        for symbols in (["é"], ["é", "BRK.B"]):
            with pytest.raises(CorruptPartitionError, match="do not stand where the catalog says"):
                wh.load("day_aggs", symbols, DAYS[4], DAYS[5], missing="ignore")
        with pytest.raises(CorruptPartitionError, match="do not stand where the catalog says"):
            list(wh.stream("é", DAYS[4], DAYS[5], data_types=("day_aggs",), missing="ignore"))
    assert [fault.kind for fault in made.verify().faults] == ["partition"]
    assert made.repair().left == []
    assert made.verify().faults == []


def test_strays_in_the_shared_folder_change_no_answer(made: Made) -> None:
    before = made.answers("select * from day_aggs order by symbol, timestamp")
    folder = made.layout.cache / "day_aggs/market"
    for name in ("._2024_01.parquet", "2024_01 (conflicted copy).parquet", "2024_05.parquet"):
        shutil.copy(folder / "2024_01.parquet", folder / name)
    assert made.answers("select * from day_aggs order by symbol, timestamp") == before
    assert [fault.kind for fault in made.verify().faults] == ["unknown"] * 3
    assert made.repair().left == []
    assert made.verify().faults == []


def test_every_flipped_bit_of_a_footer_is_refused_or_changes_nothing(made: Made) -> None:
    path = made.partitions()["day_aggs/market/2024_02.parquet"]
    whole = path.read_bytes()
    size = int.from_bytes(whole[-8:-4], "little") + 8
    with Warehouse(made.root) as wh:
        due = wh.load("day_aggs", "BRK.B", DAYS[4], DAYS[5], missing="ignore", to="arrow")
        every = wh.load("day_aggs", "*", DAYS[4], DAYS[5], missing="ignore", to="arrow")
        refused = 0
        dice = random.Random(0)
        for _ in range(300):
            content = bytearray(whole)
            content[-1 - dice.randrange(size)] ^= 1 << dice.randrange(8)
            path.write_bytes(content)
            for symbols, rows in (("BRK.B", due), ("*", every)):
                wh.cache.clear()
                try:
                    found = wh.load(
                        "day_aggs", symbols, DAYS[4], DAYS[5], missing="ignore", to="arrow"
                    )
                except CorruptPartitionError:
                    refused += 1
                    continue
                assert found.equals(rows)
        assert refused > 100


def test_what_is_stale_is_made_anew_and_nothing_else(made: Made) -> None:
    digests = made.digests()
    assert rebuild_changed(made.pipeline, Request.of(["day_aggs"])).partitions == set()
    clean = made.root / "sql/clean/day_aggs.sql"
    clean.write_text(clean.read_text().replace("volume < 0", "volume < 100"))
    report = rebuild_changed(made.pipeline, Request.of(["day_aggs"]))
    assert {key[1] for key in report.partitions} == {""}
    assert made.digests() != digests
    assert made.verify().faults == []


def test_catalog_sql_that_would_leave_shared_files_out_is_refused(made: Made) -> None:
    view = made.root / "sql/catalog/day_aggs.sql"
    view.write_text(
        "create or replace view day_aggs as select * from"
        " read_parquet(day_aggs_files(), hive_partitioning = false);"
        " create or replace macro day_aggs_of(symbol) as table (select * from"
        " read_parquet(day_aggs_files_of(symbol), hive_partitioning = false))"
    )
    made.put(day_key("day_aggs", date(2024, 3, 4)), lines(date(2024, 3, 4)))
    with pytest.raises(SqlFileError, match="does not read day_aggs_market_files"):
        made.update("day_aggs")


def test_bytes_of_a_shared_file_are_counted_once(made: Made) -> None:
    size = sum(path.stat().st_size for path in made.partitions().values())
    with Catalog(made.layout) as catalog:
        assert published(catalog)["day_aggs"].cache_bytes == size
        (held,) = catalog.rows_of(made.pipeline.sql["report/held"], start=None, end=None)
    assert held["bytes"] == size
    assert held["partitions"] == len(made.answers("select symbol, month from partitions")[0])


def test_many_symbols_by_symbol_are_told_what_the_other_layout_saves(tmp_path: Path) -> None:
    told: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            told.append(text)

    symbols = [f"S{number:04}" for number in range(2_001)]
    day = DAYS[0]
    bars = [f"{symbol},1,1.1,1.1,1.1,1.1,{instant(day, '00:00')},1" for symbol in symbols]
    made = make(tmp_path, {day_key("day_aggs", day): bars}, **laid_out("symbol"))
    Pipeline(made.layout, made.config, Notes()).update(Request.of(["day_aggs"], day, day))
    assert any("2,001 files of 1 rows each" in text for text in told)


def test_a_session_restated_for_one_symbol_alone_is_no_damage(made: Made) -> None:
    made.configure(source__symbols=["A"])
    made.put(day_key("day_aggs", DAYS[1]), lines(DAYS[1], seed=1))
    made.update("day_aggs")
    assert made.verify().faults == []


def test_a_symbol_alone_made_anew_by_other_sql_is_no_damage(made: Made) -> None:
    clean = made.root / "sql/clean/day_aggs.sql"
    clean.write_text(clean.read_text().replace("volume < 0", "volume < 1"))
    made.rebuild("day_aggs", symbols=["BCpC"])
    assert made.verify().faults == []


def test_a_symbol_of_a_panel_that_nobody_knows_is_told(made: Made) -> None:
    with Warehouse(made.root) as wh:
        with pytest.raises(NoDataError, match="no symbol 'NOPE' in the warehouse"):
            wh.panel("day_aggs", "close", DAYS[0], DAYS[2], symbols=["BCpC", "NOPE"])
        some = wh.panel(
            "day_aggs", "close", DAYS[0], DAYS[2], symbols=["BCpC", "NOPE"], missing="ignore"
        )
        assert some["NOPE"].isna().all()


def test_a_cross_section_of_day_bars_at_a_time_of_day_is_refused_not_empty(made: Made) -> None:
    with Warehouse(made.root) as wh:
        for at in (pd.Timestamp(f"{DAYS[2]} 09:30"), f"{DAYS[2]} 16:00"):
            with pytest.raises(RequestError, match="a bar is that of a session"):
                wh.cross_section("day_aggs", at)
        assert len(wh.cross_section("day_aggs", pd.Timestamp(DAYS[2])))


def test_a_symbol_called_as_a_panels_first_column_is_told(tmp_path: Path) -> None:
    day = DAYS[0]
    bars = [f"session,1,1.1,1.1,1.1,1.1,{instant(day, '00:00')},1"]
    named = make(tmp_path, {day_key("day_aggs", day): bars}, **laid_out("market"))
    named.update("day_aggs")
    with Warehouse(named.root) as wh:
        assert list(wh.panel("day_aggs", "close", day).columns) == ["session"]
        for form in ("arrow", "polars"):
            with pytest.raises(RequestError, match="as the first column is"):
                wh.panel("day_aggs", "close", day, to=form)


def test_a_panel_that_does_not_fit_into_memory_is_refused(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Warehouse(made.root) as wh:
        monkeypatch.setattr("warehouse.read.market.panel.available_bytes", lambda: 10)
        with pytest.raises(TooLargeError):
            wh.panel("day_aggs", "close", FIRST, LAST, missing="ignore")


def test_a_manifest_that_the_system_refuses_is_no_damage_and_is_asked_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = made.sql("select count(*) from runs")
    manifests._problem.cache_clear()

    def refuse(*_: object) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    made.put(day_key("day_aggs", date(2024, 3, 4)), lines(date(2024, 3, 4)))
    with monkeypatch.context() as refused:
        refused.setattr(manifests, "open", refuse, raising=False)
        for ask in (made.update, made.verify):
            with pytest.raises(StorageError, match="Too many open files") as caught:
                ask("day_aggs")
            assert not isinstance(caught.value, DamagedCatalogError)
    assert not list(made.layout.set_aside.glob("warehouse-*"))
    made.update("day_aggs")
    assert made.verify().faults == []
    # Its history is what it was, and one run longer.
    assert made.sql("select count(*) from runs") == [(runs[0][0] + 1,)]


def flipped(path: Path) -> None:
    """The file with one bit other than it was written; as large as before."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def manifest_of(made: Made, month: date) -> Path:
    ((name,),) = made.sql(f"select name from manifests where month = '{month}'")
    return made.layout.manifests / str(name)


def test_a_publish_reads_the_manifests_of_its_own_months_alone(made: Made) -> None:
    # What was copied is as it was recorded.
    made.update("day_aggs")
    flipped(manifest_of(made, date(2024, 1, 1)))
    manifests._problem.cache_clear()
    day = date(2024, 3, 4)
    made.put(day_key("day_aggs", day), lines(day))
    made.update("day_aggs")
    assert not list(made.layout.set_aside.glob("warehouse-*"))
    assert made.sql(f"select count(*) > 0 from day_aggs where session = '{day}'") == [(True,)]
    asked: list[Callable[[Warehouse], Any]] = [
        lambda wh: wh.aggs("A", day, freq="day"),
        lambda wh: wh.panel("day_aggs", "close", day, day),
        lambda wh: wh.query("select count(*) from partitions"),
        lambda wh: wh.query("from query_table('partitions')"),
        lambda wh: wh.query("from day_aggs where session = $day", day=day),
        lambda wh: list(wh.stream("A", day, day, data_types="day_aggs")),
    ]
    for ask in asked:
        with Warehouse(made.root) as wh, pytest.raises(DamagedCatalogError, match="SHA-256"):
            ask(wh)


def test_a_question_of_one_data_type_tells_of_a_broken_manifest_of_another(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.put(day_key("trades", SESSION), [trade("A", instant(SESSION))])
    made.put(day_key("day_aggs", SESSION), [bar("A", instant(SESSION, "00:00"))])
    made.update()
    (path,) = (made.layout.manifests / "day_aggs").iterdir()
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF  # how long its footer is
    path.write_bytes(content)
    asked: list[Callable[[Warehouse], object]] = [
        lambda wh: wh.trades("A", SESSION),
        lambda wh: wh.query("select count(*) from trades"),
    ]
    for ask in asked:
        with Warehouse(made.root) as wh, pytest.raises(DamagedCatalogError, match="SHA-256"):
            ask(wh)


def test_a_damaged_manifest_of_a_month_that_is_published_is_made_anew_first(
    made: Made, by_symbol: Made
) -> None:
    flipped(manifest_of(made, date(2024, 3, 1)))
    manifests._problem.cache_clear()
    day = date(2024, 3, 4)
    for one in (made, by_symbol):
        one.put(day_key("day_aggs", day), lines(day))
        one.update("day_aggs")
    (_,) = made.layout.set_aside.glob("warehouse-*")
    assert made.verify().faults == []
    asked = "select * from day_aggs order by all"
    assert made.sql(asked) == by_symbol.sql(asked)


def test_a_manifest_that_is_damaged_when_a_run_publishes_is_made_anew(made: Made) -> None:
    # Of files that were copied nothing but a record is published.
    flipped(manifest_of(made, date(2024, 1, 1)))
    manifests._problem.cache_clear()
    before = made.sql("select source, sha256 from source_files order by all")
    made.update("day_aggs")
    (_,) = made.layout.set_aside.glob("warehouse-*")
    assert made.verify().faults == []
    assert made.sql("select source, sha256 from source_files order by all") == before


def test_sql_that_keeps_a_row_without_a_symbol_is_told_as_such(made: Made) -> None:
    clean = made.root / "sql/clean/day_aggs.sql"
    text = clean.read_text("utf-8")
    clean.write_text(text.replace("when symbol is null or symbol = ''", "when false"), "utf-8")
    day = date(2024, 3, 4)
    made.put(day_key("day_aggs", day), [f",1,1,1,1,1,{instant(day, '00:00')},1", *lines(day)])
    with pytest.raises(SqlFileError, match="keeps a row without symbol"):
        made.update("day_aggs")
