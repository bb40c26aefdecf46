"""What is loaded is kept: whole or not at all, whatever becomes of the catalog or the disk."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import REPOSITORY, Made, MakeWarehouse, bar, day_key, edit_catalog, instant
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import Killed, killed_at
from refusing import refused

from warehouse import Warehouse
from warehouse.bars.action_checks import facts, judged
from warehouse.bars.action_prices import DAYS as SESSIONS_OF_DAYS
from warehouse.bars.action_prices import PRICES, SUBJECTS, Tape
from warehouse.bars.exports import read_export
from warehouse.cli.main import cli
from warehouse.core.paths import REFERENCE_TABLES
from warehouse.errors import (
    CorruptPartitionError,
    ReferenceFileError,
    RequestError,
    SqlFileError,
)
from warehouse.pipeline.reference_load import TableReport, merged
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store.publishing.catalog_sql import REFERENCE_VIEWS
from warehouse.store.publishing.publish import writer_lock
from warehouse.store.reference import reference_files
from warehouse.store.reference.reference_files import SCHEMAS

DAYS = (date(2024, 1, 29), date(2024, 1, 30), date(2024, 1, 31))


def split(id_: str, symbol: str = "A", day: date = DAYS[1], to: float = 2) -> dict[str, Any]:
    return {
        "id": id_,
        "ticker": symbol,
        "execution_date": f"{day}",
        "split_from": 1,
        "split_to": to,
        "adjustment_type": "forward_split",
        "historical_adjustment_factor": 1,
    }


def dividend(id_: str, symbol: str = "A", day: date = DAYS[1], cash: float = 1) -> dict[str, Any]:
    dates = dict.fromkeys(("declaration_date", "record_date", "pay_date"))
    return {
        "id": id_,
        "ticker": symbol,
        "ex_dividend_date": f"{day}",
        **dates,
        "cash_amount": cash,
        "split_adjusted_cash_amount": cash,
        "currency": "USD",
        "frequency": 4,
        "distribution_type": "recurring",
        "historical_adjustment_factor": 1,
    }


def renamed(name: str, *symbols: str) -> dict[str, Any]:
    events = [
        {"type": "ticker_change", "date": f"20{10 + n}-01-04", "ticker_change": {"ticker": symbol}}
        for n, symbol in enumerate(symbols)
    ]
    return {"name": name, "events": events}


def export(folder: Path, results: Any, name: str = "export.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"results": results}))
    return path


def files(made: Made) -> set[str]:
    return set(os.listdir(made.layout.reference)) if made.layout.reference.exists() else set()


def tables(made: Made) -> list[list[tuple[Any, ...]]]:
    """All rows, as another process reads them."""
    return made.answers(*(f"from {table} order by all" for table in REFERENCE_TABLES))


@pytest.fixture(scope="module")
def template(make_warehouse: MakeWarehouse) -> Made:
    """Three sessions of A's day bars, all of them the same."""
    keys = {day_key("day_aggs", day): [bar("A", instant(day, "00:00"))] for day in DAYS}
    made = make_warehouse(keys)
    made.update()
    return made


@pytest.fixture
def made(template: Made, tmp_path: Path) -> Made:
    shutil.copytree(template.root.parent, tmp_path / "copy")
    made = Made(tmp_path / "copy" / template.root.name, tmp_path / "copy/source")
    made.configure(source__url=str(made.source))
    # The files that were copied along are the source from now on, also where they change.
    made.layout.source_note.unlink()
    return made


# What there is


def test_the_relations_have_the_columns_that_readers_rest_on(made: Made, tmp_path: Path) -> None:
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1")]))
    told = {
        table: dict(made.sql(f"select column_name, column_type from (describe {table})"))
        for table in ("actions", "securities")
    }
    assert told["actions"] == {
        "symbol": "VARCHAR",
        "session": "DATE",
        "kind": "VARCHAR",
        "id": "VARCHAR",
        "split_from": "DOUBLE",
        "split_to": "DOUBLE",
        "price_factor": "DOUBLE",
        "size_factor": "DOUBLE",
        "counts": "BOOLEAN",
        "problem": "VARCHAR",
    }
    assert told["securities"] == {
        "security": "VARCHAR",
        "symbol": "VARCHAR",
        "first_session": "DATE",
        "last_session": "DATE",
        "name": "VARCHAR",
    }


