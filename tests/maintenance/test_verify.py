"""Verify finds whatever is not as it was written; --repair makes it so again, to the byte."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import (
    Made,
    MakeWarehouse,
    bar,
    day_key,
    instant,
    keep,
    put_back,
    quote,
    random_trades,
    symbol_key,
    trade,
)
from click.testing import CliRunner

from warehouse.cli.main import cli
from warehouse.core import calendar
from warehouse.core.datatypes import DATA_TYPES, DataType
from warehouse.core.paths import PartitionKey, RawFile
from warehouse.core.request import Request
from warehouse.errors import SourceError
from warehouse.maintenance import file_checks
from warehouse.maintenance.verify import Fault
from warehouse.source.folder import FolderSource
from warehouse.source.transfer import SourceObject
from warehouse.store.catalog import Catalog
from warehouse.store.partitions import write_partition
from warehouse.store.publishing.publish import writer_lock

MONDAY, TUESDAY, FEBRUARY = date(2024, 1, 29), date(2024, 1, 30), date(2024, 2, 1)
DAYS = (MONDAY, TUESDAY, FEBRUARY)
SYMBOLS = ("AAPL", "BCpC", "CON")
LONG = bool(os.environ.get("WAREHOUSE_TEST_LONG"))


def market(days: Sequence[date] = DAYS, symbols: Sequence[str] = SYMBOLS) -> dict[str, list[str]]:
    """Files of trades and of bars."""
    files = {}
    for day in days:
        files[day_key("trades", day)] = random_trades(symbols, 60, day)
        files[day_key("day_aggs", day)] = [bar(symbol, instant(day, "00:00")) for symbol in symbols]
    return files


TYPES = 2


def write_anew(path: Path, content: bytes) -> None:
    """As a disk that rots: other bytes, the same times; the source's hard link stays whole."""
    stat = path.stat()
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    new.replace(path)


def flip(path: Path, dice: random.Random) -> None:
    """Turn one bit over."""
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    write_anew(path, bytes(content))


def cut(path: Path, dice: random.Random) -> None:
    content = path.read_bytes()
    write_anew(path, content[: dice.randrange(len(content))])


def files_of(made: Made, *folders: str) -> dict[Path, bytes]:
    """Every file below the folders of data/, with its bytes."""
    return {
        path: path.read_bytes()
        for folder in folders
        for path in sorted((made.root / "data" / folder).rglob("*"))
        if path.is_file()
    }


def faults(made: Made, *data_types: str, **narrowed: Any) -> list[tuple[str, str]]:
    """Kind and file name of each fault."""
    found = made.verify(*data_types, **narrowed).faults
    return [(fault.kind, fault.path.name) for fault in found]


