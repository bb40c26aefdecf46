"""All symbols of a session in a few files: the same rows, the same answers, the same care."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import (
    Made,
    bar,
    day_key,
    instant,
    keep,
    make,
    put_back,
    quote,
    random_trades,
    symbol_key,
    trade,
)
from hypothesis import given
from hypothesis import strategies as st

from warehouse import Warehouse
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import PartitionKey, parse_partition, partition_name
from warehouse.core.request import Request
from warehouse.errors import CorruptPartitionError, QueryError, StorageError, WarehouseError
from warehouse.ingest import market_builder, row_sorter, stage
from warehouse.ingest.market_builder import file_cuts
from warehouse.ingest.row_sorter import whole_symbols
from warehouse.maintenance.convert_layout import convert_layout

KINDS = ("trades", "quotes", "minute_aggs")
DAYS = [date(2024, 1, 3), date(2024, 1, 4), date(2024, 1, 31), date(2024, 2, 1)]
SYMBOLS = ["A", "BCpC", "BRK.B", "CON", "ZZ.", "a", "é"]
FIRST, LAST = DAYS[0], DAYS[-1]
ROWS_A_FILE = 20


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session is cut into several files though it is small."""
    monkeypatch.setattr(market_builder, "FILE_ROWS", ROWS_A_FILE)


def lines(kind: str, day: date, seed: int = 0, symbols: Sequence[str] = SYMBOLS) -> list[str]:
    """Lines of a session, symbol by symbol; of trades some are refused and some stand twice."""
    dice = random.Random(f"{kind} {seed} {day}")
    if kind == "trades":
        return random_trades(symbols, 90, day, seed)
    found = []
    for symbol in symbols:
        for number in range(dice.randrange(1, 25)):
            at = instant(day, f"10:{number:02}")
            line = quote(symbol, at, number + 1, bid=9 + dice.random())
            found.append(bar(symbol, at) if kind == "minute_aggs" else line)
    return found


def files(seed: int = 0) -> dict[str, list[str]]:
    return {day_key(kind, day): lines(kind, day, seed) for kind in KINDS for day in DAYS}


def laid_out(layout: str) -> dict[str, Any]:
    return {"storage__layout": dict.fromkeys(DATA_TYPES, layout)}


def of_layout(folder: Path, layout: str, **more: Any) -> Made:
    made = make(folder, files(), **laid_out(layout), **more)
    made.update()
    return made


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(market_builder, "FILE_ROWS", ROWS_A_FILE)
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


def of_session(made: Made, kind: str, day: date) -> list[Path]:
    return sorted(made.layout.cache.glob(f"{kind}/market/{day:%Y_%m}/{day:%d}_*.parquet"))


def rows_of(made: Made, kind: str) -> list[tuple[Any, ...]]:
    return made.sql(f"select * from {kind} order by all")


# What is written


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_is_cut_between_symbols_into_files_in_their_order(made: Made, kind: str) -> None:
    for day in DAYS:
        paths = of_session(made, kind, day)
        assert [path.name for path in paths] == [
            f"{day:%d}_{number:02}.parquet" for number in range(len(paths))
        ]
        assert len(paths) > 2
        seen: list[str] = []
        for path in paths:
            table = pq.read_table(path, partitioning=None)
            symbols = table["symbol"].unique().to_pylist()
            assert symbols == sorted(symbols, key=str.encode)
            assert not seen or seen[-1].encode() < symbols[0].encode()
            assert set(table["session"].to_pylist()) == {day}
            assert table.num_rows <= ROWS_A_FILE or len(symbols) == 1
            seen += symbols
    made.check_catalog()
    assert made.verify().faults == []


def test_no_session_has_more_files_than_its_names_have_numbers() -> None:
    for rows in ([1] * 100_000, [7_000_000, 1, 1, 7_000_000] * 20, [300_000] * 500):
        edges = pa.array([0, *rows]).to_numpy().cumsum()
        cuts = file_cuts(edges)
        assert cuts[0] == 0
        assert cuts[-1] == len(rows)
        assert cuts == sorted(set(cuts))
        assert len(cuts) <= 100


