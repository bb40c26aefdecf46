"""What a stranger's warehouse says of itself: values that no publish writes, column by column.

Whatever stands there, a command answers as before the damage or refuses in one line, in time and in
little memory, and leaves alone what is outside of the warehouse.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import SESSION, Made, bar, day_key, edit_catalog, instant, make, quote, trade
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.errors import CorruptPartitionError, DamagedCatalogError
from warehouse.store.catalog import file_record
from warehouse.store.publishing import kept_tables
from warehouse.store.reference import reference_files

MOST = 200 if os.environ.get("WAREHOUSE_TEST_LONG") else 15
"""Damages that torture tries, with the catalog and without it."""
CANARY = "canary in a coal mine"
SECONDS = 20
DAY = ("--start", str(SESSION), "--end", str(SESSION))
READERS = (
    ("status",),
    ("query", "select symbol, timestamp, price from trades order by all", "--format", "csv"),
    ("query", "select symbol, open, volume from day_aggs order by all", "--format", "csv"),
    ("coverage", "trades", "--symbols", "AAPL", *DAY),
    ("verify",),
)
WRITERS = (("update", "trades", *DAY), ("verify", "--repair"), ("rebuild", "trades"), ("prune",))
OF_ROWS = READERS[1:3]

LONG = "repeat('a', 1048576)"
_NAMES = ("null", "''", "'../../x'", "'{victim}'", "'quotes'", LONG, "chr(27) || '[31m'")
_DAYS = ("null", "'infinity'", "'-infinity'", "'5874897-12-31'", "'2031-01-01'")
VALUES = {
    "VARCHAR": _NAMES,
    "BIGINT": ("null", "-1", "0", "9223372036854775807"),
    "INTEGER": ("null", "-1", "2147483647"),
    "SMALLINT": ("null", "-1"),
    "DATE": _DAYS,
    "TIMESTAMP": ("null", "'infinity'", "'290000-01-01'"),
    "DOUBLE": ("null", "'nan'", "'infinity'", "-1", "1e300"),
    "BOOLEAN": ("null",),
    "DATE[]": ("null", "[]", "[null]", "['2031-01-01']"),
    "VARCHAR[]": ("null", "[]", "[null]", "['../../x']"),
    "MAP(VARCHAR, BIGINT)": ("null", "map {{}}", "map {{'x': null}}", "map {{'x': -1}}"),
}
ROWS = {"no row": "delete from {}", "each row twice": "insert into {0} from {0}"}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Made:
    files: dict[str, Any] = {
        day_key("trades", SESSION): [trade("AAPL", instant(SESSION)), "too,few"],
        day_key("day_aggs", SESSION): [bar("AAPL", instant(SESSION, "00:00"))],
        day_key("quotes", SESSION): [quote("AAPL", instant(SESSION))],
    }
    made = make(tmp_path_factory.mktemp("contents"), files, storage__retention_days=0)
    made.update()
    # A version that was replaced, and findings.
    lines = [trade("AAPL", instant(SESSION)), trade("MSFT", instant(SESSION)), "too,few"]
    made.put(day_key("trades", SESSION), lines)
    made.update("trades")
    CliRunner().invoke(cli, ["-C", str(made.root), "validate"])
    return made


@pytest.fixture
def made(published: Made, tmp_path: Path) -> Made:
    """The warehouse once more, below a folder of its own that holds what nobody may read."""
    return copied(published, tmp_path)


def copied(published: Made, folder: Path) -> Made:
    shutil.copytree(published.root.parent, folder / "theirs")
    for path in (folder / "x", folder / "theirs" / "x"):
        path.write_text(CANARY, "utf-8")
    made = Made(folder / "theirs" / "warehouse", folder / "theirs" / "source")
    made.configure(source__url=str(made.source))
    made.layout.source_note.unlink()
    return made


def outside(made: Made) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in made.root.parent.parent.rglob("*")
        if path.is_file() and not path.is_relative_to(made.root)
    }


def ask(made: Made, command: tuple[str, ...]) -> tuple[bool, str]:
    """Whether a command is done, and what it says; it is held against what all must hold."""
    before, begun = outside(made), time.monotonic()
    gc.collect()
    done = CliRunner().invoke(cli, ["-C", str(made.root), *command])
    assert isinstance(done.exception, SystemExit | None), (command, done.exception)
    assert "Traceback" not in done.output
    assert CANARY not in done.output
    assert "\x1b" not in done.output
    assert time.monotonic() - begun < SECONDS, command
    assert outside(made) == before, command
    return done.exit_code == 0, done.output


@cache
def sound(root: Path, command: tuple[str, ...]) -> str:
    return CliRunner().invoke(cli, ["-C", str(root), *command]).output


def hold(made: Made, published: Made, commands: tuple[tuple[str, ...], ...]) -> None:
    for command in commands:
        is_done, said = ask(made, command)
        if command in OF_ROWS and is_done:
            assert said == sound(published.root, command), command
        if command in WRITERS:
            for question in OF_ROWS:
                is_done, said = ask(made, question)
                assert not is_done or said == sound(published.root, question), (command, question)


@contextmanager
def table_of(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The rows of a Parquet file as a table `t`, to be changed, and written as ours are."""
    before = pq.read_schema(path).remove_metadata()
    told = pq.read_metadata(path).metadata
    with duckdb.connect() as connection:
        source = f"read_parquet('{path}', hive_partitioning = false)"
        connection.execute(f"create table t as from {source}")
        yield connection
        rows = connection.sql("from t").to_arrow_table()
    # A stranger may say that a column may be NULL, and of whatever kind.
    fields = [
        each.with_type(before.field(each.name).type) if each.name in before.names else each
        for each in rows.schema
    ]
    rows = rows.cast(pa.schema(fields))
    with pq.ParquetWriter(path, rows.schema, store_schema=False) as writer:
        writer.add_key_value_metadata({k: v for k, v in (told or {}).items() if k[:5] != b"ARROW"})
        writer.write_table(rows)


