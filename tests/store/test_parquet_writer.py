"""A partition's row groups, and the one schema that all partitions of a data type declare."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import suppress
from datetime import date
from itertools import accumulate
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import synthetic_partitions
from building import REPOSITORY, MakeWarehouse, day_key, instant, trade
from hypothesis import given
from hypothesis import strategies as st

from warehouse import Warehouse
from warehouse.core.datatypes import DATA_TYPES, DataType
from warehouse.errors import CorruptPartitionError, SqlFileError
from warehouse.maintenance import file_checks
from warehouse.store import page_check, parquet_writer
from warehouse.store.parquet_writer import ROW_GROUP_ROWS, encode, encode_market, group_rows
from warehouse.store.partitions import describe, read_sessions, write_partition

TRADES = DATA_TYPES["trades"]
DAYS = synthetic_partitions.weekdays(date(2024, 1, 2), date(2024, 1, 31))
COUNTS = st.lists(st.integers(0, 200_000) | st.integers(0, 9_000), max_size=23)


@given(COUNTS)
def test_row_groups_hold_all_rows_within_bounds_and_end_with_every_large_session(
    counts: list[int],
) -> None:
    groups = group_rows(counts)
    assert sum(groups) == sum(counts)
    assert all(0 < rows <= ROW_GROUP_ROWS for rows in groups)
    ends = {0, *accumulate(groups)}
    for end, count in zip(accumulate(counts), counts, strict=True):
        if count >= parquet_writer.WHOLE_SESSIONS_ROWS:
            assert end in ends
    # Few rows are never spread over more groups than they need.
    least = sum(counts) // ROW_GROUP_ROWS
    assert len(groups) <= least + sum(counts) // parquet_writer.WHOLE_SESSIONS_ROWS + 1


@given(COUNTS, st.integers(1, 23))
def test_row_groups_of_sessions_past_do_not_change_as_a_month_grows(
    counts: list[int], known: int
) -> None:
    before, after = group_rows(counts[:known]), group_rows(counts)
    # The last may take up what comes.
    assert after[: max(len(before) - 1, 0)] == before[:-1]


def encoded(batches: list[pa.RecordBatch], kind: DataType = TRADES) -> bytes:
    sink = pa.BufferOutputStream()
    edges = encode(sink, kind, batches, {}, [sum(map(len, batches))])
    assert edges.rows == sum(map(len, batches))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def with_gap(batch: pa.RecordBatch, name: str, row: int) -> pa.RecordBatch:
    place = batch.schema.get_field_index(name)
    values = batch.column(place).to_pylist()
    values[row] = None
    return batch.set_column(place, batch.schema.field(place), pa.array(values, batch[name].type))


@pytest.mark.parametrize("kind", DATA_TYPES.values(), ids=DATA_TYPES)
def test_all_partitions_of_a_data_type_declare_one_schema_whatever_they_lack(
    kind: DataType,
) -> None:
    whole = synthetic_partitions.rows_of(kind.name, "A", DAYS[:1], 50, seed=1)
    gaps = whole
    for name in set(kind.columns.names) - kind.required:
        gaps = with_gap(gaps, name, 49)
    tables = [pq.read_table(pa.BufferReader(encoded([rows], kind))) for rows in (whole, gaps)]
    both = pa.concat_tables(tables)
    assert {field.name for field in both.schema if not field.nullable} == kind.required
    assert both.cast(kind.columns).equals(pa.Table.from_batches([whole, gaps]))


@pytest.mark.parametrize("rows", [1, 40, 3_000])
@pytest.mark.parametrize("kind", DATA_TYPES.values(), ids=DATA_TYPES)
@pytest.mark.parametrize("of_all", [False, True])
def test_what_we_write_says_how_long_its_texts_may_be(
    kind: DataType, rows: int, of_all: bool
) -> None:
    sink = pa.BufferOutputStream()
    batches = [
        synthetic_partitions.rows_of(kind.name, symbol, DAYS, rows, seed)
        for seed, symbol in enumerate(("AAPL", "MSFT") if of_all else ("AAPL",))
    ]
    if of_all:
        encode_market(sink, kind, batches, {})
    else:
        encode(sink, kind, batches, {}, [rows] * len(DAYS))
    content = sink.getvalue()
    file = pq.ParquetFile(pa.BufferReader(content))
    groups = range(file.metadata.num_row_groups)
    counts = [file.metadata.row_group(group).num_rows for group in groups]
    for field in kind.columns:
        if field.type != pa.string():
            continue
        most = page_check.most_text(
            content.size,
            lambda offset, count: content.to_pybytes()[offset : offset + count],
            counts,
            groups,
            [field.name],
        )
        texts = file.read(columns=[field.name])[field.name]
        assert most is not None
        assert most >= pc.sum(pc.binary_length(texts), min_count=0).as_py()
        assert most < 1_000 * sum(counts) + 10_000


@pytest.mark.parametrize("name", sorted(TRADES.required))
def test_a_row_without_a_value_that_all_rows_have_is_never_written(name: str) -> None:
    rows = with_gap(synthetic_partitions.rows_of("trades", "A", DAYS[:1], 50, seed=1), name, 40)
    with pytest.raises(SqlFileError, match=f"sql/clean/trades.sql: .*without {name}"):
        encoded([rows])


def test_a_clean_statement_that_keeps_a_row_without_a_price_publishes_nothing(
    make_warehouse: MakeWarehouse,
) -> None:
    lines = [trade("A", instant(DAYS[0]), price=""), trade("B", instant(DAYS[0]))]
    made = make_warehouse({day_key("trades", DAYS[0]): lines})
    clean = made.root / "sql/clean/trades.sql"
    text = clean.read_text("utf-8")
    assert "when price is null\n        then 'no_price'" in text
    clean.write_text(text.replace("when price is null\n", "when false\n"), "utf-8")
    with pytest.raises(SqlFileError, match="a row without price"):
        made.update("trades")
    assert made.partitions() == {}
    clean.write_text(text, "utf-8")
    made.update("trades")
    assert made.sql("select symbol from trades") == [("B",)]


@pytest.mark.parametrize("stage", ["clean", "dedupe"])
def test_sql_that_keeps_a_row_in_another_files_session_publishes_nothing(
    make_warehouse: MakeWarehouse, stage: str
) -> None:
    # sql/dedupe sees those rows alone that share a stamp.
    made = make_warehouse({day_key("trades", DAYS[0]): [trade("A", instant(DAYS[0]))] * 2})
    path = made.root / f"sql/{stage}/trades.sql"
    text = path.read_text("utf-8")
    assert text.count("\n    session,\n") == 1
    moved = text.replace("\n    session,\n", "\n    session + 40 as session,\n")
    path.write_text(moved, "utf-8")
    with pytest.raises(SqlFileError, match=rf"sql/{stage}/trades.sql: keeps a row of session"):
        made.update("trades")
    assert made.partitions() == {}
    path.write_text(text, "utf-8")
    made.update("trades")
    assert made.sql("select session from trades") == [(DAYS[0],)]


def test_the_bytes_do_not_depend_on_how_the_rows_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_writer, "ROW_GROUP_ROWS", 30)
    rows = synthetic_partitions.rows_of("trades", "A", DAYS[:1], 100, seed=1)
    for name in ("tape", "exchange", "id"):
        rows = with_gap(rows, name, 95 if name == "tape" else 50)
    pieces = [rows.slice(0, 7), rows.slice(7, 60), rows.slice(67, 33)]
    assert encoded(pieces) == encoded([rows])


def test_partitions_that_lack_values_and_others_are_read_together(
    make_warehouse: MakeWarehouse,
) -> None:
    """By us, and by those who open the files without us."""
    made = make_warehouse()
    partitions = synthetic_partitions.fill(made, "trades", DAYS[:2], {"WHOLE": 40, "GAPS": 40})
    paths = [str(made.layout.partition("trades", one.symbol, one.month)) for one in partitions]
    gaps = synthetic_partitions.rows_of("trades", "GAPS", DAYS[:2], 40, seed=9)
    for row in (0, 79):
        gaps = with_gap(gaps, "exchange", row)
    old = partitions[1]
    partitions[1] = write_partition(
        paths[1], TRADES, [gaps], "GAPS", old.month, old.sessions, "made"
    )
    synthetic_partitions.catalog(made, partitions)

    assert len({pq.read_schema(path).remove_metadata() for path in paths}) == 1
    with Warehouse(made.root) as wh:
        for symbols in (["WHOLE", "GAPS"], ["GAPS", "WHOLE"]):
            frame = wh.trades(symbols, DAYS[0], DAYS[1], columns=["symbol", "exchange"])
            found = dict(frame.groupby("symbol")["exchange"].apply(lambda c: int(c.isna().sum())))
            assert found == {"WHOLE": 0, "GAPS": 2}
            streamed = pa.Table.from_batches(wh.stream(symbols, DAYS[0], DAYS[1], "trades"))
            assert streamed["exchange"].null_count == 2
        assert wh.query("select count(*) - count(exchange) as n from trades")["n"].item() == 2
    for these in (paths, paths[::-1]):
        together = pa.concat_tables([pq.read_table(path, partitioning=None) for path in these])
        assert together["exchange"].null_count == 2
        assert ds.dataset(these).schema.field("exchange").nullable
        assert ds.dataset(these).to_table(filter=ds.field("exchange").is_null()).num_rows == 2
        assert pl.read_parquet(these)["exchange"].null_count() == 2
        (missing,) = duckdb.sql(
            f"select count(*) from read_parquet({these}) where exchange is null"
        ).fetchall()
        assert missing == (2,)


def test_row_groups_of_a_written_partition_end_with_its_sessions(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse()
    (one,) = synthetic_partitions.fill(made, "trades", DAYS[:3], {"A": 40_000})
    metadata = pq.read_metadata(made.layout.partition("trades", "A", one.month))
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert groups == [20_000] * 6


def test_no_flipped_bit_of_a_pages_header_shifts_values(make_warehouse: MakeWarehouse) -> None:
    """Headers have no checksum. With several pages a value more or less of one shifts the next."""
    made = make_warehouse()
    (one,) = partitions = synthetic_partitions.fill(made, "trades", DAYS[:2], {"A": 40_003})
    synthetic_partitions.catalog(made, partitions)
    path = made.layout.partition("trades", "A", one.month)
    whole = path.read_bytes()
    metadata = pq.read_metadata(path)
    names = [name for name in TRADES.columns.names if name != "symbol"]
    places = [
        (name, 8 * offset + bit)
        for group in (0, 1)
        for name in names
        for column in [metadata.row_group(group).column(TRADES.columns.names.index(name))]
        for offset in {column.dictionary_page_offset, column.data_page_offset} - {None}
        for bit in range(8 * 24)
    ]
    refused = 0
    with Warehouse(made.root) as wh:
        day = DAYS[0]
        right = {name: wh.trades("A", day, day, columns=[name], to="arrow") for name in names}
        tapes = {
            name: pa.Table.from_batches(
                wh.stream("A", day, DAYS[1], "trades", columns=sorted({"timestamp", name}))
            )
            for name in names
        }
        for name, place in random.Random(4).sample(places, 1_500):
            flipped = bytearray(whole)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped)
            wh.cache.clear()
            try:
                found = wh.trades("A", day, day, columns=[name], to="arrow")
            except CorruptPartitionError:
                refused += 1
            else:
                assert found.equals(right[name]), (name, place)
            if refused % 5 == 0:
                with suppress(CorruptPartitionError):
                    streamed = wh.stream(
                        "A", day, DAYS[1], "trades", columns=sorted({"timestamp", name})
                    )
                    assert pa.Table.from_batches(streamed).equals(tapes[name]), (name, place)
    assert refused > 500


@pytest.mark.parametrize("version", ["that declared nothing", "that declared each file's own"])
def test_a_partition_of_an_earlier_version_is_read_verified_and_merged(
    make_warehouse: MakeWarehouse, version: str
) -> None:
    """The first cut row groups without regard to sessions, too."""
    made = make_warehouse()
    (one,) = synthetic_partitions.fill(made, "trades", DAYS[:3], {"A": 100})
    path = made.layout.partition("trades", "A", one.month)
    with pq.ParquetFile(path) as file:
        rows, told = file.read().cast(TRADES.columns), dict(file.metadata.metadata)
    schema = TRADES.columns
    del told[parquet_writer.ABSENT_KEY]
    if version != "that declared nothing":
        absent = [name for name in schema.names if rows[name].null_count]
        schema = pa.schema([field.with_nullable(field.name in absent) for field in schema])
        assert not schema.equals(TRADES.stored)
        told[parquet_writer.ABSENT_KEY] = ",".join(absent).encode()
    with pq.ParquetWriter(path, schema, compression="snappy", store_schema=False,
                          write_page_checksum=True) as writer:  # fmt: skip
        writer.add_key_value_metadata(told)
        writer.write_table(rows.cast(schema), row_group_size=70)
    again = describe(path)
    assert (again.sessions, again.rows) == (one.sessions, one.rows)
    assert file_checks.partition(path, again) is None
    # Another symbol's is of this version: both are read in one go.
    (new,) = synthetic_partitions.fill(made, "trades", DAYS[:3], {"B": 10})
    synthetic_partitions.catalog(made, [again, new])
    with Warehouse(made.root) as wh:
        for day in DAYS[:3]:
            found = wh.trades("A", day, day, to="arrow", tz="UTC")
            expected = rows.filter(pa.compute.equal(rows["session"], pa.scalar(day)))
            assert np.array_equal(found["sequence_number"], expected["sequence_number"])
            assert found["trf_id"].to_pylist() == expected["trf_id"].to_pylist()
            assert len(wh.trades(["A", "B"], day, day)) == 110
            streamed = wh.stream(["A", "B"], day, day, "trades")
            assert sum(batch.num_rows for batch in streamed) == 110
    made.put_raw("trades", DAYS[3], [trade("A", instant(DAYS[3]))])
    made.ingest("trades")
    counted = """
        select session, count(*), count(trf_id) from trades where symbol = 'A'
        group by all order by all
    """
    kept = rows.group_by("session").aggregate([("session", "count"), ("trf_id", "count")])
    assert made.sql(counted)[:3] == sorted(zip(*kept.to_pydict().values(), strict=True))
    assert made.sql(counted)[3:] == [(DAYS[3], 1, 1)]
    assert pq.read_schema(path).remove_metadata().equals(TRADES.stored)


def test_a_damaged_footer_gives_no_other_rows_to_a_merge_or_to_a_new_catalog(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse()
    (one,) = synthetic_partitions.fill(made, "trades", DAYS[:2], {"A": 30})
    path = made.layout.partition("trades", "A", one.month)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    days = frozenset(DAYS[:2])

    def rows() -> pa.Table:
        read = read_sessions(path, one, days)
        return pa.Table.from_batches([batch for _, batches in read for batch in batches])

    def described() -> Any:
        return {**vars(describe(path)), "sha256": None}

    for ask in (rows, described):
        right, refused = ask(), 0
        bits = range(footer * 8, len(whole) * 8)
        for place in random.Random(5).sample(bits, 3_000):
            flipped = bytearray(whole)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped)
            try:
                assert ask() == right, place
            except CorruptPartitionError:
                refused += 1
        path.write_bytes(whole)
        assert refused > 1_000


FLIPS = """
import sys
from pathlib import Path
from warehouse import Warehouse
from warehouse.errors import CorruptPartitionError, SqlFileError
root, path = map(Path, sys.argv[1:3])
whole = path.read_bytes()
footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
# After the schema each column's place in each row group bears its name.
names = (b"conditions", b"id", b"trf_id", b"trf_timestamp")
schema = whole.index(b"session", footer)
places = {whole.index(name, schema) + n for name in names for n in range(-30, 120)}
refused = 0
with Warehouse(root) as wh:
    right = wh.trades("A", *sys.argv[3:5], to="arrow")
    for place in sorted(places):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            wh.cache.clear()
            try:
                assert wh.trades("A", *sys.argv[3:5], to="arrow").equals(right), (place, bit)
            except CorruptPartitionError:
                refused += 1
print(refused)
"""


def test_no_damaged_footer_of_several_row_groups_ends_the_process(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_writer, "ROW_GROUP_ROWS", 30)
    made = make_warehouse()
    (one,) = partitions = synthetic_partitions.fill(made, "trades", DAYS[:1], {"A": 60})
    synthetic_partitions.catalog(made, partitions)
    path = made.layout.partition("trades", "A", one.month)
    assert pq.read_metadata(path).num_row_groups == 2
    day = str(DAYS[0])
    run = subprocess.run(
        [sys.executable, "-c", FLIPS, str(made.root), str(path), day, day],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert run.returncode == 0, run.stderr[-2_000:]
    assert int(run.stdout) > 100