def test_actions_are_the_splits_and_dividends_of_the_symbols_asked(
    made: Made, tmp_path: Path
) -> None:
    with Warehouse(made.root) as wh:
        assert list(wh.actions()) == reference_files.ACTIONS.names
        assert wh.actions().empty
        wh.load_reference(
            export(tmp_path, [split("E1", "B"), split("E2")], "s"),
            export(tmp_path, [dividend("D1"), dividend("D2", "C")], "d"),
        )
        every = wh.actions()
        assert every["id"].to_list() == ["D1", "E2", "E1", "D2"]
        assert every["size_factor"].to_list() == [1.0, 2.0, 2.0, 1.0]
        assert wh.actions("A")["id"].to_list() == ["D1", "E2"]
        assert wh.actions(["A", "C"])["id"].to_list() == ["D1", "E2", "D2"]
        assert wh.actions("NONE").empty


def test_nothing_needs_to_be_ingested_before(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    made = make_warehouse()
    with Warehouse(made.root) as wh:
        assert wh.actions().empty
        report = wh.load_reference(export(tmp_path, [split("E1")]))
        assert [one.kind for one in report.tables[0].problems] == ["never held"]
        assert wh.actions()["counts"].to_list() == [True]


# What a load changes


def test_the_same_export_again_changes_nothing(made: Made, tmp_path: Path) -> None:
    paths = [
        export(tmp_path, [split("E1")], "s"),
        export(tmp_path, [dividend("D1")], "d"),
        export(tmp_path, renamed("X", "X", "Y"), "e"),
    ]
    with Warehouse(made.root) as wh:
        first = wh.load_reference(*paths)
        assert first.published == REFERENCE_TABLES
        before = files(made)
        with made.unchanged():
            again = wh.load_reference(*paths)
        assert again.published == ()
        assert [(one.read, one.new, one.changed) for one in again.tables] == [
            (1, 0, 0),
            (1, 0, 0),
            (2, 0, 0),
        ]
        assert files(made) == before


def test_a_page_that_is_not_the_last_is_told(
    made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, last = tmp_path / "1.json", tmp_path / "2.json"
    results = [split("p")]
    first.write_text(json.dumps({"results": results, "next_url": "https://host/2"}))
    last.write_text(json.dumps({"results": results}))
    told = "splits: each page names one after it (next_url)"
    with Warehouse(made.root) as wh, caplog.at_level(logging.INFO):
        wh.load_reference(first)
        assert told in caplog.text
        caplog.clear()
        wh.load_reference(first, last)
        assert told not in caplog.text


def test_a_newer_export_adds_and_replaces_by_id(made: Made, tmp_path: Path) -> None:
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1"), split("E2", "B")]))
        report = wh.load_reference(export(tmp_path, [split("E2", "B", to=3), split("E3", "C")]))
        one = report.tables[0]
        assert (one.read, one.new, one.changed, one.held) == (2, 1, 1, 3)
        assert report.published == ("splits",)
        found = wh.query("select id, split_to from splits order by id")
        assert found["id"].to_list() == ["E1", "E2", "E3"]
        assert found["split_to"].to_list() == [2.0, 3.0, 2.0]


def test_a_security_that_is_told_anew_is_told_whole(made: Made, tmp_path: Path) -> None:
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, renamed("X", "X"), "a"))
        wh.load_reference(export(tmp_path, renamed("X Inc.", "X", "Y"), "b"))
        found = wh.query("select symbol, last_session, name from securities order by symbol")
        assert found["name"].to_list() == ["X Inc.", "X Inc."]
        assert found["last_session"].isna().to_list() == [False, True]