@pytest.fixture(scope="module")
def template(make_warehouse: MakeWarehouse, tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make_warehouse(market())
    made.update()
    keep(made)
    return made


@pytest.fixture
def made(template: Made) -> Made:
    """A sound warehouse: the same one for every test, put back to what it was."""
    put_back(template)
    return template


def test_a_sound_warehouse_is_found_sound_and_all_of_it_is_read(made: Made) -> None:
    report = made.verify()
    assert report.faults == []
    assert report.files["partition"] == len(made.partitions())
    assert report.files["raw"] == TYPES * len(DAYS)
    assert report.bytes["partition"] == sum(p.stat().st_size for p in made.partitions().values())
    assert report.generation == made.sql("select generation from warehouse")[0][0]
    before = files_of(made, "raw", "cache", "rejects", "ledger")
    assert made.repair().mended == []
    assert files_of(made, "raw", "cache", "rejects", "ledger") == before


def test_a_clock_that_is_behind_leaves_out_nothing_of_what_is_here(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(2024, 1, 29, 12, tzinfo=UTC).astimezone(tz)

    monkeypatch.setattr(calendar, "datetime", Clock)
    assert calendar.today() == MONDAY
    report = made.verify()
    assert report.files["partition"] == len(made.partitions())
    assert report.files["raw"] == TYPES * len(DAYS)
    (made.layout.data / "raw/trades/2024/02/2024-02-01.csv.gz").unlink()
    assert faults(made) == [("raw", f"{FEBRUARY}.csv.gz")]
    request = Request.of(["trades"])
    assert all(request.first <= day <= request.last for day in DAYS)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(6 if LONG else 1))
@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_every_flipped_bit_and_every_cut_is_found_and_mended_to_the_byte(
    make_warehouse: MakeWarehouse, seed: int, layout: str
) -> None:
    files: dict[str, Any] = market()
    for day in DAYS:
        files[day_key("quotes", day)] = [
            quote(symbol, instant(day, "09:30", number), number)
            for symbol in SYMBOLS
            for number in range(1, 6)
        ]
    made = make_warehouse(files, storage__layout=dict.fromkeys(DATA_TYPES, layout))
    made.update()
    dice = random.Random(seed)
    before = files_of(made, "raw", "cache", "rejects", "ledger")
    flips, cuts = (17, 4) if LONG else (13, 4)
    there = list(files_of(made, "raw", "cache"))
    flips = min(flips, len(there) - cuts)
    damaged = dice.sample(there, flips + cuts)
    for path in damaged[:flips]:
        flip(path, dice)
    for path in damaged[flips:]:
        cut(path, dice)
    found = made.verify()
    assert {fault.path for fault in found.faults} == set(damaged)
    report = made.repair()
    assert report.left == []
    assert {fault.path for fault in report.mended} == set(damaged)
    partitions = [path for path in damaged if "cache" in path.parts]
    assert len(report.restored) == len(partitions)
    assert report.remade == []
    now = files_of(made, "raw", "cache", "rejects", "ledger")
    for path in before:
        if "raw" in path.parts or "cache" in path.parts:
            assert now[path] == before[path], path
    assert set(now) == set(before)
    assert made.verify().faults == []
    made.check_catalog()
    assert made.update().did_nothing


def test_a_flip_in_any_byte_of_a_partition_is_found(made: Made) -> None:
    with Catalog(made.layout) as catalog:
        (partition, *_) = catalog.partitions("trades", ["CON"])
    path = made.layout.partition("trades", "CON", partition.month)
    content = path.read_bytes()
    for place in range(0, len(content), 1 if LONG else 41):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert file_checks.partition(path, partition) is not None
    path.write_bytes(content)
    assert file_checks.partition(path, partition) is None


WRONG: dict[str, Callable[[Any], Any]] = {
    "order of the tape": lambda rows: rows.take(list(reversed(range(rows.num_rows)))),
    "another symbol": lambda rows: rows.set_column(0, "symbol", pa.array(["MSFT"] * rows.num_rows)),
    "rows of a session": lambda rows: rows.set_column(
        rows.num_columns - 1, "session", pa.array([date(2024, 1, 31)] * rows.num_rows)
    ),
}


@pytest.mark.parametrize("problem", WRONG)
def test_rows_that_do_not_belong_are_found_though_every_hash_is_right(
    made: Made, problem: str, tmp_path: Path
) -> None:
    with Catalog(made.layout) as catalog:
        (old, *_) = catalog.partitions("trades", ["AAPL"])
    path = made.layout.partition("trades", "AAPL", old.month)
    rows = WRONG[problem](pq.read_table(path, partitioning=None)).combine_chunks()
    new = write_partition(
        str(tmp_path / "wrong.parquet"),
        DATA_TYPES["trades"],
        rows.to_batches(),
        old.symbol,
        old.month,
        old.sessions,
        old.fingerprint,
    )
    assert problem in str(file_checks.partition(tmp_path / "wrong.parquet", new))


def test_what_is_missing_is_found_and_made_anew(made: Made) -> None:
    before = files_of(made, "raw", "cache", "rejects", "ledger")
    gone = [next(p for p in before if folder in p.parts) for folder in ("raw", "cache", "ledger")]
    gone.append(next(path for path in before if "rejects" in path.parts))
    for path in gone:
        path.unlink()
    assert {fault.path for fault in made.verify().faults} == set(gone)
    assert made.repair().left == []
    assert {p: b for p, b in files_of(made, "raw", "cache").items() if p in gone} == {
        path: before[path] for path in gone if "raw" in path.parts or "cache" in path.parts
    }
    assert faults(made) == []


def test_damaged_rejects_come_back_with_every_row(made: Made) -> None:
    rows = made.rejects()
    path = next(path for path in files_of(made, "rejects") if "trades" in path.parts)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    write_anew(path, bytes(content))
    partition = next(p for name, p in made.partitions().items() if name.startswith("trades"))
    flip(partition, random.Random(0))
    digests = made.digests()
    assert faults(made) == [("partition", partition.name), ("rejects", path.name)]
    report = made.repair()
    assert report.left == []
    assert made.rejects() == rows
    assert faults(made) == []
    del digests[partition.relative_to(made.root / "data/cache").as_posix()]
    assert digests.items() <= made.digests().items()


def test_what_a_file_manager_leaves_in_the_folders_it_shows_is_no_mistake(made: Made) -> None:
    made.update()
    folders = [path for path in made.layout.data.rglob("*") if path.is_dir()]
    for folder in folders:
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"of an icon")
    assert faults(made) == []
    made.put(day_key("trades", date(2024, 2, 5)), [trade("AAPL", instant(date(2024, 2, 5)))])
    assert len(made.update("trades").files) == 1
    report = made.repair()
    assert (report.moved, report.left) == ([], [])
    # Of the staging folder alone every writer makes a clean sweep.
    swept = {folder for folder in folders if not (folder / ".DS_Store").exists()}
    assert swept == {made.layout.staging}


