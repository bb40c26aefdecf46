"""A folder of files as people have it: odd names, links, what cannot be read, other layouts."""

from __future__ import annotations

import codecs
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest
from building import SESSION, Made, bar, day_key, instant, make, quote, symbol_key, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.cli.render.run import exit_code, run_lines
from warehouse.cli.render.status import status_lines
from warehouse.core.calendar import today
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.paths import RawFile
from warehouse.core.request import Request
from warehouse.errors import (
    NoDataError,
    RequestError,
    SourceError,
    StorageError,
    UnreadablePartitionError,
    WarehouseError,
)
from warehouse.ingest.stage import Stager
from warehouse.maintenance.prune import prune
from warehouse.maintenance.rebuild_stale import rebuild_changed
from warehouse.maintenance.refetch import rebuild
from warehouse.pipeline.report import RunReport
from warehouse.report.status import status as status_of
from warehouse.source.folder import FolderSource, Unlisted, without_doubles
from warehouse.source.transfer import SourceObject
from warehouse.store.catalog import Catalog, SourceFile
from warehouse.store.publishing.publish import Committer

MONDAY, TUESDAY = SESSION - timedelta(days=2), SESSION - timedelta(days=1)
DAYS = (MONDAY, TUESDAY, SESSION)


def lines(day: date, symbol: str = "A", count: int = 2) -> list[str]:
    return [trade(symbol, instant(day, "10:00", n), n) for n in range(1, count + 1)]


def files(*days: date) -> dict[str, list[str]]:
    return {day_key("trades", day): lines(day) for day in days}


def update(made: Made) -> tuple[RunReport, int, str]:
    """An update of all trades: its report, exit status and what a person is told."""
    request = Request.of(["trades"], date(2024, 1, 22))
    open_ended = Request.of(["trades"])
    report = made.pipeline.update(open_ended)
    told = "\n".join(run_lines(report, request, "warehouse"))
    return report, exit_code(report, open_ended), told


def records(made: Made) -> dict[date, SourceFile]:
    with Catalog(made.layout) as catalog:
        return {file.day: record for file, record in catalog.source_files().items()}


def sessions(made: Made) -> list[date]:
    return [row[0] for row in made.sql("select distinct session from trades order by 1")]


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Root may read everything: be somebody else for a while, who owns the folder."""
    # What is imported late may lie where nobody but root may look.
    codecs.lookup("utf-8-sig")
    make(folder / "warm", files(SESSION)).update("trades")
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(os.getuid())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents anybody may enter, which those of tmp_path are not."""
    folder = Path(tempfile.mkdtemp(prefix="warehouse-"))
    folder.chmod(0o755)
    yield folder
    for place, names, _ in os.walk(folder):
        for name in names:
            if not os.path.islink(os.path.join(place, name)):
                os.chmod(os.path.join(place, name), 0o755)
    shutil.rmtree(folder)


def test_a_partition_that_may_not_be_read_is_not_called_damaged(open_folder: Path) -> None:
    made = make(open_folder, files(SESSION))
    made.update("trades")
    (path,) = made.partitions().values()
    with as_nobody(open_folder):
        for place, mode in ((path, 0), (path.parent, 0)):
            place.chmod(mode)
            with Warehouse(made.root) as wh:
                for ask in (lambda: wh.trades("A", SESSION), lambda: wh.query("from trades")):
                    with pytest.raises(UnreadablePartitionError, match="Permission denied") as told:
                        ask()
                    assert "damaged" not in str(told.value)


# --- what cannot be taken stops nothing


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere.csv.gz")


def _to_itself(path: Path) -> None:
    path.symlink_to(path.name)


ODD = {
    "is a link to nowhere.csv.gz, which is not there": _dangling,
    "is a link that leads back to itself": _to_itself,
    "is a folder, not a file": Path.mkdir,
    "is a pipe, not a file": os.mkfifo,
}


@pytest.mark.parametrize("problem", ODD)
def test_one_odd_entry_is_named_and_the_files_beside_it_come(tmp_path: Path, problem: str) -> None:
    made = make(tmp_path, files(MONDAY, SESSION))
    ODD[problem](made.source / day_key("trades", TUESDAY))
    report, status, told = update(made)
    assert sessions(made) == [MONDAY, SESSION]
    assert status == 1
    assert f"{day_key('trades', TUESDAY)} {problem}" in told
    assert report.download is not None
    assert report.download.absent == []
    assert records(made)[TUESDAY].state == "failed"
    # Once it is mended it comes.
    path = made.source / day_key("trades", TUESDAY)
    path.rmdir() if path.is_dir() else path.unlink()
    made.put(day_key("trades", TUESDAY), lines(TUESDAY))
    assert update(made)[1] == 0
    assert sessions(made) == list(DAYS)


UNREADABLE = Path("/proc/self/mem")
"""A file that opens, and of which the system reads no byte, as of one on a bad place of a disk."""


def test_a_file_that_the_sources_disk_does_not_read_is_named_and_the_others_come(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, files(MONDAY, SESSION))
    path = made.source / day_key("trades", TUESDAY)
    path.symlink_to(UNREADABLE)
    _, status, told = update(made)
    assert (sessions(made), status) == ([MONDAY, SESSION], 1)
    assert "mem cannot be read: Input/output error" in told
    path.unlink()
    made.put(day_key("trades", TUESDAY), lines(TUESDAY))
    assert update(made)[1] == 0
    assert sessions(made) == list(DAYS)


def test_a_raw_file_that_the_disk_does_not_read_is_set_aside_and_comes_anew(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, files(*DAYS))
    made.pipeline.download(Request.of(["trades"]))
    raw = made.layout.raw_file(RawFile("trades", TUESDAY))
    raw.unlink()
    raw.symlink_to(UNREADABLE)
    report = made.ingest("trades")
    (aside,) = report.set_aside
    assert "cannot be read: Input/output error" in str(aside.problem)
    assert sessions(made) == [MONDAY, SESSION]
    assert update(made)[1] == 0
    assert sessions(made) == list(DAYS)


