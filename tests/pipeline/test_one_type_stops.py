"""A data type that cannot go on is stopped alone: the others do, and it is said."""

from __future__ import annotations

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
from warehouse.errors import CorruptPartitionError, SqlFileError, StorageError
from warehouse.maintenance.rebuild_stale import rebuild_changed

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
        (stands_in_the_way("cache/quotes"), "it is a file, not a folder"),
        (stands_in_the_way("cache/quotes/AAPL"), "it is a file, not a folder"),
        (stands_in_the_way("rejects/quotes"), "it is a file, not a folder"),
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


def test_a_disk_of_one_data_type_that_is_full_or_read_only_keeps_no_other(tmp_path: Path) -> None:
    made = made_of_three_types(tmp_path)
    with small_disk(tmp_path / "disk", 1):
        made.layout.cache.mkdir(parents=True)
        (made.layout.cache / "quotes").symlink_to(tmp_path / "disk")
        made.update(*KINDS, end=SESSION)
        filler = tmp_path / "disk/filler"
        filler.write_bytes(bytes(os.statvfs(filler.parent).f_bfree * 4096 - 4096))
        with open(filler, "ab", buffering=0) as file, suppress(OSError):
            file.write(bytes(1 << 20))

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
