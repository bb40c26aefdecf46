"""Of writers on many machines one publishes at a time, and what it does is visible whole or not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from building import SESSION, Made, make
from faultproxy import Fault, FaultProxy, Request
from objects.machines import SYMBOLS, a_day, machine, some_days
from oddserver import OddServer, http
from s3server import S3TestServer

from warehouse.api import Warehouse
from warehouse.core.paths import Tier
from warehouse.errors import LeaseLostError, LockedError, ObjectStorageError, WarehouseError
from warehouse.objects import bucket as buckets
from warehouse.objects import lease
from warehouse.objects.bucket import Bucket, bucket_of
from warehouse.objects.generation import CURRENT, note
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store.catalog import CatalogChange
from warehouse.store.tier import pull
from warehouse.store.tier.writing import writing

LONG = bool(os.environ.get("WAREHOUSE_TEST_LONG"))
"""Run the loops at their full length."""


@contextmanager
def hold(made: Made, wait: float = 0) -> Iterator[object]:
    """Write to a machine's warehouse, as a command does."""
    with writing(made.layout, SqlFolder(made.config.sql_dir(made.root)), wait) as committer:
        yield committer


def test_of_two_writers_one_waits_or_is_told_who_writes(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    first = machine(tmp_path / "first", url, server.endpoint)
    second = machine(tmp_path / "second", url, server.endpoint)
    some_days(second, 1)
    with hold(first):
        with pytest.raises(LockedError, match=rf"process {os.getpid()} on .* since 20.*heard of"):
            second.update()
        began = threading.Event()

        def wait() -> None:
            began.set()
            with hold(second, wait=60):
                waited.append(True)

        waited: list[bool] = []
        waiting = threading.Thread(target=wait)
        waiting.start()
        began.wait()
        time.sleep(1.5)
        assert waited == []
    waiting.join(30)
    assert waited == [True]
    assert second.update().state == "done"


def test_a_lease_is_taken_over_only_once_it_is_past_its_time(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    bucket = Bucket(url, server.endpoint)
    dead = lease.Lease(bucket, "elsewhere", seconds=2)
    dead._take(0)
    with pytest.raises(LockedError), lease.hold(bucket, tmp_path, 0, 2):
        pass
    began = time.monotonic()
    with lease.hold(bucket, tmp_path, wait=30, seconds=2) as held:
        assert time.monotonic() - began > 1.5
        held.check()
        with pytest.raises(LeaseLostError):
            dead.check()


def test_a_lease_is_renewed_as_long_as_it_is_held_and_free_afterwards(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    bucket = Bucket(url, server.endpoint)
    with lease.hold(bucket, tmp_path / "a", seconds=2) as held:
        for _ in range(5):
            time.sleep(1)
            held.check()
            with pytest.raises(LockedError), lease.hold(bucket, tmp_path / "b", seconds=2):
                pass
    with lease.hold(bucket, tmp_path / "b", seconds=2) as held:
        held.check()


def test_a_killed_writer_of_the_same_folder_need_not_be_waited_for(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    bucket = Bucket(url, server.endpoint)
    lease.Lease(bucket, lease._place(tmp_path), 60)._take(0)
    with lease.hold(bucket, tmp_path) as held:
        held.check()


def test_a_living_writer_of_another_folder_by_the_same_path_is_waited_for(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    """As of two containers on one machine whose names and paths are the same."""
    bucket, data = Bucket(url, server.endpoint), tmp_path / "data"
    data.mkdir()
    with lease.hold(bucket, data) as held:
        data.rename(tmp_path / "of the other")
        data.mkdir()
        with pytest.raises(LockedError), lease.hold(bucket, data):
            pass
        held.renew()


def test_who_has_lost_the_lease_publishes_nothing_more(
    tmp_path: Path, url: str, server: S3TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machine(tmp_path / "first", url, server.endpoint)
    some_days(first, 1)
    first.update()
    bucket = bucket_of(first.layout.tier)
    before = bucket.get(CURRENT)
    monkeypatch.setattr(lease, "SECONDS", 2)
    with hold(first) as committer, first.unchanged():
        # As after a long sleep: another has come, and ended.
        bucket.replace(lease.KEY, b'{"is_free": true}', bucket.get(lease.KEY)[1])
        time.sleep(2)
        with pytest.raises(LeaseLostError, match="run it again"):
            committer.commit(CatalogChange())
    assert bucket.get(CURRENT) == before


def test_who_publishes_after_another_did_is_refused_and_loses_nothing(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    """The lease is not what protects: without it the conditional write does."""
    first = machine(tmp_path / "first", url, server.endpoint)
    some_days(first, 1)
    first.update()
    second = machine(tmp_path / "second", url, server.endpoint)
    with Warehouse(second.root):
        pass
    bucket = bucket_of(first.layout.tier)
    with hold(first) as committer:
        bucket.replace(lease.KEY, b'{"is_free": true}', bucket.get(lease.KEY)[1])
        with hold(second) as other:
            other.commit(CatalogChange())
        with first.unchanged(), pytest.raises(ObjectStorageError, match="another writer"):
            committer.commit(CatalogChange())
    with hold(first) as committer:
        committer.commit(CatalogChange())
    with Warehouse(second.root) as wh:
        assert wh.query("select generation from warehouse").iloc[0, 0] == generation_of(first)


def generation_of(made: Made) -> int:
    ((number,),) = made.sql("select generation from warehouse")
    return int(number)


def test_a_server_that_does_not_honour_conditions_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    there: dict[str, bytes] = {}

    def answer(line: str, head: bytes, body: bytes) -> bytes:
        method, path, _ = line.split(" ")
        if method == "POST":
            return http("200 OK", b"<DeleteResult></DeleteResult>")
        if method == "PUT":
            there[path] = body
            return http("200 OK", b"", 'ETag: "e"')
        return http("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")

    with OddServer(takes=answer) as odd:
        made = machine(tmp_path, "s3://bucket/x", odd.endpoint)
        some_days(made, 1)
        with pytest.raises(ObjectStorageError, match="does not honour"):
            made.update()
    assert [path for path in there if "/probe/" not in path] == []
    assert made.partitions() == {}


def test_a_reader_through_20_publishes_sees_whole_generations(
    tmp_path: Path, url: str, server: S3TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each publish replaces the same day by another version of it: a reader sees one of them."""
    monkeypatch.setattr(pull, "ASKED_SECONDS", 0)
    first = machine(tmp_path / "first", url, server.endpoint, cleaning__corrections=[0, 1])
    versions = 20
    a_day(first, SESSION, rows=100)
    first.update()
    second = machine(tmp_path / "second", url, server.endpoint)
    seen: list[tuple[object, ...]] = []
    failures: list[BaseException] = []
    is_over = threading.Event()

    def read() -> None:
        try:
            with Warehouse(second.root) as wh:
                while not is_over.is_set():
                    told = wh.query(
                        "select (select generation from warehouse), (select count(*) from trades),"
                        " (select sum(rows) from partitions where data_type = 'trades'),"
                        " (select sum(rows_published) from source_files"
                        "   where data_type = 'trades')"
                    ).iloc[0]
                    frame = wh.trades(SYMBOLS, f"{SESSION}", missing="ignore")
                    seen.append((*map(int, told), len(frame)))
        except BaseException as error:
            failures.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    for version in range(versions):
        a_day(first, SESSION, rows=110 + 10 * version, seed=version)
        first.update("trades")
    time.sleep(1)
    is_over.set()
    reading.join(60)
    assert failures == []
    assert all(count == rows == lines for _, count, rows, lines, _ in seen)
    assert len({one[0] for one in seen}) > 3
    assert seen[-1][-1] == len(first.table("trades"))
    assert [one[0] for one in seen] == sorted(one[0] for one in seen)
    assert second.verify().faults == []


RUN = """
import sys
from datetime import date
from pathlib import Path
from warehouse.core.config import load
from warehouse.core.request import Request
from warehouse.pipeline.pipeline import Pipeline
root = Path(sys.argv[1])
config = load(root / "config/data_config.yaml")
print("ready", flush=True)
Pipeline(config.layout(root), config).update(Request.of([], date(2024, 1, 1), date(2024, 1, 31)))
print("done", flush=True)
"""


def run(made: Made, seconds: float | None = None) -> bool:
    """Update in a process of its own, which is killed after so many seconds; whether it ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(made.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ},
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    out, error = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), error.decode()
    return b"done" in out


@pytest.mark.torture
def test_writers_killed_at_random_lose_and_double_nothing(
    tmp_path: Path, url: str, server: S3TestServer
) -> None:
    dice = random.Random(url)
    local = make(tmp_path / "local")
    first = machine(tmp_path / "first", url, server.endpoint, local.source)
    second = machine(tmp_path / "second", url, server.endpoint, local.source)
    began = time.monotonic()
    a_day(local, SESSION - timedelta(days=29))
    assert run(first)
    whole = time.monotonic() - began
    kills = 0
    day = SESSION - timedelta(days=28)
    while kills < (30 if LONG else 3):
        a_day(local, day, seed=kills)
        writer = dice.choice((first, second))
        for _ in range(4):
            if run(writer, dice.uniform(0.2, whole)):
                break
            kills += 1
            other = first if writer is second else second
            check_whole(other)
        day = min(day + timedelta(days=1), SESSION)
        wait_for_lease(first)
    local.update()
    for made in (first, second):
        wait_for_lease(first)
        assert run(made)
    for made in (first, second):
        with Warehouse(made.root):
            pass
        assert made.verify().faults == []
        asked = (
            "select data_type, symbol, month, rows, sha256 from partitions order by all",
            "select source, sha256, rows_published from source_files where state = 'ingested'"
            " order by all",
            "select source, line_number from rejects order by all",
        )
        assert made.answers(*asked) == local.answers(*asked)
        with Warehouse(made.root) as wh, Warehouse(local.root) as due:
            sql = "select count(*), sum(sequence_number), max(price) from trades"
            assert wh.query(sql).to_csv() == due.query(sql).to_csv()


def check_whole(made: Made) -> None:
    """What another machine sees is one generation, with all that it names."""
    with Warehouse(made.root) as wh:
        counted = wh.query(
            "select (select count(*) from trades), (select sum(rows_published) from source_files"
            " where data_type = 'trades')"
        ).iloc[0]
    assert counted.iloc[0] == counted.iloc[1]


def wait_for_lease(made: Made) -> None:
    """Let a killed writer's lease be one that is past its time."""
    bucket = bucket_of(made.layout.tier)
    told, etag = bucket.get(lease.KEY)
    if not json.loads(told)["is_free"]:
        bucket.replace(lease.KEY, b'{"is_free": true}', etag)


FAULTS = {
    "cut": lambda: Fault("cut", 50),
    "reset": lambda: Fault("reset", 50),
    "503": lambda: Fault("status", status=503),
    "unanswered": lambda: Fault("cut", -1),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_link_changes_nothing_of_what_is_published_and_pulled(
    tmp_path: Path, url: str, server: S3TestServer, name: str
) -> None:
    dice = random.Random(name)
    lock = threading.Lock()

    def plan(request: Request) -> Fault | None:
        with lock:
            return FAULTS[name]() if dice.random() < 0.15 else None

    local = make(tmp_path / "local")
    some_days(local)
    local.update()
    with FaultProxy(server.port, plan) as proxy:
        first = machine(tmp_path / "first", url, proxy.endpoint, local.source)
        first.update()
        second = machine(tmp_path / "second", url, proxy.endpoint, local.source)
        sql = "select count(*), sum(sequence_number), max(price) from trades"
        with Warehouse(second.root) as wh, Warehouse(local.root) as due:
            assert wh.query(sql).to_csv() == due.query(sql).to_csv()
        faulty = sum(bool(request) for request in proxy.requests)
        assert faulty > 50
        assert first.verify().faults == second.verify().faults == []
    assert first.digests() == local.digests()


def test_a_link_that_falls_silent_ends_in_one_line_and_the_next_run_goes_on(
    tmp_path: Path, url: str, server: S3TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(tier: Tier, process: int) -> Bucket:
        return made_once.setdefault(
            tier, Bucket(tier.url, tier.endpoint, timeout=1, attempts=1, first_pause=0.01)
        )

    made_once: dict[Tier, Bucket] = {}
    monkeypatch.setattr(buckets, "_opened_once", impatient)
    with FaultProxy(server.port) as proxy:
        first = machine(tmp_path, url, proxy.endpoint)
        some_days(first, 1)
        proxy.plan = lambda request: (
            Fault("stall", -1) if request.method == "PUT" and "/objects/" in request.path else None
        )
        with pytest.raises(WarehouseError, match=r"cannot be written: no answer in time \(2 times"):
            first.update()
        assert first.partitions() == {}
        proxy.plan = lambda request: None
        assert first.update().state == "done"
        assert first.verify().faults == []


def test_questions_of_a_process_that_writes_do_not_wait_for_its_run(
    tmp_path: Path, url: str, server: S3TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "ASKED_SECONDS", 0)
    first = machine(tmp_path / "first", url, server.endpoint)
    some_days(first, 1)
    first.update()
    rows: list[int] = []

    def ask() -> None:
        with Warehouse(first.root) as wh:
            rows.append(len(wh.trades(SYMBOLS, f"{SESSION}", missing="ignore")))

    with hold(first):
        # As between the moment that a publish is visible and the one that it is carried out here.
        note(first.layout, None)
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(30)
        assert rows == [len(first.table("trades"))]