def test_a_file_that_is_no_export_lets_nothing_of_the_others_in(made: Made, tmp_path: Path) -> None:
    paths = export(tmp_path, [split("E1")], "s"), export(tmp_path, [1], "bad")
    with Warehouse(made.root) as wh, made.unchanged():
        with pytest.raises(ReferenceFileError):
            wh.load_reference(*paths)
        with pytest.raises(RequestError, match="name at least one file"):
            wh.load_reference()
        assert wh.actions().empty


def test_a_verdict_is_made_anew_where_it_is_asked_for_and_nowhere_else(
    made: Made, tmp_path: Path
) -> None:
    day = date(2024, 2, 1)
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1", day=day)]))
        assert wh.actions()["counts"].to_list() == [True]
        made.put(day_key("day_aggs", day), [bar("A", instant(day, "00:00"))])
        made.update()
        assert wh.actions()["counts"].to_list() == [True]
        report = wh.check_reference()
        assert report.published == ("splits",)
        assert [(one.kind, one.rows) for one in report.tables[0].problems] == [("tape", 1)]
        assert wh.actions()["counts"].to_list() == [False]
        with made.unchanged():
            assert wh.check_reference().published == ()


def test_a_new_split_changes_the_fingerprint_of_what_rests_on_it(
    made: Made, tmp_path: Path
) -> None:
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1")]))

        def told(table: str) -> str:
            return str(wh.query(f"from {table}").attrs["fingerprint"])

        before = {table: told(table) for table in ("actions", "splits", "dividends", "day_aggs")}
        wh.load_reference(export(tmp_path, [split("E2", "B")]))
        after = {table: told(table) for table in before}
    changed = {table for table in before if before[table] != after[table]}
    assert changed == {"actions", "splits"}


SPLITS = st.lists(
    st.tuples(
        st.sampled_from(["A", "B", "C"]),
        st.sampled_from(DAYS),
        st.sampled_from([0, 2, 3]),
        st.integers(0, 2),
    ),
    max_size=8,
)
BEFORE = (date(2024, 1, 26), DAYS[0], DAYS[0])
"""The sessions of the closes before."""
TAPE = Tape(
    pa.table([DAYS, DAYS], schema=SESSIONS_OF_DAYS),
    pa.table(
        [
            ["A", "A", "B"],
            [DAYS[0], DAYS[1], DAYS[1]],
            [5.0, 9.0, None],
            [10.0, 10.0, 10.0],
            BEFORE,
        ],
        schema=PRICES,
    ),
    frozenset("AB"),
    SUBJECTS.empty_table(),
)


def test_a_split_that_is_loaded_is_no_longer_told_as_one_that_is_not(
    made: Made, tmp_path: Path
) -> None:
    halved = f"A,100,5.1,5.0,5.2,4.9,{instant(DAYS[2], '00:00')},3"
    made.put(day_key("day_aggs", DAYS[2]), [halved])
    made.update()

    def told() -> list[tuple[str, date]]:
        with Warehouse(made.root) as wh:
            found = wh.validate("day_aggs", rules=["unrecorded_splits"]).results
        return [(one.symbol, one.session) for one in found]

    assert told() == [("A", DAYS[2])]
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1", day=DAYS[2], to=20)]))
        assert wh.actions("A")["counts"].tolist() == [False]
    assert told() == [("A", DAYS[2])]
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E2", day=DAYS[2])]))
    assert told() == []
    # A catalog of an earlier version knows of none.
    macros = [f"drop macro {name}_{of}" for name in REFERENCE_TABLES for of in ("names", "files")]
    views = [f"drop view {name}" for name in (*REFERENCE_TABLES, "actions")]
    edit_catalog(made, *views, *macros)
    assert told() == [("A", DAYS[2])]


