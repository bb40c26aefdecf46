"""Tables, views and macros are made once a process, and are what they would be, made anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from building import SESSION, Made, bar, day_key, instant, make, trade

from warehouse.store.publishing import empty_catalog

KEYS = {"trades": trade("A", instant(SESSION), 1), "day_aggs": bar("A", instant(SESSION, "00:00"))}
DEFINED = (
    "select view_name, sql from duckdb_views() where not internal order by all",
    # That of the table `warehouse` is the folder that it stands in.
    "select table_name, sql, comment from duckdb_tables() where table_name <> 'warehouse'"
    " order by all",
    # In what order DuckDB writes the columns of a REPLACE is another each time.
    "select function_name, parameters, parameter_types,"
    " list_sort(regexp_split_to_array(macro_definition, '[^a-z0-9_]+')) from duckdb_functions()"
    " where not internal and function_name <> 'data_folder' order by all",
    "select * exclude (sql), md5(sql) from features order by all",
    "from trade_conditions order by all",
    "from quote_conditions order by all",
    "from exchanges order by all",
    "from sessions order by all",
    "select symbol, price, size, session from trades",
    "select symbol, close, session from day_aggs",
)


@pytest.fixture(autouse=True)
def no_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has published nothing yet."""
    monkeypatch.setattr(empty_catalog, "_frames", {})


def published(folder: Path) -> Made:
    folder.mkdir()
    made = make(folder, {day_key(kind, SESSION): [line] for kind, line in KEYS.items()})
    made.update()
    return made


def test_a_catalog_is_the_same_whether_all_of_it_is_made_or_filled(tmp_path: Path) -> None:
    made = published(tmp_path / "made")
    assert len(empty_catalog._frames) == 1
    filled = published(tmp_path / "filled")
    assert len(empty_catalog._frames) == 1

    assert made.answers(*DEFINED) == filled.answers(*DEFINED)
    assert filled.sql("select data_folder()") == [(str(filled.layout.data),)]
    filled.check_catalog()


def test_what_is_kept_says_nothing_of_the_warehouse_that_it_was_made_in(tmp_path: Path) -> None:
    published(tmp_path / "made")
    (frame,) = empty_catalog._frames.values()
    assert b"trades_names" in frame
    assert str(tmp_path).encode() not in frame


@pytest.mark.parametrize("name", ["outliers", "bars", "reference"])
def test_a_catalog_of_somebodys_own_files_is_made_from_them_each_time(
    tmp_path: Path, name: str
) -> None:
    made = published(tmp_path / "made")
    before = dict(empty_catalog._frames)
    path = made.root / f"sql/catalog/{name}.sql"
    for answer in (1, 2):
        own = f"create or replace macro own_answer() as {answer};\n"
        path.write_text(own + path.read_text("utf-8").rpartition("own_answer() as 1;\n")[2])
        made.put(day_key("trades", SESSION), [trade("A", instant(SESSION), answer, price=answer)])
        made.update()
        assert made.sql("select own_answer()") == [(answer,)]
        assert made.sql("select price from trades") == [(answer,)]
    assert empty_catalog._frames == before


def test_a_list_or_a_feature_that_changes_is_in_the_next_catalog(tmp_path: Path) -> None:
    made = published(tmp_path / "made")
    conditions = made.root / "config/trade_conditions.csv"
    conditions.write_text(conditions.read_text("utf-8") + "999,Mine,true,true,true,,\n", "utf-8")
    feature = made.root / "sql/features/spread.sql"
    feature.write_text(feature.read_text("utf-8").replace("spread", "breadth"), "utf-8")
    feature.rename(feature.with_name("breadth.sql"))

    made.update()

    assert made.sql("select name from trade_conditions where id = 999") == [("Mine",)]
    macros = "select count(*) from duckdb_functions() where function_name = '{}_of'"
    assert made.answers(macros.format("breadth"), macros.format("spread")) == [[(2,)], [(0,)]]
    assert len(empty_catalog._frames) == 2


def test_a_feature_that_cannot_be_made_is_told_and_nothing_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    made = make(folder, {day_key(kind, SESSION): [line] for kind, line in KEYS.items()})
    path = made.root / "sql/features/spread.sql"
    path.write_text(path.read_text("utf-8").replace("grain:", "brain:"), "utf-8")
    made.update()

    assert [
        name for (name,) in made.sql("from features select name where problem is not null")
    ] == ["spread"]
    assert not empty_catalog._frames
