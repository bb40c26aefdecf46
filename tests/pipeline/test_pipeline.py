"""From files to partitions: nothing lost, nothing twice, the same bytes, never half of anything."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from building import (
    HEADERS,
    SESSION,
    Made,
    bar,
    check_accounts,
    csv_text,
    day_key,
    instant,
    make,
    quote,
    random_trades,
    symbol_key,
    trade,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from killing import Killed, killed_at

from warehouse.cli.render.run import run_lines
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import RawFile
from warehouse.core.request import Request
from warehouse.errors import (
    CorruptPartitionError,
    LockedError,
    NoDataError,
    RequestError,
    SourceError,
    StorageError,
    WarehouseError,
)
from warehouse.ingest import inflate
from warehouse.ingest.stage import Stager
from warehouse.pipeline import pipeline
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.report import RunReport
from warehouse.store.publishing import publish

MakeWarehouse = Callable[..., Made]

MONDAY, TUESDAY, WEDNESDAY = (date(2024, 1, day) for day in (29, 30, 31))
MINUTE = 60 * 10**9
DAYS = (MONDAY, TUESDAY, WEDNESDAY)
SYMBOLS = ("AAPL", "BCPC", "BCpC", "NA")
GENERATE = [Phase.generate]
"""An example takes the pipeline a second: one that fails is good enough as it is."""


def stamps(table: pa.Table, column: str = "timestamp") -> list[int]:
    return table[column].cast(pa.int64()).to_pylist()


def of_symbol(made: Made, symbol: str, data_type: str = "trades") -> list[dict[str, Any]]:
    return [row for row in made.table(data_type).to_pylist() if row["symbol"] == symbol]


def prices(made: Made) -> dict[tuple[str, date], list[float]]:
    """Prices of the trades that are published, by symbol and session."""
    found: dict[tuple[str, date], list[float]] = {}
    table = made.table("trades")
    if table.num_rows:
        for row in table.select(["symbol", "session", "price"]).to_pylist():
            found.setdefault((row["symbol"], row["session"]), []).append(row["price"])
    return found


def day_of_trades(day: date, price: float, symbols: Sequence[str] = SYMBOLS) -> list[str]:
    return [
        trade(symbol, instant(day, "10:00", n), n, price=price)
        for symbol in symbols
        for n in range(1, 4)
    ]


# Accounts


def test_lines_are_rows_published_and_rows_rejected_on_every_file(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse()
    for day in DAYS[:2]:
        begin = instant(day)
        made.put(day_key("trades", day), [*random_trades(SYMBOLS, 300, day), "too,few", ""])
        made.put(
            day_key("quotes", day),
            [quote("A", begin), quote("A", begin), quote("A", begin, bid=-1), "x"],
        )
        made.put(day_key("minute_aggs", day), [bar("A", begin), bar("A", begin, volume=2), ""])
        midnight = instant(day, "00:00")
        bars = [bar("A", midnight), bar("B", midnight, volume="x")]
        made.put(day_key("day_aggs", day), bars)

    report = made.update()

    assert len(report.files) == 8
    check_accounts(made, report)
    made.check_catalog()
    metrics = report.metrics
    assert metrics.lines == metrics.rows_published + metrics.rows_rejected
    listed = made.sql(
        "select lines, rows_published, rows_rejected, source from source_files"
        " where state = 'ingested'"
    )
    assert sorted(listed) == sorted(
        (item.facts.lines, item.rows_published, item.rows_rejected, item.file.key)
        for item in report.files
    )
    assert made.sql("select sum(rows) from partitions") == [(metrics.rows_published,)]
    assert made.sql("select count(*) from rejects") == [(metrics.rows_rejected,)]
    by_reason = made.sql("select sum(list_sum(map_values(rejects_by_reason))) from source_files")
    assert by_reason == [(metrics.rows_rejected,)]


def expected_trades(lines: list[str]) -> tuple[list[tuple[Any, ...]], dict[int, str]]:
    """What becomes of the lines of a trades file by the rules alone, in plain Python."""
    records = {"8": "cancelled", "10": "cancel_record", "12": "correction_record"}
    kept, rejects, seen = [], {}, set()
    for number, row in enumerate(csv.DictReader([HEADERS["trades"], *lines]), 2):
        identity = tuple(
            row[name] for name in ("ticker", "sip_timestamp", "sequence_number", "exchange", "id")
        )
        if "_" in row["price"]:
            rejects[number] = "malformed_price"
        elif row["correction"] in records:
            rejects[number] = records[row["correction"]]
        elif float(row["price"]) <= 0:
            rejects[number] = "price_not_positive"
        elif identity in seen:
            rejects[number] = "duplicate"
        else:
            seen.add(identity)
            order = (int(row["sip_timestamp"]), int(row["sequence_number"]), number)
            kept.append((row["ticker"], *order[:2], float(row["price"]), row["id"], number))
    kept.sort(key=lambda row: (row[0], row[1], row[2], row[5]))
    return [row[:5] for row in kept], rejects


def shaped(shape: str, seed: int) -> list[str]:
    """Lines of a day: symbol by symbol, by time, or with symbols that come back at the end."""
    dice = random.Random(seed)
    symbols = [f"S{n:03}" for n in range(100)]
    dice.shuffle(symbols)
    lines = random_trades(symbols, 4_500, seed=seed, by_time=shape == "by_time")
    if shape == "coming back":
        taken = sorted(dice.sample(range(len(lines)), 200), reverse=True)
        late = [lines.pop(place) for place in taken]
        # Repeated lines too: what was finished with must be taken up again.
        lines += [*late, *dice.sample(lines, 50), lines[0]]
    if shape == "any order":
        dice.shuffle(lines)
    return lines


@pytest.mark.parametrize("shape", ["by symbol", "by_time", "coming back", "any order"])
@settings(max_examples=2, deadline=None, phases=GENERATE)
@given(
    chunk_size=st.sampled_from([1000, 1001, 3000]),
    workers=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 10**6),
)
def test_rows_are_what_the_rules_say_however_the_file_is_ordered_and_cut(
    shape: str, chunk_size: int, workers: int, seed: int
) -> None:
    lines = shaped(shape, seed)
    kept, rejects = expected_trades(lines)
    with tempfile.TemporaryDirectory() as folder:
        whole = make(Path(folder, "whole"))
        cut = make(
            Path(folder, "cut"),
            processing__chunk_size=chunk_size,
            processing__parallel_workers=workers,
        )
        for made in (whole, cut):
            made.put_raw("trades", SESSION, lines)
            made.ingest("trades")

        table = cut.table("trades")
        columns = ("symbol", "sequence_number", "price", "id")
        symbol, sequence, price, name = (table[column].to_pylist() for column in columns)
        assert list(zip(symbol, stamps(table), sequence, price, name, strict=True)) == kept
        assert {row["line_number"]: row["reason"] for row in cut.rejects()} == rejects
        assert cut.digests() == whole.digests()
        assert cut.rejects() == whole.rejects()


# The same again


@pytest.fixture(scope="module")
def busy(make_warehouse: MakeWarehouse) -> Made:
    """Three sessions of trades, mixed by time, and one of quotes."""
    made = make_warehouse(processing__parallel_workers=4)
    symbols = [f"S{n:02}" for n in range(40)]
    for day in DAYS:
        made.put(day_key("trades", day), random_trades(symbols, 3_000, day, by_time=True))
    made.put(
        day_key("quotes", SESSION),
        [quote(symbol, instant(SESSION), n) for n in range(9) for symbol in symbols],
    )
    made.update()
    return made


def test_a_second_update_does_nothing_and_says_so(busy: Made) -> None:
    with busy.unchanged():
        report = busy.update()

    assert report.did_nothing
    assert report.files == []
    assert report.download is not None
    assert len(report.download.have) == 4


def test_a_dry_run_does_nothing_and_says_what_it_would_do(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", day): day_of_trades(day, 1) for day in DAYS})

    report = made.pipeline.update(Request.of(["trades"], TUESDAY, WEDNESDAY), dry_run=True)

    assert [file.day for file in report.planned] == [TUESDAY, WEDNESDAY]
    assert not (made.root / "data").exists()


def test_a_file_ingested_twice_changes_no_byte(busy: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    digests, rejects = busy.digests(), busy.rejects()
    for path in (busy.root / "data/raw").rglob("*.csv.gz"):
        # It looks new, as after a restore from a backup, and nobody compares its bytes.
        copy = path.with_name("copy")
        shutil.copyfile(path, copy)
        copy.replace(path)

    monkeypatch.setattr("warehouse.pipeline.download_plan.restamped", lambda path, record: None)
    report = busy.ingest()

    assert len(report.files) == 4
    assert busy.digests() == digests
    assert busy.rejects() == rejects
    busy.check_catalog()


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"processing__parallel_workers": 1},
        {"processing__parallel_workers": 2},
        {"processing__chunk_size": 1000, "processing__memory_limit_gb": 0.5},
    ],
    ids=str,
)
def test_a_rebuild_gives_the_same_bytes_in_every_partition(
    setting: dict[str, Any], busy: Made
) -> None:
    digests, rejects = busy.digests(), busy.rejects()
    path = busy.root / "config/data_config.yaml"
    before = path.read_text("utf-8")
    try:
        busy.configure(**setting)
        report = busy.rebuild()
    finally:
        path.write_text(before, "utf-8")

    check_accounts(busy, report)
    assert busy.digests() == digests
    assert busy.rejects() == rejects


@pytest.mark.torture
def test_rows_that_exceed_the_memory_limit_give_the_same_bytes(tmp_path: Path) -> None:
    # Mixed by time, so that no symbol ends before the file does. Long ids spare some rows.
    symbols = [f"S{n:03}" for n in range(100)]
    begin = instant(SESSION, "04:00")
    lines = [
        trade(symbols[n * 7 % 100], begin + n * 200_000_000, n, id=f"{n:0600}")
        for n in range(240_000)
    ]
    lines += lines[:100]
    small = make(tmp_path / "small", processing__memory_limit_gb=0.5)
    large = make(tmp_path / "large", processing__memory_limit_gb=8)
    content = gzip.compress(csv_text("trades", lines).encode(), 1)
    del lines
    for made in (small, large):
        made.put_raw("trades", SESSION, content)
        (file,) = made.ingest("trades").files
        assert (file.problem, file.rows_published, file.rows_rejected) == (None, 240_000, 100)

    assert small.digests() == large.digests()
    shutil.rmtree(tmp_path / "large")


# The merge rule


def test_a_new_version_of_a_session_replaces_only_that_session(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", day): day_of_trades(day, 1.5) for day in DAYS})
    made.update()
    before = prices(made)
    # The rest need not even be there any more.
    for day in (MONDAY, WEDNESDAY):
        (made.root / f"data/raw/trades/2024/01/{day}.csv.gz").unlink()

    made.put(day_key("trades", TUESDAY), day_of_trades(TUESDAY, 2.5))
    report = made.update()

    assert [item.file.day for item in report.files] == [TUESDAY]
    assert prices(made) == {
        key: [2.5] * 3 if key[1] == TUESDAY else values for key, values in before.items()
    }
    made.check_catalog()
    sessions = made.sql("select [s.session for s in sessions] from partitions")
    assert sessions == [(list(DAYS),)] * len(SYMBOLS)


def test_a_symbol_that_vanishes_from_a_republished_file_vanishes_from_its_partition(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", day): day_of_trades(day, 1) for day in DAYS[:2]})
    made.put(day_key("trades", WEDNESDAY), day_of_trades(WEDNESDAY, 1, [*SYMBOLS, "NEW"]))
    made.update()
    untouched = {name: digest for name, digest in made.digests().items() if "AAPL" in name}

    made.put(day_key("trades", WEDNESDAY), day_of_trades(WEDNESDAY, 1, ["AAPL", "NA"]))
    made.update()

    found = prices(made)
    assert {symbol for symbol, day in found if day == WEDNESDAY} == {"AAPL", "NA"}
    assert {symbol for symbol, day in found if day == MONDAY} == set(SYMBOLS)
    # A partition without a row is no partition.
    assert not any("NEW" in name for name in made.digests())
    assert not (made.root / "data/cache/trades/NEW").exists()
    made.check_catalog()
    # Its row says which version of the file it came from, so AAPL's bytes do differ.
    assert {name for name in made.digests() if "AAPL" in name} == set(untouched)


def test_what_all_of_a_symbol_is_rejected_leaves_no_partition(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", MONDAY): day_of_trades(MONDAY, 1, ["A", "B"])})
    made.update()
    lines = [trade("A", instant(MONDAY)), trade("B", instant(MONDAY), correction=8)]

    made.put(day_key("trades", MONDAY), lines)
    made.update()

    assert set(made.partitions()) == {"trades/A/2024_01.parquet"}
    assert [row["symbol"] for row in made.rejects()] == ["B"]
    made.put(day_key("trades", MONDAY), lines[:1])
    made.update()
    # Nor is there a file of rejects where nothing is rejected any more.
    assert made.rejects() == []
    assert list((made.root / "data/rejects").rglob("*.parquet")) == []


@pytest.fixture(scope="module")
def at_once(make_warehouse: MakeWarehouse) -> tuple[dict[date, list[str]], Made]:
    """Five days over two months, ingested all at once."""
    days = [*DAYS, date(2024, 2, 1), date(2024, 2, 2)]
    files = {
        day: random_trades(["A", "B", *(["C"] if n % 2 else [])], 60, day, seed=n)
        for n, day in enumerate(days)
    }
    made = make_warehouse()
    for day, lines in files.items():
        made.put_raw("trades", day, lines)
    made.ingest("trades")
    return files, made


@pytest.mark.torture
@settings(max_examples=3, deadline=None, phases=GENERATE)
@given(data=st.data())
def test_days_in_any_order_and_company_give_the_partitions_of_all_at_once(
    data: st.DataObject, at_once: tuple[dict[date, list[str]], Made]
) -> None:
    files, expected = at_once
    order = data.draw(st.permutations(list(files)))
    cuts = data.draw(st.sets(st.integers(1, len(order) - 1), min_size=1))
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(order)], strict=True):
            for day in order[start:stop]:
                made.put_raw("trades", day, files[day])
            made.ingest("trades")

        assert made.digests() == expected.digests()
        assert made.rejects() == expected.rejects()
        made.check_catalog()


# Some of it anew


def test_a_rebuild_of_some_symbols_touches_only_those(make_warehouse: MakeWarehouse) -> None:
    lines = [*random_trades(SYMBOLS, 600), "too,few"]
    made = make_warehouse({day_key("trades", SESSION): lines})
    made.update()
    digests, rejects = made.digests(), made.rejects()
    assert {row["symbol"] for row in rejects} == {*SYMBOLS, None}
    paths = {name: path.stat() for name, path in made.partitions().items()}

    report = made.rebuild("trades", symbols=["NA", "BCpC"])

    assert report.metrics.partitions == 2
    touched = {
        name for name, path in made.partitions().items() if path.stat().st_ino != paths[name].st_ino
    }
    assert touched == {"trades/NA/2024_01.parquet", "trades/BC%70C/2024_01.parquet"}
    assert made.digests() == digests
    assert made.rejects() == rejects
    made.check_catalog()
    # The file is as published as it was before.
    assert made.update().did_nothing


def test_a_rebuild_takes_up_a_change_of_the_rules(make_warehouse: MakeWarehouse) -> None:
    lines = [trade("A", instant(SESSION)), trade("A", instant(SESSION), 2, correction=12)]
    made = make_warehouse({day_key("trades", SESSION): lines})
    made.update()
    (before,) = made.sql("select fingerprint from partitions")

    made.configure(cleaning__corrections=[0, 1, 12])
    made.rebuild("trades")

    assert made.table("trades")["correction"].to_pylist() == [0, 12]
    assert made.rejects() == []
    assert made.sql("select fingerprint from partitions") != [before]


def test_a_rebuild_without_the_raw_files_is_refused_and_changes_nothing(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", day): day_of_trades(day, 1) for day in DAYS})
    made.update()
    (made.root / f"data/raw/trades/2024/01/{TUESDAY}.csv.gz").unlink()
    before = made.everything()

    with pytest.raises(NoDataError, match="warehouse rebuild trades --fetch") as caught:
        made.rebuild("trades")

    assert made.everything() == before

    assert caught.value.missing == (day_key("trades", TUESDAY),)
    assert "\n" not in str(caught.value)


def test_a_damaged_partition_is_made_anew_by_a_rebuild(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", SESSION): day_of_trades(SESSION, 1)})
    made.update()
    digests = made.digests()
    made.partitions()["trades/AAPL/2024_01.parquet"].write_bytes(b"PAR1 no more")

    made.rebuild("trades", symbols=["AAPL"])

    assert made.digests() == digests


def test_rows_of_a_damaged_partition_are_not_carried_into_its_next_version(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse()
    made.put(day_key("trades", MONDAY), random_trades(["A"], 2000, MONDAY))
    made.update()
    path = made.partitions()["trades/A/2024_01.parquet"]
    whole = path.read_bytes()
    monday = made.table("trades")
    (made.root / f"data/raw/trades/2024/01/{MONDAY}.csv.gz").unlink()
    made.put(day_key("trades", TUESDAY), day_of_trades(TUESDAY, 1, ["A"]))
    found = 0
    for place in (0.1, 0.35, 0.6, 0.85):
        content = bytearray(whole)
        content[int(len(content) * place)] ^= 0x10
        path.write_bytes(content)
        try:
            with made.unchanged():
                made.update()
        except CorruptPartitionError as error:
            message = str(error)
            assert "warehouse rebuild" in message
            assert "\n" not in message
            found += 1
        except AssertionError:
            # A bit that no value depends on: the rows are as they were.
            assert made.table("trades").slice(0, monday.num_rows).equals(monday)
            break
    assert found > 0


def test_a_lost_catalog_is_made_anew_from_the_files(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", day): random_trades(SYMBOLS, 50, day) for day in DAYS})
    made.update()
    digests = made.digests()
    query = "select * exclude (path) from partitions order by all"
    partitions = made.sql(query)
    rejects = made.sql("select reason, count(*) from rejects group by all order by all")
    (made.root / "data/warehouse.duckdb").unlink()

    made.ingest("quotes")

    assert made.sql(query) == partitions
    assert made.sql("select reason, count(*) from rejects group by all order by all") == rejects
    made.check_catalog()
    made.update()
    assert made.digests() == digests


def test_a_lost_catalog_and_a_damaged_partition_together_are_mended_by_a_rebuild(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", SESSION): day_of_trades(SESSION, 1)})
    made.update()
    digests = made.digests()
    (made.root / "data/warehouse.duckdb").unlink()
    made.partitions()["trades/AAPL/2024_01.parquet"].write_bytes(b"PAR1 no more")

    made.rebuild("trades")

    assert made.digests() == digests
    made.check_catalog()


# Both layouts


def test_both_layouts_give_the_same_partitions(make_warehouse: MakeWarehouse) -> None:
    by_day, by_symbol = make_warehouse(), make_warehouse(source__layout="symbol")
    symbols = ("BCPC", "BCpC", "NA", "BRK.B")
    for day in DAYS[:2]:
        for kind, line in (("trades", trade), ("quotes", quote), ("minute_aggs", bar)):
            files = {
                symbol: [line(symbol, instant(day, "10:00", n * MINUTE)) for n in range(5)]
                for symbol in symbols
            }
            by_day.put(day_key(kind, day), [row for rows in files.values() for row in rows])
            for symbol, rows in files.items():
                by_symbol.put(symbol_key(kind, day, symbol), rows)
        by_day.put(day_key("day_aggs", day), [bar(s, instant(day, "00:00")) for s in symbols])
    for symbol in symbols:
        month = [bar(symbol, instant(day, "00:00")) for day in DAYS[:2]]
        by_symbol.put(symbol_key("day_aggs", SESSION, symbol), month)

    by_day.update()
    by_symbol.update()

    assert by_symbol.partitions().keys() == by_day.partitions().keys()
    for kind in DATA_TYPES:
        assert by_symbol.table(kind) == by_day.table(kind)
        assert by_day.table(kind).num_rows > 0
    by_symbol.check_catalog()
    assert by_symbol.update().did_nothing
    digests = by_symbol.digests()
    by_symbol.rebuild("day_aggs", "trades")
    assert by_symbol.digests() == digests


def test_a_grown_month_of_a_symbols_day_bars_replaces_the_month(
    make_warehouse: MakeWarehouse,
) -> None:
    key = symbol_key("day_aggs", SESSION, "BRK.B")
    bars = [bar("BRK.B", instant(day, "00:00")) for day in DAYS]
    made = make_warehouse({key: bars[:2]}, source__layout="symbol")
    made.update()
    assert made.table("day_aggs")["session"].to_pylist() == [MONDAY, TUESDAY]

    made.put(key, bars)
    made.update()
    assert made.table("day_aggs")["session"].to_pylist() == [MONDAY, TUESDAY, WEDNESDAY]

    made.put(key, bars[1:])
    made.update()
    assert made.table("day_aggs")["session"].to_pylist() == [TUESDAY, WEDNESDAY]
    made.check_catalog()


def test_rows_of_another_symbol_in_a_symbols_own_file_do_not_count_twice(
    make_warehouse: MakeWarehouse,
) -> None:
    own = [trade("B", instant(SESSION), n, price=2) for n in (1, 2)]
    files = {
        symbol_key("trades", SESSION, "A"): [trade("A", instant(SESSION)), own[0]],
        symbol_key("trades", SESSION, "B"): own,
    }
    made = make_warehouse(files, source__layout="symbol")

    report = made.update()

    # Each row of B comes from B's file; what stands in A's is refused by name.
    assert [row["sequence_number"] for row in of_symbol(made, "B")] == [1, 2]
    assert [row["symbol"] for row in made.rejects()] == ["B"]
    assert sum(item.facts.lines for item in report.files) == 4
    digests = made.digests()
    made.rebuild("trades", symbols=["B"])
    assert made.digests() == digests


def test_no_name_of_a_symbols_file_leads_out_of_the_warehouse(tmp_path: Path) -> None:
    made = make(tmp_path / "a" / "b", source__layout="symbol")
    folder = made.source / "us_stocks_sip/trades/2024/01/31"
    folder.mkdir(parents=True)
    names = [
        "..%2F..%2Fx",
        "%2Fetc%2Fx",
        "%2E%2E",
        "..",
        "A%2FB",
        "x" * 200,
        "é",
        "A\nB",
        "%",
        "%FF",
    ]
    text = csv_text("trades", [trade("A", instant(SESSION))])
    for name in [*names, "%00", "%2525", "CON"]:
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    made.put(symbol_key("trades", SESSION, "GOOD"), [trade("GOOD", instant(SESSION))])
    outside = {item for item in tmp_path.rglob("*") if made.root not in item.parents}

    made.update("trades", start=SESSION, end=SESSION)

    assert {item for item in tmp_path.rglob("*") if made.root not in item.parents} == outside
    # And whatever became of them, the others are none the worse.
    assert len(of_symbol(made, "GOOD")) == 1


def test_a_file_whose_name_is_no_text_does_not_stop_the_others(tmp_path: Path) -> None:
    made = make(tmp_path, source__layout="symbol")
    made.put(symbol_key("trades", SESSION, "GOOD"), [trade("GOOD", instant(SESSION))])
    folder = made.source / "us_stocks_sip/trades/2024/01/31"
    try:
        (folder / os.fsdecode(b"\xff.csv.gz")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes no such name")

    made.update("trades", start=SESSION, end=SESSION)

    assert len(of_symbol(made, "GOOD")) == 1


def test_other_files_in_the_source_are_passed_over(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", SESSION): day_of_trades(SESSION, 1)})
    folder = (made.source / day_key("trades", SESSION)).parent
    for name in ("2024-01-31.csv", "2024-01-31.csv.gz.part", "README", "2024-13-41.csv.gz"):
        (folder / name).write_bytes(b"x")
    (folder / "2023-01-31.csv.gz").write_bytes(b"of another year than its folder's")
    made.put("us_stocks_sip/options_v1/2024/01/2024-01-31.csv.gz", b"x")

    report = made.update("trades", start=SESSION, end=SESSION)

    assert [item.file.key for item in report.files] == [day_key("trades", SESSION)]


# Files set aside


def broken_gzip() -> bytes:
    text = csv_text("trades", day_of_trades(TUESDAY, 1)).encode()
    content = bytearray(gzip.compress(text, mtime=0))
    content[-8] ^= 1
    return bytes(content)


def test_a_raw_file_that_is_gone_before_it_is_read_is_told_as_gone_and_comes_again(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it can be set aside."""
    made = make_warehouse({day_key("trades", SESSION): [trade("A", instant(SESSION))]})
    raw = made.layout.raw_file(RawFile("trades", SESSION))
    sizes = Pipeline._sizes

    def without_the_file(pipeline: Pipeline, report: RunReport) -> dict[RawFile, int]:
        found = sizes(pipeline, report)
        raw.unlink()
        return dict(found)

    request = Request.of(["trades"], SESSION, SESSION)
    made.pipeline.download(request)
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "_sizes", without_the_file)
        report = made.pipeline.ingest(request)

    said = "\n".join(run_lines(report, request, "warehouse"))
    why = "is gone from the raw tier; update fetches it again"
    assert f"gone       trades {SESSION}: {why}" in said
    assert "set_aside" not in said
    assert not list(made.layout.set_aside.rglob("*.json"))
    assert made.sql("select state from source_files") == [("failed",)]

    made.update("trades")
    assert made.sql("select state from source_files") == [("ingested",)]
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "_sizes", without_the_file)
        made.rebuild("trades")
    assert made.sql("select state, rows_published from source_files") == [("ingested", 1)]


