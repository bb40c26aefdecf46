"""Somebody else's warehouse: what it brings along is data, and opening it does no harm."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from html import unescape
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import (
    REPOSITORY,
    SESSION,
    Made,
    bar,
    csv_text,
    day_key,
    edit_catalog,
    instant,
    make,
    quote,
    trade,
)
from click.testing import CliRunner

from warehouse import Warehouse
from warehouse.cli.main import cli
from warehouse.core import duckdb_connection
from warehouse.core.config import CONFIG_FILE
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.duckdb_connection import connect
from warehouse.errors import (
    CorruptPartitionError,
    DamagedCatalogError,
    QueryError,
    SqlFileError,
    StorageError,
    WarehouseError,
)
from warehouse.maintenance import file_checks
from warehouse.report.collect import gather
from warehouse.report.status import status
from warehouse.sqlfolder.determinism import STABLE_TABLE_FUNCTIONS
from warehouse.sqlfolder.files import SqlFolder
from warehouse.sqlfolder.select_check import INGESTING, READING_REJECTS, check_file
from warehouse.store import catalog_tables, manifests, page_check, partitions
from warehouse.store.catalog_tables import FILLED, REQUIRED
from warehouse.store.parquet_writer import ABSENT_KEY
from warehouse.store.partitions import METADATA_KEY, describe, provenance

CANARY = "canary in a coal mine"
NEXT = date(2024, 2, 1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A warehouse with SQL of its own, and a secret beside it."""
    folder = tmp_path_factory.mktemp("strangers")
    files = {
        day_key("trades", SESSION): [trade("AAPL", instant(SESSION))],
        day_key("day_aggs", SESSION): [bar("AAPL", instant(SESSION, "00:00"))],
    }
    made = make(folder, files)
    made.update()
    shutil.rmtree(made.root / "sql", ignore_errors=True)
    shutil.copytree(REPOSITORY / "sql", made.root / "sql")
    made.configure(storage__sql_dir="./sql")
    (folder / "secret.txt").write_text(CANARY, "utf-8")
    return made


@pytest.fixture
def made(shared: Made) -> Iterator[Made]:
    """The same, put back as it was when the test is done."""
    kept = everything(shared)
    yield shared
    for path in everything(shared).keys() - kept.keys():
        Path(path).unlink()
    for path, content in kept.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)


def everything(made: Made) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in made.root.parent.rglob("*") if path.is_file()}


def of_facade(made: Made, ask: Callable[[Warehouse], Any]) -> Any:
    with Warehouse(made.root) as wh:
        return ask(wh)


READERS: dict[str, Callable[[Made], object]] = {
    "status": lambda made: status(made.layout, made.config),
    "the report": lambda made: gather(made.layout, made.config),
    "the report of a symbol": lambda made: of_facade(made, lambda wh: wh.report(symbols="AAPL")),
    "the facade": lambda made: of_facade(made, lambda wh: wh.trades("AAPL", SESSION)),
    "a query": lambda made: of_facade(made, lambda wh: wh.query("select * from runs, partitions")),
    "coverage": lambda made: of_facade(
        made, lambda wh: wh.coverage("trades", "AAPL", SESSION, SESSION)
    ),
    "verify": lambda made: CliRunner().invoke(
        cli, ["-C", str(made.root), "verify"], catch_exceptions=False
    ).output,
}  # fmt: skip


ADDED = [
    "with stolen as (copy (select 1 as a) to '{out}') ",
    "with stolen as (insert into runs (run_id) values ('x')) ",
    "with stolen as (from read_text('{secret}')) ",
    "with stolen as (from read_blob('/etc/passwd')) ",
    "with stolen as (from query('select 1')) ",
    "copy (select 1) to '{out}'; ",
    "attach '{out}' as out; ",
    "install httpfs; ",
    "set threads = 1; ",
]


def edited(path: Path, added: str) -> str:
    """The file's text with something put before its SELECT."""
    lines = path.read_text("utf-8").splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if not line.startswith("--"))
    # A SELECT that begins with WITH of its own goes on as one that is read from.
    select = "".join(lines[at:]).strip().removesuffix(";")
    return "".join(lines[:at]) + f"{added} from (\n{select}\n)\n"


SELECTS = sorted(
    path.relative_to(REPOSITORY / "sql").with_suffix("").as_posix()
    for folder in ("report", "coverage", "ingest", "clean", "sort", "dedupe")
    for path in (REPOSITORY / "sql" / folder).glob("*.sql")
    if path.stem not in ("day_aggs", "minute_aggs")
)


@pytest.mark.parametrize("name", SELECTS)
def test_a_file_of_sql_is_one_select_that_only_reads(name: str, tmp_path: Path) -> None:
    may_call = INGESTING if name.startswith("ingest/") else STABLE_TABLE_FUNCTIONS | MACROS
    if name == "coverage/rejected":
        may_call = READING_REJECTS
    with connect(threads=1) as connection:
        check_file(connection, SqlFolder(REPOSITORY / "sql")[name], may_call)
        for added in ADDED:
            path = tmp_path / f"{name}.sql"
            path.parent.mkdir(exist_ok=True)
            text = edited(REPOSITORY / f"sql/{name}.sql", added.format(out="x", secret="y"))
            path.write_text(text, "utf-8")
            with pytest.raises(SqlFileError, match=r"exactly one SELECT|may not select from"):
                check_file(connection, SqlFolder(tmp_path)[name], may_call)


MACROS = frozenset({"day_aggs_of", "minute_aggs_of", "trades_of", "quotes_of", "bars_of"})


def update(made: Made) -> None:
    # Out of order, and twice: it is sorted, and repeats are looked for.
    made.put(
        day_key("trades", SESSION),
        [trade("AAPL", instant(SESSION) + n, 9 - n) for n in (5, 5, 1, 1)],
    )
    made.update()