@settings(max_examples=25)
@given(splits=SPLITS, order=st.permutations(range(3)))
def test_exports_may_come_in_any_order(
    splits: list[tuple[str, date, int, int]], order: list[int], tmp_path_factory: Any
) -> None:
    folder, sql = tmp_path_factory.mktemp("exports"), SqlFolder(REPOSITORY / "sql")
    dividends = facts("dividends", SCHEMAS["dividends"].empty_table())
    parts = []
    for part in range(3):
        told = [split(f"E{n}", *row[:3]) for n, row in enumerate(splits) if row[3] == part]
        if told:
            parts.append((part, read_export(export(folder, told)).rows))
    found = []
    for places in (range(3), order):
        held = facts("splits", SCHEMAS["splits"].empty_table())
        for place in places:
            for part, rows in parts:
                if part == place:
                    held = merged("splits", held, rows, TableReport("splits"))
        found.append(judged(sql, held, dividends, TAPE)["splits"])
    assert found[0].equals(found[1])
    assert found[0].num_rows == len(splits)
    # Of a symbol and a day at most one ratio counts, and it is not told twice.
    counted = found[0].filter(found[0]["counts"])
    days = zip(*(counted[name].to_pylist() for name in ("symbol", "execution_date")), strict=True)
    assert len(set(days)) == counted.num_rows


# What becomes of the files


def test_a_killed_load_leaves_the_old_or_the_new(made: Made, tmp_path: Path) -> None:
    first = export(tmp_path, [split("E1"), split("E2", "B")], "first")
    second = export(tmp_path, [split("E2", "B", to=3), split("E3", "C")], "second")
    with Warehouse(made.root) as wh:
        wh.load_reference(first)
    old = tables(made)
    before = tmp_path / "before"
    shutil.copytree(made.root, before)
    with killed_at(1_000_000) as calls, Warehouse(made.root) as wh:
        wh.load_reference(second)
    new = tables(made)
    assert old != new
    seen = []
    for number in range(len(calls)):
        shutil.rmtree(made.root)
        shutil.copytree(before, made.root)
        with killed_at(number), suppress(Killed), Warehouse(made.root) as wh:
            wh.load_reference(second)
        with writer_lock(made.layout):
            pass  # whoever writes next ends it, or clears it
        found = tables(made)
        assert found in (old, new)
        seen.append(found == new)
    assert made.verify().faults == []
    # Once it is the new it stays so.
    assert seen == sorted(seen)
    assert {*seen} == {False, True}


def test_who_reads_an_older_generation_is_not_disturbed(made: Made, tmp_path: Path) -> None:
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1")]))
        with duckdb.connect(str(made.layout.catalog), read_only=True) as older:
            wh.load_reference(export(tmp_path, [split("E2", "B")]))
            assert older.execute("select id from splits").fetchall() == [("E1",)]
        assert made.sql("select id from splits order by id") == [("E1",), ("E2",)]
        assert made.verify().faults == []


def test_a_superseded_file_is_kept_for_a_day(made: Made, tmp_path: Path) -> None:
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1")]))
        (old,) = files(made)
        wh.load_reference(export(tmp_path, [split("E2", "B")]))
        assert len(files(made)) == 2
        path = made.layout.reference / old
        a_day_ago = time.time() - 24 * 3600 - 60
        os.utime(path, (a_day_ago, a_day_ago))
        wh.load_reference(export(tmp_path, [split("E3", "C")]))
        assert old not in files(made)
        assert len(files(made)) == 2


def test_without_a_catalog_the_files_say_what_holds(made: Made, tmp_path: Path) -> None:
    with Warehouse(made.root) as wh:
        for number in range(3):
            wh.load_reference(export(tmp_path, [split(f"E{number}", f"S{number}")]))
        wh.load_reference(export(tmp_path, renamed("X", "X", "Y")))
    before = tables(made)
    made.layout.catalog.unlink()
    assert made.repair().left == []
    assert tables(made) == before
    assert made.verify().faults == []


