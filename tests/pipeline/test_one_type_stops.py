"""A data type that cannot go on is stopped alone: the others do, and it is said."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest
from building import (
    REPOSITORY,
    SESSION,
    Made,
    bar,
    day_key,
    instant,
    make,
    quote,
    small_disk,
    trade,
)
from click.testing import CliRunner

from warehouse.cli.main import cli
from warehouse.core.paths import RawFile
from warehouse.core.request import Request
from warehouse.errors import (
    CorruptPartitionError,
    OversizedTradeError,
    SqlFileError,
    StorageError,
)
from warehouse.maintenance.convert_layout import convert_layout
from warehouse.maintenance.rebuild_stale import rebuild_changed
from warehouse.pipeline.pipeline import Staged

KINDS = ("day_aggs", "trades", "quotes")
EARLIER, LATER = date(2024, 1, 30), date(2024, 2, 1)
BROKEN = {
    "nonsense": lambda path: path.write_text("select nonsense from nowhere"),
    "without rows": lambda path: path.write_text(f"{path.read_text()}where false"),
    "gone": lambda path: path.unlink(),
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
}


def made_of_three_types(tmp_path: Path) -> Made:
    files = {}
    for day in (SESSION, LATER):
        files[day_key("day_aggs", day)] = [bar("AAPL", instant(day, "00:00"))]
        files[day_key("quotes", day)] = [quote("AAPL", instant(day))]
        files[day_key("trades", day)] = [trade("AAPL", instant(day))]
    made = make(tmp_path, files)
    shutil.rmtree(made.root / "sql", ignore_errors=True)
    shutil.copytree(REPOSITORY / "sql", made.root / "sql")
    made.configure(storage__sql_dir="./sql")
    return made


def counts(made: Made) -> list[int]:
    return [made.sql(f"select count(*) from {kind}")[0][0] for kind in KINDS]


@pytest.mark.parametrize(
    ("step", "how"),
    [("clean", "nonsense"), ("ingest", "without rows"), ("dedupe", "gone"), ("clean", "no text")],
)
def test_an_update_goes_on_with_the_other_data_types_and_fails(
    step: str, how: str, tmp_path: Path
) -> None:
    made = made_of_three_types(tmp_path)
    path = made.root / f"sql/{step}/quotes.sql"
    BROKEN[how](path)

    span = ["--start", str(SESSION), "--end", str(LATER)]
    done = CliRunner().invoke(cli, ["-C", str(made.root), "update", *KINDS, *span])

    told = " ".join(done.output.split())
    assert done.exit_code == 2, told
    assert f"quotes: stopped, the rest goes on: {made.root}/sql/" in told
    assert "it stopped quotes alone" in told
    assert counts(made) == [2, 2, 0]
    ((state, problem),) = made.sql("select state, problem from runs")
    assert state == "failed"
    assert "/quotes.sql: " in problem

    shutil.copy(REPOSITORY / f"sql/{step}/quotes.sql", path)
    made.update(*KINDS)
    assert counts(made) == [2, 2, 2]


def test_a_rebuild_of_what_changed_goes_on_with_the_other_data_types(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.update(*KINDS)
    (made.root / "sql/clean/quotes.sql").unlink()
    path = made.root / "sql/clean/trades.sql"
    path.write_text(path.read_text().replace("'no_price'", "'without_price'"))

    with pytest.raises(SqlFileError, match=r"clean/quotes\.sql: .*it stopped quotes alone"):
        rebuild_changed(made.pipeline, Request.of(KINDS))

    assert made.sql("select rows_published from runs order by started_at desc limit 1") == [(2,)]
    assert counts(made) == [2, 2, 2]


def test_a_repair_mends_the_other_data_types_and_says_why_one_is_left(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.update(*KINDS)
    digests = made.digests()
    for path in made.layout.cache.rglob("*.parquet"):
        if path.parent.name == "AAPL" and path.parent.parent.name in ("quotes", "trades"):
            path.unlink()
    (made.root / "sql/clean/quotes.sql").write_text("select nonsense from nowhere")

    report = made.repair()

    assert {fault.path.parent.parent.name for fault in report.mended} == {"trades"}
    assert all("clean/quotes.sql" in why for _, why in report.left)
    assert {fault.path.parent.parent.name for fault, _ in report.left} == {"quotes"}
    shutil.copy(REPOSITORY / "sql/clean/quotes.sql", made.root / "sql/clean/quotes.sql")
    made.repair()
    assert made.digests() == digests


def stands_in_the_way(of: str) -> Callable[[Made], Path]:
    def put(made: Made) -> Path:
        path = made.layout.data / of
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("somebody's")
        return path

    return put


def a_folder_of_its_name(made: Made) -> Path:
    path = made.layout.cache / "quotes/AAPL/2024_02.parquet"
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    ("obstacle", "told"),
    [
        (stands_in_the_way("cache/quotes"), "it is a file, not a folder; move it away"),
        (stands_in_the_way("cache/quotes/AAPL"), "it is a file, not a folder; move it away"),
        (stands_in_the_way("rejects/quotes"), "it is a file, not a folder; move it away"),
        (a_folder_of_its_name, "a folder stands in its place; move it away"),
    ],
    ids=["data type", "symbol", "rejects", "partition"],
)
def test_what_stands_in_the_way_of_one_data_type_keeps_no_other_from_being_published(
    obstacle: Callable[[Made], Path], told: str, tmp_path: Path
) -> None:
    made = made_of_three_types(tmp_path)
    made.put(day_key("quotes", LATER), [quote("AAPL", instant(LATER)), "too,few"])
    path = obstacle(made)

    with pytest.raises(StorageError, match=f"{told}; it stopped quotes alone") as caught:
        made.update(*KINDS)

    assert str(caught.value).startswith(f"{path}: ")
    assert path.exists()
    assert counts(made)[:2] == [2, 2]
    path.rmdir() if path.is_dir() else path.unlink()
    made.update(*KINDS)
    assert counts(made) == [2, 2, 2]


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    filler.write_bytes(bytes(os.statvfs(disk).f_bfree * 4096 - 4096))
    with open(filler, "ab", buffering=0) as file, suppress(OSError):
        file.write(bytes(1 << 20))
    return filler


def test_a_disk_of_raw_files_that_is_full_or_read_only_keeps_those_of_no_other(
    tmp_path: Path,
) -> None:
    made = made_of_three_types(tmp_path)
    raw = made.layout.raw_file(RawFile("quotes", LATER)).parent
    raw.parent.mkdir(parents=True)
    with small_disk(raw, 1):
        filler = fill(raw)
        with pytest.raises(StorageError, match="the disk is full; make room") as caught:
            made.update(*KINDS)
        assert caught.value.path == raw / f"{LATER}.csv.gz"
        assert counts(made) == [2, 2, 1]
        problem = "select state, problem like '%the disk is full%' from runs"
        assert made.sql(problem) == [("failed", True)]

        filler.unlink()
        made.put(day_key("trades", LATER), [trade("AAPL", instant(LATER), 1, price=11)])
        remount = ["mount", "-o", "remount,ro", str(raw)]
        subprocess.run(remount, check=True)
        with pytest.raises(StorageError, match="cannot be written: Read-only file system"):
            made.update(*KINDS)
        assert made.sql("select max(price) from trades") == [(11,)]

        subprocess.run([*remount[:2], "remount,rw", remount[-1]], check=True)
        made.update(*KINDS)
        assert counts(made) == [2, 2, 2]


def test_a_disk_of_one_data_type_that_is_full_or_read_only_keeps_no_other(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    with small_disk(tmp_path / "disk", 1):
        made.layout.cache.mkdir(parents=True)
        (made.layout.cache / "quotes").symlink_to(tmp_path / "disk")
        made.update(*KINDS, end=SESSION)
        filler = fill(tmp_path / "disk")

        with pytest.raises(StorageError, match="No space left on device; it stopped quotes alone"):
            made.update(*KINDS)
        assert counts(made) == [2, 2, 1]

        filler.unlink()
        made.put(day_key("trades", LATER), [trade("AAPL", instant(LATER), 1, price=11)])
        # Of a run that was killed: it cannot be cleared away.
        (tmp_path / "disk/.staging").mkdir()
        left = tmp_path / "disk/.staging/7"
        left.touch()
        remount = ["mount", "-o", "remount,ro", str(tmp_path / "disk")]
        subprocess.run(remount, check=True)
        with pytest.raises(StorageError, match="Read-only file system; it stopped quotes alone"):
            made.update(*KINDS)
        assert made.sql("select max(price) from trades") == [(11,)]

        subprocess.run([*remount[:2], "remount,rw", remount[-1]], check=True)
        made.update(*KINDS)
        assert not left.exists()
        assert counts(made) == [2, 2, 2]


@pytest.mark.parametrize("tier", ["cache", "rejects"])
def test_a_disk_of_one_data_type_that_is_not_mounted_keeps_no_other(
    tier: str, tmp_path: Path
) -> None:
    made = made_of_three_types(tmp_path)
    for day in (SESSION, LATER):
        made.put(day_key("quotes", day), [quote("AAPL", instant(day)), "too,few"])
    made.update(*KINDS, end=SESSION)
    folder, disk = made.layout.data / tier / "quotes", tmp_path / "disk"
    shutil.move(folder, disk)
    folder.symlink_to(disk)
    shutil.move(disk, tmp_path / "not mounted")
    digests = made.digests()

    with pytest.raises(StorageError, match=r"a link to .*, which is not there.*quotes.* alone"):
        made.update(*KINDS)

    assert made.sql("select count(*) from trades") == [(2,)]
    assert not disk.exists()
    shutil.move(tmp_path / "not mounted", disk)
    assert made.digests() != digests
    made.update(*KINDS)
    assert counts(made) == [2, 2, 2]
    assert made.verify().faults == []


def test_a_symbols_folder_that_is_a_link_stops_its_data_type_alone(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.update(*KINDS)
    folder = made.layout.cache / "quotes/AAPL"
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    for kind, line in (("quotes", quote), ("trades", trade)):
        made.put(day_key(kind, EARLIER), [line("AAPL", instant(EARLIER))])

    with pytest.raises(StorageError, match=r"it is a link; .*; it stopped quotes alone") as caught:
        made.update(*KINDS)

    assert caught.value.path == folder
    assert made.sql("select count(*) from trades") == [(3,)]
    folder.unlink()
    shutil.move(tmp_path / "elsewhere", folder)
    made.update(*KINDS)
    assert counts(made) == [2, 3, 3]


def test_a_damaged_partition_stops_the_update_of_its_month_alone(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.update(*KINDS)
    path = made.layout.cache / "quotes/AAPL/2024_01.parquet"
    path.write_bytes(b"x")
    # In their order quotes of January come before those of February, and before trades.
    for day in (EARLIER, date(2024, 2, 2)):
        made.put(day_key("quotes", day), [quote("AAPL", instant(day))])
        made.put(day_key("trades", day), [trade("AAPL", instant(day))])

    with pytest.raises(CorruptPartitionError, match="it stopped quotes of 2024-01 alone") as caught:
        made.update(*KINDS)

    assert caught.value.path == path
    february = "select rows from partitions where data_type = 'quotes' and month = '2024-02-01'"
    assert made.sql("select count(*) from trades") == [(4,)]
    assert made.sql(february) == [(2,)]
    assert made.repair().left == []
    made.update(*KINDS)
    assert counts(made) == [2, 4, 4]


def test_a_damaged_partition_stops_the_rebuild_of_its_month_alone(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.put(day_key("quotes", EARLIER), [quote("AAPL", instant(EARLIER))])
    made.update(*KINDS)
    # Rows that cannot be made anew are carried over from the partition.
    made.layout.raw_file(RawFile("quotes", EARLIER)).unlink()
    path = made.layout.cache / "quotes/AAPL/2024_01.parquet"
    content = path.read_bytes()
    path.write_bytes(b"x")
    cleaning = made.root / "sql/clean/quotes.sql"
    cleaning.write_text(cleaning.read_text().replace("'no_price'", "'without_price'"))

    with pytest.raises(CorruptPartitionError, match="it stopped quotes of 2024-01 alone") as caught:
        rebuild_changed(made.pipeline, Request.of(KINDS))

    assert caught.value.path == path
    path.write_bytes(content)
    left = rebuild_changed(made.pipeline, Request.of(KINDS), dry_run=True)
    assert left.partitions == {("quotes", "AAPL", SESSION.replace(day=1), "")}


def test_bars_are_kept_of_trades_though_another_data_type_is_stopped(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.configure(bars__keep=["1h"])
    (made.root / "sql/clean/quotes.sql").unlink()
    with pytest.raises(SqlFileError, match="it stopped quotes alone"):
        made.update(*KINDS)
    assert made.sql("select count(*) from bars_1h") == [(2,)]


def test_kept_bars_that_cannot_be_built_hide_no_other_problem(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.configure(bars__keep=["1h"])
    (made.root / "sql/clean/quotes.sql").unlink()
    made.put(day_key("trades", SESSION), [trade("BRK.B", instant(SESSION), price=1e13)])
    with pytest.raises(SqlFileError, match="it stopped quotes alone") as caught:
        made.update(*KINDS)
    assert "the trade of BRK.B at" in "".join(caught.value.__notes__)
    assert made.sql("select max(price) from trades") == [(1e13,)]


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "theirs").touch()


@pytest.mark.parametrize("place", ["cache/quotes/MSFT/2024_01.parquet", "rejects"])
def test_a_folder_where_something_is_to_go_stops_its_data_type_alone(
    place: str, tmp_path: Path
) -> None:
    made = made_of_three_types(tmp_path)
    both = [quote("AAPL", instant(SESSION)), quote("MSFT", instant(SESSION))]
    made.put(day_key("quotes", SESSION), [*both, "too,few"])
    made.update(*KINDS)
    rejects = made.layout.rejects_of(RawFile("quotes", SESSION))
    path = rejects if place == "rejects" else made.layout.data / place
    a_folder(path)
    made.put(day_key("quotes", SESSION), [quote("AAPL", instant(SESSION), bid=9)])
    made.put(day_key("trades", EARLIER), [trade("AAPL", instant(EARLIER))])

    told = "a folder stands in its place; move it away; it stopped quotes alone"
    with pytest.raises(StorageError, match=told) as caught:
        made.update(*KINDS)

    assert caught.value.path == str(path)
    assert (path / "theirs").exists()
    assert made.sql("select count(*) from trades") == [(3,)]
    shutil.rmtree(path)
    made.update(*KINDS)
    assert made.sql("select count(*), min(bid_price) from quotes") == [(2, 9)]
    assert made.verify().faults == []


def test_a_disk_for_reading_alone_that_something_is_to_go_from_stops_its_data_type_alone(
    tmp_path: Path,
) -> None:
    made = made_of_three_types(tmp_path)
    with small_disk(tmp_path / "disk", 1):
        made.layout.rejects.mkdir(parents=True)
        (made.layout.rejects / "quotes").symlink_to(tmp_path / "disk")
        made.put(day_key("quotes", SESSION), [quote("AAPL", instant(SESSION)), "too,few"])
        made.update(*KINDS)
        made.put(day_key("quotes", SESSION), [quote("AAPL", instant(SESSION), bid=9)])
        made.put(day_key("trades", EARLIER), [trade("AAPL", instant(EARLIER))])
        remount = ["mount", "-o", "remount,ro", str(tmp_path / "disk")]
        subprocess.run(remount, check=True)

        with pytest.raises(StorageError, match="Read-only file system; it stopped quotes alone"):
            made.update(*KINDS)

        assert not made.layout.journal.exists()
        assert made.sql("select count(*) from trades") == [(3,)]
        assert made.sql("select min(bid_price) from quotes") == [(10,)]
        subprocess.run([*remount[:2], "remount,rw", remount[-1]], check=True)
        made.update(*KINDS)
        assert made.sql("select min(bid_price) from quotes") == [(9,)]


def test_nothing_is_published_over_what_is_half_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_of_three_types(tmp_path)
    made.put(day_key("quotes", SESSION), [quote(one, instant(SESSION)) for one in ("A", "MSFT")])
    made.update(*KINDS)
    made.put(day_key("quotes", SESSION), [quote("A", instant(SESSION), bid=9)])
    made.put(day_key("trades", EARLIER), [trade("AAPL", instant(EARLIER))])
    whole = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.parent == made.layout.cache / "quotes/MSFT":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        whole(path, missing_ok)

    with monkeypatch.context() as patched:
        # Each data type for itself, as very many rows are.
        patched.setattr(Staged, "is_enough", True)
        patched.setattr(Path, "unlink", unlink)
        with pytest.raises(StorageError, match="Permission denied"):
            made.update("quotes", "trades")

    assert made.layout.journal.exists()
    made.update(*KINDS)
    assert made.verify().faults == []
    assert made.sql("select count(*), min(bid_price) from quotes") == [(2, 9)]
    assert made.sql("select count(*) from trades") == [(3,)]


def a_file_in_place_of_their_folder(made: Made) -> None:
    made.layout.cache.mkdir(parents=True)
    (made.layout.cache / "bars_1h").write_text("somebody's")


def sql_that_is_broken(made: Made) -> None:
    (made.root / "sql/bars/time.sql").write_text("select nonsense from nowhere")


@pytest.mark.parametrize("harm", [a_file_in_place_of_their_folder, sql_that_is_broken])
def test_bars_of_one_length_that_cannot_be_kept_keep_no_others_and_hide_no_other_problem(
    harm: Callable[[Made], None], tmp_path: Path
) -> None:
    made = made_of_three_types(tmp_path)
    made.configure(bars__keep=["1h", "1d"])
    (made.root / "sql/clean/quotes.sql").unlink()
    harm(made)

    with pytest.raises(SqlFileError, match="it stopped quotes alone") as caught:
        made.update(*KINDS)

    told = "".join(caught.value.__notes__)
    assert "cache/bars_1h: " in told or "sql/bars/time.sql: " in told
    assert made.sql("select count(*) from bars_1d") == [(2,)]


def test_a_full_disk_of_bars_of_one_length_keeps_no_others(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.configure(bars__keep=["1h", "1d"])
    with small_disk(tmp_path / "disk", 1):
        made.layout.cache.mkdir(parents=True)
        (made.layout.cache / "bars_1h").symlink_to(tmp_path / "disk")
        filler = tmp_path / "disk/filler"
        with open(filler, "wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        with pytest.raises(StorageError, match="No space left on device; it stopped kept bars"):
            made.update(*KINDS)
        assert made.sql("select count(*) from bars_1d") == [(2,)]
        filler.unlink()
        made.update(*KINDS)
        assert made.sql("select count(*) from bars_1h") == [(2,)]


def test_bars_whose_sql_is_broken_keep_nothing_that_changed_from_being_made_anew(
    tmp_path: Path,
) -> None:
    made = made_of_three_types(tmp_path)
    made.configure(bars__keep=["1h"])
    made.update(*KINDS)
    sql_that_is_broken(made)
    path = made.root / "sql/clean/quotes.sql"
    path.write_text(path.read_text().replace("'no_price'", "'without_price'"))

    for dry_run in (True, False):
        with pytest.raises(SqlFileError, match=r"bars/time\.sql: .*; it stopped "):
            rebuild_changed(made.pipeline, Request.of(), dry_run=dry_run)

    (made.root / "sql/bars/time.sql").unlink()
    left = rebuild_changed(made.pipeline, Request.of(), dry_run=True)
    assert left.partitions == set()


def test_a_repair_mends_partitions_though_bars_cannot_be_built_and_says_so(
    tmp_path: Path,
) -> None:
    made = made_of_three_types(tmp_path)
    made.configure(bars__keep=["1h"])
    made.update(*KINDS)
    for kind in ("bars_1h", "quotes"):
        (made.layout.cache / kind / "AAPL/2024_01.parquet").write_bytes(b"x")
    sql_that_is_broken(made)

    report = made.repair()

    assert {fault.path.parts[-3] for fault in report.mended} == {"quotes"}
    ((fault, why),) = report.left
    assert fault.path.parts[-3] == "bars_1h"
    assert "it cannot be built: " in why
    assert "sql/bars/time.sql: " in why


def test_a_repair_mends_the_rest_where_a_disk_is_for_reading_alone(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    with small_disk(tmp_path / "disk", 4):
        made.layout.cache.mkdir(parents=True)
        (made.layout.cache / "quotes").symlink_to(tmp_path / "disk")
        made.update(*KINDS)
        stray = made.layout.cache / "quotes/AAPL/copy.parquet"
        for path in (stray, *(made.layout.cache / f"{kind}/AAPL/2024_01.parquet"
                              for kind in ("quotes", "trades"))):  # fmt: skip
            path.write_bytes(b"x")
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)

        report = made.repair()

        assert {fault.path.parts[-3] for fault in report.mended} == {"trades"}
        left = {fault.path: why for fault, why in report.left}
        assert left.keys() == {stray, stray.with_name("2024_01.parquet")}
        assert all("Read-only file system" in why for why in left.values())
        assert not list(made.layout.set_aside.rglob("copy.parquet"))


def test_a_damaged_partition_stops_the_conversion_of_its_month_alone(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.update(*KINDS)
    path = made.layout.cache / "quotes/AAPL/2024_01.parquet"
    path.write_bytes(b"x")
    request = Request.of(("quotes", "trades"))

    with pytest.raises(CorruptPartitionError, match="it stopped quotes of 2024-01 alone"):
        convert_layout(made.pipeline, request, "market")

    def names() -> set[str]:
        return {name for name in made.partitions() if not name.startswith("day_aggs")}

    market = {f"{kind}/market/2024_02/01_00.parquet" for kind in ("quotes", "trades")}
    january = {"quotes/AAPL/2024_01.parquet", "trades/market/2024_01/31_00.parquet"}
    assert names() == market | january
    assert made.repair().left == []
    convert_layout(made.pipeline, request, "market")
    assert names() == market | {
        f"{kind}/market/2024_01/31_00.parquet" for kind in ("quotes", "trades")
    }


def test_each_length_of_bars_that_cannot_be_kept_is_told_of(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.configure(bars__keep=["1h", "1d", "5m"])
    a_file_in_place_of_their_folder(made)
    (made.layout.cache / "bars_5m").write_text("somebody's")
    span = ["--start", str(SESSION), "--end", str(LATER)]

    done = CliRunner().invoke(cli, ["-C", str(made.root), "update", "trades", *span])

    told = " ".join(done.output.split())
    assert done.exit_code == 2
    for every in ("1h", "5m"):
        assert f"cache/bars_{every}: cannot be written: it is a file" in told
    assert made.sql("select count(*) from bars_1d") == [(2,)]


def test_a_trade_that_no_bar_holds_stops_the_conversion_of_its_month_alone(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.configure(bars__keep=["1h"])
    made.update(*KINDS)
    made.put(day_key("trades", SESSION), [trade("AAPL", instant(SESSION), price=1e13)])
    with pytest.raises(OversizedTradeError):
        made.update("trades")

    with pytest.raises(OversizedTradeError, match="it stopped bars_1h of 2024-01 alone"):
        convert_layout(made.pipeline, Request.of(("bars_1h",)), "market")

    bars = {name for name in made.partitions() if name.startswith("bars_1h")}
    assert bars == {"bars_1h/AAPL/2024_01.parquet", "bars_1h/market/2024_02/01_00.parquet"}


def test_bars_that_cannot_be_built_keep_no_others_from_being_rebuilt(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.configure(bars__keep=["1h"])
    made.update(*KINDS)
    digests = made.digests()
    path = made.layout.cache / "trades/AAPL/2024_01.parquet"
    path.write_bytes(b"x")

    # They are built of trades that are made anew by the same command.
    made.rebuild("trades", "bars_1h")

    assert made.digests() == digests
    path.write_bytes(b"x")
    sql_that_is_broken(made)
    with pytest.raises(SqlFileError, match=r"bars/time\.sql: "):
        made.rebuild("trades", "bars_1h")
    assert made.digests() == digests
    ((state, problem),) = made.sql(
        "select state, problem from runs order by started_at desc limit 1"
    )
    assert state == "failed"
    assert "sql/bars/time.sql: " in problem


def test_a_dry_run_of_what_changed_tells_of_all_that_is_stopped(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    made.configure(bars__keep=["1h"])
    made.update(*KINDS)
    sql_that_is_broken(made)
    (made.root / "sql/clean/quotes.sql").unlink()

    done = CliRunner().invoke(cli, ["-C", str(made.root), "rebuild", "--changed", "--dry-run"])

    told = " ".join(done.output.split())
    assert done.exit_code == 2
    assert "sql/bars/time.sql: " in told
    assert "sql/clean/quotes.sql: " in told
