"""What one machine publishes to a bucket another one answers from, generation by generation."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from building import SESSION, Made, day_key, make, random_trades
from click.testing import CliRunner
from objects.machines import SYMBOLS, a_day, machine, some_days
from s3server import S3TestServer

from warehouse.api import Warehouse
from warehouse.cli.main import cli
from warehouse.core.config import CONFIG_FILE
from warehouse.core.paths import RawFile
from warehouse.core.request import Request
from warehouse.errors import (
    ConfigError,
    ForeignWarehouseError,
    NoDataError,
    NotOursError,
    ObjectStorageError,
    RequestError,
)
from warehouse.ingest import market_builder
from warehouse.maintenance.rebuild_stale import rebuild_changed
from warehouse.objects.bucket import bucket_of
from warehouse.objects.generation import CURRENT, Content, contents, current, key_of, record
from warehouse.store.publishing.publish import writer_lock
from warehouse.store.tier.pull import is_file

RULES = ["few_trades", "price_deviations", "traded_volumes", "uniform_sizes"]


def answers(made: Made) -> dict[str, Any]:
    """Answers of every kind, as text or values that equal what is equal."""
    start, end = "2024-01-30", "2024-01-31"
    with Warehouse(made.root) as wh:
        return {
            "trades": wh.trades(SYMBOLS, start, end, missing="ignore").to_csv(),
            "quotes": wh.quotes(SYMBOLS[0], start, end, missing="ignore").to_csv(),
            "aggs": wh.aggs(SYMBOLS, start, end, freq="day", missing="ignore").to_csv(),
            "bars": wh.bars(SYMBOLS[:2], start, end, every="30m", missing="ignore").to_csv(),
            "query": wh.query(
                "select symbol, count(*), max(price), sum(sequence_number), count(distinct session)"
                " from trades group by symbol order by symbol"
            ).to_csv(),
            "rejects": wh.query(
                "select reason, count(*) from rejects group by all order by all"
            ).to_csv(),
            "files": wh.query("select source, state from source_files order by all").to_dict(
                "list"
            ),
            "stream": [
                batch.to_pydict() for batch in wh.stream(SYMBOLS, start, end, "trades", to="arrow")
            ],
            "symbols": wh.symbols(),
            "panel": wh.panel("day_aggs", "close", start, end).to_csv(),
            "of a session": wh.cross_section("day_aggs", end).to_csv(),
            "features": wh.features("spread", SYMBOLS[:2], start, end, missing="ignore").to_csv(),
        }


@pytest.fixture
def first(tmp_path: Path, url: str, server: S3TestServer) -> Made:
    """A machine that has published some days to the bucket."""
    made = machine(tmp_path / "first", url, server.endpoint)
    some_days(made)
    made.update()
    return made


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_a_second_machine_answers_as_a_warehouse_without_a_bucket(
    tmp_path: Path, url: str, server: S3TestServer, layout: str
) -> None:
    keys = {
        "storage__layout": dict.fromkeys(("trades", "quotes", "minute_aggs", "bars"), layout),
        "bars__keep": ["30m"],
    }
    local = make(tmp_path / "local", **keys)
    some_days(local)
    first = machine(tmp_path / "first", url, server.endpoint, local.source, **keys)
    second = machine(tmp_path / "second", url, server.endpoint, **keys)
    assert local.update().state == first.update().state == "done"
    assert first.digests() == local.digests()
    due = answers(local)
    assert due["trades"].count("\n") > 500
    assert answers(first) == due
    assert second.partitions() == {}
    assert answers(second) == due
    assert second.digests().items() <= local.digests().items()
    assert second.verify().faults == first.verify().faults == []


def test_raw_files_that_another_machine_has_are_not_called_pruned(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    first = machine(tmp_path / "first", url, server.endpoint, tmp_path / "first/source")
    second = machine(tmp_path / "second", url, server.endpoint)
    some_days(first)
    first.update()
    with Warehouse(second.root) as wh:
        assert wh.symbols()
    files = len(first.pipeline.known())
    found = first.verify()
    assert (found.pruned, found.elsewhere, found.faults) == (0, 0, [])
    found = second.verify()
    assert (found.pruned, found.elsewhere, found.faults) == (0, files, [])
    said = CliRunner().invoke(cli, ["-C", str(second.root), "verify"]).output
    assert f"{files} raw files not on this machine\n" in said
    assert "pruned" not in said


def test_a_raw_file_that_another_machine_has_downloaded_alone_is_not_missing(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    first = machine(tmp_path / "first", url, server.endpoint)
    day, _ = some_days(first)
    first.update("trades", end=day)
    second = machine(tmp_path / "second", url, server.endpoint, first.source)
    second.pipeline.download(Request.of(["trades"]))
    pulled(first, "status")
    found = first.verify("trades")
    assert (found.faults, found.elsewhere) == ([], 1)
    found = second.verify("trades")
    assert (found.faults, found.elsewhere, found.waiting) == ([], 1, 1)


def test_a_folder_that_was_there_first_goes_into_the_bucket_whole(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    first = make(tmp_path / "first")
    some_days(first)
    first.update()
    due, digests = answers(first), first.digests()
    first.configure(storage__cache_dir=url, storage__cache_endpoint=server.endpoint)
    # Nothing is published yet, and nobody needs the bucket.
    assert answers(first) == due
    first.update()
    second = machine(tmp_path / "second", url, server.endpoint)
    assert answers(second) == due
    assert first.digests() == digests
    assert first.verify().faults == second.verify().faults == []


def test_a_second_machine_writes_on_and_the_first_one_sees_it(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    keys = {"bars__keep": ["30m"]}
    first = machine(tmp_path / "first", url, server.endpoint, **keys)
    days = some_days(first)
    first.update(end=days[0])
    second = machine(tmp_path / "second", url, server.endpoint, first.source, **keys)
    report = second.update()
    # The first day is not ingested again, though its files are not on this machine.
    assert {item.file.day for item in report.files} == {days[1]}
    local = make(tmp_path / "local", **keys)
    local.configure(source__url=str(first.source))
    local.source = first.source
    local.update()
    due = answers(local)
    assert answers(second) == answers(first) == due
    assert first.verify().faults == second.verify().faults == []
    # What it has of the older generation is gone, and was not served.
    for name, digest in first.digests().items():
        assert local.digests()[name] == digest


def test_a_reader_without_the_bucket_answers_from_what_is_here_and_says_so(
    first: Made, tmp_path: Path, url: str, server: S3TestServer, caplog: pytest.LogCaptureFixture
) -> None:
    second = machine(tmp_path / "second", url, server.endpoint)
    due = answers(second)
    second.configure(storage__cache_endpoint="http://127.0.0.1:9")
    assert answers(second) == due
    assert "the generation that is here is answered from" in caplog.text
    assert "cannot be reached" in caplog.text
    for path in second.partitions().values():
        path.unlink()
    with Warehouse(second.root) as wh, pytest.raises(ObjectStorageError, match="cannot be reached"):
        wh.trades(SYMBOLS[0], "2024-01-31")
    third = machine(tmp_path / "third", url, "http://127.0.0.1:9")
    with pytest.raises(ObjectStorageError, match="cannot be reached"):
        Warehouse(third.root)


def test_a_bucket_of_another_warehouse_is_refused(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    first = machine(tmp_path / "first", url, server.endpoint)
    some_days(first, 1)
    first.update()
    other = make(tmp_path / "other")
    some_days(other, 1)
    other.update()
    other.configure(storage__cache_dir=url, storage__cache_endpoint=server.endpoint)
    with other.unchanged():
        with pytest.raises(NotOursError, match="another warehouse"):
            Warehouse(other.root)
        with pytest.raises(NotOursError):
            other.update()


def test_of_machines_that_begin_at_once_one_publishes_and_the_others_share_it(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    first = machine(tmp_path / "first", url, server.endpoint)
    some_days(first, 1)
    ids = set()
    for name in ("reads", "writes"):
        early = machine(tmp_path / name, url, server.endpoint, first.source)
        # So far does a run come that waits for another machine's lease, or is killed.
        with writer_lock(early.layout):
            pass
        ids.add(early.layout.marker.read_bytes())
    assert len(ids) == 2
    first.update()
    with Warehouse(tmp_path / "reads" / "warehouse") as wh:
        assert wh.query("select count(*) from trades").iloc[0, 0] > 0
    writer = Made(tmp_path / "writes" / "warehouse", first.source)
    a_day(first, date(2024, 1, 30))
    writer.update()
    for made in (first, writer):
        with Warehouse(made.root) as wh:
            assert len(wh.query("select distinct session from trades")) == 2
        assert made.layout.marker.read_bytes() == first.layout.marker.read_bytes()
        assert made.verify().faults == []


def test_a_bucket_that_has_lost_what_says_the_newest_is_not_begun_anew(
    tmp_path: Path, url: str, server: S3TestServer, caplog: pytest.LogCaptureFixture
) -> None:
    first = machine(tmp_path / "first", url, server.endpoint)
    days = some_days(first, 3)
    first.update(end=days[0])
    second = machine(tmp_path / "second", url, server.endpoint, first.source)
    with Warehouse(second.root) as wh:
        assert len(wh.query("select distinct session from trades")) == 1
    first.update()
    due = answers(first)
    bucket = bucket_of(first.layout.tier)
    newest, _ = bucket.get(CURRENT)
    bucket.delete([CURRENT])
    (fault,) = first.verify().faults
    assert (fault.kind, fault.path) == ("object", first.layout.generation)
    assert "current.json, which says what was published last, is gone" in fault.problem
    third = machine(tmp_path / "third", url, server.endpoint, first.source)
    for made in (second, first, third):
        with pytest.raises(ObjectStorageError, match=r"current\.json.* is gone: put it back"):
            made.update()
    caplog.clear()
    assert answers(first) == due
    assert "is answered from" in caplog.text
    assert "is gone: put it back" in caplog.text
    bucket.create(CURRENT, newest)
    assert second.update().state == "done"
    assert answers(second) == answers(third) == due


def test_a_bucket_that_has_gone_back_is_followed_and_told(
    tmp_path: Path, url: str, server: S3TestServer, caplog: pytest.LogCaptureFixture
) -> None:
    first = machine(tmp_path / "first", url, server.endpoint)
    days = some_days(first, 2)
    first.update(end=days[0])
    bucket = bucket_of(first.layout.tier)
    before, _ = bucket.get(CURRENT)
    first.update()
    due = answers(first)
    assert "gone back" not in caplog.text
    bucket.replace(CURRENT, before, bucket.get(CURRENT)[1])
    with Warehouse(first.root) as wh:
        assert len(wh.query("select distinct session from trades")) == 1
    assert re.search(r"has gone back from generation \d+ to \d+", caplog.text)
    first.update()
    assert answers(first) == due


def test_what_a_copy_has_ingested_alone_is_not_pulled_over(
    tmp_path: Path, url: str, server: S3TestServer, caplog: pytest.LogCaptureFixture
) -> None:
    first = make(tmp_path / "first")
    days = some_days(first, 2)
    first.update(end=days[0])
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    second = Made(tmp_path / "second/warehouse", tmp_path / "second/source")
    second.configure(source__url=str(second.source))
    second.update()
    due = answers(second)
    tier = {"storage__cache_dir": url, "storage__cache_endpoint": server.endpoint}
    first.configure(**tier)
    a_day(first, date(2024, 1, 26))
    first.update(end=days[0])
    second.configure(**tier)
    with second.unchanged():
        assert answers(second) == due
        assert re.search(r"does not have 4 files of the vendor's as ingested in", caplog.text)
        for write in (second.update, second.repair):
            with pytest.raises(
                ObjectStorageError, match=r"4 files .*2024-01-31\.csv\.gz.* run upda"
            ):
                write()
    # As it says.
    (second.root / "data").rename(tmp_path / "away")
    (second.root / "data").mkdir()
    (tmp_path / "away/raw").rename(second.root / "data/raw")
    second.update()
    after = answers(second)
    assert after == answers(first)
    assert (after["trades"], after["bars"]) == (due["trades"], due["bars"])
    assert len(first.sql("select distinct session from trades")) == 3


def beside(first: Made, folder: Path, url: str, server: S3TestServer) -> Made:
    """Another machine; both have all that is in the bucket."""
    second = machine(folder / "second", url, server.endpoint)
    for made in (first, second):
        with Warehouse(made.root) as wh:
            wh.pull()
    return second


def test_what_is_published_to_a_folder_for_a_while_is_not_lost_in_the_bucket(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    with Warehouse(first.root) as wh:
        wh.pull()
    a_day(first, date(2024, 2, 1))
    first.configure(storage__cache_dir="./data/cache")
    first.update()
    due = answers(first)
    first.configure(storage__cache_dir=url)
    assert answers(first) == due
    with pytest.raises(ObjectStorageError, match=r"4 files of the vendor's .*2024-02-01"):
        first.update()


def test_splits_that_a_machine_has_loaded_on_its_own_are_not_pulled_over(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    def load(made: Made, *days: str) -> None:
        names = "id,ticker,execution_date,split_from,split_to,adjustment_type"
        names += ",historical_adjustment_factor"
        rows = [f"{day},AAPL,{day},1,2,forward_split,1" for day in days]
        path = tmp_path / "splits.csv"
        path.write_text("\n".join([names, *rows, ""]))
        with Warehouse(made.root) as wh:
            wh.load_reference(path)

    def splits(made: Made) -> int:
        with Warehouse(made.root) as wh:
            return len(wh.query("from splits"))

    load(first, "2023-01-03")
    second = beside(first, tmp_path, url, server)
    first.configure(storage__cache_dir="./data/cache")
    load(first, "2023-01-03", "2024-01-31")
    first.configure(storage__cache_dir=url)
    assert splits(first) == 2
    with pytest.raises(ObjectStorageError, match=r"does not have the splits as loaded in"):
        first.update()
    # Where more has been loaded there since, it is followed.
    for number in range(3):
        load(second, "2023-01-03", "2024-01-30", f"2024-01-0{number + 2}")
    assert splits(first) == 5


def test_what_a_machine_has_of_another_bucket_alone_is_not_pulled_over(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    second = beside(first, tmp_path, url, server)
    first.configure(storage__cache_dir=f"{url}/other")
    first.update()
    a_day(first, date(2024, 1, 26))
    first.update()
    a_day(second, date(2024, 1, 29))
    second.update()
    due = answers(second)
    second.configure(storage__cache_dir=f"{url}/other")
    assert answers(second) == due
    with pytest.raises(ObjectStorageError, match=r"4 files of the vendor's .*2024-01-29"):
        second.update()


def test_a_machine_that_has_not_what_it_is_of_follows_what_was_published_since(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    second = machine(tmp_path / "second", url, server.endpoint)
    answers(second)
    a_day(first, SESSION, rows=150, seed=7)
    a_day(first, date(2024, 1, 26))
    first.update()
    second.layout.generation.unlink()
    second.update()
    assert answers(second) == answers(first)


def test_a_machine_that_has_not_what_it_is_of_follows_a_file_whose_rows_are_refused_since(
    first: Made, tmp_path: Path, url: str, server: S3TestServer, caplog: pytest.LogCaptureFixture
) -> None:
    second = machine(tmp_path / "second", url, server.endpoint)
    answers(second)
    of_another_day = random_trades(SYMBOLS, 20, date(2024, 1, 26))
    first.put(day_key("trades", SESSION), of_another_day)
    first.update("trades")
    second.layout.generation.unlink()
    assert answers(second) == answers(first)
    assert "of the vendor's" not in caplog.text
    second.update()


def test_what_another_machine_published_later_is_not_undone_by_older_raw_files(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    second = machine(tmp_path / "second", url, server.endpoint, first.source)
    a_day(first, SESSION, rows=150, seed=7)
    second.update()
    due = answers(second)
    # What is here of it is older.
    assert first.ingest().files == []
    said = CliRunner().invoke(cli, ["-C", str(first.root), "ingest", "trades"]).output
    assert "1 raw file here is not what was published, and not read: us_stocks_sip/" in said
    assert answers(first) == due
    told = r"2024-01-31.*not what was published, in .*--fetch"
    with pytest.raises(NoDataError, match=told):
        first.rebuild("trades")
    clean = first.root / "sql/clean/trades.sql"
    clean.write_text(clean.read_text("utf-8").replace("price <= 0", "price <= 0.0"), "utf-8")
    report = rebuild_changed(first.pipeline, Request.of(["trades"]))
    assert [file.day for file in report.absent] == [SESSION]
    assert answers(first) == due
    report = rebuild_changed(first.pipeline, Request.of(["trades"]), fetch=True)
    assert report.absent == []
    assert answers(first) == due
    assert first.verify("trades").faults == []


@pytest.mark.parametrize("changed", [False, True])
def test_what_took_a_raw_files_place_is_kept_where_a_rebuild_fetches_that_anew(
    first: Made, *, changed: bool
) -> None:
    due = answers(first)
    raw = first.layout.raw_file(RawFile("trades", SESSION))
    came = raw.read_bytes()
    raw.unlink()
    first.put_raw("trades", SESSION, random_trades(SYMBOLS, 100, SESSION, 9))
    mine = raw.read_bytes()
    command = ["-C", str(first.root), "rebuild", "trades", "--fetch"]
    if changed:
        clean = first.root / "sql/clean/trades.sql"
        clean.write_text(clean.read_text("utf-8").replace("price <= 0", "price <= 0.0"), "utf-8")
        command.append("--changed")
    said = CliRunner().invoke(cli, command).output
    assert raw.read_bytes() == came
    assert answers(first) == due
    (kept,) = first.layout.set_aside.rglob("*.csv.gz")
    assert kept.read_bytes() == mine
    assert f"it is kept as {kept}" in said
    assert first.verify("trades").faults == []


def test_a_bucket_gets_all_partitions_at_first_or_nothing(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    due = answers(first)
    second = machine(tmp_path / "second", url, server.endpoint, first.source)
    with Warehouse(second.root) as wh:
        assert len(wh.trades(SYMBOLS[0], "2024-01-31"))
    second.configure(storage__cache_dir=f"{url}/other")
    a_day(first, date(2024, 2, 1))
    with pytest.raises(ObjectStorageError, match=r"of 12 partitions .* neither in it nor here"):
        second.update()
    assert not bucket_of(second.layout.tier).head(CURRENT)
    # What it is told to do.
    second.configure(storage__cache_dir=url)
    pulled(second, "pull")
    second.configure(storage__cache_dir=f"{url}/other")
    second.update(end=date(2024, 1, 31))
    third = machine(tmp_path / "third", f"{url}/other", server.endpoint)
    assert answers(third) == due


def test_what_is_damaged_on_a_disk_is_brought_anew_by_a_repair(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    second = machine(tmp_path / "second", url, server.endpoint, first.source)
    due = answers(second)
    path = second.layout.partition("trades", SYMBOLS[0], date(2024, 1, 1))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    ledger = second.layout.ledger_of("trades", date(2024, 1, 1))
    ledger.write_bytes(b"")
    assert {fault.kind for fault in second.verify().faults} == {"partition", "ledger"}
    report = second.repair()
    assert {fault.kind for fault in report.mended} == {"partition", "ledger"}
    assert (report.left, report.run.files) == ([], [])
    assert second.verify().faults == []
    assert answers(second) == due
    # A lost catalog too: of all that is published only some is here.
    second.layout.catalog.unlink()
    assert second.verify().faults == [] or second.repair().left == []
    assert answers(second) == due


def test_an_object_that_is_lost_is_made_anew_from_the_raw_files(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    due, digests = answers(first), first.digests()
    lost = digests[f"trades/{SYMBOLS[0]}/2024_01.parquet"]
    bucket_of(first.layout.tier).delete([key_of(lost)])
    first.layout.partition("trades", SYMBOLS[0], date(2024, 1, 1)).unlink()
    (fault,) = first.verify().faults
    assert fault.problem == "its object is missing in the bucket"
    report = first.repair()
    assert [one.kind for one in report.mended] == ["partition"]
    second = machine(tmp_path / "second", url, server.endpoint)
    assert answers(second) == due
    assert first.digests() == digests


def test_small_files_that_the_bucket_lost_are_found_and_put_back(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    due, bucket = answers(first), bucket_of(first.layout.tier)
    known = record(first.layout)
    assert known is not None
    tops = ("rejects", "ledger", "history", "manifests", "recipes", "warehouse.duckdb")
    names = [next(name for name in known.files if name.startswith(top)) for top in tops]
    bucket.delete([known.files[name].key for name in names])
    newest = current(bucket)
    assert newest is not None
    bucket.delete([newest.key])
    second = machine(tmp_path / "second", url, server.endpoint)
    with pytest.raises(ObjectStorageError, match=r"is missing; .*--repair"):
        answers(second)
    found = first.verify().faults
    assert {one.kind for one in found} == {"object"}
    lost = {*(first.layout.data / name for name in names), first.layout.generation}
    assert {one.path for one in found} == lost
    assert all("missing" in one.problem for one in found)
    # One of them is damaged here as well.
    first.layout.ledger_of("trades", date(2024, 1, 1)).write_bytes(b"")
    report = first.repair()
    assert {one.kind for one in report.mended} == {"object", "ledger"}
    assert (report.left, report.run.files, report.moved) == ([], [], [])
    assert first.verify().faults == []
    assert answers(second) == answers(first) == due


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_what_a_bucket_alone_has_lost_comes_from_a_disk_that_has_it(
    first: Made, tmp_path: Path, url: str, server: S3TestServer, harm: str
) -> None:
    due, digests = answers(first), first.digests()
    bucket = bucket_of(first.layout.tier)
    newest = current(bucket)
    assert newest is not None
    files = contents(first.layout, bucket, newest.key)
    lost = {name: content.sha256 for name, content in files.items()}
    lost["partition"] = digests[f"trades/{SYMBOLS[0]}/2024_01.parquet"]
    for key in {key_of(sha256) for sha256 in lost.values()}:
        content, etag = bucket.get(key)
        if harm == "gone":
            bucket.delete([key])
        else:
            bucket.replace(key, content[:-1], etag)
    # No raw file is left that it could be made from.
    shutil.rmtree(first.layout.raw)
    shutil.rmtree(first.source)
    second = machine(tmp_path / "second", url, server.endpoint)
    with pytest.raises(ObjectStorageError, match=r"from a machine that has it, with: .*--repair"):
        answers(second)
    assert len(first.verify().faults) == len(lost)
    report = first.repair()
    assert len(report.mended) == len(lost)
    assert report.left == []
    assert answers(second) == answers(first) == due
    assert first.verify().faults == second.verify().faults == []


def test_what_is_damaged_here_and_lost_there_is_made_anew_or_told(
    first: Made,
) -> None:
    due = answers(first)
    bucket = bucket_of(first.layout.tier)
    newest = current(bucket)
    assert newest is not None
    files = contents(first.layout, bucket, newest.key)
    recipe = next(name for name in files if name.startswith("recipes/"))
    for name in ("ledger/trades/2024_01.parquet", recipe):
        bucket.delete([key_of(files[name].sha256)])
        path = first.layout.data / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    report = first.repair()
    assert {one.path.name for one in report.mended} == {"2024_01.parquet"}
    assert {one.kind for one in report.mended} == {"ledger", "object"}
    assert [(one.path.name, one.kind) for one, _ in report.left] == [(Path(recipe).name, "object")]
    assert answers(first) == due


def test_a_repair_lists_the_bucket_as_often_however_much_is_left(
    first: Made,
) -> None:
    bucket = bucket_of(first.layout.tier)
    known = record(first.layout)
    assert known is not None
    recipes = [name for name in known.files if name.startswith("recipes/")]
    listed = []
    for names in (recipes[:1], recipes[1:]):
        bucket.delete([known.files[name].key for name in names])
        for name in names:
            (first.layout.data / name).unlink()
        before = bucket.requests["list"]
        report = first.repair()
        listed.append((len(report.left), bucket.requests["list"] - before))
    (few, once), (all_of_them, again) = listed
    assert (few, all_of_them) == (1, len(recipes))
    assert once == again


def test_a_partition_of_which_an_object_is_cut_is_told_and_made_anew(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    due, digests = answers(first), first.digests()
    key = key_of(digests[f"trades/{SYMBOLS[0]}/2024_01.parquet"])
    bucket = bucket_of(first.layout.tier)
    content, etag = bucket.get(key)
    bucket.replace(key, content[:-100], etag)
    second = machine(tmp_path / "second", url, server.endpoint, first.source)
    told = r"another size; make it anew with: .*--repair"
    with Warehouse(second.root) as wh, pytest.raises(ObjectStorageError, match=told):
        wh.trades(SYMBOLS[0], "2024-01-31")
    assert [one.kind for one in second.repair().mended] == ["partition"]
    assert bucket.get(key)[0] == content
    assert answers(second) == due


def test_an_object_that_was_changed_is_not_taken_for_what_was_published(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    digest = first.digests()[f"trades/{SYMBOLS[0]}/2024_01.parquet"]
    bucket = bucket_of(first.layout.tier)
    body, etag = bucket.get(key_of(digest))
    bucket.replace(key_of(digest), body[:-1] + bytes([body[-1] ^ 1]), etag)
    second = machine(tmp_path / "second", url, server.endpoint)
    with Warehouse(second.root) as wh, pytest.raises(ObjectStorageError, match="SHA-256"):
        wh.trades(SYMBOLS[0], "2024-01-31")
    assert second.partitions() == {}


def test_a_strangers_configuration_sends_no_credentials_anywhere(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = machine(tmp_path / "first", url, "http://127.0.0.1:9", source__url="")
    os.chown(made.root / CONFIG_FILE, 12345, 12345)
    with pytest.raises(ForeignWarehouseError, match="WAREHOUSE_STORAGE__CACHE_DIR"):
        Warehouse(made.root)
    monkeypatch.setenv("WAREHOUSE_STORAGE__CACHE_DIR", url)
    with pytest.raises(ForeignWarehouseError, match="WAREHOUSE_STORAGE__CACHE_ENDPOINT"):
        Warehouse(made.root)


def test_what_is_pulled_is_here_for_a_duckdb_of_ones_own(
    first: Made, tmp_path: Path, url: str, server: S3TestServer
) -> None:
    second = machine(tmp_path / "second", url, server.endpoint)
    due = first.sql("select count(*), sum(sequence_number) from trades")
    pulled(second, "pull", "quotes", "--symbols", SYMBOLS[0])
    with pytest.raises(duckdb.IOException, match=r"trades.*AAPL"):
        second.sql("select count(*) from trades")
    assert {*second.partitions()} == {f"quotes/{SYMBOLS[0]}/2024_01.parquet"}
    assert re.fullmatch(
        "4 partitions, .* are here; 4 of them were brought\n", pulled(second, "pull", "trades")
    )
    assert second.sql("select count(*), sum(sequence_number) from trades") == due
    assert "13 partitions" in pulled(second, "pull")
    assert "0 of them were brought" in pulled(second, "pull", "--start", "2024-01-31")
    assert second.digests() == first.digests()
    second.configure(storage__max_cache_disk_gb=1e-6)
    with Warehouse(second.root) as wh, pytest.raises(RequestError, match="must be on the disk"):
        wh.pull("trades")
    second.configure(storage__cache_dir="data/cache")
    with Warehouse(second.root) as wh, pytest.raises(RequestError, match="it is a folder"):
        wh.pull("trades")


def test_a_shell_here_is_told_of_sessions_that_another_machine_cut_anew(
    tmp_path: Path, url: str, server: S3TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_builder, "FILE_ROWS", 200)
    layout = {"storage__layout": {"trades": "market"}}
    first = machine(tmp_path / "first", url, server.endpoint, **layout)
    (day,) = some_days(first, 1)
    first.update()
    second = machine(tmp_path / "second", url, server.endpoint, **layout)
    pulled(second, "pull")
    asked = f"select count(*) from trades_of('{SYMBOLS[0]}')"
    with duckdb.connect() as shell:
        shell.execute(f"attach '{second.layout.catalog}' as warehouse (read_only)")
        shell.execute("use warehouse")
        assert shell.execute(asked).fetchall() == first.sql(asked) != [(0,)]
        a_day(first, day, rows=900, seed=1)
        first.update("trades")
        pulled(second, "pull")
        with pytest.raises(duckdb.IOException, match="open it anew"):
            shell.execute(asked)
    assert second.sql(asked) == first.sql(asked)
    assert second.layout.schemas_of_cuts()[0].name == first.layout.schemas_of_cuts()[0].name
    for made in (first, second):
        assert len(made.layout.schemas_of_cuts()) == 1
        assert made.verify().faults == []


@pytest.mark.parametrize("name", ["../../../victim", "manifests/../../../../victim"])
def test_a_record_of_what_is_here_touches_no_file_that_no_publish_puts_here(
    first: Made, tmp_path: Path, url: str, server: S3TestServer, name: str
) -> None:
    second = machine(tmp_path / "second", url, server.endpoint)
    pulled(second, "status")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    os.utime(victim, (1, 1))
    told = json.loads(second.layout.generation.read_text())
    told["files"][name] = [hashlib.sha256(b"mine").hexdigest(), 4]
    second.layout.generation.write_text(json.dumps(told))
    a_day(first, date(2024, 2, 1))
    first.update()
    pulled(second, "status")
    assert (victim.read_text(), victim.stat().st_mtime) == ("mine", 1)
    assert answers(second) == answers(first)


def test_a_pipe_in_the_place_of_a_small_file_is_not_waited_for(
    tmp_path: Path,
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert not is_file(pipe, Content("ab" * 32, 0))


def pulled(made: Made, *arguments: str) -> str:
    result = CliRunner().invoke(cli, ["-C", str(made.root), *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("cache_dir", "gs://bucket/x", "it must be a folder or s3://BUCKET/PREFIX"),
        ("cache_dir", "s3://", "it must be a folder or s3://BUCKET/PREFIX"),
        ("cache_dir", ["x"], "it must be a folder or s3://BUCKET/PREFIX"),
        ("cache_dir", "s3://key:secret@bucket/x", "it holds a password"),
        ("cache_endpoint", "https://key:secret@host", "it holds a password"),
        ("max_cache_disk_gb", 0, "greater than 0"),
        ("cache_disk_dir", "", "it must be a path"),
    ],
)
def test_a_bucket_that_cannot_be_one_is_refused_by_its_key(
    tmp_path: Path, url: str, key: str, value: object, told: str
) -> None:
    made = machine(tmp_path, url, "")
    made.configure(**{f"storage__{key}": value})
    with pytest.raises(ConfigError, match=told) as error:
        Warehouse(made.root)
    assert error.value.key == f"storage.{key}"
    assert "secret@" not in str(error.value)


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_actions_are_judged_by_prices_that_another_machine_published(
    tmp_path: Path, url: str, server: S3TestServer, layout: str
) -> None:
    keys = {"storage__layout": dict.fromkeys(("trades", "day_aggs"), layout)}
    local = make(tmp_path / "local", **keys)
    some_days(local)
    for path in local.source.rglob("day_aggs_v1"):
        shutil.rmtree(path)
    export = tmp_path / "splits.csv"
    export.write_text(
        "id,ticker,execution_date,split_from,split_to,adjustment_type,historical_adjustment_factor\n"
        f"E1,{SYMBOLS[0]},2024-01-31,1,4,forward_split,0.25\n"
    )
    first = machine(tmp_path / "first", url, server.endpoint, local.source, **keys)
    second = machine(tmp_path / "second", url, server.endpoint, **keys)
    local.update()
    first.update()
    shown = []
    for made in (local, second):
        pulled(made, "reference", "load", str(export))
        with Warehouse(made.root) as wh:
            shown.append(wh.actions().to_csv())
    assert shown[0] == shown[1]
    assert "E1" in shown[0]
    assert second.partitions()


def test_all_that_a_writer_does_it_does_on_a_machine_that_has_nothing_yet(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    local = make(tmp_path / "local")
    some_days(local)
    local.update()
    first = machine(tmp_path / "first", url, server.endpoint, local.source)
    first.update()
    with Warehouse(local.root) as wh:
        found = wh.validate(rules=RULES).results
        wh.rebuild_layout("trades", "market")
        compared = wh.reconcile("day_aggs").to_dict()["results"]
    second = machine(tmp_path / "second", url, server.endpoint, local.source)
    with Warehouse(second.root) as wh:
        assert wh.validate(rules=RULES).results == found
        wh.rebuild_layout("trades", "market")
        assert wh.reconcile("day_aggs").to_dict()["results"] == compared
    assert second.verify().faults == []
    with Warehouse(first.root) as wh:
        wh.pull()
    assert first.digests() == local.digests()


LOCAL = """
import sys
from pathlib import Path
from warehouse import Warehouse
with Warehouse(sys.argv[1]) as wh:
    wh.update(start="2024-01-31", end="2024-01-31")
    wh.verify()
    wh.prune()
    wh.trades("AAPL", "2024-01-31")
    wh.query("select count(*) from trades")
print(sorted({name.partition(".")[0] for name in sys.modules} & {"boto3", "botocore"}))
"""


def test_a_warehouse_without_a_bucket_waits_for_no_client_and_makes_no_files_of_one(
    tmp_path: Path,
) -> None:
    made = make(tmp_path)
    some_days(made, 1)
    done = subprocess.run(
        [sys.executable, "-c", LOCAL, str(made.root)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    assert not {".reading", "generation.json"} & {path.name for path in made.layout.data.iterdir()}