def test_both_layouts_hold_the_same_rows_and_rejects(made: Made, by_symbol: Made) -> None:
    for kind in KINDS:
        assert rows_of(made, kind) == rows_of(by_symbol, kind)
        assert rows_of(made, kind)
    assert made.rejects() == by_symbol.rejects()
    reasons = "select source, rows_published, rows_rejected from source_files order by all"
    assert made.sql(reasons) == by_symbol.sql(reasons)


@pytest.mark.parametrize(
    "more",
    [
        {"processing__parallel_workers": 1},
        {"processing__parallel_workers": 7},
        {"processing__chunk_size": 1000},
    ],
    ids=str,
)
def test_the_same_rows_give_the_same_bytes(
    tmp_path: Path, made: Made, more: dict[str, int]
) -> None:
    assert of_layout(tmp_path, "market", **more).digests() == made.digests()


def test_rows_that_exceed_the_memory_give_the_same_bytes(
    tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_sorter.RowSorter, "is_full", property(lambda self: True))
    monkeypatch.setattr(row_sorter, "_BATCH_ROWS", 8)
    for large in (4, 1 << 20):
        monkeypatch.setattr(row_sorter, "_LARGE_ROWS", large)
        other = of_layout(tmp_path / str(large), "market")
        assert other.digests() == made.digests()
        assert other.rejects() == made.rejects()


def test_a_symbol_with_very_many_rows_is_written_a_few_at_a_time(
    tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_builder, "_RANGE_ROWS", 5)
    assert of_layout(tmp_path, "market").digests() == made.digests()


@pytest.mark.parametrize("disk", [False, True])
def test_lines_that_are_mixed_come_out_as_those_that_are_not(
    tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch, disk: bool
) -> None:
    if disk:
        monkeypatch.setattr(row_sorter.RowSorter, "is_full", property(lambda self: True))
    mixed = {}
    for key, some in files().items():
        if "trades" in key:
            random.Random(key).shuffle(some)
        mixed[key] = some
    other = make(tmp_path, mixed, **laid_out("market"))
    other.update("trades")
    columns = "symbol, timestamp, sequence_number, price, size"
    asked = f"select {columns} from trades order by all"
    assert other.sql(asked) == made.sql(asked)
    assert other.verify("trades").faults == []


def put_in_another_order(shape: str) -> list[str]:
    """Lines of a session in which some stand twice, told otherwise than symbol by symbol."""
    symbols = [f"S{number:02}" for number in range(40)]
    random.Random(5).shuffle(symbols)
    found = random_trades(symbols, 4_000, DAYS[0], 5, by_time=shape == "by time")
    if shape == "a symbol comes back":
        found += [*found[:3], *found[700:705]]
    return found


