"""Of a bucket's partitions so much is on a machine's disk as it may, and what is read stays."""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import pytest
from building import Made
from objects.machines import SYMBOLS, machine, some_days
from s3server import S3TestServer

from warehouse.api import Warehouse
from warehouse.errors import RequestError, StorageError
from warehouse.objects import disk_cache
from warehouse.objects.bucket import bucket_of
from warehouse.objects.disk_cache import Hold, Wanted, bring, make_room

GIB = 1024**3
DAY = "2024-01-31"


@pytest.fixture
def machines(tmp_path: Path, url: str, server: S3TestServer) -> tuple[Made, Made]:
    """One that has published, and one that has nothing yet."""
    first = machine(tmp_path / "first", url, server.endpoint)
    some_days(first)
    first.update()
    second = machine(tmp_path / "second", url, server.endpoint)
    with Warehouse(second.root):
        pass
    return first, second


def wanted(made: Made) -> list[Wanted]:
    """All partitions of trades and quotes, which have files of their own by symbol."""
    rows = made.sql(
        "select path, bytes, sha256 from partitions where first_row is null order by path"
    )
    return [Wanted(Path(path), size, sha256) for path, size, sha256 in rows]


def total(made: Made) -> int:
    return sum(path.stat().st_size for path in made.partitions().values())


def test_a_question_brings_what_it_reads_and_nothing_else(machines: tuple[Made, Made]) -> None:
    _, second = machines
    bucket = bucket_of(second.layout.tier)
    with Warehouse(second.root) as wh:
        before = bucket.requests.copy()
        wh.trades(SYMBOLS[0], DAY)
        assert bucket.requests - before == {"get": 1}
        wh.cache.clear()
        wh.trades(SYMBOLS[0], DAY)
        assert bucket.requests - before == {"get": 1}
    assert {*second.partitions()} == {f"trades/{SYMBOLS[0]}/2024_01.parquet"}


def test_over_the_bound_the_least_recently_used_go_and_answers_stay_the_same(
    machines: tuple[Made, Made],
) -> None:
    first, second = machines
    every = wanted(second)
    most = max(one.bytes for one in every)
    second.configure(storage__max_cache_disk_gb=2.5 * most / GIB)
    with Warehouse(second.root) as wh, Warehouse(first.root) as due:
        for _ in range(2):
            for symbol in SYMBOLS:
                wh.cache.clear()
                assert wh.trades(symbol, DAY).equals(due.trades(symbol, DAY))
                assert total(second) <= 2.5 * most
                # Just read: it is among the last to go.
                assert f"trades/{symbol}/2024_01.parquet" in second.partitions()


def test_a_stream_goes_on_though_others_made_room(machines: tuple[Made, Made]) -> None:
    first, second = machines
    second.configure(storage__max_cache_disk_gb=1 / GIB)
    with Warehouse(second.root) as wh, Warehouse(first.root) as due:
        assert wh.trades(SYMBOLS, DAY).equals(due.trades(SYMBOLS, DAY))
        # Of SQL all must be here at once, of whatever month: it is told before any of it comes.
        with pytest.raises(RequestError, match="must be on the disk"):
            wh.query("select count(*) from trades")
        with wh.stream(SYMBOLS, DAY, data_types="trades", to="arrow", batch_rows=10) as stream:
            rows = next(stream).num_rows
            # Others want room meanwhile; what is open stays open, and the rest comes again.
            assert make_room(second.layout) > 0
            rows += sum(batch.num_rows for batch in stream)
        assert rows == len(due.trades(SYMBOLS, DAY))
    make_room(second.layout)
    assert second.partitions() == {}


def test_a_question_holds_what_was_used_since_it_began_and_a_killed_one_nothing(
    machines: tuple[Made, Made],
) -> None:
    _, second = machines
    every = wanted(second)
    second.configure(storage__max_cache_disk_gb=1 / GIB)
    layout = second.layout
    old, new = every[0], every[1]
    outer = Hold(layout)
    bring(layout, [old])
    inner = Hold(layout)
    bring(layout, [new])
    assert make_room(layout) == 0
    outer.close()
    assert make_room(layout) == 1
    assert {*second.partitions().values()} == {new.path}
    inner.close()
    # What a killed process left is locked by nobody.
    left = layout.reading / "1-left"
    left.touch()
    past = time.time_ns() - 60 * 10**9
    disk_cache.os.utime(left, ns=(past, past))
    assert make_room(layout) == 1
    assert not left.exists()