def test_files_that_nobody_knows_are_set_aside_and_never_deleted(made: Made) -> None:
    data = made.root / "data"
    strangers = [
        data / "cache/trades/AAPL/2023_01.parquet",
        data / "cache/trades/ZZZ/2024_01.parquet",
        data / "cache/day_aggs/notes.txt",
        data / "rejects/trades/2024_01/2024-01-03.parquet",
        data / "raw/trades/2024/01/copy of 2024-01-29.csv.gz",
        data / "ledger/trades/2020_01.parquet",
    ]
    model = next(iter(made.partitions().values()))
    for path in strangers:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(model, path)
    # What the catalog does not name is not read, whether it stands there or not.
    with_stranger = made.sql("select count(*) from trades")
    assert {fault.path for fault in made.verify().faults} == set(strangers)
    report = made.repair()
    assert {old for old, _ in report.moved} == set(strangers)
    for old, new in report.moved:
        assert not old.exists()
        assert new.read_bytes() == model.read_bytes()
        assert new.is_relative_to(made.layout.set_aside)
    assert faults(made) == []
    assert made.sql("select count(*) from trades") == with_stranger


@pytest.mark.parametrize("name", ["ledger", "history/runs", "schema", "cache", "rejects"])
def test_a_folder_in_a_files_place_is_named_and_set_aside(made: Made, name: str) -> None:
    path = next(path for path in sorted((made.layout.data / name).rglob("*.parquet")))
    path.unlink()
    path.mkdir()
    (path / "somebody's").write_text("kept")
    assert path in {fault.path for fault in made.verify().faults}
    assert made.repair().left == []
    (aside,) = made.layout.set_aside.rglob("somebody's")
    assert aside.read_text() == "kept"
    assert made.verify().faults == []