@pytest.mark.parametrize("how", ["from the raw tier", "--fetch", "what changed"])
@pytest.mark.parametrize("problem", ODD)
def test_a_rebuild_names_one_odd_raw_file_leaves_what_is_published_of_it_and_makes_the_rest_anew(
    tmp_path: Path, problem: str, how: str
) -> None:
    made = make(tmp_path, files(*DAYS))
    made.update("trades")
    raw = made.layout.raw_file(RawFile("trades", TUESDAY))
    raw.unlink()
    ODD[problem](raw)
    command = ["-C", str(made.root), "rebuild", "trades"]
    if how == "what changed":
        sql = made.root / "sql/clean/trades.sql"
        sql.write_text(sql.read_text("utf-8").replace("price <= 0", "price <= 0.01"), "utf-8")
        command.append("--changed")
    elif how == "--fetch":
        command.append(how)
    for dry in (["--dry-run"], []):
        result = CliRunner().invoke(cli, [*command, *dry])
        assert result.exit_code == 1, result.output
        assert f"{raw}: {problem}" in result.output.replace("\n", " ")
    # Nobody knows whose it is: nothing is fetched over it, and nothing is moved away.
    assert os.path.lexists(raw)
    assert not raw.is_file()
    assert not list(made.layout.set_aside.rglob("*.csv.gz"))
    assert sessions(made) == list(DAYS)
    report = made.pipeline.rebuild(Request.of(["trades"]))
    assert [item.file.day for item in report.files] == [MONDAY, SESSION]
    assert [str(told.path) for told in report.raw_unread] == [str(raw)]


def _file_for_a_month(raw: Path) -> None:
    raw.parent.parent.mkdir(parents=True)
    raw.parent.write_text("")


def _link_for_a_month(raw: Path) -> None:
    raw.parent.parent.mkdir(parents=True)
    raw.parent.symlink_to("nowhere")


def _folder_for_a_file(raw: Path) -> None:
    (raw / "somebody's").mkdir(parents=True)


IN_THE_WAY = {
    "2024/01: it is a file, not a folder; move it away": _file_for_a_month,
    "2024/01: it is a link to nowhere, which is not there; mount its disk": _link_for_a_month,
    f"{SESSION}.csv.gz: it is a folder, not a file": _folder_for_a_file,
}


@pytest.mark.parametrize("problem", IN_THE_WAY)
def test_what_stands_in_the_way_of_one_raw_file_stays_and_the_others_come(
    tmp_path: Path, problem: str
) -> None:
    december = date(2023, 12, 29)
    made = make(tmp_path, files(december, SESSION))
    raw = made.layout.raw_file(RawFile("trades", SESSION))
    IN_THE_WAY[problem](raw)
    for _ in range(2):
        _, status, told = update(made)
        assert (sessions(made), status) == ([december], 1)
        assert problem in told
    place = next(one for one in (raw.parent, raw) if not one.is_dir() or one == raw)
    os.rename(place, tmp_path / "moved")
    assert [one.name for one in tmp_path.glob("moved/*")] in ([], ["somebody's"])
    assert update(made)[1] == 0
    assert sessions(made) == [december, SESSION]


def test_a_month_that_cannot_be_read_is_named_and_the_others_come(open_folder: Path) -> None:
    december = date(2023, 12, 29)
    made = make(open_folder, files(december, MONDAY))
    month = made.source / "us_stocks_sip/trades_v1/2024/01"
    with as_nobody(open_folder):
        month.chmod(0)
        report, status, told = update(made)
        assert sessions(made) == [december]
        assert status == 1
        assert "us_stocks_sip/trades_v1/2024/01 cannot be read: no permission" in told
        assert report.download is not None
        assert not [day for _, day in report.download.absent if day.month == 1]
        month.chmod(0o755)
        assert update(made)[1] == 0
        assert sessions(made) == [december, MONDAY]


def test_linked_files_and_folders_are_followed_and_raw_holds_the_files_themselves(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, files(*DAYS))
    month = made.source / "us_stocks_sip/trades_v1/2024/01"
    elsewhere = made.source / "elsewhere"
    month.rename(elsewhere)
    month.symlink_to("../../../elsewhere")
    (elsewhere / "real.csv.gz.here").write_bytes((elsewhere / f"{SESSION}.csv.gz").read_bytes())
    (elsewhere / f"{SESSION}.csv.gz").unlink()
    (elsewhere / f"{SESSION}.csv.gz").symlink_to("real.csv.gz.here")
    # Loops, of folders that could be asked for.
    (made.source / "us_stocks_sip/trades_v1/2023").symlink_to(".")
    (made.source / "us_stocks_sip/trades_v1/2022").symlink_to("2022")
    _, _, told = update(made)
    assert sessions(made) == list(DAYS)
    assert "us_stocks_sip/trades_v1/2022 is a link that leads back to itself" in told
    raw = made.root / "data/raw/trades/2024/01"
    for path in raw.iterdir():
        assert path.is_file()
        assert not path.is_symlink()
    assert made.verify("trades").faults == []


def test_of_two_spellings_of_a_symbol_the_vendors_counts_and_the_other_is_told_of(
    tmp_path: Path,
) -> None:
    plain, encoded = (symbol_key("trades", SESSION, name) for name in ("BCpC", "BC%70C"))
    made = make(
        tmp_path,
        {plain: lines(SESSION, "BCpC", 3), encoded: lines(SESSION, "BCpC", 5)},
        source__layout="symbol",
    )
    _, status, told = update(made)
    assert status == 0
    assert f"{encoded} is left out: it means the same file as {plain!r}, which counts" in told
    assert made.sql("select count(*) from trades") == [(3,)]
    for _ in range(2):
        report, status, _ = update(made)
        assert report.did_nothing
    (made.source / plain).unlink()
    update(made)
    assert made.sql("select count(*) from trades") == [(5,)]


# --- a source that is not where or what it should be


def _empty(source: Path) -> None:
    shutil.rmtree(source)
    source.mkdir()


