"""One opener for every DuckDB, and what a connection of it reaches: its folders and no more."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from glob import escape
from pathlib import Path

import duckdb
import numpy as np
import pytest
from building import REPOSITORY

from warehouse.core import duckdb_connection
from warehouse.core.duckdb_connection import (
    AttachedDatabase,
    connect,
    quoted,
    watched,
    within,
)
from warehouse.core.process import resident_bytes
from warehouse.errors import TooLargeError
from warehouse.ingest.inflate import MEMORY_FILES, MEMORY_FOLDERS, Piece

PACKAGE = REPOSITORY / "warehouse"


def opens_duckdb(path: Path) -> bool:
    """Whether a module opens DuckDB, or asks the one that DuckDB opens by itself."""
    openers = ("connect", "sql", "execute", "query", "default_connection", "cursor", "from_query")
    tree = ast.parse(path.read_text("utf-8"))
    return any(
        (isinstance(node, ast.ImportFrom) and node.module == "duckdb")
        or (
            isinstance(node, ast.Attribute)
            and node.attr in openers
            and isinstance(node.value, ast.Name)
            and node.value.id == "duckdb"
        )
        for node in ast.walk(tree)
    )


def test_an_interactive_python_sees_no_progress_bar_of_duckdbs() -> None:
    program = """