@pytest.mark.parametrize("shape", ["symbols in no order", "a symbol comes back", "by time"])
@pytest.mark.parametrize("little", ["nothing", "memory", "a symbol's rows in memory"])
def test_rows_that_are_put_in_order_while_others_come_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, little: str
) -> None:
    """Whatever there is little of, partitions and rejects are those of a file read in one go."""
    whole, other = (make(tmp_path / name, **laid_out("market")) for name in ("whole", "other"))
    other.configure(**laid_out("market"), processing__chunk_size=1000)
    ways = set()
    rows = row_sorter.RowSorter
    finish, sort, add = row_sorter.Ordering.finish, rows._sorted_by_duckdb, rows.add

    def finished(self: Any) -> Any:
        ways.add("while they come")
        return finish(self)

    def sorted_by_duckdb(self: Any, *of: Any, **how: Any) -> Any:
        ways.add("by DuckDB")
        return sort(self, *of, **how)

    def added(self: Any, *of: Any) -> None:
        try:
            add(self, *of)
        except row_sorter.MixedSymbols:
            ways.add("once more")
            raise

    monkeypatch.setattr(row_sorter.Ordering, "finish", finished)
    monkeypatch.setattr(rows, "_sorted_by_duckdb", sorted_by_duckdb)
    monkeypatch.setattr(rows, "add", added)
    for made in (whole, other):
        made.put_raw("trades", DAYS[0], put_in_another_order(shape))
        made.ingest("trades")
        assert made is other or not ways
        # Now of the other: a few rows are many.
        monkeypatch.setattr(row_sorter, "_MANY_ROWS", 10)
        monkeypatch.setattr(row_sorter, "_BATCH_ROWS", 64)
        if little == "memory":
            monkeypatch.setattr(stage, "_ROWS_SHARE", 0)
        if little == "a symbol's rows in memory":
            monkeypatch.setattr(row_sorter, "_LARGE_ROWS", 30)

    expected = {
        ("symbols in no order", "nothing"): {"while they come"},
        ("symbols in no order", "a symbol's rows in memory"): {"while they come", "by DuckDB"},
        ("a symbol comes back", "nothing"): {"once more"},
        ("a symbol comes back", "memory"): {"by DuckDB"},
        ("a symbol comes back", "a symbol's rows in memory"): {"once more"},
        ("by time", "memory"): {"by DuckDB"},
    }
    assert ways >= expected.get((shape, little), set())
    assert other.digests() == whole.digests()
    assert other.rejects() == whole.rejects()
    assert other.verify("trades").faults == []


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 9)), max_size=12),
    st.integers(1, 6),
    st.integers(1, 12),
)
def test_rows_are_cut_into_whole_symbols(
    stretches: list[tuple[str, int]], size: int, large: int
) -> None:
    symbols = sorted(symbol for symbol, count in stretches for _ in range(count))
    table = pa.table({"symbol": pa.array(symbols, pa.string()), "n": range(len(symbols))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_sorter, "_BATCH_ROWS", size)
        patch.setattr(row_sorter, "_LARGE_ROWS", large)
        parts = []
        for part in whole_symbols(iter(table.to_batches(size))):
            batches = part.to_batches() if isinstance(part, pa.Table) else list(part)
            parts.append(pa.Table.from_batches(batches))
    found = [set(part["symbol"].to_pylist()) for part in parts]
    assert all(not one & other for one, other in pairwise(found))
    assert all(found)
    whole = pa.concat_tables(parts) if parts else table.slice(0, 0)
    assert whole.combine_chunks().equals(table.combine_chunks())


# What changes


def test_a_session_that_comes_later_leaves_the_files_of_the_others_alone(
    tmp_path: Path, made: Made
) -> None:
    other = make(tmp_path, files(), **laid_out("market"))
    other.update("trades", end=DAYS[0])
    before = {path: path.stat().st_mtime_ns for path in of_session(other, "trades", DAYS[0])}
    other.update("trades")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert rows_of(other, "trades") == rows_of(made, "trades")


def test_a_session_that_is_restated_has_no_file_of_the_version_before(made: Made) -> None:
    day = DAYS[1]
    others = {name for name in made.digests() if f"/{day:%d}_" not in name}
    made.put(day_key("trades", day), [trade("B", instant(day), 1), trade("C", instant(day), 2)])
    made.update("trades")
    assert [path.name for path in of_session(made, "trades", day)] == ["04_00.parquet"]
    assert others <= set(made.digests())
    assert made.sql(f"select symbol from trades where session = '{day}' order by all") == [
        ("B",),
        ("C",),
    ]
    made.check_catalog()
    assert made.verify().faults == []


def test_a_session_of_which_no_row_is_kept_any_more_has_no_file(made: Made) -> None:
    day = DAYS[1]
    made.put(day_key("trades", day), [trade("B", instant(day), 1, price=0)])
    made.update("trades")
    assert of_session(made, "trades", day) == []
    assert made.sql(f"select count(*) from trades where session = '{day}'") == [(0,)]
    made.check_catalog()
    assert made.verify().faults == []


def test_some_symbols_can_be_made_anew_without_the_others(made: Made) -> None:
    before = made.digests()
    made.rebuild("trades", symbols=["A", "é"])
    assert made.digests() == before
    path = made.root / "sql/clean/trades.sql"
    path.write_text(
        path.read_text("utf-8").replace("then 'bad_size'", "then 'no_size'", 1), "utf-8"
    )
    rows = rows_of(made, "trades")
    made.rebuild("trades", symbols=["A", "é"])
    assert rows_of(made, "trades") == rows
    assert made.verify("trades").faults == []
    made.rebuild("trades")
    assert made.verify("trades").faults == []


def test_files_of_single_symbols_come_together(tmp_path: Path) -> None:
    day = DAYS[0]
    single = {
        symbol_key("quotes", day, symbol): lines("quotes", day, symbols=[symbol])
        for symbol in ("A", "BRK.B", "C")
    }
    made = make(tmp_path, single, source__layout="symbol", **laid_out("market"))
    made.update("quotes")
    assert made.sql("select distinct symbol from quotes order by all") == [
        ("A",),
        ("BRK.B",),
        ("C",),
    ]
    made.put(symbol_key("quotes", day, "C"), [quote("C", instant(day), 1)])
    made.update("quotes")
    assert made.sql("select count(*) from quotes where symbol = 'C'") == [(1,)]
    made.check_catalog()
    assert made.verify().faults == []


# The other layout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("large", [False, True])
def test_a_conversion_there_and_back_gives_the_same_bytes(
    made: Made, by_symbol: Made, kind: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("warehouse.maintenance.convert_layout._RANGE_ROWS", 4)
        monkeypatch.setattr("warehouse.maintenance.convert_layout._SPOOL_ROWS", 3)
    shutil.rmtree(made.layout.raw)
    before, there = made.digests(), by_symbol.digests()
    listed = made.sql("select * exclude (path) from partitions order by all")
    convert_layout(made.pipeline, Request.of([kind]), "symbol")
    assert {name: digest for name, digest in made.digests().items() if name.startswith(kind)} == {
        name: digest for name, digest in there.items() if name.startswith(kind)
    }
    made.check_catalog()
    convert_layout(made.pipeline, Request.of([kind]), "market")
    assert made.digests() == before
    assert made.sql("select * exclude (path) from partitions order by all") == listed


def test_a_month_stays_in_the_layout_that_it_is_in(by_symbol: Made) -> None:
    by_symbol.configure(**laid_out("market"))
    later = date(2024, 1, 5)
    march = date(2024, 3, 1)
    for day in (later, march):
        by_symbol.put(day_key("trades", day), lines("trades", day))
    by_symbol.update("trades")
    assert of_session(by_symbol, "trades", later) == []
    assert of_session(by_symbol, "trades", march)
    by_symbol.check_catalog()
    with Warehouse(by_symbol.root) as wh:
        frame = wh.load("trades", "A", later, march, missing="ignore")
        assert set(frame["session"].astype(str)) == {
            "2024-01-05",
            "2024-01-31",
            "2024-02-01",
            "2024-03-01",
        }


# Answers

SPANS = [
    (FIRST, LAST),
    (DAYS[1], DAYS[1]),
    (DAYS[1], DAYS[2]),
    ("2024-01-03 10:03", "2024-01-03 10:07"),
    ("2024-01-03 12:00", "2024-01-31 11:00"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("span", SPANS, ids=str)
def test_both_layouts_answer_alike(
    made: Made, by_symbol: Made, kind: str, span: tuple[Any, Any]
) -> None:
    with Warehouse(made.root) as one, Warehouse(by_symbol.root) as other:
        for symbols in ("A", ["é", "A", "BRK.B"], SYMBOLS, "*"):
            pd.testing.assert_frame_equal(
                one.load(kind, symbols, *span, missing="ignore"),
                other.load(kind, symbols, *span, missing="ignore"),
            )
        asked = {"data_types": [kind], "to": "arrow", "missing": "ignore"}
        streams = [list(wh.stream(SYMBOLS, *span, **asked)) for wh in (one, other)]
        assert streams[0] == streams[1]
        rows = sum(batch.num_rows for batch in streams[0])
        assert rows == len(one.load(kind, "*", *span, missing="ignore"))


def test_both_layouts_answer_sql_features_and_rules_alike(made: Made, by_symbol: Made) -> None:
    macro = "from trades_of('BRK.B', '2024-01-04', '2024-01-31') order by all"
    for asked in (
        "select session, symbol, count(*) from quotes group by all order by all",
        macro,
        "from trades_of('é') order by all",
        "from minute_aggs where session = '2024-01-31' and symbol = 'a' order by all",
        "from rejects order by all",
    ):
        assert made.sql(asked) == by_symbol.sql(asked)
    with Warehouse(made.root) as one, Warehouse(by_symbol.root) as other:
        pd.testing.assert_frame_equal(
            one.coverage("trades", SYMBOLS, FIRST, LAST),
            other.coverage("trades", SYMBOLS, FIRST, LAST),
        )
        assert one.symbols("quotes") == other.symbols("quotes")
    found = [each.pipeline.validate(Request.of(KINDS)) for each in (made, by_symbol)]
    assert found[0].results == found[1].results


def test_a_question_about_one_session_opens_no_file_of_another(made: Made) -> None:
    for path in of_session(made, "trades", DAYS[0]):
        path.write_bytes(b"no Parquet")
    day = DAYS[1]
    due = made.sql(f"from trades where session = '{day}'")
    assert due
    assert len(made.sql(f"from trades_of('A', '{day}', '{day}')"))
    with Warehouse(made.root) as wh:
        assert len(wh.query(f"from trades where session = '{day}'")) == len(due)
        assert len(wh.load("trades", "*", day)) == len(due)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_question_about_one_symbol_opens_one_file_of_each_session(
    made: Made, by_symbol: Made, symbol: str
) -> None:
    asked = f"from trades_of('{symbol}', '{FIRST}', '{LAST}') order by all"
    due = by_symbol.sql(asked)
    assert due
    for day in DAYS:
        for path in of_session(made, "trades", day):
            if symbol not in pq.read_table(path, partitioning=None)["symbol"].to_pylist():
                path.unlink()
    assert made.sql(asked) == due
    assert made.sql(f"from trades_of('{symbol}') order by all") == due


def test_a_symbol_that_no_file_of_a_session_has_is_not_in_it(made: Made) -> None:
    """One before all others of the session, one between them, and one that is nowhere."""
    made.put(day_key("quotes", date(2024, 2, 2)), [quote("0", instant(date(2024, 2, 2)))])
    made.update("quotes")
    assert made.sql(f"from quotes_of('0', '{FIRST}', '{LAST}')") == []
    assert len(made.sql("from quotes_of('0')")) == 1
    with pytest.raises(duckdb.Error, match="there are no quotes of 'B' "):
        made.sql("from quotes_of('B')")


# Damage


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def exchanged(path: Path) -> None:
    """The session's next file in its place, which is of the same layout and may be as large."""
    path.write_bytes(path.with_name(path.name.replace("_00", "_01")).read_bytes())


HARMS: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": flipped,
    "exchanged": exchanged,
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_file_is_an_error_and_never_fewer_rows(made: Made, harm: str) -> None:
    path = of_session(made, "trades", DAYS[0])[0]
    symbol = pq.read_table(path, partitioning=None)["symbol"][0].as_py()
    digests = made.digests()
    HARMS[harm](path)
    with Warehouse(made.root) as wh:
        for symbols in (symbol, SYMBOLS, "*"):
            with pytest.raises(CorruptPartitionError, match=path.name):
                wh.load("trades", symbols, DAYS[0])
        with pytest.raises(WarehouseError):
            list(wh.stream([symbol], DAYS[0], data_types=["trades"], to="arrow"))
        if harm != "flipped":
            with pytest.raises((QueryError, CorruptPartitionError)):
                wh.query("select count(*), max(price) from trades")
    assert [fault.kind for fault in made.verify().faults] == ["partition"]
    report = made.repair()
    assert report.left == []
    assert report.restored == [PartitionKey("trades", "", date(2024, 1, 1), "03_00")]
    assert made.digests() == digests


def test_a_stray_file_of_a_session_is_not_read(made: Made) -> None:
    rows = rows_of(made, "trades")
    path = of_session(made, "trades", DAYS[0])[-1]
    shutil.copy(path, path.with_name("03_77.parquet"))
    assert rows_of(made, "trades") == rows
    with Warehouse(made.root) as wh:
        assert len(wh.load("trades", "*", FIRST, LAST, missing="ignore")) == len(rows)
    (fault,) = made.verify().faults
    assert (fault.kind, fault.path.name) == ("unknown", "03_77.parquet")


def test_a_lost_catalog_is_made_anew_as_it_was(made: Made) -> None:
    asked = "select * exclude (path) from partitions order by all"
    before = made.sql(asked)
    rows = {kind: rows_of(made, kind) for kind in KINDS}
    made.layout.catalog.unlink()
    assert made.repair().left == []
    assert made.sql(asked) == before
    assert {kind: rows_of(made, kind) for kind in KINDS} == rows


def test_a_disk_that_is_full_in_a_session_leaves_the_sessions_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path, files(), **laid_out("market"))
    write = market_builder.write_partition

    def full(path: str, *arguments: Any) -> Any:
        # Some sessions are staged side by side: what is counted is not what comes first.
        if f"-trades-{DAYS[-1]}/" in path:
            raise StorageError(path, f"cannot be written: {errno.ENOSPC}")
        return write(path, *arguments)

    monkeypatch.setattr(market_builder, "write_partition", full)
    with pytest.raises(StorageError):
        made.update("trades")
    held = {row[0] for row in made.sql("select distinct session from trades")}
    assert held == set(DAYS[:-1])
    for day in held:
        assert of_session(made, "trades", day)
    monkeypatch.undo()
    monkeypatch.setattr(market_builder, "FILE_ROWS", ROWS_A_FILE)
    made.update("trades")
    assert {row[0] for row in made.sql("select distinct session from trades")} == set(DAYS)
    assert made.verify().faults == []


# Names


@given(
    st.sampled_from(sorted(DATA_TYPES)),
    st.sampled_from(["", "A", "market", "é", "CON"]),
    st.dates(date(1, 1, 1)),
    st.integers(0, 99),
)
def test_a_partition_is_found_by_its_name(kind: str, symbol: str, day: date, number: int) -> None:
    part = f"{day:%d}_{number:02}" if not symbol and kind != "day_aggs" else ""
    key = PartitionKey(kind, symbol, day.replace(day=1), part)
    assert parse_partition(partition_name(*key)) == key
    assert key.session == (day if part else None)


ODD_NAMES = [
    "trades/market/2024_01.parquet",
    "day_aggs/market/2024_01/02_00.parquet",
    "trades/A/2024_01/02_00.parquet",
    "trades/market/2024_02/30_00.parquet",
    "trades/market/2024_13/02_00.parquet",
    "trades/market/2024_01/02_0.parquet",
    "trades/market/2024_01/00_00.parquet",
    "news/market/2024_01/02_00.parquet",
    "trades/market/2024_01/02_00.parquet/x",
    "trades/../market/2024_01/02_00.parquet",
    "trades/market/2024_01/../02_00.parquet",
    "trades/a/2024_01.parquet",
    "trades/A/0000_01.parquet",
    "trades/market/٢٠٢٤_01/02_00.parquet",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_what_is_called_otherwise_is_no_partition(name: str, made: Made) -> None:
    assert parse_partition(name) is None
    assert not made.layout.is_published(f"cache/{name}")


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_a_manifest_is_the_same_whichever_session_was_published_first(
    layout: str, tmp_path: Path
) -> None:
    days = DAYS[:3]

    def manifest(order: Sequence[date]) -> bytes:
        quotes = {day_key("quotes", day): lines("quotes", day) for day in days}
        made = make(tmp_path / f"{len(order)} {order[0]}", quotes, **laid_out(layout))
        for day in order:
            made.update("quotes", start=day, end=day)
        made.update("quotes")
        ((name,),) = made.sql("select name from manifests")
        return (made.layout.manifests / name).read_bytes()

    assert manifest(days) == manifest(days[::-1]) == manifest(days[1:2])
