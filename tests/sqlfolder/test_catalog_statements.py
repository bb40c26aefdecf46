"""What a file of sql/catalog may do, and that what it makes is bound before it is published."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from building import REPOSITORY, SESSION, Made, bar, day_key, instant, make, trade

from warehouse.core.config import Config
from warehouse.core.paths import Layout
from warehouse.errors import SqlFileError
from warehouse.sqlfolder import catalog_statements
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store.publishing import catalog_binding, catalog_sql

SQL = REPOSITORY / "sql"
Edited = Callable[[str, str, str], SqlFolder]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = replace(
        Config().layout(tmp_path / "warehouse"),
        own_conditions=REPOSITORY / "config/trade_conditions.csv",
    )
    layout.modes.make_folders(layout.staging)
    return layout


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    """The folder of SQL with one passage of one file of catalog/ replaced, wherever it stands."""

    def edit(name: str, before: str, after: str) -> SqlFolder:
        shutil.copytree(SQL, tmp_path / "sql")
        path = tmp_path / f"sql/catalog/{name}.sql"
        text = path.read_text("utf-8")
        assert before in text
        path.write_text(text.replace(before, after), "utf-8")
        return SqlFolder(tmp_path / "sql")

    return edit


def bind(layout: Layout, sql: SqlFolder) -> None:
    catalog_binding.bind(layout, sql, REPOSITORY / "config", catalog_sql.makers(sql))


def test_what_comes_with_the_project_is_bound_over_partitions_without_rows(layout: Layout) -> None:
    bind(layout, SqlFolder(SQL))
    assert not list(layout.staging.iterdir())


UNBOUND = {
    "a column of a view": ("trades", "* exclude (filename)", "nothing, * exclude (filename)"),
    "a column of a view of rejects": ("rejects", "select *", "select nothing"),
    "a column of a macro": ("outliers", "stddev_samp(price)", "stddev_samp(prize)"),
    "a column of one form of a macro": ("quotes", "and session between", "and day between"),
    "a parameter of a macro": ("path_name", "substr(symbol, 1, 1)", "substr(symbols, 1, 1)"),
    "a function": ("minute_aggs", "url_decode(", "url_decoded("),
    "a table": ("features", "from main.partitions,", "from main.partitioned,"),
    "a word": ("day_aggs", "where\n", "were\n"),
    "a view of itself": (
        "rejects",
        "where is_in_place();",
        "where is_in_place(); create or replace view rejects as from rejects",
    ),
}


@pytest.mark.parametrize("what", UNBOUND)
def test_what_cannot_be_bound_is_refused_by_the_name_of_its_file(
    what: str, layout: Layout, edited: Edited
) -> None:
    with pytest.raises(SqlFileError) as caught:
        bind(layout, edited(*UNBOUND[what]))
    assert caught.value.path.name == f"{UNBOUND[what][0]}.sql"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("create or replace view", "copy (select 1) to '{out}'; create or replace view"),
        ("create or replace view", "attach '{out}' as out; create or replace view"),
        ("create or replace view", "install httpfs; create or replace view"),
        ("create or replace view", "load json; create or replace view"),
        ("create or replace view", "set threads = 1; create or replace view"),
        ("create or replace view", "pragma enable_profiling; create or replace view"),
        ("create or replace view", "create type t as enum ('a'); create or replace view"),
        ("create or replace view", "create secret (type s3); create or replace view"),
        ("create or replace view", "export database '{out}'; create or replace view"),
        ("create or replace view", "select 1; create or replace view"),
        ("create or replace view", "drop table runs; create or replace view"),
        (
            "create or replace view",
            "create table t as with x as (copy (select 1 as a) to '{out}') select 1;"
            " create or replace view",
        ),
        (
            "create or replace view",
            "create table t (a, b) as select 1, 2; create or replace view",
        ),
        (
            "create or replace view",
            "create table t as select content from read_text('{out}'); create or replace view",
        ),
        ("rejects as", "rejects as with x as (copy (select 1 as a) to '{out}')"),
        (
            "create or replace view",
            "create macro m() as table (with x as (copy (select 1 as a) to '{out}') select 1);"
            " create or replace view",
        ),
        (
            "create or replace view",
            "create macro m() as (select content from read_text('{out}')); create or replace view",
        ),
        (
            "create or replace view",
            "insert into runs (run_id) select 'x' returning run_id; create or replace view",
        ),
        *(
            ("create or replace view", f"{statement}; create or replace view")
            for statement in (
                "create or replace table source_files as select 1 as a",
                "Create Or Replace Table Runs (a int)",
                "create view if not exists findings as select 1 as a",
            )
        ),
    ],
)
def test_a_file_of_the_catalog_creates_and_fills_and_does_nothing_else(
    before: str, after: str, layout: Layout, edited: Edited, tmp_path: Path
) -> None:
    out = layout.staging / "written"
    with pytest.raises(SqlFileError, match=r"rejects\.sql"):
        bind(layout, edited("rejects", before, after.format(out=out)))
    assert not out.exists()


def test_all_tables_that_a_writer_fills_are_known() -> None:
    made = re.findall(r"^create table (\w+)", (SQL / "catalog/tables.sql").read_text("utf-8"), re.M)
    assert set(made) == catalog_statements.WRITERS


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = make(tmp_path, {day_key("trades", SESSION): [trade("AAPL", instant(SESSION))]})
    made.update()
    shutil.copytree(SQL, made.root / "sql", dirs_exist_ok=True)
    return made


def test_an_unbound_column_is_refused_before_it_blocks_a_reader(made: Made) -> None:
    path = made.layout.root / made.config.storage.sql_dir / "catalog/quotes.sql"
    text = path.read_text("utf-8")
    # There are no quotes yet: their view would be made after the renames.
    path.write_text(text.replace("* exclude (filename)", "nothing, * exclude (filename)"), "utf-8")
    made.put(day_key("trades", SESSION), [trade("AAPL", instant(SESSION), 2)])
    with pytest.raises(SqlFileError, match=r"quotes\.sql.*nothing"):
        made.update()
    assert not made.layout.journal.exists()
    assert made.sql("select sequence_number from trades") == [(1,)]
    path.write_text(text, "utf-8")
    made.update()
    assert made.sql("select sequence_number from trades") == [(2,)]


@pytest.mark.parametrize("command", ["update", "ingest"])
def test_a_changed_file_is_in_the_shell_after_the_next_command_that_writes_though_nothing_is_new(
    made: Made, command: str
) -> None:
    path = made.root / "sql/catalog/trades.sql"
    text = path.read_text("utf-8")
    asked = "select (select max(size) from trades), (select max(generation) from warehouse)"
    ((size, generation),) = made.sql(asked)
    path.write_text(text.replace("replace (url", "replace (size + 1 as size, url"), "utf-8")
    getattr(made, command)()
    ((found, later),) = made.sql(asked)
    assert (found, later > generation) == (size + 1, True)
    made.update()
    assert made.sql(asked) == [(found, later)]
    # What was broken and is mended comes back by itself.
    path.write_text(text, "utf-8")
    made.update()
    assert made.sql(asked) == [(size, later + 1)]


def test_a_file_of_bars_that_cannot_be_read_stops_no_update_and_comes_back_when_it_is_mended(
    made: Made,
) -> None:
    path = made.root / "sql/bars/tape.sql"
    text = path.read_text("utf-8")
    path.write_text(text, "utf-16")
    made.put(day_key("trades", SESSION), [trade("AAPL", instant(SESSION), 2)])
    made.update()
    assert made.sql("select sequence_number from trades") == [(2,)]
    asked = f"select count(*) from bars_of('AAPL', '{SESSION}', '{SESSION}')"
    with pytest.raises(duckdb.Error, match=r"tape\.sql"):
        made.sql(asked)
    path.write_text(text, "utf-8")
    made.update()
    assert made.sql(asked) == [(1,)]


@pytest.mark.parametrize("name", ["trades", "files", "path_name", "tables", "quotes"])
def test_a_file_that_was_emptied_is_named_itself_not_the_one_that_asks_for_what_it_made(
    tmp_path: Path, name: str
) -> None:
    made = make(tmp_path, {day_key("day_aggs", SESSION): [bar("A", instant(SESSION, "00:00"))]})
    path = made.root / f"sql/catalog/{name}.sql"
    path.write_text("", "utf-8")
    with pytest.raises(SqlFileError, match=f"catalog/{name}.sql: holds no statement; delete it"):
        made.update("day_aggs")


@pytest.mark.parametrize(
    ("name", "what", "told"),
    [
        ("trades", "macro trades_of", "makes no trades_of any more, which outliers.sql asks for"),
        ("files", "macro manifest_files", "makes no manifest_files any more, which partitions.sql"),
        ("tables", "table runs", "makes no runs any more, a table that writers fill"),
    ],
)
def test_a_file_that_makes_no_more_what_others_ask_for_is_named_itself(
    tmp_path: Path, name: str, what: str, told: str
) -> None:
    made = make(tmp_path, {day_key("day_aggs", SESSION): [bar("A", instant(SESSION, "00:00"))]})
    path = made.root / f"sql/catalog/{name}.sql"
    text = path.read_text("utf-8")
    assert what in text
    path.write_text(text.replace(what, f"{what}_old"), "utf-8")
    with pytest.raises(SqlFileError, match=f"catalog/{name}.sql: {told}"):
        made.update("day_aggs")


@pytest.mark.parametrize("name", ['"runs"', "main.runs"])
def test_a_table_that_is_named_otherwise_is_not_told_to_be_made_no_more(
    tmp_path: Path, name: str
) -> None:
    made = make(tmp_path, {day_key("day_aggs", SESSION): [bar("A", instant(SESSION, "00:00"))]})
    path = made.root / "sql/catalog/tables.sql"
    text = path.read_text("utf-8")
    path.write_text(text.replace("create table runs", f"create table {name}"), "utf-8")
    with pytest.raises(SqlFileError, match=f"this is another statement: create table {name}"):
        made.update("day_aggs")


def test_a_file_beside_those_that_ship_is_told_to_be_read_by_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make(tmp_path, {day_key("day_aggs", SESSION): [bar("A", instant(SESSION, "00:00"))]})
    path = made.root / "sql/catalog/zz.sql"
    path.write_bytes("create view mine as select 1".encode("utf-16"))
    made.update("day_aggs")
    assert f"{path} is not read: the catalog is made of the files that come with" in caplog.text
    path.unlink()
    caplog.clear()
    made.rebuild("day_aggs")
    assert "is not read" not in caplog.text