def test_a_catalog_of_an_earlier_version_has_no_actions_and_gets_them_back(
    made: Made, tmp_path: Path
) -> None:
    """The version before made the catalog anew, and knew nothing of the files."""
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1")]))
    before = tables(made)
    views = [f"drop view {name}" for name in ("actions", *REFERENCE_TABLES)]
    macros = [f"drop macro {name}_{of}" for name in REFERENCE_TABLES for of in ("names", "files")]
    edit_catalog(made, *views, *macros)
    for name in REFERENCE_TABLES:
        (made.layout.schema / f"{name}.parquet").unlink()
    with Warehouse(made.root) as wh:
        assert wh.actions().empty
        assert len(wh.aggs("A", DAYS[0], DAYS[2], freq="day")) == 3
        assert len(wh.query("from query_table('day_aggs')")) == 3
        assert wh.verify().faults == []
        day = date(2024, 2, 1)
        made.put(day_key("day_aggs", day), [bar("A", instant(day, "00:00"))])
        made.update()
        assert wh.actions()["id"].to_list() == ["E1"]
    assert tables(made) == before


@pytest.mark.parametrize("damage", ["a flipped bit", "missing", "truncated", "another file"])
def test_a_damaged_file_is_noticed_and_made_anew_by_loading_it(
    damage: str, made: Made, tmp_path: Path
) -> None:
    path = export(tmp_path, [split("E1"), split("E2", "B")])
    with Warehouse(made.root) as wh:
        wh.load_reference(path)
        before = tables(made)
        (name,) = files(made)
        file = made.layout.reference / name
        content = bytearray(file.read_bytes())
        if damage == "missing":
            file.unlink()
        elif damage == "truncated":
            file.write_bytes(content[:-9])
        elif damage == "another file":
            rows = pq.read_table(file).slice(1)
            pq.write_table(rows, file)
        else:
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        (fault,) = made.verify().faults
        assert (fault.path, fault.kind) == (file, "reference")
        assert "reference load" in fault.remedy
    with Warehouse(made.root) as wh:
        for ask in (
            wh.actions,
            lambda: wh.aggs("A", DAYS[0], DAYS[2], freq="day", adjust="splits"),
            lambda: wh.panel("day_aggs", "close", DAYS[0], DAYS[2], adjust="all"),
            lambda: wh.fingerprint("day_aggs", "A", DAYS[0], DAYS[2], adjust="splits"),
            lambda: wh.query(
                f"from day_aggs_of('A', '{DAYS[0]}', '{DAYS[2]}', adjust := 'splits')"
            ),
        ):
            with pytest.raises(CorruptPartitionError, match="reference load"):
                ask()
        assert len(wh.aggs("A", DAYS[0], DAYS[2], freq="day")) == len(DAYS)
        with pytest.raises(CorruptPartitionError):
            wh.check_reference()
        with pytest.raises(CorruptPartitionError):
            wh.load_reference(export(tmp_path, [dividend("D1")], "other"))
        if damage == "missing":
            ((left, why),) = made.repair().left
            assert (left.path, "reference load" in why) == (file, True)
        report = wh.load_reference(path)
        assert report.tables[0].held == 2
        assert tables(made) == before
        assert made.verify().faults == []


@pytest.mark.parametrize("is_open", [True, False])
def test_no_answer_follows_the_names_of_a_file_that_is_another(
    is_open: bool, made: Made, tmp_path: Path
) -> None:
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, renamed("X", "B", "A")))
        (name,) = files(made)
        file = made.layout.reference / name
        reader = Warehouse(made.root)
        if is_open:
            reader.sessions("day_aggs")
        pq.write_table(pq.read_table(file).slice(1), file)
        with reader, pytest.raises(CorruptPartitionError, match="reference load"):
            reader.aggs("A", DAYS[0], DAYS[2], freq="day", follow_renames=True)