from warehouse.core.duckdb_connection import connect
with connect() as base:
    for connection in (base, base.cursor()):
        print(*connection.execute("select current_setting('enable_progress_bar')").fetchone())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from range(100000000000) as a where hash(a.range) % 7 = 1",
        "with recursive t(i) as (select 1 union all select i + 1 from t) select max(i) from t",
    ],
)
def test_ctrl_c_ends_a_statement_that_would_never_end(sql: str) -> None:
    program = """
import os, signal, sys, threading
from warehouse.core.duckdb_connection import connect, watched
with connect() as connection:
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        watched(connection, "it", lambda: connection.sql(sys.argv[1]).to_arrow_table())
    except KeyboardInterrupt:
        print(*connection.execute("select 'goes on'").fetchone())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, sql], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "goes on\n"


@pytest.mark.parametrize("is_main", [True, False], ids=["main thread", "another"])
def test_an_answer_that_takes_up_the_memory_is_ended(
    is_main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resident_bytes()
    monkeypatch.setattr(
        duckdb_connection,
        "available_bytes",
        lambda: max(0, before + (400 << 20) - resident_bytes()),
    )

    def refused() -> TooLargeError:
        with connect() as connection:
            endless = connection.sql("select * from range(100000000000)")
            with pytest.raises(TooLargeError, match="LIMIT") as caught:
                watched(connection, "numbers", endless.to_arrow_table)
            assert connection.execute("select 'goes on'").fetchone() == ("goes on",)
        return caught.value

    if is_main:
        error = refused()
    else:
        with ThreadPoolExecutor(1) as pool:
            error = pool.submit(refused).result()
    assert (error.asked, error.rows) == ("numbers", None)
    assert 200 << 20 < error.bytes < 2 << 30


def test_an_answer_goes_on_where_others_take_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        duckdb_connection, "available_bytes", iter(range(100 << 20, 0, -1)).__next__
    )
    with connect() as connection:
        slow = connection.sql("select sum(hash(a.range) % 7) from range(100000000) as a")
        assert watched(connection, "numbers", slow.to_arrow_table).num_rows == 1


def test_what_a_statement_raises_comes_through_as_it_is() -> None:
    with connect() as connection, pytest.raises(duckdb.ParserException):
        watched(connection, "it", lambda: connection.sql("selct 1"))


def test_duckdb_is_opened_in_one_module_alone() -> None:
    assert [path.stem for path in PACKAGE.rglob("*.py") if opens_duckdb(path)] == [
        "duckdb_connection"
    ]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """`inside` may be reached; it holds links that lead out."""
    for folder in ("inside", "outside"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.csv").write_text(f"a\n{folder}\n", "utf-8")
    (tmp_path / "inside/file.csv").symlink_to(tmp_path / "outside/rows.csv")
    (tmp_path / "inside/folder").symlink_to(tmp_path / "outside")
    return tmp_path


@pytest.fixture
def connection(disk: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(folders=[disk / "inside"], spill=disk / "spill") as connection:
        yield connection


def test_a_connection_reads_its_folders(connection: duckdb.DuckDBPyConnection, disk: Path) -> None:
    assert connection.execute(f"from '{disk}/inside/rows.csv'").fetchall() == [("inside",)]


@pytest.mark.parametrize(
    "statement",
    [
        "from read_csv('{disk}/outside/rows.csv')",
        "from '{disk}/outside/rows.csv'",
        "from read_text('{disk}/inside/../outside/rows.csv')",
        "from read_csv('{disk}/inside/file.csv')",
        "from read_csv('{disk}/inside/folder/rows.csv')",
        "from read_csv('{disk}/inside/*/*.csv')",
        "from read_blob('/proc/self/environ')",
        "from sniff_csv('{disk}/outside/rows.csv')",
        "copy (select 1) to '{disk}/outside/new.csv'",
        "copy (select 1) to '{disk}/inside/file.csv'",
        "export database '{disk}/outside/all'",
        "attach '{disk}/outside/new.duckdb' as new",
        "install httpfs",
        "load '{disk}/inside/rows.csv'",
        "create persistent secret stolen (type s3)",
        "from read_csv('https://localhost:1/rows.csv')",
    ],
)
def test_nothing_else_is_reached(
    connection: duckdb.DuckDBPyConnection, disk: Path, statement: str
) -> None:
    before = sorted(disk.rglob("*"))
    with pytest.raises(duckdb.Error):
        connection.execute(statement.format(disk=disk)).fetchall()
    assert sorted(disk.rglob("*")) == before


@pytest.mark.parametrize(
    "statement",
    [
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
        "set allowed_paths = ['/etc/passwd']",
        "set lock_configuration = false",
        "reset allowed_directories",
        "set temp_directory = '{disk}/outside'",
        "set memory_limit = '1TB'",
        "set python_enable_replacements = true",
        "set extension_directory = '{disk}/inside'",
        "pragma profiling_output = '{disk}/outside/profile'",
        "call enable_logging(storage = 'file', storage_config = {{'path': '{disk}/outside'}})",
    ],
)
def test_no_setting_can_be_changed(
    connection: duckdb.DuckDBPyConnection, disk: Path, statement: str
) -> None:
    with pytest.raises(duckdb.Error, match="locked"):
        connection.execute(statement.format(disk=disk))
    with connection.cursor() as another, pytest.raises(duckdb.Error, match="locked"):
        another.execute(statement.format(disk=disk))


def test_no_variable_of_the_callers_is_seen(connection: duckdb.DuckDBPyConnection) -> None:
    secret = duckdb.sql("select 1 as a").to_arrow_table()
    with pytest.raises(duckdb.CatalogException):
        connection.execute("from secret")
    assert secret.num_rows == 1


def test_a_folder_that_is_a_link_is_reached_by_both_names(disk: Path) -> None:
    (disk / "linked").symlink_to(disk / "outside")
    with connect(folders=[disk / "linked"]) as connection:
        for name in ("linked", "outside"):
            assert connection.execute(f"from '{disk}/{name}/rows.csv'").fetchall() == [("outside",)]


def test_a_folder_whose_name_looks_like_a_glob_is_reached_by_one(disk: Path) -> None:
    folder = disk / "it's [1] * and ?"
    folder.mkdir()
    (folder / "rows.csv").write_text("a\n1\n", "utf-8")
    (folder / "out.csv").symlink_to(disk / "outside/rows.csv")
    (disk / "linked [2]").symlink_to(folder)
    for named in (folder, disk / "linked [2]"):
        with connect(folders=[named]) as connection:
            for pattern in ("rows.csv", "r*.csv"):
                glob = quoted(f"{escape(str(named))}/{pattern}")
                assert connection.execute(f"from read_csv({glob})").fetchall() == [(1,)]
            glob = quoted(f"{escape(str(named))}/*.csv")
            with pytest.raises(duckdb.PermissionException):
                connection.execute(f"from read_csv({glob})").fetchall()


def test_a_folder_that_is_made_later_below_a_link_is_reached(disk: Path) -> None:
    (disk / "linked").symlink_to(disk / "outside")
    with connect(folders=[disk / "linked/later"]) as connection:
        (disk / "linked/later").mkdir()
        (disk / "linked/later/rows.csv").write_text("a\n1\n", "utf-8")
        assert connection.execute(f"from '{disk}/linked/later/rows.csv'").fetchall() == [(1,)]


def test_a_folder_that_becomes_a_link_later_leads_nowhere(disk: Path) -> None:
    with connect(folders=[disk / "later"]) as connection:
        (disk / "later").symlink_to(disk / "outside")
        with pytest.raises(duckdb.PermissionException):
            connection.execute(f"from '{disk}/later/rows.csv'").fetchall()


def test_what_is_attached_need_not_lie_in_a_folder(disk: Path) -> None:
    with connect(disk / "outside/it's.duckdb") as made:
        made.execute("create table found as select 7 as a")
    with connect(attached={"published": disk / "outside/it's.duckdb"}) as connection:
        assert connection.execute("from published.found").fetchall() == [(7,)]
        with pytest.raises(duckdb.Error, match="read-only"):
            connection.execute("insert into published.found values (8)")


def test_a_database_is_written_and_spills_though_it_is_confined(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    with connect(
        tmp_path / "new.duckdb", spill=spill, threads=1, memory_bytes=60_000_000
    ) as connection:
        connection.execute(
            "create table t as select range as i, hash(range)::varchar as s from range(1_000_000)"
        )
        connection.execute("force checkpoint")
        asked = "select count(*) from (select s from t order by s, i offset 1)"
        assert connection.execute(asked).fetchall() == [(999_999,)]


def test_pieces_in_memory_are_read_and_no_other_open_file(disk: Path) -> None:
    piece = Piece(("a",), 2, disk)
    descriptor = os.open(disk / "outside/rows.csv", os.O_RDONLY)
    try:
        piece.append(np.frombuffer(b"7\n", np.uint8), np.array([1]))
        with connect(folders=[*MEMORY_FOLDERS, disk], paths=MEMORY_FILES) as connection:
            assert connection.execute(f"from read_csv('{piece.path}')").fetchall() == [(7,)]
        with (
            connect(folders=MEMORY_FOLDERS, paths=MEMORY_FILES) as connection,
            pytest.raises(duckdb.PermissionException),
        ):
            connection.execute(f"from read_csv('/proc/self/fd/{descriptor}')").fetchall()
    finally:
        os.close(descriptor)
        piece.close()


# A database that is attached to a DuckDB that stays


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "one.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table t as select 1 as i")
    return path


def attached(path: Path, *folders: Path) -> AttachedDatabase:
    return AttachedDatabase("published", path, folders)


def test_one_that_was_closed_holds_no_file_and_shows_the_next_that_takes_its_place(
    database: Path, tmp_path: Path
) -> None:
    for answer in (1, 2, 3):
        one = attached(database)
        assert one.connection.execute("select max(i) from published.t").fetchall() == [(answer,)]
        one.close()
        files = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                 if os.path.lexists(f"/proc/self/fd/{n}")]  # fmt: skip
        assert str(database) not in files
        new = tmp_path / "new.duckdb"
        with duckdb.connect(str(new)) as connection:
            connection.execute(f"create table t as select {answer + 1} as i")
        new.replace(database)


def test_each_has_a_session_of_its_own(database: Path) -> None:
    one = attached(database)
    one.connection.execute(within("published"))
    one.connection.execute("create temp view t as select 7 as i")
    one.connection.execute("create temp macro own() as 7")
    one.close()

    two = attached(database)
    assert two.connection.execute("select i from published.t").fetchall() == [(1,)]
    with pytest.raises(duckdb.CatalogException):
        two.connection.execute("select own()")
    with pytest.raises(duckdb.CatalogException):
        two.connection.execute("from t")
    two.close()


def test_two_at_once_are_two(database: Path) -> None:
    one, two = attached(database), attached(database)
    for each in (one, two):
        assert each.connection.execute("select i from published.t").fetchall() == [(1,)]
    one.close()
    assert two.connection.execute("select i from published.t").fetchall() == [(1,)]
    two.close()


@pytest.mark.parametrize("times", [1, 2])
def test_it_reaches_its_folders_and_no_more(database: Path, tmp_path: Path, times: int) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "x.csv").write_text("a\n1\n")
    for _ in range(times):
        one = attached(database, inside)
        ask = one.connection.execute
        assert ask(f"from read_csv({quoted(inside / 'x.csv')})").fetchall() == [(1,)]
        with pytest.raises(duckdb.PermissionException):
            ask(f"from read_csv({quoted(outside / 'x.csv')})")
        with pytest.raises(duckdb.Error, match="read-only"):
            ask("insert into published.t values (2)")
        with pytest.raises(duckdb.Error, match="lock"):
            ask("set enable_external_access = true")
        one.close()


def test_a_link_to_a_database_is_opened_as_before(database: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.duckdb"
    link.parent.mkdir()
    link.symlink_to(database)
    one = attached(link)
    assert one.connection.execute("select i from published.t").fetchall() == [(1,)]
    one.close()


def test_a_damaged_one_is_an_error_and_the_next_is_opened(database: Path) -> None:
    attached(database).close()
    content = database.read_bytes()
    database.write_bytes(content[:100] + b"x" * 5000)
    with pytest.raises(duckdb.Error):
        attached(database)
    database.write_bytes(content)
    one = attached(database)
    assert one.connection.execute("select i from published.t").fetchall() == [(1,)]
    one.close()


def test_a_child_of_a_fork_opens_its_own(database: Path) -> None:
    program = f"""
import os
from pathlib import Path
from warehouse.core.duckdb_connection import AttachedDatabase
path = Path({str(database)!r})
AttachedDatabase("published", path, ()).close()
child = os.fork()
one = AttachedDatabase("published", path, ())
assert one.connection.execute("select i from published.t").fetchall() == [(1,)]
one.close()
if child:
    print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stderr