Damage = tuple[str, str, str]
"""A table or a file, a column of it or nothing, and a value."""


def statements(columns: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Changes of a table: of each column to each value that none of ours has, and of all rows."""
    for what, statement in ROWS.items():
        yield "", what, statement
    for name, kind in columns:
        for value in VALUES.get(kind, ("null",)):
            yield name, value, f'update {{}} set "{name}" = {value}'
        another = "'x'" if kind != "VARCHAR" else "7"
        changed = "varchar" if kind != "VARCHAR" else "bigint"
        yield (
            name,
            "another type",
            f'alter table {{}} alter "{name}" type {changed} using {another}',
        )
        yield name, "no column", f'alter table {{}} drop "{name}"'


def damages(made: Made) -> list[tuple[str, Callable[[Made], None]]]:
    """Each value in each column of each table of the catalog, and of each Parquet file of ours."""
    found: list[tuple[str, Callable[[Made], None]]] = []
    with duckdb.connect(str(made.layout.catalog), read_only=True) as catalog:
        kinds = catalog.execute(
            "select table_name, column_name, data_type from duckdb_columns()"
            " where schema_name = 'main' and table_name in (select table_name from duckdb_tables())"
            " order by table_name, column_index"
        ).fetchall()
    for table in dict.fromkeys(kind[0] for kind in kinds):
        columns = [(name, kind) for of, name, kind in kinds if of == table]
        for name, value, statement in statements(columns):
            found.append((f"{table} {name} {value}", in_catalog(table, statement)))
    for path in sorted(made.layout.data.rglob("*.parquet")):
        below = path.relative_to(made.layout.data)
        with duckdb.connect() as connection:
            source = f"read_parquet('{path}', hive_partitioning = false)"
            told = connection.execute(f"describe from {source}").fetchall()
        for name, value, statement in statements([row[:2] for row in told]):
            found.append((f"{below} {name} {value}", in_file(below, statement)))
    return found


def in_catalog(table: str, statement: str) -> Callable[[Made], None]:
    def change(made: Made) -> None:
        gc.collect()
        with duckdb.connect(str(made.layout.catalog)) as catalog:
            # What ours may not say a stranger's may.
            catalog.execute(f"create or replace table {table} as from {table}")
            catalog.execute(statement.format(table, victim=made.root.parent.parent / "x"))

    return change


def in_file(below: Path, statement: str) -> Callable[[Made], None]:
    def change(made: Made) -> None:
        path = made.layout.data / below
        with table_of(path) as connection:
            connection.execute(statement.format("t", victim=made.root.parent.parent / "x"))
        if below.parts[0] == "manifests":
            # It is as the catalog says: of a stranger both are.
            content = path.read_bytes()
            with duckdb.connect(str(made.layout.catalog)) as catalog:
                catalog.execute(
                    "update manifests set bytes = ?, sha256 = ? where ends_with(?, name)",
                    [len(content), hashlib.sha256(content).hexdigest(), str(below)],
                )

    return change


def try_some(published: Made, folder: Path, seed: int, most: int, catalog_is_lost: bool) -> int:
    """Hold all readers and one writer against some of the damages; how many there were."""
    dice = random.Random(seed)
    found = damages(published)
    if catalog_is_lost:
        found = [one for one in found if "/" in one[0]]
    dice.shuffle(found)
    tried = 0
    for number, (name, change) in enumerate(found):
        place = folder / str(number)
        made = copied(published, place)
        try:
            change(made)
        except (duckdb.Error, pa.ArrowException):
            continue  # such a value cannot be told there
        if catalog_is_lost:
            made.layout.catalog.unlink()
        try:
            hold(made, published, (*READERS, dice.choice(WRITERS)))
        except AssertionError as error:
            raise AssertionError(name) from error
        shutil.rmtree(place)
        tried += 1
        if tried == most:
            break
    return tried


STATES = pytest.mark.parametrize(
    "catalog_is_lost", [False, True], ids=["with its catalog", "without a catalog"]
)


@STATES
def test_a_value_that_none_of_ours_has_leads_to_a_refusal_or_to_the_same_rows(
    published: Made, tmp_path: Path, catalog_is_lost: bool
) -> None:
    assert try_some(published, tmp_path / "tried", 1, 2, catalog_is_lost) == 2


@pytest.mark.torture
@STATES
def test_many_values_that_none_of_ours_has_lead_to_a_refusal_or_to_the_same_rows(
    published: Made, tmp_path: Path, catalog_is_lost: bool
) -> None:
    assert try_some(published, tmp_path / "tried", 2, MOST, catalog_is_lost) == MOST


LEDGER = Path("ledger/trades/2024_01.parquet")
ODD_IN_LEDGER = {
    "a day without end": ("day", "'infinity'"),
    "no instant": ("recorded_at", "null"),
    "an instant without end": ("recorded_at", "'infinity'"),
    "a reason without a count": ("rejects_by_reason", "map {{'too_few_fields': null::bigint}}"),
    "a symbol that is none": ("symbols", "[null]"),
    "no state": ("state", "null"),
    "a state that there is not": ("state", "'../../x'"),
}


@pytest.mark.parametrize("what", ODD_IN_LEDGER)
def test_a_ledger_that_says_the_impossible_keeps_no_lost_catalog_from_being_made_anew(
    made: Made, published: Made, what: str
) -> None:
    column, value = ODD_IN_LEDGER[what]
    in_file(LEDGER, f"update {{}} set {column} = {value}")(made)
    made.layout.catalog.unlink()
    is_done, said = ask(made, ("verify", "--repair"))
    assert is_done, said
    for question in OF_ROWS:
        assert ask(made, question) == (True, sound(published.root, question))


def test_a_page_of_the_ledger_is_read_into_records_or_is_damage(made: Made) -> None:
    path = made.layout.data / LEDGER
    before = path.read_bytes()
    with duckdb.connect() as connection:
        told = connection.execute(f"describe from read_parquet('{path}')").fetchall()
    refused = 0
    for _, value, statement in statements([row[:2] for row in told]):
        if value == LONG:
            continue
        path.write_bytes(before)
        try:
            in_file(LEDGER, statement)(made)
        except (duckdb.Error, pa.ArrowException):
            continue
        try:
            rows = kept_tables.read_ledger(path).to_pylist()
        except CorruptPartitionError:
            refused += 1
            continue
        for row in rows:
            # Of all that it may be a state that there is not is told apart here alone.
            with suppress(ValueError):
                file_record(row)
    assert refused > 10


def test_rejects_of_a_day_that_no_calendar_has_keep_no_lost_catalog_from_being_made_anew(
    made: Made,
) -> None:
    below = Path("rejects/trades/2024_01/2024-01-31.parquet")
    in_file(below, "update {} set session = 'infinity'")(made)
    made.layout.catalog.unlink()
    is_done, said = ask(made, ("verify", "--repair"))
    assert is_done, said


@pytest.mark.parametrize("what", ["a day without end", "no number"])
def test_a_reference_file_that_says_the_impossible_is_damage(tmp_path: Path, what: str) -> None:
    """Its name is that of its bytes, as a stranger can make it."""
    schema = reference_files.SCHEMAS["splits"]
    day = 2**31 - 1 if what == "a day without end" else 0
    rows = pa.table(
        [
            pa.array([day], pa.int32()).cast(each.type)
            if each.type == pa.date32()
            else pa.nulls(1, each.type)
            for each in schema
        ],
        schema=schema,
    )
    path = tmp_path / "draft"
    told = {"table": "splits", "number": 1} if what == "a day without end" else {"table": "splits"}
    with pq.ParquetWriter(path, schema, write_page_checksum=True, store_schema=False) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata({reference_files._METADATA_KEY: json.dumps(told)})
    name = f"splits-{hashlib.sha256(path.read_bytes()).hexdigest()}.parquet"
    problem = reference_files.problem(path.rename(tmp_path / name))
    assert problem is not None
    assert ("no calendar has" if what == "a day without end" else "no file of splits") in problem


def test_no_file_outside_is_read_as_what_rows_were_made_by(made: Made) -> None:
    """A fingerprint names a file; a stranger's could be a path."""
    told = json.loads(next(made.layout.recipes.glob("*.json")).read_text("utf-8"))
    for entry in told["statements"].values():
        entry["fingerprint"] = "another"
    told["statements"] |= {f"ingest/{CANARY}": {"fingerprint": CANARY, "text": CANARY}}
    told["settings"] |= {CANARY: CANARY}
    (made.root.parent.parent / "x.json").write_text(json.dumps(told), "utf-8")
    outside = f"../../../../x{chr(27)}[31m"
    for fingerprint in ("../../../../x", str(made.root.parent.parent / "x"), outside, "x" * 5000):
        change = f"set fingerprint = '{fingerprint}'"
        edit_catalog(made, f"update partitions {change}", f"update source_files {change}")
        is_done, said = ask(made, ("rebuild", "trades", "--changed", "--dry-run"))
        assert is_done, said
        assert "which are not kept" in said


def test_a_partition_of_a_month_that_no_calendar_has_is_damage_to_the_facade(made: Made) -> None:
    edit_catalog(made, "update partitions set month = '0044-03-15 (BC)'")
    with Warehouse(made.root) as warehouse, pytest.raises(DamagedCatalogError, match="impossible"):
        warehouse.trades("AAPL", SESSION)