def test_a_table_that_cannot_be_read_now_is_not_begun_anew(made: Made, tmp_path: Path) -> None:
    """It is sound: loading another export over it would lose what it holds."""
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("S1"), split("S2", "B")]))
        before = tables(made)
        (path,) = made.layout.reference.glob("splits-*")
        export(tmp_path, [split("S3")])
        with refused(path):
            done = CliRunner().invoke(
                cli, ["-C", str(made.root), "reference", "load", str(tmp_path / "export.json")]
            )
        assert (done.exit_code, tables(made)) == (2, before)
        assert f"{path}: cannot be read: Permission denied" in done.output
        wh.load_reference(tmp_path / "export.json")
        assert wh.actions()["id"].tolist() == ["S1", "S3", "S2"]


def test_what_is_damaged_is_told_with_what_makes_it_anew(made: Made, tmp_path: Path) -> None:
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1")]))
    (name,) = files(made)
    (made.layout.reference / name).unlink()
    told = CliRunner().invoke(cli, ["-C", str(made.root), "verify"])
    assert told.exit_code == 1
    *_, wrong, following = told.stdout.splitlines()
    assert wrong == f"wrong      data/reference/{name}: missing"
    assert following.endswith("reference load FILE, with the vendor's export")


def test_a_folder_of_sql_of_an_earlier_version_takes_the_shipped_statements(
    made: Made, tmp_path: Path
) -> None:
    for name in REFERENCE_VIEWS:
        (made.root / f"sql/catalog/{name}.sql").unlink()
    shutil.rmtree(made.root / "sql/reference")
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1")]))
        assert wh.actions()["id"].to_list() == ["E1"]


def test_a_users_broken_statement_is_an_error_that_names_it(made: Made, tmp_path: Path) -> None:
    path = made.root / "sql/reference/splits.sql"
    text = path.read_text("utf-8")
    for broken in (
        text.replace("first_value(id)", "first_value(idd)"),
        text.replace("adjustment_type,", ""),
        f"copy ({text.partition('with')[0]} select 1) to '/tmp/x'",
    ):
        path.write_text(broken, "utf-8")
        with Warehouse(made.root) as wh, pytest.raises(SqlFileError) as caught:
            wh.load_reference(export(tmp_path, [split("E1")]))
        assert caught.value.path == path
        assert files(made) == set()


def test_the_files_of_sql_run_as_they_stand_from_the_warehouses_folder(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Warehouse(made.root) as wh:
        wh.load_reference(
            export(tmp_path, [split("E1")], "s"),
            export(tmp_path, [dividend("D1")], "d"),
            export(tmp_path, renamed("X", "X"), "e"),
        )
    monkeypatch.chdir(made.root)
    with duckdb.connect() as connection:
        for name in ("path_name", "files", *REFERENCE_VIEWS):
            connection.execute(Path(f"sql/catalog/{name}.sql").read_text("utf-8"))
        assert connection.execute("select id from actions order by id").fetchall() == [
            ("D1",),
            ("E1",),
        ]
        assert connection.execute("select symbol from securities").fetchall() == [("X",)]


def test_a_file_that_no_catalog_names_is_told(made: Made, tmp_path: Path) -> None:
    with Warehouse(made.root) as wh:
        wh.load_reference(export(tmp_path, [split("E1")]))
    odd = made.layout.reference / "splits.parquet"
    pq.write_table(pa.table({"id": ["E9"]}), odd)
    (fault,) = made.verify().faults
    assert (fault.path, fault.kind) == (odd, "unknown")
    assert len(made.sql("from splits")) == 1
    assert made.repair().left == []
    assert not odd.exists()


def test_a_list_of_exports_is_refused_in_one_line(
    make_warehouse: MakeWarehouse, tmp_path: Path
) -> None:
    made = make_warehouse()
    with Warehouse(made.root) as wh, pytest.raises(RequestError, match="name each file by itself"):
        wh.load_reference([export(tmp_path, [split("E1")])])  # type: ignore[arg-type]