def test_a_file_set_aside_leaves_the_others_and_is_recorded(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", day): day_of_trades(day, 1) for day in DAYS})
    made.put(day_key("trades", TUESDAY), broken_gzip())

    report = made.update()

    (item,) = report.set_aside
    assert item.file.day == TUESDAY
    assert {day for _, day in prices(made)} == {MONDAY, WEDNESDAY}
    made.check_catalog()
    ((state, problem, lines),) = made.sql(
        "select state, problem, lines from source_files"
        " where day = '2024-01-30' and data_type = 'trades'"
    )
    assert (state, problem, lines) == ("set_aside", item.problem, None)
    record = made.root / "data/set_aside/trades/2024/01/2024-01-30.csv.gz.json"
    assert json.loads(record.read_text("utf-8"))["problem"] == item.problem
    assert json.loads(record.read_text("utf-8"))["file"] == day_key("trades", TUESDAY)
    assert record.with_suffix("").read_bytes() == broken_gzip()
    assert not (made.root / "data/raw/trades/2024/01/2024-01-30.csv.gz").exists()
    # It is known for what it is, and not fetched over and over.
    again = made.update()
    assert again.did_nothing
    assert again.download is not None
    assert [item.file.day for item in again.download.set_aside] == [TUESDAY]


def test_a_file_mended_at_the_source_is_fetched_and_published(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", day): day_of_trades(day, 1) for day in DAYS})
    made.put(day_key("trades", TUESDAY), broken_gzip())
    made.update()

    made.put(day_key("trades", TUESDAY), day_of_trades(TUESDAY, 3))
    report = made.update()

    assert [item.file.day for item in report.files] == [TUESDAY]
    assert prices(made)["NA", TUESDAY] == [3.0] * 3
    states = made.sql("select distinct state from source_files where data_type = 'trades'")
    assert states == [("ingested",)]
    assert made.update().did_nothing


def test_a_damaged_new_version_leaves_the_present_one_published(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", day): day_of_trades(day, 1) for day in DAYS})
    made.update()
    digests = made.digests()

    made.put(day_key("trades", TUESDAY), broken_gzip())
    report = made.update()

    assert [item.file.day for item in report.set_aside] == [TUESDAY]
    assert made.digests() == digests
    made.check_catalog()


@pytest.mark.parametrize("shape", ["by symbol", "by_time"])
def test_a_file_damaged_at_its_end_leaves_no_trace_among_its_months(
    shape: str, make_warehouse: MakeWarehouse
) -> None:
    """By then most of its rows have been read, and many of its partitions written."""
    good = make_warehouse(processing__chunk_size=1000)
    good.put_raw("trades", MONDAY, random_trades([f"S{n:03}" for n in range(150)], 3000, MONDAY))
    good.ingest("trades")
    made = make_warehouse(processing__chunk_size=1000)
    made.put_raw("trades", MONDAY, random_trades([f"S{n:03}" for n in range(150)], 3000, MONDAY))
    content = bytearray(gzip.compress(csv_text("trades", shaped(shape, 1)).encode()))
    content[-8] ^= 1
    made.put_raw("trades", WEDNESDAY, bytes(content))

    report = made.ingest("trades")

    assert [item.file.day for item in report.set_aside] == [WEDNESDAY]
    assert made.digests() == good.digests()
    assert made.rejects() == good.rejects()
    made.check_catalog()


def test_a_raw_file_that_rots_after_it_came_is_fetched_again(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", SESSION): day_of_trades(SESSION, 1)})
    made.pipeline.download(Request.of(["trades"], SESSION, SESSION))
    raw = made.root / f"data/raw/trades/2024/01/{SESSION}.csv.gz"
    content = raw.read_bytes()
    # A copy that is damaged, of the size it had; the source's own file is whole.
    raw.unlink()
    raw.write_bytes(content[:-9] + bytes(9))
    assert made.update().set_aside

    made.update()

    assert len(of_symbol(made, "NA")) == 3


# What is asked for


def test_only_the_selected_symbols_are_published_and_all_lines_accounted_for(
    make_warehouse: MakeWarehouse,
) -> None:
    lines = [*random_trades(SYMBOLS, 200), "too,few"]
    whole = make_warehouse({day_key("trades", SESSION): lines})
    whole.update()
    made = make_warehouse({day_key("trades", SESSION): lines}, source__symbols=["NA", "BCpC"])

    (file,) = made.update().files

    assert set(made.digests()) == {
        "trades/NA/2024_01.parquet",
        "trades/BC%70C/2024_01.parquet",
    }
    # What is published of them is what is published of all.
    assert made.digests().items() <= whole.digests().items()
    assert file.rows_published + file.rows_rejected + file.rows_unselected == len(lines)
    assert file.rows_unselected > 0
    assert {row["symbol"] for row in made.rejects()} <= {"NA", "BCpC", None}
    assert made.update().did_nothing


def test_a_wider_selection_brings_in_the_rest(make_warehouse: MakeWarehouse) -> None:
    lines = [*random_trades(SYMBOLS, 200), "too,few"]
    whole = make_warehouse({day_key("trades", SESSION): lines})
    whole.update()
    made = make_warehouse({day_key("trades", SESSION): lines}, source__symbols=["NA"])
    made.update()

    made.configure(source__symbols=["NA", "AAPL"])
    made.update()
    assert {row["symbol"] for row in made.table("trades").to_pylist()} == {"NA", "AAPL"}
    assert made.update().did_nothing

    made.configure(source__symbols=[])
    made.update()
    assert made.digests() == whole.digests()
    assert made.rejects() == whole.rejects()
    assert made.update().did_nothing


def test_a_wider_selection_fetches_a_raw_file_that_is_gone_again(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse(
        {day_key("trades", SESSION): day_of_trades(SESSION, 1)}, source__symbols=["NA"]
    )
    made.update()
    (made.root / f"data/raw/trades/2024/01/{SESSION}.csv.gz").unlink()

    made.configure(source__symbols=["NA", "AAPL"])
    made.update()

    assert len(of_symbol(made, "AAPL")) == 3


def test_sessions_that_the_source_has_not_are_told(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", day): day_of_trades(day, 1) for day in DAYS[::2]})

    report = made.update("trades", start=date(2024, 1, 26), end=WEDNESDAY)

    assert report.download is not None
    # Friday and Tuesday; Saturday and Sunday are nobody's loss.
    assert report.download.absent == [("trades", date(2024, 1, 26)), ("trades", TUESDAY)]
    assert {day for _, day in prices(made)} == {MONDAY, WEDNESDAY}


def test_only_the_sessions_asked_for_are_taken(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", day): day_of_trades(day, 1) for day in DAYS})

    made.update(start=TUESDAY, end=TUESDAY)

    assert {day for _, day in prices(made)} == {TUESDAY}
    raw = sorted(path.name for path in (made.root / "data/raw").rglob("*.gz"))
    assert raw == ["2024-01-30.csv.gz"]


def test_a_range_without_a_session_is_done_at_once(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", SESSION): day_of_trades(SESSION, 1)})
    report = made.update(start=date(2024, 1, 27), end=date(2024, 1, 28))
    assert report.did_nothing
    assert report.download is not None
    assert report.download.absent == []


def test_a_request_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(RequestError, match="it may be trades, quotes, minute_aggs, day_aggs"):
        Request.of(["trade"])
    with pytest.raises(RequestError, match="it lies before start = 2024-01-31"):
        Request.of((), date(2024, 1, 31), date(2024, 1, 30))


@pytest.mark.parametrize("url", ["", "nowhere", "/does/not/exist"])
def test_a_source_that_is_not_there_is_an_error_that_says_what_to_set(
    url: str, make_warehouse: MakeWarehouse
) -> None:
    made = make_warehouse()
    made.configure(source__url=url)
    with pytest.raises(WarehouseError, match=r"source\.url|source ") as caught:
        made.update()
    assert "\n" not in str(caught.value)


# Kills


@pytest.mark.torture
def test_a_kill_at_any_point_of_a_publish_leaves_the_old_or_the_new_never_a_mix(
    tmp_path: Path,
) -> None:
    made = make(tmp_path)
    made.put_raw("trades", MONDAY, [*day_of_trades(MONDAY, 1, ["A", "B"]), "too,few"])
    made.put_raw("trades", TUESDAY, [*day_of_trades(TUESDAY, 1, ["A", "GONE"]), "too,few"])
    made.ingest("trades")
    # The next version changes A and B, removes GONE, adds NEW, and has no rejects on Tuesday.
    made.put_raw("trades", MONDAY, [*day_of_trades(MONDAY, 2, ["A", "B"]), "x"])
    made.put_raw("trades", TUESDAY, day_of_trades(TUESDAY, 2, ["A", "NEW"]))
    data, before = made.root / "data", tmp_path / "before"
    shutil.copytree(data, before)
    old = made.everything()
    with killed_at(10**6) as calls:
        made.ingest("trades")
    new = made.everything()
    assert old[0] != new[0]
    assert calls.count("replace") >= 6

    seen = []
    for number in range(len(calls)):
        shutil.rmtree(data)
        shutil.copytree(before, data)
        with killed_at(number), pytest.raises(Killed):
            made.ingest("trades")
        # The next one who writes, whatever it is, finishes it or clears it away.
        made.ingest("quotes")
        found = made.everything()
        made.check_catalog()
        assert found in (old, new), f"killed before call {number}, {calls[number]}"
        seen.append(found == new)
        assert not (made.root / "data/publish.json").exists()
        assert list((made.root / "data/staging").iterdir()) == []

    # First it is all old, from some point on it is all new, and both do happen.
    assert seen == sorted(seen)
    assert {*seen} == {False, True}


def test_a_killed_first_ingest_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    made = make(tmp_path)
    made.put_raw("trades", MONDAY, day_of_trades(MONDAY, 1, ["A", "B"]))
    for number in (0, 1):
        with killed_at(number), pytest.raises(Killed):
            made.ingest("trades")
        assert made.partitions() == {}

    made.ingest("trades")

    assert {symbol for symbol, _ in prices(made)} == {"A", "B"}
    made.check_catalog()


@contextmanager
def failing_at_trades(error: BaseException) -> Iterator[None]:
    """Whoever stages trades meets the error."""
    stage = Stager.stage

    def fail(self: Any, files: Any, *more: Any) -> Any:
        if files[0].data_type == "trades":
            raise error
        return stage(self, files, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stager, "stage", fail)
        yield


@pytest.mark.parametrize(
    ("bound", "reached"), [("_TOGETHER_BYTES", 1), ("_TOGETHER_SECONDS", 0)], ids=["large", "slow"]
)
def test_what_a_killed_run_had_published_is_not_done_again(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch, bound: str, reached: int
) -> None:
    made = make_warehouse()
    made.put_raw("day_aggs", SESSION, [bar("A", instant(SESSION, "00:00"))])
    made.put_raw("trades", SESSION, day_of_trades(SESSION, 1))
    with failing_at_trades(Killed()), monkeypatch.context() as patch:
        patch.setattr(pipeline, bound, reached)
        with pytest.raises(Killed):
            made.ingest()
    assert made.table("day_aggs").num_rows == 1

    report = made.ingest()

    assert [item.file.data_type for item in report.files] == ["trades"]


def test_months_and_data_types_of_small_files_are_published_at_once(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_warehouse()
    earlier = MONDAY - timedelta(days=31)
    for day in (earlier, MONDAY):
        made.put_raw("day_aggs", day, [bar("A", instant(day, "00:00"))])
        made.put_raw("trades", day, day_of_trades(day, 1))
    published = []
    commit = publish.Committer.commit

    def note(self: Any, change: Any, *more: Any) -> None:
        published.append([one.month for one in change.partitions])
        commit(self, change, *more)

    monkeypatch.setattr(publish.Committer, "commit", note)
    made.ingest()

    assert len(published) == 1
    assert set(published[0]) == {earlier.replace(day=1), MONDAY.replace(day=1)}
    assert made.sql("select count(distinct session) from day_aggs") == [(2,)]
    assert made.sql("select count(*) from source_files where state = 'ingested'") == [(4,)]
    made.check_catalog()


@pytest.mark.parametrize(
    "error",
    [StorageError("/x", "the disk is full"), OSError(28, "No space left on device", "/x")],
    ids=repr,
)
def test_what_is_whole_is_published_though_what_comes_after_it_fails(
    make_warehouse: MakeWarehouse, error: Exception
) -> None:
    made = make_warehouse()
    made.put_raw("day_aggs", SESSION, [bar("A", instant(SESSION, "00:00"))])
    made.put_raw("trades", SESSION, day_of_trades(SESSION, 1))
    with failing_at_trades(error), pytest.raises(StorageError, match=r"is full|No space left"):
        made.ingest()
    assert made.table("day_aggs").num_rows == 1
    made.check_catalog()

    report = made.ingest()

    assert [item.file.data_type for item in report.files] == ["trades"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs the names of open files")
def test_all_is_on_the_disk_before_the_journal_speaks_of_it_and_the_journal_goes_last(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that not even a power cut leaves a mix: here is what it would see, step by step."""
    made = make_warehouse()
    made.put_raw("trades", MONDAY, [*day_of_trades(MONDAY, 1), "x"])
    steps: list[tuple[str, str]] = []
    replace, unlink = os.replace, os.unlink

    def note_sync(descriptor: int) -> None:
        steps.append(("sync", os.path.realpath(f"/proc/self/fd/{descriptor}")))

    def note_replace(old: Any, new: Any) -> None:
        steps.append(("rename", str(new)))
        steps.append(("from", str(old)))
        replace(old, new)

    def note_unlink(path: Any) -> None:
        steps.append(("unlink", str(path)))
        unlink(path)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "sync", lambda: steps.append(("sync", "everything")))
    monkeypatch.setattr(os, "replace", note_replace)
    monkeypatch.setattr(os, "unlink", note_unlink)
    made.ingest("trades")

    data = made.root / "data"
    journal = steps.index(("rename", str(data / "publish.json")))
    gone = steps.index(("unlink", str(data / "publish.json")))
    renamed = {
        place: Path(path)
        for place, (step, path) in enumerate(steps)
        if step == "rename"
        and path.startswith((f"{data}/cache/", f"{data}/rejects/", f"{data}/warehouse.duckdb"))
    }
    assert len(renamed) == len(SYMBOLS) + 2
    for place, target in renamed.items():
        assert journal < place < gone
        came_from = steps[place + 1][1]
        synced = {("sync", came_from), ("sync", "everything")}
        assert synced & set(steps[:journal]), target
        folder = {("sync", str(target.parent)), ("sync", "everything")}
        assert folder & set(steps[place:gone]), target
    assert ("sync", steps[journal + 1][1]) in steps[:journal]
    assert ("sync", str(data)) in steps[journal : min(renamed)]


def test_a_disk_that_cannot_sync_folders_takes_an_update_and_one_that_fails_to_does_not(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_warehouse({day_key("trades", MONDAY): day_of_trades(MONDAY, 1)})
    sync, code = os.fsync, errno.EIO

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        made.update("trades")
    code = errno.EINVAL
    made.update("trades")
    assert made.table("trades").num_rows == 3 * len(SYMBOLS)
    code = errno.ENOTSUP
    made.put_raw("trades", TUESDAY, day_of_trades(TUESDAY, 1))
    made.ingest("trades")
    assert made.table("trades").num_rows == 6 * len(SYMBOLS)


# One writer


HOLD = """
import sys
from pathlib import Path
from warehouse.core import config
from warehouse.store.publishing.publish import writer_lock
root = Path(sys.argv[1])
with writer_lock(config.load(root / "config/data_config.yaml", {}).layout(root)):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_is_writing_and_a_killed_one_holds_nobody_up(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse({day_key("trades", MONDAY): day_of_trades(MONDAY, 1)})
    made.update()
    made.put(day_key("trades", TUESDAY), day_of_trades(TUESDAY, 1))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(made.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        with made.unchanged(), pytest.raises(LockedError, match="try again") as caught:
            made.update()
        assert f"process {holder.pid} " in caught.value.holder
        # Readers take no lock, and neither does asking what would be done.
        assert made.sql("select count(*) from trades") == [(12,)]
        dry = made.pipeline.update(Request.of(["trades"], MONDAY, TUESDAY), dry_run=True)
        assert [file.day for file in dry.planned] == [TUESDAY]
    finally:
        holder.kill()
        holder.communicate()

    made.update()
    assert {day for _, day in prices(made)} == {MONDAY, TUESDAY}


INTERRUPTED = """
import os, signal, sys, threading
from warehouse import Warehouse
from warehouse.ingest import stage
from warehouse.ingest.cleaning import Cleaner
from warehouse.pipeline import pipeline

_, root, way, step = sys.argv
pipeline.SMALL_BYTES = 32 << 20 if way == "beside others" else -1
stage._SMALL_BYTES = -1 if way == "in one thread" else 2 << 20
begin = getattr(Cleaner, step)

def begun(*arguments):
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
    setattr(Cleaner, step, begin)
    return begin(*arguments)

setattr(Cleaner, step, begun)
try:
    Warehouse(root).update("trades")
except KeyboardInterrupt:
    print("ended")
"""


@pytest.mark.parametrize(
    ("step", "way"),
    [("clean", "beside others"), ("dedupe", "alone"), ("clean", "in one thread")],
)
def test_ctrl_c_ends_an_ingest_whose_own_sql_never_ends(
    make_warehouse: MakeWarehouse, step: str, way: str
) -> None:
    files = {
        day_key("trades", day): [trade("A", instant(day, "10:00"), 1, id="x")] * 2
        for day in (MONDAY, MONDAY + timedelta(days=35))
    }
    made = make_warehouse(files)
    file = made.root / f"sql/{step}/trades.sql"
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"
    text = file.read_text()
    end = "from ingested" if step == "clean" else "from compared"
    assert text.count(end) == 1
    file.write_text(text.replace(end, f"{end} where ({endless}) > 0"))

    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(made.root), way, step],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


# Disks that refuse


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Root may do everything: be somebody else for a while, who owns the folder."""
    if os.geteuid() != 0:
        yield
        return
    # What is imported late may lie where nobody but root may look.
    lines = day_of_trades(SESSION, 1)
    make(folder / "warm", {day_key("trades", SESSION): lines}).update("trades")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents anybody may enter, which those of tmp_path are not."""
    folder = Path(tempfile.mkdtemp(prefix="warehouse-"))
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_without_permission_to_write_nothing_changes(open_folder: Path) -> None:
    made = make(open_folder)
    made.put_raw("trades", MONDAY, day_of_trades(MONDAY, 1))
    made.ingest("trades")
    made.put_raw("trades", TUESDAY, day_of_trades(TUESDAY, 1))
    data = made.root / "data"
    with as_nobody(open_folder):
        data.chmod(0o555)
        with made.unchanged(), pytest.raises(StorageError, match=r"(?i)permission") as caught:
            made.ingest("trades")
    assert "\n" not in str(caught.value)
    assert str(data) in str(caught.value)


def test_a_publish_stopped_half_way_for_want_of_permission_is_finished_once_there_is(
    open_folder: Path,
) -> None:
    made = make(open_folder)
    made.put_raw("trades", MONDAY, day_of_trades(MONDAY, 1))
    made.ingest("trades")
    made.put_raw("trades", TUESDAY, day_of_trades(TUESDAY, 1))
    folder = made.root / "data/cache/trades/BCPC"
    with as_nobody(open_folder):
        folder.chmod(0o555)
        for _ in range(2):
            with pytest.raises(StorageError, match=r"(?i)permission") as caught:
                made.ingest("trades")
            assert "\n" not in str(caught.value)
        folder.chmod(0o755)

        made.ingest("quotes")

        made.check_catalog()
        assert {day for _, day in prices(made)} == {MONDAY, TUESDAY}


def test_a_raw_file_that_may_not_be_read_is_set_aside_by_name(open_folder: Path) -> None:
    made = make(open_folder)
    made.put_raw("trades", MONDAY, day_of_trades(MONDAY, 1))
    path = made.put_raw("trades", TUESDAY, day_of_trades(TUESDAY, 1))
    with as_nobody(open_folder):
        path.chmod(0)
        report = made.ingest("trades")
    assert [item.problem for item in report.set_aside] == [
        "2024-01-30.csv.gz: no permission to read it"
    ]
    assert {day for _, day in prices(made)} == {MONDAY}


def test_a_source_file_that_may_not_be_read_is_an_error_that_names_it(open_folder: Path) -> None:
    made = make(open_folder, {day_key("trades", SESSION): day_of_trades(SESSION, 1)})
    path = made.source / day_key("trades", SESSION)
    with as_nobody(open_folder):
        path.chmod(0)
        # A hard link needs no permission to read: whichever way it came, it is named.
        try:
            (item,) = made.update("trades", start=SESSION, end=SESSION).set_aside
            said = str(item.problem)
        except (SourceError, StorageError) as error:
            said = str(error)
    assert path.name in said
    assert "permission" in said.lower()


def test_what_could_not_be_read_for_a_while_is_ingested_once_it_can(open_folder: Path) -> None:
    made = make(open_folder, {day_key("trades", SESSION): day_of_trades(SESSION, 1)})
    path = made.source / day_key("trades", SESSION)
    with as_nobody(open_folder):
        path.chmod(0)
        for _ in range(2):
            # A hard link needs no permission to read; a copy is refused by the source.
            with suppress(SourceError):
                made.update("trades")
        path.chmod(0o644)
        made.update("trades")
    assert {day for _, day in prices(made)} == {SESSION}


def test_a_raw_file_that_its_disk_did_not_read_is_fetched_again(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_warehouse({day_key("trades", SESSION): day_of_trades(SESSION, 1)})
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patch.setattr(inflate.hashlib, "file_digest", refuse)  # type: ignore[attr-defined]
        (item,) = made.update("trades").set_aside
    assert item.problem == f"{SESSION}.csv.gz: cannot be read: Input/output error"
    made.update("trades")
    assert {day for _, day in prices(made)} == {SESSION}


# Time


CLOCKS = [
    date(2024, 1, 31),  # winter, the last session of a month
    date(2024, 3, 8),  # before the clocks go forward
    date(2024, 3, 11),  # and after
    date(2024, 10, 31),  # summer, the last session of a month
    date(2024, 11, 1),  # before they go back
    date(2024, 11, 4),  # and after
    date(2024, 11, 29),  # a half-day, the last session of its month
]


def test_nanoseconds_survive_over_clock_changes_and_a_half_day(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse()
    dice = random.Random(7)
    expected: dict[tuple[date, str], list[int]] = {}
    for day in CLOCKS:
        clocks = ("04:00", "09:30", "13:00", "16:00", "18:59:59", "19:30", "19:59:59")
        moments = sorted(instant(day, clock, dice.randrange(10**9)) for clock in clocks)
        moments = [instant(day, "04:00"), *moments[1:], instant(day, "19:59:59", 999_999_999)]
        moments = sorted({*moments})
        for kind, line in (("trades", trade), ("minute_aggs", bar)):
            if kind == "minute_aggs" and day.month != 3:
                continue
            told = moments
            if kind == "minute_aggs":
                told = sorted({stamp - stamp % MINUTE for stamp in moments})
            expected[day, kind] = told
            made.put(day_key(kind, day), [line("A", stamp) for stamp in told])
    made.update(start=CLOCKS[0], end=CLOCKS[-1])

    for kind in ("trades", "minute_aggs"):
        table = made.table(kind)
        found: dict[tuple[date, str], list[int]] = {}
        for day, stamp in zip(table["session"].to_pylist(), stamps(table), strict=True):
            found.setdefault((day, kind), []).append(stamp)
        assert found == {key: value for key, value in expected.items() if key[1] == kind}
    assert made.rejects() == []
    assert {name for name in made.partitions() if name.startswith("trades")} == {
        f"trades/A/2024_{month}.parquet" for month in ("01", "03", "10", "11")
    }
    made.check_catalog()
    # The whole way to the shell as well.
    ns = made.sql("select epoch_ns(timestamp) from trades order by timestamp")
    assert [row[0] for row in ns] == sorted(
        stamp for (_, kind), moments in expected.items() if kind == "trades" for stamp in moments
    )


def test_the_last_hour_of_a_winter_session_is_in_its_session_and_its_month(
    make_warehouse: MakeWarehouse,
) -> None:
    evening = instant(SESSION, "19:30")
    made = make_warehouse({day_key("trades", SESSION): [trade("A", evening)]})

    made.update()

    # In UTC it is February by then.
    ((text, session),) = made.sql("select timestamp::varchar, session from trades")
    assert (text, session) == ("2024-02-01 00:30:00", SESSION)
    assert set(made.partitions()) == {"trades/A/2024_01.parquet"}
    assert made.sql("select month from partitions") == [(date(2024, 1, 1),)]


@settings(max_examples=3, deadline=None, phases=GENERATE)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 24 * 3600 * 10**9 - 1), st.integers(-(10**15), 10**15), st.integers(1, 9)
        ),
        min_size=1,
        max_size=200,
    )
)
def test_any_instant_of_a_session_comes_back_to_the_nanosecond(
    moments: list[tuple[int, int, int]],
) -> None:
    begin = instant(SESSION, "00:00")
    lines, expected = [], []
    for sequence, (offset, lateness, _) in enumerate(moments):
        stamp = begin + offset
        line = trade("A", stamp, sequence).split(",")
        line[5], line[12] = str(stamp + lateness), str(stamp - offset + 1)
        lines.append(",".join(line))
        expected.append((stamp, sequence, stamp + lateness, stamp - offset + 1))
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        made.put_raw("trades", SESSION, lines)
        made.ingest("trades")
        table = made.table("trades")
    columns = ("timestamp", "participant_timestamp", "trf_timestamp")
    first, second, third = (stamps(table, column) for column in columns)
    found = list(zip(first, table["sequence_number"].to_pylist(), second, third, strict=True))
    assert found == sorted(expected)


def test_rows_without_a_sequence_number_stand_where_the_others_leave_them(
    make_warehouse: MakeWarehouse,
) -> None:
    """Whether or not some other row of the symbol is out of order."""
    one, other = instant(SESSION, "10:00"), instant(SESSION, "09:45")
    orderly = [trade("A", one, "", id="x"), trade("A", one, 5, id="y")]
    mixed = [line.replace("A,", "B,", 1) for line in orderly] + [trade("B", other, 9, id="z")]
    made = make_warehouse({day_key("trades", SESSION): [*orderly, *mixed]})

    made.update()

    order = [row["id"] for row in of_symbol(made, "A")]
    assert [row["id"] for row in of_symbol(made, "B")] == ["z", *order]


def test_every_month_of_a_long_run_is_its_own_partition(make_warehouse: MakeWarehouse) -> None:
    first = date(2023, 12, 29)
    days = [first + timedelta(days=n) for n in (0, 4, 5, 32, 33, 34)]
    made = make_warehouse(
        {day_key("day_aggs", day): [bar("A", instant(day, "00:00"))] for day in days}
    )

    made.update()

    assert set(made.partitions()) == {
        f"day_aggs/market/{month}.parquet" for month in ("2023_12", "2024_01", "2024_02")
    }
    assert made.table("day_aggs")["session"].to_pylist() == days