def covered(made: Made) -> None:
    with Warehouse(made.root) as warehouse:
        warehouse.coverage("trades", "AAPL", SESSION, SESSION)


def rejected(made: Made) -> None:
    made.put(day_key("trades", SESSION), [trade("AAPL", instant(SESSION), price=0)])
    made.update()
    covered(made)


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("report/span", lambda made: gather(made.layout, made.config)),
        ("report/files", lambda made: status(made.layout, made.config)),
        ("report/reconciliations", lambda made: status(made.layout, made.config)),
        ("coverage/states", covered),
        ("coverage/rejected", rejected),
        ("ingest/trades", update),
        ("clean/trades", update),
        ("dedupe/trades", update),
    ],
)
def test_whoever_runs_a_file_of_sql_checks_it(
    made: Made, name: str, run: Callable[[Made], object]
) -> None:
    path = made.root / f"sql/{name}.sql"
    secret = made.root.parent / "secret.txt"
    path.write_text(edited(path, f"with stolen as (select * from read_text('{secret}')) "), "utf-8")
    with pytest.raises(SqlFileError, match=r"may not select from read_text\(\)") as caught:
        run(made)
    assert caught.value.path == path
    assert CANARY not in str(caught.value)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A warehouse of which each file of the report has something to tell."""
    clocks = ("10:00", "10:01", "15:00")
    files = {
        day_key("trades", SESSION): [
            *(trade("AAPL", instant(SESSION, clock), n) for n, clock in enumerate(clocks, 1)),
            trade("AAPL", instant(SESSION, "16:00"), 9, price=-1),
            trade("REFUSED", instant(SESSION, "16:00"), 9, price=-1),
        ],
        day_key("quotes", SESSION): [quote("AAPL", instant(SESSION, clock)) for clock in clocks],
        day_key("minute_aggs", SESSION): [bar("AAPL", instant(SESSION, clock)) for clock in clocks],
        # Its candles are of days.
        day_key("day_aggs", SESSION): [bar("MSFT", instant(SESSION, "00:00"))],
    }
    made = make(tmp_path_factory.mktemp("drawn"), files)
    made.update()
    shutil.copytree(REPOSITORY / "sql", made.root / "sql", dirs_exist_ok=True)
    made.configure(storage__sql_dir="./sql")
    return made


@contextmanager
def to_be_edited(made: Made, name: str) -> Iterator[tuple[Path, str, str]]:
    """A file of its sql/, with its header and its statement; afterwards it is as it was."""
    path = made.root / f"sql/{name}.sql"
    before = path.read_text("utf-8")
    body = SqlFolder(made.root / "sql")[name].body
    try:
        yield path, before[: before.index(body)], body
    finally:
        path.write_text(before, "utf-8")


OF_THE_REPORT = [one for one in SELECTS if one.startswith("report/")]


@pytest.mark.parametrize("name", OF_THE_REPORT)
def test_a_file_of_the_report_that_gives_other_columns_is_told_in_one_line(
    drawn: Made, tmp_path: Path, name: str
) -> None:
    command = ["-C", str(drawn.root), "report", "--symbols", "AAPL,MSFT"]
    page = tmp_path / "report.html"
    with to_be_edited(drawn, name) as (path, header, body):
        edits = {
            f"-- {name}: another.\nselect 1 as other": "its SELECT gives no column",
            f"{header}select [columns(*)] from (\n{body}\n)": "its column",
        }
        for text, problem in edits.items():
            path.write_text(text, "utf-8")
            done = CliRunner().invoke(cli, [*command, "-o", str(page)])
            told = done.stderr
            if name == "report/telling_bar":
                # Why a bar cannot be explained goes into the page.
                assert done.exit_code == 0
                told = unescape(page.read_text("utf-8"))
            else:
                assert done.exit_code == 2
                assert told.count("\n") == 1
            assert f"{path}: {problem}" in told


@pytest.mark.parametrize("name", ["coverage/states", "coverage/rejected"])
def test_a_file_of_coverage_that_gives_other_columns_is_told_by_its_path(
    drawn: Made, name: str
) -> None:
    with to_be_edited(drawn, name) as (path, header, body):
        for edit in ("* exclude (symbol)", "* replace ([symbol] as symbol)", "no_column"):
            path.write_text(f"{header}select {edit} from (\n{body}\n)", "utf-8")
            with Warehouse(drawn.root) as wh, pytest.raises(SqlFileError) as caught:
                wh.coverage("trades", "REFUSED", SESSION)
            assert caught.value.path == path


UNANSWERED = ("report/runs", "report/telling_bar", "report/quoted", "coverage/states")


@pytest.mark.parametrize("name", [*UNANSWERED, "coverage/rejected"])
def test_a_file_of_sql_that_cannot_be_answered_is_told_by_its_path_and_the_catalog_is_not_blamed(
    drawn: Made, tmp_path: Path, name: str
) -> None:
    commands = ["coverage trades --symbols REFUSED --start", "report --symbols AAPL,MSFT --start"]
    command = [*commands[name.startswith("report/")].split(), str(SESSION)]
    page = tmp_path / "report.html"
    if name.startswith("report/"):
        command += ["-o", str(page)]
    edits = (
        "select * from (\n{}\n) where ('no ' || 'number')::integer = 1",
        "select * from (\n{}\n), '/no/such/file.parquet'",
    )
    with to_be_edited(drawn, name) as (path, header, body):
        for edit in edits:
            path.write_text(header + edit.format(body), "utf-8")
            done = CliRunner().invoke(cli, ["-C", str(drawn.root), *command])
            told = done.stderr
            if name == "report/telling_bar":
                told = unescape(page.read_text("utf-8"))
            else:
                assert (done.exit_code, told.count("\n")) == (2, 1)
            assert f"{path}: " in told
            assert "is damaged" not in told


NEVER = "exists (with recursive n as (select 1 as i union all select i from n) from n where i = 2)"


@pytest.mark.parametrize("name", ["report/runs", "report/span", "coverage/states"])
def test_ctrl_c_ends_a_file_of_sql_that_never_ends(
    drawn: Made, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waited_for(came: object, asked: str | None, *more: object) -> None:
        if asked is not None and asked.endswith(f"{name}.sql"):
            raise KeyboardInterrupt
        return real(came, asked, *more)

    real: Any = duckdb_connection._waited_for
    monkeypatch.setattr(duckdb_connection, "_waited_for", waited_for)
    with to_be_edited(drawn, name) as (path, header, body):
        path.write_text(f"{header}select * from (\n{body}\n) where {NEVER}", "utf-8")
        ask = covered if name == "coverage/states" else READERS["the report"]
        with pytest.raises(KeyboardInterrupt):
            ask(drawn)


def test_no_line_of_the_users_comes_through_a_raw_file_of_a_strangers_that_is_a_link(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file to another")
    monkeypatch.delenv("SUDO_UID", raising=False)
    private = made.root.parent / "private.csv.gz"
    private.write_bytes(gzip.compress(csv_text("trades", [CANARY]).encode()))
    link = made.root / "data/raw/trades/2024/02/2024-02-01.csv.gz"
    link.parent.mkdir(parents=True)
    link.symlink_to(private)
    os.chown(made.root / CONFIG_FILE, 12_345, -1)
    try:
        for run in (made.ingest, made.rebuild):
            (problem,) = run("trades").raw_unread
            assert f"leads to {private}, which is neither in the warehouse" in str(problem)
        assert made.rejects() == []
        # What is the stranger's own is his to hand on.
        os.chown(private, 12_345, -1)
        assert made.ingest("trades").raw_unread == []
        assert [row["line"] for row in made.rejects()] == [CANARY]
    finally:
        os.chown(made.root / CONFIG_FILE, 0, -1)
        link.unlink()


DOUBLED = "with {} select * from t39".format(
    ", ".join(
        f"t{n} as (select * from {f't{n - 1} a, t{n - 1} b' if n else 'runs'})" for n in range(40)
    )
)
"""A few lines whose columns no memory holds; DuckDB hears no Ctrl-C while it binds them."""


def test_names_that_double_forty_times_are_refused_before_they_are_bound(made: Made) -> None:
    told = "may name 10,000 tables at most"
    for name, reader in (("report/runs", "status"), ("coverage/states", "coverage")):
        path = made.root / f"sql/{name}.sql"
        before = path.read_text("utf-8")
        path.write_text(edited(path, DOUBLED.removesuffix("select * from t39")), "utf-8")
        with pytest.raises(SqlFileError, match=told):
            READERS[reader](made)
        path.write_text(before, "utf-8")
    with pytest.raises(QueryError, match=told):
        of_facade(made, lambda wh: wh.query(DOUBLED))


def test_a_chain_of_names_is_no_doubling(made: Made) -> None:
    chain = ", ".join(f"t{n} as (from {f't{n - 1}' if n else 'trades'})" for n in range(60))
    asked = f"with {chain} select count(*) as n from t59"
    assert of_facade(made, lambda wh: wh.query(asked))["n"].to_list() == [1]


def test_a_statement_that_finds_the_bar_to_show_is_checked_as_a_query(made: Made) -> None:
    path = made.root / "sql/report/telling_bar.sql"
    for added in (
        "with stolen as (from query('select 1')) ",
        f"copy (select 1) to '{made.root}'; ",
    ):
        text = (REPOSITORY / "sql/report/telling_bar.sql").read_text("utf-8")
        path.write_text(text, "utf-8")
        path.write_text(edited(path, added), "utf-8")
        facts = of_facade(made, lambda wh: wh.report(symbols="AAPL"))
        (symbol,) = facts.symbols
        assert symbol["bar"]["explained"] is None
        assert re.search("may not select from|exactly one SELECT", symbol["bar"]["problem"])


def changed(made: Made, *statements: str) -> None:
    edit_catalog(made, *statements)


ASKED = [*((table, "status") for table in REQUIRED), *(("runs", reader) for reader in READERS)]


@pytest.mark.parametrize(("table", "reader"), ASKED)
def test_a_view_in_the_place_of_a_table_is_refused_in_one_line(
    made: Made, table: str, reader: str
) -> None:
    secret = made.root.parent / "secret.txt"
    first = REQUIRED[table]["VARCHAR"].split()[0]
    stolen = f"(select content from read_text('{secret}')) as {first}"
    changed(
        made,
        f"create table was as from {table}",
        f"drop table {table}",
        f"create view {table} as select was.* replace ({stolen}) from was",
    )
    before = everything(made)
    try:
        said = str(READERS[reader](made))
    except WarehouseError as error:
        said = str(error)
    assert f"its {table} is a view and no table" in said
    assert "warehouse verify --repair" in said
    assert CANARY not in said
    assert {path: text for path, text in everything(made).items() if "/logs/" not in path} == {
        path: text for path, text in before.items() if "/logs/" not in path
    }


@pytest.mark.parametrize(
    "view", ["features", "FEATURES", "Runs", "sessions", "trade_conditions", "EXCHANGES"]
)
def test_no_view_in_the_place_of_a_table_is_asked_in_whatever_case_by_reader_or_writer(
    made: Made, view: str
) -> None:
    """A writer hears no Ctrl-C while it asks one that never ends; it makes the catalog anew."""
    endless = "(select sum(a.range + b.range) from range(10000000) a, range(10000000) b)"
    changed(
        made,
        f"create table was as from {view}",
        f"drop table {view}",
        f"create view {view} as select * from was where {endless} > 0",
    )
    for reader in ("status", "the facade", "a query"):
        with pytest.raises(DamagedCatalogError, match=f"its {view} is a view and no table"):
            READERS[reader](made)
    ran = CliRunner().invoke(cli, ["-C", str(made.root), "rebuild", "trades"])
    assert ran.exit_code == 0, ran.output
    READERS["status"](made)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("alter table runs rename to ran", "it has no table runs"),
        ("alter table runs drop column state", "state of its table runs is missing"),
        ("alter table manifests alter month type varchar", "month of its table manifests is VAR"),
        ("update manifests set name = '../x'", r"it names '\.\./x', which is no manifest"),
        ("update manifests set sha256 = 'x'", r"is not what it names \(SHA-256\)"),
        ("insert into manifests select * from manifests", "it names two manifests of day_aggs"),
        ("alter table partitions alter month type varchar", "has other columns than a manifest"),
        ("update partitions set symbol = null", "has other columns than a manifest"),
        ("alter table partitions alter sessions type varchar", "has other columns than a manifest"),
        ("update partitions set sessions = [null]", "has other columns than a manifest"),
        ("alter table warehouse alter generation type varchar", "generation of its table ware"),
        ("alter table warehouse drop column catalog_format", "catalog_format of its table ware"),
    ],
)
def test_a_table_that_is_another_is_refused_in_one_line(
    made: Made, statement: str, problem: str
) -> None:
    changed(made, statement)
    for reader in ("status", "the facade", "a query"):
        with pytest.raises(DamagedCatalogError, match=problem) as caught:
            READERS[reader](made)
        assert "\n" not in str(caught.value)
    made.repair()
    assert made.sql("select count(*) from trades") == [(1,)]
    READERS["status"](made)


IMPOSSIBLE = {
    "a month that no calendar has": ["update manifests set month = 'infinity'"],
    "another month than the manifest's": ["update partitions set month = '2031-01-01'"],
    "another data type than the manifest's": ["update partitions set data_type = 'quotes'"],
    "no rows": ["update partitions set rows = 0"],
    "a symbol twice": ["insert into partitions from partitions"],
    "a day that Python has not": ["update source_files set day = date '5874897-12-31'"],
    "a day before Christ": ["update source_files set day = date '0044-03-15 (BC)'"],
    "an instant without end": ["update runs set started_at = 'infinity'"],
    "a session that no calendar has": [
        "update partitions set sessions = [struct_pack(session := 'infinity'::date, rows := 1,"
        " rejects := 0, source := '', etag := '', sha256 := '', fingerprint := '')]"
    ],
    "seconds that are no number": ["update runs set seconds = 'nan'"],
    "seconds of more than a thousand years": ["update runs set seconds = 1e300"],
    "seconds without end": ["update runs set cpu_seconds = 'infinity'"],
    "less than no time": ["update runs set download_time = -1"],
    "a share that is no number": ["update runs set cache_hit_rate = 'nan'"],
    "no generation": ["delete from warehouse"],
    "the last generation": ["update warehouse set generation = 9223372036854775807"],
    "a session of the sums that is none": ["update manifests set sessions = [null]"],
    "other sums than the rows": ["update manifests set rows = rows + 1"],
    "a symbol that is none": ["update source_files set symbols = [null]"],
    "a count that is none": ["update source_files set rejects_by_reason = map {'x': null}"],
}  # fmt: skip


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_a_value_that_no_publish_writes_is_damage_and_is_mended(made: Made, what: str) -> None:
    changed(made, *IMPOSSIBLE[what])
    told = r"an impossible value|is empty|speaks of another|a symbol twice"
    with pytest.raises(DamagedCatalogError, match=told) as caught:
        status(made.layout, made.config)
    assert "\n" not in str(caught.value)
    for reader in ("the facade", "verify"):
        with suppress(WarehouseError):
            READERS[reader](made)
    made.repair()
    status(made.layout, made.config)
    assert made.sql("select count(*) from trades") == [(1,)]


ENORMOUS = {
    "a table of very many rows": (
        "insert into findings select was.* from findings as was, range({rows})",
        "has .* values of .* in .* bytes",
    ),
    "very many symbols of a file": (
        "update source_files set symbols = list_resize(['A'], {rows}, 'A') where symbol is null",
        "has .* values of symbols in .* bytes",
    ),
    "very long texts": (
        "insert into runs by name select was.* replace (repeat('a', 2_000_000) as problem)"
        " from runs as was, range(5)",
        "problem of its table runs holds texts too long to be read",
    ),
    "very many long texts": (
        "insert into runs by name select was.* replace (repeat('a', 20_000) as problem)"
        " from runs as was, range(1000)",
        "problem of its table runs holds texts too long to be read",
    ),
}


@pytest.mark.parametrize("what", ENORMOUS)
def test_a_table_that_would_fill_the_memory_is_refused_in_one_line_and_mended(
    made: Made, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement, problem = ENORMOUS[what]
    changed(made, statement.format(rows=5_000_000), "checkpoint")
    assert made.layout.catalog.stat().st_size < 10_000_000
    # Or the test would take the memory that is not to be taken.
    for name in ("_MOST_AT_ONCE", "_MOST_TEXT"):
        monkeypatch.setattr(catalog_tables, name, 8 << 20)
    monkeypatch.setattr(catalog_tables, "_UNPACKED", 1)
    for reader in ("status", "the facade", "a query"):
        with pytest.raises(DamagedCatalogError, match=problem) as caught:
            READERS[reader](made)
        assert "\n" not in str(caught.value)
    made.repair()
    assert made.sql("select count(*) from trades") == [(1,)]


def _long(column: str) -> Callable[[pa.Table], pa.Table]:
    """Its rows many times, with a long text in one column, which stands in the file once."""

    def repeated(rows: pa.Table) -> pa.Table:
        many = rows.take(pa.array([0] * 3_000))
        text = pa.array(["A" * 1_000_000])
        long = pa.DictionaryArray.from_arrays(pa.array([0] * 3_000, pa.int32()), text)
        if "." not in column:
            return many.set_column(many.schema.get_field_index(column), column, long)
        entries = many["sessions"].combine_chunks()
        fields = [
            long if field.name == column.partition(".")[2] else entries.values.field(place)
            for place, field in enumerate(entries.type.value_type)
        ]
        names = [field.name for field in entries.type.value_type]
        lists = pa.ListArray.from_arrays(entries.offsets, pa.StructArray.from_arrays(fields, names))
        return many.set_column(many.schema.get_field_index("sessions"), "sessions", lists)

    return repeated


def _many(rows: pa.Table) -> pa.Table:
    return rows.take(pa.array([0] * 3_000_000))


SWOLLEN: dict[str, Callable[[pa.Table], pa.Table]] = {
    "many rows": _many,
    "long symbols": _long("symbol"),
    "long sources in its lists": _long("sessions.source"),
}


@pytest.mark.parametrize("what", SWOLLEN)
def test_a_manifest_that_is_small_on_disk_and_none_in_memory_is_refused_and_mended(
    made: Made, what: str
) -> None:
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        ((name,),) = catalog.execute(
            "select name from manifests where data_type = 'trades'"
        ).fetchall()
        path = made.layout.manifests / name
        swollen = SWOLLEN[what](pq.read_table(path, partitioning=None))
        stored = pa.schema(
            field.with_type(swollen.schema.field(field.name).type) for field in manifests._STORED
        )
        if what == "long sources in its lists":
            kinds = [
                told.with_type(one.type)
                for told, one in zip(
                    manifests._STORED.field("sessions").type.value_type,
                    swollen["sessions"].type.value_type,
                    strict=True,
                )
            ]
            element = pa.field("element", pa.struct(kinds), nullable=False)
            field = pa.field("sessions", pa.list_(element), nullable=False)
            stored = stored.set(stored.get_field_index("sessions"), field)
        arrays = [swollen[field.name].cast(field.type) for field in stored]
        pq.write_table(pa.Table.from_arrays(arrays, schema=stored), path, store_schema=False)
        content = path.read_bytes()
        catalog.execute(
            "update manifests set bytes = ?, sha256 = ? where name = ?",
            [len(content), hashlib.sha256(content).hexdigest(), name],
        )
    assert len(content) < 1_000_000
    told, before = (
        r"it has 3,000,000 rows|holds texts too long to be read",
        pa.total_allocated_bytes(),
    )
    with pytest.raises(DamagedCatalogError, match=told):
        READERS["status"](made)
    assert pa.total_allocated_bytes() - before < 64 << 20
    assert re.search(told, str(READERS["verify"](made)))
    made.repair()
    assert made.sql("select count(*) from trades") == [(1,)]


def _forged(made: Made, data_type: str, symbol: str, rows: int, longest: dict[str, int]) -> None:
    """A partition of so many rows, whose texts have so many letters, and a catalog that says so."""
    kind, month = DATA_TYPES[data_type], SESSION.replace(day=1)
    path = made.layout.partition(data_type, symbol, month)
    described = describe(path)
    table = pq.read_table(path, partitioning=None).take(pa.array([0] * rows))
    for name, letters in longest.items():
        text = pa.array(["A" * letters])
        column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), text)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    fields = [each.with_type(table.schema.field(each.name).type) for each in kind.stored]
    sessions = [replace(described.sessions[0], rows=rows)]
    told = provenance(described.key, sessions, described.fingerprint)
    absent = ",".join(name for name in kind.columns.names if name not in kind.required)
    with pq.ParquetWriter(
        path, pa.schema(fields), store_schema=False, compression="zstd", write_page_checksum=True
    ) as writer:
        writer.add_key_value_metadata({METADATA_KEY: told, ABSENT_KEY: absent})
        writer.write_table(pa.Table.from_arrays(table.columns, schema=pa.schema(fields)))
    content = path.read_bytes()
    edit_catalog(
        made,
        f"update partitions set rows = {rows}, bytes = {len(content)},"
        f" file_rows = if(first_row is null, null, {rows}),"
        f" sha256 = '{hashlib.sha256(content).hexdigest()}',"
        f" sessions = [struct_update(sessions[1], rows := {rows})]"
        f" where data_type = '{data_type}'",
    )


PARTITION_READS: dict[str, Callable[[Made], object]] = {
    "a load": lambda made: of_facade(made, lambda wh: wh.load("trades", "AAPL", SESSION)),
    "a stream": lambda made: of_facade(
        made, lambda wh: [*wh.stream("AAPL", SESSION, data_types="trades")]
    ),
    "a feature": lambda made: of_facade(made, lambda wh: wh.features("vwap", "AAPL", SESSION)),
    "bars": lambda made: of_facade(made, lambda wh: wh.bars("AAPL", SESSION, every="5m")),
    "verify": READERS["verify"],
}  # fmt: skip


def _check_read(made: Made, reader: str, told: str) -> None:
    before, highest = pa.total_allocated_bytes(), pa.default_memory_pool().max_memory
    most = highest()
    if reader == "verify":
        assert re.search(told, str(PARTITION_READS[reader](made)))
    else:
        with pytest.raises(CorruptPartitionError, match=told) as caught:
            PARTITION_READS[reader](made)
        assert "\n" not in str(caught.value)
    assert highest() <= max(most, before + (64 << 20))


@pytest.mark.parametrize(
    ("reader", "column"),
    [*((reader, "conditions") for reader in PARTITION_READS), ("a load", "id"), ("verify", "id")],
)
def test_a_partition_that_is_small_on_disk_and_none_in_memory_is_refused_and_mended(
    made: Made, reader: str, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "available_bytes", lambda: 64 << 20)
    _forged(made, "trades", "AAPL", 1_000, {column: 1_000_000})
    assert made.layout.partition("trades", "AAPL", SESSION.replace(day=1)).stat().st_size < 20_000
    _check_read(made, reader, "its texts would take 1,00.,...,... bytes of memory")
    made.repair()
    PARTITION_READS[reader](made)


def test_texts_that_fit_into_memory_are_read_however_they_are_encoded(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forged(made, "trades", "AAPL", 300, {"conditions": 1_000, "id": 2_000})
    monkeypatch.setattr(page_check, "most_text", lambda *asked: None)
    with Warehouse(made.root) as wh:
        rows = wh.load("trades", "AAPL", SESSION, to="arrow")
        assert {*rows["conditions"].to_pylist()} == {"A" * 1_000}
        assert {*rows["id"].to_pylist()} == {"A" * 2_000}
        streamed = pa.concat_tables(
            [pa.table(batch) for batch in wh.stream("AAPL", SESSION, data_types="trades")]
        )
        assert streamed["id"].to_pylist() == rows["id"].to_pylist()


@pytest.mark.parametrize("reader", ["a load", "a stream", "verify"])
def test_a_row_group_of_more_rows_than_any_of_ours_is_refused(
    made: Made, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (partitions, file_checks):
        monkeypatch.setattr(module, "MOST_GROUP_ROWS", 99)
    _forged(made, "trades", "AAPL", 100, {})
    _check_read(made, reader, "a row group of it has 100 rows")


def test_rejects_that_are_small_on_disk_and_none_in_memory_are_refused_and_mended(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = trade("MSFT", instant(SESSION), price=0)
    made.put(day_key("trades", SESSION), [trade("AAPL", instant(SESSION)), line])
    made.update()
    (path,) = (made.root / "data/rejects").rglob("*.parquet")
    rows = pq.read_table(path, partitioning=None).take(pa.array([0] * 1_000))
    for name in ("line", "symbol"):
        text = pa.array(["A" * 1_000_000])
        column = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), text)
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    pq.write_table(rows, path, store_schema=False, compression="zstd")
    monkeypatch.setattr(partitions, "available_bytes", lambda: 64 << 20)
    told = "its texts would take 2,000,... bytes of memory|its texts would take 2,00.,...,... bytes"
    assert re.search(told, str(READERS["verify"](made)))
    with pytest.raises(CorruptPartitionError, match=told) as caught:
        made.rebuild("trades", symbols=["AAPL"])
    assert "\n" not in str(caught.value)
    made.repair()
    assert made.sql("select count(*) from rejects") == [(1,)]


@pytest.mark.parametrize("table", ["runs", "SESSIONS"])
def test_a_column_that_is_computed_is_refused_and_never_asked(made: Made, table: str) -> None:
    with duckdb.connect(str(made.layout.catalog)) as catalog:
        kinds = catalog.execute(
            f"select column_name, column_type from (describe {table})"
        ).fetchall()
        columns = ", ".join(f"{name} {kind}" for name, kind in kinds if name != "problem")
        catalog.execute(f"drop table {table}")
        catalog.execute(
            f"create table {table}"
            f" ({columns}, problem varchar generated always as (repeat('x', 9)))"
        )
    told = f"its table {table} has a column that is comp"
    for reader in ("status", "the facade", "a query"):
        with pytest.raises(DamagedCatalogError, match=told):
            READERS[reader](made)


def test_what_must_have_a_value_is_what_the_shipped_files_say() -> None:
    with duckdb.connect() as connection:
        connection.execute((REPOSITORY / "sql/catalog/tables.sql").read_text("utf-8"))
        declared = connection.execute(
            "select table_name, column_name from duckdb_columns() where not is_nullable"
        ).fetchall()
    assert {(table, name) for table, names in FILLED.items() for name in names.split()} == set(
        declared
    )


@pytest.mark.parametrize("table", REQUIRED)
def test_a_column_that_a_later_version_adds_is_no_damage(made: Made, table: str) -> None:
    changed(made, f"alter table {table} add column later varchar default 'x'")
    for reader in READERS:
        READERS[reader](made)
    made.put(day_key("trades", NEXT), [trade("AAPL", instant(NEXT))])
    made.update()
    with Warehouse(made.root) as warehouse:
        assert len(warehouse.trades("AAPL", SESSION, NEXT)) == 2


def test_what_is_required_is_what_the_shipped_files_make() -> None:
    with duckdb.connect() as connection:
        # Which the macros of the features ask, and sql/catalog/partitions makes a view.
        sessions = "sessions struct(session date, rows bigint)[]"
        connection.execute(f"create table partitions (data_type text, symbol text, {sessions})")
        for name in ("tables", "features"):
            connection.execute((REPOSITORY / f"sql/catalog/{name}.sql").read_text("utf-8"))
        made = {
            name: dict(zip(found.columns, map(str, found.types), strict=True))
            for name, found in ((name, connection.table(name)) for name in REQUIRED)
        }
    for name, types in REQUIRED.items():
        listed = {column: kind for kind, names in types.items() for column in names.split()}
        assert listed.items() <= made[name].items()


NAMESAKES = [
    "create macro max(x) as 'abc'",
    "create macro sum(x) as 'abc'",
    "create macro count(x) as 'abc'",
    "create macro unnest(x) as 7",
    "create macro list_transform(a, b) as ['x']",
]


@pytest.mark.parametrize("reader", READERS)
def test_a_macro_named_like_a_function_of_duckdbs_is_not_asked_for_it(
    made: Made, reader: str
) -> None:
    changed(made, *NAMESAKES)
    READERS[reader](made)
    with Warehouse(made.root) as warehouse:
        assert warehouse.query("select max(seconds) > 0 as is_so from runs").is_so.tolist() == [
            True
        ]


ENDLESS = (
    "(with recursive n(i) as (select 1 union all select i from n) select max(i::varchar) from n)"
)


@pytest.mark.parametrize(
    ("macro", "reader"), [("splits_names", "the facade"), ("trades_names", "status")]
)
def test_a_macro_that_never_ends_is_refused_in_one_line(
    made: Made, macro: str, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_connection, "_MACRO_SECONDS", 0.5)
    changed(made, f"create or replace macro {macro}() as {ENDLESS}")
    with pytest.raises(StorageError, match=rf"{macro}.* no answer in 0\.5 s") as caught:
        READERS[reader](made)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("macro", "text"),
    [
        *(("rejects", text) for text in (ENDLESS, "error('no')", "7", "null")),
        *(("splits", ENDLESS), ("trades", "null"), ("trades_market", ENDLESS)),
    ],
)
def test_a_writer_mends_a_macro_that_does_not_tell_the_files(
    made: Made, macro: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_connection, "_MACRO_SECONDS", 0.5)
    rejected(made)
    changed(made, f"create or replace macro {macro}_names() as {text}")
    made.put(day_key("trades", NEXT), [trade("AAPL", instant(NEXT))])
    made.update()
    assert made.sql("select count(*), max(session) from trades") == [(1, NEXT)]
    assert made.sql("select count(*) from rejects") == [(1,)]


_SPLIT = {
    "symbol": "'AAPL'", "session": f"date '{SESSION}'", "kind": "'split'", "id": "'E1'",
    "split_from": "1.0", "split_to": "2.0", "price_factor": "null", "counts": "true",
}  # fmt: skip
_NAME = {
    "security": "'s'", "symbol": "'AAPL'", "first_session": f"date '{SESSION}'",
    "last_session": "null",
}  # fmt: skip
_CONDITION = {
    **{"id": "1", "name": "'n'", "updates_high_low": "true", "updates_open_close": "true"},
    **{"updates_volume": "true", "valid_from": "null", "valid_to": "null"},
}
_OLD = "'5877642-06-25 (BC)'::date"
ODD_VIEWS = [
    ("actions", _SPLIT | {"session": "'infinity'::date"}, "an impossible value"),
    ("actions", _SPLIT | {"split_from": "0.0"}, "an impossible value"),
    ("actions", _SPLIT | {"split_to": "'nan'::double"}, "an impossible value"),
    ("actions", _SPLIT | {"id": "null"}, "an impossible value"),
    ("actions", _SPLIT | {"session": "7"}, "cannot be read"),
    ("actions", _SPLIT | {"id": f"{ENDLESS}::varchar"}, r"actions: no answer in 0\.5 s"),
    ("actions", _SPLIT | {"kind": "'split' from range(200)"}, "more than 100 rows"),
    ("securities", _NAME | {"last_session": _OLD}, "an impossible value"),
    ("securities", _NAME | {"security": "null"}, "an impossible value"),
    ("trade_conditions", _CONDITION | {"valid_to": _OLD}, "an impossible value"),
    ("trade_conditions", _CONDITION | {"id": "[1]"}, "cannot be read"),
]


@pytest.mark.parametrize(("name", "columns", "told"), ODD_VIEWS)
def test_splits_names_and_conditions_that_are_none_of_ours_are_told_in_one_line(
    made: Made,
    name: str,
    columns: dict[str, str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duckdb_connection, "_MACRO_SECONDS", 0.5)
    monkeypatch.setattr(catalog_tables, "_MOST_ASKED", 100)
    tail = " from range(200)" if "more than" in told else ""
    shown = ", ".join(
        f"{value.removesuffix(tail) if tail else value} as {column}"
        for column, value in columns.items()
    )
    kind = "table" if name == "trade_conditions" else "view"
    changed(made, f"create or replace {kind} {name} as select {shown}{tail}")
    with pytest.raises(StorageError, match=told) as caught:
        of_facade(made, lambda wh: wh.bars("AAPL", SESSION, every="5m", adjust="all"))
    assert "\n" not in str(caught.value)


DEEP = "(repeat('[', 100000) || repeat(']', 100000))::json"


@pytest.mark.parametrize(
    ("session", "example", "told"),
    [
        ("date '9999-12-31'", "1", "session 9999-12-31, which is no day"),
        ("'infinity'::date", "1", "which is no day"),
        (f"date '{SESSION}'", DEEP, "a row that cannot be told: it is nested too deeply"),
        (f"date '{SESSION}'", "('1' || repeat('0', 5000))::json", "a row that cannot be told"),
    ],
)
def test_a_rule_that_finds_what_cannot_be_told_is_named_and_harms_no_catalog(
    made: Made, session: str, example: str, told: str
) -> None:
    path = made.root / "sql/validate/zero_sizes.sql"
    head = [line for line in path.read_text("utf-8").splitlines() if line.startswith("--")]
    select = f"select 'AAPL' as symbol, {session} as session, null as timestamp, {example} as x"
    path.write_text("\n".join([*(one for one in head if "params" not in one), select, ""]), "utf-8")
    asked = ["-C", str(made.root), "validate", "trades", "--rule", "zero_sizes"]
    result = CliRunner().invoke(cli, asked, catch_exceptions=False)
    assert re.search(rf"zero_sizes\.sql: returns .*{told}", result.output)
    catalog_tables._sound.clear()
    READERS["status"](made)


def test_a_log_of_the_catalog_that_is_a_link_is_not_carried_out(made: Made) -> None:
    catalog = made.layout.catalog
    other = made.root.parent / "other.duckdb"
    shutil.copyfile(catalog, other)
    program = (
        "import duckdb, os, sys; shell = duckdb.connect(sys.argv[1]);"
        "shell.execute('create or replace macro trades_names() as 4'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, other], check=True)
    log = Path(f"{other}.wal")
    assert log.stat().st_size
    Path(f"{catalog}.wal").symlink_to(log)
    with pytest.raises(StorageError, match=r"\.wal is a link"):
        READERS["status"](made)
    made.update()
    assert made.sql("select count(*) from trades") == [(1,)]
    assert log.exists()
    other.unlink()
    log.unlink()


def in_its_place(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


PIPES = [
    *("data/warehouse.duckdb", "data/warehouse.duckdb.wal", "data/writer.lock.note"),
    *("data/cache/trades/AAPL/2024_01.parquet", "data/ledger/trades/2024_01.parquet"),
    *("data/metrics/warehouse.prom", "data/logs/warehouse.jsonl", "config/.shipped.json"),
    *("sql/features/more.sql", "data/schema/trades.parquet"),
]


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(made: Made, name: str) -> None:
    in_its_place(made.root / name)
    try:
        for command in ("status", "verify", "update"):
            result = CliRunner().invoke(cli, ["-C", str(made.root), command])
            assert result.exception is None or isinstance(result.exception, SystemExit)
    finally:
        for path in made.root.rglob("*"):
            if path.is_fifo():
                path.unlink()


SQL_READS = {
    "a query": lambda made: Warehouse(made.root).query("from trades_of('AAPL')"),
    "a feature's macro": lambda made: Warehouse(made.root).query(
        "from vwap_of('AAPL', $day, $day)", day=SESSION
    ),
    "a table by its name": lambda made: Warehouse(made.root).query("from query_table('trades')"),
    "validate": lambda made: Warehouse(made.root).validate("trades"),
}  # fmt: skip


@pytest.mark.parametrize("reader", SQL_READS)
def test_sql_does_not_wait_for_a_pipe_in_the_place_of_a_partition(made: Made, reader: str) -> None:
    path = made.root / "data/cache/trades/AAPL/2024_01.parquet"
    in_its_place(path)
    try:
        with pytest.raises(WarehouseError, match="it is no regular file") as caught:
            SQL_READS[reader](made)
        assert str(path) in str(caught.value)
    finally:
        path.unlink()


@pytest.mark.parametrize("reader", [name for name in SQL_READS if name != "validate"])
def test_rows_of_a_file_that_gives_views_their_columns_are_in_no_answer(
    made: Made, reader: str
) -> None:
    (partition,) = (made.root / "data/cache/trades/AAPL").iterdir()
    path = made.root / "data/schema/trades.parquet"
    shutil.copyfile(partition, path)
    with pytest.raises(WarehouseError, match=r"it has rows, .* verify --repair"):
        SQL_READS[reader](made)
    made.repair()
    SQL_READS[reader](made)


def test_what_gives_views_their_columns_is_named_where_it_is_none(made: Made) -> None:
    path = made.root / "data/schema/trades.parquet"
    for content in (None, b"text"):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(WarehouseError, match=r"schema/trades\.parquet .* verify --repair"):
            Warehouse(made.root).query("select count(*) from trades")


def test_sql_does_not_wait_for_a_pipe_in_the_place_of_rejects(made: Made) -> None:
    rejected(made)
    (path,) = (made.root / "data/rejects").rglob("*.parquet")
    in_its_place(path)
    try:
        for read in ("from rejects", "from query_table('rejects')"):
            with pytest.raises(WarehouseError, match="it is no regular file"):
                Warehouse(made.root).query(read)
    finally:
        path.unlink()


def test_folders_of_bars_of_all_lengths_are_refused_in_a_line_and_not_all_looked_at(
    made: Made,
) -> None:
    folders = [made.layout.cache / f"bars_{seconds}s" for seconds in range(1, 302)]
    for folder in folders:
        folder.mkdir()
    for reader in READERS:
        try:
            said = str(READERS[reader](made))
        except WarehouseError as error:
            said = str(error)
        assert "hold folders of bars of 301 lengths, and no warehouse keeps more than 200" in said
    for folder in folders:
        folder.rmdir()
    READERS["status"](made)


def test_a_symbol_that_no_disk_takes_is_damage_and_is_mended(made: Made) -> None:
    name = "A" * 300
    changed(
        made,
        f"update partitions set symbol = '{name}', file = 'trades/{name}/2024_01.parquet'"
        " where data_type = 'trades'",
    )
    told = "names .* which no partition of its month is called"
    with pytest.raises(DamagedCatalogError, match=told):
        READERS["the report"](made)
    made.repair()
    assert made.sql("select count(*) from trades") == [(1,)]
    READERS["the report"](made)


def test_a_folder_in_the_place_of_the_catalogs_log_is_kept_and_stops_nothing(made: Made) -> None:
    log = made.root / "data/warehouse.duckdb.wal"
    log.mkdir()
    (log / "somebodys.txt").write_text("mine", "utf-8")
    made.update()
    assert made.sql("select count(*) from trades") == [(1,)]
    (kept,) = made.layout.set_aside.glob("warehouse.duckdb-*.wal/somebodys.txt")
    assert kept.read_text("utf-8") == "mine"
    assert not log.exists()
