"""A shell keeps the catalog that it opened: what is published meanwhile is read right, or told."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import Made, day_key, instant, make, trade

from warehouse import Warehouse
from warehouse.cli.shell import shell_arguments
from warehouse.core.request import Request
from warehouse.errors import CorruptPartitionError, StorageError
from warehouse.ingest import market_builder
from warehouse.maintenance.convert_layout import convert_layout
from warehouse.store.publishing import publish

FIRST, SECOND, THIRD = (date(2024, 1, day) for day in (29, 30, 31))
ROWS = {"A": 15, "B": 12, "C": 18, "D": 4}
UNMOVED = {"A": 15, "B": 11, "C": 18, "D": 5}
"""Cut as ROWS are."""
MOVED = {"A": 5, "B": 12, "C": 18, "D": 9}
"""B stands in the first file now, C in the second."""
QUESTIONS = (
    "trades_of('B')",
    f"trades_of('B', '{FIRST}', '{THIRD}')",
    f"trades_of('B', '{FIRST}', '{THIRD}', adjust := 'splits')",
    "trades",
    "bars_1m_of('B')",
    f"bars_1m_of('B', '{FIRST}', '{THIRD}')",
    "bars_1m",
    f"bars_of('B', '{FIRST}', '{THIRD}')",
    f"trades_beyond_quantile_of('B', '{FIRST}', '{THIRD}', q := 0.5)",
)
TOLD = (
    "sessions were published anew since this shell was opened: open it anew; if that tells it too:"
    " warehouse verify --repair"
)
KILLED_SHELL = (
    "import duckdb, os, sys\n"
    "shell = duckdb.connect(sys.argv[1])\n"
    "shell.execute(\"set wal_autocheckpoint = '1GB'\")\n"
    "shell.execute('create table mine as select range as n from range(1000)')\n"
    "os._exit(0)\n"
)
"""Leaves a log beside the database that it is given."""


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session is cut into several files though it is small."""
    monkeypatch.setattr(market_builder, "FILE_ROWS", 20)


def lines(day: date, rows: Mapping[str, int]) -> list[str]:
    """Trades, each in a minute of its own, so that there are as many bars."""
    return [
        trade(symbol, instant(day, f"10:{number:02}"), number + 1, price=9 + number)
        for symbol, count in rows.items()
        for number in range(count)
    ]


def session(made: Made, day: date, rows: Mapping[str, int]) -> None:
    made.put(day_key("trades", day), lines(day, rows))
    made.update("trades")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    layout = {"trades": "market", "bars": "market"}
    made = make(tmp_path, storage__layout=layout, bars__keep=["1m"])
    session(made, FIRST, ROWS)
    session(made, SECOND, ROWS)
    return made


class Shell:
    """The catalog as it stands now, whatever else of this process has it open."""

    def __init__(self, made: Made) -> None:
        self.connection = duckdb.connect()
        path = made.root / "data/warehouse.duckdb"
        self.connection.execute(f"attach '{path}' as warehouse (read_only)")
        self.connection.execute("use warehouse")

    def count(self, question: str) -> int:
        row = self.connection.execute(f"select count(*) from {question}").fetchone()
        assert row is not None
        return int(row[0])

    def counts(self) -> dict[str, int]:
        return {question: self.count(question) for question in QUESTIONS}


@pytest.fixture
def open_shell() -> Iterator[Callable[[Made], Shell]]:
    opened: list[Shell] = []

    def open_one(made: Made) -> Shell:
        opened.append(Shell(made))
        return opened[-1]

    yield open_one
    for shell in opened:
        shell.connection.close()


OpenShell = Callable[[Made], Shell]


def of_cuts(made: Made) -> list[str]:
    """The data types that have a file which stands for how their sessions are cut."""
    return [path.name.partition(".")[0] for path in made.layout.schemas_of_cuts()]


def assert_told(shell: Shell) -> None:
    for question in QUESTIONS:
        with pytest.raises(duckdb.IOException, match=TOLD) as caught:
            shell.count(question)
        assert str(caught.value).partition("\n")[0].endswith(f'{TOLD}]uet"')


def test_what_is_cut_otherwise_than_when_a_shell_was_opened_is_told(
    made: Made, open_shell: OpenShell
) -> None:
    shell = open_shell(made)
    before = shell.counts()
    assert before["trades_of('B')"] == before["bars_1m_of('B')"] == 24
    session(made, SECOND, MOVED)
    assert_told(shell)
    anew = open_shell(made).counts()
    assert anew["trades_of('B')"] == anew["bars_1m_of('B')"] == 24
    assert anew["trades"] == anew["bars_1m"] == sum(ROWS.values()) + sum(MOVED.values())
    assert of_cuts(made) == ["bars_1m", "trades"]
    assert made.verify().faults == []


