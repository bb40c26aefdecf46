"""update does what is left to do: its plan, one symbol alone, what it will cost, what it costs."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pyarrow.parquet as pq
import pytest
from building import (
    Made,
    MakeWarehouse,
    day_key,
    instant,
    keep,
    put_back,
    random_trades,
    symbol_key,
    trade,
)

from warehouse import Warehouse
from warehouse.core.paths import RawFile
from warehouse.core.request import Request
from warehouse.pipeline.report import RunReport

MONDAY, TUESDAY, WEDNESDAY = date(2024, 1, 29), date(2024, 1, 30), date(2024, 1, 31)
SYMBOLS = ("AAPL", "BCpC", "MSFT")


@pytest.fixture(scope="module")
def template(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse({day_key("trades", day): lines(day) for day in (MONDAY, TUESDAY)})
    made.update("trades")
    keep(made)
    return made


@pytest.fixture
def made(template: Made) -> Made:
    """Two sessions published: the same warehouse for every test, put back to what it was."""
    put_back(template)
    return template


def lines(day: date, seed: int = 0) -> list[str]:
    return random_trades(SYMBOLS, 60, day, seed)


def update(made: Made, *symbols: str, dry_run: bool = False) -> RunReport:
    request = Request.of(["trades"], MONDAY, WEDNESDAY, symbols)
    return made.pipeline.update(request, dry_run=dry_run)


def test_only_what_is_new_restated_or_failed_is_planned(made: Made) -> None:
    broken = made.put(day_key("trades", WEDNESDAY), b"no gzip")
    update(made)
    assert update(made).did_nothing
    made.put(day_key("trades", MONDAY), lines(MONDAY, seed=1))
    broken.unlink()
    made.put(day_key("trades", WEDNESDAY), lines(WEDNESDAY))
    report = update(made, dry_run=True)
    assert report.planned == [RawFile("trades", MONDAY), RawFile("trades", WEDNESDAY)]
    assert [item.file.day for item in update(made).files] == [MONDAY, WEDNESDAY]
    assert made.verify().faults == []


def test_a_dry_run_says_what_the_run_will_come_to(made: Made) -> None:
    made.put(day_key("trades", WEDNESDAY), lines(WEDNESDAY, seed=2))
    with made.unchanged():
        told = update(made, dry_run=True).estimate
    assert told is not None
    report = update(made)
    assert told.bytes == report.metrics.bytes_read
    assert told.partitions == report.metrics.partitions == len(SYMBOLS)
    assert told.rows == pytest.approx(report.metrics.lines, rel=0.2)
    ((fetching, reading),) = made.sql(
        """
        select sum(bytes_fetched) / sum(download_time), sum(bytes_read) / sum(processing_time)
        from runs
        where started_at <> (select max(started_at) from runs)
        """
    )
    # Of one file nothing is read before it has come.
    assert told.seconds == pytest.approx(told.bytes / fetching + told.bytes / reading)


def test_before_the_first_run_nothing_is_estimated(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse({day_key("trades", MONDAY): lines(MONDAY)})
    told = update(made, dry_run=True).estimate
    assert told is not None
    assert (told.rows, told.partitions, told.seconds) == (None, None, None)


def test_one_symbol_of_a_days_file_comes_first_and_the_others_follow(
    made: Made, make_warehouse: MakeWarehouse
) -> None:
    made.put(day_key("trades", WEDNESDAY), lines(WEDNESDAY))
    update(made, "AAPL")
    of_wednesday = f"select distinct symbol from trades where session = '{WEDNESDAY}' order by all"
    assert made.sql(of_wednesday) == [("AAPL",)]
    assert update(made, "AAPL").did_nothing
    assert made.verify().faults == []
    update(made, "MSFT")
    assert made.sql(of_wednesday) == [("AAPL",), ("MSFT",)]
    assert made.verify().faults == []
    update(made)
    other = make_warehouse(source__url=str(made.source))
    other.source = made.source
    other.update("trades")
    assert made.digests() == other.digests()
    assert made.rejects() == other.rejects()
    assert update(made).did_nothing
    assert made.verify().faults == []


def test_one_symbol_of_a_restated_file_leaves_the_others_as_they_are_for_now(made: Made) -> None:
    made.put(day_key("trades", TUESDAY), [trade(s, instant(TUESDAY), price=7) for s in SYMBOLS])
    update(made, "AAPL")
    of_tuesday = f"select symbol, count(*) > 1 from trades where session = '{TUESDAY}' group by all"
    assert dict(made.sql(of_tuesday)) == {"AAPL": False, "BCpC": True, "MSFT": True}
    assert made.verify().faults == []
    update(made)
    assert dict(made.sql(of_tuesday)) == dict.fromkeys(SYMBOLS, False)
    assert made.verify().faults == []


def test_one_symbol_of_one_file_a_symbol_is_all_that_is_fetched(
    make_warehouse: MakeWarehouse,
) -> None:
    files = {
        symbol_key("trades", MONDAY, symbol): [trade(symbol, instant(MONDAY))] for symbol in SYMBOLS
    }
    made = make_warehouse(files, source__layout="symbol")
    assert [item.file.symbol for item in update(made, "BCpC").files] == ["BCpC"]
    assert [item.file.symbol for item in update(made).files] == ["AAPL", "MSFT"]


def test_the_facade_updates_one_symbol_and_knows_its_last_stamp(made: Made) -> None:
    stamp = instant(WEDNESDAY, "15:59", 123_456_789)
    made.put(day_key("trades", WEDNESDAY), [trade(symbol, stamp) for symbol in SYMBOLS])
    with Warehouse(made.root) as warehouse:
        before = warehouse.last_timestamp("trades", "AAPL")
        assert before.tz_convert("America/New_York").date() == TUESDAY
        warehouse.update("trades", MONDAY, WEDNESDAY, symbols="AAPL")
        assert warehouse.last_timestamp("trades", "AAPL") == pd.Timestamp(stamp, tz="UTC")
        assert warehouse.last_timestamp("trades", "AAPL").value == stamp
        assert warehouse.last_timestamp("trades", "MSFT") < pd.Timestamp(stamp, tz="UTC")
        assert warehouse.last_timestamp("trades", "ZZZ") is pd.NaT
        assert warehouse.last_timestamp("quotes", "AAPL") is pd.NaT


def test_a_new_session_reads_each_row_group_of_the_month_once(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.put(day_key("trades", WEDNESDAY), lines(WEDNESDAY))
    reads: list[int] = []
    read = pq.ParquetFile.read_row_groups

    def counted(file: pq.ParquetFile, groups: list[int], **options: object) -> object:
        reads.extend(groups)
        return read(file, groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", counted)
    update(made)
    # Two sessions are in each partition, in one row group.
    assert len(reads) == len(SYMBOLS)