def _one_too_deep(source: Path) -> None:
    (source / "us_stocks_sip").rename(source.parent / "moved")
    source.rmdir()
    (source.parent / "moved" / "trades_v1").rename(source.parent / "kept")
    source.mkdir()
    (source.parent / "kept").rename(source / "trades_v1")


def _one_too_high(source: Path) -> None:
    (source / "us_stocks_sip").rename(source.parent / "moved")
    (source / "disk").mkdir()
    (source.parent / "moved").rename(source / "disk/us_stocks_sip")


def _without_months(source: Path) -> None:
    for path in list(source.rglob("*.csv.gz")):
        path.rename(source / "us_stocks_sip/trades_v1" / path.name)


def _gunzipped(source: Path) -> None:
    for path in list(source.rglob("*.csv.gz")):
        path.rename(path.with_suffix(""))


def _upper_case(source: Path) -> None:
    for path in list(source.rglob("*.csv.gz")):
        path.rename(path.with_name(path.name.upper()))


def _by_symbol(source: Path) -> None:
    shutil.rmtree(source)
    path = source / symbol_key("trades", SESSION, "A")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")


MISSHAPEN = {
    "found nothing at all": _empty,
    "there is 'trades_v1/2024/01/": _one_too_deep,
    "source/disk": _one_too_high,
    "there is 'us_stocks_sip/trades_v1/2024-01-": _without_months,
    f"there is 'us_stocks_sip/trades_v1/2024/01/{MONDAY}.csv'": _gunzipped,
    ".CSV.GZ'": _upper_case,
    "set source.layout to symbol": _by_symbol,
}


@pytest.mark.parametrize("said", MISSHAPEN)
def test_a_misshapen_source_is_told_of_and_counts_where_it_held_files_before(
    tmp_path: Path, said: str
) -> None:
    looked = "looked for us_stocks_sip/trades_v1/YYYY/MM/YYYY-MM-DD.csv.gz"
    made = make(tmp_path, files(*DAYS))
    update(made)
    MISSHAPEN[said](made.source)
    _, status, told = update(made)
    assert status == 1
    assert looked in told
    assert said in told
    assert "3 files of trades came from here" in told
    assert sessions(made) == list(DAYS)
    new = make(tmp_path / "other")
    new.configure(source__url=str(made.source))
    _, status, told = update(new)
    assert status == 0
    assert looked in told
    assert said in told


def test_files_of_days_that_the_clock_has_yet_to_see_are_told_of_with_the_clock(
    tmp_path: Path,
) -> None:
    day = today() + timedelta(days=14)
    made = make(tmp_path, files(day))
    _, status, told = update(made)
    assert status == 0
    clock = f"this computer's clock says that today is {today()}"
    assert f"there is 'us_stocks_sip/trades_v1/{day:%Y/%m}/{day}.csv.gz', of days to come" in told
    assert clock in told
    made.pipeline.update(Request.of(["trades"], day, day))
    made.put(day_key("trades", MONDAY), lines(MONDAY))
    report, _, _ = update(made)
    assert sessions(made) == [MONDAY, day]
    (warning,) = report.download.left_out if report.download else ()
    assert warning.startswith(f"days after {today()}, which is today by this computer's clock")
    assert f"{day} is here already" in warning


def test_a_raw_file_that_is_named_for_a_day_to_come_is_told_and_not_read(tmp_path: Path) -> None:
    made = make(tmp_path, files(*DAYS))
    update(made)
    misnamed = made.layout.raw_file(RawFile("trades", date(2204, 1, 30)))
    misnamed.parent.mkdir(parents=True)
    shutil.copy(made.layout.raw_file(RawFile("trades", MONDAY)), misnamed)
    report, status, told = update(made)
    assert (status, report.files, report.planned) == (1, [], [])
    assert f"{misnamed.name}: is of a day after" in " ".join(told.split())
    for again in (made.ingest("trades"), made.rebuild("trades")):
        assert misnamed.name not in {Path(file.key).name for file in again.planned}
        assert [Path(each.path).name for each in again.raw_unread] == [misnamed.name]
    misnamed.unlink()
    assert update(made)[1] == 0


