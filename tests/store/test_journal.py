"""A publish that was broken off: who may end it, whose word its journal is, what readers see."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import Made, day_key, instant, keep, make, put_back, small_disk, trade

from warehouse import Warehouse
from warehouse.core.paths import STAGED_CATALOG, Layout
from warehouse.core.request import Request
from warehouse.errors import (
    ConfigError,
    CorruptPartitionError,
    DamagedJournalError,
    InterruptedPublishError,
    StorageError,
    WarehouseError,
)
from warehouse.store import data_folder_id, journal
from warehouse.store.journal import Change
from warehouse.store.publishing import publish

DAY = date(2024, 1, 2)
SYMBOLS = ("AAPL", "BCpC", "MSFT")
GOOD: dict[str, Any] = {"catalog": STAGED_CATALOG, "renames": [], "removals": []}


def put(made: Made, price: float, symbols: tuple[str, ...] = SYMBOLS) -> None:
    lines = [trade(symbol, instant(DAY), price=price) for symbol in symbols]
    made.put(day_key("trades", DAY), [*lines, "too,few"])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make(tmp_path_factory.mktemp("journal") / "w")
    put(made, 1)
    made.update("trades")
    put(made, 2, SYMBOLS[1:])
    keep(made)
    return made


@pytest.fixture
def made(template: Made) -> Made:
    """A warehouse in which all prices are 1, and a later version of the file to come."""
    put_back(template)
    return template


def break_off(made: Made, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Let the next publish die: before it renames, after one file, or once all is done."""
    real, calls = publish._put, []

    def put(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > {"begun": 0, "torn": 1}.get(step, 99):
            raise OSError(5, "Input/output error")
        real(*arguments)

    def sync(layout: Layout, paths: Any) -> None:
        if not made.layout.staging.joinpath("warehouse.duckdb").exists():
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(publish, "_put", put)
        patch.setattr(publish, "_sync", sync)
        with pytest.raises(StorageError):
            made.update("trades")
    assert made.layout.journal.exists()


def answers(wh: Warehouse) -> list[Any]:
    wh.cache.clear()
    rows = wh.trades(SYMBOLS, DAY, DAY, missing="ignore")
    asked = wh.query("select symbol, price from trades order by all")
    return [
        sorted(zip(rows["symbol"], rows["price"], strict=True)),
        list(zip(asked["symbol"], asked["price"], strict=True)),
    ]


OLD = [[(symbol, 1.0) for symbol in SYMBOLS]] * 2
NEW = [[(symbol, 2.0) for symbol in SYMBOLS[1:]]] * 2


def tree(folder: Path) -> dict[str, Any]:
    """Every file below a folder, its bytes and its time, but for the catalog's lock files."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# What readers see


@pytest.mark.parametrize(("step", "seen"), [("begun", OLD), ("done", NEW)])
def test_readers_answer_from_one_generation_beside_a_journal_and_touch_nothing(
    made: Made, monkeypatch: pytest.MonkeyPatch, step: str, seen: Any
) -> None:
    with Warehouse(made.root) as before:
        before.symbols()
        break_off(made, monkeypatch, step)
        there = tree(made.layout.data)
        with Warehouse(made.root) as newcomer:
            assert answers(before) == answers(newcomer) == seen
        (fault,) = made.verify().faults
    assert (fault.kind, fault.remedy) == ("journal", "warehouse verify --repair")
    assert tree(made.layout.data) == there
    made.ingest("trades")
    assert not journal.stands(made.layout)
    with Warehouse(made.root) as wh:
        assert answers(wh) == NEW
    assert made.verify().faults == []


def test_a_reader_of_a_half_done_publish_says_what_to_run_and_that_ends_it(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(made, monkeypatch, "torn")
    there = tree(made.layout.data)
    with Warehouse(made.root) as wh:
        for ask in (lambda: wh.query("select * from trades"), lambda: wh.trades("MSFT", DAY, DAY)):
            with pytest.raises(InterruptedPublishError, match="warehouse verify --repair") as told:
                ask()
            assert "\n" not in str(told.value)
        assert [fault.kind for fault in made.verify().faults] == ["journal"]
        assert tree(made.layout.data) == there
        assert made.repair().left == []
        assert answers(wh) == NEW
    assert made.verify().faults == []


def test_a_reader_on_a_disk_that_it_may_not_write_to_answers_beside_a_journal(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(made, monkeypatch, "begun")
    done = subprocess.run(
        ["mount", "--bind", "-o", "ro", str(made.root), str(made.root)], capture_output=True
    ) if shutil.which("mount") else None  # fmt: skip
    if done is None or done.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        with Warehouse(made.root) as wh:
            rows = wh.trades(SYMBOLS, DAY, DAY)
            assert sorted(rows["price"]) == [1.0] * 3
    finally:
        subprocess.run(["umount", "--lazy", str(made.root)], check=True)


def test_a_writer_is_not_refused_because_a_reader_looked_who_holds_the_lock(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(made, monkeypatch, "begun")
    peek = """
import sys
from pathlib import Path
from warehouse.core import config
from warehouse.store import journal
root = Path(sys.argv[1])
layout = config.load(root / "config/data_config.yaml", {}).layout(root)
print("ready", flush=True)
while journal.settle(layout) is not None:
    pass
"""
    readers = [
        subprocess.Popen([sys.executable, "-c", peek, made.root], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"ready\n"
        made.ingest("trades")
        # They see it through to its end, and nothing of it is an error to them.
        assert [reader.wait(60) for reader in readers] == [0, 0]
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


# Whose word it is


def change_of(**values: Any) -> bytes:
    return json.dumps(GOOD | values).encode()


def renames(*pairs: tuple[str, str]) -> bytes:
    return change_of(renames=pairs)


PART = "cache/trades/AAPL/2024_01.parquet"
STRANGE = {
    "no JSON": b"{",
    "nothing": b"",
    "no text": b"\xff\xfe",
    "a list": b"[1]",
    "deep": b"[" * 100_000,
    "a key less": b'{"catalog": "staging/warehouse.duckdb", "renames": []}',
    "a key more": change_of(after="rm"),
    "a key twice": b'{"catalog":"x",' + change_of()[1:],
    "a number": change_of(removals=[1]),
    "a text for a list": change_of(removals="cache"),
    "a triple": change_of(renames=[["staging/1", PART, PART]]),
    "another catalog": change_of(catalog="nothing"),
    "a catalog elsewhere": change_of(catalog="../victim"),
    "staged above": renames(("staging/../../victim", PART)),
    "staged elsewhere": renames(("evil", PART)),
    "staged absolute": renames(("/etc/passwd", PART)),
    "staging itself": renames(("staging/", PART)),
    "final above": renames(("staging/evil", "../../victim")),
    "final absolute": renames(("staging/evil", "/tmp/victim")),
    "final through a tier": renames(("staging/evil", "cache/../../victim")),
    "final a folder of a tier": renames(("staging/evil", "cache/trades")),
    "final no symbol": renames(("staging/evil", "cache/trades/../2024_01.parquet")),
    "final in lower case": renames(("staging/evil", "cache/trades/aapl/2024_01.parquet")),
    "final no month": renames(("staging/evil", "cache/trades/AAPL/2024_13.parquet")),
    "final no data type": renames(("staging/evil", "cache/tapes/AAPL/2024_01.parquet")),
    "final the log": renames(("staging/evil", "logs/warehouse.jsonl")),
    "final the raw tier": renames(("staging/evil", "raw/trades/2024/01/2024-01-02.csv.gz")),
    "final NUL": renames(("staging/evil", "cache/trades/A\0/2024_01.parquet")),
    "final a surrogate": renames(("staging/evil", "cache/trades/\ud800/2024_01.parquet")),
    "final a name that no disk takes": renames(
        ("staging/1", f"cache/minute_aggs/{'A' * 256}/2024_01.parquet")
    ),
    "final twice": renames(("staging/1", PART), ("staging/2", PART)),
    "staged twice": renames(("staging/1", PART), ("staging/1", PART.replace("AAPL", "B"))),
    "the catalog in a partition's place": renames(("staging/warehouse.duckdb", PART)),
    "made and removed": change_of(renames=[["staging/1", PART]], removals=[PART]),
    "removed absolute": change_of(removals=["/tmp/victim"]),
    "removed above": change_of(removals=["../../victim"]),
    "removed the catalog": change_of(removals=["warehouse.duckdb"]),
    "removed raw": change_of(removals=["raw/trades/2024/01/2024-01-02.csv.gz"]),
    "removed the configuration": change_of(removals=["../config/data_config.yaml"]),
    "rejects of another month": change_of(removals=["rejects/trades/2024_02/2024-01-02.parquet"]),
    "a recipe above": change_of(removals=["recipes/../../x.json"]),
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The folders of a warehouse in which nothing was published."""
    layout = Layout(root := tmp_path_factory.mktemp("bare"), root / "data/raw", root / "data/cache")
    layout.staging.mkdir(parents=True)
    return layout


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_what_no_publish_of_ours_would_write_is_believed_by_nobody(
    bare: Layout, text: bytes
) -> None:
    bare.journal.write_bytes(text)
    with pytest.raises(DamagedJournalError, match="no journal of a publish") as told:
        journal.read(bare)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("value", ["[]", '""', '"ab"', "1234567", "{}"])
def test_a_journal_of_values_too_short_for_names_takes_no_memory(
    bare: Layout, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory they would take twenty times what the file takes on disk."""
    told = change_of(removals=[]).decode()
    text = told.replace("[]", f"[{','.join([value] * 100_000)}]")
    bare.journal.write_text(text, "utf-8")
    monkeypatch.setattr(journal.small_files, "parsed_json", None)
    with pytest.raises(DamagedJournalError, match="it is not what was written"):
        journal.read(bare)


def test_a_journal_larger_than_any_publish_writes_is_not_read(made: Made) -> None:
    with open(made.layout.journal, "wb") as file:
        file.truncate(65 << 20)
    with (
        pytest.raises(InterruptedPublishError, match=r"68,157,440 bytes"),
        Warehouse(made.root) as wh,
    ):
        wh.trades("AAPL", DAY)
    made.update("trades")


def test_a_publish_of_more_than_a_journal_is_believed_for_is_not_begun(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_BYTES", 300)
    with pytest.raises(StorageError, match=r"cannot publish \d+ files at once; ask for fewer"):
        made.update("trades")
    assert not journal.stands(made.layout)
    with Warehouse(made.root) as wh:
        assert wh.trades("AAPL", DAY)["price"].to_list() == [1.0]


def test_of_a_journal_that_cannot_be_believed_no_more_is_shown_than_a_line_holds(
    bare: Layout,
) -> None:
    bare.journal.write_bytes(change_of(removals=["../" + "x" * 3_000_000]))
    with pytest.raises(DamagedJournalError) as told:
        journal.read(bare)
    assert len(str(told.value)) < 1_000


@pytest.mark.parametrize("removals", [[], ["../../victim"], [PART, PART]])
def test_a_strangers_journal_is_set_aside_by_who_writes_and_harms_nothing(
    made: Made, removals: list[str]
) -> None:
    victim = made.root.parent / "victim"
    victim.write_text("precious")
    (made.layout.staging / "evil").write_text("evil")
    text = change_of(renames=[("staging/evil", "../../victim")], removals=removals)
    made.layout.journal.write_bytes(text)
    there = tree(made.root.parent)
    with Warehouse(made.root) as wh, pytest.raises(InterruptedPublishError, match="--repair"):
        wh.query("select * from trades")
    assert [fault.kind for fault in made.verify().faults] == ["journal"]
    assert tree(made.root.parent) == there

    made.update("trades")

    assert not made.layout.journal.exists()
    assert [kept.read_bytes() for kept in made.layout.set_aside.glob("publish-*")] == [text]
    assert victim.read_text() == "precious"
    with Warehouse(made.root) as wh:
        assert answers(wh) == NEW
    assert made.verify().faults == []


def test_a_publish_of_which_the_staged_files_are_lost_removes_nothing(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a copy that was made without the staging folder.
    break_off(made, monkeypatch, "begun")
    change = journal.read(made.layout)
    assert change is not None
    assert "cache/trades/AAPL/2024_01.parquet" in change.removals
    text = made.layout.journal.read_bytes()
    shutil.rmtree(made.layout.staging)
    with Warehouse(made.root) as wh, pytest.raises(InterruptedPublishError, match="--repair"):
        wh.query("select * from trades")
    with publish.writer_lock(made.layout):
        pass
    with Warehouse(made.root) as wh:
        assert answers(wh) == OLD
    assert [kept.read_bytes() for kept in made.layout.set_aside.glob("publish-*")] == [text]
    assert made.verify().faults == []


def test_of_a_publish_that_is_done_the_removals_that_the_disk_has_lost_are_done_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.layout.cache / "trades/AAPL/2024_01.parquet"
    content = path.read_bytes()
    break_off(made, monkeypatch, "done")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with publish.writer_lock(made.layout):
        pass
    assert not path.exists()
    with Warehouse(made.root) as wh:
        assert answers(wh) == NEW
    assert made.verify().faults == []


def link_of_the_journal(layout: Layout, outside: Path) -> None:
    outside.joinpath("journal").write_bytes(change_of())
    layout.journal.symlink_to(outside / "journal")


def a_folder(layout: Layout, outside: Path) -> None:
    layout.journal.mkdir()


def a_pipe(layout: Layout, outside: Path) -> None:
    os.mkfifo(layout.journal)


def a_link_to_nothing(layout: Layout, outside: Path) -> None:
    layout.journal.symlink_to(outside / "nothing")


def a_staged_link(layout: Layout, outside: Path) -> None:
    (layout.staging / "1").symlink_to(outside / "secret")
    layout.journal.write_bytes(renames(("staging/1", PART)))


def a_staged_folder(layout: Layout, outside: Path) -> None:
    (layout.staging / "1").mkdir()
    layout.journal.write_bytes(renames(("staging/1", PART)))


def a_link_below_a_tier(layout: Layout, outside: Path) -> None:
    (layout.staging / "1").write_text("evil")
    (layout.cache / "trades/B").symlink_to(outside)
    (outside / "2024_01.parquet").write_text("precious")
    layout.journal.write_bytes(change_of(removals=["cache/trades/B/2024_01.parquet"]))


def another_users(layout: Layout, outside: Path) -> None:
    layout.journal.write_bytes(change_of())
    try:
        os.chown(layout.journal, 12_345, -1)
    except PermissionError:
        pytest.skip("giving files away is not permitted here")


@pytest.mark.parametrize(
    "plant",
    [
        link_of_the_journal,
        a_folder,
        a_pipe,
        a_link_to_nothing,
        a_staged_link,
        a_staged_folder,
        a_link_below_a_tier,
        another_users,
    ],
)
def test_no_link_no_odd_file_and_no_other_users_word_is_followed(
    made: Made, tmp_path: Path, plant: Callable[[Layout, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    plant(made.layout, outside)
    there = tree(outside)
    with Warehouse(made.root) as wh, pytest.raises(InterruptedPublishError):
        wh.query("select * from trades")
    made.update("trades")
    assert not journal.stands(made.layout)
    assert tree(outside) == there


def test_a_journal_of_the_group_counts_where_the_warehouse_is_shared_with_it(
    tmp_path: Path,
) -> None:
    made = make(tmp_path / "w", storage__file_mode="660")
    put(made, 1)
    made.update("trades")
    made.layout.journal.write_bytes(change_of())
    group = made.layout.data.stat().st_gid
    try:
        os.chown(made.layout.journal, 12_345, group)
    except PermissionError:
        pytest.skip("giving files away is not permitted here")
    assert journal.read(made.layout) == Change(STAGED_CATALOG)
    os.chown(made.layout.journal, 12_345, group + 1)
    with pytest.raises(DamagedJournalError, match="12345"):
        journal.read(made.layout)


def test_all_that_a_publish_names_is_what_a_journal_may_name(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(made, monkeypatch, "begun")
    change = journal.read(made.layout)
    assert change is not None
    assert change.removals == [PART]
    tiers = {final.partition("/")[0] for _, final in change.renames}
    assert tiers == {"cache", "rejects", "ledger", "history", "manifests"}
    assert "cache/trades/BC%70C/2024_01.parquet" in {final for _, final in change.renames}


# Other disks


@contextmanager
def on_another_disk(place: Path, by: str, disk: Path) -> Iterator[None]:
    """A folder of the data folder is a disk of its own, by a "mount" or a "link"."""
    place.parent.mkdir(exist_ok=True, parents=True)
    with small_disk(disk if by == "link" else place, 16):
        if by == "link":
            place.symlink_to(disk)
        yield


@pytest.mark.parametrize(
    ("tier", "by"),
    [
        ("cache", "link"),
        ("cache", "mount"),
        ("cache/trades", "link"),
        ("rejects", "link"),
        ("ledger", "mount"),
        ("history", "link"),
        ("manifests", "link"),
        ("manifests/trades", "mount"),
        ("manifests/trades", "link"),
        ("recipes", "link"),
    ],
)
def test_a_tier_on_another_disk_is_published_to(tmp_path: Path, tier: str, by: str) -> None:
    made = make(tmp_path / "w")
    place = made.layout.data / tier
    with on_another_disk(place, by, tmp_path / "disk"):
        for price in (1, 2):
            put(made, price)
            made.update("trades")
            with Warehouse(made.root) as wh:
                assert set(wh.trades(SYMBOLS, DAY, DAY)["price"]) == {price}
                assert wh.query("select count(*) as n from rejects")["n"].tolist() == [1]
        assert made.verify().faults == []
        assert not (place / ".staging").exists()
        assert list(made.layout.staging.iterdir()) == []


@pytest.mark.parametrize(
    ("by", "mend"), [("link", "put a folder in its place"), ("mount", "unmount it")]
)
def test_unfinished_work_on_another_disk_is_refused_before_any_of_it_is_removed(
    made: Made, tmp_path: Path, by: str, mend: str
) -> None:
    staging = made.layout.staging
    staging.rmdir()
    with on_another_disk(staging, by, tmp_path / "disk"):
        (staging / "somebody's").write_text("")
        for _ in range(2):
            with pytest.raises(StorageError, match=f"staging: is a .* cache folder: {mend}"):
                made.update("trades")
        assert os.listdir(staging) == ["somebody's"]


@pytest.mark.parametrize(
    ("tier", "by"),
    [("cache/bars_1m", "link"), ("cache/bars_1m", "mount"), ("manifests/bars_1m", "link")],
)
def test_kept_bars_on_another_disk_are_published_and_asked_and_stop_no_trades(
    tmp_path: Path, tier: str, by: str
) -> None:
    made = make(tmp_path / "w", bars__keep=["1m"])
    place = made.layout.data / tier
    with on_another_disk(place, by, tmp_path / "disk"):
        for price in (1, 2):
            put(made, price)
            made.update("trades")
            with Warehouse(made.root) as wh:
                assert set(wh.load("bars_1m", SYMBOLS, DAY, DAY)["close"]) == {price}
                assert set(wh.query("from bars_1m")["close"]) == {price}
        assert made.verify().faults == []
        assert not (place / ".staging").exists()
        (place / ".staging").mkdir()
        (place / ".staging/0").write_text("half a partition")
        made.ingest("trades")
        assert not (place / ".staging").exists()


def test_what_waits_on_a_disk_of_its_own_is_no_fault(made: Made) -> None:
    """A verify meanwhile, or after a writer that was killed, comes upon it."""
    for tier in ("cache", "rejects", "ledger"):
        waiting = made.layout.data / tier / "trades/.staging"
        waiting.mkdir()
        (waiting / "0").write_text("half a partition")
    assert made.verify("trades").faults == []
    made.ingest("trades")
    assert not waiting.exists()
    assert made.verify("trades").faults == []


def test_of_what_waits_on_another_disk_only_our_own_files_are_removed(made: Made) -> None:
    folder = made.layout.cache / ".staging"
    (folder / "theirs").mkdir(parents=True)
    (folder / "theirs/precious").write_text("precious")
    (folder / "notes.txt").write_text("precious")
    (folder / "12").write_text("ours")
    made.update("trades")
    assert (folder / "theirs/precious").read_text() == "precious"
    assert (folder / "notes.txt").read_text() == "precious"
    assert not (folder / "12").exists()


def test_no_file_is_written_where_the_folder_of_the_views_columns_leads(
    made: Made, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "trades.parquet").write_text("precious")
    shutil.rmtree(made.layout.schema)
    made.layout.schema.symlink_to(outside)
    catalog = made.layout.catalog.read_bytes()
    with pytest.raises(StorageError, match="schema: is a link"):
        made.update("trades")
    assert made.layout.catalog.read_bytes() == catalog
    assert tree(outside).keys() == {"trades.parquet"}
    assert (outside / "trades.parquet").read_text() == "precious"


def test_no_rows_are_written_where_a_draft_of_the_views_columns_leads(
    made: Made, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = made.layout.schema / "trades.parquet"
    path.unlink()
    path.with_name(f".{path.name}.new").symlink_to(victim)
    made.update("trades")
    assert victim.read_text() == "precious"
    assert path.is_file()
    assert not path.is_symlink()


def test_a_version_that_a_killed_run_left_beside_a_published_file_waits_for_nothing(
    made: Made,
) -> None:
    raw = made.layout.raw / "trades/2024/01/2024-01-02.csv.gz"
    made.update("trades")
    raw.with_name(f"{raw.name}.old").write_bytes(raw.read_bytes())
    assert made.verify("trades").waiting == 0
    put(made, 3)
    made.pipeline.download(Request.of(["trades"], DAY, DAY))
    assert made.verify("trades").waiting == 1


def test_what_an_earlier_version_left_between_two_disks_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, made = tmp_path / "disk", make(tmp_path / "w")
    with small_disk(disk, 16):
        made.layout.data.mkdir(exist_ok=True)
        made.layout.cache.symlink_to(disk)
        put(made, 1)
        with monkeypatch.context() as patch:
            patch.setattr(publish, "_beside_their_places", lambda layout, change: change)
            break_off(made, patch, "begun")
        made.ingest("trades")
        with Warehouse(made.root) as wh:
            assert set(wh.trades(SYMBOLS, DAY, DAY)["price"]) == {1.0}
        assert made.verify().faults == []


@pytest.mark.parametrize("tier", ["cache", "cache/trades", "manifests", "rejects", "history"])
def test_a_tier_whose_disk_is_not_mounted_is_named_and_all_is_there_once_it_is(
    tmp_path: Path, tier: str
) -> None:
    made = make(tmp_path / "w")
    disk, place = tmp_path / "disk", made.layout.data / tier
    disk.mkdir()
    place.parent.mkdir(parents=True)
    place.symlink_to(disk)
    put(made, 1)
    made.update("trades")
    catalog = made.layout.catalog.read_bytes()
    disk.rename(tmp_path / "unmounted")
    put(made, 2)
    # Of a data type alone, it is what stops that type: the run goes on, and says so in the catalog.
    is_alone = tier == "cache/trades"
    told = "cannot be written: it is" if is_alone else "is"
    with pytest.raises(
        StorageError, match=rf"data/{tier}: {told} a link to {disk}, .* mount its disk"
    ):
        made.update("trades")
    # A sound catalog is not set aside for what cannot be looked at now.
    assert not made.layout.set_aside.exists()
    assert is_alone or made.layout.catalog.read_bytes() == catalog
    if tier == "cache":
        with Warehouse(made.root) as wh, pytest.raises(CorruptPartitionError, match="repair"):
            wh.query("select price from trades")
    (tmp_path / "unmounted").rename(disk)
    made.update("trades")
    with Warehouse(made.root) as wh:
        assert set(wh.query("select price from trades")["price"]) == {2.0}


@pytest.mark.parametrize("tier", ["cache", "cache/trades", "manifests", "rejects"])
def test_a_folder_that_a_link_shares_with_another_warehouse_is_not_written_to(
    tmp_path: Path, tier: str
) -> None:
    first, second = make(tmp_path / "first"), make(tmp_path / "second")
    for number, made in enumerate((first, second)):
        place = made.layout.data / tier
        place.parent.mkdir(parents=True)
        (tmp_path / "disk").mkdir(exist_ok=True)
        place.symlink_to(tmp_path / "disk")
        put(made, number + 1)
    first.update("trades")
    before = {path: path.read_bytes() for path in (tmp_path / "disk").rglob("*.*")}
    for _ in range(2):
        with pytest.raises(StorageError, match=rf"data/{tier}: leads to a folder of another wareh"):
            second.update("trades")
    assert before == {path: path.read_bytes() for path in (tmp_path / "disk").rglob("*.*")}
    assert first.verify().faults == []
    with Warehouse(first.root) as wh:
        assert set(wh.trades(SYMBOLS, DAY, DAY)["price"]) == {1.0}
    # Whose it is goes with the warehouse.
    first.root.rename(tmp_path / "moved")
    moved = make(tmp_path / "moved")
    put(moved, 3)
    moved.update("trades")
    with Warehouse(moved.root) as wh:
        assert set(wh.trades(SYMBOLS, DAY, DAY)["price"]) == {3.0}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cache", "rejects"),
        ("cache", "manifests"),
        ("cache/quotes", "cache/trades"),
        ("cache", "raw"),
    ],
)
def test_two_folders_of_a_warehouse_that_are_one_by_a_link_are_refused(
    tmp_path: Path, one: str, other: str
) -> None:
    made = make(tmp_path / "w")
    (tmp_path / "disk").mkdir()
    for name in (one, other):
        place = made.layout.data / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(tmp_path / "disk")
    put(made, 1)
    with pytest.raises(StorageError, match=r"is one folder with .*: give each its own"):
        made.update("trades")
    assert not list((tmp_path / "disk").rglob("*.parquet"))


@pytest.mark.parametrize("folder", ["cache", "cache/trades/B", "manifests/x", "set_aside"])
def test_a_warehouse_within_what_another_keeps_is_refused(tmp_path: Path, folder: str) -> None:
    first = make(tmp_path / "first")
    put(first, 1)
    first.update("trades")
    inside = first.layout.data / folder / "mine"
    second = make(tmp_path / "second", storage__cache_dir=str(inside))
    put(second, 2)
    with pytest.raises(StorageError, match=r"lies within what the warehouse of .* keeps"):
        second.update("trades")
    assert not inside.exists()
    beside = make(tmp_path / "third", storage__cache_dir=str(first.layout.data / "third/cache"))
    put(beside, 3)
    beside.update("trades")
    assert first.verify().faults == []


@pytest.mark.parametrize("is_foreseen", [True, False])
def test_a_full_disk_of_a_tier_is_found_out_before_the_journal_is_written(
    is_foreseen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_foreseen:
        # It fills up after it was looked at.
        monkeypatch.setattr("warehouse.store.publishing.publish._check_room", lambda *moves: None)
    place = "trades" if is_foreseen else r"trades/\.staging/\d+"
    disk, made = tmp_path / "disk", make(tmp_path / "w")
    with small_disk(disk, 1):
        made.layout.data.mkdir(exist_ok=True)
        made.layout.cache.symlink_to(disk)
        put(made, 1)
        made.update("trades")
        put(made, 2)
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file:
            free = os.statvfs(disk)
            file.write(bytes(free.f_bavail * free.f_frsize))
        with pytest.raises(StorageError, match=rf"data/cache/{place}: .*No space left"):
            made.update("trades")
        assert not journal.stands(made.layout)
        with Warehouse(made.root) as wh:
            assert set(wh.trades(SYMBOLS, DAY, DAY)["price"]) == {1.0}
            filler.unlink()
            made.update("trades")
            assert set(wh.trades(SYMBOLS, DAY, DAY)["price"]) == {2.0}


def test_a_link_below_a_tier_is_refused_before_the_journal_is_written(
    made: Made, tmp_path: Path
) -> None:
    shutil.move(made.layout.cache / "trades/MSFT", tmp_path / "elsewhere")
    (made.layout.cache / "trades/MSFT").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"cache/trades/MSFT: .* it is a link; .* may be a link"):
        made.update("trades")
    assert not journal.stands(made.layout)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("history/findings", "history/findings: .*it is a link"),
        ("rejects/trades/2024_01", "rejects/trades/2024_01: .*it is a link"),
        ("set_aside/trades", "set_aside/trades: is a link"),
        ("set_aside/trades/2024", "set_aside/trades/2024: is a link"),
    ],
)
def test_no_folder_is_made_where_a_link_below_a_folder_of_the_warehouses_leads(
    made: Made, tmp_path: Path, name: str, told: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = made.layout.data / name
    shutil.rmtree(link, ignore_errors=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    if name.startswith("set_aside"):
        made.put(day_key("trades", DAY), b"no gzip file")
    with pytest.raises(StorageError, match=told):
        made.update("trades")
    assert tree(outside) == {}
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["schema", "manifests", "ledger", "history", "recipes", "staging"])
def test_a_file_in_a_folders_place_is_told_before_anything_is_made_anew(
    made: Made, name: str
) -> None:
    made.update("trades")
    place = made.layout.data / name
    shutil.rmtree(place)
    place.write_text("a file")
    catalog = made.layout.catalog.read_bytes()
    made.put(day_key("trades", DAY), [trade("AAPL", instant(DAY), 1, price=9)])
    with pytest.raises(StorageError, match=f"{place}: is a file, not a folder; move it away"):
        made.update("trades")
    assert made.layout.catalog.read_bytes() == catalog
    place.unlink()
    made.update("trades")
    assert made.sql("select max(price) from trades") == [(9,)]


def test_a_staging_folder_that_is_a_link_is_refused_and_not_emptied(
    made: Made, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    shutil.rmtree(made.layout.staging)
    made.layout.staging.symlink_to(outside)
    with pytest.raises(StorageError, match="is a link"):
        made.update("trades")
    assert (outside / "precious").read_text() == "precious"


def nested(folder: Path, depth: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def test_folders_nested_without_end_are_told_in_a_line_or_passed_over(made: Made) -> None:
    nested(made.layout.cache / "trades", 3000)
    nested(made.layout.history, 3000)
    made.verify()
    nested(made.layout.staging, 3000)
    if sys.version_info < (3, 13):
        with pytest.raises(StorageError, match="nested too deeply; remove it with: rm -r"):
            made.update("trades")
    subprocess.run(["rm", "-r", made.layout.staging], check=True)
    made.update("trades")
    for folder in (made.layout.cache / "trades", made.layout.history):
        subprocess.run(["rm", "-r", folder / "d"], check=True)


@pytest.mark.parametrize("name", ["logs", "metrics", "refused", "set_aside"])
def test_nothing_is_written_where_a_folder_of_the_warehouses_own_leads(
    made: Made, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "theirs").mkdir(parents=True)
    (outside / "theirs/refused.json").write_text("precious")
    folder = made.layout.data / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.symlink_to(outside)
    there = tree(outside)
    with pytest.raises(StorageError, match=f"{name}: is a link; .* put a folder in its place"):
        made.update("trades")
    assert tree(outside) == there
    folder.unlink()
    made.update("trades")


def test_no_link_in_place_of_a_file_that_a_writer_writes_is_written_through(
    made: Made, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    raw = "raw/trades/2024/01/2024-01-02.csv.gz"
    names = (
        *("logs/warehouse.jsonl", "metrics/warehouse.prom", "writer.txt", "publish.json"),
        *("warehouse.id", "warehouse.id.new", "cache/trades/MSFT/2024_01.parquet"),
        *(f"{raw}.part", f"{raw}.part.json.new"),
    )
    for name in names:
        victim = outside / name.replace("/", "-")
        victim.write_text("precious")
        path = made.layout.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(victim)
    there = tree(outside)
    with suppress(WarehouseError):
        made.update("trades")
    assert tree(outside) == there


# What is kept of a refused batch


def test_what_validation_refused_bears_the_files_mode(tmp_path: Path) -> None:
    by_symbol = {"day_aggs": "symbol"}
    made = make(tmp_path / "w", storage__file_mode="640", storage__layout=by_symbol)
    stranger = made.layout.refused / "mine"
    stranger.mkdir(parents=True)
    made.put(day_key("day_aggs", DAY), [f"BAD,100,10.1,10.2,9.0,10.0,{instant(DAY, '00:00')},3"])
    old = os.umask(0)
    try:
        (refused,) = made.update("day_aggs").refused
    finally:
        os.umask(old)
    modes = {
        f"{path.stat().st_mode & 0o777:o}" for path in refused.folder.rglob("*") if path.is_file()
    }
    folders = {path for path in refused.folder.rglob("*") if path.is_dir()}
    assert modes == {"640"}
    assert {f"{path.stat().st_mode & 0o777:o}" for path in folders} == {"750"}
    # What no run has put there stays.
    assert stranger.exists()


# Whose folder it is


def two(tmp_path: Path) -> tuple[Made, Made]:
    """Two warehouses whose cache folders are neighbours."""
    first = make(tmp_path / "a", storage__cache_dir=str(tmp_path / "shared/one"))
    second = make(tmp_path / "b", storage__cache_dir=str(tmp_path / "shared/two"))
    put(first, 1)
    put(second, 2)
    return first, second


def test_two_warehouses_with_neighbouring_caches_do_not_mix(tmp_path: Path) -> None:
    first, second = two(tmp_path)
    first.update("trades")
    there = tree(first.layout.data)
    with Warehouse(second.root) as wh:
        for ask in (second.update, second.verify, lambda: wh.query("select * from trades")):
            with pytest.raises(
                StorageError, match=r"shared/one; .*cache_dir: .*/two/cache"
            ) as told:
                ask()
            assert "\n" not in str(told.value)
    assert tree(first.layout.data) == there
    second.configure(storage__cache_dir=str(tmp_path / "shared/two/cache"))
    for made, price in ((first, 1), (second, 2)):
        made.update("trades")
        with Warehouse(made.root) as wh:
            assert set(wh.query("select price from trades")["price"]) == {price}


def test_a_warehouse_of_the_version_before_gets_its_marker_and_keeps_out_its_neighbour(
    tmp_path: Path,
) -> None:
    first, second = two(tmp_path)
    first.update("trades")
    first.layout.marker.unlink()
    with pytest.raises(StorageError, match="shared/one"):
        second.update("trades")
    assert not first.layout.marker.exists()
    first.update("trades")
    found = data_folder_id.read(first.layout)
    assert found is not None
    assert found.cache == "one"
    first.update("trades")
    assert data_folder_id.read(first.layout) == found


@pytest.mark.parametrize("name", ["staging", "refused"])
def test_what_a_stranger_keeps_beside_the_cache_folder_is_not_removed(
    tmp_path: Path, name: str
) -> None:
    shared = tmp_path / "shared"
    precious = shared / name / "theirs/precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    made = make(tmp_path / "w", storage__cache_dir=str(shared / "cache"))
    put(made, 1)
    if name == "staging":
        with pytest.raises(StorageError, match=r"storage\.cache_dir: .*/shared/.+/cache"):
            made.update("trades")
        assert sorted(path.name for path in shared.iterdir()) == [name]
    else:
        made.update("trades")
    assert precious.read_text() == "precious"


@pytest.mark.parametrize(
    "name",
    [
        "ledger/trades/2024_01.parquet",
        "cache/trades/AAPL/2024_01.parquet",
        "rejects/trades/2024_01/2024-01-31.parquet",
        "history/runs/2024_01.parquet",
        "history/findings/trades/2024_01.parquet",
        "schema/trades.parquet",
        "metrics/warehouse.prom",
        "warehouse.id",
        "writer.txt",
        "writer.lock",
        "warehouse.duckdb.wal",
    ],
)
def test_no_file_that_a_stranger_keeps_is_written_over_by_the_first_update(
    tmp_path: Path, name: str
) -> None:
    shared = tmp_path / "shared"
    precious = shared / name
    precious.parent.mkdir(parents=True)
    pq.write_table(pa.table({"precious": [1]}), precious)
    content = precious.read_bytes()
    made = make(tmp_path / "w", storage__cache_dir=str(shared / "cache"))
    put(made, 1)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"no warehouse has made it.*storage\.cache_dir: "):
            made.update("trades")
    assert precious.read_bytes() == content
    assert [path for path in shared.rglob("*") if path.is_file()] == [precious]
    precious.rename(tmp_path / "elsewhere")
    made.update("trades")
    with Warehouse(made.root) as wh:
        assert answers(wh) == OLD


def test_what_a_stranger_calls_otherwise_than_a_warehouse_does_keeps_no_update_out(
    tmp_path: Path,
) -> None:
    shared = tmp_path / "shared"
    kept = [shared / "ledger/2024.ods", shared / "ledger/trades/notes.txt", shared / "history/a/b"]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    made = make(tmp_path / "w", storage__cache_dir=str(shared / "cache"))
    put(made, 1)
    made.update("trades")
    assert [path.read_text() for path in kept] == ["precious"] * len(kept)


@pytest.mark.parametrize("kept", ["cache", "ledger"])
def test_a_backup_of_ones_own_without_its_mark_is_taken_up_again(made: Made, kept: str) -> None:
    for path in made.layout.data.iterdir():
        if path.name not in (kept, "raw"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    made.update("trades")
    assert made.verify().faults == []


THEIRS = ("cache/trades/AAPL/2024_01.parquet", "rejects/trades/2024_01/2024-01-02.parquet")


def test_what_somebody_keeps_where_a_file_is_published_is_set_aside_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make(tmp_path)
    later = DAY + timedelta(days=1)
    made.put(day_key("trades", later), [trade("B", instant(later))])
    made.update("trades")
    for name in THEIRS:
        path = made.layout.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"precious {name}")
    put(made, 1)
    made.update("trades")
    (kept,) = made.layout.set_aside.glob("unknown-*")
    for name in THEIRS:
        assert (kept / name).read_text() == f"precious {name}"
        assert f"{made.layout.data / name} was no file that the catalog knows" in caplog.text
    assert not made.verify().faults
    # What is its own it replaces without a word.
    caplog.clear()
    put(made, 2)
    made.update("trades")
    assert set(made.sql("select price from trades where symbol = 'AAPL'")) == {(2.0,)}
    assert list(made.layout.set_aside.glob("unknown-*")) == [kept]
    assert "was no file that the catalog knows" not in caplog.text


@pytest.mark.parametrize("kept", ["history", "rejects", "manifests", "reference"])
def test_a_part_of_a_backup_of_ones_own_is_taken_up_without_partitions_and_ledger(
    tmp_path: Path, kept: str
) -> None:
    made = make(tmp_path)
    put(made, 1)
    refused = [trade("AAPL", instant(DAY), price=-1), trade("MSFT", instant(DAY))]
    made.put(day_key("trades", DAY), refused)
    made.update("trades")
    export = tmp_path / "splits.csv"
    columns = (
        "id,execution_date,ticker,split_from,split_to,adjustment_type,historical_adjustment_factor"
    )
    export.write_text(f"{columns}\nE1,2024-01-02,AAPL,1,2,forward_split,0.5\n")
    with Warehouse(made.root) as wh:
        wh.load_reference(export)
    assert any((made.layout.data / kept).rglob("*.parquet"))
    for path in made.layout.data.iterdir():
        if path.name not in (kept, "raw"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    made.update("trades")
    assert made.verify().faults == []


def test_a_moved_a_copied_and_a_renamed_warehouse_keep_working(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.root, tmp_path / "copy")
    shutil.move(made.root, tmp_path / "moved")
    for place in ("copy", "moved"):
        other = replace(made, root=tmp_path / place)
        other.ingest("trades")
        assert set(other.sql("select price from trades")) == {(1.0,)}
    other.layout.cache.rename(other.layout.data / "renamed")
    other.configure(storage__cache_dir="data/renamed")
    other.ingest("trades")
    found = data_folder_id.read(other.layout)
    assert found is not None
    assert found.cache == "renamed"


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b'{"id": 1, "cache": "x"}', b'{"id": "", "cache": "../.."}', b"\xff"],
)
def test_a_marker_that_is_none_is_made_anew(made: Made, text: bytes) -> None:
    made.layout.marker.write_bytes(text)
    with Warehouse(made.root) as wh:
        assert answers(wh) == OLD
    made.ingest("trades")
    assert data_folder_id.read(made.layout) is not None


def test_a_folder_in_the_place_of_the_marker_is_named_with_what_to_do(made: Made) -> None:
    marker = made.layout.marker
    marker.unlink()
    marker.mkdir()
    with pytest.raises(StorageError) as told:
        made.ingest("trades")
    assert str(told.value) == f"{marker}: a folder stands in its place; move it away"
    marker.rmdir()
    made.ingest("trades")
    assert data_folder_id.read(made.layout) is not None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cache_dir", "."),
        ("cache_dir", ".."),
        ("cache_dir", "data/staging"),
        ("cache_dir", "data/x/../refused"),
        ("raw_data_dir", "data/staging/raw"),
        ("raw_data_dir", "data/cache"),
        ("raw_data_dir", "data/rejects"),
    ],
)
def test_a_folder_that_a_writer_would_clear_or_mix_up_is_refused(
    tmp_path: Path, key: str, value: str
) -> None:
    made = make(tmp_path / "w", **{f"storage__{key}": value})
    with pytest.raises(ConfigError, match=f"storage.{key}"):
        made.layout  # noqa: B018