def test_what_is_cut_otherwise_is_told_before_the_first_file_is_another(
    made: Made, open_shell: OpenShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a publish that is killed half-way it is, too."""
    shell, real = open_shell(made), publish._put
    answers: list[int] = []

    def put(*arguments: Any) -> None:
        real(*arguments)
        if "/cache/trades/" in arguments[-1]:
            with suppress(duckdb.IOException):
                answers.append(shell.count("trades_of('B')"))

    monkeypatch.setattr(publish, "_put", put)
    session(made, SECOND, MOVED)
    assert {*answers} <= {24}
    assert_told(shell)


def test_what_is_cut_as_before_is_read_as_it_is_now_and_so_are_other_sessions(
    made: Made, open_shell: OpenShell
) -> None:
    shell = open_shell(made)
    cuts = made.layout.schemas_of_cuts()
    session(made, SECOND, UNMOVED)
    session(made, THIRD, MOVED)
    session(made, date(2024, 2, 1), MOVED)
    assert made.layout.schemas_of_cuts() == cuts
    assert shell.count("trades_of('B')") == shell.count("bars_1m_of('B')") == 12 + 11
    assert shell.count("trades") == shell.count("bars_1m") == 2 * sum(ROWS.values())
    assert shell.count("trades_of('D')") == 4 + 5
    shell.counts()


def test_a_session_that_is_gone_and_comes_back_is_told(made: Made, open_shell: OpenShell) -> None:
    shell = open_shell(made)
    made.put(day_key("trades", SECOND), [trade("A", instant(SECOND), 1, price=-1)])
    made.update("trades")
    session(made, SECOND, MOVED)
    assert_told(shell)


def test_a_layout_that_comes_back_is_told(made: Made, open_shell: OpenShell) -> None:
    shell = open_shell(made)
    types = Request.of(["trades"])
    convert_layout(made.pipeline, types, "symbol")
    assert "trades" not in of_cuts(made)
    session(made, SECOND, MOVED)
    convert_layout(made.pipeline, types, "market")
    with pytest.raises(duckdb.IOException, match=TOLD):
        shell.count("trades_of('B')")


def test_a_shell_that_was_opened_before_a_catalog_was_lost_is_told(
    made: Made, open_shell: OpenShell
) -> None:
    shell = open_shell(made)
    made.layout.catalog.unlink()
    session(made, SECOND, MOVED)
    assert_told(shell)
    assert made.verify().faults == []
    assert open_shell(made).count("trades_of('B')") == 24


def test_a_catalog_that_does_not_tell_how_sessions_are_cut_is_followed_by_one_that_does(
    made: Made, open_shell: OpenShell
) -> None:
    """As one of the version before does not; its shells answer as they did."""
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        for kind in ("trades", "bars_1m"):
            ((names,),) = catalog.execute(f"select {kind}_market_names()").fetchall()
            catalog.execute(
                f"create or replace macro {kind}_market_names() as '{names.partition(',')[2]}'"
            )
    for path in made.layout.schemas_of_cuts():
        path.unlink()
    assert made.verify().faults == []
    with Warehouse(made.root) as wh:
        assert len(wh.query("from trades_of('B')")) == 24
    earlier = open_shell(made)
    session(made, THIRD, ROWS)
    assert of_cuts(made) == ["bars_1m", "trades"]
    assert earlier.count("trades_of('B')") == 24
    shell = open_shell(made)
    session(made, THIRD, MOVED)
    assert_told(shell)


def test_sql_of_the_version_before_reads_what_it_read(made: Made, open_shell: OpenShell) -> None:
    path = made.root / "sql/catalog/files.sql"
    told = "one[1] = 'cut'\n                or "
    assert told in path.read_text()
    path.write_text(path.read_text().replace(told, ""))
    session(made, SECOND, MOVED)
    assert open_shell(made).count("trades_of('B')") == 24
    with Warehouse(made.root) as wh:
        assert len(wh.query("from trades")) == sum(ROWS.values()) + sum(MOVED.values())
    assert made.verify().faults == []


def test_readers_of_the_library_go_on_while_sessions_are_cut_anew(made: Made) -> None:
    wrong: list[object] = []
    is_over = threading.Event()
    answered: list[int] = []

    def read() -> None:
        with Warehouse(made.root) as wh:
            while not is_over.is_set():
                try:
                    found = wh.query("select count(*) as n from trades_of('B')", "arrow")
                    answered.append(found["n"][0].as_py())
                    found = wh.query("select count(*) as n from bars_1m_of('B')", "arrow")
                    answered.append(found["n"][0].as_py())
                except Exception as error:
                    wrong.append(error)
                    return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for rows in (MOVED, ROWS, MOVED, ROWS):
            session(made, SECOND, rows)
    finally:
        is_over.set()
        reader.join()
    assert wrong == []
    assert {*answered} == {24}


def test_a_copy_elsewhere_that_cannot_be_written_to_answers(made: Made, tmp_path: Path) -> None:
    session(made, SECOND, MOVED)
    copy = tmp_path / "copy"
    shutil.copytree(made.root, copy)
    shutil.rmtree(made.root)
    mode = (copy / "data/schema").stat().st_mode
    for folder in (copy / "data", copy / "data/schema"):
        folder.chmod(0o555)
    try:
        with Warehouse(copy) as wh:
            assert len(wh.query("from trades_of('B')")) == 24
            assert len(wh.query("from bars_1m")) == sum(ROWS.values()) + sum(MOVED.values())
        assert wh.verify().faults == []
    finally:
        for folder in (copy / "data", copy / "data/schema"):
            folder.chmod(mode)


@pytest.mark.parametrize("harm", ["missing", "damaged", "with rows", "a link"])
def test_what_stands_for_the_cut_is_verified_and_mended(made: Made, harm: str) -> None:
    (path,) = (one for one in made.layout.schemas_of_cuts() if one.name.startswith("trades."))
    sound = path.read_bytes()
    if harm == "damaged":
        path.write_bytes(sound[:-5])
    else:
        path.unlink()
    if harm == "with rows":
        shutil.copy(made.layout.cache / "trades/market/2024_01/29_00.parquet", path)
    elif harm == "a link":
        path.symlink_to(made.layout.schema / "trades.parquet")
    with Warehouse(made.root) as wh, pytest.raises(CorruptPartitionError) as caught:
        wh.query("from trades_of('B')")
    assert caught.value.path == path
    assert [(fault.path, fault.kind) for fault in made.verify().faults] == [(path, "schema")]
    made.repair()
    assert made.verify().faults == []
    assert path.read_bytes() == sound
    assert not path.is_symlink()
    with Warehouse(made.root) as wh:
        assert len(wh.query("from trades_of('B')")) == 24


def test_what_a_killed_publish_leaves_is_no_fault_and_goes_with_the_next(made: Made) -> None:
    left = made.layout.schema_of_cut("trades", "20240101T000000000000")
    pq.write_table(pa.table({"symbol": pa.array([], pa.string())}), left)
    theirs = made.layout.schema_of_cut("quotes", "20240101T000000000000")
    theirs.mkdir()
    damaged = made.layout.schema_of_cut("trades", "20240102T000000000000")
    damaged.touch()
    with Warehouse(made.root) as wh:
        assert len(wh.query("from trades_of('B')")) == 24
    damaged.unlink()
    assert [fault.path for fault in made.verify().faults] == [theirs]
    session(made, THIRD, ROWS)
    assert not left.exists()
    assert theirs.is_dir()


def test_day_bars_of_a_month_in_one_file_have_no_cut(tmp_path: Path) -> None:
    made = make(tmp_path, storage__layout={"day_aggs": "market"})
    made.put(day_key("day_aggs", FIRST), [f"A,1,10,10,11,9,{instant(FIRST, '00:00')},1"])
    made.update("day_aggs")
    assert of_cuts(made) == []


def test_the_log_of_another_catalog_is_told_by_the_shell_and_set_aside_by_who_writes_next(
    made: Made, tmp_path: Path
) -> None:
    """As a shell that writes leaves it beside the catalog after the one that it opened."""
    log = Path(f"{made.layout.catalog}.wal")
    other = tmp_path / "other.duckdb"
    subprocess.run([sys.executable, "-c", KILLED_SHELL, str(other)], check=True)
    shutil.copyfile(f"{other}.wal", log)

    with pytest.raises(StorageError, match=r"beside the log .* warehouse update$"):
        shell_arguments(made.layout, [])
    made.update("trades")
    assert not log.exists()
    assert len(list(made.layout.set_aside.glob("warehouse.duckdb-*.wal"))) == 1
    assert shell_arguments(made.layout, [])[0] == "-readonly"


def test_a_damaged_log_of_the_catalog_that_stands_is_called_that_and_set_aside(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    log = Path(f"{made.layout.catalog}.wal")
    subprocess.run([sys.executable, "-c", KILLED_SHELL, str(made.layout.catalog)], check=True)
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0xFF
    log.write_bytes(content)
    made.update("trades")
    assert "does not fit the catalog that it stands beside: it is damaged, or of one" in caplog.text
    (kept,) = made.layout.set_aside.glob("warehouse.duckdb-*.wal")
    assert kept.read_bytes() == bytes(content)