def test_who_asks_and_does_not_update_does_not_wait_for_the_sources_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in the network that does not answer holds up whoever looks at it."""
    made = make(tmp_path, files(*DAYS))
    update(made)
    looked_at: list[str] = []
    look = os.lstat

    def lstat(path: str, *args: int, **kwargs: int) -> os.stat_result:
        looked_at.append(str(path))
        return look(path, *args, **kwargs)

    monkeypatch.setattr(os, "lstat", lstat)
    monkeypatch.setattr(os.path, "samefile", lambda *paths: looked_at.extend(map(str, paths)))
    with Warehouse(made.root) as wh:
        assert len(wh.query("select distinct session from trades")) == len(DAYS)
    assert not [path for path in looked_at if path.startswith(str(made.source))]


def test_files_of_other_days_than_were_asked_for_are_no_other_layout(tmp_path: Path) -> None:
    made = make(tmp_path, files(*DAYS))
    request = Request.of(["trades"], date(2023, 5, 1), date(2023, 5, 2))
    told = "\n".join(run_lines(made.pipeline.update(request), request, "warehouse"))
    assert f"/{MONDAY}.csv.gz' and 2 more, of other days" in told


@pytest.mark.parametrize("type_name", ["trades", "day_aggs"])
def test_what_macos_keeps_beside_a_symbols_file_is_no_symbols(
    tmp_path: Path, type_name: str
) -> None:
    key = symbol_key(type_name, SESSION, "A")
    row = (
        trade("A", instant(SESSION))
        if type_name == "trades"
        else bar("A", instant(SESSION, "00:00"))
    )
    made = make(tmp_path, {key: [row]}, source__layout="symbol")
    beside = made.source / key
    beside.with_name(f"._{beside.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    report = made.update(type_name)
    assert report.download is not None
    assert (len(report.download.problems), len(report.files)) == (0, 1)
    assert made.table(type_name).num_rows == 1


@pytest.mark.parametrize(
    "name",
    [
        *(f"2024/01/{TUESDAY}.csv{ending}" for ending in ("", ".zst", ".gz.part", ".gz.1")),
        *(f"2024/01/{TUESDAY}.CSV.GZ", f"2024/02/{TUESDAY}.csv.gz", f"2023/12/{TUESDAY}.csv.gz"),
        *(f"{folder}/{TUESDAY}.csv.gz" for folder in ("2024/1", "2024/Jan", "2024-01", "y2024/01")),
    ],
)
def test_a_day_that_is_there_in_another_form_alone_is_told_of_and_the_others_come(
    tmp_path: Path, name: str
) -> None:
    made = make(tmp_path, {**files(MONDAY, SESSION), day_key("trades", date(2023, 12, 1)): []})
    odd = made.source / "us_stocks_sip/trades_v1" / name
    odd.parent.mkdir(parents=True, exist_ok=True)
    odd.write_bytes(b"x")
    # Of a day that is there as it should be nobody asks.
    beside = made.source / f"us_stocks_sip/trades_v1/2024/01/{MONDAY}.csv"
    beside.write_bytes(b"x")
    _, status, told = update(made)
    assert sessions(made) == [MONDAY, SESSION]
    assert status == 1
    looked = f"is not named as the vendor's files are; looked for {day_key('trades', TUESDAY)}"
    assert f"us_stocks_sip/trades_v1/{name} {looked}" in told
    assert beside.name not in told.replace(".csv.gz", "")
    made.put(day_key("trades", TUESDAY), lines(TUESDAY))
    assert update(made)[1] == 0
    assert sessions(made) == list(DAYS)
    # Nor of one that is published.
    (made.source / day_key("trades", TUESDAY)).unlink()
    assert update(made)[1] == 0


def test_a_day_of_another_year_by_its_misspelling_is_not_where_the_source_begins(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, files(MONDAY, SESSION))
    odd = made.source / f"us_stocks_sip/trades_v1/2024/01/{MONDAY.replace(year=2023)}.csv.gz"
    odd.write_bytes(b"x")
    _, status, told = update(made)
    assert (status, sessions(made)) == (1, [MONDAY, SESSION])
    assert f"{odd.name} is not named as the vendor's files are" in told
    assert told.rstrip().endswith(f"absent     trades {TUESDAY}: the source has no file")


def test_init_looks_at_the_source_and_says_what_is_there(tmp_path: Path) -> None:
    made = make(tmp_path, files(*DAYS))

    def init(name: str, source: Path = made.source) -> str:
        result = CliRunner().invoke(cli, ["init", str(tmp_path / name), "--source", str(source)])
        assert result.exit_code == 0
        return result.stdout

    assert f"3 files of trades, {MONDAY} to {SESSION}" in init("one")
    for number, below in enumerate(("us_stocks_sip/trades_v1", "us_stocks_sip/trades_v1/2024/01")):
        told = init(f"below-{number}", made.source / below)
        assert f"set source.url to {made.source}\n" in told
    _gunzipped(made.source)
    assert "looked for us_stocks_sip/trades_v1/YYYY/MM/YYYY-MM-DD.csv.gz" in init("two")


# --- the raw tier


def test_a_raw_folder_that_cannot_be_read_is_neither_gone_nor_a_traceback(
    open_folder: Path,
) -> None:
    made = make(open_folder, files(*DAYS))
    update(made)
    month = made.root / "data/raw/trades/2024/01"
    with as_nobody(open_folder):
        month.chmod(0)
        rebuilt = made.rebuild("trades")
        assert [problem.path for problem in rebuilt.unread] == [month]
        assert rebuilt.files == []
        faults = made.verify("trades").faults
        assert faults
        assert all(
            "cannot be read" in fault.problem or "missing" in fault.problem for fault in faults
        )
        assert any(fault.path == month for fault in faults)
        report = made.ingest("trades")
        assert [problem.path for problem in report.unread] == [month]
        assert exit_code(report, Request.of(["trades"])) == 1
        month.chmod(0o755)


def test_a_raw_file_that_is_replaced_before_its_publish_is_ingested_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path)
    path = made.put_raw("trades", SESSION, lines(SESSION, "A"))
    other = made.put_raw("trades", TUESDAY, lines(SESSION, "B"))
    content = other.read_bytes()
    other.unlink()
    assert len(content) == path.stat().st_size
    stage = Stager.stage

    def replaced(self: Stager, *arguments: object) -> object:
        batch = stage(self, *arguments)  # type: ignore[arg-type]
        before = path.stat()
        new = path.with_suffix(".new")
        new.write_bytes(content)
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.replace(path)
        return batch

    with monkeypatch.context() as patch:
        patch.setattr(Stager, "stage", replaced)
        made.ingest("trades")
    assert made.sql("select distinct symbol from trades") == [("A",)]
    assert len(made.ingest("trades").files) == 1
    assert made.sql("select distinct symbol from trades") == [("B",)]


def test_a_file_dated_beyond_2262_is_ingested_once(tmp_path: Path) -> None:
    made = make(tmp_path)
    path = made.put(day_key("trades", SESSION), lines(SESSION, "A"))
    os.utime(path, (2**34, 2**34))
    if path.stat().st_mtime_ns < 2**63:
        pytest.skip("this disk dates no file so far ahead")
    assert len(made.update("trades").files) == 1
    assert made.update("trades").files == []
    assert made.sql("select distinct symbol from trades") == [("A",)]


def test_a_good_file_that_takes_a_bad_ones_name_is_not_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path)
    path = made.put_raw("trades", SESSION, b"no gzip")
    stage = Stager.stage

    def replaced(self: Stager, *arguments: object) -> object:
        batch = stage(self, *arguments)  # type: ignore[arg-type]
        made.put_raw("trades", SESSION, lines(SESSION))
        return batch

    with monkeypatch.context() as patch:
        patch.setattr(Stager, "stage", replaced)
        assert len(made.ingest("trades").set_aside) == 1
    assert path.exists()
    assert made.ingest("trades").set_aside == []
    assert sessions(made) == [SESSION]


def test_a_raw_file_that_takes_the_name_of_one_to_be_pruned_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path, files(SESSION), storage__retention_days=1)
    update(made)
    path = made.layout.raw_file(RawFile("trades", SESSION))
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes())
    committed = Committer.commit

    def replaced(self: Committer, *arguments: object) -> None:
        committed(self, *arguments)  # type: ignore[arg-type]
        new.replace(path)

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "commit", replaced)
        prune(
            made.layout,
            made.config,
            now=datetime.now(UTC).replace(tzinfo=None) + timedelta(days=5),
        )
    assert path.exists()


# --- copies


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every hash that is made of a raw file or one of the source, from now on."""
    found: list[object] = []
    digest = hashlib.file_digest

    def counted(file: object, name: str) -> object:
        found.append(file)
        return digest(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return found


def test_a_warehouse_and_its_source_that_were_copied_ingest_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path / "a", files(*DAYS))
    update(made)
    before = made.digests()
    copy = Made(tmp_path / "b/warehouse", tmp_path / "b/source")
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    copy.configure(source__url=str(copy.source))
    told = status_of(copy.layout, copy.config)
    assert (told.waiting, len(told.copied)) == ([], 3)
    assert "will compare" in "\n".join(status_lines(told, "warehouse"))
    report, status, _ = update(copy)
    assert (report.files, status) == ([], 0)
    assert status_of(copy.layout, copy.config).copied == []
    assert report.download is not None
    assert report.download.fetch == report.download.changed == []
    assert len(report.download.have) == 3
    assert copy.digests() == before
    assert copy.verify("trades").faults == []
    # It cost a hash of each, once.
    counted = hashed(monkeypatch)
    report, _, _ = update(copy)
    assert report.did_nothing
    assert counted == []
    assert made.sql("select count(*) from restatements") == [(0,)]


