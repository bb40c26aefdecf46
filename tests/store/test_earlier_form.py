"""What a version before wrote, without columns that came since, is read, added to and made anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import (
    Made,
    MakeWarehouse,
    day_key,
    instant,
    keep,
    put_back,
    random_trades,
    trade,
    with_a_table_of_partitions,
)

from warehouse import Warehouse
from warehouse.core.datatypes import DATA_TYPES, completed
from warehouse.core.request import Request
from warehouse.errors import QueryError
from warehouse.maintenance.rebuild_stale import rebuild_changed
from warehouse.store.catalog_tables import REQUIRED, SINCE

MONDAY, TUESDAY = date(2024, 1, 29), date(2024, 1, 30)
LATER = "lot"
"""The column that partitions have from now on."""


@pytest.fixture(scope="module")
def template(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse({day_key("trades", MONDAY): random_trades(("A", "B"), 60, MONDAY)})
    made.update()
    keep(made)
    return made


@pytest.fixture
def made(template: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A warehouse of the version before, under the version that knows one column more."""
    put_back(template)
    kind = DATA_TYPES["trades"]
    place = kind.columns.names.index("trf_id")
    columns = kind.columns.insert(place, pa.field(LATER, pa.int32()))
    monkeypatch.setitem(DATA_TYPES, "trades", replace(kind, columns=columns))
    for name, old, new in (
        ("clean/trades", "    trf_id,", f"    7::integer as {LATER},\n    trf_id,"),
        ("dedupe/trades", "trf_id,", f"{LATER},\n    trf_id,"),
    ):
        path = template.root / f"sql/{name}.sql"
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")
    return template


def lots(made: Made, **how: object) -> list[int | None]:
    with Warehouse(made.root) as wh:
        frame = wh.trades("A", MONDAY, TUESDAY, missing="ignore", columns=["symbol", LATER], **how)
    return [None if pd.isna(value) else int(value) for value in frame[LATER]]


def test_a_column_that_came_since_is_empty_in_answers(made: Made) -> None:
    found = lots(made)
    assert found
    assert set(found) == {None}
    with Warehouse(made.root) as wh:
        only = wh.load(
            "trades", ["A"], MONDAY, MONDAY, columns=[LATER], to="arrow", missing="ignore"
        )
        assert only[LATER].null_count == len(only) == len(found)
        whole = wh.load("trades", ["A"], MONDAY, MONDAY, to="arrow", missing="ignore")
        assert set(whole.column_names) >= set(DATA_TYPES["trades"].columns.names) - {"symbol"}
        noon = wh.trades("A", f"{MONDAY} 10:00", f"{MONDAY} 14:00", columns=[LATER, "price"])
        assert noon[LATER].isna().all()
        assert noon["price"].notna().all()
        parts = list(wh.stream(["A", "B"], MONDAY, MONDAY, data_types="trades"))
        assert sum(map(len, parts)) == len(wh.trades(["A", "B"], MONDAY, MONDAY))


def test_it_is_no_damage(made: Made) -> None:
    assert made.verify().faults == []


def test_a_question_in_sql_goes_on_and_says_what_to_run_for_the_new_column(made: Made) -> None:
    made.put(day_key("trades", TUESDAY), [trade("C", instant(TUESDAY))])
    made.update()
    with Warehouse(made.root) as wh:
        assert wh.query("select count(*) as n from trades where price > 0")["n"].item() > 50
        with pytest.raises(QueryError, match=r"column lot.*warehouse rebuild --changed") as caught:
            wh.query("select max(lot) as lot from trades")
        assert "\n" not in str(caught.value)
        rebuild_changed(made.pipeline, Request.of(["trades"]))
        assert wh.query("select min(lot) as lot from trades")["lot"].item() == 7


def test_a_new_session_goes_into_its_month(made: Made) -> None:
    made.put(day_key("trades", TUESDAY), random_trades(("A",), 30, TUESDAY))
    made.update()
    assert made.verify().faults == []
    found = lots(made)
    assert {None, 7} == set(found)
    assert found == sorted(found, key=lambda lot: lot is not None)