def ask(root: str, symbol: str) -> int:
    with Warehouse(root) as wh:
        rows = 0
        for _ in range(5):
            wh.cache.clear()
            rows = len(wh.trades(symbol, DAY))
        return rows


def test_many_processes_share_one_disk_that_holds_a_fraction(machines: tuple[Made, Made]) -> None:
    first, second = machines
    most = max(one.bytes for one in wanted(second))
    second.configure(storage__max_cache_disk_gb=1.5 * most / GIB)
    with Warehouse(first.root) as due:
        rows = [len(due.trades(symbol, DAY)) for symbol in SYMBOLS]
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        found = list(pool.map(ask, [str(second.root)] * 8, SYMBOLS * 2))
    assert found == rows * 2
    make_room(second.layout)
    assert total(second) <= 1.5 * most
    assert not list(second.layout.cache.rglob("*.part"))


def test_nothing_is_removed_that_is_not_in_the_bucket(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    made = machine(tmp_path, url, server.endpoint)
    some_days(made, 1)
    made.configure(storage__cache_dir="data/cache")
    made.update()
    made.configure(storage__cache_dir=url, storage__max_cache_disk_gb=1 / GIB)
    assert make_room(made.layout) == 0
    assert made.partitions()
    made.update()
    assert made.partitions() == {}
    assert made.verify().faults == []


def test_what_was_published_meanwhile_is_not_overwritten_by_what_was_before(
    machines: tuple[Made, Made],
) -> None:
    _, second = machines
    (one, *_) = wanted(second)
    with suppress(disk_cache.OutdatedError):
        bring(second.layout, [one], lambda: False)
        pytest.fail("it was put in place")
    assert second.partitions() == {}
    assert not list(second.layout.cache.rglob("*.part"))


def test_a_file_of_another_size_is_brought_anew(machines: tuple[Made, Made]) -> None:
    first, second = machines
    path = second.layout.partition("trades", SYMBOLS[0], date(2024, 1, 1))
    with Warehouse(second.root) as wh, Warehouse(first.root) as due:
        wh.trades(SYMBOLS[0], DAY)
        path.write_bytes(b"cut short")
        wh.cache.clear()
        assert wh.trades(SYMBOLS[0], DAY).equals(due.trades(SYMBOLS[0], DAY))


def test_threads_of_one_program_ask_side_by_side(machines: tuple[Made, Made]) -> None:
    first, second = machines
    most = max(one.bytes for one in wanted(second))
    second.configure(storage__max_cache_disk_gb=1.5 * most / GIB)
    failures: list[BaseException] = []
    with Warehouse(first.root) as due, Warehouse(second.root) as wh:
        frames = {symbol: due.trades(symbol, DAY) for symbol in SYMBOLS}

        def run(symbol: str) -> None:
            try:
                for _ in range(5):
                    wh.cache.clear()
                    assert wh.trades(symbol, DAY).equals(frames[symbol])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run, args=(symbol,)) for symbol in SYMBOLS * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.parametrize("below", [".reading", ".partial", ".partial/ab", "cache/trades/THEIRS"])
def test_room_is_not_made_where_a_link_leads(
    machines: tuple[Made, Made], tmp_path: Path, below: str
) -> None:
    _, second = machines
    layout = second.layout
    bring(layout, wanted(second))
    second.configure(storage__max_cache_disk_gb=1 / GIB)
    outside = tmp_path / "theirs"
    (outside / "folder").mkdir(parents=True)
    precious = [outside / name for name in ("precious.parquet", "folder/precious.parquet")]
    for path in precious:
        path.write_text("precious")
        os.utime(path, (1, 1))
    link = layout.data / below
    shutil.rmtree(link, ignore_errors=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    with suppress(StorageError):
        make_room(second.layout)
    assert all(path.exists() for path in precious)
    if below == "cache/trades/THEIRS":
        assert all("THEIRS" in name for name in second.partitions())