@pytest.mark.parametrize("seconds", [-1, 0])
def test_a_copy_is_one_whatever_time_its_files_bear(tmp_path: Path, seconds: int) -> None:
    """Before 1970, too, as of a disk or an archive that knows no times."""
    made = make(tmp_path, files(*DAYS))
    update(made)
    for path in made.source.rglob("*.csv.gz"):
        # Not a link to the raw file any more.
        shutil.copyfile(path, copy := path.with_suffix(".copy"))
        copy.replace(path)
        os.utime(path, (seconds, seconds))
    for _ in range(2):
        report, status, _ = update(made)
        assert (report.files, report.download.fetch, status) == ([], [], 0)
    for path in made.source.rglob("*.csv.gz"):
        os.utime(path, (-2, -2))
    report, status, _ = update(made)
    assert (report.files, report.download.fetch, status) == ([], [], 0)


def test_a_copy_with_other_bytes_of_the_same_size_is_ingested(tmp_path: Path) -> None:
    made = make(tmp_path, files(SESSION))
    update(made)
    path = made.put_raw("trades", SESSION, lines(SESSION, "B"))
    assert path.stat().st_size == records(made)[SESSION].bytes
    assert len(made.ingest("trades").files) == 1


def test_changed_does_not_make_anew_what_was_only_copied(tmp_path: Path) -> None:
    made = make(tmp_path, files(*DAYS))
    update(made)
    for path in (made.root / "data/raw").rglob("*.csv.gz"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    report = rebuild_changed(made.pipeline, Request.of(["trades"]))
    assert report.reasons == {}
    assert made.ingest("trades").did_nothing
    for day, record in records(made).items():
        stat = made.layout.raw_file(RawFile("trades", day)).stat()
        assert (record.raw_modified_ns, record.raw_inode) == (stat.st_mtime_ns, stat.st_ino)


def test_a_file_replaced_between_the_list_and_its_turn_is_recorded_as_what_came(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, files(SESSION))
    source = FolderSource(made.source)
    (item,) = source.list(DATA_TYPES["trades"], "day", SESSION, SESSION)
    made.put(item.key, lines(SESSION, "LONGER", 50))
    (done,) = source.fetch_all([(item, tmp_path / "raw.csv.gz")])
    (now,) = source.list(DATA_TYPES["trades"], "day", SESSION, SESSION)
    assert done.item == now != item


def test_a_source_that_may_not_be_entered_says_so(open_folder: Path) -> None:
    made = make(open_folder, files(SESSION))
    (made.source / "inner").mkdir()
    with as_nobody(open_folder):
        made.source.chmod(0)
        with pytest.raises(SourceError, match="no permission"):
            FolderSource(made.source / "inner")
        made.source.chmod(0o755)


def test_a_source_that_is_a_link_back_to_itself_is_one_line(tmp_path: Path) -> None:
    made = make(tmp_path, files(SESSION))
    shutil.rmtree(made.source)
    made.source.symlink_to(made.source.name)
    done = CliRunner().invoke(cli, ["-C", str(made.root), "update"])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "there is no such folder; set source.url to one" in done.output


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another")
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_strangers_source_brings_nothing_that_is_neither_in_their_warehouse_nor_theirs(
    tmp_path: Path, is_folder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    made = make(tmp_path / "theirs", files(*DAYS))
    mine, inside = tmp_path / "mine", made.root / "inside"
    mine.mkdir()
    (mine / f"{DAYS[0]}.csv.gz").write_bytes(b"a secret of mine")
    path = made.source / day_key("trades", DAYS[0])
    shutil.copytree(path.parent, inside)
    shutil.rmtree(path.parent)
    if is_folder:
        path.parent.symlink_to(mine)
    else:
        path.parent.mkdir()
        path.symlink_to(mine / path.name)
        for day in DAYS[1:]:
            path.with_name(f"{day}.csv.gz").symlink_to(inside / f"{day}.csv.gz")
    for each in [tmp_path / "theirs", *(tmp_path / "theirs").rglob("*")]:
        os.chown(each, 4711, -1, follow_symlinks=False)
    report = made.update("trades", start=DAYS[0], end=DAYS[-1])
    (kept_out,) = report.not_fetched
    assert kept_out.item.key == day_key("trades", DAYS[0])
    assert f"leads to {mine / path.name}, which is neither" in str(kept_out.problem)
    assert report.metrics.files == (0 if is_folder else len(DAYS) - 1)
    for each in (tmp_path / "theirs").rglob("*"):
        assert each.is_symlink() or each.is_dir() or b"a secret" not in each.read_bytes()
    # Who names the source by the environment, or in a warehouse of their own, means its links too.
    monkeypatch.setenv("WAREHOUSE_SOURCE__URL", str(made.source))
    assert len(made.update("trades", start=DAYS[0], end=DAYS[-1]).set_aside) == 1


def test_of_many_spellings_each_that_is_left_out_is_told_the_one_that_counts() -> None:
    names = ("B%43pC", "BC%70C", "BCpC")
    file = RawFile("trades", SESSION, "BCpC")
    found = [SourceObject(file, symbol_key("trades", SESSION, name), 1, "e") for name in names]
    for order in permutations(found):
        told: list[Unlisted] = []
        assert list(without_doubles(order, told.append)) == [found[2]]
        assert {each.key for each in told} == {found[0].key, found[1].key}
        assert all(repr(found[2].key) in each.problem for each in told)


def test_what_failed_twice_under_one_name_does_not_stay_in_the_raw_tier(tmp_path: Path) -> None:
    key = day_key("day_aggs", SESSION)
    made = make(tmp_path)
    source = made.put(key, b"no gzip file")
    raw = made.root / "data/raw" / f"day_aggs/{SESSION:%Y/%m/%Y-%m-%d}.csv.gz"
    for _ in range(2):
        raw.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, raw)
        assert len(made.ingest("day_aggs").set_aside) == 1
        assert not raw.exists()


@pytest.mark.parametrize(
    ("is_there", "told"),
    [
        (False, "there is no such folder; set source.url to one; then: "),
        (True, "1 file of trades came from here (2024-01-31 to 2024-01-31), and now it has none; "),
    ],
)
def test_status_says_in_one_line_that_the_source_is_gone_and_what_to_run(
    tmp_path: Path, is_there: bool, told: str
) -> None:
    made = make(tmp_path, {day_key("trades", SESSION): [trade("AAPL", instant(SESSION))]})
    made.update()

    def said() -> list[str]:
        lines = status_lines(status_of(made.layout, made.config), "warehouse")
        return [line for line in lines if line.startswith("gone ")]

    assert said() == []
    shutil.rmtree(made.source)
    if is_there:
        # As where a disk is no longer mounted.
        made.source.mkdir()
    (line,) = said()
    assert line.startswith(f"gone       {told}")
    assert line.endswith("; then: warehouse update, once it is there")


def kept(made: Made) -> set[bytes]:
    """What was set aside, but for the records of why."""
    there = made.layout.set_aside.rglob("*.csv.gz*")
    return {path.read_bytes() for path in there if path.suffix != ".json"}


def restated(tmp_path: Path, rows: int = 1) -> tuple[Made, Path, Path, bytes]:
    """A day of which B was restated as C: the warehouse, the source's file, ours, and B's bytes."""
    made = make(tmp_path, files(MONDAY))
    path = made.put(day_key("trades", TUESDAY), lines(TUESDAY, "B", rows))
    update(made)
    raw = made.layout.raw_file(RawFile("trades", TUESDAY))
    old = raw.read_bytes()
    path.unlink()
    made.put(day_key("trades", TUESDAY), lines(TUESDAY, "C", 2))
    update(made)
    return made, path, raw, old


def put_in_place_of(raw: Path, content: bytes) -> None:
    """What a backup does: a file of its own, with the time that it had."""
    raw.unlink()
    raw.write_bytes(content)
    os.utime(raw, ns=(1, 1))


@pytest.mark.parametrize("rows", [1, 2], ids=["of another size", "of the same size"])
def test_a_raw_tier_put_back_from_a_backup_does_not_undo_a_restatement(
    tmp_path: Path, rows: int
) -> None:
    made, path, raw, old = restated(tmp_path, rows)
    put_in_place_of(raw, old)
    assert (len(old) == path.stat().st_size) == (rows == 2)
    _, code, told = update(made)
    assert code == 0
    assert "replaced here, and fetched; what stood here is set aside: trades 2024-01-30" in told
    assert made.sql("select symbol, count(*) from trades group by 1 order by 1") == [
        ("A", 2),
        ("C", 2),
    ]
    assert raw.read_bytes() == path.read_bytes()
    # What stood there is kept: nobody else may have it.
    assert kept(made) == {old}
    assert update(made)[0].files == []


def test_a_raw_file_of_other_bytes_that_was_ingested_is_fetched_by_the_next_update(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, files(MONDAY))
    update(made)
    raw = made.put_raw("trades", MONDAY, lines(MONDAY, "B", 3))
    made.ingest("trades")
    assert made.sql("select distinct symbol from trades") == [("B",)]
    assert records(made)[MONDAY].etag is None
    update(made)
    assert made.sql("select distinct symbol from trades") == [("A",)]
    assert raw.read_bytes() == (made.source / day_key("trades", MONDAY)).read_bytes()


def test_a_copied_raw_tier_is_compared_once_and_not_fetched_again(tmp_path: Path) -> None:
    made = make(tmp_path, files(*DAYS))
    update(made)
    for day in DAYS:
        raw = made.layout.raw_file(RawFile("trades", day))
        content = raw.read_bytes()
        raw.unlink()
        raw.write_bytes(content)
    report, code, _ = update(made)
    assert (code, report.files) == (0, [])
    assert report.download is not None
    assert report.download.fetch == []
    again, _, _ = update(made)
    assert again.download is not None
    assert again.download.restamped == []


@pytest.mark.parametrize("place", ["2024/.stversions", "2024/01/.Trash-1000"])
def test_days_in_a_hidden_folder_are_not_the_sources(tmp_path: Path, place: str) -> None:
    made = make(tmp_path, files(MONDAY))
    folder, name = day_key("trades", MONDAY).split("/2024/")[0], f"{TUESDAY}.csv.gz"
    made.put(f"{folder}/{place}/{name}", lines(TUESDAY))
    _, code, told = update(made)
    assert code == 0
    assert name not in told
    # One that can be seen is told still.
    made.put(f"{folder}/2024/1/{name}", lines(TUESDAY))
    _, code, told = update(made)
    assert code == 1
    assert name in told


@pytest.mark.parametrize("why", ["gone from the source", "not listed", "outside the window"])
def test_what_took_a_raw_files_place_is_not_published_where_the_sources_is_not_to_be_had(
    tmp_path: Path, why: str
) -> None:
    made, path, raw, old = restated(tmp_path)
    put_in_place_of(raw, old)
    month = path.parent
    if why == "gone from the source":
        path.unlink()
    elif why == "not listed":
        month.rename(tmp_path / "month")
        month.symlink_to("nowhere")
    else:
        path.unlink()
        made.put(day_key("trades", TUESDAY), lines(TUESDAY, "D", 3))
        made.put(day_key("trades", SESSION), lines(SESSION))
        made.configure(download__restatement_window_days=1)
    _, _, told = update(made)
    of_tuesday = "select symbol, count(*) from trades where session = '2024-01-30' group by 1"
    assert made.sql(of_tuesday) == [("C", 2)]
    assert "replaced here since they came, and not to be had again: trades 2024-01-30" in told
    assert raw.read_bytes() == old
    # Who asks for it gets it, and is told.
    report = made.ingest("trades")
    request = Request.of(["trades"])
    assert (
        "replaced   trades 2024-01-30: published, with other bytes than came from the"
        in "\n".join(run_lines(report, request, "warehouse"))
    )
    assert made.sql(of_tuesday) == [("B", 1)]


def test_what_was_ingested_in_place_of_a_download_does_not_pass_for_it(tmp_path: Path) -> None:
    made, path, raw, old = restated(tmp_path)
    path.unlink()
    made.put(day_key("trades", TUESDAY), lines(TUESDAY, "D", 3))
    made.pipeline.download(Request.of(["trades"]))
    put_in_place_of(raw, old)
    made.ingest("trades")
    assert made.sql("select distinct symbol from trades order by 1") == [("A",), ("B",)]
    update(made)
    assert made.sql("select distinct symbol from trades order by 1") == [("A",), ("D",)]


def test_a_rebuild_tells_of_which_files_it_read_other_bytes_than_came(tmp_path: Path) -> None:
    made, _, raw, old = restated(tmp_path)
    assert made.rebuild("trades").replaced == []
    put_in_place_of(raw, old)
    assert made.rebuild("trades").replaced == [RawFile("trades", TUESDAY)]
    assert made.rebuild("trades").replaced == []


def test_all_that_took_a_raw_files_place_is_kept(tmp_path: Path) -> None:
    made, path, raw, old = restated(tmp_path)
    second = raw.read_bytes()
    for content in (old, b"mine"):
        put_in_place_of(raw, content)
        update(made)
    assert kept(made) == {old, b"mine"}
    # A later version has come, and the one before it is not superseded yet.
    path.unlink()
    made.put(day_key("trades", TUESDAY), lines(TUESDAY, "D", 3))
    made.pipeline.download(Request.of(["trades"]))
    put_in_place_of(raw, b"mine too")
    update(made)
    assert made.sql("select distinct symbol from trades order by 1") == [("A",), ("D",)]
    assert kept(made) == {old, b"mine", b"mine too", second}
    # Nor does what the source has damaged now take the place of what was kept.
    put_in_place_of(raw, b"mine again")
    stamp = path.stat()
    path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    report, _, _ = update(made)
    assert len(report.set_aside) == 1
    assert b"mine again" in kept(made)


def test_what_took_a_raw_files_place_is_kept_where_the_vendor_has_restated_it_too(
    tmp_path: Path,
) -> None:
    made, path, raw, old = restated(tmp_path)
    put_in_place_of(raw, old)
    path.unlink()
    made.put(day_key("trades", TUESDAY), lines(TUESDAY, "D", 3))
    _, code, told = update(made)
    assert code == 0
    assert "changed at the vendor: trades 2024-01-30" in told
    assert "replaced here, and fetched; what stood here is set aside: trades 2024-01-30" in told
    assert made.sql("select distinct symbol from trades order by 1") == [("A",), ("D",)]
    assert kept(made) == {old}


@pytest.mark.parametrize("is_ingested", [False, True])
def test_a_raw_file_that_came_from_elsewhere_is_kept_where_the_sources_takes_its_place(
    tmp_path: Path, *, is_ingested: bool
) -> None:
    made = make(tmp_path, files(MONDAY))
    mine = made.put_raw("trades", MONDAY, lines(MONDAY, "B", 3)).read_bytes()
    if is_ingested:
        made.ingest("trades")
    _, _, told = update(made)
    assert "replaced here, and fetched; what stood here is set aside: trades 2024-01-29" in told
    assert made.sql("select distinct symbol from trades") == [("A",)]
    assert kept(made) == {mine}


def test_a_raw_file_from_elsewhere_is_read_where_the_sources_never_came_and_still_does_not(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, files(MONDAY))
    (made.source / day_key("trades", TUESDAY)).symlink_to(UNREADABLE)
    update(made)
    assert records(made)[TUESDAY].state == "failed"
    mine = made.put_raw("trades", TUESDAY, lines(TUESDAY, "B", 3)).read_bytes()
    _, code, told = update(made)
    assert code == 1
    assert "failed: " in told
    assert made.sql("select distinct symbol from trades order by 1") == [("A",), ("B",)]
    assert made.layout.raw_file(RawFile("trades", TUESDAY)).read_bytes() == mine


def test_what_is_written_into_a_raw_file_that_is_the_sources_own_is_the_sources(
    tmp_path: Path,
) -> None:
    made, path, raw, old = restated(tmp_path)
    assert path.samefile(raw)
    raw.write_bytes(old)
    assert path.read_bytes() == old
    _, code, told = update(made)
    assert code == 0
    assert "changed at the vendor: trades 2024-01-30" in told
    assert "replaced here" not in told
    assert made.sql("select distinct symbol from trades order by 1") == [("A",), ("B",)]
    assert kept(made) == set()


def test_where_nothing_can_be_set_aside_nothing_takes_the_place_of_a_replaced_file(
    tmp_path: Path,
) -> None:
    made, _, raw, old = restated(tmp_path)
    put_in_place_of(raw, old)
    made.layout.set_aside.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StorageError, match="set_aside"):
            update(made)
        assert raw.read_bytes() == old
    made.layout.set_aside.unlink()
    update(made)
    assert kept(made) == {old}