def test_rebuild_changed_makes_it_anew_and_says_why(made: Made) -> None:
    report = rebuild_changed(made.pipeline, Request.of(["trades"]))
    assert f"trades have a new column {LATER}" in report.reasons
    assert set(lots(made)) == {7}
    assert rebuild_changed(made.pipeline, Request.of(["trades"])).reasons == {}
    for path in made.partitions().values():
        assert LATER in pq.read_schema(path).names
    assert LATER in pq.read_schema(made.layout.schema / "trades.parquet").names


def test_a_new_column_alone_makes_partitions_stale(made: Made) -> None:
    """Whatever the SQL: it may have given the column out already."""
    report = rebuild_changed(made.pipeline, Request.of(["trades"]), dry_run=True)
    reason = f"trades have a new column {LATER}"
    assert [key[1] for key in report.reasons[reason]] == ["A", "B"]


def test_a_catalog_of_fewer_columns_is_carried_over(made: Made) -> None:
    with_a_table_of_partitions(made)
    with duckdb.connect(str(made.layout.catalog)) as connection:
        for table, column in (("runs", "retries"), ("source_files", "rows_unselected")):
            connection.execute(f"alter table {table} drop column {column}")
        connection.execute("update warehouse set catalog_format = catalog_format - 1")
        connection.execute(
            """
            alter table partitions
            alter sessions
            type struct(session date, rows bigint, rejects bigint, source varchar, etag varchar,
                sha256 varchar)[]
            using list_transform(sessions, lambda one: struct_pack(session := one.session,
                rows := one.rows, rejects := one.rejects, source := one.source, etag := one.etag,
                sha256 := one.sha256))
            """
        )
    made.put(day_key("trades", TUESDAY), random_trades(("B",), 30, TUESDAY))
    made.update()
    assert made.sql("select sum(rows) > 60 from partitions") == [(True,)]
    assert made.verify().faults == []
    assert made.sql("select count(*) from runs where retries is null") == [(1,)]


@pytest.mark.parametrize(("table", "column"), sorted(SINCE))
def test_a_catalog_without_a_column_that_came_since_is_read_and_completed(
    table: str, column: str, made: Made
) -> None:
    with duckdb.connect(str(made.layout.catalog)) as connection:
        connection.execute(f"alter table {table} drop column {column}")
    with Warehouse(made.root) as wh:
        assert len(wh.catalog(table)) > 0
    made.put(day_key("trades", TUESDAY), random_trades(("B",), 30, TUESDAY))
    made.update()
    assert made.sql(f"select count(*) > 0 from {table} where {column} is null") == [(True,)]
    assert not made.layout.set_aside.exists()


def test_a_column_that_came_since_the_format_did_is_not_required_of_every_catalog() -> None:
    """Else each catalog that there is would be damage: what is not in SINCE was in the first."""
    first = {
        "warehouse": 5,
        "manifests": 9,
        "source_files": 21,
        "runs": 28,
        "restatements": 12,
        "findings": 10,
        "reconciliations": 14,
        "features": 9,
    }
    required = {
        (table, column)
        for table, types in REQUIRED.items()
        for names in types.values()
        for column in names.split()
    }
    assert required >= SINCE
    for table, number in first.items():
        of_first = [column for of, column in required - SINCE if of == table]
        assert len(of_first) == number, f"what was added to {table} belongs to SINCE as well"


def test_a_table_is_completed_only_by_what_is_missing() -> None:
    columns = pa.schema([("a", pa.int64()), ("b", pa.string())])
    assert completed(pa.table({"a": [1]}), columns).to_pylist() == [{"a": 1, "b": None}]
    assert completed(pa.table({"b": ["x"], "a": [1]}), columns).column_names == ["a", "b"]
    with pytest.raises(pa.ArrowInvalid, match="no column c"):
        completed(pa.table({"a": [1], "c": [1]}), columns)