@pytest.mark.parametrize("name", ["ledger/trades", "history/runs", "schema"])
def test_a_folder_in_the_place_of_a_page_stops_no_data_type(
    made: Made, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = next(path for path in sorted((made.layout.data / name).rglob("*.parquet")))
    path.unlink()
    path.mkdir()
    (path / "somebody's").write_text("kept")
    made.put(day_key("trades", DAYS[0]), [trade("AAPL", instant(DAYS[0]))])
    made.update("trades")
    assert DAYS[0] in {session for session, *_ in made.sql("select distinct session from trades")}
    made.repair()
    (aside,) = made.layout.set_aside.rglob("somebody's")
    assert aside.read_text() == "kept"
    assert f"{path} is a folder, not a file; it is kept as {aside.parent}" in caplog.text
    assert made.verify().faults == []


@pytest.mark.parametrize(
    ("place", "is_link"),
    [
        *((place, True) for place in ("raw", "cache", "recipes", "staging", "ledger/trades")),
        *((place, False) for place in ("raw", "cache", "recipes", "staging", "warehouse.id")),
    ],
)
def test_verify_names_the_place_that_stops_a_writer_and_no_repair_that_would_be_stopped(
    made: Made, place: str, is_link: bool
) -> None:
    path = made.layout.data / place
    is_folder = path.is_dir()
    shutil.rmtree(path) if is_folder else path.unlink()
    if is_link:
        path.symlink_to("/nowhere/at/all")
    elif is_folder:
        path.write_text("somebody's")
    else:
        path.mkdir()
    assert "folder" in {fault.kind for fault in made.verify().faults if fault.path == path}
    shown = CliRunner().invoke(cli, ["-C", str(made.root), "verify"])
    assert shown.exit_code == 1
    assert f"mend data/{place} by hand" in shown.output
    assert "--repair" not in shown.output
    assert f"data/{place}/" not in shown.output


@pytest.mark.parametrize("name", ["cache/trades", "rejects/trades", "ledger/trades"])
def test_a_file_in_the_place_of_a_data_types_folder_is_named_and_set_aside(
    made: Made, name: str
) -> None:
    path = made.layout.data / name
    shutil.rmtree(path)
    path.write_text("somebody's")
    assert path in {fault.path for fault in made.verify().faults}
    report = made.repair()
    assert report.left == []
    (aside,) = [target for place, target in report.moved if place == path]
    assert aside.read_text() == "somebody's"
    assert made.verify().faults == []


@pytest.mark.parametrize("name", ["manifests/trades", "ledger/trades"])
def test_a_folder_in_a_files_place_keeps_no_catalog_from_being_made_anew(
    made: Made, name: str
) -> None:
    path = next(path for path in sorted((made.layout.data / name).rglob("*.parquet")))
    path.unlink()
    path.mkdir()
    (path / "somebody's").write_text("kept")
    made.layout.catalog.unlink()
    assert made.repair().left == []
    (aside,) = made.layout.set_aside.rglob("somebody's")
    assert aside.read_text() == "kept"
    assert made.verify().faults == []
    assert made.sql("select count(*) > 0 from trades") == [(True,)]


def test_what_waits_to_be_ingested_is_no_fault_unless_it_is_damaged(made: Made) -> None:
    path = made.put_raw("trades", date(2024, 2, 2), random_trades(SYMBOLS, 50, date(2024, 2, 2)))
    report = made.verify()
    assert (report.faults, report.waiting) == ([], 1)
    cut(path, random.Random(3))
    assert faults(made) == [("raw", path.name)]


def test_a_pruned_raw_file_is_no_fault_and_one_that_is_just_gone_is(made: Made) -> None:
    from warehouse.maintenance.prune import prune

    gone = made.layout.raw / f"trades/{TUESDAY:%Y/%m/%Y-%m-%d}.csv.gz"
    gone.unlink()
    made.configure(storage__retention_days=0)
    pruned = prune(made.layout, made.config)
    assert len(pruned.removed) == TYPES * len(DAYS) - 1
    report = made.verify()
    assert report.pruned == len(pruned.removed)
    assert [(fault.kind, fault.path) for fault in report.faults] == [("raw", gone)]


def test_a_data_type_that_the_source_does_not_list_keeps_no_other_from_being_mended(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = f"{TUESDAY:%Y/%m/%Y-%m-%d}.csv.gz"
    bars, trades = (made.layout.raw / name / day for name in ("day_aggs", "trades"))
    for path in (bars, trades):
        path.unlink()
    whole = FolderSource.list

    def some(source: FolderSource, kind: DataType, *arguments: Any) -> Iterator[SourceObject]:
        if kind.name == "day_aggs":
            raise SourceError(source.url, "may not be listed")
        return whole(source, kind, *arguments)

    monkeypatch.setattr(FolderSource, "list", some)
    made.repair()
    (fault,) = made.verify().faults
    assert (fault.path, trades.exists()) == (bars, True)


def test_a_source_that_breaks_off_keeps_nothing_from_being_mended_that_needs_none_of_it(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = made.layout.raw / f"day_aggs/{TUESDAY:%Y/%m/%Y-%m-%d}.csv.gz"
    raw.unlink()
    partition = next(path for name, path in made.partitions().items() if "trades/" in name)
    partition.write_bytes(b"x")

    def refuse(*arguments: Any) -> None:
        raise SourceError("s3://flatfiles", "refuses the access key")

    with monkeypatch.context() as patched:
        patched.setattr(FolderSource, "fetch_all", refuse)
        report = made.repair()

    assert partition in {fault.path for fault in report.mended}
    ((fault, why),) = report.left
    assert fault.path == raw
    assert "refuses the access key" in why
    assert made.repair().left == []


def test_where_nothing_is_left_to_mend_from_it_says_so_and_keeps_what_there_is(
    made: Made,
) -> None:
    from warehouse.maintenance.prune import prune

    made.configure(storage__retention_days=0)
    prune(made.layout, made.config)
    made.configure(storage__retention_days=30)
    (made.source / day_key("trades", MONDAY)).unlink()
    january = made.layout.partition("trades", "AAPL", date(2024, 1, 1))
    february = made.layout.partition("trades", "AAPL", date(2024, 2, 1))
    whole = february.read_bytes()
    for path in (january, february):
        flip(path, random.Random(1))
    kept = january.read_bytes()
    report = made.repair()
    assert [(fault.path, fault.kind) for fault, _ in report.left] == [(january, "partition")]
    assert "the source has no such file" in report.left[0][1]
    assert day_key("trades", MONDAY) in report.left[0][1]
    assert january.read_bytes() == kept
    # The other month's raw file was pruned too, and is fetched again.
    assert february.read_bytes() == whole
    assert faults(made) == [("partition", january.name)]


def test_without_a_source_it_says_so(made: Made) -> None:
    path = made.layout.raw_file(next(iter(made.pipeline.known())))
    cut(path, random.Random(0))
    made.configure(source__url="")
    report = made.repair()
    assert "source.url" in report.left[0][1]
    assert faults(made) == [("raw", path.name)]


def test_a_copy_that_is_as_bad_at_the_source_is_not_taken_for_a_repair(made: Made) -> None:
    path = made.layout.raw / f"trades/{TUESDAY:%Y/%m/%Y-%m-%d}.csv.gz"
    content = path.read_bytes()
    write_anew(path, content[:-4])
    write_anew(made.source / day_key("trades", TUESDAY), content[:-5])
    report = made.repair()
    assert [fault.path for fault, _ in report.left] == [path]
    assert "damaged as well" in report.left[0][1]
    assert path.read_bytes() == content[:-4]


def test_a_raw_file_restated_at_the_source_meanwhile_is_ingested_anew(made: Made) -> None:
    path = made.layout.raw / f"trades/{TUESDAY:%Y/%m/%Y-%m-%d}.csv.gz"
    made.put(day_key("trades", TUESDAY), [trade("AAPL", instant(TUESDAY), price=7)])
    cut(path, random.Random(0))
    assert made.repair("trades").left == []
    assert made.sql(f"select symbol, price from trades where session = '{TUESDAY}'") == [
        ("AAPL", 7.0)
    ]
    assert faults(made) == []


@pytest.mark.parametrize("is_whole_at_the_source", [True, False])
def test_a_damaged_raw_file_and_the_version_before_it_are_both_kept(
    made: Made, *, is_whole_at_the_source: bool
) -> None:
    path = made.layout.raw / f"trades/{TUESDAY:%Y/%m/%Y-%m-%d}.csv.gz"
    whole, before = path.read_bytes(), path.with_name(f"{path.name}.old")
    cut(path, random.Random(0))
    damaged = path.read_bytes()
    before.write_bytes(b"the version before")
    if not is_whole_at_the_source:
        write_anew(made.source / day_key("trades", TUESDAY), whole[:-5])
    report = made.repair("trades")
    assert (report.left == []) == is_whole_at_the_source
    assert path.read_bytes() == (whole if is_whole_at_the_source else damaged)
    assert not before.exists()
    kept = {new.read_bytes() for _, new in report.moved}
    assert kept == {b"the version before", *[damaged] * is_whole_at_the_source}


def test_a_version_before_it_does_not_take_a_lost_raw_files_place(made: Made) -> None:
    path = made.layout.raw / f"trades/{TUESDAY:%Y/%m/%Y-%m-%d}.csv.gz"
    before = path.with_name(f"{path.name}.old")
    write_anew(made.source / day_key("trades", TUESDAY), path.read_bytes()[:-5])
    path.rename(before)
    report = made.repair("trades")
    assert "damaged as well" in report.left[0][1]
    assert before.exists()


def test_a_partition_made_by_other_rules_is_remade_by_those_of_now_and_named(made: Made) -> None:
    path = made.layout.partition("trades", "AAPL", date(2024, 1, 1))
    made.configure(cleaning__corrections=[0])
    flip(path, random.Random(2))
    report = made.repair()
    assert (report.restored, report.left) == ([], [])
    assert report.remade == [PartitionKey("trades", "AAPL", date(2024, 1, 1))]
    assert faults(made) == []


DAMAGED_CATALOG: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "no database": lambda content: b"nothing of the kind" * 1000,
    "header": lambda content: content[:8] + b"\xff" * 64 + content[72:],
    "cut": lambda content: content[: len(content) // 3],
    "middle": lambda content: content[:12288] + bytes(len(content) - 12288),
}


@pytest.mark.parametrize("damage", DAMAGED_CATALOG)
def test_a_damaged_catalog_is_found_and_made_anew_from_the_files(made: Made, damage: str) -> None:
    before = contents(made)
    digests = made.digests()
    write_anew(made.layout.catalog, DAMAGED_CATALOG[damage](made.layout.catalog.read_bytes()))
    assert [kind for kind, _ in faults(made)] == ["catalog"]
    report = made.repair()
    assert report.left == []
    assert contents(made) == before
    assert made.digests() == digests
    assert faults(made) == []
    assert len(list(made.layout.set_aside.glob("*.duckdb"))) == 1


def test_a_damaged_catalog_and_a_damaged_partition_together_are_mended(made: Made) -> None:
    digests = made.digests()
    made.layout.catalog.write_bytes(b"")
    path = made.layout.partition("trades", "AAPL", date(2024, 1, 1))
    path.write_bytes(path.read_bytes()[:-100])
    assert made.repair().left == []
    assert made.digests() == digests
    assert faults(made) == []


TABLES = ("partitions", "source_files")


def contents(made: Made) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the catalog's tables about the files; of what is in data/, all columns."""
    return {table: made.sql(f"select * from {table} order by all") for table in TABLES}


def test_the_catalog_can_be_deleted_and_says_the_same_when_it_is_made_anew(made: Made) -> None:
    # Of every kind of record: set aside, waiting, missing at the source, pruned, restated.
    made.put(day_key("trades", date(2024, 2, 2)), b"no gzip at all")
    made.put(day_key("trades", date(2024, 2, 6)), random_trades(SYMBOLS, 40, date(2024, 2, 6)))
    made.update()
    before = contents(made)
    states = {state for (state,) in made.sql("select distinct state from source_files")}
    assert states >= {"ingested", "set_aside", "missing"}
    made.layout.catalog.unlink()
    assert [kind for kind, _ in faults(made)] == ["catalog"]
    made.ingest()
    assert contents(made) == before
    assert faults(made) == []


def test_without_its_ledger_the_catalog_still_knows_what_the_files_know(made: Made) -> None:
    columns = "data_type, day, source, state, sha256, rows_published, rows_rejected"
    query = f"select {columns} from source_files where state = 'ingested' order by all"
    before = made.sql(query)
    partitions = made.sql("select * from partitions order by all")
    shutil.rmtree(made.layout.ledger)
    made.layout.catalog.unlink()
    made.repair()
    assert made.sql(query) == before
    assert made.sql("select * from partitions order by all") == partitions
    assert faults(made) == []


def test_rows_that_do_not_add_up_are_found_and_counted_anew(made: Made) -> None:
    import duckdb

    with duckdb.connect(str(made.layout.catalog)) as catalog:
        catalog.execute(
            "update source_files set rows_published = rows_published + 1 where source = $source",
            {"source": day_key("trades", MONDAY)},
        )
    name = f"{MONDAY}.csv.gz"
    assert ("rows", name) in faults(made)
    assert ("ledger", "2024_01.parquet") in faults(made)
    assert made.repair().left == []
    assert faults(made) == []


def test_only_what_was_asked_for_is_looked_at(made: Made) -> None:
    for name in made.partitions().values():
        flip(name, random.Random(0))
    count = len(made.partitions())
    assert len(faults(made)) == count
    day_aggs = [name for name in made.partitions() if name.startswith("day_aggs/")]
    assert len(faults(made, "day_aggs")) == len(day_aggs)
    assert len(faults(made, "trades", symbols=["AAPL"])) == 2
    assert len(faults(made, "trades", symbols=["AAPL"], start=FEBRUARY, end=FEBRUARY)) == 1
    digests = made.digests()
    made.repair("trades", symbols=["AAPL"])
    changed = {name for name, digest in made.digests().items() if digest != digests[name]}
    assert changed == {"trades/AAPL/2024_01.parquet", "trades/AAPL/2024_02.parquet"}


def test_some_symbols_and_then_others_still_add_up(make_warehouse: MakeWarehouse) -> None:
    made = make_warehouse(market(), source__symbols=["AAPL", "CON"])
    made.update()
    assert faults(made) == []
    made.rebuild("trades", symbols=["AAPL"])
    assert faults(made) == []
    made.configure(cleaning__corrections=[0, 1, 12])
    made.rebuild("trades", symbols=["CON"])
    assert faults(made) == []
    made.configure(source__symbols=[])
    made.update()
    assert faults(made) == []


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_rows_of_an_earlier_version_of_a_file_are_not_taken_for_those_of_the_present_one(
    make_warehouse: MakeWarehouse, layout: str
) -> None:
    symbols, key = ["AAPL", "CON", "MSFT"], day_key("trades", MONDAY)
    made = make_warehouse(
        {key: random_trades(symbols, 90, MONDAY)}, storage__layout={"trades": layout}
    )
    made.update()
    made.configure(source__symbols=["AAPL"])
    made.put(key, random_trades(symbols, 90, MONDAY, seed=1))
    made.update()
    # The others' rows are of the version before, and are read again for two of them.
    made.rebuild("trades", symbols=["CON"])
    assert faults(made) == []
    made.rebuild("trades", symbols=["CON", "MSFT"])
    assert faults(made) == []
    assert made.sql("select sum(rows_published) from source_files") == made.sql(
        "select count(*) from trades"
    )


def test_one_file_a_symbol_is_looked_at_and_mended_too(make_warehouse: MakeWarehouse) -> None:
    files: dict[str, Any] = {}
    for symbol in ("AAPL", "CON"):
        for day in DAYS:
            lines = random_trades([symbol], 60, day)
            files[symbol_key("trades", day, symbol)] = lines
        files[symbol_key("day_aggs", MONDAY, symbol)] = [
            bar(symbol, instant(day, "00:00")) for day in (MONDAY, TUESDAY)
        ]
    made = make_warehouse(files, source__layout="symbol")
    made.update()
    digests = made.digests()
    assert faults(made) == []
    for path in made.partitions().values():
        flip(path, random.Random(5))
    for path in list(files_of(made, "raw"))[::2]:
        cut(path, random.Random(6))
    assert made.repair().left == []
    assert made.digests() == digests
    assert faults(made) == []


def test_a_publish_in_the_meantime_is_no_fault(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    once = threading.Event()
    look = file_checks.partition

    def interrupted(path: Path, expected: Any) -> str | None:
        if not once.is_set():
            once.set()
            made.put(day_key("trades", TUESDAY), [trade("AAPL", instant(TUESDAY), price=7)])
            made.update("trades")
        return look(path, expected)

    monkeypatch.setattr(file_checks, "partition", interrupted)
    report = made.verify()
    assert report.faults == []
    assert report.generation == made.sql("select generation from warehouse")[0][0]


def test_it_takes_no_lock(made: Made) -> None:
    with writer_lock(made.layout):
        assert made.verify().faults == []


def test_a_repair_is_recorded_as_a_run(made: Made) -> None:
    made.repair()
    assert made.sql("select command, state from runs order by started_at desc limit 1") == [
        ("verify", "done")
    ]


def test_a_fault_says_what_to_do(made: Made) -> None:
    path = next(iter(made.partitions().values()))
    path.unlink()
    (fault,) = made.verify().faults
    assert fault == Fault(path, "partition", "missing", fault.remedy, fault.subject)
    assert fault.remedy == "warehouse verify --repair"


@pytest.mark.parametrize("journal", [b"", b"{", b"[1]", b'{"catalog": 1, "other": 2}', b"\xff\xfe"])
def test_a_publish_whose_journal_is_lost_stops_nobody_and_is_mended(
    made: Made, journal: bytes
) -> None:
    # Half of it was done: a partition is in place that the catalog does not speak of yet.
    before = made.digests()
    path = made.layout.partition("trades", "AAPL", date(2024, 1, 1))
    shutil.copy(made.layout.partition("trades", "CON", date(2024, 1, 1)), path)
    made.layout.journal.write_bytes(journal)
    assert faults(made) == [("journal", "publish.json")]
    report = made.repair()
    assert [fault.path for fault in report.mended] == [path]
    assert not made.layout.journal.exists()
    assert [kept.read_bytes() for kept in made.layout.set_aside.glob("publish-*")] == [journal]
    assert report.left == []
    assert made.digests() == before


def test_a_verify_looks_at_each_file_as_often_however_many_there_are(
    make_warehouse: MakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Counter[str]()
    key = RawFile.key.fget  # type: ignore[attr-defined]

    def counted(file: RawFile) -> str:
        asked[found := key(file)] += 1
        return found

    most = []
    for number in (5, 40):
        symbols = [f"S{index}" for index in range(number)]
        files = {symbol_key("trades", MONDAY, s): [trade(s, instant(MONDAY))] for s in symbols}
        made = make_warehouse(files, source__layout="symbol", source__symbols=symbols)
        made.update("trades")
        asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr(RawFile, "key", property(counted))
            assert made.verify().faults == []
        assert len(asked) == number
        most.append(max(asked.values()))
    assert most[0] == most[1]


def test_a_verify_leaves_nothing_in_the_temp_folder(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made.verify()
    assert list(tmp_path.iterdir()) == []