def led_to(made: Made, how: str) -> Path:
    """Where a folder of the raw tier, that is to be the source's, is; it leads there."""
    raw, own = made.layout.raw / "trades", made.source / "us_stocks_sip/trades_v1"
    place = {"data type": "", "mount": "", "year": "2024", "month": "2024/01"}[how]
    shutil.rmtree(raw / place, ignore_errors=True)
    (raw / place).parent.mkdir(parents=True, exist_ok=True)
    if how != "mount":
        (raw / place).symlink_to(own / place)
        return raw / place
    raw.mkdir()
    command = ["mount", "--bind", str(own), str(raw)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a folder is not permitted here")
    return raw


@pytest.mark.parametrize(
    ("how", "is_published"),
    [("data type", True), ("year", True), ("month", False), ("mount", False)],
)
def test_a_raw_folder_that_leads_into_the_source_takes_nothing_from_it(
    how: str, is_published: bool, tmp_path: Path
) -> None:
    """Raw files are removed, set aside and replaced; in the source they are the user's."""
    made = make(tmp_path, files(*DAYS), storage__retention_days=0)
    made.put(day_key("quotes", SESSION), [quote("A", instant(SESSION, "10:00"))])
    if is_published:
        assert update(made)[1] == 0
    place = led_to(made, how)
    try:
        # One file is damaged there, one is new.
        damaged = made.source / day_key("trades", TUESDAY)
        damaged.write_bytes(damaged.read_bytes()[:-9])
        made.put(day_key("trades", SESSION), lines(SESSION, count=5))
        made.put("us_stocks_sip/trades_v1/2024/01/notes.txt", b"the user's")
        before = {path: path.read_bytes() for path in made.source.rglob("*.*")}

        _, status, told = update(made)
        assert status == 1
        assert f"{place}: is the source's own folder, by a link or a mount" in told
        made.ingest("trades")
        assert made.update("quotes").metrics.errors == 0
        for fetch in (False, True):
            with suppress(WarehouseError):
                rebuild(made.pipeline, Request.of(["trades"]), fetch=fetch)
            rebuild_changed(made.pipeline, Request.of(["trades"]), fetch=fetch)
        assert place in [fault.path for fault, _ in made.repair().left]
        prune(made.layout, made.config)

        assert {path: path.read_bytes() for path in made.source.rglob("*.*")} == before
        if is_published:
            assert sessions(made) == [*DAYS]
    finally:
        if how == "mount":
            subprocess.run(["umount", "--lazy", str(place)], check=True)
    if how != "mount":
        place.unlink()
    assert update(made)[1] == 1  # of what is damaged there
    assert SESSION in sessions(made)
    assert MONDAY in sessions(made)


def test_a_repair_that_leaves_something_says_what_would_mend_it(tmp_path: Path) -> None:
    made = make(tmp_path, files(MONDAY, SESSION))
    made.update("trades")
    made.layout.raw_file(RawFile("trades", SESSION)).unlink()
    (made.source / day_key("trades", SESSION)).unlink()
    result = CliRunner().invoke(cli, ["-C", str(made.root), "verify", "--repair"])
    assert result.exit_code == 1
    told = result.stdout.splitlines()
    assert told[-2].startswith("left ")
    assert told[-1] == (
        f"next       warehouse -C {made.root} verify --repair, once the source has what is left,"
        " or a backup is back"
    )


def test_days_before_the_vendors_first_are_told_as_such_and_not_as_missing_sessions(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, files(SESSION))
    made.update("trades")
    first, last = date(2002, 1, 28), date(2002, 1, 31)
    told = r"end = '2002-01-31': .* begin on 2003-09-10; looked for .*, of other days; is the year"
    with pytest.raises(RequestError, match=told):
        made.update("trades", start=first, end=last)
    assert list(records(made)) == [SESSION]
    with Warehouse(made.root) as wh:
        with pytest.raises(NoDataError, match="begin on 2003-09-10; there are trades") as told:
            wh.trades("A", first, last)
        assert "warehouse update" not in str(told.value)
    # Who has such files gets them.
    made.put(day_key("trades", first), lines(first))
    made.update("trades", start=first, end=first)
    assert sessions(made) == [first, SESSION]


def test_who_had_files_of_before_the_vendors_first_is_told_what_has_become_of_them(
    tmp_path: Path,
) -> None:
    first = date(2002, 1, 28)
    made = make(tmp_path, files(first, SESSION))
    made.update("trades", start=first)
    (made.source / day_key("trades", first)).unlink()
    # Of days between them a report advises an update, which finds nothing, and says so.
    for start, end in ((first, first), (date(2002, 2, 1), date(2002, 2, 28))):
        report = made.update("trades", start=start, end=end)
        assert report.download is not None
        assert "of other days" in (report.download.hint or "")
    shutil.rmtree(made.source)
    made.source.mkdir()
    report = made.update("trades", start=first, end=first)
    assert report.download is not None
    assert "found nothing at all" in (report.download.hint or "")
    assert report.download.unread
    assert sessions(made) == [first, SESSION]
